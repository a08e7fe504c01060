//! Session descriptions of legs: reading the peer's, writing ours, and passing one leg's on to the other.

mod agree;
mod lines;
mod write;

use std::net::{IpAddr, SocketAddr};

use sdp::{Direction, Kind, Protocol};
use voice::{Codec, Format, Negotiated, OpusParameters};

pub(crate) use agree::{Wanted, agree};
pub(crate) use write::{Own, Through, write_own, write_through};

/// Most m-lines of a session; a description with more is refused by its index.
pub(crate) const MEDIA_MAX: usize = 8;

/// Audio codecs, by any name, of which a description's are compared with another's.
const CODINGS_MAX: usize = 16;

/// One encoding of a peer's sound, whether we know it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Coding {
    /// A hash of its name in lower case, and its clock.
    name: u64,
    clock_hz: u32,
}

/// What a peer's description says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// How many m-lines it has.
    pub(crate) media: usize,
    /// Which of them is the sound.
    pub(crate) audio: Option<usize>,
    /// Where it wants RTP; `None`: nowhere.
    pub(crate) rtp: Option<SocketAddr>,
    /// Where it wants RTCP, if it says so.
    pub(crate) rtcp: Option<SocketAddr>,
    pub(crate) rtcp_mux: bool,
    /// Whether the sound is plain RTP, which we can speak.
    pub(crate) is_plain: bool,
    /// Who sends, by the peer's own word; the hold of RFC 2543 counts as `SendOnly`.
    pub(crate) direction: Direction,
    /// The codecs that we know, in the peer's order.
    pub(crate) formats: [Option<Format>; voice::FORMATS_MAX],
    /// The payload type of telephone events with a clock of 8,000 Hz.
    pub(crate) events: Option<u8>,
    /// The same with 48,000 Hz.
    pub(crate) events_48k: Option<u8>,
    /// The payload type of comfort noise.
    pub(crate) noise: Option<u8>,
    pub(crate) opus: OpusParameters,
    codings: [Coding; CODINGS_MAX],
}

impl Default for Peer {
    fn default() -> Peer {
        Peer {
            media: 0,
            audio: None,
            rtp: None,
            rtcp: None,
            rtcp_mux: false,
            is_plain: false,
            direction: Direction::Inactive,
            formats: [None; voice::FORMATS_MAX],
            events: None,
            events_48k: None,
            noise: None,
            opus: OpusParameters::default(),
            codings: [Coding::default(); CODINGS_MAX],
        }
    }
}

impl Peer {
    /// Reads a description. The first m-line of sound that has a port is the one; others are refused.
    pub(crate) fn read(
        body: &[u8],
        index: &mut sdp::Index,
        limits: &sdp::Limits,
    ) -> Result<Peer, sdp::Error> {
        let description = index.parse(body, limits)?;
        let mut peer = Peer {
            media: description.media_count(),
            ..Peer::default()
        };
        let mut media = description.media();
        let Some(audio) = media.find(|line| line.kind() == Kind::Audio && line.needs_ports())
        else {
            return Ok(peer);
        };
        peer.audio = Some(audio.number());
        peer.rtp = audio.rtp();
        peer.rtcp = if audio.has_explicit_rtcp() {
            audio.rtcp()
        } else {
            None
        };
        peer.rtcp_mux = audio.has_rtcp_mux();
        peer.is_plain = matches!(audio.protocol(), Protocol::RtpAvp | Protocol::RtpAvpf);
        peer.direction = match (audio.is_held_by_address(), audio.direction()) {
            (true, Direction::SendRecv | Direction::SendOnly) => Direction::SendOnly,
            (true, _) => Direction::Inactive,
            (false, direction) => direction,
        };
        let mut known = 0;
        for (at, format) in audio.formats().enumerate() {
            let clock_hz = format.clock_rate_hz.unwrap_or(0);
            let coding = Coding {
                name: name_hash(format.encoding),
                clock_hz,
            };
            let is = |name: &[u8]| format.encoding.eq_ignore_ascii_case(name);
            if is(b"telephone-event") {
                let slot = match clock_hz {
                    8_000 => &mut peer.events,
                    48_000 => &mut peer.events_48k,
                    _ => continue,
                };
                slot.get_or_insert(format.payload_type);
            } else if is(b"CN") {
                peer.noise.get_or_insert(format.payload_type);
            } else {
                if let Some(slot) = peer.codings.get_mut(at) {
                    *slot = coding;
                }
                let Some(codec) = codec(format.encoding, clock_hz) else {
                    continue;
                };
                let is_new = peer
                    .formats
                    .iter()
                    .flatten()
                    .all(|format| format.codec != codec);
                if is_new && let Some(slot) = peer.formats.get_mut(known) {
                    *slot = Some(Format {
                        codec,
                        payload_type: format.payload_type,
                    });
                    known += 1;
                }
            }
        }
        if let Some(opus) = peer.format(Codec::Opus) {
            peer.opus = lines::opus_parameters(body, audio.number(), opus.payload_type);
        }
        Ok(peer)
    }

