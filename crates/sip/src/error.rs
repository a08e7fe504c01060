//! What can be wrong with a message.

use crate::name::HeaderName;

/// Why bytes could not be indexed as a SIP message at all; there is nobody to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Nothing but line ends (a keep-alive, RFC 5626 section 4.4.1).
    Empty,
    /// The first line is neither a Request-Line nor a Status-Line (RFC 3261 section 7.1, 7.2).
    StartLine,
    /// Longer than the limit, in bytes.
    TooLarge {
        /// The limit that was exceeded.
        size_bytes_max: u32,
    },
}

/// What is wrong with a message whose parts could be found. A request is answered with
/// [`Defect::status`] when it has what an answer needs; a response is dropped (RFC 3261 section 18.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The SIP version is not 2.0 (RFC 3261 section 21.5.6).
    Version,
    /// The Request-Line has more or fewer parts than three, or stray white space (section 7.1).
    RequestLine,
    /// The Request-URI cannot be read.
    RequestUri,
    /// The Request-URI has a scheme that this element does not route (section 8.2.2.1).
    Scheme,
    /// A line that is no header: no colon, a name that is no token, or a CR or LF that stands alone.
    HeaderLine,
    /// The headers do not end with an empty line.
    Unterminated,
    /// More header lines than the limit.
    TooManyHeaders,
    /// A mandatory header is absent (section 8.1.1).
    Missing(HeaderName),
    /// A header that must be single is there more than once with different contents.
    Repeated(HeaderName),
    /// A header whose contents cannot be read.
    Malformed(HeaderName),
    /// The method of CSeq is not the method of the request (section 8.2.1).
    CSeqMethod,
    /// Content-Length promises more than the datagram holds (section 18.3).
    ShortBody,
    /// Status code outside 100..=699.
    StatusCode,
}

impl Defect {
    /// The status code and reason phrase a request with this defect is answered with.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Defect::Version => (505, "Version Not Supported"),
            Defect::Scheme => (416, "Unsupported URI Scheme"),
            Defect::RequestLine => (400, "Bad Request-Line"),
            Defect::RequestUri => (400, "Bad Request-URI"),
            Defect::HeaderLine => (400, "Bad Header Line"),
            Defect::Unterminated => (400, "Headers Not Terminated"),
            Defect::TooManyHeaders => (400, "Too Many Headers"),
            Defect::Missing(name) => (400, name.missing_reason()),
            Defect::Repeated(name) => (400, name.repeated_reason()),
            Defect::Malformed(name) => (400, name.malformed_reason()),
            Defect::CSeqMethod => (400, "CSeq Method Does Not Match"),
            Defect::ShortBody => (400, "Body Shorter Than Content-Length"),
            Defect::StatusCode => (400, "Bad Status Code"),
        }
    }

    /// A short fixed word for counters.
    pub fn label(self) -> &'static str {
        match self {
            Defect::Version => "version",
            Defect::RequestLine => "request-line",
            Defect::RequestUri => "request-uri",
            Defect::Scheme => "scheme",
            Defect::HeaderLine => "header-line",
            Defect::Unterminated => "unterminated",
            Defect::TooManyHeaders => "too-many-headers",
            Defect::Missing(_) => "missing-header",
            Defect::Repeated(_) => "repeated-header",
            Defect::Malformed(_) => "malformed-header",
            Defect::CSeqMethod => "cseq-method",
            Defect::ShortBody => "short-body",
            Defect::StatusCode => "status-code",
        }
    }
}
