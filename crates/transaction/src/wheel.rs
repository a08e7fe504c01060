//! A hierarchical timing wheel: the deadlines of one thread's transactions.
//!
//! Time is cut into ticks of [`TICK_MS`]. Each of [`LEVELS`] levels has [`SLOTS`] slots; a slot of
//! level 0 is one tick, a slot of the next level as long as the whole level below. A timer goes to
//! the lowest level that reaches its tick and moves down when its slot comes up: a timer of 64*T1
//! moves once. Timers live in one arena and slots are lists in it, so that memory follows the
//! number of timers, moving copies nothing, and nothing is allocated once the arena has grown to
//! the most timers ever held.
//!
//! **Cancellation is lazy.** A timer cannot be taken out. Its owner keeps the deadline it means,
//! and when `(deadline, key)` comes back compares: another deadline, or no such owner any more,
//! and the timer is dropped. Most timers of a transaction end so. An owner whose deadline only
//! moves later can leave the old timer in place and insert the new deadline when it comes back.

use crate::error::Error;
use crate::time::Time;

/// Length of a tick in milliseconds: a timer is late by at most one, and never early.
pub const TICK_MS: u64 = 8;
/// Slots a level: as many as an occupancy bitmap has bits.
pub const SLOTS: usize = 64;
/// Levels: together they reach 99 days ahead; a later deadline is parked at the far end and placed
/// again from there.
pub const LEVELS: usize = 5;
/// Moves between levels that count as much as one expiry against the limit of
/// [`Wheel::expire`].
pub const MOVES_PER_EXPIRY: usize = 16;
/// Moves between levels that one [`Wheel::pop`] makes at most.
pub const MOVES_PER_POP: usize = 1_024;

const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// Ticks that the whole wheel reaches ahead.
const REACH_TICKS: u64 = 1 << (SLOT_BITS * LEVELS as u32);
/// The end of a list.
const NONE: u32 = u32::MAX;

/// A timer in the arena, or a free place in it.
#[derive(Clone, Copy)]
struct Entry<K> {
    deadline: Time,
    key: K,
    next: u32,
}

/// A list in the arena, first in first out.
#[derive(Clone, Copy)]
struct Slot {
    first: u32,
    last: u32,
}

const EMPTY: Slot = Slot {
    first: NONE,
    last: NONE,
};

struct Level {
    /// Bit `i` is set while `slots[i]` is not empty.
    occupied: u64,
    slots: [Slot; SLOTS],
}

/// Deadlines with keys, given back in order of their ticks. See the [module](self).
pub struct Wheel<K: Copy> {
    levels: [Level; LEVELS],
    entries: Vec<Entry<K>>,
    /// First free place in `entries`.
    free: u32,
    len: u32,
    timers_max: u32,
    /// The first tick that is not done: everything before it has been given back.
    cursor: u64,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that starts at `now` and holds at most `timers_max` timers, cancelled ones
    /// included.
    pub fn new(now: Time, timers_max: u32) -> Wheel<K> {
        Wheel {
            levels: [const {
                Level {
                    occupied: 0,
                    slots: [EMPTY; SLOTS],
                }
            }; LEVELS],
            entries: Vec::new(),
            free: NONE,
            len: 0,
            timers_max,
            cursor: now.as_ms() / TICK_MS,
        }
    }

    /// How many timers are in the wheel, cancelled ones included.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no timer in the wheel.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `timers` more timers, so that inserting them allocates nothing.
    pub fn reserve(&mut self, timers: usize) {
        let free = self.entries.len() - self.len();
        self.entries.reserve(timers.saturating_sub(free));
    }

