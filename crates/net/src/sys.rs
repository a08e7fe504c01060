//! The system calls that the standard library has no function for. All `unsafe` of the crate is here.
//!
//! Each function is safe to call: it takes borrowed descriptors and owns the memory it hands to
//! the kernel. Nothing here decides anything.
#![allow(unsafe_code)]

mod address;
mod bpf;
mod datagram;
mod epoll;
mod media;
mod netlink;
mod option;
mod packet;
mod process;
mod socket;

pub(crate) use bpf::{Instruction, SharedNumber, load_program};
pub(crate) use datagram::{ErrorSlot, Outgoing, ReceiveSlots, SendSlots};
pub(crate) use epoll::{Epoll, EventFd, Events, Interests, TimerFd};
pub(crate) use media::{receive_from, send_to};
pub(crate) use netlink::{Netlink, Protocol};
pub(crate) use option::set_option;
pub(crate) use packet::PacketSocket;
pub(crate) use process::{
    boottime_ns, duplicate_from, kill_group, set_first, set_nice, set_nonblocking,
};
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

/// Raises the soft limit of open descriptors to the hard one. Returns the limit in force, which is the
/// old one where the kernel refuses to raise it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live limit, which the kernel fills in.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    };
    // SAFETY: the pointer is to a live limit, which the kernel copies.
    match checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) }) {
        Ok(_) => Ok(raised.rlim_cur),
        Err(_) => Ok(limit.rlim_cur),
    }
}
