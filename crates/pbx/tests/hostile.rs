//! Whatever comes, the PBX goes on and forgets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Cause, Happening, LegId, PlayId, Sound};
use proptest::prelude::*;
use records::Op;
use rig::*;

/// Does something else with each thing that happens.
fn restless() -> World {
    let mut count = 0u64;
    let mut pairs = std::collections::BTreeMap::new();
    World::new(move |happening, ids| {
        count += 1;
        let normal = Cause {
            status: 486,
            q850: 17,
            text: "x".into(),
        };
        match happening {
            Happening::Incoming(incoming) => {
                let (a, b) = (incoming.leg, LegId(ids.issue()));
                pairs.extend([(a, b), (b, a)]);
                let mut actions = vec![dial(b, Some(a), "200"), Action::Bridge { a, b }];
                match count % 4 {
                    0 => actions.insert(0, Action::Answer { leg: a }),
                    1 => actions.insert(0, Action::Progress { leg: a }),
                    2 => actions.push(Action::Answer { leg: a }),
                    _ => {}
                }
                actions
            }
            Happening::Answered { leg } if count.is_multiple_of(3) => {
                vec![Action::Play {
                    leg: *leg,
                    play: PlayId(count),
                    sounds: vec![Sound::Number(1)],
                    from_ms: 0,
                    repeat: true,
                    barge_in: true,
                }]
            }
            Happening::Answered { leg } if count.is_multiple_of(5) => {
                vec![Action::Unbridge { leg: *leg }]
            }
            Happening::TransferTo { leg, .. } => vec![Action::TransferResult {
                leg: *leg,
                status: 404,
            }],
            Happening::Hold { leg, .. } if count.is_multiple_of(2) => vec![Action::Hangup {
                leg: *leg,
                cause: normal,
            }],
            Happening::Failed { leg, .. } | Happening::Ended { leg, .. } => {
                let other = pairs.remove(leg);
                other
                    .map(|leg| Action::Hangup { leg, cause: normal })
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    })
}

#[derive(Debug, Clone)]
enum Step {
    Invite(u8, u8),
    Within(u8, u8, u32, u8),
    Reply(u8, u16, u8),
    Callee(u8, u8, u32, u8),
    Pass(u32),
    Bytes(Vec<u8>),
}

const METHODS: [&str; 9] = [
    "ACK", "BYE", "INVITE", "UPDATE", "REFER", "INFO", "PRACK", "OPTIONS", "CANCEL",
];
const EXTRAS: [&str; 7] = [
    "",
    "Supported: 100rel\r\n",
    "Require: 100rel\r\nRSeq: 1\r\n",
    "Refer-To: <sip:300@example.org>\r\n",
    "Session-Expires: 90\r\nSupported: timer\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Reason: Q.850;cause=17\r\nRetry-After: 4\r\n",
];

fn description(kind: u8) -> String {
    match kind % 8 {
        0 => String::new(),
        1 => sdp("192.0.2.9", 4000, "0 8 101"),
        2 => sdp("192.0.2.9", 4000, "8").replace("sendrecv", "inactive"),
        3 => sdp("0.0.0.0", 4000, "0"),
        4 => sdp("192.0.2.9", 0, "0"),
        5 => sdp("192.0.2.9", 4000, "18") + "m=video 4002 RTP/AVP 97\r\n",
        6 => "v=0\r\nm=audio".to_owned(),
        _ => sdp("192.0.2.30", 4010, "9 8"),
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3u8, any::<u8>()).prop_map(|(call, kind)| Step::Invite(call, kind)),
        6 => (0..3u8, 0..9u8, 1..6u32, any::<u8>()).prop_map(|(call, method, cseq, kind)| Step::Within(call, method, cseq, kind)),
        8 => (any::<u8>(), prop_oneof![Just(100u16), Just(180), Just(183), Just(200), Just(200), Just(202), Just(302), Just(404), Just(422), Just(481), Just(488), Just(491), Just(503)], any::<u8>())
            .prop_map(|(which, status, kind)| Step::Reply(which, status, kind)),
        4 => (any::<u8>(), 0..9u8, 1..6u32, any::<u8>()).prop_map(|(which, method, cseq, kind)| Step::Callee(which, method, cseq, kind)),
        3 => (0..40_000u32).prop_map(Step::Pass),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Step::Bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_script_makes_it_panic_or_leaves_anything_behind(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = restless();
        let mut answers: Vec<String> = Vec::new();
        let mut requests: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Invite(call, kind) => world.receive(&invite(&format!("c{call}"), "200", EXTRAS[usize::from(kind >> 3) % 7], &description(kind))),
                Step::Within(call, method, cseq, kind) => {
                    let call = format!("c{call}");
                    let known = answers.iter().rev().find(|text| header(text, "Call-ID") == call && header(text, "To").contains(";tag="));
                    let Some(known) = known.cloned() else { continue };
                    let method = METHODS[usize::from(method)];
                    world.receive(&within(method, &call, &known, cseq, EXTRAS[usize::from(kind >> 3) % 7], &description(kind)));
                }
                Step::Reply(which, status, kind) => {
                    if requests.is_empty() {
                        continue;
                    }
                    let request = requests[requests.len() - 1 - usize::from(which) % requests.len().min(4)].clone();
                    let tag = ["", "bob", "eve"][usize::from(kind) % 3];
                    world.receive(&reply(&request, &format!("{status} Text"), tag, EXTRAS[usize::from(kind >> 3) % 7], &description(kind)));
                }
                Step::Callee(which, method, cseq, kind) => {
                    let invites: Vec<&String> = requests.iter().filter(|text| text.starts_with("INVITE ")).collect();
                    if invites.is_empty() {
                        continue;
                    }
                    let request = invites[usize::from(which) % invites.len()].clone();
                    world.receive(&from_callee(METHODS[usize::from(method)], &request, "bob", cseq, EXTRAS[usize::from(kind >> 3) % 7], &description(kind)));
                }
                Step::Pass(ms) => world.pass(u64::from(ms)),
                Step::Bytes(bytes) => {
                    world.turn(|pbx, turn| pbx.receive(turn, &bytes, flow()));
                }
            }
            for text in &world.sent {
                let list = if text.starts_with("SIP/2.0") { &mut answers } else { &mut requests };
                list.push(text.clone());
            }
        }
        // All that rings is given up, and all that speaks is ended.
        for _ in 0..4 {
            world.pass(400_000);
        }
        world.is_empty_in_time();
    }

    #[test]
    fn no_record_makes_it_panic(kind in 0..4u16, key in proptest::collection::vec(any::<u8>(), 8), value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut world = restless();
        world.pbx.restore(Op { kind, key: &key, value: Some(&value) });
        world.turn(|pbx, turn| pbx.take_office(turn, 3));
        world.pass(10_000);
    }
}
