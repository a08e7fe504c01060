//! All sessions of one thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::leg::Socket;
use crate::legs::Legs;
use crate::report::{Reason, Report, Totals};
use crate::session::Session;
use crate::settings::Settings;
use crate::types::{Event, Port, SessionId, Time};
use crate::wheel::Wheel;
use slab::Slab;

/// Streams of a session.
pub const STREAMS_MAX: u8 = 32;
/// Sides of a session: the caller and the branches of his INVITE.
pub const SIDES_MAX: u8 = 16;
/// Sessions that one call of [`Relay::expire`] looks at.
pub const EXPIRE_SESSIONS_MAX: usize = 256;
/// [`Event::Learned`] are left out while so many events wait. The others are not: they are as many as sessions and commands.
pub const LEARNED_EVENTS_MAX: usize = 4_096;

/// A session's silence is found this part of it late, at most.
const SILENCE_STEPS: u64 = 16;
/// The finest and the coarsest step in which dead sessions are looked for.
const STEP_US: std::ops::RangeInclusive<u64> = 10_000..=1_000_000;

/// All sessions of one thread.
#[derive(Debug)]
pub struct Relay {
    pub(crate) settings: Settings,
    pub(crate) legs: Legs,
    pub(crate) sessions: Slab<Session>,
    pub(crate) by_id: BTreeMap<SessionId, u32>,
    pub(crate) wheel: Wheel,
    pub(crate) totals: Totals,
    pub(crate) events: Vec<Event>,
    /// The latest time that it was told.
    pub(crate) now: Time,
}

impl Relay {
    /// A relay without sessions on so many sockets.
    pub fn new(settings: Settings, sockets: u32) -> Relay {
        let step_us = settings.silence_ms.saturating_mul(1_000) / SILENCE_STEPS;
        Relay {
            settings,
            legs: Legs::new(sockets),
            sessions: Slab::with_capacity(sockets as usize / 4),
            by_id: BTreeMap::new(),
            wheel: Wheel::new(step_us.clamp(*STEP_US.start(), *STEP_US.end())),
            totals: Totals::default(),
            events: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// Decides about a packet: the socket to send it from, and where to. None: it is dropped and counted. The packet is
    /// not changed.
    #[inline]
    pub fn receive(
        &mut self,
        now: Time,
        socket: u32,
        source: SocketAddr,
        packet: &mut [u8],
    ) -> Option<(u32, SocketAddr)> {
        let index = self.legs.of_socket(socket);
        let Some(leg) = self.legs.get_mut(index) else {
            self.totals.dropped.add(Reason::NoSession, 1);
            return None;
        };
        let side = match socket == leg.port.0 {
            true => Socket::Rtp,
            false => Socket::Rtcp,
        };
        let accepted = match leg.receive(now, side, source, packet, &self.settings) {
            Ok(accepted) => accepted,
            Err(reason) => {
                leg.drop_packet(reason);
                self.totals.dropped.add(reason, 1);
                return None;
            }
        };
        let peer = leg.peer;
        if accepted.is_new_source {
            self.note_learned(index);
        }
        let destination = match self.legs.get_mut(peer) {
            Some(peer) => {
                if accepted.is_rtcp {
                    peer.pass_rtcp(now, packet);
                }
                peer.destination(accepted.is_rtcp)
            }
            None => None,
        };
        if destination.is_none() {
            self.drop_without_destination(index);
            return None;
        }
        self.totals.packets += 1;
        self.totals.bytes += packet.len() as u64;
        self.totals.rtcp_packets += u64::from(accepted.is_rtcp);
        destination
    }

    #[cold]
    fn drop_without_destination(&mut self, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let session = self.sessions.get(leg.session as usize);
        let is_current = session.is_none_or(|session| session.is_current(leg.side));
        let reason = match is_current {
            true => Reason::NoDestination,
            false => Reason::NotSelected,
        };
        leg.drop_packet(reason);
        self.totals.dropped.add(reason, 1);
    }

    #[cold]
    fn note_learned(&mut self, index: u32) {
        self.totals.sources_learned += 1;
        let Some(leg) = self.legs.get(index) else {
            return;
        };
        let (Some(session), Some(source)) =
            (self.sessions.get(leg.session as usize), leg.guard.source())
        else {
            return;
        };
        if self.events.len() >= LEARNED_EVENTS_MAX {
            self.totals.events_left_out += 1;
            return;
        }
        self.events.push(Event::Learned {
            session: session.id,
            stream: leg.stream,
            side: leg.side,
            source,
        });
    }

    /// Closes sessions that are dead. Does a bounded part of the work; what is left is due at once by [`Relay::next`].
    pub fn expire(&mut self, now: Time) {
        self.now = self.now.max(now);
        for _ in 0..EXPIRE_SESSIONS_MAX {
            let Some(index) = self.wheel.pop(now) else {
                return;
            };
            let Some(session) = self.sessions.get(index as usize) else {
                continue;
            };
            let deadline = session.deadline(&self.legs, &self.settings);
            if deadline > now {
                self.wheel.put(now, index, deadline);
                continue;
            }
            let id = session.id;
            self.totals.sessions_silent += 1;
            if let Some(report) = self.end(index) {
                let report = Box::new(report);
                self.events.push(Event::Silent {
                    session: id,
                    report,
                });
            }
        }
    }

    /// When [`Relay::expire`] is to be called next.
    pub fn next(&self) -> Option<Time> {
        self.wheel.next()
    }

    /// What the controller is to be told, to be drained.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// Ports that belong to no session any more, to be drained into the [`crate::PortTable`]: each once.
    pub fn freed(&mut self) -> &mut Vec<Port> {
        self.legs.freed()
    }

    /// What has become of a session up to the latest command or [`Relay::expire`].
    pub fn report(&self, session: SessionId) -> Option<Report> {
        let session = self.sessions.get(*self.by_id.get(&session)? as usize)?;
        Some(session.report(&self.legs, self.now))
    }

    /// Counts over all sessions since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Sessions and legs that are open: (0, 0) when everything has ended.
    pub fn tables(&self) -> (usize, usize) {
        debug_assert_eq!(self.sessions.len(), self.by_id.len());
        debug_assert_eq!(self.sessions.len(), self.wheel.len());
        (self.sessions.len(), self.legs.len())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::leg::Leg;

    /// What a call of two parties may take: two legs and their sockets, the session, its place in the index and the wheel.
    const CALL_BYTES_MAX: usize = 2_048;

    #[test]
    fn a_call_takes_less_than_2_kb() {
        let legs = 2 * (size_of::<Option<Leg>>() + 2 * size_of::<u32>());
        // A B-tree is at least half full.
        let index = 2 * size_of::<(SessionId, u32)>();
        let session = size_of::<Option<Session>>() + index + Wheel::ITEM_BYTES;
        assert!(legs + session < CALL_BYTES_MAX, "{legs} + {session}");
    }

    #[test]
    fn what_each_packet_reads_of_the_other_side_lies_in_two_cache_lines() {
        assert!(std::mem::offset_of!(Leg, peer) + 16 <= 128);
        assert!(std::mem::offset_of!(Leg, reception) <= 160);
    }
}
