//! Batches that some member may still need.

use std::collections::VecDeque;

use crate::node::Seq;
use crate::time::Time;

#[derive(Debug)]
struct Entry {
    at: Time,
    bytes: Vec<u8>,
}

/// The last batches of the stream, without a gap, oldest first. Buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    spare: Vec<Vec<u8>>,
    /// The batch before the oldest that is kept.
    floor: Seq,
    bytes: usize,
}

/// Buffers that are kept for batches to come.
const SPARE_MAX: usize = 256;

impl Backlog {
    pub(super) fn push(&mut self, at: Time, ops: &[u8]) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(ops);
        self.bytes += bytes.len();
        self.entries.push_back(Entry { at, bytes });
    }

    /// Forgets all batches up to `seq`.
    pub(super) fn trim(&mut self, seq: Seq) {
        while self.floor < seq {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.floor.0 += 1;
            self.bytes -= entry.bytes.len();
            if self.spare.len() < SPARE_MAX {
                self.spare.push(entry.bytes);
            }
        }
    }

    pub(super) fn floor(&self) -> Seq {
        self.floor
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes of batch `seq`.
    pub(super) fn ops(&self, seq: Seq) -> Option<&[u8]> {
        self.entry(seq).map(|entry| entry.bytes.as_slice())
    }

    /// When batch `seq` was made.
    pub(super) fn at(&self, seq: Seq) -> Option<Time> {
        self.entry(seq).map(|entry| entry.at)
    }

    fn entry(&self, seq: Seq) -> Option<&Entry> {
        let index = seq.0.checked_sub(self.floor.0 + 1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }
}
