//! Two nodes of ours on loopback, of which one owns the service and the other holds its records.

use super::{Config, Running, asked, done, free_tcp_port, wait_until_ready};
use crate::bench::error::Error;
use crate::bench::process::{Keeper, Process};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// The owner, and its standby.
const NAMES: [&str; 2] = ["one", "two"];
/// Long enough for a machine that the load keeps busy: what is measured is what the records cost.
const LEASE_MS: u64 = 1_000;

/// Starts both, and waits until the second has all records.
///
/// # Errors
/// What the programs print when they end; [`Error::Late`].
pub(super) fn start(
    keeper: &mut Keeper,
    template: &Path,
    folder: &Path,
    address: SocketAddr,
    program: &Path,
    users: &[String],
) -> Result<Running, Error> {
    fs::create_dir_all(folder).map_err(Error::io("making a folder for a pair"))?;
    certify(program, folder)?;
    let [one, two] = NAMES.map(|name| config(template, folder, address, name));
    let (one, two) = (one?, two?);
    one.import(program, users)?;
    let mut owner = one.run(keeper, program)?;
    let begun = wait_until_ready(&mut owner, || is(one.admin, "owner"))
        .and_then(|()| two.run(keeper, program));
    let standby = match begun {
        Ok(standby) => standby,
        Err(error) => {
            keeper.end(owner, "-TERM");
            return Err(error);
        }
    };
    let mut running = Running {
        process: owner,
        standby: Some(standby),
        address,
    };
    let in_sync = |process: &mut Process| wait_until_ready(process, || is_in_sync(one.admin));
    match in_sync(&mut running.process) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.stop(keeper);
            Err(error)
        }
    }
}

fn certify(program: &Path, folder: &Path) -> Result<(), Error> {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command.args(["certs", "init", "ca", "--cluster", "bench"]);
    done("holdline certs init", &mut command)?;
    NAMES.into_iter().try_for_each(|name| {
        let mut command = Command::new(program);
        command.current_dir(folder);
        command.args(["certs", "node", name, "--ca", "ca"]);
        done("holdline certs node", &mut command)
    })
}

fn config(
    template: &Path,
    folder: &Path,
    address: SocketAddr,
    name: &str,
) -> Result<Config, Error> {
    let mut config = Config::of(template, &folder.join(name), address)?;
    let (at, peer) = (folder.to_string_lossy(), free_tcp_port()?);
    config.extend(
        name,
        &format!(
            "[store]\nurl = \"sqlite:{at}/users.db\"\n\
             [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\nlease_ms = {LEASE_MS}\n\
             certificates = \"{at}/ca/{name}\"\n\
             coordinator = {{ kind = \"sqlite\", path = \"{at}/cluster.db\" }}\n\
             [[service]]\nname = \"edge\"\nmembers = {NAMES:?}\naddress = \"{}\"\n\
             mover = {{ kind = \"none\" }}\n",
            address.ip()
        ),
    );
    Ok(config)
}

/// What a node says of the service.
fn service(admin: SocketAddr) -> Option<Value> {
    let answer = asked(admin, "/api/status")?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let status: Value = serde_json::from_str(body).ok()?;
    Some(status["cluster"]["services"][0].clone())
}

fn is(admin: SocketAddr, phase: &str) -> bool {
    service(admin).is_some_and(|service| service["phase"] == phase)
}

fn is_in_sync(admin: SocketAddr) -> bool {
    let members = service(admin).and_then(|service| Some(service["in_sync"].as_array()?.len()));
    members == Some(NAMES.len())
}
