//! The members and the numbers that stand for them in records.
//!
//! One entry of text, a line a member: number, name, address, version, incarnation.

use std::net::SocketAddr;

use cluster::{Incarnation, NodeId};

use crate::entry::{Entry, Key, checked};
use crate::error::Error;

/// Most bytes of the entry; 64 members with the longest names need less.
pub const MEMBERS_BYTES_MAX: usize = 64 * 1024;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where other members reach it.
    pub address: SocketAddr,
    /// The version of its program.
    pub version: String,
    /// This life of its process.
    pub incarnation: Incarnation,
}

/// A node that has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, for ever.
    pub node: NodeId,
    /// What it said last.
    pub registration: Registration,
}

impl Registration {
    pub(crate) fn check(&self) -> Result<(), Error> {
        checked(&self.name)?;
        checked(&self.version)?;
        Ok(())
    }
}

/// Reads the entry.
pub(crate) fn read(entry: Option<&Entry>) -> Result<Vec<Member>, Error> {
    let bad = || Error::BadEntry {
        key: Key::members().as_str().to_owned(),
    };
    let bytes = entry.map_or(&[][..], |entry| &entry.bytes);
    if bytes.len() > MEMBERS_BYTES_MAX {
        return Err(bad());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    let members: Option<Vec<Member>> = text.lines().map(member).collect();
    members.ok_or_else(bad)
}

fn member(line: &str) -> Option<Member> {
    // What a later version says beyond these is left out.
    let mut words = line.split(' ');
    Some(Member {
        node: NodeId::new(words.next()?.parse().ok()?)?,
        registration: Registration {
            name: words.next()?.to_owned(),
            address: words.next()?.parse().ok()?,
            version: words.next()?.to_owned(),
            incarnation: Incarnation(u64::from_str_radix(words.next()?, 16).ok()?),
        },
    })
}

/// Writes the entry.
pub(crate) fn write(members: &[Member]) -> Vec<u8> {
    let mut text = String::new();
    for member in members {
        let Registration {
            name,
            address,
            version,
            incarnation,
        } = &member.registration;
        let node = member.node.index();
        text.push_str(&format!(
            "{node} {name} {address} {version} {:016x}\n",
            incarnation.0
        ));
    }
    text.into_bytes()
}

/// Enters a node: by its name if it is there, else under the lowest free number.
pub(crate) fn enter(
    members: &mut Vec<Member>,
    registration: &Registration,
) -> Result<Member, Error> {
    let registration = registration.clone();
    let known = members
        .iter_mut()
        .find(|member| member.registration.name == registration.name);
    if let Some(member) = known {
        member.registration = registration;
        return Ok(member.clone());
    }
    let taken = |node: &NodeId| members.iter().any(|member| member.node == *node);
    let node = (0..=u8::MAX)
        .map_while(NodeId::new)
        .find(|node| !taken(node))
        .ok_or(Error::MembersFull)?;
    let member = Member { node, registration };
    members.push(member.clone());
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(name: &str) -> Registration {
        Registration {
            name: name.to_owned(),
            address: "[2001:db8::1]:7400".parse().unwrap(),
            version: "0.1.0".to_owned(),
            incarnation: Incarnation(u64::MAX),
        }
    }

    #[test]
    fn a_member_keeps_its_number_and_the_65th_gets_none() {
        let mut members = Vec::new();
        for number in 0..64 {
            let member = enter(&mut members, &registration(&format!("n{number}"))).unwrap();
            assert_eq!(member.node.index(), number);
        }
        let again = Registration {
            incarnation: Incarnation(2),
            ..registration("n7")
        };
        assert_eq!(enter(&mut members, &again).unwrap().node.index(), 7);
        let one_more = enter(&mut members, &registration("n64"));
        assert!(matches!(one_more, Err(Error::MembersFull)));
        let entry = Entry {
            revision: 1,
            bytes: write(&members),
        };
        assert_eq!(read(Some(&entry)).unwrap(), members);
    }

    #[test]
    fn garbage_among_the_members_is_told_and_later_fields_are_skipped() {
        let entry = |text: &str| Entry {
            revision: 1,
            bytes: text.as_bytes().to_vec(),
        };
        for text in ["x", "64 a 1.2.3.4:5 1 0", "1 a 1.2.3.4 1 0", "\u{0}"] {
            assert!(read(Some(&entry(text))).is_err(), "{text}");
        }
        let later = read(Some(&entry("1 a 1.2.3.4:5 1 f more to say\n"))).unwrap();
        assert_eq!(later[0].registration.incarnation, Incarnation(15));
        assert_eq!(read(None).unwrap(), []);
    }
}
