//! Options of sockets that are not ours.

use super::checked;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an integer option.
pub(crate) fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live integer of the size given.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}
