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
use std::thread;
use std::time::{Duration, Instant};

/// Largest packet handed on, in bytes. A longer one is dropped and counted as huge: RTP keeps below
/// the path's 1,500 bytes, since a fragment lost is a packet lost.
pub const PACKET_BYTES_MAX: usize = 2_048;

/// Most packets handled in one [`Media::turn`]; the others come with the next. It bounds the time
/// until the caller looks at its inbox and its timers, to some milliseconds.
pub const PACKETS_PER_TURN_MAX: u32 = 2_048;

/// Most sockets that one look at the kernel's list of ready ones brings.
const EVENTS_MAX: usize = 512;

/// So many packets in one turn make the next one let packets gather. With fewer, sleeping twice, until
/// the end of the delay and until the next packet, costs more than it saves.
const GATHER_FROM: u32 = 2;

/// Shorter sleeps are left out: going to sleep and waking costs about as much.
const SLEEP_MIN: Duration = Duration::from_micros(50);

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
    /// Longest time that a packet may wait so that others come together with it, where there are
    /// many. Zero lets every packet wake the thread. What it costs and saves is in decision 0012.
    pub delay_max: Duration,
}

impl Default for MediaOptions {
    fn default() -> MediaOptions {
        MediaOptions {
            freebind: false,
            receive_buffer_bytes: 64 << 10,
            dscp: 46,
            delay_max: Duration::from_micros(1_500),
        }
    }
}

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The kernel took it.
    Taken,
    /// The kernel or the device has no room.
    Congested,
    /// No route, a packet filter, a socket that does not exist, an address of the other family.
    Refused,
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
    /// Packets that the kernel dropped because a socket's buffer was full, as far as noticed in this
    /// turn: each turn asks one socket, so the news may be some seconds old.
    pub overflowed: u32,
    /// [`Waker::wake`] was called: there is something in the queues that it stands for.
    pub woken: bool,
}

/// A bound socket, or the place of one.
struct Port {
    /// None until a reserved one is opened.
    socket: Option<Socket>,
    address: SocketAddr,
    /// Drops of the kernel that were reported already.
    overflowed: u32,
}

/// Lets the calling thread go before others of the machine, which sound needs that is due each 20 ms.
///
/// # Errors
/// The process may not (it takes `CAP_SYS_NICE`, or `LimitNICE=` in the unit); all goes on as before.
pub fn raise_priority() -> io::Result<()> {
    crate::priority::often()
}

/// The media sockets of one thread.
pub struct Media {
    options: MediaOptions,
    poller: Poller,
    ports: Vec<Port>,
    room: Box<[u8; PACKET_BYTES_MAX]>,
    /// When the last turn began to handle packets.
    began: Instant,
    /// How long that took.
    busy: Duration,
    /// It brought so many packets that letting them gather pays.
    gathers: bool,
    /// The socket whose drops are asked for next.
    asked: usize,
}

impl Media {
    /// No sockets yet.
    ///
    /// # Errors
    /// The kernel gives no descriptors.
    pub fn new(options: MediaOptions) -> io::Result<Media> {
        Ok(Media {
            options,
            poller: Poller::with_events(EVENTS_MAX)?,
            ports: Vec::new(),
            room: Box::new([0; PACKET_BYTES_MAX]),
            began: Instant::now(),
            busy: Duration::ZERO,
            gathers: false,
            asked: 0,
        })
    }

