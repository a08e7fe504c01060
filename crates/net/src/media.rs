//! Thousands of UDP sockets on one thread, each with a packet every 20 ms.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use net::media::{Media, MediaOptions};
//! use std::time::Duration;
//! let mut media = Media::new(MediaOptions::default())?;
//! let socket = media.bind("192.0.2.1:20000".parse().expect("an address"))?;
//! loop {
//!     let turn = media.turn(Duration::from_millis(100), |_, source, _packet| Some((socket, source)))?;
//!     if turn.woken { /* look at the inbox */ }
//! }
//! # }
//! ```

use crate::poll::{Interest, Poller, Token, Waker};
use crate::sys::{self, Kind, Socket};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

/// Largest packet handed on, in bytes. A longer one is dropped and counted as huge: RTP keeps below
/// the path's 1,500 bytes, since a fragment lost is a packet lost.
pub const PACKET_BYTES_MAX: usize = 2_048;

/// Most packets taken from one socket in a turn, so that one that is flooded does not hold up the
/// others.
const PACKETS_PER_SOCKET_MAX: u32 = 8;

/// How the sockets of a [`Media`] are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOptions {
    /// The addresses need not be on this machine yet (`IP_FREEBIND`): a standby is bound beforehand.
    pub freebind: bool,
    /// Room in the kernel for packets of one socket that were not yet received, in bytes, its own
    /// bookkeeping included. What the system's limit allows is used where that is less.
    pub receive_buffer_bytes: usize,
    /// The class of service that packets leave with (RFC 2474), 46 being Expedited Forwarding
    /// (RFC 3246); 0 leaves them unmarked.
    pub dscp: u8,
}

impl Default for MediaOptions {
    fn default() -> MediaOptions {
        MediaOptions {
            freebind: false,
            receive_buffer_bytes: 64 << 10,
            dscp: 46,
        }
    }
}

/// What one [`Media::turn`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Packets received and handed on.
    pub received: u32,
    /// Packets that the kernel took.
    pub sent: u32,
    /// Packets dropped because they were longer than [`PACKET_BYTES_MAX`].
    pub huge: u32,
    /// Packets lost because the kernel or the device had no room for them.
    pub congested: u32,
    /// Packets that could not be sent for another reason: no route, a packet filter, a socket that
    /// does not exist, an address of the other family.
    pub unsent: u32,
    /// [`Waker::wake`] was called: there is something in the queues that it stands for.
    pub woken: bool,
}

/// The media sockets of one thread.
pub struct Media {
    options: MediaOptions,
    poller: Poller,
    sockets: Vec<Socket>,
    room: Box<[u8; PACKET_BYTES_MAX]>,
}

impl Media {
    /// No sockets yet.
    ///
    /// # Errors
    /// The kernel gives no descriptors.
    pub fn new(options: MediaOptions) -> io::Result<Media> {
        Ok(Media {
            options,
            poller: Poller::new()?,
            sockets: Vec::new(),
            room: Box::new([0; PACKET_BYTES_MAX]),
        })
    }

    /// Opens a socket and binds it to `address`. Returns its index: 0, 1, 2… in the order of binding;
    /// an error takes none.
    ///
    /// # Errors
    /// `AddrInUse` when another program has the port, `AddrNotAvailable` when the machine has not the
    /// address, `InvalidInput` for a wildcard: a session description names one address.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<u32> {
        if address.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let index = u32::try_from(self.sockets.len())
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let socket = Socket::open(Kind::Datagram, address)?;
        let class = i32::from(self.options.dscp) << 2;
        if address.is_ipv6() {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?;
        } else {
            socket.set(libc::IPPROTO_IP, libc::IP_TOS, class)?;
        }
        if self.options.freebind {
            socket.set(libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
        }
        let halved = i32::try_from(self.options.receive_buffer_bytes / 2).unwrap_or(i32::MAX / 2);
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, halved)?;
        socket.bind(address)?;
        self.poller
            .add(&socket, Token(u64::from(index)), Interest::Readable)?;
        self.sockets.push(socket);
        Ok(index)
    }

    /// The address that socket `index` is bound to.
    ///
    /// # Errors
    /// `NotFound` when there is no such socket.
    pub fn local_address(&self, index: u32) -> io::Result<SocketAddr> {
        let socket = self.sockets.get(index as usize);
        socket
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .local_address()
    }

    /// A handle for other threads to end the wait of this one's [`turn`](Media::turn).
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// Waits, at most for `timeout`, for packets or a wake. Each packet received is handed to
    /// `each(socket, source, packet)`, which may change it and says from which socket and where to it
    /// goes on, if anywhere.
    ///
    /// # Errors
    /// The kernel refuses to wait; nothing that a peer does leads to one.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut each: impl FnMut(u32, SocketAddr, &mut [u8]) -> Option<(u32, SocketAddr)>,
    ) -> io::Result<Turn> {
        let mut turn = Turn::default();
        for ready in self.poller.wait(Some(timeout))? {
            if ready.token == Token::WAKER {
                turn.woken = true;
                continue;
            }
            let index = ready.token.0 as u32;
            let Some(socket) = self.sockets.get(index as usize) else {
                continue;
            };
            for _ in 0..PACKETS_PER_SOCKET_MAX {
                let Ok((length, source)) = sys::receive_from(socket.as_fd(), &mut self.room[..])
                else {
                    break;
                };
                let (Some(packet), Some(source)) = (self.room.get_mut(..length), source) else {
                    turn.huge += 1;
                    continue;
                };
                turn.received += 1;
                if let Some((from, destination)) = each(index, source, packet) {
                    send(&self.sockets, from, destination, packet, &mut turn);
                }
            }
        }
        Ok(turn)
    }
}

fn send(sockets: &[Socket], from: u32, destination: SocketAddr, packet: &[u8], turn: &mut Turn) {
    let socket = sockets.get(from as usize);
    match socket.map(|socket| sys::send_to(socket.as_fd(), packet, destination)) {
        Some(Ok(())) => turn.sent += 1,
        Some(Err(error))
            if matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
            ) =>
        {
            turn.congested += 1;
        }
        _ => turn.unsent += 1,
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("sockets", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
