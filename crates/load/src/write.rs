//! Requests and descriptions as text.

use std::net::{IpAddr, SocketAddr};

use sip::build::{self, ToTag};
use sip::{HeaderName, Message, NameAddr, Splices, Uri, lex, status};
use transaction::{Flow, Transport};

use crate::name::Name;

/// What every request of ours has.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a [u8],
    pub(crate) flow: &'a Flow,
    /// Names the Call-ID, the From tag and the branch.
    pub(crate) name: Name,
    pub(crate) cseq: u32,
    pub(crate) user: &'a str,
    pub(crate) domain: &'a str,
    /// The value of To.
    pub(crate) to: &'a [u8],
    /// Header lines.
    pub(crate) lines: &'a [u8],
    pub(crate) has_contact: bool,
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// Appends it (RFC 3261 section 8.1.1).
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        text(
            out,
            &[
                self.method.as_bytes(),
                b" ",
                self.uri,
                b" SIP/2.0\r\nVia: SIP/2.0/",
            ],
        );
        text(out, &[self.flow.transport.via_token(), b" "]);
        lex::push_host_port(out, self.flow.local);
        out.extend_from_slice(b";rport;branch=z9hG4bK");
        self.name.push(out);
        // An ACK for a 2xx is a transaction of its own, with the CSeq of the INVITE.
        out.extend_from_slice(&self.method.as_bytes()[..1]);
        lex::push_number(out, u64::from(self.cseq));
        out.extend_from_slice(b"\r\nMax-Forwards: 70\r\nFrom: <sip:");
        text(
            out,
            &[
                self.user.as_bytes(),
                b"@",
                self.domain.as_bytes(),
                b">;tag=",
            ],
        );
        self.name.push(out);
        text(out, &[b"\r\nTo: ", self.to, b"\r\nCall-ID: "]);
        self.name.push(out);
        out.extend_from_slice(b"\r\nCSeq: ");
        lex::push_number(out, u64::from(self.cseq));
        text(out, &[b" ", self.method.as_bytes(), b"\r\n"]);
        if self.has_contact {
            push_contact(self.user.as_bytes(), self.flow, out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(self.lines);
        push_body(self.body, out);
    }
}

