//! The one clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edge::Now;
use transaction::Time;

/// What the start stands for: calls that another node began earlier are taken over with their age, and there is no time before
/// zero. Longer than a call may last.
pub(crate) const START_MS: u64 = 24 * 3_600 * 1_000;

/// Monotonic time from one origin; the time of day is that of the start plus what has passed since, so
/// that a clock that is set disturbs nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    unix_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Clock {
            origin: Instant::now(),
            unix_ms: since.as_millis() as u64,
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Now {
        let passed_ms = instant.saturating_duration_since(self.origin).as_millis() as u64;
        Now {
            time: Time::from_ms(START_MS + passed_ms),
            unix_ms: self.unix_ms + passed_ms,
        }
    }

    /// When it will be `time`.
    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        self.origin + Duration::from_millis(time.as_ms().saturating_sub(START_MS))
    }

    /// Now, as the relay counts.
    pub(crate) fn media_now(&self) -> relay::Time {
        relay::Time::from_micros(self.origin.elapsed().as_micros() as u64 + 1)
    }

    /// Now, as the PBX's media count: the time of day in microseconds.
    pub(crate) fn voice_now(&self) -> voice::Time {
        let passed_us = self.origin.elapsed().as_micros() as u64;
        voice::Time::from_micros(self.unix_ms * 1_000 + passed_us)
    }

    pub(crate) fn unix_s(&self) -> u64 {
        self.now().unix_s()
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ms
    }
}
