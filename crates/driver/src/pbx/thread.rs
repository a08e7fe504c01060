//! The pbx thread: sockets, the core and what it wants done.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::poll::{Interest, Poller, Ready, Token};
use net::udp::{DeliveryError, ReceiveBatch};
use pbx::control::{Cdr, Now};
use pbx::plan::Plan;
use pbx::{Output, Pbx, Turn};
use sip::scan;
use store::CdrRow;
use tokio::sync::mpsc;
use transaction::{Flow, Outbox, Transport};
use voice::{Command, EndId, Event, PlayId, RecordId};

use super::around::Around;
use super::cdr::Note;
use super::inbox::{Inbox, Item};
use super::inspect::PbxSnapshot;
use super::office::{Leaving, Office};
use super::outside::{Outside, Saver};
use super::underway;
use crate::clock::Clock;
use crate::voice::{VoiceSettings, VoiceSink, Voices};
use crate::worker::{Port, port_of, source};

/// Datagrams taken in one receive.
const BATCH: usize = 64;

/// Receives of one socket in a turn.
const RECEIVES_PER_TURN: usize = 4;

/// Longest sleep.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Longest sleep while a socket's buffer is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);

/// How long a longest turn is remembered at least.
const TURNS_SPAN: Duration = Duration::from_secs(60);

/// Samples of a file that are handed to a media thread at once: five seconds at 16,000 a second.
const FEED_SAMPLES: usize = 80_000;

/// The applications that run calls.
pub(crate) use pbx::app::Switchboard;

/// What a thread counts besides the core.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    received: u64,
    sent: u64,
    send_failures: u64,
}

/// How long the longest turn took, of this minute and of the one before.
#[derive(Debug, Default)]
struct Turns {
    longest: Duration,
    before: Duration,
    since: Option<Instant>,
}

impl Turns {
    fn note(&mut self, began: Instant, ended: Instant) {
        let since = *self.since.get_or_insert(began);
        if ended.duration_since(since) > TURNS_SPAN {
            (self.before, self.longest) = (self.longest, Duration::ZERO);
            self.since = Some(ended);
        }
        self.longest = self.longest.max(ended.duration_since(began));
    }

    fn longest(&self) -> Duration {
        self.longest.max(self.before)
    }
}

/// A file that is being played.
struct Feeding {
    thread: u16,
    samples: Arc<[i16]>,
    at: usize,
}

/// The thread, before and while it runs.
pub(crate) struct PbxThread {
    pub(crate) clock: Clock,
    pub(crate) poller: Poller,
    pub(crate) ports: Vec<Port>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) core: Pbx<Switchboard>,
    /// Its dialplan.
    pub(crate) plan: Arc<Plan>,
    pub(crate) settings: pbx::Settings,
    pub(crate) around: Around,
    pub(crate) outside: Outside,
    pub(crate) cdrs: mpsc::Sender<Note>,
    /// How a record of a call is written down.
    pub(crate) row: Box<dyn Fn(&Cdr) -> CdrRow + Send>,
    /// Its part in the office of a service, if it is one of a cluster.
    pub(crate) office: Option<Office>,
    /// Where it listens for SIP.
    pub(crate) listen: SocketAddr,
    pub(crate) voice: VoiceSettings,
    pub(crate) ear: Arc<dyn VoiceSink>,
    /// The media threads, for those who look.
    pub(crate) shown: Shown,
    pub(crate) files: Files,
}

/// The media threads that there are at present.
pub(crate) type Shown = Arc<Mutex<Option<Arc<Voices>>>>;

/// Recordings and files in progress.
#[derive(Default)]
pub(crate) struct Files {
    savers: HashMap<RecordId, Saver>,
    feeds: HashMap<(EndId, PlayId), Feeding>,
}

impl Files {
    /// Another node goes on with them.
    pub(super) fn abandon(&mut self) {
        self.savers.clear();
        self.feeds.clear();
    }
}

/// What the thread has while it runs.
#[derive(Default)]
pub(super) struct State {
    pub(super) output: Output,
    /// What the world would notice of the turn.
    pub(super) leaving: Leaving,
    items: Vec<Item>,
    counters: Counters,
    turns: Turns,
    /// When the calls in progress are written down again.
    underway_next: Option<Instant>,
    /// A socket's buffer was full; what it did not take is tried again soon.
    has_backlog: bool,
    is_over: bool,
}

