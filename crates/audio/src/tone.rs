//! Tones: sums of sines in a cadence, and the call-progress tones of several countries, by the list of national tones that supplements
//! ITU-T E.180. Where a country modulates one sine by another, two sines of the same beat stand for it.
//!
//! What is heard depends on nothing but the number of samples since the start, so that another node can go on with a tone
//! ([`Player::seek`]).

use crate::SampleRate;
use crate::wave::{sine, step};

/// Sines that sound at once, at most.
pub const SINES_MAX: usize = 2;
/// Parts of a cadence, at most.
pub const PARTS_MAX: usize = 6;

/// One part of a cadence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The sines in Hz; 0 for none. Both 0 is a pause.
    pub hz: [u16; SINES_MAX],
    /// How long, in milliseconds; 0 is without end.
    pub ms: u16,
}

/// A tone: its parts one after the other, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tone {
    /// The parts. From the first one on that has neither sines nor a length, they do not count.
    pub parts: [Part; PARTS_MAX],
}

const fn part(hz: [u16; SINES_MAX], ms: u16) -> Part {
    Part { hz, ms }
}

const END: Part = part([0, 0], 0);

impl Tone {
    /// A tone without end.
    #[must_use]
    pub const fn steady(hz: [u16; SINES_MAX]) -> Self {
        let mut parts = [END; PARTS_MAX];
        parts[0] = part(hz, 0);
        Self { parts }
    }

    /// The same sines on and off, by lengths in milliseconds that begin with sound. Lengths beyond [`PARTS_MAX`] are left out.
    #[must_use]
    pub const fn cadence(hz: [u16; SINES_MAX], lengths_ms: &[u16]) -> Self {
        let mut parts = [END; PARTS_MAX];
        let mut n = 0;
        while n < lengths_ms.len() && n < PARTS_MAX {
            let hz = if n % 2 == 0 { hz } else { [0, 0] };
            parts[n] = part(hz, lengths_ms[n]);
            n += 1;
        }
        Self { parts }
    }

    /// 1,004 Hz without end, the tone to measure lines with.
    pub const MILLIWATT: Self = Self::steady([1_004, 0]);

    fn parts(&self) -> &[Part] {
        let end = self.parts.iter().position(|part| *part == END);
        &self.parts[..end.unwrap_or(PARTS_MAX)]
    }
}

/// A country whose tones are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Country {
    /// Brazil.
    Br,
    /// Germany.
    De,
    /// Spain.
    Es,
    /// France.
    Fr,
    /// Italy.
    It,
    /// Japan.
    Jp,
    /// Australia.
    Au,
    /// United Kingdom.
    Gb,
    /// United States and Canada.
    Us,
}

/// The call-progress tones of a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Dial: a number is expected.
    pub dial: Tone,
    /// Ringing: the called phone rings.
    pub ringing: Tone,
    /// Busy: the called party speaks with somebody else.
    pub busy: Tone,
    /// Congestion, or reorder: the call cannot be put through.
    pub congestion: Tone,
}

