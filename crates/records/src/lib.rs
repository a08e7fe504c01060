//! What a standby is told: records of state, and their changes, as bytes.
//!
//! The problem: what a machine knows of a binding, a call or a transaction has to be written down so that
//! another process goes on with it, and that process may be a version older or newer.
//!
//! The approach: a record is a kind, a key and a value. The value is fields of tag, length and value
//! ([`tlv`]): a reader passes over tags that it does not know and fills in for those that are absent. A machine
//! notes what changed in [`Changes`]; the driver puts that into [`Batch`]es, which are applied together.
//!
//! Not attempted: what a record means (its machine's), and how it gets to the other node (`cluster`'s).

mod batch;
mod changes;
mod error;
pub mod tlv;

pub use batch::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, Op, Ops, VALUE_BYTES_MAX};
pub use changes::Changes;
pub use error::Error;