    /// Opens a socket and binds it to `address`. Returns its index: 0, 1, 2… in the order of binding;
    /// an error takes none.
    ///
    /// # Errors
    /// `AddrInUse` when another program has the port, `AddrNotAvailable` when the machine has not the
    /// address, `InvalidInput` for a wildcard: a session description names one address.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<u32> {
        let index = self.reserve(address)?;
        match self.open_one(index) {
            Ok(()) => Ok(index),
            Err(error) => {
                self.ports.pop();
                Err(error)
            }
        }
    }

    /// Keeps a place for a socket at `address` and returns its index, as [`bind`](Media::bind) does. Nothing comes there, and
    /// nothing leaves from there, until [`open`](Media::open): for addresses that are another process's by turns.
    ///
    /// # Errors
    /// `InvalidInput` for a wildcard.
    pub fn reserve(&mut self, address: SocketAddr) -> io::Result<u32> {
        if address.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let index = u32::try_from(self.ports.len())
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.ports.push(Port {
            socket: None,
            address,
            overflowed: 0,
        });
        Ok(index)
    }

    /// Opens all sockets that are not open, as many of them as can be had.
    ///
    /// # Errors
    /// As [`bind`](Media::bind), of the last one that could not be opened; it may be tried again.
    pub fn open(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for index in 0..self.ports.len() as u32 {
            if let Err(error) = self.open_one(index) {
                result = Err(error);
            }
        }
        result
    }

    /// Closes all sockets; their places stay.
    pub fn close(&mut self) {
        for port in &mut self.ports {
            // Closing takes it from the poller, too.
            port.socket = None;
            port.overflowed = 0;
        }
    }

    fn open_one(&mut self, index: u32) -> io::Result<()> {
        let Some(port) = self.ports.get_mut(index as usize) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        if port.socket.is_some() {
            return Ok(());
        }
        let address = port.address;
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
        port.socket = Some(socket);
        Ok(())
    }

    /// The address that socket `index` is bound to.
    ///
    /// # Errors
    /// `NotFound` when there is no such socket, or it is not open.
    pub fn local_address(&self, index: u32) -> io::Result<SocketAddr> {
        let port = self.ports.get(index as usize);
        port.and_then(|port| port.socket.as_ref())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .local_address()
    }

    /// A handle for other threads to end the wait of this one's [`turn`](Media::turn).
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// Waits, at most for `timeout`, for packets or a wake. Each packet received is handed to
    /// `each(socket, source, packet)`, which may change it and says from which socket and where to it
    /// goes on, if anywhere. At most [`PACKETS_PER_TURN_MAX`] packets, and of each socket one after all
    /// others that are ready had one.
    ///
    /// Where there are many packets, the turn first sleeps until they have gathered
    /// ([`MediaOptions::delay_max`]); a wake is then noticed at the end of that sleep.
    ///
    /// # Errors
    /// The kernel refuses to wait; nothing that a peer does leads to one.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut each: impl FnMut(u32, SocketAddr, &mut [u8]) -> Option<(u32, SocketAddr)>,
    ) -> io::Result<Turn> {
        let mut turn = Turn::default();
        let slept = self.gather(timeout);
        let mut wait = timeout.saturating_sub(slept);
        let (mut began, mut handled) = (None, 0);
        while handled < PACKETS_PER_TURN_MAX {
            let ready = self.poller.wait(Some(wait))?;
            if ready.is_empty() {
                break;
            }
            // What is left of a burst, and what comes meanwhile, is found by looking again.
            wait = Duration::ZERO;
            began.get_or_insert_with(Instant::now);
            for ready in ready {
                if ready.token == Token::WAKER {
                    turn.woken = true;
                } else if handled < PACKETS_PER_TURN_MAX {
                    let index = ready.token.0 as u32;
                    relay_one(&self.ports, index, &mut self.room[..], &mut turn, &mut each);
                    handled += 1;
                }
            }
        }
        self.began = began.unwrap_or_else(Instant::now);
        self.busy = self.began.elapsed();
        self.gathers = handled >= GATHER_FROM;
        turn.overflowed = self.ask_for_drops();
        Ok(turn)
    }

    /// Sends a packet of one's own from socket `index`, without waiting.
    pub fn send(&self, index: u32, packet: &[u8], destination: SocketAddr) -> Sent {
        send(&self.ports, index, packet, destination)
    }

    /// Sleeps while packets gather, if there are many; returns for how long. A packet that just missed
    /// the last turn waits for the start of this one and then, at worst, for all others: so turns
    /// begin the delay less the work of a turn apart.
    fn gather(&self, timeout: Duration) -> Duration {
        if !self.gathers {
            return Duration::ZERO;
        }
        let apart = self.options.delay_max.saturating_sub(self.busy);
        let rest = apart.saturating_sub(self.began.elapsed()).min(timeout);
        if rest < SLEEP_MIN {
            return Duration::ZERO;
        }
        thread::sleep(rest);
        rest
    }

    /// The packets that the kernel dropped on one socket since it was last asked.
    fn ask_for_drops(&mut self) -> u32 {
        self.asked += 1;
        if self.asked >= self.ports.len() {
            self.asked = 0;
        }
        let Some(port) = self.ports.get_mut(self.asked) else {
            return 0;
        };
        let Some(socket) = &port.socket else {
            return 0;
        };
        let drops = socket.drops().unwrap_or(port.overflowed);
        let since = drops.wrapping_sub(port.overflowed);
        port.overflowed = drops;
        since
    }
}

/// Receives one packet on socket `index`, asks `each` and sends it on.
fn relay_one(
    ports: &[Port],
    index: u32,
    room: &mut [u8],
    turn: &mut Turn,
    each: &mut impl FnMut(u32, SocketAddr, &mut [u8]) -> Option<(u32, SocketAddr)>,
) {
    let Some(socket) = ports
        .get(index as usize)
        .and_then(|port| port.socket.as_ref())
    else {
        return;
    };
    let (length, source) = match sys::receive_from(socket.as_fd(), room) {
        Ok((length, Some(source))) => (length, source),
        // Nothing there after all (a wrong checksum, say).
        _ => return,
    };
    let Some(packet) = room.get_mut(..length) else {
        turn.huge += 1;
        return;
    };
    turn.received += 1;
    let Some((from, destination)) = each(index, source, packet) else {
        return;
    };
    match send(ports, from, packet, destination) {
        Sent::Taken => turn.sent += 1,
        Sent::Congested => turn.congested += 1,
        Sent::Refused => turn.unsent += 1,
    }
}

fn send(ports: &[Port], from: u32, packet: &[u8], destination: SocketAddr) -> Sent {
    let Some(socket) = ports
        .get(from as usize)
        .and_then(|port| port.socket.as_ref())
    else {
        return Sent::Refused;
    };
    match sys::send_to(socket.as_fd(), packet, destination) {
        Ok(()) => Sent::Taken,
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Sent::Congested,
            _ => Sent::Refused,
        },
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("ports", &self.ports.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
