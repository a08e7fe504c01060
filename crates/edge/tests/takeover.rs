//! The owner dies at every step of a call of every kind, and the call goes on as if nothing had happened.

mod pair;
mod rig;

use pair::{Died, Pair, Phone, Plan, with_every_death};
use rig::{ALICE, BOB, CAROL, settings};

const TO_BOB: &str = "sip:bob@example.org";

fn caller(plan: Plan) -> Phone {
    Phone::new(ALICE, "alice", "a", plan)
}

fn callee(plan: Plan) -> Phone {
    Phone::new(BOB, "bob", "b", plan)
}

fn answers(list: &[(u64, u16)]) -> Plan {
    Plan {
        answers: list.to_vec(),
        ..Plan::default()
    }
}

fn bind(pair: &mut Pair, contact: &str, q: u16) {
    pair.both(|rig| rig.bind("bob", contact, q, None, ""));
}

/// Calls Bob, and lets it all happen.
fn run(mut pair: Pair) -> Pair {
    let now = pair.now_ms;
    pair.phones[0].call(TO_BOB, now);
    pair.run_until(now + 60_000);
    pair
}

/// As a call that is answered and hung up has to be.
#[track_caller]
fn is_a_call(pair: &mut Pair, by: usize) {
    assert_eq!(pair.phones[0].finals("INVITE")[..1], [200]);
    assert_eq!(pair.phones[1].invites.len(), 1, "INVITEs at the callee");
    assert_eq!(pair.phones[by].finals("BYE"), [200]);
    let other = &pair.phones[1 - by];
    let byes = other.within.iter().filter(|(method, _)| method == "BYE");
    assert_eq!(byes.count(), 1, "BYEs");
    pair.phones.iter().for_each(Phone::is_done);
    pair.forgets();
}

#[test]
fn a_plain_call_survives_its_owner() {
    let runs = with_every_death(|dies: Option<(usize, Died)>| {
        let alice = caller(Plan {
            hangs_up_after_ms: Some(3_000),
            ..Plan::default()
        });
        let bob = callee(answers(&[(20, 100), (700, 180), (3_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![alice, bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [200]);
        is_a_call(&mut pair, 0);
        pair
    });
    assert!(runs > 20, "{runs}");
}

#[test]
fn a_call_that_the_callee_ends_survives_its_owner() {
    with_every_death(|dies| {
        let bob = Plan {
            hangs_up_after_ms: Some(2_000),
            ..answers(&[(20, 180), (1_000, 200)])
        };
        let mut pair = Pair::new(
            &settings(),
            vec![caller(Plan::default()), callee(bob)],
            dies,
        );
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        is_a_call(&mut pair, 1);
        pair
    });
}

#[test]
fn a_call_that_is_refused_survives_its_owner() {
    with_every_death(|dies| {
        let bob = callee(answers(&[(20, 180), (1_000, 486)]));
        let mut pair = Pair::new(&settings(), vec![caller(Plan::default()), bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [486]);
        assert_eq!(pair.phones[1].invites.len(), 1);
        pair.phones.iter().for_each(Phone::is_done);
        pair.forgets();
        pair
    });
}

#[test]
fn a_call_that_is_cancelled_survives_its_owner() {
    with_every_death(|dies| {
        let alice = caller(Plan {
            cancels_after_ms: Some(2_000),
            ..Plan::default()
        });
        let bob = callee(answers(&[(20, 180), (30_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![alice, bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [487]);
        assert_eq!(pair.phones[0].finals("CANCEL"), [200]);
        assert_eq!(pair.phones[1].invites.len(), 1);
        pair.phones.iter().for_each(Phone::is_done);
        pair.forgets();
        pair
    });
}

#[test]
fn a_call_to_several_phones_survives_its_owner() {
    with_every_death(|dies| {
        let alice = caller(Plan {
            hangs_up_after_ms: Some(3_000),
            ..Plan::default()
        });
        let bob = callee(answers(&[(20, 180), (2_000, 200)]));
        let carol = Phone::new(CAROL, "bob", "c", answers(&[(30, 180), (40_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![alice, bob, carol], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        bind(&mut pair, "sip:bob@192.0.2.30:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [200]);
        assert_eq!(pair.phones[2].invites.len(), 1);
        is_a_call(&mut pair, 0);
        pair
    });
}
