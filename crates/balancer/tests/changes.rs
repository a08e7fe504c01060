//! What becomes of targets: out and back, named and not, and where calls go meanwhile.

mod beside;

use balancer::{
    Due, Endpoint, Error, HealthSettings, LoadFormula, LookupId, Policy, PoolSettings, Pools,
    Reason, Record, Settings, Shortage, Signal, Source, State, TargetSettings, Time, Wanted,
};
use beside::{Bench, call, uris};
use std::collections::BTreeMap;

const SRV: &str = "_sip._udp.example.org";

fn srv() -> Vec<TargetSettings> {
    vec![TargetSettings::new(Source::Srv(SRV.to_owned()))]
}

fn record(priority: u16, weight: u16, uri: &str) -> Record {
    Record {
        priority,
        weight,
        endpoint: endpoint(uri),
    }
}

fn endpoint(uri: &str) -> Endpoint {
    Endpoint {
        uri: uri.to_owned(),
        address: None,
    }
}

fn lookup(due: &[Due]) -> Option<LookupId> {
    due.iter().find_map(|due| match due {
        Due::Lookup(id) => Some(*id),
        Due::Probe { .. } => None,
    })
}

/// Which targets 600 calls go to.
fn spread(bench: &mut Bench) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for n in 0..600 {
        *counts.entry(bench.pick_name(n)).or_insert(0) += 1;
    }
    counts
}

#[test]
fn a_target_that_asks_for_time_is_passed_over_until_then() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let (a, b) = (bench.target("sip:t0"), bench.target("sip:t1"));
    bench.report(a, Signal::Busy { retry_after_s: 5 });
    assert_eq!(bench.state(a), State::Busy);
    assert!((0..10).all(|n| bench.pick_name(n) == "sip:t1"));
    bench.run_ms(2_000);
    bench.report(b, Signal::Busy { retry_after_s: 60 });
    let no = bench.pick(0, &[]).expect_err("both are busy");
    assert_eq!((no.reason, no.retry_after_s), (Shortage::Busy, 3));
    bench.run_ms(3_100);
    assert_eq!(bench.state(a), State::Up);
    assert_eq!(bench.pick_name(0), "sip:t0");
    let last = bench.events().last().expect("an event");
    assert_eq!(last.reason, Reason::RetryAfterOver);
    bench.end_all();
}

#[test]
fn a_retry_after_of_a_year_is_not_believed() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(1));
    let target = bench.target("sip:t0");
    let retry_after_s = 31_536_000;
    bench.report(target, Signal::Busy { retry_after_s });
    bench.run_ms(301_000);
    assert_eq!(bench.state(target), State::Up);
    bench.end_all();
}

#[test]
fn the_fallback_answers_when_all_are_out_or_full() {
    let mut pool = PoolSettings::new("pbx", Policy::LeastCalls, uris(2));
    pool.targets[1].limit = Some(1);
    pool.fallback = Some("voicemail".to_owned());
    let uri = Source::Uri("sip:voicemail".to_owned());
    let other = PoolSettings::new(
        "voicemail",
        Policy::LeastCalls,
        vec![TargetSettings::new(uri)],
    );
    let mut bench = Bench::with(pool, vec![other]);
    let dead = bench.target("sip:t0");
    bench.silence(dead);
    bench.run_until(|bench| bench.state(dead) == State::Out);
    assert_eq!(bench.pick_name(0), "sip:t1");
    let slot = bench.call(0);
    bench.keep(slot);
    let pick = bench.pick(1, &[]).expect("the fallback");
    assert_eq!(Some(pick.pool), bench.pools.find("voicemail"));
    assert_eq!(bench.pick_name(1), "sip:voicemail");
    let no = bench.pick(1, &[pick.target]).expect_err("all were asked");
    assert_eq!(no.reason, Shortage::Full, "of the pool that was asked");
    bench.end_one();
    assert_eq!(bench.pick_name(1), "sip:t1");
    bench.end_all();
}

