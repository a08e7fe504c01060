//! Sounds that are played from memory: prompts, tones, music.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use audio::SampleRate;
use audio::tone::{Country, Tone};
use pbx::control;
use voice::Sound;

use crate::voice::SoundLibrary;

/// Prompts, tones and music, decoded once.
pub(crate) struct Sounds {
    /// The operator's own prompts, which go before ours.
    folder: Option<PathBuf>,
    country: Country,
    library: SoundLibrary,
    /// Files that could not be used when they were read last.
    left_out: AtomicUsize,
}

impl Sounds {
    /// No prompts yet: [`Sounds::load`] brings them.
    pub(crate) fn new(folder: Option<PathBuf>, country: Country) -> Sounds {
        Sounds {
            folder,
            country,
            library: SoundLibrary::new(),
            left_out: AtomicUsize::new(0),
        }
    }

    /// Whether the operator has prompts of their own.
    pub(crate) fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Reads the operator's folder anew, and decodes all prompts: this takes a moment. What is played goes on.
    pub(crate) fn load(&self) {
        let folders: Vec<&Path> = self.folder.as_deref().into_iter().collect();
        let ours = pbx::prompts::names().filter_map(|name| Some((name, pbx::prompts::find(name)?)));
        let errors = self.library.load(&folders, ours);
        self.left_out.store(errors.len(), Ordering::Relaxed);
        for error in errors {
            tracing::warn!(%error, "a prompt is left out; where we have one of that name, ours is played");
        }
    }

    /// How many of the operator's files could not be used when they were read last.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Adds what a sound is made of; gives whether it is known.
    pub(crate) fn add(&self, sound: &control::Sound, out: &mut Vec<Sound>) -> bool {
        match sound {
            control::Sound::Prompt(name) => self.prompt(name, out),
            control::Sound::Number(number) => {
                let names = pbx::prompts::number(*number);
                names.iter().all(|name| self.prompt(name, out))
            }
            control::Sound::Digits(digits) => {
                let names = pbx::prompts::digits(digits);
                names.iter().all(|name| self.prompt(name, out))
            }
            control::Sound::Tone(name) => match self.tone(name) {
                Some(sound) => {
                    out.push(sound);
                    true
                }
                None => false,
            },
            control::Sound::Music(class) => {
                self.prompt(&format!("music/{class}"), out) || self.prompt("music/default", out)
            }
            control::Sound::File(_) => {
                out.push(Sound::Feed {
                    rate: SampleRate::Hz16000,
                });
                true
            }
            control::Sound::Silence(ms) => {
                out.push(Sound::Silence { ms: *ms });
                true
            }
        }
    }

    fn prompt(&self, name: &str, out: &mut Vec<Sound>) -> bool {
        match self.library.clip(name) {
            Some(clip) => {
                out.push(Sound::Clip(clip));
                true
            }
            None => false,
        }
    }

    fn tone(&self, name: &str) -> Option<Sound> {
        let progress = self.country.progress();
        let forever = |tone| Some(Sound::Tone { tone, ms: 0 });
        match name {
            "ringback" => forever(progress.ringing),
            "busy" => forever(progress.busy),
            "congestion" | "reorder" => forever(progress.congestion),
            "milliwatt" => forever(Tone::MILLIWATT),
            "beep" => Some(Sound::Tone {
                tone: Tone::steady([1_000, 0]),
                ms: 250,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_ours_are_there_when_they_are_loaded_and_none_before() {
        let sounds = Sounds::new(None, Country::Us);
        let mut out = Vec::new();
        assert!(!sounds.add(&control::Sound::Prompt("welcome".to_owned()), &mut out));
        sounds.load();
        for name in pbx::prompts::names() {
            let sound = control::Sound::Prompt(name.to_owned());
            assert!(sounds.add(&sound, &mut out), "{name}");
        }
    }
}
