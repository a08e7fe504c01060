//! Menus, PINs, rooms and simple steps.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"

[[pbx.extension]]
number = "1201"

[[pbx.menu]]
name = "main"
prompt = ["welcome", "press-1"]
timeout_s = 5
tries = 2
direct = true
keys = { 2 = "menu sub", 9 = ["play nine", "hangup"], 0 = "goto 101" }
timeout = "goto 101"
invalid = "hangup busy"

[[pbx.menu]]
name = "sub"
prompt = "sub"
barge_in = false
keys = { 1 = "goto 101", "*" = "menu main", 23 = "echo" }

[[pbx.route]]
pattern = "500"
steps = ["answer", "wait 1s", "menu main"]

[[pbx.route]]
pattern = "501"
steps = ["pin abroad", "pin fixed", "echo"]

[[pbx.pin]]
name = "abroad"

[[pbx.pin]]
name = "fixed"
pin = "4711"

[[pbx.room]]
number = "200"
music = "default"

[[pbx.room]]
number = "201"
pin = "9999"
members_max = 2

[[pbx.route]]
pattern = "20X"
steps = ["room $number"]

[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "601"
steps = ["milliwatt"]

[[pbx.route]]
pattern = "602"
steps = ["play hello digits:$number number:42 silence:500", "tone beep 2s", "music"]

[[pbx.route]]
pattern = "603"
steps = ["record", "ring 101 auto"]
"#;

#[test]
fn a_key_chooses() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.expect(&["answer <x>"]);
        t.wait(1_000);
        t.expect(&["play <x>: welcome press-1"]);
        t.presses(a, "2");
        t.expect(&[]);
        // It might be the beginning of a number.
        t.wait(2_000);
        t.expect(&["play <x>: sub"]);
        // No barge-in here.
        t.presses(a, "1");
        t.expect(&[]);
        t.heard(a);
        t.presses(a, "1");
        t.expect(&["loop <x>: tone:ringback", "dial 101 from x"]);
        t.hangs_up(a);
        assert!(t.cdrs[0].steps.contains(&"key 1".to_owned()));
    });
}

#[test]
fn longer_keys_are_waited_for() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.wait(1_000);
        t.presses(a, "2");
        t.wait(2_000);
        t.heard(a);
        t.said();
        t.presses(a, "23");
        t.expect(&["echo <x>"]);
        t.hangs_up(a);
    });
}

#[test]
fn nothing_keyed_in_is_asked_again_and_then_decided() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.wait(1_000);
        t.heard(a);
        t.said();
        t.wait(5_000);
        t.expect(&["play <x>: welcome press-1"]);
        t.heard(a);
        t.wait(5_000);
        t.expect(&["loop <x>: tone:ringback", "dial 101 from x"]);
        t.hangs_up(a);
    });
}

#[test]
fn wrong_keys_are_told_and_end_the_menu() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.wait(1_000);
        t.said();
        t.presses(a, "7");
        t.wait(2_000);
        t.expect(&["play <x>: menu/wrong-key welcome press-1"]);
        t.presses(a, "7#");
        t.wait(2_000);
        t.expect(&["loop <x>: tone:busy"]);
        t.wait(4_000);
        t.expect(&["hangup <x> 486"]);
    });
}

#[test]
fn a_number_is_keyed_in() {
    script(PLAN, |t| {
        let a = t.call("x", "500");
        t.wait(1_000);
        t.said();
        t.presses(a, "1201");
        t.wait(2_000);
        t.expect(&["loop <x>: tone:ringback", "dial 1201 from x"]);
        t.hangs_up(a);
    });
}

#[test]
fn pins_guard_a_route() {
    script(PLAN, |t| {
        let a = t.call("x", "501");
        t.expect(&["answer <x>", "play <x>: pin/enter"]);
        t.presses(a, "12#");
        t.expect(&["ask pin route/abroad 12"]);
        t.told(Answer::No);
        t.expect(&["play <x>: pin/wrong pin/enter"]);
        t.presses(a, "123#");
        t.told(Answer::Done);
        t.expect(&["ask pin route/abroad 123", "play <x>: pin/enter"]);
        t.presses(a, "4711");
        t.wait(5_000);
        t.expect(&["echo <x>"]);
        t.hangs_up(a);
    });
}

