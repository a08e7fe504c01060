//! Playing: sounds one after the other, from any place on.

use std::collections::VecDeque;
use std::sync::Arc;

use audio::SampleRate;
use audio::dtmf::Generator;
use audio::resample::Resampler;
use audio::tone::{self, Tone};

use crate::frame::{SAMPLES_MAX, working_rate};
use crate::types::{Clip, PlayId, Sound};

/// Pieces of a [`Sound::Feed`] that wait at most.
pub(crate) const FEED_CHUNKS_MAX: usize = 8;
/// With less than this a play is hungry.
const HUNGRY_MS: u32 = 2_000;
/// The level of the tone that lines are measured with, in dB below the loudest sine: 0 dBm0 of µ-law
/// (G.711 table 5).
const MILLIWATT_DB: f32 = -3.17;

/// Sound that comes piece by piece.
#[derive(Debug, Default)]
struct Feed {
    chunks: VecDeque<Arc<[i16]>>,
    /// The next sample of the first chunk.
    at: usize,
    is_last: bool,
    /// It was asked for and has not come.
    is_asked: bool,
}

/// Machines of the sound that is being played.
#[derive(Debug, Default)]
enum Now {
    #[default]
    Nothing,
    Tone(Box<tone::Player>),
    Key(Box<Generator>),
}

/// Plays sounds to one end or conference.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) play: PlayId,
    pub(crate) barge_in: bool,
    sounds: Vec<Sound>,
    rate: SampleRate,
    index: usize,
    /// Samples of the present sound that were played, at `rate`.
    at: u64,
    /// Rounds that are left; none is without end.
    rounds: Option<u32>,
    /// Samples of this round that were played before the present sound.
    before: u64,
    now: Now,
    feed: Feed,
    resampler: Option<(SampleRate, Resampler)>,
}

impl Player {
    /// Plays from `from_ms` on. `times` is 0 for without end.
    pub(crate) fn new(
        play: PlayId,
        sounds: Vec<Sound>,
        rate: SampleRate,
        from_ms: u32,
        times: u32,
        barge_in: bool,
    ) -> Player {
        let mut player = Player {
            play,
            barge_in,
            sounds,
            rate: working_rate(rate),
            index: 0,
            at: 0,
            rounds: (times > 0).then_some(times),
            before: 0,
            now: Now::Nothing,
            feed: Feed::default(),
            resampler: None,
        };
        player.feed.chunks.reserve(FEED_CHUNKS_MAX);
        player.seek(from_ms);
        player
    }

    /// Plays at another rate from now on.
    pub(crate) fn set_rate(&mut self, rate: SampleRate) {
        let rate = working_rate(rate);
        if rate == self.rate {
            return;
        }
        let (from, to) = (u64::from(self.rate.hz()), u64::from(rate.hz()));
        self.at = self.at * to / from;
        self.before = self.before * to / from;
        self.rate = rate;
        self.resampler = None;
        self.enter();
    }

    /// How far it came in this round, in milliseconds.
    pub(crate) fn at_ms(&self) -> u32 {
        let samples = self.before + self.at;
        u32::try_from(samples / self.rate.samples(1) as u64).unwrap_or(u32::MAX)
    }

    /// Takes the next piece. False: it is no feed, or there is no room.
    pub(crate) fn feed(&mut self, chunk: Arc<[i16]>, is_last: bool) -> bool {
        if !matches!(self.sounds.last(), Some(Sound::Feed { .. }))
            || self.feed.chunks.len() >= FEED_CHUNKS_MAX
        {
            return false;
        }
        self.feed.is_last |= is_last;
        self.feed.is_asked = false;
        if !chunk.is_empty() {
            self.feed.chunks.push_back(chunk);
        }
        true
    }

    /// Whether to ask for more; said once for each piece.
    pub(crate) fn is_hungry(&mut self) -> bool {
        let Some(Sound::Feed { rate }) = self.sounds.last() else {
            return false;
        };
        if self.feed.is_asked || self.feed.is_last || self.feed.chunks.len() >= FEED_CHUNKS_MAX {
            return false;
        }
        let held: usize = self.feed.chunks.iter().map(|chunk| chunk.len()).sum();
        let left = held.saturating_sub(self.feed.at);
        self.feed.is_asked = left < working_rate(*rate).samples(HUNGRY_MS);
        self.feed.is_asked
    }

