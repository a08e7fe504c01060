//! Requests that arrive: those that begin something, and how the others are found.

use std::hash::Hasher;

use dialog::reliable::has_option;
use dialog::{Dialog, session};
use sip::{Envelope, HeaderName, Message, Method, body, build, lex, status};
use transaction::layer::ServerKey;
use transaction::{Flow, Request};

use crate::call::Calls;
use crate::call::calls::{Owner, cause_of};
use crate::call::identity;
use crate::call::leg::{Abilities, Leg, Serving};
use crate::call::send::{ALLOW, OPTIONS, SUPPORTED, push_header, write_contact, write_response};
use crate::control::{Happening, Incoming, LegId};
use crate::output;
use crate::pbx::Turn;
use crate::session::Peer;

/// One request, read so far.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a, 'm> {
    pub(crate) request: &'a Message<'m>,
    pub(crate) envelope: &'a Envelope<'m>,
    /// Where it came from.
    pub(crate) flow: Flow,
    /// Where its responses go.
    pub(crate) back: Flow,
}

impl Calls {
    /// Takes a request.
    pub(crate) fn arrived(&mut self, turn: &mut Turn<'_>, request: &Message<'_>, flow: Flow) {
        self.splices.clear();
        let envelope = match Envelope::read(request) {
            Ok(envelope) => envelope,
            Err(defect) => {
                self.counts.stray += 1;
                let (code, _) = defect.status();
                if request.via().is_ok() {
                    self.refuse(turn, request, flow, code);
                }
                return;
            }
        };
        build::stamp_via(request, &envelope.via, flow.remote, &mut self.splices);
        let back = back(&envelope, flow);
        let ask = Ask {
            request,
            envelope: &envelope,
            flow,
            back,
        };
        self.read_for_request(turn, &ask);
        let known = self.layer.receive_request(
            turn.now.time,
            request,
            &envelope.via,
            &mut turn.output.outbox,
        );
        match known {
            Request::Retransmission | Request::AckAbsorbed => {}
            Request::AckOfSuccess => self.acknowledged(turn, &ask),
            Request::New(key) => match request.method() {
                Some(Method::Ack) => self.acknowledged(turn, &ask),
                Some(Method::Cancel) => self.cancelled(turn, &ask, key),
                _ if envelope.to_tag.is_some() => self.arrived_within(turn, &ask, key),
                _ => self.arrived_anew(turn, &ask, key),
            },
        }
    }

    /// Reads what a request is for: by our tag in it, by its transaction, by the INVITE that it cancels.
    fn read_for_request(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>) {
        if self.resting.next.is_none() {
            return;
        }
        let (layer, via) = (&self.layer, &ask.envelope.via);
        let keys = [
            layer.request_key(ask.request, via),
            layer.invite_key(ask.request, via),
        ];
        let keys = keys.map(|key| Some(key.number() as u64));
        let tag = ask.envelope.to_tag.and_then(lex::hex);
        for mark in keys.into_iter().chain([tag]).flatten() {
            self.read_marked(turn, mark);
        }
    }

    /// The owner of a request's To tag, if its Call-ID is the dialog's.
    pub(crate) fn owner(&self, ask: &Ask<'_, '_>) -> Option<Owner> {
        let tag = lex::hex(ask.envelope.to_tag?)?;
        self.by_tag.get(&tag).copied()
    }

    /// The leg of a request's dialog (RFC 3261 section 12.2.2).
    pub(crate) fn leg_of(&self, ask: &Ask<'_, '_>) -> Option<LegId> {
        let Some(Owner::Leg(id)) = self.owner(ask) else {
            return None;
        };
        let dialog = &self.legs.get(&id)?.dialog;
        let from_tag = ask.envelope.from_tag.unwrap_or_default();
        let is_its = *dialog.call_id == *ask.envelope.call_id
            && (dialog.remote_tag.is_empty() || *dialog.remote_tag == *from_tag);
        is_its.then_some(id)
    }

