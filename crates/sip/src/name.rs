//! Header field names and methods.

/// Makes everything about header names from one list: variant, name, compact form.
macro_rules! header_names {
    ($($variant:ident = $name:literal $(or $compact:literal)?,)*) => {
        /// A header field's name (RFC 3261 section 20 and its extensions), or `Other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
            /// A name this crate has no use for; it is carried as it came.
            Other,
        }

        /// All names but `Other`, in order.
        const NAMED: [(HeaderName, &str); HeaderName::COUNT - 1] =
            [$((HeaderName::$variant, $name),)*];

        /// Reason phrases: missing, repeated, malformed.
        const REASONS: [[&str; 3]; HeaderName::COUNT] = [
            $([
                concat!("Missing ", $name),
                concat!("Repeated ", $name),
                concat!("Malformed ", $name),
            ],)*
            ["Missing Header", "Repeated Header", "Malformed Header"],
        ];

        /// By letter, `a` first (section 7.3.3 and the extensions' own compact forms).
        const COMPACT: [HeaderName; 26] = {
            let mut table = [HeaderName::Other; 26];
            $($(table[($compact - b'a') as usize] = HeaderName::$variant;)?)*
            table
        };
    };
}

header_names! {
    Via = "Via" or b'v',
    From = "From" or b'f',
    To = "To" or b't',
    CallId = "Call-ID" or b'i',
    CSeq = "CSeq",
    MaxForwards = "Max-Forwards",
    Contact = "Contact" or b'm',
    ContentLength = "Content-Length" or b'l',
    ContentType = "Content-Type" or b'c',
    Route = "Route",
    RecordRoute = "Record-Route",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    Authorization = "Authorization",
    ProxyAuthorization = "Proxy-Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Supported = "Supported" or b'k',
    Unsupported = "Unsupported",
    Path = "Path",
    ServiceRoute = "Service-Route",
    Allow = "Allow",
    Accept = "Accept",
    Date = "Date",
    Subject = "Subject" or b's',
    UserAgent = "User-Agent",
    Server = "Server",
    Event = "Event" or b'o',
    AllowEvents = "Allow-Events" or b'u',
    SubscriptionState = "Subscription-State",
    ReferTo = "Refer-To" or b'r',
    ReferredBy = "Referred-By" or b'b',
    Replaces = "Replaces",
    SessionExpires = "Session-Expires" or b'x',
    MinSe = "Min-SE",
    RSeq = "RSeq",
    RAck = "RAck",
    RetryAfter = "Retry-After",
    Reason = "Reason",
    Warning = "Warning",
    Timestamp = "Timestamp",
    PAssertedIdentity = "P-Asserted-Identity",
    PPreferredIdentity = "P-Preferred-Identity",
    Privacy = "Privacy",
    Diversion = "Diversion",
    HistoryInfo = "History-Info",
    ContentEncoding = "Content-Encoding" or b'e',
    ContentDisposition = "Content-Disposition",
    AcceptContact = "Accept-Contact" or b'a',
    RejectContact = "Reject-Contact" or b'j',
    RequestDisposition = "Request-Disposition" or b'd',
    Identity = "Identity" or b'y',
    MaxBreadth = "Max-Breadth",
    FlowTimer = "Flow-Timer",
    Organization = "Organization",
    InReplyTo = "In-Reply-To",
    MimeVersion = "MIME-Version",
}

impl HeaderName {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = HeaderName::Other as usize + 1;

    /// The name that `bytes` spell, in any case, long or compact (section 7.3.3).
    #[inline]
    pub fn parse(bytes: &[u8]) -> HeaderName {
        if let [letter] = bytes {
            let at = letter.to_ascii_lowercase().wrapping_sub(b'a');
            return COMPACT
                .get(usize::from(at))
                .copied()
                .unwrap_or(HeaderName::Other);
        }
        let spelling = match BY_SLOT[slot(bytes)] {
            EMPTY => return HeaderName::Other,
            number => &SPELLINGS[usize::from(number)],
        };
        if spelling.is(bytes) {
            spelling.name
        } else {
            HeaderName::Other
        }
    }

