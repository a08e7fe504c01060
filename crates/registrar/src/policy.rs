//! What the operator decides about registrations.

/// The operator's limits on registrations (RFC 3261 section 10.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Shortest interval taken, in seconds; a shorter one is answered with 423. Intervals of an hour
    /// and more are never too brief, whatever is set here (section 10.3 step 7).
    pub expires_min_s: u32,
    /// Longest interval granted, in seconds; a longer one is shortened.
    pub expires_max_s: u32,
    /// Interval granted where the request names none, in seconds.
    pub expires_default_s: u32,
    /// Most bindings of one address of record; the request that would exceed it gets 403.
    pub bindings_per_aor_max: u16,
    /// Whether a REGISTER with Path that does not say `Supported: path` gets 420 (RFC 3327
    /// section 5.3 leaves it to the registrar). If not, the path is stored all the same.
    pub path_needs_support: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            expires_min_s: 60,
            expires_max_s: 7_200,
            expires_default_s: 3_600,
            bindings_per_aor_max: 10,
            path_needs_support: false,
        }
    }
}