#[test]
fn without_a_fallback_all_out_is_said_unless_they_are_a_last_resort() {
    for last_resort in [false, true] {
        let mut pool = PoolSettings::new("pbx", Policy::LeastCalls, uris(3));
        pool.last_resort = last_resort;
        let mut bench = Bench::with(pool, Vec::new());
        let drained = bench.target("sip:t2");
        bench.want(drained, Wanted::Drained);
        for name in ["sip:t0", "sip:t1", "sip:t2"] {
            let target = bench.target(name);
            bench.silence(target);
        }
        bench.run_until(|bench| bench.state(drained) == State::Out);
        bench.run_ms(1_000);
        if !last_resort {
            let no = bench.pick(0, &[]).expect_err("all are out");
            assert_eq!(no.reason, Shortage::Out);
            continue;
        }
        let first = bench.pick(0, &[]).expect("a last resort");
        let second = bench.pick(0, &[first.target]).expect("another");
        assert!(first.last_resort && second.last_resort);
        assert!(first.target != second.target && second.target != drained);
        let tried = [first.target, second.target];
        assert!(bench.pick(0, &tried).is_err(), "a drained one is none");
        bench.end_all();
    }
}

#[test]
fn a_flapping_target_is_kept_out_for_longer_unless_it_is_the_only_one() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let (bad, other) = (bench.target("sip:t0"), bench.target("sip:t1"));
    let mut outs = Vec::new();
    for _ in 0..5 {
        bench.silence(bad);
        bench.run_until(|bench| bench.state(bad) == State::Out);
        bench.revive(bad);
        let from = bench.now();
        bench.run_until(|bench| bench.state(bad) != State::Out);
        outs.push(bench.now().ms_since(from));
    }
    assert!(
        outs[0] < 800 && outs.windows(2).all(|two| two[1] > two[0]),
        "{outs:?}"
    );
    assert!(outs[4] > 15_000);
    bench.silence(bad);
    bench.run_until(|bench| bench.state(bad) == State::Out);
    bench.revive(bad);
    bench.run_ms(2_000);
    assert_eq!(bench.state(bad), State::Out, "it answers and is kept out");
    bench.silence(other);
    bench.run_until(|bench| bench.state(other) == State::Out);
    assert_eq!(bench.state(bad), State::Warming, "and is needed now");
    let last = bench.events().last().expect("an event");
    assert_eq!((last.target, last.reason), (bad, Reason::Needed));
    bench.end_all();
}

#[test]
fn no_target_is_out_while_calls_are_answered_there() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let targets = [bench.target("sip:t0"), bench.target("sip:t1")];
    bench.silence(targets[0]);
    bench.silence(targets[1]);
    for _ in 0..100 {
        bench.run_ms(150);
        for target in targets {
            let signal = Signal::Answered {
                status: 180,
                rtt_ms: 20,
            };
            bench.report(target, signal);
        }
    }
    assert!(
        targets
            .iter()
            .all(|target| bench.state(*target) == State::Up)
    );
    bench.end_all();
}

#[test]
fn a_burst_of_failures_takes_a_target_out_with_its_reason() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let bad = bench.target("sip:t0");
    for _ in 0..5 {
        bench.run_ms(100);
        let signal = Signal::Answered {
            status: 503,
            rtt_ms: 1,
        };
        bench.report(bad, signal);
    }
    assert_eq!(bench.state(bad), State::Out);
    let last = bench.events().last().expect("an event");
    assert_eq!(last.reason, Reason::CallsFailed { failed: 5, of: 5 });
    bench.end_all();
}

#[test]
fn what_callees_say_is_nobodys_failure() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(1));
    let target = bench.target("sip:t0");
    for status in [183, 404, 480, 486, 487, 501, 600, 603] {
        for _ in 0..20 {
            let signal = Signal::Answered { status, rtt_ms: 1 };
            bench.report(target, signal);
        }
    }
    assert_eq!(bench.state(target), State::Up);
    bench.end_all();
}

