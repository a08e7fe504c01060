//! What changes who the targets are: settings, DNS, the owners of services.

use crate::error::Error;
use crate::event::{Due, Event, LookupId, PoolId, Reason, State, TargetId};
use crate::figures::Figures;
use crate::health::Health;
use crate::pool::{Pool, Wish};
use crate::pools::Pools;
use crate::settings::{Policy, PoolSettings, Settings, Source, TARGETS_MAX, TargetSettings};
use crate::target::{Endpoint, Key, Target};
use crate::time::Time;
use crate::turns::WHOLE;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// The shortest time between two look-ups of a name, s, however short its TTL.
pub const TTL_MIN_S: u32 = 5;
/// The longest, s: a change in DNS is seen after that at the latest.
pub const TTL_MAX_S: u32 = 3_600;
/// Names and services that are known at a time; services beyond it that no pool names are left out.
pub const NAMES_MAX: usize = 8_192;
/// Records of one name; further ones are left out.
pub const RECORDS_MAX: usize = 1_024;

/// One SRV record with what its target's name leads to (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Lower ones first.
    pub priority: u16,
    /// The share within the priority.
    pub weight: u16,
    /// Where it leads.
    pub endpoint: Endpoint,
}

/// A name whose records or owner somebody outside knows.
#[derive(Debug)]
pub(crate) struct Named {
    source: Source,
    /// Whether some pool names it.
    is_used: bool,
    records: Vec<Record>,
    owner: Option<Endpoint>,
    /// When it is to be looked up; never for services.
    lookup_at: Time,
    /// Look-ups that failed in a row.
    failures: u32,
    /// How often its place was given to another name.
    generation: u32,
}

impl Named {
    fn new(source: Source, is_used: bool, generation: u32) -> Self {
        Self {
            source,
            is_used,
            records: Vec::new(),
            owner: None,
            lookup_at: Time::MAX,
            failures: 0,
            generation,
        }
    }
}

impl Pools {
    /// Takes on new settings while calls go on. Pools keep their number by name, targets their
    /// calls, health and the operator's word by URI or service name. A target that is named no
    /// more is drained.
    ///
    /// # Errors
    /// What [`Settings::check`] says; then nothing has changed.
    pub fn reload(&mut self, settings: Settings, now: Time) -> Result<(), Error> {
        self.apply(settings, now, false)
    }

    pub(crate) fn apply(
        &mut self,
        settings: Settings,
        now: Time,
        is_start: bool,
    ) -> Result<(), Error> {
        settings.check()?;
        self.hash_key = settings.hash_key;
        let mut old_names = core::mem::take(&mut self.names);
        for pool in settings.pools {
            let id = match old_names.remove(&pool.name) {
                Some(id) => id,
                None => self.new_pool_id(&old_names),
            };
            self.names.insert(pool.name.clone(), id);
            match &mut self.pools[id.index()] {
                Some(one) => one.reload(pool),
                one @ None => *one = Some(Pool::new(pool)),
            }
        }
        for id in old_names.into_values() {
            self.dissolve(id);
        }
        for pool in 0..self.pools.len() {
            let Some(one) = &self.pools[pool] else {
                continue;
            };
            let fallback = one.settings.fallback.as_ref();
            let fallback = fallback
                .and_then(|name| self.names.get(name))
                .map(|id| id.0);
            if let Some(one) = &mut self.pools[pool] {
                one.fallback = fallback;
            }
        }
        self.note_names(now);
        self.reconcile(now, is_start);
        Ok(())
    }

    /// A place that no pool, old or new, has.
    fn new_pool_id(&mut self, old: &std::collections::BTreeMap<String, PoolId>) -> PoolId {
        let is_free = |id: u16| {
            let mut taken = self.names.values().chain(old.values());
            taken.all(|one| one.0 != id)
        };
        let free = (0..self.pools.len() as u16).find(|&id| is_free(id));
        PoolId(free.unwrap_or_else(|| {
            self.pools.push(None);
            self.pools.len() as u16 - 1
        }))
    }

    /// Takes a pool away that the settings do not name any more.
    fn dissolve(&mut self, id: PoolId) {
        for target in self.targets.iter_mut().flatten() {
            target.memberships.retain(|(pool, _)| *pool != id.0);
        }
        self.pools[id.index()] = None;
    }

