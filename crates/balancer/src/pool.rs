//! One pool: its members by priority, sorted so that a choice costs the same however many there are.

use crate::buckets::{BUCKETS, Buckets};
use crate::event::{Shortage, State};
use crate::settings::{LoadFormula, PRIORITIES_MAX, Policy, PoolSettings};
use crate::slots::Slots;
use crate::target::Target;
use crate::turns::{Turns, WHOLE};

/// The load of one call on the target of the largest weight, in the unit of the keys of
/// [`Policy::LeastCalls`].
const CALL: u64 = 64;
/// Buckets an octave: keys that differ by less than a part in so many count as equal.
const OCTAVE: u64 = 128;

/// What stands in the way of a member, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Full,
    Busy,
    Out,
    Closed,
}

const STANDINGS: usize = 5;

impl Standing {
    /// Whether the target is in service, full or not.
    fn is_service(self) -> bool {
        matches!(self, Standing::Open | Standing::Full)
    }
}

/// What a pool wants a member to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) target: u16,
    pub(crate) identity: u64,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    pub(crate) limit: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) wish: Wish,
    tier: u8,
    /// The priority of that tier: the member's own but for those beyond the last.
    sorted_at: u32,
    pub(crate) standing: Standing,
    share: u32,
}

/// The members of one priority.
#[derive(Debug)]
struct Tier {
    priority: u32,
    weight_max: u32,
    /// The largest share that slow start gives one of those in service, in thousandths.
    share_max: u32,
    /// What is left of earlier shares, where even the largest is not whole.
    credit: u32,
    order: Order,
}

impl Tier {
    /// Whether it is this tier's turn, although all that serve in it are in slow start and a later
    /// tier could take the call.
    fn is_due(&mut self) -> bool {
        self.credit += self.share_max;
        let is_due = self.credit >= WHOLE;
        self.credit = if is_due {
            self.credit % WHOLE
        } else {
            self.credit
        };
        is_due
    }
}

#[derive(Debug)]
enum Order {
    Turns(Turns),
    Least(Buckets),
    Hash(Slots),
}

