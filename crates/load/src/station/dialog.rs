//! What happens within calls: INVITEs of either side (RFC 3261 section 14) and BYEs of who was called (section 15).

use sip::{CSeq, HeaderName, Message, Method, NameAddr};
use transaction::{Flow, TimerName};

use super::call::Phase;
use super::{CHALLENGES_MAX, Due, Event, Now, Station, answer};
use crate::media;
use crate::name::Name;
use crate::tally::Reason;
use crate::write;

/// How long who owns the Call-ID waits before it tries again after 491 (section 14.1: 2.1 to 4 s).
const GLARE_MS: std::ops::Range<u64> = 2_100..4_000;

impl Station {
    /// Sets when a call that was just answered goes on.
    pub(super) fn plan(&mut self, now: Now, index: u32) {
        let Some(calling) = &self.settings.calling else {
            return;
        };
        let (per_mille, after_ms) = (calling.reinvite_per_mille, calling.reinvite_after_ms);
        let until_ms = after_ms.min(self.duration_ms(index));
        if self.shares.reinvited.takes(per_mille) {
            self.calls[index as usize].will_reinvite = true;
            return self.set(now, self.timer_of(index, Due::Act), until_ms);
        }
        self.go_on(now, index);
    }

    /// The call goes on until its time is over.
    fn go_on(&mut self, now: Now, index: u32) {
        let call = &mut self.calls[index as usize];
        call.phase = Phase::Established;
        call.step = call.step.wrapping_add(1);
        let left_ms = self.left_ms(now, index);
        self.set(now, self.timer_of(index, Due::Act), left_ms);
    }

    /// How long a call is to go on from its answer.
    fn duration_ms(&self, index: u32) -> u64 {
        let Some(calling) = &self.settings.calling else {
            return 0;
        };
        // A step that has no factor with most spreads: each length has its turn.
        let turn = self.calls[index as usize].number.wrapping_mul(7_919);
        calling.duration_ms + turn % calling.duration_spread_ms.saturating_add(1)
    }

    /// How long an answered call still is to go on.
    fn left_ms(&self, now: Now, index: u32) -> u64 {
        let answered_us = self.calls[index as usize].answered_us;
        let duration_ms = self.duration_ms(index);
        duration_ms.saturating_sub(now.us.saturating_sub(answered_us) / 1_000)
    }

    /// The caller sends an INVITE within the call.
    pub(super) fn reinvite(&mut self, now: Now, index: u32) {
        let call = &mut self.calls[index as usize];
        call.will_reinvite = false;
        call.challenges = 0;
        self.line.clear();
        self.send_reinvite(now, index);
    }

    fn send_reinvite(&mut self, now: Now, index: u32) {
        let call = &mut self.calls[index as usize];
        let Some(flow) = call.flow else { return };
        call.phase = Phase::Reinviting;
        let port = call.port;
        self.describe(flow, port);
        self.begin_request(now, index, "INVITE", TimerName::A);
    }

    pub(super) fn reinvite_accepted(&mut self, now: Now, index: u32, message: &Message<'_>) {
        let call = &mut self.calls[index as usize];
        let Some(mut flow) = call.flow else { return };
        // The routes stay, the target may be another (section 12.2.1.2).
        let contact = message.values(HeaderName::Contact).next();
        if let Some(contact) = contact.and_then(|value| NameAddr::parse(value.bytes)) {
            call.target.clear();
            call.target.extend_from_slice(contact.uri);
        }
        flow.remote = write::next_hop(&call.routes, &call.target, flow.remote);
        call.flow = Some(flow);
        self.tally.calls.reinvited += 1;
        self.acknowledge(index, flow);
        self.move_sound(index, message);
        self.go_on(now, index);
    }

