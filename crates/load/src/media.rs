//! The sound of calls: streams whose packets say whose they are and when they left.
//!
//! Each packet names its stream and the one that its sender hears. So whoever receives it knows without any SIP whether it was meant for
//! him, through back-to-back user agents too.

mod device;
mod thread;

pub use device::Sound;
pub(crate) use device::start as start_sound;
pub(crate) use thread::{Bound, MediaThread};

use std::net::SocketAddr;

use rtp::{ClockRate, Header, Micros, Packet, PayloadType, Reception, Sequence, Ssrc, Timestamp};

use crate::tally::Tally;

/// From packet to packet.
pub(crate) const PACKET_US: u64 = 20_000;
/// Moments within [`PACKET_US`] at which streams have their turn.
pub(crate) const SLOTS: u64 = 20;
/// A packet of G.711 (RFC 3551 section 4.5.14).
const SAMPLES: usize = 160;
/// Header and sound.
pub(crate) const PACKET_BYTES: usize = rtp::HEADER_BYTES + SAMPLES;
/// Run, stream, the stream that is heard, number, time.
const WORDS_BYTES: usize = 32;
/// The same in halves.
const MARK_BYTES: usize = 2 * WORDS_BYTES;

/// What a media thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// The stream of a call begins.
    Begin {
        /// The socket.
        socket: u32,
        /// Where packets go.
        peer: SocketAddr,
    },
    /// The other side is somewhere else from now on.
    Peer {
        /// The socket.
        socket: u32,
        /// Where packets go.
        peer: SocketAddr,
    },
    /// The call is over.
    End {
        /// The socket.
        socket: u32,
    },
}

/// What a packet of ours says in its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    run: u32,
    stream: u64,
    hears: u64,
    number: u32,
    sent_us: u64,
}

impl Mark {
    /// Half an octet in each: mu-law's 0x7F, which is the other zero, comes back from who decodes and encodes it as 0xFF.
    fn write(self, sound: &mut [u8]) {
        let mut words = [0; WORDS_BYTES];
        words[0..4].copy_from_slice(&self.run.to_be_bytes());
        words[4..12].copy_from_slice(&self.stream.to_be_bytes());
        words[12..20].copy_from_slice(&self.hears.to_be_bytes());
        words[20..24].copy_from_slice(&self.number.to_be_bytes());
        words[24..32].copy_from_slice(&self.sent_us.to_be_bytes());
        let (mark, rest) = sound.split_at_mut(MARK_BYTES);
        for (halves, word) in mark.chunks_exact_mut(2).zip(words) {
            halves.copy_from_slice(&[word >> 4, word & 0x0F]);
        }
        for (at, byte) in rest.iter_mut().enumerate() {
            *byte = fill(self.number, at);
        }
    }

    /// Reads it and says whether the rest is as it was sent. None if it is no packet of this run.
    fn read(sound: &[u8], run: u32) -> Option<(Mark, bool)> {
        let mut words = [0; WORDS_BYTES];
        let halves = sound.first_chunk::<MARK_BYTES>()?.chunks_exact(2);
        for (word, halves) in words.iter_mut().zip(halves) {
            *word = halves[0] << 4 | halves[1] & 0x0F;
        }
        let word = |at: usize| {
            u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let mark = Mark {
            run: word(0),
            stream: long(4),
            hears: long(12),
            number: word(20),
            sent_us: long(24),
        };
        let rest = sound[MARK_BYTES..].iter().enumerate();
        let is_whole = sound.len() == SAMPLES
            && rest
                .map(|(at, byte)| *byte ^ fill(mark.number, at))
                .fold(0, |all, one| all | one)
                == 0;
        (mark.run == run).then_some((mark, is_whole))
    }
}

fn fill(number: u32, at: usize) -> u8 {
    (number as u8).wrapping_mul(31).wrapping_add(at as u8) & 0x3F
}

/// One end of a call.
#[derive(Debug, Clone, Default)]
struct Stream {
    peer: Option<SocketAddr>,
    /// Its own number; 0 is nobody's.
    id: u64,
    /// The stream that had this socket before: packets for it may still be under way.
    before: u64,
    /// The stream that it hears.
    hears: u64,
    number: u32,
    begun_us: u64,
    reception: Reception,
}

/// The streams of one thread; pure.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Of the whole run.
    run: u32,
    /// The upper bits of this thread's streams' numbers.
    thread: u64,
    streams: Vec<Stream>,
    slots: Vec<Vec<u32>>,
    next_id: u64,
    pub(crate) tally: Tally,
}

