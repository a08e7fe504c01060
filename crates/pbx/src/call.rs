//! Legs of calls: SIP and media on one side, what happened and what is to be done on the other.

mod account;
mod act;
mod arrive;
mod calls;
mod change;
mod dialog_info;
mod early;
mod end;
mod identity;
mod leg;
mod media;
mod reconcile;
mod record;
mod refer;
mod refusal;
mod reply;
mod send;
mod settle;
mod state;
mod timers;
mod watch;
mod within;

pub(crate) use calls::Calls;
pub use record::{SLICE_MESSAGES, SLICE_MS, SLICE_RECORDS};
pub(crate) use state::State;
