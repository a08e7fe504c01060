//! Recording: sound into pieces of a second, which the driver saves as they come.

use audio::SampleRate;
use audio::speech::Meter;
use audio::tone::{self, Tone};
use audio::wav;

use crate::command::Written;
use crate::event::{Ending, Event};
use crate::frame::{Converter, FRAME_MS, Frame, working_rate};
use crate::types::RecordId;

/// Sound in a piece, in milliseconds.
const PIECE_MS: u32 = 1_000;
/// The beep before a recording.
const BEEP_MS: u32 = 400;
const BEEP: Tone = Tone::steady([1_000, 0]);

/// What a recording is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) record: RecordId,
    pub(crate) both: bool,
    pub(crate) written: Written,
    pub(crate) rate: SampleRate,
    pub(crate) ms_max: u32,
    pub(crate) silence_ms: u32,
    pub(crate) beep: bool,
}

/// One recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    plan: Plan,
    converters: [Converter; 2],
    frames: [Frame; 2],
    meter: Meter,
    data: Vec<u8>,
    /// The beep that is still to be heard, in milliseconds.
    beep_ms: u32,
    tone: tone::Player,
    length_ms: u32,
    speech_ms: u32,
    silent_ms: u32,
}

impl Recorder {
    /// A recording that has not begun. Of G.711 the rate is 8,000.
    pub(crate) fn new(mut plan: Plan, beep_rate: SampleRate) -> Recorder {
        plan.rate = match plan.written {
            Written::G711(_) => SampleRate::Hz8000,
            Written::Pcm16 => working_rate(plan.rate),
        };
        let mut recorder = Recorder {
            plan,
            converters: [Converter::default(), Converter::default()],
            frames: [Frame::silent(plan.rate), Frame::silent(plan.rate)],
            meter: Meter::default(),
            data: Vec::new(),
            beep_ms: if plan.beep { BEEP_MS } else { 0 },
            tone: tone::Player::new(BEEP, beep_rate, tone::Player::LEVEL_DB),
            length_ms: 0,
            speech_ms: 0,
            silent_ms: 0,
        };
        recorder.data.reserve_exact(recorder.piece_bytes());
        recorder
    }

    pub(crate) fn id(&self) -> RecordId {
        self.plan.record
    }

    /// It records both ways.
    pub(crate) fn is_both(&self) -> bool {
        self.plan.both
    }

    /// The beep, instead of what the end would hear. False: it is over.
    pub(crate) fn beep(&mut self, frame: &mut Frame) -> bool {
        if self.beep_ms == 0 {
            return false;
        }
        self.beep_ms = self.beep_ms.saturating_sub(FRAME_MS);
        self.tone.play(frame.sound_mut());
        true
    }

    /// The beep is still to be heard.
    pub(crate) fn is_beeping(&self) -> bool {
        self.beep_ms > 0
    }

    /// Records 20 ms. Gives why it is over, if it is.
    pub(crate) fn add(
        &mut self,
        heard: &Frame,
        said: Option<&Frame>,
        events: &mut Vec<Event>,
    ) -> Option<Ending> {
        if self.is_beeping() {
            return None;
        }
        let [first, second] = &mut self.frames;
        self.converters[0].convert(heard, self.plan.rate, first);
        let is_speech = self.meter.listen(first.sound(), FRAME_MS);
        if let Some(said) = said.filter(|_| self.plan.both) {
            self.converters[1].convert(said, self.plan.rate, second);
            for (sum, sample) in first.sound_mut().iter_mut().zip(second.sound()) {
                *sum = sum.saturating_add(*sample);
            }
        }
        wav::push(self.plan.written, first.sound(), &mut self.data);
        self.length_ms += FRAME_MS;
        match is_speech {
            true => {
                self.speech_ms += FRAME_MS;
                self.silent_ms = 0;
            }
            false => self.silent_ms += FRAME_MS,
        }
        if self.data.len() >= self.piece_bytes() {
            self.hand_over(events);
        }
        if self.plan.silence_ms > 0 && self.silent_ms >= self.plan.silence_ms {
            return Some(Ending::Silence);
        }
        (self.length_ms >= self.plan.ms_max).then_some(Ending::Length)
    }

    /// Ends it: tells the rest, and that it is over.
    pub(crate) fn end(mut self, reason: Ending, events: &mut Vec<Event>) {
        if !self.data.is_empty() {
            events.push(Event::Recorded {
                record: self.plan.record,
                chunk: std::mem::take(&mut self.data),
            });
        }
        events.push(Event::RecordEnded {
            record: self.plan.record,
            reason,
            length_ms: self.length_ms,
            speech_ms: self.speech_ms,
        });
    }

    fn hand_over(&mut self, events: &mut Vec<Event>) {
        let next = Vec::with_capacity(self.piece_bytes());
        events.push(Event::Recorded {
            record: self.plan.record,
            chunk: std::mem::replace(&mut self.data, next),
        });
    }

    fn piece_bytes(&self) -> usize {
        let bytes = match self.plan.written {
            Written::Pcm16 => 2,
            Written::G711(_) => 1,
        };
        self.plan.rate.samples(PIECE_MS) * bytes
    }
}
