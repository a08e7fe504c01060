//! Calls of real messages that a dialplan runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use std::sync::Arc;

use pbx::app::Switchboard;
use pbx::plan::{Plan, Source};
use pbx::{Applications, Now};
use rig::*;
use transaction::Time;

const PLAN: &str = r#"
[[pbx.extension]]
number = "200"
busy = "echo"

[[pbx.extension]]
number = "100"

[[pbx.extension]]
number = "300"

[[pbx.route]]
pattern = "600"
steps = ["echo"]
"#;

fn world() -> World {
    let source = Source {
        name: "test",
        text: PLAN,
        is_shared: false,
    };
    let plan = Plan::build(&[source], &|_| true).unwrap();
    let mut board = Switchboard::new(Arc::new(plan));
    let now = Now {
        time: Time::from_ms(1_000),
        unix_ms: 1_700_000_001_000,
    };
    World::new(move |happening, ids| {
        let mut actions = Vec::new();
        board.happened(now, ids, happening, &mut actions);
        actions
    })
}

#[test]
fn a_phone_is_rung_and_its_media_do_not_pass_here() {
    let mut world = world();
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.the("SIP/2.0 180 ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    world.the("ACK ");
    let ok = world.the("SIP/2.0 200 ");
    assert!(body(&ok).contains("m=audio 5000 "), "{ok}");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.pass(5_000);
    assert!(world.sent.is_empty(), "{:#?}", world.sent);
    assert_eq!(world.around.taken, 0);
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    let bye = world.the("BYE ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_service_answers_and_ends() {
    let mut world = world();
    for number in ["600", "200"] {
        world.receive(&invite(
            number,
            number,
            "",
            &sdp("192.0.2.9", 4000, "8 101"),
        ));
        if number == "200" {
            let to_phone = world.the("INVITE ");
            world.receive(&reply(&to_phone, "486 Busy Here", "bob", "", ""));
        }
        let ok = world.the("SIP/2.0 200 ");
        world.receive(&within("ACK", number, &ok, 1, "", ""));
        world.receive(&within("BYE", number, &ok, 2, "", ""));
        world.the("SIP/2.0 200 ");
    }
    world.receive(&invite("c", "999", "", &sdp("192.0.2.9", 4000, "8 101")));
    world.the("SIP/2.0 404 ");
    world.is_empty_in_time();
}

/// 100 talks with 200, whose phone the PBX called; the messages of both.
fn talk(world: &mut World) -> (String, String) {
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8 101")));
    let to_phone = world.the("INVITE ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    (ok, to_phone)
}

/// Answers re-INVITEs and NOTIFYs of the last turn as phones do, until there are none.
fn settle(world: &mut World) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let requests: Vec<String> = ["INVITE ", "NOTIFY ", "BYE "]
            .iter()
            .flat_map(|begins| world.those(begins))
            .filter(|text| header(text, "To").contains(";tag="))
            .map(str::to_owned)
            .collect();
        let Some(first) = requests.first() else {
            return seen;
        };
        let others: Vec<String> = requests[1..].to_vec();
        let body = if first.starts_with("INVITE ") {
            sdp("192.0.2.50", 4500, "8 101")
        } else {
            String::new()
        };
        world.receive(&reply(first, "200 OK", "", "", &body));
        seen.push(first.clone());
        world.sent.extend(others);
    }
}

fn fragments(seen: &[String]) -> Vec<String> {
    let notifies = seen.iter().filter(|text| text.starts_with("NOTIFY "));
    notifies.map(|text| body(text).trim().to_owned()).collect()
}

const REFER: &str =
    "Refer-To: <sip:300@example.org>\r\nReferred-By: \"Bob\" <sip:200@example.org>\r\n";

#[test]
fn a_blind_transfer_in_vain_is_told_and_brings_both_together_again() {
    let mut world = world();
    let (ok, to_phone) = talk(&mut world);
    world.receive(&from_callee("REFER", &to_phone, "bob", 2, REFER, ""));
    world.the("SIP/2.0 202 ");
    let called: Vec<&str> = world
        .those("INVITE ")
        .into_iter()
        .filter(|text| !header(text, "To").contains(";tag="))
        .collect();
    assert_eq!(called.len(), 1, "{:#?}", world.sent);
    let called = called[0].to_owned();
    assert!(called.starts_with("INVITE sip:300@example.org "));
    // RFC 3892 section 2.1.
    assert_eq!(
        header(&called, "Referred-By"),
        "\"Bob\" <sip:200@example.org>"
    );
    let mut seen = settle(&mut world);
    world.receive(&reply(&called, "180 Ringing", "cat", "", ""));
    seen.extend(settle(&mut world));
    world.receive(&reply(&called, "486 Busy Here", "cat", "", ""));
    world.the("ACK ");
    seen.extend(settle(&mut world));
    assert_eq!(
        fragments(&seen),
        [
            "SIP/2.0 100 Trying",
            "SIP/2.0 180 Ringing",
            "SIP/2.0 486 Busy Here"
        ]
    );
    // Both hear each other, and the PBX leaves the way of their media.
    world.pass(2_500);
    settle(&mut world);
    let calls = world.pbx.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].peer, Some(calls[1].leg));
    assert!(calls.iter().all(|call| call.codec.is_none()), "{calls:?}");
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    settle(&mut world);
    world.is_empty_at_the_end();
}

