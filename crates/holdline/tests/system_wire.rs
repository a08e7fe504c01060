//! What networks and phones do to messages: repeat, cut, join, send by name, and over both families.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use support::message::Message;
use support::phone::{Dialog, OFFER, connect, end};
use support::{Node, Phone};

/// Reads what comes to a socket of its own, repetitions included.
fn next(socket: &UdpSocket, wait_ms: u64) -> Option<(Message, SocketAddr)> {
    let wait = Some(Duration::from_millis(wait_ms));
    socket.set_read_timeout(wait).expect("an option");
    let mut bytes = [0; 65_536];
    let (size, from) = socket.recv_from(&mut bytes).ok()?;
    Some((Message::new(&bytes[..size]), from))
}

#[test]
fn lost_messages_are_sent_again_and_repetitions_go_no_further() {
    let node = Node::with_users("", "[edge.timers]\nt1_ms = 100\n", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let bob = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let contact = format!("<sip:bob@{}>", bob.local_addr().expect("bound"));
    Phone::udp(&node, "bob").registers_at(&contact);
    let mut call = alice.calls("bob");
    // The first two INVITEs are lost; the third is the same.
    let (first, _) = next(&bob, 2_000).expect("an INVITE");
    let (second, _) = next(&bob, 2_000).expect("an INVITE");
    let (third, from) = next(&bob, 2_000).expect("an INVITE");
    assert!(first == second && second == third);
    let mut answer = Phone::udp_to(from, "bob");
    answer.contact = contact.trim_matches(['<', '>']).to_owned();
    answer.responds(&third, "180 Ringing", "");
    alice.response(180);
    // The caller repeats itself: the callee does not hear of it.
    let invite = call.invite.clone();
    alice.send(&invite);
    assert!(next(&bob, 300).is_none());
    // The callee repeats its answer until it is acknowledged; each one goes through, as does each ACK.
    answer.responds(&third, "200 OK", "");
    answer.responds(&third, "200 OK", "");
    alice.answered(&mut call);
    let (ack, _) = next(&bob, 2_000).expect("an ACK");
    assert_eq!(ack.method(), "ACK");
    alice.acknowledges(&mut call);
    let (again, _) = next(&bob, 2_000).expect("an ACK");
    assert_eq!(again.method(), "ACK");
}

#[test]
fn a_stream_may_come_byte_by_byte_or_many_messages_at_once() {
    let node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::tcp(&node, "alice");
    let request = alice.register_text("");
    for byte in request.as_bytes() {
        alice.send_bytes(&[*byte]);
    }
    alice.response(401);
    let many: String = (0..20)
        .map(|_| alice.register_text("") + "\r\n\r\n")
        .collect();
    alice.send(&many);
    for _ in 0..20 {
        alice.response(401);
    }
}

#[test]
fn what_is_not_the_proxys_is_forwarded_byte_by_byte() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let odd = "X-Empty:\r\nx-case : Odd \t value\r\nSubject: folded\r\n  twice\r\n\tover\r\n\
               Supported:a,b ,, c\r\nk: 100rel\r\nX-Utf8: \u{97f3}\u{58f0}\r\n\
               Warning: 399 h \"quoted \\\" , ; text\"\r\nRequire: nothing-we-know\r\n";
    alice.calls_with("bob", odd);
    let invite = bob.request("INVITE");
    assert!(invite.to_string().contains(odd), "{invite:?}");
    assert_eq!(invite.body(), OFFER);
    assert_eq!(invite.header("Max-Forwards"), "69");
}

#[test]
fn a_message_of_sixty_thousand_bytes_goes_through_and_a_longer_one_is_refused() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::tcp(&node, "alice"), Phone::tcp(&node, "bob"));
    bob.registers(600);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let body = "x".repeat(60_000);
    let request = alice.within(&mut call, "MESSAGE", "", &body);
    alice.send(&request);
    let request = bob.request("MESSAGE");
    assert_eq!(request.body(), body);
    bob.responds(&request, "200 OK", "");
    alice.response(200);
    let request = alice.within(&mut call, "MESSAGE", "", &"x".repeat(70_000));
    alice.send(&request);
    alice.response(413);
    bob.hears_nothing(200);
}

