//! Where one SIP message ends and the next begins on a stream (RFC 3261 section 18.3).
//!
//! Bytes are pushed as they come, in pieces of any size; frames are polled out. No byte is looked at
//! twice, however small the pieces are, so a sender who trickles costs no more than one who does not.
//! Line ends are found as [`crate::Index`] finds them (LF, a CR before it is left out), so that both
//! agree on where the headers end.
//!
//! ```
//! use sip::frame::{Frame, FrameLimits, Framer};
//! let mut framer = Framer::new(FrameLimits::default());
//! framer.push(b"\r\n\r\nSIP/2.0 200 OK\r\nl: 2\r\n\r\nhi");
//! assert_eq!(framer.poll(), Frame::KeepAlivePing);
//! assert_eq!(framer.poll(), Frame::Message(b"SIP/2.0 200 OK\r\nl: 2\r\n\r\nhi"));
//! assert_eq!(framer.poll(), Frame::NeedMore);
//! ```

use crate::lex;

/// What a [`Framer`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest start line and headers together, in bytes, the empty line included.
    pub header_bytes_max: usize,
    /// Longest message altogether, in bytes.
    pub message_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> FrameLimits {
        FrameLimits {
            header_bytes_max: 32_768,
            message_bytes_max: 65_535,
        }
    }
}

/// Why a stream cannot be divided into messages any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// What should be a start line is none of SIP's.
    NotSip,
    /// The headers do not end within the limit.
    HeaderTooLong,
    /// Content-Length promises a message beyond the limit.
    MessageTooLarge,
    /// There is no Content-Length, which a stream needs (RFC 3261 section 20.14).
    MissingContentLength,
    /// Content-Length is not a number.
    BadContentLength,
    /// There are several Content-Lengths, and they differ.
    ConflictingContentLength,
}

impl FrameError {
    /// The status code and reason phrase to answer a request with before the stream is closed; none
    /// where there is no request to answer.
    pub fn status(self) -> Option<(u16, &'static str)> {
        match self {
            FrameError::NotSip => None,
            FrameError::HeaderTooLong => Some((513, "Message Too Large")),
            FrameError::MessageTooLarge => Some((413, "Request Entity Too Large")),
            FrameError::MissingContentLength => Some((400, "Missing Content-Length")),
            FrameError::BadContentLength => Some((400, "Bad Content-Length")),
            FrameError::ConflictingContentLength => Some((400, "Conflicting Content-Length")),
        }
    }

    /// A short fixed word for counters.
    pub fn label(self) -> &'static str {
        match self {
            FrameError::NotSip => "not-sip",
            FrameError::HeaderTooLong => "header-too-long",
            FrameError::MessageTooLarge => "message-too-large",
            FrameError::MissingContentLength => "missing-content-length",
            FrameError::BadContentLength => "bad-content-length",
            FrameError::ConflictingContentLength => "conflicting-content-length",
        }
    }
}

/// What a stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing whole: push more.
    NeedMore,
    /// A double CRLF between messages, to be answered with a single one (RFC 5626 section 4.4.1).
    KeepAlivePing,
    /// A whole message.
    Message(&'a [u8]),
    /// The stream has to be closed; it stays in this state.
    Error {
        /// Why.
        error: FrameError,
        /// The message at fault as far as it is of use: start line and headers; with
        /// [`FrameError::HeaderTooLong`], only what there is of them.
        bytes: &'a [u8],
    },
}

/// Divides a stream into messages.
#[derive(Debug)]
pub struct Framer {
    limits: FrameLimits,
    buffer: Vec<u8>,
    /// Where the present message, or the space before it, starts in the buffer.
    start: usize,
    phase: Phase,
    /// Bytes looked at, to show that none is looked at twice.
    #[cfg(test)]
    examined: usize,
}

/// Offsets count from the start of the message.
#[derive(Debug)]
enum Phase {
    Between,
    Headers(Headers),
    Body { end: usize },
    Failed { error: FrameError, end: usize },
}

#[derive(Debug, Default)]
struct Headers {
    /// How far line ends have been looked for.
    scanned: usize,
    /// Where the line being looked at starts.
    line_start: usize,
    lengths: ContentLengths,
}

/// What the Content-Length headers so far say.
#[derive(Debug, Default)]
struct ContentLengths {
    /// The one being read; its value may go on in the next line.
    reading: Option<Digits>,
    known: Option<u64>,
    error: Option<FrameError>,
}

/// A number being read: white space, digits, white space.
#[derive(Debug, Default)]
struct Digits {
    value: Option<u64>,
    ended: bool,
    bad: bool,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new(limits: FrameLimits) -> Framer {
        Framer {
            limits,
            buffer: Vec::new(),
            start: 0,
            phase: Phase::Between,
            #[cfg(test)]
            examined: 0,
        }
    }

