//! Who calls, who was called before, and what is told of it (RFC 3323, 3325, 5806, 7044).

use sip::{HeaderName, Message, NameAddr, Scheme, uri};

use crate::call::send::push_header;
use crate::control::{DiversionReason, Party};
use crate::settings::Settings;

/// Diversions that are noted of one call.
const DIVERSIONS_MAX: usize = 10;

/// Longest Referred-By that is passed on, in bytes.
const REFERRED_BY_BYTES_MAX: usize = 512;

fn text(bytes: impl Iterator<Item = u8>) -> String {
    String::from_utf8_lossy(
        &bytes
            .filter(|byte| !byte.is_ascii_control())
            .collect::<Vec<u8>>(),
    )
    .into_owned()
}

/// A party as a URI names it.
pub(crate) fn party_of_uri(bytes: &[u8]) -> Party {
    let Ok(uri) = sip::Uri::parse(bytes) else {
        return Party::default();
    };
    let mut host = Vec::new();
    uri.push_domain(&mut host);
    // Parameters of the user part (RFC 3966) are no part of the number.
    let user = uri
        .user
        .unwrap_or_default()
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default();
    Party {
        user: text(uri::unescaped(user)),
        host: if uri.scheme == Scheme::Tel {
            String::new()
        } else {
            text(host.into_iter())
        },
        display: String::new(),
    }
}

/// A party as From, To or an asserted identity names it.
pub(crate) fn party(value: &[u8]) -> Party {
    let Some(address) = NameAddr::parse(value) else {
        return Party::default();
    };
    let display = address.display;
    let display = display
        .strip_prefix(b"\"")
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(display);
    let mut is_escaped = false;
    let plain = display.iter().copied().filter(move |&byte| {
        is_escaped = byte == b'\\' && !is_escaped;
        !is_escaped
    });
    Party {
        display: text(plain),
        ..party_of_uri(address.uri)
    }
}

/// The caller of a request, and whether it is to be kept secret. The asserted identity counts where the source may assert one
/// (RFC 3325 section 5).
pub(crate) fn caller(request: &Message<'_>, is_trusted: bool) -> (Party, bool) {
    let asserted = request
        .values(HeaderName::PAssertedIdentity)
        .next()
        .filter(|_| is_trusted);
    let caller = match asserted {
        Some(value) => party(value.bytes),
        None => party(request.header(HeaderName::From).unwrap_or_default()),
    };
    let is_private = request
        .fields(HeaderName::Privacy)
        .flat_map(|field| field.value.split(|&byte| byte == b';'))
        .any(|word| {
            [&b"id"[..], b"user", b"header"]
                .iter()
                .any(|known| sip::lex::trim(word).eq_ignore_ascii_case(known))
        });
    (caller, is_private)
}

/// Who was called before, the latest first: by Diversion, else by History-Info.
pub(crate) fn diversions(request: &Message<'_>) -> Vec<(Party, DiversionReason)> {
    let read = |value: &[u8]| {
        let address = NameAddr::parse(value)?;
        let word = address.params.value(b"reason").unwrap_or_default();
        let word = word
            .strip_prefix(b"\"")
            .and_then(|inner| inner.strip_suffix(b"\""))
            .unwrap_or(word);
        Some((party(value), reason_of(word)))
    };
    if request.has(HeaderName::Diversion) {
        return request
            .values(HeaderName::Diversion)
            .filter_map(|value| read(value.bytes))
            .take(DIVERSIONS_MAX)
            .collect();
    }
    // Each entry is where the request went; all but the last were given up, and the one that came of it says why in the URI's Reason.
    let entries: Vec<&[u8]> = request
        .values(HeaderName::HistoryInfo)
        .map(|value| value.bytes)
        .take(DIVERSIONS_MAX + 1)
        .collect();
    let before = entries.len().saturating_sub(1);
    let mut found: Vec<_> = entries[..before]
        .iter()
        .map(|value| (party(value), history_reason(value)))
        .collect();
    found.reverse();
    found
}

fn reason_of(word: &[u8]) -> DiversionReason {
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    if is("no-answer") {
        DiversionReason::NoAnswer
    } else if is("user-busy") {
        DiversionReason::Busy
    } else if is("unavailable") {
        DiversionReason::Unavailable
    } else if is("unconditional") {
        DiversionReason::Unconditional
    } else {
        DiversionReason::Unknown
    }
}

fn history_reason(value: &[u8]) -> DiversionReason {
    let cause = NameAddr::parse(value).and_then(|address| {
        let uri = address.parse_uri().ok()?;
        let headers = text(uri::unescaped(uri.headers?)).to_ascii_lowercase();
        let at = headers.find("cause=")? + "cause=".len();
        headers.get(at..at + 3)?.parse::<u16>().ok()
    });
    match cause {
        Some(486 | 600) => DiversionReason::Busy,
        Some(408 | 487) => DiversionReason::NoAnswer,
        Some(302) => DiversionReason::Unconditional,
        Some(404 | 480 | 503) => DiversionReason::Unavailable,
        _ => DiversionReason::Unknown,
    }
}

const fn word_of(reason: DiversionReason) -> (&'static str, u16) {
    match reason {
        DiversionReason::NoAnswer => ("no-answer", 408),
        DiversionReason::Busy => ("user-busy", 486),
        DiversionReason::Unavailable => ("unavailable", 480),
        DiversionReason::Unconditional => ("unconditional", 302),
        DiversionReason::Unknown => ("unknown", 0),
    }
}

/// Whether a byte may stand in the user part of a URI as it is (RFC 3261 section 25.1).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&byte)
}

