//! Loop detection and breadth (RFC 5393).

use std::hash::Hasher;

use sip::{Envelope, HeaderName, Message, lex};

use crate::settings::Settings;

/// Length of the digits that a branch of ours has after the magic cookie: its number, then its loop part.
const BRANCH_DIGITS: usize = 32;

/// The part of a branch that does not change while a request comes round unchanged: a hash over
/// everything that our routing looks at (RFC 5393 section 4.2.2): Request-URI, Route, and what keeps
/// requests apart (Call-ID, tags, CSeq).
pub fn loop_part(secret: (u64, u64), request: &Message<'_>, envelope: &Envelope<'_>) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(secret.0, !secret.1);
    let mut part = |bytes: &[u8]| {
        hasher.write_usize(bytes.len());
        hasher.write(bytes);
    };
    part(request.request_uri());
    part(envelope.call_id);
    part(envelope.from_tag.unwrap_or_default());
    part(envelope.to_tag.unwrap_or_default());
    part(&envelope.cseq.number.to_be_bytes());
    part(envelope.cseq.method_bytes);
    for field in request.fields(HeaderName::Route) {
        part(field.value);
    }
    hasher.finish()
}

/// Appends a branch: magic cookie, number, loop part.
pub fn push_branch(branch: u64, loop_part: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(sip::header::MAGIC_COOKIE);
    lex::push_hex(out, branch);
    lex::push_hex(out, loop_part);
}

/// The number and the loop part of a branch made by [`push_branch`].
pub fn read_branch(branch: &[u8]) -> Option<(u64, u64)> {
    let digits = branch.strip_prefix(sip::header::MAGIC_COOKIE)?;
    if digits.len() != BRANCH_DIGITS {
        return None;
    }
    Some((lex::hex(&digits[..16])?, lex::hex(&digits[16..])?))
}

/// Whether the request has been here and nothing that we route by has changed since (RFC 5393
/// section 4.2.1): a loop, not a spiral.
pub fn is_loop(
    settings: &Settings,
    request: &Message<'_>,
    envelope: &Envelope<'_>,
    loop_part: u64,
) -> bool {
    let is_ours = |via: &sip::Via<'_>| {
        let part = via.branch().and_then(read_branch).map(|(_, part)| part);
        part == Some(loop_part) && settings.is_self(&via.host, via.port.unwrap_or(5060))
    };
    let further = || {
        request
            .values(HeaderName::Via)
            .skip(1)
            .filter_map(|value| sip::Via::parse(value.bytes))
    };
    is_ours(&envelope.via) || further().any(|via| is_ours(&via))
}