    pub(super) fn reinvite_refused(
        &mut self,
        now: Now,
        flow: Flow,
        index: u32,
        message: &Message<'_>,
    ) {
        let status = message.status();
        let call = &self.calls[index as usize];
        let within = Some((call.target.as_slice(), call.routes.as_slice()));
        self.tally.messages.sent += 1;
        self.outbox
            .send(flow, |out| write::push_refusal_ack(message, within, out));
        if self.answers_challenge_within(index, "INVITE", message) {
            return self.send_reinvite(now, index);
        }
        let call = &self.calls[index as usize];
        let glare_ms = GLARE_MS.start + call.number * 370 % (GLARE_MS.end - GLARE_MS.start);
        let may_again = status == 491 && self.left_ms(now, index) > glare_ms;
        let call = &mut self.calls[index as usize];
        if may_again {
            call.will_reinvite = true;
            call.phase = Phase::Established;
            call.step = call.step.wrapping_add(1);
            return self.set(now, self.timer_of(index, Due::Act), glare_ms);
        }
        call.reason = Some(Reason::ReinviteStatus(status));
        match status {
            // There is no such call any more (section 12.2.1.2).
            408 | 481 => self.hang_up(now, index),
            _ => self.go_on(now, index),
        }
    }

    /// Whether a challenge within a call is answered; then the answer is in `self.line`.
    pub(super) fn answers_challenge_within(
        &mut self,
        index: u32,
        method: &str,
        message: &Message<'_>,
    ) -> bool {
        let call = &mut self.calls[index as usize];
        if !matches!(message.status(), 401 | 407) || call.challenges >= CHALLENGES_MAX {
            return false;
        }
        call.challenges += 1;
        let (number, uri) = (call.number, std::mem::take(&mut call.target));
        let is_answered = self.answer_challenge(self.caller_of(number), method, &uri, message);
        self.calls[index as usize].target = uri;
        is_answered
    }

    /// The other side wants its sound elsewhere.
    fn move_sound(&mut self, index: u32, message: &Message<'_>) {
        let call = &self.calls[index as usize];
        if let Some(port) = call.port.filter(|_| call.hears)
            && let Some(peer) = write::audio_address(message.body(), &mut self.sdp_index)
        {
            let socket = port.socket;
            self.media.push(media::Command::Peer { socket, peer });
        }
    }

    /// A request of the other side within a call that we made.
    pub(super) fn call_request(&mut self, now: Now, flow: Flow, name: Name, message: &Message<'_>) {
        let found = self.calls.get(name.index as usize);
        let found = found.filter(|call| call.generation == name.generation);
        let phase = found.map_or(Phase::Free, |call| call.phase);
        let is_up = matches!(phase, Phase::Established | Phase::Reinviting);
        match (message.method(), phase) {
            (Some(Method::Ack), _) => {}
            (Some(Method::Bye), _) => {
                self.reply(flow, message, 200, None);
                if is_up {
                    self.ended_by_peer(now, name.index);
                }
            }
            (Some(Method::Invite), Phase::Established) => {
                let port = self.calls[name.index as usize].port;
                self.move_sound(name.index, message);
                self.reply(flow, message, 200, Some(port));
            }
            // Section 14.2.
            (Some(Method::Invite), Phase::Reinviting) => self.reply(flow, message, 491, None),
            (_, Phase::Free) => self.reply(flow, message, 481, None),
            _ => self.reply(flow, message, 200, None),
        }
    }

    /// The other side has hung up: as it was to, or before its time.
    fn ended_by_peer(&mut self, now: Now, index: u32) {
        let answering = &self.settings.answering;
        let call = &self.calls[index as usize];
        let lasted_ms = now.us.saturating_sub(call.answered_us) / 1_000;
        // Timers are exact to a millisecond on either side.
        let is_in_time = lasted_ms + 2 >= answering.hang_up_after_ms;
        let is_meant = answering.hang_up_per_mille > 0 && is_in_time;
        let early = (!is_meant).then_some(Reason::EndedEarly);
        match call.reason.or(early) {
            Some(reason) => self.tally.call_failures.add(reason),
            None => {
                self.tally.calls.completed += 1;
                self.tally.calls.ended_by_peer += 1;
            }
        }
        self.tell(|| Event::Ended { by_peer: true });
        self.free_call(index);
    }

