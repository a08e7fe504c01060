//! SIP transactions: the four machines of RFC 3261 section 17 and RFC 6026 as tables, and their timers.
//!
//! **The problem.** Over a network that loses, repeats and delays messages, a request has to be
//! sent until it is answered, an answer until it is acknowledged, and every copy of either has to
//! be recognised, for tens of seconds after the matter is settled, in hundreds of thousands of
//! transactions at once.
//!
//! **The approach.** [`machine`] holds the rules as constant tables: a state and an event give the
//! next state and a set of actions. [`timer`] names the timers of each state and computes their
//! intervals. [`wheel`] keeps the deadlines of all transactions of a thread. [`time`] is the
//! driver's clock, as a parameter. Nothing here allocates per transaction step.
//!
//! [`layer`] keeps all transactions of one thread, matches messages to them and sends again what has
//! to be sent again, into an [`Outbox`].
//!
//! **Not attempted here.** Deciding what to do with a request, sockets, and reading a clock.

mod error;
pub mod flow;
pub mod layer;
pub mod machine;
pub mod time;
pub mod timer;
pub mod wheel;

pub use error::Error;
pub use flow::{Flow, Outbox, Transport};
pub use layer::{CancelOutcome, ClientId, Fired, Layer, Request, ServerId, Slab};
pub use machine::{Action, Actions, Event, Kind, State, Transition, start, step};
pub use time::Time;
pub use timer::{Role, TRYING_DELAY_MS, TimerName, Timers};
pub use wheel::Wheel;
