//! Transfers, parking, pick-up and taking a place.

use super::*;

const PLAN: &str = r#"
[pbx.parking]
slots = "701-702"
timeout_s = 30

[[pbx.extension]]
number = "101"
group = "sales"

[[pbx.extension]]
number = "102"
group = "sales"
ring_s = 20

[[pbx.extension]]
number = "103"

[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "0."
for = ["staff"]
steps = ["ring $rest@trunk"]

[[pbx.class]]
name = "staff"
callers = ["102"]
"#;

/// 101 talks with 102.
fn talk(t: &mut Desk) -> (LegId, LegId) {
    let a = t.call("101", "102");
    t.answers("102");
    t.said();
    let b = t.leg("102");
    (a, b)
}

#[test]
fn a_code_sends_the_other_on() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "##");
        t.expect(&[
            "unbridge 102",
            "loop <101>: music:default",
            "play 102: transfer/number",
        ]);
        t.presses(b, "103#");
        t.expect(&[
            "hangup 102 200",
            "loop <101>: tone:ringback",
            "dial 103 from 101",
        ]);
        t.answers("103");
        t.expect(&["bridge <101> 103"]);
        t.hangs_up(a);
        t.expect(&["hangup 103 200"]);
        assert_eq!(t.cdrs.len(), 1);
        assert!(
            t.cdrs[0]
                .steps
                .contains(&"transfer to 103 by 102".to_owned())
        );
    });
}

#[test]
fn the_caller_sends_the_called_on() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(a, "*3");
        t.said();
        t.presses(a, "600");
        t.wait(4_000);
        t.expect(&["hangup <101> 200", "echo 102"]);
        t.hangs_up(b);
    });
}

#[test]
fn a_wrong_number_brings_both_back() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "##");
        t.said();
        t.presses(b, "999#");
        t.expect(&["bridge <101> 102", "play 102: transfer/wrong"]);
        // The rights are those of who sends: 102 may dial outside, 101 may not.
        t.presses(a, "##");
        t.said();
        t.presses(a, "0123#");
        t.expect(&["bridge <101> 102", "play <101>: transfer/wrong"]);
        t.presses(b, "##0123#");
        assert!(t.said().contains(&"dial 123@trunk from 101".to_owned()));
        t.hangs_up(a);
    });
}

#[test]
fn strangers_move_nobody() {
    script(PLAN, |t| {
        let a = t.call_as("evil", "102", false);
        t.answers("102");
        t.said();
        t.presses(a, "##101#*4*2");
        t.expect(&[]);
        t.hangs_up(a);
    });
}

#[test]
fn an_attended_transfer_joins_who_waited_and_who_was_asked() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*2");
        t.said();
        t.presses(b, "103#");
        t.expect(&["loop 102: tone:ringback", "dial 103 from 102"]);
        t.answers("103");
        t.expect(&["bridge 102 103"]);
        t.hangs_up(b);
        t.expect(&["bridge <101> 103"]);
        t.hangs_up(a);
        t.expect(&["hangup 103 200"]);
        assert_eq!(t.cdrs.len(), 2);
    });
}

#[test]
fn a_transfer_is_completed_while_it_rings() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*2103#");
        t.said();
        t.hangs_up(b);
        t.expect(&["loop <101>: tone:ringback"]);
        t.answers("103");
        t.expect(&["bridge <101> 103"]);
        t.hangs_up(a);
    });
}

#[test]
fn who_asked_in_vain_is_back() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*2103#");
        t.said();
        t.fails("103", 486);
        t.expect(&["bridge <101> 102"]);
        t.presses(b, "*2103#");
        t.answers("103/2");
        t.said();
        let c = t.leg("103/2");
        t.hangs_up(c);
        t.expect(&["unbridge 102", "bridge <101> 102"]);
        // And by the code.
        t.presses(b, "*2103#");
        t.answers("103/3");
        t.said();
        t.presses(b, "*2");
        t.expect(&["unbridge 102", "hangup 103/3 200", "bridge <101> 102"]);
        t.hangs_up(a);
    });
}

#[test]
fn who_waits_may_give_up() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*2103#");
        t.answers("103");
        t.said();
        t.hangs_up(a);
        t.expect(&[]);
        t.hangs_up(b);
        t.expect(&["hangup 103 200"]);
    });
}

#[test]
fn refer_sends_the_other_on() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.happen(Happening::TransferTo {
            leg: b,
            target: "103".to_owned(),
            replaces: None,
        });
        t.expect(&[
            "transfer 102 200",
            "unbridge 102",
            "hangup 102 200",
            "loop <101>: tone:ringback",
            "dial 103 from 101",
        ]);
        t.answers("103");
        t.hangs_up(a);
        t.said();
        let (a, b) = {
            let a = t.call("101", "102");
            t.answers("102/2");
            (a, t.leg("102/2"))
        };
        t.said();
        t.happen(Happening::TransferTo {
            leg: b,
            target: "x@evil.example".to_owned(),
            replaces: None,
        });
        t.expect(&["transfer 102/2 403"]);
        t.hangs_up(a);
    });
}

