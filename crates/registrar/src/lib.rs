//! The decisions of a SIP registrar (RFC 3261 section 10) and the location table.
//!
//! The problem: a million phones renew a million bindings, and nearly every renewal changes nothing
//! but a time. Memory per binding decides how many fit; what has to be durable before the answer
//! decides how fast they may come.
//!
//! The approach: [`Location`] keeps one compact block of bytes per address of record and reads it
//! through [`BindingView`]. [`register`] applies one REGISTER to it, all or nothing, and returns what
//! to answer, what to write to the store ([`Change`]) and whether the answer waits for that
//! ([`Outcome::durable`]). [`targets`] says where a request for a user may go.
//!
//! Not attempted: authentication and the check that the caller may register the address (the edge
//! does that before it asks), GRUU (RFC 5627), the reg event package (RFC 3680).

mod contact;
mod location;
mod policy;
mod record;
mod refusal;
mod register;
mod reply;
mod row;
mod target;

pub use contact::{
    CONTACT_BYTES_MAX, CONTACTS_IN_REQUEST_MAX, INSTANCE_BYTES_MAX, MALFORMED_EXPIRES_S,
    PATH_BYTES_MAX,
};
pub use location::{AOR_BYTES_MAX, Cursor, Location, shard_of};
pub use policy::Policy;
pub use record::{BindingFields, BindingRow, BindingView, CALL_ID_BYTES_MAX, USER_AGENT_BYTES_MAX};
pub use refusal::Refusal;
pub use register::{DURABLE_MARGIN_S, Outcome, register};
pub use reply::{Change, Event, EventKind, Reply};
pub use target::{BindingTarget, targets, targets_over};
