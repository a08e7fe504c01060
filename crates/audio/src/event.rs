//! Keys as telephone events (RFC 4733): payloads, and the machines that send and receive them.
//!
//! An event is told by several packets of one timestamp whose duration grows, and its end by three packets that are alike. The receiver
//! makes one beginning and one end of them, whatever is lost.

use crate::Error;

/// A payload of an event (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// What happened: 0 to 15 are keys ([`Digit::of_event`](crate::dtmf::Digit::of_event)).
    pub event: u8,
    /// It is over.
    pub end: bool,
    /// How far it is below 0 dBm0, in dB, 0 to 63.
    pub volume: u8,
    /// How long it has lasted, in units of the timestamp.
    pub duration: u16,
}

impl Payload {
    /// Bytes of a payload.
    pub const BYTES: usize = 4;

    /// Reads the first event of a payload. Further ones, and the reserved bit, are passed over.
    ///
    /// # Errors
    /// `ShortPayload` of fewer than four bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(&[event, flags, high, low]) = bytes.first_chunk::<{ Self::BYTES }>() else {
            return Err(Error::ShortPayload { bytes: bytes.len() });
        };
        Ok(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The payload as sent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [high, low] = self.duration.to_be_bytes();
        let end = if self.end { 0x80 } else { 0 };
        [self.event, end | self.volume.min(63), high, low]
    }
}

/// A packet that a [`Sender`] wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The marker bit: set in the first packet of an event.
    pub marker: bool,
    /// The timestamp: that of the event's beginning.
    pub timestamp: u32,
    /// The payload.
    pub payload: Payload,
}

/// Sends one event.
#[derive(Debug, Clone)]
pub struct Sender {
    event: u8,
    volume: u8,
    /// Where this segment begins (RFC 4733 section 2.5.1.3).
    start: u32,
    /// How long this segment has lasted.
    duration: u16,
    /// What is left of the event, `None` as long as the key is held.
    left: Option<u32>,
    is_first: bool,
    /// Packets that tell the end, still to be sent.
    ends: u8,
}

/// How often the end is told (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;

impl Sender {
    /// An event that begins at timestamp `start` and lasts `length` units, or until [`release`](Self::release). `volume` is in dB
    /// below 0 dBm0.
    #[must_use]
    pub fn new(event: u8, volume: u8, start: u32, length: Option<u32>) -> Self {
        Self {
            event,
            volume: volume.min(63),
            start,
            duration: 0,
            left: length,
            is_first: true,
            ends: ENDS,
        }
    }

    /// The key is let go: the next packet tells the end.
    pub fn release(&mut self) {
        self.left = Some(0);
    }

    /// The packet for the next `units` of time. `None` when the end was told often enough.
    pub fn send(&mut self, units: u16) -> Option<Outgoing> {
        if self.ends == 0 {
            return None;
        }
        if self.ends == ENDS {
            self.go_on(units);
        }
        let end = self.left == Some(0);
        if end {
            self.ends -= 1;
        }
        let marker = std::mem::take(&mut self.is_first);
        Some(Outgoing {
            marker,
            timestamp: self.start,
            payload: Payload {
                event: self.event,
                end,
                volume: self.volume,
                duration: self.duration,
            },
        })
    }

    fn go_on(&mut self, units: u16) {
        let units = match &mut self.left {
            // Let go: but an event without length is none.
            Some(0) if self.duration > 0 => return,
            Some(0) => units,
            Some(left) => {
                let units = u32::from(units).min(*left);
                *left -= units;
                units as u16
            }
            None => units,
        };
        match self.duration.checked_add(units) {
            Some(duration) => self.duration = duration,
            // What does not fit into the field goes on as another segment, right behind.
            None => {
                self.start = self.start.wrapping_add(u32::from(self.duration));
                self.duration = units;
            }
        }
    }
}

/// What a [`Receiver`] makes of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An event begins.
    Begun(u8),
    /// It is over.
    Ended {
        /// Which one.
        event: u8,
        /// How long it lasted, in units of the timestamp.
        duration: u32,
    },
}

/// Receives the events of a stream.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    current: Option<Current>,
    /// Timestamp of the last segment that was told to be over.
    ended: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    event: u8,
    start: u32,
    duration: u16,
    /// The duration of segments before.
    before: u32,
    heard_us: u64,
}

impl Current {
    fn ended(&self) -> Change {
        Change::Ended {
            event: self.event,
            duration: self.before.saturating_add(u32::from(self.duration)),
        }
    }
}