#[test]
fn refer_with_replaces_joins_two_calls() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        let b2 = t.call("102", "103");
        t.answers("103");
        t.said();
        t.happen(Happening::TransferTo {
            leg: b,
            target: "103".to_owned(),
            replaces: Some(b2),
        });
        t.expect(&[
            "unbridge 102",
            "hangup <102> 200",
            "bridge <101> 103",
            "transfer 102 200",
            "hangup 102 200",
        ]);
        t.hangs_up(a);
        t.expect(&["hangup 103 200"]);
        assert_eq!(t.cdrs.len(), 2);
    });
}

#[test]
fn replaces_takes_a_place_in_a_call() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        let c = t.next_leg("103");
        let mut incoming = t.incoming_of(c, "103", "102", true);
        incoming.replaces = Some(b);
        t.happen(Happening::Incoming(Box::new(incoming)));
        t.expect(&["answer <103>", "hangup 102 200", "bridge <101> <103>"]);
        t.hangs_up(a);
        t.expect(&["hangup <103> 200"]);
        // A phone that rings is picked up in the same way.
        let a = t.call("101", "102");
        let b = t.leg("102/2");
        let c = t.next_leg("103b");
        let mut incoming = t.incoming_of(c, "103", "102", true);
        incoming.replaces = Some(b);
        t.said();
        t.happen(Happening::Incoming(Box::new(incoming)));
        t.expect(&[
            "answer <103b>",
            "hangup 102/2 200",
            "answer <101>",
            "bridge <101> <103b>",
        ]);
        t.hangs_up(a);
    });
}

#[test]
fn a_call_of_the_group_is_picked_up() {
    script(PLAN, |t| {
        let a = t.call("103", "102");
        t.said();
        let b = t.call("101", "*8");
        t.expect(&[
            "answer <101>",
            "hangup 102 200",
            "answer <103>",
            "bridge <103> <101>",
        ]);
        t.hangs_up(a);
        t.said();
        let _ = b;
        // Nothing rings.
        let b = t.call("101", "*8");
        t.expect(&["answer <101>", "play <101>: pickup/nothing"]);
        t.heard(b);
        t.expect(&["hangup <101> 200"]);
    });
}

#[test]
fn a_call_is_picked_up_by_its_number() {
    script(PLAN, |t| {
        let a = t.call("101", "103");
        t.said();
        t.call("102", "*8103");
        t.expect(&[
            "answer <102>",
            "hangup 103 200",
            "answer <101>",
            "bridge <101> <102>",
        ]);
        t.hangs_up(a);
    });
}

#[test]
fn a_parked_call_is_taken_elsewhere() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*4");
        t.expect(&[
            "loop <101>: music:default",
            "unbridge 102",
            "play 102: park/slot '701'",
        ]);
        t.heard(b);
        t.expect(&["hangup 102 200"]);
        let c = t.call("103", "701");
        t.expect(&["answer <103>", "bridge <101> <103>"]);
        t.hangs_up(a);
        t.expect(&["hangup <103> 200"]);
        let _ = c;
    });
}

#[test]
fn a_call_that_is_parked_too_long_goes_back() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*4");
        t.heard(b);
        t.said();
        t.wait(30_000);
        t.expect(&["loop <101>: tone:ringback", "dial 102/2 from 101"]);
        t.answers("102/2");
        t.expect(&["bridge <101> 102/2"]);
        t.hangs_up(a);
    });
}

#[test]
fn there_is_no_slot_left() {
    script(PLAN, |t| {
        let c = t.call("101", "700");
        let d = t.call("101", "700");
        t.said();
        let e = t.call("101", "700");
        t.expect(&["answer <101>", "play <101>: park/full"]);
        t.hangs_up(e);
        t.call("103", "999");
        t.call("103", "702");
        t.hangs_up(c);
        t.hangs_up(d);
        t.said();
        let e = t.call("103", "701");
        t.expect(&["answer <103>", "play <103>: park/nothing"]);
        t.hangs_up(e);
    });
}

#[test]
fn a_call_is_recorded_on_demand() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.presses(b, "*1");
        t.expect(&["record 102 both"]);
        t.presses(b, "*1");
        t.expect(&["stop recording 102"]);
        t.presses(a, "*1");
        t.said();
        t.hangs_up(a);
        assert_eq!(
            t.cdrs[0]
                .steps
                .iter()
                .filter(|step| step.starts_with("record recordings/"))
                .count(),
            2
        );
    });
}

#[test]
fn hold_brings_music() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.happen(Happening::Hold { leg: b, on: true });
        t.expect(&["loop <101>: music:default"]);
        t.happen(Happening::Hold { leg: b, on: false });
        t.expect(&[]);
        t.hangs_up(a);
    });
}
