//! Consistent hashing: the same caller, the same target, and little moves when a target goes.
//!
//! A fixed number of slots stands between callers and targets. Each slot belongs to the member that
//! wins it by weighted rendezvous hashing; a caller's key names a slot. Choosing is one look-up
//! whatever the number of members; a member that goes loses its own slots only, one that comes
//! takes exactly what it wins, and gets the same slots back after an absence. Whoever computes it
//! from the same key and the same members gets the same table.
//!
//! A full member keeps its slots. Its callers are passed on by hashing the key again, so that they
//! too go to the same other place each time, and to all others in equal parts.

use crate::random::mix;

/// Slots there are: enough for the shares of a hundred members to differ by few percent.
pub(crate) const SLOTS: usize = 1 << 14;
/// Times that a key is hashed again before the members are asked one after the other.
const ROUNDS_MAX: u64 = 32;

const NONE: u16 = u16::MAX;

#[derive(Debug)]
pub(crate) struct Slots {
    owners: Box<[u16]>,
    /// What the owner of a slot won it with: the lowest score.
    scores: Box<[f64]>,
    serving: Vec<Serving>,
    /// By member: whether it is among them.
    serves: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Serving {
    member: u16,
    identity: u64,
    weight: u32,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            owners: vec![NONE; SLOTS].into_boxed_slice(),
            scores: vec![f64::INFINITY; SLOTS].into_boxed_slice(),
            serving: Vec::new(),
            serves: Vec::new(),
        }
    }

    /// Makes room for members below `members`.
    pub(crate) fn resize(&mut self, members: usize) {
        if members > self.serves.len() {
            self.serves.resize(members, false);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.serving.len()
    }

    /// Gives a member the slots that it wins. `identity` is what it is known by everywhere.
    pub(crate) fn join(&mut self, member: u16, identity: u64, weight: u32) {
        if core::mem::replace(&mut self.serves[usize::from(member)], true) {
            return;
        }
        let serving = Serving {
            member,
            identity,
            weight,
        };
        self.serving.push(serving);
        for slot in 0..SLOTS {
            let score = score(slot, serving);
            if score < self.scores[slot] {
                self.scores[slot] = score;
                self.owners[slot] = member;
            }
        }
    }

    /// Gives a member's slots to those who win them without it.
    pub(crate) fn leave(&mut self, member: u16) {
        let serves = self.serves.get_mut(usize::from(member));
        if !serves.is_some_and(core::mem::take) {
            return;
        }
        let at = self.serving.iter().position(|one| one.member == member);
        let at = at.expect("who serves is among those that serve");
        self.serving.swap_remove(at);
        for slot in 0..SLOTS {
            if self.owners[slot] != member {
                continue;
            }
            let (mut owner, mut best) = (NONE, f64::INFINITY);
            for &serving in &self.serving {
                let score = score(slot, serving);
                if score < best {
                    (owner, best) = (serving.member, score);
                }
            }
            self.owners[slot] = owner;
            self.scores[slot] = best;
        }
    }

    /// The member that `key` belongs to among those that `accepts`. It is asked with a number from
    /// 0 to 999 that belongs to the key and the attempt, by which a member in slow start takes a
    /// part of its callers only; without one where nobody took the call so.
    pub(crate) fn choose(
        &self,
        key: u64,
        mut accepts: impl FnMut(u16, Option<u32>) -> bool,
    ) -> Option<u16> {
        if self.serving.is_empty() {
            return None;
        }
        let mut word = key;
        for round in 0..ROUNDS_MAX {
            let member = self.owners[word as usize % SLOTS];
            let part = ((word >> 32) % 1_000) as u32;
            if accepts(member, Some(part)) {
                return Some(member);
            }
            word = mix(key.wrapping_add(round + 1));
        }
        let from = (key >> 32) as usize % self.serving.len();
        let (before, after) = self.serving.split_at(from);
        let mut all = after.iter().chain(before).map(|serving| serving.member);
        all.find(|&member| accepts(member, None))
    }
}

/// Weighted rendezvous hashing: an exponential variable with the weight as its rate; the lowest of
/// several is each one's with a chance in proportion to its weight.
fn score(slot: usize, serving: Serving) -> f64 {
    let word = mix(serving.identity ^ mix(slot as u64 + 1));
    let uniform = ((word >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    -uniform.ln() / f64::from(serving.weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, Slots};
    use crate::random::mix;

    fn table(members: u16) -> Slots {
        let mut slots = Slots::new();
        slots.resize(usize::from(members));
        for member in 0..members {
            slots.join(member, mix(u64::from(member) + 77), 1);
        }
        slots
    }

    #[test]
    fn losing_a_member_moves_its_slots_only_and_its_return_restores_them() {
        let mut slots = table(10);
        let before = slots.owners.clone();
        slots.leave(3);
        for slot in 0..SLOTS {
            assert!(slots.owners[slot] != 3);
            assert!(before[slot] == 3 || before[slot] == slots.owners[slot]);
        }
        slots.join(3, mix(80), 1);
        assert_eq!(before, slots.owners);
    }

    #[test]
    fn the_order_of_joining_changes_nothing() {
        let slots = table(20);
        let mut other = Slots::new();
        other.resize(20);
        for member in (0..20).rev() {
            other.join(member, mix(u64::from(member) + 77), 1);
        }
        assert_eq!(slots.owners, other.owners);
    }

    #[test]
    fn slots_follow_weights() {
        let mut slots = Slots::new();
        slots.resize(4);
        for member in 0..4 {
            slots.join(member, mix(u64::from(member)), u32::from(member) + 1);
        }
        for member in 0..4 {
            let own = slots.owners.iter().filter(|one| **one == member).count();
            let ideal = SLOTS * (usize::from(member) + 1) / 10;
            assert!(own.abs_diff(ideal) * 20 < ideal, "{own} of {ideal}");
        }
    }

    #[test]
    fn what_a_member_does_not_take_is_spread_over_all_others() {
        let slots = table(5);
        let mut counts = [0_u32; 5];
        for key in 0..100_000 {
            let key = mix(key);
            if slots.owners[key as usize % SLOTS] == 2 {
                let member = slots.choose(key, |member, _| member != 2).expect("others");
                counts[usize::from(member)] += 1;
            }
        }
        let total: u32 = counts.iter().sum();
        assert_eq!(counts[2], 0);
        assert!(
            counts
                .iter()
                .enumerate()
                .all(|(i, n)| i == 2 || n.abs_diff(total / 4) < total / 20)
        );
    }

    #[test]
    fn an_empty_table_chooses_nobody() {
        let mut slots = table(1);
        assert_eq!(slots.choose(9, |_, _| true), Some(0));
        assert_eq!(slots.choose(9, |_, _| false), None);
        slots.leave(0);
        assert_eq!(slots.choose(9, |_, _| true), None);
        assert_eq!(slots.len(), 0);
    }
}
