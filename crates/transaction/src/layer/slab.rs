//! Values under stable numbers, and buffers that are used again.

/// A place in a [`Slab`]; stale ones are recognised by their generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    slot: u32,
    generation: u32,
}

impl Id {
    /// The number as one word of 63 bits.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`Id::to_bits`]; any word gives an id, most of them stale.
    pub fn from_bits(bits: u64) -> Id {
        Id {
            slot: bits as u32,
            generation: (bits >> 32) as u32 & GENERATION_MASK,
        }
    }
}

const GENERATION_MASK: u32 = u32::MAX >> 1;

/// Values under numbers that do not move.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and gives its number.
    pub fn insert(&mut self, value: T) -> Id {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.1 = Some(value);
            return Id {
                slot,
                generation: entry.0,
            };
        }
        self.entries.push((0, Some(value)));
        Id {
            slot: (self.entries.len() - 1) as u32,
            generation: 0,
        }
    }

    /// The value under `id`, if it is still there.
    pub fn get(&self, id: Id) -> Option<&T> {
        let (generation, value) = self.entries.get(id.slot as usize)?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    /// The value under `id`, if it is still there.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (generation, value) = self.entries.get_mut(id.slot as usize)?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    /// Takes the value under `id` out.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let (generation, value) = self.entries.get_mut(id.slot as usize)?;
        if *generation != id.generation {
            return None;
        }
        let taken = value.take()?;
        *generation = (*generation + 1) & GENERATION_MASK;
        self.free.push(id.slot);
        Some(taken)
    }

    /// Takes all values out, each as [`Slab::remove`] does: their numbers are stale from then on.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        let free = &mut self.free;
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(slot, (generation, value))| {
            let taken = value.take()?;
            *generation = (*generation + 1) & GENERATION_MASK;
            free.push(slot as u32);
            Some(taken)
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers and values.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(slot, (generation, value))| {
                Some((
                    Id {
                        slot: slot as u32,
                        generation: *generation,
                    },
                    value.as_ref()?,
                ))
            })
    }

    /// How many places there are, taken or free.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// The slot's value whatever its generation, for tables that are kept exact and for sweeps.
    pub fn at(&self, slot: u32) -> Option<(Id, &T)> {
        let (generation, value) = self.entries.get(slot as usize)?;
        Some((
            Id {
                slot,
                generation: *generation,
            },
            value.as_ref()?,
        ))
    }
}

impl Id {
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }
}

/// Byte buffers that are used again, by size, so that a steady load allocates nothing.
#[derive(Debug, Default)]
pub struct Buffers {
    free: [Vec<Vec<u8>>; CLASSES.len()],
}

/// Capacities of pooled buffers, in bytes. Longer ones are allocated and given back.
const CLASSES: [usize; 4] = [512, 1_024, 2_048, 4_096];

/// Most buffers kept for each class.
const FREE_MAX: usize = 65_536;

impl Buffers {
    /// A buffer that holds `content`.
    pub fn copy(&mut self, content: &[u8]) -> Vec<u8> {
        let class = CLASSES
            .iter()
            .position(|&capacity| capacity >= content.len());
        let mut buffer = match class {
            Some(class) => self.free[class]
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(CLASSES[class])),
            None => Vec::with_capacity(content.len()),
        };
        buffer.extend_from_slice(content);
        buffer
    }

    /// Takes a buffer back.
    pub fn release(&mut self, mut buffer: Vec<u8>) {
        let Some(class) = CLASSES
            .iter()
            .position(|&capacity| capacity == buffer.capacity())
        else {
            return;
        };
        if self.free[class].len() < FREE_MAX {
            buffer.clear();
            self.free[class].push(buffer);
        }
    }

    /// Takes the contents of `slot` back and leaves it empty.
    pub fn release_from(&mut self, slot: &mut Vec<u8>) {
        if slot.capacity() > 0 {
            self.release(std::mem::take(slot));
        }
    }
}
