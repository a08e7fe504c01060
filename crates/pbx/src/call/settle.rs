//! What a caller is to be told: of its own call, or of the one that it is bridged with.

use dialog::{offer, reliable};

use crate::call::Calls;
use crate::call::calls::cause_of;
use crate::call::leg::{Leg, Path, Timer, Told};
use crate::call::send::push_header;
use crate::call::state::{Event, State};
use crate::control::LegId;
use crate::pbx::Turn;

impl Calls {
    /// Tells a caller what it does not know yet.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if leg.state != State::Invited || leg.serving.is_none() {
            return;
        }
        let wish = leg.wants.max(self.state_of_peer(leg));
        if wish <= leg.told
            || leg
                .reliable
                .as_ref()
                .is_some_and(reliable::Sender::is_waiting)
        {
            return;
        }
        match wish {
            Told::Trying => {}
            Told::Ringing => {
                self.send_provisional(turn, leg, 180, false);
                leg.told = Told::Ringing;
            }
            Told::Progress => {
                // A late offer of ours could go out reliably only; a caller without an offer hears ringing instead.
                let is_described = leg.session.offers == offer::State::FirstReceived
                    && self.answer_first(turn, leg, false);
                self.send_provisional(
                    turn,
                    leg,
                    if is_described { 183 } else { 180 },
                    is_described,
                );
                leg.told = Told::Progress;
            }
            Told::Answer => self.answer_call(turn, leg),
        }
    }

    /// Tells a caller once more what it was told last, so that nobody on the way takes the call for forgotten.
    pub(crate) fn ring_again(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let is_waiting = leg
            .reliable
            .as_ref()
            .is_some_and(reliable::Sender::is_waiting);
        match leg.told {
            _ if is_waiting => {}
            Told::Trying => self.send_provisional(turn, leg, 183, false),
            Told::Ringing => self.send_provisional(turn, leg, 180, false),
            Told::Progress => self.send_provisional(turn, leg, 183, false),
            Told::Answer => {}
        }
    }

    /// What the phone that a caller is bridged with has come to.
    fn state_of_peer(&self, leg: &Leg) -> Told {
        let Some(peer) = leg.peer.and_then(|peer| self.legs.get(&peer)) else {
            return Told::Trying;
        };
        match peer.state {
            State::Confirmed | State::Answered => Told::Answer,
            State::Ringing if peer.session.has_remote => Told::Progress,
            State::Ringing => Told::Ringing,
            _ => Told::Trying,
        }
    }

    /// The leg whose peer's description the caller may be given: the media need not pass here.
    fn direct_source(&self, leg: &Leg) -> Option<LegId> {
        let peer = self.legs.get(&leg.peer?)?;
        let is_direct = peer.offered_for == Some(leg.id)
            && peer.session.offered == Path::Direct
            && peer.session.has_remote;
        let is_free = leg.session.path != Path::Own && !leg.needs_voice() && !peer.needs_voice();
        (is_direct && is_free).then_some(peer.id)
    }

    /// Prepares the answer to the first offer; false if there can be none. `is_final`: it is in force from now on.
    fn answer_first(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, is_final: bool) -> bool {
        if let Some(source) = self.direct_source(leg)
            && let Some(source) = self.legs.get(&source)
        {
            let (remote, peer) = (source.session.remote.clone(), source.session.peer);
            self.write_direct(turn, leg, (&remote, &peer));
            leg.session.path = if is_final { Path::Direct } else { Path::None };
            if is_final {
                leg.offer_step(offer::Event::SendAnswer);
            }
            return true;
        }
        let state = leg.session.offers;
        if leg.session.path == Path::Own && !leg.session.local.is_empty() {
            if is_final {
                leg.offer_step(offer::Event::SendAnswer);
            }
            return true;
        }
        let is_answered = self.answer_own(turn, leg);
        if is_answered && !is_final {
            // Until it is sent reliably or finally, the answer is a preview (RFC 3261 section 13.2.1).
            leg.session.offers = state;
        }
        is_answered
    }

    /// 18x; reliably where the caller wants that, or where it brings a description and the caller can (RFC 3262 section 3).
    fn send_provisional(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        code: u16,
        is_described: bool,
    ) {
        let is_reliable = leg.abilities.requires_reliable || leg.abilities.reliable && is_described;
        let Some(serving) = leg.serving.take() else {
            return;
        };
        self.push_dialog_headers(turn, leg, false);
        if is_reliable {
            let seed = self.hidden(b'r', leg.id.0);
            let sender = leg
                .reliable
                .get_or_insert_with(|| reliable::Sender::new(seed));
            self.extra.extend_from_slice(b"Require: 100rel\r\n");
            push_header(
                &mut self.extra,
                "RSeq",
                sender.next().to_string().as_bytes(),
            );
        }
        let local = std::mem::take(&mut leg.session.local);
        let tag = leg.tag_text();
        let body = is_described.then_some(&local[..]);
        let sent = self.respond(turn, (&serving, &tag), code, body, is_reliable);
        leg.session.local = local;
        leg.serving = Some(serving);
        leg.session.is_previewed |= is_described;
        if let (Some(bytes), Some(sender)) = (sent, leg.reliable.as_mut()) {
            sender.sent(bytes);
            let t1_ms = transaction::timer::T1_MS;
            self.set_timer(turn.now.time, leg, Timer::Again, t1_ms);
            self.set_timer(turn.now.time, leg, Timer::GiveUp, 64 * t1_ms);
            if is_described {
                leg.offer_step(offer::Event::SendAnswer);
                if leg.session.path == Path::None {
                    leg.session.path = Path::Direct;
                }
            }
        }
    }

    /// 200.
    fn answer_call(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let is_described = match leg.session.offers {
            offer::State::FirstReceived => {
                if !self.answer_first(turn, leg, true) {
                    return self.hang_up(turn, leg, cause_of(488, ""), None);
                }
                true
            }
            // The caller made no offer: ours is answered in its ACK.
            offer::State::None => {
                if !self.open_end(turn, leg) {
                    return self.hang_up(
                        turn,
                        leg,
                        cause_of(503, "no media port"),
                        Some(turn.settings.retry_after_s),
                    );
                }
                self.write_own(turn, leg, None, sdp::Direction::SendRecv);
                leg.offer_step(offer::Event::SendOffer);
                leg.session.offered = Path::Own;
                true
            }
            // It was answered by a reliable provisional.
            _ => false,
        };
        let Some(serving) = leg.serving.take() else {
            return;
        };
        self.push_dialog_headers(turn, leg, true);
        let local = std::mem::take(&mut leg.session.local);
        let tag = leg.tag_text();
        let sent = self.respond(
            turn,
            (&serving, &tag),
            200,
            is_described.then_some(&local[..]),
            true,
        );
        leg.session.local = local;
        leg.was_answered = true;
        leg.told = Told::Answer;
        self.stop_timer(leg, Timer::Ring);
        leg.step(Event::Answer);
        if let Some(sender) = leg.reliable.as_mut() {
            sender.stop();
        }
        self.arm_session(turn.now.time, leg);
        if let Some(bytes) = sent {
            self.repeat(turn.now.time, leg, bytes, serving.cseq);
        }
    }
}

impl Calls {
    /// Brings all legs that were touched to where they should be, and forgets those that are over. False if there was none.
    pub(crate) fn settle_touched(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.touched.is_empty() {
            return false;
        }
        let mut touched = std::mem::take(&mut self.touched);
        // What concerns one leg of a bridge may concern the other.
        for at in 0..touched.len() {
            let peer = self.legs.get(&touched[at]).and_then(|leg| leg.peer);
            touched.extend(peer);
        }
        touched.sort_unstable();
        touched.dedup();
        for &id in &touched {
            let Some(mut leg) = self.legs.remove(&id) else {
                continue;
            };
            leg.is_changed = true;
            self.settle(turn, &mut leg);
            self.settle_change(turn, &mut leg);
            let is_over = leg.state == State::Over && leg.cause.is_none();
            self.legs.insert(id, leg);
            if is_over {
                self.remove(id);
            } else {
                self.reconcile(turn, id);
            }
        }
        self.changed.extend_from_slice(&touched);
        true
    }
}
