//! What the core wants done.

use proxy::Resolve;
use records::Changes;
use registrar::Change;
use transaction::{Outbox, Time};

use crate::sources::Ban;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the monotonic clock.
    pub time: Time,
    /// Milliseconds since 1970, for what outlives the process.
    pub unix_ms: u64,
}

impl Now {
    /// Seconds since 1970.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1_000
    }
}

/// What is to be done after one or more inputs. The driver empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages to be sent now.
    pub outbox: Outbox,
    /// Changes of bindings that are to be durable before the answers in `commits` leave.
    pub durable: Vec<Change>,
    /// Answers that wait for `durable`; each is to come back by [`Edge::stored`](crate::Edge::stored).
    pub commits: Vec<u64>,
    /// Changes that may be written within a second.
    pub deferred: Vec<Change>,
    /// Whose ends `deferred` writes: once it is durable, [`registrar::Location::committed`] is to hear of
    /// each, so that the next refresh need not be waited for.
    pub renewals: Renewals,
    /// Names to be resolved.
    pub resolves: Vec<Resolve>,
    /// What happened to calls.
    pub calls: Vec<proxy::Event>,
    /// What happened to bindings.
    pub bindings: Vec<BindingNote>,
    /// Bans that began; at most [`BANS_MAX`].
    pub bans: Vec<Ban>,
    /// Whether anybody listens to events.
    pub is_watched: bool,
    /// What a standby has to know before the messages of this turn may leave; filled by
    /// [`Edge::note`](crate::Edge::note) of an owner, otherwise empty. The driver puts it into a batch and clears it.
    ///
    /// **The order of messages** (output commit, design section 2.3): if there are changes, all messages of the turn
    /// wait until the batch with them is committed. While any batch of this thread is not committed, the messages of
    /// later turns wait behind the last such batch, whether or not they brought changes of their own: what one thread
    /// sends leaves in the order in which it was made, so that nothing overtakes within a Call-ID, at the price that
    /// what depends on nothing (a challenge, an answer sent again) waits for a commit that others wait for anyway. Where
    /// no batch is on its way, a turn without changes sends at once. What a node discards since it lost its authority,
    /// the next owner sends again or is asked for again.
    ///
    /// Commands to the relay, look-ups and what goes to the store do not wait: a peer does not notice them.
    pub changes: Changes,
    /// Whether a standby is in sync, so that a registration is safe when the standby has it; the store follows
    /// within a second. If not, phones wait for the store, as without a cluster. Set by the driver before a turn.
    pub has_standby: bool,
}

/// Most bans that are told in a turn; the rest are in force all the same.
pub const BANS_MAX: usize = 64;

/// Bindings with the ends that a write gives them, in two buffers whatever their number.
#[derive(Debug, Default)]
pub struct Renewals {
    aors: Vec<u8>,
    /// Where its address of record ends in `aors`, its number, its end in seconds since 1970.
    entries: Vec<(usize, u64, u64)>,
}

impl Renewals {
    /// Adds the binding `id` of `aor`, which ends at `expires_at_unix_s`.
    pub fn push(&mut self, aor: &[u8], id: u64, expires_at_unix_s: u64) {
        self.aors.extend_from_slice(aor);
        self.entries.push((self.aors.len(), id, expires_at_unix_s));
    }

    /// Address of record, number and end of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64, u64)> {
        let mut start = 0;
        self.entries
            .iter()
            .map(move |&(end, id, expires_at_unix_s)| {
                let aor = &self.aors[start..end];
                start = end;
                (aor, id, expires_at_unix_s)
            })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.aors.clear();
        self.entries.clear();
    }
}

/// Something that happened to a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingNote {
    /// What.
    pub kind: registrar::EventKind,
    /// Whose.
    pub aor: Box<[u8]>,
    /// The contact.
    pub contact: Box<[u8]>,
}

/// Things counted by reason.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    entries: Vec<(&'static str, u64)>,
}

impl Counted {
    /// Counts one.
    pub fn add(&mut self, reason: &'static str) {
        match self.entries.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.entries.push((reason, 1)),
        }
    }

    /// The reasons and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.entries.iter().copied()
    }

    /// How often a reason was counted.
    pub fn of(&self, reason: &str) -> u64 {
        self.entries
            .iter()
            .find(|(known, _)| *known == reason)
            .map_or(0, |(_, count)| *count)
    }
}
