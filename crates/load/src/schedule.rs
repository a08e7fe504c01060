//! When the next one is due, by an absolute timetable: being late once makes nothing else late.

/// A timetable of equal distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_us: f64,
    interval_us: f64,
    /// How many have been taken.
    taken: u64,
    /// How many there are.
    total: u64,
    /// None is due after this.
    end_us: f64,
}

impl Schedule {
    /// `per_s` a second from `start_us` on, `total` of them, none later than `end_us`.
    pub(crate) fn new(start_us: u64, per_s: f64, total: Option<u64>, end_us: Option<u64>) -> Self {
        Schedule {
            start_us: float(start_us),
            interval_us: 1_000_000.0 / per_s.max(1e-6),
            taken: 0,
            total: total.unwrap_or(u64::MAX),
            end_us: end_us.map_or(f64::INFINITY, float),
        }
    }

    /// When the next one is due; none if there is no other.
    pub(crate) fn next_us(&self) -> Option<u64> {
        let at_us = self.start_us + self.interval_us * float(self.taken);
        // Not negative, and below 2^52.
        (self.taken < self.total && at_us < self.end_us).then_some(at_us as u64)
    }

    /// Takes the next one if it is due, and says how late that is.
    pub(crate) fn take(&mut self, now_us: u64) -> Option<u64> {
        let due_us = self.next_us().filter(|due_us| *due_us <= now_us)?;
        self.taken += 1;
        Some(now_us - due_us)
    }

    /// What is due now had to wait, and all others wait as long. Says whether something was due.
    pub(crate) fn hold(&mut self, now_us: u64) -> bool {
        let Some(due_us) = self.next_us().filter(|due_us| *due_us <= now_us) else {
            return false;
        };
        self.start_us += float(now_us - due_us);
        true
    }
}

/// A share of things that come one after the other, spread evenly over them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share(u32);

impl Share {
    /// Whether the next one belongs to it, if it is so many of a thousand.
    pub(crate) fn takes(&mut self, per_mille: u32) -> bool {
        self.0 += per_mille.min(1_000);
        let takes = self.0 >= 1_000;
        self.0 -= if takes { 1_000 } else { 0 };
        takes
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no run has 2^52 microseconds or calls"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_late_catches_up_and_says_by_how_much() {
        let mut schedule = Schedule::new(1_000, 1_000.0, Some(4), None);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(0));
        assert_eq!(schedule.take(1_500), None);
        assert_eq!(schedule.take(3_100), Some(1_100));
        assert_eq!(schedule.take(3_100), Some(100));
        assert_eq!(schedule.take(9_000), Some(5_000));
        assert_eq!(schedule.next_us(), None);
    }

    #[test]
    fn what_is_held_back_is_not_made_up_for() {
        let mut schedule = Schedule::new(0, 1_000.0, None, None);
        assert_eq!(schedule.take(0), Some(0));
        assert!(!schedule.hold(500));
        assert!(schedule.hold(5_500));
        assert_eq!(schedule.take(5_500), Some(0));
        assert_eq!(schedule.take(5_500), None);
        assert_eq!(schedule.next_us(), Some(6_500));
    }

    #[test]
    fn a_share_is_exact_and_even() {
        for (per_mille, of, expected) in
            [(0, 100, 0), (1_000, 7, 7), (250, 8, 2), (333, 1_000, 333)]
        {
            let mut share = Share::default();
            let taken = (0..of).filter(|_| share.takes(per_mille)).count();
            assert_eq!(taken, expected, "{per_mille}");
        }
    }

    #[test]
    fn nothing_is_due_after_the_end() {
        let mut schedule = Schedule::new(0, 10.0, None, Some(150_000));
        assert!(schedule.take(1_000_000).is_some() && schedule.take(1_000_000).is_some());
        assert_eq!(schedule.take(1_000_000), None);
    }
}