    /// Adds what came in. What was polled before is forgotten. To keep the memory within the limits,
    /// poll until [`Frame::NeedMore`] before pushing again.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// True when a message has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        matches!(self.phase, Phase::Headers(_) | Phase::Body { .. })
    }

    /// Gives memory back while nothing is in it: for a connection about to be idle.
    pub fn release(&mut self) {
        if self.start == self.buffer.len() {
            self.start = 0;
            self.buffer = Vec::new();
        }
    }

    /// The next frame.
    pub fn poll(&mut self) -> Frame<'_> {
        if matches!(self.phase, Phase::Between) {
            if self.skip_line_ends() {
                return Frame::KeepAlivePing;
            }
            match self.buffer.get(self.start) {
                None | Some(b'\r' | b'\n') => return Frame::NeedMore,
                Some(byte) if lex::is_token(*byte) => {
                    self.phase = Phase::Headers(Headers::default());
                }
                Some(_) => {
                    self.phase = Phase::Failed {
                        error: FrameError::NotSip,
                        end: 0,
                    }
                }
            }
        }
        let bytes = &self.buffer[self.start..];
        if let Phase::Headers(headers) = &mut self.phase {
            #[cfg(test)]
            {
                self.examined += bytes.len() - headers.scanned;
            }
            if let Some(next) = headers.advance(bytes, &self.limits) {
                self.phase = next;
            }
        }
        match self.phase {
            Phase::Body { end } if bytes.len() >= end => {
                self.phase = Phase::Between;
                self.start += end;
                Frame::Message(&bytes[..end])
            }
            Phase::Failed { error, end } => Frame::Error {
                error,
                bytes: &bytes[..end],
            },
            _ => Frame::NeedMore,
        }
    }

    /// Steps over line ends before a message (RFC 3261 section 7.5). True after a double CRLF; what
    /// may yet become one is left in place.
    fn skip_line_ends(&mut self) -> bool {
        const PING: &[u8] = b"\r\n\r\n";
        while let [b'\r' | b'\n', ..] = &self.buffer[self.start..] {
            let rest = &self.buffer[self.start..];
            if rest.starts_with(PING) {
                self.start += PING.len();
                return true;
            }
            if PING.starts_with(rest) {
                return false;
            }
            self.start += 1;
        }
        false
    }
}

impl Headers {
    /// Reads the lines that are complete; the next phase once the headers end or cannot.
    fn advance(&mut self, bytes: &[u8], limits: &FrameLimits) -> Option<Phase> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let end = self.scanned + found;
            let line = &bytes[self.line_start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.scanned = end + 1;
            if self.scanned > limits.header_bytes_max {
                break;
            }
            if self.line_start == 0 && !is_start_line(line) {
                return Some(Phase::Failed {
                    error: FrameError::NotSip,
                    end: 0,
                });
            }
            if line.is_empty() {
                return Some(self.end(limits));
            }
            if self.line_start > 0 {
                self.lengths.line(line);
            }
            self.line_start = self.scanned;
        }
        if bytes.len() > limits.header_bytes_max {
            let end = limits.header_bytes_max;
            return Some(Phase::Failed {
                error: FrameError::HeaderTooLong,
                end,
            });
        }
        self.scanned = bytes.len();
        None
    }

    /// The headers end here: what follows from their Content-Length.
    fn end(&mut self, limits: &FrameLimits) -> Phase {
        let header_bytes = self.scanned;
        let failed = |error| Phase::Failed {
            error,
            end: header_bytes,
        };
        let body_bytes = match self.lengths.result() {
            Ok(body_bytes) => body_bytes,
            Err(error) => return failed(error),
        };
        let end = usize::try_from(body_bytes)
            .ok()
            .and_then(|body| body.checked_add(header_bytes));
        match end {
            Some(end) if end <= limits.message_bytes_max => Phase::Body { end },
            _ => failed(FrameError::MessageTooLarge),
        }
    }
}

impl ContentLengths {
    /// Takes a header line without its line end, or a line that continues the one before.
    fn line(&mut self, line: &[u8]) {
        if let [b' ' | b'\t', ..] = line {
            if let Some(digits) = &mut self.reading {
                digits.read(line);
            }
            return;
        }
        self.finish();
        let (name, rest) = lex::token(line);
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            return;
        }
        if let Some(value) = lex::trim(rest).strip_prefix(b":") {
            let mut digits = Digits::default();
            digits.read(value);
            self.reading = Some(digits);
        }
    }

    /// The header being read, if any, has no further line.
    fn finish(&mut self) {
        let Some(digits) = self.reading.take() else {
            return;
        };
        let error = match (digits.value, self.known) {
            (None, _) => Some(FrameError::BadContentLength),
            _ if digits.bad => Some(FrameError::BadContentLength),
            (Some(value), Some(known)) if value != known => {
                Some(FrameError::ConflictingContentLength)
            }
            (Some(value), _) => {
                self.known = Some(value);
                None
            }
        };
        self.error = self.error.or(error);
    }

    fn result(&mut self) -> Result<u64, FrameError> {
        self.finish();
        match self.error {
            Some(error) => Err(error),
            None => self.known.ok_or(FrameError::MissingContentLength),
        }
    }
}

impl Digits {
    /// Reads more of the value. One that is too large for the type stays at its top, which is
    /// beyond every limit.
    fn read(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                b' ' | b'\t' => self.ended = self.value.is_some(),
                b'0'..=b'9' if !self.ended => {
                    let digit = u64::from(byte - b'0');
                    let value = self.value.unwrap_or(0);
                    self.value = Some(value.saturating_mul(10).saturating_add(digit));
                }
                _ => self.bad = true,
            }
        }
    }
}

/// True for a line that names the protocol, as each start line does (RFC 3261 section 7). Whether the
/// rest of it is right is not asked here: a message with a flaw there can still be answered.
fn is_start_line(line: &[u8]) -> bool {
    line.windows(4)
        .any(|window| window.eq_ignore_ascii_case(b"SIP/"))
}

#[cfg(test)]
mod tests;
