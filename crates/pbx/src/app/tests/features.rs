//! What else is promised: reload, loops, records.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"

[[pbx.route]]
pattern = "500"
steps = ["menu one"]

[[pbx.menu]]
name = "one"
prompt = "one"
keys = { 1 = "menu one", 2 = "goto 101" }

[[pbx.route]]
pattern = "55X"
steps = ["goto 55$rest"]

[[pbx.route]]
pattern = "600"
steps = ["play hello", "ring 101", "play gone"]
"#;

#[test]
fn a_dialplan_that_loops_ends_with_a_clear_answer() {
    script(PLAN, |t| {
        t.call("x", "551");
        t.expect(&["reject <x> 482"]);
        assert!(t.cdrs[0].steps.len() <= super::super::NOTES_MAX);
        // With waits it takes longer, and ends too.
        let a = t.call("x", "500");
        for _ in 0..400 {
            if t.said().iter().any(|one| one == "play <x>: sorry") {
                break;
            }
            t.presses(a, "1");
        }
        t.heard(a);
        t.expect(&["hangup <x> 482"]);
    });
}

#[test]
fn calls_go_on_when_the_dialplan_changes() {
    let mut t = Desk::new(plan(PLAN), false);
    let a = t.call("x", "600");
    let b = t.call("y", "500");
    t.said();
    t.board
        .reload(plan("[[pbx.route]]\npattern = \"1\"\nsteps = [\"echo\"]"));
    // The steps are those it began with.
    t.heard(a);
    t.expect(&["loop <x>: tone:ringback", "dial 101 from x"]);
    t.answers("101");
    t.expect(&["bridge <x> 101"]);
    t.hangs_up(a);
    t.said();
    // A menu that is gone is said to be.
    t.presses(b, "2");
    t.expect(&["play <y>: sorry"]);
    t.heard(b);
    t.expect(&["hangup <y> 404"]);
    t.call("x", "600");
    t.expect(&["reject <x> 404"]);
    t.close();
    assert_eq!(t.cdrs.len(), 3);
}

#[test]
fn the_record_of_a_call_has_its_figures() {
    script(PLAN, |t| {
        let a = t.call("x", "101");
        t.answers("101");
        let leg = t.leg("101");
        t.wait(5_000);
        let figures = Figures {
            mos_hundredths: 430,
            lost_per_myriad: 12,
            jitter_ms: 7,
        };
        t.happen(Happening::Quality {
            leg,
            call_id: "abc".to_owned(),
            codec: "opus".to_owned(),
            figures,
        });
        t.hangs_up(a);
        let cdr = &t.cdrs[0];
        assert_eq!(cdr.ended_unix_ms - cdr.answered_unix_ms.unwrap(), 5_000);
        let leg = cdr.legs.iter().find(|leg| leg.call_id == "abc").unwrap();
        assert_eq!(
            (leg.codec.as_str(), leg.figures, leg.cause.q850),
            ("opus", figures, 16)
        );
    });
}

#[test]
fn what_never_ends_is_given_up() {
    let mut t = Desk::new(plan(PLAN), false);
    let a = t.call("x", "101");
    t.rings("101");
    // The end of the called leg is never told.
    let mut actions = Vec::new();
    let now = t.now();
    let ended = Happening::Ended {
        leg: a,
        cause: super::super::end::cause(200),
    };
    t.board.happened(now, &mut t.ids, &ended, &mut actions);
    assert_eq!(t.board.tables().calls, 1);
    t.wait(super::super::END_TIMEOUT_MS);
    t.close();
    assert_eq!(t.cdrs.len(), 1);
}

#[test]
fn those_who_watch_see_an_extension_with_all_its_phones_and_whom_they_talk_with() {
    let plan = r#"
[[pbx.extension]]
number = "101"
phones = ["ann", "ann-mobile"]

[[pbx.extension]]
number = "102"
"#;
    script(plan, |t| {
        let a = t.call("102", "101");
        assert!(
            t.history
                .contains(&"101 is [Trying from 102, Trying from 102]".to_owned())
        );
        assert!(t.history.contains(&"102 is [Proceeding to 101]".to_owned()));
        t.rings("ann");
        assert!(
            t.history
                .contains(&"101 is [Early from 102, Trying from 102]".to_owned())
        );
        t.answers("ann");
        let last = |t: &Desk, who: &str| {
            let mut told = t.history.iter().rev();
            told.find(|line| line.starts_with(&format!("{who} is")))
                .cloned()
        };
        assert_eq!(
            last(t, "101").unwrap(),
            "101 is [Confirmed from 102, Terminated from 102]"
        );
        assert_eq!(last(t, "102").unwrap(), "102 is [Confirmed to ann]");
        t.hangs_up(a);
        assert_eq!(last(t, "101").unwrap(), "101 is [Terminated from 102]");
        // Who wants no one to know is not named.
        let leg = t.next_leg("102");
        let mut incoming = t.incoming_of(leg, "102", "101", true);
        incoming.is_private = true;
        t.happen(Happening::Incoming(Box::new(incoming)));
        t.answers("ann/2");
        assert_eq!(
            last(t, "101").unwrap(),
            "101 is [Confirmed from ?, Terminated from ?]"
        );
        t.hangs_up(leg);
    });
}
