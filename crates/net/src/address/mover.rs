//! Ways of moving an address.

use super::interface::route_channel;
use super::netlink::{Channel, Messages, attributes};
use super::{AddressError, Announcer, ExecMover, Interface, Step};
use crate::clock::Boottime;
use std::io;
use std::net::IpAddr;

/// It is not asked of the neighbours whether they have it: the coordinator has said who has.
const NO_DUPLICATE_DETECTION: u32 = libc::IFA_F_NODAD;

/// Bytes of `struct ifaddrmsg`.
const ADDRESS_BYTES: usize = 8;

/// Whether a move is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is.
    Done,
    /// The operator's program runs: [`Mover::poll`] says more.
    UnderWay,
}

/// How the address of a service comes to this machine and leaves it.
#[derive(Debug)]
pub enum Mover {
    /// By the kernel's own interface.
    Netlink(NetlinkMover),
    /// It is local to all members, as on loopback: nothing is to be done.
    None,
    /// By a program of the operator's.
    Exec(ExecMover),
}

impl Mover {
    /// Brings the address here. It is not an error if it is here already.
    ///
    /// # Errors
    /// The kernel refuses, the interface is not there, the program cannot be started.
    pub fn add(&mut self, now: Boottime) -> Result<Progress, AddressError> {
        match self {
            Mover::Netlink(mover) => mover.add().map(|()| Progress::Done),
            Mover::None => Ok(Progress::Done),
            Mover::Exec(mover) => mover.begin(true, now),
        }
    }

    /// Takes the address away, also what an earlier life of the process left. It is not an error if it is not here.
    ///
    /// # Errors
    /// As those of [`Mover::add`].
    pub fn remove(&mut self, now: Boottime) -> Result<Progress, AddressError> {
        match self {
            Mover::Netlink(mover) => mover.remove().map(|()| Progress::Done),
            Mover::None => Ok(Progress::Done),
            Mover::Exec(mover) => mover.begin(false, now),
        }
    }

    /// Looks after the operator's program: to be called every few milliseconds while it is under way.
    ///
    /// # Errors
    /// The program failed or took too long.
    pub fn poll(&mut self, now: Boottime) -> Result<Progress, AddressError> {
        match self {
            Mover::Netlink(_) | Mover::None => Ok(Progress::Done),
            Mover::Exec(mover) => mover.poll(now),
        }
    }

    /// Announces the address once, where this is the way to move it: to be done at the times of
    /// [`super::ANNOUNCE_AFTER_MS`] after it was added.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn announce(&mut self) -> Result<(), AddressError> {
        match self {
            Mover::Netlink(mover) => mover.announce(),
            Mover::None | Mover::Exec(_) => Ok(()),
        }
    }
}

/// Adds and removes an address of an interface by rtnetlink, and announces it by ARP or neighbour discovery.
///
/// The address has a prefix of its full length unless another is given, so that it becomes nobody's
/// source address but that of sockets bound to it; an IPv6 address is deprecated for the same end (RFC 6724 rule 3).
#[derive(Debug)]
pub struct NetlinkMover {
    address: IpAddr,
    prefix_bits: u8,
    interface: String,
    channel: Channel,
    /// As of the last time that the interface was looked up; none where it is no Ethernet.
    announcer: Option<Announcer>,
}

impl NetlinkMover {
    /// For `address` on the interface of this name, which is looked up now and at each [`Mover::add`].
    ///
    /// # Errors
    /// The interface is not there, the prefix does not fit, or the kernel gives no sockets.
    pub fn new(
        address: IpAddr,
        prefix_bits: Option<u8>,
        interface: &str,
    ) -> Result<NetlinkMover, AddressError> {
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix_bits.unwrap_or(bits_max);
        if prefix_bits > bits_max {
            return Err(AddressError::PrefixTooLong {
                address,
                prefix_bits,
            });
        }
        let mut mover = NetlinkMover {
            address,
            prefix_bits,
            ..NetlinkMover::to_remove(address, interface)?
        };
        mover.look_up()?;
        Ok(mover)
    }

