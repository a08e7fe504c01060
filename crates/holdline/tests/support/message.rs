//! A SIP message as text, read without the code under test.

use std::fmt;

/// A message that came.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    text: String,
}

impl Message {
    pub(crate) fn new(bytes: &[u8]) -> Message {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Message { text }
    }

    /// Drops all lines of a header but the first, as a careless phone does.
    pub(crate) fn keep_first(&mut self, name: &str) {
        let prefix = format!("{name}:");
        let mut seen = false;
        let lines = self.text.split_inclusive("\r\n").filter(|line| {
            let is_it = line.starts_with(&prefix);
            !is_it || !std::mem::replace(&mut seen, true)
        });
        self.text = lines.collect();
    }

    pub(crate) fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The status, or 0 of a request.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start_line().strip_prefix("SIP/2.0 ");
        status.map_or(0, |rest| rest[..3].parse().expect("a status"))
    }

    /// The method of a request; empty for a response.
    pub(crate) fn method(&self) -> &str {
        if self.status() > 0 {
            return "";
        }
        self.start_line().split(' ').next().unwrap_or_default()
    }

    pub(crate) fn uri(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap_or_default()
    }

    fn head(&self) -> &str {
        self.text.split("\r\n\r\n").next().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }

    /// The values of all lines of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head().lines().skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The value of the first line of a header; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    /// The number and the method of CSeq.
    pub(crate) fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").split_once(' ').expect("a CSeq");
        (number.parse().expect("a number"), method)
    }

    /// A parameter of a header, quoted or not: `parameter("WWW-Authenticate", "nonce")`.
    pub(crate) fn parameter(&self, header: &str, name: &str) -> Option<&str> {
        parameter(self.header(header), name)
    }

    /// The URI of the Contact.
    pub(crate) fn contact(&self) -> &str {
        within_brackets(self.header("Contact"))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.text)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A parameter of a value that separates them by `,` or `;`.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let start = value.split([',', ';', ' ']).find_map(|part| {
        let (found, rest) = part.split_once('=')?;
        found.eq_ignore_ascii_case(name).then_some(rest)
    })?;
    // What is quoted may hold separators.
    let at = start.as_ptr() as usize - value.as_ptr() as usize;
    match start.strip_prefix('"') {
        Some(_) => value[at + 1..].split('"').next(),
        None => Some(start),
    }
}

fn within_brackets(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default(),
    }
}
