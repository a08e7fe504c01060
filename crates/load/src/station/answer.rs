//! Calls that are taken (RFC 3261 sections 13.3 and 17.2.1).

use std::net::SocketAddr;

use sip::{HeaderName, Message, Method, Splices, build};
use transaction::{Flow, TimerName};

use super::{ANSWERS_MAX, Due, Event, Now, Port, Station, Timer};
use crate::media;
use crate::name::{Kind, Name};
use crate::tally::Reason;
use crate::write::{self, Head};

/// Where an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
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
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    phase: Phase,
    generation: u32,
    step: u32,
    attempt: u32,
    key: u64,
    flow: Option<Flow>,
    cseq: u32,
    head: Head,
    /// Record-Route and Contact.
    lines: Vec<u8>,
    /// The last response.
    response: Vec<u8>,
    peer: Option<SocketAddr>,
    port: Option<Port>,
    hears: bool,
}

/// The head of all responses to a request.
pub(super) fn head(message: &Message<'_>, flow: Flow) -> Head {
    let mut head = Head::default();
    let mut splices = Splices::default();
    if let Ok(via) = message.via() {
        build::stamp_via(message, &via, flow.remote, &mut splices);
    }
    head.tag = build::response_head(message, &splices, &mut head.bytes);
    head
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
    fn answer_timer(&self, index: u32, due: Due) -> Timer {
        Timer {
            kind: Kind::Answer,
            index,
            step: self.answers[index as usize].step,
            due,
        }
    }

    fn answer_name(&self, index: u32) -> Name {
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
            return self.send_response(index, true);
        }
        let needs_port = self.settings.has_media && self.ports.is_empty();
        if self.answers.len() - self.free_answers.len() >= ANSWERS_MAX || needs_port {
            return self.reply(flow, message, 503, false);
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
        answer.head = head(message, flow);
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
        self.respond(now, index, 180);
        let ring_ms = self.settings.answering.ring_ms;
        if ring_ms == 0 {
            return self.answer(now, index);
        }
        self.set(now, self.answer_timer(index, Due::Act), ring_ms);
    }

    /// Sends a response, and again until it is acknowledged if it is a final one.
    fn respond(&mut self, now: Now, index: u32, status: u16) {
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

    fn send_response(&mut self, index: u32, is_again: bool) {
        let answer = &mut self.answers[index as usize];
        let Some(flow) = answer.flow else { return };
        let response = std::mem::take(&mut answer.response);
        self.send(flow, &response, is_again);
        self.answers[index as usize].response = response;
    }

    /// The phone is picked up, or the call refused.
    fn answer(&mut self, now: Now, index: u32) {
        let status = self.settings.answering.status;
        if status >= 300 {
            self.answers[index as usize].phase = Phase::Refused;
            return self.respond(now, index, status);
        }
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

    fn free_answer(&mut self, index: u32) {
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
            return self.reply(flow, message, 481, false);
        };
        self.reply(flow, message, 200, false);
        if self.answers[index as usize].phase == Phase::Ringing {
            self.tally.answers.cancelled += 1;
            self.answers[index as usize].phase = Phase::Refused;
            self.respond(now, index, 487);
            self.tell(|| Event::Ended { by_peer: true });
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
                let answer = &mut self.answers[name.index as usize];
                answer.phase = Phase::Confirmed;
                answer.step = answer.step.wrapping_add(1);
                self.tally.answers.acknowledged += 1;
                self.tell(|| Event::Taken);
            }
            (Some(Method::Ack), Phase::Refused) => self.free_answer(name.index),
            (Some(Method::Ack), Phase::Confirmed | Phase::Free) => {
                self.tally.messages.retransmissions_received += 1;
            }
            (Some(Method::Bye), Phase::Accepted | Phase::Confirmed) => {
                self.reply(flow, message, 200, false);
                self.tally.answers.ended += 1;
                self.tell(|| Event::Ended { by_peer: true });
                self.free_answer(name.index);
            }
            // The 200 to a BYE is not kept: any BYE of ours gets it.
            (Some(Method::Bye), _) => {
                self.tally.messages.retransmissions_received += 1;
                self.reply(flow, message, 200, false);
            }
            (Some(Method::Cancel), _) => self.cancelled(now, flow, message),
            (Some(Method::Invite), Phase::Accepted | Phase::Confirmed) => {
                self.reply(flow, message, 200, true);
            }
            (_, Phase::Free) => {
                self.tally.messages.unexpected += 1;
                self.reply(flow, message, 481, false);
            }
            _ => self.reply(flow, message, 200, false),
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
            (Due::Again, phase) => {
                answer.attempt += 1;
                let attempt = answer.attempt;
                if phase == Phase::Accepted {
                    flow.transport = transaction::Transport::Udp;
                }
                self.send_response(index, true);
                self.set_again(now, timer, TimerName::G, attempt, flow);
            }
            (Due::GiveUp, Phase::Accepted | Phase::Refused) => {
                self.tally.answer_failures.add(Reason::NoAck);
                self.free_answer(index);
            }
            _ => {}
        }
    }

    pub(super) fn abandon_answers(&mut self, now: Now) {
        let _ = now;
        for index in 0..self.answers.len() as u32 {
            if self.answers[index as usize].phase != Phase::Free {
                self.tally.answer_failures.add(Reason::Unfinished);
                self.free_answer(index);
            }
        }
    }
}
