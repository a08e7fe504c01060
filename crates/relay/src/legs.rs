//! All legs of a relay and the sockets that they own.

use crate::leg::{Leg, NONE};
use crate::types::Port;
use slab::Slab;

/// Legs by number and by socket. A leg owns both sockets of its port as long as it is open.
#[derive(Debug)]
pub(crate) struct Legs {
    slab: Slab<Leg>,
    /// By socket: the leg it belongs to, or [`NONE`].
    sockets: Vec<u32>,
    freed: Vec<Port>,
}

impl Legs {
    pub(crate) fn new(sockets: u32) -> Legs {
        Legs {
            slab: Slab::with_capacity(sockets as usize / 2),
            sockets: vec![NONE; sockets as usize],
            freed: Vec::new(),
        }
    }

    /// The leg that a socket belongs to, or [`NONE`].
    #[inline]
    pub(crate) fn of_socket(&self, socket: u32) -> u32 {
        self.sockets.get(socket as usize).copied().unwrap_or(NONE)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Leg> {
        self.slab.get(index as usize)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Leg> {
        self.slab.get_mut(index as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is such a pair of sockets.
    pub(crate) fn has(&self, port: Port) -> bool {
        (port.0 as usize).saturating_add(1) < self.sockets.len()
    }

    /// The leg that has one of the pair's sockets, or [`NONE`].
    pub(crate) fn owner(&self, port: Port) -> u32 {
        match self.of_socket(port.0) {
            NONE => self.of_socket(port.0 + 1),
            owner => owner,
        }
    }

    /// Opens a leg on its port, which has to be there and to have no owner.
    pub(crate) fn open(&mut self, leg: Leg) -> u32 {
        let port = leg.port;
        debug_assert!(self.has(port) && self.owner(port) == NONE);
        let index = self.slab.insert(leg) as u32;
        self.own(port, index);
        index
    }

    /// Closes a leg: its sockets belong to nobody, and its port is freed.
    pub(crate) fn close(&mut self, index: u32) -> Option<Leg> {
        let leg = self.slab.try_remove(index as usize)?;
        self.own(leg.port, NONE);
        self.freed.push(leg.port);
        Some(leg)
    }

    /// Frees a port that was not opened.
    pub(crate) fn turn_away(&mut self, port: Port) {
        self.freed.push(port);
    }

    pub(crate) fn freed(&mut self) -> &mut Vec<Port> {
        &mut self.freed
    }

    fn own(&mut self, port: Port, owner: u32) {
        for socket in [port.0, port.0 + 1] {
            if let Some(entry) = self.sockets.get_mut(socket as usize) {
                *entry = owner;
            }
        }
    }
}