    /// Keeps a list of the names that are looked up outside.
    fn note_names(&mut self, now: Time) {
        for named in &mut self.named {
            named.is_used = false;
        }
        let pools = self.pools.iter().flatten();
        let entries = pools.flat_map(|pool| &pool.settings.targets);
        let mut new: Vec<Source> = Vec::new();
        for entry in entries {
            if matches!(entry.source, Source::Uri(_)) {
                continue;
            }
            let mut named = self.named.iter_mut();
            match named.find(|one| one.source == entry.source) {
                Some(named) => named.is_used = true,
                None if new.contains(&entry.source) => {}
                None => new.push(entry.source.clone()),
            }
        }
        for source in new {
            self.name(source, true);
        }
        for named in &mut self.named {
            if !named.is_used {
                named.records.clear();
                named.lookup_at = Time::MAX;
            } else if named.lookup_at == Time::MAX && matches!(named.source, Source::Srv(_)) {
                named.lookup_at = now;
            }
        }
    }

    /// Gives a name a place: a new one, or that of a name which nobody needs any more.
    fn name(&mut self, source: Source, is_used: bool) -> &mut Named {
        let is_free = |named: &Named| !named.is_used && named.owner.is_none();
        let index = match self.named.iter().position(is_free) {
            Some(index) => {
                let generation = self.named[index].generation + 1;
                self.named[index] = Named::new(source, is_used, generation);
                index
            }
            None => {
                self.named.push(Named::new(source, is_used, 0));
                self.named.len() - 1
            }
        };
        &mut self.named[index]
    }

    fn named(&self, id: LookupId) -> Option<&Named> {
        let named = self.named.get(usize::from(id.index))?;
        (named.generation == id.generation && named.is_used).then_some(named)
    }

    fn named_mut(&mut self, id: LookupId) -> Option<&mut Named> {
        let named = self.named.get_mut(usize::from(id.index))?;
        (named.generation == id.generation && named.is_used).then_some(named)
    }

    /// The name that a look-up is for.
    #[must_use]
    pub fn lookup_name(&self, id: LookupId) -> Option<&str> {
        match &self.named(id)?.source {
            Source::Srv(name) => Some(name),
            Source::Uri(_) | Source::Service(_) => None,
        }
    }

    /// What a look-up brought, valid for `ttl_s`. Records that are not there any more are drained,
    /// new ones join. No records at all is an answer too: DNS says that there is no such service.
    pub fn set_records(&mut self, now: Time, id: LookupId, records: &[Record], ttl_s: u32) {
        let Some(named) = self.named_mut(id) else {
            return;
        };
        let ttl_s = ttl_s.clamp(TTL_MIN_S, TTL_MAX_S);
        named.lookup_at = now.plus_ms(u64::from(ttl_s) * 1_000);
        named.failures = 0;
        let records = &records[..records.len().min(RECORDS_MAX)];
        if named.records != records {
            let is_first = named.records.is_empty();
            named.records = records.to_vec();
            self.reconcile(now, is_first);
        }
    }

    /// A look-up failed: what is known stays, and another try follows, later each time.
    pub fn lookup_failed(&mut self, now: Time, id: LookupId) {
        let Some(named) = self.named_mut(id) else {
            return;
        };
        let after_s = (TTL_MIN_S << named.failures.min(4)).min(60);
        named.failures = named.failures.saturating_add(1);
        named.lookup_at = now.plus_ms(u64::from(after_s) * 1_000);
    }

    /// Who owns a service now; `None` for nobody, which takes its target out at once. What is said of
    /// a service that no pool names is kept for the reload that names it.
    pub fn set_service(&mut self, now: Time, name: &str, owner: Option<Endpoint>) {
        let is_it = |named: &Named| matches!(&named.source, Source::Service(one) if one == name);
        let named = match self.named.iter().position(is_it) {
            Some(index) => &mut self.named[index],
            None if owner.is_none() || self.named.len() >= NAMES_MAX => return,
            None => self.name(Source::Service(name.to_owned()), false),
        };
        if named.owner == owner {
            return;
        }
        named.owner.clone_from(&owner);
        let Some(&index) = self.keys.get(&Key::Service(name.to_owned())) else {
            return;
        };
        let Some(target) = self.slot_mut(index) else {
            return;
        };
        let reason = match owner {
            Some(endpoint) => {
                target.endpoint = endpoint;
                target.ownerless = false;
                target.health.start_over(now);
                Reason::NewOwner
            }
            None => {
                target.ownerless = true;
                Reason::NoOwner
            }
        };
        self.publish(index, now, reason);
    }

