//! Calls that are taken (RFC 3261 sections 13.3 and 17.2.1).

use std::net::SocketAddr;

use sip::{HeaderName, Message, Method};
use transaction::{Flow, TimerName};

use super::{ANSWERS_MAX, Due, Event, Now, Port, Station, Timer};
use crate::media;
use crate::name::{Kind, Name};
use crate::tally::Reason;
use crate::write::{self, Back, Head};

/// Where an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The place is free.
    #[default]
    Free,
    /// 180 was sent.
    Ringing,
    /// A 2xx was sent, no ACK has come.
    Accepted,
    /// The ACK has come.
    Confirmed,
    /// A refusal was sent, no ACK has come.
    Refused,
    /// The INVITE is passed over.
    Ignored,
    /// BYE was sent.
    Ending,
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) phase: Phase,
    pub(super) generation: u32,
    pub(super) step: u32,
    pub(super) attempt: u32,
    key: u64,
    pub(super) flow: Option<Flow>,
    pub(super) cseq: u32,
    pub(super) head: Head,
    /// What requests of ours are made of.
    pub(super) back: Back,
    pub(super) own_cseq: u32,
    pub(super) challenges: u8,
    /// The INVITE that is answered is one within the call.
    pub(super) is_reinvited: bool,
    /// The call is refused when it has rung.
    is_refused: bool,
    /// When it is ended from this side.
    hangs_up_us: Option<u64>,
    /// Both sides have hung up.
    pub(super) has_crossed: bool,
    /// Why it has failed, though it is still to be ended.
    pub(super) reason: Option<Reason>,
    /// Record-Route and Contact.
    lines: Vec<u8>,
    /// The last response, or our BYE.
    pub(super) response: Vec<u8>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) port: Option<Port>,
    pub(super) hears: bool,
}

/// Where a response goes (section 18.2.2, RFC 3581 section 4).
pub(super) fn way_back(message: &Message<'_>, flow: Flow) -> Flow {
    let mut back = flow;
    if let Ok(via) = message.via()
        && via.rport().is_none()
        && !flow.transport.is_reliable()
    {
        back.remote.set_port(via.port.unwrap_or(5060));
    }
    back
}

impl Station {
    pub(super) fn answer_timer(&self, index: u32, due: Due) -> Timer {
        Timer {
            kind: Kind::Answer,
            index,
            step: self.answers[index as usize].step,
            due,
        }
    }

    pub(super) fn answer_name(&self, index: u32) -> Name {
        let generation = self.answers[index as usize].generation;
        Name {
            kind: Kind::Answer,
            run: self.run,
            index,
            generation,
        }
    }

    /// An INVITE outside of a dialog came.
    pub(super) fn invited(&mut self, now: Now, flow: Flow, message: &Message<'_>) {
        let (Some(key), Ok(cseq)) = (self.key(message), message.cseq()) else {
            self.tally.messages.unreadable += 1;
            return;
        };
        if let Some(&index) = self.by_key.get(&key)
            && self.answers[index as usize].cseq == cseq.number
        {
            self.tally.messages.retransmissions_received += 1;
            return match self.answers[index as usize].phase {
                // What is in its place is a BYE.
                Phase::Ignored | Phase::Ending => {}
                _ => self.send_response(index, true),
            };
        }
        let needs_port = self.settings.has_media && self.ports.is_empty();
        if self.answers.len() - self.free_answers.len() >= ANSWERS_MAX || needs_port {
            self.tally.answers.turned_away += 1;
            return self.reply(flow, message, 503, None);
        }
        let index = self.free_answers.pop().unwrap_or_else(|| {
            self.answers.push(Answer::default());
            (self.answers.len() - 1) as u32
        });
        let port = if self.settings.has_media {
            self.ports.pop_front()
        } else {
            None
        };
        let peer = write::audio_address(message.body(), &mut self.sdp_index);
        let answer = &mut self.answers[index as usize];
        answer.generation = answer.generation.wrapping_add(1);
        answer.phase = Phase::Ringing;
        answer.key = key;
        answer.flow = Some(way_back(message, flow));
        answer.cseq = cseq.number;
        answer.head.fill(message, flow, &mut self.splices);
        answer.back.learn(message);
        answer.own_cseq = 0;
        answer.is_reinvited = false;
        answer.has_crossed = false;
        answer.hangs_up_us = None;
        answer.reason = None;
        answer.lines.clear();
        for field in message.fields(HeaderName::RecordRoute) {
            answer
                .lines
                .extend_from_slice(field.line.of(message.buffer()));
        }
        write::push_contact(b"load", &flow, &mut answer.lines);
        answer.lines.extend_from_slice(b"\r\n");
        answer.peer = peer;
        answer.port = port;
        answer.hears = false;
        self.by_key.insert(key, index);
        self.tally.answers.invited += 1;
        self.tally.answers.active += 1;
        let from = message.header(HeaderName::From).unwrap_or_default();
        self.tell(|| Event::Invited {
            from: String::from_utf8_lossy(from).into_owned(),
        });
        let answering = self.settings.answering;
        if self.shares.ignored.takes(answering.ignore_per_mille) {
            self.tally.answers.ignored += 1;
            let answer = &mut self.answers[index as usize];
            answer.phase = Phase::Ignored;
            answer.step = answer.step.wrapping_add(1);
            return self.set(
                now,
                self.answer_timer(index, Due::GiveUp),
                self.give_up_ms(),
            );
        }
        let is_refused =
            answering.status >= 300 && self.shares.refused.takes(answering.refuse_per_mille);
        self.answers[index as usize].is_refused = is_refused;
        self.respond(now, index, 180);
        let ring_ms = answering.ring_ms;
        if ring_ms == 0 {
            return self.answer(now, index);
        }
        self.set(now, self.answer_timer(index, Due::Act), ring_ms);
    }

