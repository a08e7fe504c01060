//! The operator's words about media servers, kept in the data folder over restarts.
//!
//! A file of lines, `drained sip:10.0.0.30:5060` or `disabled NAME`, which is written anew at each word and replaces
//! the one before whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use balancer::{WORDS_MAX, Wanted};

/// The file in the data folder.
const WORDS_FILE: &str = "targets";
/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 512 * WORDS_MAX as u64;

/// Where the words are kept.
#[derive(Debug, Clone)]
pub(crate) struct WordsFile {
    path: PathBuf,
}

impl WordsFile {
    /// In this data folder.
    pub(crate) fn of(data: &Path) -> WordsFile {
        let path = data.join(WORDS_FILE);
        WordsFile { path }
    }

    /// What was said before; nothing where there is no file.
    ///
    /// # Errors
    /// What the system says, or which line is damaged: a server that is being worked on is not to get calls because
    /// nobody can read that it should not.
    pub(crate) fn read(&self) -> io::Result<Vec<(String, Wanted)>> {
        let text = match fs::metadata(&self.path) {
            Ok(about) if about.len() > FILE_BYTES_MAX => return Err(self.damaged("too long")),
            Ok(_) => fs::read_to_string(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let words = text.lines().map(|line| {
            let read = match line.split_once(' ') {
                Some(("drained", name)) => Some((name.to_owned(), Wanted::Drained)),
                Some(("disabled", name)) => Some((name.to_owned(), Wanted::Disabled)),
                _ => None,
            };
            read.ok_or_else(|| self.damaged(line))
        });
        words.collect()
    }

    fn damaged(&self, what: &str) -> io::Error {
        let told = format!(
            "{} is damaged ({what:?}); correct or remove it",
            self.path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, told)
    }

    /// Replaces what was said.
    ///
    /// # Errors
    /// What the system says; then the file is as it was.
    pub(crate) fn write(&self, words: &[(String, Wanted)]) -> io::Result<()> {
        let line = |(name, wanted): &(String, Wanted)| match wanted {
            Wanted::Open => String::new(),
            Wanted::Drained => format!("drained {name}\n"),
            Wanted::Disabled => format!("disabled {name}\n"),
        };
        let text: String = words.iter().map(line).collect();
        let partial = self.path.with_extension("new");
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = WordsFile::of(folder.path());
        assert_eq!(file.read().expect("none yet"), []);
        let words = [
            ("sip:10.0.0.30:5060".to_owned(), Wanted::Drained),
            ("a service".to_owned(), Wanted::Disabled),
        ];
        file.write(&words).expect("written");
        assert_eq!(file.read().expect("read"), words);
        file.write(&[]).expect("written");
        assert_eq!(file.read().expect("read"), []);
    }

    #[test]
    fn a_damaged_file_is_not_guessed_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = WordsFile::of(folder.path());
        fs::write(folder.path().join(WORDS_FILE), "drained sip:a\nout sip:b\n").expect("written");
        let error = file.read().expect_err("damaged").to_string();
        assert!(
            error.contains("out sip:b") && error.contains("remove it"),
            "{error}"
        );
    }
}
