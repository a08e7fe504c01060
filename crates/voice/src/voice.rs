//! All ends of one thread.

use std::net::SocketAddr;

use crate::command::Command;
use crate::event::Event;
use crate::report::{Report, Totals};
use crate::settings::Settings;
use crate::types::{EndId, PortId, Time};

/// All media of one thread.
#[derive(Debug)]
pub struct Voice {
    settings: Settings,
    sockets: u32,
    totals: Totals,
    events: Vec<Event>,
    freed: Vec<PortId>,
}

impl Voice {
    /// No ends, on so many sockets.
    pub fn new(settings: Settings, sockets: u32) -> Voice {
        Voice {
            settings,
            sockets,
            totals: Totals::default(),
            events: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Does what the controller wants.
    pub fn command(&mut self, now: Time, command: Command) {
        let _ = (now, command, &self.settings, self.sockets);
        self.totals.commands_unknown += 1;
    }

    /// Takes a packet that came to one of the sockets.
    pub fn receive(&mut self, now: Time, socket: u32, source: SocketAddr, packet: &[u8]) {
        let _ = (now, socket, source, packet);
    }

    /// Does all that is due until `now`; `send(socket, destination, packet)` is called for each packet that leaves.
    pub fn tick(&mut self, now: Time, send: impl FnMut(u32, SocketAddr, &[u8])) {
        let _ = send;
        self.totals.lateness.add(now.micros_since(now), 0);
    }

    /// When [`Voice::tick`] is to be called next.
    pub fn next(&self) -> Option<Time> {
        None
    }

    /// What the controller is to be told, to be drained.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// Ports that belong to no end any more, to be drained: each once.
    pub fn freed(&mut self) -> &mut Vec<PortId> {
        &mut self.freed
    }

    /// What has become of an end so far.
    pub fn report(&self, end: EndId) -> Option<Report> {
        let _ = end;
        None
    }

    /// Sums over all ends.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }
}
