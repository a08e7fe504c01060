//! Deferred changes that wait, one per row.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::{CommitError, Completion};
use crate::binding::{BindingId, DeferredChange};

/// What one waiting change counts for, its texts apart.
const ENTRY_BYTES: usize = 96;

/// Waiting changes by row number, with a bound on their memory. In order, so that a slice of them
/// is a run of neighbouring rows.
pub(super) struct Waiting {
    changes: BTreeMap<BindingId, DeferredChange>,
    size_bytes: usize,
    size_bytes_max: usize,
    /// Where the last slice of a flush ended: the next goes on after it, so that rows that change all
    /// the time do not keep others waiting.
    last: Option<BindingId>,
}

impl Waiting {
    pub(super) fn new(size_bytes_max: usize) -> Self {
        Self {
            changes: BTreeMap::new(),
            size_bytes: 0,
            size_bytes_max,
            last: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds a change that was made after what is waiting. False: no room, it was dropped.
    pub(super) fn add(&mut self, change: DeferredChange) -> bool {
        self.merge(change, DeferredChange::then)
    }

    /// Puts back a change that was made before what is waiting. False: no room, it was dropped.
    pub(super) fn put_back(&mut self, change: DeferredChange) -> bool {
        self.merge(change, |waiting, earlier| earlier.then(waiting))
    }

    fn merge(
        &mut self,
        change: DeferredChange,
        join: impl FnOnce(DeferredChange, DeferredChange) -> DeferredChange,
    ) -> bool {
        match self.changes.entry(change.id()) {
            Entry::Vacant(entry) => {
                let size = ENTRY_BYTES + change.text_bytes();
                if self.size_bytes + size > self.size_bytes_max {
                    return false;
                }
                self.size_bytes += size;
                entry.insert(change);
            }
            Entry::Occupied(mut entry) => {
                // Any value will do for the moment in which the two are joined.
                let id = *entry.key();
                let waiting = entry.insert(DeferredChange::Delete(id));
                self.size_bytes -= waiting.text_bytes();
                let joined = join(waiting, change);
                self.size_bytes += joined.text_bytes();
                entry.insert(joined);
            }
        }
        true
    }

    /// Takes the change of one row out.
    pub(super) fn remove(&mut self, id: BindingId) -> Option<DeferredChange> {
        let change = self.changes.remove(&id)?;
        self.size_bytes -= ENTRY_BYTES + change.text_bytes();
        Some(change)
    }

    /// Takes the next up to `count` changes of a flush out, in rising order, and says whether the flush
    /// has come to the end: then everything that waited when it began has been taken.
    pub(super) fn slice(&mut self, count: usize) -> (Vec<DeferredChange>, bool) {
        let start = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.changes.range((start, Bound::Unbounded));
        let ids: Vec<_> = range.take(count).map(|(id, _)| *id).collect();
        let is_last = ids.len() < count;
        self.last = ids.last().copied().filter(|_| !is_last);
        let slice = ids.into_iter().filter_map(|id| self.remove(id)).collect();
        (slice, is_last)
    }

    /// Lets the next slice begin at the lowest row.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }
}

/// Who is told when deferred changes are durable.
#[derive(Default)]
pub(super) struct Told {
    /// Their changes wait for the next flush.
    next: Vec<Completion>,
    /// Their changes are written by the end of the flush under way.
    now: Vec<Completion>,
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.now.is_empty()
    }

    pub(super) fn add(&mut self, completion: Option<Completion>) {
        self.next.extend(completion);
    }

    /// A flush of all that waits begins.
    pub(super) fn begin(&mut self) {
        self.now.append(&mut self.next);
    }

    /// The flush under way has to be begun again.
    pub(super) fn again(&mut self) {
        self.now.append(&mut self.next);
        self.next = std::mem::take(&mut self.now);
    }

    /// Everything of the flush is durable.
    pub(super) fn durable(&mut self) {
        for completion in self.now.drain(..) {
            completion(Ok(()));
        }
    }

    /// Some change, nobody knows whose, is not going to be written.
    pub(super) fn fail(&mut self, error: &CommitError) {
        for completion in self.now.drain(..).chain(self.next.drain(..)) {
            completion(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::BindingRefresh;

    fn refresh(id: i64, cseq: u32, call_id: Option<&[u8]>) -> DeferredChange {
        DeferredChange::Refresh(BindingRefresh {
            id: BindingId(id),
            expires_at_unix_s: 0,
            cseq,
            call_id: call_id.map(Into::into),
        })
    }

    #[test]
    fn changes_of_one_row_merge_in_the_order_in_which_they_were_made() {
        let mut waiting = Waiting::new(1000);
        assert!(waiting.add(refresh(1, 2, Some(b"two"))));
        assert!(waiting.add(refresh(1, 3, None)));
        assert!(waiting.put_back(refresh(1, 1, Some(b"one"))));
        assert_eq!(waiting.len(), 1);
        assert_eq!(
            waiting.remove(BindingId(1)),
            Some(refresh(1, 3, Some(b"two")))
        );
        assert!(waiting.add(DeferredChange::Delete(BindingId(1))));
        assert!(waiting.put_back(refresh(1, 1, None)));
        assert_eq!(
            waiting.remove(BindingId(1)),
            Some(DeferredChange::Delete(BindingId(1)))
        );
        assert_eq!((waiting.len(), waiting.size_bytes), (0, 0));
    }

    #[test]
    fn the_slices_of_a_flush_leave_nobody_out() {
        let mut waiting = Waiting::new(100_000);
        for id in 0..10 {
            assert!(waiting.add(refresh(id, 1, None)));
        }
        let mut ids = Vec::new();
        for _ in 0..4 {
            let (slice, _) = waiting.slice(4);
            ids.extend(slice.iter().map(|change| change.id().0));
            // The lowest come again at once and must not push the highest out.
            assert!(waiting.add(refresh(0, 2, None)));
        }
        let mut seen = ids.clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        waiting.restart();
        let (_, is_last) = waiting.slice(100);
        assert!(is_last);
        assert_eq!((waiting.len(), waiting.size_bytes), (0, 0));
    }

    #[test]
    fn a_change_beyond_the_limit_is_dropped() {
        let mut waiting = Waiting::new(2 * ENTRY_BYTES);
        assert!(waiting.add(refresh(1, 1, None)) && waiting.add(refresh(2, 1, None)));
        assert!(!waiting.add(refresh(3, 1, None)));
        assert!(waiting.add(refresh(2, 2, None)), "merging needs no room");
        waiting.slice(2);
        assert!(waiting.is_empty() && waiting.size_bytes == 0);
    }
}
