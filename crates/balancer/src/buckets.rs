//! Members of a pool sorted by a small key, at a cost that does not depend on how many there are.
//!
//! Each of [`BUCKETS`] keys has a list of the members that have it, first in first out, linked
//! through one array. Two levels of bitmaps say which lists are not empty: the first member at or
//! after a key is two words and two counts of trailing zeros away, with two members or a thousand.

/// Keys there are.
pub(crate) const BUCKETS: usize = 64 * 64;

const NONE: u16 = u16::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// [`NONE`] while the member is in no list.
    bucket: u16,
    before: u16,
    after: u16,
}

const UNLINKED: Link = Link {
    bucket: NONE,
    before: NONE,
    after: NONE,
};

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u16,
    last: u16,
}

/// The lists. Members are numbers below the length given to [`Buckets::resize`].
#[derive(Debug)]
pub(crate) struct Buckets {
    summary: u64,
    words: [u64; 64],
    ends: Box<[Ends]>,
    links: Vec<Link>,
    len: usize,
}

impl Buckets {
    pub(crate) fn new() -> Self {
        let empty = Ends {
            first: NONE,
            last: NONE,
        };
        Self {
            summary: 0,
            words: [0; 64],
            ends: vec![empty; BUCKETS].into_boxed_slice(),
            links: Vec::new(),
            len: 0,
        }
    }

    /// Makes room for members below `members`.
    pub(crate) fn resize(&mut self, members: usize) {
        assert!(members < usize::from(NONE), "members are 16-bit numbers");
        if members > self.links.len() {
            self.links.resize(members, UNLINKED);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, member: u16) -> bool {
        self.links[usize::from(member)].bucket != NONE
    }

    /// Puts a member that is in no list at the end of this one.
    pub(crate) fn insert(&mut self, member: u16, bucket: usize) {
        debug_assert!(!self.contains(member) && bucket < BUCKETS);
        let ends = &mut self.ends[bucket];
        let last = ends.last;
        ends.last = member;
        if last == NONE {
            ends.first = member;
            self.words[bucket / 64] |= 1 << (bucket % 64);
            self.summary |= 1 << (bucket / 64);
        } else {
            self.links[usize::from(last)].after = member;
        }
        self.links[usize::from(member)] = Link {
            bucket: bucket as u16,
            before: last,
            after: NONE,
        };
        self.len += 1;
    }

    /// Takes a member out of its list; false when it was in none.
    pub(crate) fn remove(&mut self, member: u16) -> bool {
        let link = self.links[usize::from(member)];
        if link.bucket == NONE {
            return false;
        }
        let bucket = usize::from(link.bucket);
        match link.before {
            NONE => self.ends[bucket].first = link.after,
            before => self.links[usize::from(before)].after = link.after,
        }
        match link.after {
            NONE => self.ends[bucket].last = link.before,
            after => self.links[usize::from(after)].before = link.before,
        }
        if self.ends[bucket].first == NONE {
            let word = &mut self.words[bucket / 64];
            *word &= !(1 << (bucket % 64));
            if *word == 0 {
                self.summary &= !(1 << (bucket / 64));
            }
        }
        self.links[usize::from(member)] = UNLINKED;
        self.len -= 1;
        true
    }

    /// The first list at or after `from` that is not empty.
    fn bucket_from(&self, from: usize) -> Option<usize> {
        let (high, low) = (from / 64, from % 64);
        if high >= 64 {
            return None;
        }
        let here = self.words[high] & (u64::MAX << low);
        if here != 0 {
            return Some(high * 64 + here.trailing_zeros() as usize);
        }
        let later = self.summary & u64::MAX.checked_shl(high as u32 + 1).unwrap_or(0);
        if later == 0 {
            return None;
        }
        let high = later.trailing_zeros() as usize;
        Some(high * 64 + self.words[high].trailing_zeros() as usize)
    }

    /// The first member at or after `from`, which may be one past the last bucket.
    pub(crate) fn first_from(&self, from: usize) -> Option<u16> {
        self.bucket_from(from).map(|bucket| self.ends[bucket].first)
    }

    /// The member after this one, in its list or the next.
    pub(crate) fn after(&self, member: u16) -> Option<u16> {
        let link = self.links[usize::from(member)];
        match link.after {
            NONE => self.first_from(usize::from(link.bucket) + 1),
            after => Some(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Buckets};
    use proptest::prelude::*;

    fn listed(buckets: &Buckets) -> Vec<u16> {
        let first = buckets.first_from(0);
        std::iter::successors(first, |&member| buckets.after(member)).collect()
    }

    proptest! {
        #[test]
        fn members_come_by_key_and_within_it_by_age(
            steps in prop::collection::vec((0_u16..50, prop::option::of(0_usize..BUCKETS)), 1..400)
        ) {
            let mut buckets = Buckets::new();
            buckets.resize(50);
            let mut model: Vec<(usize, u16)> = Vec::new();
            for (member, bucket) in steps {
                let was = model.iter().any(|&(_, one)| one == member);
                prop_assert_eq!(buckets.remove(member), was);
                model.retain(|&(_, one)| one != member);
                if let Some(bucket) = bucket {
                    buckets.insert(member, bucket);
                    let at = model.partition_point(|&(other, _)| other <= bucket);
                    model.insert(at, (bucket, member));
                }
                let expected: Vec<u16> = model.iter().map(|&(_, member)| member).collect();
                prop_assert_eq!(listed(&buckets), expected);
                prop_assert_eq!(buckets.len(), model.len());
            }
        }
    }

    #[test]
    fn the_last_bucket_is_found_and_nothing_after_it() {
        let mut buckets = Buckets::new();
        buckets.resize(1);
        buckets.insert(0, BUCKETS - 1);
        assert_eq!(buckets.first_from(0), Some(0));
        assert_eq!(buckets.first_from(BUCKETS - 1), Some(0));
        assert_eq!(buckets.first_from(BUCKETS), None);
        assert_eq!(buckets.after(0), None);
        assert!(buckets.remove(0) && !buckets.remove(0));
        assert_eq!(buckets.first_from(0), None);
    }
}
