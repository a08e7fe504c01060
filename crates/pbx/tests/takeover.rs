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
    world.turn(|pbx, turn| pbx.take_office(turn, 2));
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
