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
ring_s = 20

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

fn refer(t: &mut Desk, leg: LegId, target: &str) {
    t.happen(Happening::TransferTo {
        leg,
        target: target.to_owned(),
        replaces: None,
        referral: Referral {
            referred_by: "<sip:102@x>".to_owned(),
            ..Referral::default()
        },
    });
}

#[test]
fn refer_sends_the_other_on() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        refer(t, b, "103");
        t.expect(&[
            "unbridge 102",
            "loop <101>: tone:ringback",
            "dial 103 from 101 referred by <sip:102@x>",
        ]);
        t.rings("103");
        t.rings("103");
        t.expect(&["transfer 102 180"]);
        t.answers("103");
        t.expect(&["transfer 102 200", "hangup 102 200", "bridge <101> 103"]);
        t.hangs_up(a);
        t.said();
        let (a, b) = {
            let a = t.call("101", "102");
            t.answers("102/2");
            (a, t.leg("102/2"))
        };
        t.said();
        refer(t, b, "x@evil.example");
        t.expect(&["transfer 102/2 403"]);
        // A service takes the call at once.
        refer(t, b, "600");
        t.expect(&[
            "unbridge 102/2",
            "transfer 102/2 200",
            "hangup 102/2 200",
            "echo <101>",
        ]);
        t.hangs_up(a);
    });
}

#[test]
fn who_is_sent_on_in_vain_is_back_with_who_sent() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        t.happen(Happening::Hold { leg: b, on: true });
        refer(t, b, "103");
        t.said();
        t.fails("103", 404);
        t.expect(&[
            "transfer 102 404",
            "bridge <101> 102",
            // The transferor has not taken back its hold.
            "loop <101>: music:default",
        ]);
        t.happen(Happening::Hold { leg: b, on: false });
        // Nobody answers in time; then all is as before, and it may be tried again.
        refer(t, b, "102b");
        t.expect(&["transfer 102 403"]);
        refer(t, b, "103");
        t.said();
        t.wait(20_000);
        t.expect(&["hangup 103/2 408", "transfer 102 480", "bridge <101> 102"]);
        refer(t, b, "103");
        t.said();
        t.answers("103/3");
        t.expect(&["transfer 102 200", "hangup 102 200", "bridge <101> 103/3"]);
        t.hangs_up(a);
        assert_eq!(t.cdrs.len(), 1);
        assert!(t.cdrs[0].steps.contains(&"transfer to 103: 404".to_owned()));
    });
}

#[test]
fn who_sent_in_vain_and_hung_up_is_rung_back() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        refer(t, b, "103");
        t.hangs_up(b);
        t.said();
        t.fails("103", 486);
        t.expect(&[
            "loop <101>: tone:ringback",
            "dial 102/2 from 101 by 103 Busy",
        ]);
        t.answers("102/2");
        t.expect(&["bridge <101> 102/2"]);
        // Sent on by a code: nobody answers there, and nobody here.
        let b = t.leg("102/2");
        t.presses(b, "##103#");
        t.said();
        t.wait(20_000);
        t.expect(&[
            "hangup 103/2 408",
            "loop <101>: tone:ringback",
            "dial 102/3 from 101 by 103 NoAnswer by 103 Busy",
        ]);
        t.wait(30_000);
        t.expect(&["hangup 102/3 408", "play <101>: sorry"]);
        t.heard(a);
        t.expect(&["hangup <101> 480"]);
    });
}

#[test]
fn who_is_rung_back_may_have_a_mailbox() {
    let plan = format!(
        "{PLAN}\n[[pbx.extension]]\nnumber = \"104\"\nmailbox = \"104\"\n[[pbx.mailbox]]\nnumber = \"104\"\n"
    );
    script(&plan, |t| {
        let a = t.call("101", "104");
        t.answers("104");
        let b = t.leg("104");
        refer(t, b, "103");
        t.hangs_up(b);
        t.said();
        t.fails("103", 480);
        t.fails("104/2", 486);
        assert!(t.said().contains(&"ask mailbox 104".to_owned()));
        t.told(Answer::Failed);
        t.hangs_up(a);
    });
}