#[test]
fn records_share_by_weight_and_lower_priorities_come_first() {
    let mut bench = Bench::new(Policy::Weighted, srv());
    assert_eq!(
        bench.pick(0, &[]).expect_err("not known yet").reason,
        Shortage::Empty
    );
    let id = lookup(&bench.poll()).expect("a look-up is due at once");
    assert_eq!(bench.pools.lookup_name(id), Some(SRV));
    let records = [
        record(10, 60, "sip:a"),
        record(10, 20, "sip:b"),
        record(20, 1, "sip:c"),
    ];
    bench.pools.set_records(bench.now(), id, &records, 60);
    bench.fetch();
    let counts = spread(&mut bench);
    assert_eq!(counts["sip:a"], 450);
    assert_eq!(counts["sip:b"], 150);
    assert!(!counts.contains_key("sip:c"));
    for name in ["sip:a", "sip:b"] {
        let target = bench.target(name);
        bench.want(target, Wanted::Drained);
    }
    assert_eq!(spread(&mut bench)["sip:c"], 600);
    bench.end_all();
}

#[test]
fn records_without_weights_are_equal_by_every_policy() {
    for policy in [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::LeastCalls,
        Policy::Load(LoadFormula::default()),
    ] {
        let mut bench = Bench::new(policy, srv());
        let id = lookup(&bench.poll()).expect("due");
        let records = ["sip:a", "sip:b", "sip:c"].map(|uri| record(0, 0, uri));
        bench.pools.set_records(bench.now(), id, &records, 60);
        bench.fetch();
        for n in 0..300 {
            let slot = bench.call(n);
            bench.keep(slot);
        }
        assert_eq!(bench.calls(), [100, 100, 100], "{policy:?}");
        let first = bench.target("sip:a");
        bench.end_those_of(first);
        for n in 0..90 {
            let slot = bench.call(n);
            bench.keep(slot);
        }
        match policy {
            Policy::LeastCalls | Policy::Load(_) => assert_eq!(bench.calls(), [90, 100, 100]),
            _ => assert_eq!(bench.calls(), [30, 130, 130]),
        }
        bench.end_all();
    }
}

#[test]
fn a_record_that_vanishes_drains_and_a_new_one_joins() {
    let mut bench = Bench::new(Policy::RoundRobin, srv());
    let id = lookup(&bench.poll()).expect("due");
    let records = [record(0, 1, "sip:a"), record(0, 1, "sip:b")];
    bench.pools.set_records(bench.now(), id, &records, 30);
    bench.fetch();
    let (old, kept) = (bench.target("sip:a"), bench.target("sip:b"));
    for n in 0..4 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    bench.run_ms(29_000);
    assert_eq!(
        lookup(&bench.poll()),
        None,
        "the records are valid for 30 s"
    );
    bench.run_ms(900);
    let mut due = Vec::new();
    while lookup(&due).is_none() {
        bench.step_into(&mut due);
    }
    let records = [record(0, 1, "sip:b"), record(0, 1, "sip:new")];
    bench.pools.set_records(bench.now(), id, &records, 30);
    bench.fetch();
    assert_eq!(bench.state(old), State::Draining);
    assert_eq!(bench.state(kept), State::Up);
    assert_eq!(bench.pools.active(old), 2);
    let joined = bench.target("sip:new");
    assert_eq!(
        bench.state(joined),
        State::Warming,
        "a new one starts slowly"
    );
    assert!(!spread(&mut bench).contains_key("sip:a"));
    bench.end_all();
    assert_eq!(bench.state(old), State::Absent);
    let last = bench.events().last().expect("an event");
    assert_eq!((last.target, last.reason), (old, Reason::LastCallEnded));
}

#[test]
fn a_look_up_that_fails_takes_nothing_away() {
    let mut bench = Bench::new(Policy::RoundRobin, srv());
    let id = lookup(&bench.poll()).expect("due");
    bench
        .pools
        .set_records(bench.now(), id, &[record(0, 1, "sip:a")], 5);
    bench.fetch();
    let mut waits = Vec::new();
    for _ in 0..5 {
        let from = bench.now();
        let mut due = Vec::new();
        while lookup(&due).is_none() {
            due.clear();
            bench.step_into(&mut due);
        }
        waits.push(bench.now().ms_since(from) / 1_000);
        bench.pools.lookup_failed(bench.now(), id);
        assert_eq!(bench.pick_name(0), "sip:a");
    }
    assert_eq!(waits, [5, 5, 10, 20, 40]);
    bench.end_all();
}

