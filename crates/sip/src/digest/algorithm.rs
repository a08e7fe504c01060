//! The hash algorithms, their values and their hexadecimal text.

use std::fmt;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};
use subtle::ConstantTimeEq;

/// The longest hash of the supported algorithms, in bytes.
const HASH_BYTES_MAX: usize = 32;

/// A hash algorithm of Digest authentication (RFC 8760 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5, which every SIP client knows and which is the default when none is named.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256: SHA-512 with initial values of its own, cut to 256 bits (FIPS 180-4).
    Sha512_256,
}

impl Algorithm {
    /// All algorithms, the strongest first.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];

    /// The name on the wire (RFC 7616 section 6.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm of a name, in any case; none for `-sess` variants and unknown names.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| name.eq_ignore_ascii_case(algorithm.name().as_bytes()))
    }

    /// The length of a hash in bytes; its hexadecimal text is twice as long.
    #[must_use]
    pub const fn hash_bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 | Algorithm::Sha512_256 => 32,
        }
    }

    /// The hash of the parts written one after another.
    pub(super) fn hash(self, parts: &[&[u8]]) -> HashValue {
        fn run<D: Digest>(parts: &[&[u8]], out: &mut [u8]) {
            let mut digest = D::new();
            for part in parts {
                digest.update(part);
            }
            out.copy_from_slice(&digest.finalize());
        }
        let mut value = HashValue {
            algorithm: self,
            bytes: [0; HASH_BYTES_MAX],
        };
        let out = &mut value.bytes[..self.hash_bytes()];
        match self {
            Algorithm::Md5 => run::<Md5>(parts, out),
            Algorithm::Sha256 => run::<Sha256>(parts, out),
            Algorithm::Sha512_256 => run::<Sha512_256>(parts, out),
        }
        value
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A hash with the algorithm it was made by. Compared in constant time; never printed.
#[derive(Clone, Copy)]
pub struct HashValue {
    algorithm: Algorithm,
    /// The hash, then zeros up to the longest length.
    bytes: [u8; HASH_BYTES_MAX],
}

impl HashValue {
    /// The value of these bytes; none if their number is not the algorithm's.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, hash: &[u8]) -> Option<HashValue> {
        let mut bytes = [0; HASH_BYTES_MAX];
        if hash.len() != algorithm.hash_bytes() {
            return None;
        }
        bytes[..hash.len()].copy_from_slice(hash);
        Some(HashValue { algorithm, bytes })
    }

    /// The value of a hexadecimal text in either case; none if it has another length or digit.
    #[must_use]
    pub fn from_hex(algorithm: Algorithm, text: &[u8]) -> Option<HashValue> {
        if text.len() != algorithm.hash_bytes() * 2 {
            return None;
        }
        let mut bytes = [0; HASH_BYTES_MAX];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(HashValue { algorithm, bytes })
    }

    /// The algorithm it was made by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself: 16 or 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.hash_bytes()]
    }

    /// The hash in lower-case hexadecimal, as it is fed into the next hash and sent.
    #[must_use]
    pub fn to_hex(&self) -> HexText {
        let mut digits = [0; HASH_BYTES_MAX * 2];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.as_bytes()) {
            pair[0] = LOWER_CASE_DIGITS[usize::from(byte >> 4)];
            pair[1] = LOWER_CASE_DIGITS[usize::from(byte & 15)];
        }
        HexText {
            digits,
            digit_count: self.algorithm.hash_bytes() * 2,
        }
    }
}

impl PartialEq for HashValue {
    fn eq(&self, other: &HashValue) -> bool {
        // The algorithm is public; only the bytes must not leak through time.
        self.algorithm == other.algorithm && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for HashValue {}

impl fmt::Debug for HashValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashValue({}, redacted)", self.algorithm)
    }
}

/// The hexadecimal text of a hash, without an allocation. Its `Debug` does not show it.
#[derive(Clone, Copy)]
pub struct HexText {
    digits: [u8; HASH_BYTES_MAX * 2],
    digit_count: usize,
}

impl HexText {
    /// The digits as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.digit_count]
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Debug for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HexText(redacted)")
    }
}

/// The values of the hexadecimal digits in either case, and [`NO_DIGIT`] for other bytes.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let digit = LOWER_CASE_DIGITS[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = 0xff;

const LOWER_CASE_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The value of one hexadecimal digit in either case.
pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    let value = DIGIT_VALUES[usize::from(digit)];
    (value != NO_DIGIT).then_some(value)
}
