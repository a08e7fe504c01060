//! What can go wrong in this crate.

/// An error of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A base timer (T1, T2, T4 or C) is out of its range; all in milliseconds.
    TimerOutOfRange {
        /// The RFC's name of the timer.
        name: &'static str,
        /// What was asked for.
        value_ms: u64,
        /// The smallest value allowed.
        min_ms: u64,
        /// The largest value allowed.
        max_ms: u64,
    },
    /// A timing wheel holds as many timers as it may.
    WheelFull {
        /// The limit given at its construction.
        timers_max: u32,
    },
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::TimerOutOfRange {
                name,
                value_ms,
                min_ms,
                max_ms,
            } => {
                write!(
                    f,
                    "timer {name} is {value_ms} ms, allowed are {min_ms} to {max_ms} ms"
                )
            }
            Error::WheelFull { timers_max } => {
                write!(f, "the timing wheel holds its limit of {timers_max} timers")
            }
        }
    }
}

impl core::error::Error for Error {}
