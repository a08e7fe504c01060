//! A file of lines that grows at its end, whoever else appends to it, also when its disk is full for a while: no line of it is ever half there
//! because of that, and one that a crash cut short spoils no other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Most bytes that wait for room.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A file of lines.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
    /// What could not be written yet.
    waiting: Vec<u8>,
}

impl Lines {
    /// Opens it, or makes it.
    pub(crate) fn open(path: &Path) -> io::Result<Lines> {
        Ok(Lines {
            path: path.to_owned(),
            file: OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?,
            waiting: Vec::new(),
        })
    }

    /// Writes whole lines, and those that waited before them.
    pub(crate) fn append(&mut self, text: &str) {
        if self.waiting.len() + text.len() > WAITING_BYTES_MAX {
            let path = self.path.display();
            tracing::error!(%path, lines = text.lines().count(), "lines are lost: too many wait");
            return;
        }
        let waited = !self.waiting.is_empty();
        self.waiting.extend_from_slice(text.as_bytes());
        if let Err(error) = self.flush()
            && !waited
        {
            let path = self.path.display();
            tracing::error!(%error, %path, "lines wait until they can be written");
        }
    }

    /// Whether some lines are not in the file.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        write_whole(&mut self.file, &self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Appends all of these lines, or nothing, while nobody else does.
pub(crate) fn write_whole(file: &mut File, lines: &[u8]) -> io::Result<()> {
    // Some file systems have no locks. Appending is safe without; only after a full disk may another's line be cut then.
    let is_locked = file.lock().is_ok();
    let written = append(file, lines);
    if is_locked {
        file.unlock()?;
    }
    written
}

fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let ended;
    let lines = match is_torn(file, before)? {
        true => {
            tracing::warn!("the last line of a file was cut short by a crash; it is left as it is");
            ended = [b"\n", lines].concat();
            &ended[..]
        }
        false => lines,
    };
    let written = file.write_all(lines);
    if written.is_err() {
        file.set_len(before)?;
    }
    written
}

/// Whether the last line has no end.
fn is_torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_does_not_take_waits_and_no_line_is_torn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let mut lines = Lines::open(&path).expect("it opens");
        lines.append("one\n");
        // A disk that is full, as every process has it.
        let own = std::mem::replace(
            &mut lines.file,
            OpenOptions::new()
                .append(true)
                .open("/dev/full")
                .expect("there"),
        );
        lines.append("two\n");
        lines.append("three\n");
        assert!(lines.is_waiting() && lines.flush().is_err());
        lines.file = own;
        lines.append("four\n");
        assert!(!lines.is_waiting());
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn two_that_append_to_one_file_tear_no_line() {
        const LINES: usize = 200;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        std::thread::scope(|scope| {
            for writer in ["a", "b"] {
                let mut lines = Lines::open(&path).expect("it opens");
                scope.spawn(move || {
                    for _ in 0..LINES {
                        lines.append(&format!("{}\n", writer.repeat(5_000)));
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.lines().count(), 2 * LINES);
        let is_whole = |line: &str| line == "a".repeat(5_000) || line == "b".repeat(5_000);
        assert!(text.lines().all(is_whole));
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        std::fs::write(&path, "one\ntw").expect("written");
        Lines::open(&path)
            .expect("it opens")
            .append("three\nfour\n");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, "one\ntw\nthree\nfour\n");
    }
}
