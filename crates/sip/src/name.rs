//! Header field names and methods.

/// A header field's name (RFC 3261 section 20 and its extensions), or `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeaderName {
    /// `Via`, compact form `v`.
    Via,
    /// `From`, compact form `f`.
    From,
    /// `To`, compact form `t`.
    To,
    /// `Call-ID`, compact form `i`.
    CallId,
    /// `CSeq`.
    CSeq,
    /// `Max-Forwards`.
    MaxForwards,
    /// `Contact`, compact form `m`.
    Contact,
    /// `Content-Length`, compact form `l`.
    ContentLength,
    /// `Content-Type`, compact form `c`.
    ContentType,
    /// `Route`.
    Route,
    /// `Record-Route`.
    RecordRoute,
    /// `Expires`.
    Expires,
    /// `Min-Expires`.
    MinExpires,
    /// `Authorization`.
    Authorization,
    /// `Proxy-Authorization`.
    ProxyAuthorization,
    /// `WWW-Authenticate`.
    WwwAuthenticate,
    /// `Proxy-Authenticate`.
    ProxyAuthenticate,
    /// `Authentication-Info`.
    AuthenticationInfo,
    /// `Require`.
    Require,
    /// `Proxy-Require`.
    ProxyRequire,
    /// `Supported`, compact form `k`.
    Supported,
    /// `Unsupported`.
    Unsupported,
    /// `Path`.
    Path,
    /// `Service-Route`.
    ServiceRoute,
    /// `Allow`.
    Allow,
    /// `Accept`.
    Accept,
    /// `Date`.
    Date,
    /// `Subject`, compact form `s`.
    Subject,
    /// `User-Agent`.
    UserAgent,
    /// `Server`.
    Server,
    /// `Event`, compact form `o`.
    Event,
    /// `Allow-Events`, compact form `u`.
    AllowEvents,
    /// `Subscription-State`.
    SubscriptionState,
    /// `Refer-To`, compact form `r`.
    ReferTo,
    /// `Referred-By`, compact form `b`.
    ReferredBy,
    /// `Replaces`.
    Replaces,
    /// `Session-Expires`, compact form `x`.
    SessionExpires,
    /// `Min-SE`.
    MinSe,
    /// `RSeq`.
    RSeq,
    /// `RAck`.
    RAck,
    /// `Retry-After`.
    RetryAfter,
    /// `Reason`.
    Reason,
    /// `Warning`.
    Warning,
    /// `Timestamp`.
    Timestamp,
    /// `P-Asserted-Identity`.
    PAssertedIdentity,
    /// `P-Preferred-Identity`.
    PPreferredIdentity,
    /// `Privacy`.
    Privacy,
    /// `Diversion`.
    Diversion,
    /// `History-Info`.
    HistoryInfo,
    /// `Content-Encoding`, compact form `e`.
    ContentEncoding,
    /// `Content-Disposition`.
    ContentDisposition,
    /// `Accept-Contact`, compact form `a`.
    AcceptContact,
    /// `Reject-Contact`, compact form `j`.
    RejectContact,
    /// `Request-Disposition`, compact form `d`.
    RequestDisposition,
    /// `Identity`, compact form `y`.
    Identity,
    /// `Max-Breadth`.
    MaxBreadth,
    /// `Flow-Timer`.
    FlowTimer,
    /// `Organization`.
    Organization,
    /// `In-Reply-To`.
    InReplyTo,
    /// `MIME-Version`.
    MimeVersion,
    /// A name this crate has no use for; it is carried as it came.
    Other,
}

impl HeaderName {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = 61;