    pub(crate) fn poll_lookups(&mut self, now: Time, due: &mut Vec<Due>) {
        for (index, named) in self.named.iter_mut().enumerate() {
            if named.lookup_at <= now {
                // Unless something comes of it, the next try.
                named.lookup_at = now.plus_ms(u64::from(TTL_MIN_S) * 1_000);
                due.push(Due::Lookup(LookupId {
                    index: index as u16,
                    generation: named.generation,
                }));
            }
        }
    }

    pub(crate) fn next_lookup(&self) -> Option<Time> {
        let times = self.named.iter().map(|named| named.lookup_at);
        times.min().filter(|at| *at != Time::MAX)
    }

    /// Makes targets and members what settings and names say.
    fn reconcile(&mut self, now: Time, is_start: bool) {
        for pool in 0..self.pools.len() {
            let Some(one) = self.pools[pool].take() else {
                continue;
            };
            let wishes = self.wishes(&one, now, is_start);
            self.pools[pool] = Some(one);
            let (mut joined, mut left) = (Vec::new(), Vec::new());
            if let Some(one) = &mut self.pools[pool] {
                one.reconcile(
                    &wishes,
                    |wish, member| joined.push((wish.target, member)),
                    |wish, _| left.push(wish.target),
                );
            }
            for target in left {
                if let Some(target) = self.slot_mut(target) {
                    target
                        .memberships
                        .retain(|(one, _)| usize::from(*one) != pool);
                }
            }
            for (target, member) in joined {
                if let Some(target) = self.slot_mut(target) {
                    target.memberships.push((pool as u16, member));
                    target.memberships.sort_unstable();
                }
            }
        }
        self.settle_membership(now);
    }

    /// Drains targets without a pool, takes the others back, and sorts all of them anew.
    fn settle_membership(&mut self, now: Time) {
        for index in 0..self.targets.len() as u16 {
            let Some(target) = &mut self.targets[usize::from(index)] else {
                continue;
            };
            let is_named = !target.memberships.is_empty();
            if let Some((pool, _)) = target.memberships.first()
                && let Some(Some(pool)) = self.pools.get(usize::from(*pool))
            {
                target.health.reload(pool.settings.health, now);
                target.slow_start_ms = pool.settings.slow_start_ms;
            }
            for (pool, _) in &target.memberships {
                let pool = self.pools.get(usize::from(*pool)).and_then(Option::as_ref);
                if let Some(Policy::Load(formula)) = pool.map(|pool| pool.settings.policy) {
                    target.figures.review(formula.fresh_ms, formula.stale_ms);
                }
            }
            let was_leaving = core::mem::replace(&mut target.leaving, !is_named);
            if !is_named && target.active == 0 {
                self.remove(index, now, Reason::Vanished);
            } else if was_leaving && is_named {
                self.publish(index, now, Reason::Returned);
            } else if target.state == State::Absent {
                let reason = if target.ownerless {
                    Reason::NoOwner
                } else {
                    Reason::Added
                };
                self.publish(index, now, reason);
            } else {
                self.publish(index, now, Reason::Vanished);
            }
        }
    }

