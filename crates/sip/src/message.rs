//! A message indexed in place.

use crate::error::{Defect, ParseError};
use crate::header::{CSeq, NameAddr, Via};
use crate::lex;
use crate::name::{HeaderName, Method};

/// A range of bytes in a message's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset past the last byte.
    pub end: u32,
}

impl Span {
    /// A span from offsets that are known to lie in a buffer of at most `u32::MAX` bytes.
    pub fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `buffer` under this span; empty if it does not lie in `buffer`.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Where `part`, a slice of `buffer`, lies in it.
    pub fn within(buffer: &[u8], part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).saturating_sub(buffer.as_ptr() as usize);
        debug_assert!(start + part.len() <= buffer.len());
        Span::new(start, start + part.len())
    }
}

/// Bounds on what is taken for a message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest message, in bytes.
    pub size_bytes_max: u32,
    /// Most header lines.
    pub headers_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            size_bytes_max: 65_535,
            headers_max: 256,
        }
    }
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine {
    /// Request-Line, RFC 3261 section 7.1.
    Request {
        /// The method, with `name` for those that are not known.
        method: Method,
        /// The method's bytes.
        name: Span,
        /// The Request-URI's bytes.
        uri: Span,
    },
    /// Status-Line, RFC 3261 section 7.2.
    Response {
        /// Status code.
        status: u16,
        /// Reason phrase, possibly empty.
        reason: Span,
    },
}

/// One header line.
#[derive(Debug, Clone, Copy)]
struct Header {
    name: HeaderName,
    /// The next header of the same name, or `NONE`.
    next: u16,
    /// The whole line or lines, line end included.
    line: Span,
    name_span: Span,
    /// The value without white space at its ends.
    value: Span,
}

const NONE: u16 = u16::MAX;

/// Where the parts of one message lie. Reused from message to message.
#[derive(Debug, Clone)]
pub struct Index {
    start: StartLine,
    headers: Vec<Header>,
    first: [u16; HeaderName::COUNT],
    last: [u16; HeaderName::COUNT],
    /// Past the Request-Line or Status-Line.
    headers_start: u32,
    /// Past the last header line, at the empty line.
    headers_end: u32,
    body: Span,
    defect: Option<Defect>,
}

impl Default for Index {
    fn default() -> Self {
        Index::new()
    }
}

impl Index {
    /// An empty index.
    pub fn new() -> Index {
        Index {
            start: StartLine::Response {
                status: 0,
                reason: Span::default(),
            },
            headers: Vec::new(),
            first: [NONE; HeaderName::COUNT],
            last: [NONE; HeaderName::COUNT],
            headers_start: 0,
            headers_end: 0,
            body: Span::default(),
            defect: None,
        }
    }

