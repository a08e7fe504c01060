//! How many descriptors the process may have open: a connection each, and some for everything else.

use crate::sys;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The highest number of [`last`]: the kernel's table of descriptors is as long as the highest one.
const LAST_MAX: u64 = 65_535;

/// Raises the limit of open descriptors as far as this process may (`RLIMIT_NOFILE`, the soft limit to
/// the hard one), and returns what it is then. Where the kernel refuses to raise it, that is what it
/// was before.
///
/// # Errors
/// The kernel does not tell the limit.
pub fn raise_limit() -> io::Result<u64> {
    sys::raise_descriptor_limit()
}

/// A second descriptor of the same file, with the highest number that the process may use, or the first free one from
/// 65,535 on. It is closed at `exec`.
///
/// # Errors
/// The kernel gives none.
pub fn last(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let limit = sys::raise_descriptor_limit()?;
    let from = limit.saturating_sub(1).min(LAST_MAX);
    sys::duplicate_from(descriptor, from as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn the_last_descriptor_is_behind_all_others() {
        let file = std::fs::File::open("/dev/null").expect("it is everywhere");
        let last = last(file.as_fd()).expect("a number is free");
        let next = std::fs::File::open("/dev/null").expect("it is everywhere");
        assert!(last.as_raw_fd() > next.as_raw_fd());
    }
}