#[test]
fn a_pin_may_be_wrong_three_times() {
    script(PLAN, |t| {
        let a = t.call("x", "501");
        t.presses(a, "1#");
        t.told(Answer::Done);
        t.presses(a, "4710#");
        t.presses(a, "47110#");
        t.said();
        t.presses(a, "#");
        t.expect(&["play <x>: sorry"]);
        t.heard(a);
        t.expect(&["hangup <x> 403"]);
    });
}

#[test]
fn three_meet_in_a_room() {
    script(PLAN, |t| {
        let a = t.call("a", "200");
        t.expect(&["answer <a>", "join <a>", "play <a>: room/alone"]);
        t.heard(a);
        t.expect(&["loop <a>: music:default"]);
        let b = t.call("b", "200");
        t.expect(&["answer <b>", "play room: room/joined", "join <b>"]);
        let c = t.call("c", "200");
        t.said();
        t.presses(c, "*6");
        t.expect(&["mute <c> true", "play <c>: room/muted"]);
        t.presses(c, "1*6");
        t.expect(&["mute <c> false", "play <c>: room/unmuted"]);
        t.hangs_up(c);
        t.expect(&["play room: room/left"]);
        t.hangs_up(a);
        t.expect(&["play room: room/left", "loop <b>: music:default"]);
        t.hangs_up(b);
    });
}

#[test]
fn a_room_has_a_pin_and_a_limit() {
    script(PLAN, |t| {
        let enter = |t: &mut Desk, name: &str| {
            let leg = t.call(name, "201");
            t.presses(leg, "9999#");
            leg
        };
        let a = enter(t, "a");
        let b = enter(t, "b");
        t.said();
        let c = enter(t, "c");
        t.expect(&["answer <c>", "play <c>: pin/enter", "play <c>: room/full"]);
        t.heard(c);
        t.expect(&["hangup <c> 200"]);
        t.hangs_up(a);
        t.hangs_up(b);
    });
}

#[test]
fn sounds_follow_each_other() {
    script(PLAN, |t| {
        let a = t.call("x", "602");
        t.expect(&["answer <x>", "play <x>: hello '602' 42 silence:500"]);
        t.heard(a);
        t.expect(&["loop <x>: tone:beep"]);
        t.wait(2_000);
        t.expect(&["loop <x>: music:default"]);
        t.hangs_up(a);
        let b = t.call("x", "600");
        let c = t.call("y", "601");
        t.expect(&[
            "answer <x>",
            "echo <x>",
            "answer <y>",
            "loop <y>: tone:milliwatt",
        ]);
        t.hangs_up(b);
        t.hangs_up(c);
    });
}

#[test]
fn a_step_records_and_a_phone_answers_by_itself() {
    script(PLAN, |t| {
        let a = t.call("x", "603");
        t.expect(&["record <x> both", "dial 101 from x auto"]);
        t.answers("101");
        t.hangs_up(a);
    });
}

#[test]
fn a_pin_cannot_be_tried_over_and_over() {
    script(PLAN, |t| {
        for _ in 0..4 {
            let a = t.call("x", "201");
            t.presses(a, "1111#2222#3333#");
            t.hangs_up(a);
        }
        t.said();
        let a = t.call("x", "201");
        t.expect(&["answer <x>", "play <x>: sorry"]);
        t.heard(a);
        // Others are not shut out, and it is over some time later.
        let b = t.call("y", "201");
        t.presses(b, "9999#");
        t.hangs_up(b);
        t.wait(600_000);
        t.said();
        let a = t.call("x", "201");
        t.expect(&["answer <x>", "play <x>: pin/enter"]);
        t.hangs_up(a);
    });
}

#[test]
fn a_store_that_does_not_know_a_pin_in_time_lets_nobody_in() {
    script(PLAN, |t| {
        let a = t.call("x", "501");
        t.presses(a, "123#");
        t.said();
        t.wait(10_000);
        t.expect(&["play <x>: sorry"]);
        t.told(Answer::Done);
        t.heard(a);
        t.expect(&["hangup <x> 503"]);
    });
}
