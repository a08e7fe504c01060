//! The values that the engine and its controller speak of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use audio::SampleRate;
use audio::dtmf::Digit;
use audio::tone::Tone;

/// A moment in microseconds since the start of 1970, by a clock that is set once and then only counts on. Nodes agree about it
/// to some milliseconds, so that one can go on with another's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The start of 1970.
    pub const ZERO: Time = Time(0);

    /// The moment that lies `micros` microseconds after the start of 1970.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// The moment that lies `ms` milliseconds after the start of 1970.
    pub const fn from_ms(ms: u64) -> Time {
        Time(ms.saturating_mul(1_000))
    }

    /// Microseconds since the start of 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Microseconds since `earlier`; 0 if that lies ahead.
    pub const fn micros_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `micros` microseconds later.
    pub const fn plus_micros(self, micros: u64) -> Time {
        Time(self.0.saturating_add(micros))
    }
}

/// A pair of sockets of one media thread, by the index of its RTP socket; the RTCP socket is the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

/// One RTP stream with one peer: the sound of one leg. The controller chooses the number and never uses it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndId(pub u64);

/// A conference. It is there while it has members, plays or records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

/// Something that is played, chosen by the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlayId(pub u64);

/// Something that is recorded, chosen by the controller and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// How sound is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, payload type 9.
    G722,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// Units of the timestamp a second. G.722 counts at 8,000 (RFC 3551 section 4.5.2).
    pub const fn clock_hz(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8_000,
            Codec::Opus => audio::opus::CLOCK_HZ,
        }
    }

    /// The rate at which the engine hears and says it. Of Opus it uses the lower 8,000 Hz.
    pub const fn rate(self) -> SampleRate {
        match self {
            Codec::Pcmu | Codec::Pcma => SampleRate::Hz8000,
            Codec::G722 | Codec::Opus => SampleRate::Hz16000,
        }
    }

    /// Its name in a session description.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }
}

/// A codec by its payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// How sound is encoded.
    pub codec: Codec,
    /// 0 to 127.
    pub payload_type: u8,
}

impl Format {
    /// µ-law with its assigned payload type.
    pub const PCMU: Format = Format {
        codec: Codec::Pcmu,
        payload_type: 0,
    };
    /// A-law with its assigned payload type.
    pub const PCMA: Format = Format {
        codec: Codec::Pcma,
        payload_type: 8,
    };
    /// G.722 with its assigned payload type.
    pub const G722: Format = Format {
        codec: Codec::G722,
        payload_type: 9,
    };
}

/// Formats that an end takes in, at most.
pub const FORMATS_MAX: usize = 4;

/// What the peer said of the Opus that it wants (`a=fmtp`, RFC 7587 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpusParameters {
    /// `maxaveragebitrate`, bits a second; brought between 6,000 and 128,000. 24,000 is plenty for speech.
    pub bit_rate: u32,
    /// `useinbandfec`.
    pub forward_correction: bool,
    /// `usedtx`.
    pub is_discontinuous: bool,
}

impl Default for OpusParameters {
    fn default() -> OpusParameters {
        OpusParameters {
            bit_rate: 24_000,
            forward_correction: true,
            is_discontinuous: false,
        }
    }
}

/// What offer and answer agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// What is sent, by the peer's payload type.
    pub send: Format,
    /// What may come, by our payload types; usually the same. What is not listed is dropped.
    pub receive: [Option<Format>; FORMATS_MAX],
    /// The payload type of telephone events that the peer takes (RFC 4733). Without it digits are sent as tones.
    pub send_events: Option<u8>,
    /// The payload type of telephone events that come.
    pub receive_events: Option<u8>,
    /// How telephone events count their duration, both ways, in Hz. It should be the clock of `send`, but phones offer 8,000 beside Opus.
    pub event_clock_hz: u32,
    /// The payload type of comfort noise that comes (RFC 3389), usually 13.
    pub receive_noise: Option<u8>,
    /// How Opus is sent.
    pub opus: OpusParameters,
}

