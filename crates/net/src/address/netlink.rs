//! Netlink's messages: a header, a body of the kind, attributes that may hold attributes.

use crate::sys::{Netlink, Protocol};
use std::io;

/// Bytes of a message's header (`struct nlmsghdr`).
const HEADER_BYTES: usize = 16;
/// Bytes of an attribute's header (`struct nlattr`).
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Room for the answers of one receive. The kernel makes a dump's parts no longer than this where it is offered.
const ANSWER_BYTES: usize = 32 << 10;
/// Most receives for the answers of one request: the parts of a dump.
const RECEIVES_MAX: usize = 1_024;

/// Set in the kind of an attribute that holds attributes.
const NESTED: u16 = libc::NLA_F_NESTED as u16;
/// What of an attribute's kind says its kind.
const KIND_MASK: u16 = libc::NLA_TYPE_MASK as u16;

/// A sequence of messages under construction.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the message under construction begins.
    message: usize,
}

impl Messages {
    /// Begins a message of this kind, whose body is `body`.
    pub(super) fn message(&mut self, kind: u16, flags: i32, body: &[u8]) -> &mut Messages {
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags as u16 | libc::NLM_F_REQUEST as u16;
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        // No sequence numbers: one request at a time, answered before the next.
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(body);
        self.pad();
        self.close();
        self
    }

    /// An attribute of the message begun last.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Messages {
        let length = (ATTRIBUTE_HEADER_BYTES + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self.close();
        self
    }

    /// A text, which the kernel wants to end with a zero.
    pub(super) fn text(&mut self, kind: u16, text: &str) -> &mut Messages {
        let mut value = Vec::with_capacity(text.len() + 1);
        value.extend_from_slice(text.as_bytes());
        value.push(0);
        self.attribute(kind, &value)
    }

    /// An attribute that holds what `fill` adds.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Messages)) -> &mut Messages {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Empties it, to be filled anew in the same memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.message = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Writes the length of the message as it is now.
    fn close(&mut self) {
        let at = self.message;
        let length = (self.bytes.len() - at) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// Walks over attributes: kind and value of each.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & KIND_MASK, value))
    })
}

/// A text of the kernel's, without the zero at its end.
pub(super) fn text_of(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0);
    let text = &value[..end.unwrap_or(value.len())];
    std::str::from_utf8(text).unwrap_or("")
}

/// A socket to the kernel with room for its answers.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Netlink,
    room: Vec<u8>,
}

impl Channel {
    pub(super) fn open(protocol: Protocol) -> io::Result<Channel> {
        Ok(Channel {
            socket: Netlink::open(protocol)?,
            room: vec![0; ANSWER_BYTES],
        })
    }

    /// Has the kernel carry out `messages`. The first error among its answers counts; where nothing asked for an
    /// answer, silence says that all went well, since the kernel answers before it returns.
    pub(super) fn request(&mut self, messages: &Messages) -> io::Result<()> {
        self.ask(messages, |_, _| {})
    }

    /// The same, with the messages that the kernel answers with: kind, and what follows the header.
    pub(super) fn ask(
        &mut self,
        messages: &Messages,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.socket.send(messages.bytes())?;
        let mut outcome = Ok(());
        for _ in 0..RECEIVES_MAX {
            let received = match self.socket.receive(&mut self.room) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for (kind, body) in answers(&self.room[..received]) {
                if kind != libc::NLMSG_ERROR as u16 {
                    each(kind, body);
                    continue;
                }
                let number = body
                    .first_chunk()
                    .map_or(libc::EBADMSG, |code| -i32::from_ne_bytes(*code));
                if number != 0 && outcome.is_ok() {
                    outcome = Err(io::Error::from_raw_os_error(number));
                }
            }
        }
        outcome
    }
}

/// Walks over the messages of one receive: kind, and what follows the header.
fn answers(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests;
