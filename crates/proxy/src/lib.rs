//! The decisions of a stateful SIP proxy (RFC 3261 section 16).
