//! The RTP relay's decisions: where a packet goes, and who may send it.
//!
//! The problem: two phones that cannot reach each other send their media here, and each is to hear the
//! other and nobody else, whatever strangers send to the same ports, and however the call ends.
//!
//! The approach: a *session* is a call, a *stream* one of its m-lines, a *side* the caller (0) or a branch of
//! the forked INVITE (1 and up). A [`Relay`] keeps the sessions of one thread. It is told about them by
//! [`Command`]s, answers with [`Event`]s, and says of every packet from which socket and to where it is to be sent.
//! Ports are taken from a [`PortTable`] by the controller and given back by the thread of the relay.
//!
//! Not attempted: SIP and its descriptions, ICE, transcoding, changing what a packet says.

mod control;
mod guard;
mod leg;
mod legs;
mod ports;
mod probation;
mod relay;
mod report;
mod rtcp;
mod session;
mod settings;
mod types;
mod wheel;

pub use leg::UNNUMBERED_PER_S_MAX;
pub use ports::PortTable;
pub use relay::{EXPIRE_SESSIONS_MAX, LEARNED_EVENTS_MAX, Relay, SIDES_MAX, STREAMS_MAX};
pub use report::{Dropped, LegReport, PayloadTypes, Reason, Report, Totals};
pub use settings::{Learn, Settings};
pub use types::{
    Command, Direction, Event, FORMATS_MAX, Formats, Kind, Port, Refusal, Remote, SessionId, Time,
};