impl PbxThread {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        for (at, port) in self.ports.iter().enumerate() {
            let watched = self
                .poller
                .add(&port.socket, Token(at as u64), Interest::Readable);
            if let Err(error) = watched {
                tracing::error!(%error, "a socket of the PBX cannot be watched; the thread ends");
                return;
            }
        }
        let mut state = State::default();
        let mut batch = ReceiveBatch::new(BATCH);
        let mut ready: Vec<Ready> = Vec::new();
        while !state.is_over {
            self.wait(&state, &mut ready);
            let began = Instant::now();
            for event in ready.drain(..) {
                self.ready(&event, &mut batch, &mut state);
            }
            let inbox = self.inbox.clone();
            inbox.take(&mut state.items);
            let mut items = std::mem::take(&mut state.items);
            for item in items.drain(..) {
                self.item(item, &mut state);
            }
            state.items = items;
            if self.acts() {
                self.with_core(&mut state, |core, turn| core.poll(turn));
            }
            self.hand_over(&mut state);
            self.note_underway(&mut state);
            state.turns.note(began, Instant::now());
        }
        self.close_voices();
    }

    /// Has the calls in progress written down now and then, where no other node would know of them.
    fn note_underway(&mut self, state: &mut State) {
        if self.office.is_some() {
            return;
        }
        let board = self.core.applications();
        state.underway_next = match state.underway_next {
            None => board.has_calls().then(|| Instant::now() + underway::EVERY),
            Some(next) if Instant::now() < next => Some(next),
            Some(_) => {
                let calls: Vec<Cdr> = board.underway(self.now().unix_ms).collect();
                let is_next = !calls.is_empty();
                // Where too many records wait the next look is as good.
                let _ = self.cdrs.try_send(Note::Underway(calls));
                is_next.then(|| Instant::now() + underway::EVERY)
            }
        };
    }

    pub(super) fn now(&self) -> Now {
        let now = self.clock.now();
        Now {
            time: now.time,
            unix_ms: now.unix_ms,
        }
    }

    fn wait(&mut self, state: &State, ready: &mut Vec<Ready>) {
        let now = self.now().time;
        let pause_max = match (state.has_backlog, state.underway_next) {
            (true, _) => BACKLOG_PAUSE,
            (false, Some(next)) => next.saturating_duration_since(Instant::now()),
            (false, None) => PAUSE_MAX,
        };
        let next = self.core.next(now).filter(|_| self.acts());
        let timeout = next.map_or(pause_max, |next| {
            pause_max.min(Duration::from_millis(next.ms_since(now)))
        });
        match self.poller.wait(Some(timeout)) {
            Ok(events) => ready.extend_from_slice(events),
            Err(error) => {
                tracing::error!(%error, "waiting for the PBX's sockets failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    pub(super) fn with_core(
        &mut self,
        state: &mut State,
        work: impl FnOnce(&mut Pbx<Switchboard>, &mut Turn<'_>),
    ) {
        let now = self.now();
        let mut turn = Turn {
            settings: &self.settings,
            now,
            around: &mut self.around,
            output: &mut state.output,
        };
        work(&mut self.core, &mut turn);
    }

    fn ready(&mut self, event: &Ready, batch: &mut ReceiveBatch, state: &mut State) {
        if event.token == Token::WAKER {
            return;
        }
        let at = event.token.0 as usize;
        if at >= self.ports.len() {
            return;
        }
        if event.error {
            self.errors(at, state);
        }
        if event.readable {
            self.receive(at, batch, state);
        }
    }

    fn receive(&mut self, at: usize, batch: &mut ReceiveBatch, state: &mut State) {
        for _ in 0..RECEIVES_PER_TURN {
            match self.ports[at].socket.receive(batch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "receiving failed");
                    return;
                }
            }
            for datagram in batch.datagrams() {
                state.counters.received += 1;
                if !self.acts()
                    || datagram.truncated
                    || scan::kind(datagram.bytes) != scan::Kind::Sip
                {
                    continue;
                }
                let flow = Flow {
                    transport: Transport::Udp,
                    remote: datagram.source,
                    local: datagram.local,
                };
                self.with_core(state, |core, turn| core.receive(turn, datagram.bytes, flow));
            }
            if batch.len() < batch.size() {
                return;
            }
        }
    }

    /// Takes ICMP errors: what waits for an answer from there fails at once (RFC 3261 section 18.4).
    fn errors(&mut self, at: usize, state: &mut State) {
        let mut failed = Vec::new();
        let local = self.ports[at].socket.local_address();
        let taken = self.ports[at].socket.receive_errors(|remote, error| {
            let is_news = matches!(error, DeliveryError::Refused | DeliveryError::Unreachable);
            if is_news && failed.len() < BATCH && !failed.contains(&remote) {
                failed.push(remote);
            }
        });
        if let Err(error) = taken {
            tracing::warn!(%error, "reading delivery errors failed");
        }
        for remote in failed {
            state.counters.send_failures += 1;
            if self.office.is_some() {
                // The edge is a service too, and another node's a moment later.
                continue;
            }
            let flow = Flow {
                transport: Transport::Udp,
                remote,
                local,
            };
            self.with_core(state, |core, turn| core.flow_failed(turn, flow));
        }
    }

    fn item(&mut self, item: Item, state: &mut State) {
        match item {
            Item::Heard(..) | Item::Told(..) | Item::Recorded { .. } | Item::Loaded(..)
                if !self.acts() => {}
            Item::Heard(thread, events) => {
                for event in events {
                    self.heard(thread, event, state);
                }
            }
            Item::Told(question, answer) => {
                self.with_core(state, |core, turn| core.told(turn, question, answer));
            }
            Item::Recorded {
                recording,
                length_ms,
                is_saved,
            } => self.with_core(state, |core, turn| {
                core.recorded(turn, recording, length_ms, is_saved);
            }),
            Item::Loaded(thread, end, play, samples) => {
                self.loaded(thread, (end, play), samples);
            }
            Item::Kept(numbers) => self.kept(&numbers, state),
            Item::Apply(records) => self.apply(&records),
            Item::Forget => self.forget(state),
            Item::TakeOffice(epoch) => self.take_office(epoch, state),
            Item::LeaveOffice => self.leave_office(state),
            Item::MailboxChanged(mailbox) => {
                self.with_core(state, |core, turn| core.mailbox_changed(turn, mailbox));
            }
            Item::Reload(plan, settings) => {
                if let Some(settings) = settings {
                    self.settings = *settings;
                    self.core.reload(&self.settings);
                }
                if let Some(plan) = plan {
                    self.plan = plan.clone();
                    self.core.applications_mut().reload(plan);
                }
            }
            Item::Drain => self.core.drain(true),
            Item::Inspect(answer) => {
                let snapshot = PbxSnapshot {
                    counts: self.core.counts(),
                    tables: self.core.tables(),
                    calls: self.core.calls(),
                    received: state.counters.received,
                    sent: state.counters.sent,
                    send_failures: state.counters.send_failures,
                    longest_turn: state.turns.longest(),
                };
                // Who asked may have stopped waiting.
                let _ = answer.try_send(snapshot);
            }
            Item::Stop => state.is_over = true,
        }
    }

    /// What a media thread heard: files are this thread's, the rest the core's.
    fn heard(&mut self, thread: u16, event: Event, state: &mut State) {
        match &event {
            Event::Recorded { record, chunk } => {
                if let Some(saver) = self.files.savers.get_mut(record) {
                    saver.sound(chunk);
                }
                return;
            }
            Event::RecordEnded {
                record, length_ms, ..
            } => {
                if let Some(saver) = self.files.savers.remove(record) {
                    saver.end(*length_ms);
                }
            }
            Event::Hungry { end, play } => return self.feed(*end, *play),
            Event::Played { end, play, .. } => {
                self.files.feeds.remove(&(*end, *play));
            }
            Event::Closed { end, .. } => {
                self.files.feeds.retain(|(fed, _), _| fed != end);
            }
            _ => {}
        }
        self.with_core(state, |core, turn| core.heard(turn, thread, &event));
    }

    fn loaded(&mut self, thread: u16, (end, play): (EndId, PlayId), samples: Arc<[i16]>) {
        let feeding = Feeding {
            thread,
            samples,
            at: 0,
        };
        self.files.feeds.insert((end, play), feeding);
        self.feed(end, play);
    }

    /// Gives a play the next seconds of its file. One whose file is not there yet is fed when it is.
    fn feed(&mut self, end: EndId, play: PlayId) {
        let Some(feeding) = self.files.feeds.get_mut(&(end, play)) else {
            return;
        };
        let rest = &feeding.samples[feeding.at..];
        let chunk = &rest[..rest.len().min(FEED_SAMPLES)];
        feeding.at += chunk.len();
        let is_last = feeding.at == feeding.samples.len();
        let command = Command::Feed {
            end,
            play,
            chunk: chunk.into(),
            is_last,
        };
        if let Some(voices) = &self.around.voices {
            voices.push(feeding.thread, &mut vec![command]);
        }
        if is_last {
            self.files.feeds.remove(&(end, play));
        }
    }

    /// Does what the turn made: media first, then what is written down, then messages.
    fn hand_over(&mut self, state: &mut State) {
        let output = &mut state.output;
        let mut commands = Vec::new();
        for group in output.voice.chunk_by(|a, b| a.thread == b.thread) {
            commands.extend(group.iter().map(|voiced| voiced.command.clone()));
            match &self.around.voices {
                Some(voices) => voices.push(group[0].thread, &mut commands),
                None => commands.clear(),
            }
        }
        output.voice.clear();
        for begun in output.recordings.drain(..) {
            self.files
                .savers
                .insert(begun.record, self.outside.record(&begun));
        }
        for feed in output.feeds.drain(..) {
            let inbox = self.inbox.clone();
            let path = match feed.sound {
                pbx::control::Sound::File(path) => path,
                _ => continue,
            };
            let skip = feed.from_ms as usize * 16;
            self.outside.load(path, move |samples| {
                let samples = samples.unwrap_or_default();
                let rest: Arc<[i16]> = samples.get(skip..).unwrap_or_default().into();
                inbox.push(Item::Loaded(feed.thread, feed.end, feed.play, rest));
            });
        }
        output.events.clear();
        self.release(state);
    }

    /// Does what the world would notice.
    pub(super) fn perform(&mut self, leaving: &mut Leaving, state: &mut State) {
        for (question, what) in leaving.asks.drain(..) {
            self.outside.ask(question, what);
        }
        for row in leaving.cdrs.drain(..) {
            let is_lost = self.cdrs.try_send(Note::Over(row)).is_err();
            self.outside.news.cdrs_lost(usize::from(is_lost));
        }
        self.send(&mut leaving.outbox, state);
    }

    fn send(&mut self, outbox: &mut Outbox, state: &mut State) {
        for (bytes, flow) in outbox.iter() {
            state.counters.sent += 1;
            match port_of(&mut self.ports, flow).filter(|_| flow.transport == Transport::Udp) {
                Some(port) => {
                    let source = source(port, flow);
                    port.outgoing.push(flow.remote, source, bytes);
                }
                None => state.counters.send_failures += 1,
            }
        }
        outbox.clear();
        let mut failed = Vec::new();
        state.has_backlog = false;
        for port in &mut self.ports {
            if port.outgoing.is_empty() {
                continue;
            }
            let local = port.socket.local_address();
            let report = port.outgoing.flush(&port.socket);
            state.has_backlog |= report.kept > 0;
            let failures = port.outgoing.failures().iter();
            failed.extend(failures.map(|failure| Flow {
                transport: Transport::Udp,
                remote: failure.destination,
                local,
            }));
        }
        for flow in failed {
            state.counters.send_failures += 1;
            if self.office.is_some() {
                continue;
            }
            self.with_core(state, |core, turn| core.flow_failed(turn, flow));
        }
    }
}

/// Counts the starts of a PBX in a file, safely: no two starts have the same number.
pub(crate) fn epoch_of(file: &std::path::Path) -> std::io::Result<u64> {
    let last: u64 = match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let epoch = last + 1;
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{epoch}\n"))?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, file)?;
    Ok(epoch)
}
