//! The phones of one thread: a pure machine. Messages and the time go in; messages, commands for the media and events come out.

mod answer;
mod call;
mod dialog;
mod registration;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use ::dialog::challenge::{Asked, Who};
use sip::{Index, Limits, Message, Method, Splices};
use transaction::timer::interval_ms;
use transaction::{Flow, Outbox, Time, TimerName, Timers, Wheel};

use crate::media;
use crate::name::{Kind, Name};
use crate::schedule::{Schedule, Share};
use crate::settings::Settings;
use crate::tally::Tally;
use crate::write::Head;
use answer::Answer;
use call::Call;
use registration::Registration;

/// Most timers of a thread, those included that no longer matter: each call leaves a few behind for half a minute.
pub const TIMERS_MAX: u32 = 8_000_000;
/// Most calls that a thread takes at one time.
pub const ANSWERS_MAX: usize = 200_000;
/// Most events that wait for who listens.
pub const EVENTS_MAX: usize = 4_096;
/// Most challenges answered for one request.
const CHALLENGES_MAX: u8 = 2;

/// What a step of a call or registration was, for who listens ([`Settings::is_told`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A REGISTER was answered finally.
    Registered {
        /// The status; 408 when nothing came.
        status: u16,
    },
    /// A provisional response to our INVITE.
    Ringing {
        /// The status.
        status: u16,
    },
    /// Our INVITE was answered with a 2xx.
    Answered {
        /// The status.
        status: u16,
        /// From the first INVITE, in microseconds.
        after_us: u64,
    },
    /// Our call has failed, or a cancelled one has ended.
    Failed {
        /// The final status; 408 when nothing came.
        status: u16,
    },
    /// A call came.
    Invited {
        /// The value of From.
        from: String,
    },
    /// The call that came was answered and acknowledged.
    Taken,
    /// What was heard in a call of a phone with [`crate::Sound`].
    Heard {
        /// Packets that came.
        packets: u32,
        /// Packets that are missing.
        lost: u32,
        /// The longest pause between two, in microseconds.
        gap_us_max: u32,
        /// Keys that were pressed.
        keys: String,
        /// The root of the mean square of the samples: 0 is silence.
        loudness: u16,
        /// Why the recording could not be written.
        file_error: Option<String>,
    },
    /// The call has ended.
    Ended {
        /// The other side ended it.
        by_peer: bool,
    },
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Send again.
    Again,
    /// Give up.
    GiveUp,
    /// The next step of its own accord.
    Act,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    kind: Kind,
    index: u32,
    /// Of what the timer was set in: void in any other step.
    step: u32,
    due: Due,
}

/// A socket for media that is free.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Its number.
    pub socket: u32,
    /// Where it is.
    pub address: SocketAddr,
}

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds since the run began.
    pub us: u64,
}

impl Now {
    fn time(self) -> Time {
        Time::from_ms(self.us / 1_000)
    }
}

/// Which calls get what is done in a share of them.
#[derive(Debug, Default)]
struct Shares {
    cancelled: Share,
    reinvited: Share,
    ignored: Share,
    refused: Share,
    hung_up: Share,
}

/// The phones of one thread: a pure machine. Who makes a run needs [`crate::Run`] only; this is for what feeds it messages of its own.
pub struct Station {
    settings: Arc<Settings>,
    /// Which of the threads.
    thread: usize,
    run: u32,
    locals: Vec<SocketAddr>,
    calls: Vec<Call>,
    free_calls: Vec<u32>,
    answers: Vec<Answer>,
    free_answers: Vec<u32>,
    /// Answers by Call-ID and From tag: what an INVITE sent again is known by.
    by_key: HashMap<u64, u32>,
    hasher: RandomState,
    registrations: Vec<Registration>,
    /// Users that still have to register for the first time.
    unregistered: usize,
    wheel: Wheel<Timer>,
    registering: Option<Schedule>,
    calling: Option<Schedule>,
    /// No more calls and registrations.
    is_ending: bool,
    next_number: u64,
    next_user: u64,
    next_unique: u64,
    ports: VecDeque<Port>,
    /// The address that descriptions name where there are no media.
    silent_port: u16,
    index: Index,
    own_index: Index,
    sdp_index: sdp::Index,
    shares: Shares,
    line: Vec<u8>,
    body: Vec<u8>,
    /// Room for texts that are put together.
    text: Vec<u8>,
    head: Head,
    splices: Splices,
    /// What was counted.
    pub tally: Tally,
    /// What is to be sent.
    pub outbox: Outbox,
    /// What the media are to do.
    pub(crate) media: Vec<media::Command>,
    /// What happened, if that is to be told.
    pub(crate) events: VecDeque<Event>,
}

