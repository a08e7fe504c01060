//! How the office is taken with many calls.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Answer, Happening, Ids, LegId, PlayId, Publish, QuestionId, Sound};
use pbx::{SLICE_MESSAGES, SLICE_MS, SLICE_RECORDS};
use records::Op;
use rig::*;
use transaction::Time;
use voice::{Command, PortId};

/// Callers of 200 are bridged with it, callers of 300 hear music.
fn rule(happening: &Happening, ids: &mut Ids) -> Vec<Action> {
    match happening {
        Happening::Incoming(incoming) if incoming.called.user == "300" => vec![
            Action::Answer { leg: incoming.leg },
            Action::Play {
                leg: incoming.leg,
                play: PlayId(ids.issue()),
                sounds: vec![Sound::Prompt("long".into())],
                from_ms: 0,
                repeat: true,
                barge_in: false,
            },
        ],
        Happening::Incoming(incoming) => {
            let (a, b) = (incoming.leg, LegId(ids.issue()));
            vec![dial(b, Some(a), "200"), Action::Bridge { a, b }]
        }
        _ => Vec::new(),
    }
}

/// A call between two phones whose sound passes us by; what the caller was answered.
fn talking(world: &mut World, name: &str) -> String {
    let phones = reply(
        &ringing(world, name),
        "200 OK",
        "bob",
        "",
        &sdp("192.0.2.20", 5000, "8"),
    );
    world.receive(&phones);
    acknowledged(world, name)
}

/// A call whose phone rings; the INVITE to it.
fn ringing(world: &mut World, name: &str) -> String {
    let offer = sdp("192.0.2.9", 4000, "0 8 101");
    world.receive(&invite(name, "200", "", &offer));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.the("SIP/2.0 180 ");
    to_phone
}

/// A call that hears music; what the caller was answered.
fn listening(world: &mut World, name: &str) -> String {
    let offer = sdp("192.0.2.9", 4000, "8");
    world.receive(&invite(name, "300", "", &offer));
    acknowledged(world, name)
}

fn acknowledged(world: &mut World, name: &str) -> String {
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", name, &ok, 1, "", ""));
    ok
}

/// The next owner, before it is.
fn member(before: &World) -> World {
    let mut world = World::with(before.settings.clone(), 2, rule);
    world.now_ms = before.now_ms;
    for ((kind, key), value) in &before.records {
        world.pbx.restore(Op {
            kind: *kind,
            key,
            value: Some(value),
        });
    }
    world.records = before.records.clone();
    world
}

/// Takes the office.
fn take(before: &World) -> World {
    let mut world = member(before);
    world.turn(|pbx, turn| pbx.take_office(turn, 2));
    world
}

/// What each of the turns said and commanded in which the rest was read, a millisecond apart.
fn read_all(world: &mut World) -> Vec<(Vec<String>, Vec<Command>)> {
    let mut turns = vec![(world.sent.clone(), world.commands.clone())];
    let mut wait = || {
        let next = world.pbx.next(Time::from_ms(world.now_ms))?.as_ms();
        (next <= world.now_ms + SLICE_MS).then(|| {
            world.now_ms = next;
            world.turn(|pbx, turn| pbx.poll(turn));
            (world.sent.clone(), world.commands.clone())
        })
    };
    while let Some(turn) = wait() {
        turns.push(turn);
    }
    turns
}

fn opened(commands: &[Command]) -> Vec<PortId> {
    let opened = commands.iter().filter_map(|command| match command {
        Command::Open { port, .. } => Some(*port),
        _ => None,
    });
    opened.collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("call{at}")).collect()
}

