//! Challenges, and the credentials that answer them: the client's side (RFC 3261 section 22, RFC 7616).

use sip::digest::{Algorithm, Ha1, ResponseInput};
use sip::{HeaderName, Message, lex};

/// Longest realm, nonce or opaque that is answered, in bytes.
const PART_BYTES_MAX: usize = 512;

/// What somebody asks for who did not take a request without credentials, as it stands in his response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    is_proxy: bool,
    realm: &'a [u8],
    nonce: &'a [u8],
    opaque: Option<&'a [u8]>,
    algorithm: Algorithm,
    has_qop: bool,
}

/// The same for who has to answer it more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    is_proxy: bool,
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    opaque: Option<Box<[u8]>>,
    algorithm: Algorithm,
    has_qop: bool,
    /// How often the nonce was used.
    count: u32,
}

/// Who answers a challenge.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// The user name.
    pub user: &'a [u8],
    /// The password.
    pub password: &'a [u8],
    /// A number that no other answer has.
    pub unique: u64,
}

impl<'a> Asked<'a> {
    /// The first challenge of a 401 or 407 that can be answered: Digest, with `auth` or without a quality of protection.
    pub fn of(response: &Message<'a>) -> Option<Asked<'a>> {
        let (name, is_proxy) = match response.status() {
            401 => (HeaderName::WwwAuthenticate, false),
            407 => (HeaderName::ProxyAuthenticate, true),
            _ => return None,
        };
        let mut fields = response.fields(name);
        fields.find_map(|field| Asked::parse(field.value, is_proxy))
    }

    /// Reads the value of WWW-Authenticate or Proxy-Authenticate.
    pub fn parse(value: &'a [u8], is_proxy: bool) -> Option<Asked<'a>> {
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
            if value.len() > PART_BYTES_MAX {
                return None;
            }
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            match () {
                () if is(b"realm") => realm = Some(value),
                () if is(b"nonce") => nonce = Some(value),
                () if is(b"opaque") => opaque = Some(value),
                () if is(b"algorithm") => algorithm = Algorithm::parse(value),
                () if is(b"qop") => {
                    let mut words = value.split(|byte| *byte == b',');
                    has_qop = words.any(|word| lex::trim(word).eq_ignore_ascii_case(b"auth"));
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
        Some(Asked {
            is_proxy,
            realm: realm?,
            nonce: nonce?,
            opaque,
            algorithm: algorithm?,
            has_qop,
        })
    }

    /// Appends the header line that answers it, for the `count`th request with its nonce. Nothing is allocated for it.
    pub fn write(&self, who: Who<'_>, count: u32, method: &[u8], uri: &[u8], out: &mut Vec<u8>) {
        let ha1 = Ha1::compute(self.algorithm, who.user, self.realm, who.password);
        let own: [u8; 16] = hex(who.unique);
        let count: [u8; 8] = hex(u64::from(count));
        let input = ResponseInput {
            method,
            uri,
            nonce: self.nonce,
            protection: self
                .has_qop
                .then_some((&count[..], &own[..], b"auth".as_slice())),
        };
        let response = input.response(&ha1).to_hex();
        out.extend_from_slice(match self.is_proxy {
            true => b"Proxy-Authorization",
            false => b"Authorization",
        });
        for (name, value) in [
            (&b": Digest username=\""[..], who.user),
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
            out.extend_from_slice(b", qop=auth, nc=");
            out.extend_from_slice(&count);
            out.extend_from_slice(b", cnonce=\"");
            out.extend_from_slice(&own);
            out.push(b'"');
        }
        if let Some(opaque) = self.opaque {
            out.extend_from_slice(b", opaque=\"");
            out.extend_from_slice(opaque);
            out.push(b'"');
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Challenge {
    /// As [`Asked::of`].
    pub fn of(response: &Message<'_>) -> Option<Challenge> {
        Asked::of(response).map(Challenge::from)
    }

    /// As [`Asked::parse`].
    pub fn parse(value: &[u8], is_proxy: bool) -> Option<Challenge> {
        Asked::parse(value, is_proxy).map(Challenge::from)
    }

    /// Whether it asks for the same as another: credentials of ours were not taken, then.
    pub fn is_like(&self, other: &Challenge) -> bool {
        self.realm == other.realm && self.nonce == other.nonce
    }

    /// Appends the header line that answers it for one more request.
    pub fn write(&mut self, who: Who<'_>, method: &[u8], uri: &[u8], out: &mut Vec<u8>) {
        self.count += 1;
        let asked = Asked {
            is_proxy: self.is_proxy,
            realm: &self.realm,
            nonce: &self.nonce,
            opaque: self.opaque.as_deref(),
            algorithm: self.algorithm,
            has_qop: self.has_qop,
        };
        asked.write(who, self.count, method, uri, out);
    }
}

impl From<Asked<'_>> for Challenge {
    fn from(asked: Asked<'_>) -> Challenge {
        Challenge {
            is_proxy: asked.is_proxy,
            realm: asked.realm.into(),
            nonce: asked.nonce.into(),
            opaque: asked.opaque.map(Into::into),
            algorithm: asked.algorithm,
            has_qop: asked.has_qop,
            count: 0,
        }
    }
}

/// The last digits of a number, as many as there is room for.
fn hex<const DIGITS: usize>(number: u64) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    for (at, digit) in text.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
    }
    text
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
    fn each_answer_is_what_the_server_verifies() {
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
            let mut challenge = Challenge::parse(&value, true).expect("a challenge");
            for count in ["00000001", "00000002"] {
                let mut line = Vec::new();
                challenge.write(WHO, b"INVITE", b"sip:example.org", &mut line);
                let text = String::from_utf8(line).expect("text");
                assert!(text.contains(&format!("nc={count}")), "{text}");
                let value = text.strip_prefix("Proxy-Authorization: ").expect("a line");
                let value = value.strip_suffix("\r\n").expect("its end");
                let credentials = Credentials::parse(value.as_bytes()).expect("credentials");
                let ha1 = Ha1::compute(algorithm, b"alice", b"example.org", b"secret");
                assert!(verify(&credentials, &ha1, b"INVITE", WithoutQop::Refuse));
                assert!(!verify(&credentials, &ha1, b"BYE", WithoutQop::Refuse));
            }
        }
    }

    #[test]
    fn an_old_challenge_without_qop_is_answered_without() {
        let value = b"Digest realm=\"a, b\" , nonce=xyz,opaque=\"o\"";
        let mut challenge = Challenge::parse(value, false).expect("a challenge");
        let mut line = Vec::new();
        challenge.write(WHO, b"INVITE", b"sip:b@c", &mut line);
        let text = String::from_utf8(line).expect("text");
        assert!(text.starts_with("Authorization: Digest username=\"alice\", realm=\"a, b\""));
        assert!(text.contains("opaque=\"o\"") && !text.contains("qop"));
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
            assert_eq!(Challenge::parse(value.as_bytes(), false), None, "{value}");
        }
    }
}