fn text(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends a Contact without its line end.
pub(crate) fn push_contact(user: &[u8], flow: &Flow, out: &mut Vec<u8>) {
    text(out, &[b"Contact: <sip:", user, b"@"]);
    lex::push_host_port(out, flow.local);
    if flow.transport == Transport::Tcp {
        out.extend_from_slice(b";transport=tcp");
    }
    out.push(b'>');
}

/// Appends Content-Length and what it is the length of.
fn push_body(body: &[u8], out: &mut Vec<u8>) {
    if !body.is_empty() {
        out.extend_from_slice(b"Content-Type: application/sdp\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    lex::push_number(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Appends the ACK for a final response from 300 on (RFC 3261 section 17.1.1.3), with the Request-URI and the Route lines of the INVITE. Without
/// these it is made of the response alone: a first INVITE has no Route and asks for what its To names.
pub(crate) fn push_refusal_ack(
    response: &Message<'_>,
    within: Option<(&[u8], &[u8])>,
    out: &mut Vec<u8>,
) {
    let (uri, routes) = within.unwrap_or_else(|| {
        let to = response.to();
        (to.map_or(&b""[..], |to| to.uri), b"")
    });
    text(out, &[b"ACK ", uri, b" SIP/2.0\r\n"]);
    if let Some(via) = response.values(HeaderName::Via).next() {
        text(out, &[b"Via: ", via.bytes, b"\r\n"]);
    }
    text(out, &[b"Max-Forwards: 70\r\n", routes]);
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        let value = response.header(name).unwrap_or_default();
        text(out, &[name.as_str().as_bytes(), b": ", value, b"\r\n"]);
    }
    out.extend_from_slice(b"CSeq: ");
    lex::push_number(
        out,
        response.cseq().map_or(0, |cseq| u64::from(cseq.number)),
    );
    out.extend_from_slice(b" ACK\r\nContent-Length: 0\r\n\r\n");
}

/// The start of all responses to one request, and where its To tag goes.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tag: ToTag,
}

impl Head {
    /// Makes it of a request that came by `flow`.
    pub(crate) fn fill(&mut self, message: &Message<'_>, flow: Flow, splices: &mut Splices) {
        splices.clear();
        self.bytes.clear();
        if let Ok(via) = message.via() {
            build::stamp_via(message, &via, flow.remote, splices);
        }
        self.tag = build::response_head(message, splices, &mut self.bytes);
    }

    /// Appends a response with lines and a body.
    pub(crate) fn push(
        &self,
        code: u16,
        name: Option<Name>,
        lines: &[u8],
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let tag = name.map(Name::bytes);
        let to_tag = tag.as_ref().map(|tag| tag.as_slice());
        build::response(
            &self.bytes,
            self.tag,
            code,
            status::reason(code),
            to_tag,
            lines,
            out,
        );
        if !body.is_empty() {
            out.truncate(out.len() - b"Content-Length: 0\r\n\r\n".len());
            push_body(body, out);
        }
    }
}

/// Appends a description of one G.711 stream at this address.
pub(crate) fn push_description(at: SocketAddr, version: u32, out: &mut Vec<u8>) {
    let family: &[u8] = match at.ip() {
        IpAddr::V4(_) => b"IN IP4 ",
        IpAddr::V6(_) => b"IN IP6 ",
    };
    let host = |out: &mut Vec<u8>| match at.ip() {
        IpAddr::V4(v4) => lex::push_v4(out, v4),
        IpAddr::V6(v6) => out.extend_from_slice(v6.to_string().as_bytes()),
    };
    out.extend_from_slice(b"v=0\r\no=load 1 ");
    lex::push_number(out, u64::from(version));
    text(out, &[b" ", family]);
    host(out);
    text(out, &[b"\r\ns=-\r\nc=", family]);
    host(out);
    out.extend_from_slice(b"\r\nt=0 0\r\nm=audio ");
    lex::push_number(out, u64::from(at.port()));
    out.extend_from_slice(
        b" RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
          a=sendrecv\r\n",
    );
}

/// Where the sender of a description wants its sound.
pub(crate) fn audio_address(body: &[u8], index: &mut sdp::Index) -> Option<SocketAddr> {
    let description = index.parse(body, &sdp::Limits::default()).ok()?;
    let mut media = description.media();
    media
        .find(|media| media.kind() == sdp::Kind::Audio && !media.is_rejected())?
        .rtp()
}

/// What a dialog needs of the response that made it (RFC 3261 section 12.1.2): the target, the Route lines, the To with its tag.
pub(crate) fn learn_dialog(
    response: &Message<'_>,
    target: &mut Vec<u8>,
    routes: &mut Vec<u8>,
    to: &mut Vec<u8>,
) -> Option<()> {
    let contact = response.values(HeaderName::Contact).next()?;
    target.clear();
    target.extend_from_slice(NameAddr::parse(contact.bytes)?.uri);
    to.clear();
    to.extend_from_slice(response.single(HeaderName::To).ok()?);
    response.to().ok()?.tag()?;
    routes.clear();
    // In reverse order.
    let count = response.values(HeaderName::RecordRoute).count();
    for at in (0..count).rev() {
        push_route(response, at, routes)?;
    }
    Some(())
}

fn push_route(message: &Message<'_>, at: usize, routes: &mut Vec<u8>) -> Option<()> {
    let value = message.values(HeaderName::RecordRoute).nth(at)?;
    text(routes, &[b"Route: ", value.bytes, b"\r\n"]);
    Some(())
}

/// What whoever answers an INVITE needs for requests of his own (section 12.1.1).
#[derive(Debug, Default)]
pub(crate) struct Back {
    /// The target: the URI of the Contact; empty where there is none.
    pub(crate) target: Vec<u8>,
    /// Route lines, in the order of the Record-Route.
    pub(crate) routes: Vec<u8>,
    call_id: Vec<u8>,
    /// The value of our From, without the tag.
    from: Vec<u8>,
    /// The value of our To.
    to: Vec<u8>,
}

impl Back {
    /// Learns all of it from the INVITE that begins the dialog.
    pub(crate) fn learn(&mut self, invite: &Message<'_>) {
        let set = |place: &mut Vec<u8>, value: Option<&[u8]>| {
            place.clear();
            place.extend_from_slice(value.unwrap_or_default());
        };
        set(&mut self.call_id, invite.call_id().ok());
        set(&mut self.from, invite.single(HeaderName::To).ok());
        set(&mut self.to, invite.single(HeaderName::From).ok());
        self.routes.clear();
        for at in 0..invite.values(HeaderName::RecordRoute).count() {
            if push_route(invite, at, &mut self.routes).is_none() {
                break;
            }
        }
        self.target.clear();
        self.refresh(invite);
    }

    /// Learns where the other side is now (section 12.2.2).
    pub(crate) fn refresh(&mut self, invite: &Message<'_>) {
        let contact = invite.values(HeaderName::Contact).next();
        if let Some(contact) = contact.and_then(|value| NameAddr::parse(value.bytes)) {
            self.target.clear();
            self.target.extend_from_slice(contact.uri);
        }
    }

    /// The user part of whom the call is for.
    pub(crate) fn user(&self) -> Option<&[u8]> {
        Uri::parse(NameAddr::parse(&self.from)?.uri).ok()?.user
    }

    /// Appends a BYE (section 15.1.1) with further lines.
    pub(crate) fn push_bye(
        &self,
        (name, cseq): (Name, u32),
        flow: &Flow,
        lines: &[u8],
        out: &mut Vec<u8>,
    ) {
        text(out, &[b"BYE ", &self.target, b" SIP/2.0\r\nVia: SIP/2.0/"]);
        text(out, &[flow.transport.via_token(), b" "]);
        lex::push_host_port(out, flow.local);
        out.extend_from_slice(b";rport;branch=z9hG4bK");
        name.push(out);
        out.push(b'B');
        lex::push_number(out, u64::from(cseq));
        text(
            out,
            &[b"\r\nMax-Forwards: 70\r\nFrom: ", &self.from, b";tag="],
        );
        name.push(out);
        text(out, &[b"\r\nTo: ", &self.to, b"\r\nCall-ID: "]);
        text(out, &[&self.call_id, b"\r\nCSeq: "]);
        lex::push_number(out, u64::from(cseq));
        text(out, &[b" BYE\r\n", lines, &self.routes]);
        push_body(&[], out);
    }
}

/// Where a request within a dialog goes: the first route, or else the target; `otherwise` if that is a name.
pub(crate) fn next_hop(routes: &[u8], target: &[u8], otherwise: SocketAddr) -> SocketAddr {
    let first = routes.strip_prefix(b"Route: ").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        Some(NameAddr::parse(&rest[..end])?.uri)
    });
    let uri = Uri::parse(first.unwrap_or(target)).ok();
    let address =
        uri.and_then(|uri| Some(SocketAddr::new(uri.host.address?, uri.port_or_default())));
    address.unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::{Index, Limits};

    #[test]
    fn a_dialog_goes_by_its_record_routes_in_reverse() {
        let text = b"SIP/2.0 200 OK\r\nRecord-Route: <sip:10.0.0.2;lr>, <sip:10.0.0.1:5070;lr>\r\n\
                     Record-Route: <sip:10.0.0.3;lr>\r\nContact: \"B\" <sip:bob@10.0.0.9:5062>\r\n\
                     To: <sip:bob@x>;tag=t\r\nContent-Length: 0\r\n\r\n";
        let mut index = Index::new();
        let message = index.parse(text, &Limits::default()).expect("a message");
        let (mut target, mut routes, mut to) = Default::default();
        learn_dialog(&message, &mut target, &mut routes, &mut to).expect("a dialog");
        assert_eq!(target, b"sip:bob@10.0.0.9:5062");
        assert_eq!(to, b"<sip:bob@x>;tag=t");
        assert_eq!(
            routes,
            b"Route: <sip:10.0.0.3;lr>\r\nRoute: <sip:10.0.0.1:5070;lr>\r\nRoute: <sip:10.0.0.2;lr>\r\n"
        );
        let otherwise = "192.0.2.1:1".parse().expect("an address");
        let hop = |routes: &[u8]| next_hop(routes, &target, otherwise).to_string();
        assert_eq!(hop(&routes), "10.0.0.3:5060");
        assert_eq!(hop(b""), "10.0.0.9:5062");
        assert_eq!(hop(b"Route: <sip:proxy.example;lr>\r\n"), "192.0.2.1:1");
    }

    #[test]
    fn a_description_is_read_back() {
        for at in ["127.0.0.1:20000", "[::1]:9000"] {
            let at = at.parse().expect("an address");
            let mut body = Vec::new();
            push_description(at, 1, &mut body);
            assert_eq!(audio_address(&body, &mut sdp::Index::new()), Some(at));
        }
    }
}
