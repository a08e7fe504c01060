//! Calls in progress of a PBX from which nobody takes over, written down every few seconds: each has its record though the node is killed.
//!
//! A call that begins and is cut off between two looks has none. Of a service of a cluster nothing is written here: another node goes on with
//! its calls, and writes their records when they end.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pbx::control::{Cause, Cdr};
use serde_json::{Value, json};
use store::CdrRow;

use super::cdr;

/// How often calls in progress are written down.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// What ended a call whose node was killed: no service (RFC 3261 section 21.5.4), a temporary failure (Q.850).
fn cause() -> Cause {
    Cause {
        status: 503,
        q850: 41,
        text: "the node was killed".to_owned(),
    }
}

/// The file of calls in progress.
#[derive(Debug)]
pub(crate) struct Underway {
    path: PathBuf,
    /// The names of the records in it whose calls are not over.
    noted: HashSet<String>,
}

impl Underway {
    /// What a node that was killed left: the records of the calls that went on, as if they had ended when it was last seen. They stay in the
    /// file until [`Underway::note`].
    ///
    /// # Errors
    /// What the file says, if there is one.
    pub(crate) fn open(path: &Path) -> io::Result<(Underway, Vec<CdrRow>)> {
        let mut rows = BTreeMap::new();
        match File::open(path) {
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    take(&line?, &mut rows);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let underway = Underway {
            path: path.to_owned(),
            noted: HashSet::new(),
        };
        Ok((underway, rows.into_values().collect()))
    }

    /// Writes down which calls go on, in the place of those before.
    ///
    /// # Errors
    /// What the file says; what was in it before is in it then.
    pub(crate) fn note(&mut self, prefix: &str, mut calls: Vec<Cdr>) -> io::Result<()> {
        if calls.is_empty() {
            self.noted.clear();
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let mut text = String::new();
        let mut noted = HashSet::with_capacity(calls.len());
        for call in &mut calls {
            call.cause = cause();
            let row = cdr::row(prefix, call);
            text.push_str(&cdr::line(&row).to_string());
            text.push('\n');
            noted.insert(row.id);
        }
        let new = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&new)?.write_all(text.as_bytes())?;
        std::fs::rename(&new, &self.path)?;
        self.noted = noted;
        Ok(())
    }

    /// Writes down that the calls of these records are over, and their records safe.
    ///
    /// # Errors
    /// What the file says.
    pub(crate) fn over<'i>(&mut self, ids: impl Iterator<Item = &'i str>) -> io::Result<()> {
        let over: String = ids
            .filter(|id| self.noted.remove(*id))
            .map(|id| format!("{}\n", json!({ "over": id })))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(over.as_bytes())
    }
}

fn take(line: &str, rows: &mut BTreeMap<String, CdrRow>) {
    if let Some(row) = cdr::parse(line) {
        rows.insert(row.id.clone(), row);
        return;
    }
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    if let Some(id) = value["over"].as_str() {
        rows.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: u64) -> Cdr {
        Cdr {
            id,
            began_unix_ms: 1_000,
            answered_unix_ms: Some(2_000),
            ended_unix_ms: 3_000,
            ..Cdr::default()
        }
    }

    fn left(path: &Path) -> Vec<String> {
        let (_, rows) = Underway::open(path).expect("readable");
        rows.into_iter().map(|row| row.id).collect()
    }

    #[test]
    fn calls_that_were_not_over_are_left_as_ended_when_they_were_last_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdr-underway.jsonl");
        let (mut underway, rows) = Underway::open(&path).expect("nothing yet");
        assert!(rows.is_empty());
        underway.note("t", vec![call(1), call(2)]).expect("written");
        underway
            .note("t", vec![call(2), call(3), call(4)])
            .expect("written");
        let gone = ["t-0000000000000003", "t-0000000000000001"];
        underway.over(gone.into_iter()).expect("written");
        assert_eq!(left(&path), ["t-0000000000000002", "t-0000000000000004"]);
        let (_, rows) = Underway::open(&path).expect("readable");
        let row = &rows[0];
        assert_eq!((row.status, row.q850, row.ended_unix_ms), (503, 41, 3_000));
        assert_eq!(row.answered_unix_ms, Some(2_000));
        // A line that the end cut short says nothing.
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"over\":\"t-00000000").expect("written");
        assert_eq!(left(&path).len(), 2);
        underway.note("t", Vec::new()).expect("removed");
        assert!(left(&path).is_empty() && !path.exists());
    }
}
