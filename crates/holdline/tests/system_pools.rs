//! Calls to media servers that refuse, are late and are taken out: what the caller sees. Those that die are in
//! `system_pools_steps`.
#![allow(clippy::panic, reason = "this is how a test fails")]

mod support;

use support::dns::Dns;
use support::phone::Dialog;
use support::pools::{ROUTE, is_over, pool_of, states};
use support::{Node, Phone, ask, free_port, text};

/// No probes: for phones that stand for media servers and do only what the test says.
const UNPROBED: &str = "probe = { interval_ms = 0 }";

/// A pool of the media servers at these ports, the first one preferred.
fn pool(name: &str, ports: &[u16], more: &str) -> String {
    let uris = ports.iter().map(|port| format!("sip:127.0.0.1:{port}"));
    pool_of(name, &uris.collect::<Vec<_>>(), more)
}

#[test]
fn servers_are_those_that_the_dns_names_and_change_with_it() {
    let dns = Dns::start();
    let held = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let [one, two] = [0, 1].map(|at: usize| held[at].local_addr().expect("bound").port());
    let service = "_sip._udp.farm.test";
    dns.says(&[
        (service, (10, 1, one, "one.farm.test")),
        (service, (20, 1, two, "two.farm.test")),
    ]);
    let pool = format!(
        "[[edge.pool]]\nname = \"pbx\"\npolicy = \"round-robin\"\nslow_start_s = 0\n{UNPROBED}\n\
         targets = [{{ srv = \"farm.test\" }}]\n"
    );
    let more = format!("[dns]\nnameservers = [\"{}\"]\n", dns.address);
    let node = Node::with_users(&format!("{pool}{ROUTE}"), &more, &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let [mut first, mut second] = held.map(|socket| Phone::on(socket, node.address(), "ivr"));
    node.wait_for(|node| states(node).len() == 2);
    assert_eq!(
        states(&node),
        [
            (format!("sip:one.farm.test:{one}"), "up".to_owned()),
            (format!("sip:two.farm.test:{two}"), "up".to_owned())
        ]
    );
    let mut call = alice.calls("8000");
    is_served(&mut alice, &mut call, &mut first);
    dns.says(&[(service, (10, 1, two, "two.farm.test"))]);
    node.wait_for(|node| states(node).len() == 1);
    let mut call = alice.calls("8001");
    is_served(&mut alice, &mut call, &mut second);
    first.hears_nothing(100);
    is_over(&node, 2.0);
}

/// A node with alice, and phones that stand for the media servers of its pool; the first one is preferred.
fn with_servers(more: &str, pools: impl FnOnce(&[u16]) -> String) -> (Node, Phone, [Phone; 2]) {
    let held = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let ports: Vec<u16> = held
        .iter()
        .map(|socket| socket.local_addr().expect("bound").port())
        .collect();
    let edge = format!("{more}{}{ROUTE}", pools(&ports));
    let node = Node::with_users(&edge, "", &["alice"]);
    let alice = Phone::udp(&node, "alice");
    let servers = held.map(|socket| Phone::on(socket, node.address(), "ivr"));
    (node, alice, servers)
}

fn unprobed(ports: &[u16]) -> String {
    pool("pbx", ports, UNPROBED)
}

/// Rings and answers at `server`, and hangs up as alice.
fn is_served(alice: &mut Phone, call: &mut Dialog, server: &mut Phone) {
    let invite = server.rings();
    server.answers(&invite);
    alice.is_connected(call);
    server.is_acknowledged(&invite);
    hangs_up_at(alice, call, server);
}

/// Refuses the INVITE that comes to `server`.
fn refuses(server: &mut Phone, status: &str, lines: &str) {
    let invite = server.request("INVITE");
    server.responds(&invite, status, lines);
    server.request("ACK");
}

#[test]
fn a_server_that_says_503_is_left_alone_for_as_long_as_it_asked() {
    let (node, mut alice, [mut one, mut two]) = with_servers("", unprobed);
    let mut call = alice.calls("8000");
    refuses(&mut one, "503 Service Unavailable", "Retry-After: 60\r\n");
    is_served(&mut alice, &mut call, &mut two);
    assert_eq!(states(&node)[0].1, "busy");
    let mut call = alice.calls("8001");
    is_served(&mut alice, &mut call, &mut two);
    one.hears_nothing(100);
    is_over(&node, 2.0);
}

#[test]
fn busy_and_decline_are_the_callees_word() {
    let (node, mut alice, [mut one, mut two]) = with_servers("", unprobed);
    for (status, line) in [(486, "486 Busy Here"), (603, "603 Decline")] {
        let call = alice.calls("8000");
        refuses(&mut one, line, "");
        alice.refused(&call, status);
    }
    two.hears_nothing(200);
    assert_eq!(node.metric("holdline_calls_moved_on_total"), 0.0);
    is_over(&node, 2.0);
}

#[test]
fn a_server_that_answers_too_late_is_hung_up_and_the_caller_does_not_notice() {
    let (node, mut alice, [mut slow, mut two]) = with_servers("", unprobed);
    let mut call = alice.calls("8000");
    let late = slow.request("INVITE");
    let invite = two.rings();
    two.answers(&invite);
    alice.is_connected(&mut call);
    two.is_acknowledged(&invite);
    slow.answers(&late);
    slow.request("ACK");
    slow.is_hung_up();
    alice.hears_nothing(200);
    let bye = alice.within(&mut call, "BYE", "", "");
    alice.send(&bye);
    two.is_hung_up();
    alice.response(200);
    assert_eq!(node.metric("holdline_calls_hung_up_late_total"), 1.0);
    is_over(&node, 1.0);
}

fn target(node: &Node, verb: &str, server: &Phone) {
    let name = format!("sip:{}", server.local);
    let output = ask(node.path(), &["target", verb, &name]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&name));
}

