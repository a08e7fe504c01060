//! One datagram in, one out, for sockets of which there are too many to have a batch each.

use super::address::RawAddress;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Receives one datagram without blocking: its whole length, which may be more than fits into
/// `room`, and where it came from.
pub(crate) fn receive_from(
    socket: BorrowedFd<'_>,
    room: &mut [u8],
) -> io::Result<(usize, Option<SocketAddr>)> {
    let mut name = RawAddress::zeroed();
    let mut length = RawAddress::LENGTH;
    // SAFETY: the pointers are to live, writable room of the lengths given.
    let received = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            room.as_mut_ptr().cast(),
            room.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            (&raw mut name).cast(),
            &raw mut length,
        )
    };
    match usize::try_from(received) {
        Ok(received) => Ok((received, name.decode())),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Sends one datagram without blocking.
pub(crate) fn send_to(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    destination: SocketAddr,
) -> io::Result<()> {
    let (name, length) = RawAddress::encode(destination, false);
    // SAFETY: the pointers are to live bytes and a live address of the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const name).cast(),
            length,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