    /// The name that `bytes` spell, in any case, long or compact (section 7.3.3).
    pub fn parse(bytes: &[u8]) -> HeaderName {
        match bytes.len() {
            1 => HeaderName::compact(bytes[0]),
            2 => among(bytes, &[(b"To", HeaderName::To)]),
            3 => among(bytes, &[(b"Via", HeaderName::Via)]),
            4 => among(
                bytes,
                &[
                    (b"From", HeaderName::From),
                    (b"CSeq", HeaderName::CSeq),
                    (b"Path", HeaderName::Path),
                    (b"Date", HeaderName::Date),
                    (b"RSeq", HeaderName::RSeq),
                    (b"RAck", HeaderName::RAck),
                ],
            ),
            5 => among(
                bytes,
                &[
                    (b"Route", HeaderName::Route),
                    (b"Allow", HeaderName::Allow),
                    (b"Event", HeaderName::Event),
                ],
            ),
            6 => among(
                bytes,
                &[
                    (b"Accept", HeaderName::Accept),
                    (b"Server", HeaderName::Server),
                    (b"Min-SE", HeaderName::MinSe),
                    (b"Reason", HeaderName::Reason),
                ],
            ),
            7 => among(
                bytes,
                &[
                    (b"Call-ID", HeaderName::CallId),
                    (b"Contact", HeaderName::Contact),
                    (b"Expires", HeaderName::Expires),
                    (b"Require", HeaderName::Require),
                    (b"Subject", HeaderName::Subject),
                    (b"Warning", HeaderName::Warning),
                    (b"Privacy", HeaderName::Privacy),
                ],
            ),
            8 => among(
                bytes,
                &[
                    (b"Refer-To", HeaderName::ReferTo),
                    (b"Replaces", HeaderName::Replaces),
                    (b"Identity", HeaderName::Identity),
                ],
            ),
            9 => among(
                bytes,
                &[
                    (b"Supported", HeaderName::Supported),
                    (b"Timestamp", HeaderName::Timestamp),
                    (b"Diversion", HeaderName::Diversion),
                ],
            ),
            10 => among(
                bytes,
                &[
                    (b"User-Agent", HeaderName::UserAgent),
                    (b"Flow-Timer", HeaderName::FlowTimer),
                ],
            ),
            11 => among(
                bytes,
                &[
                    (b"Min-Expires", HeaderName::MinExpires),
                    (b"Unsupported", HeaderName::Unsupported),
                    (b"Referred-By", HeaderName::ReferredBy),
                    (b"Retry-After", HeaderName::RetryAfter),
                    (b"Max-Breadth", HeaderName::MaxBreadth),
                    (b"In-Reply-To", HeaderName::InReplyTo),
                ],
            ),
            12 => among(
                bytes,
                &[
                    (b"Max-Forwards", HeaderName::MaxForwards),
                    (b"Content-Type", HeaderName::ContentType),
                    (b"Record-Route", HeaderName::RecordRoute),
                    (b"Allow-Events", HeaderName::AllowEvents),
                    (b"History-Info", HeaderName::HistoryInfo),
                    (b"Organization", HeaderName::Organization),
                    (b"MIME-Version", HeaderName::MimeVersion),
                ],
            ),
            13 => among(
                bytes,
                &[
                    (b"Authorization", HeaderName::Authorization),
                    (b"Proxy-Require", HeaderName::ProxyRequire),
                    (b"Service-Route", HeaderName::ServiceRoute),
                ],
            ),
            14 => among(
                bytes,
                &[
                    (b"Content-Length", HeaderName::ContentLength),
                    (b"Accept-Contact", HeaderName::AcceptContact),
                    (b"Reject-Contact", HeaderName::RejectContact),
                ],
            ),
            15 => among(bytes, &[(b"Session-Expires", HeaderName::SessionExpires)]),
            16 => among(
                bytes,
                &[
                    (b"WWW-Authenticate", HeaderName::WwwAuthenticate),
                    (b"Content-Encoding", HeaderName::ContentEncoding),
                ],
            ),
            18 => among(
                bytes,
                &[
                    (b"Proxy-Authenticate", HeaderName::ProxyAuthenticate),
                    (b"Subscription-State", HeaderName::SubscriptionState),
                ],
            ),
            19 => among(
                bytes,
                &[
                    (b"Proxy-Authorization", HeaderName::ProxyAuthorization),
                    (b"Authentication-Info", HeaderName::AuthenticationInfo),
                    (b"P-Asserted-Identity", HeaderName::PAssertedIdentity),
                    (b"Content-Disposition", HeaderName::ContentDisposition),
                    (b"Request-Disposition", HeaderName::RequestDisposition),
                ],
            ),
            20 => among(
                bytes,
                &[(b"P-Preferred-Identity", HeaderName::PPreferredIdentity)],
            ),
            _ => HeaderName::Other,
        }
    }

    fn compact(byte: u8) -> HeaderName {
        match byte.to_ascii_lowercase() {
            b'v' => HeaderName::Via,
            b'f' => HeaderName::From,
            b't' => HeaderName::To,
            b'i' => HeaderName::CallId,
            b'm' => HeaderName::Contact,
            b'l' => HeaderName::ContentLength,
            b'c' => HeaderName::ContentType,
            b'k' => HeaderName::Supported,
            b's' => HeaderName::Subject,
            b'o' => HeaderName::Event,
            b'u' => HeaderName::AllowEvents,
            b'r' => HeaderName::ReferTo,
            b'b' => HeaderName::ReferredBy,
            b'x' => HeaderName::SessionExpires,
            b'e' => HeaderName::ContentEncoding,
            b'a' => HeaderName::AcceptContact,
            b'j' => HeaderName::RejectContact,
            b'd' => HeaderName::RequestDisposition,
            b'y' => HeaderName::Identity,
            _ => HeaderName::Other,
        }
    }

