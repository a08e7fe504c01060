//! `holdline check`: judge a configuration file, start nothing.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{ConfigFile, EXIT_CONFIG, Failure, Output};
use crate::config::Config;

/// Arguments of `holdline check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    output: Output,
}

impl Check {
    /// Prints what the file says in short, or all that is wrong with it.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        match self.file.load() {
            Ok((path, config)) if self.output.json => {
                let listen = listeners(&config);
                let domains: Vec<&str> = config
                    .edge
                    .domains
                    .iter()
                    .map(|domain| domain.as_str())
                    .collect();
                let answer = json!({
                    "file": path, "ok": true, "mistakes": [], "node": config.node.name,
                    "listen": listen, "domains": domains, "store": config.store.shown(),
                    "admin": config.admin.listen,
                });
                writeln!(out, "{answer}")?;
                Ok(ExitCode::SUCCESS)
            }
            Ok((path, config)) => {
                let listen = listeners(&config);
                writeln!(
                    out,
                    "{}: good. Node {} would listen on {}, keep its data in {} and answer verbs on {}.",
                    path.display(),
                    config.node.name,
                    listen.join(", "),
                    config.store.shown(),
                    config.admin.listen,
                )?;
                Ok(ExitCode::SUCCESS)
            }
            Err(Failure::Config(error)) if self.output.json => {
                writeln!(out, "{}", json!({ "ok": false, "mistakes": error.lines() }))?;
                Ok(ExitCode::from(EXIT_CONFIG))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Where the node takes SIP: its edge, and its PBX or those of its services.
fn listeners(config: &Config) -> Vec<String> {
    let edge = config.edge.listen.iter().map(ToString::to_string);
    let clusters = config.cluster.iter();
    let services: Vec<SocketAddr> = clusters
        .flat_map(|cluster| cluster.pbxs_of(&config.node.name))
        .map(|service| SocketAddr::new(service.address, service.port))
        .collect();
    let pbxs = match services.is_empty() {
        true => config.pbx.iter().map(|pbx| pbx.listen).collect(),
        false => services,
    };
    edge.chain(pbxs.iter().map(|pbx| format!("udp:{pbx}")))
        .collect()
}
