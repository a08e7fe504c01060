//! Where the session description lies in a message's body (RFC 3261 section 7.4, RFC 5621).

use crate::edit::Splices;
use crate::error::Defect;
use crate::header::Params;
use crate::lex;
use crate::message::{Message, Span};
use crate::name::HeaderName;

/// How deep multiparts may lie in each other; the outermost counts as one.
pub const DEPTH_MAX: u8 = 2;

/// How many parts a body may have, those of inner multiparts counted too.
pub const PARTS_MAX: u8 = 8;

/// A boundary is at most this long, in bytes (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why it cannot be said where the session description of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// There is a body and no Content-Type (RFC 3261 section 20.15), or one that cannot be read, or several
    /// of it or of Content-Disposition.
    ContentType,
    /// The description is compressed or encoded.
    Encoding,
    /// A multipart without a boundary, without its end, or with a part whose headers cannot be read.
    Multipart,
    /// Multiparts lie deeper in each other than [`DEPTH_MAX`].
    TooDeep,
    /// More parts than [`PARTS_MAX`].
    TooManyParts,
    /// Two descriptions of the session: the receiver may take either.
    Several,
}

impl BodyError {
    /// The status code and reason phrase a request with this body is answered with.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            BodyError::ContentType => (400, "Bad Content-Type"),
            BodyError::Encoding => (415, "Unsupported Content-Encoding"),
            BodyError::Multipart => (400, "Bad Multipart Body"),
            BodyError::TooDeep | BodyError::TooManyParts => (415, "Too Many Body Parts"),
            BodyError::Several => (488, "Several Session Descriptions"),
        }
    }

    /// A short fixed word for counters.
    pub fn label(self) -> &'static str {
        match self {
            BodyError::ContentType => "content-type",
            BodyError::Encoding => "content-encoding",
            BodyError::Multipart => "multipart",
            BodyError::TooDeep => "multipart-too-deep",
            BodyError::TooManyParts => "too-many-parts",
            BodyError::Several => "several-descriptions",
        }
    }
}

/// Where in the message's buffer the description of its session lies; `None` if it brings none.
///
/// It is the body itself or a part of a multipart, of the type `application/sdp` and of the disposition
/// `session`, which is the default for that type (RFC 3261 section 20.11): one of the disposition
/// `early-session` (RFC 3959) or `render` is about something else. Every kind of multipart is read as
/// `mixed` (RFC 2046 section 5.1.7). A body of white space only is none.
///
/// # Errors
/// When the body has to be looked into and cannot be, or has several such descriptions.
pub fn session_description(message: &Message<'_>) -> Result<Option<Span>, BodyError> {
    let body = message.body_span();
    if lex::trim(message.body()).is_empty() {
        return Ok(None);
    }
    let single = |name| match message.single(name) {
        Ok(value) => Ok(Some(value)),
        Err(Defect::Missing(_)) => Ok(None),
        Err(_) => Err(BodyError::ContentType),
    };
    let content_type = single(HeaderName::ContentType)?.ok_or(BodyError::ContentType)?;
    let is_identity = |coding: &[u8]| coding.eq_ignore_ascii_case(b"identity");
    let head = Head {
        content_type: Some(content_type),
        disposition: single(HeaderName::ContentDisposition)?,
        is_encoded: message
            .values(HeaderName::ContentEncoding)
            .any(|value| !is_identity(value.bytes)),
    };
    let mut search = Search {
        buffer: message.buffer(),
        parts: 0,
        found: None,
    };
    search.look_into(&head, body, 0)?;
    Ok(search.found)
}

/// Notes that the body will be `length` bytes long, in every Content-Length that there is.
pub fn replace_length(message: &Message<'_>, length: usize, splices: &mut Splices) {
    for field in message.fields(HeaderName::ContentLength) {
        let span = Span::within(message.buffer(), field.value);
        splices.replace_with(span, |out| {
            use std::io::Write;
            write!(out, "{length}").expect("writing to a Vec cannot fail");
        });
    }
}

