//! What the node says to its supervisor: a datagram each.

use cluster::{Identity, Incarnation, NodeId};

use super::Told;

/// Most bytes of a datagram; what is longer is of a later version, and not understood.
pub(super) const WORD_BYTES_MAX: usize = 16;

/// One thing that the node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It lives.
    Beat,
    /// Who it is in this life.
    Identity(Identity),
    /// What systemd is to know.
    Told(Told),
}

impl Word {
    pub(super) fn bytes(self) -> ([u8; WORD_BYTES_MAX], usize) {
        let mut bytes = [0; WORD_BYTES_MAX];
        let length = match self {
            Word::Beat => {
                bytes[0] = b'B';
                1
            }
            Word::Identity(identity) => {
                bytes[0] = b'I';
                // Below 64.
                bytes[1] = identity.node.index() as u8;
                bytes[2..10].copy_from_slice(&identity.incarnation.0.to_be_bytes());
                10
            }
            Word::Told(told) => {
                bytes[0] = match told {
                    Told::Ready => b'R',
                    Told::Stopping => b'S',
                };
                1
            }
        };
        (bytes, length)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Word> {
        match bytes {
            b"B" => Some(Word::Beat),
            b"R" => Some(Word::Told(Told::Ready)),
            b"S" => Some(Word::Told(Told::Stopping)),
            [b'I', node, incarnation @ ..] => Some(Word::Identity(Identity {
                node: NodeId::new(*node)?,
                incarnation: Incarnation(u64::from_be_bytes(incarnation.try_into().ok()?)),
            })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_said_and_others_are_not_understood() {
        let identity = Identity {
            node: NodeId::new(63).expect("a number below 64"),
            incarnation: Incarnation(0x0123_4567_89ab_cdef),
        };
        let words = [
            Word::Beat,
            Word::Identity(identity),
            Word::Told(Told::Ready),
            Word::Told(Told::Stopping),
        ];
        for word in words {
            let (bytes, length) = word.bytes();
            assert_eq!(Word::read(&bytes[..length]), Some(word));
        }
        for bytes in [&b""[..], b"X", b"BB", b"I\x40\0\0\0\0\0\0\0\0", b"I\x01"] {
            assert_eq!(Word::read(bytes), None);
        }
    }
}
