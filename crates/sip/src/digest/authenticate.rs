//! The decision on one request's credentials.

use std::hint::black_box;

use super::algorithm::Algorithm;
use super::credentials::{Credentials, CredentialsError};
use super::ha1::Ha1;
use super::nonce::{FreshNonce, NonceSource, NonceState};
use super::replay::Replay;
use super::response::{WithoutQop, verify};

/// One request that tries to authenticate.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What it brought.
    pub credentials: &'a Credentials<'a>,
    /// Its method, as it stands in the request line.
    pub method: &'a [u8],
    /// The time, by the clock that the nonces were issued by.
    pub now_ms: u64,
    /// Whether old clients are served.
    pub without_qop: WithoutQop,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client knows the password and the request is new.
    Authentic,
    /// The response is right but the nonce is not (too old, of another process or forgotten).
    /// Challenge again with `stale`; the client goes on by itself.
    Stale,
    /// The response is right and was seen before. Challenge again with `stale`.
    Replayed,
    /// There is no such user, or none with this algorithm. To the outside the same as
    /// [`Outcome::WrongPassword`]: challenge again.
    UnknownUser,
    /// The response is wrong. Challenge again.
    WrongPassword,
    /// The header breaks the grammar: 400.
    Malformed(CredentialsError),
    /// The header asks for what is not offered: challenge again.
    Unsupported(CredentialsError),
    /// There is no `qop`, and that is refused here: challenge again.
    QopMissing,
}

impl Outcome {
    /// Whether a new challenge should say `stale=TRUE` (RFC 7616 section 3.3 wants it only
    /// for clients that have shown they know the password).
    #[must_use]
    pub const fn challenge_is_stale(self) -> bool {
        matches!(self, Outcome::Stale | Outcome::Replayed)
    }
}

impl From<CredentialsError> for Outcome {
    fn from(error: CredentialsError) -> Outcome {
        if error.is_unsupported() {
            Outcome::Unsupported(error)
        } else {
            Outcome::Malformed(error)
        }
    }
}

/// Decides on one attempt.
///
/// `lookup` finds what is stored for a username and realm (both unescaped) by an algorithm. It
/// decides by the realm too: one that is not served here has no users.
///
/// `admit` passes a nonce and count to the [`super::ReplayFilter`] that
/// [`FreshNonce::filter_index`] chooses. It is called only when the response is right, so a
/// lock around the filter is held for its few instructions and not for the hashing.
///
/// For an unknown user the response is computed all the same, against a dummy: the time taken
/// here does not tell who exists. That of `lookup` is the caller's to mind.
pub fn authenticate(
    attempt: &Attempt<'_>,
    nonces: &NonceSource,
    lookup: impl FnOnce(&[u8], &[u8], Algorithm) -> Option<Ha1>,
    admit: impl FnOnce(&FreshNonce, Option<u32>) -> Replay,
) -> Outcome {
    let credentials = attempt.credentials;
    if credentials.qop().is_none() && attempt.without_qop == WithoutQop::Refuse {
        return Outcome::QopMissing;
    }
    let algorithm = credentials.algorithm();
    let stored = lookup(
        &credentials.username().unescaped(),
        &credentials.realm().unescaped(),
        algorithm,
    );
    let compared = stored.unwrap_or_else(|| dummy(algorithm));
    // Not to be moved into the branch for known users.
    let is_right = black_box(verify(
        credentials,
        &compared,
        attempt.method,
        attempt.without_qop,
    ));
    if stored.is_none() {
        return Outcome::UnknownUser;
    }
    if !is_right {
        return Outcome::WrongPassword;
    }
    match nonces.check(attempt.now_ms, credentials.nonce().as_sent()) {
        NonceState::Stale | NonceState::Forged => Outcome::Stale,
        NonceState::Fresh(nonce) => match admit(&nonce, credentials.nc()) {
            Replay::Accepted => Outcome::Authentic,
            Replay::Replayed => Outcome::Replayed,
            Replay::Stale => Outcome::Stale,
        },
    }
}

/// A value that no password is known to lead to; it is never accepted anyway.
fn dummy(algorithm: Algorithm) -> Ha1 {
    Ha1::from_bytes(algorithm, &[0x5a; 32][..algorithm.hash_bytes()])
        .expect("as many bytes as the algorithm has")
}
