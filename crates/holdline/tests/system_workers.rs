//! A node with several workers: each has a socket of its own on the same port (`SO_REUSEPORT`), and
//! all messages of a Call-ID are one worker's, wherever they come in.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::message::Message;
use support::node::{DOMAIN, password_of};
use support::phone::{Dialog, end};
use support::sipp::{Over, Sipp};
use support::{Node, Phone, free_port};

const WORKERS: usize = 3;

/// Timers that let a transaction go after two seconds.
const SHORT: &str = "[edge.timers]\nt1_ms = 30\nt2_ms = 60\nt4_ms = 60\n";

/// A node with [`WORKERS`], of which each has its socket.
fn node(more: &str, users: &[&str]) -> Node {
    let node = Node::with_users(&format!("workers = {WORKERS}\n"), more, users);
    // 127.0.0.1 in the order of its bytes in memory: others may have the port on other addresses.
    let address = u32::from_ne_bytes([127, 0, 0, 1]);
    let local = format!(" {address:08X}:{:04X} 00000000:0000 ", node.sip);
    let sockets = fs::read_to_string("/proc/net/udp").expect("Linux");
    let count = sockets.lines().filter(|line| line.contains(&local)).count();
    assert_eq!(count, WORKERS, "{sockets}");
    node
}

/// Waits until no call and no transaction is left.
fn is_empty_at_last(node: &Node) {
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
    node.wait_for(|node| {
        let (_, metrics) = node.http("GET /metrics");
        let mut lines = metrics.lines();
        !lines.any(|line| line.starts_with("holdline_transactions{") && !line.ends_with(" 0"))
    });
    assert_eq!(node.metric("holdline_silent_workers"), 0.0);
}

fn sipp_calls(caller_over: Over, callee_over: Over, count: usize) {
    let node = node(SHORT, &["alice", "bob"]);
    let port = free_port();
    let words = [
        ("CALLEE", "bob"),
        ("PASSWORD", &password_of("alice")),
        ("STATUS", ""),
    ];
    let contact = format!("<sip:bob@127.0.0.1:{port}{}>", callee_over.parameter());
    Phone::udp(&node, "bob").registers_at(&contact);
    let callee = Sipp::waits(&node, "callee", (callee_over, port), &words, count);
    let caller = Sipp::calls(&node, "caller", caller_over, &words, count);
    for side in [caller.end(), callee.end()] {
        assert!(side.is_ok(), "{}", side.unwrap_or_else(|error| error));
    }
    is_empty_at_last(&node);
    let count = count as f64;
    assert_eq!(node.metric("holdline_calls_answered_total"), count);
    assert_eq!(node.metric("holdline_calls_ended_total"), count);
    assert_eq!(node.metric("holdline_calls_failed_total"), 0.0);
}

#[test]
fn many_calls_at_once_are_all_answered_and_ended_over_udp() {
    sipp_calls(Over::UdpEach, Over::Udp, 150);
}

#[test]
fn many_calls_at_once_are_all_answered_and_ended_from_udp_to_tcp() {
    sipp_calls(Over::UdpEach, Over::Tcp, 120);
}

/// How a phone of [`pairs_call`] is connected.
type Connect = fn(&Node, &str) -> Phone;

/// Phones that register and then call each other, all pairs at once, each twice either way.
fn pairs_call(pairs: &[(Connect, Connect)]) {
    let users: Vec<String> = (0..pairs.len() * 2).map(|at| format!("user{at}")).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let node = &node(SHORT, &names);
    std::thread::scope(|scope| {
        for (names, &(one, other)) in names.chunks(2).zip(pairs) {
            scope.spawn(move || {
                let mut one = one(node, names[0]);
                let mut other = other(node, names[1]);
                assert_eq!(one.registers(600).status(), 200);
                assert_eq!(other.registers(600).status(), 200);
                for _ in 0..2 {
                    call_in_order(&mut one, &mut other);
                    call_in_order(&mut other, &mut one);
                }
            });
        }
    });
    is_empty_at_last(node);
    let calls = (pairs.len() * 4) as f64;
    assert_eq!(node.metric("holdline_calls_answered_total"), calls);
    assert_eq!(node.metric("holdline_calls_ended_total"), calls);
}

/// A call of which each side sends what it can without waiting: a worker that overtook another would
/// turn it around.
fn call_in_order(caller: &mut Phone, callee: &mut Phone) {
    let mut call = caller.calls(&callee.user);
    let invite = callee.request("INVITE");
    callee.responds(&invite, "180 Ringing", "");
    callee.responds(&invite, "183 Session Progress", "");
    callee.answers(&invite);
    caller.response(180);
    caller.response(183);
    let answer = caller.response(200);
    call.learn(&answer);
    caller.acknowledges(&mut call);
    burst(caller, callee, &mut call, "INFO");
    end((caller, &mut call), callee);
}

