//! Calls go on at another node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Happening, LegId, PlayId, Sound};
use records::Op;
use rig::*;

/// The node that takes over from `before`: its records, nothing else.
fn take_over(
    before: &World,
    rule: impl FnMut(&Happening, &mut pbx::control::Ids) -> Vec<Action> + 'static,
) -> World {
    take_over_in(before, 2, rule)
}

/// In a certain term of office.
fn take_over_in(
    before: &World,
    epoch: u64,
    rule: impl FnMut(&Happening, &mut pbx::control::Ids) -> Vec<Action> + 'static,
) -> World {
    take_over_with(
        before,
        World::with(before.settings.clone(), epoch, rule),
        epoch,
    )
}

fn take_over_with(before: &World, mut world: World, epoch: u64) -> World {
    world.now_ms = before.now_ms;
    for ((kind, key), value) in &before.records {
        world.pbx.restore(Op {
            kind: *kind,
            key,
            value: Some(value),
        });
    }
    world.records = before.records.clone();
    world.turn(|pbx, turn| pbx.take_office(turn, epoch));
    world
}

fn ringing(happening: &Happening, ids: &mut pbx::control::Ids) -> Vec<Action> {
    match happening {
        Happening::Incoming(incoming) => {
            let (a, b) = (incoming.leg, LegId(ids.issue()));
            vec![dial(b, Some(a), "200"), Action::Bridge { a, b }]
        }
        _ => Vec::new(),
    }
}

/// What an application that has moved too would do.
fn ends_both(a: LegId, b: LegId) -> impl FnMut(&Happening, &mut pbx::control::Ids) -> Vec<Action> {
    move |happening, _| match happening {
        Happening::Ended { leg, cause } => {
            let other = if *leg == a { b } else { a };
            vec![Action::Hangup {
                leg: other,
                cause: cause.clone(),
            }]
        }
        _ => Vec::new(),
    }
}

fn legs(world: &World) -> (LegId, LegId) {
    let calls = world.pbx.calls();
    (
        calls.iter().find(|call| call.is_incoming).unwrap().leg,
        calls.iter().find(|call| !call.is_incoming).unwrap().leg,
    )
}

#[test]
fn an_established_call_goes_on_and_is_ended_there() {
    let mut world = World::new(ringing);
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "Record-Route: <sip:192.0.2.1;lr;c=b>\r\n",
        &sdp("192.0.2.20", 5000, "8"),
    ));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    assert!(other.sent.is_empty(), "{:?}", other.sent);
    other.receive(&within("UPDATE", "a", &ok, 2, "", ""));
    other.the("SIP/2.0 200 ");
    other.receive(&within("INFO", "a", &ok, 2, "", ""));
    other.the("SIP/2.0 500 ");
    other.receive(&from_callee("BYE", &to_phone, "bob", 1, "", ""));
    other.the("SIP/2.0 200 ");
    let bye = other.the("BYE sip:100@");
    assert_eq!(header(&bye, "Route"), "<sip:192.0.2.1;lr;c=a>");
    other.receive(&reply(&bye, "200 OK", "", "", ""));
    other.is_empty_at_the_end();
}

#[test]
fn a_phone_that_rings_is_answered_there() {
    let mut world = World::new(ringing);
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.the("SIP/2.0 180 ");
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    other.the("SIP/2.0 180 ");
    // The caller's INVITE once more is one that is known.
    other.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    assert_eq!(other.those("SIP/2.0 180 ").len(), 1);
    assert!(other.happenings().is_empty());
    other.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "",
        &sdp("192.0.2.20", 5000, "8"),
    ));
    other.the("ACK ");
    let ok = other.the("SIP/2.0 200 ");
    assert!(body(&ok).contains("m=audio 5000 "));
    other.receive(&within("ACK", "a", &ok, 1, "", ""));
    other.receive(&within("BYE", "a", &ok, 2, "", ""));
    let bye = other.the("BYE ");
    other.receive(&reply(&bye, "200 OK", "", "", ""));
    other.is_empty_at_the_end();
}