#[test]
fn a_blind_transfer_that_is_answered_lets_the_transferor_go() {
    let mut world = world();
    let (ok, to_phone) = talk(&mut world);
    world.receive(&from_callee("REFER", &to_phone, "bob", 2, REFER, ""));
    let called = world
        .those("INVITE ")
        .into_iter()
        .find(|text| text.starts_with("INVITE sip:300@"))
        .unwrap()
        .to_owned();
    settle(&mut world);
    let answer = sdp("192.0.2.30", 5000, "8 101");
    world.receive(&reply(&called, "200 OK", "cat", "", &answer));
    let seen = settle(&mut world);
    assert_eq!(fragments(&seen), ["SIP/2.0 200 OK"]);
    let byes: Vec<&String> = seen
        .iter()
        .filter(|text| text.starts_with("BYE "))
        .collect();
    assert_eq!(byes.len(), 1);
    // The caller's phone shows whom it talks with now.
    assert_eq!(header(&ok, "P-Asserted-Identity"), "<sip:200@example.org>");
    world.pass(2_500);
    let later = settle(&mut world);
    let to_caller = later
        .iter()
        .find(|text| text.starts_with("INVITE ") && header(text, "Call-ID") == "a")
        .unwrap();
    assert_eq!(
        header(to_caller, "P-Asserted-Identity"),
        "<sip:300@example.org>"
    );
    assert_eq!(header(byes[0], "Call-ID"), header(&to_phone, "Call-ID"));
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    settle(&mut world);
    world.is_empty_at_the_end();
}

#[test]
fn a_transferor_that_hung_up_is_called_again() {
    let mut world = world();
    let (ok, to_phone) = talk(&mut world);
    world.receive(&from_callee("REFER", &to_phone, "bob", 2, REFER, ""));
    let called = world
        .those("INVITE ")
        .into_iter()
        .find(|text| text.starts_with("INVITE sip:300@"))
        .unwrap()
        .to_owned();
    settle(&mut world);
    world.receive(&from_callee("BYE", &to_phone, "bob", 3, "", ""));
    settle(&mut world);
    world.receive(&reply(&called, "404 Not Found", "cat", "", ""));
    let again = world
        .those("INVITE ")
        .into_iter()
        .find(|text| text.starts_with("INVITE sip:200@"))
        .unwrap()
        .to_owned();
    // The phone sees whom the call could not reach.
    assert_eq!(
        header(&again, "Diversion"),
        "<sip:300@example.org>;reason=unavailable"
    );
    assert_eq!(rig::find_header(&again, "Referred-By"), None);
    settle(&mut world);
    world.receive(&reply(&again, "486 Busy Here", "bob2", "", ""));
    settle(&mut world);
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    settle(&mut world);
    world.is_empty_at_the_end();
}

