//! What two nodes tell each other first.

use records::tlv::{self, Fields};

use super::error::PeerError;

/// Most nodes that a node has links to: as many as a cluster has.
pub const PEERS_MAX: usize = 64;
/// Longest greeting, in bytes.
pub(super) const GREETING_BYTES_MAX: usize = 16 * 1024;
/// The version of the links.
const VERSION_NUMBER: u64 = 1;

const VERSION: u64 = 1;
const CLUSTER: u64 = 2;
const NAME: u64 = 3;
const NUMBER: u64 = 4;
const AGREEMENT: u64 = 5;

/// Who a node is, and what it holds to be agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) number: u64,
    /// Lines, `subject = value`, that have to be the same where both ends have them.
    pub(super) agreement: String,
}

impl Greeting {
    /// Appends it as a frame.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; 4]);
        tlv::write_number(VERSION, VERSION_NUMBER, out);
        tlv::write_bytes(CLUSTER, self.cluster.as_bytes(), out);
        tlv::write_bytes(NAME, self.name.as_bytes(), out);
        tlv::write_number(NUMBER, self.number, out);
        tlv::write_bytes(AGREEMENT, self.agreement.as_bytes(), out);
        let length = (out.len() - begin - 4) as u32;
        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads one, without the length before it.
    pub(super) fn read(bytes: &[u8]) -> Result<Greeting, PeerError> {
        let (mut version, mut number) = (None, None);
        let (mut cluster, mut name, mut agreement) = (None, None, String::new());
        let garbage = |_| PeerError::Garbage;
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).map_err(|_| PeerError::Garbage);
        let mut fields = Fields::new(bytes);
        while let Some((tag, value)) = fields.field().map_err(garbage)? {
            match tag {
                VERSION => version = Some(tlv::number(value).map_err(garbage)?),
                CLUSTER => cluster = Some(text(value)?),
                NAME => name = Some(text(value)?),
                NUMBER => number = Some(tlv::number(value).map_err(garbage)?),
                AGREEMENT => agreement = text(value)?,
                _ => {}
            }
        }
        match version {
            Some(VERSION_NUMBER) => {}
            Some(found) => return Err(PeerError::Version { found }),
            None => return Err(PeerError::Garbage),
        }
        Ok(Greeting {
            cluster: cluster.ok_or(PeerError::Garbage)?,
            name: name.ok_or(PeerError::Garbage)?,
            number: number.ok_or(PeerError::Garbage)?,
            agreement,
        })
    }

    /// Whether the other end is of our cluster and configured as we are.
    pub(super) fn check(&self, other: &Greeting) -> Result<(), PeerError> {
        if other.cluster != self.cluster {
            return Err(PeerError::OtherCluster {
                found: other.cluster.clone(),
            });
        }
        for own in self.agreement.lines() {
            // What only one of them knows is of a later version.
            let differs = |line: &&str| subject(line) == subject(own) && *line != own;
            if let Some(found) = other.agreement.lines().find(differs) {
                return Err(PeerError::Disagreement {
                    found: found.to_owned(),
                    own: own.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// What a line of the agreement is about.
fn subject(line: &str) -> &str {
    line.split_once('=').map_or(line, |(subject, _)| subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting {
            cluster: "lab".to_owned(),
            name: "edge1".to_owned(),
            number: 3,
            agreement: "lease_ms = 300\nservice edge = edge1 edge2".to_owned(),
        }
    }

    #[test]
    fn a_greeting_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        greeting().write(&mut bytes);
        assert_eq!(Greeting::read(&bytes[4..]).unwrap(), greeting());
        assert!(matches!(
            Greeting::read(b"GET / HTTP/1.1"),
            Err(PeerError::Garbage)
        ));
        assert!(matches!(Greeting::read(&[]), Err(PeerError::Garbage)));
    }

    #[test]
    fn the_line_that_differs_is_told() {
        let own = greeting();
        assert!(own.check(&greeting()).is_ok());
        let other = Greeting {
            agreement: "lease_ms = 300\nservice edge = edge1".to_owned(),
            ..greeting()
        };
        let Err(PeerError::Disagreement { found, own }) = own.check(&other) else {
            panic!("it differs");
        };
        assert_eq!(
            (found.as_str(), own.as_str()),
            ("service edge = edge1", "service edge = edge1 edge2")
        );
    }

    #[test]
    fn a_line_that_a_later_version_adds_keeps_nobody_out() {
        let mut own = greeting();
        own.agreement
            .push_str("\nservice edge address = 10.0.0.100");
        assert!(own.check(&greeting()).is_ok());
        assert!(greeting().check(&own).is_ok());
    }
}
