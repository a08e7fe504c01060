//! Nonces that certify themselves, so that a challenge costs no memory.
//!
//! A nonce is the time of its issue, a number unique to it and a tag over both, keyed by a
//! secret of this process. The tag is SipHash-2-4 with 128 bits of output, a keyed function
//! made for short inputs; of its output 80 bits are sent and 48 are kept back.
//!
//! Why that is enough: a forger has one try in 2^80 a request, only against this server, only
//! while the process lives, and what a forged nonce wins is small. It does not replace the
//! password; it would only let someone who has seen a response to that very nonce play it
//! again. HMAC-SHA-256 would guard the same thing at forty times the price.
//!
//! The 48 bits kept back place the nonce in the [`super::ReplayFilter`]: nobody outside can
//! tell which nonces share a set there, and so push out another's.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

/// The length of a nonce's text in bytes.
pub const NONCE_BYTES: usize = 32;

/// How long a nonce may be used if nothing else is configured.
pub const NONCE_LIFETIME_MS_DEFAULT: u64 = 300_000;

/// How far in the future a nonce's time may lie: threads read the clock one after another.
const NONCE_AHEAD_MS_MAX: u64 = 1_000;

const TIME_BYTES: usize = 6;
const UNIQUE_BYTES: usize = 8;
const TAG_BYTES: usize = 10;
const STAMP_BYTES: usize = TIME_BYTES + UNIQUE_BYTES;
const RAW_BYTES: usize = STAMP_BYTES + TAG_BYTES;
/// What 48 bits hold: milliseconds until the year 10889.
const TIME_MS_MAX: u64 = (1 << (TIME_BYTES * 8)) - 1;

/// Issues nonces and knows its own again.
#[derive(Clone)]
pub struct NonceSource {
    keyed: SipHasher24,
    started_ms: u64,
    lifetime_ms: u64,
}

impl NonceSource {
    /// A source for this process.
    ///
    /// `secret` is 16 random bytes, drawn anew by each process and shared by its threads.
    /// `started_ms` is when the process, and so its replay filter, began: should the secret
    /// be kept across a restart after all, nonces from before are stale, since what was used
    /// of them is forgotten. Times are Unix milliseconds of a clock that is not set back while
    /// the process runs (a monotonic clock with a fixed offset is right).
    #[must_use]
    pub fn new(secret: [u8; 16], started_ms: u64) -> NonceSource {
        NonceSource {
            keyed: SipHasher24::new_with_key(&secret),
            started_ms: started_ms.min(TIME_MS_MAX),
            lifetime_ms: NONCE_LIFETIME_MS_DEFAULT,
        }
    }

    /// The same with another lifetime.
    #[must_use]
    pub fn with_lifetime_ms(mut self, lifetime_ms: u64) -> NonceSource {
        self.lifetime_ms = lifetime_ms;
        self
    }

    /// A new nonce. `unique` is a number that is used once in this process (a counter will
    /// do; threads may have ranges of their own).
    #[must_use]
    pub fn issue(&self, now_ms: u64, unique: u64) -> Nonce {
        // Never before the start, lest a clock set back make every new nonce stale.
        let issued_ms = now_ms.clamp(self.started_ms, TIME_MS_MAX);
        let mut raw = [0; RAW_BYTES];
        raw[..TIME_BYTES].copy_from_slice(&issued_ms.to_be_bytes()[8 - TIME_BYTES..]);
        raw[TIME_BYTES..STAMP_BYTES].copy_from_slice(&unique.to_be_bytes());
        let (tag, _) = self.seal(&raw[..STAMP_BYTES]);
        raw[STAMP_BYTES..].copy_from_slice(&tag);
        Nonce { text: encode(&raw) }
    }