#[test]
fn a_refer_to_a_dialog_of_another_pbx_calls_there_with_its_replaces() {
    let mut world = world();
    world.settings.trusted.push("198.51.100.8".parse().unwrap());
    let (ok, to_phone) = talk(&mut world);
    let elsewhere = "Refer-To: <sip:198.51.100.8:5070?Replaces=xyz%3Bto-tag%3Dfeed%3Bfrom-tag%3Dbeef>\r\nReferred-By: <sip:200@example.org>\r\n";
    world.receive(&from_callee("REFER", &to_phone, "bob", 2, elsewhere, ""));
    world.the("SIP/2.0 202 ");
    let called = world
        .those("INVITE ")
        .into_iter()
        .find(|text| !header(text, "To").contains(";tag="))
        .unwrap()
        .to_owned();
    assert!(
        called.starts_with("INVITE sip:198.51.100.8:5070 "),
        "{called}"
    );
    assert_eq!(header(&called, "Replaces"), "xyz;to-tag=feed;from-tag=beef");
    assert_eq!(header(&called, "Require"), "replaces");
    settle(&mut world);
    let answer = sdp("192.0.2.30", 5000, "8 101");
    world.receive(&reply(&called, "200 OK", "cat", "", &answer));
    let seen = settle(&mut world);
    assert_eq!(fragments(&seen), ["SIP/2.0 200 OK"]);
    // What is said to be ours and is not there is refused at once.
    let (other, to_phone) = {
        world.receive(&within("BYE", "a", &ok, 2, "", ""));
        settle(&mut world);
        talk_again(&mut world)
    };
    let here = elsewhere.replace("198.51.100.8", "198.51.100.7");
    world.receive(&from_callee("REFER", &to_phone, "bob", 3, &here, ""));
    world.the("SIP/2.0 481 ");
    world.receive(&within("BYE", "b", &other, 2, "", ""));
    settle(&mut world);
    world.is_empty_at_the_end();
}

#[test]
fn where_a_transfer_points_to_gets_no_credentials() {
    let mut world = world();
    let trunk = "198.51.100.8";
    world.settings.trusted.push(trunk.parse().unwrap());
    world.settings.accounts.push(pbx::Account {
        host: trunk.into(),
        user: "us".into(),
        password: "secret".into(),
    });
    let (ok, to_phone) = talk(&mut world);
    let replaces = "?Replaces=xyz%3Bto-tag%3Dfeed%3Bfrom-tag%3Dbeef>\r\n";
    // Neither hosts that the operator does not trust, nor another address behind one that is trusted.
    for (cseq, host) in [
        (2, "elsewhere.example"),
        (3, "198.51.100.8;maddr=192.0.2.66"),
    ] {
        let refer = format!("Refer-To: <sip:{host}{replaces}");
        world.receive(&from_callee("REFER", &to_phone, "bob", cseq, &refer, ""));
        assert!(world.those("INVITE ").is_empty(), "{host}");
        settle(&mut world);
    }
    let elsewhere = format!("Refer-To: <sip:{trunk}{replaces}");
    world.receive(&from_callee("REFER", &to_phone, "bob", 4, &elsewhere, ""));
    let called = world
        .those("INVITE ")
        .into_iter()
        .find(|text| !header(text, "To").contains(";tag="))
        .unwrap()
        .to_owned();
    settle(&mut world);
    let challenge = "Proxy-Authenticate: Digest realm=\"trunk\", nonce=\"n1\"\r\n";
    let status = "407 Proxy Authentication Required";
    world.receive(&reply(&called, status, "t", challenge, ""));
    let is_answered = world
        .sent
        .iter()
        .any(|text| text.contains("-Authorization"));
    assert!(!is_answered, "{:#?}", world.sent);
    settle(&mut world);
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    settle(&mut world);
    world.is_empty_at_the_end();
}

fn talk_again(world: &mut World) -> (String, String) {
    world.receive(&invite("b", "200", "", &sdp("192.0.2.9", 4000, "8 101")));
    let to_phone = world.the("INVITE ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "b", &ok, 1, "", ""));
    (ok, to_phone)
}

#[test]
fn a_transferor_that_wants_no_notify_gets_no_more_and_keeps_its_call() {
    let mut world = world();
    let (ok, to_phone) = talk(&mut world);
    world.receive(&from_callee("REFER", &to_phone, "bob", 2, REFER, ""));
    let called = world
        .those("INVITE ")
        .into_iter()
        .find(|text| text.starts_with("INVITE sip:300@"))
        .unwrap()
        .to_owned();
    let trying = world.the("NOTIFY ");
    world.receive(&reply(
        &trying,
        "481 Subscription Does Not Exist",
        "",
        "",
        "",
    ));
    world.receive(&reply(&called, "180 Ringing", "cat", "", ""));
    assert!(world.those("NOTIFY ").is_empty());
    world.receive(&reply(&called, "486 Busy Here", "cat", "", ""));
    assert!(world.those("NOTIFY ").is_empty());
    assert_eq!(world.pbx.calls().len(), 2);
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    settle(&mut world);
    world.is_empty_in_time();
}
