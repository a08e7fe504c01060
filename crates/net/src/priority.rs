//! Which threads of the machine go first.

use crate::sys;
use std::io;

/// The nice value where the kernel gives no better place.
const NICE: i32 = -10;

/// How far a thread goes before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before all that share the processors (`SCHED_FIFO`).
    Always,
    /// More often than they (its nice value).
    Often,
}

/// Lets the calling thread run as soon as it has something to do, whatever the others of the machine do: for one that does
/// little and must not be late. What it starts (threads, programs) begins as usual.
///
/// # Errors
/// The process may not (it takes `CAP_SYS_NICE`, or `LimitRTPRIO=` or `LimitNICE=` in the unit); all goes on as before.
pub fn urgent() -> io::Result<Priority> {
    match sys::set_first() {
        Ok(()) => Ok(Priority::Always),
        Err(_) => often().map(|()| Priority::Often),
    }
}

/// Lets the calling thread go before most others, for one that may have much to do.
///
/// # Errors
/// As those of [`urgent`].
pub fn often() -> io::Result<()> {
    sys::set_nice(NICE)
}
