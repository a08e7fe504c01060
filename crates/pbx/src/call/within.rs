//! Requests within dialogs.

use dialog::{offer, reliable, session};
use sip::{HeaderName, Method};
use transaction::layer::ServerKey;

use crate::call::Calls;
use crate::call::arrive::{Ask, abilities};
use crate::call::calls::{Owner, cause_of};
use crate::call::identity;
use crate::call::leg::{Leg, Path, Timer, Why};
use crate::call::send::{ALLOW, push_header};
use crate::call::state::{Event, State};
use crate::control::{Happening, LegId};
use crate::output;
use crate::pbx::Turn;
use crate::session::Peer;

/// A description that came, or the status that refuses it.
pub(crate) type Described = Result<Option<(Vec<u8>, Peer)>, u16>;

impl Calls {
    /// A request with a tag of ours.
    pub(crate) fn arrived_within(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
    ) {
        if self.owner(ask) == Some(Owner::Subscription) {
            return self.subscribed_again(turn, ask, key);
        }
        let Some(id) = self.leg_of(ask).filter(|id| {
            self.legs
                .get(id)
                .is_some_and(|leg| leg.state != State::Over)
        }) else {
            return self.refuse(turn, ask.request, ask.back, 481);
        };
        if !self.understands(ask.request) {
            return self.refuse(turn, ask.request, ask.back, 420);
        }
        let number = ask.envelope.cseq.number;
        let taken = self.with(id, |_, leg| leg.dialog.take_cseq(number));
        if let Some(Err(error)) = taken {
            self.extra.clear();
            return self.refuse(turn, ask.request, ask.back, error.status());
        }
        match ask.request.method() {
            Some(Method::Bye) => self.bye_came(turn, ask, key, id),
            Some(Method::Update) if self.is_early(id) => self.early_update_came(turn, ask, key, id),
            Some(Method::Invite | Method::Update) => self.change_came(turn, ask, key, id),
            Some(Method::Prack) => self.prack_came(turn, ask, key, id),
            Some(Method::Refer) => self.refer_came(turn, ask, key, id),
            Some(Method::Info) => self.info_came(turn, ask, key, id),
            Some(Method::Notify) => self.answer(turn, ask, key, 200, None, None),
            Some(Method::Options) => {
                self.push_abilities(turn, ask.back, 200);
                self.answer(turn, ask, key, 200, None, None);
            }
            _ => {
                self.extra.extend_from_slice(ALLOW);
                self.answer(turn, ask, key, 405, None, None);
            }
        }
        let served = self.layer.server_of(key);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.served = served;
        }
    }

    fn is_early(&self, id: LegId) -> bool {
        self.legs.get(&id).is_some_and(|leg| {
            matches!(leg.state, State::Invited | State::Calling | State::Ringing)
        })
    }

    fn bye_came(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey, id: LegId) {
        self.answer(turn, ask, key, 200, None, None);
        let mut cause = cause_of(200, "");
        if let Some(q850) = identity::q850_in(ask.request) {
            cause.q850 = q850;
        }
        self.with(id, |calls, leg| {
            // Of an early dialog that the caller ends so (RFC 3261 section 15) the INVITE is answered too: by `ended`.
            if !leg.is_incoming && leg.state.is_early() {
                calls.give_up_calling(turn, leg, b"");
            }
            calls.end_transfer(turn, leg, 487);
            calls.ended(turn, leg, cause);
        });
    }

    /// Keys by INFO, as phones without telephone events send them.
    fn info_came(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey, id: LegId) {
        let kind = ask
            .request
            .header(HeaderName::ContentType)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let body = ask.request.body();
        let sign = match &kind[..] {
            b"application/dtmf-relay" => body.split(|&byte| byte == b'\n').find_map(|line| {
                let value = sip::lex::trim(line).strip_prefix(b"Signal")?;
                let value = sip::lex::trim_start(value).strip_prefix(b"=")?;
                sip::lex::trim(value).first().copied()
            }),
            b"application/dtmf" => sip::lex::trim(body).first().copied(),
            // RFC 6086 section 4.2.2: no package is known.
            _ if ask
                .request
                .all_fields()
                .any(|field| field.name_bytes.eq_ignore_ascii_case(b"Info-Package")) =>
            {
                self.extra.extend_from_slice(b"Recv-Info: \r\n");
                return self.answer(turn, ask, key, 469, None, None);
            }
            _ if body.is_empty() => return self.answer(turn, ask, key, 200, None, None),
            _ => {
                self.extra
                    .extend_from_slice(b"Accept: application/dtmf-relay, application/dtmf\r\n");
                return self.answer(turn, ask, key, 415, None, None);
            }
        };
        self.answer(turn, ask, key, 200, None, None);
        let digit = sign.and_then(|sign| voice::Digit::of_sign(char::from(sign)));
        if let Some(digit) =
            digit.filter(|_| self.legs.get(&id).is_some_and(|leg| leg.state.is_alive()))
        {
            self.key_pressed(turn, id, digit.sign());
        }
    }

    /// Re-INVITE and UPDATE (RFC 3261 section 14.2, RFC 3311 section 5.2).
    fn change_came(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey, id: LegId) {
        let is_invite = ask.request.method() == Some(Method::Invite);
        let described = self.read_description(turn, ask.request);
        let asked = session::answer(
            turn.now.time,
            ask.request,
            turn.settings.session_expires_s,
            turn.settings.min_se_s,
        );
        let has_offer = !matches!(described, Ok(None));
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let refusal = match leg.state {
            State::Leaving | State::Over => Some(481),
            // The answer to the first INVITE is not known yet; an offer could not be answered.
            State::Invited | State::Calling | State::Ringing => {
                Some(if leg.is_incoming { 500 } else { 491 })
            }
            _ if leg.serving.is_some() || leg.repeating.is_some() && is_invite => Some(500),
            _ if (is_invite || has_offer)
                && (leg.calling.is_some() || leg.session.offers.is_open()) =>
            {
                Some(491)
            }
            _ if asked == session::Asked::TooBrief => Some(422),
            _ => described.as_ref().err().copied(),
        };
        self.extra.clear();
        if let Some(code) = refusal {
            match code {
                500 => push_header(&mut self.extra, "Retry-After", b"2"),
                422 => push_header(
                    &mut self.extra,
                    "Min-SE",
                    turn.settings.min_se_s.to_string().as_bytes(),
                ),
                415 => self.extra.extend_from_slice(b"Accept: application/sdp\r\n"),
                _ => {}
            }
            return self.answer(turn, ask, key, code, None, None);
        }
        let serving = self.serve(ask, key, id);
        let can = abilities(ask.request);
        self.with(id, |calls, leg| {
            leg.dialog.refresh_target(ask.request);
            leg.abilities.update |= can.update;
            if let session::Asked::Agreed(session) = asked {
                leg.timer = Some(session);
                calls.arm_session(turn.now.time, leg);
            }
            leg.serving = Some(serving);
            match described {
                Ok(Some((description, peer))) => calls.offer_came(leg, description, peer),
                _ if is_invite => calls.asked_for_offer(turn, leg),
                // Only a sign of life.
                _ => calls.accept_change(turn, leg, false),
            }
        });
    }

    /// The peer offers to change the session.
    fn offer_came(&mut self, leg: &mut Leg, description: Vec<u8>, peer: Peer) {
        leg.offer_step(offer::Event::ReceiveOffer);
        let was_holding = leg.is_holding;
        // Whether it is passed on is decided when applications have heard of a hold: music is ours to play.
        leg.session.peer = peer;
        leg.session.remote = description;
        leg.is_holding = peer.holds();
        if was_holding != leg.is_holding {
            self.tell(Happening::Hold {
                leg: leg.id,
                on: leg.is_holding,
            });
        }
    }

    /// An offer of the peer that is open is answered: by the media thread, or passed on to the other leg.
    pub(crate) fn settle_change(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if leg.session.offers != offer::State::Received
            || leg.serving.is_none()
            || leg.state == State::Invited
        {
            return;
        }
        let other = leg.peer.filter(|_| leg.session.path == Path::Direct);
        let passes_on = other.filter(|other| {
            self.legs.get(other).is_some_and(|other| {
                other.session.path == Path::Direct && !other.needs_voice() && !leg.needs_voice()
            })
        });
        let Some(other) = passes_on else {
            return self.answer_change(turn, leg);
        };
        let is_free = self.legs.get(&other).is_some_and(|other| other.is_quiet());
        let is_waiting = self
            .legs
            .get(&other)
            .and_then(|other| other.calling)
            .is_some_and(|calling| calling.why == Why::PassOn { other: leg.id });
        if is_waiting {
            return;
        }
        if !is_free {
            leg.offer_step(offer::Event::Refuse);
            return self.fail_serving(turn, leg, 491);
        }
        let (id, remote, peer) = (leg.id, leg.session.remote.clone(), leg.session.peer);
        let sent = self.with(other, |calls, other| {
            calls.offer_direct(turn, other, (&remote, &peer), Why::PassOn { other: id })
        });
        if sent != Some(true) {
            self.answer_change(turn, leg);
        }
    }

    /// Answers the open offer with the media thread.
    fn answer_change(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if !self.answer_own(turn, leg) {
            leg.offer_step(offer::Event::Refuse);
            return self.fail_serving(turn, leg, 488);
        }
        self.accept_change(turn, leg, true);
    }

    /// A re-INVITE without an offer. Ours is what we said last (section 14.2) if both hear each other by it; who is on hold, or is heard
    /// here, is offered all that we can, and so may take a call back from hold (RFC 6337 section 5.3).
    fn asked_for_offer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        leg.offer_step(offer::Event::SendOffer);
        let is_repeated = leg.session.path == Path::Direct
            && self.direction_of_ours(turn, leg) == sdp::Direction::SendRecv;
        leg.session.offered = leg.session.path;
        if !is_repeated && self.open_end(turn, leg) {
            self.write_own(turn, leg, None, sdp::Direction::SendRecv);
            leg.session.offered = Path::Own;
        }
        self.accept_change(turn, leg, true);
    }

    fn direction_of_ours(&mut self, turn: &Turn<'_>, leg: &Leg) -> sdp::Direction {
        let limits = &turn.settings.description_limits;
        let ours = Peer::read(&leg.session.local, &mut self.descriptions, limits);
        ours.map_or(sdp::Direction::Inactive, |ours| ours.direction)
    }

    /// An answer puts us on hold as an offer does, or takes us back (RFC 3264 section 8.4).
    pub(crate) fn note_hold(&mut self, turn: &Turn<'_>, leg: &mut Leg) {
        let holds = leg.session.peer.holds();
        if holds == leg.is_holding || self.direction_of_ours(turn, leg) != sdp::Direction::SendRecv
        {
            return;
        }
        leg.is_holding = holds;
        self.tell(Happening::Hold {
            leg: leg.id,
            on: holds,
        });
    }

    /// 200 to a request that changes the session, with what we said last if `described`.
    pub(crate) fn accept_change(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, described: bool) {
        let Some(serving) = leg.serving.take() else {
            return;
        };
        self.push_dialog_headers(turn, leg, true);
        let tag = leg.tag_text();
        let local = std::mem::take(&mut leg.session.local);
        let body = described.then_some(&local[..]);
        let sent = self.respond(turn, (&serving, &tag), 200, body, serving.is_invite);
        leg.session.local = local;
        if let Some(bytes) = sent {
            self.repeat(turn.now.time, leg, bytes, serving.cseq);
        }
    }

    /// The peer took back its re-INVITE.
    pub(crate) fn cancel_change(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        leg.offer_step(offer::Event::Refuse);
        self.fail_serving(turn, leg, 487);
    }

    /// The ACK of our 200.
    pub(crate) fn acknowledge(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        cseq: u32,
        described: Described,
    ) {
        if leg
            .repeating
            .as_ref()
            .is_none_or(|repeating| repeating.cseq != cseq)
        {
            return;
        }
        leg.repeating = None;
        self.stop_timer(leg, Timer::Again);
        self.stop_timer(leg, Timer::GiveUp);
        if leg.session.offers == offer::State::FirstSent || leg.session.offers == offer::State::Sent
        {
            self.late_answer(turn, leg, described);
        }
        match leg.state {
            State::Answered => {
                leg.step(Event::Ack);
                if self.by_caller.get(&leg.caller_key) == Some(&leg.id) {
                    self.by_caller.remove(&leg.caller_key);
                }
                self.tell(Happening::Answered { leg: leg.id });
                if turn.output.is_watched {
                    turn.output
                        .events
                        .push(output::Event::Answered { leg: leg.id });
                }
            }
            State::Leaving => {
                leg.step(Event::Ack);
                self.say_bye(turn, leg, b"");
            }
            _ => {}
        }
    }

    /// The answer to an offer that our 200 made.
    fn late_answer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, described: Described) {
        let was_first = leg.session.offers == offer::State::FirstSent;
        match described {
            Ok(Some((description, peer))) => {
                let moved = leg.session.path == Path::Direct
                    && leg.session.offered == Path::Direct
                    && !leg.session.peer.is_heard_like(&peer);
                self.take_answer(turn, leg, description, peer);
                if !was_first {
                    self.note_hold(turn, leg);
                }
                if moved {
                    // The other side has to hear where media go now.
                    leg.session.path = Path::Own;
                }
            }
            _ => {
                leg.offer_step(offer::Event::Refuse);
                if leg.session.path == Path::Direct {
                    self.close_end(turn, leg);
                }
                if was_first && leg.state == State::Answered {
                    let reason = b"SIP;cause=488".to_vec();
                    leg.step(Event::Ack);
                    self.say_bye(turn, leg, &reason);
                    self.ended(turn, leg, cause_of(488, ""));
                }
            }
        }
    }

    /// PRACK (RFC 3262 section 3).
    fn prack_came(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey, id: LegId) {
        let rack = ask
            .request
            .header(HeaderName::RAck)
            .and_then(reliable::RAck::parse);
        let fits = rack.is_some_and(|rack| {
            let leg = self.legs.get_mut(&id);
            leg.is_some_and(|leg| {
                leg.reliable
                    .as_mut()
                    .is_some_and(|sender| sender.acknowledged(rack, leg.invite_cseq))
            })
        });
        if !fits {
            return self.answer(turn, ask, key, 481, None, None);
        }
        let described = self.read_description(turn, ask.request);
        let outcome = self.with(id, |calls, leg| {
            calls.stop_timer(leg, Timer::Again);
            calls.stop_timer(leg, Timer::GiveUp);
            match (leg.session.offers, described) {
                (offer::State::FirstSent, described) => {
                    calls.late_answer(turn, leg, described);
                    Ok(None)
                }
                // An offer that cannot be answered refuses the PRACK, which has acknowledged all the same (RFC 6337 section 3.2).
                (offer::State::Stable, Err(code)) => Err(code),
                (offer::State::Stable, Ok(Some((description, peer)))) => {
                    leg.offer_step(offer::Event::ReceiveOffer);
                    leg.session.remote = description;
                    leg.session.peer = peer;
                    match calls.answer_own(turn, leg) {
                        true => Ok(Some(leg.session.local.clone())),
                        false => {
                            leg.offer_step(offer::Event::Refuse);
                            Err(488)
                        }
                    }
                }
                _ => Ok(None),
            }
        });
        let body = match outcome.unwrap_or(Ok(None)) {
            Ok(body) => body,
            Err(code) => return self.answer(turn, ask, key, code, None, None),
        };
        self.answer(
            turn,
            ask,
            key,
            200,
            None,
            body.as_deref().map(|body| (crate::call::send::SDP, body)),
        );
    }

    /// Headers of a response that begins or changes a session.
    pub(crate) fn push_dialog_headers(&mut self, turn: &Turn<'_>, leg: &Leg, is_final: bool) {
        self.extra.clear();
        if leg.is_incoming && !leg.was_answered {
            // The way back that the caller will use too (RFC 3261 section 12.1.1).
            for route in &leg.dialog.routes {
                push_header(&mut self.extra, "Record-Route", route);
            }
        }
        crate::call::send::write_contact(turn.settings, leg.flow, &mut self.extra);
        self.extra.extend_from_slice(ALLOW);
        self.extra.extend_from_slice(crate::call::send::SUPPORTED);
        self.push_connected(turn.settings, leg);
        if let Some(session) = leg.timer.filter(|_| is_final) {
            if !session.we_refresh {
                self.extra.extend_from_slice(b"Require: timer\r\n");
            }
            session.write(false, &mut self.extra);
        }
    }
}
