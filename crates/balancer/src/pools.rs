//! The pools of a node: who asks, counts and reports comes here.

use crate::error::Error;
use crate::event::{
    Call, CallSlot, Due, Event, NoTarget, Pick, PoolId, Reason, Shortage, Signal, State, TargetId,
};
use crate::health::{Action, Change};
use crate::pool::Pool;
use crate::random::Random;
use crate::reload::Named;
use crate::settings::{HashBy, Policy, Settings};
use crate::target::{Endpoint, Key, Target, Wanted};
use crate::time::Time;
use core::cmp::Reverse;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BinaryHeap};

/// Events that wait to be fetched. The oldest are lost beyond it, and counted.
pub const EVENTS_MAX: usize = 4_096;

/// Times that [`Pools::poll`] looks at a target at most, in the mean.
const WAKES_PER_POLL: usize = 8;

/// What [`Pools`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Choices asked for.
    pub picks: u64,
    /// Those that ended without a target.
    pub no_targets: u64,
    /// Those that a fallback pool answered.
    pub fallbacks: u64,
    /// Those that were given a target that is out.
    pub last_resorts: u64,
    /// Members looked at in all of them: about one each, whatever the size of the pool.
    pub steps: u64,
    /// Calls being counted now.
    pub calls: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
    /// Targets for which there was no room ([`TARGETS_MAX`](crate::settings::TARGETS_MAX)).
    pub targets_left_out: u64,
}

/// The pools of a node, their targets and their health. See the [crate](crate).
#[derive(Debug)]
pub struct Pools {
    pub(crate) hash_key: [u64; 2],
    /// By [`PoolId`]. A pool that is no longer in the settings stays as `None`.
    pub(crate) pools: Vec<Option<Pool>>,
    pub(crate) names: BTreeMap<String, PoolId>,
    pub(crate) targets: Vec<Option<Target>>,
    /// How often each place in `targets` was given away.
    pub(crate) generations: Vec<u32>,
    pub(crate) keys: BTreeMap<Key, u16>,
    pub(crate) named: Vec<Named>,
    /// The operator's, by the names of targets.
    pub(crate) words: BTreeMap<String, Wanted>,
    /// When to look at which target; an entry that is not the target's `timer` is passed over.
    pub(crate) timers: BinaryHeap<Reverse<(Time, u16)>>,
    events: Vec<Event>,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
}

impl Pools {
    /// The pools of `settings`. `seed` spreads probes in time.
    ///
    /// # Errors
    /// What [`Settings::check`] says.
    pub fn new(settings: Settings, now: Time, seed: u64) -> Result<Self, Error> {
        let mut pools = Self {
            hash_key: settings.hash_key,
            pools: Vec::new(),
            names: BTreeMap::new(),
            targets: Vec::new(),
            generations: Vec::new(),
            keys: BTreeMap::new(),
            named: Vec::new(),
            words: BTreeMap::new(),
            timers: BinaryHeap::new(),
            events: Vec::new(),
            counters: Counters::default(),
            random: Random::new(seed),
        };
        pools.apply(settings, now, true)?;
        Ok(pools)
    }