impl Streams {
    /// Room for as many streams as there are sockets.
    pub(crate) fn new(run: u32, thread: u64, sockets: usize) -> Streams {
        Streams {
            run,
            thread: thread << 48,
            streams: vec![Stream::default(); sockets],
            slots: (0..SLOTS)
                .map(|_| Vec::with_capacity(sockets / SLOTS as usize + 1))
                .collect(),
            next_id: 0,
            tally: Tally::default(),
        }
    }

    /// Does what it is told.
    pub(crate) fn command(&mut self, now_us: u64, command: Command) {
        match command {
            Command::Begin { socket, peer } => {
                self.end(now_us, socket);
                self.next_id += 1;
                let Some(stream) = self.streams.get_mut(socket as usize) else {
                    return;
                };
                *stream = Stream {
                    peer: Some(peer),
                    id: self.thread | self.next_id,
                    before: stream.before,
                    begun_us: now_us,
                    ..Stream::default()
                };
                self.slots[socket as usize % SLOTS as usize].push(socket);
                self.tally.packets.streams += 1;
            }
            Command::Peer { socket, peer } => {
                let stream = self.streams.get_mut(socket as usize);
                if let Some(stream) = stream.filter(|stream| stream.peer.is_some()) {
                    stream.peer = Some(peer);
                }
            }
            Command::End { socket } => self.end(now_us, socket),
        }
    }

    fn end(&mut self, now_us: u64, socket: u32) {
        let Some(stream) = self.streams.get_mut(socket as usize) else {
            return;
        };
        if stream.peer.take().is_none() {
            return;
        }
        self.slots[socket as usize % SLOTS as usize].retain(|other| *other != socket);
        let found = stream.reception.statistics();
        // Silence at the end is silence, too.
        let last_us = stream
            .reception
            .last_arrival()
            .map_or(stream.begun_us, |last| last.0);
        let tail_us = now_us.saturating_sub(last_us);
        let counts = &mut self.tally.packets;
        if found.packets == 0 && tail_us > PACKET_US * 5 {
            counts.silent += 1;
        }
        counts.lost += u64::from(found.lost);
        counts.duplicates += u64::from(found.replayed);
        counts.out_of_order += u64::from(found.late);
        self.tally.gap.add(tail_us.max(u64::from(found.gap_us_max)));
        self.tally.jitter.add(u64::from(found.jitter_us));
        stream.before = stream.id;
        stream.id = 0;
    }

    /// Notes how long the stream that has waited longest for a packet has done so.
    pub(crate) fn look_for_silence(&mut self, now_us: u64) {
        let streams = self.streams.iter().filter(|stream| stream.peer.is_some());
        let heard = streams.filter_map(|stream| stream.reception.last_arrival());
        let longest = heard.map(|last| now_us.saturating_sub(last.0)).max();
        self.tally.silent_us_max = longest.unwrap_or(0);
    }

    /// Ends all of them.
    pub(crate) fn end_all(&mut self, now_us: u64) {
        for socket in 0..self.streams.len() as u32 {
            self.end(now_us, socket);
        }
    }