#[test]
fn a_service_is_where_its_owner_is_and_out_without_one() {
    let mut targets = vec![TargetSettings::new(Source::Service("pbx1".to_owned()))];
    targets.extend(uris(1));
    let mut bench = Bench::new(Policy::RoundRobin, targets);
    let service = bench.target("pbx1");
    assert_eq!(bench.state(service), State::Out);
    bench
        .pools
        .set_service(bench.now(), "pbx1", Some(endpoint("sip:10.0.0.1")));
    bench.fetch();
    assert_eq!(bench.state(service), State::Up);
    assert_eq!(spread(&mut bench)["sip:10.0.0.1"], 300);
    let slot = bench
        .pools
        .begin(bench.now(), service)
        .expect("it is there");
    bench.keep(slot);
    bench.pools.set_service(bench.now(), "pbx1", None);
    bench.fetch();
    assert_eq!(bench.state(service), State::Out);
    let last = *bench.events().last().expect("an event");
    assert_eq!((last.target, last.reason), (service, Reason::NoOwner));
    assert_eq!(spread(&mut bench)["sip:t0"], 600);
    bench
        .pools
        .set_service(bench.now(), "pbx1", Some(endpoint("sip:10.0.0.2")));
    bench.fetch();
    assert_eq!(bench.pools.active(service), 1, "its calls went with it");
    assert_eq!(spread(&mut bench)["sip:10.0.0.2"], 300);
    bench.end_all();
}

#[test]
fn what_is_known_of_a_service_waits_for_the_reload_that_names_it() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(1));
    bench
        .pools
        .set_service(bench.now(), "pbx1", Some(endpoint("sip:10.0.0.1")));
    let targets = vec![TargetSettings::new(Source::Service("pbx1".to_owned()))];
    bench.reload(Policy::RoundRobin, targets);
    assert_eq!(bench.pick_name(0), "sip:10.0.0.1");
    bench.end_all();
}

#[test]
fn what_is_found_out_about_a_name_that_was_given_up_goes_nowhere() {
    let mut bench = Bench::new(Policy::RoundRobin, srv());
    let id = lookup(&bench.poll()).expect("due");
    let other = vec![TargetSettings::new(Source::Srv(
        "_sip._udp.example.net".to_owned(),
    ))];
    bench.reload(Policy::RoundRobin, uris(1));
    bench.reload(Policy::RoundRobin, other);
    let new = lookup(&bench.poll()).expect("due");
    assert_ne!(id, new);
    bench
        .pools
        .set_records(bench.now(), id, &[record(0, 1, "sip:old")], 60);
    bench.pools.lookup_failed(bench.now(), id);
    assert_eq!(bench.pools.find_target("sip:old"), None);
    assert_eq!(bench.pools.lookup_name(id), None);
    bench.end_all();
}

#[test]
fn a_reload_keeps_calls_health_and_the_operators_word() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(4));
    let dead = bench.target("sip:t0");
    let drained = bench.target("sip:t1");
    let dropped = bench.target("sip:t2");
    for n in 0..8 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    bench.silence(dead);
    bench.run_until(|bench| bench.state(dead) == State::Out);
    bench.want(drained, Wanted::Drained);
    let mut targets = uris(6);
    targets.remove(2);
    bench.reload(Policy::LeastCalls, targets);
    assert_eq!(bench.state(dead), State::Out);
    assert_eq!(bench.state(drained), State::Draining);
    assert_eq!(bench.state(dropped), State::Draining);
    for target in [dead, drained, dropped] {
        assert_eq!(bench.pools.active(target), 2);
    }
    bench.reload(Policy::Priority, uris(4));
    assert_eq!(
        bench.state(dropped),
        State::Warming,
        "named again before it was gone"
    );
    assert_eq!(bench.calls().iter().sum::<u32>(), 8);
    bench.end_all();
    bench.reload(Policy::Priority, uris(1));
    assert_eq!(bench.state(dropped), State::Absent);
    assert_eq!(bench.pools.find_target("sip:t2"), None);
}

