//! Sounds that are played from memory: prompts, tones, music.

use std::path::{Path, PathBuf};

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
}

impl Sounds {
    /// All prompts, decoded: this takes a moment.
    pub(crate) fn new(folder: Option<PathBuf>, country: Country) -> Sounds {
        let sounds = Sounds {
            folder,
            country,
            library: SoundLibrary::new(),
        };
        sounds.load();
        sounds
    }

    /// Reads and decodes all prompts again; what is played goes on.
    pub(crate) fn load(&self) {
        let folders: Vec<&Path> = self.folder.as_deref().into_iter().collect();
        for error in self.library.load(&folders) {
            tracing::warn!(%error, "a prompt is left out");
        }
        for (name, file) in ours() {
            if let Err(error) = self.library.add(name, file.to_vec()) {
                tracing::error!(%error, "a prompt of ours is left out");
            }
        }
    }

    /// Adds what a sound is made of; gives whether it is known.
    pub(crate) fn add(&self, sound: &control::Sound, out: &mut Vec<Sound>) -> bool {
        match sound {
            control::Sound::Prompt(name) => self.prompt(name, out),
            control::Sound::Number(number) => {
                let names = digits(&number.to_string());
                names.iter().all(|name| self.prompt(name, out))
            }
            control::Sound::Digits(digits) => {
                let names = self::digits(digits);
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

/// Prompts that are part of the program.
fn ours() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    std::iter::empty()
}

/// The prompts of digits, one by one.
fn digits(digits: &str) -> Vec<String> {
    digits
        .chars()
        .map(|digit| format!("digits/{digit}"))
        .collect()
}
