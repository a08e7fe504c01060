use super::*;
use crate::Header;
use proptest::prelude::*;
use std::collections::HashSet;

const CLOCK: Option<ClockRate> = ClockRate::new(8_000);
const A: Ssrc = Ssrc(0xaaaa);
const B: Ssrc = Ssrc(0xbbbb);
/// Bytes of each packet of [`Stream`].
const BYTES: u64 = 172;

/// A stream under test: packets of 20 ms, one every 20 ms unless told otherwise.
struct Stream {
    reception: Reception,
    ssrc: Ssrc,
    payload_type: u8,
}

impl Stream {
    fn new() -> Self {
        Self {
            reception: Reception::default(),
            ssrc: A,
            payload_type: 0,
        }
    }

    fn at(&mut self, sequence: u16, timestamp: u32, arrival_us: u64) -> Arrival {
        let header = Header {
            payload_type: PayloadType::new(self.payload_type).expect("a type"),
            sequence: Sequence(sequence),
            timestamp: Timestamp(timestamp),
            ssrc: self.ssrc,
            ..Header::default()
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(BYTES as usize, 0);
        let packet = Packet::parse(&bytes).expect("a packet");
        self.reception.receive(&packet, Micros(arrival_us), CLOCK)
    }

    fn send(&mut self, sequence: u16) -> Arrival {
        let at = u32::from(sequence);
        self.at(sequence, at * 160, u64::from(at) * 20_000)
    }

    fn begin(&mut self, sequence: u16) {
        assert_eq!(self.send(sequence), Arrival::Probation);
        assert_eq!(self.send(sequence.wrapping_add(1)), Arrival::Begun);
    }

    fn statistics(&self) -> Statistics {
        self.reception.statistics()
    }
}

#[test]
fn a_reception_is_small() {
    assert!(size_of::<Reception>() <= 120, "{}", size_of::<Reception>());
}

#[test]
fn a_source_begins_with_two_packets_in_sequence() {
    let mut stream = Stream::new();
    for lonely in [7, 900, 50, 49] {
        assert_eq!(stream.send(lonely), Arrival::Probation);
    }
    assert_eq!(stream.statistics(), Statistics::default());
    assert_eq!(stream.send(50), Arrival::Begun);
    let found = stream.statistics();
    assert_eq!((found.packets, found.expected, found.lost), (2, 2, 0));
    assert_eq!((found.ssrc, found.ssrc_changes), (Some(A), 0));
    assert_eq!(found.bytes, 2 * BYTES);
}

#[test]
fn numbers_wrap_around_without_a_loss() {
    let mut stream = Stream::new();
    stream.begin(65_530);
    for sequence in (65_532..=65_535).chain(0..1_000) {
        assert_eq!(stream.send(sequence), Arrival::Next);
    }
    let found = stream.statistics();
    assert_eq!((found.packets, found.lost), (1_006, 0));
    let block = stream.reception.report(ShortNtp(0), ShortNtp(0));
    assert_eq!(block.map(|block| block.highest), Some(0x1_0000 + 999));
}

#[test]
fn losses_and_their_runs_are_counted_also_beyond_the_window() {
    for after in [0, 30, 64, 200] {
        let mut stream = Stream::new();
        stream.begin(0);
        // 2, 10 to 12, and 100 to 199 are missing.
        let sequences = (3..10).chain(13..100).chain(200..=200 + after);
        for sequence in sequences {
            assert_eq!(stream.send(sequence), Arrival::Next);
        }
        let found = stream.statistics();
        assert_eq!((found.lost, found.loss_runs), (104, 3), "{after}");
        assert_eq!(found.expected, 201 + u32::from(after));
    }
}

#[test]
fn a_late_packet_fills_its_place() {
    let mut stream = Stream::new();
    stream.begin(0);
    for sequence in [3, 5, 4, 2] {
        stream.send(sequence);
    }
    let found = stream.statistics();
    assert_eq!(
        (found.packets, found.late, found.lost, found.loss_runs),
        (6, 2, 0, 0)
    );
}

#[test]
fn a_packet_from_before_the_first_counts() {
    let mut stream = Stream::new();
    stream.begin(0);
    assert_eq!(stream.send(65_533), Arrival::Late);
    let found = stream.statistics();
    // 65,534 and 65,535 are missing.
    assert_eq!((found.packets, found.expected, found.lost), (3, 5, 2));
    for sequence in 2..100 {
        stream.send(sequence);
    }
    assert_eq!(
        (stream.statistics().lost, stream.statistics().loss_runs),
        (2, 1)
    );
}

#[test]
fn what_came_before_is_told() {
    let mut stream = Stream::new();
    stream.begin(100);
    for sequence in 102..200 {
        stream.send(sequence);
    }
    for sequence in [199, 198, 136, 135, 100] {
        assert_eq!(stream.send(sequence), Arrival::Replayed, "{sequence}");
    }
    let found = stream.statistics();
    assert_eq!((found.packets, found.replayed, found.lost), (100, 5, 0));
    assert_eq!(found.bytes, 100 * BYTES);
}

#[test]
fn a_jump_begins_anew_with_two_in_sequence() {
    let mut stream = Stream::new();
    stream.begin(100);
    assert_eq!(stream.send(100 + 1 + MAX_DROPOUT), Arrival::Probation);
    assert_eq!(stream.send(102), Arrival::Next);
    // The one that jumped is forgotten by now.
    assert_eq!(stream.send(100 + 2 + MAX_DROPOUT), Arrival::Probation);
    assert_eq!(stream.send(100 + 3 + MAX_DROPOUT), Arrival::Begun);
    let found = stream.statistics();
    assert_eq!((found.packets, found.expected, found.lost), (5, 5, 0));
    assert_eq!((found.restarts, found.ssrc_changes), (1, 0));
    assert_eq!(stream.send(2_900), Arrival::Probation, "too far behind");
}

#[test]
fn another_source_takes_over_with_two_in_sequence() {
    let mut stream = Stream::new();
    stream.begin(100);
    stream.send(103);
    stream.ssrc = B;
    assert_eq!(stream.send(7), Arrival::Probation);
    stream.ssrc = A;
    assert_eq!(stream.send(104), Arrival::Next);
    stream.ssrc = B;
    stream.begin(8);
    let found = stream.statistics();
    assert_eq!((found.packets, found.expected, found.lost), (6, 7, 1));
    assert_eq!(
        (found.ssrc, found.ssrc_changes, found.restarts),
        (Some(B), 1, 0)
    );
    assert_eq!(found.loss_runs, 1);
}

#[test]
fn jitter_is_that_of_appendix_a_8() {
    let mut stream = Stream::new();
    let mut reference = 0.0_f64;
    let mut last_transit = None;
    for sequence in 0..500_u16 {
        // Up to 9 ms late, in whole units of 125 µs.
        let delay_us = u64::from(sequence) * 7_919 % 73 * 125;
        let arrival = u64::from(sequence) * 20_000 + delay_us;
        stream.at(sequence, u32::from(sequence) * 160, arrival);
        if sequence == 0 {
            continue; // The first is on probation.
        }
        let transit = delay_us as f64 / 125.0;
        if let Some(last) = last_transit.replace(transit) {
            let step: f64 = transit - last;
            reference += (step.abs() - reference) / 16.0;
        }
    }
    let found = f64::from(stream.statistics().jitter_us) / 125.0;
    assert!((found - reference).abs() < 1.5, "{found}, not {reference}");
    assert!(stream.statistics().jitter_us_max >= stream.statistics().jitter_us);
}

#[test]
fn a_stream_in_step_has_no_jitter_whatever_its_clock() {
    for hz in [8_000, 16_000, 44_100, 48_000, 90_000] {
        let mut stream = Stream::new();
        for sequence in 0..200_u16 {
            let header = Header {
                sequence: Sequence(sequence),
                timestamp: Timestamp(u32::MAX - 5_000).plus(u32::from(sequence) * (hz / 50)),
                ssrc: A,
                ..Header::default()
            };
            let bytes = header.to_bytes();
            let packet = Packet::parse(&bytes).expect("a packet");
            // Months of uptime do not matter.
            let arrival = Micros(10_000_000_000_000 + u64::from(sequence) * 20_000);
            stream
                .reception
                .receive(&packet, arrival, ClockRate::new(hz));
        }
        assert_eq!(stream.statistics().jitter_us, 0, "{hz}");
    }
}

#[test]
fn events_of_one_timestamp_and_new_timestamps_are_no_jitter() {
    let mut stream = Stream::new();
    for sequence in 0..10_u16 {
        stream.send(sequence);
    }
    for sequence in 10..20_u16 {
        stream.at(sequence, 1_600, u64::from(sequence) * 20_000);
    }
    for sequence in 20..30_u16 {
        stream.send(sequence);
    }
    for sequence in 30..40_u16 {
        let timestamp = 0x7000_0000 + u32::from(sequence) * 160;
        stream.at(sequence, timestamp, u64::from(sequence) * 20_000);
    }
    assert_eq!(stream.statistics().jitter_us_max, 0);
}

#[test]
fn jitter_keeps_its_size_when_the_clock_changes() {
    let mut reception = Reception::default();
    let mut clock = 8_000;
    let mut jitter = 0;
    for sequence in 0..300_u16 {
        if sequence == 200 {
            jitter = reception.statistics().jitter_us;
            assert!(jitter > 3_000, "{jitter}");
            clock = 48_000;
        }
        let header = Header {
            sequence: Sequence(sequence),
            timestamp: Timestamp(u32::from(sequence) * clock / 50),
            ssrc: A,
            ..Header::default()
        };
        let bytes = header.to_bytes();
        let packet = Packet::parse(&bytes).expect("a packet");
        let arrival = u64::from(sequence) * 20_000 + u64::from(sequence % 2) * 4_000;
        reception.receive(&packet, Micros(arrival), ClockRate::new(clock));
        if sequence == 200 {
            let now = reception.statistics().jitter_us;
            assert!(now.abs_diff(jitter) <= 125, "{now}, not {jitter}");
        }
    }
}

#[test]
fn pauses_and_payload_types_are_counted() {
    let mut stream = Stream::new();
    stream.begin(0);
    stream.payload_type = 101;
    stream.at(2, 320, 40_000);
    stream.payload_type = 0;
    stream.at(3, 480, 60_000);
    stream.at(4, 4_000, 60_000 + GAP_US);
    stream.at(5, 4_160, 60_001 + 2 * GAP_US);
    let found = stream.statistics();
    assert_eq!((found.gaps, found.gap_us_max), (1, 100_001));
    assert_eq!(found.payload_changes, 2);
    assert_eq!(found.payload_type.map(PayloadType::number), Some(0));
}

#[test]
fn a_report_tells_the_loss_since_the_last_one() {
    let mut stream = Stream::new();
    assert_eq!(stream.reception.report(ShortNtp(0), ShortNtp(0)), None);
    stream.begin(0);
    for sequence in (2..10).chain(12..20) {
        stream.send(sequence);
    }
    let block = |stream: &mut Stream| {
        let block = stream.reception.report(ShortNtp(5), ShortNtp(6));
        block.expect("it has begun")
    };
    let first = block(&mut stream);
    // 2 of 20.
    assert_eq!(
        (first.fraction_lost, first.lost, first.highest),
        (25, 2, 19)
    );
    assert_eq!(
        (first.ssrc, first.last_report, first.delay),
        (A, ShortNtp(5), ShortNtp(6))
    );
    for sequence in (20..30).step_by(2) {
        stream.send(sequence);
    }
    let second = block(&mut stream);
    // 4 of 9: 29 has not been heard of.
    assert_eq!((second.fraction_lost, second.lost), (113, 6));
    assert_eq!(block(&mut stream).fraction_lost, 0);
    for _ in 0..10 {
        stream.send(28);
    }
    let third = block(&mut stream);
    assert_eq!(
        (third.fraction_lost, third.lost),
        (0, -4),
        "repetitions count in reports"
    );
    assert_eq!(stream.statistics().lost, 6);
}

#[test]
fn only_what_goes_on_continues() {
    let mut stream = Stream::new();
    let packet = |ssrc, sequence| {
        let header = Header {
            ssrc,
            sequence: Sequence(sequence),
            ..Header::default()
        };
        header.to_bytes()
    };
    let continues = |stream: &Stream, ssrc, sequence| {
        let bytes = packet(ssrc, sequence);
        let packet = Packet::parse(&bytes).expect("a packet");
        stream.reception.is_continued_by(&packet)
    };
    assert!(!continues(&stream, A, 1));
    stream.begin(65_000);
    assert!(continues(&stream, A, 65_002));
    assert!(continues(
        &stream,
        A,
        65_001_u16.wrapping_add(MAX_DROPOUT - 1)
    ));
    assert!(!continues(&stream, A, 65_001_u16.wrapping_add(MAX_DROPOUT)));
    assert!(!continues(&stream, A, 65_001));
    assert!(!continues(&stream, A, 65_000));
    assert!(!continues(&stream, B, 65_002));
}

#[test]
fn the_burst_ratio_is_one_for_single_losses() {
    let found = Statistics {
        expected: 1_000,
        lost: 50,
        loss_runs: 50,
        ..Statistics::default()
    };
    assert!((found.loss() - 0.05).abs() < 1e-6);
    assert!((found.burst_ratio() - 1.0).abs() < 1e-6);
    let found = Statistics {
        loss_runs: 10,
        ..found
    };
    assert!((found.burst_ratio() - 4.75).abs() < 1e-4);
    assert!((Statistics::default().burst_ratio() - 1.0).abs() < 1e-6);
}

proptest! {
    /// Any loss, any order within the window, any repetition: the sums are those of plain sets.
    #[test]
    fn sums_are_those_of_a_plain_model(start: u16, steps in prop::collection::vec((0_u16..6, 0_u16..60), 1..400)) {
        let mut stream = Stream::new();
        stream.at(start, 0, 0);
        stream.at(start.wrapping_add(1), 0, 0);
        let mut seen: HashSet<i64> = [0, 1].into();
        let (mut highest, mut replayed) = (1_i64, 0);
        for (kind, distance) in steps {
            let number = match kind {
                0 => highest - i64::from(distance),
                1 => highest + i64::from(distance),
                _ => highest + 1,
            };
            let wire = (i64::from(start) + number) as u16;
            let expected = if number > highest {
                Arrival::Next
            } else if seen.contains(&number) {
                replayed += 1;
                Arrival::Replayed
            } else {
                Arrival::Late
            };
            prop_assert_eq!(stream.at(wire, 0, 0), expected);
            seen.insert(number);
            highest = highest.max(number);
        }
        let lowest = seen.iter().min().expect("not empty");
        let missing = |number: i64| !seen.contains(&number);
        let runs = (*lowest..highest).filter(|&at| missing(at) && !missing(at + 1)).count();
        let found = stream.statistics();
        prop_assert_eq!(i64::from(found.expected), highest - lowest + 1);
        prop_assert_eq!(found.packets as usize, seen.len());
        prop_assert_eq!(found.lost, found.expected - found.packets);
        prop_assert_eq!(found.replayed, replayed);
        prop_assert_eq!(found.loss_runs as usize, runs);
    }

    #[test]
    fn nothing_that_comes_breaks_it(packets in prop::collection::vec((any::<[u8; 12]>(), any::<u64>(), 0_u32..100_000), 0..100)) {
        let mut reception = Reception::default();
        for (mut bytes, arrival, hz) in packets {
            bytes[0] = 0x80;
            // Few sources and numbers, so that they meet.
            bytes[2] &= 0x80;
            let source = bytes[11] & 1;
            bytes[8..].copy_from_slice(&[0, 0, 0, source]);
            let packet = Packet::parse(&bytes).expect("a packet");
            reception.receive(&packet, Micros(arrival), ClockRate::new(hz));
            let _ = reception.report(ShortNtp(0), ShortNtp(0));
            let _ = reception.statistics().burst_ratio();
        }
    }
}