impl Order {
    fn new(policy: Policy) -> Self {
        match policy {
            Policy::RoundRobin | Policy::Weighted | Policy::Priority => Order::Turns(Turns::new()),
            Policy::LeastCalls | Policy::Load(_) => Order::Least(Buckets::new()),
            Policy::Hash(_) => Order::Hash(Slots::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Order::Turns(turns) => turns.len(),
            Order::Least(buckets) => buckets.len(),
            Order::Hash(slots) => slots.len(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: PoolSettings,
    pub(crate) fallback: Option<u16>,
    members: Vec<Option<Member>>,
    tiers: Vec<Tier>,
    /// Tiers with a member that may be chosen: bit 0 is the first.
    open: u64,
    /// How many members stand how.
    standings: [u32; STANDINGS],
    /// Where the last resort begins to look.
    resort: usize,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            fallback: None,
            members: Vec::new(),
            tiers: Vec::new(),
            open: 0,
            standings: [0; STANDINGS],
            resort: 0,
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    pub(crate) fn member(&self, member: u16) -> Option<&Member> {
        self.members.get(usize::from(member))?.as_ref()
    }

    /// Whether some member is in service, full or not.
    pub(crate) fn is_served(&self) -> bool {
        self.standings[Standing::Open as usize] + self.standings[Standing::Full as usize] > 0
    }

    /// The most hopeful of what stands in the way.
    pub(crate) fn shortage(&self) -> Shortage {
        let stands = |standing| self.standings[standing as usize] > 0;
        if stands(Standing::Open) {
            Shortage::Tried
        } else if stands(Standing::Full) {
            Shortage::Full
        } else if stands(Standing::Busy) {
            Shortage::Busy
        } else if stands(Standing::Out) {
            Shortage::Out
        } else if stands(Standing::Closed) {
            Shortage::Closed
        } else {
            Shortage::Empty
        }
    }

    /// Takes on new settings. What the members are comes by [`Pool::reconcile`].
    pub(crate) fn reload(&mut self, settings: PoolSettings) {
        let same = core::mem::discriminant(&settings.policy)
            == core::mem::discriminant(&self.settings.policy);
        self.settings = settings;
        if !same {
            self.tiers.clear();
        }
    }

    /// Makes the members what `wishes` say, and forgets where all of them stand: the caller
    /// refreshes each. Members keep their numbers; the new ones are told to `joined`, those that
    /// go to `left`.
    pub(crate) fn reconcile(
        &mut self,
        wishes: &[Wish],
        mut joined: impl FnMut(Wish, u16),
        mut left: impl FnMut(Wish, u16),
    ) {
        for number in 0..self.members.len() {
            let Some(member) = &self.members[number] else {
                continue;
            };
            let old = member.wish;
            let wish = wishes.iter().find(|wish| wish.target == old.target);
            if wish.is_some_and(|wish| same_place(wish, &old)) && !self.tiers.is_empty() {
                continue;
            }
            self.detach(number as u16);
            if wish.is_none() {
                self.members[number] = None;
                for tier in &mut self.tiers {
                    if let Order::Turns(turns) = &mut tier.order {
                        turns.forget(number as u16);
                    }
                }
                left(old, number as u16);
            }
        }
        for &wish in wishes {
            let mut members = self.members.iter_mut().flatten();
            if let Some(member) = members.find(|member| member.wish.target == wish.target) {
                member.wish = wish;
                continue;
            }
            let member = Some(Member {
                wish,
                tier: 0,
                sorted_at: wish.priority,
                standing: Standing::Closed,
                share: WHOLE,
            });
            let number = match self.members.iter().position(Option::is_none) {
                Some(free) => {
                    self.members[free] = member;
                    free
                }
                None => {
                    self.members.push(member);
                    self.members.len() - 1
                }
            };
            joined(wish, number as u16);
        }
        self.rank();
    }

    /// Gives each member its tier.
    fn rank(&mut self) {
        let mut priorities: Vec<u32> = self.members().map(|one| one.wish.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        priorities.truncate(PRIORITIES_MAX);
        let mut old = core::mem::take(&mut self.tiers);
        for &priority in &priorities {
            let at = old.iter().position(|tier| tier.priority == priority);
            self.tiers.push(match at {
                Some(at) => old.swap_remove(at),
                None => Tier {
                    priority,
                    weight_max: 1,
                    share_max: WHOLE,
                    credit: 0,
                    order: Order::new(self.settings.policy),
                },
            });
        }
        let len = self.members.len();
        for tier in &mut self.tiers {
            tier.weight_max = 0;
        }
        for number in 0..len {
            let Some(member) = &mut self.members[number] else {
                continue;
            };
            let tier = priorities.partition_point(|one| *one < member.wish.priority);
            let tier = tier.min(priorities.len() - 1);
            member.tier = tier as u8;
            let weight_max = &mut self.tiers[tier].weight_max;
            *weight_max = member.wish.weight.max(*weight_max);
        }
        self.resize_orders();
        for number in 0..len {
            let Some(member) = &mut self.members[number] else {
                continue;
            };
            let sorted_at = priorities[usize::from(member.tier)];
            if member.sorted_at != sorted_at {
                member.sorted_at = sorted_at;
                self.detach(number as u16);
            }
        }
        self.standings = [0; STANDINGS];
        for member in self.members.iter().flatten() {
            self.standings[member.standing as usize] += 1;
        }
        self.open = 0;
        for tier in 0..self.tiers.len() {
            self.mark(tier);
            self.measure_share(tier);
        }
    }

    fn resize_orders(&mut self) {
        let len = self.members.len();
        let weighted = self.settings.policy != Policy::RoundRobin;
        for tier in &mut self.tiers {
            let weight_max = if weighted { tier.weight_max } else { 1 };
            match &mut tier.order {
                Order::Turns(turns) => turns.resize(len, weight_max),
                Order::Least(buckets) => buckets.resize(len),
                Order::Hash(slots) => slots.resize(len),
            }
        }
    }

    fn mark(&mut self, tier: usize) {
        let bit = 1 << tier;
        if self.tiers[tier].order.len() > 0 {
            self.open |= bit;
        } else {
            self.open &= !bit;
        }
    }

    fn detach(&mut self, number: u16) {
        for tier in &mut self.tiers {
            match &mut tier.order {
                Order::Turns(turns) => turns.leave(number),
                Order::Least(buckets) => {
                    buckets.remove(number);
                }
                Order::Hash(slots) => slots.leave(number),
            }
        }
    }

    /// Puts a member where its target's state and calls say.
    pub(crate) fn refresh(&mut self, number: u16, target: &Target) {
        let Some(Some(member)) = self.members.get_mut(usize::from(number)) else {
            return;
        };
        let standing = standing(target, member.wish.limit);
        let is_ramp_changed =
            member.share != target.share || standing.is_service() != member.standing.is_service();
        if standing != member.standing {
            self.standings[member.standing as usize] -= 1;
            self.standings[standing as usize] += 1;
            member.standing = standing;
        }
        member.share = target.share;
        let at = usize::from(member.tier);
        let tier = &mut self.tiers[at];
        match &mut tier.order {
            Order::Turns(turns) if standing == Standing::Open => turns.join(number),
            Order::Turns(turns) => turns.leave(number),
            Order::Least(buckets) => {
                buckets.remove(number);
                if standing == Standing::Open {
                    let key = match &self.settings.policy {
                        Policy::Load(formula) => load_key(formula, tier.weight_max, member, target),
                        _ => calls_key(tier.weight_max, member, target.active),
                    };
                    buckets.insert(number, bucket(key));
                }
            }
            Order::Hash(slots) => match standing {
                // A full one keeps its slots: being full comes and goes with every call.
                Standing::Open | Standing::Full => {
                    slots.join(number, member.wish.identity, member.wish.weight);
                }
                Standing::Busy | Standing::Out | Standing::Closed => slots.leave(number),
            },
        }
        self.mark(at);
        if is_ramp_changed {
            self.measure_share(at);
        }
    }

    /// Looks through a tier: only when a state changes or slow start takes a step.
    fn measure_share(&mut self, tier: usize) {
        let members = self.members.iter().flatten();
        let serving = members
            .filter(|member| usize::from(member.tier) == tier && member.standing.is_service());
        let share_max = serving.map(|member| member.share).max();
        self.tiers[tier].share_max = share_max.unwrap_or(WHOLE);
    }

    /// A member for a call whose hash (where the policy wants one) is `key`, leaving out the
    /// targets that `is_tried`.
    pub(crate) fn choose(
        &mut self,
        key: u64,
        steps: &mut u64,
        is_tried: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let mut tiers = self.open;
        let mut spared = 0;
        while tiers != 0 {
            let tier = lowest(&mut tiers);
            if tiers != 0 && self.tiers[tier].share_max < WHOLE && !self.tiers[tier].is_due() {
                spared |= 1 << tier;
                continue;
            }
            if let Some(member) = self.choose_in(tier, key, steps, &is_tried) {
                return Some(member);
            }
        }
        while spared != 0 {
            let tier = lowest(&mut spared);
            if let Some(member) = self.choose_in(tier, key, steps, &is_tried) {
                return Some(member);
            }
        }
        None
    }

    fn choose_in(
        &mut self,
        tier: usize,
        key: u64,
        steps: &mut u64,
        is_tried: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let members = &self.members;
        let member = |number: u16| {
            let member = &members[usize::from(number)];
            member.as_ref().expect("who is sorted is a member")
        };
        let accepts = |number: u16| !is_tried(member(number).wish.target);
        let tier = &mut self.tiers[tier];
        let share_max = tier.share_max;
        match &mut tier.order {
            Order::Turns(turns) => {
                let weighted = self.settings.policy != Policy::RoundRobin;
                let accepts = |number| {
                    *steps += 1;
                    accepts(number)
                };
                turns.take(accepts, |number| {
                    let member = member(number);
                    let weight = if weighted { member.wish.weight } else { 1 };
                    (weight, member.share)
                })
            }
            Order::Least(buckets) => {
                let mut at = buckets.first_from(0);
                while let Some(number) = at {
                    *steps += 1;
                    if accepts(number) {
                        return Some(number);
                    }
                    at = buckets.after(number);
                }
                None
            }
            Order::Hash(slots) => slots.choose(key, |number, part| {
                *steps += 1;
                let one = member(number);
                one.standing == Standing::Open
                    && part.is_none_or(|part| part * share_max < one.share * WHOLE)
                    && accepts(number)
            }),
        }
    }

    /// A member that is out and not tried, for when nothing else is left.
    pub(crate) fn last_resort(&mut self, is_eligible: impl Fn(u16) -> bool) -> Option<u16> {
        let len = self.members.len();
        for step in 0..len {
            let number = (self.resort + step) % len;
            let Some(member) = &self.members[number] else {
                continue;
            };
            if member.standing == Standing::Out && is_eligible(member.wish.target) {
                self.resort = number + 1;
                return Some(number as u16);
            }
        }
        None
    }
}

/// Takes the lowest bit out of a set that is not empty.
fn lowest(tiers: &mut u64) -> usize {
    let tier = tiers.trailing_zeros();
    *tiers &= *tiers - 1;
    tier as usize
}

/// Whether a member with the one wish instead of the other stays where it is sorted.
fn same_place(a: &Wish, b: &Wish) -> bool {
    (a.priority, a.weight, a.identity) == (b.priority, b.weight, b.identity)
}

fn standing(target: &Target, limit: Option<u32>) -> Standing {
    match target.state {
        State::Up | State::Warming if limit.is_some_and(|limit| target.active >= limit) => {
            Standing::Full
        }
        State::Up | State::Warming => Standing::Open,
        State::Busy => Standing::Busy,
        State::Out => Standing::Out,
        State::Absent | State::Draining | State::Disabled => Standing::Closed,
    }
}

/// A member's weight as a part of the largest of its priority. Where all are 0 (RFC 2782: no
/// selection to do), all are equal.
fn capacity(weight_max: u32, member: &Member) -> (u64, u64) {
    match weight_max {
        0 => (1, 1),
        weight_max => (u64::from(member.wish.weight), u64::from(weight_max)),
    }
}

/// Calls for the weight, with one call more; larger in slow start.
fn calls_key(weight_max: u32, member: &Member, active: u32) -> u64 {
    let calls = (u64::from(active) + 1) * CALL;
    let (weight, weight_max) = capacity(weight_max, member);
    let part = weight * u64::from(member.share);
    // 2^38 for the calls, 2^26 for the weights: no overflow.
    let calls = calls * weight_max * u64::from(WHOLE);
    calls.checked_div(part).unwrap_or(u64::MAX)
}

fn load_key(formula: &LoadFormula, weight_max: u32, member: &Member, target: &Target) -> u64 {
    let (weight, weight_max) = capacity(weight_max, member);
    let of_largest = |full: u32| u64::from(full) * weight / weight_max;
    let calls_full = member
        .wish
        .limit
        .map_or(of_largest(formula.calls_full), u64::from);
    let full = (calls_full, of_largest(formula.call_rate_full));
    let load = target.figures.load(formula, target.active, full);
    load * u64::from(WHOLE) / u64::from(member.share.max(1))
}

/// Exact for small keys, then by octaves of [`OCTAVE`] buckets each.
fn bucket(key: u64) -> usize {
    if key < OCTAVE {
        return key as usize;
    }
    let bits = OCTAVE.trailing_zeros();
    let exponent = key.ilog2() - bits;
    let bucket = u64::from(exponent + 1) * OCTAVE + ((key >> exponent) - OCTAVE);
    (bucket as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, bucket};

    #[test]
    fn buckets_rise_with_their_keys_and_are_narrow() {
        let mut last = 0;
        for key in 0..2_000_000_u64 {
            let at = bucket(key);
            assert!(at == last || at == last + 1, "{key}: {last}, {at}");
            last = at;
            let wider = key + key / 128 + 1;
            assert!(bucket(wider) > at || key < 128 && bucket(wider) >= at);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
