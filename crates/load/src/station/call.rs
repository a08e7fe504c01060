//! Calls that are made (RFC 3261 sections 9, 13, 15 and 17.1).

use sip::{CSeq, Limits, Message, Method, build};
use transaction::{Flow, TimerName};

use super::{CHALLENGES_MAX, Due, Event, Now, Port, Station, Timer};
use crate::media;
use crate::name::{Kind, Name};
use crate::settings::push_numbered;
use crate::tally::Reason;
use crate::write::{self, Request};

/// Where a call is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The place is free.
    #[default]
    Free,
    /// The INVITE was sent; nothing has come.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// CANCEL was sent. Whether that was a plan or nobody answered in time is in `reason`.
    Cancelling,
    /// Answered and acknowledged.
    Established,
    /// An INVITE within the call was sent.
    Reinviting,
    /// BYE was sent.
    Ending,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) phase: Phase,
    pub(super) generation: u32,
    pub(super) step: u32,
    attempt: u32,
    pub(super) number: u64,
    pub(super) flow: Option<Flow>,
    cseq: u32,
    /// Of the INVITE whose ACK is in `ack`; 0 before there is one.
    ack_cseq: u32,
    began_us: u64,
    pub(super) answered_us: u64,
    bye_us: u64,
    pub(super) challenges: u8,
    has_rung: bool,
    will_cancel: bool,
    pub(super) will_reinvite: bool,
    /// Why it has failed, though it is still to be ended.
    pub(super) reason: Option<Reason>,
    /// The Request-URI of the INVITE.
    uri: Vec<u8>,
    /// The request that is sent again.
    request: Vec<u8>,
    ack: Vec<u8>,
    to: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) routes: Vec<u8>,
    pub(super) port: Option<Port>,
    pub(super) hears: bool,
}

impl Station {
    pub(super) fn timer_of(&self, index: u32, due: Due) -> Timer {
        Timer {
            kind: Kind::Call,
            index,
            step: self.calls[index as usize].step,
            due,
        }
    }

    fn name_of(&self, index: u32) -> Name {
        let generation = self.calls[index as usize].generation;
        Name {
            kind: Kind::Call,
            run: self.run,
            index,
            generation,
        }
    }

    /// The user who makes call `number`, by his place in the population.
    pub(super) fn caller_of(&self, number: u64) -> usize {
        // Not larger than a usize.
        (number % self.settings.users.len().max(1) as u64) as usize
    }

    pub(super) fn begin_call(&mut self, now: Now) {
        let settings = self.settings.clone();
        let Some(calling) = &settings.calling else {
            return;
        };
        let index = self.free_calls.pop().unwrap_or_else(|| {
            self.calls.push(Call::default());
            (self.calls.len() - 1) as u32
        });
        let number = self.next_number * settings.threads.max(1) as u64 + self.thread as u64;
        let flow = self.flow_of(self.next_number);
        self.next_number += 1;
        let port = if settings.has_media {
            self.ports.pop_front()
        } else {
            None
        };
        let will_cancel = self.shares.cancelled.takes(calling.cancel_per_mille);
        let call = &mut self.calls[index as usize];
        call.generation = call.generation.wrapping_add(1);
        call.number = number;
        call.flow = Some(flow);
        call.cseq = 0;
        call.ack_cseq = 0;
        call.began_us = now.us;
        call.challenges = 0;
        call.has_rung = false;
        call.reason = None;
        call.port = port;
        call.hears = false;
        call.will_cancel = will_cancel;
        call.will_reinvite = false;
        call.uri.clear();
        match &calling.to {
            Some(to) => push_numbered(to, number, "", &mut call.uri),
            None => {
                let users = &settings.users;
                let callee = (number + users.len() as u64 / 2) % users.len().max(1) as u64;
                call.uri.extend_from_slice(b"sip:");
                let name = users.get(callee as usize).map_or("", |user| &user.name);
                call.uri.extend_from_slice(name.as_bytes());
                call.uri.push(b'@');
                call.uri.extend_from_slice(settings.domain.as_bytes());
            }
        }
        call.to.clear();
        call.to.push(b'<');
        call.to.extend_from_slice(&call.uri);
        call.to.push(b'>');
        let counts = &mut self.tally.calls;
        counts.attempted += 1;
        counts.active += 1;
        counts.active_max = counts.active_max.max(counts.active);
        self.line.clear();
        self.send_invite(now, index);
    }

    /// Sends an INVITE with the lines in `self.line`.
    fn send_invite(&mut self, now: Now, index: u32) {
        let call = &self.calls[index as usize];
        let Some(flow) = call.flow else { return };
        self.describe(flow, call.port);
        self.calls[index as usize].phase = Phase::Calling;
        self.begin_request(now, index, "INVITE", TimerName::A);
    }

