//! SIP and RTP traffic: thousands of phones, or one.
//!
//! The problem: who measures a platform needs more calls than it can carry, from a generator that is not
//! the limit itself, says so when it is, and tells of each call that failed why.
//!
//! The approach: callers and callees are one pure machine a thread ([`station`](self), inside), which keeps a call in a few hundred bytes and finds
//! it by what its Call-ID says. Each thread has its own sockets, batches what it sends, and paces by an absolute timetable: what it
//! is late by is counted ([`Tally::behind`]). Sound has a thread beside it and a socket a stream; each packet says whose it is, whom its sender
//! hears, and when it left, so that losses, delay, silence and a wrong party are seen by whoever receives it.
//!
//! Not attempted: TLS, PRACK, forking, strict routes, names in place of addresses, other codecs than G.711.

mod clock;
mod error;
mod histogram;
mod media;
mod name;
mod run;
mod schedule;
mod settings;
mod station;
mod tally;
mod tcp;
mod worker;
mod write;

pub use error::Error;
pub use histogram::Histogram;
pub use media::Sound;
pub use run::{Progress, Run};
pub use settings::{Answering, Calling, Registering, Settings, User, numbered};
pub use station::{ANSWERS_MAX, Begin, EVENTS_MAX, Event, Now, Port, Station, TIMERS_MAX};
pub use tally::{Answers, Calls, Failures, Messages, Packets, Reason, Registrations, Tally};
