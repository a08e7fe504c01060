//! Messages made from other messages: responses, ACK, CANCEL.

use std::net::SocketAddr;

use crate::edit::Splices;
use crate::header::Via;
use crate::lex;
use crate::message::{Message, Span};
use crate::name::HeaderName;

/// Notes the changes to the topmost Via of a request that came from `source`: `received` when the
/// sent-by is not that address (RFC 3261 section 18.2.1), `rport` filled in where it was asked for
/// (RFC 3581 section 4). Parameters that a stranger filled in beforehand are overwritten.
pub fn stamp_via(message: &Message<'_>, via: &Via<'_>, source: SocketAddr, splices: &mut Splices) {
    let buffer = message.buffer();
    let end = {
        let value = message.values(HeaderName::Via).next();
        value.map_or(0, |value| value.span.end)
    };
    let asks = via.rport().is_some();
    let received_is_needed = via.host.address != Some(source.ip()) || asks;
    let mut received_is_done = !received_is_needed;
    for param in via.params.iter() {
        let span = Span {
            start: Span::within(buffer, param.name).start,
            end: param_end(buffer, &param),
        };
        if param.is(b"rport") {
            splices.replace_with(span, |out| {
                out.extend_from_slice(b"rport=");
                lex::push_number(out, u64::from(source.port()));
            });
        } else if param.is(b"received") {
            splices.replace_with(span, |out| push_received(out, source));
            received_is_done = true;
        }
    }
    if !received_is_done {
        splices.insert_with(end, |out| {
            out.push(b';');
            push_received(out, source);
        });
    }
}

fn param_end(buffer: &[u8], param: &crate::header::Param<'_>) -> u32 {
    Span::within(buffer, param.value.unwrap_or(param.name)).end
}

fn push_received(out: &mut Vec<u8>, source: SocketAddr) {
    out.extend_from_slice(b"received=");
    match source.ip() {
        std::net::IpAddr::V4(v4) => lex::push_v4(out, v4),
        std::net::IpAddr::V6(v6) => {
            // Without brackets, as RFC 3261 section 25.1 has via-received (RFC 5118 section 4.5).
            use std::io::Write;
            write!(out, "{v6}").expect("writing to a Vec cannot fail");
        }
    }
}

/// Where in a response head the To tag goes, and whether one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToTag {
    /// Offset in the head where `;tag=...` may be put in.
    pub at: u32,
    /// Whether the request had a tag.
    pub present: bool,
}

/// Appends the headers that every response to `request` shares (RFC 3261 section 8.2.6.2): all Via,
/// From, To, Call-ID, CSeq as they came, with the changes noted for the topmost Via made. A To that was
/// sent more than once or not at all is copied as it is.
pub fn response_head(request: &Message<'_>, splices: &Splices, out: &mut Vec<u8>) -> ToTag {
    let start = out.len();
    let mut tag = ToTag::default();
    for field in request.all_fields() {
        let wanted = matches!(
            field.name,
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
        );
        if !wanted {
            continue;
        }
        let line = field.line;
        splices.write_range(
            request.buffer(),
            Span {
                start: line.start,
                end: line.end,
            },
            out,
        );
        if field.name == HeaderName::To && tag.at == 0 {
            let value = Span::within(request.buffer(), field.value);
            tag.at = (out.len() - start) as u32 - (line.end - value.end);
            tag.present = request.to().is_ok_and(|to| to.tag().is_some());
        }
    }
    tag
}

/// Appends a response: `head` made by [`response_head`], the To tag put in where the request had none
/// and `to_tag` is given (section 8.2.6.2: not for 100), `extra` header lines with their line ends, no
/// body.
pub fn response(
    head: &[u8],
    tag: ToTag,
    status: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
    extra: &[u8],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"SIP/2.0 ");
    lex::push_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    match to_tag {
        Some(to_tag) if !tag.present && tag.at > 0 => {
            let (before, after) = head.split_at((tag.at as usize).min(head.len()));
            out.extend_from_slice(before);
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(to_tag);
            out.extend_from_slice(after);
        }
        _ => out.extend_from_slice(head),
    }
    out.extend_from_slice(extra);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Appends the ACK for a final response from 300 to 699 (section 17.1.1.3): Request-URI, topmost Via,
/// From, Call-ID and Route of the INVITE as it was sent, To of the response.
pub fn ack(invite: &Message<'_>, response: &Message<'_>, out: &mut Vec<u8>) {
    hop_request(
        invite,
        b"ACK",
        response.fields(HeaderName::To).next().map(|to| to.value),
        out,
    );
}

/// Appends the CANCEL for an INVITE that was sent (section 9.1): Request-URI, topmost Via, From, To,
/// Call-ID, Route and the CSeq number of the INVITE. `reason` is a Reason value (RFC 3326) or empty.
pub fn cancel(invite: &Message<'_>, reason: &[u8], out: &mut Vec<u8>) {
    let head = out.len();
    hop_request(invite, b"CANCEL", None, out);
    if reason.is_empty() {
        return;
    }
    debug_assert!(out.len() > head);
    let tail = b"Content-Length: 0\r\n\r\n";
    out.truncate(out.len() - tail.len());
    out.extend_from_slice(b"Reason: ");
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(tail);
}

fn hop_request(invite: &Message<'_>, method: &[u8], to: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(invite.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\nVia: ");
    if let Some(via) = invite.values(HeaderName::Via).next() {
        out.extend_from_slice(via.bytes);
    }
    out.extend_from_slice(b"\r\n");
    for field in invite.all_fields() {
        match field.name {
            HeaderName::To if to.is_some() => {
                out.extend_from_slice(b"To: ");
                out.extend_from_slice(to.unwrap_or_default());
                out.extend_from_slice(b"\r\n");
            }
            HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::Route
            | HeaderName::MaxForwards => {
                out.extend_from_slice(field.line.of(invite.buffer()));
            }
            HeaderName::CSeq => {
                let number = invite.cseq().map_or(0, |cseq| cseq.number);
                out.extend_from_slice(b"CSeq: ");
                lex::push_number(out, u64::from(number));
                out.push(b' ');
                out.extend_from_slice(method);
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

#[cfg(test)]
mod tests;
