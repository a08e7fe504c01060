//! Recordings that are saved while they are made.
//!
//! The pieces of a recording lie beside its place (`NAME.parts/00000001`), each safe before the next is
//! written. At its end they are put together as a WAV file under the name, and removed. Whoever finds pieces
//! that nobody goes on with puts together what is there.

use crate::objects::{Listed, ObjectError, Objects};

/// How the sound of a recording is written down.
#[derive(Debug, Clone, Copy)]
pub struct Sound {
    /// The head of the finished file for so many bytes of sound.
    pub header: fn(rate_hz: u32, sound_bytes: u32) -> Vec<u8>,
    /// Samples a second.
    pub rate_hz: u32,
}

/// A recording that is being made.
#[derive(Debug)]
pub struct Recording {
    objects: Objects,
    path: String,
    sound: Sound,
    next: u32,
    bytes: u64,
}

/// What follows the name of a recording that is not finished.
const PARTS: &str = ".parts";

/// How far from the last piece another node goes on: who had the recording before may still write one, and spoils nothing.
const APART: u32 = 100;

fn part(path: &str, number: u32) -> String {
    format!("{path}{PARTS}/{number:08}")
}

impl Recording {
    /// Begins a recording, or goes on with one that another node began.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn begin(
        objects: Objects,
        path: String,
        sound: Sound,
        goes_on: bool,
    ) -> Result<Recording, ObjectError> {
        let (mut next, mut bytes) = (0, 0);
        if goes_on {
            for one in objects.list(&format!("{path}{PARTS}")).await? {
                let number = one
                    .name
                    .rsplit('/')
                    .next()
                    .and_then(|name| name.parse().ok());
                next = next.max(number.map_or(0, |number: u32| number.saturating_add(APART)));
                bytes += one.size_bytes;
            }
        }
        Ok(Recording {
            objects,
            path,
            sound,
            next,
            bytes,
        })
    }

    /// Bytes of sound that are safe.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Saves the next piece; when this returns it is safe. After an error the same piece may be tried again.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn append(&mut self, piece: Vec<u8>) -> Result<(), ObjectError> {
        let bytes = piece.len() as u64;
        self.objects
            .put(&part(&self.path, self.next), piece)
            .await?;
        self.next += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Puts the pieces together under the recording's name. When this returns it is safe, and the pieces are gone.
    ///
    /// # Errors
    /// What the media store may answer; the pieces are still there then.
    pub async fn finish(self) -> Result<(), ObjectError> {
        finish(&self.objects, &self.path, self.sound).await
    }
}

/// Puts together what there is of a recording.
///
/// # Errors
/// [`ObjectError::NotFound`] if there is nothing, [`ObjectError::TooLarge`], and what the media store may answer.
pub async fn finish(objects: &Objects, path: &str, sound: Sound) -> Result<(), ObjectError> {
    let parts = objects.list(&format!("{path}{PARTS}")).await?;
    if parts.is_empty() {
        // It was finished before, or there never was anything.
        return objects.read(path).await.map(|_| ());
    }
    // The first goes first. What is left of a recording that was put together would spoil it.
    if parts[0].name != part(path, 0) && objects.read(path).await.is_ok() {
        return remove(objects, &parts).await;
    }
    let size_bytes = parts.iter().map(|one| one.size_bytes).sum::<u64>();
    let sound_bytes = match u32::try_from(size_bytes) {
        Ok(bytes) if size_bytes < crate::OBJECT_BYTES_MAX => bytes,
        _ => return Err(ObjectError::TooLarge { size_bytes }),
    };
    let mut file = (sound.header)(sound.rate_hz, sound_bytes);
    file.reserve(size_bytes as usize);
    for one in &parts {
        file.extend_from_slice(&objects.read(&one.name).await?);
    }
    objects.put(path, file).await?;
    remove(objects, &parts).await
}

async fn remove(objects: &Objects, parts: &[Listed]) -> Result<(), ObjectError> {
    for one in parts {
        objects.remove(&one.name).await?;
    }
    Ok(())
}

