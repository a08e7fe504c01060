//! The system calls that the standard library has no function for. All `unsafe` of the crate is here.
//!
//! Each function is safe to call: it takes borrowed descriptors and owns the memory it hands to
//! the kernel. Nothing here decides anything.
#![allow(unsafe_code)]

mod address;
mod datagram;
mod epoll;
mod socket;

pub(crate) use datagram::{ErrorSlot, Outgoing, ReceiveSlots, SendSlots};
pub(crate) use epoll::{Epoll, EventFd, Events, Interests, TimerFd};
pub(crate) use socket::{Kind, Socket};

use std::io;

/// Turns the C convention (-1 and `errno`) into a result.
fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
