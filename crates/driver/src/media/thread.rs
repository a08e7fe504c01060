//! One relay thread.

use std::sync::Arc;
use std::time::Duration;

use net::media::Media;
use relay::{Command, Event, Relay, Time};

use super::inbox::Ask;
use super::snapshot::ThreadCounters;
use super::{MosHistogram, ThreadSnapshot, worker_of};
use crate::inbox::Item;
use crate::shared::Shared;

/// Longest sleep.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often, and how far apart, ports are tried that the owner before has open still.
const OPEN_TRIES: u32 = 1_000;
const OPEN_PAUSE: Duration = Duration::from_millis(2);

/// Shortest time that the rate of packets is taken over, in microseconds.
const RATE_MICROS: u64 = 1_000_000;

/// A relay thread, before and while it runs.
pub(crate) struct RelayThread {
    pub(super) number: usize,
    pub(super) media: Media,
    pub(super) relay: Relay,
    /// The ports are the owner's alone.
    pub(super) opens_late: bool,
}

/// What a relay thread has while it runs.
#[derive(Default)]
struct State {
    commands: Vec<Command>,
    asks: Vec<Ask>,
    counters: ThreadCounters,
    mos: MosHistogram,
    rate: Rate,
    /// Events for each worker.
    news: Vec<Vec<Event>>,
    ports: LatePorts,
    is_over: bool,
}

/// How ports stand that are the owner's alone.
#[derive(Default, PartialEq, Eq)]
enum LatePorts {
    #[default]
    Closed,
    /// Some could not be opened so many times.
    Opening(u32),
    Open,
}

/// Packets a second, over the last second or more.
#[derive(Default)]
struct Rate {
    since: Time,
    packets: u64,
    per_s: u64,
}

impl Rate {
    fn look(&mut self, now: Time, packets: u64) {
        let passed = now.micros_since(self.since);
        if passed >= RATE_MICROS {
            self.per_s = (packets - self.packets) * 1_000_000 / passed;
            (self.since, self.packets) = (now, packets);
        }
    }
}

impl RelayThread {
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self, shared: &Arc<Shared>) {
        let mut state = State {
            news: (0..shared.inboxes.len()).map(|_| Vec::new()).collect(),
            ..State::default()
        };
        while !state.is_over {
            self.packets(shared, &mut state);
            self.orders(shared, &mut state);
            self.hand_over(shared, &mut state);
        }
    }

    /// Sleeps until there is something to do, and relays what has come.
    fn packets(&mut self, shared: &Shared, state: &mut State) {
        let clock = shared.clock;
        let now = clock.media_now();
        let timeout = self.relay.next().map_or(PAUSE_MAX, |next| {
            PAUSE_MAX.min(Duration::from_micros(next.micros_since(now)))
        });
        let timeout = match state.ports {
            LatePorts::Opening(_) => timeout.min(OPEN_PAUSE),
            LatePorts::Closed | LatePorts::Open => timeout,
        };
        let Some(inbox) = shared.relays.inbox(self.number) else {
            return;
        };
        let (relay, commands) = (&mut self.relay, &mut state.commands);
        // One look at the clock for what came together.
        let mut arrival = None;
        let mut acts = None;
        let turned = self.media.turn(timeout, |socket, source, packet| {
            let now = *arrival.get_or_insert_with(|| clock.media_now());
            if !*acts.get_or_insert_with(|| shared.may_act()) {
                return None;
            }
            // A phone that was just answered may be faster than the thread that told of it.
            if inbox.has_commands() {
                inbox.take_commands(commands);
                for command in commands.drain(..) {
                    relay.command(now, command);
                }
            }
            relay.receive(now, socket, source, packet)
        });
        state.counters.turns += 1;
        match turned {
            Ok(turn) => {
                state.counters.received += u64::from(turn.received);
                state.counters.sent += u64::from(turn.sent);
                state.counters.huge += u64::from(turn.huge);
                state.counters.congested += u64::from(turn.congested);
                state.counters.unsent += u64::from(turn.unsent);
                state.counters.kernel_drops += u64::from(turn.overflowed);
            }
            Err(error) => {
                tracing::error!(%error, "waiting for media failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Opens the ports or closes them. The owner before may be about to close its own.
    fn attend_ports(&mut self, wanted: bool, ports: &mut LatePorts) {
        let tries = match ports {
            _ if !wanted => {
                if *ports != LatePorts::Closed {
                    self.media.close();
                    *ports = LatePorts::Closed;
                }
                return;
            }
            LatePorts::Open => return,
            LatePorts::Closed => 0,
            LatePorts::Opening(tries) => *tries,
        };
        *ports = match self.media.open() {
            Ok(()) => LatePorts::Open,
            Err(_) if tries < OPEN_TRIES => LatePorts::Opening(tries + 1),
            Err(error) => {
                tracing::error!(%error, "ports for media are another's; calls that have them are silent");
                LatePorts::Open
            }
        };
    }

    /// Does what workers and those who look have left here, and what is due.
    fn orders(&mut self, shared: &Shared, state: &mut State) {
        let Some(inbox) = shared.relays.inbox(self.number) else {
            return;
        };
        if self.opens_late {
            self.attend_ports(inbox.wants_ports(), &mut state.ports);
        }
        let (commands_dropped, is_over) = inbox.take(&mut state.commands, &mut state.asks);
        state.counters.commands_dropped = commands_dropped;
        state.is_over = is_over;
        let now = shared.clock.media_now();
        for command in state.commands.drain(..) {
            self.relay.command(now, command);
        }
        self.relay.expire(now);
        state.rate.look(now, self.relay.totals().packets);
        for ask in state.asks.drain(..) {
            let sessions = ask.sessions.into_iter();
            let snapshot = ThreadSnapshot {
                totals: *self.relay.totals(),
                counters: state.counters,
                mos: state.mos,
                packets_per_s: state.rate.per_s,
                reports: sessions
                    .filter_map(|session| self.relay.report(session))
                    .collect(),
            };
            // Who asked may have stopped waiting.
            let _ = ask.answer.try_send(snapshot);
        }
    }

    /// Gives ports back and tells the workers what became of their calls.
    fn hand_over(&mut self, shared: &Shared, state: &mut State) {
        for port in self.relay.freed().drain(..) {
            shared.relays.give_back(self.number, port);
        }
        for event in self.relay.events().drain(..) {
            let session = match &event {
                Event::Closed { session, report } | Event::Silent { session, report } => {
                    state.mos.add(report);
                    *session
                }
                Event::Refused {
                    session, reason, ..
                } => {
                    tracing::error!(?reason, "the relay did not open a port");
                    *session
                }
                // Counted, and shown with the call; a standby has to know it too.
                Event::Learned { session, .. } => match shared.place {
                    Some(_) => *session,
                    None => continue,
                },
            };
            if let Some(news) = state.news.get_mut(worker_of(session)) {
                news.push(event);
            }
        }
        for (news, inbox) in state.news.iter_mut().zip(&shared.inboxes) {
            if !news.is_empty() {
                inbox.push(Item::Media(std::mem::take(news)));
            }
        }
    }
}
