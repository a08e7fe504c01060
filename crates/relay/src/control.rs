//! What the controller wants, done.

use std::net::SocketAddr;

use crate::leg::{Leg, NONE};
use crate::relay::{Relay, SIDES_MAX, STREAMS_MAX};
use crate::report::Report;
use crate::session::{ENDED_LEGS_MAX, Session};
use crate::types::{Command, Event, Kind, Port, Refusal, Remote, SessionId, Time};

/// One side of one stream of a session, as commands name it.
#[derive(Debug, Clone, Copy)]
struct Place {
    session: SessionId,
    stream: u8,
    side: u8,
}

/// There is no such session, stream or side.
struct Unknown;

impl Relay {
    /// Does what the controller wants.
    pub fn command(&mut self, now: Time, command: Command) {
        self.now = self.now.max(now);
        let done = match command {
            Command::Open {
                session,
                stream,
                side,
                port,
                kind,
            } => {
                let place = Place {
                    session,
                    stream,
                    side,
                };
                if let Err(reason) = self.open(now, place, port, kind) {
                    self.refuse(place, port, reason);
                }
                Ok(())
            }
            Command::Remote {
                session,
                stream,
                side,
                remote,
                relearn,
            } => {
                let place = Place {
                    session,
                    stream,
                    side,
                };
                self.describe(place, &remote, relearn)
            }
            Command::Source {
                session,
                stream,
                side,
                source,
            } => {
                let place = Place {
                    session,
                    stream,
                    side,
                };
                self.restore_source(now, place, source)
            }
            Command::Select { session, side } => self.select(now, session, side),
            Command::CloseSide { session, side } => {
                self.close_legs(session, |leg| leg.side == side)
            }
            Command::CloseStream { session, stream } => {
                self.close_legs(session, |leg| leg.stream == stream)
            }
            Command::Close { session } => self.close(session),
        };
        match done {
            Ok(()) => self.touch(now, command.session()),
            Err(Unknown) => self.totals.commands_unknown += 1,
        }
    }

    fn open(&mut self, now: Time, place: Place, port: Port, kind: Kind) -> Result<(), Refusal> {
        if !self.legs.has(port) {
            return Err(Refusal::NoSuchPort);
        }
        let session = self.by_id.get(&place.session).copied();
        let owner = self.legs.owner(port);
        if owner != NONE {
            let leg = self.legs.get_mut(owner).ok_or(Refusal::PortInUse)?;
            let is_there = leg.stream == place.stream && leg.side == place.side;
            if !is_there || leg.port != port || session != Some(leg.session) {
                return Err(Refusal::PortInUse);
            }
            leg.kind = kind;
            return Ok(());
        }
        if place.stream >= STREAMS_MAX {
            return Err(Refusal::TooManyStreams);
        }
        if place.side >= SIDES_MAX {
            return Err(Refusal::TooManySides);
        }
        let index = match session {
            Some(index) => index,
            None => self.begin(now, place.session)?,
        };
        let Some(session) = self.sessions.get_mut(index as usize) else {
            return Ok(());
        };
        if session.find(&self.legs, place.stream, place.side).is_some() {
            return Err(Refusal::AlreadyOpen);
        }
        let mut leg = Leg::new(index, place.stream, place.side, port, kind);
        leg.next = session.first;
        session.first = self.legs.open(leg);
        session.link(&mut self.legs);
        Ok(())
    }

    fn begin(&mut self, now: Time, id: SessionId) -> Result<u32, Refusal> {
        if self.sessions.len() >= self.settings.sessions_max as usize {
            return Err(Refusal::TooManySessions);
        }
        let index = self.sessions.insert(Session::new(id, now)) as u32;
        self.by_id.insert(id, index);
        self.totals.sessions_opened += 1;
        Ok(index)
    }

    fn refuse(&mut self, place: Place, port: Port, reason: Refusal) {
        self.totals.refused += 1;
        match reason {
            Refusal::PortInUse | Refusal::NoSuchPort => {}
            Refusal::AlreadyOpen
            | Refusal::TooManyStreams
            | Refusal::TooManySides
            | Refusal::TooManySessions => self.legs.turn_away(port),
        }
        self.events.push(Event::Refused {
            session: place.session,
            stream: place.stream,
            side: place.side,
            port,
            reason,
        });
    }