    /// The name as RFC 3261 writes it; `*` for `Other`.
    pub fn as_str(self) -> &'static str {
        NAMED.get(self as usize).map_or("*", |(_, text)| text)
    }

    pub(crate) fn missing_reason(self) -> &'static str {
        REASONS[self as usize][0]
    }

    pub(crate) fn repeated_reason(self) -> &'static str {
        REASONS[self as usize][1]
    }

    pub(crate) fn malformed_reason(self) -> &'static str {
        REASONS[self as usize][2]
    }
}

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 24;

/// A name laid out for comparison in any case, many bytes at a time.
struct Spelling {
    name: HeaderName,
    length: usize,
    text: [u8; NAME_BYTES_MAX],
    /// The bits that matter: all but the one that tells the case of a letter.
    mask: [u8; NAME_BYTES_MAX],
}

static SPELLINGS: [Spelling; NAMED.len()] = {
    let mut table = [const { Spelling::new(HeaderName::Other, "") }; NAMED.len()];
    let mut number = 0;
    while number < NAMED.len() {
        table[number] = Spelling::new(NAMED[number].0, NAMED[number].1);
        number += 1;
    }
    table
};

impl Spelling {
    const fn new(name: HeaderName, written: &str) -> Spelling {
        let written = written.as_bytes();
        let (mut text, mut mask) = ([0; NAME_BYTES_MAX], [0xff; NAME_BYTES_MAX]);
        let mut at = 0;
        while at < written.len() {
            text[at] = written[at];
            if written[at].is_ascii_alphabetic() {
                mask[at] = !0x20;
            }
            at += 1;
        }
        Spelling {
            name,
            length: written.len(),
            text,
            mask,
        }
    }

    /// Whether `bytes` are this name. Words that overlap cover any length.
    #[inline]
    fn is(&self, bytes: &[u8]) -> bool {
        let length = bytes.len();
        if length != self.length {
            return false;
        }
        match length {
            0..4 => (0..length).all(|at| self.differs::<1>(bytes, at) == 0),
            4..8 => self.differs::<4>(bytes, 0) | self.differs::<4>(bytes, length - 4) == 0,
            8..=16 => self.differs::<8>(bytes, 0) | self.differs::<8>(bytes, length - 8) == 0,
            _ => {
                let ends = self.differs::<8>(bytes, 0) | self.differs::<8>(bytes, length - 8);
                ends | self.differs::<8>(bytes, 8) == 0
            }
        }
    }

    /// Not zero if any of `N` bytes from `at` differ.
    #[inline]
    fn differs<const N: usize>(&self, bytes: &[u8], at: usize) -> u64 {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            match bytes.get(at..at + N) {
                Some(part) => word[..N].copy_from_slice(part),
                None => return 0,
            }
            u64::from_le_bytes(word)
        };
        (word(bytes) ^ word(&self.text)) & word(&self.mask)
    }
}

/// A slot of [`BY_SLOT`] that no name has.
const EMPTY: u8 = u8::MAX;

/// The number of the name that may have this slot. No two names share one: the factors of [`slot`]
/// were searched for that, and a name that would collide does not compile.
const BY_SLOT: [u8; 256] = {
    let mut table = [EMPTY; 256];
    let mut number = 0;
    while number < NAMED.len() {
        assert!(NAMED[number].0 as usize == number);
        let at = slot(NAMED[number].1.as_bytes());
        assert!(
            table[at] == EMPTY,
            "two names in one slot: find other factors"
        );
        table[at] = number as u8;
        number += 1;
    }
    table
};

/// A hash of a name's length and its first and last letter in any case.
const fn slot(name: &[u8]) -> usize {
    let [first, .., last] = name else { return 0 };
    let (first, last) = ((*first | 0x20) as usize, (*last | 0x20) as usize);
    (name.len() * 17 + first * 28 + last * 33) % 256
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

#[cfg(test)]
mod tests;
