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
