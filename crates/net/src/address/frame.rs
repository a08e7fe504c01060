//! The frames by which neighbours ask and tell where an address is: ARP (RFC 826, 5227) and neighbour
//! discovery (RFC 4861).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The Ethernet protocol of ARP.
pub(super) const ARP: u16 = 0x0806;
/// The Ethernet protocol of IPv6.
pub(super) const IPV6: u16 = 0x86DD;
/// Bytes of a frame's header.
pub(super) const ETHERNET_BYTES: usize = 14;
/// Bytes of an ARP packet for IPv4 on Ethernet.
const ARP_BYTES: usize = 28;
/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;
/// Bytes of a neighbour solicitation or advertisement up to its options.
const NEIGHBOUR_BYTES: usize = 24;
/// ICMPv6's number, and its types (RFC 4861 sections 4.3 and 4.4).
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The advertisement is to replace what is known (RFC 4861 section 4.4).
const OVERRIDE: u8 = 0x20;
/// Options with an address on the link (RFC 4861 section 4.6.1).
const TARGET_LINK_ADDRESS: u8 = 2;
/// Neighbour discovery counts only with this hop limit: it crossed no router (RFC 4861 section 7.1).
const HOPS: u8 = 255;

/// An address on an Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub(super) const BROADCAST: Mac = Mac([255; 6]);
    const NOBODY: Mac = Mac([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What an ARP packet says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Request,
    Reply,
}

/// The frames that tell a link that `address` is at `mac` now. ARP is said twice, as a request and as a reply, since some
/// heed only one of them (RFC 5227 section 3 recommends the request).
pub(super) fn announcements(address: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(ip) => vec![
            arp(Operation::Request, (mac, ip), (Mac::NOBODY, ip)),
            arp(Operation::Reply, (mac, ip), (Mac::BROADCAST, ip)),
        ],
        IpAddr::V6(ip) => vec![advertisement(ip, mac)],
    }
}

/// The frame that asks a link who has `address`, without claiming it (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2).
pub(super) fn probe(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => arp(
            Operation::Request,
            (mac, Ipv4Addr::UNSPECIFIED),
            (Mac::NOBODY, ip),
        ),
        IpAddr::V6(ip) => solicitation(ip, mac),
    }
}

/// Who, by this frame, has `address`: the sender of ARP from it, or of an advertisement of it.
pub(super) fn holder(address: IpAddr, frame: &[u8]) -> Option<Mac> {
    let ethernet: &[u8; ETHERNET_BYTES] = frame.first_chunk()?;
    let sender = Mac(*ethernet[6..].first_chunk()?);
    let protocol = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let packet = &frame[ETHERNET_BYTES..];
    match address {
        IpAddr::V4(ip) if protocol == ARP => {
            let packet: &[u8; ARP_BYTES] = packet.first_chunk()?;
            let is_ours = packet[..6] == [0, 1, 8, 0, 6, 4] && packet[14..18] == ip.octets();
            is_ours.then(|| {
                Mac([
                    packet[8], packet[9], packet[10], packet[11], packet[12], packet[13],
                ])
            })
        }
        IpAddr::V6(ip) if protocol == IPV6 => {
            let packet: &[u8; IPV6_BYTES + NEIGHBOUR_BYTES] = packet.first_chunk()?;
            let is_ours = packet[6] == ICMPV6
                && packet[7] == HOPS
                && packet[IPV6_BYTES] == ADVERTISEMENT
                && packet[IPV6_BYTES + 8..] == ip.octets();
            is_ours.then_some(sender)
        }
        _ => None,
    }
}

fn arp(operation: Operation, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + ARP_BYTES);
    ethernet(&mut frame, Mac::BROADCAST, sender.0, ARP);
    // Ethernet, IPv4, and the lengths of their addresses.
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(match operation {
        Operation::Request => &[0, 1],
        Operation::Reply => &[0, 2],
    });
    for (mac, ip) in [sender, target] {
        frame.extend_from_slice(&mac.0);
        frame.extend_from_slice(&ip.octets());
    }
    frame
}

/// Unsolicited, to all nodes, with the override flag (RFC 4861 section 7.2.6).
fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&address.octets());
    message.extend_from_slice(&[TARGET_LINK_ADDRESS, 1]);
    message.extend_from_slice(&mac.0);
    neighbour_discovery(mac, address, all_nodes, message)
}

fn solicitation(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&address.octets());
    neighbour_discovery(mac, Ipv6Addr::UNSPECIFIED, solicited_node(address), message)
}

/// The group that the holders of `address` listen to (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

fn neighbour_discovery(
    mac: Mac,
    source: Ipv6Addr,
    group: Ipv6Addr,
    mut message: Vec<u8>,
) -> Vec<u8> {
    let sum = checksum(source, group, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + IPV6_BYTES + message.len());
    // How groups are addressed on Ethernet (RFC 2464 section 7).
    let [.., a, b, c, d] = group.octets();
    ethernet(&mut frame, Mac([0x33, 0x33, a, b, c, d]), mac, IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&(message.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[ICMPV6, HOPS]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&group.octets());
    frame.extend_from_slice(&message);
    frame
}

fn ethernet(frame: &mut Vec<u8>, to: Mac, from: Mac, protocol: u16) {
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&protocol.to_be_bytes());
}

/// ICMPv6's checksum, over the addresses too (RFC 4443 section 2.3). The message has an even length.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum()
    };
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(message);
    sum += message.len() as u32 + u32::from(ICMPV6);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
