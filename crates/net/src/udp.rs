//! UDP in batches: many datagrams an entry into the kernel, over memory allocated once.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use net::udp::{ReceiveBatch, SendBatch, UdpOptions, UdpSocket};
//! let socket = UdpSocket::bind("127.0.0.1:5060".parse().expect("an address"), &UdpOptions::default())?;
//! let (mut incoming, mut outgoing) = (ReceiveBatch::new(32), SendBatch::new());
//! while socket.receive(&mut incoming)? > 0 {
//!     for datagram in incoming.datagrams() {
//!         outgoing.push_with(datagram.source, Some(datagram.local.ip()), |buffer| {
//!             buffer.extend_from_slice(datagram.bytes);
//!         });
//!     }
//!     outgoing.flush(&socket);
//! }
//! # Ok(()) }
//! ```

mod receive;
mod send;

pub use receive::{Datagram, ReceiveBatch};
pub use send::{
    FlushReport, SEND_BACKLOG_MAX_BYTES, SEND_BACKLOG_MAX_DATAGRAMS, SendBatch, SendFailure,
};

use crate::sys::{ErrorSlot, Kind, Socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// Most entries of the error queue read in one call of [`UdpSocket::receive_errors`].
pub const ERRORS_MAX_PER_CALL: usize = 256;

/// Most pending errors stepped over in one call of [`UdpSocket::receive`].
const PENDING_ERRORS_MAX: usize = 16;

/// How a [`UdpSocket`] is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Several sockets share the port, and the kernel spreads senders over them (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// The address need not be on this machine yet (`IP_FREEBIND`): a standby is bound beforehand.
    pub freebind: bool,
    /// Room in the kernel for datagrams not yet received. What the system's limit allows is used
    /// when the process may not exceed it; see [`UdpSocket::receive_buffer_bytes`].
    pub receive_buffer_bytes: usize,
    /// Room in the kernel for datagrams not yet sent.
    pub send_buffer_bytes: usize,
    /// An IPv6 socket leaves IPv4 alone. Without effect on an IPv4 address.
    pub v6_only: bool,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions {
            reuse_port: false,
            freebind: false,
            receive_buffer_bytes: 4 << 20,
            send_buffer_bytes: 1 << 20,
            v6_only: true,
        }
    }
}

/// Why a datagram did not reach its destination, as far as this machine was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryError {
    /// Nobody listens on that port (ICMP port unreachable).
    Refused,
    /// No way to that host or network, here or on the way.
    Unreachable,
    /// Longer than a datagram, or than the path, can be.
    TooLarge,
    /// Forbidden here or on the way (packet filter, missing right).
    NotPermitted,
    /// The kernel or the device had no room; the datagram is lost, as on a congested path.
    Congested,
    /// Another error number.
    Other(i32),
}

impl DeliveryError {
    /// The meaning of an error number of sendmsg(2) or of the error queue.
    fn of(errno: i32) -> DeliveryError {
        match errno {
            libc::ECONNREFUSED | libc::ENOPROTOOPT => DeliveryError::Refused,
            libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ENONET
            | libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT => DeliveryError::Unreachable,
            libc::EMSGSIZE => DeliveryError::TooLarge,
            libc::EPERM | libc::EACCES => DeliveryError::NotPermitted,
            libc::ENOBUFS | libc::ENOMEM => DeliveryError::Congested,
            other => DeliveryError::Other(other),
        }
    }

    /// True for an error number that may be about a datagram sent earlier: the kernel hands an
    /// ICMP error to whatever call comes next, and keeps its particulars in the error queue.
    fn may_be_pending(errno: i32) -> bool {
        matches!(
            errno,
            libc::ECONNREFUSED
                | libc::ENOPROTOOPT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EMSGSIZE
                | libc::EACCES
                | libc::EPROTO
                | libc::EOPNOTSUPP
        )
    }
}