/// Appends `sip:user@host`, the user escaped.
pub(crate) fn write_uri(party: &Party, settings: &Settings, out: &mut Vec<u8>) {
    out.extend_from_slice(b"sip:");
    if !party.user.is_empty() {
        for byte in party.user.bytes() {
            match is_plain(byte) {
                true => out.push(byte),
                false => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
        out.push(b'@');
    }
    let host = match sip::Host::parse(party.host.as_bytes()) {
        Ok(_) => party.host.as_str(),
        Err(_) => settings.domain(),
    };
    out.extend_from_slice(host.as_bytes());
}

/// Appends a party as name-addr.
pub(crate) fn write_party(party: &Party, settings: &Settings, out: &mut Vec<u8>) {
    if !party.display.is_empty() {
        out.push(b'"');
        for byte in party
            .display
            .bytes()
            .filter(|byte| !byte.is_ascii_control())
        {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.extend_from_slice(b"\" ");
    }
    out.push(b'<');
    write_uri(party, settings, out);
    out.push(b'>');
}

/// Appends what is told of a caller beside From: its identity for those who are trusted (RFC 3325), and the wish to keep it secret.
pub(crate) fn write_identity(
    caller: &Party,
    is_private: bool,
    settings: &Settings,
    is_trusted: bool,
    out: &mut Vec<u8>,
) {
    if is_trusted && !caller.user.is_empty() {
        let mut value = Vec::new();
        write_party(caller, settings, &mut value);
        push_header(out, "P-Asserted-Identity", &value);
    }
    if is_private {
        push_header(out, "Privacy", b"id");
    }
}

/// Appends who a peer talks with, for those who are trusted: after a transfer that is somebody else than was called (RFC 3325 section 9.1).
pub(crate) fn write_connected(
    other: &Party,
    is_private: bool,
    settings: &Settings,
    is_trusted: bool,
    out: &mut Vec<u8>,
) {
    if !is_private && is_trusted && !other.user.is_empty() && settings.is_ours(&other.host) {
        out.extend_from_slice(b"P-Asserted-Identity: ");
        write_party(other, settings, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends who was called before, by Diversion (RFC 5806) and by History-Info (RFC 7044), for not everybody reads both.
pub(crate) fn write_diversions(
    diversions: &[(Party, DiversionReason)],
    target: &[u8],
    settings: &Settings,
    out: &mut Vec<u8>,
) {
    let known = &diversions[..diversions.len().min(DIVERSIONS_MAX)];
    for (party, reason) in known {
        let mut value = Vec::new();
        write_party(party, settings, &mut value);
        value.extend_from_slice(b";reason=");
        value.extend_from_slice(word_of(*reason).0.as_bytes());
        push_header(out, "Diversion", &value);
    }
    if known.is_empty() {
        return;
    }
    let mut index = "1".to_owned();
    for (party, reason) in known.iter().rev() {
        let mut value = b"<".to_vec();
        write_uri(party, settings, &mut value);
        if let (_, cause @ 1..) = word_of(*reason) {
            value.extend_from_slice(format!("?Reason=SIP%3Bcause%3D{cause}").as_bytes());
        }
        value.extend_from_slice(format!(">;index={index}").as_bytes());
        push_header(out, "History-Info", &value);
        index += ".1";
    }
    let value = [b"<", target, b">;index=", index.as_bytes()].concat();
    push_header(out, "History-Info", &value);
}

/// Who sent a call on, as Referred-By says it (RFC 3892): the address and its parameters, without what points into a body that
/// does not go along. Empty: nobody, or more than is passed on.
pub(crate) fn referred_by(request: &Message<'_>) -> String {
    let value = request.single(HeaderName::ReferredBy).unwrap_or_default();
    let Some(address) = NameAddr::parse(value).filter(|_| value.len() <= REFERRED_BY_BYTES_MAX)
    else {
        return String::new();
    };
    match address.params.value(b"cid") {
        None => text(value.iter().copied()),
        Some(_) => format!("<{}>", text(address.uri.iter().copied())),
    }
}

/// Whether the caller wants the phone to answer by itself (RFC 5373, or Call-Info as phones have it).
pub(crate) fn wants_auto_answer(request: &Message<'_>) -> bool {
    request.all_fields().any(|field| {
        let is = |name: &[u8]| field.name_bytes.eq_ignore_ascii_case(name);
        let lower = || field.value.to_ascii_lowercase();
        is(b"Answer-Mode") && lower().starts_with(b"auto")
            || is(b"Call-Info") && lower().windows(14).any(|part| part == b"answer-after=0")
    })
}

/// A Reason value (RFC 3326) for a cause.
pub(crate) fn reason_value(cause: &crate::control::Cause) -> Vec<u8> {
    let mut value = format!("Q.850;cause={}", cause.q850).into_bytes();
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') || byte == b' ';
    if !cause.text.is_empty() && cause.text.bytes().all(is_plain) {
        value.extend_from_slice(format!(";text=\"{}\"", cause.text).as_bytes());
    }
    value
}

/// The Q.850 cause that a message names in Reason, if it does.
pub(crate) fn q850_in(message: &Message<'_>) -> Option<u8> {
    message.values(HeaderName::Reason).find_map(|value| {
        let (protocol, params) = value.bytes.split_at_checked(5)?;
        let params = sip::Params::new(params.strip_prefix(b";")?);
        let cause = sip::lex::number(params.value(b"cause")?, 127)?;
        protocol
            .eq_ignore_ascii_case(b"Q.850")
            .then_some(cause as u8)
    })
}
