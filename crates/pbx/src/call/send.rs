//! Writing messages.

use dialog::{Dialog, Hop};
use sip::build::{self, ToTag};
use sip::{lex, status};
use transaction::{ClientId, Flow, Transport};

use crate::call::Calls;
use crate::call::identity;
use crate::call::leg::{Leg, Serving};
use crate::call::reply::Purpose;
use crate::pbx::Turn;
use crate::settings::Settings;

/// Methods that are served.
pub(crate) const ALLOW: &[u8] =
    b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE, INFO\r\n";
/// Extensions that are understood.
pub(crate) const SUPPORTED: &[u8] = b"Supported: 100rel, timer, replaces, norefersub, histinfo\r\n";
/// Those in the words of Require.
pub(crate) const OPTIONS: [&[u8]; 6] = [
    b"100rel",
    b"timer",
    b"replaces",
    b"norefersub",
    b"histinfo",
    b"answermode",
];

/// The Contact of everything that we send over `flow`.
pub(crate) fn write_contact(settings: &Settings, flow: Flow, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Contact: <sip:");
    lex::push_host_port(out, (settings.advertised, flow.local.port()).into());
    if flow.transport != Transport::Udp {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(flow.transport.uri_token());
    }
    out.extend_from_slice(b">\r\n");
}

/// Appends `name: value`.
pub(crate) fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Ends a message with its body.
pub(crate) fn finish(body: Option<(&str, &[u8])>, out: &mut Vec<u8>) {
    match body {
        Some((kind, bytes)) => {
            push_header(out, "Content-Type", kind.as_bytes());
            out.extend_from_slice(b"Content-Length: ");
            lex::push_number(out, bytes.len() as u64);
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
    }
}

/// The type of a session description.
pub(crate) const SDP: &str = "application/sdp";

/// Appends a response.
pub(crate) fn write_response(
    (head, tag): (&[u8], ToTag),
    code: u16,
    to_tag: Option<&[u8]>,
    extra: &[u8],
    body: Option<(&str, &[u8])>,
    out: &mut Vec<u8>,
) {
    build::response(head, tag, code, status::reason(code), to_tag, extra, out);
    if body.is_some() {
        let end: &[u8] = b"Content-Length: 0\r\n\r\n";
        out.truncate(out.len() - end.len());
        finish(body, out);
    }
}

impl Calls {
    /// The Via of a request over `flow`.
    pub(crate) fn hop(&mut self, settings: &Settings, flow: Flow) -> Hop {
        Hop {
            transport: flow.transport.via_token(),
            sent_by: (settings.advertised, flow.local.port()).into(),
            branch: self.layer.new_branch(),
            max_forwards: self.max_forwards,
        }
    }

    /// Adds who a leg's peer talks with, if that may be told.
    pub(crate) fn push_connected(&mut self, settings: &Settings, leg: &Leg) {
        let other = leg.peer.and_then(|other| self.legs.get(&other));
        if let Some(other) = other.filter(|other| !other.state.is_early() || !leg.is_incoming) {
            // Who calls from elsewhere is not told names of ours.
            let is_trusted = settings.trusted.contains(&leg.flow.remote.ip())
                && settings.is_domain(&leg.party.host);
            let who = (&other.party, other.is_private);
            identity::write_connected(who.0, who.1, settings, is_trusted, &mut self.extra);
        }
    }

    /// Sends a request in a dialog: `self.extra` holds its further headers and is emptied.
    pub(crate) fn request(
        &mut self,
        turn: &mut Turn<'_>,
        (dialog, flow): (&Dialog, Flow),
        (method, cseq): (&str, u32),
        purpose: Purpose,
        body: Option<(&str, &[u8])>,
    ) -> ClientId {
        let hop = self.hop(turn.settings, flow);
        let user = match purpose {
            Purpose::Nothing => transaction::layer::NOBODY,
            purpose => self.purposes.insert(purpose).to_bits(),
        };
        let extra = std::mem::take(&mut self.extra);
        let branch = (hop.branch, user);
        let outbox = &mut turn.output.outbox;
        let client = self.layer.begin_client(
            turn.now.time,
            method == "INVITE",
            branch,
            flow,
            outbox,
            |out| {
                dialog.write_request(method, cseq, &hop, out);
                out.extend_from_slice(&extra);
                push_header(out, "User-Agent", turn.settings.product.as_bytes());
                finish(body, out);
            },
        );
        self.extra = extra;
        self.extra.clear();
        client
    }

    /// Sends BYE in a dialog that may not be a leg's (any more).
    pub(crate) fn bye(
        &mut self,
        turn: &mut Turn<'_>,
        (dialog, flow): (&mut Dialog, Flow),
        reason: &[u8],
    ) {
        self.bye_with(turn, (dialog, flow), reason, b"");
    }

    /// Sends BYE with the credentials that the peer asks for.
    pub(crate) fn bye_with(
        &mut self,
        turn: &mut Turn<'_>,
        (dialog, flow): (&mut Dialog, Flow),
        reason: &[u8],
        credentials: &[u8],
    ) {
        let cseq = dialog.next_cseq();
        self.extra.clear();
        self.extra.extend_from_slice(credentials);
        if !reason.is_empty() {
            push_header(&mut self.extra, "Reason", reason);
        }
        self.request(turn, (dialog, flow), ("BYE", cseq), Purpose::Nothing, None);
    }

    /// The ACK of a 2xx (RFC 3261 section 13.2.2.4): its bytes are sent again with each copy of the 2xx.
    pub(crate) fn ack(
        &mut self,
        turn: &mut Turn<'_>,
        (dialog, flow): (&Dialog, Flow),
        cseq: u32,
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let hop = self.hop(turn.settings, flow);
        turn.output.outbox.send(flow, |out| {
            dialog.write_request("ACK", cseq, &hop, out);
            finish(body.map(|body| (SDP, body)), out);
        });
        turn.output.outbox.last().to_vec()
    }

    /// Answers a request that changes the session. `self.extra` holds further headers and is emptied. What was sent is returned if it is to be
    /// kept.
    pub(crate) fn respond(
        &mut self,
        turn: &mut Turn<'_>,
        (serving, tag): (&Serving, &[u8]),
        code: u16,
        body: Option<&[u8]>,
        keep: bool,
    ) -> Option<Vec<u8>> {
        if code >= 180 {
            self.extra.extend_from_slice(b"Server: ");
            self.extra
                .extend_from_slice(turn.settings.product.as_bytes());
            self.extra.extend_from_slice(b"\r\n");
        }
        let extra = std::mem::take(&mut self.extra);
        let to_tag = (code > 100).then_some(tag);
        let outbox = &mut turn.output.outbox;
        let sent = self
            .layer
            .respond_with(turn.now.time, serving.server, code, outbox, |out| {
                write_response(
                    (&serving.head, serving.to_tag),
                    code,
                    to_tag,
                    &extra,
                    body.map(|body| (SDP, body)),
                    out,
                );
            });
        self.extra = extra;
        self.extra.clear();
        (sent && keep).then(|| turn.output.outbox.last().to_vec())
    }

    /// Answers the open request of a leg's peer with a failure, and forgets it.
    pub(crate) fn fail_serving(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, code: u16) {
        if let Some(serving) = leg.serving.take() {
            let tag = leg.tag_text();
            self.respond(turn, (&serving, &tag), code, None, false);
        }
    }
}