#[test]
fn a_drained_server_keeps_its_calls_and_gets_no_new_ones() {
    let (node, mut alice, [mut one, mut two]) = with_servers("", unprobed);
    let mut first = alice.calls("8000");
    let invite = one.rings();
    one.answers(&invite);
    alice.is_connected(&mut first);
    one.is_acknowledged(&invite);
    target(&node, "drain", &one);
    assert_eq!(states(&node)[0].1, "draining");
    let mut call = alice.calls("8001");
    is_served(&mut alice, &mut call, &mut two);
    let bye = alice.within(&mut first, "BYE", "", "");
    alice.send(&bye);
    one.is_hung_up();
    alice.response(200);
    target(&node, "undrain", &one);
    let mut call = alice.calls("8002");
    is_served(&mut alice, &mut call, &mut one);
    is_over(&node, 3.0);
}

#[test]
fn a_disabled_server_loses_what_it_has_not_answered_to_the_next() {
    let (node, mut alice, [mut one, mut two]) = with_servers("", unprobed);
    let mut call = alice.calls("8000");
    one.rings();
    alice.response(180);
    target(&node, "disable", &one);
    is_served(&mut alice, &mut call, &mut two);
    assert_eq!(states(&node)[0].1, "disabled");
    let output = ask(node.path(), &["target", "disable", "sip:nobody"]);
    let told = text(&output.stderr);
    assert!(told.contains("no pool has a target sip:nobody"), "{told}");
    assert!(told.contains(&one.local.to_string()), "{told}");
    target(&node, "enable", &one);
    let listed = text(&ask(node.path(), &["target", "list"]).stdout);
    assert!(listed.starts_with("pool pbx (priority)\n"), "{listed}");
    assert!(node.log().contains("by the operator"), "{}", node.log());
}

#[test]
fn the_operators_word_about_a_server_holds_over_a_restart() {
    let (mut node, mut alice, [mut one, mut two]) = with_servers("", unprobed);
    let state = |node: &Node, at: usize| states(node)[at].1.clone();
    target(&node, "drain", &one);
    target(&node, "disable", &two);
    node.kill();
    node.restart();
    assert_eq!([state(&node, 0), state(&node, 1)], ["draining", "disabled"]);
    let call = alice.calls("8000");
    alice.refused(&call, 503);
    target(&node, "enable", &two);
    node.signal("-TERM");
    node.wait_for(|node| node.http("GET /healthz").0 == 0);
    node.restart();
    let mut call = alice.calls("8001");
    is_served(&mut alice, &mut call, &mut two);
    assert_eq!(state(&node, 0), "draining");
    target(&node, "undrain", &one);
    let mut call = alice.calls("8002");
    is_served(&mut alice, &mut call, &mut one);
    node.kill();
    // Nobody guesses at what cannot be read.
    std::fs::write(node.path().join("data/targets"), "drained\n").expect("written");
    let output = ask(node.path(), &["run"]);
    let told = text(&output.stderr);
    assert!(
        !output.status.success() && told.contains("remove it"),
        "{told}"
    );
}

#[test]
fn when_all_are_out_the_fallback_answers() {
    let dead = free_port();
    let (node, mut alice, [mut mailbox, _]) = with_servers("", |ports| {
        pool("pbx", &[dead], "fallback = \"mailbox\"\n") + &pool("mailbox", &ports[..1], UNPROBED)
    });
    node.wait_for(|node| states(node).iter().any(|(_, state)| state == "out"));
    let mut call = alice.calls("8000");
    is_served(&mut alice, &mut call, &mut mailbox);
    is_over(&node, 1.0);
}

#[test]
fn when_nobody_is_left_the_caller_hears_503_and_when_to_try_again() {
    let dead = free_port();
    let (node, mut alice, _) = with_servers("", |_| pool("pbx", &[dead], "retry_after_s = 7\n"));
    let call = alice.calls("8000");
    let answer = alice.refused(&call, 503);
    assert_eq!(answer.header("Retry-After"), "7");
    assert!(node.metric("holdline_pool_shortages_total") >= 1.0);
    is_over(&node, 1.0);
}

#[test]
fn a_server_calls_users_without_credentials_and_a_reload_keeps_its_calls() {
    let (node, mut alice, [mut one, _]) = with_servers("", unprobed);
    assert_eq!(alice.registers(600).status(), 200);
    let mut leg = Dialog::out(&one, "sip:alice@example.org");
    let invite = one.within(&mut leg, "INVITE", "", &one.description);
    one.send(&invite);
    let heard = alice.rings();
    alice.answers(&heard);
    one.is_connected(&mut leg);
    alice.is_acknowledged(&heard);
    let bye = one.within(&mut leg, "BYE", "", "");
    one.send(&bye);
    alice.is_hung_up();
    one.response(200);
    let mut call = alice.calls("8000");
    let invite = one.rings();
    one.answers(&invite);
    alice.is_connected(&mut call);
    one.is_acknowledged(&invite);
    let reload = ask(node.path(), &["reload"]);
    assert!(reload.status.success(), "{}", text(&reload.stderr));
    let name = format!("sip:{}", one.local);
    let counted = format!("holdline_target_calls{{pool=\"pbx\",target=\"{name}\"}}");
    assert_eq!(node.metric(&counted), 1.0);
    hangs_up_at(&mut alice, &mut call, &mut one);
    is_over(&node, 2.0);
}

fn hangs_up_at(alice: &mut Phone, call: &mut Dialog, server: &mut Phone) {
    let bye = alice.within(call, "BYE", "", "");
    alice.send(&bye);
    server.is_hung_up();
    alice.response(200);
}
