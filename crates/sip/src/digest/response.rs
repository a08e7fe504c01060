//! The response: computing it and comparing it.

use super::algorithm::HashValue;
use super::credentials::Credentials;
use super::ha1::Ha1;

/// Whether credentials without `qop` are taken (RFC 2617 section 3.2.2.1, RFC 3261 section 22.4).
///
/// They carry no nonce count, so each nonce serves them for one request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WithoutQop {
    /// They are refused: every client of this century sends `qop`.
    #[default]
    Refuse,
    /// They are taken from old clients.
    Accept,
}

/// What a response is computed over besides HA1, each as it stands on the wire.
#[derive(Clone, Copy)]
pub struct ResponseInput<'a> {
    /// The request's method.
    pub method: &'a [u8],
    /// The `uri` parameter.
    pub uri: &'a [u8],
    /// The `nonce` parameter.
    pub nonce: &'a [u8],
    /// `nc` (8 hexadecimal digits), `cnonce` and `qop`, if the client protects with `qop`.
    pub protection: Option<(&'a [u8], &'a [u8], &'a [u8])>,
}

impl ResponseInput<'_> {
    /// The value of the `response` parameter (RFC 7616 section 3.4.1).
    #[must_use]
    pub fn response(&self, ha1: &Ha1) -> HashValue {
        let algorithm = ha1.algorithm();
        let ha1 = ha1.to_hex();
        let ha2 = algorithm.hash(&[self.method, b":", self.uri]).to_hex();
        let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
        match self.protection {
            Some((nc, cnonce, qop)) => algorithm.hash(&[
                ha1, b":", self.nonce, b":", nc, b":", cnonce, b":", qop, b":", ha2,
            ]),
            None => algorithm.hash(&[ha1, b":", self.nonce, b":", ha2]),
        }
    }
}

/// Whether the credentials' response is the one that `ha1` gives for this method.
///
/// False also when `ha1` is of another algorithm than the credentials, and when they have no
/// `qop` and that is refused. The nonce is not looked at: [`super::NonceSource::check`] and
/// [`super::ReplayFilter`] judge it. Nor is `uri` compared with the Request-URI, which proxies
/// on the way may have changed (RFC 3261 section 22.4 leaves it to the server).
#[must_use]
pub fn verify(
    credentials: &Credentials<'_>,
    ha1: &Ha1,
    method: &[u8],
    without_qop: WithoutQop,
) -> bool {
    let protection = credentials.protection();
    if protection.is_none() && without_qop == WithoutQop::Refuse {
        return false;
    }
    let input = ResponseInput {
        method,
        uri: credentials.uri().as_sent(),
        nonce: credentials.nonce().as_sent(),
        protection,
    };
    // Comparing values of two algorithms is false whatever their bytes.
    input.response(ha1) == *credentials.response()
}
