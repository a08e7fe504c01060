//! How evenly calls are spread, and what it costs.

mod beside;

use balancer::{
    AgentLoad, Call, CallSlot, HashBy, LoadFormula, Policy, Signal, State, TargetId,
    TargetSettings, Wanted,
};
use beside::{Bench, uris};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

fn weighted(weights: &[u32]) -> Vec<TargetSettings> {
    let entries = uris(weights.len()).into_iter().zip(weights);
    entries
        .map(|(one, weight)| one.with_weight(*weight))
        .collect()
}

/// The calls of `n` calls that each target gets, the oldest ending once `active` are there.
fn spread(bench: &mut Bench, n: u32, active: usize) -> BTreeMap<TargetId, u32> {
    let mut slots = VecDeque::new();
    let mut counts = BTreeMap::new();
    for call in 0..n {
        let slot = bench.call(call);
        *counts.entry(slot.target()).or_insert(0) += 1;
        slots.push_back(slot);
        if slots.len() > active {
            bench.end(slots.pop_front().expect("a call"));
        }
    }
    for slot in slots {
        bench.end(slot);
    }
    counts
}

#[test]
fn weighted_stays_within_two_percent_over_any_ten_thousand_calls() {
    for weights in [
        vec![1, 1],
        vec![5, 3, 2],
        vec![100, 1],
        (1..=100).collect::<Vec<u32>>(),
        vec![65_535, 40_000, 20_000, 1_000],
    ] {
        let mut bench = Bench::new(Policy::Weighted, weighted(&weights));
        let total: u32 = weights.iter().sum();
        let order: Vec<TargetId> = (0..40_000)
            .map(|n| bench.pick(n, &[]).expect("a target").target)
            .collect();
        for (n, weight) in weights.iter().enumerate() {
            let target = bench.target(&format!("sip:t{n}"));
            let ideal = 10_000.0 * f64::from(*weight) / f64::from(total);
            let mut count = order[..10_000].iter().filter(|one| **one == target).count();
            for at in 0..30_000 {
                let error = (count as f64 - ideal).abs();
                // A share of less than fifty calls cannot be met to two percent of itself.
                assert!(
                    error <= (ideal * 0.02).max(1.5),
                    "{weights:?} {n}: {count} of {ideal}"
                );
                count += usize::from(order[at + 10_000] == target);
                count -= usize::from(order[at] == target);
            }
        }
        bench.end_all();
    }
}

#[test]
fn least_calls_stays_within_two_percent_of_the_ideal_share() {
    for active in [1, 100, 5_000] {
        let mut bench = Bench::new(Policy::LeastCalls, uris(7));
        let counts = spread(&mut bench, 10_000, active);
        for count in counts.values() {
            assert!(count.abs_diff(10_000 / 7) * 50 <= 10_000 / 7, "{counts:?}");
        }
        bench.end_all();
    }
}

#[test]
fn least_calls_follows_weights_as_capacities() {
    let weights = [4, 3, 2, 1];
    let mut bench = Bench::new(Policy::LeastCalls, weighted(&weights));
    let slots: Vec<CallSlot> = (0..10_000).map(|n| bench.call(n)).collect();
    for (calls, weight) in bench.calls().iter().zip(weights) {
        let ideal = weight * 1_000;
        assert!(calls.abs_diff(ideal) * 50 <= ideal, "{:?}", bench.calls());
    }
    for slot in slots {
        bench.end(slot);
    }
    bench.end_all();
}