    /// Sends the next request of a call, with `self.line` and, for an INVITE, `self.body`, and sets its timers.
    pub(super) fn begin_request(
        &mut self,
        now: Now,
        index: u32,
        method: &'static str,
        again: TimerName,
    ) {
        let name = self.name_of(index);
        let user = self.caller_of(self.calls[index as usize].number);
        let settings = self.settings.clone();
        let mut call = std::mem::take(&mut self.calls[index as usize]);
        call.cseq += 1;
        call.step = call.step.wrapping_add(1);
        call.attempt = 0;
        let is_invite = method == "INVITE";
        let is_within = call.ack_cseq > 0;
        if let Some(flow) = call.flow {
            if is_within {
                self.line.extend_from_slice(&call.routes);
            }
            call.request.clear();
            let request = Request {
                method,
                uri: if is_within { &call.target } else { &call.uri },
                flow: &flow,
                name,
                cseq: call.cseq,
                user: settings.users.get(user).map_or("load", |user| &user.name),
                domain: &settings.domain,
                to: &call.to,
                lines: &self.line,
                has_contact: is_invite,
                body: if is_invite { &self.body } else { &[] },
            };
            request.push(&mut call.request);
            self.send(flow, &call.request, false);
            let timer = Timer {
                kind: Kind::Call,
                index,
                step: call.step,
                due: Due::GiveUp,
            };
            self.set_again(now, timer, again, 0, flow);
            self.set(now, timer, self.give_up_ms());
        }
        self.calls[index as usize] = call;
    }

    /// Gives the place back.
    pub(super) fn free_call(&mut self, index: u32) {
        let call = &mut self.calls[index as usize];
        call.phase = Phase::Free;
        call.step = call.step.wrapping_add(1);
        let (port, hears) = (call.port.take(), call.hears);
        self.free_calls.push(index);
        self.tally.calls.active -= 1;
        self.release(port, hears);
    }

    pub(super) fn fail_call(&mut self, index: u32, reason: Reason, status: u16) {
        self.tally.call_failures.add(reason);
        self.tell(|| Event::Failed { status });
        self.free_call(index);
    }

    pub(super) fn call_response(
        &mut self,
        now: Now,
        flow: Flow,
        name: Name,
        cseq: CSeq<'_>,
        message: &Message<'_>,
    ) {
        let status = message.status();
        let found = self.calls.get(name.index as usize);
        let found =
            found.filter(|call| call.generation == name.generation && call.phase != Phase::Free);
        let Some(call) = found else {
            self.tally.messages.late += 1;
            if cseq.method == Method::Invite && status >= 300 {
                self.refuse_again(flow, message);
            }
            return;
        };
        let is_current = cseq.number == call.cseq;
        match cseq.method {
            Method::Invite if status < 200 => {
                if is_current {
                    self.call_provisional(now, name.index, status);
                }
            }
            Method::Invite if status < 300 => match call.phase {
                // No call of ours has the CSeq 0, which stands for no ACK yet.
                _ if cseq.number == 0 => self.tally.messages.late += 1,
                _ if cseq.number == call.ack_cseq => self.acknowledge_again(name.index),
                _ if !is_current => self.tally.messages.late += 1,
                Phase::Reinviting => self.reinvite_accepted(now, name.index, message),
                Phase::Established | Phase::Ending => self.tally.messages.late += 1,
                _ => self.call_accepted(now, name.index, message),
            },
            Method::Invite if is_current && call.phase == Phase::Reinviting => {
                self.reinvite_refused(now, flow, name.index, message);
            }
            Method::Invite if is_current && call.ack_cseq == 0 => {
                self.call_refused(now, flow, name.index, message);
            }
            Method::Invite => self.refuse_again(flow, message),
            Method::Bye if is_current && call.phase == Phase::Ending && status >= 200 => {
                self.bye_answered(now, name.index, message);
            }
            // The INVITE's final response tells how it went.
            Method::Cancel if call.phase == Phase::Cancelling && status >= 200 => {
                let call = &mut self.calls[name.index as usize];
                call.step = call.step.wrapping_add(1);
                self.set(
                    now,
                    self.timer_of(name.index, Due::GiveUp),
                    self.give_up_ms(),
                );
            }
            _ if status < 200 => {}
            _ => self.tally.messages.late += 1,
        }
    }

    /// A refusal came once more: so does its ACK.
    fn refuse_again(&mut self, flow: Flow, message: &Message<'_>) {
        self.tally.messages.retransmissions_received += 1;
        self.tally.messages.sent += 1;
        self.outbox
            .send(flow, |out| write::push_refusal_ack(message, None, out));
    }

    /// A 2xx came once more: so does its ACK.
    fn acknowledge_again(&mut self, index: u32) {
        self.tally.messages.retransmissions_received += 1;
        let call = &mut self.calls[index as usize];
        let Some(flow) = call.flow else { return };
        let ack = std::mem::take(&mut call.ack);
        self.send(flow, &ack, true);
        self.calls[index as usize].ack = ack;
    }

