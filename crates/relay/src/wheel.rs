//! Deadlines in coarse steps: sessions are looked at when they may be dead, and not before.

use crate::leg::NONE;
use crate::types::Time;

/// Slots of the wheel. What is due later than its turn is looked at once a turn.
const SLOTS: u64 = 64;

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    slot: u8,
    is_in: bool,
}

const OUT: Link = Link {
    previous: NONE,
    next: NONE,
    slot: 0,
    is_in: false,
};

/// Which items are due when. Items are small numbers.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: [u32; SLOTS as usize],
    links: Vec<Link>,
    step_us: u64,
    /// The step that is looked at next. All items lie within [`SLOTS`] steps from it.
    step: u64,
    count: usize,
}

impl Wheel {
    /// What an item takes.
    #[cfg(test)]
    pub(crate) const ITEM_BYTES: usize = size_of::<Link>();

    pub(crate) fn new(step_us: u64) -> Wheel {
        Wheel {
            heads: [NONE; SLOTS as usize],
            links: Vec::new(),
            step_us: step_us.max(1),
            step: 0,
            count: 0,
        }
    }

    /// Puts an item in, or elsewhere.
    pub(crate) fn put(&mut self, now: Time, item: u32, due: Time) {
        self.remove(item);
        if self.count == 0 {
            self.step = self.step.max(now.as_micros() / self.step_us);
        }
        let step = due.as_micros().div_ceil(self.step_us);
        let step = step.clamp(self.step, self.step + SLOTS - 1);
        let slot = (step % SLOTS) as u8;
        let head = self.heads[usize::from(slot)];
        let index = item as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, OUT);
        }
        self.links[index] = Link {
            previous: NONE,
            next: head,
            slot,
            is_in: true,
        };
        if head != NONE {
            self.links[head as usize].previous = item;
        }
        self.heads[usize::from(slot)] = item;
        self.count += 1;
    }

    /// Takes an item out, if it is in.
    pub(crate) fn remove(&mut self, item: u32) {
        let Some(link) = self.links.get_mut(item as usize) else {
            return;
        };
        let link = std::mem::replace(link, OUT);
        if !link.is_in {
            return;
        }
        match link.previous {
            NONE => self.heads[usize::from(link.slot)] = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        }
        self.count -= 1;
    }

    /// Takes out an item that is due, or whose turn it is to be looked at.
    pub(crate) fn pop(&mut self, now: Time) -> Option<u32> {
        let step = now.as_micros() / self.step_us;
        while self.count > 0 && self.step <= step {
            let head = self.heads[(self.step % SLOTS) as usize];
            if head != NONE {
                self.remove(head);
                return Some(head);
            }
            self.step += 1;
        }
        None
    }

    /// When the next item is to be looked at.
    pub(crate) fn next(&self) -> Option<Time> {
        if self.count == 0 {
            return None;
        }
        let mut steps = self.step..self.step + SLOTS;
        let step = steps.find(|step| self.heads[(step % SLOTS) as usize] != NONE)?;
        Some(Time::from_micros(step.saturating_mul(self.step_us)))
    }

    /// Items that are in.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn items_come_out_when_they_are_due_and_not_before() {
        let mut wheel = Wheel::new(10);
        for (item, due) in [(0, 25), (1, 30), (2, 5), (3, 630)] {
            wheel.put(at(0), item, at(due));
        }
        assert_eq!(wheel.next(), Some(at(10)));
        assert_eq!(wheel.pop(at(9)), None);
        assert_eq!(wheel.pop(at(10)), Some(2));
        assert_eq!(wheel.pop(at(29)), None);
        let mut due = [wheel.pop(at(30)), wheel.pop(at(30))];
        due.sort();
        assert_eq!(due, [Some(0), Some(1)]);
        assert_eq!(wheel.next(), Some(at(630)));
        assert_eq!(wheel.pop(at(700)), Some(3));
        assert_eq!((wheel.next(), wheel.len()), (None, 0));
    }

    #[test]
    fn what_is_due_later_than_a_turn_is_looked_at_once_a_turn() {
        let mut wheel = Wheel::new(10);
        wheel.put(at(0), 7, at(1_000_000));
        let mut looks = 0;
        let mut now = 0;
        while let Some(next) = wheel.next() {
            now = next.as_micros();
            assert_eq!(wheel.pop(next), Some(7));
            looks += 1;
            if now >= 1_000_000 {
                break;
            }
            wheel.put(next, 7, at(1_000_000));
        }
        assert_eq!(now, 1_000_000);
        assert_eq!(looks, 1 + 1_000_000 / 630);
    }

    #[test]
    fn an_item_may_be_put_elsewhere_and_taken_out() {
        let mut wheel = Wheel::new(10);
        for item in 0..10 {
            wheel.put(at(0), item, at(50));
        }
        wheel.put(at(0), 4, at(100));
        for item in [9, 0, 5, 5, 77] {
            wheel.remove(item);
        }
        let mut out: Vec<_> = std::iter::from_fn(|| wheel.pop(at(50))).collect();
        out.sort_unstable();
        assert_eq!(out, [1, 2, 3, 6, 7, 8]);
        assert_eq!(wheel.pop(at(100)), Some(4));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_wheel_that_was_empty_for_long_goes_on_from_now() {
        let mut wheel = Wheel::new(1);
        wheel.put(at(1_000_000_000), 0, at(1_000_000_010));
        assert_eq!(wheel.next(), Some(at(1_000_000_010)));
        assert_eq!(wheel.pop(at(1_000_000_009)), None);
        assert_eq!(wheel.pop(at(1_000_000_010)), Some(0));
    }
}
