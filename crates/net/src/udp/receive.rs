//! Datagrams coming in.

use crate::sys::ReceiveSlots;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A received datagram, in the memory of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// Who sent it; an IPv4-mapped IPv6 address is given as IPv4.
    pub source: SocketAddr,
    /// The address and port of this machine it was sent to.
    pub local: SocketAddr,
    /// It was longer than a slot, and its end is lost.
    pub truncated: bool,
}

/// Reusable room for the datagrams of one receive. It takes 65 KiB of address space a slot, of
/// which only the pages that datagrams were written to take memory.
pub struct ReceiveBatch {
    slots: ReceiveSlots,
    count: usize,
    bound: SocketAddr,
}

impl ReceiveBatch {
    /// Room for `size` datagrams, at least one.
    pub fn new(size: usize) -> ReceiveBatch {
        ReceiveBatch {
            slots: ReceiveSlots::new(size.max(1)),
            count: 0,
            bound: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        }
    }

    /// The most datagrams it holds.
    pub fn size(&self) -> usize {
        self.slots.size()
    }

    /// The number of datagrams of the last receive.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when the last receive brought nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Datagram number `index` of the last receive.
    pub fn datagram(&self, index: usize) -> Option<Datagram<'_>> {
        if index >= self.count {
            return None;
        }
        let local = match self.slots.destination(index) {
            Some(ip) if ip != self.bound.ip() => SocketAddr::new(ip, self.bound.port()),
            _ => self.bound,
        };
        Some(Datagram {
            bytes: self.slots.payload(index),
            source: self.slots.source(index)?,
            local,
            truncated: self.slots.truncated(index),
        })
    }

    /// The datagrams of the last receive, in the order they came.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.count).filter_map(|index| self.datagram(index))
    }

    pub(super) fn begin(&mut self, bound: SocketAddr) {
        self.count = 0;
        self.bound = bound;
    }

    pub(super) fn slots_mut(&mut self) -> &mut ReceiveSlots {
        &mut self.slots
    }

    pub(super) fn fill(&mut self, count: usize) {
        self.count = count;
    }
}

impl fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("size", &self.size())
            .field("len", &self.count)
            .finish()
    }
}