/// What a station begins with.
#[derive(Debug)]
pub struct Begin {
    /// Which of the threads it is.
    pub thread: usize,
    /// What its Call-IDs and tags are known by.
    pub run: u32,
    /// Its own addresses.
    pub locals: Vec<SocketAddr>,
    /// Sockets for media.
    pub ports: Vec<Port>,
    /// What descriptions name where there are no media.
    pub silent_port: u16,
}

impl std::fmt::Debug for Station {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Station")
            .field("calls", &self.calls.len())
            .field("answers", &self.answers.len())
            .finish_non_exhaustive()
    }
}

impl Station {
    /// One that has nothing under way.
    #[must_use]
    pub fn new(settings: Arc<Settings>, begin: Begin, now: Now) -> Station {
        let threads = settings.threads.max(1);
        let mine = (begin.thread..settings.users.len()).step_by(threads).len();
        let mut station = Station {
            thread: begin.thread,
            run: begin.run,
            locals: begin.locals,
            calls: Vec::new(),
            free_calls: Vec::new(),
            answers: Vec::new(),
            free_answers: Vec::new(),
            by_key: HashMap::new(),
            hasher: RandomState::new(),
            registrations: Vec::new(),
            unregistered: 0,
            wheel: Wheel::new(now.time(), TIMERS_MAX),
            registering: None,
            calling: None,
            is_ending: false,
            next_number: 0,
            next_user: 0,
            next_unique: u64::from(begin.run) << 32,
            ports: begin.ports.into(),
            silent_port: begin.silent_port,
            index: Index::new(),
            own_index: Index::new(),
            sdp_index: sdp::Index::new(),
            shares: Shares::default(),
            line: Vec::new(),
            body: Vec::new(),
            text: Vec::new(),
            head: Head::default(),
            splices: Splices::default(),
            tally: Tally::default(),
            outbox: Outbox::new(),
            media: Vec::new(),
            events: VecDeque::new(),
            settings,
        };
        if let Some(registering) = station.settings.registering {
            station
                .registrations
                .resize_with(mine, Registration::default);
            station.unregistered = mine;
            let total = (!registering.is_cycling).then_some(mine as u64);
            station.registering = Some(station.schedule(now, registering.per_s, total));
        }
        station
    }

    /// A timetable of this thread's share; the threads take turns.
    fn schedule(&self, now: Now, per_s: f64, total: Option<u64>) -> Schedule {
        #[expect(clippy::cast_precision_loss, reason = "threads are few")]
        let (threads, thread) = (self.settings.threads.max(1) as f64, self.thread as f64);
        let offset_us = (thread * 1_000_000.0 / per_s.max(1e-6)) as u64;
        Schedule::new(now.us + offset_us, per_s / threads, total, None)
    }

    /// Calls begin. Without effect where none are to be made.
    pub fn start_calls(&mut self, now: Now) {
        let settings = self.settings.clone();
        if let Some(calling) = &settings.calling {
            let threads = settings.threads.max(1) as u64;
            let share = |total: u64| (total + threads - 1 - self.thread as u64) / threads;
            self.calling = Some(self.schedule(now, calling.per_s, calling.total.map(share)));
        }
    }

    /// Nothing new begins from now on; what is under way goes on.
    pub fn stop(&mut self) {
        self.is_ending = true;
    }

    /// Whether each user of this thread was answered once, or has failed to be.
    pub(crate) fn has_registered(&self) -> bool {
        self.unregistered == 0
    }

