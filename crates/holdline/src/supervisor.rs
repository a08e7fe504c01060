//! The process that watches the node's process, and what both tell each other and systemd.
//!
//! `holdline run` of a node in a cluster is two processes. The parent ([`supervise`]) starts the node and hears its beats. When
//! the node dies or stops beating, the parent kills it, withdraws its addresses and releases its records, in this order
//! (rule R6 of `docs/ownership.md`), so that a standby takes over at once; then it starts the node again, as a member. The
//! node's side is [`attach`] and [`Pulse`].
//!
//! The two are joined by a pair of sockets, of which the node has its end as standard input: no name that somebody else
//! could use, and no descriptor that has to be taken on trust.

mod estate;
mod heirs;
mod parent;
mod pulse;
mod systemd;
mod word;

pub use estate::{Estate, Withdraw, Withdrawal};
pub use parent::{SuperviseError, Supervision, supervise};
pub(crate) use pulse::orphaned;
pub use pulse::{Pulse, attach, pulse};

use word::Word;

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The node takes work.
    Ready,
    /// The node ends.
    Stopping,
}

/// Tells the supervisor that started this process, if there is one that listens: our own, which passes it on, or systemd.
/// It is a courtesy: failures change nothing.
pub(crate) fn tell(told: Told) {
    match pulse() {
        Some(pulse) => pulse.say(Word::Told(told)),
        None => systemd::tell(told),
    }
}