#[test]
fn a_call_that_is_cancelled_before_it_rings_is_cancelled_when_it_does() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let call = alice.calls("bob");
    let invite = bob.request("INVITE");
    alice.cancels(&call);
    alice.response(200);
    bob.hears_nothing(200);
    bob.responds(&invite, "180 Ringing", "");
    let cancel = bob.request("CANCEL");
    bob.responds(&cancel, "200 OK", "");
    bob.responds(&invite, "487 Request Terminated", "");
    bob.request("ACK");
    let answer = alice.receive();
    let answer = if answer.status() == 100 || answer.status() == 180 {
        alice.response(487)
    } else {
        answer
    };
    assert_eq!(answer.status(), 487, "{answer:?}");
}

#[test]
fn an_answer_that_crosses_the_cancel_wins() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let mut call = alice.calls("bob");
    let invite = bob.rings();
    alice.response(180);
    alice.cancels(&call);
    alice.response(200);
    let cancel = bob.request("CANCEL");
    bob.answers(&invite);
    bob.responds(&cancel, "481 Too Late", "");
    alice.answered(&mut call);
    bob.is_acknowledged(&invite);
    end((&mut alice, &mut call), &mut bob);
}

#[test]
fn a_user_of_ours_may_call_a_foreign_place_by_name() {
    let node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let mut carol = Phone::udp(&node, "carol");
    let place = format!("sip:carol@localhost:{}", carol.local.port());
    let mut call = Dialog::out(&alice, &place);
    let challenge = alice.invites(&mut call, "", 407);
    let credentials = alice.credentials(&challenge, "INVITE", &place, 1);
    let invite = alice.within(&mut call, "INVITE", &credentials, OFFER);
    alice.send(&invite);
    let invite = carol.rings();
    assert_eq!(invite.uri(), place);
    alice.response(180);
    carol.answers(&invite);
    alice.answered(&mut call);
    carol.is_acknowledged(&invite);
    end((&mut alice, &mut call), &mut carol);
}

#[test]
fn a_contact_that_leads_back_to_the_node_ends_in_an_answer() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    // Itself, by the node's own address; the node would be its own stranger.
    bob.registers_at(&format!("<sip:bob@{}>", node.address()));
    let call = alice.calls("bob");
    let answer = loop {
        let answer = alice.receive();
        if answer.status() > 100 {
            break answer;
        }
    };
    assert!(answer.status() >= 400, "{answer:?}");
    assert!(node.metric("holdline_requests_forwarded_total") < 80.0);
    drop(call);
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
}

#[test]
fn requests_outside_of_calls_are_forwarded_too() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::tcp(&node, "alice"), Phone::udp(&node, "bob"));
    bob.registers(600);
    for method in ["MESSAGE", "SUBSCRIBE", "OPTIONS", "PUBLISH", "UNHEARD-OF"] {
        let mut dialog = Dialog::out(&alice, "sip:bob@example.org");
        let request = alice.within(&mut dialog, method, "", "");
        alice.send(&request);
        let challenge = alice.response(407);
        let credentials = alice.credentials(&challenge, method, "sip:bob@example.org", 1);
        let request = alice.within(&mut dialog, method, &credentials, "");
        alice.send(&request);
        let request = bob.request(method);
        bob.responds(&request, "202 Accepted", "");
        alice.response(202);
    }
    assert_eq!(node.metric("holdline_calls_started_total"), 0.0);
}

