//! Telling the neighbours.

use super::frame::announcements;
use super::{AddressError, Interface, Step};
use crate::sys::PacketSocket;
use std::net::IpAddr;

/// When to announce an address after it was added, in milliseconds: at once, and again since frames are lost and
/// ports of switches take a while to open. 10 ms is for who asks for an IPv6 address in the moment of its coming, to which the
/// kernel does not listen yet: he would ask again after a second.
pub const ANNOUNCE_AFTER_MS: [u64; 7] = [0, 10, 50, 200, 1_000, 3_000, 10_000];

/// Says on a link that an address is here: gratuitous ARP, or an unsolicited neighbour advertisement.
#[derive(Debug)]
pub struct Announcer {
    address: IpAddr,
    interface: Interface,
    socket: PacketSocket,
    frames: Vec<Vec<u8>>,
}

impl Announcer {
    /// Makes ready to announce `address` on `interface`.
    ///
    /// # Errors
    /// [`AddressError::NotEthernet`], or the kernel gives no such socket (it takes `CAP_NET_RAW`).
    pub fn open(address: IpAddr, interface: &Interface) -> Result<Announcer, AddressError> {
        let mac = interface.mac.ok_or_else(|| AddressError::NotEthernet {
            interface: interface.name.clone(),
        })?;
        let socket = PacketSocket::open(interface.index, None, &[])
            .map_err(|error| AddressError::kernel(Step::OpenPackets, &interface.name, error))?;
        Ok(Announcer {
            address,
            interface: interface.clone(),
            socket,
            frames: announcements(address, mac),
        })
    }

    /// The interface as it was when this was opened.
    pub(super) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Announces it once.
    ///
    /// # Errors
    /// The kernel refuses, as for an interface that is down.
    pub fn announce(&self) -> Result<(), AddressError> {
        for frame in &self.frames {
            self.socket.send(frame).map_err(|error| {
                let subject = format!("{} on {}", self.address, self.interface.name);
                AddressError::kernel(Step::Announce, subject, error)
            })?;
        }
        Ok(())
    }
}