#[test]
fn a_target_of_two_pools_is_one_target() {
    let mut pool = PoolSettings::new("pbx", Policy::LeastCalls, uris(1));
    pool.targets[0].limit = Some(1);
    let other = PoolSettings::new("other", Policy::RoundRobin, uris(2));
    let mut bench = Bench::with(pool, vec![other]);
    let other = bench.pools.find("other").expect("the pool");
    let now = bench.now();
    let pick = bench
        .pools
        .pick(other, now, &call(b"x"), &[])
        .expect("a target");
    assert_eq!(pick.target, bench.target("sip:t0"));
    let slot = bench.pools.begin(now, pick.target).expect("it is there");
    bench.keep(slot);
    assert_eq!(bench.pick(0, &[]).expect_err("full").reason, Shortage::Full);
    assert!(
        bench.pools.pick(other, now, &call(b"x"), &[]).is_ok(),
        "no limit there"
    );
    bench.end_all();
}

#[test]
fn by_priority_calls_overflow_in_the_order_of_the_list() {
    let targets = uris(3).into_iter().map(|one| one.with_limit(3));
    let mut bench = Bench::new(Policy::Priority, targets.collect());
    let mut seen = Vec::new();
    for n in 0..9 {
        let slot = bench.call(n);
        bench.keep(slot);
        seen.push(bench.calls());
    }
    assert_eq!(seen[2], [3, 0, 0]);
    assert_eq!(seen[5], [3, 3, 0]);
    assert_eq!(seen[8], [3, 3, 3]);
    bench.end_all();
}

#[test]
fn more_priorities_than_there_may_be_share_the_last() {
    let mut bench = Bench::new(Policy::Priority, uris(70));
    for n in 0..63 {
        let name = format!("sip:t{n}");
        assert_eq!(bench.pick_name(n), name);
        let target = bench.target(&name);
        bench.want(target, Wanted::Disabled);
    }
    let counts = spread(&mut bench);
    assert_eq!(counts.len(), 7);
    bench.reload(Policy::Priority, uris(70).split_off(60));
    assert_eq!(bench.pick_name(0), "sip:t63");
    bench.end_all();
}

#[test]
fn targets_are_not_probed_in_step() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(100));
    bench.run_ms(10_000);
    let from = bench.now();
    let mut parts = [0_u32; 50];
    let mut due = Vec::new();
    while bench.now().ms_since(from) < 5_000 {
        due.clear();
        bench.step_into(&mut due);
        let part = bench.now().ms_since(from) / 100;
        parts[(part as usize).min(49)] += due.len() as u32;
    }
    let total: u32 = parts.iter().sum();
    assert!(
        (1_900..=2_100).contains(&total),
        "100 targets, 4 a second: {total}"
    );
    assert!(parts.iter().all(|n| (15..=65).contains(n)), "{parts:?}");
    bench.end_all();
}

#[test]
fn a_disabled_target_is_not_probed_and_comes_back_when_enabled() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let target = bench.target("sip:t0");
    bench.want(target, Wanted::Disabled);
    assert!(bench.state(target).is_dead());
    let mut due = Vec::new();
    for _ in 0..50 {
        bench.step_into(&mut due);
    }
    let is_it = |due: &Due| matches!(due, Due::Probe { target: probed, .. } if *probed == target);
    assert!(!due.iter().any(is_it));
    bench.want(target, Wanted::Open);
    assert_eq!(bench.state(target), State::Warming);
    assert!(bench.poll().iter().any(is_it), "a probe leaves at once");
    bench.end_all();
}

#[test]
fn a_restored_call_counts_at_a_drained_target_too() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let target = bench.target("sip:t0");
    bench.want(target, Wanted::Drained);
    let slot = bench.pools.begin(bench.now(), target).expect("it is there");
    assert_eq!(bench.pools.active(target), 1);
    bench.end(slot);
    bench.end_all();
}

