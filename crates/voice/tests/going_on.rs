//! Another engine goes on with a stream; reports, silence, and what comes from strangers.

mod phones;

use phones::{EVENTS, FORMATS, Net, address, remote, stream, tone_clip};
use proptest::prelude::*;
use rtp::rtcp::{Compound, Form, Rtcp};
use voice::{
    Command, Direction, EndId, Event, Format, PlayId, PortId, Reason, Refusal, RoomId, Settings,
    Sound, Time, Voice,
};

#[test]
fn another_engine_goes_on_with_a_stream_and_its_prompt() {
    for format in FORMATS {
        let mut net = Net::default();
        let end = net.phone(4, format);
        net.command(Command::Play {
            end,
            play: PlayId(1),
            sounds: vec![Sound::Clip(tone_clip(440.0, 5_000))],
            from_ms: 0,
            times: 1,
            barge_in: false,
        });
        net.run(1_000);
        // The other one knows the stream's beginning, and how long ago the play began.
        net.voice = Voice::new(Settings::default(), 256);
        net.command(Command::Open {
            end,
            port: PortId(8),
            stream: stream(4),
        });
        let mut known = remote(4, format);
        known.learned = Some(address(4));
        net.describe(end, known);
        net.command(Command::Play {
            end,
            play: PlayId(1),
            sounds: vec![Sound::Clip(tone_clip(440.0, 5_000))],
            from_ms: 1_000,
            times: 1,
            barge_in: false,
        });
        net.run(1_000);
        let units = format.codec.clock_hz() / 50;
        let came = &net.of(end).came;
        for pair in came.windows(2) {
            let (a, b) = (pair[0].header, pair[1].header);
            assert_eq!(a.ssrc, b.ssrc);
            assert_eq!(b.sequence.0, a.sequence.0.wrapping_add(1), "{format:?}");
            assert_eq!(b.timestamp.0, a.timestamp.0.wrapping_add(units));
        }
        assert!(came.len() > 90);
        net.run(3_200);
        let played = net.told(|event| match event {
            Event::Played {
                completed, at_ms, ..
            } => Some((*completed, *at_ms)),
            _ => None,
        });
        assert_eq!(played, [(true, 5_000)]);
        net.end();
    }
}

#[test]
fn ends_speak_in_their_slots_and_not_all_at_once() {
    let mut net = Net::default();
    let ends: Vec<EndId> = (1..=40).map(|n| net.phone(n, Format::PCMU)).collect();
    net.run(500);
    let mut at = std::collections::BTreeMap::new();
    for end in &ends {
        for came in net.of(*end).came.iter().rev().take(1) {
            *at.entry(came.at.as_micros() % 20_000).or_insert(0) += 1;
        }
    }
    assert!(
        at.len() >= 10 && at.values().all(|count| *count <= 5),
        "{at:?}"
    );
    assert_eq!(net.voice.totals().lateness.over_a_frame(), 0);
    net.end();
}

#[test]
fn a_thread_that_was_away_catches_up_or_leaves_out() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(200);
    for (away_us, packets, late) in [(60_000, 3, 2), (1_000_000, 5, 4)] {
        let before = net.of(end).came.len();
        let was_late = net.voice.totals().lateness.over_a_frame();
        net.now_us += away_us;
        net.run(1);
        let came = &net.of(end).came;
        assert!(
            (packets..=packets + 1).contains(&(came.len() - before)),
            "{}",
            came.len() - before
        );
        let (last, first) = (&came[came.len() - 1].header, &came[0].header);
        let steps = last.sequence.0.wrapping_sub(first.sequence.0);
        assert_eq!(
            last.timestamp.0.wrapping_sub(first.timestamp.0),
            u32::from(steps) * 160
        );
        assert!(net.voice.totals().lateness.over_a_frame() >= was_late + late);
    }
    assert!(net.voice.totals().frames_skipped > 30);
    net.end();
}

