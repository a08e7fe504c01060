//! Two nodes of a cluster on one machine, and what phones notice when the owner of the service dies, hangs or hands over.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use support::pair::Pair;
use support::phone::{connect, end};
use support::pools::{ROUTE, pool_of, states_in};
use support::{Phone, wait_until};

/// Two phones that are registered.
fn phones(pair: &Pair) -> (Phone, Phone) {
    let mut alice = Phone::udp_to(pair.address(), "alice");
    let mut bob = Phone::udp_to(pair.address(), "bob");
    for phone in [&mut alice, &mut bob] {
        let answer = phone.registers(600);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    (alice, bob)
}

/// The owner and the other one.
fn roles(pair: &Pair) -> (usize, usize) {
    let owner = pair.owner().expect("an owner");
    (owner, 1 - owner)
}

#[test]
fn a_phone_that_registered_with_the_dead_owner_is_called_through_the_new_one() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (owner, other) = roles(&pair);
    pair.kill(owner);
    pair.is_owned_by(other);
    assert_eq!(pair.items(other, "registrations").len(), 2);
    let (mut call, _) = connect(&mut alice, &mut bob);
    end((&mut alice, &mut call), &mut bob);
    // The one that died comes back as a standby.
    pair.begin(owner);
    pair.is_in_sync();
    assert_eq!(pair.owner(), Some(other));
    let service = pair.service(other).expect("it answers");
    let away = service["last_takeover"]["away_ms"]
        .as_u64()
        .expect("a number");
    assert!(away < 1_000, "{service}");
}

#[test]
fn a_process_that_is_killed_is_released_by_the_one_that_watches_it() {
    let pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (owner, other) = roles(&pair);
    pair.kill_process(owner);
    pair.is_owned_by(other);
    pair.says(other, &["is this node's now", "the owner released it"]);
    let (mut call, _) = connect(&mut alice, &mut bob);
    end((&mut alice, &mut call), &mut bob);
    // It is started again, as a standby.
    pair.is_in_sync();
}

#[test]
fn a_call_that_rings_when_the_owner_dies_is_answered_through_the_new_one() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (owner, other) = roles(&pair);
    let mut call = alice.calls("bob");
    let invite = bob.request("INVITE");
    bob.responds(&invite, "180 Ringing", "");
    alice.response(180);
    pair.kill(owner);
    pair.is_owned_by(other);
    // Until he hears an ACK a phone sends its answer again; one is enough here.
    bob.responds(&invite, "200 OK", "");
    alice.answered(&mut call);
    bob.request("ACK");
    let bye = alice.within(&mut call, "BYE", "", "");
    alice.send(&bye);
    bob.is_hung_up();
    alice.response(200);
}

#[test]
fn an_established_call_goes_on_when_the_owner_dies_and_ends_as_it_should() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (owner, other) = roles(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    pair.kill(owner);
    pair.is_owned_by(other);
    end((&mut alice, &mut call), &mut bob);
}

#[test]
fn a_service_is_handed_over_and_back_under_a_call_that_rings() {
    let pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (owner, other) = roles(&pair);
    let mut call = alice.calls("bob");
    let invite = bob.request("INVITE");
    bob.responds(&invite, "180 Ringing", "");
    alice.response(180);
    pair.verb(owner, &["switchover", "edge"]);
    pair.is_owned_by(other);
    bob.responds(&invite, "200 OK", "");
    alice.answered(&mut call);
    bob.request("ACK");
    pair.is_in_sync();
    pair.verb(
        other,
        &[
            "switchover",
            "edge",
            if owner == 0 { "edge1" } else { "edge2" },
        ],
    );
    pair.is_owned_by(owner);
    let bye = alice.within(&mut call, "BYE", "", "");
    alice.send(&bye);
    bob.is_hung_up();
    alice.response(200);
}

#[test]
fn a_node_that_leaves_hands_over_and_claims_nothing_until_it_joins() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (owner, other) = roles(&pair);
    pair.verb(owner, &["leave"]);
    pair.is_owned_by(other);
    pair.kill(other);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(pair.owner(), None);
    pair.verb(owner, &["join"]);
    pair.is_owned_by(owner);
}

/// Calls a media server, which answers, and hangs up.
fn reaches(caller: &mut Phone, number: &str, server: &mut Phone) {
    let mut call = caller.calls(number);
    let invite = server.rings();
    server.answers(&invite);
    caller.is_connected(&mut call);
    server.is_acknowledged(&invite);
    end((caller, &mut call), server);
}

#[test]
fn what_the_operator_said_of_media_servers_holds_at_the_next_owner_and_so_does_what_he_took_back() {
    let held = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let at = held.each_ref().map(|socket| socket.local_addr());
    let [first, second] = at.map(|at| format!("sip:{}", at.expect("bound")));
    let uris = [first.clone(), second.clone()];
    let pool = pool_of("pbx", &uris, "probe = { interval_ms = 0 }");
    let mut pair = Pair::start(&format!("{pool}{ROUTE}"), &["alice"]);
    let [mut one, mut two] = held.map(|socket| Phone::on(socket, pair.address(), "ivr"));
    let mut alice = Phone::udp_to(pair.address(), "alice");
    let are = |pair: &Pair, number: usize, wanted: [&str; 2]| {
        let status = || pair.status(number).map(|status| states_in(&status));
        let found = wait_until("the targets", status);
        let found: Vec<&str> = found.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(found, wanted, "{}", pair.log(number));
    };
    let (owner, other) = roles(&pair);
    reaches(&mut alice, "8000", &mut one);
    pair.verb(owner, &["target", "disable", &first]);
    are(&pair, owner, ["disabled", "up"]);
    pair.kill(owner);
    pair.is_owned_by(other);
    are(&pair, other, ["disabled", "up"]);
    reaches(&mut alice, "8001", &mut two);

    // The one that comes back has the first word on its disk. It is taken back where it is not its own.
    pair.begin(owner);
    pair.is_in_sync();
    pair.verb(other, &["target", "enable", &first]);
    pair.verb(other, &["target", "drain", &second]);
    pair.kill(other);
    pair.is_owned_by(owner);
    are(&pair, owner, ["up", "draining"]);
    reaches(&mut alice, "8002", &mut one);
    pair.verb(owner, &["target", "drain", &first]);
    let call = alice.calls("8003");
    alice.refused(&call, 503);
    for server in [&mut one, &mut two] {
        server.hears_nothing(100);
    }
}