/// What the headers of a body or of a part say about it.
#[derive(Debug, Clone, Copy, Default)]
struct Head<'a> {
    content_type: Option<&'a [u8]>,
    disposition: Option<&'a [u8]>,
    is_encoded: bool,
}

impl Head<'_> {
    /// Whether the disposition is the one named, or none is said.
    fn has_disposition(&self, name: &[u8]) -> bool {
        self.disposition.is_none_or(|disposition| {
            let (word, _) = lex::token(lex::trim_start(disposition));
            word.eq_ignore_ascii_case(name)
        })
    }
}

struct Search<'a> {
    buffer: &'a [u8],
    parts: u8,
    found: Option<Span>,
}

impl<'a> Search<'a> {
    /// Looks for the description in a body or part that lies in `span`, `depth` multiparts deep.
    fn look_into(&mut self, head: &Head<'a>, span: Span, depth: u8) -> Result<(), BodyError> {
        // A part without a type is text (RFC 2046 section 5.1).
        let Some(content_type) = head.content_type else {
            return Ok(());
        };
        let (kind, subtype, params) = media_type(content_type).ok_or(BodyError::ContentType)?;
        let is = |a: &[u8], b: &[u8]| a.eq_ignore_ascii_case(b);
        if is(kind, b"application") && is(subtype, b"sdp") {
            if !head.has_disposition(b"session") {
                return Ok(());
            }
            if head.is_encoded {
                return Err(BodyError::Encoding);
            }
            return match self.found.replace(span) {
                Some(_) => Err(BodyError::Several),
                None => Ok(()),
            };
        }
        // What is in a multipart for another purpose is not for the session.
        let is_for_session = head.has_disposition(b"session") || head.has_disposition(b"render");
        if !is(kind, b"multipart") || !is_for_session {
            return Ok(());
        }
        if head.is_encoded {
            return Err(BodyError::Encoding);
        }
        if depth >= DEPTH_MAX {
            return Err(BodyError::TooDeep);
        }
        let boundary = boundary(params).ok_or(BodyError::Multipart)?;
        self.look_into_parts(boundary, span, depth + 1)
    }

    fn look_into_parts(&mut self, boundary: &[u8], span: Span, depth: u8) -> Result<(), BodyError> {
        let mut delimiter =
            delimiter(self.buffer, boundary, span.start, span.end).ok_or(BodyError::Multipart)?;
        while !delimiter.is_last {
            let start = delimiter.next;
            delimiter = self::delimiter(self.buffer, boundary, start, span.end)
                .ok_or(BodyError::Multipart)?;
            self.parts += 1;
            if self.parts > PARTS_MAX {
                return Err(BodyError::TooManyParts);
            }
            let part = Span {
                start,
                end: delimiter.before.max(start),
            };
            let (head, content) = part_head(self.buffer, part)?;
            self.look_into(&head, content, depth)?;
        }
        Ok(())
    }
}

/// A line of two hyphens and the boundary.
struct Delimiter {
    /// Where it begins; the line end before it belongs to it (RFC 2046 section 5.1.1).
    before: u32,
    /// Past it.
    next: u32,
    /// Whether two more hyphens follow: no part does.
    is_last: bool,
}

/// The first delimiter that begins between `start`, which is the start of a line, and `end`.
fn delimiter(buffer: &[u8], boundary: &[u8], start: u32, end: u32) -> Option<Delimiter> {
    let mut at = start;
    while at < end {
        let rest = Span { start: at, end }.of(buffer);
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |line_end| line_end + 1);
        let after =
            (rest[..length].strip_prefix(b"--")).and_then(|after| after.strip_prefix(boundary));
        if let Some(after) = after {
            let is_last = after.starts_with(b"--");
            let padding = if is_last { &after[2..] } else { after };
            let is_ended = is_last || padding.ends_with(b"\n");
            if is_ended && lex::trim(padding).is_empty() {
                return Some(Delimiter {
                    before: without_line_end(buffer, start, at),
                    next: at + length as u32,
                    is_last,
                });
            }
        }
        at += length as u32;
    }
    None
}