impl Country {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Au,
        Self::Br,
        Self::De,
        Self::Es,
        Self::Fr,
        Self::Gb,
        Self::It,
        Self::Jp,
        Self::Us,
    ];

    /// The country of a code of two letters (ISO 3166), in any case. `uk` is taken for `gb`.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        if code.eq_ignore_ascii_case("uk") {
            return Some(Self::Gb);
        }
        Self::ALL
            .into_iter()
            .find(|country| country.code().eq_ignore_ascii_case(code))
    }

    /// Its code (ISO 3166), in small letters.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Au => "au",
            Self::Br => "br",
            Self::De => "de",
            Self::Es => "es",
            Self::Fr => "fr",
            Self::Gb => "gb",
            Self::It => "it",
            Self::Jp => "jp",
            Self::Us => "us",
        }
    }

    /// Its tones. Where a country allows several, one of them.
    #[must_use]
    pub const fn progress(self) -> Progress {
        let steady = Tone::steady;
        let cadence = Tone::cadence;
        match self {
            Self::Au => Progress {
                dial: steady([413, 438]),
                ringing: cadence([413, 438], &[400, 200, 400, 2_000]),
                busy: cadence([425, 0], &[375, 375]),
                congestion: cadence([425, 0], &[375, 375]),
            },
            Self::Br => Progress {
                dial: steady([425, 0]),
                ringing: cadence([425, 0], &[1_000, 4_000]),
                busy: cadence([425, 0], &[250, 250]),
                congestion: cadence([425, 0], &[250, 250, 750, 250]),
            },
            Self::De => Progress {
                dial: steady([425, 0]),
                ringing: cadence([425, 0], &[1_000, 4_000]),
                busy: cadence([425, 0], &[480, 480]),
                congestion: cadence([425, 0], &[240, 240]),
            },
            Self::Es => Progress {
                dial: steady([425, 0]),
                ringing: cadence([425, 0], &[1_500, 3_000]),
                busy: cadence([425, 0], &[200, 200]),
                congestion: cadence([425, 0], &[200, 200, 200, 200, 200, 600]),
            },
            Self::Fr => Progress {
                dial: steady([440, 0]),
                ringing: cadence([440, 0], &[1_500, 3_500]),
                busy: cadence([440, 0], &[500, 500]),
                congestion: cadence([440, 0], &[250, 250]),
            },
            Self::Gb => Progress {
                dial: steady([350, 440]),
                ringing: cadence([400, 450], &[400, 200, 400, 2_000]),
                busy: cadence([400, 0], &[375, 375]),
                congestion: cadence([400, 0], &[400, 350, 225, 525]),
            },
            Self::It => Progress {
                dial: cadence([425, 0], &[200, 200, 600, 1_000]),
                ringing: cadence([425, 0], &[1_000, 4_000]),
                busy: cadence([425, 0], &[500, 500]),
                congestion: cadence([425, 0], &[200, 200]),
            },
            Self::Jp => Progress {
                dial: steady([400, 0]),
                ringing: cadence([400, 416], &[1_000, 2_000]),
                busy: cadence([400, 0], &[500, 500]),
                congestion: cadence([400, 0], &[500, 500]),
            },
            Self::Us => Progress {
                dial: steady([350, 440]),
                ringing: cadence([440, 480], &[2_000, 4_000]),
                busy: cadence([480, 620], &[500, 500]),
                congestion: cadence([480, 620], &[250, 250]),
            },
        }
    }
}

/// Plays a tone.
#[derive(Debug, Clone)]
pub struct Player {
    tone: Tone,
    rate: SampleRate,
    amplitude: f32,
    part: usize,
    /// Samples that are left of the part.
    left: u64,
    /// Where its sines are, and how far they move with each sample, in 1/2^32 of a turn.
    phases: [u32; SINES_MAX],
    steps: [u32; SINES_MAX],
}

impl Player {
    /// The level at which networks play their tones (E.180 recommends -10 dBm0), in dB below the loudest sine, which has 3.14 dBm0.
    pub const LEVEL_DB: f32 = -13.0;

    /// Plays `tone` from its start, each of its sines at `level_db` below the loudest sine. Together they stay below full scale.
    #[must_use]
    pub fn new(tone: Tone, rate: SampleRate, level_db: f32) -> Self {
        let amplitude = 32_767.0 * 10.0_f32.powf(level_db / 20.0);
        let sines = |part: &Part| part.hz.iter().filter(|hz| **hz > 0).count();
        let most = tone.parts().iter().map(sines).max().unwrap_or(0).max(1);
        let mut player = Self {
            tone,
            rate,
            amplitude: amplitude.min(32_767.0 / most as f32),
            part: 0,
            left: 0,
            phases: [0; SINES_MAX],
            steps: [0; SINES_MAX],
        };
        player.enter(0);
        player
    }

    /// Goes to where the tone is `samples` after its start, so that another node can go on with it.
    pub fn seek(&mut self, samples: u64) {
        let lengths = self.tone.parts().iter().map(|part| self.length(*part));
        let whole = lengths.fold(0, u64::saturating_add);
        self.enter(0);
        let mut rest = samples % whole.max(1);
        while rest >= self.left {
            rest -= self.left;
            self.enter(self.part + 1);
        }
        self.left -= rest;
        for (phase, step) in self.phases.iter_mut().zip(self.steps) {
            *phase = step.wrapping_mul(rest as u32);
        }
    }

    /// The next samples.
    pub fn play(&mut self, out: &mut [i16]) {
        let mut rest = out;
        while !rest.is_empty() {
            let count = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
            let (now, later) = rest.split_at_mut(count);
            self.sound(now);
            self.left -= count as u64;
            if self.left == 0 {
                self.enter(self.part + 1);
            }
            rest = later;
        }
    }