    /// Writes the next samples, silence after the end. True: it is over.
    pub(crate) fn play(&mut self, out: &mut [i16]) -> bool {
        let mut done = 0;
        // Sounds that were empty, one after the other.
        let mut empty = 0;
        while done < out.len() {
            let Some(sound) = self.sounds.get(self.index) else {
                if !self.next_round() || empty > self.sounds.len() {
                    out[done..].fill(0);
                    return true;
                }
                continue;
            };
            let is_feed = matches!(sound, Sound::Feed { .. });
            let count = self.sound(&mut out[done..]);
            self.at += count as u64;
            done += count;
            if count > 0 {
                empty = 0;
            } else if is_feed && !self.feed.is_last {
                // What should have come is late.
                out[done..].fill(0);
                return false;
            } else {
                empty += 1;
                self.before += self.at;
                (self.index, self.at) = (self.index + 1, 0);
                self.enter();
            }
        }
        false
    }

    fn next_round(&mut self) -> bool {
        if let Some(rounds) = &mut self.rounds {
            *rounds -= 1;
            if *rounds == 0 {
                *rounds = 1;
                return false;
            }
        }
        let is_feed = matches!(self.sounds.last(), Some(Sound::Feed { .. }));
        if is_feed || self.sounds.is_empty() {
            return false;
        }
        (self.index, self.at, self.before) = (0, 0, 0);
        self.enter();
        true
    }

    /// Makes the machine of the present sound, which is at [`Player::at`].
    fn enter(&mut self) {
        self.now = match self.sounds.get(self.index) {
            Some(Sound::Tone { tone, .. }) => {
                let level_db = match *tone == Tone::MILLIWATT {
                    true => MILLIWATT_DB,
                    false => tone::Player::LEVEL_DB,
                };
                let mut player = Box::new(tone::Player::new(*tone, self.rate, level_db));
                player.seek(self.at);
                Now::Tone(player)
            }
            Some(Sound::Key {
                digit,
                ms,
                pause_ms,
            }) => {
                let mut generator = Box::new(Generator::new(*digit, self.rate, *ms, *pause_ms));
                let mut skipped = 0;
                let mut room = [0; SAMPLES_MAX];
                while skipped < self.at {
                    let count = (self.at - skipped).min(SAMPLES_MAX as u64) as usize;
                    if generator.play(&mut room[..count]) == 0 {
                        break;
                    }
                    skipped += count as u64;
                }
                Now::Key(generator)
            }
            _ => Now::Nothing,
        };
    }

    /// How long a sound is, in samples; none is without end or not known.
    fn length(&self, sound: &Sound) -> Option<u64> {
        let samples = |ms: u32| u64::from(ms) * self.rate.samples(1) as u64;
        match sound {
            Sound::Clip(clip) => Some(samples(clip.ms())),
            Sound::Tone { ms: 0, .. } | Sound::Feed { .. } => None,
            Sound::Tone { ms, .. } | Sound::Silence { ms } => Some(samples(*ms)),
            Sound::Key { ms, pause_ms, .. } => Some(samples(ms.saturating_add(*pause_ms))),
        }
    }

    /// Goes to a place in the sounds; beyond all of them, to the same place of a later round.
    fn seek(&mut self, from_ms: u32) {
        let mut rest = u64::from(from_ms) * self.rate.samples(1) as u64;
        let lengths = self.sounds.iter().map(|sound| self.length(sound));
        let whole = lengths.sum::<Option<u64>>();
        if let Some(whole) = whole.filter(|whole| *whole > 0) {
            let passed = rest / whole;
            rest %= whole;
            if let Some(rounds) = &mut self.rounds {
                if passed >= u64::from(*rounds) {
                    self.index = self.sounds.len();
                    *rounds = 1;
                    return;
                }
                *rounds -= passed as u32;
            }
        }
        while let Some(sound) = self.sounds.get(self.index) {
            match self.length(sound) {
                Some(length) if length <= rest => {
                    rest -= length;
                    self.before += length;
                    self.index += 1;
                }
                None if matches!(sound, Sound::Feed { .. }) => break,
                _ => {
                    self.at = rest;
                    break;
                }
            }
        }
        self.enter();
    }

