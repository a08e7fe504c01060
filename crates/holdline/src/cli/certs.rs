//! `holdline certs`: the cluster's own authority and the certificates of its nodes.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use net::peer::{Credentials, authority};
use serde_json::json;

use super::{Failure, Output};

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Arguments of `holdline certs`.
#[derive(Debug, Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an authority for a new cluster
    Init(Init),
    /// Make the files of a node, to be copied to it
    Node(Node),
    /// Make a node's certificate and key anew; its node takes them by `holdline reload`
    Renew(Node),
    /// Say whose certificate a folder holds and when it ends
    Show(Show),
}

#[derive(Debug, Args)]
struct Init {
    /// The folder of the authority; keep it off the nodes
    folder: PathBuf,
    /// The cluster's name
    #[arg(long, default_value = "holdline")]
    cluster: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Node {
    /// The node's name, as in [node] name
    name: String,
    /// The folder of the authority
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    ca: PathBuf,
    /// Where the node's files go [default: a folder of its name beside the authority's files]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// For how many days it is valid
    #[arg(long, default_value_t = authority::NODE_DAYS)]
    days: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Show {
    /// A node's name
    name: String,
    /// The node's folder
    folder: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Certs {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        match &self.verb {
            Verb::Init(init) => init.run(out),
            Verb::Node(node) | Verb::Renew(node) => node.run(out),
            Verb::Show(show) => show.run(out),
        }
    }
}

impl Init {
    fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let mut random = [0; authority::SECRET_BYTES];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut random))
            .map_err(Failure::Input)?;
        authority::create(&self.folder, &self.cluster, random).map_err(Failure::Certificates)?;
        let folder = self.folder.display();
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(
                out,
                "{folder} has the authority of the cluster {}; next, for each node: holdline certs node NAME --ca {folder}",
                self.cluster
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Node {
    fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let into = self
            .into
            .clone()
            .unwrap_or_else(|| self.ca.join(&self.name));
        // A tenth of a million days is beyond what a certificate can say.
        let days = self.days.clamp(1, 36_500);
        authority::issue(&self.ca, &self.name, days, &into).map_err(Failure::Certificates)?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true, "folder": into }))?;
        } else {
            writeln!(
                out,
                "{} has the files of {}: copy them to that node, and name their folder in [cluster] certificates",
                into.display(),
                self.name
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let credentials =
            Credentials::load(&self.folder, &self.name).map_err(Failure::Certificates)?;
        let cluster = cluster_of(&self.folder)?;
        let (own, ca) = (
            days_left(credentials.expires_at_unix_s),
            days_left(credentials.authority_expires_at_unix_s),
        );
        if self.output.json {
            let facts = json!({
                "node": self.name,
                "cluster": cluster,
                "expires_at_s": credentials.expires_at_unix_s,
                "authority_expires_at_s": credentials.authority_expires_at_unix_s,
            });
            writeln!(out, "{facts}")?;
        } else {
            writeln!(out, "node       {}", self.name)?;
            writeln!(out, "cluster    {cluster}")?;
            writeln!(out, "valid for  {own} days")?;
            writeln!(out, "authority  {ca} days")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn cluster_of(folder: &Path) -> Result<String, Failure> {
    let secret = authority::secret(folder).map_err(Failure::Certificates)?;
    Ok(secret.cluster)
}

/// Days until then; less than none once it is over.
fn days_left(unix_s: u64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    (unix_s as i64 - now as i64) / DAY_S as i64
}
