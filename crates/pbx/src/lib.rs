//! The PBX: calls with a voice.
//!
//! The problem: a caller wants more than a line to somebody: a menu, a queue, a mailbox, a conference, a
//! transfer; and whatever node the call is on may die in the middle of it.
//!
//! The approach: two machines with a seam between them ([`control`]). Applications say what is to happen to
//! the legs of a call and know no SIP; calls know SIP and media and no purpose. What both know of a call is
//! written down as records after each input, so that another node goes on.
//!
//! Not attempted: sockets, media packets (`voice`), files and databases.

pub mod app;
mod call;
pub mod control;
mod nest;
mod output;
mod pbx;
pub mod plan;
pub mod prompts;
mod session;
mod settings;
mod surroundings;

pub use call::{SLICE_MESSAGES, SLICE_MS, SLICE_RECORDS};
pub use control::{Applications, Now};
pub use output::{Event, Feed, Output, Recording, Voiced};
pub use pbx::{CallView, Counts, Pbx, Tables, Turn};
pub use settings::{Account, Settings};
pub use surroundings::{MediaPort, Surroundings};
