//! Session descriptions (RFC 8866), for a proxy that puts a relay into their media.
//!
//! The problem: of a description a relay changes addresses and ports and nothing else. What it does not
//! know has to reach the other side as it was written, and what it misreads lets media pass beside it or
//! sends them to somebody who did not ask for them.
//!
//! The approach: [`Index`] notes where the parts lie that a relay reads or changes ([`Description`] is
//! the pair of bytes and index), and refuses what has two readings. [`rewrite()`] lists the changes as
//! [`Edits`] over the same bytes; all else is written as it came. [`check_answer`] compares an answer
//! with its offer (RFC 3264). All storage is reused, so that nothing is allocated per description after
//! warm-up.
//!
//! Not attempted: choosing codecs, making descriptions, ICE and BUNDLE through the relay (both are
//! taken out, which is their own fallback), resolving host names, media over TCP.

mod answer;
mod edit;
mod error;
mod index;
mod line;
mod media;
mod rewrite;

pub use answer::check_answer;
pub use edit::{Edit, Edits};
pub use error::{Error, Part};
pub use index::{Description, Index, Limits, Origin};
pub use line::Span;
pub use media::{Direction, Format, Kind, Media, Protocol, Transport};
pub use rewrite::{Ports, Rewrite, rewrite};
