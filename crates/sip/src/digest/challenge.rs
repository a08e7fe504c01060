//! Writing the header lines that ask for credentials.

use super::algorithm::Algorithm;

/// A WWW-Authenticate or Proxy-Authenticate challenge (RFC 7616 section 3.3), `qop="auth"`.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// The protection domain shown to the user, without quotes or escapes.
    pub realm: &'a [u8],
    /// The nonce, as [`super::NonceSource::issue`] made it. One serves all algorithms.
    pub nonce: &'a [u8],
    /// Set when the response was right and only its nonce was not: the client then tries
    /// again by itself. [`super::Outcome::challenge_is_stale`] tells.
    pub stale: bool,
    /// A text for the client to send back, if any.
    pub opaque: Option<&'a [u8]>,
}

impl Challenge<'_> {
    /// Appends the header's value for one algorithm, without name or line end.
    ///
    /// Quotes and backslashes are escaped. Control characters, which could end the line and
    /// begin a forged one, are left out.
    pub fn write_value(&self, algorithm: Algorithm, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Digest realm=\"");
        write_escaped(self.realm, out);
        out.extend_from_slice(b"\", nonce=\"");
        write_escaped(self.nonce, out);
        // The grammar has algorithm and stale without quotes, qop with them.
        out.extend_from_slice(b"\", algorithm=");
        out.extend_from_slice(algorithm.name().as_bytes());
        out.extend_from_slice(b", qop=\"auth\"");
        if self.stale {
            out.extend_from_slice(b", stale=TRUE");
        }
        if let Some(opaque) = self.opaque {
            out.extend_from_slice(b", opaque=\"");
            write_escaped(opaque, out);
            out.push(b'"');
        }
    }

    /// Appends whole header lines named `name`, one per algorithm in the order given, which
    /// is that of preference (RFC 8760 section 2.3).
    pub fn write_lines(&self, name: &[u8], algorithms: &[Algorithm], out: &mut Vec<u8>) {
        for &algorithm in algorithms {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            self.write_value(algorithm, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if byte.is_ascii_control() => {}
            byte => out.push(byte),
        }
    }
}
