//! Bytes between the nodes: fields with tags, and the messages made of them.

pub mod message;

pub use message::{FRAME_BYTES_MAX, Frame, Message, Session, frame_length};
