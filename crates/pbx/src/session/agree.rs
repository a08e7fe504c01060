//! Which codec is spoken (RFC 3264 sections 5 to 7).

use voice::{Codec, Format, Negotiated};

use super::Peer;

/// Payload types that we use where the peer has not named its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) opus: u8,
    pub(crate) events: u8,
    pub(crate) events_48k: u8,
}

impl Wanted {
    /// The peer's own numbers where it has named them (RFC 3264 section 8.3.2: a number keeps its meaning), else ones that it does not
    /// use for another thing.
    pub(crate) fn after(peer: Option<&Peer>) -> Wanted {
        let Some(peer) = peer else {
            return Wanted {
                opus: 96,
                events: 101,
                events_48k: 102,
            };
        };
        let opus = peer.format(Codec::Opus).map(|format| format.payload_type);
        let mut taken = [opus, peer.events, peer.events_48k];
        let mut choose = |own: Option<u8>, usual: u8| {
            own.unwrap_or_else(|| {
                let free = (usual..=127)
                    .chain(96..usual)
                    .find(|number| !taken.contains(&Some(*number)));
                let number = free.unwrap_or(usual);
                if let Some(slot) = taken.iter_mut().find(|slot| slot.is_none()) {
                    *slot = Some(number);
                }
                number
            })
        };
        Wanted {
            opus: choose(opus, 96),
            events: choose(peer.events, 101),
            events_48k: choose(peer.events_48k, 102),
        }
    }
}

/// The codec of `peer` that we like best.
pub(crate) fn first_choice(peer: &Peer, codecs: &[Codec]) -> Option<Format> {
    if !peer.is_plain {
        return None;
    }
    codecs.iter().find_map(|&codec| peer.format(codec))
}

/// What is spoken with `peer`, if there is a codec for it. In an answer of ours to its offer the best of our preference is chosen; in its
/// answer to ours the first of its own counts (`by_peer`).
pub(crate) fn agree(peer: &Peer, codecs: &[Codec], by_peer: bool) -> Option<Negotiated> {
    let format = match by_peer {
        true => peer
            .formats
            .iter()
            .flatten()
            .copied()
            .find(|format| codecs.contains(&format.codec))
            .filter(|_| peer.is_plain)?,
        false => first_choice(peer, codecs)?,
    };
    let events = match format.codec {
        Codec::Opus => peer.events_48k.or(peer.events),
        _ => peer.events,
    };
    let mut negotiated = Negotiated::symmetric(format, events);
    if format.codec == Codec::Opus && peer.events_48k.is_none() {
        negotiated.event_clock_hz = 8_000;
    }
    negotiated.receive_noise = peer.noise.or(negotiated.receive_noise);
    negotiated.opus = peer.opus;
    if by_peer {
        // It may use any of those that it named.
        let mut others = peer
            .formats
            .iter()
            .flatten()
            .filter(|other| other.codec != format.codec && codecs.contains(&other.codec));
        for slot in negotiated.receive.iter_mut().skip(1) {
            *slot = others.next().copied();
        }
    }
    Some(negotiated)
}
