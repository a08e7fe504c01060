//! RTP and RTCP packets, and what can be learned from them (RFC 3550).
//!
//! The problem: datagrams arrive on a media port from anybody. It has to be told what they are, whether they
//! hold together, and, for a stream that is let through, how well it travels: loss, order, jitter, pauses,
//! and what a listener would think of it.
//!
//! The approach: [`classify`] tells protocols apart by their first two bytes, [`Packet`] is a checked view over
//! the bytes of an RTP packet, [`rtcp::Compound`] one over RTCP. [`Reception`] is about a hundred bytes of
//! statistics a stream, updated in place by each packet; [`mos`] rates what it found by the E-model.
//! [`Header`] and the functions of [`rtcp::write`] write packets; [`Transmission`] numbers those of a stream by the clock.
//!
//! Not attempted: SRTP beyond the header, which is in clear (RFC 3711); the contents of XR and feedback
//! packets, which are passed over whole; the timing rules by which an endpoint sends RTCP (section 6.3);
//! translators and mixers (section 7); collisions of SSRCs (section 8.2).

mod class;
mod error;
pub mod mos;
mod number;
mod packet;
mod reception;
mod round_trip;
pub mod rtcp;
mod transmission;

pub use class::{Class, classify};
pub use error::{Error, Part};
pub use number::{ClockRate, Micros, NtpTime, PayloadType, Sequence, ShortNtp, Ssrc, Timestamp};
pub use packet::{Extension, HEADER_BYTES, Header, PACKET_BYTES_MAX, Packet};
pub use reception::{Arrival, GAP_US, MAX_DROPOUT, MAX_MISORDER, Reception, Statistics};
pub use round_trip::RoundTrip;
pub use transmission::Transmission;
