//! Calls that end in every way there is, relayed: each leaves all ports free. A few of each way here;
//! HOLDLINE_TEST_CALLS=10000 makes as many of each.

mod support;

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use support::node::DOMAIN;
use support::phone::{Dialog, connect, end};
use support::{Node, Phone};

/// Calls of each way, where the environment says nothing.
const CALLS: usize = 25;
/// Calls that are up at once where their end takes seconds.
const CALLS_AT_ONCE: usize = 500;
/// Pairs of ports: two a call, and some.
const PAIRS: u16 = 1_100;
/// How long a call may be silent, in seconds: the least that may be configured.
const SILENCE_S: u64 = 5;
/// T1, in milliseconds; a callee that says nothing is given up after 64 of them.
const T1_MS: u64 = 60;

/// How many calls of each way are made.
fn count() -> usize {
    let said = std::env::var("HOLDLINE_TEST_CALLS").ok();
    said.map_or(CALLS, |said| {
        said.parse().expect("HOLDLINE_TEST_CALLS is a number")
    })
}

/// A node that relays all calls, on an address of loopback that no other process of tests has.
fn node(users: &[&str]) -> Node {
    let number = std::process::id();
    let (high, low) = (number >> 8 & 255, (number & 255).max(1));
    let edge = format!(
        "rtp_ports = [21000, {}]\n[edge.media]\npolicy = \"always\"\n\
         addresses = [\"127.128.{high}.{low}\"]\nsilence_timeout_s = {SILENCE_S}\n\
         [edge.timers]\nt1_ms = {T1_MS}\n",
        20_999 + 2 * PAIRS
    );
    Node::with_users(&edge, "", users)
}

fn phone(node: &Node, user: &str) -> Phone {
    let mut phone = Phone::udp(node, user);
    assert_eq!(phone.registers(3_600).status(), 200);
    phone
}

/// Takes back whatever a user has registered.
fn is_away(phone: &mut Phone) {
    let answer = phone.registers_with("Contact: *\r\nExpires: 0\r\n");
    assert_eq!(answer.status(), 200, "{answer:?}");
}