    /// Sends a response, and again until it is acknowledged if it is a final one.
    pub(super) fn respond(&mut self, now: Now, index: u32, status: u16) {
        let name = self.answer_name(index);
        let (flow, port) = {
            let answer = &self.answers[index as usize];
            (answer.flow, answer.port)
        };
        let Some(flow) = flow else { return };
        self.body.clear();
        if (200..300).contains(&status) {
            self.describe(flow, port);
        }
        let answer = &mut self.answers[index as usize];
        answer.step = answer.step.wrapping_add(1);
        answer.attempt = 0;
        answer.response.clear();
        let (lines, body) = (&answer.lines, &self.body);
        answer
            .head
            .push(status, Some(name), lines, body, &mut answer.response);
        self.send_response(index, false);
        if status >= 200 {
            let timer = self.answer_timer(index, Due::GiveUp);
            // A 2xx is sent again over reliable transports too (section 13.3.1.4): it may pass others on its way.
            let mut repeated = flow;
            if status < 300 {
                repeated.transport = transaction::Transport::Udp;
            }
            self.set_again(now, timer, TimerName::G, 0, repeated);
            self.set(now, timer, self.give_up_ms());
        }
    }

    pub(super) fn send_response(&mut self, index: u32, is_again: bool) {
        let answer = &mut self.answers[index as usize];
        let Some(flow) = answer.flow else { return };
        let response = std::mem::take(&mut answer.response);
        self.send(flow, &response, is_again);
        self.answers[index as usize].response = response;
    }

    /// The phone is picked up, or the call refused.
    fn answer(&mut self, now: Now, index: u32) {
        let status = self.settings.answering.status;
        if self.answers[index as usize].is_refused {
            self.answers[index as usize].phase = Phase::Refused;
            self.tally.answers.refused += 1;
            return self.respond(now, index, status);
        }
        let status = if status < 300 { status } else { 200 };
        let answer = &mut self.answers[index as usize];
        answer.phase = Phase::Accepted;
        if let (Some(port), Some(peer)) = (answer.port, answer.peer) {
            answer.hears = true;
            self.media.push(media::Command::Begin {
                socket: port.socket,
                peer,
            });
        }
        self.tally.answers.answered += 1;
        self.respond(now, index, status);
    }

    pub(super) fn free_answer(&mut self, index: u32) {
        let answer = &mut self.answers[index as usize];
        answer.phase = Phase::Free;
        answer.step = answer.step.wrapping_add(1);
        let (key, port, hears) = (answer.key, answer.port.take(), answer.hears);
        if self.by_key.get(&key) == Some(&index) {
            self.by_key.remove(&key);
        }
        self.free_answers.push(index);
        self.tally.answers.active -= 1;
        self.release(port, hears);
    }

    pub(super) fn cancelled(&mut self, now: Now, flow: Flow, message: &Message<'_>) {
        let found = self
            .key(message)
            .and_then(|key| self.by_key.get(&key).copied());
        let Some(index) = found else {
            self.tally.messages.late += 1;
            return self.reply(flow, message, 481, None);
        };
        self.reply(flow, message, 200, None);
        if self.answers[index as usize].phase == Phase::Ringing {
            self.tally.answers.cancelled += 1;
            self.answers[index as usize].phase = Phase::Refused;
            self.respond(now, index, 487);
            self.tell(|| Event::Ended { by_peer: true });
        }
    }