    /// Judges a nonce as it came back, at its time.
    #[must_use]
    pub fn check(&self, now_ms: u64, nonce: &[u8]) -> NonceState {
        let Some(raw) = decode(nonce) else {
            return NonceState::Forged;
        };
        let (stamp, sent_tag) = raw.split_at(STAMP_BYTES);
        let (tag, placement) = self.seal(stamp);
        if !bool::from(tag.as_slice().ct_eq(sent_tag)) {
            return NonceState::Forged;
        }
        let (time, unique) = stamp.split_at(TIME_BYTES);
        let issued_ms = big_endian(time);
        let now_ms = now_ms.max(self.started_ms);
        let is_fresh = issued_ms >= self.started_ms
            && now_ms.saturating_sub(issued_ms) <= self.lifetime_ms
            && issued_ms.saturating_sub(now_ms) <= NONCE_AHEAD_MS_MAX;
        if is_fresh {
            NonceState::Fresh(FreshNonce {
                issued_ms,
                unique: big_endian(unique),
                placement,
            })
        } else {
            NonceState::Stale
        }
    }

    /// A keyed hash of something that a nonce's number is to be tied to, such as the address it is given to.
    /// `peer` has another length than a nonce's stamp (14 bytes), lest one stand for the other.
    #[must_use]
    pub fn mark(&self, peer: &[u8]) -> u64 {
        debug_assert_ne!(peer.len(), STAMP_BYTES);
        let mut keyed = self.keyed;
        keyed.write(peer);
        keyed.finish128().h1
    }

    /// The tag that is sent and the placement that is kept back.
    fn seal(&self, stamp: &[u8]) -> ([u8; TAG_BYTES], u64) {
        let mut keyed = self.keyed;
        keyed.write(stamp);
        let output = keyed.finish128().as_u128().to_be_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&output[..TAG_BYTES]);
        (tag, big_endian(&output[TAG_BYTES..]))
    }
}

impl fmt::Debug for NonceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceSource")
            .field("started_ms", &self.started_ms)
            .field("lifetime_ms", &self.lifetime_ms)
            .finish_non_exhaustive()
    }
}

/// A nonce's text: letters, digits, `-` and `_`, to be put between quotes as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    text: [u8; NONCE_BYTES],
}

impl Nonce {
    /// The text for [`super::Challenge::nonce`].
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", self.text.escape_ascii())
    }
}

/// What a nonce that came back is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// It is ours and in time. Whether it was used already, the replay filter knows.
    Fresh(FreshNonce),
    /// It is ours, but too old, or from before the process began.
    Stale,
    /// It is not ours, or of another process.
    Forged,
}

/// A nonce that this source issued within its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshNonce {
    pub(super) issued_ms: u64,
    pub(super) unique: u64,
    /// 48 bits that look random and are unknown outside.
    pub(super) placement: u64,
}

impl FreshNonce {
    /// When it was issued, in Unix milliseconds.
    #[must_use]
    pub const fn issued_ms(&self) -> u64 {
        self.issued_ms
    }

    /// The number that it was issued with.
    #[must_use]
    pub const fn unique(&self) -> u64 {
        self.unique
    }

    /// Which of `filter_count` replay filters remembers this nonce, evenly spread. All uses of
    /// a nonce must meet the same filter. 0 if the count is 0; at most 65536 are told apart.
    #[must_use]
    pub const fn filter_index(&self, filter_count: usize) -> usize {
        // Bits 0 to 15 of the placement choose the filter, the others the set in it.
        (((self.placement & 0xffff) as u128 * filter_count as u128) >> 16) as usize
    }
}

/// The number of at most 8 bytes, the most significant first.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// RFC 4648 section 5; 24 bytes fill 32 digits, so there is no padding and one text a value.
fn encode(raw: &[u8; RAW_BYTES]) -> [u8; NONCE_BYTES] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = [0; NONCE_BYTES];
    for (digits, bytes) in text.chunks_exact_mut(4).zip(raw.chunks_exact(3)) {
        let group = big_endian(bytes);
        for (digit, shift) in digits.iter_mut().zip([18, 12, 6, 0]) {
            *digit = DIGITS[(group >> shift) as usize & 63];
        }
    }
    text
}

fn decode(text: &[u8]) -> Option<[u8; RAW_BYTES]> {
    if text.len() != NONCE_BYTES {
        return None;
    }
    let mut raw = [0; RAW_BYTES];
    for (bytes, digits) in raw.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
        let group = digits.iter().try_fold(0u32, |group, &digit| {
            Some(group << 6 | u32::from(digit_value(digit)?))
        })?;
        bytes.copy_from_slice(&group.to_be_bytes()[1..]);
    }
    Some(raw)
}

const fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}
