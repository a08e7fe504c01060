//! The cookie that our Record-Route carries.
//!
//! It says where the two ends of the dialog are, for those whose Contact does not (behind NAT, or on a
//! stream that only they can open), and it is signed together with the Call-ID and the caller's tag. An
//! in-dialog request that brings it finds its way without any memory of ours, and nobody who was not in
//! the dialog can have us forward anything with it.
//!
//! Layout before base64url: one byte of flags, then per end that is present 6 (IPv4) or 18 (IPv6) bytes
//! of remote address and port and as many of our own, then 8 bytes of SipHash-2-4 over Call-ID,
//! caller's tag and all of the former.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;
use transaction::{Flow, Transport};

/// The URI parameter that holds the cookie.
pub const PARAMETER: &[u8] = b"hl";

/// The flag that says [`Ends::caller_by_flow`].
const BY_FLOW: u8 = 6;

/// Longest cookie, in bytes before base64url.
const SIZE_BYTES_MAX: usize = 1 + 2 * (18 + 18) + 8;

/// Where the ends of a dialog are reached when their Contact does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// Where the first request came from.
    pub caller: Option<Flow>,
    /// Whether requests for the caller go there, since his Contact says nothing that others can use.
    pub caller_by_flow: bool,
    /// Towards the callee.
    pub callee: Option<Flow>,
}

/// Which way an in-dialog request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the one who sent the first request to the one who answered it.
    ToCallee,
    /// The other way.
    ToCaller,
}

impl Ends {
    /// The flow to the end that `direction` points to.
    pub fn towards(&self, direction: Direction) -> Option<Flow> {
        match direction {
            Direction::ToCallee => self.callee,
            Direction::ToCaller => self.caller.filter(|_| self.caller_by_flow),
        }
    }

    /// Whether a request that brought the cookie comes from the end that `direction` says, as far as its
    /// source shows: the caller from where he called. Others may have learned the cookie (the callee
    /// does), and it must not make them a caller.
    pub fn vouches_for(&self, direction: Direction, source: IpAddr) -> bool {
        match (direction, self.caller) {
            (Direction::ToCallee, Some(caller)) => caller.remote.ip() == source,
            _ => true,
        }
    }
}

/// Appends the cookie of a dialog.
pub fn write(
    secret: (u64, u64),
    call_id: &[u8],
    caller_tag: &[u8],
    ends: &Ends,
    out: &mut Vec<u8>,
) {
    let mut bytes = [0u8; SIZE_BYTES_MAX];
    let mut length = 1;
    bytes[0] = u8::from(ends.caller_by_flow) << BY_FLOW;
    for (at, flow) in [ends.caller, ends.callee].into_iter().enumerate() {
        let Some(flow) = flow else { continue };
        let reliable = u8::from(flow.transport.is_reliable());
        let six = u8::from(flow.remote.is_ipv6());
        bytes[0] |= (1 | reliable << 1 | six << 2) << (3 * at);
        for address in [flow.remote, flow.local] {
            length += put(address, &mut bytes[length..]);
        }
    }
    let mac = sign(secret, call_id, caller_tag, &bytes[..length]);
    bytes[length..length + 8].copy_from_slice(&mac.to_be_bytes());
    push_base64url(&bytes[..length + 8], out);
}

/// Reads a cookie and checks that it is ours and of this dialog, whose tags may come in either order.
/// `None` if not, and if there is no To tag: a request without one begins a dialog, and whoever sends
/// it has to be let in anew.
pub fn read(
    secret: (u64, u64),
    call_id: &[u8],
    from_tag: &[u8],
    to_tag: &[u8],
    text: &[u8],
) -> Option<(Ends, Direction)> {
    if to_tag.is_empty() {
        return None;
    }
    let mut bytes = [0u8; SIZE_BYTES_MAX];
    let length = read_base64url(text, &mut bytes)?;
    let (signed, mac) = bytes[..length].split_at(length.checked_sub(8)?);
    let mac = u64::from_be_bytes(mac.try_into().ok()?);
    let direction = if sign(secret, call_id, from_tag, signed) == mac {
        Direction::ToCallee
    } else if sign(secret, call_id, to_tag, signed) == mac {
        Direction::ToCaller
    } else {
        return None;
    };
    let (&flags, mut rest) = signed.split_first()?;
    let mut flows = [None, None];
    for (at, slot) in flows.iter_mut().enumerate() {
        let bits = flags >> (3 * at) & 7;
        if bits & 1 == 0 {
            continue;
        }
        let transport = if bits & 2 == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let remote = take(bits & 4 != 0, &mut rest)?;
        let local = take(bits & 4 != 0, &mut rest)?;
        *slot = Some(Flow {
            transport,
            remote,
            local,
        });
    }
    let [caller, callee] = flows;
    let ends = Ends {
        caller,
        caller_by_flow: flags >> BY_FLOW & 1 == 1,
        callee,
    };
    rest.is_empty().then_some((ends, direction))
}

