//! A node's end and its reloads, while phones talk.

mod support;

use std::fs;
use std::time::Duration;

use support::phone::{Dialog, OFFER, connect, end};
use support::{Node, Phone};

#[test]
fn a_node_that_drains_ends_what_it_has_and_takes_nothing_new() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    assert_eq!(bob.registers(600).status(), 200);
    let (_, mut at_bob) = connect(&mut alice, &mut bob);
    let mut ringing = alice.calls("bob");
    let invite = bob.rings();
    alice.response(180);
    node.signal("-TERM");
    node.wait_for(|node| node.http("GET /healthz").0 == 503);
    // Nothing new, and a hint when to ask again.
    let mut late = Dialog::out(&alice, "sip:bob@example.org");
    let refusal = alice.invites(&mut late, "", 503);
    assert!(!refusal.header("Retry-After").is_empty(), "{refusal:?}");
    let request = alice.register_text("");
    alice.send(&request);
    assert!(!alice.response(503).header("Retry-After").is_empty());
    // A call that is up changes and ends.
    let update = bob.within(&mut at_bob, "INVITE", "", OFFER);
    bob.send(&update);
    let update = alice.request("INVITE");
    alice.responds(&update, "200 OK", "");
    bob.response(200);
    bob.acknowledges(&mut at_bob);
    alice.request("ACK");
    end((&mut bob, &mut at_bob), &mut alice);
    // The one that rings is answered.
    bob.answers(&invite);
    alice.answered(&mut ringing);
    bob.is_acknowledged(&invite);
    assert_eq!(node.end(), Some(0));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let _ringing = alice.calls("bob");
    bob.rings();
    alice.response(180);
    node.signal("-TERM");
    node.wait_for(|node| node.log().contains("draining"));
    node.signal("-TERM");
    let began = std::time::Instant::now();
    node.end();
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_reload_changes_what_new_requests_meet_and_disturbs_no_call() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    bob.registers(600);
    let (mut call, _) = connect(&mut alice, &mut bob);
    assert_eq!(alice.registers(30).status(), 423);
    let file = node.path().join("holdline.toml");
    let good = fs::read_to_string(&file).expect("readable");
    let brief = format!("{good}[edge.registrar]\nmin_expires_s = 10\n");
    fs::write(&file, &brief).expect("written");
    node.signal("-HUP");
    node.wait_for(|node| node.log().contains("reloaded"));
    assert_eq!(alice.registers(30).status(), 200);
    // A bad file leaves that in force.
    fs::write(&file, brief.replace("= 10", "= \"ten\"")).expect("written");
    node.signal("-HUP");
    node.wait_for(|node| node.log().contains("min_expires_s"));
    assert_eq!(alice.registers(20).status(), 200);
    assert_eq!(alice.registers(9).status(), 423);
    end((&mut alice, &mut call), &mut bob);
}

#[test]
fn users_who_are_added_deleted_or_given_a_password_are_so_at_once() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    assert_eq!(alice.registers(600).status(), 200);
    let verb = |arguments: &[&str]| {
        let output = support::ask(node.path(), arguments);
        assert!(output.status.success(), "{}", support::text(&output.stderr));
    };
    verb(&[
        "user",
        "passwd",
        "alice@example.org",
        "--password",
        "another",
    ]);
    assert_eq!(alice.registers(600).status(), 401);
    "another".clone_into(&mut alice.password);
    assert_eq!(alice.registers(600).status(), 200);
    verb(&["user", "del", "alice@example.org"]);
    assert_eq!(alice.registers(600).status(), 401);
    let mut bob = Phone::udp(&node, "bob");
    let call = bob.calls("alice");
    bob.refused(&call, 404);
}