#[test]
fn reports_go_both_ways_and_end_with_a_farewell() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::G722));
    net.run(12_000);
    let last = net.of(a).rtcp.last().expect("a report").clone();
    let compound = Compound::parse(&last, Form::Compound).expect("it holds together");
    let Some(Rtcp::SenderReport { ssrc, info, .. }) = compound.packets().next() else {
        panic!("no sender report");
    };
    let block = compound.blocks().next().expect("a block on the phone");
    assert_eq!(
        (ssrc.0, block.ssrc.0, block.lost),
        (stream(1).ssrc, 0x9001, 0)
    );
    assert!(info.packets > 300);
    // The phone's own report.
    let mut report = Vec::new();
    let seen = info.ntp.short();
    let here = rtp::NtpTime::of_unix_us(net.now_us).short();
    // Half of all is lost, and 50 ms of the time since were on the way.
    let waited = here.0.wrapping_sub(seen.0) - rtp::ShortNtp::of_us(50_000).0;
    let said = rtp::rtcp::ReportBlock {
        ssrc,
        fraction_lost: 128,
        lost: 300,
        last_report: seen,
        delay: rtp::ShortNtp(waited),
        ..Default::default()
    };
    rtp::rtcp::write::push_receiver_report(rtp::Ssrc(0x9001), &[said], &mut report).expect("one");
    let (now, source) = (net.now(), address(1));
    net.voice.receive(now, 3, source, &report);
    let report = net.voice.report(a).expect("it is open");
    let peer = report.peer.expect("it came");
    assert!(
        peer.lost == 300
            && peer.loss > 0.49
            && peer
                .round_trip_us
                .is_some_and(|us| us.abs_diff(50_000) < 100)
    );
    assert!(report.mos.expect("sound came") > 4.3 && report.peer_mos.expect("told") < 3.0);
    assert_eq!(report.received.lost, 0);
    net.command(Command::Close { end: b });
    net.run(10);
    let last = net.of(b).rtcp.last().expect("a farewell").clone();
    let compound = Compound::parse(&last, Form::Compound).expect("it holds together");
    assert!(
        compound
            .packets()
            .any(|part| matches!(part, Rtcp::Bye { .. }))
    );
    net.phones.remove(&b);
    net.voice.freed().clear();
    net.end();
}

#[test]
fn silence_of_a_peer_that_should_send_is_told_once() {
    let mut net = Net::new(Settings {
        silence_ms: 500,
        ..Settings::default()
    });
    let end = net.phone(1, Format::PCMU);
    net.run(400);
    net.of(end).is_sending = false;
    net.run(2_000);
    let told = |net: &Net| {
        net.told(|event| matches!(event, Event::Silent { .. }).then_some(()))
            .len()
    };
    assert_eq!(told(&net), 1);
    let mut held = remote(1, Format::PCMU);
    held.direction = Direction::SendOnly;
    net.describe(end, held);
    net.run(2_000);
    net.describe(end, remote(1, Format::PCMU));
    net.run(300);
    assert_eq!(told(&net), 1);
    net.run(500);
    assert_eq!(told(&net), 2);
    net.end();
}

#[test]
fn a_better_source_is_learned_and_told_and_a_foreign_one_is_not() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(100);
    net.of(end).is_sending = false;
    let moved = |port| std::net::SocketAddr::new(address(1).ip(), port);
    let packet = net.of(end).packet(0, &[0xff; 160], 160);
    let now = net.now();
    net.voice.receive(now, 2, address(99), &packet);
    assert_eq!(net.voice.totals().dropped[Reason::Foreign as usize], 1);
    // However many strangers send, the peer is heard.
    for _ in 0..1_000 {
        net.voice.receive(now, 2, address(99), &packet);
    }
    let before = net.voice.totals().packets_received;
    net.send(end, &packet);
    assert_eq!(net.voice.totals().packets_received, before + 1);
    // The stream goes on from another port, as a NAT does it.
    net.run(200);
    let packet = net.of(end).packet(0, &[0xff; 160], 160);
    net.of(end).address = moved(4_444);
    net.send(end, &packet);
    let learned = net.told(|event| match event {
        Event::Learned { source, .. } => Some(*source),
        _ => None,
    });
    assert_eq!(learned, [moved(4_444)]);
    net.run(100);
    net.end();
}

#[test]
fn what_cannot_be_opened_is_refused_and_only_own_ports_are_freed() {
    let mut voice = Voice::new(
        Settings {
            ends_max: 2,
            ..Settings::default()
        },
        8,
    );
    let now = Time::from_ms(5_000_000);
    let mut open = |end, port| {
        voice.command(
            now,
            Command::Open {
                end: EndId(end),
                port: PortId(port),
                stream: stream(1),
            },
        );
        let refused = voice.events().drain(..).find_map(|event| match event {
            Event::Refused { reason, .. } => Some(reason),
            _ => None,
        });
        (refused, voice.freed().drain(..).count())
    };
    assert_eq!(open(1, 0), (None, 0));
    assert_eq!(open(2, 0), (Some(Refusal::PortInUse), 0));
    assert_eq!(open(2, 8), (Some(Refusal::NoSuchPort), 0));
    assert_eq!(open(2, 1), (Some(Refusal::PortInUse), 0));
    assert_eq!(open(2, 7), (Some(Refusal::NoSuchPort), 0));
    assert_eq!(open(1, 2), (Some(Refusal::AlreadyOpen), 1));
    assert_eq!(open(2, 2), (None, 0));
    assert_eq!(open(3, 4), (Some(Refusal::TooManyEnds), 1));
    for end in [1, 2] {
        voice.command(now, Command::Close { end: EndId(end) });
    }
    assert!(voice.is_empty());
}

#[test]
fn a_flood_of_keys_is_limited() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(100);
    for n in 0..400_u32 {
        net.of(end).timestamp += 1_000;
        let packet = net
            .of(end)
            .packet(EVENTS, &[(n % 10) as u8, 0x8a, 0, 160], 0);
        net.send(end, &packet);
        if n % 10 == 9 {
            net.run(25);
        }
    }
    let digits = net
        .told(|event| matches!(event, Event::Digit { .. }).then_some(()))
        .len();
    assert!((32..=52).contains(&digits), "{digits}");
    assert!(net.voice.totals().dropped[Reason::TooMany as usize] > 300);
    net.end();
}

