//! `holdline domain`: add, delete, list.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, Output, Target, table};

/// Arguments of `holdline domain`.
#[derive(Debug, Args)]
pub(crate) struct Domain {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a domain
    Add(Named),
    /// Delete a domain that has no users left
    Del(Named),
    /// List the domains of the store and of the configuration
    List(Asked),
}

#[derive(Debug, Args)]
struct Named {
    /// The domain, as in example.org
    domain: String,
    #[command(flatten)]
    asked: Asked,
}

impl Domain {
    /// Does what was asked.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let (named, done) = match &self.verb {
            Verb::List(asked) => return list(out, asked),
            Verb::Add(named) => (named, "added"),
            Verb::Del(named) => (named, "deleted"),
        };
        let books = named.asked.target.books()?;
        match &self.verb {
            Verb::Add(_) => books.add_domain(&named.domain)?,
            _ => books.delete_domain(&named.domain)?,
        }
        let domain = &named.domain;
        if named.asked.output.json {
            let answer = json!({ "ok": true, "domain": domain, "done": done, "in": books.place() });
            writeln!(out, "{answer}")?;
        } else {
            writeln!(out, "{domain} {done}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(out: &mut impl Write, asked: &Asked) -> Result<ExitCode, Failure> {
    let domains = asked.target.books()?.domains()?;
    if asked.output.json {
        writeln!(out, "{}", json!({ "items": domains }))?;
    } else {
        let place = |configured| if configured { "configuration" } else { "store" };
        let rows = domains
            .into_iter()
            .map(|d| vec![d.domain, place(d.configured).to_owned()]);
        table(out, &["DOMAIN", "FROM"], rows.collect())?;
    }
    Ok(ExitCode::SUCCESS)
}