    fn call_provisional(&mut self, now: Now, index: u32, status: u16) {
        let Some(calling) = &self.settings.calling else {
            return;
        };
        let (timeout_ms, cancel_after_ms) = (calling.answer_timeout_ms, calling.cancel_after_ms);
        let call = &mut self.calls[index as usize];
        if call.phase == Phase::Reinviting {
            // Heard: it is not sent again (section 17.1.1.2).
            call.step = call.step.wrapping_add(1);
            return self.set(now, self.timer_of(index, Due::GiveUp), timeout_ms);
        }
        let has_rung = status > 100 && !call.has_rung;
        if has_rung {
            call.has_rung = true;
            self.tally.calls.rang += 1;
            self.tally.ring.add(now.us.saturating_sub(call.began_us));
        }
        if call.phase == Phase::Calling {
            call.phase = Phase::Proceeding;
            call.step = call.step.wrapping_add(1);
            let will_cancel = call.will_cancel;
            self.set(now, self.timer_of(index, Due::GiveUp), timeout_ms);
            if will_cancel {
                self.set(now, self.timer_of(index, Due::Act), cancel_after_ms);
            }
        }
        if status > 100 {
            self.tell(|| Event::Ringing { status });
        }
    }

    fn call_accepted(&mut self, now: Now, index: u32, message: &Message<'_>) {
        let call = &mut self.calls[index as usize];
        let Some(mut flow) = call.flow else { return };
        let was_cancelled = call.phase == Phase::Cancelling;
        let learnt = write::learn_dialog(message, &mut call.target, &mut call.routes, &mut call.to);
        if learnt.is_none() {
            return self.fail_call(index, Reason::Unusable, message.status());
        }
        flow.remote = write::next_hop(&call.routes, &call.target, flow.remote);
        call.flow = Some(flow);
        call.phase = Phase::Established;
        call.step = call.step.wrapping_add(1);
        call.answered_us = now.us;
        let after_us = now.us.saturating_sub(call.began_us);
        self.tally.calls.answered += 1;
        self.tally.set_up.add(after_us);
        self.acknowledge(index, flow);
        self.hear(index, message);
        self.tell(|| Event::Answered {
            status: message.status(),
            after_us,
        });
        if was_cancelled {
            return self.hang_up(now, index);
        }
        self.plan(now, index);
    }

    /// Sends the ACK of a 2xx (section 13.2.2.4).
    pub(super) fn acknowledge(&mut self, index: u32, flow: Flow) {
        let name = self.name_of(index);
        let settings = self.settings.clone();
        let user = self.caller_of(self.calls[index as usize].number);
        let mut call = std::mem::take(&mut self.calls[index as usize]);
        call.ack.clear();
        call.ack_cseq = call.cseq;
        let ack = Request {
            method: "ACK",
            uri: &call.target,
            flow: &flow,
            name,
            cseq: call.cseq,
            user: settings.users.get(user).map_or("load", |user| &user.name),
            domain: &settings.domain,
            to: &call.to,
            lines: &call.routes,
            has_contact: false,
            body: &[],
        };
        ack.push(&mut call.ack);
        self.send(flow, &call.ack, false);
        self.calls[index as usize] = call;
    }

    /// The media begin.
    fn hear(&mut self, index: u32, message: &Message<'_>) {
        let call = &mut self.calls[index as usize];
        let Some(port) = call.port else { return };
        let peer = write::audio_address(message.body(), &mut self.sdp_index);
        if let Some(peer) = peer {
            call.hears = true;
            self.media.push(media::Command::Begin {
                socket: port.socket,
                peer,
            });
        }
    }

    fn call_refused(&mut self, now: Now, flow: Flow, index: u32, message: &Message<'_>) {
        let status = message.status();
        self.tally.messages.sent += 1;
        self.outbox
            .send(flow, |out| write::push_refusal_ack(message, None, out));
        let call = &mut self.calls[index as usize];
        if call.phase == Phase::Cancelling {
            return match (call.reason, status) {
                (Some(reason), _) => self.fail_call(index, reason, status),
                (None, 487) => {
                    self.tally.calls.cancelled += 1;
                    self.tell(|| Event::Failed { status });
                    self.free_call(index);
                }
                (None, _) => self.fail_call(index, Reason::Status(status), status),
            };
        }
        if matches!(status, 401 | 407) && call.challenges < CHALLENGES_MAX {
            let (number, uri) = (call.number, std::mem::take(&mut call.uri));
            let is_answered =
                self.answer_challenge(self.caller_of(number), "INVITE", &uri, message);
            self.calls[index as usize].uri = uri;
            if is_answered {
                self.calls[index as usize].challenges += 1;
                return self.send_invite(now, index);
            }
        }
        self.fail_call(index, Reason::Status(status), status);
    }

