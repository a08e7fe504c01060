//! Nothing is allocated per call, as a counting allocator sees it.

mod beside;

use allocation_counter::measure;
use balancer::{Due, HashBy, LoadFormula, Policy, Signal, TargetId};
use beside::{Bench, call, uris};

fn calls(bench: &mut Bench, n: u32, due: &mut Vec<Due>) {
    let tried: [TargetId; 1] = [bench.target("sip:t3")];
    let (mut now, pool) = (bench.now(), bench.pool);
    for n in 0..n {
        now = now.plus_ms(2);
        let id = n.to_be_bytes();
        let tried = &tried[..(n % 2) as usize];
        let pick = bench
            .pools
            .pick(pool, now, &call(&id), tried)
            .expect("a target");
        let slot = bench.pools.begin(now, pick.target).expect("it is there");
        let signal = Signal::Answered {
            status: 200,
            rtt_ms: 3,
        };
        bench.pools.report(now, pick.target, signal);
        bench.pools.poll(now, due);
        for due in due.drain(..) {
            if let Due::Probe { target, number } = due {
                bench
                    .pools
                    .report(now, target, Signal::ProbeAnswered { number });
            }
        }
        bench.pools.end(now, slot);
    }
    bench.run_to(now);
}

#[test]
fn a_call_allocates_nothing_after_warm_up() {
    for policy in [
        Policy::RoundRobin,
        Policy::Weighted,
        Policy::LeastCalls,
        Policy::Load(LoadFormula::default()),
        Policy::Hash(HashBy::User),
        Policy::Priority,
    ] {
        let targets = uris(50).into_iter().map(|one| one.with_limit(100));
        let mut bench = Bench::new(policy, targets.collect());
        let mut due = Vec::with_capacity(64);
        calls(&mut bench, 2_000, &mut due);
        let info = measure(|| calls(&mut bench, 10_000, &mut due));
        // `find_target` of the test makes one string each time.
        assert!(info.count_total <= 2, "{policy:?}: {info:?}");
        bench.end_all();
    }
}
