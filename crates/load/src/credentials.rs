//! Answers to Digest challenges: the client's side (RFC 3261 section 22, RFC 7616).

use sip::digest::{Algorithm, Ha1, ResponseInput};
use sip::lex;

/// What a challenge asks for, as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Challenge<'a> {
    pub(crate) realm: &'a [u8],
    pub(crate) nonce: &'a [u8],
    opaque: Option<&'a [u8]>,
    algorithm: Algorithm,
    has_qop: bool,
}

impl<'a> Challenge<'a> {
    /// Reads the value of WWW-Authenticate or Proxy-Authenticate. None if it is no Digest, asks for
    /// what is not spoken here, or lacks something.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Challenge<'a>> {
        let (scheme, rest) = lex::token(value);
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return None;
        }
        let (mut realm, mut nonce, mut opaque) = (None, None, None);
        let (mut algorithm, mut has_qop) = (Some(Algorithm::Md5), false);
        let mut rest = lex::trim(rest);
        while !rest.is_empty() {
            let (name, after) = lex::token(rest);
            let after = lex::trim_start(lex::trim_start(after).strip_prefix(b"=")?);
            let end = match after.first() {
                Some(b'"') => lex::quoted_end(after, 0)?,
                _ => lex::token(after).0.len(),
            };
            let (written, tail) = after.split_at(end);
            let value = unquoted(written);
            match () {
                () if name.eq_ignore_ascii_case(b"realm") => realm = Some(value),
                () if name.eq_ignore_ascii_case(b"nonce") => nonce = Some(value),
                () if name.eq_ignore_ascii_case(b"opaque") => opaque = Some(value),
                () if name.eq_ignore_ascii_case(b"algorithm") => {
                    algorithm = Algorithm::parse(value);
                }
                () if name.eq_ignore_ascii_case(b"qop") => {
                    has_qop = value
                        .split(|byte| *byte == b',')
                        .any(|qop| lex::trim(qop).eq_ignore_ascii_case(b"auth"));
                    if !has_qop {
                        return None;
                    }
                }
                () => {}
            }
            rest = lex::trim_start(tail);
            match rest.strip_prefix(b",") {
                Some(more) => rest = lex::trim_start(more),
                None if rest.is_empty() => {}
                None => return None,
            }
        }
        Some(Challenge {
            realm: realm?,
            nonce: nonce?,
            opaque,
            algorithm: algorithm?,
            has_qop,
        })
    }

    /// Appends the value of the header that answers it.
    pub(crate) fn answer(&self, who: Who<'_>, method: &[u8], uri: &[u8], out: &mut Vec<u8>) {
        let ha1 = Ha1::compute(self.algorithm, who.user, self.realm, who.password);
        let (own, mut count) = (hex(who.unique), [b'0'; 8]);
        count[7] = b'1';
        let input = ResponseInput {
            method,
            uri,
            nonce: self.nonce,
            protection: self
                .has_qop
                .then_some((&count[..], &own[..], b"auth".as_slice())),
        };
        let response = input.response(&ha1).to_hex();
        for (name, value) in [
            (&b"Digest username=\""[..], who.user),
            (b"\", realm=\"", self.realm),
            (b"\", nonce=\"", self.nonce),
            (b"\", uri=\"", uri),
            (b"\", response=\"", response.as_bytes()),
            (b"\", algorithm=", self.algorithm.name().as_bytes()),
        ] {
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        if self.has_qop {
            out.extend_from_slice(b", qop=auth, nc=00000001, cnonce=\"");
            out.extend_from_slice(&own);
            out.push(b'"');
        }
        if let Some(opaque) = self.opaque {
            out.extend_from_slice(b", opaque=\"");
            out.extend_from_slice(opaque);
            out.push(b'"');
        }
    }
}

/// Who answers a challenge.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) user: &'a [u8],
    pub(crate) password: &'a [u8],
    /// A number that no other answer has.
    pub(crate) unique: u64,
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = *b"0123456789abcdef";
    let all = digits;
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = all[(number >> (60 - 4 * at)) as usize & 15];
    }
    digits
}

/// Realm, nonce and opaque go back as they came, so escapes stay.
fn unquoted(written: &[u8]) -> &[u8] {
    match written {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::digest::{Challenge as Asked, Credentials, NonceSource, WithoutQop, verify};

    const WHO: Who<'_> = Who {
        user: b"alice",
        password: b"secret",
        unique: 0x1234,
    };

    #[test]
    fn an_answer_is_what_the_server_verifies() {
        let nonce = NonceSource::new([7; 16], 0).issue(0, 1);
        for algorithm in Algorithm::ALL {
            let mut value = Vec::new();
            let asked = Asked {
                realm: b"example.org",
                nonce: nonce.as_bytes(),
                stale: false,
                opaque: Some(b"o"),
            };
            asked.write_value(algorithm, &mut value);
            let challenge = Challenge::parse(&value).expect("a challenge");
            let mut answer = Vec::new();
            challenge.answer(WHO, b"REGISTER", b"sip:example.org", &mut answer);
            let credentials = Credentials::parse(&answer).expect("credentials");
            let ha1 = Ha1::compute(algorithm, b"alice", b"example.org", b"secret");
            assert!(verify(&credentials, &ha1, b"REGISTER", WithoutQop::Refuse));
            assert!(!verify(&credentials, &ha1, b"INVITE", WithoutQop::Refuse));
        }
    }

    #[test]
    fn an_old_challenge_without_qop_is_answered_without() {
        let value = b"Digest realm=\"a, b\" , nonce=xyz,opaque=\"o\"";
        let challenge = Challenge::parse(value).expect("a challenge");
        assert_eq!(
            (challenge.realm, challenge.nonce),
            (&b"a, b"[..], &b"xyz"[..])
        );
        let mut answer = Vec::new();
        challenge.answer(WHO, b"INVITE", b"sip:b@c", &mut answer);
        let text = String::from_utf8(answer).expect("text");
        assert!(
            text.contains("opaque=\"o\"") && !text.contains("qop"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for value in [
            "Basic realm=\"a\"",
            "Digest realm=\"a\"",
            "Digest nonce=\"a\"",
            "Digest realm=\"a\", nonce=\"b\", algorithm=MD5-sess",
            "Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\"",
            "Digest realm=\"a",
            "Digest realm=\"a\" nonce=\"b\"",
        ] {
            assert_eq!(Challenge::parse(value.as_bytes()), None, "{value}");
        }
    }
}
