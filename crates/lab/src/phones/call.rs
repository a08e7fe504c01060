//! One call, both ends of it.

use std::time::{Duration, Instant};

use super::dialog::{Dialog, Line, Resend};
use super::stream::Stream;
use super::{Order, Phase, Story, When};
use crate::message::Message;
use crate::world::DOMAIN;

/// The caller's end, and the other.
pub(super) const CALLER: usize = 0;
pub(super) const CALLED: usize = 1;
/// Challenges that a phone answers in one call: one, and one that says that its nonce was too old (RFC 7616 section 3.3).
const CHALLENGES_MAX: u32 = 3;

/// After so much silence nobody waits for more.
const SILENT: Duration = Duration::from_secs(1);

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
    /// The Call-ID that it knows the call by: a PBX between them has one for each side.
    id: Option<String>,
    state: State,
    dialog: Dialog,
    stream: Stream,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    id: String,
    pub(super) phase: Phase,
    /// Who is called.
    to: String,
    /// The lines of both ends.
    lines: [usize; 2],
    /// Whether it is a machine that answers: there is no other end.
    is_to_machine: bool,
    dial: When,
    answer: When,
    pub(super) dial_at: Option<Instant>,
    pub(super) answer_at: Option<Instant>,
    hang_up_by: Option<usize>,
    ends: [End; 2],
    /// What the called phone was asked, and its answer to be given again.
    invite: Option<Message>,
    answer_text: String,
    ack: String,
    has_rung: bool,
    failure: Option<String>,
    /// Names that the called phone knew it by before.
    old_ids: Vec<String>,
    /// INVITEs by other names, which wait until what rings is taken back.
    waiting: Vec<Message>,
    story: Story,
}

impl Call {
    pub(super) fn new(number: u64, order: &Order, now: Instant, streams: [Stream; 2]) -> Call {
        let id = format!("lab-call-{number}");
        let end = |stream| End {
            id: None,
            state: State::Idle,
            dialog: Dialog::default(),
            stream,
        };
        let mut ends = streams.map(end);
        ends[CALLER].id = Some(id.clone());
        if order.is_direct {
            ends[CALLED].id = Some(id.clone());
        }
        if order.is_to_machine {
            ends[CALLED].state = State::Over;
        }
        let at = |when| (when == When::Now).then_some(now);
        Call {
            id,
            phase: order.phase,
            to: order.to.clone(),
            lines: order.lines,
            is_to_machine: order.is_to_machine,
            dial: order.dial,
            answer: order.answer,
            dial_at: at(order.dial),
            answer_at: at(order.answer),
            hang_up_by: None,
            ends,
            invite: None,
            answer_text: String::new(),
            ack: String::new(),
            has_rung: false,
            failure: None,
            old_ids: Vec::new(),
            waiting: Vec::new(),
            story: Story::new(order),
        }
    }

    /// Which end a message that came to a line is for.
    pub(super) fn end_of(&self, line: usize, message: &Message) -> Option<usize> {
        let call_id = message.header("Call-ID");
        let is_it = |end: &usize| {
            self.lines[*end] == line && self.ends[*end].id.as_deref() == Some(call_id)
        };
        [CALLER, CALLED].into_iter().find(is_it)
    }

    /// Whether an INVITE to somebody at a line is this call's, by a PBX that has its own name for it.
    pub(super) fn awaits(&self, line: usize, user: &str) -> bool {
        // A second one before both talk: who sent the first died, and its successor begins anew.
        let is_open = !matches!(self.ends[CALLED].state, State::Over);
        let is_dialled = matches!(self.ends[CALLER].state, State::Dialling(_) | State::Ringing);
        let is_it = self.lines[CALLED] == line && self.to == user;
        is_it && is_open && is_dialled && self.failure.is_none()
    }

    /// An INVITE by a PBX that has a name of its own for the call. Where another rings already it waits until that is taken back: who sent the
    /// first may have died, and somebody begun anew.
    pub(super) fn invited(&mut self, message: &Message, line: &Line) {
        self.story.invites += 1;
        match self.ends[CALLED].state {
            State::Idle => self.is_called(message, line),
            _ => {
                line.send(&message.answer("180 Ringing", "called", &line.contact(), ""));
                self.waiting.push(message.clone());
            }
        }
    }

    fn is_called(&mut self, message: &Message, line: &Line) {
        self.ends[CALLED].id = Some(message.header("Call-ID").to_owned());
        self.asked(message, line);
    }

    /// What rang, or was answered, is taken back before the caller heard of it: another may wait.
    fn next_waiting(&mut self, line: &Line) {
        let end = &mut self.ends[CALLED];
        end.state = State::Idle;
        self.old_ids.extend(end.id.take());
        if !self.waiting.is_empty() {
            let message = self.waiting.remove(0);
            self.is_called(&message, line);
        }
    }

    /// Whether a message is of a name that the call has had at a line, or may get; it is answered.
    pub(super) fn is_of_other(&mut self, at: usize, message: &Message, line: &Line) -> bool {
        if self.lines[CALLED] != at {
            return false;
        }
        let call_id = message.header("Call-ID");
        let place = self
            .waiting
            .iter()
            .position(|one| one.header("Call-ID") == call_id);
        if let (Some(place), "CANCEL") = (place, message.cseq_method()) {
            let invite = self.waiting.remove(place);
            line.send(&invite.answer("487 Request Terminated", "called", "", ""));
            self.old_ids.push(call_id.to_owned());
        }
        let is_old = self.old_ids.iter().any(|id| id == call_id);
        if is_old && matches!(message.cseq_method(), "BYE" | "CANCEL") {
            line.send(&message.answer("200 OK", "called", "", ""));
        }
        is_old || place.is_some()
    }