fn sign(secret: (u64, u64), call_id: &[u8], tag: &[u8], bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(secret.0, secret.1);
    for part in [call_id, tag, bytes] {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

fn put(address: SocketAddr, out: &mut [u8]) -> usize {
    let length = match address.ip() {
        IpAddr::V4(v4) => {
            out[..4].copy_from_slice(&v4.octets());
            4
        }
        IpAddr::V6(v6) => {
            out[..16].copy_from_slice(&v6.octets());
            16
        }
    };
    out[length..length + 2].copy_from_slice(&address.port().to_be_bytes());
    length + 2
}

fn take(six: bool, rest: &mut &[u8]) -> Option<SocketAddr> {
    let (ip, after) = if six {
        let (octets, after) = rest.split_first_chunk::<16>()?;
        (IpAddr::from(*octets), after)
    } else {
        let (octets, after) = rest.split_first_chunk::<4>()?;
        (IpAddr::from(*octets), after)
    };
    let (port, after) = after.split_first_chunk::<2>()?;
    *rest = after;
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648 section 5 without padding; every character may stand in a URI parameter.
fn push_base64url(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (at, &byte)| {
            word | u32::from(byte) << (16 - 8 * at)
        });
        for at in 0..=chunk.len() {
            out.push(DIGITS[(word >> (18 - 6 * at)) as usize & 63]);
        }
    }
}

fn read_base64url(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    for chunk in text.chunks(4) {
        let mut word = 0u32;
        for (at, &byte) in chunk.iter().enumerate() {
            word |= digit(byte)? << (18 - 6 * at);
        }
        for at in 0..chunk.len().checked_sub(1).filter(|&count| count > 0)? {
            *out.get_mut(length)? = (word >> (16 - 8 * at)) as u8;
            length += 1;
        }
    }
    Some(length)
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: (u64, u64) = (1, 2);

    fn ends() -> Ends {
        let flow = |transport, remote: &str, local: &str| {
            Some(Flow {
                transport,
                remote: remote.parse().unwrap(),
                local: local.parse().unwrap(),
            })
        };
        Ends {
            caller_by_flow: true,
            caller: flow(Transport::Tcp, "[2001:db8::7]:40000", "[2001:db8::1]:5060"),
            callee: flow(Transport::Udp, "192.0.2.9:1024", "192.0.2.1:5060"),
        }
    }

    #[test]
    fn a_cookie_says_where_the_ends_are_from_either_side() {
        for ends in [
            ends(),
            Ends::default(),
            Ends {
                caller: None,
                ..ends()
            },
            Ends {
                callee: None,
                ..ends()
            },
        ] {
            let mut text = Vec::new();
            write(SECRET, b"call", b"alice", &ends, &mut text);
            assert_eq!(
                read(SECRET, b"call", b"alice", b"bob", &text),
                Some((ends, Direction::ToCallee))
            );
            assert_eq!(
                read(SECRET, b"call", b"bob", b"alice", &text),
                Some((ends, Direction::ToCaller))
            );
        }
    }

    #[test]
    fn a_cookie_of_another_dialog_or_another_edge_is_refused() {
        let mut text = Vec::new();
        write(SECRET, b"call", b"alice", &ends(), &mut text);
        assert_eq!(read(SECRET, b"other", b"alice", b"bob", &text), None);
        assert_eq!(read(SECRET, b"call", b"carol", b"bob", &text), None);
        assert_eq!(read((1, 3), b"call", b"alice", b"bob", &text), None);
    }

    #[test]
    fn a_cookie_means_nothing_without_a_to_tag() {
        let mut text = Vec::new();
        write(SECRET, b"call", b"alice", &ends(), &mut text);
        assert_eq!(read(SECRET, b"call", b"alice", b"", &text), None);
    }

    #[test]
    fn a_changed_or_truncated_cookie_is_refused() {
        let mut text = Vec::new();
        write(SECRET, b"call", b"alice", &ends(), &mut text);
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                read(SECRET, b"call", b"alice", b"bob", &changed),
                None,
                "{at}"
            );
            assert_eq!(
                read(SECRET, b"call", b"alice", b"bob", &text[..at]),
                None,
                "{at}"
            );
        }
        assert_eq!(
            read(SECRET, b"call", b"alice", b"bob", &[b'A'; 4_000]),
            None
        );
    }
}