#[test]
fn who_is_sent_on_may_give_up() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        refer(t, b, "103");
        t.said();
        t.hangs_up(a);
        t.expect(&["hangup 102 200", "hangup 103 200"]);
        let _ = b;
    });
}

#[test]
fn strangers_and_those_who_want_no_recall_are_not_rung_back() {
    let plan = format!("{PLAN}\n[pbx.features]\nrecall_s = 0\n");
    script(&plan, |t| {
        let (a, b) = talk(t);
        refer(t, b, "103");
        t.hangs_up(b);
        t.said();
        t.fails("103", 486);
        t.expect(&["loop <101>: tone:busy"]);
        t.hangs_up(a);
    });
    script(PLAN, |t| {
        let a = t.call_as("stranger", "102", false);
        t.answers("102");
        t.said();
        refer(t, a, "103");
        t.hangs_up(a);
        t.said();
        t.fails("103", 486);
        t.expect(&["loop 102: tone:busy"]);
        let b = t.leg("102");
        t.hangs_up(b);
    });
}

#[test]
fn a_dialog_of_another_pbx_is_replaced_by_a_call_there() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        let elsewhere = |t: &mut Desk, leg, target: &str| join_elsewhere(t, leg, target, true);
        // Other hosts are not asked for numbers, whatever is replaced there.
        elsewhere(t, b, "00900@trunk");
        t.expect(&["transfer 102 403"]);
        elsewhere(t, b, "@pbx2");
        t.expect(&[
            "unbridge 102",
            "loop <101>: tone:ringback",
            "dial @pbx2 from 101 replaces x;to-tag=1;from-tag=2 at sip:pbx2:5070",
        ]);
        t.fails("@pbx2", 481);
        t.expect(&["transfer 102 481", "bridge <101> 102"]);
        elsewhere(t, b, "103");
        t.said();
        t.answers("103");
        t.expect(&["transfer 102 200", "hangup 102 200", "bridge <101> 103"]);
        t.hangs_up(a);
    });
}

/// A leg asks to have its other party replace a dialog at another host; `is_near`: the operator trusts that one.
fn join_elsewhere(t: &mut Desk, leg: LegId, target: &str, is_near: bool) {
    t.happen(Happening::TransferTo {
        leg,
        target: target.to_owned(),
        replaces: None,
        referral: Referral {
            replaces: "x;to-tag=1;from-tag=2".to_owned(),
            uri: "sip:pbx2:5070".to_owned(),
            is_near,
            ..Referral::default()
        },
    });
}

#[test]
fn dialogs_of_other_hosts_are_replaced_by_those_who_may_call_there() {
    script(PLAN, |t| {
        let (a, b) = talk(t);
        join_elsewhere(t, b, "@elsewhere", false);
        t.expect(&["transfer 102 403"]);
        // 102 may dial outside by the trunk, 101 may not.
        join_elsewhere(t, a, "@trunk", false);
        t.expect(&["transfer <101> 403"]);
        join_elsewhere(t, b, "@tru", false);
        t.expect(&["transfer 102 403"]);
        join_elsewhere(t, b, "@Trunk", false);
        t.expect(&[
            "unbridge 102",
            "loop <101>: tone:ringback",
            "dial @Trunk from 101 replaces x;to-tag=1;from-tag=2 at sip:pbx2:5070",
        ]);
        t.fails("@Trunk", 481);
        t.expect(&["transfer 102 481", "bridge <101> 102"]);
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
            referral: Referral::default(),
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
        // Another PBX names the dialog and no number (RFC 5589 section 7); of one that is not here nobody is called.
        for (name, old) in [("103d", c), ("103e", b)] {
            let d = t.next_leg(name);
            let mut incoming = t.incoming_of(d, "103", "", true);
            incoming.replaces = Some(old);
            t.happen(Happening::Incoming(Box::new(incoming)));
        }
        t.expect(&[
            "answer <103d>",
            "hangup <103> 200",
            "bridge <101> <103d>",
            "reject <103e> 481",
        ]);
        t.hangs_up(a);
        t.expect(&["hangup <103d> 200"]);
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