#[test]
fn what_is_played_goes_on_in_the_same_stream_from_the_same_port() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![
            Action::Answer { leg: incoming.leg },
            Action::Play {
                leg: incoming.leg,
                play: PlayId(5),
                sounds: vec![Sound::Prompt("long".into())],
                from_ms: 100,
                repeat: false,
                barge_in: true,
            },
        ],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    let opened = world
        .commands
        .iter()
        .find(|command| matches!(command, voice::Command::Open { .. }))
        .cloned()
        .unwrap();
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    let leg = world.pbx.calls()[0].leg;
    world.pass(1_500);
    let mut other = take_over(&world, |_, _| Vec::new());
    assert_eq!(other.commands[0], opened);
    let voice::Command::Play {
        from_ms, barge_in, ..
    } = &other.commands[2]
    else {
        panic!("{:?}", other.commands)
    };
    assert!(*barge_in && (1_600..1_700).contains(from_ms), "{from_ms}");
    assert_eq!(other.pbx.calls()[0].leg, leg);
    other.receive(&within("BYE", "a", &ok, 2, "", ""));
    other.is_empty_at_the_end();
}

#[test]
fn a_subscription_is_refreshed_there() {
    let mut world = World::new(|_, _| Vec::new());
    let subscribe =
        invite("a", "200", "Event: dialog\r\nExpires: 600\r\n", "").replace("INVITE", "SUBSCRIBE");
    world.receive(&subscribe);
    let ok = world.the("SIP/2.0 200 ");
    let notify = world.the("NOTIFY ");
    world.receive(&reply(&notify, "200 OK", "", "", ""));
    let mut other = take_over(&world, |_, _| Vec::new());
    other.receive(&within(
        "SUBSCRIBE",
        "a",
        &ok,
        2,
        "Event: dialog\r\nExpires: 0\r\n",
        "",
    ));
    let last = other.the("NOTIFY ");
    assert!(body(&last).contains("version=\"1\""), "{last}");
    assert_eq!(header(&last, "CSeq"), "2 NOTIFY");
    other.receive(&reply(&last, "200 OK", "", "", ""));
    other.is_empty_at_the_end();
}

#[test]
fn who_leaves_office_says_nothing_and_keeps_nothing() {
    let mut world = World::new(ringing);
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let now = pbx::Now {
        time: transaction::Time::from_ms(world.now_ms),
        unix_ms: 0,
    };
    world.pbx.leave_office(now);
    assert_eq!(world.pbx.tables(), pbx::Tables::default());
    world.pass(100_000);
    assert!(world.sent.is_empty());
}

/// A plain call whose media go from phone to phone: the INVITE that went to the phone, and the 200 that the caller got.
fn set_up(world: &mut World, extra: &str) -> (String, String) {
    world.receive(&invite(
        "a",
        "200",
        extra,
        &sdp("192.0.2.9", 4000, "0 8 101"),
    ));
    let to_phone = world.the("INVITE ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    (to_phone, ok)
}

fn end_both(mut world: World, ok: &str) {
    world.receive(&within("BYE", "a", ok, 90, "", ""));
    for bye in world
        .those("BYE ")
        .iter()
        .map(|bye| bye.to_string())
        .collect::<Vec<_>>()
    {
        world.receive(&reply(&bye, "200 OK", "", "", ""));
    }
    world.is_empty_at_the_end();
}

#[test]
fn reliable_provisionals_are_acknowledged_there_on_both_sides() {
    let mut world = World::new(ringing);
    let offer = sdp("192.0.2.9", 4000, "0 8 101");
    world.receive(&invite("a", "200", "Supported: 100rel\r\n", &offer));
    let to_phone = world.the("INVITE ");
    let progress = reply(
        &to_phone,
        "183 Session Progress",
        "bob",
        "Require: 100rel\r\nRSeq: 5\r\n",
        &sdp("192.0.2.20", 5000, "8"),
    );
    world.receive(&progress);
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    let told = other.the("SIP/2.0 183 ");
    // The phone has not had the PRACK, or has: what it says to another one does no harm.
    other.receive(&progress);
    let prack = other.the("PRACK ");
    assert_eq!(header(&prack, "RAck"), "5 1 INVITE");
    other.receive(&progress);
    assert!(other.those("PRACK ").is_empty());
    other.receive(&reply(
        &prack,
        "481 Call/Transaction Does Not Exist",
        "",
        "",
        "",
    ));
    // Ours is sent again until the caller's comes.
    other.pass(600);
    assert_eq!(other.those("SIP/2.0 183 ").len(), 1);
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&told, "RSeq"));
    let prack = within("PRACK", "a", &told, 2, &rack, "");
    other.receive(&prack);
    let answer = other.the("SIP/2.0 200 ");
    let mut third = take_over_in(&other, 3, ends_both(a, b));
    third.receive(&prack);
    assert_eq!(third.the("SIP/2.0 200 "), answer);
    third.receive(&reply(&to_phone, "200 OK", "bob", "", ""));
    let ok = third.the("SIP/2.0 200 ");
    third.receive(&within("ACK", "a", &ok, 1, "", ""));
    end_both(third, &ok);
}