    /// Indexes `buffer`, one datagram or one framed message (RFC 3261 section 7). Line ends before the
    /// start line are skipped; bytes past Content-Length are left out of the body (section 18.3).
    ///
    /// What is wrong but still leaves somebody to answer is kept as [`Message::defect`].
    ///
    /// # Errors
    /// When there is no start line or the buffer exceeds the limit.
    pub fn parse<'a>(
        &'a mut self,
        buffer: &'a [u8],
        limits: &Limits,
    ) -> Result<Message<'a>, ParseError> {
        if buffer.len() > limits.size_bytes_max as usize {
            return Err(ParseError::TooLarge {
                size_bytes_max: limits.size_bytes_max,
            });
        }
        let begin = buffer
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .ok_or(ParseError::Empty)?;
        self.headers.clear();
        self.first = [NONE; HeaderName::COUNT];
        self.defect = None;
        let first = line(buffer, begin).unwrap_or(Line {
            end: buffer.len(),
            next: buffer.len(),
            has_bare: false,
        });
        self.start = self.start_line(buffer, begin, first.end)?;
        if first.has_bare {
            self.flaw(Defect::HeaderLine);
        }
        self.headers_start = first.next as u32;
        self.header_lines(buffer, first.next, limits);
        self.find_body(buffer);
        Ok(Message {
            buffer,
            index: self,
        })
    }

    /// The message that this index was made from.
    ///
    /// `buffer` must be the indexed one or a byte-identical copy; spans outside it read as empty.
    pub fn message<'a>(&'a self, buffer: &'a [u8]) -> Message<'a> {
        Message {
            buffer,
            index: self,
        }
    }

    fn flaw(&mut self, defect: Defect) {
        self.defect.get_or_insert(defect);
    }

    fn start_line(
        &mut self,
        buffer: &[u8],
        begin: usize,
        end: usize,
    ) -> Result<StartLine, ParseError> {
        let text = &buffer[begin..end];
        if text.len() > 7 && text[..4].eq_ignore_ascii_case(b"SIP/") {
            return self.status_line(text, begin);
        }
        let (name, rest) = lex::token(text);
        if name.is_empty() || rest.first() != Some(&b' ') {
            return Err(ParseError::StartLine);
        }
        // The version is last: a Request-URI with stray spaces is still found (RFC 4475 section 3.1.2.8).
        let trimmed = lex::trim_end(rest);
        let gap = memchr::memrchr(b' ', trimmed).ok_or(ParseError::StartLine)?;
        let version = &trimmed[gap + 1..];
        if version.len() < 5 || !version[..4].eq_ignore_ascii_case(b"SIP/") {
            return Err(ParseError::StartLine);
        }
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            self.flaw(Defect::Version);
        }
        let uri_start = begin + name.len() + 1;
        let uri_end = (begin + name.len() + gap).max(uri_start);
        let uri = &buffer[uri_start..uri_end];
        if uri.is_empty()
            || trimmed.len() != rest.len()
            || memchr::memchr3(b' ', b'\t', b'\r', uri).is_some()
        {
            self.flaw(Defect::RequestLine);
        }
        Ok(StartLine::Request {
            method: Method::parse(name),
            name: Span::new(begin, begin + name.len()),
            uri: Span::new(uri_start, uri_end),
        })
    }

    fn status_line(&mut self, text: &[u8], begin: usize) -> Result<StartLine, ParseError> {
        let gap = memchr::memchr(b' ', text).ok_or(ParseError::StartLine)?;
        if !text[..gap].eq_ignore_ascii_case(b"SIP/2.0") {
            self.flaw(Defect::Version);
        }
        let rest = &text[gap + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let reason_at = match rest.get(digits) {
            None => digits,
            Some(b' ') => digits + 1,
            Some(_) => return Err(ParseError::StartLine),
        };
        let status = lex::number(&rest[..digits], 65_535).unwrap_or(0) as u16;
        if digits != 3 || !(100..700).contains(&status) {
            self.flaw(Defect::StatusCode);
        }
        let reason = Span::new(begin + gap + 1 + reason_at, begin + text.len());
        Ok(StartLine::Response { status, reason })
    }

    fn header_lines(&mut self, buffer: &[u8], mut at: usize, limits: &Limits) {
        self.headers_end = at as u32;
        self.body = Span::new(buffer.len(), buffer.len());
        loop {
            let Some(mut last) = line(buffer, at) else {
                return self.flaw(Defect::Unterminated);
            };
            let mut has_bare = last.has_bare;
            if last.end == at {
                self.headers_end = at as u32;
                self.body = Span::new(last.next, buffer.len());
                if has_bare {
                    self.flaw(Defect::HeaderLine);
                }
                return;
            }
            while matches!(buffer.get(last.next), Some(b' ' | b'\t')) {
                let Some(folded) = line(buffer, last.next) else {
                    return self.flaw(Defect::Unterminated);
                };
                has_bare |= folded.has_bare;
                last = folded;
            }
            if self.headers.len() >= usize::from(limits.headers_max) {
                return self.flaw(Defect::TooManyHeaders);
            }
            if has_bare {
                self.flaw(Defect::HeaderLine);
            }
            self.header_line(buffer, at, last.end, last.next);
            at = last.next;
            self.headers_end = at as u32;
        }
    }

    #[inline]
    fn header_line(&mut self, buffer: &[u8], at: usize, end: usize, next: usize) {
        let text = &buffer[at..end];
        let Some(colon) = lex::find_near(text, b':') else {
            return self.flaw(Defect::HeaderLine);
        };
        let mut name_length = colon;
        while name_length > 0 && matches!(text[name_length - 1], b' ' | b'\t') {
            name_length -= 1;
        }
        let value = lex::trim(&text[colon + 1..]);
        let name = HeaderName::parse(&text[..name_length]);
        if name == HeaderName::Other && !lex::is_token_all(&text[..name_length]) {
            return self.flaw(Defect::HeaderLine);
        }
        let number = self.headers.len() as u16;
        if name != HeaderName::Other {
            match self.first[name as usize] {
                NONE => self.first[name as usize] = number,
                _ => {
                    let last = self.last[name as usize];
                    self.headers[usize::from(last)].next = number;
                }
            }
            self.last[name as usize] = number;
        }
        let value = if value.is_empty() {
            Span::new(at + colon + 1, at + colon + 1)
        } else {
            Span::within(buffer, value)
        };
        self.headers.push(Header {
            name,
            next: NONE,
            line: Span::new(at, next),
            name_span: Span::new(at, at + name_length),
            value,
        });
    }

    fn find_body(&mut self, buffer: &[u8]) {
        let mut number = self.first[HeaderName::ContentLength as usize];
        let mut length: Option<u32> = None;
        while number != NONE {
            let header = self.headers[usize::from(number)];
            let Some(value) = lex::number(header.value.of(buffer), u32::MAX) else {
                return self.flaw(Defect::Malformed(HeaderName::ContentLength));
            };
            if length.is_some_and(|length| length != value) {
                return self.flaw(Defect::Repeated(HeaderName::ContentLength));
            }
            length = Some(value);
            number = header.next;
        }
        let Some(length) = length else { return };
        let there = self.body.end - self.body.start;
        if length > there {
            return self.flaw(Defect::ShortBody);
        }
        self.body.end = self.body.start + length;
    }
}

