//! The records that an owner of the edge's service streams to its standby: their kinds, and who takes them in.
//!
//! Every value is fields of tag, length and value ([`records::tlv`]): an older reader passes over what it does not
//! know, a newer one fills in what is absent. Keys hold what a record has to be routed by, so that members with
//! different numbers of workers each give a record to the worker that will be given its messages.

use records::tlv;

pub use proxy::record::{BRANCH, DIALOG, INVITE, INVITE_STATE};

/// A binding. Key: its number (8 bytes), then its address of record.
pub const BINDING: u16 = 1;
/// The secrets that all members of a service share ([`Keys`]). Key: empty. The owner's node writes it, once a term; a
/// member's node reads it before it begins its workers. No worker is given it.
pub const KEYS: u16 = 16;

/// Who is to be given a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shard<'a> {
    /// The worker that is given the messages with this Call-ID: the record is of one of its calls.
    CallId(&'a [u8]),
    /// Any worker, but always the same: the bindings of this address of record.
    Aor(&'a [u8]),
    /// No worker: it is the node's, or unknown to this version, which passes over it.
    Nobody,
}

/// Who is to be given the record of this kind and key, be it put or removed.
pub fn shard_key(kind: u16, key: &[u8]) -> Shard<'_> {
    let at = match kind {
        BINDING | INVITE | INVITE_STATE | DIALOG => 8,
        BRANCH => 12,
        _ => return Shard::Nobody,
    };
    match (kind, key.get(at..)) {
        (_, None) => Shard::Nobody,
        (BINDING, Some(aor)) => Shard::Aor(aor),
        (_, Some(call_id)) => Shard::CallId(call_id),
    }
}

/// Appends the key of a binding.
pub fn binding_key(aor: &[u8], id: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(aor);
}

/// Secrets that have to be the same on all members of a service, since they have signed or hashed what peers and
/// records hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// [`proxy::Settings::cookie_secret`]; what else is to be alike on all members is derived from it.
    pub cookie_secret: (u64, u64),
    /// The secret of [`crate::AuthSettings::nonces`]. What was used of nonces dies with the owner, so a new owner makes
    /// its source anew with this secret and the time at which it took office: earlier nonces are stale then, which
    /// phones hear of and put right without asking anybody.
    pub nonce_secret: [u8; 16],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

const COOKIE_FIRST: u64 = 1;
const COOKIE_SECOND: u64 = 2;
const NONCE_SECRET: u64 = 3;

impl Keys {
    /// Appends the value of the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        tlv::write_number(COOKIE_FIRST, self.cookie_secret.0, out);
        tlv::write_number(COOKIE_SECOND, self.cookie_secret.1, out);
        tlv::write_bytes(NONCE_SECRET, &self.nonce_secret, out);
    }

    /// Reads the value of the record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &[u8]) -> Result<Keys, records::Error> {
        let mut found = (None, None, None);
        let mut fields = tlv::Fields::new(value);
        while let Some((tag, bytes)) = fields.field()? {
            match tag {
                COOKIE_FIRST => found.0 = Some(tlv::number(bytes)?),
                COOKIE_SECOND => found.1 = Some(tlv::number(bytes)?),
                NONCE_SECRET => {
                    let key = bytes.try_into();
                    found.2 = Some(key.map_err(|_| records::Error::Field { tag })?);
                }
                _ => {}
            }
        }
        let missing = |tag| records::Error::Missing { tag };
        Ok(Keys {
            cookie_secret: (
                found.0.ok_or(missing(COOKIE_FIRST))?,
                found.1.ok_or(missing(COOKIE_SECOND))?,
            ),
            nonce_secret: found.2.ok_or(missing(NONCE_SECRET))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_to_the_worker_that_has_its_call_or_its_user() {
        let mut key = Vec::new();
        binding_key(b"bob@example.org", 7, &mut key);
        assert_eq!(shard_key(BINDING, &key), Shard::Aor(b"bob@example.org"));
        assert_eq!(shard_key(INVITE, b"12345678call"), Shard::CallId(b"call"));
        assert_eq!(
            shard_key(BRANCH, b"123456789012call"),
            Shard::CallId(b"call")
        );
        assert_eq!(shard_key(INVITE, b"short"), Shard::Nobody);
        assert_eq!(shard_key(KEYS, b""), Shard::Nobody);
        assert_eq!(shard_key(999, b"whatever it is"), Shard::Nobody);
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let keys = Keys {
            cookie_secret: (1, u64::MAX),
            nonce_secret: [9; 16],
        };
        let mut value = Vec::new();
        keys.write(&mut value);
        assert_eq!(Keys::read(&value), Ok(keys));
        assert_eq!(
            Keys::read(&value[..3]),
            Err(records::Error::Missing { tag: 2 })
        );
    }
}
