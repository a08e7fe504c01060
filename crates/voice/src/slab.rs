//! Items by small numbers, which are used again.

/// Items in one block of memory.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Room for so many items is reserved: until they are there, it is addresses and no memory.
    pub(crate) fn with_capacity(capacity: usize) -> Slab<T> {
        Slab {
            items: Vec::with_capacity(capacity),
            free: Vec::new(),
        }
    }

    /// Adds an item and gives its number.
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.items[index as usize] = Some(item);
            return index;
        }
        self.items.push(Some(item));
        self.items.len() as u32 - 1
    }

    /// Takes an item out.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let item = self.items.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(item)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.items.get_mut(index as usize)?.as_mut()
    }

    /// Items that are in.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let mut slab = Slab::with_capacity(2);
        let (one, two) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((slab.get(one), slab.get(two)), (Some(&'a'), Some(&'b')));
        assert_eq!(slab.remove(one), Some('a'));
        assert_eq!(
            (slab.remove(one), slab.get(one), slab.len()),
            (None, None, 1)
        );
        assert_eq!(slab.insert('c'), one);
        assert_eq!(slab.get_mut(one), Some(&mut 'c'));
        assert_eq!((slab.get(9), slab.len()), (None, 2));
    }
}
