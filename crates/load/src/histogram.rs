//! Durations counted in buckets that are as fine as they have to be.

use serde_json::{Value, json};

/// Buckets of each power of two: values are told apart to less than 1.6 %.
const PARTS: u64 = 64;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Powers of two beyond the first [`PARTS`] values: up to 2^36 µs, nineteen hours.
const POWERS: u32 = 30;
const BUCKETS: usize = (PARTS as usize) * (POWERS as usize + 1);

/// How often each duration was seen, in microseconds. Its size is fixed; longer durations than it has buckets for are in the last.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum_us: u64,
    min_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            sum_us: 0,
            min_us: u64::MAX,
            max_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, us: u64) {
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.min_us = self.min_us.min(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.min_us = self.min_us.min(other.min_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// What was counted since `before` was this one's copy. The least and the longest are those of their buckets.
    #[must_use]
    pub fn since(&self, before: &Histogram) -> Histogram {
        let mut since = Histogram::default();
        let counts = self.buckets.iter().zip(before.buckets.iter());
        for (number, (now, before)) in counts.enumerate() {
            let count = now.saturating_sub(*before);
            since.buckets[number] = count;
            since.count += count;
            if count > 0 {
                since.max_us = last_us(number).min(self.max_us);
                since.min_us = since.min_us.min(since.max_us);
            }
        }
        since.sum_us = self.sum_us.saturating_sub(before.sum_us);
        since
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many durations are longer than `us`, and so not in its bucket.
    #[must_use]
    pub fn beyond(&self, us: u64) -> u64 {
        self.buckets[bucket(us) + 1..].iter().sum()
    }

    /// The longest, exactly; 0 if there is none.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// What `per_mille` of the durations do not exceed, to the end of its bucket and never beyond the longest; 0 if there is none.
    #[must_use]
    pub fn at_us(&self, per_mille: u32) -> u64 {
        let rank = (self.count * u64::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return last_us(number).min(self.max_us);
            }
        }
        self.max_us
    }

    /// `count`, `mean`, `min`, `p50`, `p90`, `p99`, `p999`, `max`, in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let at_ms = |per_mille| ms(self.at_us(per_mille));
        json!({
            "count": self.count,
            "mean": ms(self.sum_us.checked_div(self.count).unwrap_or(0)),
            "min": ms(if self.count == 0 { 0 } else { self.min_us }),
            "p50": at_ms(500),
            "p90": at_ms(900),
            "p99": at_ms(990),
            "p999": at_ms(999),
            "max": ms(self.max_us),
        })
    }
}

/// Milliseconds, to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "no run lasts 2^52 microseconds")]
pub(crate) fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn bucket(us: u64) -> usize {
    let power = us.checked_ilog2().unwrap_or(0).saturating_sub(PARTS_BITS);
    if us < PARTS {
        return us as usize;
    }
    // The values of one power share what their first bits are: `PARTS` to twice as many.
    let part = (us >> power) - PARTS;
    let number = PARTS * u64::from(power + 1) + part;
    usize::try_from(number)
        .unwrap_or(usize::MAX)
        .min(BUCKETS - 1)
}

/// The longest duration of a bucket.
fn last_us(number: usize) -> u64 {
    let number = number as u64;
    if number < PARTS {
        return number;
    }
    let (power, part) = (number / PARTS - 1, number % PARTS);
    ((PARTS + part + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_to_a_sixtieth() {
        let mut all = Histogram::default();
        for us in 1..=100_000 {
            all.add(us);
        }
        for (per_mille, us) in [(1, 100), (500, 50_000), (990, 99_000), (1_000, 100_000)] {
            let found = all.at_us(per_mille);
            assert!(found >= us && found <= us + us / 60, "{per_mille}: {found}");
        }
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for number in 0..BUCKETS - 1 {
            assert_eq!(bucket(last_us(number)), number);
            assert_eq!(bucket(last_us(number) + 1), number + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_sum_of_two_is_as_if_one_had_counted_all() {
        let (mut left, mut right, mut both) = <(Histogram, Histogram, Histogram)>::default();
        for us in [3, 70, 900_000] {
            left.add(us);
            both.add(us);
        }
        for us in [1, 5_000_000_000_000] {
            right.add(us);
            both.add(us);
        }
        left.merge(&right);
        assert_eq!(left.to_json(), both.to_json());
        assert_eq!(left.max_us(), 5_000_000_000_000);
    }

    #[test]
    fn what_came_later_is_told_apart() {
        let mut all = Histogram::default();
        all.add(900_000);
        let before = all.clone();
        for us in [20_000, 20_100, 60_000] {
            all.add(us);
        }
        let since = all.since(&before);
        assert_eq!(since.count(), 3);
        assert!(
            (60_000..61_000).contains(&since.max_us()),
            "{}",
            since.max_us()
        );
        assert!((20_000..21_000).contains(&since.at_us(500)));
        assert_eq!(all.since(&all).max_us(), 0);
        assert_eq!((all.beyond(50_000), all.beyond(u64::MAX)), (2, 0));
    }

    #[test]
    fn none_is_all_zeros() {
        assert_eq!(Histogram::default().at_us(990), 0);
        assert_eq!(Histogram::default().to_json()["min"], 0.0);
    }
}
