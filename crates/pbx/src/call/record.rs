//! What of calls is written down, and how another node goes on with it.

mod read;
mod rest;
mod take;
mod write;

use std::io::Write as _;

use records::Error;
use records::tlv::{self, Fields};
use transaction::{Flow, Time, Transport};

use crate::control::Now;
use crate::nest::nested;

pub(super) use rest::Resting;
pub use rest::{SLICE_MESSAGES, SLICE_MS, SLICE_RECORDS};

/// A leg, by its number.
pub(super) const LEG: u16 = 1;
/// A subscription, by its tag.
pub(super) const SUBSCRIPTION: u16 = 2;

/// How a transaction of the peer's was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// INVITE, by 2xx: its copies are absorbed (RFC 6026 section 7.1).
    Accepted = 1,
    /// INVITE, by 3xx to 6xx, whose ACK is awaited.
    Refused = 2,
    /// Another method.
    Answered = 3,
}

pub(super) fn number(value: &[u8]) -> Result<u64, Error> {
    tlv::number(value)
}

pub(super) fn small(value: &[u8]) -> Result<u32, Error> {
    Ok(u32::try_from(number(value)?).unwrap_or(u32::MAX))
}

pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Each field of a value.
pub(super) fn each(
    value: &[u8],
    mut then: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut fields = Fields::new(value);
    while let Some((tag, value)) = fields.field()? {
        then(tag, value)?;
    }
    Ok(())
}

pub(super) fn write_flow(tag: u64, flow: Flow, out: &mut Vec<u8>) {
    let transport = if flow.transport == Transport::Udp {
        'u'
    } else {
        't'
    };
    nested(tag, out, |out| {
        let written = write!(out, "{transport} {} {}", flow.remote, flow.local);
        debug_assert!(written.is_ok(), "memory takes all");
    });
}

pub(super) fn read_flow(tag: u64, value: &[u8]) -> Result<Flow, Error> {
    let wrong = Error::Field { tag };
    let text = std::str::from_utf8(value).map_err(|_| wrong)?;
    let mut words = text.split(' ');
    let transport = match words.next() {
        Some("u") => Transport::Udp,
        Some("t") => Transport::Tcp,
        _ => return Err(wrong),
    };
    let mut address = || words.next().and_then(|word| word.parse().ok()).ok_or(wrong);
    Ok(Flow {
        transport,
        remote: address()?,
        local: address()?,
    })
}

/// Clocks differ from node to node: deadlines are written in milliseconds since 1970.
pub(super) fn unix_ms(now: Now, time: Time) -> u64 {
    now.unix_ms.saturating_add(time.ms_since(now.time))
}

pub(super) fn time(now: Now, unix_ms: u64) -> Time {
    now.time.plus_ms(unix_ms.saturating_sub(now.unix_ms))
}