    fn arrived_anew(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey) {
        let (request, flow) = (ask.request, ask.back);
        if let Some(code) = unroutable(request) {
            return self.refuse(turn, request, flow, code);
        }
        if !self.understands(request) {
            return self.refuse(turn, request, flow, 420);
        }
        match request.method() {
            Some(Method::Invite) => self.invited(turn, ask, key),
            Some(Method::Options) => {
                let code = if self.is_full(turn.settings) {
                    503
                } else {
                    200
                };
                self.push_abilities(turn, flow, code);
                self.refuse(turn, request, flow, code);
            }
            Some(Method::Subscribe) => self.subscribed(turn, ask, key),
            // Only within a dialog do they mean anything here.
            Some(Method::Bye | Method::Update | Method::Prack | Method::Info | Method::Notify) => {
                self.refuse(turn, request, flow, 481)
            }
            // Whom it should transfer is not known (RFC 7614 has it within dialogs for that).
            Some(Method::Refer) => self.refuse(turn, request, flow, 403),
            Some(Method::Other) => {
                self.extra.extend_from_slice(ALLOW);
                self.refuse(turn, request, flow, 501);
            }
            _ => {
                self.extra.extend_from_slice(ALLOW);
                self.refuse(turn, request, flow, 405);
            }
        }
    }

    /// What an OPTIONS is told (RFC 3261 section 11.2).
    pub(crate) fn push_abilities(&mut self, turn: &Turn<'_>, flow: Flow, code: u16) {
        self.extra.extend_from_slice(ALLOW);
        self.extra.extend_from_slice(SUPPORTED);
        self.extra.extend_from_slice(b"Accept: application/sdp, message/sipfrag\r\nAllow-Events: dialog, message-summary, refer\r\n");
        match code {
            200 => write_contact(turn.settings, flow, &mut self.extra),
            _ => push_header(
                &mut self.extra,
                "Retry-After",
                turn.settings.retry_after_s.to_string().as_bytes(),
            ),
        }
    }

