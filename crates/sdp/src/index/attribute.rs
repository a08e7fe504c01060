//! The attributes that a relay reads or takes out.

use crate::media::Direction;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Direction(Direction),
    Rtcp,
    RtcpMux,
    Rtpmap,
    Ptime,
    Group,
    BundleOnly,
    /// Names an address or a way beside the relay.
    Removed,
}

impl Attribute {
    /// The attribute of that name. Case is ignored: a reader that does so must find nothing that was
    /// overlooked here.
    pub(crate) fn parse(name: &[u8]) -> Option<Attribute> {
        let candidates: &[(&[u8], Attribute)] = match name.len() {
            4 => &[
                (b"rtcp", Attribute::Rtcp),
                // Alternative addresses, RFC 6947.
                (b"altc", Attribute::Removed),
            ],
            5 => &[(b"ptime", Attribute::Ptime), (b"group", Attribute::Group)],
            6 => &[(b"rtpmap", Attribute::Rtpmap)],
            7 => &[(b"ice-pwd", Attribute::Removed)],
            8 => &[
                (b"sendrecv", Attribute::Direction(Direction::SendRecv)),
                (b"sendonly", Attribute::Direction(Direction::SendOnly)),
                (b"recvonly", Attribute::Direction(Direction::RecvOnly)),
                (b"inactive", Attribute::Direction(Direction::Inactive)),
                (b"rtcp-mux", Attribute::RtcpMux),
                (b"ice-lite", Attribute::Removed),
            ],
            9 => &[
                (b"candidate", Attribute::Removed),
                (b"ice-ufrag", Attribute::Removed),
            ],
            10 => &[(b"ice-pacing", Attribute::Removed)],
            11 => &[
                (b"bundle-only", Attribute::BundleOnly),
                (b"ice-options", Attribute::Removed),
            ],
            12 => &[(b"ice-mismatch", Attribute::Removed)],
            // The addresses that packets are to come from, RFC 4570.
            13 => &[(b"source-filter", Attribute::Removed)],
            17 => &[
                (b"remote-candidates", Attribute::Removed),
                (b"end-of-candidates", Attribute::Removed),
            ],
            _ => &[],
        };
        let first = name.first()?.to_ascii_lowercase();
        let found = candidates
            .iter()
            .find(|(candidate, _)| candidate[0] == first && name.eq_ignore_ascii_case(candidate))?;
        Some(found.1)
    }
}
