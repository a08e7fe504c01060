//! One call between the two phones, both ends of it.

use std::time::{Duration, Instant};

use super::Phase;
use super::dialog::{Dialog, Line, Resend};
use super::stream::Stream;
use crate::message::Message;
use crate::world::{DOMAIN, USERS};

/// The caller's end, and the other.
const CALLER: usize = 0;
const CALLED: usize = 1;
/// Challenges that a phone answers in one call: one, and one that says that its nonce was too old (RFC 7616 section 3.3).
const CHALLENGES_MAX: u32 = 3;

/// How far an end is.
#[derive(Debug)]
enum State {
    /// Nothing has happened.
    Idle,
    /// The caller dials; nobody has said a word.
    Dialling(Resend),
    /// It rings, or the caller has been told to wait.
    Ringing,
    /// The called phone has answered, and hears no ACK.
    Answered(Resend),
    Talking,
    /// It hangs up.
    Ending(Resend),
    Over,
}

/// One end of a call.
#[derive(Debug)]
struct End {
    state: State,
    dialog: Dialog,
    stream: Stream,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) phase: Phase,
    pub(super) dial_at: Instant,
    pub(super) answer_at: Option<Instant>,
    pub(super) hang_up_by: Option<usize>,
    ends: [End; 2],
    /// What the called phone was asked, and its answer to be given again.
    invite: Option<Message>,
    answer: String,
    ack: String,
    has_rung: bool,
    failure: Option<String>,
}

impl Call {
    pub(super) fn new(
        number: u64,
        phase: Phase,
        at: Instant,
        answer_at: Option<Instant>,
        streams: [Stream; 2],
    ) -> Call {
        let end = |stream| End {
            state: State::Idle,
            dialog: Dialog::default(),
            stream,
        };
        Call {
            id: format!("lab-call-{number}"),
            phase,
            dial_at: at,
            answer_at,
            hang_up_by: None,
            ends: streams.map(end),
            invite: None,
            answer: String::new(),
            ack: String::new(),
            has_rung: false,
            failure: None,
        }
    }

