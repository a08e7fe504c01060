//! Values that several records have.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use records::Error;
use records::tlv::{self, Fields};
use relay::{Direction, Formats, Remote};
use transaction::{Flow, Transport};

const V4: u8 = 4;
const V6: u8 = 6;
const UDP: u8 = 0;
const TCP: u8 = 1;

/// Appends a field of what `write` appends.
pub(super) fn nest(tag: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    tlv::write_varint(tag, out);
    let start = out.len();
    write(out);
    let length = (out.len() - start) as u64;
    tlv::write_varint(length, out);
    out[start..].rotate_right(tlv::varint_bytes(length));
}

/// Calls `read` with each field.
pub(super) fn each<'a>(
    value: &'a [u8],
    mut read: impl FnMut(u64, &'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut fields = Fields::new(value);
    while let Some((tag, bytes)) = fields.field()? {
        read(tag, bytes)?;
    }
    Ok(())
}

/// A number that fits a smaller type.
pub(super) fn small<T: TryFrom<u64>>(tag: u64, bytes: &[u8]) -> Result<T, Error> {
    T::try_from(tlv::number(bytes)?).map_err(|_| Error::Field { tag })
}

/// The first bytes of a field whose later ones a newer writer may have added.
pub(super) fn first<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Error> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or(Error::Truncated)?;
    Ok((*first, rest))
}

pub(super) fn push_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            out.push(V4);
            out.extend_from_slice(&v4.ip().octets());
            out.extend_from_slice(&v4.port().to_be_bytes());
        }
        SocketAddr::V6(v6) => {
            out.push(V6);
            out.extend_from_slice(&v6.ip().octets());
            out.extend_from_slice(&v6.port().to_be_bytes());
            out.extend_from_slice(&v6.scope_id().to_be_bytes());
        }
    }
}

pub(super) fn take_address(tag: u64, bytes: &[u8]) -> Result<(SocketAddr, &[u8]), Error> {
    let ([family], rest) = first(bytes)?;
    match family {
        V4 => {
            let (octets, rest) = first::<4>(rest)?;
            let (port, rest) = first(rest)?;
            Ok((
                SocketAddr::new(IpAddr::from(octets), u16::from_be_bytes(port)),
                rest,
            ))
        }
        V6 => {
            let (octets, rest) = first::<16>(rest)?;
            let (port, rest) = first(rest)?;
            let (scope, rest) = first(rest)?;
            let (port, scope) = (u16::from_be_bytes(port), u32::from_be_bytes(scope));
            let address = SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope);
            Ok((SocketAddr::V6(address), rest))
        }
        _ => Err(Error::Field { tag }),
    }
}

pub(super) fn push_ip(ip: IpAddr, out: &mut Vec<u8>) {
    push_address(SocketAddr::new(ip, 0), out);
}

pub(super) fn read_ip(tag: u64, bytes: &[u8]) -> Result<IpAddr, Error> {
    Ok(take_address(tag, bytes)?.0.ip())
}

pub(super) fn push_transport(transport: Transport, out: &mut Vec<u8>) {
    out.push(match transport {
        Transport::Udp => UDP,
        Transport::Tcp => TCP,
    });
}

pub(super) fn take_transport(tag: u64, bytes: &[u8]) -> Result<(Transport, &[u8]), Error> {
    let ([transport], rest) = first(bytes)?;
    let transport = match transport {
        UDP => Transport::Udp,
        TCP => Transport::Tcp,
        _ => return Err(Error::Field { tag }),
    };
    Ok((transport, rest))
}

pub(super) fn push_flow(flow: &Flow, out: &mut Vec<u8>) {
    push_transport(flow.transport, out);
    push_address(flow.remote, out);
    push_address(flow.local, out);
}

pub(super) fn read_flow(tag: u64, bytes: &[u8]) -> Result<Flow, Error> {
    let (transport, rest) = take_transport(tag, bytes)?;
    let (remote, rest) = take_address(tag, rest)?;
    let (local, _) = take_address(tag, rest)?;
    Ok(Flow {
        transport,
        remote,
        local,
    })
}

const RTP: u64 = 1;
const RTCP: u64 = 2;
const FLAGS: u64 = 3;
const SIGNALLING: u64 = 4;
const FORMATS: u64 = 5;

const MUX: u64 = 1;

/// Appends the fields of what a party said of itself.
pub(super) fn push_remote(remote: &Remote, out: &mut Vec<u8>) {
    if let Some(rtp) = remote.rtp {
        nest(RTP, out, |out| push_address(rtp, out));
    }
    if let Some(rtcp) = remote.rtcp {
        nest(RTCP, out, |out| push_address(rtcp, out));
    }
    let direction = match remote.direction {
        Direction::SendRecv => 0,
        Direction::SendOnly => 1,
        Direction::RecvOnly => 2,
        Direction::Inactive => 3,
    };
    tlv::write_number(FLAGS, u64::from(remote.rtcp_mux) | direction << 1, out);
    nest(SIGNALLING, out, |out| push_ip(remote.signalling, out));
    nest(FORMATS, out, |out| {
        for (payload_type, clock_rate_hz) in remote.formats.iter() {
            out.push(payload_type);
            out.extend_from_slice(&clock_rate_hz.to_be_bytes());
        }
    });
}

/// Reads the fields of [`push_remote`].
pub(super) fn read_remote(value: &[u8]) -> Result<Remote, Error> {
    let (mut rtp, mut rtcp, mut flags, mut signalling) = (None, None, 0, None);
    let mut formats = Formats::new();
    each(value, |tag, bytes| {
        match tag {
            RTP => rtp = Some(take_address(tag, bytes)?.0),
            RTCP => rtcp = Some(take_address(tag, bytes)?.0),
            FLAGS => flags = tlv::number(bytes)?,
            SIGNALLING => signalling = Some(read_ip(tag, bytes)?),
            FORMATS => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let ([payload_type], after) = first(rest)?;
                    let (clock_rate_hz, after) = first(after)?;
                    formats.add(payload_type, u32::from_be_bytes(clock_rate_hz));
                    rest = after;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Remote {
        rtp,
        rtcp,
        rtcp_mux: flags & MUX != 0,
        signalling: signalling.ok_or(Error::Missing { tag: SIGNALLING })?,
        direction: match flags >> 1 & 3 {
            0 => Direction::SendRecv,
            1 => Direction::SendOnly,
            2 => Direction::RecvOnly,
            _ => Direction::Inactive,
        },
        formats,
    })
}
