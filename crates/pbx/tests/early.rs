//! UPDATE before the call is answered (RFC 3311 section 5.2, RFC 6337).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use std::net::SocketAddr;

use pbx::control::{Action, Cause, Happening, LegId};
use rig::*;

const CALLER: &str = "192.0.2.9";
const CALLEE: &str = "192.0.2.20";

/// A PBX that plays something before the answer.
fn announcing() -> World {
    World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![Action::Progress { leg: incoming.leg }],
        _ => Vec::new(),
    })
}

/// A PBX that rings a phone for each caller; `own`: its media thread speaks with the phone, else media pass it by.
fn ringing(own: bool) -> World {
    let (mut a, mut b) = (LegId(0), LegId(0));
    World::new(move |happening, ids| match happening {
        Happening::Incoming(incoming) => {
            (a, b) = (incoming.leg, LegId(ids.issue()));
            let mut actions = vec![dial(b, (!own).then_some(a), "200")];
            actions.extend((!own).then_some(Action::Bridge { a, b }));
            actions
        }
        Happening::Answered { leg } if own && *leg == b => vec![Action::Bridge { a, b }],
        Happening::Ended { leg, .. } => {
            let leg = if *leg == a { b } else { a };
            let cause = Cause {
                status: 200,
                q850: 16,
                text: String::new(),
            };
            vec![Action::Hangup { leg, cause }]
        }
        _ => Vec::new(),
    })
}

/// Where the media thread sends to, by the commands of the last turn.
fn remotes(world: &World) -> Vec<SocketAddr> {
    world
        .commands
        .iter()
        .filter_map(|command| match command {
            voice::Command::Remote { remote, .. } => remote.rtp,
            _ => None,
        })
        .collect()
}

fn address(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

fn cancels(world: &mut World) {
    let cancel = invite("a", "200", "", "")
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    world.receive(&cancel);
    world.the("SIP/2.0 487 ");
    world.is_empty_at_the_end();
}

#[test]
fn a_caller_may_change_its_offer_when_it_was_answered_reliably() {
    let mut world = announcing();
    let offer = sdp(CALLER, 4000, "0 8 101");
    world.receive(&invite("a", "200", "Supported: 100rel\r\n", &offer));
    let progress = world.the("SIP/2.0 183 ");
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&progress, "RSeq"));
    world.receive(&within("PRACK", "a", &progress, 2, &rack, ""));
    world.the("SIP/2.0 200 ");
    let changed = sdp(CALLER, 4010, "0 101");
    world.receive(&within("UPDATE", "a", &progress, 3, "", &changed));
    let ok = world.the("SIP/2.0 200 ");
    assert_eq!(header(&ok, "CSeq"), "3 UPDATE");
    assert!(
        body(&ok).contains("m=audio 20000 RTP/AVP 0 101\r\n"),
        "{ok}"
    );
    assert_eq!(remotes(&world), [address(CALLER, 4010)]);
    // One that cannot be answered leaves what was agreed.
    world.receive(&within(
        "UPDATE",
        "a",
        &progress,
        4,
        "",
        &sdp(CALLER, 4020, "18"),
    ));
    world.the("SIP/2.0 488 ");
    assert_eq!(remotes(&world), []);
    world.receive(&within("UPDATE", "a", &progress, 5, "", &changed));
    world.the("SIP/2.0 200 ");
    cancels(&mut world);
}

#[test]
fn a_caller_whose_offer_has_no_answer_yet_is_told_to_come_again() {
    let mut world = announcing();
    // It hears a preview of the answer only.
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let progress = world.the("SIP/2.0 183 ");
    let changed = sdp(CALLER, 4010, "0 101");
    world.receive(&within("UPDATE", "a", &progress, 2, "", &changed));
    assert_eq!(header(&world.the("SIP/2.0 500 "), "Retry-After"), "2");
    // A sign of life, or another Contact, is taken.
    world.receive(&within("UPDATE", "a", &progress, 3, "", ""));
    assert_eq!(body(&world.the("SIP/2.0 200 ")), "");
    cancels(&mut world);
}

#[test]
fn a_phone_that_rings_may_change_its_answer_when_it_was_reliable() {
    for own in [true, false] {
        let mut world = ringing(own);
        world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
        let to_phone = world.the("INVITE ");
        let changed = sdp(CALLEE, 5010, "8 0 101");
        let offer = |cseq| from_callee("UPDATE", &to_phone, "bob", cseq, "", &changed);
        world.receive(&reply(
            &to_phone,
            "183 Session Progress",
            "bob",
            "",
            &sdp(CALLEE, 5000, "8 101"),
        ));
        world.receive(&offer(1));
        world.the("SIP/2.0 491 ");
        let reliable = "Require: 100rel\r\nRSeq: 5\r\n";
        world.receive(&reply(
            &to_phone,
            "183 Session Progress",
            "bob",
            reliable,
            &sdp(CALLEE, 5000, "8 101"),
        ));
        let prack = world.the("PRACK ");
        world.receive(&reply(&prack, "200 OK", "", "", ""));
        world.receive(&offer(2));
        let ok = world.the("SIP/2.0 200 ");
        assert!(
            body(&ok).contains("m=audio 20000 RTP/AVP 8 101\r\n"),
            "{ok}"
        );
        assert_eq!(remotes(&world), [address(CALLEE, 5010)]);
        // What the 200 repeats is older.
        world.receive(&reply(
            &to_phone,
            "200 OK",
            "bob",
            "",
            &sdp(CALLEE, 5000, "8 101"),
        ));
        world.the("ACK ");
        assert!(!remotes(&world).contains(&address(CALLEE, 5000)));
        assert_eq!(world.those("BYE ").len(), 0);
        let ok = world.the("SIP/2.0 200 ");
        assert!(
            body(&ok).contains("m=audio 20002 RTP/AVP 8 101\r\n"),
            "{ok}"
        );
        world.receive(&within("ACK", "a", &ok, 1, "", ""));
        // Both were told of the media thread: when nothing is to be heard here it leaves the way, by what the phone said last.
        world.pass(2_100);
        let again = world.those("INVITE ")[0].to_owned();
        assert!(body(&again).contains("m=audio 5010 ") || body(&again).contains("m=audio 4000 "));
        world.is_empty_in_time();
    }
}