    /// Whether the fault may come.
    pub(super) fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Established => self.ends.iter().all(|end| end.stream.heard > 5),
            Phase::Ringing | Phase::Answering => self.has_rung,
            Phase::Dialling => true,
        }
    }

    /// Whether both talk, or never will.
    pub(super) fn is_answered(&self) -> bool {
        let talk = |end: &End| matches!(end.state, State::Talking | State::Ending(_) | State::Over);
        self.failure.is_some() || self.ends.iter().all(talk)
    }

    pub(super) fn is_over(&self) -> bool {
        let is_over = |end: &End| matches!(end.state, State::Over);
        self.failure.is_some() || self.ends.iter().all(is_over)
    }

    /// Why it was lost, if it was.
    pub(super) fn loss(&self) -> Option<String> {
        if self.is_over() && self.failure.is_none() {
            return None;
        }
        let word = |end: &End| match &end.state {
            State::Idle => "idle",
            State::Dialling(_) => "dialling",
            State::Ringing => "ringing",
            State::Answered(_) => "answered, no ACK",
            State::Talking => "talking",
            State::Ending(_) => "hanging up",
            State::Over => "over",
        };
        let what = self.failure.clone().unwrap_or_else(|| {
            let [caller, called] = &self.ends;
            format!("stuck: caller {}, called {}", word(caller), word(called))
        });
        Some(format!("{:?} {}: {what}", self.phase, self.id))
    }

    pub(super) fn begin_watch(&mut self, now: Instant) {
        self.ends
            .iter_mut()
            .for_each(|end| end.stream.begin_watch(now));
    }

    pub(super) fn gaps(&self, now: Instant) -> [Duration; 2] {
        [self.ends[0].stream.gap(now), self.ends[1].stream.gap(now)]
    }

    pub(super) fn hear(&mut self, now: Instant) {
        self.ends.iter_mut().for_each(|end| end.stream.hear(now));
    }

    pub(super) fn speak(&mut self) {
        for end in &mut self.ends {
            if matches!(end.state, State::Talking) {
                end.stream.speak();
            }
        }
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, lines: &mut [Line; 2], now: Instant) {
        if self.failure.is_some() {
            return;
        }
        if matches!(self.ends[CALLER].state, State::Idle) && now >= self.dial_at {
            self.dial(&mut lines[CALLER], now);
        }
        let is_due = self.answer_at.is_some_and(|at| now >= at);
        if is_due && matches!(self.ends[CALLED].state, State::Ringing) {
            self.pick_up(&lines[CALLED], now);
        }
        for (side, line) in lines.iter_mut().enumerate() {
            if self.hang_up_by == Some(side) && matches!(self.ends[side].state, State::Talking) {
                self.hang_up(side, line, now);
            }
            if let State::Dialling(resend) | State::Answered(resend) | State::Ending(resend) =
                &mut self.ends[side].state
            {
                resend.turn(line, now);
            }
        }
    }

    fn dial(&mut self, line: &mut Line, now: Instant) {
        let to = format!("sip:{}@{DOMAIN}", USERS[CALLED]);
        self.ends[CALLER].dialog = Dialog {
            call_id: self.id.clone(),
            local: format!("<{}>;tag=caller", line.aor()),
            remote: format!("<{to}>"),
            target: to,
            routes: Vec::new(),
            cseq: 1,
        };
        self.invites(line, "", now);
    }

    fn invites(&mut self, line: &mut Line, more: &str, now: Instant) {
        let end = &mut self.ends[CALLER];
        let lines = format!("{}Content-Type: application/sdp\r\n{more}", line.contact());
        let offer = end.stream.description(line.address);
        let text = line.request(&end.dialog, "INVITE", &lines, &offer);
        line.send(&text);
        end.state = State::Dialling(Resend::new(text, true, now));
    }

    fn pick_up(&mut self, line: &Line, now: Instant) {
        let Some(invite) = &self.invite else {
            return;
        };
        let end = &mut self.ends[CALLED];
        let lines = format!("{}Content-Type: application/sdp\r\n", line.contact());
        self.answer = invite.answer(
            "200 OK",
            "called",
            &lines,
            &end.stream.description(line.address),
        );
        line.send(&self.answer);
        end.state = State::Answered(Resend::new(self.answer.clone(), false, now));
    }

    fn hang_up(&mut self, side: usize, line: &mut Line, now: Instant) {
        let end = &mut self.ends[side];
        end.dialog.cseq += 1;
        let text = line.request(&end.dialog, "BYE", "", "");
        line.send(&text);
        end.state = State::Ending(Resend::new(text, false, now));
    }

    /// A message of this call to one end.
    pub(super) fn take(
        &mut self,
        side: usize,
        message: &Message,
        lines: &mut [Line; 2],
        now: Instant,
    ) {
        let line = &mut lines[side];
        match (message.status(), message.cseq_method()) {
            (Some(status), "INVITE") => self.told(status, message, line, now),
            (Some(status), "BYE") if status >= 200 => self.ended(side, status),
            (Some(_), _) => {}
            (None, "INVITE") if side == CALLED => self.asked(message, line),
            (None, "ACK") => {
                if matches!(self.ends[side].state, State::Answered(_)) {
                    self.ends[side].state = State::Talking;
                }
            }
            (None, "BYE") => {
                line.send(&message.answer("200 OK", "called", "", ""));
                self.ends[side].state = State::Over;
            }
            (None, _) => line.send(&message.answer("200 OK", "called", "", "")),
        }
    }

    /// The called phone is asked, perhaps again.
    fn asked(&mut self, message: &Message, line: &Line) {
        if !matches!(self.ends[CALLED].state, State::Idle) {
            line.send(&self.answer);
            return;
        }
        let end = &mut self.ends[CALLED];
        end.stream.to = message.media();
        end.dialog = Dialog {
            call_id: self.id.clone(),
            local: format!("{};tag=called", message.header("To")),
            remote: message.header("From").to_owned(),
            target: message.contact().to_owned(),
            routes: message
                .all("Record-Route")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            cseq: 1,
        };
        end.state = State::Ringing;
        self.answer = message.answer("180 Ringing", "called", &line.contact(), "");
        self.invite = Some(message.clone());
        line.send(&self.answer);
    }

    /// The caller is told something about its INVITE.
    fn told(&mut self, status: u16, message: &Message, line: &mut Line, now: Instant) {
        let end = &mut self.ends[CALLER];
        match status {
            100..200 => {
                self.has_rung |= status == 180;
                if matches!(end.state, State::Dialling(_)) {
                    end.state = State::Ringing;
                }
            }
            200 if matches!(end.state, State::Dialling(_) | State::Ringing) => {
                end.stream.to = message.media();
                end.dialog.remote = message.header("To").to_owned();
                end.dialog.target = message.contact().to_owned();
                let routes = message.all("Record-Route").into_iter().rev();
                end.dialog.routes = routes.map(str::to_owned).collect();
                self.ack = line.request(&end.dialog, "ACK", "", "");
                end.state = State::Talking;
                line.send(&self.ack);
            }
            // The same 200 again: its ACK was lost.
            200..300 => line.send(&self.ack),
            _ => {
                self.acknowledges(message, line);
                self.refused(status, message, line, now);
            }
        }
    }

    /// The caller's INVITE is refused, or challenged: what it answers to that, unless it has.
    fn refused(&mut self, status: u16, message: &Message, line: &mut Line, now: Instant) {
        let end = &mut self.ends[CALLER];
        let cseq = end.dialog.cseq;
        // An answer to what it has given up, given again.
        if message.header("CSeq") != format!("{cseq} INVITE") {
            return;
        }
        let is_challenge = matches!(status, 401 | 407);
        let is_stale = message.says_stale();
        if is_challenge && (cseq == 1 || is_stale) && cseq < CHALLENGES_MAX {
            let target = end.dialog.target.clone();
            let proof = line.credentials(message, "INVITE", &target);
            end.dialog.cseq += 1;
            self.invites(line, &proof.unwrap_or_default(), now);
            return;
        }
        let stale = if is_stale { ", stale" } else { "" };
        self.failure = Some(format!("INVITE {cseq} was answered with {status}{stale}"));
    }

    /// The ACK of a refusal has the branch of what was refused (RFC 3261 section 17.1.1.3).
    fn acknowledges(&self, refusal: &Message, line: &Line) {
        let dialog = &self.ends[CALLER].dialog;
        let number = refusal.header("CSeq").split(' ').next().unwrap_or_default();
        line.send(&format!(
            "ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            dialog.target,
            refusal.header("Via"),
            dialog.local,
            refusal.header("To"),
            self.id
        ));
    }

    fn ended(&mut self, side: usize, status: u16) {
        if !matches!(self.ends[side].state, State::Ending(_)) {
            return;
        }
        match status {
            200..300 => self.ends[side].state = State::Over,
            _ => self.failure = Some(format!("BYE was answered with {status}")),
        }
    }
}