#[test]
fn an_update_that_waits_for_the_other_phone_is_answered_there_and_once() {
    let mut world = World::new(ringing);
    let (to_phone, ok) = set_up(&mut world, "");
    let update = from_callee(
        "UPDATE",
        &to_phone,
        "bob",
        1,
        "",
        &sdp("192.0.2.21", 5100, "0 8"),
    );
    world.receive(&update);
    let change = world.the("INVITE sip:100@");
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    // The same request, since nothing has been heard of it.
    assert_eq!(other.the("INVITE sip:100@"), change);
    other.receive(&update);
    assert!(other.sent.is_empty(), "{:?}", other.sent);
    other.receive(&reply(
        &change,
        "200 OK",
        "",
        "",
        &sdp("192.0.2.9", 4002, "0"),
    ));
    other.the("ACK ");
    let answer = other.the("SIP/2.0 200 ");
    assert!(header(&answer, "CSeq").ends_with("UPDATE") && body(&answer).contains(" 4002 "));
    let mut third = take_over_in(&other, 3, ends_both(a, b));
    third.receive(&update);
    assert_eq!(third.the("SIP/2.0 200 "), answer);
    // So is what was refused.
    third.receive(&reply(
        &change,
        "200 OK",
        "",
        "",
        &sdp("192.0.2.9", 4002, "0"),
    ));
    third.the("ACK ");
    end_both(third, &ok);
}

#[test]
fn the_answer_in_the_ack_of_a_2xx_to_a_re_invite_counts_there() {
    let mut world = World::new(ringing);
    let (_, ok) = set_up(&mut world, "");
    world.receive(&within("INVITE", "a", &ok, 2, "", ""));
    let offer = world.the("SIP/2.0 200 ");
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    assert_eq!(other.the("SIP/2.0 200 "), offer);
    // The INVITE once more is known.
    other.receive(&within("INVITE", "a", &ok, 2, "", ""));
    assert!(other.sent.is_empty(), "{:?}", other.sent);
    let answer = sdp("192.0.2.9", 4444, "8 101");
    other.receive(&within("ACK", "a", &ok, 2, "", &answer));
    // It has moved: it is told of the other phone, and then the other of it.
    for (begins, phone) in [
        ("INVITE sip:100@", answer),
        ("INVITE sip:200@", sdp("192.0.2.20", 5000, "8 101")),
    ] {
        let change = other.the(begins);
        assert_eq!(body(&change).contains(" 4444 "), begins.contains("200"));
        other.receive(&reply(&change, "200 OK", "", "", &phone));
        other.the("ACK ");
    }
    end_both(other, &ok);
}

#[test]
fn copies_of_a_first_invite_and_of_its_2xx_are_known_there() {
    let mut world = World::new(ringing);
    let offer = sdp("192.0.2.9", 4000, "0 8 101");
    let first = invite("a", "200", "", &offer);
    world.receive(&first);
    let to_phone = world.the("INVITE ");
    let phones = reply(
        &to_phone,
        "200 OK",
        "bob",
        "",
        &sdp("192.0.2.20", 5000, "8"),
    );
    world.receive(&phones);
    let ok = world.the("SIP/2.0 200 ");
    let (a, b) = legs(&world);
    let mut other = take_over(&world, ends_both(a, b));
    assert_eq!(other.the("SIP/2.0 200 "), ok);
    other.receive(&first);
    assert!(other.sent.is_empty() && other.happenings().is_empty());
    for _ in 0..2 {
        other.receive(&phones);
        let ack = other.the("ACK ");
        assert_eq!(header(&ack, "CSeq"), "1 ACK");
    }
    other.receive(&within("ACK", "a", &ok, 1, "", ""));
    end_both(other, &ok);
}