    /// What a pool's members are to be. Makes the targets that are not there yet.
    fn wishes(&mut self, pool: &Pool, now: Time, is_start: bool) -> Vec<Wish> {
        let settings = &pool.settings;
        let mut wishes: Vec<Wish> = Vec::new();
        for (position, entry) in settings.targets.iter().enumerate() {
            let named = self.named.iter().find(|one| one.source == entry.source);
            let endpoints: Vec<(u16, u16, Endpoint)> = match (&entry.source, named) {
                (Source::Uri(uri), _) => vec![(0, 0, endpoint(uri))],
                (Source::Service(name), named) => {
                    let owner = named.and_then(|named| named.owner.clone());
                    vec![(0, 0, owner.unwrap_or_else(|| endpoint(name)))]
                }
                (Source::Srv(_), None) => Vec::new(),
                (Source::Srv(_), Some(named)) => {
                    let records = named.records.iter();
                    let parts = |one: &Record| (one.priority, one.weight, one.endpoint.clone());
                    records.map(parts).collect()
                }
            };
            let ownerless = matches!(entry.source, Source::Service(_))
                && named.is_none_or(|named| named.owner.is_none());
            for (priority, weight, endpoint) in endpoints {
                let key = Key::of(&entry.source).unwrap_or_else(|| Key::Uri(endpoint.uri.clone()));
                let identity = self.identity(&key);
                let Some(target) = self.ensure(key, endpoint, settings, now, is_start) else {
                    self.counters.targets_left_out += 1;
                    continue;
                };
                if let Some(one) = self.slot_mut(target) {
                    one.ownerless = ownerless;
                }
                let weight = match &entry.source {
                    Source::Srv(_) => u32::from(weight),
                    Source::Uri(_) | Source::Service(_) => entry.weight,
                };
                // Two entries may lead to one target: the first counts.
                if wishes.iter().all(|wish| wish.target != target) {
                    wishes.push(Wish {
                        target,
                        identity,
                        priority: priority_of(settings.policy, entry, position, priority),
                        weight,
                        limit: entry.limit,
                    });
                }
            }
        }
        wishes
    }

    /// What a target is known by to all nodes with the same key.
    fn identity(&self, key: &Key) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key[0], self.hash_key[1]);
        hasher.write(key.as_str().as_bytes());
        hasher.finish()
    }

    /// The target of this key, made where there is none.
    fn ensure(
        &mut self,
        key: Key,
        endpoint: Endpoint,
        settings: &PoolSettings,
        now: Time,
        is_start: bool,
    ) -> Option<u16> {
        if let Some(&index) = self.keys.get(&key) {
            if let Some(target) = self.slot_mut(index) {
                target.endpoint = endpoint;
            }
            return Some(index);
        }
        let free = self.targets.iter().position(Option::is_none);
        let index = free.unwrap_or(self.targets.len());
        if index >= TARGETS_MAX {
            return None;
        }
        if index == self.targets.len() {
            self.targets.push(None);
            self.generations.push(0);
        }
        let mut target = Target {
            id: TargetId {
                index: index as u16,
                generation: self.generations[index],
            },
            key: key.clone(),
            endpoint,
            wanted: self.word_about(&key),
            leaving: false,
            ownerless: false,
            health: Health::new(settings.health, now, &mut self.random),
            busy_until: Time::ZERO,
            slow_start_ms: settings.slow_start_ms,
            warm_since: None,
            share: WHOLE,
            active: 0,
            begun: 0,
            figures: Figures::default(),
            state: State::Absent,
            reason: Reason::Added,
            since: now,
            memberships: Vec::new(),
            timer: Time::MAX,
        };
        if !is_start {
            target.warm(now);
        }
        self.targets[index] = Some(target);
        self.keys.insert(key, index as u16);
        Some(index as u16)
    }

    /// Forgets a target that has no call and no pool.
    pub(crate) fn remove(&mut self, index: u16, now: Time, reason: Reason) {
        let Some(target) = self.targets[usize::from(index)].take() else {
            return;
        };
        self.keys.remove(&target.key);
        self.generations[usize::from(index)] += 1;
        if target.state != State::Absent {
            self.say(Event {
                target: target.id,
                at: now,
                from: target.state,
                to: State::Absent,
                reason,
            });
        }
    }
}

fn endpoint(uri: &str) -> Endpoint {
    Endpoint {
        uri: uri.to_owned(),
        address: None,
    }
}

/// An entry's own priority before that of its SRV records. By [`Policy::Priority`] the order of
/// the list counts where nothing is said.
fn priority_of(policy: Policy, entry: &TargetSettings, position: usize, record: u16) -> u32 {
    let own = match (entry.priority, policy) {
        (Some(own), _) => u32::from(own),
        (None, Policy::Priority) => position as u32,
        (None, _) => 0,
    };
    own << 16 | u32::from(record)
}
