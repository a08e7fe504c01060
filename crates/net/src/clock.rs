//! The clock that goes on while the machine sleeps.

use crate::sys;
use std::time::Duration;

/// A time of this machine since it started, its sleep included (`CLOCK_BOOTTIME`), in nanoseconds. Clocks of two
/// machines are not to be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime {
    nanoseconds: u64,
}

impl Boottime {
    /// When the machine started: over, whatever is compared with it.
    pub const START: Boottime = Boottime { nanoseconds: 0 };

    /// Now.
    pub fn now() -> Boottime {
        Boottime::from_ns(sys::boottime_ns())
    }

    /// So many nanoseconds after the start.
    pub const fn from_ns(nanoseconds: u64) -> Boottime {
        Boottime { nanoseconds }
    }

    /// Nanoseconds after the start.
    pub const fn as_ns(self) -> u64 {
        self.nanoseconds
    }

    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Boottime {
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Boottime::from_ns(self.nanoseconds.saturating_add(span))
    }

    /// How much later than `earlier` this is; nothing if it is not.
    pub fn since(self, earlier: Boottime) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }
}

/// Nanoseconds since the machine started, its sleep included.
pub fn boottime_ns() -> u64 {
    sys::boottime_ns()
}
