//! The operator's words about targets: who is drained, who is taken out, until the word is taken back.
//!
//! A word belongs to a name, not to a place in a table: a target that DNS takes away and brings back, or that a reload
//! names again, comes back as the operator left it.

use crate::error::Error;
use crate::event::{Reason, TargetId};
use crate::pools::Pools;
use crate::settings::TARGETS_MAX;
use crate::target::{Key, Wanted};
use crate::time::Time;

/// Names that an operator's word is kept for; further ones are refused.
pub const WORDS_MAX: usize = TARGETS_MAX;

impl Pools {
    /// Says what the operator wants of a target, and of whoever has its name later.
    ///
    /// # Errors
    /// [`Error::NoSuchTarget`] once it is gone, [`Error::TooManyWords`] beyond [`WORDS_MAX`]; then nothing has changed.
    pub fn set_wanted(&mut self, now: Time, target: TargetId, wanted: Wanted) -> Result<(), Error> {
        let one = self.target(target).ok_or(Error::NoSuchTarget)?;
        let name = one.key.as_str().to_owned();
        self.keep_word(&name, wanted)?;
        self.obey(now, target.index, wanted);
        Ok(())
    }

    /// The same by the URI or service name of a target, which need not be there yet, or any more.
    ///
    /// # Errors
    /// [`Error::TooManyWords`] beyond [`WORDS_MAX`]; then nothing has changed.
    pub fn set_wanted_of(&mut self, now: Time, name: &str, wanted: Wanted) -> Result<(), Error> {
        self.keep_word(name, wanted)?;
        for key in [Key::Uri(name.to_owned()), Key::Service(name.to_owned())] {
            if let Some(&index) = self.keys.get(&key) {
                self.obey(now, index, wanted);
            }
        }
        Ok(())
    }

    /// What the operator wants of whom, by name: the names that are drained or disabled.
    pub fn words(&self) -> impl Iterator<Item = (&str, Wanted)> {
        let words = self.words.iter();
        words.map(|(name, wanted)| (name.as_str(), *wanted))
    }

    fn keep_word(&mut self, name: &str, wanted: Wanted) -> Result<(), Error> {
        if wanted == Wanted::Open {
            self.words.remove(name);
            return Ok(());
        }
        if self.words.len() >= WORDS_MAX && !self.words.contains_key(name) {
            return Err(Error::TooManyWords);
        }
        self.words.insert(name.to_owned(), wanted);
        Ok(())
    }

    /// What is wanted of a target that joins.
    pub(crate) fn word_about(&self, key: &Key) -> Wanted {
        let word = self.words.get(key.as_str());
        word.copied().unwrap_or(Wanted::Open)
    }

    fn obey(&mut self, now: Time, index: u16, wanted: Wanted) {
        let Some(one) = self.slot_mut(index) else {
            return;
        };
        let was = one.wanted;
        one.wanted = wanted;
        if was == Wanted::Disabled && wanted != Wanted::Disabled {
            one.health.start_over(now);
        }
        if wanted == Wanted::Open && was != Wanted::Open {
            one.warm(now);
        }
        self.publish(index, now, Reason::Operator);
    }
}