    /// Hands the packets of moment `slot` to `send(socket, packet, peer)`.
    pub(crate) fn send(
        &mut self,
        slot: u64,
        now_us: u64,
        mut send: impl FnMut(u32, &[u8], SocketAddr) -> bool,
    ) {
        let mut packet = [0; PACKET_BYTES];
        for &socket in &self.slots[(slot % SLOTS) as usize] {
            let Some(stream) = self.streams.get_mut(socket as usize) else {
                continue;
            };
            let Some(peer) = stream.peer else { continue };
            let header = Header {
                marker: stream.number == 0,
                payload_type: PayloadType::default(),
                sequence: Sequence(stream.number as u16),
                timestamp: Timestamp(stream.number.wrapping_mul(SAMPLES as u32)),
                ssrc: Ssrc(stream.id as u32 ^ self.run),
            };
            packet[..rtp::HEADER_BYTES].copy_from_slice(&header.to_bytes());
            let mark = Mark {
                run: self.run,
                stream: stream.id,
                hears: stream.hears,
                number: stream.number,
                sent_us: now_us,
            };
            mark.write(&mut packet[rtp::HEADER_BYTES..]);
            stream.number = stream.number.wrapping_add(1);
            match send(socket, &packet, peer) {
                true => self.tally.packets.sent += 1,
                false => self.tally.packets.unsent += 1,
            }
        }
    }