    /// An INVITE within a call that was taken.
    pub(super) fn answer_reinvite(
        &mut self,
        now: Now,
        flow: Flow,
        index: u32,
        message: &Message<'_>,
    ) {
        let Ok(cseq) = message.cseq() else { return };
        let call = &mut self.answers[index as usize];
        if cseq.number == call.cseq {
            self.tally.messages.retransmissions_received += 1;
            return self.send_response(index, true);
        }
        if cseq.number < call.cseq {
            // Section 12.2.2.
            return self.reply(flow, message, 500, None);
        }
        call.cseq = cseq.number;
        call.is_reinvited = true;
        call.flow = Some(answer::way_back(message, flow));
        call.phase = answer::Phase::Accepted;
        call.head.fill(message, flow, &mut self.splices);
        call.back.refresh(message);
        if let Some(peer) = write::audio_address(message.body(), &mut self.sdp_index) {
            call.peer = Some(peer);
            if let Some(port) = call.port.filter(|_| call.hears) {
                let socket = port.socket;
                self.media.push(media::Command::Peer { socket, peer });
            }
        }
        self.respond(now, index, 200);
    }

    /// Who was called hangs up.
    pub(super) fn hang_up_answer(&mut self, now: Now, index: u32, reason: Option<Reason>) {
        let call = &mut self.answers[index as usize];
        call.phase = answer::Phase::Ending;
        call.reason = reason;
        call.challenges = 0;
        let port = call.port.filter(|_| call.hears);
        call.hears = false;
        if let Some(mut flow) = call.flow {
            flow.remote = write::next_hop(&call.back.routes, &call.back.target, flow.remote);
            call.flow = Some(flow);
        }
        if let Some(port) = port {
            let socket = port.socket;
            self.media.push(media::Command::End { socket });
        }
        self.line.clear();
        self.send_bye(now, index);
    }

    fn send_bye(&mut self, now: Now, index: u32) {
        let name = self.answer_name(index);
        let call = &mut self.answers[index as usize];
        let Some(flow) = call.flow else { return };
        call.step = call.step.wrapping_add(1);
        call.attempt = 0;
        call.own_cseq += 1;
        call.response.clear();
        let (numbers, lines) = ((name, call.own_cseq), self.line.as_slice());
        call.back
            .push_bye(numbers, &flow, lines, &mut call.response);
        self.send_response(index, false);
        let timer = self.answer_timer(index, Due::GiveUp);
        self.set_again(now, timer, TimerName::E, 0, flow);
        self.set(now, timer, self.give_up_ms());
    }

    /// A response to a BYE of who was called.
    pub(super) fn answer_response(
        &mut self,
        now: Now,
        name: Name,
        cseq: CSeq<'_>,
        message: &Message<'_>,
    ) {
        let found = self.answers.get_mut(name.index as usize);
        let found = found.filter(|call| call.generation == name.generation);
        let (Some(call), status) = (found, message.status()) else {
            self.tally.messages.unexpected += 1;
            return;
        };
        if call.phase != answer::Phase::Ending
            || cseq.method != Method::Bye
            || cseq.number != call.own_cseq
        {
            self.tally.messages.late += 1;
            return;
        }
        if status < 200 {
            return;
        }
        if matches!(status, 401 | 407) && call.challenges < CHALLENGES_MAX {
            call.challenges += 1;
            let back = std::mem::take(&mut call.back);
            let named = back.user().unwrap_or_default();
            let mut users = self.settings.users.iter();
            let user = users.position(|user| user.name.as_bytes() == named);
            let is_answered =
                user.is_some_and(|user| self.answer_challenge(user, "BYE", &back.target, message));
            self.answers[name.index as usize].back = back;
            if is_answered {
                return self.send_bye(now, name.index);
            }
        }
        self.answer_ended(name.index, status);
    }

    /// What a BYE of who was called has come to; 0 if nothing came.
    pub(super) fn answer_ended(&mut self, index: u32, status: u16) {
        let call = &self.answers[index as usize];
        let is_over = (200..300).contains(&status) || call.has_crossed;
        let refused = match status {
            _ if is_over => None,
            0 => Some(Reason::ByeTimeout),
            status => Some(Reason::ByeStatus(status)),
        };
        match call.reason.or(refused) {
            Some(reason) => self.tally.answer_failures.add(reason),
            None => self.tally.answers.hung_up += 1,
        }
        self.tell(|| Event::Ended { by_peer: false });
        self.free_answer(index);
    }

    /// The phone's user hangs up on who called.
    pub(crate) fn end_answers(&mut self, now: Now) {
        for index in 0..self.answers.len() as u32 {
            if self.answers[index as usize].phase == answer::Phase::Confirmed {
                self.hang_up_answer(now, index, None);
            }
        }
    }
}
