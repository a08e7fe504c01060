//! All sessions of one thread.

use std::net::SocketAddr;

use crate::report::{Reason, Report, Totals};
use crate::settings::Settings;
use crate::types::{Command, Event, Port, SessionId, Time};

/// Streams of a session.
pub const STREAMS_MAX: u8 = 32;
/// Sides of a session: the caller and the branches of his INVITE.
pub const SIDES_MAX: u8 = 16;

/// All sessions of one thread.
#[derive(Debug)]
pub struct Relay {
    totals: Totals,
    events: Vec<Event>,
    freed: Vec<Port>,
}

impl Relay {
    /// A relay without sessions on so many sockets.
    pub fn new(_settings: Settings, _sockets: u32) -> Relay {
        Relay {
            totals: Totals::default(),
            events: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Does what the controller wants.
    pub fn command(&mut self, _now: Time, _command: Command) {}

    /// Decides about a packet: the socket to send it from, and where to. None: it is dropped and counted.
    pub fn receive(
        &mut self,
        _now: Time,
        _socket: u32,
        _source: SocketAddr,
        _packet: &mut [u8],
    ) -> Option<(u32, SocketAddr)> {
        self.totals.dropped.add(Reason::NoSession, 1);
        None
    }

    /// Closes sessions that are dead. Does a bounded part of the work; what is left is due at once by
    /// [`Relay::next`].
    pub fn expire(&mut self, _now: Time) {}

    /// When [`Relay::expire`] is to be called next.
    pub fn next(&self) -> Option<Time> {
        None
    }

    /// What the controller is to be told, to be drained.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// Ports that belong to no session any more, to be drained into the [`crate::PortTable`]: each once.
    pub fn freed(&mut self) -> &mut Vec<Port> {
        &mut self.freed
    }

    /// What has become of a session up to now.
    pub fn report(&self, _session: SessionId) -> Option<Report> {
        None
    }

    /// Counts over all sessions since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }
}
