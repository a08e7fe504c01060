//! SIP messages, for elements that forward far more than they interpret.
//!
//! The problem: a proxy looks at a dozen fields of a message and changes three. Building a tree of
//! owned headers for that costs more than the decision itself, and writing the tree back loses what
//! the sender wrote.
//!
//! The approach: [`Index`] notes where the parts of a message lie in the buffer it arrived in
//! ([`Message`] is the pair of both). Typed views ([`Uri`], [`Via`], [`NameAddr`], [`CSeq`]) are parsed
//! from those ranges when somebody asks. A change is a [`Splices`] list over the same buffer; what is
//! written is byte-identical where nothing was spliced. All of them are reused, so that nothing is
//! allocated per message after warm-up.
//!
//! Not attempted: what is in a body ([`body`] finds a session description, crate `sdp` reads it), sockets
//! (crate `net`), transactions (crate `transaction`).

pub mod body;
pub mod build;
pub mod check;
pub mod digest;
pub mod edit;
pub mod error;
pub mod frame;
pub mod header;
pub mod lex;
pub mod message;
pub mod name;
pub mod scan;
pub mod status;
pub mod uri;

pub use body::BodyError;
pub use check::{Envelope, Requirement};
pub use edit::Splices;
pub use error::{Defect, ParseError};
pub use header::{CSeq, NameAddr, Param, Params, Via};
pub use message::{Field, Index, Limits, Message, Span, StartLine, Value};
pub use name::{HeaderName, Method};
pub use uri::{Host, Scheme, Uri, UriError};
