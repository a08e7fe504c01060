//! A SIP message as text, as far as the laboratory's phones read it, without the code that is under test.

/// A message that came.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    text: String,
}

impl Message {
    pub(crate) fn new(bytes: &[u8]) -> Message {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Message { text }
    }

    fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The status; none of a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let rest = self.start_line().strip_prefix("SIP/2.0 ")?;
        rest.get(..3)?.parse().ok()
    }

    /// Whom an INVITE is for, by its Request-URI; none of any other message.
    pub(crate) fn invited(&self) -> Option<&str> {
        let uri = self.start_line().strip_prefix("INVITE sip:")?;
        uri.split_once('@').map(|(user, _)| user)
    }

    pub(crate) fn body(&self) -> &str {
        let split = self.text.split_once("\r\n\r\n");
        split.map_or("", |(_, body)| body)
    }

    /// The values of all lines of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        // The first line of a message has no field: no name is like what stands before its colon.
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The value of the first line of a header; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    /// The method of CSeq.
    pub(crate) fn cseq_method(&self) -> &str {
        self.header("CSeq")
            .split(' ')
            .next_back()
            .unwrap_or_default()
    }

    /// The lines that a response takes over from this request (RFC 3261 section 8.2.6.2).
    pub(crate) fn answer(&self, status: &str, to_tag: &str, more: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route"] {
            for value in self.all(name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        let to = self.header("To");
        let tag = match to.contains(";tag=") {
            true => String::new(),
            false => format!(";tag={to_tag}"),
        };
        text += &format!(
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.header("From"),
            self.header("Call-ID"),
            self.header("CSeq"),
            body.len()
        );
        text
    }

    /// Whether it is a challenge for want of a newer nonce only (RFC 7616 section 3.3).
    pub(crate) fn says_stale(&self) -> bool {
        let lines = ["WWW-Authenticate", "Proxy-Authenticate"].map(|name| self.all(name));
        lines.iter().flatten().any(|line| {
            parameter(line, "stale").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        })
    }

    /// The URI of the Contact.
    pub(crate) fn contact(&self) -> &str {
        let value = self.header("Contact");
        match value.split_once('<') {
            Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
            None => value.split(';').next().unwrap_or_default(),
        }
    }

    /// Address and port of the first stream of the session description.
    pub(crate) fn media(&self) -> Option<std::net::SocketAddr> {
        let mut lines = self.body().lines();
        let address = lines.find_map(|line| line.strip_prefix("c=IN IP4 "))?;
        let stream = self
            .body()
            .lines()
            .find_map(|line| line.strip_prefix("m=audio "))?;
        let port = stream.split(' ').next()?;
        Some(
            (
                address.trim().parse::<std::net::IpAddr>().ok()?,
                port.parse().ok()?,
            )
                .into(),
        )
    }
}

/// A parameter of a challenge.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split([',', ' ']).find_map(|part| {
        let (found, rest) = part.trim().split_once('=')?;
        let is_it = found.eq_ignore_ascii_case(name);
        is_it.then_some(rest.trim_matches('"'))
    })
}
