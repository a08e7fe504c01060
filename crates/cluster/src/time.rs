//! A node's own monotonic time.

/// A moment of one node's monotonic clock, in microseconds. Two nodes' times have nothing to do with
/// each other: nothing compares them, and a stamp that comes back is read by the node that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Later than every moment.
    pub const NEVER: Time = Time(u64::MAX);

    /// `span_us` microseconds later.
    #[must_use]
    pub const fn after(self, span_us: u64) -> Time {
        Time(self.0.saturating_add(span_us))
    }

    /// Microseconds since `earlier`; zero if that is not earlier.
    pub const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