#[test]
fn a_slice_reads_and_says_so_much_and_sound_comes_first() {
    let mut world = World::new(rule);
    for name in names(100) {
        ringing(&mut world, &name);
        listening(&mut world, &format!("{name}m"));
    }
    let mut other = take(&world);
    let turns = read_all(&mut other);
    // 100 with sound in two slices, of which the second says what there is room for; then 16 a slice.
    assert_eq!(turns.len(), 1 + 100_usize.div_ceil(SLICE_MESSAGES));
    for (sent, commands) in &turns {
        assert!(sent.len() <= SLICE_MESSAGES, "{}", sent.len());
        assert!(opened(commands).len() <= SLICE_RECORDS);
    }
    let said: usize = turns.iter().map(|(sent, _)| sent.len()).sum();
    assert_eq!(said, 100);
    let silent = turns.iter().position(|(sent, _)| !sent.is_empty());
    let last = turns
        .iter()
        .rposition(|(_, commands)| !opened(commands).is_empty());
    assert_eq!((silent, last), (Some(1), Some(1)));
    assert_eq!(other.pbx.tables().legs, 300);
    assert_eq!(other.pbx.calls().len(), 300);
}

#[test]
fn what_is_not_read_yet_counts() {
    let mut world = World::new(rule);
    world.settings.calls_max = 150;
    for name in names(150) {
        listening(&mut world, &name);
    }
    let mut other = take(&world);
    assert_eq!(other.pbx.calls().len(), SLICE_RECORDS);
    assert_eq!(other.pbx.tables().legs, 150);
    other.receive(&invite("more", "300", "", &sdp("192.0.2.9", 4000, "8")));
    other.the("SIP/2.0 503 ");
}

#[test]
fn a_record_that_says_what_members_have_is_not_written_again() {
    let mut world = World::new(rule);
    for name in names(10) {
        talking(&mut world, &name);
    }
    let other = take(&world);
    assert_eq!(other.pbx.calls().len(), 20);
    assert!(other.output.changes.is_empty());
}

#[test]
fn a_message_finds_a_call_that_is_not_read_yet() {
    let mut world = World::new(rule);
    let oks: Vec<_> = names(100)
        .iter()
        .map(|name| talking(&mut world, name))
        .collect();
    let mut other = take(&world);
    let read = other.pbx.calls().len();
    other.receive(&within("BYE", "call99", &oks[99], 2, "", ""));
    other.the("SIP/2.0 200 ");
    // Nobody else was read for it, and both legs of it were.
    assert_eq!(other.pbx.calls().len(), read + 1);
    other.receive(&within("UPDATE", "call98", &oks[98], 2, "", ""));
    other.the("SIP/2.0 200 ");
    assert_eq!(other.pbx.calls().len(), read + 3);
    read_all(&mut other);
    assert_eq!(other.pbx.tables().legs, 199);
}

#[test]
fn calls_in_progress_are_found_by_what_their_phones_repeat_and_answer() {
    let mut world = World::new(rule);
    let invites: Vec<_> = names(100)
        .iter()
        .map(|name| ringing(&mut world, name))
        .collect();
    let mut other = take(&world);
    let read = other.pbx.calls().len();
    let offer = sdp("192.0.2.9", 4000, "0 8 101");
    other.receive(&invite("call99", "200", "", &offer));
    assert!(!other.those("SIP/2.0 180 ").is_empty() && other.those("INVITE ").is_empty());
    assert_eq!(other.pbx.calls().len(), read + 2);
    let answer = sdp("192.0.2.20", 5000, "8");
    other.receive(&reply(&invites[98], "200 OK", "bob", "", &answer));
    other.the("ACK ");
    other.the("SIP/2.0 200 ");
    let cancel = invite("call97", "200", "", "").replace("INVITE", "CANCEL");
    other.receive(&cancel);
    assert_eq!(other.those("SIP/2.0 200 ").len(), 1);
    other.the("SIP/2.0 487 ");
    assert!(
        other
            .happenings()
            .iter()
            .all(|one| !matches!(one, Happening::Incoming(_)))
    );
    read_all(&mut other);
    assert_eq!(other.pbx.counts().stray, 0);
}

