//! The STUN answer that keeps a phone's NAT binding open (RFC 5626 sections 4.4.2 and 8).
//!
//! A phone behind NAT sends Binding requests (RFC 8489) to the SIP port; the answer tells it the
//! address it was seen from, so that it notices when its binding changed. A STUN message is told
//! from SIP by its first two bits, which are zero.
//!
//! Not attempted: credentials (this usage has none), RFC 3489 clients (RFC 5626 section 8 asks for
//! none), and requests other than Binding, which are left unanswered.

use std::net::{IpAddr, SocketAddr};

/// Longest request that is answered, in bytes.
pub const REQUEST_BYTES_MAX: usize = 548;

/// Most unknown attributes that an error answer names.
pub const UNKNOWN_ATTRIBUTES_MAX: usize = 8;

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const PASSWORD_ALGORITHM: u16 = 0x001D;
const USERHASH: u16 = 0x001E;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;

/// Attributes from here on may be ignored by who does not know them (RFC 8489 section 14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// What is remembered of a request's attributes.
struct Attributes {
    fingerprint: bool,
    unknown: [u16; UNKNOWN_ATTRIBUTES_MAX],
    unknown_count: usize,
}

/// True when `bytes` may be STUN and cannot be SIP.
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES && bytes[0] < 2 && bytes[4..8] == MAGIC_COOKIE.to_be_bytes()
}

/// Answers a Binding request that came from `source`: appends the answer to `out` and returns true.
/// Anything else, a request with a wrong checksum included, is not answered: false.
pub fn binding_response(request: &[u8], source: SocketAddr, out: &mut Vec<u8>) -> bool {
    let Some(attributes) = read_binding_request(request) else {
        return false;
    };
    let start = out.len();
    let unknown = &attributes.unknown[..attributes.unknown_count];
    let kind = if unknown.is_empty() {
        BINDING_SUCCESS
    } else {
        BINDING_ERROR
    };
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&request[4..HEADER_BYTES]);
    if unknown.is_empty() {
        write_mapped_address(source, &request[4..HEADER_BYTES], out);
    } else {
        write_unknown_attributes(unknown, out);
    }
    write_length(out, start, 0);
    if attributes.fingerprint {
        write_length(out, start, 8);
        let checksum = crc32(&out[start..]) ^ FINGERPRINT_XOR;
        write_attribute(FINGERPRINT, &checksum.to_be_bytes(), out);
    }
    true
}

/// RFC 8489 section 6.3: what to check before a request is believed to be one.
fn read_binding_request(request: &[u8]) -> Option<Attributes> {
    if !is_stun(request) || request.len() > REQUEST_BYTES_MAX {
        return None;
    }
    let length = usize::from(be16(request, 2)?);
    if be16(request, 0)? != BINDING_REQUEST || length + HEADER_BYTES != request.len() {
        return None;
    }
    let mut attributes = Attributes {
        fingerprint: false,
        unknown: [0; UNKNOWN_ATTRIBUTES_MAX],
        unknown_count: 0,
    };
    let mut at = HEADER_BYTES;
    while at < request.len() {
        let kind = be16(request, at)?;
        let size = usize::from(be16(request, at + 2)?);
        let value = request.get(at + 4..at + 4 + size)?;
        match kind {
            FINGERPRINT => {
                let expected = (crc32(&request[..at]) ^ FINGERPRINT_XOR).to_be_bytes();
                // It is the last attribute, and counted by the length in the header.
                if value != expected || at + 8 != request.len() {
                    return None;
                }
                attributes.fingerprint = true;
            }
            USERNAME | MESSAGE_INTEGRITY | REALM | NONCE => {}
            MESSAGE_INTEGRITY_SHA256 | PASSWORD_ALGORITHM | USERHASH => {}
            COMPREHENSION_OPTIONAL.. => {}
            other if attributes.unknown_count < UNKNOWN_ATTRIBUTES_MAX => {
                attributes.unknown[attributes.unknown_count] = other;
                attributes.unknown_count += 1;
            }
            _ => {}
        }
        at += 4 + size.next_multiple_of(4);
    }
    (at == request.len()).then_some(attributes)
}

/// RFC 8489 section 14.2; `mask` is the magic cookie and the transaction identifier.
fn write_mapped_address(source: SocketAddr, mask: &[u8], out: &mut Vec<u8>) {
    let mut value = [0; 20];
    let port = source.port() ^ (MAGIC_COOKIE >> 16) as u16;
    value[2..4].copy_from_slice(&port.to_be_bytes());
    let end = match source.ip().to_canonical() {
        IpAddr::V4(v4) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&v4.octets());
            8
        }
        IpAddr::V6(v6) => {
            value[1] = 2;
            value[4..20].copy_from_slice(&v6.octets());
            20
        }
    };
    for (byte, mask) in value[4..end].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    write_attribute(XOR_MAPPED_ADDRESS, &value[..end], out);
}

/// RFC 8489 section 6.3.1: what is not understood and has to be is answered with a 420.
fn write_unknown_attributes(unknown: &[u16], out: &mut Vec<u8>) {
    write_attribute(ERROR_CODE, b"\0\0\x04\x14Unknown Attribute", out);
    let mut value = [0; 2 * UNKNOWN_ATTRIBUTES_MAX];
    for (room, kind) in value.chunks_exact_mut(2).zip(unknown) {
        room.copy_from_slice(&kind.to_be_bytes());
    }
    write_attribute(UNKNOWN_ATTRIBUTES, &value[..2 * unknown.len()], out);
}

fn write_attribute(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

/// Sets the length of the message that begins at `start`, counting `more` bytes yet to come.
fn write_length(out: &mut [u8], start: usize, more: usize) {
    let length = (out.len() - start - HEADER_BYTES + more) as u16;
    out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// The CRC-32 of ITU-T V.42, as RFC 8489 section 14.7 asks for. Short inputs only: bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