/// Where a line ends and the next one begins.
struct Line {
    /// Past the text.
    end: usize,
    /// Past the line end.
    next: usize,
    /// Whether a CR or an LF stands alone in it. An LF alone ends the line all the same, so that there
    /// is somebody to answer.
    has_bare: bool,
}

/// The line that begins at `at`; `None` if it has no end.
#[inline]
fn line(buffer: &[u8], at: usize) -> Option<Line> {
    let mut from = at;
    loop {
        let found = from + memchr::memchr2(b'\r', b'\n', buffer.get(from..)?)?;
        let has_bare = from != at;
        if buffer[found] == b'\n' {
            return Some(Line {
                end: found,
                next: found + 1,
                has_bare: true,
            });
        }
        if buffer.get(found + 1) == Some(&b'\n') {
            return Some(Line {
                end: found,
                next: found + 2,
                has_bare,
            });
        }
        from = found + 1;
    }
}

/// A buffer and its index.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    buffer: &'a [u8],
    index: &'a Index,
}

/// One header line of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Which header.
    pub name: HeaderName,
    /// The name as it was written.
    pub name_bytes: &'a [u8],
    /// The value without white space at its ends; folds are still in it.
    pub value: &'a [u8],
    /// The whole line or lines, line end included.
    pub line: Span,
}

/// One value of a header that takes a comma-separated list.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// The value without white space at its ends.
    pub bytes: &'a [u8],
    /// Where it lies.
    pub span: Span,
}

