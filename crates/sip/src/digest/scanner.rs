//! The lexical elements of a header value of credentials (RFC 3261 section 25.1).

use super::credentials::{CredentialsError, ParameterValue};

/// A byte of a token.
const TOKEN: u8 = 1;
/// A byte of a value without quotes. Wider than a token: base64 and URIs were seen there.
const BARE: u8 = 2;
/// A byte that stands for itself within quotes.
const QUOTED: u8 = 4;

/// To which of the above each byte belongs.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = classify(byte as u8);
        byte += 1;
    }
    classes
};

const fn classify(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => TOKEN | BARE | QUOTED,
        b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~' => {
            TOKEN | BARE | QUOTED
        }
        b' ' | b'\t' | b',' => QUOTED,
        b'"' => 0,
        b'\\' => BARE,
        0..=0x1f | 0x7f => 0,
        _ => BARE | QUOTED,
    }
}

/// A place in a header value. Every step moves forward or fails, so all loops end.
pub(super) struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a [u8]) -> Scanner<'a> {
        Scanner { input, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.input.len()
    }

    fn syntax<T>(&self) -> Result<T, CredentialsError> {
        Err(CredentialsError::Syntax { at: self.at })
    }

    /// Steps over the scheme if it is Digest, with white space or the end after it.
    pub(super) fn skip_digest(&mut self) -> bool {
        const SCHEME: &[u8] = b"Digest";
        self.skip_white_space();
        let Some((scheme, after)) = self.rest().split_at_checked(SCHEME.len()) else {
            return false;
        };
        self.at += SCHEME.len();
        scheme.eq_ignore_ascii_case(SCHEME)
            && matches!(after.first(), None | Some(b' ' | b'\t' | b'\r'))
    }

    /// LWS and folds (RFC 3261 section 25.1).
    fn skip_white_space(&mut self) {
        loop {
            match *self.rest() {
                [b' ' | b'\t', ..] => self.at += 1,
                [b'\r', b'\n', b' ' | b'\t', ..] => self.at += 3,
                _ => return,
            }
        }
    }

    pub(super) fn skip_separators(&mut self) {
        self.skip_white_space();
        while self.rest().first() == Some(&b',') {
            self.at += 1;
            self.skip_white_space();
        }
    }

    pub(super) fn end_of_element(&mut self) -> Result<(), CredentialsError> {
        self.skip_white_space();
        match self.rest().first() {
            None | Some(b',') => Ok(()),
            Some(_) => self.syntax(),
        }
    }

    pub(super) fn equal(&mut self) -> Result<(), CredentialsError> {
        self.skip_white_space();
        if self.rest().first() != Some(&b'=') {
            return self.syntax();
        }
        self.at += 1;
        self.skip_white_space();
        Ok(())
    }

    /// The length of the run of bytes of a class from here.
    fn run_length(&self, class: u8) -> usize {
        let rest = self.rest();
        rest.iter()
            .position(|&byte| CLASSES[usize::from(byte)] & class == 0)
            .unwrap_or(rest.len())
    }

    fn take(&mut self, class: u8) -> Result<&'a [u8], CredentialsError> {
        let length = self.run_length(class);
        if length == 0 {
            return self.syntax();
        }
        let taken = &self.rest()[..length];
        self.at += length;
        Ok(taken)
    }

    pub(super) fn token(&mut self) -> Result<&'a [u8], CredentialsError> {
        self.take(TOKEN)
    }

    pub(super) fn value(&mut self) -> Result<ParameterValue<'a>, CredentialsError> {
        if self.rest().first() == Some(&b'"') {
            return self.quoted_string();
        }
        let sent = self.take(BARE)?;
        Ok(ParameterValue {
            sent,
            is_escaped: false,
        })
    }

    /// A quoted string, the opening quote at hand.
    fn quoted_string(&mut self) -> Result<ParameterValue<'a>, CredentialsError> {
        self.at += 1;
        let start = self.at;
        let mut is_escaped = false;
        loop {
            self.at += self.run_length(QUOTED);
            match *self.rest() {
                [b'"', ..] => {
                    let sent = &self.input[start..self.at];
                    self.at += 1;
                    return Ok(ParameterValue { sent, is_escaped });
                }
                [b'\\', escaped, ..] if escaped.is_ascii() && !b"\r\n".contains(&escaped) => {
                    is_escaped = true;
                    self.at += 2;
                }
                [b'\r', b'\n', b' ' | b'\t', ..] => {
                    is_escaped = true;
                    self.at += 3;
                }
                _ => return self.syntax(),
            }
        }
    }
}