#[test]
fn the_end_of_a_leg_whose_figures_were_awaited_is_told_there() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![Action::Answer { leg: incoming.leg }],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    let bye = within("BYE", "a", &ok, 2, "", "");
    world.turn(|pbx, turn| pbx.receive(turn, bye.as_bytes(), flow()));
    let mut other = take_over(&world, |_, _| Vec::new());
    let heard = other.happenings();
    assert!(
        heard
            .iter()
            .any(|one| matches!(one, Happening::Ended { .. })),
        "{heard:?}"
    );
    other.is_empty_at_the_end();
}

#[test]
fn keys_and_codecs_are_the_same_after_two_moves() {
    for formats in ["8 0 101", "0 8 101", "8 0 121"] {
        let mut world = World::new(|happening, _| match happening {
            Happening::Incoming(incoming) => vec![Action::Answer { leg: incoming.leg }],
            _ => Vec::new(),
        });
        let events = |text: String| text.replace("rtpmap:101", "rtpmap:121");
        let text = sdp("192.0.2.9", 4000, formats);
        let text = if formats.ends_with("121") {
            events(text)
        } else {
            text
        };
        // It offers nothing: its answer to our offer is in its ACK.
        world.receive(&invite("a", "200", "", ""));
        let ok = world.the("SIP/2.0 200 ");
        world.receive(&within("ACK", "a", &ok, 1, "", &text));
        let remote = |world: &World| {
            let is_it =
                |command: &&voice::Command| matches!(command, voice::Command::Remote { .. });
            world.commands.iter().find(is_it).cloned().unwrap()
        };
        let before = remote(&world);
        let voice::Command::Remote { end, .. } = before else {
            panic!("{before:?}")
        };
        let other = take_over(&world, |_, _| Vec::new());
        assert_eq!(remote(&other), before);
        let mut third = take_over_in(&other, 3, |_, _| Vec::new());
        assert_eq!(remote(&third), before);
        third.heard_event(voice::Event::Digit {
            end,
            digit: voice::Digit::of_sign('5').unwrap(),
            duration_ms: 100,
            how: voice::How::Event,
        });
        let heard = third.happenings();
        assert!(
            matches!(&heard[..], [Happening::Digit { digit: '5', .. }]),
            "{heard:?}"
        );
        third.receive(&within("BYE", "a", &ok, 2, "", ""));
        third.is_empty_at_the_end();
    }
}

#[test]
fn legs_whose_ports_are_taken_are_offered_others_as_soon_as_there_are_some() {
    let mut world = World::new(|happening, ids| match happening {
        Happening::Incoming(incoming) => {
            let (a, b) = (incoming.leg, LegId(ids.issue()));
            vec![
                Action::Answer { leg: a },
                dial(b, Some(a), "200"),
                Action::Bridge { a, b },
            ]
        }
        _ => Vec::new(),
    });
    let (_, ok) = set_up_answered(&mut world);
    let (a, b) = legs(&world);
    let mut other = World::with(world.settings.clone(), 2, ends_both(a, b));
    other.around.has_none = true;
    let mut other = take_over_with(&world, other, 2);
    assert!(other.sent.is_empty(), "{:?}", other.sent);
    other.around.has_none = false;
    other.pass(1_500);
    for (begins, phone) in [
        ("INVITE sip:100@", sdp("192.0.2.9", 4000, "8")),
        ("INVITE sip:200@", sdp("192.0.2.20", 5000, "8")),
    ] {
        let sent = other.sent.clone();
        let change = other.the(begins);
        assert!(body(&change).contains("198.51.100.7"), "{change}");
        other.receive(&reply(&change, "200 OK", "", "", &phone));
        other.the("ACK ");
        if begins.contains("100") {
            other.sent = sent;
        }
    }
    let is_joined = |command: &voice::Command| matches!(command, voice::Command::Connect { .. });
    assert!(other.commands.iter().any(is_joined));
    end_both(other, &ok);
}

/// A call that the PBX answered before the phone: media pass it.
fn set_up_answered(world: &mut World) -> (String, String) {
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    let (ok, to_phone) = (world.the("SIP/2.0 200 "), world.the("INVITE "));
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    (to_phone, ok)
}