#[test]
fn an_application_finds_a_call_that_is_not_read_yet() {
    let mut world = World::new(rule);
    for name in names(100) {
        listening(&mut world, &name);
    }
    let last = world.pbx.calls().last().unwrap().leg;
    let mut other = member(&world);
    let hangup = move |happening: &Happening, _: &mut Ids| match happening {
        Happening::Told { .. } => vec![Action::Hangup {
            leg: last,
            cause: Default::default(),
        }],
        _ => Vec::new(),
    };
    other.set_rule(hangup);
    other.turn(|pbx, turn| pbx.take_office(turn, 2));
    other.turn(|pbx, turn| pbx.told(turn, QuestionId(0), Answer::Done));
    other.the("BYE sip:100@");
}

#[test]
fn new_calls_get_no_port_of_a_call_that_is_not_read_yet() {
    let mut world = World::new(rule);
    for name in names(100) {
        listening(&mut world, &name);
    }
    let mut other = take(&world);
    let mut ports = opened(&other.commands);
    other.receive(&invite("new", "300", "", &sdp("192.0.2.9", 4000, "8")));
    ports.extend(opened(&other.commands));
    other.commands.clear();
    for (_, commands) in read_all(&mut other) {
        ports.extend(opened(&commands));
    }
    assert_eq!(ports.len(), 101);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 101);
}

#[test]
fn who_watches_hears_of_what_happens_before_its_record_is_read() {
    let mut world = World::new(rule);
    for name in names(100) {
        talking(&mut world, &name);
    }
    let subscribe = invite("w", "200", "Event: message-summary\r\n", "");
    world.receive(&subscribe.replace("INVITE", "SUBSCRIBE"));
    let notify = world.the("NOTIFY ");
    world.receive(&reply(&notify, "200 OK", "", "", ""));
    let mut other = member(&world);
    other.set_rule(|happening, _| match happening {
        Happening::Told { .. } => vec![Action::Publish(Publish::Mailbox {
            mailbox: "200".into(),
            new: 3,
            old: 1,
        })],
        _ => Vec::new(),
    });
    other.turn(|pbx, turn| pbx.take_office(turn, 2));
    other.turn(|pbx, turn| pbx.told(turn, QuestionId(0), Answer::Done));
    assert!(body(&other.the("NOTIFY ")).contains("Voice-Message: 3/1 "));
    other.sent.clear();
    let later = read_all(&mut other);
    assert!(later.iter().all(|(sent, _)| sent.is_empty()));
}

/// Run with `--ignored --nocapture`, in release: how long the turns of a takeover are.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn the_cost_of_taking_office() {
    for calls in [1_000, 5_000] {
        for (what, begin) in [
            (
                "talking",
                (|world, name| talking(world, name)) as fn(&mut World, &str) -> String,
            ),
            ("ringing", |world, name| ringing(world, name)),
            ("listening", |world, name| listening(world, name)),
        ] {
            let mut world = World::new(rule);
            for call in 0..calls {
                begin(&mut world, &format!("c{call}"));
            }
            let mut other = member(&world);
            let mut turns = Vec::new();
            let began = std::time::Instant::now();
            other.turn(|pbx, turn| pbx.take_office(turn, 2));
            turns.push(began.elapsed());
            let (from_ms, mut said) = (other.now_ms, other.sent.len());
            while let Some(next) = other.pbx.next(Time::from_ms(other.now_ms)) {
                if next.as_ms() > other.now_ms + SLICE_MS {
                    break;
                }
                other.now_ms = next.as_ms();
                let began = std::time::Instant::now();
                other.turn(|pbx, turn| pbx.poll(turn));
                turns.push(began.elapsed());
                said += other.sent.len();
            }
            let (first, all) = (turns[0], turns.iter().sum::<std::time::Duration>());
            turns.sort_unstable();
            println!(
                "{what} {calls}: first turn {first:?}, median {:?}, {} turns in {} ms, all {all:?}, {said} messages, {} legs",
                turns[turns.len() / 2],
                turns.len(),
                other.now_ms - from_ms,
                other.pbx.tables().legs,
            );
            let now = pbx::Now {
                time: Time::from_ms(other.now_ms),
                unix_ms: 0,
            };
            let began = std::time::Instant::now();
            other.pbx.leave_office(now);
            println!("  leaving {:?}", began.elapsed());
        }
    }
}
