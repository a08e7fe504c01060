//! The media of a call in its record: ports by their addresses, sides, what was said, and where parties really are.

use std::net::SocketAddr;

use records::Error;
use records::tlv;
use relay::{Command, Kind};
use transaction::layer::Id;

use super::codec::{
    each, first, nest, push_address, push_ip, push_remote, read_ip, read_remote, small,
    take_address,
};
use crate::anchor::{Anchor, SIDES_MAX, STREAMS_MAX, Stream};
use crate::media::{MediaPort, MediaPorts};
use crate::side::{Offer, Side};

mod tag {
    pub(super) const SELECTED: u64 = 1;
    pub(super) const OFFERS: u64 = 2;
    pub(super) const STREAM: u64 = 3;
    pub(super) const SIDE: u64 = 4;
    pub(super) const LOCAL: u64 = 1;
    pub(super) const SIGNALLING: u64 = 2;
    pub(super) const TAG: u64 = 3;
    pub(super) const ANSWERED: u64 = 4;
    pub(super) const INVITED: u64 = 5;
    pub(super) const REFUSED: u64 = 6;
    pub(super) const PORT: u64 = 7;
    pub(super) const REMOTE: u64 = 8;
    pub(super) const LEARNED: u64 = 9;
    pub(super) const OFFER: u64 = 10;
    pub(super) const BY: u64 = 1;
    pub(super) const OF_REQUEST: u64 = 2;
    pub(super) const NUMBER: u64 = 3;
    pub(super) const LINE: u64 = 4;
}

impl Anchor {
    /// Appends its part of the record of its call.
    pub(super) fn write_record(&self, out: &mut Vec<u8>) {
        tlv::write_number(tag::SELECTED, u64::from(self.selected), out);
        tlv::write_number(tag::OFFERS, u64::from(self.offers), out);
        for stream in &self.streams {
            nest(tag::STREAM, out, |out| {
                if let Some(stream) = stream {
                    let kind = u8::from(stream.kind == Kind::Datagram);
                    out.extend_from_slice(&[stream.line, kind]);
                }
            });
        }
        for side in &self.sides {
            nest(tag::SIDE, out, |out| {
                if side.is_open {
                    side.write_record(out);
                }
            });
        }
    }
}

impl Side {
    fn write_record(&self, out: &mut Vec<u8>) {
        nest(tag::LOCAL, out, |out| push_ip(self.local, out));
        nest(tag::SIGNALLING, out, |out| push_ip(self.signalling, out));
        for tag in &self.tags {
            tlv::write_bytes(tag::TAG, &tag.to_be_bytes(), out);
        }
        tlv::write_number(tag::ANSWERED, u64::from(self.is_answered), out);
        tlv::write_number(tag::INVITED, u64::from(self.invited), out);
        tlv::write_number(tag::REFUSED, u64::from(self.refused), out);
        for (stream, port) in numbered(&self.ports) {
            nest(tag::PORT, out, |out| {
                out.push(stream);
                push_address(port.address, out);
            });
        }
        for (stream, remote) in numbered(&self.remotes) {
            nest(tag::REMOTE, out, |out| {
                out.push(stream);
                push_remote(remote, out);
            });
        }
        for (stream, source) in numbered(&self.learned) {
            nest(tag::LEARNED, out, |out| {
                out.push(stream);
                push_address(*source, out);
            });
        }
        for (by, offer) in (0u64..).zip(&self.offers) {
            if offer.is_made {
                nest(tag::OFFER, out, |out| offer.write_record(by, out));
            }
        }
    }
}

impl Offer {
    fn write_record(&self, by: u64, out: &mut Vec<u8>) {
        tlv::write_number(tag::BY, by, out);
        tlv::write_number(tag::OF_REQUEST, u64::from(self.is_of_request), out);
        tlv::write_number(tag::NUMBER, u64::from(self.number), out);
        for line in &self.lines {
            nest(tag::LINE, out, |out| {
                if let Some((stream, remote)) = line {
                    out.push(*stream);
                    push_remote(remote, out);
                }
            });
        }
    }
}

fn numbered<T>(values: &[Option<T>]) -> impl Iterator<Item = (u8, &T)> {
    (0u8..)
        .zip(values)
        .filter_map(|(at, value)| Some((at, value.as_ref()?)))
}

/// The media of a call, read, and the ports that are still to be claimed: side, stream, address.
#[derive(Debug)]
pub(super) struct AnchorRecord {
    anchor: Anchor,
    ports: Vec<(u8, u8, SocketAddr)>,
}

impl AnchorRecord {
    pub(super) fn read(value: &[u8]) -> Result<AnchorRecord, Error> {
        let mut anchor = Anchor::new(Id::from_bits(0));
        anchor.is_recorded = true;
        anchor.sides.clear();
        let mut ports = Vec::new();
        each(value, |tag, bytes| {
            match tag {
                tag::SELECTED => anchor.selected = small(tag, bytes)?,
                tag::OFFERS => anchor.offers = small(tag, bytes)?,
                tag::STREAM if anchor.streams.len() < STREAMS_MAX => {
                    anchor.streams.push(match *bytes {
                        [line, kind, ..] => Some(Stream {
                            line,
                            kind: if kind == 1 { Kind::Datagram } else { Kind::Rtp },
                        }),
                        _ => None,
                    });
                }
                tag::SIDE if anchor.sides.len() < SIDES_MAX => {
                    let number = anchor.sides.len() as u8;
                    let mut side = Side::new();
                    if !bytes.is_empty() {
                        read_side(bytes, number, &mut side, &mut ports)?;
                    }
                    anchor.sides.push(side);
                }
                _ => {}
            }
            Ok(())
        })?;
        if anchor.sides.is_empty() || usize::from(anchor.selected) >= anchor.sides.len() {
            return Err(Error::Missing { tag: tag::SIDE });
        }
        // Whoever wrote more than this version knows of gets what it does know.
        let streams = anchor.streams.len();
        ports.retain(|(_, stream, _)| usize::from(*stream) < streams);
        Ok(AnchorRecord { anchor, ports })
    }

