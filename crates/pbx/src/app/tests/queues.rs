//! Queues.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"

[[pbx.extension]]
number = "102"

[[pbx.extension]]
number = "103"

[[pbx.route]]
pattern = "300"
steps = ["queue sales"]

[[pbx.route]]
pattern = "301"
steps = ["queue all"]

[[pbx.route]]
pattern = "302"
steps = ["queue empty"]

[[pbx.route]]
pattern = "303"
steps = ["queue turns"]

[[pbx.queue]]
name = "sales"
agents = ["101", "102"]
ring_s = 10
wrap_up_s = 20
retry_s = 5
announce_s = 30
wait_max_s = 100
callers_max = 2
overflow = "play all-busy"

[[pbx.queue]]
name = "all"
agents = ["101", "102"]
always_in = true
order = "all"
welcome = "welcome"
wrap_up_s = 0

[[pbx.queue]]
name = "empty"
agents = ["103"]
join_empty = false
overflow = "hangup congestion"

[[pbx.queue]]
name = "turns"
agents = ["101", "102", "103"]
always_in = true
order = "rotary"
wrap_up_s = 0
"#;

fn log_in(t: &mut Desk, user: &str) {
    let a = t.call(user, "*45");
    t.heard(a);
    t.said();
}

#[test]
fn an_agent_who_logs_in_gets_who_waits() {
    script(PLAN, |t| {
        let a = t.call("a", "300");
        t.expect(&["answer <a>", "loop <a>: music:default"]);
        t.wait(30_000);
        t.expect(&["play <a>: queue/next"]);
        t.heard(a);
        t.expect(&["loop <a>: music:default"]);
        let b = t.call("b", "300");
        t.said();
        t.wait(30_000);
        assert!(t.said().contains(&"play <b>: queue/position 2".to_owned()));
        t.heard(a);
        t.heard(b);
        t.said();
        log_in(t, "101");
        let agent = t.leg("101");
        t.answers("101");
        t.expect(&["bridge <a> 101"]);
        t.hangs_up(a);
        t.expect(&["hangup 101 200"]);
        assert!(
            t.cdrs
                .iter()
                .any(|cdr| cdr.steps.contains(&"queue sales after 60000 ms".to_owned()))
        );
        // Peace after a call, then the next one.
        t.wait(19_000);
        t.said();
        t.wait(1_000);
        t.expect(&["dial 101/2 from b"]);
        t.hangs_up(b);
        t.expect(&["hangup 101/2 200"]);
        let _ = agent;
    });
}

#[test]
fn an_agent_who_does_not_answer_is_passed_over() {
    script(PLAN, |t| {
        log_in(t, "101");
        log_in(t, "102");
        let a = t.call("a", "300");
        t.expect(&["answer <a>", "loop <a>: music:default", "dial 101 from a"]);
        t.wait(10_000);
        t.expect(&["hangup 101 408", "dial 102 from a"]);
        t.fails("102", 486);
        t.expect(&[]);
        t.wait(5_000);
        t.expect(&["dial 101/2 from a"]);
        t.answers("101/2");
        t.hangs_up(a);
        t.said();
        // Who logged out is rung no more.
        let b = t.call("101", "*46");
        t.heard(b);
        let b = t.call("102", "*46");
        t.heard(b);
        t.said();
        let a = t.call("a", "300");
        t.expect(&["answer <a>", "loop <a>: music:default"]);
        t.hangs_up(a);
    });
}

#[test]
fn who_waits_too_long_or_finds_no_place_goes_elsewhere() {
    script(PLAN, |t| {
        let a = t.call("a", "300");
        let b = t.call("b", "300");
        t.said();
        let c = t.call("c", "300");
        t.expect(&["answer <c>", "play <c>: all-busy"]);
        t.hangs_up(c);
        t.hangs_up(b);
        t.wait(100_000);
        assert_eq!(t.said().last().unwrap(), "play <a>: all-busy");
        t.heard(a);
        t.said();
        t.call("d", "302");
        t.expect(&["reject <d> 503"]);
    });
}

#[test]
fn all_agents_ring_at_once_after_the_welcome() {
    script(PLAN, |t| {
        let a = t.call("a", "301");
        t.expect(&["answer <a>", "play <a>: welcome"]);
        t.heard(a);
        t.expect(&[
            "loop <a>: music:default",
            "dial 101 from a",
            "dial 102 from a",
        ]);
        let b = t.call("b", "301");
        t.heard(b);
        t.said();
        t.answers("102");
        t.expect(&["hangup 101 200", "bridge <a> 102", "dial 101/2 from b"]);
        t.hangs_up(a);
        t.hangs_up(b);
    });
}

#[test]
fn agents_take_turns() {
    script(PLAN, |t| {
        for agent in ["101", "102", "103", "101/2"] {
            let a = t.call("a", "303");
            assert_eq!(t.said().last().unwrap(), &format!("dial {agent} from a"));
            t.answers(agent);
            t.wait(1_000);
            t.hangs_up(a);
            t.said();
        }
    });
}

#[test]
fn an_agent_on_the_phone_is_not_rung() {
    script(PLAN, |t| {
        let own = t.call("101", "103");
        t.answers("103");
        t.said();
        let a = t.call("a", "303");
        t.expect(&["answer <a>", "loop <a>: music:default", "dial 102 from a"]);
        t.hangs_up(a);
        t.hangs_up(own);
    });
}

#[test]
fn who_is_no_agent_cannot_log_in() {
    script(PLAN, |t| {
        let a = t.call("x", "*45");
        t.expect(&["answer <x>", "play <x>: agent/none"]);
        t.heard(a);
        t.call_as("101", "*45", false);
        t.expect(&["hangup <x> 200", "reject <101> 403"]);
    });
}
