//! Call-IDs, tags and branches that say where what they name is kept, so that no table is needed to find it.

/// What a [`Name`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call that was made.
    Call,
    /// A call that was taken.
    Answer,
    /// A user's registrations.
    Registration,
}

/// The name of a call, an answer or a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    /// The thread of the run: no other thread and no other run has this number.
    pub(crate) run: u32,
    /// Its place.
    pub(crate) index: u32,
    /// How many there were at this place before.
    pub(crate) generation: u32,
}

/// How long a name is as text.
pub(crate) const BYTES: usize = 25;

impl Name {
    /// Appends it as text.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    /// It as text.
    pub(crate) fn bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = match self.kind {
            Kind::Call => b'c',
            Kind::Answer => b'a',
            Kind::Registration => b'r',
        };
        let words = [self.run, self.index, self.generation];
        for (place, word) in bytes[1..].chunks_exact_mut(8).zip(words) {
            for (at, digit) in place.iter_mut().enumerate() {
                *digit = DIGITS[(word >> (28 - 4 * at)) as usize & 15];
            }
        }
        bytes
    }

    /// Reads it, if it is one of ours.
    pub(crate) fn parse(bytes: &[u8], run: u32) -> Option<Name> {
        let (&kind, words) = bytes.split_first().filter(|_| bytes.len() == BYTES)?;
        let kind = match kind {
            b'c' => Kind::Call,
            b'a' => Kind::Answer,
            b'r' => Kind::Registration,
            _ => return None,
        };
        let word = |at: usize| {
            let text = std::str::from_utf8(&words[at * 8..at * 8 + 8]).ok()?;
            u32::from_str_radix(text, 16).ok()
        };
        Some(Name {
            kind,
            run: word(0).filter(|word| *word == run)?,
            index: word(1)?,
            generation: word(2)?,
        })
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_by_its_own_run_only() {
        let name = Name {
            kind: Kind::Answer,
            run: 0xdead_beef,
            index: 3,
            generation: 0x1_0000,
        };
        let mut text = Vec::new();
        name.push(&mut text);
        assert_eq!(Name::parse(&text, 0xdead_beef), Some(name));
        assert_eq!(Name::parse(&text, 1), None);
        assert_eq!(Name::parse(&text[1..], 0xdead_beef), None);
        assert_eq!(Name::parse(b"a23456789012345678901234\xff", 0), None);
    }
}
