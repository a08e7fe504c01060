//! What the benchmark needs on the machine: SIPp and Kamailio from Debian, and Holdline built in
//! release.

use super::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs, the packages they come in, and whether only the peer's side needs them.
const PROGRAMS: &[(&str, &str, bool)] = &[
    ("sipp", "sip-tester", false),
    ("kamailio", "kamailio", true),
];

/// Installs the Debian packages of the programs that are not there.
///
/// # Errors
/// [`Error::Missing`] when a program is still not there afterwards.
pub(crate) fn missing(with_peer: bool) -> Result<(), Error> {
    let wanted = || {
        PROGRAMS
            .iter()
            .filter(|(program, _, is_peer)| (with_peer || !is_peer) && path_of(program).is_none())
    };
    let packages: Vec<&str> = wanted().map(|&(_, package, _)| package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    println!("bench: installing from Debian: {}", packages.join(" "));
    let install = format!(
        "export DEBIAN_FRONTEND=noninteractive; sudo=; [ \"$(id -u)\" = 0 ] || sudo='sudo -E'; \
         $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends {}",
        packages.join(" ")
    );
    let _ = Command::new("sh").args(["-c", &install]).status();
    if packages.contains(&"kamailio") && Path::new("/run/systemd/system").exists() {
        // The package starts its service, which nobody asked for.
        println!("bench: stopping the kamailio service that the package started");
        let stop = "sudo=; [ \"$(id -u)\" = 0 ] || sudo=sudo; \
                    $sudo systemctl disable --now kamailio.service";
        let _ = Command::new("sh").args(["-c", stop]).status();
    }
    let absent: Vec<&'static str> = wanted().map(|&(program, _, _)| program).collect();
    match absent.as_slice() {
        [] => Ok(()),
        _ => Err(Error::Missing(absent)),
    }
}

/// A program's path: in `PATH`, or where Debian keeps servers.
pub(crate) fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Builds Holdline in release and says where it is, or why there is none.
pub(crate) fn holdline(root: &Path, target: &Path) -> Result<PathBuf, String> {
    println!("bench: building holdline in release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--package", "holdline"])
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release").join("holdline")),
        Ok(status) => Err(format!("holdline does not build ({status})")),
        Err(error) => Err(format!("cargo cannot be run: {error}")),
    }
}
