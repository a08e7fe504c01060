//! A pool named `pbx` with peers around it that answer probes or do not.

#![allow(dead_code)] // Not every set of tests needs all of it.

use balancer::{
    Call, CallSlot, Due, Event, NoTarget, Pick, Policy, PoolId, PoolSettings, Pools, Settings,
    Signal, Source, State, TargetId, TargetSettings, Time, Wanted,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// `n` targets `sip:t0`, `sip:t1`, ...
pub(crate) fn uris(n: usize) -> Vec<TargetSettings> {
    (0..n)
        .map(|n| TargetSettings::new(Source::Uri(format!("sip:t{n}"))))
        .collect()
}

pub(crate) fn call(call_id: &[u8]) -> Call<'_> {
    Call {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        call_id,
        user: b"alice",
    }
}

pub(crate) struct Bench {
    pub(crate) pools: Pools,
    pub(crate) pool: PoolId,
    now: Time,
    slots: Vec<CallSlot>,
    silent: BTreeSet<TargetId>,
    events: Vec<Event>,
    states: BTreeMap<TargetId, State>,
    /// An answer to a probe takes this long, ms.
    rtt_ms: u64,
}

impl Bench {
    pub(crate) fn new(policy: Policy, targets: Vec<TargetSettings>) -> Self {
        Self::with(PoolSettings::new("pbx", policy, targets), Vec::new())
    }

    pub(crate) fn with(pool: PoolSettings, others: Vec<PoolSettings>) -> Self {
        let now = Time::from_ms(1_000_000);
        let mut all = vec![pool];
        all.extend(others);
        let settings = Settings {
            pools: all,
            hash_key: [1, 2],
        };
        let pools = Pools::new(settings, now, 42).expect("good settings");
        let pool = pools.find("pbx").expect("the pool");
        let mut bench = Self {
            pools,
            pool,
            now,
            slots: Vec::new(),
            silent: BTreeSet::new(),
            events: Vec::new(),
            states: BTreeMap::new(),
            rtt_ms: 0,
        };
        bench.fetch();
        bench
    }

    pub(crate) fn reload(&mut self, policy: Policy, targets: Vec<TargetSettings>) {
        let pool = PoolSettings::new("pbx", policy, targets);
        let settings = Settings {
            pools: vec![pool],
            hash_key: [1, 2],
        };
        self.pools
            .reload(settings, self.now)
            .expect("good settings");
        self.fetch();
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn target(&self, name: &str) -> TargetId {
        self.pools.find_target(name).expect("the target")
    }

    pub(crate) fn state(&self, target: TargetId) -> State {
        self.pools.state(target)
    }

    pub(crate) fn pick(&mut self, n: u32, tried: &[TargetId]) -> Result<Pick, NoTarget> {
        let id = n.to_be_bytes();
        self.pools.pick(self.pool, self.now, &call(&id), tried)
    }

    pub(crate) fn pick_name(&mut self, n: u32) -> String {
        let pick = self.pick(n, &[]).expect("a target");
        self.pools
            .endpoint(pick.target)
            .expect("it is there")
            .uri
            .clone()
    }

    pub(crate) fn call(&mut self, n: u32) -> CallSlot {
        let pick = self.pick(n, &[]).expect("a target");
        self.pools
            .begin(self.now, pick.target)
            .expect("it is there")
    }

    pub(crate) fn keep(&mut self, slot: CallSlot) {
        self.slots.push(slot);
    }

    pub(crate) fn end(&mut self, slot: CallSlot) {
        self.pools.end(self.now, slot);
        self.fetch();
    }

    pub(crate) fn end_one(&mut self) {
        let slot = self.slots.pop().expect("a call");
        self.end(slot);
    }

    pub(crate) fn end_those_of(&mut self, target: TargetId) {
        let all = std::mem::take(&mut self.slots);
        for slot in all {
            if slot.target() == target {
                self.end(slot);
            } else {
                self.slots.push(slot);
            }
        }
    }

    /// The calls of the targets of `pbx`, as they are listed.
    pub(crate) fn calls(&self) -> Vec<u32> {
        let all = self.pools.snapshot(self.now);
        let pool = all
            .iter()
            .find(|pool| pool.name == "pbx")
            .expect("the pool");
        pool.targets.iter().map(|target| target.calls).collect()
    }

    pub(crate) fn silence(&mut self, target: TargetId) {
        self.silent.insert(target);
    }

    pub(crate) fn revive(&mut self, target: TargetId) {
        self.silent.remove(&target);
    }

    pub(crate) fn want(&mut self, target: TargetId, wanted: Wanted) {
        self.pools
            .set_wanted(self.now, target, wanted)
            .expect("it is there");
        self.fetch();
    }

    pub(crate) fn report(&mut self, target: TargetId, signal: Signal) {
        self.pools.report(self.now, target, signal);
        self.fetch();
    }

    pub(crate) fn poll(&mut self) -> Vec<Due> {
        let mut due = Vec::new();
        self.pools.poll(self.now, &mut due);
        self.fetch();
        due
    }

    /// Answers the probes of those that are not silent.
    pub(crate) fn answer(&mut self, due: &[Due]) {
        for due in due {
            if let Due::Probe { target, number } = *due
                && !self.silent.contains(&target)
            {
                self.report(target, Signal::ProbeAnswered { number });
            }
        }
    }

    /// Lets time pass until the next thing that is due.
    pub(crate) fn step(&mut self) {
        self.step_into(&mut Vec::new());
    }

    /// The same, and appends what was due.
    pub(crate) fn step_into(&mut self, all: &mut Vec<Due>) {
        let next = self.pools.next().expect("something is due");
        self.now = self.now.max(next);
        let due = self.poll();
        self.answer(&due);
        all.extend(&due);
        let next = self.pools.next().expect("something is due");
        assert!(
            next > self.now,
            "what is due at {:?} was not done",
            self.now
        );
    }

    pub(crate) fn run_until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) {
        let mut steps = 0;
        while !is_done(self) {
            self.step();
            steps += 1;
            assert!(steps < 100_000, "it never came about");
        }
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while self.pools.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = until;
    }

    pub(crate) fn run_to(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Takes the events in: each begins where the one before ended.
    pub(crate) fn fetch(&mut self) {
        let events: Vec<Event> = self.pools.events().drain(..).collect();
        for event in events {
            let last = self.states.entry(event.target).or_insert(State::Absent);
            assert_eq!(event.from, *last, "{event:?}");
            assert_ne!(event.from, event.to, "{event:?}");
            *last = event.to;
            self.events.push(event);
        }
        for (target, state) in &self.states {
            assert_eq!(self.pools.state(*target), *state);
        }
    }

    /// Ends what was kept; nothing is left then.
    pub(crate) fn end_all(&mut self) {
        for slot in self.slots.drain(..) {
            self.pools.end(self.now, slot);
        }
        self.fetch();
        assert!(self.pools.is_idle());
    }
}