/// A bound, non-blocking UDP socket. It may be shared by threads.
///
/// It is level-triggered in a [`crate::poll::Poller`]: while `readable`, call
/// [`receive`](Self::receive); while in `error`, call [`receive_errors`](Self::receive_errors), or
/// the poller never sleeps.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    /// The address is a wildcard, so each datagram has to say what it was sent to.
    wildcard: bool,
}

impl UdpSocket {
    /// Opens a socket and binds it to `address`; port 0 lets the kernel choose.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
        let socket = Socket::open(Kind::Datagram, address)?;
        if address.is_ipv6() {
            socket.set(
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                i32::from(options.v6_only),
            )?;
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        }
        if address.is_ipv4() || !options.v6_only {
            socket.set(libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        }
        if options.reuse_port {
            socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if options.freebind {
            socket.set(libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
        }
        let wildcard = address.ip().is_unspecified();
        if wildcard && address.is_ipv6() {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        } else if wildcard {
            socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        }
        let receive_bytes = options.receive_buffer_bytes;
        set_buffer(
            &socket,
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            receive_bytes,
        )?;
        let send_bytes = options.send_buffer_bytes;
        set_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_bytes)?;
        socket.bind(address)?;
        let local = socket.local_address()?;
        Ok(UdpSocket {
            socket,
            local,
            wildcard,
        })
    }

    /// The address the socket is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The room for incoming datagrams that the kernel granted, in bytes of payload and of its own
    /// bookkeeping (the kernel doubles what was asked for and reports the double; this halves it).
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        let doubled = self.socket.option(libc::SOL_SOCKET, libc::SO_RCVBUF)?;
        Ok(usize::try_from(doubled).unwrap_or(0) / 2)
    }

    /// Datagrams that the kernel dropped since the socket was opened, for want of room.
    pub fn dropped_by_kernel(&self) -> io::Result<u32> {
        self.socket.drops()
    }

    /// Bytes of kernel memory that the waiting datagrams take up, a good deal more than they are long.
    pub fn waiting_bytes(&self) -> io::Result<u32> {
        Ok(self.socket.backlog()?.0)
    }

    /// Receives what is waiting into `batch`, whose former content is gone. Never blocks; 0 when
    /// nothing waits. Less than the batch's size means that the socket was emptied.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.begin(self.local);
        for _ in 0..PENDING_ERRORS_MAX {
            match batch
                .slots_mut()
                .receive(self.socket.as_fd(), self.wildcard)
            {
                Ok(count) => {
                    batch.fill(count);
                    return Ok(count);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(0),
                    Some(libc::EINTR) => {}
                    Some(errno) if DeliveryError::may_be_pending(errno) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(0)
    }

    /// Takes what ICMP reported about datagrams sent earlier: `visit(destination, error)` for each.
    /// At most [`ERRORS_MAX_PER_CALL`]; returns how many. To be called when the poller says `error`.
    pub fn receive_errors(
        &self,
        mut visit: impl FnMut(SocketAddr, DeliveryError),
    ) -> io::Result<usize> {
        let mut slot = ErrorSlot::new();
        let mut count = 0;
        while count < ERRORS_MAX_PER_CALL {
            match slot.take(self.socket.as_fd()) {
                Ok(Some((destination, errno))) => {
                    count += 1;
                    if let Some(destination) = destination {
                        visit(destination, DeliveryError::of(errno));
                    }
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if count == 0 {
            // The queue was full when the error came (it holds little): only its number is left.
            self.socket.option(libc::SOL_SOCKET, libc::SO_ERROR)?;
        }
        Ok(count)
    }

    fn is_v6(&self) -> bool {
        self.socket.is_v6()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for a buffer beyond the system's limit, and if that is not permitted, for what the limit
/// allows.
fn set_buffer(socket: &Socket, force: i32, plain: i32, size_bytes: usize) -> io::Result<()> {
    let size = i32::try_from(size_bytes).unwrap_or(i32::MAX / 2);
    match socket.set(libc::SOL_SOCKET, force, size) {
        Ok(()) => Ok(()),
        Err(_) => socket.set(libc::SOL_SOCKET, plain, size),
    }
}

#[cfg(test)]
mod tests;
