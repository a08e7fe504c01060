//! Dialogs of a user agent (RFC 3261 section 12).
//!
//! The problem: a user agent's half of a call is a dialog with its tags, its numbers and its route, an offer
//! that may be open in one direction only, provisionals that have to arrive, and a session that both sides keep
//! alive; and another node has to be able to go on with it.
//!
//! The approach: each of these is a small value of its own. [`Dialog`] knows tags, numbers and routes and writes requests;
//! [`offer`] is a table of who may offer and answer when; [`reliable`] numbers provisionals and keeps the one that waits for its
//! PRACK; [`session`] agrees on the length of sessions and says when to refresh them or to give up; [`challenge`] answers
//! who asks for credentials; [`subscription`] is the notifier's half of a subscription. What has to survive is written as fields of records.
//!
//! Not attempted: choosing codecs, sockets, transactions, who is called.

pub mod challenge;
mod dialog;
mod error;
pub mod offer;
pub mod reliable;
pub mod session;
pub mod subscription;

pub use dialog::{Dialog, Hop};
pub use error::Error;