    /// Answers without a transaction (section 8.2.7): what is refused costs no memory. `self.extra` holds further headers and is emptied.
    pub(crate) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        request: &Message<'_>,
        flow: Flow,
        code: u16,
    ) {
        if request.method() == Some(Method::Ack) {
            return;
        }
        self.head.clear();
        let tag = build::response_head(request, &self.splices, &mut self.head);
        let call_id = request.header(HeaderName::CallId).unwrap_or_default();
        let number = self.keyed(|hasher| hasher.write(call_id));
        let mut to_tag = Vec::with_capacity(16);
        lex::push_hex(&mut to_tag, number);
        turn.output.outbox.send(flow, |out| {
            build::response(
                &self.head,
                tag,
                code,
                status::reason(code),
                Some(&to_tag),
                &self.extra,
                out,
            );
        });
        self.extra.clear();
    }

    fn refuse_full(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>) {
        self.counts.refused_full += 1;
        push_header(
            &mut self.extra,
            "Retry-After",
            turn.settings.retry_after_s.to_string().as_bytes(),
        );
        self.refuse(turn, ask.request, ask.back, 503);
    }

    /// A call that comes in.
    fn invited(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey) {
        let (request, envelope) = (ask.request, ask.envelope);
        let caller_key = self.caller_key(ask);
        // The same call by another way: it has its record.
        if self.by_caller.contains_key(&caller_key) {
            return self.refuse(turn, request, ask.back, 482);
        }
        if self.is_full(turn.settings) {
            self.note_refusal(turn, ask, caller_key, 503);
            return self.refuse_full(turn, ask);
        }
        let is_vouched_for = turn.settings.trusted.contains(&ask.flow.remote.ip());
        let replaces = match self.replaced(turn, request) {
            // Only of peers that were authenticated (RFC 3891 section 8): by the edge.
            Ok(Some(_)) if !is_vouched_for => {
                return self.refuse_call(turn, ask, caller_key, 403);
            }
            Ok(replaces) => replaces,
            Err(code) => return self.refuse_call(turn, ask, caller_key, code),
        };
        let mut offer = None;
        match self.read_description(turn, request) {
            Ok(found) => offer = found.or(offer),
            Err(code) => {
                if code == 415 {
                    self.extra.extend_from_slice(b"Accept: application/sdp\r\n");
                }
                return self.refuse_call(turn, ask, caller_key, code);
            }
        }
        let asked = session::answer(
            turn.now.time,
            request,
            turn.settings.session_expires_s,
            turn.settings.min_se_s,
        );
        if asked == session::Asked::TooBrief {
            push_header(
                &mut self.extra,
                "Min-SE",
                turn.settings.min_se_s.to_string().as_bytes(),
            );
            return self.refuse(turn, request, ask.back, 422);
        }
        let id = LegId(self.ids.issue());
        let tag = self.hidden(b't', id.0);
        let mut tag_text = Vec::with_capacity(16);
        lex::push_hex(&mut tag_text, tag);
        let dialog = match Dialog::incoming(request, &tag_text) {
            Ok(dialog) => dialog,
            Err(error) => return self.refuse(turn, request, ask.back, error.status()),
        };
        let mut leg = Leg::new(id, true, ask.flow, dialog, tag);
        leg.began_unix_ms = turn.now.unix_ms;
        leg.caller_key = caller_key;
        leg.invite_cseq = envelope.cseq.number;
        leg.max_forwards = request
            .number(HeaderName::MaxForwards, 255)
            .ok()
            .flatten()
            .unwrap_or(70);
        leg.abilities = abilities(request);
        leg.session.origin = (self.hidden(b'o', id.0) >> 16, 0);
        if let Some((description, peer)) = offer {
            leg.session.remote = description;
            leg.session.peer = peer;
            leg.session.has_remote = true;
            leg.offer_step(dialog::offer::Event::ReceiveOffer);
        }
        if let session::Asked::Agreed(session) = asked {
            leg.timer = Some(session);
        }
        let serving = self.serve(ask, key, id);
        leg.served = Some(serving.server);
        leg.serving = Some(serving);
        self.by_caller.insert(caller_key, id);
        self.take_in(turn, ask, leg, replaces);
    }

    /// Tells of a call that came in.
    fn take_in(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        mut leg: Leg,
        replaces: Option<LegId>,
    ) {
        let request = ask.request;
        let is_trusted = turn.settings.trusted.contains(&ask.flow.remote.ip());
        let (caller, is_private) = identity::caller(request, is_trusted);
        // A user of another domain who is let in by a trusted source is still no user of ours, whatever the number.
        // Neither is a number without a domain (RFC 3966), which any trunk may bring.
        let is_ours = turn.settings.is_domain(&caller.host);
        let call_id = String::from_utf8_lossy(ask.envelope.call_id).into_owned();
        leg.party = caller.clone();
        leg.is_private = is_private;
        self.counts.incoming += 1;
        if let Some(serving) = &leg.serving {
            if let Some(stamp) = request.header(HeaderName::Timestamp) {
                push_header(&mut self.extra, "Timestamp", stamp);
            }
            let tag = leg.tag_text();
            self.respond(turn, (serving, &tag), 100, None, false);
        }
        if turn.output.is_watched {
            turn.output.events.push(output::Event::Began {
                leg: leg.id,
                is_incoming: true,
                call_id: call_id.clone(),
            });
        }
        let incoming = Incoming {
            leg: leg.id,
            caller,
            is_trusted: is_trusted && is_ours,
            is_private,
            called: identity::party_of_uri(request.request_uri()),
            diversions: identity::diversions(request),
            replaces,
            auto_answer: identity::wants_auto_answer(request),
            referred_by: identity::referred_by(request),
            call_id,
        };
        let asked_ms = request
            .number(HeaderName::Expires, u32::MAX)
            .ok()
            .flatten()
            .map_or(u64::MAX, |seconds| u64::from(seconds) * 1_000);
        // Its own limit (RFC 3261 section 13.3.1): also who never hears of timer C is let go.
        leg.until_unix_ms = turn.now.unix_ms + asked_ms.min(turn.settings.setup_ms_max);
        self.await_answer(turn.now, &mut leg);
        self.insert(leg);
        self.tell(Happening::Incoming(Box::new(incoming)));
    }

    /// Begins the server transaction of a request whose answer is not known yet.
    pub(crate) fn serve(&mut self, ask: &Ask<'_, '_>, key: ServerKey, leg: LegId) -> Serving {
        let mut head = Vec::with_capacity(512);
        let to_tag = build::response_head(ask.request, &self.splices, &mut head);
        let server = self
            .layer
            .begin_server(key, ask.request, &self.splices, ask.back, leg.0);
        Serving {
            server,
            head,
            to_tag,
            cseq: ask.envelope.cseq.number,
            is_invite: ask.request.method() == Some(Method::Invite),
        }
    }

    /// The description that a message brings, read; the status that refuses it otherwise.
    pub(crate) fn read_description(
        &mut self,
        turn: &Turn<'_>,
        message: &Message<'_>,
    ) -> Result<Option<(Vec<u8>, Peer)>, u16> {
        let span = body::session_description(message).map_err(|error| error.status().0)?;
        let Some(span) = span else {
            return match lex::trim(message.body()).is_empty() || !message.is_request() {
                true => Ok(None),
                false => Err(415),
            };
        };
        let description = span.of(message.buffer());
        let limits = &turn.settings.description_limits;
        let peer = Peer::read(description, &mut self.descriptions, limits)
            .map_err(|error| error.status().0)?;
        match peer.audio {
            None => Err(488),
            Some(_) => Ok(Some((description.to_vec(), peer))),
        }
    }

    fn caller_key(&self, ask: &Ask<'_, '_>) -> u64 {
        let envelope = ask.envelope;
        self.keyed(|hasher| {
            for part in [
                envelope.call_id,
                envelope.from_tag.unwrap_or_default(),
                &envelope.cseq.number.to_be_bytes()[..],
            ] {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        })
    }

    /// The leg that an INVITE is to take the place of (RFC 3891 section 3), or how it is refused.
    fn replaced(
        &mut self,
        turn: &mut Turn<'_>,
        request: &Message<'_>,
    ) -> Result<Option<LegId>, u16> {
        if !request.has(HeaderName::Replaces) {
            return Ok(None);
        }
        let value = request.single(HeaderName::Replaces).map_err(|_| 400u16)?;
        let id = self.find_replaced(turn, value).ok_or(481u16)?;
        let leg = self.legs.get(&id).ok_or(481u16)?;
        let early_only = value
            .to_ascii_lowercase()
            .windows(10)
            .any(|part| part == b"early-only");
        match leg.state {
            // Somebody else's ringing may be picked up only by who is called (section 3); here that is anybody whom the plan lets in.
            _ if !leg.state.is_alive() => Err(603),
            _ if early_only && !leg.state.is_early() => Err(486),
            _ => Ok(Some(id)),
        }
    }

    /// The leg whose dialog a Replaces value names: `call-id;to-tag=ours;from-tag=theirs`, the tags as the one who sends it in the dialog sees them.
    pub(crate) fn find_replaced(&mut self, turn: &mut Turn<'_>, value: &[u8]) -> Option<LegId> {
        let (call_id, params) = value.split_at_checked(memchr_semicolon(value)?)?;
        let params = sip::Params::new(&params[1..]);
        let (to, from) = (params.value(b"to-tag")?, params.value(b"from-tag")?);
        let tag = lex::hex(to)?;
        self.read_marked(turn, tag);
        let Some(Owner::Leg(id)) = self.by_tag.get(&tag).copied() else {
            return None;
        };
        let dialog = &self.legs.get(&id)?.dialog;
        let is_it = *dialog.call_id == *lex::trim(call_id)
            && (*dialog.remote_tag == *from || from == b"0" && dialog.remote_tag.is_empty());
        is_it.then_some(id)
    }

    /// The ACK of a 200 of ours.
    fn acknowledged(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>) {
        let Some(id) = self.leg_of(ask) else { return };
        let cseq = ask.envelope.cseq.number;
        let description = self.read_description(turn, ask.request);
        self.with(id, |calls, leg| {
            calls.acknowledge(turn, leg, cseq, description)
        });
    }

    /// CANCEL (section 9.2).
    fn cancelled(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey) {
        let Some((_, user)) = self.layer.find_cancelled(ask.request, &ask.envelope.via) else {
            return self.refuse(turn, ask.request, ask.back, 481);
        };
        let server = self
            .layer
            .begin_server(key, ask.request, &self.splices, ask.back, u64::MAX);
        self.layer.respond(
            turn.now.time,
            server,
            200,
            "OK",
            b"",
            &mut turn.output.outbox,
        );
        let q850 = identity::q850_in(ask.request);
        self.with(LegId(user), |calls, leg| {
            let mut cause = cause_of(487, "");
            cause.q850 = q850.unwrap_or(16);
            match leg.state {
                crate::call::state::State::Invited => calls.ended(turn, leg, cause),
                // Of a re-INVITE only the change is cancelled.
                _ if leg
                    .serving
                    .as_ref()
                    .is_some_and(|serving| serving.is_invite) =>
                {
                    calls.cancel_change(turn, leg)
                }
                _ => {}
            }
        });
    }
}