/// `at` moved before the line end that stands there, but not before `start`.
fn without_line_end(buffer: &[u8], start: u32, at: u32) -> u32 {
    let before = Span { start, end: at }.of(buffer);
    let kept = before.strip_suffix(b"\n").unwrap_or(before);
    let kept = kept.strip_suffix(b"\r").unwrap_or(kept);
    start + kept.len() as u32
}

/// The headers of a part, which may have none, and where its content lies.
fn part_head(buffer: &[u8], part: Span) -> Result<(Head<'_>, Span), BodyError> {
    let mut head = Head::default();
    let mut at = part.start;
    while at < part.end {
        let rest = Span { start: at, ..part }.of(buffer);
        let length = header_length(rest);
        at += length as u32;
        let line = lex::trim_end(&rest[..length]);
        if line.is_empty() {
            break;
        }
        let (name, after) = lex::token(line);
        let value = lex::trim_start(after).strip_prefix(b":");
        let value = lex::trim(value.ok_or(BodyError::Multipart)?);
        note_header(&mut head, name, value)?;
    }
    Ok((head, Span { start: at, ..part }))
}

fn note_header<'a>(head: &mut Head<'a>, name: &[u8], value: &'a [u8]) -> Result<(), BodyError> {
    const PLAIN: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
    let is_one_of = |words: &[&[u8]]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    let earlier = match HeaderName::parse(name) {
        HeaderName::ContentType => head.content_type.replace(value),
        HeaderName::ContentDisposition => head.disposition.replace(value),
        HeaderName::ContentEncoding => {
            head.is_encoded |= !is_one_of(&[b"identity"]);
            None
        }
        HeaderName::Other if name.eq_ignore_ascii_case(b"content-transfer-encoding") => {
            head.is_encoded |= !is_one_of(&PLAIN);
            None
        }
        _ => None,
    };
    match earlier {
        Some(_) => Err(BodyError::Multipart),
        None => Ok(()),
    }
}

/// How long the header line at the start of `bytes` is, its folds and its line end included.
fn header_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let line = &bytes[length..];
        length += memchr::memchr(b'\n', line).map_or(line.len(), |line_end| line_end + 1);
        let is_empty = lex::trim(&bytes[..length]).is_empty();
        if is_empty || !matches!(bytes.get(length), Some(b' ' | b'\t')) {
            return length;
        }
    }
}

/// Type, subtype and parameters of a Content-Type (RFC 3261 section 25.1).
fn media_type(value: &[u8]) -> Option<(&[u8], &[u8], Params<'_>)> {
    let (kind, rest) = lex::token(lex::trim_start(value));
    let rest = lex::trim_start(rest).strip_prefix(b"/")?;
    let (subtype, rest) = lex::token(lex::trim_start(rest));
    if kind.is_empty() || subtype.is_empty() {
        return None;
    }
    match lex::trim_start(rest) {
        [] => Some((kind, subtype, Params::default())),
        [b';', params @ ..] => Some((kind, subtype, Params::new(params))),
        _ => None,
    }
}

/// The boundary parameter without its quotes. One with a backslash in it is not read: no boundary needs it.
fn boundary(params: Params<'_>) -> Option<&[u8]> {
    let value = params.value(b"boundary")?;
    let text = match value {
        [b'"', text @ .., b'"'] => text,
        _ => value,
    };
    let is_usable = !text.is_empty()
        && text.len() <= BOUNDARY_BYTES_MAX
        && !text.contains(&b'\\')
        && !text.contains(&b'"');
    is_usable.then_some(text)
}

#[cfg(test)]
mod tests;