/// The recordings below `prefix` that were not finished and to which nothing was added since `before_unix_ms`, and how many bytes
/// of sound each has.
///
/// # Errors
/// What the media store may answer.
pub async fn unfinished(
    objects: &Objects,
    prefix: &str,
    before_unix_ms: u64,
) -> Result<Vec<(String, u64)>, ObjectError> {
    let mut found: Vec<(String, u64, u64)> = Vec::new();
    for one in objects.list(prefix).await? {
        let Some((path, number)) = one.name.rsplit_once('/') else {
            continue;
        };
        let Some(path) = path.strip_suffix(PARTS) else {
            continue;
        };
        if number.parse::<u32>().is_err() {
            continue;
        }
        match found.last_mut().filter(|(known, ..)| known == path) {
            Some((_, bytes, written)) => {
                *bytes += one.size_bytes;
                *written = (*written).max(one.written_unix_ms);
            }
            None => found.push((path.to_owned(), one.size_bytes, one.written_unix_ms)),
        }
    }
    found.retain(|(_, _, written)| *written < before_unix_ms);
    Ok(found
        .into_iter()
        .map(|(path, bytes, _)| (path, bytes))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::objects::Place;

    const SOUND: Sound = Sound {
        header: |rate_hz, bytes| format!("{rate_hz}:{bytes}:").into_bytes(),
        rate_hz: 8_000,
    };

    fn opened() -> (tempfile::TempDir, Objects) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().into());
        let objects = Objects::open(&place, Duration::from_secs(5)).unwrap();
        (folder, objects)
    }

    #[tokio::test]
    async fn pieces_become_a_file() {
        let (_folder, objects) = opened();
        let path = "voicemail/100/1.wav".to_owned();
        let mut recording = Recording::begin(objects.clone(), path.clone(), SOUND, false)
            .await
            .unwrap();
        for piece in ["one ", "two ", "three"] {
            recording.append(piece.into()).await.unwrap();
        }
        assert_eq!(recording.bytes(), 13);
        recording.finish().await.unwrap();
        assert_eq!(objects.read(&path).await.unwrap(), b"8000:13:one two three");
        assert_eq!(objects.list("").await.unwrap().len(), 1);
        // Another node that did not hear of it finishes it again.
        finish(&objects, &path, SOUND).await.unwrap();
        assert_eq!(objects.read(&path).await.unwrap(), b"8000:13:one two three");
    }

    #[tokio::test]
    async fn pieces_that_a_crash_left_beside_their_file_do_not_replace_it() {
        let (_folder, objects) = opened();
        let path = "r/1.wav";
        let begun = Recording::begin(objects.clone(), path.into(), SOUND, false);
        let mut recording = begun.await.unwrap();
        for piece in ["one ", "two ", "three"] {
            recording.append(piece.into()).await.unwrap();
        }
        recording.finish().await.unwrap();
        // As if only the first had been removed.
        for (number, piece) in [(1, "two "), (2, "three")] {
            objects
                .put(&part(path, number), piece.into())
                .await
                .unwrap();
        }
        finish(&objects, path, SOUND).await.unwrap();
        assert_eq!(objects.read(path).await.unwrap(), b"8000:13:one two three");
        assert_eq!(objects.list("").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn another_node_goes_on_after_the_last_piece() {
        let (_folder, objects) = opened();
        let begin = |goes_on| Recording::begin(objects.clone(), "r/1.wav".into(), SOUND, goes_on);
        let mut first = begin(false).await.unwrap();
        first.append(b"ab".to_vec()).await.unwrap();
        first.append(b"cd".to_vec()).await.unwrap();
        drop(first);
        let mut second = begin(true).await.unwrap();
        assert_eq!(second.bytes(), 4);
        second.append(b"ef".to_vec()).await.unwrap();
        second.finish().await.unwrap();
        assert_eq!(objects.read("r/1.wav").await.unwrap(), b"8000:6:abcdef");
    }

    #[tokio::test]
    async fn what_a_crash_left_is_found() {
        let (_folder, objects) = opened();
        for path in ["voicemail/1/a.wav", "voicemail/2/b.wav"] {
            let begun = Recording::begin(objects.clone(), path.into(), SOUND, false);
            let mut recording = begun.await.unwrap();
            recording.append(vec![7; 5]).await.unwrap();
            recording.append(vec![7; 5]).await.unwrap();
        }
        objects.put("voicemail/1/whole.wav", vec![1]).await.unwrap();
        assert!(
            unfinished(&objects, "voicemail", 1)
                .await
                .unwrap()
                .is_empty()
        );
        let found = unfinished(&objects, "voicemail", u64::MAX).await.unwrap();
        let expected = [("voicemail/1/a.wav", 10), ("voicemail/2/b.wav", 10)];
        assert_eq!(
            found,
            expected.map(|(path, bytes)| (path.to_owned(), bytes))
        );
        assert!(matches!(
            finish(&objects, "voicemail/3/c.wav", SOUND).await,
            Err(ObjectError::NotFound)
        ));
    }
}