    /// Whether no call, registration or answer is under way and none will begin.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let no_more = |schedule: Option<&Schedule>| {
            self.is_ending || schedule.is_none_or(|schedule| schedule.next_us().is_none())
        };
        let has_begun = self.calling.is_some() || self.settings.calling.is_none() || self.is_ending;
        has_begun
            && no_more(self.registering.as_ref())
            && no_more(self.calling.as_ref())
            && self.is_idle()
    }

    /// Whether no call, registration or answer is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.tally.calls.active == 0
            && self.tally.answers.active == 0
            && self.registrations.iter().all(Registration::is_idle)
    }

    /// The run is over: what is under way has failed.
    pub fn abandon(&mut self, now: Now) {
        self.abandon_calls(now);
        self.abandon_answers(now);
    }

    /// Takes a message that came.
    pub fn receive(&mut self, now: Now, flow: Flow, bytes: &[u8]) {
        self.tally.messages.received += 1;
        if sip::scan::kind(bytes) != sip::scan::Kind::Sip {
            return;
        }
        let mut index = std::mem::take(&mut self.index);
        match index.parse(bytes, &Limits::default()) {
            Ok(message) if message.defect().is_none() => {
                if message.is_request() {
                    self.request(now, flow, &message);
                } else {
                    self.response(now, flow, &message);
                }
            }
            _ => self.tally.messages.unreadable += 1,
        }
        self.index = index;
    }

    fn response(&mut self, now: Now, flow: Flow, message: &Message<'_>) {
        // In calls that were taken the Call-ID is the other side's; the tag of whoever asks is always his own.
        let tag = message.from().ok().and_then(|from| from.tag());
        let name = tag.and_then(|tag| Name::parse(tag, self.run));
        let (Some(name), Ok(cseq)) = (name, message.cseq()) else {
            self.tally.messages.unexpected += 1;
            return;
        };
        match name.kind {
            Kind::Call => self.call_response(now, flow, name, cseq, message),
            Kind::Registration => self.registration_response(now, name, cseq, message),
            Kind::Answer => self.answer_response(now, name, cseq, message),
        }
    }

    fn request(&mut self, now: Now, flow: Flow, message: &Message<'_>) {
        let tag = message.to().ok().and_then(|to| to.tag());
        let Some(tag) = tag else {
            return match message.method() {
                Some(Method::Invite) => self.invited(now, flow, message),
                Some(Method::Cancel) => self.cancelled(now, flow, message),
                Some(Method::Ack) => self.tally.messages.unexpected += 1,
                // A probe, perhaps.
                Some(Method::Options) => self.reply(flow, message, 200, None),
                _ => {
                    self.tally.messages.unexpected += 1;
                    self.reply(flow, message, 405, None);
                }
            };
        };
        match Name::parse(tag, self.run) {
            Some(name) if name.kind == Kind::Answer => {
                self.answer_request(now, flow, name, message)
            }
            Some(name) if name.kind == Kind::Call => self.call_request(now, flow, name, message),
            _ => {
                self.tally.messages.unexpected += 1;
                if message.method() != Some(Method::Ack) {
                    self.reply(flow, message, 481, None);
                }
            }
        }
    }

    /// Answers a request, with a description of this stream if it is an offer.
    fn reply(
        &mut self,
        flow: Flow,
        message: &Message<'_>,
        status: u16,
        offered: Option<Option<Port>>,
    ) {
        self.head.fill(message, flow, &mut self.splices);
        let to = answer::way_back(message, flow);
        self.body.clear();
        self.line.clear();
        if let Some(port) = offered {
            self.describe(flow, port);
            crate::write::push_contact(b"load", &flow, &mut self.line);
            self.line.extend_from_slice(b"\r\n");
        }
        let (head, line, body) = (&self.head, &self.line, &self.body);
        self.outbox
            .send(to, |out| head.push(status, None, line, body, out));
        self.tally.messages.sent += 1;
    }

    /// When something has to be done next, in microseconds.
    #[must_use]
    pub fn next_us(&self, now: Now) -> Option<u64> {
        let timer = self
            .wheel
            .next(now.time())
            .map(|at| at.as_ms().saturating_mul(1_000));
        let schedules = [&self.registering, &self.calling];
        let due = schedules
            .into_iter()
            .flatten()
            .filter_map(Schedule::next_us);
        let due = due
            .filter(|_| !self.is_ending)
            .map(|due_us| due_us.max(now.us));
        // Calls that are held back wait for another's end, which is an input.
        timer
            .into_iter()
            .chain(due.filter(|due_us| *due_us > now.us || self.has_room()))
            .min()
    }

    /// Does what is due.
    pub fn poll(&mut self, now: Now) {
        while let Some((_, timer)) = self.wheel.pop(now.time()) {
            match timer.kind {
                Kind::Call => self.call_due(now, timer),
                Kind::Answer => self.answer_due(now, timer),
                Kind::Registration => self.registration_due(now, timer),
            }
        }
        if self.is_ending {
            return;
        }
        while let Some(late_us) = self.registering.as_mut().and_then(|all| all.take(now.us)) {
            self.tally.behind.add(late_us);
            self.register_next(now);
        }
        loop {
            if !self.has_room() {
                let held = self
                    .calling
                    .as_mut()
                    .is_some_and(|calling| calling.hold(now.us));
                self.tally.calls.held_back += u64::from(held);
                break;
            }
            let Some(late_us) = self.calling.as_mut().and_then(|all| all.take(now.us)) else {
                break;
            };
            self.tally.behind.add(late_us);
            self.begin_call(now);
        }
    }

    /// Whether one more call may be active.
    fn has_room(&self) -> bool {
        let Some(calling) = &self.settings.calling else {
            return true;
        };
        let share = calling
            .active_max
            .div_ceil(self.settings.threads.max(1) as u32)
            .max(1);
        self.tally.calls.active < u64::from(share)
            && (!self.settings.has_media || !self.ports.is_empty())
    }

    fn set(&mut self, now: Now, timer: Timer, after_ms: u64) {
        // The wheel is larger than what a thread can do in the time that timers run.
        let _ = self.wheel.insert(now.time().plus_ms(after_ms), timer);
    }

    /// The timer that sends again, as `name` has it; none over a reliable transport.
    fn set_again(&mut self, now: Now, timer: Timer, name: TimerName, attempt: u32, flow: Flow) {
        let timers: Timers = self.settings.timers;
        let after_ms = interval_ms(&timers, name, attempt, flow.transport.is_reliable());
        if after_ms > 0 {
            self.set(
                now,
                Timer {
                    due: Due::Again,
                    ..timer
                },
                after_ms,
            );
        }
    }

    fn give_up_ms(&self) -> u64 {
        self.settings.timers.sixty_four_t1_ms()
    }

    /// Sends a message, once more or for the first time.
    fn send(&mut self, flow: Flow, bytes: &[u8], is_again: bool) {
        self.outbox.send(flow, |out| out.extend_from_slice(bytes));
        self.tally.messages.sent += 1;
        self.tally.messages.retransmissions_sent += u64::from(is_again);
    }

    fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.settings.is_told && self.events.len() < EVENTS_MAX {
            self.events.push_back(event());
        }
    }

    /// The header line that answers a challenge, in `self.line`. False if it cannot be answered.
    fn answer_challenge(
        &mut self,
        user: usize,
        method: &str,
        uri: &[u8],
        message: &Message<'_>,
    ) -> bool {
        let asked = Asked::of(message);
        let (Some(asked), Some(user)) = (asked, self.settings.users.get(user)) else {
            return false;
        };
        self.next_unique += 1;
        let who = Who {
            user: user.name.as_bytes(),
            password: user.password.as_bytes(),
            unique: self.next_unique,
        };
        self.line.clear();
        asked.write(who, 1, method.as_bytes(), uri, &mut self.line);
        self.tally.messages.challenges += 1;
        true
    }

    /// A local address for number `number`, and the flow from there.
    fn flow_of(&self, number: u64) -> Flow {
        let at = number as usize % self.locals.len().max(1);
        Flow {
            transport: self.settings.transport,
            remote: self.settings.target,
            local: self.locals.get(at).copied().unwrap_or(self.settings.target),
        }
    }

    fn key(&self, message: &Message<'_>) -> Option<u64> {
        let tag = message.from().ok()?.tag().unwrap_or_default();
        Some(self.hasher.hash_one((message.call_id().ok()?, tag)))
    }

    /// A description of where `port` is, or of where nobody listens, in `self.body`.
    fn describe(&mut self, flow: Flow, port: Option<Port>) {
        let at = match port {
            Some(port) => port.address,
            None => SocketAddr::new(flow.local.ip(), self.silent_port),
        };
        self.body.clear();
        crate::write::push_description(at, 1, &mut self.body);
    }

    fn release(&mut self, port: Option<Port>, has_begun: bool) {
        if let Some(port) = port {
            if has_begun {
                self.media.push(media::Command::End {
                    socket: port.socket,
                });
            }
            self.ports.push_back(port);
        }
    }
}
