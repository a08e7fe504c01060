//! Messages as text: made, read, answered.

use transaction::Flow;

/// A message that the edge sent.
#[derive(Debug, Clone)]
pub struct Sip {
    pub flow: Flow,
    pub text: String,
}

impl Sip {
    /// Reads a message and asserts what every message has to have.
    #[track_caller]
    pub fn read(bytes: &[u8], flow: Flow) -> Sip {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let sip = Sip { flow, text };
        assert!(sip.text.contains("\r\n\r\n"), "{}", sip.text);
        assert!(sip.header("Via").is_some(), "{}", sip.text);
        let mut index = sip::Index::new();
        let message = index.parse(bytes, &sip::Limits::default()).expect("SIP");
        assert_eq!(message.defect(), None, "{}", sip.text);
        if flow.transport.is_reliable() {
            assert!(sip.header("Content-Length").is_some(), "{}", sip.text);
        }
        sip
    }

    pub fn first(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    #[track_caller]
    pub fn status(&self) -> u16 {
        let rest = self.first().strip_prefix("SIP/2.0 ");
        let rest = rest.unwrap_or_else(|| panic!("no response: {}", self.first()));
        rest[..3].parse().expect("a status")
    }

    #[track_caller]
    pub fn method(&self) -> &str {
        let method = self.first().split(' ').next().unwrap_or_default();
        assert_ne!(method, "SIP/2.0", "no request: {}", self.first());
        method
    }

    pub fn uri(&self) -> &str {
        self.first().split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a header, line by line.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n")
            .filter_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
            .collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    #[track_caller]
    pub fn the(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    pub fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> &str {
        let via = self.the("Via");
        let (_, branch) = via.split_once("branch=").expect("a branch");
        branch.split(';').next().unwrap_or_default()
    }
}

/// A request: `via` is the sender's address and branch; `lines` are more header lines.
pub fn request(method: &str, uri: &str, via: &str, lines: &[&str]) -> String {
    let has = |name: &str| lines.iter().any(|line| line.starts_with(name));
    let mut text = format!("{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport\r\n");
    let defaults = [
        ("Max-Forwards:", "Max-Forwards: 70".to_owned()),
        ("From:", "From: <sip:alice@example.org>;tag=a".to_owned()),
        ("To:", "To: <sip:bob@example.org>".to_owned()),
        ("Call-ID:", "Call-ID: call-1".to_owned()),
        ("CSeq:", format!("CSeq: 1 {method}")),
        (
            "Contact:",
            "Contact: <sip:alice@192.0.2.10:5060>".to_owned(),
        ),
    ];
    for (name, line) in defaults {
        if !has(name) {
            text.push_str(&line);
            text.push_str("\r\n");
        }
    }
    for line in lines.iter().filter(|line| !line.ends_with(": -")) {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}

/// The answer of a peer to a request that it got; `lines` are more header lines.
pub fn answer(request: &Sip, status: u16, tag: &str, lines: &[&str]) -> String {
    let mut text = format!("SIP/2.0 {status} Because\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in request.headers(name) {
            text.push_str(&format!("{name}: {value}"));
            if name == "To" && !value.contains("tag=") && status > 100 {
                text.push_str(&format!(";tag={tag}"));
            }
            text.push_str("\r\n");
        }
    }
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}