    /// One that only takes the address away, for who cannot wait: it opens nothing that announces, which the kernel may take
    /// some hundred milliseconds to close.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn to_remove(address: IpAddr, interface: &str) -> Result<NetlinkMover, AddressError> {
        Ok(NetlinkMover {
            address,
            prefix_bits: if address.is_ipv4() { 32 } else { 128 },
            interface: interface.to_owned(),
            channel: route_channel()?,
            announcer: None,
        })
    }

    /// Finds the interface, which may be another one than before, or have another address on the link.
    fn look_up(&mut self) -> Result<Interface, AddressError> {
        let interface = Interface::find(&mut self.channel, &self.interface)?;
        let known = self.announcer.as_ref().map(Announcer::interface);
        if known != Some(&interface) {
            self.announcer = match interface.mac {
                Some(_) => Some(Announcer::open(self.address, &interface)?),
                None => None,
            };
        }
        Ok(interface)
    }

    fn add(&mut self) -> Result<(), AddressError> {
        let interface = self.look_up()?;
        let mut request = Messages::default();
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE | libc::NLM_F_ACK;
        let prefix_bits = self.prefix_bits;
        self.describe(
            &mut request,
            libc::RTM_NEWADDR,
            flags,
            &interface,
            prefix_bits,
        );
        request.attribute(libc::IFA_ADDRESS, &octets(self.address));
        request.attribute(libc::IFA_FLAGS, &NO_DUPLICATE_DETECTION.to_ne_bytes());
        if self.address.is_ipv6() {
            // Preferred for no time, valid for ever; the kernel fills in the rest (`struct ifa_cacheinfo`).
            let mut lifetimes = [0; 16];
            lifetimes[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
            request.attribute(libc::IFA_CACHEINFO, &lifetimes);
        }
        match self.channel.request(&request) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(self.failed(Step::AddAddress, error))
            }
            _ => Ok(()),
        }
    }

    fn remove(&mut self) -> Result<(), AddressError> {
        let interface = match Interface::find(&mut self.channel, &self.interface) {
            Ok(interface) => interface,
            // What is not there has no address.
            Err(AddressError::NoInterface { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for prefix_bits in self.prefixes_on(&interface)? {
            let mut request = Messages::default();
            let flags = libc::NLM_F_ACK;
            self.describe(
                &mut request,
                libc::RTM_DELADDR,
                flags,
                &interface,
                prefix_bits,
            );
            match self.channel.request(&request) {
                Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                    return Err(self.failed(Step::RemoveAddress, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The lengths of the prefixes with which the interface has the address: also another than ours, which somebody has
    /// configured, and with which it would have stayed.
    fn prefixes_on(&mut self, interface: &Interface) -> Result<Vec<u8>, AddressError> {
        let mut request = Messages::default();
        let mut body = [0; ADDRESS_BYTES];
        body[0] = self.family();
        request.message(libc::RTM_GETADDR, libc::NLM_F_DUMP, &body);
        let octets = octets(self.address);
        let mut prefixes = Vec::new();
        let asked = self.channel.ask(&request, |kind, body| {
            let Some((head, rest)) = body.split_first_chunk::<ADDRESS_BYTES>() else {
                return;
            };
            let is_there = kind == libc::RTM_NEWADDR
                && head[4..] == interface.index.to_ne_bytes()
                // A point-to-point link has the peer's in the other.
                && attributes(rest)
                    .find(|(kind, _)| *kind == libc::IFA_LOCAL)
                    .or_else(|| attributes(rest).find(|(kind, _)| *kind == libc::IFA_ADDRESS))
                    .is_some_and(|(_, value)| value == octets);
            if is_there {
                prefixes.push(head[1]);
            }
        });
        asked.map_err(|error| self.failed(Step::RemoveAddress, error))?;
        Ok(prefixes)
    }

    fn announce(&self) -> Result<(), AddressError> {
        match &self.announcer {
            Some(announcer) => announcer.announce(),
            None => Ok(()),
        }
    }

    /// The message that names the address and the interface (`struct ifaddrmsg`).
    fn describe(
        &self,
        request: &mut Messages,
        kind: u16,
        flags: i32,
        interface: &Interface,
        prefix_bits: u8,
    ) {
        let scope = if interface.loopback {
            libc::RT_SCOPE_HOST
        } else {
            libc::RT_SCOPE_UNIVERSE
        };
        let mut body = [0; ADDRESS_BYTES];
        body[..4].copy_from_slice(&[self.family(), prefix_bits, 0, scope]);
        body[4..].copy_from_slice(&interface.index.to_ne_bytes());
        let octets = octets(self.address);
        request
            .message(kind, flags, &body)
            .attribute(libc::IFA_LOCAL, &octets);
    }

    fn family(&self) -> u8 {
        let family = if self.address.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        family as u8
    }

    fn failed(&self, step: Step, error: io::Error) -> AddressError {
        AddressError::kernel(
            step,
            format!("{} on {}", self.address, self.interface),
            error,
        )
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