    /// The peer's format of a codec.
    pub(crate) fn format(&self, codec: Codec) -> Option<Format> {
        self.formats
            .iter()
            .flatten()
            .copied()
            .find(|format| format.codec == codec)
    }

    /// Whether both have an encoding of sound in common, known to us or not.
    pub(crate) fn shares_coding_with(&self, other: &Peer) -> bool {
        let is_there = |coding: &Coding| coding.name != 0 && other.codings.contains(coding);
        self.is_plain == other.is_plain && self.codings.iter().any(is_there)
    }

    /// What two peers speak who were told of each other: of the answer's codecs the first, which are all in the offer, too.
    pub(crate) fn codec_with(&self, other: &Peer) -> Option<Codec> {
        let count = |peer: &Peer| peer.formats.iter().flatten().count();
        let (fewer, more) = match count(self) <= count(other) {
            true => (self, other),
            false => (other, self),
        };
        let mut codecs = fewer.formats.iter().flatten().map(|format| format.codec);
        codecs.find(|codec| more.format(*codec).is_some())
    }

    /// Whether it wants to hear nothing of us: hold.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.direction, Direction::SendOnly | Direction::Inactive)
    }

    /// Where and how media go is the same as in `other`.
    pub(crate) fn is_heard_like(&self, other: &Peer) -> bool {
        self.rtp == other.rtp && self.direction == other.direction
    }
}

fn codec(name: &[u8], clock_hz: u32) -> Option<Codec> {
    let all = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
    all.into_iter().find(|codec| {
        name.eq_ignore_ascii_case(codec.name().as_bytes()) && clock_hz == codec.clock_hz()
    })
}

/// FNV-1a of the name in lower case: names of encodings are compared, nothing else is decided by it. 0 is no name.
fn name_hash(name: &[u8]) -> u64 {
    if name.is_empty() {
        return 0;
    }
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Which way sound goes for us if it goes so for the peer.
pub(crate) fn reversed(direction: Direction) -> voice::Direction {
    match direction {
        Direction::SendRecv => voice::Direction::SendRecv,
        Direction::SendOnly => voice::Direction::RecvOnly,
        Direction::RecvOnly => voice::Direction::SendOnly,
        Direction::Inactive => voice::Direction::Inactive,
    }
}

/// What the media thread is told of a peer.
pub(crate) fn remote(
    peer: &Peer,
    negotiated: Negotiated,
    signalling: IpAddr,
    learned: Option<SocketAddr>,
) -> voice::Remote {
    voice::Remote {
        rtp: peer.rtp,
        rtcp: peer.rtcp,
        rtcp_mux: peer.rtcp_mux,
        signalling,
        learned,
        negotiated,
        direction: reversed(peer.direction),
    }
}

#[cfg(test)]
mod tests;
