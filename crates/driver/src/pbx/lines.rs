//! A file of lines that grows at its end, also when its disk is full for a while: no line of it is ever half there because of that.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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
            file: OpenOptions::new().append(true).create(true).open(path)?,
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

/// Appends all of `bytes`, or nothing.
pub(crate) fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(bytes);
    if written.is_err() {
        file.set_len(before)?;
    }
    written
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
}