impl Receiver {
    /// An event is over when nothing was heard of it for so long: its end was lost.
    pub const SILENCE_US: u64 = 250_000;
    /// A packet this far behind in units of the timestamp is no late one: a minute at 8,000 Hz.
    const LATE_UNITS: u32 = 480_000;

    /// Takes a packet with this timestamp that arrived at `now_us`, and tells `each` what it changes: nothing, one thing, or two.
    pub fn receive(
        &mut self,
        payload: Payload,
        timestamp: u32,
        now_us: u64,
        mut each: impl FnMut(Change),
    ) {
        // One that is told again, or came late. Much older is a stream that began anew.
        let is_old = |than: u32| than.wrapping_sub(timestamp) < Self::LATE_UNITS;
        if self.ended.is_some_and(is_old) {
            return;
        }
        match &mut self.current {
            Some(current) if current.start == timestamp => {
                if current.event != payload.event {
                    return; // Nobody changes an event's number under way.
                }
                current.duration = current.duration.max(payload.duration);
                current.heard_us = now_us;
            }
            Some(current) if is_old(current.start) => return,
            Some(current) if current.is_continued_by(payload, timestamp) => {
                current.before = current.before.saturating_add(u32::from(current.duration));
                current.start = timestamp;
                current.duration = payload.duration;
                current.heard_us = now_us;
            }
            _ => {
                // The end of the one before was lost.
                if let Some(before) = self.current.take() {
                    each(before.ended());
                }
                each(Change::Begun(payload.event));
                self.current = Some(Current {
                    event: payload.event,
                    start: timestamp,
                    duration: payload.duration,
                    before: 0,
                    heard_us: now_us,
                });
            }
        }
        if payload.end
            && let Some(current) = self.current.take()
        {
            self.ended = Some(timestamp);
            each(current.ended());
        }
    }