    /// The times that hang on that of the fault.
    pub(super) fn fault_at(&mut self, fault_at: Instant) {
        self.story.fault_at = Some(fault_at);
        let at = |when| match when {
            When::Fault(ms) if ms < 0 => {
                fault_at.checked_sub(Duration::from_millis(ms.unsigned_abs()))
            }
            When::Fault(ms) => Some(fault_at + Duration::from_millis(ms.unsigned_abs())),
            When::Now | When::Told => None,
        };
        self.dial_at = at(self.dial).or(self.dial_at);
        self.answer_at = at(self.answer).or(self.answer_at);
    }

    /// What there is to be told of it.
    pub(super) fn story(&self) -> Story {
        let mut story = self.story.clone();
        story.loss = self.loss();
        story
    }

    /// Whether the fault may come.
    pub(super) fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Established => self.heard().all(|end| end.stream.heard > 5),
            Phase::Ringing | Phase::Answering => self.has_rung,
            Phase::Dialling => true,
        }
    }

    /// The ends that hear something.
    fn heard(&self) -> impl Iterator<Item = &End> {
        self.ends
            .iter()
            .take(if self.is_to_machine { 1 } else { 2 })
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

    /// Has an end hang up: where there is only one, that.
    pub(super) fn hang_up(&mut self, end: usize) {
        self.hang_up_by = Some(if self.is_to_machine { CALLER } else { end });
    }

    pub(super) fn begin_watch(&mut self, now: Instant) {
        self.ends
            .iter_mut()
            .for_each(|end| end.stream.begin_watch(now));
    }

    pub(super) fn end_watch(&mut self, now: Instant) {
        let is_silent = |end: &End| end.stream.silence(now) >= SILENT;
        self.story.is_silent = self.phase == Phase::Established && self.heard().any(is_silent);
        self.story.gaps = self.heard().map(|end| end.stream.gap(now)).collect();
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
    pub(super) fn turn(&mut self, lines: &mut [Line], now: Instant) {
        if self.failure.is_some() {
            return;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if matches!(self.ends[CALLER].state, State::Idle) && is_due(self.dial_at) {
            self.dial(&mut lines[self.lines[CALLER]], now);
        }
        if is_due(self.answer_at) && matches!(self.ends[CALLED].state, State::Ringing) {
            self.pick_up(&lines[self.lines[CALLED]], now);
        }
        for side in [CALLER, CALLED] {
            let line = &mut lines[self.lines[side]];
            if self.hang_up_by == Some(side) && matches!(self.ends[side].state, State::Talking) {
                self.says_bye(side, line, now);
            }
            if let State::Dialling(resend) | State::Answered(resend) | State::Ending(resend) =
                &mut self.ends[side].state
            {
                resend.turn(line, now);
            }
        }
    }

    fn dial(&mut self, line: &mut Line, now: Instant) {
        self.story.dialled_at = Some(now);
        let to = format!("sip:{}@{DOMAIN}", self.to);
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
        self.answer_text = invite.answer(
            "200 OK",
            "called",
            &lines,
            &end.stream.description(line.address),
        );
        line.send(&self.answer_text);
        self.story.picked_up_at = Some(now);
        end.state = State::Answered(Resend::new(self.answer_text.clone(), false, now));
    }

    fn says_bye(&mut self, side: usize, line: &mut Line, now: Instant) {
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
        lines: &mut [Line],
        now: Instant,
    ) {
        let line = &mut lines[self.lines[side]];
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
                let is_dialled =
                    matches!(self.ends[CALLER].state, State::Dialling(_) | State::Ringing);
                if side == CALLED && is_dialled && self.ends[side].id != self.ends[CALLER].id {
                    // Whoever calls has not heard of the answer, and still waits: it may ring again.
                    self.story.answered_in_vain = true;
                    self.next_waiting(&lines[self.lines[side]]);
                    return;
                }
                self.ends[side].state = State::Over;
                if self.hang_up_by.is_none() {
                    let who = ["the caller", "the one called"][side];
                    self.failure = Some(format!("{who} was hung up on"));
                }
            }
            (None, "CANCEL") if side == CALLED => self.cancelled(message, line),
            (None, _) => line.send(&message.answer("200 OK", "called", "", "")),
        }
    }

    /// Who asked the called phone does not ask any more; another may, who asks for the same call.
    fn cancelled(&mut self, message: &Message, line: &Line) {
        line.send(&message.answer("200 OK", "called", "", ""));
        let is_ringing = matches!(self.ends[CALLED].state, State::Ringing);
        if let (true, Some(invite)) = (is_ringing, &self.invite) {
            line.send(&invite.answer("487 Request Terminated", "called", "", ""));
            self.next_waiting(line);
        }
    }

    /// The called phone is asked, perhaps again.
    fn asked(&mut self, message: &Message, line: &Line) {
        if !matches!(self.ends[CALLED].state, State::Idle) {
            line.send(&self.answer_text);
            return;
        }
        let end = &mut self.ends[CALLED];
        end.stream.to = message.media();
        end.dialog = Dialog {
            call_id: message.header("Call-ID").to_owned(),
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
        self.answer_text = message.answer("180 Ringing", "called", &line.contact(), "");
        self.invite = Some(message.clone());
        line.send(&self.answer_text);
    }

    /// The caller is told something about its INVITE.
    fn told(&mut self, status: u16, message: &Message, line: &mut Line, now: Instant) {
        let end = &mut self.ends[CALLER];
        if (101..300).contains(&status) {
            self.story.alive_at.get_or_insert(now);
        }
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
                self.story.talking_at = Some(now);
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