    /// The name as RFC 3261 writes it; `*` for `Other`.
    pub fn as_str(self) -> &'static str {
        match self {
            HeaderName::Via => "Via",
            HeaderName::From => "From",
            HeaderName::To => "To",
            HeaderName::CallId => "Call-ID",
            HeaderName::CSeq => "CSeq",
            HeaderName::MaxForwards => "Max-Forwards",
            HeaderName::Contact => "Contact",
            HeaderName::ContentLength => "Content-Length",
            HeaderName::ContentType => "Content-Type",
            HeaderName::Route => "Route",
            HeaderName::RecordRoute => "Record-Route",
            HeaderName::Expires => "Expires",
            HeaderName::MinExpires => "Min-Expires",
            HeaderName::Authorization => "Authorization",
            HeaderName::ProxyAuthorization => "Proxy-Authorization",
            HeaderName::WwwAuthenticate => "WWW-Authenticate",
            HeaderName::ProxyAuthenticate => "Proxy-Authenticate",
            HeaderName::AuthenticationInfo => "Authentication-Info",
            HeaderName::Require => "Require",
            HeaderName::ProxyRequire => "Proxy-Require",
            HeaderName::Supported => "Supported",
            HeaderName::Unsupported => "Unsupported",
            HeaderName::Path => "Path",
            HeaderName::ServiceRoute => "Service-Route",
            HeaderName::Allow => "Allow",
            HeaderName::Accept => "Accept",
            HeaderName::Date => "Date",
            HeaderName::Subject => "Subject",
            HeaderName::UserAgent => "User-Agent",
            HeaderName::Server => "Server",
            HeaderName::Event => "Event",
            HeaderName::AllowEvents => "Allow-Events",
            HeaderName::SubscriptionState => "Subscription-State",
            HeaderName::ReferTo => "Refer-To",
            HeaderName::ReferredBy => "Referred-By",
            HeaderName::Replaces => "Replaces",
            HeaderName::SessionExpires => "Session-Expires",
            HeaderName::MinSe => "Min-SE",
            HeaderName::RSeq => "RSeq",
            HeaderName::RAck => "RAck",
            HeaderName::RetryAfter => "Retry-After",
            HeaderName::Reason => "Reason",
            HeaderName::Warning => "Warning",
            HeaderName::Timestamp => "Timestamp",
            HeaderName::PAssertedIdentity => "P-Asserted-Identity",
            HeaderName::PPreferredIdentity => "P-Preferred-Identity",
            HeaderName::Privacy => "Privacy",
            HeaderName::Diversion => "Diversion",
            HeaderName::HistoryInfo => "History-Info",
            HeaderName::ContentEncoding => "Content-Encoding",
            HeaderName::ContentDisposition => "Content-Disposition",
            HeaderName::AcceptContact => "Accept-Contact",
            HeaderName::RejectContact => "Reject-Contact",
            HeaderName::RequestDisposition => "Request-Disposition",
            HeaderName::Identity => "Identity",
            HeaderName::MaxBreadth => "Max-Breadth",
            HeaderName::FlowTimer => "Flow-Timer",
            HeaderName::Organization => "Organization",
            HeaderName::InReplyTo => "In-Reply-To",
            HeaderName::MimeVersion => "MIME-Version",
            HeaderName::Other => "*",
        }
    }

    pub(crate) fn missing_reason(self) -> &'static str {
        match self {
            HeaderName::Via => "Missing Via",
            HeaderName::From => "Missing From",
            HeaderName::To => "Missing To",
            HeaderName::CallId => "Missing Call-ID",
            HeaderName::CSeq => "Missing CSeq",
            HeaderName::MaxForwards => "Missing Max-Forwards",
            HeaderName::Contact => "Missing Contact",
            HeaderName::ContentLength => "Missing Content-Length",
            HeaderName::Expires => "Missing Expires",
            HeaderName::Route => "Missing Route",
            HeaderName::RecordRoute => "Missing Record-Route",
            HeaderName::Path => "Missing Path",
            HeaderName::Authorization => "Missing Authorization",
            HeaderName::ProxyAuthorization => "Missing Proxy-Authorization",
            HeaderName::Date => "Missing Date",
            HeaderName::ReferTo => "Missing Refer-To",
            HeaderName::ContentType => "Missing Content-Type",
            HeaderName::Require => "Missing Require",
            HeaderName::ProxyRequire => "Missing Proxy-Require",
            _ => "Missing Header",
        }
    }

    pub(crate) fn repeated_reason(self) -> &'static str {
        match self {
            HeaderName::Via => "Repeated Via",
            HeaderName::From => "Repeated From",
            HeaderName::To => "Repeated To",
            HeaderName::CallId => "Repeated Call-ID",
            HeaderName::CSeq => "Repeated CSeq",
            HeaderName::MaxForwards => "Repeated Max-Forwards",
            HeaderName::Contact => "Repeated Contact",
            HeaderName::ContentLength => "Repeated Content-Length",
            HeaderName::Expires => "Repeated Expires",
            HeaderName::Route => "Repeated Route",
            HeaderName::RecordRoute => "Repeated Record-Route",
            HeaderName::Path => "Repeated Path",
            HeaderName::Authorization => "Repeated Authorization",
            HeaderName::ProxyAuthorization => "Repeated Proxy-Authorization",
            HeaderName::Date => "Repeated Date",
            HeaderName::ReferTo => "Repeated Refer-To",
            HeaderName::ContentType => "Repeated Content-Type",
            HeaderName::Require => "Repeated Require",
            HeaderName::ProxyRequire => "Repeated Proxy-Require",
            _ => "Repeated Header",
        }
    }

    pub(crate) fn malformed_reason(self) -> &'static str {
        match self {
            HeaderName::Via => "Malformed Via",
            HeaderName::From => "Malformed From",
            HeaderName::To => "Malformed To",
            HeaderName::CallId => "Malformed Call-ID",
            HeaderName::CSeq => "Malformed CSeq",
            HeaderName::MaxForwards => "Malformed Max-Forwards",
            HeaderName::Contact => "Malformed Contact",
            HeaderName::ContentLength => "Malformed Content-Length",
            HeaderName::Expires => "Malformed Expires",
            HeaderName::Route => "Malformed Route",
            HeaderName::RecordRoute => "Malformed Record-Route",
            HeaderName::Path => "Malformed Path",
            HeaderName::Authorization => "Malformed Authorization",
            HeaderName::ProxyAuthorization => "Malformed Proxy-Authorization",
            HeaderName::Date => "Malformed Date",
            HeaderName::ReferTo => "Malformed Refer-To",
            HeaderName::ContentType => "Malformed Content-Type",
            HeaderName::Require => "Malformed Require",
            HeaderName::ProxyRequire => "Malformed Proxy-Require",
            _ => "Malformed Header",
        }
    }
}

