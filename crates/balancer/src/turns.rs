//! Smooth weighted turns: each member as often as its weight says, spread evenly.
//!
//! Every member has the point on a virtual time line at which it is next (stride scheduling); being
//! chosen moves it on by a stride that is the shorter the larger its weight. The points are exact
//! and only sorted coarsely, into a ring of [`Buckets`], so no error adds up and a turn costs the
//! same with two members and a thousand.

use crate::buckets::{BUCKETS, Buckets};

/// The virtual time of one bucket: the stride of the largest weight.
const WIDTH: u64 = 1 << 16;
/// The longest stride. It bounds how much smaller than the largest share a share can be.
const STRIDE_MAX: u64 = (BUCKETS as u64 - 2) * WIDTH;
/// A full share of a member in slow start, in thousandths.
pub(crate) const WHOLE: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Turns {
    ring: Buckets,
    passes: Vec<u64>,
    /// No pass of a member in the ring is before this.
    now: u64,
    weight_max: u32,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            ring: Buckets::new(),
            passes: Vec::new(),
            now: 0,
            weight_max: 1,
        }
    }

    pub(crate) fn resize(&mut self, members: usize, weight_max: u32) {
        self.ring.resize(members);
        if members > self.passes.len() {
            self.passes.resize(members, 0);
        }
        self.weight_max = weight_max.max(1);
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Lets a member take turns. What it missed is not made up for.
    pub(crate) fn join(&mut self, member: u16) {
        if !self.ring.contains(member) {
            self.place(member, self.passes[usize::from(member)]);
        }
    }

    pub(crate) fn leave(&mut self, member: u16) {
        self.ring.remove(member);
    }

    /// Forgets what a number's former member had.
    pub(crate) fn forget(&mut self, member: u16) {
        self.ring.remove(member);
        self.passes[usize::from(member)] = 0;
    }

    /// The next member that `accepts`, which has had its turn then.
    pub(crate) fn take(
        &mut self,
        mut accepts: impl FnMut(u16) -> bool,
        share_of: impl Fn(u16) -> (u32, u32),
    ) -> Option<u16> {
        let first = self.first()?;
        let pass = self.passes[usize::from(first)];
        self.now = self.now.max(pass - pass % WIDTH);
        let mut member = first;
        for _ in 0..self.ring.len() {
            if accepts(member) {
                let (weight, share) = share_of(member);
                let pass = self.passes[usize::from(member)] + self.stride(weight, share);
                self.ring.remove(member);
                self.place(member, pass);
                return Some(member);
            }
            member = self.ring.after(member).or(self.ring.first_from(0))?;
        }
        None
    }

    fn first(&self) -> Option<u16> {
        self.ring
            .first_from(bucket(self.now))
            .or_else(|| self.ring.first_from(0))
    }

    fn place(&mut self, member: u16, pass: u64) {
        let pass = pass.clamp(self.now, self.now + STRIDE_MAX);
        self.passes[usize::from(member)] = pass;
        self.ring.insert(member, bucket(pass));
    }

    /// A weight of 0 (RFC 2782: "a very small chance") has the longest stride.
    fn stride(&self, weight: u32, share: u32) -> u64 {
        let whole = u64::from(self.weight_max) * u64::from(WHOLE) * WIDTH;
        let part = u64::from(weight) * u64::from(share);
        whole
            .checked_div(part)
            .unwrap_or(STRIDE_MAX)
            .min(STRIDE_MAX)
    }
}

fn bucket(pass: u64) -> usize {
    (pass / WIDTH) as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::Turns;

    fn turns(weights: &[u32]) -> Turns {
        let mut turns = Turns::new();
        turns.resize(weights.len(), *weights.iter().max().expect("weights"));
        for member in 0..weights.len() as u16 {
            turns.join(member);
        }
        turns
    }

    fn take(turns: &mut Turns, weights: &[u32]) -> u16 {
        turns
            .take(|_| true, |member| (weights[usize::from(member)], 1_000))
            .expect("somebody's turn")
    }

    #[test]
    fn equal_weights_alternate() {
        let weights = [5, 5, 5];
        let mut turns = turns(&weights);
        let order: Vec<u16> = (0..9).map(|_| take(&mut turns, &weights)).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn turns_are_spread_evenly() {
        let weights = [4, 1, 1];
        let mut turns = turns(&weights);
        let order: Vec<u16> = (0..600).map(|_| take(&mut turns, &weights)).collect();
        for window in order.windows(12) {
            let firsts = window.iter().filter(|member| **member == 0).count();
            assert!((7..=9).contains(&firsts), "{window:?}");
        }
    }

    #[test]
    fn who_was_away_does_not_catch_up() {
        let weights = [1, 1];
        let mut turns = turns(&weights);
        turns.leave(1);
        for _ in 0..20_000 {
            assert_eq!(take(&mut turns, &weights), 0);
        }
        turns.join(1);
        let ones = (0..100).filter(|_| take(&mut turns, &weights) == 1).count();
        assert!((49..=51).contains(&ones), "{ones}");
    }

    #[test]
    fn what_is_not_accepted_keeps_its_turn() {
        let weights = [1, 1, 1];
        let mut turns = turns(&weights);
        let other = turns.take(|member| member == 2, |_| (1, 1_000));
        assert_eq!(other, Some(2));
        assert_eq!(take(&mut turns, &weights), 0);
        assert_eq!(take(&mut turns, &weights), 1);
        assert_eq!(turns.take(|_| false, |_| (1, 1_000)), None);
        assert_eq!(turns.len(), 3);
    }

    #[test]
    fn a_weight_of_zero_has_a_very_small_chance() {
        let weights = [10, 0];
        let mut turns = turns(&weights);
        let zeros = (0..50_000)
            .filter(|_| take(&mut turns, &weights) == 1)
            .count();
        assert!((1..=20).contains(&zeros), "{zeros}");
    }
}