impl<'a> Message<'a> {
    /// The bytes the message was indexed in.
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }

    /// The first thing that is wrong with the message, if any.
    pub fn defect(&self) -> Option<Defect> {
        self.index.defect
    }

    /// The start line.
    pub fn start_line(&self) -> StartLine {
        self.index.start
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, StartLine::Request { .. })
    }

    /// The method of a request; `None` for a response.
    pub fn method(&self) -> Option<Method> {
        match self.index.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The method's bytes; empty for a response.
    pub fn method_bytes(&self) -> &'a [u8] {
        match self.index.start {
            StartLine::Request { name, .. } => name.of(self.buffer),
            StartLine::Response { .. } => &[],
        }
    }

    /// The Request-URI's bytes; empty for a response.
    pub fn request_uri(&self) -> &'a [u8] {
        self.request_uri_span().of(self.buffer)
    }

    /// Where the Request-URI lies; empty for a response.
    pub fn request_uri_span(&self) -> Span {
        match self.index.start {
            StartLine::Request { uri, .. } => uri,
            StartLine::Response { .. } => Span::default(),
        }
    }

    /// The status code of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.index.start {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        }
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &'a [u8] {
        match self.index.start {
            StartLine::Request { .. } => &[],
            StartLine::Response { reason, .. } => reason.of(self.buffer),
        }
    }

    /// The body, at most Content-Length bytes.
    pub fn body(&self) -> &'a [u8] {
        self.index.body.of(self.buffer)
    }

    /// Where the body lies.
    pub fn body_span(&self) -> Span {
        self.index.body
    }

    /// The message without what came before its start line or after its body.
    pub fn extent(&self) -> Span {
        let start = match self.index.start {
            StartLine::Request { name, .. } => name.start,
            StartLine::Response { .. } => {
                let begin = self
                    .buffer
                    .iter()
                    .position(|byte| !matches!(byte, b'\r' | b'\n'));
                begin.unwrap_or(0) as u32
            }
        };
        Span {
            start,
            end: self.index.body.end,
        }
    }

    /// Offset of the first header line.
    pub fn headers_start(&self) -> u32 {
        self.index.headers_start
    }

    /// Offset past the last header line, where the empty line begins.
    pub fn headers_end(&self) -> u32 {
        self.index.headers_end
    }

    /// How many header lines there are.
    pub fn header_count(&self) -> usize {
        self.index.headers.len()
    }

    /// Whether there is a header of that name. `Other` is never found.
    pub fn has(&self, name: HeaderName) -> bool {
        self.index.first[name as usize] != NONE
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.fields(name).next().map(|field| field.value)
    }

    /// The value of the only header of that name.
    ///
    /// # Errors
    /// [`Defect::Missing`], or [`Defect::Repeated`] if there are several lines.
    pub fn single(&self, name: HeaderName) -> Result<&'a [u8], Defect> {
        let number = self.index.first[name as usize];
        if number == NONE {
            return Err(Defect::Missing(name));
        }
        let header = self.index.headers[usize::from(number)];
        if header.next != NONE {
            return Err(Defect::Repeated(name));
        }
        Ok(header.value.of(self.buffer))
    }

    /// The header lines of that name, in order.
    pub fn fields(&self, name: HeaderName) -> Fields<'a> {
        Fields {
            message: *self,
            next: self.index.first[name as usize],
        }
    }

    /// All header lines, in order.
    pub fn all_fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let message = *self;
        message
            .index
            .headers
            .iter()
            .map(move |header| message.field(*header))
    }

    fn field(&self, header: Header) -> Field<'a> {
        Field {
            name: header.name,
            name_bytes: header.name_span.of(self.buffer),
            value: header.value.of(self.buffer),
            line: header.line,
        }
    }

    /// The values of a header that takes a comma-separated list, over all its lines, in order. A value
    /// whose quotes or brackets are not closed runs to the end of its line.
    pub fn values(&self, name: HeaderName) -> Values<'a> {
        Values {
            fields: self.fields(name),
            buffer: self.buffer,
            rest: None,
        }
    }

    /// The topmost Via (section 20.42).
    ///
    /// # Errors
    /// If there is none or it cannot be read.
    pub fn via(&self) -> Result<Via<'a>, Defect> {
        let value = self
            .values(HeaderName::Via)
            .next()
            .ok_or(Defect::Missing(HeaderName::Via))?;
        Via::parse(value.bytes).ok_or(Defect::Malformed(HeaderName::Via))
    }

    /// The Call-ID (section 20.8).
    ///
    /// # Errors
    /// If it is absent, repeated, empty or has white space in it.
    pub fn call_id(&self) -> Result<&'a [u8], Defect> {
        let value = self.single(HeaderName::CallId)?;
        // Without a branch, so that the compiler can take many bytes at a time.
        let has_control = |bytes: &[u8]| {
            bytes.iter().fold(false, |found, &byte| {
                found | (byte <= b' ') | (byte == 0x7f)
            })
        };
        if value.is_empty() || has_control(value) {
            return Err(Defect::Malformed(HeaderName::CallId));
        }
        Ok(value)
    }

    /// CSeq (section 20.16).
    ///
    /// # Errors
    /// If it is absent, repeated or unreadable.
    pub fn cseq(&self) -> Result<CSeq<'a>, Defect> {
        CSeq::parse(self.single(HeaderName::CSeq)?).ok_or(Defect::Malformed(HeaderName::CSeq))
    }

    /// From (section 20.20).
    ///
    /// # Errors
    /// If it is absent, repeated or unreadable.
    pub fn from(&self) -> Result<NameAddr<'a>, Defect> {
        NameAddr::parse(self.single(HeaderName::From)?).ok_or(Defect::Malformed(HeaderName::From))
    }

    /// To (section 20.39).
    ///
    /// # Errors
    /// If it is absent, repeated or unreadable.
    pub fn to(&self) -> Result<NameAddr<'a>, Defect> {
        NameAddr::parse(self.single(HeaderName::To)?).ok_or(Defect::Malformed(HeaderName::To))
    }

    /// A header that holds one number, such as Max-Forwards or Expires.
    ///
    /// # Errors
    /// If it is repeated, no number or over `max`. Absent is `Ok(None)`.
    pub fn number(&self, name: HeaderName, max: u32) -> Result<Option<u32>, Defect> {
        if !self.has(name) {
            return Ok(None);
        }
        match lex::number(self.single(name)?, max) {
            Some(value) => Ok(Some(value)),
            None => Err(Defect::Malformed(name)),
        }
    }
}

/// Iterator over header lines of one name.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: Message<'a>,
    next: u16,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.next == NONE {
            return None;
        }
        let header = self.message.index.headers[usize::from(self.next)];
        self.next = header.next;
        Some(self.message.field(header))
    }
}

/// Iterator over the values of one header.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    fields: Fields<'a>,
    buffer: &'a [u8],
    /// What of the current line's value is still to come.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let rest = match self.rest.take() {
            Some(rest) => rest,
            None => self.fields.next()?.value,
        };
        let comma = match memchr::memchr(b',', rest) {
            None => None,
            Some(_) => lex::find_byte_outside(rest, b',').unwrap_or(None),
        };
        let taken = &rest[..comma.unwrap_or(rest.len())];
        self.rest = comma.map(|comma| &rest[comma + 1..]);
        let bytes = lex::trim(taken);
        let span = Span::within(self.buffer, if bytes.is_empty() { taken } else { bytes });
        Some(Value { bytes, span })
    }
}

#[cfg(test)]
mod tests;