#[test]
fn least_calls_evens_out_what_ended_unevenly() {
    let mut bench = Bench::new(Policy::LeastCalls, uris(3));
    let slots: Vec<CallSlot> = (0..3_000).map(|n| bench.call(n)).collect();
    let first = bench.target("sip:t0");
    for (n, slot) in slots.into_iter().enumerate() {
        if slot.target() == first && n % 2 == 0 {
            bench.end(slot);
        } else {
            bench.keep(slot);
        }
    }
    let calls = bench.calls();
    assert!(calls[0] < 600 && calls[1] == 1_000, "{calls:?}");
    for n in 0..1_000 - calls[0] {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    let calls = bench.calls();
    assert!(
        calls.iter().all(|calls| calls.abs_diff(1_000) <= 10),
        "{calls:?}"
    );
    bench.end_all();
}

#[test]
fn losing_one_of_a_hundred_targets_moves_its_callers_only() {
    for by in [HashBy::Source, HashBy::CallId, HashBy::User] {
        let mut bench = Bench::new(Policy::Hash(by), uris(100));
        let pool = bench.pool;
        let map = |bench: &mut Bench| -> Vec<TargetId> {
            (0..20_000_u32)
                .map(|n| {
                    let id = n.to_be_bytes();
                    let call = Call {
                        source: IpAddr::V4(Ipv4Addr::from_bits(n)),
                        call_id: &id,
                        user: &id,
                    };
                    let now = bench.now();
                    bench
                        .pools
                        .pick(pool, now, &call, &[])
                        .expect("a target")
                        .target
                })
                .collect()
        };
        let before = map(&mut bench);
        let lost = bench.target("sip:t42");
        bench.want(lost, Wanted::Disabled);
        let without = map(&mut bench);
        let mut moved = 0;
        for (before, after) in before.iter().zip(&without) {
            assert_ne!(*after, lost);
            assert!(before == after || *before == lost);
            moved += u32::from(before != after);
        }
        assert!(
            (130..=280).contains(&moved),
            "about one in a hundred: {moved}"
        );
        bench.want(lost, Wanted::Open);
        bench.run_until(|bench| bench.state(lost) == State::Up);
        assert_eq!(map(&mut bench), before);
        bench.end_all();
    }
}

#[test]
fn two_nodes_with_the_same_key_agree_about_callers() {
    let mut one = Bench::new(Policy::Hash(HashBy::CallId), uris(10));
    let mut reversed = uris(10);
    reversed.reverse();
    let mut other = Bench::new(Policy::Hash(HashBy::CallId), reversed);
    assert!((0..1_000).all(|n| one.pick_name(n) == other.pick_name(n)));
}

#[test]
fn load_gives_a_busy_host_fewer_calls() {
    let mut bench = Bench::new(Policy::Load(LoadFormula::default()), uris(2));
    let (idle, busy) = (bench.target("sip:t0"), bench.target("sip:t1"));
    let load = |cpu_permille| {
        Signal::AgentLoad(AgentLoad {
            cpu_permille: Some(cpu_permille),
            memory_permille: Some(200),
            disk_permille: Some(0),
            calls: None,
        })
    };
    bench.report(idle, load(100));
    bench.report(busy, load(700));
    for n in 0..100 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    // 60 % more CPU weighs as much as 120 calls of 500 by the formula, and then some.
    assert_eq!(bench.calls(), [100, 0]);
    bench.report(idle, load(700));
    bench.report(busy, load(700));
    for n in 0..100 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    // As loaded as the other by its agent, the second makes up for its fewer calls in part: the
    // formula gives them four parts of ten.
    assert_eq!(bench.calls(), [130, 70]);
    bench.end_all();
}

#[test]
fn between_two_reports_calls_do_not_flock_to_one_target() {
    let mut bench = Bench::new(Policy::Load(LoadFormula::default()), uris(4));
    for n in 0..4 {
        let target = bench.target(&format!("sip:t{n}"));
        let load = AgentLoad {
            cpu_permille: Some(100),
            ..AgentLoad::default()
        };
        bench.report(target, Signal::AgentLoad(load));
    }
    let counts = spread(&mut bench, 1_000, 1_000);
    assert!(
        counts.values().all(|count| count.abs_diff(250) <= 5),
        "{counts:?}"
    );
    bench.end_all();
}

#[test]
fn a_silent_agent_loses_trust_and_stops_no_calls() {
    let mut bench = Bench::new(Policy::Load(LoadFormula::default()), uris(2));
    let silent = bench.target("sip:t0");
    let load = AgentLoad {
        cpu_permille: Some(990),
        memory_permille: Some(990),
        disk_permille: Some(990),
        calls: None,
    };
    bench.report(silent, Signal::AgentLoad(load));
    assert!((0..10).all(|n| bench.pick_name(n) == "sip:t1"));
    let trust = |bench: &Bench| {
        let all = bench.pools.snapshot(bench.now());
        all[0].targets.iter().map(|one| one.trust_permille).max()
    };
    assert_eq!(trust(&bench), Some(1_000));
    bench.run_ms(16_500);
    let half = trust(&bench).expect("two targets");
    assert!((450..=550).contains(&half), "{half}");
    bench.run_ms(20_000);
    assert_eq!(trust(&bench), Some(0));
    let counts = spread(&mut bench, 1_000, 1_000);
    assert!(
        counts.values().all(|count| count.abs_diff(500) <= 10),
        "{counts:?}"
    );
    bench.end_all();
}

#[test]
fn calls_a_second_may_be_part_of_the_load() {
    let formula = LoadFormula {
        cpu: 0,
        memory: 0,
        disk: 0,
        calls: 0,
        call_rate: 1,
        ..LoadFormula::default()
    };
    let mut bench = Bench::new(Policy::Load(formula), uris(2));
    for n in 0..100 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    assert_eq!(bench.calls(), [50, 50]);
    bench.end_all();
}

#[test]
fn who_comes_back_starts_slowly() {
    for policy in [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::Hash(HashBy::CallId),
    ] {
        let mut bench = Bench::new(policy, uris(2));
        let target = bench.target("sip:t0");
        bench.want(target, Wanted::Drained);
        bench.want(target, Wanted::Open);
        let mut shares = Vec::new();
        for second in 0..12 {
            let picks = (0..1_000).filter(|n| bench.pick_name(second * 1_000 + n) == "sip:t0");
            shares.push(picks.count());
            bench.run_ms(1_000);
        }
        assert!(shares[0] < 40, "{policy:?} {shares:?}");
        assert!((250..=400).contains(&shares[5]), "{policy:?} {shares:?}");
        assert!((450..=550).contains(&shares[10]), "{policy:?} {shares:?}");
        assert_eq!(bench.state(target), State::Up);
        bench.end_all();
    }
}

#[test]
fn a_first_choice_that_comes_back_leaves_calls_to_the_second_at_first() {
    let mut bench = Bench::new(Policy::Priority, uris(2));
    let target = bench.target("sip:t0");
    bench.want(target, Wanted::Drained);
    assert_eq!(bench.pick_name(0), "sip:t1");
    bench.want(target, Wanted::Open);
    for (after_ms, share) in [(0, 20), (2_500, 250), (5_000, 750), (2_500, 1_000)] {
        bench.run_ms(after_ms);
        let picks = (0..1_000).filter(|n| bench.pick_name(*n) == "sip:t0");
        let picks = picks.count();
        assert!(picks.abs_diff(share) <= 30, "{picks}");
    }
    bench.want(target, Wanted::Drained);
    bench.want(target, Wanted::Open);
    let second = bench.target("sip:t1");
    bench.want(second, Wanted::Drained);
    assert!(
        (0..100).all(|n| bench.pick_name(n) == "sip:t0"),
        "there is no other"
    );
    bench.end_all();
}

#[test]
fn callers_stay_where_they_belong_when_all_targets_come_back_at_once() {
    let mut bench = Bench::new(Policy::Hash(HashBy::CallId), uris(10));
    let names =
        |bench: &mut Bench| -> Vec<String> { (0..1_000).map(|n| bench.pick_name(n)).collect() };
    let before = names(&mut bench);
    for wanted in [Wanted::Disabled, Wanted::Open] {
        for n in 0..10 {
            let target = bench.target(&format!("sip:t{n}"));
            bench.want(target, wanted);
        }
    }
    assert_eq!(names(&mut bench), before);
    bench.end_all();
}

#[test]
fn least_calls_fills_who_comes_back_by_its_growing_share() {
    let mut bench = Bench::new(Policy::LeastCalls, uris(2));
    let target = bench.target("sip:t0");
    bench.want(target, Wanted::Drained);
    for n in 0..1_000 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    assert_eq!(bench.calls(), [0, 1_000]);
    bench.want(target, Wanted::Open);
    for (after_ms, least, most) in [(0, 15, 30), (2_000, 150, 260), (3_000, 450, 600)] {
        bench.run_ms(after_ms);
        for n in 0..600 {
            let slot = bench.call(n);
            let is_there = slot.target() == target;
            if is_there {
                bench.keep(slot);
            } else {
                bench.end(slot);
            }
        }
        let calls = bench.calls();
        assert!((least..=most).contains(&calls[0]), "{calls:?}");
    }
    bench.end_all();
}

#[test]
fn a_choice_looks_at_one_target_however_many_there_are() {
    for policy in [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::LeastCalls,
        Policy::Load(LoadFormula::default()),
        Policy::Hash(HashBy::Source),
        Policy::Priority,
    ] {
        for (targets, active) in [(2, 100), (100, 100_000)] {
            let mut bench = Bench::new(policy, uris(targets));
            for n in 0..active {
                let slot = bench.call(n);
                bench.keep(slot);
            }
            let before = bench.pools.counters().steps;
            for n in 0..1_000 {
                let slot = bench.call(n);
                bench.end(slot);
            }
            let steps = bench.pools.counters().steps - before;
            assert_eq!(steps, 1_000, "{policy:?} with {targets} targets");
            bench.end_all();
        }
    }
}

#[test]
fn full_targets_are_not_looked_at() {
    let targets = uris(100).into_iter().map(|one| one.with_limit(10));
    let mut bench = Bench::new(Policy::LeastCalls, targets.collect());
    for n in 0..999 {
        let slot = bench.call(n);
        bench.keep(slot);
    }
    let before = bench.pools.counters().steps;
    let slot = bench.call(0);
    bench.keep(slot);
    assert!(bench.pick(1, &[]).is_err());
    assert_eq!(bench.pools.counters().steps - before, 1);
    bench.end_all();
}
