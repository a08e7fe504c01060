//! What the API says of sources that are banned.

use serde::{Deserialize, Serialize};

/// A ban in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The address, or the IPv6 network of 64 bits.
    pub source: String,
    /// What was one too many: `password`, `credentials`, `challenged`, `unknown-user`, `malformed`, `options`,
    /// `relaying`, `rate`.
    pub reason: String,
    /// Whether only the holder of the address can have done it. If not, the ban holds for datagrams only.
    pub proved: bool,
    /// Which one it is, of this source; each proved one is twice as long as the one before.
    pub times: u8,
    /// How long it still lasts, in seconds.
    pub left_s: u64,
    /// Messages dropped by it.
    pub dropped: u32,
}
