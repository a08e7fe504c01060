//! The owner dies at every step of a call of every kind, and the call goes on as if nothing had happened.

mod pair;
mod rig;

use balancer::{Policy, PoolSettings, Source, TargetSettings};
use edge::record::{BRANCH, INVITE};
use pair::{Died, Pair, Phone, Plan, with_every_death};
use rig::{ALICE, BOB, CAROL, STRANGER, settings};

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

fn hangs_up(after_ms: u64) -> Plan {
    Plan {
        hangs_up_after_ms: Some(after_ms),
        ..Plan::default()
    }
}

#[test]
fn a_call_of_one_who_has_to_say_who_he_is_survives_its_owner() {
    with_every_death(|dies| {
        let alice = Plan {
            password: Some("a"),
            ..hangs_up(2_000)
        };
        let alice = Phone::new(STRANGER, "alice", "a", alice);
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![alice, bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn phones_that_are_tried_in_turn_survive_the_owner() {
    with_every_death(|dies| {
        let carol = Phone::new(CAROL, "bob", "c", answers(&[(20, 180), (1_000, 486)]));
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let phones = vec![caller(hangs_up(2_000)), bob, carol];
        let mut pair = Pair::new(&settings(), phones, dies);
        bind(&mut pair, "sip:bob@192.0.2.30:5060", 1_000);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 500);
        let mut pair = run(pair);
        assert_eq!(pair.phones[2].invites.len(), 1);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn a_phone_that_rings_too_long_is_left_for_the_next_by_any_owner() {
    with_every_death(|dies| {
        let carol = Phone::new(CAROL, "bob", "c", answers(&[(20, 180)]));
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let phones = vec![caller(hangs_up(2_000)), bob, carol];
        let mut pair = Pair::new(&settings(), phones, dies);
        bind(&mut pair, "sip:bob@192.0.2.30:5060", 1_000);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 500);
        let mut pair = run(pair);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn a_call_that_is_renegotiated_survives_its_owner() {
    with_every_death(|dies| {
        let alice = Plan {
            reinvites_after_ms: Some(1_000),
            ..hangs_up(4_000)
        };
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![caller(alice), bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [200, 200]);
        let within = pair.phones[1].within.iter();
        assert_eq!(within.filter(|(method, _)| method == "INVITE").count(), 1);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn an_answer_that_crosses_a_cancel_survives_the_owner() {
    with_every_death(|dies| {
        let alice = Plan {
            cancels_after_ms: Some(1_000),
            ..hangs_up(2_000)
        };
        let bob = Plan {
            is_deaf_to_cancel: true,
            ..answers(&[(20, 180), (1_000, 200)])
        };
        let mut pair = Pair::new(&settings(), vec![caller(alice), callee(bob)], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        assert_eq!(pair.phones[0].finals("INVITE"), [200]);
        is_a_call(&mut pair, 0);
        pair
    });
}

/// Settings under which all media are relayed.
fn anchored() -> edge::Settings {
    let mut settings = settings();
    settings.proxy.media.policy = proxy::media::Policy::Always;
    settings
}

#[test]
fn a_relayed_call_survives_its_owner() {
    with_every_death(|dies| {
        let alice = Plan {
            has_sdp: true,
            reinvites_after_ms: Some(3_000),
            ..hangs_up(20_000)
        };
        let bob = Plan {
            has_sdp: true,
            ..answers(&[(20, 183), (2_000, 200)])
        };
        let mut pair = Pair::new(&anchored(), vec![caller(alice), callee(bob)], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let now = pair.now_ms;
        pair.phones[0].call(TO_BOB, now);
        pair.run_until(now + 15_000);
        let told: Vec<_> = pair.phones.iter().flat_map(|phone| &phone.ports).collect();
        let told: std::collections::HashSet<u16> = told.into_iter().copied().collect();
        let node = pair.acting.expect("an owner");
        if dies.is_none_or(|(step, _)| step > 3) || !pair.has_died {
            assert_eq!(
                told.len(),
                2,
                "each is told of one port, the same all the time"
            );
        }
        let relay = &pair.nodes[node].users.media;
        assert_eq!(relay.in_use(), 2);
        let ports: Vec<u16> = pair
            .phones
            .iter()
            .filter_map(|phone| phone.ports.last())
            .copied()
            .collect();
        assert!(relay.are_open(&ports), "{ports:?}");
        pair.run_until(now + 60_000);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn what_was_learned_of_a_party_is_known_to_the_next_owner() {
    let alice = Plan {
        has_sdp: true,
        ..Plan::default()
    };
    let bob = Plan {
        has_sdp: true,
        hangs_up_after_ms: Some(10_000),
        ..answers(&[(20, 180), (500, 200)])
    };
    let mut pair = Pair::new(&anchored(), vec![caller(alice), callee(bob)], None);
    bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
    let now = pair.now_ms;
    pair.phones[0].call(TO_BOB, now);
    pair.run_until(now + 3_000);
    let session = |pair: &Pair, node: usize| {
        let mut calls = pair.nodes[node].edge.calls().iter();
        calls
            .next()
            .and_then(|call| call.media)
            .expect("media")
            .session
    };
    let (source, at_owner) = (
        "203.0.113.9:4321".parse().expect("an address"),
        session(&pair, 0),
    );
    pair.turn(|rig| rig.edge.media_learned(at_owner, 0, 0, source));
    pair.kill();
    pair.run_until(now + 5_000);
    let at_heir = session(&pair, 1);
    let learned = relay::Command::Source {
        session: at_heir,
        stream: 0,
        side: 0,
        source,
    };
    assert!(pair.nodes[1].users.media.commands.contains(&learned));
    pair.run_until(now + 60_000);
    assert_eq!(pair.phones[1].finals("BYE"), [200]);
    pair.forgets();
}

#[test]
fn a_caller_over_a_stream_survives_the_owner() {
    with_every_death(|dies| {
        let mut alice = caller(hangs_up(2_000));
        alice.is_tcp = true;
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let mut pair = Pair::new(&settings(), vec![alice, bob], dies);
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        let mut pair = run(pair);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn a_callee_over_a_stream_survives_the_owner() {
    with_every_death(|dies| {
        let mut bob = callee(answers(&[(20, 180), (1_000, 200)]));
        bob.is_tcp = true;
        let mut pair = Pair::new(&settings(), vec![caller(hangs_up(2_000)), bob], dies);
        let flow = rig::tcp(BOB);
        pair.both(|rig| rig.bind("bob", "sip:bob@192.0.2.20:5060", 1_000, Some(flow), ""));
        let mut pair = run(pair);
        is_a_call(&mut pair, 0);
        pair
    });
}

/// A pair whose users 8xxx are a pool of two media servers.
fn pooled(phones: Vec<Phone>, dies: Option<(usize, Died)>) -> Pair {
    let mut settings = settings();
    let target = |address: &str| TargetSettings::new(Source::Uri(format!("sip:{address}")));
    let pool = PoolSettings::new("pbx", Policy::RoundRobin, vec![target(CAROL), target(BOB)]);
    let mut farm = rig::Rig::new().users.farm;
    settings.pool_routes = vec![edge::PoolRoute {
        user: (*b"8*").into(),
        domain: None,
        methods: vec![sip::Method::Invite],
        pool: farm.begin(pool.clone()),
    }];
    let mut pair = Pair::new(&settings, phones, dies);
    pair.both(|rig| {
        rig.users.farm.begin(pool.clone());
    });
    pair
}

#[test]
fn a_call_to_a_pool_whose_first_target_is_dead_survives_its_owner() {
    with_every_death(|dies| {
        let carol = Phone::new(CAROL, "ivr", "c", Plan::default());
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let mut pair = pooled(vec![caller(hangs_up(4_000)), bob, carol], dies);
        let now = pair.now_ms;
        pair.phones[0].call("sip:8000@example.org", now);
        pair.run_until(now + 4_800);
        let node = pair.acting.expect("an owner");
        assert_eq!(
            pair.nodes[node].users.farm.active(),
            1,
            "calls that are counted"
        );
        pair.run_until(now + 60_000);
        assert!(pair.phones[2].invites.len() <= 1);
        is_a_call(&mut pair, 0);
        pair
    });
}

#[test]
fn a_late_answer_of_a_target_that_was_left_survives_the_owner() {
    with_every_death(|dies| {
        let carol = Phone::new(CAROL, "ivr", "c", answers(&[(1_500, 200)]));
        let bob = callee(answers(&[(20, 180), (1_000, 200)]));
        let mut pair = pooled(vec![caller(hangs_up(4_000)), bob, carol], dies);
        let now = pair.now_ms;
        pair.phones[0].call("sip:8000@example.org", now);
        pair.run_until(now + 60_000);
        assert_eq!(pair.phones[0].finals("INVITE").len(), 1);
        pair.phones.iter().for_each(Phone::is_done);
        pair.forgets();
        pair
    });
}

fn register(contact: &str, number: u32) -> String {
    let lines = [
        "From: <sip:bob@example.org>;tag=r",
        "To: <sip:bob@example.org>",
        &format!("Contact: <{contact}>"),
        "Expires: 3600",
        &format!("CSeq: {number} REGISTER"),
        "Call-ID: registration",
    ];
    let via = format!("192.0.2.20:5060;branch=z9hG4bK-r{number}");
    rig::request("REGISTER", "sip:example.org", &via, &lines)
}

/// A pair whose domain asks nobody who registers for credentials would not be one: Bob says who he is.
fn registers(pair: &mut Pair, contact: &str, number: u32) -> Option<u16> {
    let text = register(contact, number);
    pair.feed(rig::udp(BOB), &text);
    let challenge = pair.sent_to(BOB)?;
    assert_eq!(challenge.status(), 401);
    let value = rig::credentials(
        "bob",
        "b",
        "REGISTER",
        "sip:example.org",
        challenge.the("WWW-Authenticate"),
    );
    let text = register(contact, number + 1).replace(
        "Content-Length",
        &format!("Authorization: {value}\r\nContent-Length"),
    );
    pair.feed(rig::udp(BOB), &text);
    pair.sent_to(BOB).map(|sip| sip.status())
}

#[test]
fn a_registration_that_was_answered_is_known_to_the_next_owner() {
    let mut pair = Pair::new(&settings(), Vec::new(), None);
    assert_eq!(
        registers(&mut pair, "sip:bob@192.0.2.20:5060", 1),
        Some(200)
    );
    pair.kill();
    pair.run_until(pair.now_ms + 1_000);
    let heir = &mut pair.nodes[1];
    let now_s = heir.now().unix_s();
    let mut bindings = heir.users.location.lookup(b"bob@example.org", now_s);
    let binding = bindings.next().expect("a binding");
    assert_eq!(binding.contact(), b"sip:bob@192.0.2.20:5060");
    assert_eq!(binding.flow(), rig::udp(BOB));
    drop(bindings);
    // Numbers go on where the owner was.
    assert_eq!(
        registers(&mut pair, "sip:bob@192.0.2.21:5060", 5),
        Some(200)
    );
    let location = &pair.nodes[1].users.location;
    let ids: Vec<u64> = location
        .lookup(b"bob@example.org", now_s)
        .map(|one| one.id())
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn a_registration_that_is_taken_back_is_so_at_the_standby() {
    let mut pair = Pair::new(&settings(), Vec::new(), None);
    assert_eq!(
        registers(&mut pair, "sip:bob@192.0.2.20:5060", 1),
        Some(200)
    );
    let now_s = pair.nodes[1].now().unix_s();
    let of_bob = |pair: &Pair| {
        let location = &pair.nodes[1].users.location;
        location.lookup(b"bob@example.org", now_s).count()
    };
    assert_eq!(of_bob(&pair), 1);
    let contact = "sip:bob@192.0.2.20:5060>;expires=0;x=<sip:x";
    assert_eq!(registers(&mut pair, contact, 5), Some(200));
    assert_eq!(of_bob(&pair), 0);
}

#[test]
fn with_a_standby_nobody_waits_for_the_store_and_without_one_everybody_does() {
    let mut pair = Pair::new(&settings(), Vec::new(), None);
    pair.nodes[0].stores = false;
    assert_eq!(
        registers(&mut pair, "sip:bob@192.0.2.20:5060", 1),
        Some(200)
    );
    let owner = &mut pair.nodes[0];
    assert_eq!(
        owner.output.commits.len(),
        1,
        "the store is told all the same"
    );
    owner.store(true);
    let mut bindings = owner.users.location.lookup(b"bob@example.org", 0);
    assert!(
        bindings
            .next()
            .expect("a binding")
            .durable_expires_at_unix_s()
            > 0
    );
    drop(bindings);
    owner.output.has_standby = false;
    assert_eq!(registers(&mut pair, "sip:bob@192.0.2.21:5060", 5), None);
    pair.turn(|rig| rig.store(true));
    assert_eq!(pair.sent_to(BOB).map(|sip| sip.status()), Some(200));
}

#[test]
fn one_who_lost_the_authority_forgets_everything_and_is_told_anew() {
    let alice = Plan {
        has_sdp: true,
        ..Plan::default()
    };
    let bob = Plan {
        has_sdp: true,
        ..answers(&[(20, 180), (500, 200)])
    };
    let mut pair = Pair::new(&anchored(), vec![caller(alice), callee(bob)], None);
    bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
    let now = pair.now_ms;
    pair.phones[0].call(TO_BOB, now);
    pair.run_until(now + 300);
    for node in 0..2 {
        let rig = &mut pair.nodes[node];
        let now = rig.now();
        rig.edge.leave_office(now, &mut rig.users);
        assert_eq!(rig.edge.tables(), edge::Tables::default());
        assert_eq!(rig.edge.transactions(), (0, 0));
        assert_eq!((rig.edge.calls().len(), rig.users.media.in_use()), (0, 0));
        assert_eq!(rig.edge.next(now.time), None);
        rig.feed(
            ALICE,
            &rig::request(
                "OPTIONS",
                "sip:example.org",
                "192.0.2.10;branch=z9hG4bK-o",
                &[],
            ),
        );
        rig.quiet();
    }
}

#[test]
fn a_call_survives_two_owners() {
    for again in 1..9 {
        with_every_death(|dies| {
            let alice = Plan {
                has_sdp: true,
                ..hangs_up(3_000)
            };
            let bob = Plan {
                has_sdp: true,
                ..answers(&[(20, 183), (1_500, 200)])
            };
            let mut pair = Pair::new(&anchored(), vec![caller(alice), callee(bob)], dies);
            pair.dies_again_after = Some(again);
            bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
            let mut pair = run(pair);
            is_a_call(&mut pair, 0);
            pair
        });
    }
}

/// Small changes of bytes, from a seed.
fn damage(bytes: &mut Vec<u8>, seed: &mut u64) {
    let mut random = |below: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*seed >> 33) as usize % below.max(1)
    };
    for _ in 0..=random(3) {
        let at = random(bytes.len());
        match random(4) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] = random(256) as u8,
            2 if !bytes.is_empty() => bytes[at] ^= 1 << random(8),
            _ => bytes.insert(at.min(bytes.len()), random(256) as u8),
        }
    }
}

#[test]
fn damaged_records_harm_nobody() {
    let mut tables = Vec::new();
    for (ends_ms, is_pooled) in [(15, false), (800, false), (1_600, false), (900, true)] {
        let alice = Plan {
            has_sdp: !is_pooled,
            reinvites_after_ms: Some(300),
            ..Plan::default()
        };
        let bob = Plan {
            has_sdp: !is_pooled,
            ..answers(&[(20, 183), (1_000, 200)])
        };
        let carol = Phone::new(CAROL, "bob", "c", answers(&[(20, 180)]));
        let phones = vec![caller(alice), callee(bob), carol];
        let mut pair = match is_pooled {
            true => pooled(phones, None),
            false => Pair::new(&anchored(), phones, None),
        };
        bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
        bind(&mut pair, "sip:bob@192.0.2.30:5060", 1_000);
        let now = pair.now_ms;
        let uri = if is_pooled {
            "sip:8000@example.org"
        } else {
            TO_BOB
        };
        pair.phones[0].call(uri, now);
        registers(&mut pair, "sip:bob@192.0.2.20:5060", 1);
        pair.run_until(now + ends_ms);
        tables.push(pair);
    }
    let (mut seed, mut refused) = (7, 0);
    for round in 0..1_200 {
        let from = &tables[round % tables.len()];
        let settings = from.nodes[0].settings.clone();
        let mut heir = Pair::new(&settings, Vec::new(), None);
        let rig = &mut heir.nodes[1];
        rig.now_ms = from.now_ms;
        let now = rig.now();
        for ((kind, key), value) in &from.table {
            let (mut key, mut value) = (key.clone(), value.clone());
            if seed % 3 != 0 {
                damage(&mut value, &mut seed);
            }
            if seed % 8 == 0 {
                damage(&mut key, &mut seed);
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let op = records::Op {
                kind: *kind,
                key: &key,
                value: Some(&value),
            };
            refused += u32::from(rig.edge.apply(now, &op, &mut rig.users).is_err());
        }
        let epoch = 2;
        rig.edge
            .take_office(&settings, now, epoch, &mut rig.users, &mut rig.output);
        rig.now_ms += 1_000;
        let now = rig.now();
        rig.edge
            .poll(&settings, now, &mut rig.users, &mut rig.output);
        rig.edge.note(now, &mut rig.users, &mut rig.output);
        comes_to_an_end(rig, &settings);
        let now = rig.now();
        rig.edge.leave_office(now, &mut rig.users);
        assert_eq!(rig.edge.tables(), edge::Tables::default());
        rig.users.media.has_forgotten();
        rig.users.farm.has_forgotten();
    }
    assert!(refused > 100, "{refused}");
}

/// Lets all timers fire, while no name leads anywhere: no INVITE is left without an end.
fn comes_to_an_end(rig: &mut rig::Rig, settings: &edge::Settings) {
    for ms in [
        1_000, 20_000, 40_000, 200_000, 40_000, 40_000, 200_000, 40_000, 40_000,
    ] {
        rig.now_ms += ms;
        let now = rig.now();
        rig.edge
            .poll(settings, now, &mut rig.users, &mut rig.output);
        for resolve in std::mem::take(&mut rig.output.resolves) {
            let nowhere = (resolve.token, &[][..]);
            rig.edge
                .resolved(settings, now, nowhere, &mut rig.users, &mut rig.output);
        }
    }
    assert_eq!(rig.edge.transactions(), (0, 0));
}

/// Replaces the method of each request that a value holds by one of the same length.
fn garble(value: &mut [u8], method: &[u8; 7]) {
    for at in 0..value.len().saturating_sub(method.len()) {
        if &value[at..at + 7] == b"INVITE " {
            value[at..at + 7].copy_from_slice(method);
        }
    }
}

#[test]
fn an_invite_whose_requests_cannot_be_read_is_answered_all_the_same() {
    for method in [b"\0\0\0\0\0\0\0", b"NOTIFY "] {
        for garbled in [INVITE, BRANCH] {
            let alice = caller(Plan::default());
            let bob = callee(answers(&[(20, 180)]));
            let mut pair = Pair::new(&settings(), vec![alice, bob], None);
            bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
            let now = pair.now_ms;
            pair.phones[0].call(TO_BOB, now);
            pair.run_until(now + 500);
            let mut heir = Pair::new(&settings(), Vec::new(), None);
            let rig = &mut heir.nodes[1];
            rig.now_ms = pair.now_ms;
            let now = rig.now();
            for ((kind, key), value) in &pair.table {
                let mut value = value.clone();
                if *kind == garbled {
                    garble(&mut value, method);
                }
                let (kind, value) = (*kind, Some(&value[..]));
                let op = records::Op { kind, key, value };
                assert_eq!(rig.edge.apply(now, &op, &mut rig.users), Ok(()));
            }
            rig.edge
                .take_office(&settings(), now, 2, &mut rig.users, &mut rig.output);
            comes_to_an_end(rig, &settings());
            let now = rig.now();
            rig.edge.leave_office(now, &mut rig.users);
            assert_eq!(rig.edge.tables(), edge::Tables::default());
        }
    }
}

#[test]
fn a_record_of_a_newer_version_is_read_as_far_as_it_is_known() {
    let mut pair = Pair::new(
        &anchored(),
        vec![
            caller(Plan {
                has_sdp: true,
                ..Plan::default()
            }),
            callee(Plan {
                has_sdp: true,
                hangs_up_after_ms: Some(3_000),
                ..answers(&[(20, 183), (1_000, 200)])
            }),
        ],
        None,
    );
    pair.is_newer = true;
    bind(&mut pair, "sip:bob@192.0.2.20:5060", 1_000);
    let now = pair.now_ms;
    pair.phones[0].call(TO_BOB, now);
    pair.run_until(now + 500);
    pair.kill();
    pair.run_until(now + 60_000);
    is_a_call(&mut pair, 1);
}