    /// The pool of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PoolId> {
        self.names.get(name).copied()
    }

    /// The name of a pool.
    #[must_use]
    pub fn name_of(&self, pool: PoolId) -> Option<&str> {
        let mut names = self.names.iter();
        let found = names.find(|(_, id)| **id == pool)?;
        Some(found.0)
    }

    /// The target of this URI or service name.
    #[must_use]
    pub fn find_target(&self, name: &str) -> Option<TargetId> {
        let by = |key: Key| self.keys.get(&key).copied();
        let index = by(Key::Uri(name.to_owned())).or_else(|| by(Key::Service(name.to_owned())))?;
        Some(self.targets[usize::from(index)].as_ref()?.id)
    }

    /// Where a target is reached; none once it is gone.
    #[must_use]
    pub fn endpoint(&self, target: TargetId) -> Option<&Endpoint> {
        self.target(target).map(|target| &target.endpoint)
    }

    /// How a target stands; [`State::Absent`] once it is gone.
    #[must_use]
    pub fn state(&self, target: TargetId) -> State {
        self.target(target)
            .map_or(State::Absent, |target| target.state)
    }

    /// Calls that are counted at a target.
    #[must_use]
    pub fn active(&self, target: TargetId) -> u32 {
        self.target(target).map_or(0, |target| target.active)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Changes of state since the last fetch, for the caller to drain.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// A target for a call from this pool or, where it has none, from its fallbacks. `tried` are
    /// the targets that this call has been sent to before.
    ///
    /// Nothing is counted by it but the turn; [`Pools::begin`] does that once the call leaves.
    ///
    /// # Errors
    /// [`NoTarget`], with the reason of the pool that was asked.
    pub fn pick(
        &mut self,
        pool: PoolId,
        now: Time,
        call: &Call<'_>,
        tried: &[TargetId],
    ) -> Result<Pick, NoTarget> {
        self.counters.picks += 1;
        let targets = &self.targets;
        let id_of = |index: u16| targets[usize::from(index)].as_ref().map(|one| one.id);
        let is_tried = |index: u16| id_of(index).is_none_or(|id| tried.contains(&id));
        let mut at = Some(pool);
        while let Some(id) = at {
            let Some(Some(one)) = self.pools.get_mut(id.index()) else {
                break;
            };
            let key = hash(self.hash_key, one.settings.policy, call);
            let chosen = one.choose(key, &mut self.counters.steps, is_tried);
            let target = chosen.and_then(|number| id_of(one.member(number)?.wish.target));
            if let Some(target) = target {
                self.counters.fallbacks += u64::from(id != pool);
                return Ok(Pick {
                    target,
                    pool: id,
                    last_resort: false,
                });
            }
            at = one.fallback.map(PoolId);
        }
        self.pick_last(pool, now, tried)
    }

    fn pick_last(&mut self, pool: PoolId, now: Time, tried: &[TargetId]) -> Result<Pick, NoTarget> {
        let mut at = Some(pool);
        while let Some(id) = at {
            let Some(Some(one)) = self.pools.get_mut(id.index()) else {
                break;
            };
            at = one.fallback.map(PoolId);
            if !one.settings.last_resort {
                continue;
            }
            let targets = &self.targets;
            let found = |index: u16| targets[usize::from(index)].as_ref();
            let is_eligible = |index: u16| {
                found(index).is_some_and(|one| one.may_take_calls() && !tried.contains(&one.id))
            };
            let chosen = one.last_resort(is_eligible);
            let target = chosen.and_then(|number| found(one.member(number)?.wish.target));
            if let Some(target) = target {
                self.counters.last_resorts += 1;
                return Ok(Pick {
                    target: target.id,
                    pool: id,
                    last_resort: true,
                });
            }
        }
        self.counters.no_targets += 1;
        Err(self.shortage(pool, now))
    }

    fn shortage(&self, pool: PoolId, now: Time) -> NoTarget {
        let Some(Some(pool)) = self.pools.get(pool.index()) else {
            return NoTarget {
                reason: Shortage::Empty,
                retry_after_s: 0,
            };
        };
        let reason = pool.shortage();
        let mut retry_after_s = pool.settings.retry_after_s;
        if reason == Shortage::Busy {
            let targets = pool.members().filter_map(|one| self.slot(one.wish.target));
            let until = targets.filter(|one| one.state == State::Busy);
            if let Some(until) = until.map(|one| one.busy_until).min() {
                let seconds = until.ms_since(now).div_ceil(1_000);
                retry_after_s = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
            }
        }
        NoTarget {
            reason,
            retry_after_s,
        }
    }

    /// Counts a call at a target, however that stands: a call that another node set up, or that is
    /// restored, counts at a target that is drained too.
    ///
    /// # Errors
    /// [`Error::NoSuchTarget`] once the target is gone.
    pub fn begin(&mut self, now: Time, target: TargetId) -> Result<CallSlot, Error> {
        let index = target.index;
        let Some(one) = self.target_mut(target) else {
            return Err(Error::NoSuchTarget);
        };
        one.active += 1;
        one.begun += 1;
        one.figures.begin(now);
        self.counters.calls += 1;
        self.refresh(index);
        Ok(CallSlot { target })
    }

    /// Ends a call's counting. Nothing else does: not the target's death, no reload.
    pub fn end(&mut self, now: Time, slot: CallSlot) {
        let index = slot.target.index;
        let one = self
            .target_mut(slot.target)
            .expect("a target stays as long as a call is counted there");
        one.active -= 1;
        let is_last = one.active == 0 && one.leaving;
        self.counters.calls -= 1;
        if is_last {
            self.remove(index, now, Reason::LastCallEnded);
        } else {
            self.refresh(index);
        }
    }

    /// Takes note of what somebody noticed about a target; of one that is gone, nothing. Responses to
    /// requests within dialogs may be reported too: they show life.
    pub fn report(&mut self, now: Time, target: TargetId, signal: Signal) {
        let Some(one) = self.target_mut(target) else {
            return;
        };
        let is_watched = one.is_watched();
        let health = &mut one.health;
        let change = match signal {
            Signal::AgentLoad(load) => {
                one.figures.report(load, one.active, now);
                self.refresh(target.index);
                None
            }
            Signal::Busy { retry_after_s } => {
                let seconds = retry_after_s.min(health.settings.retry_after_max_s);
                let until = now.plus_ms(u64::from(seconds) * 1_000);
                health.misses = 0;
                one.busy_until = one.busy_until.max(until);
                self.publish(target.index, now, Reason::RetryAfter { seconds });
                None
            }
            _ if !is_watched => None,
            Signal::Answered { status, rtt_ms } => health.call_answered(status, rtt_ms, now),
            Signal::Timeout => health.call_unanswered(now),
            Signal::Unreachable => health.unreachable(now),
            Signal::ProbeAnswered { number } => health.probe_answered(number, now),
            Signal::ProbeMissed { number } => health.probe_missed(number, now),
        };
        self.settle(target.index, change, now);
    }

    /// Appends to `due` what is to be done now, and lets happen what time alone brings about.
    pub fn poll(&mut self, now: Time, due: &mut Vec<Due>) {
        // More than this is due at once only by a mistake of ours, which must not stop the thread.
        let wakes_max = self.targets.len() * WAKES_PER_POLL + WAKES_PER_POLL;
        for _ in 0..wakes_max {
            let Some(&Reverse((at, index))) = self.timers.peek() else {
                break;
            };
            if at > now {
                break;
            }
            self.timers.pop();
            let Some(Some(target)) = self.targets.get_mut(usize::from(index)) else {
                continue;
            };
            if target.timer == at {
                target.timer = Time::MAX;
                self.wake(index, now, due);
            }
        }
        self.poll_lookups(now, due);
    }

    /// When [`Pools::poll`] has something to do next.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        let target = self.timers.peek().map(|Reverse((at, _))| *at);
        target.into_iter().chain(self.next_lookup()).min()
    }

    /// Whether no call is counted anywhere: how a test ends.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.counters.calls == 0 && self.targets.iter().flatten().all(|one| one.active == 0)
    }

    /// Lets what is due at one target happen.
    fn wake(&mut self, index: u16, now: Time, due: &mut Vec<Due>) {
        let change = match self.slot_mut(index) {
            Some(target) if target.is_watched() => target.health.poll(now),
            _ => None,
        };
        self.settle(index, change, now);
        let Some(target) = self.slot_mut(index) else {
            return;
        };
        if target.grow(now) {
            self.publish(index, now, Reason::Warmed);
        }
        let Some(Some(target)) = self.targets.get_mut(usize::from(index)) else {
            return;
        };
        if target.is_watched() && target.state != State::Absent {
            let number = target.health.probe(now, &mut self.random);
            let target = target.id;
            due.extend(number.map(|number| Due::Probe { target, number }));
        }
        let Some(target) = self.slot_mut(index) else {
            return;
        };
        target.figures.age(now);
        if target.state == State::Busy && now >= target.busy_until {
            self.publish(index, now, Reason::RetryAfterOver);
        } else {
            self.refresh(index);
        }
        self.set_timer(index, now);
    }

    /// Makes a change of health known.
    fn settle(&mut self, index: u16, change: Change, now: Time) {
        if let Some((action, reason)) = change {
            if action == Action::BringBack
                && let Some(target) = self.slot_mut(index)
            {
                target.warm(now);
            }
            self.publish(index, now, reason);
        } else if self
            .slot(index)
            .is_some_and(|one| one.health.is_only_exiled(now))
        {
            self.relent(index, now);
        }
        self.set_timer(index, now);
    }

    /// Ends the time out of those that answer, where a pool has nobody else.
    fn relent(&mut self, index: u16, now: Time) {
        let Some(target) = self.slot(index) else {
            return;
        };
        for at in 0..target.memberships.len() {
            let Some(target) = self.slot(index) else {
                return;
            };
            let pool = usize::from(target.memberships[at].0);
            let Some(Some(pool)) = self.pools.get(pool) else {
                continue;
            };
            if pool.is_served() {
                continue;
            }
            let is_exiled = |target: u16| {
                let target = self.slot(target);
                target.is_some_and(|one| one.may_take_calls() && one.health.is_only_exiled(now))
            };
            let exiled = pool
                .members()
                .map(|member| member.wish.target)
                .find(|&target| is_exiled(target));
            let Some(exiled) = exiled else {
                continue;
            };
            if let Some(target) = self.slot_mut(exiled)
                && let Some((_, reason)) = target.health.release(now)
            {
                target.warm(now);
                self.publish(exiled, now, reason);
                self.set_timer(exiled, now);
            }
        }
    }

    /// Compares a target's state with what was said last, and says what is new.
    pub(crate) fn publish(&mut self, index: u16, now: Time, reason: Reason) {
        let Some(target) = self.slot_mut(index) else {
            return;
        };
        let (from, to) = (target.state, target.standing(now));
        if from != to {
            if from == State::Draining && to == State::Up {
                target.warm(now);
            }
            let to = target.standing(now);
            target.state = to;
            target.reason = match to {
                State::Out if !target.ownerless => target.health.reason,
                _ => reason,
            };
            target.since = now;
            let target = target.id;
            self.say(Event {
                target,
                at: now,
                from,
                to,
                reason,
            });
        }
        self.refresh(index);
        self.set_timer(index, now);
        if from != to && !to.takes_calls() {
            self.relent(index, now);
        }
    }

    pub(crate) fn say(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.remove(0);
            self.counters.events_lost += 1;
        }
        self.events.push(event);
    }

    /// Sorts a target anew in all its pools.
    pub(crate) fn refresh(&mut self, index: u16) {
        let Some(Some(target)) = self.targets.get(usize::from(index)) else {
            return;
        };
        for &(pool, member) in &target.memberships {
            if let Some(Some(pool)) = self.pools.get_mut(usize::from(pool)) {
                pool.refresh(member, target);
            }
        }
    }

    pub(crate) fn set_timer(&mut self, index: u16, now: Time) {
        let Some(Some(target)) = self.targets.get_mut(usize::from(index)) else {
            return;
        };
        let wake = target.wake(now);
        if wake < target.timer {
            target.timer = wake;
            self.timers.push(Reverse((wake, index)));
        }
    }

    pub(crate) fn target(&self, id: TargetId) -> Option<&Target> {
        self.slot(id.index).filter(|target| target.id == id)
    }

    fn target_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        self.slot_mut(id.index).filter(|target| target.id == id)
    }

    pub(crate) fn slot(&self, index: u16) -> Option<&Target> {
        self.targets.get(usize::from(index))?.as_ref()
    }

    pub(crate) fn slot_mut(&mut self, index: u16) -> Option<&mut Target> {
        self.targets.get_mut(usize::from(index))?.as_mut()
    }
}

fn hash(key: [u64; 2], policy: Policy, call: &Call<'_>) -> u64 {
    let Policy::Hash(by) = policy else {
        return 0;
    };
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    match by {
        HashBy::Source => match call.source.to_canonical() {
            std::net::IpAddr::V4(address) => hasher.write(&address.octets()),
            std::net::IpAddr::V6(address) => hasher.write(&address.octets()),
        },
        HashBy::CallId => hasher.write(call.call_id),
        HashBy::User => hasher.write(call.user),
    }
    hasher.finish()
}
