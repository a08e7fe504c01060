//! `holdline user import`: a file of users, line by line, stored in chunks.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use admin::{Imported, NewUser};
use serde_json::json;

use super::super::books::{Books, password};
use super::super::{EXIT_FAILED, Failure};
use super::Asked;

/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How many bad lines are named before the import gives up.
const MISTAKES_MAX: usize = 100;
/// How many users are stored at a time.
const CHUNK_USERS: usize = 5_000;

/// How an import went so far.
#[derive(Debug, Default)]
struct Progress {
    done: Imported,
    /// Bad lines, as `FILE:LINE: what`.
    mistakes: Vec<String>,
}

/// An import under way.
struct Import<'a> {
    books: &'a Books,
    /// What the file is called in mistakes.
    name: String,
    replace: bool,
    /// Users that wait to be stored.
    chunk: Vec<NewUser>,
    /// The lines they come from.
    lines: Vec<usize>,
    progress: Progress,
}

/// Imports `file`.
pub(super) fn run(
    out: &mut impl Write,
    file: &Path,
    replace: bool,
    asked: &Asked,
) -> Result<ExitCode, Failure> {
    let books = asked.target.books()?;
    let is_stdin = file.as_os_str() == "-";
    let mut reader: Box<dyn BufRead> = if is_stdin {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| Failure::File {
            path: file.to_owned(),
            error,
        });
        Box::new(BufReader::new(opened?))
    };
    let mut import = Import {
        books: &books,
        name: match is_stdin {
            true => "standard input".to_owned(),
            false => file.display().to_string(),
        },
        replace,
        chunk: Vec::new(),
        lines: Vec::new(),
        progress: Progress::default(),
    };
    let ended = import.read(&mut reader);
    let stored = ended.is_ok();
    tell(out, &import.progress, asked.output.json, stored)?;
    ended?;
    Ok(match import.progress.mistakes.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_FAILED),
    })
}

impl Import<'_> {
    /// Reads all lines and stores their users.
    fn read(&mut self, reader: &mut dyn BufRead) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            // One more than a line may have, so that one that is too long is seen to be.
            let mut bounded = (&mut *reader).take(LINE_BYTES_MAX as u64 + 2);
            let taken = bounded.read_until(b'\n', &mut line);
            if taken.map_err(Failure::Input)? == 0 {
                break;
            }
            if let Err(what) = self.line(&line, number) {
                self.mistake(number, &what);
                if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
                    reader.skip_until(b'\n').map_err(Failure::Input)?;
                }
            }
            if self.chunk.len() >= CHUNK_USERS {
                self.store()?;
            }
            if self.progress.mistakes.len() >= MISTAKES_MAX {
                break;
            }
        }
        self.store()
    }

    fn line(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        let too_long = format!("the line is longer than {LINE_BYTES_MAX} bytes");
        if line.len() > LINE_BYTES_MAX + 1 {
            return Err(too_long);
        }
        let line = std::str::from_utf8(line).map_err(|_| "not in UTF-8".to_owned())?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(too_long);
        }
        self.chunk.push(parse_line(line)?);
        self.lines.push(number);
        Ok(())
    }

    fn mistake(&mut self, number: usize, what: &str) {
        let mistakes = &mut self.progress.mistakes;
        mistakes.push(format!("{}:{number}: {what}", self.name));
    }

    /// Stores the users that wait; on an error says which lines they come from.
    fn store(&mut self) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (self.lines.first(), self.lines.last()) else {
            return Ok(());
        };
        let (first, last) = (*first, *last);
        let imported = self.books.import_users(&self.chunk, self.replace);
        let imported = imported.inspect_err(|_| {
            let name = &self.name;
            let mistakes = &mut self.progress.mistakes;
            mistakes.push(format!("{name}:{first}: lines {first} to {last} failed"));
        })?;
        let done = &mut self.progress.done;
        done.added += imported.added;
        done.replaced += imported.replaced;
        done.there += imported.there;
        for mistake in imported.mistakes {
            let number = self.lines.get(mistake.index).copied().unwrap_or(first);
            self.mistake(number, &mistake.what);
        }
        self.chunk.clear();
        self.lines.clear();
        Ok(())
    }
}

