//! Namespaces of its own for the whole laboratory: with their first process all ends that it has started.

use std::ffi::OsString;
use std::process::{Command, ExitStatus, Stdio};

use crate::Error;

/// What the laboratory is started by: the first makes sure that the second ends with us, the second that the third does.
const WRAPPERS: [&str; 8] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child=KILL",
];

/// Whether this machine lets us.
///
/// # Errors
/// [`Error::Rights`] with the reason.
pub fn may() -> Result<(), Error> {
    let rights = |what: String| Error::Rights { what };
    let mut command = Command::new("setpriv");
    command
        .args(WRAPPERS)
        .args(["--", "ip", "link", "add", "lan0", "type", "bridge"]);
    let output = command.stdin(Stdio::null()).env("PATH", path()).output();
    let output = output.map_err(|error| rights(format!("setpriv: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(rights(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// Runs this program again within namespaces of its own, with these arguments, until it ends.
///
/// # Errors
/// It could not be started.
pub fn enter(arguments: &[OsString]) -> Result<ExitStatus, Error> {
    let failed = |what: String| Error::Program {
        command: "setpriv".to_owned(),
        what,
    };
    let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new("setpriv");
    command.args(WRAPPERS).arg("--").arg(own).args(arguments);
    command.env("PATH", path());
    command.status().map_err(|error| failed(error.to_string()))
}

/// Where programs are: with the folders that hold what only root needs, as Debian has them.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