    /// Takes a packet that came.
    pub(crate) fn receive(&mut self, now_us: u64, socket: u32, bytes: &[u8]) {
        let Some(stream) = self
            .streams
            .get_mut(socket as usize)
            .filter(|stream| stream.id != 0)
        else {
            return;
        };
        if rtp::classify(bytes) != rtp::Class::Rtp {
            return;
        }
        let counts = &mut self.tally.packets;
        let Ok(packet) = Packet::parse(bytes) else {
            counts.corrupt += 1;
            return;
        };
        match Mark::read(packet.payload(), self.run) {
            None => counts.foreign += 1,
            Some((mark, _)) if mark.hears == stream.before && mark.hears != 0 => return,
            Some((mark, is_whole)) => {
                let is_echo = mark.stream == stream.id;
                let is_ours = is_echo
                    || (mark.hears == stream.id || mark.hears == 0)
                        && (stream.hears == mark.stream || stream.hears == 0);
                if !is_ours {
                    counts.wrong_party += 1;
                    return;
                }
                stream.hears = mark.stream;
                counts.echoed += u64::from(is_echo);
                // Whoever echoes may count for himself.
                let is_numbered = is_echo || packet.sequence().0 == mark.number as u16;
                counts.corrupt += u64::from(!is_whole || !is_numbered);
                self.tally.delay.add(now_us.saturating_sub(mark.sent_us));
            }
        }
        counts.received += 1;
        if let Some(last) = stream.reception.last_arrival() {
            self.tally.pause.add(now_us.saturating_sub(last.0));
        }
        stream
            .reception
            .receive(&packet, Micros(now_us), ClockRate::new(8_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "127.0.0.1:9";

    fn two() -> Streams {
        let mut streams = Streams::new(7, 1, 4);
        for socket in 0..4 {
            let peer = PEER.parse().expect("an address");
            streams.command(0, Command::Begin { socket, peer });
        }
        streams
    }

    /// Sends from `from` in one moment and gives the packet.
    fn packet(streams: &mut Streams, from: u32, now_us: u64) -> Vec<u8> {
        let mut found = Vec::new();
        streams.send(u64::from(from), now_us, |_, bytes, _| {
            found.extend_from_slice(bytes);
            true
        });
        assert_eq!(found.len(), PACKET_BYTES);
        found
    }

    #[test]
    fn who_hears_another_call_is_noticed() {
        let mut streams = two();
        // 0 and 1 talk, and so do 2 and 3.
        for (one, other) in [(0, 1), (2, 3)] {
            for n in 0..3 {
                let there = packet(&mut streams, one, n * PACKET_US);
                streams.receive(n * PACKET_US + 500, other, &there);
                let back = packet(&mut streams, other, n * PACKET_US);
                streams.receive(n * PACKET_US + 500, one, &back);
            }
        }
        assert_eq!(streams.tally.packets.wrong_party, 0);
        assert_eq!(streams.tally.packets.received, 12);
        let strange = packet(&mut streams, 2, 60_000);
        streams.receive(60_500, 1, &strange);
        assert_eq!(streams.tally.packets.wrong_party, 1);
        assert_eq!(streams.tally.delay.max_us(), 500);
    }

    #[test]
    fn losses_and_silence_are_counted_when_the_call_ends() {
        let mut streams = two();
        for n in 0..10 {
            let there = packet(&mut streams, 0, n * PACKET_US);
            if n != 4 {
                streams.receive(n * PACKET_US, 1, &there);
            }
        }
        streams.look_for_silence(300_000);
        assert_eq!(streams.tally.silent_us_max, 300_000 - 9 * PACKET_US);
        streams.command(500_000, Command::End { socket: 1 });
        assert_eq!(streams.tally.packets.lost, 1);
        assert_eq!(streams.tally.pause.max_us(), 2 * PACKET_US);
        assert_eq!(streams.tally.gap.max_us(), 500_000 - 9 * PACKET_US);
        assert_eq!(streams.tally.packets.silent, 0);
        streams.end_all(600_000);
        assert_eq!(streams.tally.packets.silent, 3);
        assert!(streams.slots.iter().all(Vec::is_empty));
    }

    #[test]
    fn what_was_changed_on_the_way_is_corrupt_and_what_is_not_ours_foreign() {
        let mut streams = two();
        let mut there = packet(&mut streams, 0, 0);
        *there.last_mut().expect("bytes") ^= 1;
        streams.receive(0, 1, &there);
        assert_eq!(streams.tally.packets.corrupt, 1);
        there[rtp::HEADER_BYTES] ^= 1;
        streams.receive(0, 1, &there);
        assert_eq!(streams.tally.packets.foreign, 1);
    }

    #[test]
    fn sound_is_the_same_after_it_was_decoded_and_encoded() {
        for number in [0, 0x7F, 0x7F7F_7F7F, u32::MAX] {
            let wide = u64::from(number) << 32 | u64::from(number);
            let mark = Mark {
                run: number,
                stream: wide,
                hears: wide,
                number,
                sent_us: wide,
            };
            let mut sound = [0; SAMPLES];
            mark.write(&mut sound);
            assert!(!sound.contains(&0x7F));
            assert_eq!(Mark::read(&sound, number), Some((mark, true)));
        }
    }

    #[test]
    fn an_echo_may_have_numbers_of_its_own() {
        let mut streams = two();
        let mut back = packet(&mut streams, 0, 0);
        // The sequence number of RTP.
        back[2] ^= 0x40;
        streams.receive(500, 0, &back);
        let counts = streams.tally.packets;
        assert_eq!((counts.echoed, counts.corrupt), (1, 0));
        // From somebody else it is a wrong packet.
        let mut there = packet(&mut streams, 2, 0);
        there[2] ^= 0x40;
        streams.receive(500, 3, &there);
        assert_eq!(streams.tally.packets.corrupt, 1);
    }

    #[test]
    fn packets_allocate_nothing() {
        let mut streams = two();
        let peer = PEER.parse().expect("an address");
        let talk = |streams: &mut Streams, n: u64| {
            let mut wire = [[0; PACKET_BYTES]; 4];
            for (slot, place) in wire.iter_mut().enumerate() {
                streams.send(slot as u64, n * PACKET_US, |_, bytes, _| {
                    place.copy_from_slice(bytes);
                    true
                });
            }
            for (socket, packet) in wire.iter().enumerate() {
                streams.receive(n * PACKET_US + 300, socket as u32 ^ 1, packet);
            }
            // Calls come and go.
            streams.command(n, Command::Begin { socket: 3, peer });
        };
        talk(&mut streams, 0);
        let found = allocation_counter::measure(|| (1..100).for_each(|n| talk(&mut streams, n)));
        assert_eq!(found.count_total, 0);
        assert!(streams.tally.packets.received > 200);
    }

    #[test]
    fn packets_for_the_call_before_are_nobodys() {
        let mut streams = two();
        let there = packet(&mut streams, 0, 0);
        streams.receive(0, 1, &there);
        let back = packet(&mut streams, 1, 0);
        let peer = PEER.parse().expect("an address");
        streams.command(100, Command::Begin { socket: 0, peer });
        streams.receive(200, 0, &back);
        assert_eq!(streams.tally.packets.received, 1);
        assert_eq!(streams.tally.packets.wrong_party, 0);
    }
}
