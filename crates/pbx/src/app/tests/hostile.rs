//! Strangers, floods, and whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"
mailbox = "101"
group = "g"
ring_s = 5

[[pbx.extension]]
number = "102"
group = "g"
no_answer = "queue q"
busy = "menu m"

[[pbx.mailbox]]
number = "101"
pin = "123"

[[pbx.room]]
number = "200"
music = "default"

[[pbx.queue]]
name = "q"
agents = ["101", "102"]
always_in = true
order = "all"
wait_max_s = 20
wrap_up_s = 1
overflow = "voicemail 101"

[[pbx.menu]]
name = "m"
prompt = "m"
direct = true
keys = { 1 = "room 200", 2 = "queue q", 3 = "voicemail 101", 4 = "mailbox", 5 = "park", 6 = "pickup" }

[[pbx.route]]
pattern = "300"
steps = ["queue q"]

[[pbx.route]]
pattern = "200"
steps = ["room 200"]

[[pbx.route]]
pattern = "500"
steps = ["pin p", "menu m"]

[[pbx.route]]
pattern = "501"
steps = ["record", "ring 101 102 for 5s confirm", "menu m"]

[[pbx.pin]]
name = "p"
pin = "123"

[[pbx.route]]
pattern = "9."
steps = ["goto 9$rest"]
"#;

#[test]
fn a_number_that_is_none_is_refused_and_goes_nowhere() {
    let long = "1".repeat(65);
    let plan_text = PLAN;
    script(plan_text, |t| {
        for number in [
            "",
            "../../etc/passwd",
            "1 2",
            "101@evil",
            "\u{661}01",
            "1%00",
            long.as_str(),
        ] {
            t.call("x", number);
            t.expect(&["reject <x> 404"]);
        }
        t.ended += 1;
    });
}

#[test]
fn a_flood_of_keys_changes_nothing() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.said();
        for _ in 0..500 {
            t.presses(a, "7");
        }
        let state = t.board.calls.values().next().unwrap();
        let mut bytes = Vec::new();
        state.write(&mut bytes);
        assert!(bytes.len() < 1_000);
        t.presses(a, "xyz\u{0}");
        t.hangs_up(a);
        let b = t.call("101", "102");
        t.answers("102");
        t.said();
        t.presses(b, "1234567890*9*9*9##");
        t.presses(b, &"5".repeat(100));
        t.wait(5_000);
        assert_eq!(t.said().last().unwrap(), "play <101>: transfer/wrong");
        t.hangs_up(b);
    });
}

/// What may happen next, by a few numbers.
fn something(t: &mut Desk, what: u8, which: u8, more: u8) {
    let legs: Vec<LegId> = t.board.legs.keys().copied().collect();
    let leg = match legs.len() {
        0 => LegId(999_999),
        count => legs[which as usize % count],
    };
    let users = ["101", "102", "103"];
    let numbers = [
        "101", "102", "200", "300", "500", "501", "*8", "*97", "*98", "700", "701", "*45", "91",
        "*46",
    ];
    match what % 14 {
        0 | 1 => {
            let user = users[which as usize % users.len()];
            let number = numbers[more as usize % numbers.len()];
            let new = t.next_leg(user);
            let mut incoming = t.incoming_of(
                new,
                user,
                number,
                which.is_multiple_of(4) || more.is_multiple_of(2),
            );
            if what == 1 && more.is_multiple_of(3) {
                incoming.replaces = Some(leg);
            }
            t.happen(Happening::Incoming(Box::new(incoming)));
        }
        2 => t.happen(Happening::Ringing {
            leg,
            has_media: more.is_multiple_of(2),
        }),
        3 | 4 => t.happen(Happening::Answered { leg }),
        5 => {
            t.plays.remove(&leg);
            t.happen(Happening::Failed {
                leg,
                cause: super::super::end::cause([486, 404, 408, 302][more as usize % 4]),
                contacts: vec!["102@x".to_owned()],
            });
            let mut answers = Vec::new();
            t.recordings_end(leg, &mut answers);
            for answer in answers {
                t.happen(answer);
            }
        }
        6 if more.is_multiple_of(3) => t.hangs_up(leg),
        7 | 8 => {
            let keys = [
                "1", "*2", "##", "101#", "*4", "*1", "123#", "#", "7", "*6", "2",
            ];
            t.presses(leg, keys[more as usize % keys.len()]);
        }
        9 => {
            if t.plays.contains_key(&leg) {
                t.heard(leg);
            }
        }
        10 => {
            if t.recordings.iter().any(|one| one.0 == leg) {
                t.recorded(leg, u32::from(more) * 100, more.is_multiple_of(2));
            }
        }
        11 => {
            if !t.questions.is_empty() {
                t.told(match more % 4 {
                    0 => Answer::Done,
                    1 => Answer::No,
                    2 => Answer::Failed,
                    _ => Answer::Mailbox(Mailbox::default()),
                });
            }
        }
        12 => t.happen(Happening::TransferTo {
            leg,
            target: numbers[more as usize % numbers.len()].to_owned(),
            replaces: more
                .is_multiple_of(3)
                .then(|| legs.first().copied().unwrap_or_default()),
            referral: Referral {
                replaces: ["", "x;to-tag=1;from-tag=2"][usize::from(more) % 2].to_owned(),
                ..Referral::default()
            },
        }),
        _ => t.wait(u64::from(more) * 100),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_call_has_one_record_and_no_leg_is_left(
        inputs in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..120),
    ) {
        let mut histories = Vec::new();
        for moves in [false, true] {
            let mut t = Desk::new(plan(PLAN), moves);
            for (what, which, more) in &inputs {
                something(&mut t, *what, *which, *more);
            }
            let began = t.board.counts().calls;
            while let Some(leg) = t.board.legs.keys().next().copied() {
                t.hangs_up(leg);
            }
            t.wait(1_000_000);
            while !t.questions.is_empty() {
                t.told(Answer::Failed);
            }
            t.close();
            if !moves {
                prop_assert_eq!(t.cdrs.len() as u64, began);
            }
            histories.push(t.history);
        }
        prop_assert_eq!(&histories[0], &histories[1]);
    }

    #[test]
    fn no_bytes_of_another_node_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut board = Switchboard::new(plan(PLAN));
        for kind in 64..67 {
            board.restore(Op { kind, key: b"12345678", value: Some(&bytes) });
        }
        let (mut ids, mut actions) = (Ids::of_epoch(2), Vec::new());
        let now = Now { time: transaction::Time::from_ms(1), unix_ms: NOON };
        board.take_office(now, &mut ids, &mut actions);
        board.poll(now, &mut ids, &mut actions);
    }
}
