//! Chooses a target for one call again and again, counts the call and its answer and ends it, for
//! instruction counts and profiles.
//!
//! `pick_loop POLICY-few|POLICY-many TIMES`: few are 2 targets with 100 active calls, many are 100
//! targets with 100,000; the policies are those of [`policy`].

use balancer::{
    Call, CallSlot, HashBy, LoadFormula, Policy, PoolId, PoolSettings, Pools, Settings, Signal,
    Source, TargetSettings, Time,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

fn policy(name: &str) -> Option<Policy> {
    Some(match name {
        "turns" => Policy::RoundRobin,
        "weighted" => Policy::Weighted,
        "least" => Policy::LeastCalls,
        "load" => Policy::Load(LoadFormula::default()),
        "hash" => Policy::Hash(HashBy::CallId),
        "priority" => Policy::Priority,
        _ => return None,
    })
}

struct Work {
    pools: Pools,
    pool: PoolId,
    now: Time,
    active: VecDeque<CallSlot>,
    calls: u64,
}

impl Work {
    fn new(policy: Policy, targets: u32, active: usize) -> Work {
        let entry = |n: u32| {
            let uri = format!("sip:10.0.{}.{}:5060", n / 250, n % 250 + 1);
            let weight = if policy == Policy::Weighted {
                n % 7 + 1
            } else {
                1
            };
            TargetSettings::new(Source::Uri(uri))
                .with_weight(weight)
                .with_limit(1_000_000)
        };
        let mut pool = PoolSettings::new("pbx", policy, (0..targets).map(entry).collect());
        // Probes cost by the target and the second, not by the call.
        pool.health.probe_interval_ms = 0;
        let settings = Settings {
            pools: vec![pool],
            hash_key: [1, 2],
        };
        let now = Time::from_ms(1_000);
        let pools = Pools::new(settings, now, 3).expect("good settings");
        let pool = pools.find("pbx").expect("the pool");
        let mut work = Work {
            pools,
            pool,
            now,
            active: VecDeque::with_capacity(active + 1),
            calls: 0,
        };
        for _ in 0..active {
            work.begin();
        }
        work.pools.events().clear();
        work
    }

    fn begin(&mut self) {
        self.calls += 1;
        let id = self.calls.to_be_bytes();
        let call = Call {
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            call_id: &id,
            user: b"alice",
        };
        let pick = self
            .pools
            .pick(self.pool, self.now, &call, &[])
            .expect("a target");
        let slot = self
            .pools
            .begin(self.now, pick.target)
            .expect("it is there");
        self.active.push_back(slot);
    }

    /// One call: chosen, counted, answered; another one ends.
    fn call(&mut self) {
        self.now = self.now.plus_ms(u64::from(self.calls.is_multiple_of(2)));
        self.begin();
        let answered = Signal::Answered {
            status: 180,
            rtt_ms: 4,
        };
        let target = self.active.back().expect("it began").target();
        self.pools.report(self.now, target, answered);
        let slot = self.active.pop_front().expect("calls are active");
        self.pools.end(self.now, slot);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [work, times] => work.split_once('-').zip(times.parse::<u32>().ok()),
        _ => None,
    };
    let Some(((name, size), times)) = parsed else {
        eprintln!("usage: pick_loop POLICY-few|POLICY-many TIMES");
        return ExitCode::FAILURE;
    };
    let (targets, active) = match size {
        "many" => (100, 100_000),
        _ => (2, 100),
    };
    let Some(policy) = policy(name) else {
        eprintln!("pick_loop: there is no policy {name:?}");
        return ExitCode::FAILURE;
    };
    let mut work = Work::new(policy, targets, active);
    for _ in 0..times {
        work.call();
    }
    println!("{}", work.pools.counters().picks);
    ExitCode::SUCCESS
}
