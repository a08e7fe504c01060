//! What holds in any order of events.

mod beside;

use balancer::{
    AgentLoad, CallSlot, Due, Endpoint, Event, HashBy, LoadFormula, Policy, PoolSettings, Pools,
    Record, Settings, Signal, Source, State, TargetId, TargetSettings, Time, Wanted,
};
use beside::call;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Call(u32),
    End(usize),
    Report(usize, u8),
    Pass(u64),
    Reload(u16, u8),
    Want(usize, u8),
    Records(u8),
    Owner(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u32>().prop_map(Step::Call),
        6 => any::<usize>().prop_map(Step::End),
        4 => (any::<usize>(), 0_u8..8).prop_map(|(at, kind)| Step::Report(at, kind)),
        4 => prop_oneof![0_u64..500, 0_u64..20_000].prop_map(Step::Pass),
        1 => (any::<u16>(), 0_u8..8).prop_map(|(which, policy)| Step::Reload(which, policy)),
        1 => (any::<usize>(), 0_u8..3).prop_map(|(at, wanted)| Step::Want(at, wanted)),
        1 => any::<u8>().prop_map(Step::Records),
        1 => any::<bool>().prop_map(Step::Owner),
    ]
}

fn settings(which: u16, policy: u8) -> Settings {
    let policy = match policy {
        0 => Policy::RoundRobin,
        1 => Policy::Weighted,
        2 => Policy::LeastCalls,
        3 => Policy::Load(LoadFormula::default()),
        4 => Policy::Hash(HashBy::Source),
        5 => Policy::Hash(HashBy::CallId),
        6 => Policy::Priority,
        _ => Policy::LeastCalls,
    };
    let mut targets: Vec<TargetSettings> = (0..8)
        .filter(|bit| which & 1 << bit != 0)
        .map(|bit| {
            let source = match bit {
                0 => Source::Srv("_sip._udp.example.org".to_owned()),
                1 => Source::Service("pbx".to_owned()),
                _ => Source::Uri(format!("sip:t{bit}")),
            };
            let limit = [None, Some(2), Some(5)][usize::from(which >> 8) % 3];
            let mut entry = TargetSettings::new(source).with_weight(bit + 1);
            entry.limit = limit;
            entry.priority = (which & 1 << 9 != 0).then_some(bit as u16 % 3);
            entry
        })
        .collect();
    if which & 1 << 10 != 0 {
        targets.reverse();
    }
    let mut pool = PoolSettings::new("pbx", policy, targets);
    pool.last_resort = which & 1 << 11 != 0;
    if which & 1 << 12 != 0 {
        pool.health.probe_interval_ms = 0;
    }
    let mut pools = vec![pool];
    if which & 1 << 13 != 0 {
        let own = vec![
            TargetSettings::new(Source::Uri("sip:voicemail".to_owned())),
            TargetSettings::new(Source::Uri("sip:t3".to_owned())),
        ];
        pools[0].fallback = Some("fallback".to_owned());
        pools.insert(
            usize::from(which >> 14) % 2,
            PoolSettings::new("fallback", Policy::LeastCalls, own),
        );
    }
    Settings {
        pools,
        hash_key: [3, 4],
    }
}

struct World {
    pools: Pools,
    settings: Settings,
    now: Time,
    slots: Vec<CallSlot>,
    counts: BTreeMap<TargetId, u32>,
    states: BTreeMap<TargetId, State>,
    words: u64,
}

impl World {
    fn new() -> Self {
        let now = Time::from_ms(5_000);
        let settings = settings(0b1110, 2);
        Self {
            pools: Pools::new(settings.clone(), now, 9).expect("good settings"),
            settings,
            now,
            slots: Vec::new(),
            counts: BTreeMap::new(),
            states: BTreeMap::new(),
            words: 1,
        }
    }

    fn word(&mut self) -> u64 {
        self.words = self
            .words
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.words >> 33
    }