    /// Ends what was not heard of for [`Self::SILENCE_US`].
    pub fn expire(&mut self, now_us: u64, mut each: impl FnMut(Change)) {
        if self.next_us().is_some_and(|at| at <= now_us)
            && let Some(current) = self.current.take()
        {
            self.ended = Some(current.start);
            each(current.ended());
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        self.current
            .map(|current| current.heard_us.saturating_add(Self::SILENCE_US))
    }
}

impl Current {
    /// Whether this is the next segment of the same long event (RFC 4733 section 2.5.1.3). Updates may have been lost before.
    fn is_continued_by(&self, payload: Payload, timestamp: u32) -> bool {
        let ahead = timestamp.wrapping_sub(self.start);
        let is_long = self.duration >= u16::MAX / 2;
        payload.event == self.event && is_long && ahead <= u32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listen(packets: &[Outgoing]) -> Vec<Change> {
        let mut receiver = Receiver::default();
        let mut changes = Vec::new();
        for (n, packet) in packets.iter().enumerate() {
            let now_us = n as u64 * 20_000;
            receiver.receive(packet.payload, packet.timestamp, now_us, |it| {
                changes.push(it)
            });
        }
        let now_us = packets.len() as u64 * 20_000 + Receiver::SILENCE_US;
        receiver.expire(now_us, |it| changes.push(it));
        assert_eq!(receiver.next_us(), None);
        changes
    }

    fn send(event: u8, start: u32, length: u32) -> Vec<Outgoing> {
        let mut sender = Sender::new(event, 10, start, Some(length));
        std::iter::from_fn(|| sender.send(160)).collect()
    }

    #[test]
    fn the_payload_is_that_of_section_2_3() {
        let payload = Payload {
            event: 11,
            end: true,
            volume: 10,
            duration: 1_600,
        };
        assert_eq!(payload.to_bytes(), [11, 0x8a, 0x06, 0x40]);
        assert_eq!(Payload::parse(&payload.to_bytes()), Ok(payload));
        // The reserved bit, and what follows.
        assert_eq!(Payload::parse(&[11, 0xca, 0x06, 0x40, 9]), Ok(payload));
        assert_eq!(
            Payload::parse(&[11, 0, 0]),
            Err(Error::ShortPayload { bytes: 3 })
        );
    }

    #[test]
    fn an_event_grows_and_its_end_is_told_three_times() {
        let packets = send(5, 1_000, 500);
        let durations: Vec<u16> = packets
            .iter()
            .map(|packet| packet.payload.duration)
            .collect();
        assert_eq!(durations, [160, 320, 480, 500, 500, 500]);
        let ends: Vec<bool> = packets.iter().map(|packet| packet.payload.end).collect();
        assert_eq!(ends, [false, false, false, true, true, true]);
        let markers = packets.iter().filter(|packet| packet.marker).count();
        assert!(packets[0].marker && markers == 1);
        assert!(packets.iter().all(|packet| packet.timestamp == 1_000));
    }

    #[test]
    fn a_key_is_held_until_it_is_let_go() {
        let mut sender = Sender::new(1, 10, 0, None);
        for _ in 0..10 {
            assert!(!sender.send(160).expect("it is held").payload.end);
        }
        sender.release();
        let ends: Vec<Outgoing> = std::iter::from_fn(|| sender.send(160)).collect();
        assert_eq!(ends.len(), 3);
        assert!(
            ends.iter()
                .all(|packet| packet.payload.end && packet.payload.duration == 1_600)
        );
        let mut brief = Sender::new(1, 10, 0, None);
        brief.release();
        assert_eq!(
            brief.send(160).map(|packet| packet.payload.duration),
            Some(160)
        );
    }

    #[test]
    fn one_beginning_and_one_end_come_of_an_event() {
        let expected = [
            Change::Begun(5),
            Change::Ended {
                event: 5,
                duration: 500,
            },
        ];
        let packets = send(5, u32::MAX - 100, 500);
        assert_eq!(listen(&packets), expected);
        // Whichever packets are lost, as long as one of the ends comes.
        for lost in 0..1_u32 << 5 {
            let kept = packets
                .iter()
                .enumerate()
                .filter(|(n, _)| lost >> n & 1 == 0);
            let kept: Vec<Outgoing> = kept.map(|(_, packet)| *packet).collect();
            assert_eq!(listen(&kept), expected, "{lost:06b}");
        }
        // In another order.
        let mut late = packets.clone();
        late.reverse();
        assert_eq!(listen(&late), expected);
    }

    #[test]
    fn an_event_whose_end_is_lost_ends_with_the_next_or_after_a_silence() {
        let mut packets = send(5, 0, 800);
        packets.retain(|packet| !packet.payload.end);
        let ended = |event, duration| Change::Ended { event, duration };
        assert_eq!(listen(&packets), [Change::Begun(5), ended(5, 640)]);
        packets.extend(send(5, 1_600, 160));
        assert_eq!(
            listen(&packets),
            [
                Change::Begun(5),
                ended(5, 640),
                Change::Begun(5),
                ended(5, 160)
            ]
        );
    }

    #[test]
    fn the_same_key_twice_is_two_events() {
        let packets = [send(7, 0, 800), send(7, 1_600, 800)].concat();
        assert_eq!(listen(&packets).len(), 4);
    }

    #[test]
    fn a_long_event_goes_on_in_segments_and_is_one() {
        let packets = send(9, 500, 200_000);
        let starts: std::collections::BTreeSet<u32> =
            packets.iter().map(|packet| packet.timestamp).collect();
        assert_eq!(starts.len(), 4);
        assert!(
            packets
                .windows(2)
                .all(|pair| pair[0].timestamp == pair[1].timestamp || !pair[0].payload.end)
        );
        assert_eq!(
            listen(&packets),
            [
                Change::Begun(9),
                Change::Ended {
                    event: 9,
                    duration: 200_000
                }
            ]
        );
    }

    #[test]
    fn a_stream_that_begins_anew_is_heard() {
        let packets = [send(7, 3_000_000_000, 800), send(8, 2_000, 800)].concat();
        assert_eq!(listen(&packets).len(), 4);
    }

    proptest! {
        #[test]
        fn beginnings_and_ends_alternate_whatever_comes(packets in prop::collection::vec((any::<[u8; 4]>(), 0_u32..4), 0..200)) {
            let mut receiver = Receiver::default();
            let mut changes = Vec::new();
            for (n, (bytes, timestamp)) in packets.into_iter().enumerate() {
                let payload = Payload::parse(&bytes).expect("four bytes");
                let now_us = n as u64 * 50_000;
                receiver.expire(now_us, |it| changes.push(it));
                receiver.receive(payload, timestamp.wrapping_mul(0x3000_0000), now_us, |it| changes.push(it));
            }
            receiver.expire(u64::MAX, |it| changes.push(it));
            prop_assert_eq!(changes.len() % 2, 0);
            for pair in changes.chunks(2) {
                let matches = matches!(pair, [Change::Begun(a), Change::Ended { event: b, .. }] if a == b);
                prop_assert!(matches, "{:?}", pair);
            }
        }
    }
}
