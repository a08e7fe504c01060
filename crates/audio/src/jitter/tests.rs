use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const PIECE: u32 = 160;
const PIECE_US: u64 = 20_000;

/// What a listener got of a stream that was sent through a network.
#[derive(Debug, Default)]
struct Result {
    played: Vec<u32>,
    missing: u32,
    silent: u32,
    skips: u32,
    /// From sending to playing, in milliseconds, of each packet.
    delays_ms: Vec<f64>,
}

/// Sends packets whose payload is their number: `network` says how many microseconds each is under way, or that it is lost.
/// `pull_us` is the listener's idea of 20 ms.
fn run(
    buffer: &mut Buffer,
    count: u32,
    pull_us: u64,
    mut network: impl FnMut(u32) -> Option<u64>,
) -> Result {
    let start = 1_000_000;
    let mut arrivals: Vec<(u64, u32)> = (0..count)
        .filter_map(|n| Some((start + u64::from(n) * PIECE_US + network(n)?, n)))
        .collect();
    arrivals.sort_unstable();
    let mut arrivals = VecDeque::from(arrivals);
    let mut result = Result::default();
    // Not in step with the packets.
    let mut now = start + 7_000;
    let mut silent_at_end = 0;
    while !arrivals.is_empty() || silent_at_end < 30 {
        while let Some(&(at, n)) = arrivals.front()
            && at <= now
        {
            arrivals.pop_front();
            buffer.insert(&packet(n, &n.to_be_bytes()), at);
        }
        match buffer.pull(PIECE, now) {
            Next::Packet {
                payload, skipped, ..
            } => {
                let n = u32::from_be_bytes(payload.try_into().expect("four bytes"));
                result.played.push(n);
                result.skips += u32::from(skipped);
                let sent = start + u64::from(n) * PIECE_US;
                result.delays_ms.push((now - sent) as f64 / 1_000.0);
                buffer.advance(PIECE);
                silent_at_end = 0;
            }
            Next::Missing { units } => {
                assert!(units <= PIECE);
                result.missing += 1;
            }
            Next::Silent => result.silent += 1,
        }
        silent_at_end += u32::from(arrivals.is_empty());
        now += pull_us;
    }
    assert_eq!(buffer.held(), 0);
    assert!(
        result.played.is_sorted_by(|a, b| a < b),
        "in their order, each once"
    );
    result
}

fn packet(n: u32, payload: &[u8]) -> Incoming<'_> {
    Incoming {
        timestamp: (u32::MAX - 5_000).wrapping_add(n * PIECE),
        payload_type: 0,
        payload,
    }
}

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

fn new() -> Buffer {
    Buffer::new(Settings::default())
}

#[test]
fn a_steady_stream_is_played_whole_after_the_least_delay() {
    let mut buffer = new();
    let result = run(&mut buffer, 500, PIECE_US, |_| Some(40_000));
    assert_eq!(result.played, (0..500).collect::<Vec<_>>());
    assert_eq!((result.skips, buffer.counts().late), (0, 0));
    // 40 ms under way, 20 to 40 in the buffer.
    assert!(
        result.delays_ms.iter().all(|ms| (60.0..=80.0).contains(ms)),
        "{:?}",
        result.delays_ms
    );
    // At the end it runs dry before it is silent.
    assert_eq!(result.missing, DRY_PULLS_MAX);
}

#[test]
fn jitter_is_taken_up_by_a_delay_that_fits() {
    let mut buffer = new();
    let mut random = random(5);
    let result = run(&mut buffer, 3_000, PIECE_US, |_| {
        Some(30_000 + random(60_000))
    });
    let lost = 3_000 - result.played.len();
    assert!(lost < 15, "{lost} late, {:?}", buffer.counts());
    let late = &result.delays_ms[1_000..];
    let mean = late.iter().sum::<f64>() / late.len() as f64;
    assert!((85.0..130.0).contains(&mean), "{mean} ms");
    assert!(
        (50..=70).contains(&buffer.delay_ms()),
        "{}",
        buffer.delay_ms()
    );
}

#[test]
fn after_a_storm_the_delay_comes_down_again() {
    let mut buffer = new();
    let mut random = random(6);
    let result = run(&mut buffer, 4_000, PIECE_US, |n| {
        Some(if n < 500 {
            20_000 + random(120_000)
        } else {
            20_000
        })
    });
    let delay = |range: std::ops::Range<usize>| {
        let part = &result.delays_ms[range];
        part.iter().sum::<f64>() / part.len() as f64
    };
    assert!(delay(400..450) > 110.0, "{}", delay(400..450));
    assert!(delay(3_000..3_500) < 75.0, "{}", delay(3_000..3_500));
    assert!(result.skips >= 3);
}

#[test]
fn lost_packets_are_missing_in_their_place() {
    let mut buffer = new();
    let lost = |n: u32| n % 10 == 5;
    let result = run(&mut buffer, 1_000, PIECE_US, |n| {
        (!lost(n)).then_some(20_000)
    });
    assert_eq!(result.played.len(), 900);
    assert_eq!(result.missing, 100 + DRY_PULLS_MAX);
    assert_eq!(result.skips, 0);
}

#[test]
fn packets_in_another_order_are_put_right() {
    let mut buffer = new();
    // Every fourth is overtaken by the two after it.
    let result = run(&mut buffer, 1_000, PIECE_US, |n| {
        Some(if n % 4 == 1 { 65_000 } else { 20_000 })
    });
    assert!(result.played.len() >= 995, "{}", result.played.len());
}

