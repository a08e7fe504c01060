//! Netlink: asking the kernel to change addresses, packet filters and queues. A request is carried out before
//! the call that sends it returns, and its answer waits then.

use super::checked;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Interfaces, addresses, queueing disciplines (rtnetlink).
    Route,
    /// Packet filters (nfnetlink).
    Netfilter,
}

/// A netlink socket, non-blocking and closed on exec, of the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Netlink {
    descriptor: OwnedFd,
}

impl Netlink {
    pub(crate) fn open(protocol: Protocol) -> io::Result<Netlink> {
        let protocol = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
        };
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket(2) takes no pointers.
        let raw = checked(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let netlink = Netlink { descriptor };
        // Errors do not repeat the request, which may be long. Where that is not known they do.
        let _ = netlink.set(libc::NETLINK_CAP_ACK, 1);
        Ok(netlink)
    }

    fn set(&self, name: i32, value: i32) -> io::Result<()> {
        // SAFETY: the pointer is to a live integer of the size given.
        checked(unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_NETLINK,
                name,
                (&raw const value).cast(),
                mem::size_of::<i32>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }

    /// Hands messages to the kernel, which has done what they ask for when this returns.
    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to live bytes of the length given; with no address it goes to the kernel.
        let sent = unsafe {
            libc::send(
                self.descriptor.as_raw_fd(),
                messages.as_ptr().cast(),
                messages.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes what the kernel has answered: how many bytes of `room` it filled. `WouldBlock` when nothing waits.
    pub(crate) fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer is to live, writable bytes of the length given.
        let received = unsafe {
            libc::recv(
                self.descriptor.as_raw_fd(),
                room.as_mut_ptr().cast(),
                room.len(),
                0,
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}
