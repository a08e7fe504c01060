//! Prompts and music in memory, decoded once and shared by all who play them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use audio::resample::convert;
use audio::{SampleRate, upload};
use voice::Clip;

/// Files of one folder, those below it included.
const FILES_MAX: usize = 4_096;
/// Folders below each other.
const DEPTH_MAX: usize = 8;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The longest sound that is kept in memory.
const SECONDS_MAX: u32 = 900;
/// Samples of all sounds, both rates counted: 512 MiB.
const SAMPLES_MAX: usize = 256 << 20;

/// Why a file is not in the library.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    File(PathBuf, io::Error),
    /// It is no sound that is known here.
    Sound(PathBuf, audio::Error),
    /// It is too large, or there are too many, or they are too long together.
    Full(PathBuf),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            LoadError::Sound(path, error) => write!(f, "{}: {error}", path.display()),
            LoadError::Full(path) => {
                write!(f, "{}: too large, or too much sound in all", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// What is in memory.
#[derive(Debug, Default)]
struct Shelf {
    clips: HashMap<String, Clip>,
    samples: usize,
}

/// Sounds by name. The name of a file is its path below the folder without what follows the last dot: `voicemail/greeting`.
#[derive(Debug, Default)]
pub struct SoundLibrary {
    shelf: RwLock<Arc<Shelf>>,
}

impl SoundLibrary {
    /// An empty library.
    pub fn new() -> SoundLibrary {
        SoundLibrary::default()
    }

    /// Replaces all sounds by those of the folders; of one name the last folder's is taken. What is played goes on. Gives why files were left
    /// out; a folder that is not there is one of them. It reads and decodes: call it where waiting is allowed.
    pub fn load(&self, folders: &[&Path]) -> Vec<LoadError> {
        let mut errors = Vec::new();
        let mut files = HashMap::new();
        for folder in folders {
            find_files(folder, folder, 0, &mut files, &mut errors);
        }
        let mut shelf = Shelf::default();
        let mut names: Vec<(String, PathBuf)> = files.into_iter().collect();
        names.sort();
        for (name, path) in names {
            if let Err(error) = read(&path).and_then(|file| shelf.add(name, file, &path)) {
                errors.push(error);
            }
        }
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shelf);
        errors
    }

    /// Adds a sound that is part of the program, unless one of that name is there.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn add(&self, name: &str, file: Vec<u8>) -> Result<(), LoadError> {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        if shelf.clips.contains_key(name) {
            return Ok(());
        }
        let mut added = Shelf {
            clips: shelf.clips.clone(),
            samples: shelf.samples,
        };
        added.add(name.to_owned(), file, Path::new(name))?;
        *shelf = Arc::new(added);
        Ok(())
    }

    /// A sound.
    pub fn clip(&self, name: &str) -> Option<Clip> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.clips.get(name).cloned()
    }

    /// Names of all sounds, in order.
    pub fn names(&self) -> Vec<String> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = shelf.clips.keys().cloned().collect();
        names.sort();
        names
    }
}

impl Shelf {
    fn add(&mut self, name: String, file: Vec<u8>, path: &Path) -> Result<(), LoadError> {
        let wide = upload::decode(file, SampleRate::Hz16000, SECONDS_MAX)
            .map_err(|error| LoadError::Sound(path.to_owned(), error))?;
        let narrow = convert(&wide, SampleRate::Hz16000.hz(), SampleRate::Hz8000);
        let samples = self.samples + wide.len() + narrow.len();
        if samples > SAMPLES_MAX {
            return Err(LoadError::Full(path.to_owned()));
        }
        self.samples = samples;
        let clip = Clip::new(Arc::from(narrow), Arc::from(wide));
        self.clips.insert(name, clip);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |error| LoadError::File(path.to_owned(), error);
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(LoadError::Full(path.to_owned()));
    }
    std::fs::read(path).map_err(failed)
}

/// Finds the files of a folder by their names. Names that begin with a dot are left out.
fn find_files(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut HashMap<String, PathBuf>,
    errors: &mut Vec<LoadError>,
) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(LoadError::File(folder.to_owned(), error));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            match depth < DEPTH_MAX {
                true => find_files(root, &path, depth + 1, files, errors),
                false => errors.push(LoadError::Full(path)),
            }
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).with_extension("");
        // What is no text cannot be asked for.
        let Some(name) = name.to_str() else { continue };
        if files.len() >= FILES_MAX && !files.contains_key(name) {
            errors.push(LoadError::Full(path));
            continue;
        }
        files.insert(name.to_owned(), path);
    }
}