/// Requests sent at once: with those of the other pairs enough for workers to let them gather.
const BURST: u32 = 30;

/// Sends [`BURST`] requests; the first message to come is the ACK sent before them.
fn burst(caller: &mut Phone, callee: &mut Phone, call: &mut Dialog, method: &str) {
    let first = call.cseq + 1;
    for _ in 0..BURST {
        let request = caller.within(call, method, "", "");
        caller.send(&request);
    }
    callee.request("ACK");
    let requests: Vec<Message> = (0..BURST).map(|_| callee.request(method)).collect();
    for (cseq, request) in (first..).zip(&requests) {
        assert_eq!(request.cseq(), (cseq, method));
        assert_eq!(request.header("Call-ID"), call.call_id);
    }
    for request in &requests {
        callee.responds(request, "200 OK", "");
    }
    for cseq in first..first + BURST {
        assert_eq!(caller.response(200).cseq(), (cseq, method));
    }
}

#[test]
fn messages_of_a_call_stay_in_order_between_sockets_of_different_workers() {
    pairs_call(&[(Phone::udp as Connect, Phone::udp as Connect); 10]);
}

#[test]
fn messages_of_a_call_stay_in_order_between_tcp_and_udp() {
    let mixed: [(Connect, Connect); 3] = [
        (Phone::tcp, Phone::udp),
        (Phone::udp, Phone::tcp),
        (Phone::tcp, Phone::tcp),
    ];
    pairs_call(&mixed.repeat(2));
}

/// A REGISTER of alice with these credentials, from a socket and with a Call-ID of its own.
fn register_with(phone: &mut Phone, credentials: &str) {
    let contact = "<sip:alice@127.0.0.1:9>";
    let lines = format!("{credentials}Contact: {contact}\r\nExpires: 600\r\n");
    let request = phone.register_text(&lines);
    phone.send(&request);
}

fn challenge_of(phone: &mut Phone) -> Message {
    register_with(phone, "");
    let challenge = phone.receive();
    assert_eq!(challenge.status(), 401);
    challenge
}

fn is_stale(answer: &Message) -> bool {
    let stale = answer.parameter("WWW-Authenticate", "stale");
    answer.status() == 401 && stale.is_some_and(|stale| stale.eq_ignore_ascii_case("true"))
}

#[test]
fn a_nonce_used_at_one_worker_is_a_replay_at_all_others() {
    let node = node("", &["alice"]);
    let mut phones: Vec<Phone> = (0..12).map(|_| Phone::udp(&node, "alice")).collect();
    let challenge = challenge_of(&mut phones[0]);
    let uri = format!("sip:{DOMAIN}");
    let used = phones[0].credentials(&challenge, "REGISTER", &uri, 1);
    register_with(&mut phones[0], &used);
    assert_eq!(phones[0].receive().status(), 200);
    for phone in &mut phones[1..] {
        register_with(phone, &used);
        let answer = phone.receive();
        assert!(is_stale(&answer), "{answer:?}");
    }
    // Counted further, the nonce is good at any worker.
    for (phone, count) in phones.iter_mut().zip(2..) {
        let next = phone.credentials(&challenge, "REGISTER", &uri, count);
        register_with(phone, &next);
        assert_eq!(phone.receive().status(), 200);
    }
}

#[test]
fn of_the_same_credentials_sent_to_all_workers_at_once_one_is_let_in() {
    let node = node("", &["alice"]);
    let mut phones: Vec<Phone> = (0..12).map(|_| Phone::udp(&node, "alice")).collect();
    for _ in 0..5 {
        let challenge = challenge_of(&mut phones[0]);
        let uri = format!("sip:{DOMAIN}");
        let credentials = phones[0].credentials(&challenge, "REGISTER", &uri, 1);
        for phone in &mut phones {
            register_with(phone, &credentials);
        }
        let answers: Vec<Message> = phones.iter_mut().map(Phone::receive).collect();
        let (stale, let_in): (Vec<_>, Vec<_>) = answers.iter().partition(|one| is_stale(one));
        assert_eq!((stale.len(), let_in.len()), (11, 1), "{answers:?}");
        assert_eq!(let_in[0].status(), 200);
    }
}

#[test]
fn a_port_nobody_listens_on_any_more_fails_a_call_at_once_whoever_has_it() {
    let node = node("", &["alice", "bob"]);
    let closed = free_port();
    Phone::udp(&node, "bob").registers_at(&format!("<sip:bob@127.0.0.1:{closed}>"));
    // The system tells a socket of its choice that the port is closed.
    for _ in 0..8 {
        let mut alice = Phone::udp(&node, "alice");
        let began = Instant::now();
        let call = alice.calls("bob");
        alice.refused(&call, 500);
        assert!(began.elapsed() < Duration::from_secs(4));
    }
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
}