    fn target(&self, at: usize) -> Option<TargetId> {
        let ids: Vec<TargetId> = self.states.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[at % ids.len()])
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Call(n) => self.call(n),
            Step::End(at) if !self.slots.is_empty() => {
                let slot = self.slots.swap_remove(at % self.slots.len());
                *self.counts.get_mut(&slot.target()).expect("it began") -= 1;
                self.pools.end(self.now, slot);
            }
            Step::End(_) => {}
            Step::Report(at, kind) => self.report(at, kind),
            Step::Pass(ms) => self.pass(ms),
            Step::Reload(which, policy) => {
                self.settings = settings(which, policy);
                self.pools
                    .reload(self.settings.clone(), self.now)
                    .expect("good settings");
            }
            Step::Want(at, wanted) => {
                let wanted = [Wanted::Open, Wanted::Drained, Wanted::Disabled][usize::from(wanted)];
                if let Some(target) = self.target(at) {
                    let there = self.pools.state(target) != State::Absent;
                    assert_eq!(
                        self.pools.set_wanted(self.now, target, wanted).is_ok(),
                        there
                    );
                }
            }
            Step::Records(bits) => {
                let records: Vec<Record> = (0..8_u16)
                    .filter(|bit| bits & 1 << bit != 0)
                    .map(|bit| Record {
                        priority: bit % 2,
                        weight: bit * 10,
                        endpoint: Endpoint {
                            uri: format!("sip:srv{bit}"),
                            address: None,
                        },
                    })
                    .collect();
                let mut due = Vec::new();
                self.now = self.now.plus_ms(5_000);
                self.pools.poll(self.now, &mut due);
                for due in due {
                    if let Due::Lookup(id) = due {
                        assert!(self.pools.lookup_name(id).is_some());
                        self.pools.set_records(self.now, id, &records, 1);
                    }
                }
            }
            Step::Owner(is_there) => {
                let owner = is_there.then(|| Endpoint {
                    uri: "sip:192.0.2.7".to_owned(),
                    address: None,
                });
                self.pools.set_service(self.now, "pbx", owner);
            }
        }
        self.check();
    }

    fn call(&mut self, n: u32) {
        let pool = self.pools.find("pbx").expect("always there");
        let id = n.to_be_bytes();
        let mut tried = Vec::new();
        // As a call that is sent on fails everywhere but at the last try.
        for _ in 0..n % 4 + 1 {
            let Ok(pick) = self.pools.pick(pool, self.now, &call(&id), &tried) else {
                return;
            };
            assert!(!tried.contains(&pick.target));
            let state = self.pools.state(pick.target);
            assert!(
                state.takes_calls() || pick.last_resort && state == State::Out,
                "{state:?}"
            );
            if !pick.last_resort {
                let all = self.pools.snapshot(self.now);
                let mut pools = all
                    .iter()
                    .filter(|one| self.pools.find(&one.name) == Some(pick.pool));
                let pool = pools.next().expect("the pool");
                let target = pool.targets.iter().find(|one| one.id == pick.target);
                let target = target.expect("of this pool");
                assert!(target.limit.is_none_or(|limit| target.calls < limit));
            }
            tried.push(pick.target);
        }
        let target = *tried.last().expect("one at least");
        let slot = self.pools.begin(self.now, target).expect("it is there");
        *self.counts.entry(target).or_default() += 1;
        self.slots.push(slot);
    }

    fn report(&mut self, at: usize, kind: u8) {
        let signal = match kind {
            0 => Signal::Answered {
                status: 200,
                rtt_ms: 5,
            },
            1 => Signal::Answered {
                status: 500,
                rtt_ms: 5,
            },
            2 => Signal::Timeout,
            3 => Signal::Unreachable,
            4 => Signal::Busy { retry_after_s: 3 },
            5 => Signal::ProbeAnswered {
                number: self.word() as u32 % 10,
            },
            6 => Signal::ProbeMissed {
                number: self.word() as u32 % 10,
            },
            _ => Signal::AgentLoad(AgentLoad {
                cpu_permille: Some(self.word() as u16 % 1_001),
                ..AgentLoad::default()
            }),
        };
        if let Some(target) = self.target(at) {
            self.pools.report(self.now, target, signal);
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        let mut turns = 0;
        while let Some(next) = self.pools.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            let mut due = Vec::new();
            self.pools.poll(self.now, &mut due);
            for due in due {
                if let Due::Probe { target, number } = due
                    && !self.word().is_multiple_of(4)
                {
                    self.pools
                        .report(self.now, target, Signal::ProbeAnswered { number });
                }
            }
            self.check();
            turns += 1;
            assert!(turns < 50_000, "time stands still at {:?}", self.now);
        }
        self.now = until;
    }

    fn check(&mut self) {
        let events: Vec<Event> = self.pools.events().drain(..).collect();
        for event in events {
            let last = self.states.entry(event.target).or_insert(State::Absent);
            assert_eq!(event.from, *last, "{event:?}");
            assert_ne!(event.from, event.to, "{event:?}");
            *last = event.to;
        }
        for (target, state) in &self.states {
            assert_eq!(self.pools.state(*target), *state);
            let count = self.counts.get(target).copied().unwrap_or(0);
            assert_eq!(self.pools.active(*target), count);
            assert!(count == 0 || *state != State::Absent);
        }
        assert_eq!(self.pools.counters().calls, self.slots.len() as u64);
    }

    /// All calls end; what is named no more is gone then.
    fn finish(mut self) {
        while !self.slots.is_empty() {
            self.run(Step::End(0));
        }
        assert!(self.pools.is_idle());
        self.settings = Settings::default();
        self.pools
            .reload(self.settings.clone(), self.now)
            .expect("nothing is wrong with nothing");
        self.check();
        assert!(self.states.values().all(|state| *state == State::Absent));
        let mut due = Vec::new();
        self.pools.poll(self.now.plus_ms(1_000_000), &mut due);
        assert!(due.is_empty() && self.pools.next().is_none(), "{due:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_states_and_choices_agree_in_any_order(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut world = World::new();
        world.check();
        for step in steps {
            world.run(step);
        }
        world.finish();
    }
}