    /// The next samples of the present sound; none at its end.
    fn sound(&mut self, out: &mut [i16]) -> usize {
        let Some(sound) = self.sounds.get(self.index) else {
            return 0;
        };
        let left = |length: Option<u64>, at: u64| {
            let left = length.map_or(u64::MAX, |length| length.saturating_sub(at));
            usize::try_from(left).unwrap_or(usize::MAX)
        };
        let length = self.length(sound);
        let room = out.len().min(left(length, self.at));
        let out = &mut out[..room];
        match (sound, &mut self.now) {
            (Sound::Clip(clip), _) => {
                play_clip(clip, self.rate, self.at, &mut self.resampler, out);
                room
            }
            (Sound::Silence { .. }, _) => {
                out.fill(0);
                room
            }
            (Sound::Tone { .. }, Now::Tone(player)) => {
                player.play(out);
                room
            }
            (Sound::Key { .. }, Now::Key(generator)) => generator.play(out),
            (Sound::Feed { rate }, _) => {
                let rate = working_rate(*rate);
                self.feed.take(rate, self.rate, &mut self.resampler, out)
            }
            (Sound::Tone { .. } | Sound::Key { .. }, _) => 0,
        }
    }
}

/// A filter between two rates, made when they change.
fn filter(
    kept: &mut Option<(SampleRate, Resampler)>,
    from: SampleRate,
    to: SampleRate,
) -> &mut Resampler {
    if kept.as_ref().is_some_and(|(rate, _)| *rate != from) {
        *kept = None;
    }
    let (_, filter) = kept.get_or_insert_with(|| (from, Resampler::new(from, to)));
    filter
}

/// Samples of a clip from the `at`th on. What it lacks is silence.
fn play_clip(
    clip: &Clip,
    rate: SampleRate,
    at: u64,
    kept: &mut Option<(SampleRate, Resampler)>,
    out: &mut [i16],
) {
    let (same, other, other_rate) = match rate {
        SampleRate::Hz8000 => (&clip.narrow, &clip.wide, SampleRate::Hz16000),
        _ => (&clip.wide, &clip.narrow, SampleRate::Hz8000),
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    if let Some(sound) = same {
        copy(sound, at, out);
        return;
    }
    let Some(sound) = other else {
        out.fill(0);
        return;
    };
    let filter = filter(kept, other_rate, rate);
    match other_rate > rate {
        true => {
            let mut room = [0; 2 * SAMPLES_MAX];
            let room = &mut room[..out.len() * 2];
            copy(sound, at * 2, room);
            filter.process(room, out);
        }
        false => {
            let mut room = [0; SAMPLES_MAX];
            let room = &mut room[..out.len().div_ceil(2)];
            copy(sound, at / 2, room);
            let mut doubled = [0; 2 * SAMPLES_MAX];
            filter.process(room, &mut doubled);
            out.copy_from_slice(&doubled[..out.len()]);
        }
    }
}

fn copy(sound: &[i16], at: usize, out: &mut [i16]) {
    let sound = sound.get(at..).unwrap_or_default();
    let count = sound.len().min(out.len());
    out[..count].copy_from_slice(&sound[..count]);
    out[count..].fill(0);
}

impl Feed {
    /// The next samples, as many as there are.
    fn take(
        &mut self,
        from: SampleRate,
        to: SampleRate,
        kept: &mut Option<(SampleRate, Resampler)>,
        out: &mut [i16],
    ) -> usize {
        if from == to {
            return self.read(out);
        }
        let filter = filter(kept, from, to);
        let mut room = [0; 2 * SAMPLES_MAX];
        let wanted = match from > to {
            true => out.len() * 2,
            false => out.len() / 2,
        };
        let count = self.read(&mut room[..wanted]);
        filter.process(&room[..count], out)
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(chunk) = self.chunks.front() else {
                break;
            };
            let rest = &chunk[self.at.min(chunk.len())..];
            let count = rest.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
            self.at += count;
            if self.at >= chunk.len() {
                self.chunks.pop_front();
                self.at = 0;
            }
        }
        done
    }
}
