//! Who asks (RFC 3261 section 22).

use std::net::IpAddr;

use sip::digest::{Attempt, Challenge, Credentials, Outcome, authenticate};
use sip::{HeaderName, Message, NameAddr, Splices};

use crate::conduct::{is_nonce_of, nonce_number};
use crate::directory::Directory;
use crate::output::Now;
use crate::settings::Settings;

/// Why a request is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Credentials are wanted.
    Challenge(Cause),
    /// The credentials are of somebody else.
    Forbidden,
    /// The credentials cannot be read.
    Malformed,
}

/// Why credentials are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There were none that could be judged.
    Absent,
    /// The former ones were right but for their nonce.
    Stale,
    /// They were wrong.
    Wrong {
        /// Whether their nonce was given to where the request came from.
        is_proved: bool,
    },
}

/// Where the credentials and the challenge are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) credentials: HeaderName,
    pub(crate) challenge: &'static [u8],
    pub(crate) status: u16,
}

/// For a proxy (section 22.3).
pub(crate) const PROXY: Place = Place {
    credentials: HeaderName::ProxyAuthorization,
    challenge: b"Proxy-Authenticate",
    status: 407,
};

/// For a user agent server, such as a registrar (section 22.2).
pub(crate) const REGISTRAR: Place = Place {
    credentials: HeaderName::Authorization,
    challenge: b"WWW-Authenticate",
    status: 401,
};

/// Checks the credentials for `realm` that a request brought against the user of `claimed`, if it claims
/// to be anybody.
pub(crate) fn check<D: Directory>(
    settings: &Settings,
    now: Now,
    (request, source): (&Message<'_>, IpAddr),
    place: Place,
    (realm, claimed): (&[u8], Option<&[u8]>),
    directory: &mut D,
) -> Result<(), Refusal> {
    let mut refusal = Refusal::Challenge(Cause::Absent);
    for field in request.fields(place.credentials) {
        let credentials = match Credentials::parse(field.value) {
            Ok(credentials) => credentials,
            Err(error) => {
                if let Outcome::Malformed(_) = Outcome::from(error)
                    && sip::digest::scheme_is_digest(field.value)
                {
                    refusal = Refusal::Malformed;
                }
                continue;
            }
        };
        if !credentials.realm().is(realm)
            || !settings.auth.algorithms.contains(&credentials.algorithm())
        {
            continue;
        }
        let attempt = Attempt {
            credentials: &credentials,
            method: request.method_bytes(),
            now_ms: now.unix_ms,
            without_qop: settings.auth.without_qop,
        };
        let directory = std::cell::RefCell::new(&mut *directory);
        let outcome = authenticate(
            &attempt,
            &settings.auth.nonces,
            |user, realm, algorithm| directory.borrow_mut().credential(user, realm, algorithm),
            |nonce, count| directory.borrow_mut().admit_nonce(nonce, count),
        );
        match outcome {
            Outcome::Authentic => {
                let user = credentials.username().unescaped();
                let is_himself = claimed.is_none_or(|claimed| is_user(&user, realm, claimed));
                return is_himself.then_some(()).ok_or(Refusal::Forbidden);
            }
            Outcome::WrongPassword | Outcome::UnknownUser => {
                let (nonces, nonce) = (&settings.auth.nonces, credentials.nonce().as_sent());
                let is_proved = is_nonce_of(nonces, now.unix_ms, nonce, source);
                refusal = Refusal::Challenge(Cause::Wrong { is_proved });
            }
            outcome if outcome.challenge_is_stale() => {
                refusal = Refusal::Challenge(Cause::Stale);
            }
            _ => refusal = Refusal::Challenge(Cause::Absent),
        }
    }
    Err(refusal)
}

/// Whether `user` of `realm` is the address-of-record `claimed`.
fn is_user(user: &[u8], realm: &[u8], claimed: &[u8]) -> bool {
    claimed
        .strip_prefix(user)
        .and_then(|rest| rest.strip_prefix(b"@"))
        .is_some_and(|domain| domain == realm)
}

/// Appends the challenge lines.
pub(crate) fn push_challenge<D: Directory>(
    settings: &Settings,
    now: Now,
    place: Place,
    (realm, stale, source): (&[u8], bool, IpAddr),
    directory: &mut D,
    out: &mut Vec<u8>,
) {
    let nonces = &settings.auth.nonces;
    let number = nonce_number(nonces, directory.unique(), source);
    let nonce = nonces.issue(now.unix_ms, number);
    let challenge = Challenge {
        realm,
        nonce: nonce.as_bytes(),
        stale,
        opaque: None,
    };
    challenge.write_lines(place.challenge, &settings.auth.algorithms, out);
}

/// Takes credentials for our own realms out of what is forwarded: they were meant for us
/// (section 22.3).
pub(crate) fn strip_credentials(settings: &Settings, request: &Message<'_>, splices: &mut Splices) {
    for field in request.fields(HeaderName::ProxyAuthorization) {
        let is_ours = |credentials: Credentials<'_>| {
            let mut domains = settings.proxy.domains.iter();
            domains.any(|domain| credentials.realm().is(domain))
        };
        if Credentials::parse(field.value).is_ok_and(is_ours) {
            splices.remove(field.line);
        }
    }
}

/// Whether a From says that its sender does not want to be known (RFC 3323 section 4.1.1.3).
pub(crate) fn is_anonymous(from: &NameAddr<'_>) -> bool {
    let uri = from.parse_uri();
    uri.is_ok_and(|uri| uri.host.bytes.eq_ignore_ascii_case(b"anonymous.invalid"))
}

/// The address-of-record and the domain of a From or To, if its domain is ours: appended to `out`, which
/// is cleared. Our own address stands for the first domain.
pub(crate) fn our_aor(
    settings: &Settings,
    party: &NameAddr<'_>,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let uri = party.parse_uri().ok()?;
    push_our_aor(settings, &uri, out)
}

/// As [`our_aor`], for a URI. Gives where in `out` the domain begins.
pub(crate) fn push_our_aor(
    settings: &Settings,
    uri: &sip::Uri<'_>,
    out: &mut Vec<u8>,
) -> Option<usize> {
    out.clear();
    let first = settings.proxy.domains.first()?;
    if uri.scheme == sip::Scheme::Tel {
        // A telephone number is looked up as a user of the first domain (RFC 3261 section 19.1.6).
        let number = uri.user.unwrap_or_default();
        out.extend(
            number
                .iter()
                .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')')),
        );
        out.push(b'@');
        let domain = out.len();
        out.extend_from_slice(first);
        return Some(domain);
    }
    if !uri.is_sip() {
        return None;
    }
    uri.push_aor(out);
    let domain = out
        .iter()
        .rposition(|&byte| byte == b'@')
        .map_or(0, |at| at + 1);
    // A domain that is an address is ours on our ports only: other ports of it are other programs.
    let is_address = uri.host.address.is_some() && uri.port.is_some();
    if !is_address && settings.proxy.is_our_domain(&out[domain..]) {
        return Some(domain);
    }
    if settings.proxy.is_self(&uri.host, uri.port_or_default()) {
        if !settings.proxy.is_our_domain(&out[domain..]) {
            out.truncate(domain);
            out.extend_from_slice(first);
        }
        return Some(domain);
    }
    None
}
