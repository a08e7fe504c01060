//! Users and their credentials in memory: SQL is never asked while a phone waits.

use std::hash::Hasher;

use hashbrown::HashTable;
use sip::digest::{Algorithm, Ha1};
use siphasher::sip::SipHasher13;
use store::Credentials;

/// Users by address-of-record. Each is one block: a byte of flags, the values that are there, the name.
#[derive(Debug, Default)]
pub(crate) struct Users {
    table: HashTable<Box<[u8]>>,
    seed: (u64, u64),
}

const ALGORITHMS: [(Algorithm, usize); 3] = [
    (Algorithm::Md5, 16),
    (Algorithm::Sha256, 32),
    (Algorithm::Sha512_256, 32),
];

impl Users {
    pub(crate) fn new(seed: (u64, u64)) -> Users {
        Users {
            table: HashTable::new(),
            seed,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn insert(&mut self, user: &str, domain: &str, credentials: &Credentials) {
        let values: [Option<&[u8]>; 3] = [
            credentials.ha1_md5.as_ref().map(|value| &value[..]),
            credentials.ha1_sha256.as_ref().map(|value| &value[..]),
            credentials.ha1_sha512_256.as_ref().map(|value| &value[..]),
        ];
        let mut block = vec![0];
        for (at, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                block[0] |= 1 << at;
                block.extend_from_slice(value);
            }
        }
        block.extend_from_slice(user.as_bytes());
        block.push(b'@');
        block.extend_from_slice(domain.as_bytes());
        let seed = self.seed;
        let hash = hash(seed, name(&block));
        match self
            .table
            .find_mut(hash, |other| name(other) == name(&block))
        {
            Some(old) => *old = block.into(),
            None => {
                self.table
                    .insert_unique(hash, block.into(), |block| self::hash(seed, name(block)));
            }
        }
    }

    pub(crate) fn contains(&self, aor: &[u8]) -> bool {
        self.find(aor).is_some()
    }

    pub(crate) fn credential(&self, aor: &[u8], wanted: Algorithm) -> Option<Ha1> {
        let block = self.find(aor)?;
        let mut at = 1;
        for (bit, (algorithm, length)) in ALGORITHMS.into_iter().enumerate() {
            if block[0] & 1 << bit == 0 {
                continue;
            }
            if algorithm == wanted {
                return Ha1::from_bytes(wanted, &block[at..at + length]);
            }
            at += length;
        }
        None
    }

    fn find(&self, aor: &[u8]) -> Option<&[u8]> {
        self.table
            .find(hash(self.seed, aor), |block| name(block) == aor)
            .map(|block| &**block)
    }
}

/// The address-of-record in a block.
fn name(block: &[u8]) -> &[u8] {
    let values = (0..3)
        .filter(|bit| block[0] & 1 << bit != 0)
        .map(|bit| ALGORITHMS[bit].1);
    &block[1 + values.sum::<usize>()..]
}

fn hash(seed: (u64, u64), aor: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    hasher.write(aor);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_each_algorithm_that_is_stored() {
        let mut users = Users::new((1, 2));
        let md5 = Some([7; 16]);
        users.insert(
            "alice",
            "example.org",
            &Credentials {
                ha1_md5: md5,
                ha1_sha256: None,
                ha1_sha512_256: Some([9; 32]),
            },
        );
        let aor = b"alice@example.org";
        assert!(users.contains(aor));
        assert_eq!(
            users.credential(aor, Algorithm::Md5),
            Ha1::from_bytes(Algorithm::Md5, &[7; 16])
        );
        assert_eq!(users.credential(aor, Algorithm::Sha256), None);
        assert_eq!(
            users.credential(aor, Algorithm::Sha512_256),
            Ha1::from_bytes(Algorithm::Sha512_256, &[9; 32])
        );
        assert!(!users.contains(b"bob@example.org"));
    }

    #[test]
    fn new_credentials_replace_the_old_ones() {
        let mut users = Users::new((1, 2));
        users.insert(
            "a",
            "b",
            &Credentials {
                ha1_md5: Some([1; 16]),
                ..Credentials::default()
            },
        );
        users.insert(
            "a",
            "b",
            &Credentials {
                ha1_md5: Some([2; 16]),
                ..Credentials::default()
            },
        );
        assert_eq!(users.len(), 1);
        assert_eq!(
            users.credential(b"a@b", Algorithm::Md5),
            Ha1::from_bytes(Algorithm::Md5, &[2; 16])
        );
    }
}
