//! Sockets that send and receive many packets a system call, and learn from the kernel when a
//! packet came, so that a receiver that is late does not count as a relay that is.

use super::super::error::Error;
use super::packet::PACKET_BYTES;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
};
use nix::sys::time::TimeSpec;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// Packets a system call.
pub(crate) const BATCH: usize = 64;
/// Room for a quarter of a second of a thousand calls, kernel's bookkeeping included.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// Room for a packet that is longer than it should be.
const SLOT_BYTES: usize = 256;

/// A socket of the load generator, which many calls share.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: UdpSocket,
    outgoing: Vec<[u8; PACKET_BYTES]>,
    destinations: Vec<Option<SockaddrIn>>,
    send_headers: MultiHeaders<SockaddrIn>,
    incoming: Vec<[u8; SLOT_BYTES]>,
    receive_headers: MultiHeaders<SockaddrIn>,
    /// Packets that the kernel refused to send.
    pub(crate) refused: u64,
}

/// A packet that arrived.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) source: SocketAddrV4,
    /// When the kernel had it, in nanoseconds since 1970.
    pub(crate) at_ns: u64,
}

impl Wire {
    /// Binds the address.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn bind(address: SocketAddrV4) -> Result<Self, Error> {
        let doing = "binding a socket of the load generator";
        let socket = UdpSocket::bind(address).map_err(Error::io(doing))?;
        socket.set_nonblocking(true).map_err(Error::io(doing))?;
        let refused = |errno: Errno| Error::io(doing)(errno.into());
        setsockopt(&socket, ReceiveTimestampns, &true).map_err(refused)?;
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER_BYTES))
            .map_err(refused)?;
        Ok(Self {
            socket,
            outgoing: Vec::with_capacity(BATCH),
            destinations: Vec::with_capacity(BATCH),
            send_headers: MultiHeaders::preallocate(BATCH, None),
            incoming: vec![[0; SLOT_BYTES]; BATCH],
            receive_headers: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec))),
            refused: 0,
        })
    }

    /// Adds a packet to the batch, which is sent when it is full.
    pub(crate) fn push(&mut self, packet: &[u8; PACKET_BYTES], destination: SocketAddrV4) {
        self.outgoing.push(*packet);
        self.destinations.push(Some(SockaddrIn::from(destination)));
        if self.outgoing.len() == BATCH {
            self.flush();
        }
    }

    /// Sends what is in the batch.
    pub(crate) fn flush(&mut self) {
        let mut next = 0;
        while next < self.outgoing.len() {
            let slices: Vec<[IoSlice<'_>; 1]> = self.outgoing[next..]
                .iter()
                .map(|packet| [IoSlice::new(packet)])
                .collect();
            let sent = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.send_headers,
                &slices,
                &self.destinations[next..],
                [],
                MsgFlags::empty(),
            );
            match sent.map(Iterator::count) {
                Ok(count) if count > 0 => next += count,
                Err(Errno::EINTR) => {}
                // An ICMP error is about a packet sent earlier, which the receiver will miss;
                // a refusal is about the one at hand.
                Err(Errno::ECONNREFUSED) => {}
                _ => {
                    self.refused += 1;
                    next += 1;
                }
            }
        }
        self.outgoing.clear();
        self.destinations.clear();
    }

    /// Shows every packet that has arrived to `each`.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&Arrival<'_>)) -> Result<(), Error> {
        loop {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
                .incoming
                .iter_mut()
                .map(|slot| [IoSliceMut::new(slot)])
                .collect();
            let received = recvmmsg(
                self.socket.as_raw_fd(),
                &mut self.receive_headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            let mut count = 0;
            match received {
                Ok(messages) => {
                    for message in messages {
                        count += 1;
                        let stamp = message.cmsgs().ok().and_then(|mut all| {
                            all.find_map(|one| match one {
                                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                                _ => None,
                            })
                        });
                        let Some((time, address)) = stamp.zip(message.address) else {
                            continue;
                        };
                        each(&Arrival {
                            bytes: message.iovs().next().unwrap_or_default(),
                            source: address.into(),
                            at_ns: nanoseconds(time),
                        });
                    }
                }
                Err(Errno::EAGAIN) => {}
                Err(Errno::EINTR | Errno::ECONNREFUSED) => continue,
                Err(errno) => {
                    return Err(Error::io("receiving packets")(io::Error::from(errno)));
                }
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}