fn among(bytes: &[u8], names: &[(&[u8], HeaderName)]) -> HeaderName {
    let first = bytes[0] | 0x20;
    for (name, header) in names {
        if name[0] | 0x20 == first && name.eq_ignore_ascii_case(bytes) {
            return *header;
        }
    }
    HeaderName::Other
}

/// A request method (RFC 3261 section 7.1). Methods are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// INVITE, RFC 3261 section 13.
    Invite,
    /// ACK, RFC 3261 section 13.
    Ack,
    /// BYE, RFC 3261 section 15.
    Bye,
    /// CANCEL, RFC 3261 section 9.
    Cancel,
    /// OPTIONS, RFC 3261 section 11.
    Options,
    /// REGISTER, RFC 3261 section 10.
    Register,
    /// PRACK, RFC 3262.
    Prack,
    /// SUBSCRIBE, RFC 6665.
    Subscribe,
    /// NOTIFY, RFC 6665.
    Notify,
    /// PUBLISH, RFC 3903.
    Publish,
    /// INFO, RFC 6086.
    Info,
    /// REFER, RFC 3515.
    Refer,
    /// MESSAGE, RFC 3428.
    Message,
    /// UPDATE, RFC 3311.
    Update,
    /// Any other token; treated as a non-INVITE request.
    Other,
}

impl Method {
    /// The method that `bytes` spell.
    pub fn parse(bytes: &[u8]) -> Method {
        match bytes {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            b"INFO" => Method::Info,
            b"REFER" => Method::Refer,
            b"MESSAGE" => Method::Message,
            b"UPDATE" => Method::Update,
            _ => Method::Other,
        }
    }

    /// The method's name; `*` for `Other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Info => "INFO",
            Method::Refer => "REFER",
            Method::Message => "MESSAGE",
            Method::Update => "UPDATE",
            Method::Other => "*",
        }
    }
}
