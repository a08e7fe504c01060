//! Pools from outside: who is chosen, who is counted, who is out, and why.

mod beside;

use balancer::{Due, Error, HashBy, LoadFormula, Policy, Reason, Shortage, Signal, State, Wanted};
use beside::{Bench, call, uris};

#[test]
fn round_robin_takes_turns() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(3));
    let names: Vec<String> = (0..6).map(|n| bench.pick_name(n)).collect();
    assert_eq!(names[..3], names[3..]);
    assert_eq!(
        names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    bench.end_all();
}

#[test]
fn least_calls_takes_the_one_with_the_fewest() {
    let mut bench = Bench::new(Policy::LeastCalls, uris(3));
    let slots: Vec<_> = (0..9).map(|n| bench.call(n)).collect();
    assert_eq!(bench.calls(), [3, 3, 3]);
    for slot in slots {
        if slot.target() == bench.target("sip:t1") {
            bench.end(slot);
        } else {
            bench.keep(slot);
        }
    }
    assert_eq!(bench.calls(), [3, 0, 3]);
    for n in 0..3 {
        assert_eq!(bench.pick_name(n), "sip:t1");
        let slot = bench.call(n);
        bench.keep(slot);
    }
    assert_eq!(bench.calls(), [3, 3, 3]);
    bench.end_all();
}

#[test]
fn a_full_target_is_passed_over_and_all_full_is_said() {
    let targets = uris(2).into_iter().map(|one| one.with_limit(2)).collect();
    let mut bench = Bench::new(Policy::RoundRobin, targets);
    for n in 0..4 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    let no = bench.pick(9, &[]).expect_err("both are full");
    assert_eq!(no.reason, Shortage::Full);
    assert_eq!(no.retry_after_s, 2);
    bench.end_one();
    assert!(bench.pick(9, &[]).is_ok());
    bench.end_all();
}

#[test]
fn what_was_tried_is_not_chosen_again() {
    for policy in [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::LeastCalls,
        Policy::Load(LoadFormula::default()),
        Policy::Hash(HashBy::CallId),
        Policy::Priority,
    ] {
        let mut bench = Bench::new(policy, uris(4));
        let mut tried = Vec::new();
        for _ in 0..4 {
            let pick = bench.pick(5, &tried).expect("one is left");
            assert!(!tried.contains(&pick.target), "{policy:?}");
            tried.push(pick.target);
        }
        let no = bench.pick(5, &tried).expect_err("all are tried");
        assert_eq!(no.reason, Shortage::Tried);
        bench.end_all();
    }
}

#[test]
fn three_missed_probes_take_a_target_out_and_two_answers_bring_it_back() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let dead = bench.target("sip:t0");
    bench.silence(dead);
    let from = bench.now();
    bench.run_until(|bench| bench.state(dead) == State::Out);
    let took_ms = bench.now().ms_since(from);
    assert!((450..=750).contains(&took_ms), "{took_ms}");
    let last = *bench.events().last().expect("an event");
    assert_eq!((last.from, last.to), (State::Up, State::Out));
    assert_eq!(last.reason, Reason::NoReply { misses: 3 });
    assert!((0..10).all(|n| bench.pick_name(n) == "sip:t1"));
    bench.revive(dead);
    let from = bench.now();
    bench.run_until(|bench| bench.state(dead) == State::Warming);
    assert!(bench.now().ms_since(from) <= 600);
    bench.run_until(|bench| bench.state(dead) == State::Up);
    bench.end_all();
}

#[test]
fn a_drained_target_keeps_its_calls_and_gets_no_new_ones() {
    let mut bench = Bench::new(Policy::LeastCalls, uris(2));
    for n in 0..4 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    let target = bench.target("sip:t0");
    bench.want(target, Wanted::Drained);
    assert_eq!(bench.state(target), State::Draining);
    assert!((0..10).all(|n| bench.pick_name(n) == "sip:t1"));
    assert_eq!(bench.calls(), [2, 2]);
    bench.want(target, Wanted::Open);
    assert_eq!(bench.state(target), State::Warming);
    bench.end_all();
}

#[test]
fn nobody_there_is_out_at_once_and_one_answer_denies_it() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let target = bench.target("sip:t0");
    bench.report(target, Signal::Unreachable);
    assert_eq!(bench.state(target), State::Out);
    let due = bench.poll();
    let [Due::Probe { target: probed, .. }] = due[..] else {
        panic!("one probe leaves at once: {due:?}");
    };
    assert_eq!(probed, target);
    bench.answer(&due);
    assert_eq!(bench.state(target), State::Up);
    let last = *bench.events().last().expect("an event");
    assert_eq!(last.reason, Reason::StillThere);
    bench.end_all();
}

#[test]
fn a_target_that_is_gone_counts_nothing() {
    let mut bench = Bench::new(Policy::RoundRobin, uris(2));
    let target = bench.target("sip:t0");
    bench.reload(Policy::RoundRobin, uris(2).split_off(1));
    let now = bench.now();
    assert_eq!(bench.pools.begin(now, target), Err(Error::NoSuchTarget));
    assert_eq!(bench.state(target), State::Absent);
    let pool = bench.pool;
    let pick = bench
        .pools
        .pick(pool, now, &call(&[1]), &[])
        .expect("one is left");
    assert_ne!(pick.target, target);
    bench.end_all();
}
