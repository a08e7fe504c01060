//! Asking a link whether somebody has an address already (RFC 5227 section 2.1, RFC 4862 section 5.4).
//!
//! An answer is told before the first claim of a service, when no member of it can be the one that answers. Later it says
//! little: an owner that is being replaced may still answer.

use super::frame::{self, Mac};
use super::{AddressError, Interface, Step};
use crate::sys::PacketSocket;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// When to ask after the beginning, in milliseconds. Far shorter than RFC 5227's seconds, which are made for hosts
/// that come up all at once.
pub const PROBE_AFTER_MS: [u64; 3] = [0, 100, 250];
/// How long to wait for answers altogether, in milliseconds.
pub const PROBE_TOTAL_MS: u64 = 500;
/// How often [`who_uses`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Most frames looked at in one [`Probe::answer`].
const FRAMES_MAX: usize = 256;
/// As much of a frame as is looked at.
const FRAME_BYTES: usize = 128;

/// A question to a link.
#[derive(Debug)]
pub struct Probe {
    address: IpAddr,
    interface: Interface,
    own: Mac,
    socket: PacketSocket,
}

impl Probe {
    /// Makes ready to ask for `address` on `interface`.
    ///
    /// # Errors
    /// [`AddressError::NotEthernet`], or the kernel gives no such socket (it takes `CAP_NET_RAW`).
    pub fn open(address: IpAddr, interface: &Interface) -> Result<Probe, AddressError> {
        let own = interface.mac.ok_or_else(|| AddressError::NotEthernet {
            interface: interface.name.clone(),
        })?;
        let (protocol, filter) = match address {
            IpAddr::V4(_) => (frame::ARP, Vec::new()),
            IpAddr::V6(_) => (frame::IPV6, advertisements_only()),
        };
        let socket = PacketSocket::open(interface.index, Some(protocol), &filter)
            .map_err(|error| AddressError::kernel(Step::OpenPackets, &interface.name, error))?;
        Ok(Probe {
            address,
            interface: interface.clone(),
            own,
            socket,
        })
    }

    /// Asks once; to be done at the times of [`PROBE_AFTER_MS`].
    ///
    /// # Errors
    /// The kernel refuses, as for an interface that is down.
    pub fn ask(&self) -> Result<(), AddressError> {
        self.socket
            .send(&frame::probe(self.address, self.own))
            .map_err(|error| self.failed(error))
    }

    /// Who else has the address, by what has come so far. Does not wait.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answer(&self) -> Result<Option<Mac>, AddressError> {
        let mut room = [0; FRAME_BYTES];
        for _ in 0..FRAMES_MAX {
            match self.socket.receive(&mut room) {
                Ok(length) => {
                    let holder = frame::holder(self.address, &room[..length]);
                    if let Some(mac) = holder.filter(|mac| *mac != self.own) {
                        return Ok(Some(mac));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(None)
    }

    /// The error that says who has the address.
    pub fn in_use(&self, by: Mac) -> AddressError {
        AddressError::InUse {
            address: self.address,
            by,
            interface: self.interface.name.clone(),
        }
    }

    fn failed(&self, error: io::Error) -> AddressError {
        let subject = format!("{} on {}", self.address, self.interface.name);
        AddressError::kernel(Step::Probe, subject, error)
    }
}

/// Asks for `address` on `interface` and waits: at most [`PROBE_TOTAL_MS`], for somebody who has it already. For the
/// start of a node; it blocks.
///
/// # Errors
/// As those of [`Probe`].
pub fn who_uses(address: IpAddr, interface: &Interface) -> Result<Option<Mac>, AddressError> {
    let probe = Probe::open(address, interface)?;
    let began = Instant::now();
    let mut due = PROBE_AFTER_MS.iter().peekable();
    while began.elapsed() < Duration::from_millis(PROBE_TOTAL_MS) {
        if due
            .next_if(|at| began.elapsed() >= Duration::from_millis(**at))
            .is_some()
        {
            probe.ask()?;
        }
        if let Some(mac) = probe.answer()? {
            return Ok(Some(mac));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

/// Lets only neighbour advertisements come, so that the probe does not see all IPv6 of a busy link.
fn advertisements_only() -> Vec<libc::sock_filter> {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let instruction = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    vec![
        instruction(LOAD_BYTE, frame::ETHERNET_BYTES as u32 + 6, 0, 0),
        instruction(JUMP_IF_EQUAL, 58, 0, 3),
        instruction(LOAD_BYTE, frame::ETHERNET_BYTES as u32 + 40, 0, 0),
        instruction(JUMP_IF_EQUAL, 136, 0, 1),
        instruction(RETURN, FRAME_BYTES as u32, 0, 0),
        instruction(RETURN, 0, 0, 0),
    ]
}