    /// Takes all timers out and begins anew at `now`; the memory is kept.
    pub fn clear(&mut self, now: Time) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = Wheel {
            entries,
            ..Wheel::new(now, self.timers_max)
        };
    }

    /// Gives `key` back once `deadline` has come. A deadline in the past comes with the next tick.
    ///
    /// # Errors
    /// [`Error::WheelFull`] at the limit given to [`Wheel::new`]; the timer is not in the wheel then.
    pub fn insert(&mut self, deadline: Time, key: K) -> Result<(), Error> {
        if self.len >= self.timers_max {
            return Err(Error::WheelFull {
                timers_max: self.timers_max,
            });
        }
        let entry = Entry {
            deadline,
            key,
            next: NONE,
        };
        let index = if self.free == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = entry;
            index
        };
        self.len += 1;
        self.place(index);
        Ok(())
    }

    /// Calls `expired` with the deadline and key of each timer that is due at `now`, in order of
    /// their ticks and within a tick in a fixed order, and returns how many there were.
    ///
    /// At most `limit` timers come back; the rest wait for the next call, for which
    /// [`Wheel::next`] then asks at once. Moving timers between levels counts too, each move as
    /// one part in [`MOVES_PER_EXPIRY`].
    pub fn expire(&mut self, now: Time, limit: usize, mut expired: impl FnMut(Time, K)) -> usize {
        let mut moves = limit.saturating_mul(MOVES_PER_EXPIRY);
        let mut count = 0;
        while count < limit {
            let Some((deadline, key)) = self.pop_within(now, &mut moves) else {
                break;
            };
            expired(deadline, key);
            count += 1;
        }
        count
    }

    /// Takes out one timer that is due at `now`. As [`Wheel::expire`], for a caller that inserts
    /// timers as it goes.
    ///
    /// `None` means that none is due, or that [`MOVES_PER_POP`] moves were not enough to know;
    /// [`Wheel::next`] tells them apart.
    pub fn pop(&mut self, now: Time) -> Option<(Time, K)> {
        let mut moves = MOVES_PER_POP;
        self.pop_within(now, &mut moves)
    }

    /// When to call [`Wheel::expire`] next: no timer is due before then, though perhaps none is at
    /// that time either. `now` if there is work to do already, `None` if the wheel is empty.
    pub fn next(&self, now: Time) -> Option<Time> {
        let tick = self.next_tick()?;
        Some(Time::from_ms(tick.saturating_mul(TICK_MS)).max(now))
    }

    fn pop_within(&mut self, now: Time, moves: &mut usize) -> Option<(Time, K)> {
        let now_tick = now.as_ms() / TICK_MS;
        loop {
            match self.next_tick() {
                Some(tick) if tick <= now_tick => self.cursor = tick,
                _ => {
                    // Nothing is left up to and including `now_tick`.
                    self.cursor = self.cursor.max(now_tick + 1);
                    return None;
                }
            }
            if !self.cascade(moves) {
                return None;
            }
            if let Some(index) = self.take_first(0, self.index(0)) {
                let Entry { deadline, key, .. } = self.entries[index as usize];
                self.entries[index as usize].next = self.free;
                self.free = index;
                self.len -= 1;
                return Some((deadline, key));
            }
            // The tick had only timers that moved to later ones.
        }
    }

    /// The first tick, not before the cursor, at which a timer is due or has to move down.
    fn next_tick(&self) -> Option<u64> {
        let mut first: Option<u64> = None;
        for (level, Level { occupied, .. }) in self.levels.iter().enumerate() {
            if *occupied == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let block = self.cursor >> shift;
            // A slot is emptied at the first tick of its block. Past that, what is in the slot of
            // the current block is meant for the next turn of the level.
            let at_start = block << shift == self.cursor;
            let from = if at_start { block } else { block + 1 };
            let ahead = occupied
                .rotate_right(from as u32 % u64::BITS)
                .trailing_zeros();
            let tick = (from + u64::from(ahead)) << shift;
            first = Some(first.map_or(tick, |first| first.min(tick)));
        }
        first
    }

    /// Moves down what is in the slots whose blocks start at the cursor. False if `moves` ran out.
    fn cascade(&mut self, moves: &mut usize) -> bool {
        for level in (1..LEVELS).rev() {
            let within_block = (1u64 << (SLOT_BITS * level as u32)) - 1;
            if self.cursor & within_block != 0 {
                continue;
            }
            let slot = self.index(level);
            while self.levels[level].occupied & (1 << slot) != 0 {
                if *moves == 0 {
                    return false;
                }
                *moves -= 1;
                if let Some(index) = self.take_first(level, slot) {
                    self.place(index);
                }
            }
        }
        true
    }

    /// The slot of `level` in which the cursor is.
    fn index(&self, level: usize) -> usize {
        slot_of(self.cursor, level)
    }

    /// Puts an entry into the slot that its deadline asks for, as seen from the cursor.
    fn place(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline;
        let tick = deadline
            .as_ms()
            .div_ceil(TICK_MS)
            .clamp(self.cursor, self.cursor + REACH_TICKS - 1);
        let ahead = tick - self.cursor;
        let level = (ahead.checked_ilog2().unwrap_or(0) / SLOT_BITS) as usize;
        let slot = slot_of(tick, level);
        self.entries[index as usize].next = NONE;
        let Level { occupied, slots } = &mut self.levels[level];
        let list = &mut slots[slot];
        if list.first == NONE {
            list.first = index;
        } else {
            self.entries[list.last as usize].next = index;
        }
        list.last = index;
        *occupied |= 1 << slot;
    }

    /// Takes the first entry out of a slot.
    fn take_first(&mut self, level: usize, slot: usize) -> Option<u32> {
        let Level { occupied, slots } = &mut self.levels[level];
        let list = &mut slots[slot];
        if list.first == NONE {
            return None;
        }
        let index = list.first;
        list.first = self.entries[index as usize].next;
        if list.first == NONE {
            list.last = NONE;
            *occupied &= !(1 << slot);
        }
        Some(index)
    }
}

const fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests;