    pub(super) fn hang_up(&mut self, now: Now, index: u32) {
        let call = &mut self.calls[index as usize];
        call.phase = Phase::Ending;
        call.bye_us = now.us;
        call.challenges = 0;
        let port = call.port.filter(|_| call.hears);
        call.hears = false;
        if let Some(port) = port {
            self.media.push(media::Command::End {
                socket: port.socket,
            });
        }
        self.line.clear();
        self.begin_request(now, index, "BYE", TimerName::E);
    }

    fn bye_answered(&mut self, now: Now, index: u32, message: &Message<'_>) {
        let status = message.status();
        if self.answers_challenge_within(index, "BYE", message) {
            return self.begin_request(now, index, "BYE", TimerName::E);
        }
        let call = &self.calls[index as usize];
        let (bye_us, reason) = (call.bye_us, call.reason);
        let refused = (status >= 300).then_some(Reason::ByeStatus(status));
        if let Some(reason) = reason.or(refused) {
            return self.fail_call(index, reason, status);
        }
        self.tally.end.add(now.us.saturating_sub(bye_us));
        self.tally.calls.completed += 1;
        self.tell(|| Event::Ended { by_peer: false });
        self.free_call(index);
    }

    /// Gives a call up that rings (section 9.1).
    fn cancel(&mut self, now: Now, index: u32, reason: Option<Reason>) {
        let mut call = std::mem::take(&mut self.calls[index as usize]);
        call.phase = Phase::Cancelling;
        call.step = call.step.wrapping_add(1);
        call.attempt = 0;
        call.reason = reason;
        if let Some(flow) = call.flow {
            self.text.clear();
            if let Ok(invite) = self.own_index.parse(&call.request, &Limits::default()) {
                build::cancel(&invite, b"", &mut self.text);
            }
            std::mem::swap(&mut call.request, &mut self.text);
            self.send(flow, &call.request, false);
            let timer = Timer {
                kind: Kind::Call,
                index,
                step: call.step,
                due: Due::GiveUp,
            };
            self.set_again(now, timer, TimerName::E, 0, flow);
            self.set(now, timer, self.give_up_ms());
        }
        self.calls[index as usize] = call;
    }

    pub(super) fn call_due(&mut self, now: Now, timer: Timer) {
        let index = timer.index;
        let call = &mut self.calls[index as usize];
        let Some(flow) = call.flow.filter(|_| call.step == timer.step) else {
            return;
        };
        match (timer.due, call.phase) {
            (Due::Again, phase) => {
                call.attempt += 1;
                let attempt = call.attempt;
                let request = std::mem::take(&mut call.request);
                self.send(flow, &request, true);
                self.calls[index as usize].request = request;
                let name = match phase {
                    Phase::Calling | Phase::Reinviting => TimerName::A,
                    _ => TimerName::E,
                };
                self.set_again(now, timer, name, attempt, flow);
            }
            (Due::GiveUp, Phase::Calling) => self.fail_call(index, Reason::InviteTimeout, 408),
            (Due::GiveUp, Phase::Proceeding) => self.cancel(now, index, Some(Reason::NoAnswer)),
            (Due::GiveUp, Phase::Cancelling) => {
                let reason = call.reason.unwrap_or(Reason::CancelTimeout);
                self.fail_call(index, reason, 408);
            }
            (Due::GiveUp, Phase::Reinviting) => {
                // Section 14.1: who does not answer has no call any more.
                call.reason = Some(Reason::ReinviteTimeout);
                self.hang_up(now, index);
            }
            (Due::GiveUp, Phase::Ending) => {
                let reason = call.reason.unwrap_or(Reason::ByeTimeout);
                self.fail_call(index, reason, 408);
            }
            (Due::Act, Phase::Proceeding) => self.cancel(now, index, None),
            (Due::Act, Phase::Established) if call.will_reinvite => self.reinvite(now, index),
            (Due::Act, Phase::Established) => self.hang_up(now, index),
            _ => {}
        }
    }

    /// The phone's user hangs up or gives up.
    pub(crate) fn end_calls(&mut self, now: Now) {
        for index in 0..self.calls.len() as u32 {
            match self.calls[index as usize].phase {
                Phase::Established | Phase::Reinviting => self.hang_up(now, index),
                Phase::Proceeding => self.cancel(now, index, None),
                _ => {}
            }
        }
    }

    pub(super) fn abandon_calls(&mut self, now: Now) {
        let _ = now;
        for index in 0..self.calls.len() as u32 {
            if self.calls[index as usize].phase != Phase::Free {
                self.fail_call(index, Reason::Unfinished, 408);
            }
        }
    }
}
