//! What the benchmark needs on the machine: SIPp, Kamailio and rtpengine from Debian, and Holdline
//! and the load generator of the relay rows built in release.

use super::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs, the packages they come in, and whether only the peer's side needs them.
const PROGRAMS: &[(&str, &str, bool)] = &[
    ("sipp", "sip-tester", false),
    ("kamailio", "kamailio", true),
    ("rtpengine", "rtpengine-daemon", true),
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
    for service in ["kamailio", "rtpengine-daemon"] {
        if packages.contains(&service) && Path::new("/run/systemd/system").exists() {
            // The package starts its service, which nobody asked for.
            println!("bench: stopping the {service} service that the package started");
            let stop = format!(
                "sudo=; [ \"$(id -u)\" = 0 ] || sudo=sudo; \
                 $sudo systemctl disable --now {service}.service"
            );
            let _ = Command::new("sh").args(["-c", &stop]).status();
        }
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
    built(root, target, "holdline")
}

/// Builds the load generator of the relay rows, which is this program in release: it has to cost
/// little.
///
/// # Errors
/// Why it is not there.
pub(crate) fn generator(root: &Path, target: &Path) -> Result<PathBuf, Error> {
    println!("bench: building the load generator in release");
    built(root, target, "xtask").map_err(|said| Error::Program {
        name: "building the load generator".to_owned(),
        said,
    })
}

/// Builds a package in release and says where its program is.
fn built(root: &Path, target: &Path, package: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--package", package])
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release").join(package)),
        Ok(status) => Err(format!("{package} does not build ({status})")),
        Err(error) => Err(format!("cargo cannot be run: {error}")),
    }
}
