//! Phones that ring.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"
phones = ["ann"]
ring_s = 20
class = "staff"
mailbox = "101"

[[pbx.extension]]
number = "102"
phones = ["bob", "bob-mobile"]
busy = "goto 101"
unreachable = "announce closed"
no_answer = ["play sorry"]

[[pbx.extension]]
number = "103"
phones = ["cid", "dan", "eve"]
order = "in-order"
ring_s = 10

[[pbx.extension]]
number = "104"
always = "goto 103"

[[pbx.mailbox]]
number = "101"

[[pbx.class]]
name = "staff"

[[pbx.class]]
name = "trunk"
callers = ["+X."]
trusted = false

[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "601"
steps = ["ring ann bob cid least recent for 5s", "on busy play all-busy", "on no answer hangup unavailable"]

[[pbx.route]]
pattern = "0."
for = ["staff"]
steps = ["ring $rest@trunk.example for 60s"]

[[pbx.route]]
pattern = "800"
hours = "office"
steps = ["goto 101"]

[[pbx.route]]
pattern = "800"
steps = ["unless office announce closed", "hangup unavailable"]

[[pbx.hours]]
name = "office"
open = ["Mon-Fri 09:00-17:00"]

[[pbx.route]]
pattern = "900"
steps = ["ring 101 for 5s", "ring 0170@mobile for 20s confirm", "voicemail 101"]
for = ["known"]
"#;

#[test]
fn a_phone_rings_and_two_talk() {
    script(PLAN, |t| {
        let a = t.call("102", "101");
        t.expect(&["dial ann from 102"]);
        t.rings("ann");
        t.expect(&["180 <102>"]);
        t.answers("ann");
        t.expect(&["answer <102>", "bridge <102> ann"]);
        t.hangs_up(a);
        t.expect(&["hangup ann 200"]);
        assert_eq!(t.cdrs.len(), 1);
        assert_eq!(t.cdrs[0].steps, ["extension 101", "answered by ann"]);
        assert_eq!(t.cdrs[0].legs.len(), 2);
        assert!(t.cdrs[0].answered_unix_ms.is_some());
    });
}

#[test]
fn who_is_called_may_hang_up_and_who_calls_may_give_up() {
    script(PLAN, |t| {
        t.call("102", "101");
        t.answers("ann");
        t.said();
        let ann = t.leg("ann");
        t.hangs_up(ann);
        t.expect(&["hangup <102> 200"]);
        let a = t.call("102", "101");
        t.said();
        t.hangs_up(a);
        t.expect(&["hangup ann/2 200"]);
        assert_eq!(t.cdrs[1].answered_unix_ms, None);
    });
}

#[test]
fn nobody_answers_and_the_caller_leaves_a_message() {
    script(PLAN, |t| {
        let a = t.call("102", "101");
        t.rings("ann");
        t.said();
        t.wait(20_000);
        t.expect(&["hangup ann 408", "answer <102>", "ask mailbox 101"]);
        t.told(Answer::Mailbox(Mailbox::default()));
        t.expect(&["play <102>: voicemail/extension '101' voicemail/unavailable"]);
        t.hangs_up(a);
        assert_eq!(
            t.cdrs[0].steps,
            ["extension 101", "diverted 101 no-answer", "voicemail 101"]
        );
    });
}

#[test]
fn all_phones_ring_and_the_first_has_the_call() {
    script(PLAN, |t| {
        let a = t.call("101", "102");
        t.expect(&["dial bob from 101", "dial bob-mobile from 101"]);
        t.rings("bob");
        t.rings("bob-mobile");
        t.answers("bob-mobile");
        t.expect(&[
            "180 <101>",
            "hangup bob 200",
            "answer <101>",
            "bridge <101> bob-mobile",
        ]);
        t.hangs_up(a);
    });
}

#[test]
fn a_busy_extension_sends_its_calls_on() {
    script(PLAN, |t| {
        let a = t.call("101", "102");
        t.said();
        t.fails("bob", 486);
        t.fails("bob-mobile", 480);
        t.expect(&["dial ann from 101 by 102 Busy"]);
        t.hangs_up(a);
    });
}

#[test]
fn an_extension_that_cannot_be_reached_says_so_before_the_answer() {
    script(PLAN, |t| {
        let a = t.call("101", "102");
        t.said();
        t.fails("bob", 503);
        t.fails("bob-mobile", 404);
        t.expect(&["183 <101>", "play <101>: closed"]);
        t.heard(a);
        t.expect(&["reject <101> 480"]);
    });
}

#[test]
fn phones_ring_one_after_the_other() {
    script(PLAN, |t| {
        let a = t.call("101", "103");
        t.expect(&["dial cid from 101"]);
        t.wait(10_000);
        t.expect(&["hangup cid 408", "dial dan from 101"]);
        t.fails("dan", 486);
        t.expect(&["dial eve from 101"]);
        t.wait(10_000);
        t.expect(&["hangup eve 408", "reject <101> 480"]);
        let _ = a;
    });
}

#[test]
fn an_extension_may_send_all_its_calls_on() {
    script(PLAN, |t| {
        let a = t.call("101", "104");
        t.expect(&["dial cid from 101 by 104 Unconditional"]);
        t.hangs_up(a);
    });
}

#[test]
fn who_talked_longest_ago_is_rung_first() {
    script(PLAN, |t| {
        let a = t.call("x", "601");
        t.answers("ann");
        t.hangs_up(a);
        t.said();
        t.wait(1_000);
        let b = t.call("x", "601");
        t.expect(&["dial bob from x"]);
        t.fails("bob", 486);
        t.expect(&["dial cid from x"]);
        t.fails("cid", 486);
        t.expect(&["dial ann/2 from x"]);
        t.fails("ann/2", 486);
        t.expect(&["answer <x>", "play <x>: all-busy"]);
        t.heard(b);
        t.expect(&["loop <x>: tone:busy"]);
        t.wait(4_000);
        t.expect(&["hangup <x> 486"]);
    });
}

#[test]
fn who_may_dial_what_is_a_matter_of_class() {
    script(PLAN, |t| {
        // The name alone proves nothing.
        t.call_as("ann", "0123", false);
        t.expect(&["reject <ann> 403"]);
        t.call("102", "0123");
        t.expect(&["reject <102> 403"]);
        let a = t.call("ann", "0123");
        t.expect(&["dial 123@trunk.example from ann"]);
        t.hangs_up(a);
        t.call("ann", "0");
        t.said();
        t.call("ann", "999");
        assert_eq!(t.said(), ["reject <ann> 404"]);
    });
}

#[test]
fn hours_choose_the_route() {
    script(PLAN, |t| {
        let a = t.call("x", "800");
        t.expect(&["dial ann from x"]);
        t.hangs_up(a);
        t.wait(6 * 3_600_000);
        t.said();
        let a = t.call("x", "800");
        t.expect(&["183 <x>", "play <x>: closed"]);
        t.heard(a);
        t.expect(&["reject <x> 480"]);
    });
}

#[test]
fn a_call_follows_somebody_who_has_to_accept_it() {
    script(PLAN, |t| {
        let a = t.call("102", "900");
        t.said();
        t.wait(5_000);
        t.expect(&["hangup ann 408", "dial 0170@mobile from 102"]);
        t.answers("0170@mobile");
        t.expect(&["play 0170@mobile: call/confirm call/confirm"]);
        let mobile = t.leg("0170@mobile");
        t.presses(mobile, "1");
        t.expect(&["answer <102>", "bridge <102> 0170@mobile"]);
        t.hangs_up(mobile);
        t.said();
        // A mailbox answers, and accepts nothing.
        let b = t.call("102", "900");
        t.wait(5_000);
        t.answers("0170@mobile/2");
        t.said();
        t.wait(20_000);
        t.expect(&[
            "hangup 0170@mobile/2 408",
            "answer <102>",
            "ask mailbox 101",
        ]);
        t.hangs_up(b);
        t.told(Answer::Failed);
        let _ = a;
    });
}

#[test]
fn early_media_of_a_single_phone_is_heard() {
    script(PLAN, |t| {
        let a = t.call("102", "101");
        let leg = t.leg("ann");
        t.happen(Happening::Ringing {
            leg,
            has_media: true,
        });
        t.expect(&["dial ann from 102", "bridge <102> ann"]);
        t.answers("ann");
        t.expect(&["answer <102>", "bridge <102> ann"]);
        t.hangs_up(a);
    });
}

#[test]
fn a_phone_that_sends_its_caller_on_does_so_within_its_rights() {
    script(PLAN, |t| {
        let a = t.call("102", "101");
        let leg = t.leg("ann");
        t.said();
        t.happen(Happening::Failed {
            leg,
            cause: super::super::end::cause(302),
            contacts: vec!["0123@evil.example".to_owned()],
        });
        t.expect(&["dial 123@trunk.example from 102 by 101 Unconditional"]);
        t.hangs_up(a);
    });
}

#[test]
fn those_who_watch_see_what_a_phone_does() {
    script(PLAN, |t| {
        let a = t.call("ann", "103");
        assert_eq!(t.board.extension_state("ann"), ExtensionState::Trying);
        assert_eq!(t.board.extension_state("cid"), ExtensionState::Ringing);
        t.answers("cid");
        assert_eq!(t.board.extension_state("ann"), ExtensionState::Busy);
        assert_eq!(t.board.extension_state("cid"), ExtensionState::Busy);
        t.hangs_up(a);
        assert_eq!(t.board.extension_state("ann"), ExtensionState::Idle);
    });
}
