//! Calls through a node, by SIPp and by phones that do what the test says.

mod support;

use std::time::{Duration, Instant};

use support::node::password_of;
use support::phone::{Dialog, OFFER, connect, end};
use support::sipp::{Over, Sipp};
use support::{Node, Phone, free_port};

/// A SIPp that calls another one, which a phone of bob's registered; gives what each of them sent
/// and received.
fn sipp_call(
    (caller, caller_over): (&str, Over),
    (callee, callee_over): (&str, Over),
    status: &str,
) -> (Node, String, String) {
    sipp_calls((caller, caller_over), (callee, callee_over), status, 1)
}

fn sipp_calls(
    (caller, caller_over): (&str, Over),
    (callee, callee_over): (&str, Over),
    status: &str,
    count: usize,
) -> (Node, String, String) {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let port = free_port();
    let words = [
        ("CALLEE", "bob"),
        ("PASSWORD", &password_of("alice")),
        ("STATUS", status),
    ];
    let contact = format!("<sip:bob@127.0.0.1:{port}{}>", callee_over.parameter());
    Phone::udp(&node, "bob").registers_at(&contact);
    let callee = Sipp::waits(&node, callee, (callee_over, port), &words, count);
    let caller = Sipp::calls(&node, caller, caller_over, &words, count);
    let (caller, callee) = (caller.end(), callee.end());
    let went = caller.is_ok() && callee.is_ok();
    let heard = (side(caller), side(callee));
    assert!(went, "{}\n{}", heard.0, heard.1);
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
    (node, heard.0, heard.1)
}

fn side(end: Result<String, String>) -> String {
    end.unwrap_or_else(|error| error)
}

fn a_whole_call(caller: Over, callee: Over) {
    let (node, _, heard) = sipp_call(("caller", caller), ("callee", callee), "");
    assert!(heard.contains("Record-Route: <sip:127.0.0.1:"), "{heard}");
    // The caller's proof was for the proxy.
    assert!(!heard.contains("Proxy-Authorization"), "{heard}");
    assert_eq!(node.metric("holdline_calls_answered_total"), 1.0);
    assert_eq!(node.metric("holdline_calls_ended_total"), 1.0);
}

#[test]
fn sipp_calls_sipp_over_udp() {
    a_whole_call(Over::Udp, Over::Udp);
}

#[test]
fn sipp_calls_sipp_over_tcp() {
    a_whole_call(Over::Tcp, Over::Tcp);
}

#[test]
fn sipp_calls_from_udp_to_tcp() {
    a_whole_call(Over::Udp, Over::Tcp);
}

#[test]
fn sipp_calls_from_tcp_to_udp() {
    a_whole_call(Over::Tcp, Over::Udp);
}

#[test]
fn a_hundred_calls_at_once_are_all_answered_and_all_ended() {
    for (caller, callee) in [(Over::Udp, Over::Udp), (Over::Tcp, Over::Udp)] {
        let (node, ..) = sipp_calls(("caller", caller), ("callee", callee), "", 100);
        assert_eq!(node.metric("holdline_calls_answered_total"), 100.0);
        assert_eq!(node.metric("holdline_calls_ended_total"), 100.0);
        assert_eq!(node.metric("holdline_calls_failed_total"), 0.0);
    }
}

#[test]
fn the_callee_renegotiates_and_hangs_up_over_udp() {
    let (node, heard, _) = sipp_call(
        ("caller_hung_up", Over::Udp),
        ("callee_hangs_up", Over::Udp),
        "",
    );
    assert!(heard.contains("BYE sip:alice@"), "{heard}");
    assert_eq!(node.metric("holdline_calls_ended_total"), 1.0);
}

#[test]
fn the_callee_renegotiates_and_hangs_up_from_tcp_to_tcp() {
    sipp_call(
        ("caller_hung_up", Over::Tcp),
        ("callee_hangs_up", Over::Tcp),
        "",
    );
}

#[test]
fn a_caller_who_gives_up_gets_487_and_the_callee_a_cancel() {
    for (caller, callee) in [(Over::Udp, Over::Udp), (Over::Tcp, Over::Udp)] {
        let (node, _, heard) =
            sipp_call(("caller_cancels", caller), ("callee_cancelled", callee), "");
        assert!(heard.contains("CANCEL sip:bob@127.0.0.1"), "{heard}");
        assert_eq!(node.metric("holdline_calls_failed_total"), 1.0);
        assert_eq!(node.metric("holdline_branches_cancelled_total"), 1.0);
    }
}

