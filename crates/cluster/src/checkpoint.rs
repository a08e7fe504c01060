//! Checkpoints: what the owner tells the members, so that each of them can go on in its place.
//!
//! The owner keeps a [`Table`] of records and a [`Source`], which numbers batches of changes and streams
//! them to each member that has joined. A member keeps the same table and a [`Replica`], which applies
//! what comes as it comes. Taking over changes the role and leaves the table where it is.

mod backlog;
mod held;
mod replica;
mod source;
mod table;

pub use held::Held;
pub use records::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, Op, Ops, VALUE_BYTES_MAX};
pub use replica::Replica;
pub use source::{Append, Limits, PART_BYTES, Source, WINDOW_FRAMES};
pub use table::{Apply, Ignore, RECORDS_MAX, Table};
