//! Interfaces of this machine.

use super::frame::Mac;
use super::netlink::{Channel, Messages, attributes, text_of};
use super::{AddressError, Step};
use crate::sys::Protocol;
use std::io;

/// Bytes of `struct ifinfomsg`.
const LINK_BYTES: usize = 16;
/// What an Ethernet calls itself, and what is made to look like one (`ARPHRD_ETHER`).
const ETHERNET: u16 = 1;
/// A name has fewer bytes (`IFNAMSIZ`).
const NAME_BYTES_END: usize = 16;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `ip link` shows it.
    pub name: String,
    /// The kernel's number of it.
    pub index: u32,
    /// Its address on the link, where it is an Ethernet.
    pub mac: Option<Mac>,
    /// It is the machine's own loop.
    pub loopback: bool,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// [`AddressError::NoInterface`], or the kernel's.
    pub fn named(name: &str) -> Result<Interface, AddressError> {
        let mut channel = route_channel()?;
        Interface::find(&mut channel, name)
    }

    /// All interfaces of this machine (of this network namespace).
    pub(super) fn all(channel: &mut Channel) -> Result<Vec<Interface>, AddressError> {
        let mut request = Messages::default();
        request.message(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK_BYTES]);
        let mut all = Vec::new();
        channel
            .ask(&request, |kind, body| {
                if kind == libc::RTM_NEWLINK {
                    all.extend(decode(body));
                }
            })
            .map_err(|error| AddressError::kernel(Step::FindInterface, "all", error))?;
        Ok(all)
    }

    pub(super) fn find(channel: &mut Channel, name: &str) -> Result<Interface, AddressError> {
        let none = || AddressError::NoInterface {
            interface: name.to_owned(),
        };
        if name.is_empty() || name.len() >= NAME_BYTES_END {
            return Err(none());
        }
        let mut request = Messages::default();
        request
            .message(libc::RTM_GETLINK, 0, &[0; LINK_BYTES])
            .text(libc::IFLA_IFNAME, name);
        let mut found = None;
        let asked = channel.ask(&request, |kind, body| {
            if kind == libc::RTM_NEWLINK {
                found = decode(body);
            }
        });
        match asked {
            Ok(()) => found.ok_or_else(none),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(none()),
            Err(error) => Err(AddressError::kernel(Step::FindInterface, name, error)),
        }
    }
}

/// A socket for questions about interfaces and addresses.
pub(super) fn route_channel() -> Result<Channel, AddressError> {
    Channel::open(Protocol::Route)
        .map_err(|error: io::Error| AddressError::kernel(Step::OpenNetlink, "rtnetlink", error))
}

fn decode(body: &[u8]) -> Option<Interface> {
    let kind = u16::from_ne_bytes(*body.get(2..)?.first_chunk()?);
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (mut name, mut mac) = (None, None);
    for (attribute, value) in attributes(body.get(LINK_BYTES..)?) {
        match attribute {
            libc::IFLA_IFNAME => name = Some(text_of(value).to_owned()),
            libc::IFLA_ADDRESS if kind == ETHERNET => {
                mac = <[u8; 6]>::try_from(value).ok().map(Mac);
            }
            _ => {}
        }
    }
    Some(Interface {
        name: name?,
        index,
        mac,
        loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
    })
}