fn tell(
    out: &mut impl Write,
    progress: &Progress,
    as_json: bool,
    stored: bool,
) -> Result<(), Failure> {
    let Progress { done, mistakes } = progress;
    if as_json {
        let answer = json!({
            "ok": stored && mistakes.is_empty(), "added": done.added, "replaced": done.replaced,
            "there": done.there, "mistakes": mistakes,
        });
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    for mistake in mistakes {
        let _ = writeln!(std::io::stderr(), "{mistake}");
    }
    writeln!(
        out,
        "{} added, {} replaced, {} there already, {} bad lines",
        done.added,
        done.replaced,
        done.there,
        mistakes.len()
    )?;
    Ok(())
}

/// A line of an import. What is wrong is said without repeating the line, which may hold a password.
fn parse_line(line: &str) -> Result<NewUser, String> {
    if line.starts_with('{') {
        return serde_json::from_str(line).map_err(|_| {
            r#"not of the form {"aor": "USER@DOMAIN", "password": "..."} or {"aor": ..., "ha1": {"MD5": "..."}}"#
                .to_owned()
        });
    }
    let form = || "not of the form USER@DOMAIN,PASSWORD or USER,DOMAIN,PASSWORD".to_owned();
    let (first, rest) = line.split_once(',').ok_or_else(form)?;
    let first = first.trim();
    let (aor, text) = if first.contains('@') {
        (first.to_owned(), rest)
    } else {
        let (domain, text) = rest.split_once(',').ok_or_else(form)?;
        (format!("{first}@{}", domain.trim()), text)
    };
    Ok(NewUser {
        aor,
        credential: password(text.trim().to_owned()),
        later: true,
    })
}

#[cfg(test)]
mod tests {
    use admin::Credential;

    use super::*;

    #[test]
    fn a_line_is_read_in_every_form_and_never_repeated() {
        for line in [
            "alice@example.org, won,der",
            "alice, example.org ,won,der",
            "sip:alice@example.org,won,der",
        ] {
            let user = parse_line(line).expect("valid");
            assert_eq!(user.aor.trim_start_matches("sip:"), "alice@example.org");
            assert_eq!(user.credential, password("won,der".into()));
        }
        let moved = parse_line(r#"{"aor":"a@b","ha1":{"MD5":"00"}}"#).expect("valid");
        assert!(matches!(moved.credential, Credential::Ha1(_)));
        for bad in [
            "alice@example.org hunter2",
            "alice,hunter2",
            r#"{"aor":"a@b","pass":"hunter2"}"#,
        ] {
            assert!(!parse_line(bad).expect_err("bad").contains("hunter2"));
        }
    }

    #[test]
    fn a_file_is_stored_but_for_its_bad_lines_which_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("t.db").display());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let store = store::Store::open(&url, store::StoreOptions::default());
        let store = runtime.block_on(store).expect("a new file");
        let books = Books::Store {
            runtime,
            directory: crate::directory::Directory::new(store),
            configured: Vec::new(),
        };
        let mut text: String = (0..CHUNK_USERS)
            .map(|number| format!("user{number},example.org,secret\n"))
            .collect();
        text.push_str("# more\n\nalice@example.org,x\nbroken\n");
        text.push_str(&"x".repeat(3 * LINE_BYTES_MAX));
        text.push_str("\na:b@example.org,x\nbob@example.org,x\nuser1@example.org,y");
        let mut import = Import {
            books: &books,
            name: "users".to_owned(),
            replace: false,
            chunk: Vec::new(),
            lines: Vec::new(),
            progress: Progress::default(),
        };
        import.read(&mut text.as_bytes()).expect("read");
        let Progress { done, mistakes } = import.progress;
        let users = CHUNK_USERS as u64;
        assert_eq!((done.added, done.replaced, done.there), (users + 2, 0, 1));
        let begins: Vec<_> = mistakes
            .iter()
            .map(|mistake| mistake.split(' ').next().expect("a word"))
            .collect();
        let line = |more: usize| format!("users:{}:", CHUNK_USERS + more);
        assert_eq!(begins, [line(4), line(5), line(6)]);
    }
}
