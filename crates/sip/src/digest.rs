//! Digest authentication for SIP, from the server's side (RFC 3261 section 22, RFC 8760).
//!
//! The problem: tell whether a REGISTER or INVITE comes from someone who knows a password, at
//! a cost of about a microsecond, without remembering anything about clients who have not
//! proved it, and without letting a captured request be played again.
//!
//! The approach, in the order a request meets it:
//!
//! 1. [`Challenge`] writes the header lines that ask for credentials, one per [`Algorithm`].
//!    Its nonce comes from [`NonceSource`] and certifies itself, so nothing is stored.
//! 2. [`Credentials::parse`] reads the value of an Authorization or Proxy-Authorization
//!    header in place.
//! 3. [`authenticate`] looks up the user's [`Ha1`], computes the response and compares.
//! 4. Only a response that is right reaches the [`ReplayFilter`], whose memory is fixed, so a
//!    stranger can fill nothing.
//!
//! Everything takes byte slices and the time; there is no clock, no randomness and no lock.
//! Nothing is allocated per request, except for a username or realm with escapes in it.
//!
//! Left out, and refused as unsupported: the `-sess` algorithms (they bind a session to one
//! nonce, which no SIP client was seen to want), `qop=auth-int` (it would need the body, which
//! proxies on the way may change), `username*` and `userhash=true` (finding a user by
//! the hash of the name would need a second index of users), and Authentication-Info with `rspauth`.

mod algorithm;
mod authenticate;
mod challenge;
mod credentials;
mod ha1;
mod nonce;
mod replay;
mod response;
mod scanner;
#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, HashValue, HexText};
pub use authenticate::{Attempt, Outcome, authenticate};
pub use challenge::Challenge;
pub use credentials::{
    Credentials, CredentialsError, PARAMETERS_MAX, Parameter, ParameterValue, scheme_is_digest,
};
pub use ha1::Ha1;
pub use nonce::{
    FreshNonce, NONCE_BYTES, NONCE_LIFETIME_MS_DEFAULT, Nonce, NonceSource, NonceState,
};
pub use replay::{
    NONCE_COUNT_WINDOW, REMEMBERED_NONCES_DEFAULT, REMEMBERED_NONCES_MAX, Replay, ReplayFilter,
};
pub use response::{ResponseInput, WithoutQop, verify};
