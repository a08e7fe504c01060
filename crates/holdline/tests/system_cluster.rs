//! Two nodes of a cluster on one machine, and what phones notice when the owner of the service dies, hangs or hands over.

mod support;

use std::time::Duration;

use support::Phone;
use support::pair::Pair;
use support::phone::{connect, end};

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
    let service = pair.service(other).expect("it answers");
    let takeover = &service["last_takeover"];
    assert_eq!(takeover["cause"], "the owner released it", "{service}");
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
