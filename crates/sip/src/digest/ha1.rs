//! What the store keeps instead of a password.

use std::fmt;

use super::algorithm::{Algorithm, HashValue, HexText};

/// H(user ":" realm ":" password) of one algorithm (RFC 7616 section 3.4.2).
///
/// It stands in for the password in one realm, so it is guarded like one: `Debug` does not show
/// it and comparison takes the same time wherever two values differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ha1(HashValue);

impl Ha1 {
    /// Computes the value kept for a user. The parts are the plain ones, without quotes or
    /// escapes; a realm and user as UTF-8 if they are not ASCII.
    #[must_use]
    pub fn compute(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Ha1 {
        Ha1(algorithm.hash(&[user, b":", realm, b":", password]))
    }

    /// The value of stored bytes; none if there are not 16 for MD5 or 32 for the others.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Ha1> {
        HashValue::from_bytes(algorithm, bytes).map(Ha1)
    }

    /// The value of a stored hexadecimal text in either case; none if it is not one of the
    /// algorithm's length.
    #[must_use]
    pub fn from_hex(algorithm: Algorithm, text: &[u8]) -> Option<Ha1> {
        HashValue::from_hex(algorithm, text).map(Ha1)
    }

    /// The algorithm it was made by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    /// The bytes to store: 16 or 32.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text to store, in lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> HexText {
        self.0.to_hex()
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, redacted)", self.algorithm())
    }
}
