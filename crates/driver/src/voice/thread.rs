//! One media thread of the PBX.

use std::time::Duration;

use net::media::{Media, Sent};
use voice::{Command, Voice};

use super::inbox::Ask;
use super::{ThreadView, VoiceCounters, VoiceSink, Voices};

/// Longest sleep.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A media thread, before and while it runs.
pub(super) struct VoiceThread {
    number: usize,
    media: Media,
    engine: Voice,
}

/// What a media thread has while it runs.
#[derive(Default)]
struct State {
    commands: Vec<Command>,
    asks: Vec<Ask>,
    counters: VoiceCounters,
    is_over: bool,
}

impl VoiceThread {
    pub(super) fn new(number: usize, media: Media, engine: Voice) -> VoiceThread {
        VoiceThread {
            number,
            media,
            engine,
        }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, voices: &Voices, sink: &dyn VoiceSink) {
        if let Err(error) = net::media::raise_priority() {
            tracing::debug!(%error, "media threads go at the common priority");
        }
        let mut state = State::default();
        while !state.is_over {
            self.packets(voices, &mut state);
            self.orders(voices, &mut state);
            self.speak(voices, &mut state);
            self.hand_over(voices, sink);
        }
    }

    /// Sleeps until there is something to do, at most to the next slot, and takes what has come.
    fn packets(&mut self, voices: &Voices, state: &mut State) {
        let clock = voices.clock;
        let timeout = self.engine.next().map_or(PAUSE_MAX, |next| {
            PAUSE_MAX.min(Duration::from_micros(next.micros_since(clock.voice_now())))
        });
        let inbox = &voices.shares[self.number].inbox;
        let (engine, commands) = (&mut self.engine, &mut state.commands);
        // One look at the clock for what came together.
        let mut arrival = None;
        let turned = self.media.turn(timeout, |socket, source, packet| {
            let now = *arrival.get_or_insert_with(|| clock.voice_now());
            // A phone that was just answered may be faster than the thread that told of it.
            if inbox.has_commands() {
                inbox.take_commands(commands);
                for command in commands.drain(..) {
                    engine.command(now, command);
                }
            }
            engine.receive(now, socket, source, packet);
            None
        });
        state.counters.turns += 1;
        match turned {
            Ok(turn) => {
                state.counters.received += u64::from(turn.received);
                state.counters.huge += u64::from(turn.huge);
                state.counters.kernel_drops += u64::from(turn.overflowed);
            }
            Err(error) => {
                tracing::error!(%error, "waiting for media failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Does what was left here, and answers who looks.
    fn orders(&mut self, voices: &Voices, state: &mut State) {
        let inbox = &voices.shares[self.number].inbox;
        let (commands_dropped, is_over) = inbox.take(&mut state.commands, &mut state.asks);
        state.counters.commands_dropped = commands_dropped;
        state.is_over = is_over;
        let now = voices.clock.voice_now();
        for command in state.commands.drain(..) {
            self.engine.command(now, command);
        }
        for ask in state.asks.drain(..) {
            let reports = ask.ends.iter().filter_map(|end| self.engine.report(*end));
            let view = ThreadView {
                ends: self.engine.len(),
                totals: *self.engine.totals(),
                counters: state.counters,
                reports: reports.collect(),
            };
            // Who asked may have stopped waiting.
            let _ = ask.answer.try_send(view);
        }
    }

    /// Sends what is due.
    fn speak(&mut self, voices: &Voices, state: &mut State) {
        let now = voices.clock.voice_now();
        if self.engine.next().is_none_or(|next| next > now) {
            return;
        }
        let (media, counters) = (&self.media, &mut state.counters);
        let may_speak = voices.desk.as_ref().is_none_or(|desk| desk.may_act());
        self.engine.tick(now, |socket, destination, packet| {
            if !may_speak {
                counters.unsent += 1;
                return;
            }
            match media.send(socket, packet, destination) {
                Sent::Taken => counters.sent += 1,
                Sent::Congested => counters.congested += 1,
                Sent::Refused => counters.unsent += 1,
            }
        });
    }

    /// Gives ports back and tells what there is to tell.
    fn hand_over(&mut self, voices: &Voices, sink: &dyn VoiceSink) {
        for port in self.engine.freed().drain(..) {
            voices.free(self.number, port);
        }
        let events = self.engine.events();
        if !events.is_empty() {
            sink.heard(self.number as u16, events);
            events.clear();
        }
    }
}
