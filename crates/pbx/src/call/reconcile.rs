//! Media by need: whether the media of two legs pass the PBX, decided anew after each input from what is to be heard and said.

use transaction::Time;
use voice::Command;

use crate::call::Calls;
use crate::call::leg::{Leg, Path, Timer, Why};
use crate::call::state::State;
use crate::control::{LegId, RoomId};
use crate::output::Voiced;
use crate::pbx::Turn;
use crate::session::Peer;

/// How long nothing must have been heard or said by the PBX before it leaves the way of the media, in milliseconds: each change of the way costs
/// two re-INVITEs.
pub(crate) const QUIET_MS: u64 = 2_000;

/// After so many refusals in a row a leg is left as it is.
const REFUSALS_MAX: u8 = 3;

impl Calls {
    /// Brings the media of a leg to where they should be, a step at a time.
    pub(crate) fn reconcile(&mut self, turn: &mut Turn<'_>, id: LegId) {
        self.reconnect(turn, id);
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.is_quiet()) else {
            return;
        };
        // A retry waits for its time (RFC 3261 section 14.1).
        if leg.deadlines[Timer::Retry as usize] != Time::MAX || leg.session.refusals >= REFUSALS_MAX
        {
            return;
        }
        match leg.session.path {
            Path::None => {}
            _ if leg.session.is_unsure => {
                self.with(id, |calls, leg| calls.offer_own(turn, leg));
            }
            Path::Direct => {
                if !self.stays_direct(leg) {
                    self.with(id, |calls, leg| {
                        leg.quiet_since = None;
                        calls.offer_own(turn, leg)
                    });
                }
            }
            Path::Own => self.leave_way(turn, id),
        }
    }

    fn stays_direct(&self, leg: &Leg) -> bool {
        let Some(peer) = leg.peer.and_then(|peer| self.legs.get(&peer)) else {
            return false;
        };
        let is_changing = peer.calling.is_some_and(|calling| matches!(calling.why, Why::Direct { other, .. } | Why::PassOn { other } if other == leg.id));
        let is_there = peer.session.path == Path::Direct && !peer.session.is_unsure
            || is_changing
            || peer.serving.is_some() && peer.state == State::Confirmed;
        !leg.needs_voice() && !peer.needs_voice() && peer.peer == Some(leg.id) && is_there
    }

    /// Whether two legs could do without the media thread.
    fn may_leave(&self, turn: &Turn<'_>, leg: &Leg, peer: &Leg) -> bool {
        let is_idle = |leg: &Leg| {
            leg.is_quiet()
                && !leg.needs_voice()
                && !leg.session.no_direct
                && !leg.session.peer.holds()
                && leg.session.has_remote
        };
        turn.settings.media_by_need
            && is_idle(leg)
            && is_idle(peer)
            && peer.peer == Some(leg.id)
            && leg.session.peer.shares_coding_with(&peer.session.peer)
            && leg.session.peer.rtp.map(|rtp| rtp.is_ipv4())
                == peer.session.peer.rtp.map(|rtp| rtp.is_ipv4())
    }

    fn leave_way(&mut self, turn: &mut Turn<'_>, id: LegId) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let peer = leg.peer.and_then(|peer| self.legs.get(&peer));
        let Some(peer) = peer.filter(|peer| self.may_leave(turn, leg, peer)) else {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.quiet_since = None;
            }
            return;
        };
        let back = peer.session.path == Path::Direct;
        // Of two that pass here the elder begins.
        if !back && peer.id < id {
            return;
        }
        let (other, remote, description) =
            (peer.id, peer.session.remote.clone(), peer.session.peer);
        let now = turn.now.time;
        self.with(id, |calls, leg| {
            let since = *leg.quiet_since.get_or_insert(now);
            let waited_ms = now.ms_since(since);
            if !back && waited_ms < QUIET_MS {
                return calls.set_timer(now, leg, Timer::Retry, QUIET_MS - waited_ms);
            }
            leg.quiet_since = None;
            calls.offer_direct(
                turn,
                leg,
                (&remote, &description),
                Why::Direct { other, back },
            );
        });
    }

    /// A leg accepted the other's peer, which was told of this leg's before: if that has changed it is told again.
    pub(crate) fn check_direct(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, other: LegId) {
        let limits = turn.settings.description_limits;
        let Some(local) = self
            .legs
            .get(&other)
            .map(|other| other.session.local.clone())
        else {
            return;
        };
        let told = Peer::read(&local, &mut self.descriptions, &limits);
        let is_told = told.is_ok_and(|told| told.is_heard_like(&leg.session.peer));
        if is_told || leg.session.rounds >= 2 {
            leg.session.rounds = 0;
            return;
        }
        leg.session.rounds += 1;
        let (id, remote, peer) = (leg.id, leg.session.remote.clone(), leg.session.peer);
        self.with(other, |calls, other| {
            calls.offer_direct(
                turn,
                other,
                (&remote, &peer),
                Why::Direct {
                    other: id,
                    back: true,
                },
            )
        });
    }

    /// Two ends of one bridge hear each other; others do not.
    fn reconnect(&mut self, turn: &mut Turn<'_>, id: LegId) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let Some(end) = leg
            .ears
            .end
            .filter(|end| end.is_described && leg.state.is_alive())
        else {
            return;
        };
        if let Some((room, _)) = leg.ears.room {
            return self.join_thread(turn, id, room, end.port.thread);
        }
        let peer = leg
            .peer
            .and_then(|peer| self.legs.get(&peer))
            .filter(|peer| peer.peer == Some(id) && peer.state.is_alive());
        let other = peer.and_then(|peer| peer.ears.end.map(|end| (peer.id, end)));
        let Some((peer, other)) = other.filter(|(_, other)| other.is_described) else {
            if end.connected.is_some()
                && peer.is_none()
                && leg.ears.room.is_none()
                && !leg.ears.is_echo
            {
                turn.output.voice.push(Voiced {
                    thread: end.port.thread,
                    command: Command::Disconnect { end: end.id },
                });
                self.with(id, |_, leg| {
                    leg.ears.end.as_mut().map(|end| end.connected = None)
                });
            }
            return;
        };
        if other.port.thread != end.port.thread {
            return self.move_end(turn, id.max(peer));
        }
        if end.connected == Some(other.id) && other.connected == Some(end.id) {
            return;
        }
        turn.output.voice.push(Voiced {
            thread: end.port.thread,
            command: Command::Connect {
                a: end.id,
                b: other.id,
            },
        });
        for (leg, with) in [(id, other.id), (peer, end.id)] {
            self.with(leg, |_, leg| {
                leg.ears.end.as_mut().map(|end| end.connected = Some(with))
            });
        }
    }

    /// An end goes to the media thread of the leg that it is bridged with.
    fn move_end(&mut self, turn: &mut Turn<'_>, id: LegId) {
        self.with(id, |calls, leg| {
            if leg.is_quiet() && leg.session.refusals < REFUSALS_MAX {
                calls.close_end(turn, leg);
                calls.offer_own(turn, leg);
            }
        });
    }

    /// All members of a conference are on the media thread of its eldest.
    fn join_thread(&mut self, turn: &mut Turn<'_>, id: LegId, room: RoomId, thread: u16) {
        let mut legs = self.legs.values();
        let eldest = legs.find(|leg| leg.ears.room.is_some_and(|(other, _)| other == room));
        let eldest = eldest.and_then(|leg| leg.ears.end);
        if eldest.is_some_and(|eldest| eldest.port.thread != thread) {
            self.move_end(turn, id);
        }
    }
}