    /// Makes what was read the media of a call. Ports that `before` had are kept, others are claimed and given back;
    /// gives how many could not be had.
    pub(super) fn place(
        self,
        before: Option<&mut Anchor>,
        media: &mut impl MediaPorts,
    ) -> (Anchor, u64) {
        let AnchorRecord { mut anchor, ports } = self;
        let mut had = before.map_or(Vec::new(), Anchor::take_ports);
        let mut lacking = 0;
        for (side, stream, address) in ports {
            let port = match had.iter().position(|port| port.address == address) {
                Some(place) => Some(had.swap_remove(place)),
                None => media.claim(address),
            };
            let party = &mut anchor.sides[usize::from(side)];
            let is_here = |port: &MediaPort| anchor.relay.is_none_or(|relay| relay == port.relay);
            match port {
                Some(port) if is_here(&port) && party.port(stream).is_none() => {
                    anchor.relay = Some(port.relay);
                    party.set_port(stream, Some(port));
                }
                Some(port) => {
                    media.give_back(port);
                    lacking += 1;
                }
                None => lacking += 1,
            }
        }
        had.into_iter().for_each(|port| media.give_back(port));
        (anchor, lacking)
    }
}

impl Anchor {
    /// Takes all ports out.
    pub(super) fn take_ports(&mut self) -> Vec<MediaPort> {
        let ports = self.sides.iter_mut().flat_map(|side| side.ports.drain(..));
        let taken = ports.flatten().collect();
        self.relay = None;
        taken
    }

    /// Has the relay do what it did where the record was made.
    pub(super) fn revive(&self, media: &mut impl MediaPorts) {
        let (Some(relay), session) = (self.relay, self.session) else {
            return;
        };
        for (side, party) in (0u8..).zip(&self.sides) {
            for (stream, port) in numbered(&party.ports) {
                let kind = self.streams.get(usize::from(stream)).copied().flatten();
                let command = Command::Open {
                    session,
                    stream,
                    side,
                    port: port.port,
                    kind: kind.map_or(Kind::Rtp, |stream| stream.kind),
                };
                media.command(relay, command);
            }
            for (stream, remote) in numbered(&party.remotes) {
                if party.port(stream).is_some() {
                    let command = Command::Remote {
                        session,
                        stream,
                        side,
                        remote: *remote,
                        relearn: false,
                    };
                    media.command(relay, command);
                }
            }
        }
        let side = self.selected;
        if side != 0 {
            media.command(relay, Command::Select { session, side });
        }
        for (side, party) in (0u8..).zip(&self.sides) {
            for (stream, source) in numbered(&party.learned) {
                if party.port(stream).is_some() {
                    let command = Command::Source {
                        session,
                        stream,
                        side,
                        source: *source,
                    };
                    media.command(relay, command);
                }
            }
        }
    }
}

/// A stream's number, below the limit.
fn stream_of(tag: u64, bytes: &[u8]) -> Result<(u8, &[u8]), Error> {
    let ([stream], rest) = first(bytes)?;
    match usize::from(stream) < STREAMS_MAX {
        true => Ok((stream, rest)),
        false => Err(Error::Field { tag }),
    }
}

fn read_side(
    value: &[u8],
    number: u8,
    side: &mut Side,
    ports: &mut Vec<(u8, u8, SocketAddr)>,
) -> Result<(), Error> {
    side.is_open = true;
    each(value, |tag, bytes| {
        match tag {
            tag::LOCAL => side.local = read_ip(tag, bytes)?,
            tag::SIGNALLING => side.signalling = read_ip(tag, bytes)?,
            tag::TAG => side.heard(u64::from_be_bytes(first(bytes)?.0)),
            tag::ANSWERED => side.is_answered = tlv::number(bytes)? != 0,
            tag::INVITED => side.invited = small(tag, bytes)?,
            tag::REFUSED => side.refused = small(tag, bytes)?,
            tag::PORT => {
                let (stream, rest) = stream_of(tag, bytes)?;
                ports.push((number, stream, take_address(tag, rest)?.0));
            }
            tag::REMOTE => {
                let (stream, rest) = stream_of(tag, bytes)?;
                side.set_remote(stream, &read_remote(rest)?, true);
            }
            tag::LEARNED => {
                let (stream, rest) = stream_of(tag, bytes)?;
                side.set_learned(stream, Some(take_address(tag, rest)?.0));
            }
            tag::OFFER => read_offer(bytes, &mut side.offers)?,
            _ => {}
        }
        Ok(())
    })
}

fn read_offer(value: &[u8], offers: &mut [Offer; 2]) -> Result<(), Error> {
    let mut by = 0;
    let mut offer = Offer {
        is_made: true,
        ..Offer::default()
    };
    each(value, |tag, bytes| {
        match tag {
            tag::BY => by = small::<u8>(tag, bytes)?,
            tag::OF_REQUEST => offer.is_of_request = tlv::number(bytes)? != 0,
            tag::NUMBER => offer.number = small(tag, bytes)?,
            tag::LINE if bytes.is_empty() => offer.lines.push(None),
            tag::LINE => {
                let (stream, rest) = stream_of(tag, bytes)?;
                offer.lines.push(Some((stream, read_remote(rest)?)));
            }
            _ => {}
        }
        Ok(())
    })?;
    let place = offers.get_mut(usize::from(by));
    *place.ok_or(Error::Field { tag: tag::BY })? = offer;
    Ok(())
}