fn memchr_semicolon(value: &[u8]) -> Option<usize> {
    value.iter().position(|&byte| byte == b';')
}

/// What a request says of its sender.
pub(crate) fn abilities(message: &Message<'_>) -> Abilities {
    let requires_reliable = has_option(message, HeaderName::Require, b"100rel");
    Abilities {
        reliable: requires_reliable || has_option(message, HeaderName::Supported, b"100rel"),
        requires_reliable,
        update: message
            .values(HeaderName::Allow)
            .any(|value| value.bytes == b"UPDATE"),
    }
}

/// The status of a request that cannot be served whatever it asks for: a scheme that is not known. Loops end by Max-Forwards at proxies; here
/// the last element is (section 8.2.2.1).
fn unroutable(request: &Message<'_>) -> Option<u16> {
    match sip::check::request_uri(request.request_uri()) {
        Err(_) => Some(400),
        Ok(uri) if !uri.is_sip() && uri.scheme != sip::Scheme::Tel => Some(416),
        Ok(_) => None,
    }
}

impl Calls {
    /// Whether all that a request requires is understood; `self.extra` names what is not (section 8.2.2.3).
    pub(crate) fn understands(&mut self, request: &Message<'_>) -> bool {
        self.extra.clear();
        for value in request.values(HeaderName::Require) {
            let is_known = OPTIONS
                .iter()
                .any(|known| value.bytes.eq_ignore_ascii_case(known));
            if !is_known && !value.bytes.is_empty() {
                push_header(&mut self.extra, "Unsupported", value.bytes);
            }
        }
        self.extra.is_empty()
    }

    /// Answers a request that needs no leg to be answered, by a transaction; `self.extra` holds further headers and is emptied.
    pub(crate) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
        code: u16,
        tag: Option<&[u8]>,
        body: Option<(&str, &[u8])>,
    ) {
        self.head.clear();
        let at = build::response_head(ask.request, &self.splices, &mut self.head);
        let server = self
            .layer
            .begin_server(key, ask.request, &self.splices, ask.back, u64::MAX);
        let (head, extra) = (&self.head, &self.extra);
        self.layer.respond_with(
            turn.now.time,
            server,
            code,
            &mut turn.output.outbox,
            |out| {
                write_response((head, at), code, tag, extra, body, out);
            },
        );
        self.extra.clear();
    }
}

/// Where responses go (section 18.2.2, RFC 3581 section 4).
fn back(envelope: &Envelope<'_>, flow: Flow) -> Flow {
    if flow.transport.is_reliable() || envelope.via.rport().is_some() {
        return flow;
    }
    let mut remote = flow.remote;
    remote.set_port(envelope.via.port.unwrap_or(5060));
    Flow { remote, ..flow }
}
