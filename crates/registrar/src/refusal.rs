//! Why a REGISTER is refused.

use sip::{Defect, HeaderName};

/// Why a REGISTER changed nothing. All of them are the caller's fault or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A header is absent, repeated or cannot be read.
    Defect(Defect),
    /// `Contact: *` beside another contact or without `Expires: 0` (RFC 3261 section 10.3 step 6).
    Wildcard,
    /// A header's contents are longer than a binding holds.
    TooLong {
        /// Which header.
        header: HeaderName,
        /// The limit.
        size_bytes_max: usize,
    },
    /// More contacts in one request than are looked at.
    TooManyContacts {
        /// The limit.
        contacts_max: usize,
    },
    /// The address of record would have more bindings than the policy allows.
    TooManyBindings {
        /// The limit.
        bindings_max: u16,
    },
    /// An interval below the minimum (section 10.3 step 7).
    IntervalTooBrief {
        /// The minimum, in seconds.
        expires_min_s: u32,
    },
    /// The same Call-ID with a CSeq that is not higher (section 10.3 steps 6 and 7).
    OutOfOrder,
    /// Require names an option that is not understood (section 8.2.2.3).
    Extension,
    /// Path from a client that does not support it (RFC 3327 section 5.3).
    PathUnsupported,
    /// `reg-id` through a proxy that does not keep flows (RFC 5626 section 6).
    FirstHopLacksOutbound,
    /// `reg-id` together with another contact that is to be bound (RFC 5626 section 6).
    SeveralFlows,
}

impl Refusal {
    /// The status code and reason phrase of the answer.
    ///
    /// Section 10.3 names no code for a CSeq out of order; 500 is what section 12.2.2 answers for
    /// the same fault in a dialog, and makes phones try again later where 400 makes some give up.
    ///
    /// Too many bindings are 403 and not the 503 of other registrars: a proxy that sees a 503 takes
    /// the whole server for overloaded and avoids it (section 21.5.4), which one user must not be
    /// able to bring about.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Refusal::Defect(defect) => defect.status(),
            Refusal::Wildcard => (400, "Contact * Needs Expires 0 And No Other"),
            Refusal::TooLong {
                header: HeaderName::Contact,
                ..
            } => (400, "Contact Too Long"),
            Refusal::TooLong {
                header: HeaderName::Path,
                ..
            } => (400, "Path Too Long"),
            Refusal::TooLong {
                header: HeaderName::CallId,
                ..
            } => (400, "Call-ID Too Long"),
            Refusal::TooLong { .. } => (400, "Header Too Long"),
            Refusal::TooManyContacts { .. } | Refusal::TooManyBindings { .. } => {
                (403, "Too Many Contacts")
            }
            Refusal::IntervalTooBrief { .. } => (423, "Interval Too Brief"),
            Refusal::OutOfOrder => (500, "CSeq Out Of Order"),
            Refusal::Extension | Refusal::PathUnsupported => (420, "Bad Extension"),
            Refusal::FirstHopLacksOutbound => (439, "First Hop Lacks Outbound Support"),
            Refusal::SeveralFlows => (400, "One Flow Per Registration"),
        }
    }

    /// A short fixed word for counters.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Defect(defect) => defect.label(),
            Refusal::Wildcard => "wildcard",
            Refusal::TooLong { .. } => "too-long",
            Refusal::TooManyContacts { .. } => "too-many-contacts",
            Refusal::TooManyBindings { .. } => "too-many-bindings",
            Refusal::IntervalTooBrief { .. } => "interval-too-brief",
            Refusal::OutOfOrder => "out-of-order",
            Refusal::Extension => "extension",
            Refusal::PathUnsupported => "path-unsupported",
            Refusal::FirstHopLacksOutbound => "first-hop-lacks-outbound",
            Refusal::SeveralFlows => "several-flows",
        }
    }
}

impl From<Defect> for Refusal {
    fn from(defect: Defect) -> Self {
        Refusal::Defect(defect)
    }
}
