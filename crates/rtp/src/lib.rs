//! RTP and RTCP packets, and what can be learned from them (RFC 3550).
