//! How many descriptors the process may have open: a connection each, and some for everything else.

use crate::sys;
use std::io;

/// Raises the limit of open descriptors as far as this process may (`RLIMIT_NOFILE`, the soft limit to
/// the hard one), and returns what it is then. Where the kernel refuses to raise it, that is what it
/// was before.
///
/// # Errors
/// The kernel does not tell the limit.
pub fn raise_limit() -> io::Result<u64> {
    sys::raise_descriptor_limit()
}