    fn sound(&mut self, out: &mut [i16]) {
        if self.steps == [0; SINES_MAX] {
            out.fill(0);
            return;
        }
        for sample in out {
            let mut sum = 0.0;
            for (phase, step) in self.phases.iter_mut().zip(self.steps) {
                // One that does not move stays at 0, where its sine is 0.
                sum += sine(*phase);
                *phase = phase.wrapping_add(step);
            }
            *sample = (sum * self.amplitude).round() as i16;
        }
    }

    /// Begins a part; after the last comes the first.
    fn enter(&mut self, part: usize) {
        let parts = self.tone.parts();
        self.part = if part < parts.len() { part } else { 0 };
        // A tone without parts is silence.
        let part = parts.get(self.part).copied().unwrap_or(END);
        self.left = self.length(part);
        self.phases = [0; SINES_MAX];
        self.steps = part.hz.map(|hz| step(hz, self.rate));
    }

    /// Samples of a part, never 0.
    fn length(&self, part: Part) -> u64 {
        match part.ms {
            0 => u64::MAX,
            ms => self.rate.samples(u32::from(ms)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{power, power_db, tone_db};

    fn play(tone: Tone, rate: SampleRate, ms: u32) -> Vec<i16> {
        let mut out = vec![0; rate.samples(ms)];
        Player::new(tone, rate, Player::LEVEL_DB).play(&mut out);
        out
    }

    #[test]
    fn a_tone_holds_its_sines_at_their_level_and_nothing_else() {
        for rate in SampleRate::ALL {
            let sound = play(Country::Us.progress().dial, rate, 1_000);
            let expected = f64::from(Player::LEVEL_DB) - 3.01;
            for hz in [350.0, 440.0] {
                let level = tone_db(&sound, hz, rate.hz());
                assert!(
                    (level - expected).abs() < 0.05,
                    "{rate:?} {hz} Hz: {level} dB"
                );
            }
            assert!((power_db(&sound) - expected - 3.01).abs() < 0.05);
        }
    }

    #[test]
    fn a_cadence_has_its_lengths() {
        let rate = SampleRate::Hz8000;
        let sound = play(Country::Gb.progress().ringing, rate, 6_000);
        let is_loud = |ms: u32| power(&sound[rate.samples(ms)..rate.samples(ms + 50)]) > 1e-4;
        for start in [0, 3_000] {
            for (ms, loud) in [
                (0, true),
                (350, true),
                (410, false),
                (540, false),
                (600, true),
                (940, true),
                (1_010, false),
                (2_940, false),
            ] {
                assert_eq!(is_loud(start + ms), loud, "{} ms", start + ms);
            }
        }
    }

    #[test]
    fn every_country_has_tones_that_differ_where_they_have_to() {
        for country in Country::ALL {
            assert_eq!(Country::of_code(country.code()), Some(country));
            let tones = country.progress();
            assert_ne!(tones.dial, tones.busy, "{country:?}");
            assert_ne!(tones.ringing, tones.busy, "{country:?}");
            for tone in [tones.dial, tones.ringing, tones.busy, tones.congestion] {
                let sound = play(tone, SampleRate::Hz8000, 200);
                assert!(power_db(&sound) > -20.0, "{country:?}");
            }
        }
        assert_eq!(Country::of_code("UK"), Some(Country::Gb));
        assert_eq!(Country::of_code("xx"), None);
    }

    #[test]
    fn another_goes_on_where_the_first_was() {
        for tone in [
            Country::Us.progress().ringing,
            Country::Es.progress().congestion,
            Tone::MILLIWATT,
        ] {
            let whole = play(tone, SampleRate::Hz8000, 8_000);
            for at in [0, 1, 777, 15_999, 16_000, 31_234, 48_000, 60_000] {
                let mut other = Player::new(tone, SampleRate::Hz8000, Player::LEVEL_DB);
                other.seek(at as u64);
                let mut part = vec![0; 1_000];
                other.play(&mut part);
                assert_eq!(part, whole[at..at + 1_000], "{tone:?} at {at}");
            }
        }
    }

    #[test]
    fn a_tone_without_parts_is_silence_and_none_clips() {
        let mut player = Player::new(
            Tone {
                parts: [END; PARTS_MAX],
            },
            SampleRate::Hz8000,
            0.0,
        );
        player.seek(1_000);
        let mut out = [7; 100];
        player.play(&mut out);
        assert_eq!(out, [0; 100]);
        let mut player = Player::new(Tone::steady([400, 450]), SampleRate::Hz8000, 90.0);
        let mut out = [0; 8_000];
        player.play(&mut out);
        assert!(tone_db(&out, 400.0, 8_000) > -9.2);
    }
}