    fn describe(&mut self, place: Place, remote: &Remote, relearn: bool) -> Result<(), Unknown> {
        let session = self.index_of(place.session)?;
        let session = self.sessions.get_mut(session as usize).ok_or(Unknown)?;
        let leg = session.find(&self.legs, place.stream, place.side);
        session.describe(&mut self.legs, leg.ok_or(Unknown)?, remote, relearn);
        session.link(&mut self.legs);
        Ok(())
    }

    fn restore_source(
        &mut self,
        now: Time,
        place: Place,
        source: SocketAddr,
    ) -> Result<(), Unknown> {
        let session = self.index_of(place.session)?;
        let session = self.sessions.get(session as usize).ok_or(Unknown)?;
        let leg = session.find(&self.legs, place.stream, place.side);
        let leg = self.legs.get_mut(leg.ok_or(Unknown)?).ok_or(Unknown)?;
        leg.restore_source(now, source);
        Ok(())
    }

    fn select(&mut self, now: Time, id: SessionId, side: u8) -> Result<(), Unknown> {
        let session = self.index_of(id)?;
        let session = self.sessions.get_mut(session as usize).ok_or(Unknown)?;
        if side == 0 || !session.legs(&self.legs).any(|(_, leg)| leg.side == side) {
            return Err(Unknown);
        }
        session.select(&mut self.legs, side, now);
        session.link(&mut self.legs);
        Ok(())
    }

    /// Closes all legs of a session that `closes` names.
    fn close_legs(&mut self, id: SessionId, closes: impl Fn(&Leg) -> bool) -> Result<(), Unknown> {
        let session = self.index_of(id)?;
        let session = self.sessions.get_mut(session as usize).ok_or(Unknown)?;
        if !session.legs(&self.legs).any(|(_, leg)| closes(leg)) {
            return Err(Unknown);
        }
        let mut kept = NONE;
        let mut at = session.first;
        while let Some(leg) = self.legs.get(at) {
            let (this, next) = (at, leg.next);
            at = next;
            if !closes(leg) {
                if let Some(leg) = self.legs.get_mut(this) {
                    leg.next = std::mem::replace(&mut kept, this);
                }
                continue;
            }
            let report = session.report_leg(&self.legs, leg);
            self.totals.add_leg(&report);
            match session.ended.len() < ENDED_LEGS_MAX {
                true => session.ended.push(report),
                false => session.left_out = session.left_out.saturating_add(1),
            }
            self.legs.close(this);
        }
        session.first = kept;
        session.fall_back(&self.legs);
        session.link(&mut self.legs);
        Ok(())
    }

    fn close(&mut self, id: SessionId) -> Result<(), Unknown> {
        let index = self.index_of(id)?;
        let report = self.end(index).ok_or(Unknown)?;
        self.totals.sessions_closed += 1;
        self.events.push(Event::Closed {
            session: id,
            report: Box::new(report),
        });
        Ok(())
    }

    /// Ends a session and gives its report.
    pub(crate) fn end(&mut self, index: u32) -> Option<Report> {
        let session = self.sessions.get(index as usize)?;
        let report = session.report(&self.legs, self.now);
        for (_, leg) in session.legs(&self.legs) {
            self.totals.add_leg(&session.report_leg(&self.legs, leg));
        }
        let mut at = session.first;
        while let Some(leg) = self.legs.close(at) {
            at = leg.next;
        }
        self.wheel.remove(index);
        self.by_id.remove(&session.id);
        self.sessions.try_remove(index as usize);
        Some(report)
    }

    fn index_of(&self, id: SessionId) -> Result<u32, Unknown> {
        self.by_id.get(&id).copied().ok_or(Unknown)
    }

    /// The controller said something about a session: its silence begins anew.
    fn touch(&mut self, now: Time, id: SessionId) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.touched = now;
            let deadline = session.deadline(&self.legs, &self.settings);
            self.wheel.put(now, index, deadline);
        }
    }
}