/// Asserts that every port is free again, and that ports were taken at all.
fn all_are_free(node: &Node, way: &str, began: Instant, count: usize) {
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    let free = node.metric("holdline_relay_ports_free");
    assert_eq!(free, f64::from(PAIRS), "{way}");
    assert_eq!(node.metric("holdline_relay_sessions"), 0.0, "{way}");
    assert_eq!(node.metric("holdline_relay_ports_exhausted_total"), 0.0);
    println!(
        "{count} calls {way}: {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

/// Makes calls one after the other.
fn each_of(way: &str, users: &[&str], mut call: impl FnMut(&mut [Phone])) {
    let node = node(&["alice", "bob", "carol"]);
    let mut phones: Vec<Phone> = users.iter().map(|user| phone(&node, user)).collect();
    let (began, count) = (Instant::now(), count());
    for _ in 0..count {
        call(&mut phones);
    }
    all_are_free(&node, way, began, count);
}

/// Makes calls in batches, whose ends are waited for together.
fn batches(way: &str, mut batch: impl FnMut(&Node, usize)) {
    let node = node(&["alice", "bob", "carol"]);
    let (began, count) = (Instant::now(), count());
    let mut left = count;
    while left > 0 {
        let now = left.min(CALLS_AT_ONCE);
        batch(&node, now);
        left -= now;
    }
    all_are_free(&node, way, began, count);
}

#[test]
fn answered_calls_leave_no_port_in_use() {
    each_of("answered", &["alice", "bob"], |phones| {
        let [alice, bob] = phones else {
            unreachable!("two")
        };
        let (mut call, _) = connect(alice, bob);
        end((alice, &mut call), bob);
    });
}

#[test]
fn refused_calls_leave_no_port_in_use() {
    each_of("refused", &["alice", "bob"], |phones| {
        let [alice, bob] = phones else {
            unreachable!("two")
        };
        let call = alice.calls("bob");
        let invite = bob.request("INVITE");
        bob.responds(&invite, "486 Busy Here", "");
        bob.request("ACK");
        alice.refused(&call, 486);
    });
}

#[test]
fn cancelled_calls_leave_no_port_in_use() {
    each_of("cancelled", &["alice", "bob"], |phones| {
        let [alice, bob] = phones else {
            unreachable!("two")
        };
        let call = alice.calls("bob");
        let invite = bob.rings();
        alice.response(180);
        alice.cancels(&call);
        let cancel = bob.request("CANCEL");
        bob.responds(&cancel, "200 OK", "");
        bob.responds(&invite, "487 Request Terminated", "");
        bob.request("ACK");
        alice.response(200);
        alice.refused(&call, 487);
    });
}

#[test]
fn forked_calls_leave_no_port_in_use() {
    each_of("forked", &["alice", "bob", "bob"], |phones| {
        let [alice, desk, pocket] = phones else {
            unreachable!("three")
        };
        let mut call = alice.calls("bob");
        let (at_desk, at_pocket) = (desk.rings(), pocket.rings());
        alice.response(180);
        alice.response(180);
        pocket.answers(&at_pocket);
        alice.answered(&mut call);
        pocket.is_acknowledged(&at_pocket);
        let cancel = desk.request("CANCEL");
        desk.responds(&cancel, "200 OK", "");
        desk.responds(&at_desk, "487 Request Terminated", "");
        desk.request("ACK");
        end((alice, &mut call), pocket);
    });
}

#[test]
fn calls_that_nobody_answers_leave_no_port_in_use() {
    batches("timed out", |node, count| {
        let mut alice = Phone::udp(node, "alice");
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let contact = format!("<sip:carol@{}>", nobody.local_addr().expect("bound"));
        let mut carol = Phone::udp(node, "carol");
        carol.registers_at(&contact);
        let mut calls = HashMap::new();
        for _ in 0..count {
            let call = invite(&mut alice, "carol");
            let id = call.call_id.clone();
            calls.insert(id.clone(), call);
            // One after the other up to here, so that nothing is lost for want of room.
            while calls.get(&id).is_some_and(|call| call.cseq == 1) {
                takes_answer(&mut alice, &mut calls);
            }
        }
        while !calls.is_empty() {
            takes_answer(&mut alice, &mut calls);
        }
        is_away(&mut carol);
    });
}

/// Does with the next response what its call needs.
fn takes_answer(phone: &mut Phone, calls: &mut HashMap<String, Dialog>) {
    let answer = phone.receive();
    let id = answer.header("Call-ID");
    match answer.status() {
        100 => {}
        // The node challenges each, and gives each up.
        407 => {
            let call = calls.get_mut(id).expect("one of these");
            answers_challenge(phone, call, &answer);
        }
        408 => {
            let call = calls.remove(id).expect("one of these");
            phone.acknowledges_refusal(&call, &answer);
        }
        _ => unreachable!("{answer:?}"),
    }
}

/// Begins a call without waiting for anything.
fn invite(phone: &mut Phone, user: &str) -> Dialog {
    let mut call = Dialog::out(phone, &format!("sip:{user}@{DOMAIN}"));
    let description = phone.description.clone();
    call.invite = phone.within(&mut call, "INVITE", "", &description);
    phone.send(&call.invite);
    call
}

/// Answers the challenge of a call's INVITE.
fn answers_challenge(phone: &mut Phone, call: &mut Dialog, challenge: &support::Message) {
    phone.acknowledges_refusal(call, challenge);
    let uri = call.target.clone();
    let credentials = phone.credentials(challenge, "INVITE", &uri, 1);
    let description = phone.description.clone();
    call.invite = phone.within(call, "INVITE", &credentials, &description);
    phone.send(&call.invite);
}

#[test]
fn calls_whose_phones_are_gone_leave_no_port_in_use() {
    batches("dropped without BYE", |node, count| {
        let (mut alice, mut bob) = (Phone::udp(node, "alice"), phone(node, "bob"));
        for _ in 0..count {
            connect(&mut alice, &mut bob);
        }
        // Both lose their power: what the node may still say to them is not heard.
        is_away(&mut bob);
        drop((alice, bob));
        let start = Instant::now();
        node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
        assert!(start.elapsed() < Duration::from_secs(4 * SILENCE_S));
    });
}