#[test]
fn settings_that_cannot_be_are_refused_and_change_nothing() {
    let pool = |name: &str, fallback: Option<&str>| PoolSettings {
        fallback: fallback.map(str::to_owned),
        ..PoolSettings::new(name, Policy::RoundRobin, uris(1))
    };
    let check = |pools: Vec<PoolSettings>| {
        let settings = Settings {
            pools,
            hash_key: [0, 0],
        };
        Pools::new(settings, Time::ZERO, 0).map(drop)
    };
    assert!(matches!(
        check(vec![pool("a", None), pool("a", None)]),
        Err(Error::PoolTwice { .. })
    ));
    assert!(matches!(
        check(vec![pool("a", Some("b"))]),
        Err(Error::NoSuchFallback { .. })
    ));
    assert!(matches!(
        check(vec![pool("a", Some("b")), pool("b", Some("a"))]),
        Err(Error::FallbacksTooDeep { .. })
    ));
    let mut twice = pool("a", None);
    twice.targets.extend(uris(1));
    assert!(matches!(check(vec![twice]), Err(Error::TargetTwice { .. })));
    let mut weightless = pool("a", None);
    weightless.targets[0].weight = 0;
    assert!(matches!(
        check(vec![weightless]),
        Err(Error::WeightOutOfRange { .. })
    ));
    let mut never = pool("a", None);
    never.health = HealthSettings {
        misses_out: 0,
        ..HealthSettings::default()
    };
    assert!(matches!(
        check(vec![never]),
        Err(Error::Zero {
            name: "misses_out",
            ..
        })
    ));
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let bad = Settings {
        pools: vec![pool("pbx", Some("nobody"))],
        hash_key: [0, 0],
    };
    assert!(bench.pools.reload(bad, bench.now()).is_err());
    assert_eq!(bench.calls(), [0, 0]);
    bench.end_all();
}

#[test]
fn the_operators_word_is_about_a_name_whoever_comes_and_goes() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let now = bench.now();
    let pools = &mut bench.pools;
    pools
        .set_wanted_of(now, "sip:t2", Wanted::Disabled)
        .expect("few words");
    let one = pools.find_target("sip:t1").expect("there");
    pools.set_wanted(now, one, Wanted::Drained).expect("there");
    bench.reload(Policy::RoundRobin, uris(1));
    bench.reload(Policy::RoundRobin, uris(3));
    let one = bench.target("sip:t1");
    assert_eq!(bench.state(one), State::Draining);
    let two = bench.target("sip:t2");
    assert_eq!(bench.state(two), State::Disabled);
    let words = |bench: &Bench| {
        bench
            .pools
            .words()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&bench), ["sip:t1", "sip:t2"]);
    let now = bench.now();
    bench
        .pools
        .set_wanted_of(now, "sip:t1", Wanted::Open)
        .expect("fewer words");
    assert!(bench.state(one).takes_calls());
    bench
        .pools
        .set_wanted(now, two, Wanted::Open)
        .expect("there");
    assert!(words(&bench).is_empty());
    bench.end_all();
}

#[test]
fn words_about_more_names_than_there_may_be_targets_are_refused() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(1));
    let now = bench.now();
    let say = |bench: &mut Bench, name: &str, wanted| bench.pools.set_wanted_of(now, name, wanted);
    for n in 0..balancer::WORDS_MAX {
        assert_eq!(
            say(&mut bench, &format!("sip:gone{n}"), Wanted::Drained),
            Ok(())
        );
    }
    let target = bench.target("sip:t0");
    let refused = Err(Error::TooManyWords);
    assert_eq!(say(&mut bench, "sip:t0", Wanted::Drained), refused);
    assert!(bench.state(target).takes_calls());
    // What was said may be changed and taken back.
    assert_eq!(say(&mut bench, "sip:gone0", Wanted::Disabled), Ok(()));
    assert_eq!(say(&mut bench, "sip:gone0", Wanted::Open), Ok(()));
    assert_eq!(say(&mut bench, "sip:t0", Wanted::Drained), Ok(()));
    bench.end_all();
}
