//! `holdline user`: add, delete, list, change passwords, import.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use admin::{Credential, NewUser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::books::{Books, is_there, password};
use super::{EXIT_FAILED, Failure, Output, Target, table};

/// The longest line of an import, in bytes.
const IMPORT_LINE_BYTES_MAX: usize = 4096;
/// How many bad lines an import names before it gives up.
const IMPORT_MISTAKES_MAX: usize = 100;

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
    /// One user a line: `USER@DOMAIN,PASSWORD`, or a JSON object
    /// `{"aor": "USER@DOMAIN", "ha1": {"MD5": "HEX"}}` as moved from another registrar whose
    /// realm is the domain. Empty lines and lines that begin with # are passed over.
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
            } => import(out, file, *replace, asked),
        }
    }
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

/// How an import went.
#[derive(Debug, Default)]
struct Imported {
    added: u64,
    replaced: u64,
    there: u64,
    mistakes: Vec<String>,
}

fn import(
    out: &mut impl Write,
    file: &PathBuf,
    replace: bool,
    asked: &Asked,
) -> Result<ExitCode, Failure> {
    let books = asked.target.books()?;
    let reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).map_err(|error| {
            Failure::File {
                path: file.clone(),
                error,
            }
        })?))
    };
    let name = match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let mut done = Imported::default();
    for (index, line) in reader.lines().enumerate() {
        let line = line.map_err(Failure::Input)?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(what) = import_line(&books, line, replace, &mut done) {
            done.mistakes.push(format!("{name}:{}: {what}", index + 1));
            if done.mistakes.len() >= IMPORT_MISTAKES_MAX {
                break;
            }
        }
    }
    let ok = done.mistakes.is_empty();
    if asked.output.json {
        let answer = json!({
            "ok": ok, "added": done.added, "replaced": done.replaced, "there": done.there,
            "mistakes": done.mistakes,
        });
        writeln!(out, "{answer}")?;
    } else {
        for mistake in &done.mistakes {
            let _ = writeln!(std::io::stderr(), "{mistake}");
        }
        writeln!(
            out,
            "{} added, {} replaced, {} there already, {} bad lines",
            done.added,
            done.replaced,
            done.there,
            done.mistakes.len()
        )?;
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

fn import_line(
    books: &Books,
    line: &str,
    replace: bool,
    done: &mut Imported,
) -> Result<(), String> {
    if line.len() > IMPORT_LINE_BYTES_MAX {
        return Err(format!(
            "the line is longer than {IMPORT_LINE_BYTES_MAX} bytes"
        ));
    }
    let user = NewUser {
        later: true,
        ..parse_line(line)?
    };
    match books.add_user(&user) {
        Ok(()) => done.added += 1,
        Err(failure) if is_there(&failure) && replace => {
            let set = books.set_credential(&user.aor, &user.credential);
            set.map_err(|failure| failure.to_string())?;
            done.replaced += 1;
        }
        Err(failure) if is_there(&failure) => done.there += 1,
        Err(failure) => return Err(failure.to_string()),
    }
    Ok(())
}

/// A line of an import. What is wrong is said without repeating the line,
/// which may hold a password.
fn parse_line(line: &str) -> Result<NewUser, String> {
    if line.starts_with('{') {
        return serde_json::from_str(line).map_err(|_| {
            r#"not of the form {"aor": "USER@DOMAIN", "password": "..."} or {"aor": ..., "ha1": {"MD5": "..."}}"#
                .to_owned()
        });
    }
    let (aor, text) = line
        .split_once(',')
        .ok_or_else(|| "not of the form USER@DOMAIN,PASSWORD".to_owned())?;
    Ok(NewUser {
        aor: aor.trim().to_owned(),
        credential: password(text.trim().to_owned()),
        later: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_import_is_read_in_both_forms_and_never_repeated() {
        let user = parse_line("alice@example.org, won,der").expect("valid");
        assert_eq!(user.aor, "alice@example.org");
        assert_eq!(user.credential, password("won,der".into()));
        let moved = parse_line(r#"{"aor":"a@b","ha1":{"MD5":"00"}}"#).expect("valid");
        assert!(matches!(moved.credential, Credential::Ha1(_)));
        for bad in [
            "alice@example.org hunter2",
            r#"{"aor":"a@b","pass":"hunter2"}"#,
        ] {
            assert!(!parse_line(bad).expect_err("bad").contains("hunter2"));
        }
    }
}
