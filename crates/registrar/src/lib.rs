//! The decisions of a SIP registrar (RFC 3261 section 10) and the location table.