#[test]
fn a_phone_behind_another_proxy_is_reached_by_its_path() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    let mut proxy = Phone::udp(&node, "proxy");
    let path = format!("<sip:{};lr>", proxy.local);
    let lines = format!("Supported: path\r\nPath: {path}\r\nContact: <sip:bob@10.1.1.1:5060>\r\n");
    let answer = bob.registers_with(&lines);
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(answer.header("Path"), path);
    alice.calls("bob");
    let invite = proxy.request("INVITE");
    assert_eq!(invite.header("Route"), path);
    assert_eq!(invite.uri(), "sip:bob@10.1.1.1:5060");
}

/// A phone of bob's with two connections to the node (RFC 5626).
fn two_flows(node: &Node) -> [Phone; 2] {
    let mut flows = [(); 2].map(|()| Phone::tcp(node, "bob"));
    for (phone, number) in flows.iter_mut().zip(1..) {
        let instance = "\"<urn:uuid:00000000-0000-1000-8000-000000000001>\"";
        let lines = format!(
            "Supported: outbound, path\r\n\
             Contact: <{}>;+sip.instance={instance};reg-id={number}\r\n",
            phone.contact
        );
        let answer = phone.registers_with(&lines);
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(answer.header("Require").contains("outbound"), "{answer:?}");
    }
    assert_eq!(node.items("registrations").len(), 2);
    flows
}

#[test]
fn one_phone_with_two_flows_rings_once() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let mut flows = two_flows(&node);
    alice.calls("bob");
    let mut rings = flows
        .iter_mut()
        .map(|phone| phone.receive_within(Duration::from_millis(500)).is_some());
    assert!(rings.next() != rings.next());
}

#[test]
fn a_phone_that_lost_one_of_its_flows_is_reached_over_the_other() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    for lost in [0, 1] {
        let mut flows = two_flows(&node).map(Some);
        flows[lost] = None;
        node.wait_for(|node| node.metric("holdline_tcp_connections") == 1.0);
        let mut left = flows.into_iter().flatten().next().expect("one of two");
        let mut call = alice.calls("bob");
        let invite = left.rings();
        alice.response(180);
        left.answers(&invite);
        alice.answered(&mut call);
        left.is_acknowledged(&invite);
        end((&mut alice, &mut call), &mut left);
        left.registers_with("Contact: *\r\nExpires: 0\r\n");
    }
}

#[test]
fn calls_are_carried_between_both_families() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("NOT TESTED: this machine has no IPv6");
        return;
    }
    let node = Node::start_on(&["127.0.0.1", "[::1]"], "", "");
    node.add_users(&["alice", "bob"]);
    let there = SocketAddr::new("::1".parse().expect("an address"), node.sip);
    let (mut alice, mut bob) = (Phone::tcp(&node, "alice"), Phone::udp_to(there, "bob"));
    assert_eq!(bob.registers(600).status(), 200);
    let (call, mut at_bob) = connect(&mut alice, &mut bob);
    assert!(
        call.routes.iter().any(|route| route.contains("[::1]")),
        "{:?}",
        call.routes
    );
    end((&mut bob, &mut at_bob), &mut alice);
    assert_eq!(alice.registers(600).status(), 200);
    let (mut call, _) = connect(&mut bob, &mut alice);
    end((&mut bob, &mut call), &mut alice);
}

#[test]
fn a_phone_whose_connection_is_gone_gets_no_call_and_the_caller_an_answer() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    bob.registers(600);
    let ringing = alice.calls("bob");
    bob.rings();
    alice.response(180);
    drop(bob);
    node.wait_for(|node| node.metric("holdline_tcp_connections") == 0.0);
    // Nobody is there any more to answer (RFC 3261 section 16.9).
    alice.refused(&ringing, 500);
    let call = alice.calls("bob");
    let answer = alice.receive();
    let answer = if answer.status() == 100 {
        alice.receive()
    } else {
        answer
    };
    assert_eq!(answer.header("Call-ID"), call.call_id);
    assert!(
        [430, 480, 500, 502, 503].contains(&answer.status()),
        "{answer:?}"
    );
}
