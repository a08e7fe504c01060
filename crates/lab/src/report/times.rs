//! Durations that were measured.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations that were measured, of which shares are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// In microseconds, the shortest first.
    sorted_us: Vec<u64>,
}

impl Times {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = self.sorted_us.partition_point(|other| *other <= us);
        self.sorted_us.insert(place, us);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Times) {
        self.sorted_us.extend(&other.sorted_us);
        self.sorted_us.sort_unstable();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted_us.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted_us.is_empty()
    }

    /// The smallest one that this share (in thousandths) of all do not exceed, in milliseconds.
    #[must_use]
    pub fn at_ms(&self, permille: usize) -> Option<f64> {
        let rank = (self.len() * permille).div_ceil(1_000).max(1);
        self.sorted_us.get(rank - 1).map(|us| ms(*us))
    }

    /// All of them in milliseconds, the shortest first.
    pub fn all_ms(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.sorted_us.iter().map(|us| ms(*us))
    }

    /// `p50`, `p99` and `max` in milliseconds, or null where nothing was measured.
    #[must_use]
    pub fn json(&self) -> Value {
        match self.is_empty() {
            true => Value::Null,
            false => json!({
                "p50": self.at_ms(500), "p99": self.at_ms(990), "max": self.at_ms(1_000),
            }),
        }
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Times {
        let mut times = Times::default();
        for duration in durations {
            times.add(duration);
        }
        times
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run lasts 2^52 microseconds")]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_values_that_were_seen() {
        let times: Times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(times.at_ms(500), Some(100.0));
        assert_eq!(times.at_ms(990), Some(198.0));
        assert_eq!(times.at_ms(1_000), Some(200.0));
        assert_eq!(times.json()["max"], 200.0);
    }

    #[test]
    fn of_nothing_there_is_no_share() {
        assert_eq!(Times::default().at_ms(500), None);
        assert_eq!(Times::default().json(), Value::Null);
    }
}