#[test]
fn clocks_that_differ_are_made_up_for() {
    for pull_us in [19_990, 20_010] {
        let mut buffer = new();
        // 20,000 packets are 400 s; 500 in a million of that are 200 ms.
        let result = run(&mut buffer, 20_000, pull_us, |_| Some(20_000));
        let last = &result.delays_ms[19_000..];
        assert!(
            last.iter().all(|ms| (20.0..110.0).contains(ms)),
            "{pull_us}: {:?}",
            &last[..5]
        );
        assert!(
            20_000 - result.played.len() < 25,
            "{pull_us}: {}",
            result.played.len()
        );
        assert!(result.missing < 30, "{pull_us}: {}", result.missing);
    }
}

#[test]
fn a_silence_is_silent_and_the_stream_goes_on_after_it() {
    let mut buffer = new();
    let spoken = |n: u32| n % 200 < 100;
    let result = run(&mut buffer, 1_000, PIECE_US, |n| {
        spoken(n).then_some(20_000)
    });
    assert_eq!(result.played.len(), 500);
    assert_eq!(result.missing, 5 * DRY_PULLS_MAX);
    assert!(result.silent > 350);
}

#[test]
fn a_network_that_stands_still_delays_no_more_than_it_has_to() {
    let mut buffer = new();
    // For a second nothing comes, then all at once.
    let result = run(&mut buffer, 2_000, PIECE_US, |n| {
        Some(match n {
            500..550 => 20_000 + u64::from(550 - n) * PIECE_US,
            _ => 20_000,
        })
    });
    let last = result.delays_ms.last().expect("played");
    assert!(*last < 120.0, "{last} ms");
    assert!(result.played.len() > 1_940, "{}", result.played.len());
}

#[test]
fn timestamps_that_jump_begin_anew() {
    let mut buffer = new();
    let held = packet(0, b"a");
    assert_eq!(buffer.insert(&held, 0), Inserted::First);
    assert_eq!(buffer.insert(&held, 0), Inserted::Repeated);
    assert_eq!(buffer.insert(&packet(200, b"b"), 0), Inserted::First);
    assert_eq!(buffer.held(), 1);
    assert_eq!(buffer.pull(PIECE, 0), Next::Silent, "it waits for its time");
    let next = buffer.pull(PIECE, 20_000);
    assert_eq!(
        next,
        Next::Packet {
            payload_type: 0,
            payload: b"b",
            skipped: false
        }
    );
    buffer.advance(PIECE);
    assert_eq!(buffer.insert(&packet(199, b"c"), 20_000), Inserted::Late);
}

#[test]
fn what_the_sender_left_out_is_not_concealed() {
    let mut buffer = new();
    let mut missing = 0;
    let mut played = 0;
    for piece in 0..100_u32 {
        let now = u64::from(piece) * PIECE_US;
        // From the 50th on the timestamps are a second further.
        let n = piece + if piece < 50 { 0 } else { 50 };
        buffer.insert(&packet(n, b"x"), now);
        match buffer.pull(PIECE, now) {
            Next::Packet { .. } => {
                played += 1;
                buffer.advance(PIECE);
            }
            Next::Missing { .. } => missing += 1,
            Next::Silent => assert_eq!(piece, 0),
        }
    }
    assert!(played >= 97 && missing <= 2, "{played} {missing}");
}

#[test]
fn what_is_no_sound_when_decoded_is_not_taken_again() {
    let mut buffer = new();
    buffer.insert(&packet(0, b""), 0);
    buffer.insert(&packet(1, b"x"), 0);
    assert!(matches!(buffer.pull(PIECE, 20_000), Next::Packet { .. }));
    buffer.advance(0);
    assert_eq!(buffer.insert(&packet(0, b""), 20_000), Inserted::Late);
    assert_eq!(buffer.held(), 1);
}

#[test]
fn a_flood_is_held_within_bounds() {
    let mut buffer = new();
    for n in 0..1_000 {
        // Too near together to be a jump each.
        buffer.insert(&packet(n / 10, b"x"), 0);
    }
    assert_eq!(buffer.held(), 32);
    let long = [0; 1_281];
    assert_eq!(buffer.insert(&packet(0, &long), 0), Inserted::Long);
}

proptest! {
    #[test]
    fn whatever_comes_is_played_once_and_in_order(
        steps in prop::collection::vec((0_u8..3, 0_u32..60, 0_u64..100_000), 1..300),
        start: u32,
    ) {
        let mut buffer = new();
        let mut now = 0;
        let mut last = None;
        for (kind, number, wait) in steps {
            now += wait;
            if kind == 0 {
                if let Next::Packet { payload, .. } = buffer.pull(PIECE, now) {
                    let number = payload[0];
                    prop_assert!(last.is_none_or(|last| last < number));
                    last = Some(number);
                    buffer.advance(PIECE);
                }
            } else {
                let timestamp = start.wrapping_add(number * PIECE);
                let payload = [number as u8];
                let inserted = buffer.insert(&Incoming { timestamp, payload_type: 0, payload: &payload }, now);
                if inserted == Inserted::First {
                    last = None;
                }
            }
            prop_assert!(buffer.held() <= 32 && buffer.delay_ms() <= 200);
        }
    }
}
