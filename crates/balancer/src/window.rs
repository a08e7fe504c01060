//! Calls and failed calls of the last seconds.

use crate::time::Time;

/// Parts that the window moves by.
const PARTS: usize = 10;

/// A window that moves in ten steps.
#[derive(Debug)]
pub(crate) struct Window {
    part_ms: u64,
    /// The part that `now` was in the last time.
    part: u64,
    calls: [u32; PARTS],
    failed: [u32; PARTS],
}

impl Window {
    pub(crate) fn new(window_ms: u64, now: Time) -> Self {
        let part_ms = (window_ms / PARTS as u64).max(1);
        Self {
            part_ms,
            part: now.as_ms() / part_ms,
            calls: [0; PARTS],
            failed: [0; PARTS],
        }
    }

    pub(crate) fn clear(&mut self, now: Time) {
        *self = Self::new(self.part_ms * PARTS as u64, now);
    }

    /// Counts a call; how many of how many in the window failed.
    pub(crate) fn count(&mut self, failed: bool, now: Time) -> (u32, u32) {
        let part = now.as_ms() / self.part_ms;
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for step in 1..=passed {
            let place = (self.part + step) as usize % PARTS;
            self.calls[place] = 0;
            self.failed[place] = 0;
        }
        if passed == PARTS as u64 {
            self.calls = [0; PARTS];
            self.failed = [0; PARTS];
        }
        self.part = self.part.max(part);
        let place = self.part as usize % PARTS;
        self.calls[place] = self.calls[place].saturating_add(1);
        self.failed[place] = self.failed[place].saturating_add(u32::from(failed));
        let sum = |parts: &[u32; PARTS]| parts.iter().fold(0_u32, |a, b| a.saturating_add(*b));
        (sum(&self.failed), sum(&self.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::Window;
    use crate::time::Time;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::new(10_000, Time::ZERO);
        for second in 0..10 {
            window.count(true, Time::from_ms(second * 1_000));
        }
        assert_eq!(window.count(false, Time::from_ms(9_999)), (10, 11));
        assert_eq!(window.count(false, Time::from_ms(12_000)), (7, 9));
        assert_eq!(window.count(true, Time::from_ms(500_000)), (1, 1));
    }
}