    /// The ACK of a 2xx has come.
    fn confirm(&mut self, now: Now, index: u32) {
        let answering = self.settings.answering;
        let answer = &mut self.answers[index as usize];
        answer.phase = Phase::Confirmed;
        answer.step = answer.step.wrapping_add(1);
        if answer.is_reinvited {
            self.tally.answers.reinvited += 1;
        } else {
            self.tally.answers.acknowledged += 1;
            self.tell(|| Event::Taken);
            let hangs_up = self.shares.hung_up.takes(answering.hang_up_per_mille);
            let answer = &mut self.answers[index as usize];
            answer.hangs_up_us = hangs_up.then_some(now.us + answering.hang_up_after_ms * 1_000);
        }
        if let Some(at_us) = self.answers[index as usize].hangs_up_us {
            let after_ms = at_us.saturating_sub(now.us).div_ceil(1_000);
            self.set(now, self.answer_timer(index, Due::Act), after_ms);
        }
    }

    /// A request within a dialog that we answered.
    pub(super) fn answer_request(
        &mut self,
        now: Now,
        flow: Flow,
        name: Name,
        message: &Message<'_>,
    ) {
        let found = self.answers.get(name.index as usize);
        let phase = found
            .filter(|answer| answer.generation == name.generation)
            .map_or(Phase::Free, |answer| answer.phase);
        match (message.method(), phase) {
            (Some(Method::Ack), Phase::Accepted) => {
                self.confirm(now, name.index);
            }
            (Some(Method::Ack), Phase::Refused) => {
                if self.answers[name.index as usize].is_refused {
                    self.tell(|| Event::Ended { by_peer: false });
                }
                self.free_answer(name.index);
            }
            (Some(Method::Ack), Phase::Confirmed | Phase::Free) => {
                self.tally.messages.retransmissions_received += 1;
            }
            (Some(Method::Bye), Phase::Accepted | Phase::Confirmed) => {
                self.reply(flow, message, 200, None);
                self.tally.answers.ended += 1;
                self.tell(|| Event::Ended { by_peer: true });
                self.free_answer(name.index);
            }
            // Both have hung up at the same time.
            (Some(Method::Bye), Phase::Ending) => {
                self.answers[name.index as usize].has_crossed = true;
                self.reply(flow, message, 200, None);
            }
            // The 200 to a BYE is not kept: any BYE of ours gets it.
            (Some(Method::Bye), _) => {
                self.tally.messages.retransmissions_received += 1;
                self.reply(flow, message, 200, None);
            }
            (Some(Method::Cancel), _) => self.cancelled(now, flow, message),
            (Some(Method::Invite), Phase::Accepted | Phase::Confirmed) => {
                self.answer_reinvite(now, flow, name.index, message);
            }
            (Some(Method::Ack), _) => {}
            (Some(Method::Invite), Phase::Ending) => self.reply(flow, message, 481, None),
            (_, Phase::Free) => {
                self.tally.messages.unexpected += 1;
                self.reply(flow, message, 481, None);
            }
            _ => self.reply(flow, message, 200, None),
        }
    }

    pub(super) fn answer_due(&mut self, now: Now, timer: Timer) {
        let index = timer.index;
        let answer = &mut self.answers[index as usize];
        let Some(mut flow) = answer.flow.filter(|_| answer.step == timer.step) else {
            return;
        };
        match (timer.due, answer.phase) {
            (Due::Act, Phase::Ringing) => self.answer(now, index),
            (Due::Act, Phase::Confirmed) => self.hang_up_answer(now, index, None),
            (Due::Again, phase) => {
                answer.attempt += 1;
                let attempt = answer.attempt;
                if phase == Phase::Accepted {
                    flow.transport = transaction::Transport::Udp;
                }
                self.send_response(index, true);
                let name = match phase {
                    Phase::Ending => TimerName::E,
                    _ => TimerName::G,
                };
                self.set_again(now, timer, name, attempt, flow);
            }
            // Section 13.3.1.4: without an ACK the call is ended.
            (Due::GiveUp, Phase::Accepted) => {
                self.hang_up_answer(now, index, Some(Reason::NoAck));
            }
            (Due::GiveUp, Phase::Refused) => {
                self.tally.answer_failures.add(Reason::NoAck);
                self.free_answer(index);
            }
            (Due::GiveUp, Phase::Ignored) => self.free_answer(index),
            (Due::GiveUp, Phase::Ending) => self.answer_ended(index, 0),
            _ => {}
        }
    }

    pub(super) fn abandon_answers(&mut self, now: Now) {
        let _ = now;
        for index in 0..self.answers.len() as u32 {
            match self.answers[index as usize].phase {
                Phase::Free => continue,
                Phase::Ignored => {}
                _ => self.tally.answer_failures.add(Reason::Unfinished),
            }
            self.free_answer(index);
        }
    }
}