#[test]
fn a_refusal_reaches_the_caller_as_it_was_said() {
    for status in ["486", "603"] {
        let (_, heard, _) = sipp_call(
            ("caller_refused", Over::Udp),
            ("callee_refuses", Over::Udp),
            status,
        );
        assert!(
            heard.contains(&format!("SIP/2.0 {status} Refused")),
            "{heard}"
        );
    }
}

#[test]
fn a_phone_that_is_silent_is_given_up_after_timer_b() {
    let node = Node::with_users("", "[edge.timers]\nt1_ms = 20\n", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    assert_eq!(bob.registers(600).status(), 200);
    let began = Instant::now();
    let call = alice.calls("bob");
    bob.request("INVITE");
    alice.refused(&call, 408);
    // 64 * T1.
    assert!(began.elapsed() > Duration::from_millis(1_200));
    assert_eq!(node.metric("holdline_branch_timeouts_total"), 1.0);
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
}

#[test]
fn a_call_forks_to_all_phones_and_who_answers_has_it() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let (mut desk, mut pocket) = (Phone::udp(&node, "bob"), Phone::tcp(&node, "bob"));
    assert_eq!(desk.registers(600).status(), 200);
    assert_eq!(pocket.registers(600).all("Contact").len(), 2);
    let mut call = alice.calls("bob");
    let invite = desk.rings();
    let other = pocket.rings();
    assert_ne!(invite.header("Via"), other.header("Via"));
    alice.response(180);
    alice.response(180);
    pocket.answers(&other);
    alice.answered(&mut call);
    let mut at_pocket = pocket.is_acknowledged(&other);
    let cancel = desk.request("CANCEL");
    assert_eq!(cancel.header("Via"), invite.header("Via"));
    assert!(cancel.header("Reason").contains("cause=200"), "{cancel:?}");
    desk.responds(&cancel, "200 OK", "");
    desk.responds(&invite, "487 Request Terminated", "");
    desk.request("ACK");
    end((&mut pocket, &mut at_pocket), &mut alice);
    alice.hears_nothing(300);
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
}

#[test]
fn every_2xx_of_a_fork_reaches_the_caller_and_each_dialog_ends_by_itself() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let (mut desk, mut pocket) = (Phone::udp(&node, "bob"), Phone::udp(&node, "bob"));
    desk.registers(600);
    pocket.registers(600);
    let mut call = alice.calls("bob");
    let (at_desk, at_pocket) = (desk.rings(), pocket.rings());
    alice.response(180);
    alice.response(180);
    desk.answers(&at_desk);
    alice.answered(&mut call);
    desk.is_acknowledged(&at_desk);
    // The CANCEL crosses the second answer.
    let cancel = pocket.request("CANCEL");
    pocket.answers(&at_pocket);
    pocket.responds(&cancel, "200 OK", "");
    let mut second = Dialog {
        cseq: call.cseq,
        ..call.clone()
    };
    alice.answered(&mut second);
    assert_ne!(call.remote_tag, second.remote_tag);
    pocket.is_acknowledged(&at_pocket);
    end((&mut alice, &mut second), &mut pocket);
    end((&mut alice, &mut call), &mut desk);
}

#[test]
fn phones_of_lower_q_ring_when_the_higher_one_does_not_answer_or_refuses() {
    let fork = "[edge.fork]\ngroup_timeout_s = 1\n";
    let node = Node::with_users("", fork, &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let mut phones: Vec<Phone> = (0..3).map(|_| Phone::udp(&node, "bob")).collect();
    for (phone, q) in phones.iter_mut().zip(["0.9", "0.5", "0.1"]) {
        let contact = format!("<{}>;q={q}", phone.contact);
        phone.registers_at(&contact);
    }
    let [first, second, third] = &mut phones[..] else {
        unreachable!("three")
    };
    let mut call = alice.calls("bob");
    let invite = first.rings();
    second.hears_nothing(300);
    // Nobody picks up.
    let cancel = first.request("CANCEL");
    first.responds(&cancel, "200 OK", "");
    first.responds(&invite, "487 Request Terminated", "");
    first.request("ACK");
    let invite = second.request("INVITE");
    second.responds(&invite, "486 Busy Here", "");
    second.request("ACK");
    let invite = third.rings();
    third.answers(&invite);
    alice.response(180);
    alice.response(180);
    alice.answered(&mut call);
    third.is_acknowledged(&invite);
    end((&mut alice, &mut call), third);
}

#[test]
fn the_best_of_several_refusals_is_what_the_caller_hears() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let (mut desk, mut pocket) = (Phone::udp(&node, "bob"), Phone::udp(&node, "bob"));
    desk.registers(600);
    pocket.registers(600);
    // A 603 says it for all; a 486 goes before a 5xx.
    for (one, other, best) in [
        ("486 Busy Here", "500 Broken", 486),
        ("603 Decline", "486 Busy Here", 603),
    ] {
        let call = alice.calls("bob");
        let (at_desk, at_pocket) = (desk.rings(), pocket.rings());
        alice.response(180);
        alice.response(180);
        desk.responds(&at_desk, one, "");
        desk.request("ACK");
        if best == 603 {
            let cancel = pocket.request("CANCEL");
            pocket.responds(&cancel, "200 OK", "");
        }
        pocket.responds(&at_pocket, other, "");
        pocket.request("ACK");
        alice.refused(&call, best);
    }
}

