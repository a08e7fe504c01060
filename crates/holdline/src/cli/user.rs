//! `holdline user`: add, delete, list, change passwords, import.

mod import;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use admin::{Credential, NewUser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::books::{Books, password};
use super::{Failure, Output, Target, table};

/// Arguments of `holdline user`.
#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a user; asks for the password without showing it
    Add(Named),
    /// Delete a user
    Del {
        /// USER@DOMAIN
        aor: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// List all users
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Change a user's password
    Passwd(Named),
    /// Add many users from a file
    ///
    /// One user a line: `USER@DOMAIN,PASSWORD` or `USER,DOMAIN,PASSWORD`, or a JSON object
    /// `{"aor": "USER@DOMAIN", "ha1": {"MD5": "HEX"}}` as moved from another registrar whose
    /// realm is the domain. Empty lines and lines that begin with # are passed over. Users are
    /// stored thousands at a time, each time all or none; a running node knows them within seconds.
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// Replace the credentials of users that are there already
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Named {
    /// USER@DOMAIN, as in alice@example.org
    aor: String,
    /// The password; other users of this machine can see it in the list of processes
    #[arg(long, value_name = "TEXT", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Named {
    fn credential(&self) -> Result<Credential, Failure> {
        if let Some(text) = &self.password {
            return Ok(password(text.clone()));
        }
        if self.password_stdin {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(Failure::Input)?;
            return Ok(password(line.trim_end_matches(['\r', '\n']).to_owned()));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::NoPassword);
        }
        let ask = |prompt| rpassword::prompt_password(prompt).map_err(Failure::Input);
        let first = ask(format!("Password for {}: ", self.aor))?;
        let second = ask("Once more: ".to_owned())?;
        if first == second {
            Ok(password(first))
        } else {
            Err(Failure::PasswordsDiffer)
        }
    }
}

impl User {
    /// Does what was asked.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        match &self.verb {
            Verb::Add(named) => {
                let books = named.asked.target.books()?;
                let user = NewUser {
                    aor: named.aor.clone(),
                    credential: named.credential()?,
                    later: false,
                };
                books.add_user(&user)?;
                warn_of_foreign_domain(&books, &named.aor)?;
                told(out, &named.asked.output, &books, &named.aor, "added")
            }
            Verb::Del { aor, asked } => {
                let books = asked.target.books()?;
                books.delete_user(aor)?;
                told(out, &asked.output, &books, aor, "deleted")
            }
            Verb::Passwd(named) => {
                let books = named.asked.target.books()?;
                books.set_credential(&named.aor, &named.credential()?)?;
                told(
                    out,
                    &named.asked.output,
                    &books,
                    &named.aor,
                    "password changed",
                )
            }
            Verb::List { asked } => list(out, asked),
            Verb::Import {
                file,
                replace,
                asked,
            } => import::run(out, file, *replace, asked),
        }
    }
}

/// A user of a domain that is not served cannot register: said on standard error, since the user is
/// added all the same (the domain may come later).
fn warn_of_foreign_domain(books: &Books, aor: &str) -> Result<(), Failure> {
    let served = books.domains()?;
    let domain = aor.rsplit('@').next().unwrap_or_default();
    if !served
        .iter()
        .any(|known| known.domain.eq_ignore_ascii_case(domain))
    {
        eprintln!(
            "holdline: warning: {domain} is not served here, so {aor} cannot register yet; \
             `holdline domain add {domain}` serves it, or edge.domains in the configuration"
        );
    }
    Ok(())
}

fn told(
    out: &mut impl Write,
    output: &Output,
    books: &Books,
    aor: &str,
    done: &str,
) -> Result<ExitCode, Failure> {
    if output.json {
        writeln!(
            out,
            "{}",
            json!({ "ok": true, "aor": aor, "done": done, "in": books.place() })
        )?;
    } else {
        writeln!(out, "{aor} {done}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(out: &mut impl Write, asked: &Asked) -> Result<ExitCode, Failure> {
    let books = asked.target.books()?;
    let mut after = None;
    let mut first = true;
    if asked.output.json {
        write!(out, "{{\"items\":[")?;
    }
    loop {
        let page = books.users(after.as_deref())?;
        if asked.output.json {
            for user in &page.items {
                write!(out, "{}{}", if first { "" } else { "," }, json!(user))?;
                first = false;
            }
        } else if first || !page.items.is_empty() {
            let rows = page
                .items
                .iter()
                .map(|user| vec![user.aor.clone(), user.algorithms.join(" ")]);
            table(
                out,
                if first { &["USER", "CREDENTIALS"] } else { &[] },
                rows.collect(),
            )?;
            first = false;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if asked.output.json {
        writeln!(out, "]}}")?;
    }
    Ok(ExitCode::SUCCESS)
}
