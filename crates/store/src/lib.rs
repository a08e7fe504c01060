//! The store: users, domains, credentials, bindings and records of calls in SQL; recordings as files.
//!
//! SQL holds what an operator edits and what must be there after a power cut; calls and lookups
//! never wait for it. So this crate is made for two uses:
//!
//! - **Administration and start-up** ([`Store`]): users and domains are changed one at a time and
//!   streamed out whole; bindings are streamed out whole. [`Store::revision`] tells a running node
//!   cheaply that users or domains have changed.
//! - **Registrations** ([`BindingWriter`]): changes of bindings are handed over by threads that never
//!   block, committed in groups shared by whoever came meanwhile, and answered when durable.
//!
//! Beside them lie the records of calls ([`CdrRow`]), and, not in SQL, what is said and played
//! ([`Objects`]): files in a folder or a bucket.
//!
//! SQLite is embedded and the default; PostgreSQL and MySQL or MariaDB are a connection string
//! away. The schema and every statement are one text with a few substitutions per dialect; values
//! that are not clean text are escaped without loss (see the rules in `text.rs`).
//!
//! Not attempted: lookups of bindings by SQL (they are in memory), clear-text passwords (only HA1
//! values per algorithm are kept), and sharing one set of bindings between writers (an edge service
//! has one owner at a time).

mod backend;
mod binding;
mod cdr;
mod error;
mod group;
mod health;
mod mailbox;
mod objects;
pub mod recording;
mod schema;
mod store;
mod text;
mod users;
mod writer;

pub use backend::Dialect;
pub use binding::{
    BindingChange, BindingId, BindingRefresh, BindingRow, DeferredChange, ROW_BYTES_MAX,
};
pub use cdr::{CDRS_PER_STATEMENT_MAX, CdrRow, DIALPLAN_BYTES_MAX};
pub use error::StoreError;
pub use health::StoreHealth;
pub use mailbox::{MESSAGES_MAX, Mailboxes, Message};
pub use objects::{
    LISTED_MAX, Listed, OBJECT_BYTES_MAX, OBJECT_NAME_BYTES_MAX, ObjectError, Objects, Place,
};
pub use schema::SCHEMA_VERSION;
pub use store::{Store, StoreOptions};
pub use users::{Credentials, NewSubscriber, Subscriber, USERS_ADDED_MAX, UsersAdded};
pub use writer::{
    BindingWriter, CommitError, Completion, DEFERRED_BYTES_MAX, GROUP_CHANGES_MAX, RejectReason,
    Rejected, SPACING_ROWS_PER_S, WRITE_QUEUE_MAX, WriterOptions,
};