#[test]
fn what_does_not_hold_together_is_dropped_by_its_reason() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(200);
    net.of(end).is_sending = false;
    let good = net.of(end).packet(0, &[0xff; 160], 160);
    let wrong_type = net.of(end).packet(96, &[0xff; 160], 160);
    let long = net.of(end).packet(0, &[0xff; 1_400], 160);
    let mut other = net.of(end).packet(0, &[0xff; 160], 160);
    other[8] ^= 0x55;
    let cases: [(&[u8], Reason); 7] = [
        (&good, Reason::Replayed),
        (&wrong_type, Reason::WrongPayload),
        (&long, Reason::Huge),
        (&[0x80; 2_000], Reason::Huge),
        (&[0x80, 0, 1], Reason::Short),
        (&[0x90; 20], Reason::NotRtp),
        (&other, Reason::Probation),
    ];
    net.send(end, &good);
    for (packet, reason) in cases {
        let before = net.voice.report(end).expect("open").dropped;
        net.send(end, packet);
        let after = net.voice.report(end).expect("open").dropped;
        let changed: Vec<Reason> = Reason::ALL
            .into_iter()
            .filter(|it| after[*it as usize] > before[*it as usize])
            .collect();
        assert_eq!(changed, [reason]);
    }
    let now = net.now();
    net.voice.receive(now, 200, address(1), &good);
    assert_eq!(net.voice.totals().dropped[Reason::NoEnd as usize], 1);
    net.end();
}

/// Something that a controller or a stranger might do.
#[derive(Debug, Clone)]
enum Step {
    Packet(u64, Vec<u8>),
    Mangled(u64, usize, u8),
    Run(u64),
    Connect(u64, u64),
    Join(u64, u64),
    Leave(u64),
    Play(u64, bool),
    Echo(u64),
    Codec(u64, usize),
    Close(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let end = 1_u64..6;
    prop_oneof![
        (end.clone(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(end, bytes)| Step::Packet(end, bytes)),
        (end.clone(), 0_usize..40, any::<u8>())
            .prop_map(|(end, at, byte)| Step::Mangled(end, at, byte)),
        (1_u64..100).prop_map(Step::Run),
        (end.clone(), end.clone()).prop_map(|(a, b)| Step::Connect(a, b)),
        (end.clone(), 1_u64..3).prop_map(|(end, room)| Step::Join(end, room)),
        end.clone().prop_map(Step::Leave),
        (end.clone(), any::<bool>()).prop_map(|(end, barge_in)| Step::Play(end, barge_in)),
        end.clone().prop_map(Step::Echo),
        (end.clone(), 0_usize..4).prop_map(|(end, format)| Step::Codec(end, format)),
        end.prop_map(Step::Close),
    ]
}

fn apply(net: &mut Net, step: Step) {
    let of = EndId;
    match step {
        Step::Packet(end, bytes) => net.send(of(end), &bytes),
        Step::Mangled(end, at, byte) => {
            let payload_type = net.of(of(end)).format.payload_type;
            let mut packet = net.of(of(end)).packet(payload_type, &[byte; 60], 160);
            packet[at] = byte;
            net.send(of(end), &packet);
        }
        Step::Run(ms) => net.run(ms),
        Step::Connect(a, b) => net.command(Command::Connect { a: of(a), b: of(b) }),
        Step::Join(end, room) => net.command(Command::Join {
            end: of(end),
            room: RoomId(room),
            muted: false,
        }),
        Step::Leave(end) => net.command(Command::Leave { end: of(end) }),
        Step::Play(end, barge_in) => net.command(Command::Play {
            end: of(end),
            play: PlayId(end),
            sounds: vec![Sound::Clip(tone_clip(300.0, 70)), Sound::Silence { ms: 33 }],
            from_ms: 10,
            times: 2,
            barge_in,
        }),
        Step::Echo(end) => net.command(Command::Echo { end: of(end) }),
        Step::Codec(end, format) => {
            net.describe(of(end), remote(end, FORMATS[format]));
            net.of(of(end)).format = FORMATS[format];
        }
        Step::Close(end) => {
            net.command(Command::Close { end: of(end) });
            net.run(3);
            // Its number is not used again by a controller; here its port is.
            net.voice.freed().clear();
            net.events.clear();
            net.phones.remove(&of(end));
            net.phone(end, FORMATS[end as usize % 4]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_comes_nothing_breaks_and_nothing_is_left(steps in prop::collection::vec(step(), 0..60)) {
        let mut net = Net::default();
        for n in 1..6 {
            net.phone(n, FORMATS[n as usize % 4]);
        }
        for step in steps {
            apply(&mut net, step);
        }
        net.run(100);
        net.end();
    }
}
