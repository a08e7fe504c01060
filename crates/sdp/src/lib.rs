//! Session descriptions, edited in place (RFC 8866).
