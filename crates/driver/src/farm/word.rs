//! The operator's words about media servers, as the members of a cluster have them in common: said to the owner, known to
//! its standby, in force after a takeover.

use balancer::Wanted;
use records::Changes;

use super::NotSaid;
use crate::shared::Shared;

/// The kind of a word's record. Its key is the name of the media server, its value begins with what is wanted.
pub(crate) const WORD: u16 = 17;

const DRAINED: u8 = 1;
const DISABLED: u8 = 2;

fn note(changes: &mut Changes, name: &str, wanted: Wanted) {
    // Names of targets are shorter than keys of records may be; what is not replicated holds here all the same.
    let _ = match wanted {
        Wanted::Open => changes.remove(WORD, name.as_bytes()),
        Wanted::Drained => changes.put(WORD, name.as_bytes(), |out| out.push(DRAINED)),
        Wanted::Disabled => changes.put(WORD, name.as_bytes(), |out| out.push(DISABLED)),
    };
}

impl Shared {
    /// Says something of media servers, here and to the standby.
    pub(crate) fn say(
        &self,
        name: &str,
        pool: Option<&str>,
        wanted: Wanted,
    ) -> Result<Vec<String>, NotSaid> {
        let Some(place) = &self.place else {
            return self.set_wanted(name, pool, wanted);
        };
        if !place.desk.may_act() {
            return Err(NotSaid::NotOwner);
        }
        let said = self.set_wanted(name, pool, wanted)?;
        let mut changes = Changes::default();
        for name in &said {
            note(&mut changes, name, wanted);
        }
        place.desk.leave(&changes);
        Ok(said)
    }

    /// Leaves all words for the standby: nobody had them before.
    pub(crate) fn leave_words(&self) {
        let mut changes = Changes::default();
        for (name, wanted) in self.words() {
            note(&mut changes, &name, wanted);
        }
        if let Some(place) = &self.place
            && !changes.is_empty()
        {
            place.desk.leave(&changes);
        }
    }

    /// Takes a word of the owner's in; one of a later version is passed over.
    pub(crate) fn take_word(&self, name: &[u8], value: Option<&[u8]>) {
        let wanted = match value {
            None => Wanted::Open,
            Some([DRAINED, ..]) => Wanted::Drained,
            Some([DISABLED, ..]) => Wanted::Disabled,
            Some(_) => return,
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        let taken = self.with_farm(|inner, now| inner.pools.set_wanted_of(now, name, wanted));
        if let Err(error) = taken {
            tracing::warn!(%error, "an operator's word about a media server is not known here");
        }
    }

    /// Forgets all words: the owner tells his.
    pub(crate) fn forget_words(&self) {
        for (name, _) in self.words() {
            self.take_word(name.as_bytes(), None);
        }
    }
}
