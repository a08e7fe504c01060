//! What a request looks like on its next hop (RFC 3261 section 16.6).

use sip::{HeaderName, Message, NameAddr, Span, Splices, lex};
use transaction::Flow;

use crate::cookie::{self, Ends};
use crate::loops;
use crate::route::Preprocessed;
use crate::settings::Settings;

/// Max-Forwards of a request that came without (section 16.6 step 3).
const MAX_FORWARDS: u32 = 70;

/// Notes the changes that are the same for every branch: Route values of ours off, Max-Forwards one
/// less. Max-Forwards was checked to be above zero.
pub fn common_edits(request: &Message<'_>, routes: &Preprocessed<'_>, splices: &mut Splices) {
    match routes.last_route {
        None => splices.remove_first_values(request, HeaderName::Route, routes.popped),
        Some(last) => rewrite_routes(request, routes.popped, last, splices),
    }
    match request.fields(HeaderName::MaxForwards).next() {
        Some(field) => {
            let value = lex::number(field.value, 255).unwrap_or(MAX_FORWARDS + 1);
            let span = Span::within(request.buffer(), field.value);
            splices.replace_with(span, |out| {
                lex::push_number(out, u64::from(value.saturating_sub(1)))
            });
        }
        None => splices.insert(request.headers_end(), b"Max-Forwards: 70\r\n"),
    }
}

/// Writes the Route values anew without the first `popped` ones and without `last`, which became the
/// Request-URI (section 16.4).
fn rewrite_routes(request: &Message<'_>, popped: usize, last: Span, splices: &mut Splices) {
    for field in request.fields(HeaderName::Route) {
        splices.remove(field.line);
    }
    let kept = request.values(HeaderName::Route).skip(popped);
    for value in kept.take_while(|value| value.span != last) {
        splices.insert_with(request.headers_end(), |out| {
            out.extend_from_slice(b"Route: ");
            out.extend_from_slice(value.bytes);
            out.extend_from_slice(b"\r\n");
        });
    }
}

/// One branch of a request.
#[derive(Debug, Clone, Copy)]
pub struct Branch<'a> {
    /// Number of the branch.
    pub branch: u64,
    /// Loop part of the branch.
    pub loop_part: u64,
    /// The Request-URI it gets.
    pub uri: &'a [u8],
    /// Route values to put before all others (RFC 3327), may be empty.
    pub path: &'a [u8],
    /// Where it came from and where it goes.
    pub from: Flow,
    /// Where it goes.
    pub to: Flow,
    /// The next Route value after ours are off.
    pub next_route: Option<NameAddr<'a>>,
    /// What goes into Record-Route, if we stay on the path.
    pub record: Option<Ends>,
    /// Max-Breadth for this branch, when it has to be written (RFC 5393 section 5.3.3).
    pub max_breadth: Option<u16>,
}

/// Notes the changes of one branch: Request-URI, Via, Record-Route, Path as Route, Content-Length.
pub fn branch_edits(
    settings: &Settings,
    request: &Message<'_>,
    branch: &Branch<'_>,
    splices: &mut Splices,
) {
    let strict = branch.path.is_empty()
        && branch
            .next_route
            .is_some_and(|route| route.parse_uri().is_ok_and(|uri| !uri.params.has(b"lr")));
    let uri = match branch.next_route {
        Some(route) if strict => route.uri,
        _ => branch.uri,
    };
    if uri != request.request_uri() {
        splices.replace(request.request_uri_span(), uri);
    }
    splices.insert_with(request.headers_start(), |out| {
        push_via(settings, branch, out);
        if let Some(ends) = &branch.record {
            push_record_route(settings, request, branch, ends, out);
        }
        if !branch.path.is_empty() {
            out.extend_from_slice(b"Route: ");
            out.extend_from_slice(branch.path);
            out.extend_from_slice(b"\r\n");
        }
    });
    if strict {
        strict_route(request, branch, splices);
    }
    if let Some(breadth) = branch.max_breadth {
        max_breadth(request, breadth, splices);
    }
    if branch.to.transport.is_reliable() && !request.has(HeaderName::ContentLength) {
        push_length(request, splices);
    }
}

/// Notes the Content-Length of a message that has none, its body as it is after the changes so far.
pub(crate) fn push_length(message: &Message<'_>, splices: &mut Splices) {
    let size_bytes = message.body().len() as i64 + splices.growth(message.body_span());
    splices.insert_with(message.headers_end(), |out| {
        out.extend_from_slice(b"Content-Length: ");
        lex::push_number(out, size_bytes.max(0) as u64);
        out.extend_from_slice(b"\r\n");
    });
}

fn push_via(settings: &Settings, branch: &Branch<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Via: SIP/2.0/");
    out.extend_from_slice(branch.to.transport.via_token());
    out.push(b' ');
    settings.push_sent_by(&branch.to, out);
    out.extend_from_slice(b";branch=");
    loops::push_branch(branch.branch, branch.loop_part, out);
    out.extend_from_slice(b"\r\n");
}

/// Section 16.6 step 4; two values where the sides differ in address or transport, the outer one first
/// (RFC 5658).
fn push_record_route(
    settings: &Settings,
    request: &Message<'_>,
    branch: &Branch<'_>,
    ends: &Ends,
    out: &mut Vec<u8>,
) {
    let call_id = request.header(HeaderName::CallId).unwrap_or_default();
    let tag = request
        .from()
        .ok()
        .and_then(|from| from.tag())
        .unwrap_or_default();
    let differ =
        branch.from.transport != branch.to.transport || branch.from.local != branch.to.local;
    let sides = [Some(&branch.to), differ.then_some(&branch.from)];
    for flow in sides.into_iter().flatten() {
        out.extend_from_slice(b"Record-Route: <sip:");
        settings.push_sent_by(flow, out);
        if flow.transport.is_reliable() {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(flow.transport.uri_token());
        }
        out.extend_from_slice(b";lr;");
        out.extend_from_slice(cookie::PARAMETER);
        out.push(b'=');
        cookie::write(settings.cookie_secret, call_id, tag, ends, out);
        out.extend_from_slice(b">\r\n");
    }
}

/// Section 16.6 step 6: the next hop routes strictly, so it gets its own URI as Request-URI and the
/// true one at the end of Route. Values of ours are off already.
fn strict_route(request: &Message<'_>, branch: &Branch<'_>, splices: &mut Splices) {
    splices.remove_first_values(request, HeaderName::Route, 1);
    splices.insert_with(request.headers_end(), |out| {
        out.extend_from_slice(b"Route: <");
        out.extend_from_slice(branch.uri);
        out.extend_from_slice(b">\r\n");
    });
}

fn max_breadth(request: &Message<'_>, breadth: u16, splices: &mut Splices) {
    match request.fields(HeaderName::MaxBreadth).next() {
        Some(field) => splices.replace_with(Span::within(request.buffer(), field.value), |out| {
            lex::push_number(out, u64::from(breadth));
        }),
        None => splices.insert_with(request.headers_end(), |out| {
            out.extend_from_slice(b"Max-Breadth: ");
            lex::push_number(out, u64::from(breadth));
            out.extend_from_slice(b"\r\n");
        }),
    }
}