impl Negotiated {
    /// One format both ways, events by `events` both ways with its clock, comfort noise as payload type 13 where the clock is 8,000.
    pub const fn symmetric(format: Format, events: Option<u8>) -> Negotiated {
        let noise = match format.codec.clock_hz() {
            8_000 => Some(13),
            _ => None,
        };
        Negotiated {
            send: format,
            receive: [Some(format), None, None, None],
            send_events: events,
            receive_events: events,
            event_clock_hz: format.codec.clock_hz(),
            receive_noise: noise,
            opus: OpusParameters {
                bit_rate: 24_000,
                forward_correction: true,
                is_discontinuous: false,
            },
        }
    }
}

/// Which ways sound goes, seen from us, as offer and answer agreed on (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// We send and receive.
    #[default]
    SendRecv,
    /// We send only: the peer put us on hold with music, or we did not want to hear.
    SendOnly,
    /// We receive only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether we send.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether we receive.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Where it wants RTP. None, an unspecified address or port 0: nowhere.
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP, if it said so (RFC 3605); otherwise the port after RTP's.
    pub rtcp: Option<SocketAddr>,
    /// It takes RTCP on the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// The host that its SIP came from: its packets may come from there too.
    pub signalling: IpAddr,
    /// Where its packets were found to come from, by another node's [`Event::Learned`](crate::Event::Learned).
    pub learned: Option<SocketAddr>,
    /// What offer and answer agreed on.
    pub negotiated: Negotiated,
    /// Which ways sound goes.
    pub direction: Direction,
}

/// How a stream that we send began. Whoever has this value can go on with the stream: packet `n` is due `n` times 20 ms after the start, and its
/// number and timestamp lie `n` steps after the first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Who sends it.
    pub ssrc: u32,
    /// The number of the first packet.
    pub first_sequence: u16,
    /// The timestamp of the first packet.
    pub first_timestamp: u32,
    /// When the first packet was due.
    pub started_at: Time,
}

/// A piece of sound that many may play at once, at 8,000 and at 16,000 samples a second. Where one is missing it is made of the other while it plays.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    pub(crate) narrow: Option<Arc<[i16]>>,
    pub(crate) wide: Option<Arc<[i16]>>,
}

impl Clip {
    /// The same sound at 8,000 and at 16,000 samples a second.
    pub fn new(narrow: Arc<[i16]>, wide: Arc<[i16]>) -> Clip {
        Clip {
            narrow: Some(narrow),
            wide: Some(wide),
        }
    }

    /// Sound at 8,000 samples a second only.
    pub fn narrow(sound: Arc<[i16]>) -> Clip {
        Clip {
            narrow: Some(sound),
            wide: None,
        }
    }

    /// Sound at 16,000 samples a second only.
    pub fn wide(sound: Arc<[i16]>) -> Clip {
        Clip {
            narrow: None,
            wide: Some(sound),
        }
    }

    /// How long it is, in milliseconds.
    pub fn ms(&self) -> u32 {
        let of = |sound: &Option<Arc<[i16]>>, rate: SampleRate| {
            let sound = sound.as_ref()?;
            Some(u32::try_from(sound.len() / rate.samples(1)).unwrap_or(u32::MAX))
        };
        let narrow = of(&self.narrow, SampleRate::Hz8000);
        narrow
            .or_else(|| of(&self.wide, SampleRate::Hz16000))
            .unwrap_or(0)
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({} ms)", self.ms())
    }
}

/// Something to play.
#[derive(Debug, Clone, PartialEq)]
pub enum Sound {
    /// A piece of sound in memory.
    Clip(Clip),
    /// A tone for so long; 0 is without end.
    Tone {
        /// Its sines and cadence.
        tone: Tone,
        /// How long, in milliseconds.
        ms: u32,
    },
    /// Nothing, for so many milliseconds.
    Silence {
        /// How long.
        ms: u32,
    },
    /// A key as a pair of tones.
    Key {
        /// Which one.
        digit: Digit,
        /// How long, in milliseconds.
        ms: u32,
        /// The pause after it.
        pause_ms: u32,
    },
    /// Sound that comes piece by piece: [`Event::Hungry`](crate::Event::Hungry) asks for it and
    /// [`Command::Feed`](crate::Command::Feed) brings it. Only as the last sound of a play, and not repeated.
    Feed {
        /// 8,000 or 16,000 samples a second (48,000 counts as 16,000).
        rate: SampleRate,
    },
}
