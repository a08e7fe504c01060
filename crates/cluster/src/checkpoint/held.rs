//! Outputs that wait for the checkpoint they depend on.

use std::collections::VecDeque;

use crate::error::Error;
use crate::node::Seq;

/// Outputs in the order in which they may leave (output commit). `T` is whatever the caller sends.
#[derive(Debug)]
pub struct Held<T> {
    waiting: VecDeque<(Seq, T)>,
    held_max: usize,
}

impl<T> Held<T> {
    /// Room for `held_max` outputs.
    pub fn new(held_max: usize) -> Held<T> {
        Held {
            waiting: VecDeque::new(),
            held_max,
        }
    }

    /// Holds an output until batch `seq` is committed. Later calls have the same or a later batch.
    ///
    /// # Errors
    /// [`Error::HeldFull`]; the output is lost, as a datagram may be.
    pub fn hold(&mut self, seq: Seq, output: T) -> Result<(), Error> {
        if self.waiting.len() >= self.held_max {
            return Err(Error::HeldFull);
        }
        self.waiting.push_back((seq, output));
        Ok(())
    }

    /// The next output that may leave now that all up to `committed` is committed.
    pub fn release(&mut self, committed: Seq) -> Option<T> {
        let (seq, _) = self.waiting.front()?;
        if *seq > committed {
            return None;
        }
        self.waiting.pop_front().map(|(_, output)| output)
    }

    /// Throws all of them away: this node is not the owner any more, and another may answer otherwise.
    pub fn discard(&mut self) {
        self.waiting.clear();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_leaves_when_its_batch_is_committed_and_in_order() {
        let mut held = Held::new(3);
        held.hold(Seq(1), 'a').unwrap();
        held.hold(Seq(1), 'b').unwrap();
        held.hold(Seq(2), 'c').unwrap();
        assert_eq!(held.hold(Seq(2), 'd'), Err(Error::HeldFull));
        assert_eq!(held.release(Seq(0)), None);
        assert_eq!(held.release(Seq(1)), Some('a'));
        assert_eq!(held.release(Seq(1)), Some('b'));
        assert_eq!(held.release(Seq(1)), None);
        held.discard();
        assert!(held.is_empty());
    }
}
