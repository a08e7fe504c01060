//! Conferences: each member hears the others, and not himself.
//!
//! Only the voices of who speaks are mixed. All who do not speak hear the same, so that it is encoded once for them where it can be: G.711 has no
//! memory, and Opus gets over a change of encoder. G.722 does not, and is encoded for each.

use audio::mix::{Limiter, Mix};
use audio::{SampleRate, opus};

use crate::frame::{Converter, Frame, SAMPLES_MAX};
use crate::mouth::{Encoded, opus_encoder};
use crate::player::Player;
use crate::recorder::Recorder;
use crate::types::{Codec, OpusParameters, RoomId};

/// A member's place in a conference.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) is_muted: bool,
    /// It speaks, as was told.
    pub(crate) is_talking: bool,
    /// Its voice is in the mix, so it hears its own version.
    pub(crate) is_mixed: bool,
    converter: Converter,
    limiter: Limiter,
    /// Its voice at the conference's rate.
    own: Frame,
    /// What it hears while it is mixed.
    pub(crate) hears: Frame,
}

impl Seat {
    pub(crate) fn new(is_muted: bool) -> Seat {
        Seat {
            is_muted,
            is_talking: false,
            is_mixed: false,
            converter: Converter::default(),
            limiter: Limiter::default(),
            own: Frame::silent(SampleRate::Hz8000),
            hears: Frame::silent(SampleRate::Hz8000),
        }
    }

    /// Adds its voice.
    pub(crate) fn speak(&mut self, voice: &Frame, room: &mut Room) {
        self.is_mixed = true;
        self.converter.convert(voice, room.rate, &mut self.own);
        room.mix.add(self.own.sound());
    }

    /// Takes what the others say.
    pub(crate) fn listen(&mut self, room: &Room) {
        self.hears.set_rate(room.rate);
        let out = self.hears.sound_mut();
        room.mix.hear(self.own.sound(), &mut self.limiter, out);
    }
}

/// A conference.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) slot: usize,
    /// Its members, by the places of their ends.
    pub(crate) members: Vec<u32>,
    pub(crate) rate: SampleRate,
    mix: Mix,
    limiter: Limiter,
    /// What who does not speak hears, at the conference's rate and at 8,000.
    pub(crate) common: Frame,
    common_narrow: Frame,
    down: Converter,
    pub(crate) player: Option<Box<Player>>,
    pub(crate) recorder: Option<Box<Recorder>>,
    played: Frame,
    /// Members that speak, with their loudness, while the frame is mixed.
    pub(crate) speakers: Vec<(f32, u32)>,
    opus: Option<opus::Encoder>,
    /// What listeners get in each codec, once it was encoded in this frame.
    shared: [Shared; 3],
}

/// A payload that several listeners get.
#[derive(Debug, Default)]
struct Shared {
    payload: Vec<u8>,
    is_fresh: bool,
}

impl Room {
    pub(crate) fn new(id: RoomId, slot: usize) -> Room {
        Room {
            id,
            slot,
            members: Vec::new(),
            rate: SampleRate::Hz8000,
            mix: Mix::new(SAMPLES_MAX),
            limiter: Limiter::default(),
            common: Frame::silent(SampleRate::Hz8000),
            common_narrow: Frame::silent(SampleRate::Hz8000),
            down: Converter::default(),
            player: None,
            recorder: None,
            played: Frame::silent(SampleRate::Hz8000),
            speakers: Vec::new(),
            opus: None,
            shared: Default::default(),
        }
    }

    /// Mixes at this rate from now on.
    pub(crate) fn set_rate(&mut self, rate: SampleRate) {
        if rate != self.rate {
            self.rate = rate;
            if let Some(player) = &mut self.player {
                player.set_rate(rate);
            }
        }
    }

    /// Begins the next frame: what is played to all is its first voice. Gives whether the play is over.
    pub(crate) fn begin(&mut self) -> bool {
        self.mix.clear();
        for shared in &mut self.shared {
            shared.is_fresh = false;
        }
        let Some(player) = &mut self.player else {
            return false;
        };
        self.played.set_rate(self.rate);
        let is_over = player.play(self.played.sound_mut());
        self.mix.add(self.played.sound());
        is_over
    }

    /// All voices are in: makes what listeners hear.
    pub(crate) fn finish(&mut self) {
        self.common.set_rate(self.rate);
        self.mix
            .hear(&[], &mut self.limiter, self.common.sound_mut());
        self.down
            .convert(&self.common, SampleRate::Hz8000, &mut self.common_narrow);
    }

    /// What a listener hears whose codec has this rate.
    pub(crate) fn heard_at(&self, rate: SampleRate) -> &Frame {
        match rate {
            SampleRate::Hz8000 => &self.common_narrow,
            _ => &self.common,
        }
    }

    /// The payload that all listeners of a codec get, where it can be shared.
    pub(crate) fn payload(&mut self, codec: Codec, complexity: u8) -> Option<&[u8]> {
        let at = match codec {
            Codec::Pcmu => 0,
            Codec::Pcma => 1,
            Codec::Opus => 2,
            Codec::G722 => return None,
        };
        if codec == Codec::Opus && self.rate != codec.rate() {
            return None;
        }
        if !self.shared[at].is_fresh {
            if codec == Codec::Opus && self.opus.is_none() {
                self.opus = opus_encoder(&OpusParameters::default(), complexity);
            }
            let frame = match codec.rate() {
                SampleRate::Hz8000 => &self.common_narrow,
                _ => &self.common,
            };
            let shared = &mut self.shared[at];
            shared.payload.clear();
            Encoded {
                codec,
                g722: None,
                opus: self.opus.as_mut(),
            }
            .push(frame.sound(), &mut shared.payload);
            shared.is_fresh = true;
        }
        let payload = &self.shared[at].payload;
        (!payload.is_empty()).then_some(payload.as_slice())
    }

    /// Records what is heard. Gives why it is over, if it is.
    pub(crate) fn record(
        &mut self,
        events: &mut Vec<crate::event::Event>,
    ) -> Option<crate::event::Ending> {
        self.recorder.as_mut()?.add(&self.common, None, events)
    }
}
