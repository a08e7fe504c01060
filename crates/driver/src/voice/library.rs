//! Prompts and music in memory, decoded once and shared by all who play them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
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
/// Threads that decode.
const THREADS_MAX: usize = 8;

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

/// Sounds by name. The name of a file is its path below the folder without what follows the last dot: `voicemail/greeting`.
#[derive(Debug, Default)]
pub struct SoundLibrary {
    shelf: RwLock<Arc<HashMap<String, Clip>>>,
}

/// Where a sound is read from.
enum Source<'a> {
    File(PathBuf),
    Memory(&'a [u8]),
}

/// The name of a sound that is to be read from a file.
fn file_name<'s>((name, source): &'s (String, Source<'_>)) -> Option<&'s str> {
    matches!(source, Source::File(_)).then_some(name)
}

impl SoundLibrary {
    /// An empty library.
    pub fn new() -> SoundLibrary {
        SoundLibrary::default()
    }

    /// Replaces all sounds by `own`, those that are part of the program, and those of the folders; of one name the last folder's
    /// is taken, and ours in the place of a file that is no sound. What is played goes on, and who asks meanwhile is given what was there
    /// before. Gives why files were left out; a folder that is not there is one of them. It reads and decodes, on all processors: call it where waiting is allowed.
    pub fn load<'a>(
        &self,
        folders: &[&Path],
        own: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<LoadError> {
        let mut errors = Vec::new();
        let mut files = HashMap::new();
        for folder in folders {
            find_files(folder, folder, 0, &mut files, &mut errors);
        }
        let own: HashMap<&str, &[u8]> = own.collect();
        let ours = own
            .iter()
            .map(|(name, file)| ((*name).to_owned(), Source::Memory(file)));
        let files = files
            .into_iter()
            .map(|(name, path)| (name, Source::File(path)));
        let sources: BTreeMap<String, Source<'a>> = ours.chain(files).collect();
        let mut sources: Vec<_> = sources.into_iter().collect();
        let mut shelf = HashMap::with_capacity(sources.len());
        let samples = AtomicUsize::new(0);
        // The second time those of ours that stand behind a file of no use.
        while !sources.is_empty() {
            let mut hidden = Vec::new();
            let of_files: HashSet<&str> = sources.iter().filter_map(file_name).collect();
            for (name, decoded) in decode_all(&sources, &samples) {
                match decoded {
                    Ok(clip) => drop(shelf.insert(name, clip)),
                    Err(error) => {
                        let file = own.get(&*name).filter(|_| of_files.contains(&*name));
                        hidden.extend(file.map(|file| (name, Source::Memory(file))));
                        errors.push(error);
                    }
                }
            }
            sources = hidden;
        }
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shelf);
        errors
    }

    /// A sound. Nobody who asks waits for a file to be decoded.
    pub fn clip(&self, name: &str) -> Option<Clip> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.get(name).cloned()
    }

    /// Names of all sounds, in order.
    pub fn names(&self) -> Vec<String> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = shelf.keys().cloned().collect();
        names.sort();
        names
    }
}

/// Decodes on all processors, as far as there is room for the samples.
fn decode_all(
    sources: &[(String, Source<'_>)],
    samples: &AtomicUsize,
) -> Vec<(String, Result<Clip, LoadError>)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((name, source)) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((name.clone(), decode(name, source, samples)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(THREADS_MAX))
            .map(|_| scope.spawn(work))
            .collect();
        // One that a decoder's mistake ended takes its sounds with it.
        let done = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default());
        done.collect()
    })
}

fn decode(name: &str, source: &Source<'_>, samples: &AtomicUsize) -> Result<Clip, LoadError> {
    let (file, path) = match source {
        Source::File(path) => (read(path)?, path.clone()),
        Source::Memory(file) => (file.to_vec(), PathBuf::from(name)),
    };
    let wide = upload::decode(file, SampleRate::Hz16000, SECONDS_MAX)
        .map_err(|error| LoadError::Sound(path.clone(), error))?;
    let narrow = convert(&wide, SampleRate::Hz16000.hz(), SampleRate::Hz8000);
    let own = wide.len() + narrow.len();
    if samples.fetch_add(own, Ordering::Relaxed) + own > SAMPLES_MAX {
        samples.fetch_sub(own, Ordering::Relaxed);
        return Err(LoadError::Full(path));
    }
    Ok(Clip::new(Arc::from(narrow), Arc::from(wide)))
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