#[test]
fn a_call_goes_on_by_the_routes_of_the_dialog_from_either_side() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::tcp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let (mut call, mut at_bob) = connect(&mut alice, &mut bob);
    // Two sides of different transports: the proxy stands twice in the route.
    assert_eq!(call.routes.len(), 2, "{:?}", call.routes);
    let invite = bob.within(&mut at_bob, "INVITE", "", OFFER);
    bob.send(&invite);
    let invite = alice.request("INVITE");
    assert!(invite.all("Route").is_empty(), "{invite:?}");
    alice.responds(&invite, "200 OK", "");
    bob.response(200);
    bob.acknowledges(&mut at_bob);
    alice.request("ACK");
    for method in ["INFO", "MESSAGE", "UPDATE", "NOTIFY", "REFER"] {
        let request = alice.within(&mut call, method, "X-Own: untouched ,; \"x\"\r\n", "");
        alice.send(&request);
        let request = bob.request(method);
        assert_eq!(request.header("X-Own"), "untouched ,; \"x\"");
        bob.responds(&request, "202 Accepted", "");
        alice.response(202);
    }
    end((&mut bob, &mut at_bob), &mut alice);
}

#[test]
fn a_callee_that_loses_the_callers_via_does_not_leave_the_caller_waiting() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let call = alice.calls("bob");
    let mut invite = bob.request("INVITE");
    invite.keep_first("Via");
    bob.responds(&invite, "486 Busy Here", "");
    bob.request("ACK");
    alice.refused(&call, 502);
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
}

#[test]
fn nothing_is_left_of_calls_that_are_over() {
    let timers = "[edge.timers]\nt1_ms = 30\nt2_ms = 60\nt4_ms = 60\n";
    let node = Node::with_users("", timers, &["alice", "bob"]);
    let mut alice = Phone::tcp(&node, "alice");
    let (mut desk, mut pocket) = (Phone::udp(&node, "bob"), Phone::udp(&node, "bob"));
    desk.registers(600);
    pocket.registers(600);
    // Answered by one, with another that never says anything again.
    let mut call = alice.calls("bob");
    let invite = desk.rings();
    pocket.rings();
    alice.response(180);
    alice.response(180);
    desk.answers(&invite);
    alice.answered(&mut call);
    let mut at_desk = desk.is_acknowledged(&invite);
    pocket.request("CANCEL");
    end((&mut desk, &mut at_desk), &mut alice);
    // Cancelled, and neither of them says that it has ended.
    let call = alice.calls("bob");
    desk.rings();
    pocket.rings();
    alice.response(180);
    alice.response(180);
    alice.cancels(&call);
    alice.response(200);
    desk.request("CANCEL");
    pocket.request("CANCEL");
    alice.refused(&call, 487);
    // Answered and never acknowledged, nor ended.
    let call = alice.calls("bob");
    let invite = desk.rings();
    desk.answers(&invite);
    alice.response(180);
    alice.response(200);
    drop((alice, call));
    node.wait_for(|node| {
        let (_, metrics) = node.http("GET /metrics");
        let mut lines = metrics.lines();
        !lines.any(|line| line.starts_with("holdline_transactions{") && !line.ends_with(" 0"))
    });
    assert_eq!(
        node.metric("holdline_calls"),
        1.0,
        "its BYE may come in an hour"
    );
}
