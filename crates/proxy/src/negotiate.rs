//! Session descriptions on their way through the proxy (RFC 3264, 3261 section 13, 3262, 3311).
//!
//! Which message brings an offer and which an answer follows from the messages alone: a request brings an offer
//! (INVITE, UPDATE, PRACK) unless it is a PRACK or an ACK whose receiver made one that waits; a response answers the
//! offer of its request, and without one it brings an offer of its own.
//!
//! Whoever knows a call's tags could speak for its parties. Media are moved only by those whose tag was heard from that
//! party, and who are where it was or have our cookie of the dialog; and only once the other party has agreed.

use sdp::{Description, Rewrite};
use sip::{Envelope, HeaderName, Message, Method, Span, Splices, body};
use transaction::layer::Id;
use transaction::{ClientId, Flow};

use crate::anchor::{Anchor, CALLER, Unoffered, Word};
use crate::calls::shown;
use crate::cookie;
use crate::media::{Anchored, NoPorts};
use crate::proxy::{Forward, Network, Proxy, Surroundings};
use crate::route::Preprocessed;

/// Why a request is refused for its media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    /// When it may be worth another try.
    pub(crate) retry_after_s: Option<u32>,
}

impl Refusal {
    fn of((status, reason): (u16, &'static str)) -> Refusal {
        Refusal {
            status,
            reason,
            retry_after_s: None,
        }
    }
}

/// Ports or commands are used up: the caller may come again.
pub(crate) const NO_PORTS: Refusal = Refusal {
    status: 503,
    reason: "No Media Ports",
    retry_after_s: None,
};

/// An offer while another one of the same party waits for its answer (RFC 3264 section 4).
const OFFER_PENDING: Refusal = Refusal {
    status: 491,
    reason: "Request Pending",
    retry_after_s: None,
};

/// A request within a dialog.
pub(crate) struct Within<'a> {
    pub(crate) request: &'a Message<'a>,
    pub(crate) envelope: &'a Envelope<'a>,
    pub(crate) routes: &'a Preprocessed<'a>,
    pub(crate) from: Flow,
}

impl<'a> Within<'a> {
    pub(crate) fn of(forward: &Forward<'a>) -> Within<'a> {
        Within {
            request: forward.request,
            envelope: forward.envelope,
            routes: forward.routes,
            from: forward.from,
        }
    }
}

/// The two sides that a request within a dialog goes between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) anchor: Id,
    pub(crate) sender: u8,
    pub(crate) receiver: u8,
    /// What stands for the callee's tag.
    pub(crate) tag: u64,
    /// Whether the request brought a description.
    pub(crate) has_description: bool,
    /// The number of the offer that it brought.
    pub(crate) offer: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Offer,
    Answer,
    /// Says again what was agreed, or is to be taken for that.
    Repeat,
}

/// What is used again from description to description.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) index: sdp::Index,
    edits: sdp::Edits,
    ports: Vec<Option<sdp::Ports>>,
    pub(crate) spare: Vec<Anchor>,
}

impl Proxy {
    /// Opens a side for a branch of an INVITE that leaves on `flow`, and names its ports in the offer that the
    /// branch gets. `self.splices` holds the changes over `request`.
    pub(crate) fn describe_to_branch<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        anchor: Id,
        flow: Flow,
        request: &Message<'_>,
    ) -> Result<u8, Refusal> {
        let Some(found) = self.anchors.get_mut(anchor) else {
            return Ok(CALLER);
        };
        let side = found.open_side(flow.local.ip(), flow.remote.ip());
        let side = side.ok_or(NO_PORTS)?;
        let mut splices = std::mem::take(&mut self.splices);
        let word = Word {
            sender: CALLER,
            receiver: side,
            is_request: true,
            signalling: None,
        };
        let described = self.describe(s, anchor, (word, Role::Offer), request, &mut splices);
        self.splices = splices;
        match described {
            Ok(_) => {
                if let Some(found) = self.anchors.get_mut(anchor) {
                    let invited = found.offered(CALLER, side).unwrap_or(0);
                    if let Some(side) = found.side_mut(side) {
                        side.invited = invited;
                    }
                }
                Ok(side)
            }
            Err(refusal) => {
                if let Some(found) = self.anchors.get_mut(anchor) {
                    found.close_side(s.network, side);
                }
                Err(refusal)
            }
        }
    }

    /// Looks at a request within a dialog: between which sides it goes, and what it offers or answers. Changes
    /// are noted in `splices`.
    pub(crate) fn describe_within<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        within: &Within<'_>,
        splices: &mut Splices,
    ) -> Result<Option<Exchange>, Refusal> {
        let (request, envelope) = (within.request, within.envelope);
        let negotiates = matches!(
            request.method(),
            Some(Method::Invite | Method::Update | Method::Prack | Method::Ack)
        );
        let (Some(from_tag), Some(to_tag)) = (envelope.from_tag, envelope.to_tag) else {
            return Ok(None);
        };
        if !negotiates || self.anchors.is_empty() {
            return Ok(None);
        }
        let found = {
            let mut ends = self.calls.ends(envelope.call_id, from_tag, to_tag);
            ends.find_map(|end| {
                let anchor = self.calls.get(end.call)?.anchor?;
                let callee = self.anchors.get(anchor)?.side_of(end.tag)?;
                Some((end, anchor, callee))
            })
        };
        let Some((end, anchor, callee)) = found else {
            return Ok(None);
        };
        let (call, is_callers, tag) = (end.call, end.is_callers, end.tag);
        self.touch_call(call);
        let Some(found) = self.anchors.get_mut(anchor) else {
            return Ok(None);
        };
        let (sender, receiver) = match is_callers {
            true => (CALLER, callee),
            false => (callee, CALLER),
        };
        let known_at = found.side_mut(sender).map(|side| side.signalling);
        let caller = self.calls.get(call).map_or(&b""[..], |call| &call.from);
        if known_at != Some(within.from.remote.ip()) && !may_speak(within, is_callers, caller) {
            return Ok(None);
        }
        let is_offered = found.offered(receiver, sender).is_some();
        let role = match request.method() {
            Some(Method::Ack | Method::Prack) if is_offered => Role::Answer,
            Some(Method::Ack) => Role::Repeat,
            // What the INVITE offered was not answered yet, and cannot be offered anew.
            Some(Method::Prack) if found.is_asked(sender, receiver) => Role::Repeat,
            _ => Role::Offer,
        };
        let word = Word {
            sender,
            receiver,
            is_request: true,
            signalling: Some(within.from.remote.ip()),
        };
        let has_description = self.describe(s, anchor, (word, role), request, splices)?;
        let found = self.anchors.get(anchor);
        let offer = found.and_then(|found| found.offered(sender, receiver));
        let offer = offer.filter(|_| has_description && role == Role::Offer);
        if let Some(found) = self.anchors.get_mut(anchor)
            && found.selected == 0
            && found.side_mut(callee).is_some_and(|side| side.is_answered)
        {
            found.answered(s.network, callee);
        }
        Ok(Some(Exchange {
            anchor,
            sender,
            receiver,
            tag,
            has_description,
            offer,
        }))
    }

    /// Names our ports in the description that a response brings. One that cannot be read is taken out: nothing
    /// is opened for it, and who gets the response knows what to do without an answer.
    pub(crate) fn describe_response<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        response: &Message<'_>,
    ) {
        let Some(context) = self.contexts.get(id) else {
            return;
        };
        let (exchange, side) = (context.exchange, context.side_of(client));
        let Some((anchor, requester, responder, has_description)) = (match (exchange, side) {
            (Some(exchange), _) => Some((
                exchange.anchor,
                exchange.sender,
                exchange.receiver,
                exchange.has_description,
            )),
            (None, Some(side)) => context
                .anchor
                .map(|anchor| (anchor, CALLER, side, context.has_description)),
            (None, None) => None,
        }) else {
            return;
        };
        let key = self.key_of(response);
        let is_success = matches!(response.status(), 200..=299);
        let Some(found) = self.anchors.get_mut(anchor) else {
            return;
        };
        // A branch may be over, and its side another's, before what was asked within it is answered.
        if let Some(exchange) = exchange
            && found.side_of(exchange.tag) != Some(requester.max(responder))
        {
            return;
        }
        let mut is_of_another = false;
        if exchange.is_none()
            && let Some(side) = found.side_mut(responder)
        {
            is_of_another = side.is_of_another(key);
            match is_success {
                true => side.answered_as(key),
                false => side.heard(key),
            }
        }
        let role = match has_description || found.offered(requester, responder).is_some() {
            // One of several beyond a branch that was answered before: the ports are the other's.
            _ if is_of_another => Role::Repeat,
            true => Role::Answer,
            false => Role::Offer,
        };
        let mut splices = std::mem::take(&mut self.splices);
        let word = Word {
            sender: responder,
            receiver: requester,
            is_request: false,
            signalling: None,
        };
        if self
            .describe(s, anchor, (word, role), response, &mut splices)
            .is_err()
        {
            self.counters.descriptions_refused += 1;
            take_body_out(response, &mut splices);
        }
        self.splices = splices;
        let Some(found) = self.anchors.get_mut(anchor) else {
            return;
        };
        if !is_success {
            return;
        }
        match exchange {
            None => {
                found.answered(s.network, responder);
                let invited = found.side_mut(responder).map_or(0, |side| side.invited);
                found.abandon(s.network, (requester, responder), invited);
            }
            // Without an answer what was offered is void (RFC 3311 section 5.1).
            Some(exchange) => {
                let offer = exchange.offer.unwrap_or(0);
                found.abandon(s.network, (requester, responder), offer);
            }
        }
    }

    /// Takes back what a request within a dialog began that was refused or never answered: its offer, and the call
    /// that was taken up for it.
    pub(crate) fn exchange_over<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let adopted = context.adopted.take();
        if let Some(exchange) = context.exchange
            && let Some(offer) = exchange.offer
            && let Some(anchor) = self.anchors.get_mut(exchange.anchor)
        {
            anchor.abandon(s.network, (exchange.sender, exchange.receiver), offer);
        }
        if let Some(call) = adopted.filter(|call| self.calls.get(*call).is_some()) {
            self.counters.calls_ended += 1;
            self.drop_call(s, call);
        }
    }

    /// Takes an offer or an answer that a message brings, if it brings one, and notes in `splices` what its
    /// receiver is told instead. Gives whether there was one.
    fn describe<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        anchor: Id,
        (word, role): (Word, Role),
        message: &Message<'_>,
        splices: &mut Splices,
    ) -> Result<bool, Refusal> {
        let span = match body::session_description(message) {
            Ok(Some(span)) => span,
            Ok(None) => return Ok(false),
            Err(error) => return Err(Refusal::of(error.status())),
        };
        let anchors = &mut self.anchors;
        let found = anchors.get_mut(anchor);
        let Some(found) = found.filter(|found| found.are_open(word.sender, word.receiver)) else {
            return Ok(false);
        };
        let is_early = role == Role::Offer && word.is_request;
        if is_early && found.is_asked(word.sender, word.receiver) {
            return Err(OFFER_PENDING);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = span.of(message.buffer());
        let taken = match scratch.index.parse(text, &sdp::Limits::default()) {
            Ok(description) => take(s, found, word, role, &description).map(|()| {
                if let Some(address) = found.named(word.receiver, &mut scratch.ports) {
                    let ports = &scratch.ports;
                    let rewrite = Rewrite { address, ports };
                    sdp::rewrite(&description, &rewrite, &mut scratch.edits);
                    splice(message, span, &scratch.edits, splices);
                }
            }),
            Err(error) => Err(Refusal::of(error.status())),
        };
        let anchored = found.relay.map(|relay| Anchored {
            relay,
            session: found.session,
        });
        if let Some(call) = self.calls.get_mut(found.call) {
            call.media = anchored;
        }
        self.scratch = scratch;
        if let Err(refusal) = taken {
            self.counters.ports_lacking += u64::from(refusal == NO_PORTS);
            return Err(refusal);
        }
        Ok(true)
    }
}

/// Whether one who is not where a party of the call was may speak for it: the caller from elsewhere had to say who he
/// is, and is the same; a callee has the cookie of the dialog and knows its tags.
fn may_speak(within: &Within<'_>, is_callers: bool, caller: &[u8]) -> bool {
    match within.routes.dialog {
        Some((_, cookie::Direction::ToCallee)) => {
            is_callers && shown(within.envelope.from.uri) == caller
        }
        Some((_, cookie::Direction::ToCaller)) => !is_callers,
        None => false,
    }
}

fn take<N: Network>(
    s: &mut Surroundings<'_, N>,
    anchor: &mut Anchor,
    word: Word,
    role: Role,
    description: &Description<'_>,
) -> Result<(), Refusal> {
    match role {
        Role::Offer => anchor
            .offer(s.network, word, description)
            .map_err(|error| match error {
                Unoffered::NoPorts(NoPorts::Taken) => NO_PORTS,
                Unoffered::NoPorts(NoPorts::Absent) => Refusal::of((503, "No Media Address")),
                Unoffered::TooManyLines => Refusal::of((488, "Too Many Media Lines")),
            }),
        Role::Repeat => {
            anchor.repeat(description);
            Ok(())
        }
        Role::Answer => match anchor.answer(s.network, word, description) {
            true => Ok(()),
            // RFC 3264 section 6: an answer has the lines of its offer.
            false => Err(Refusal::of((488, "Not Acceptable Here"))),
        },
    }
}

/// Notes the changes of a description that lies under `span` of a message, and the new Content-Length.
fn splice(message: &Message<'_>, span: Span, edits: &sdp::Edits, splices: &mut Splices) {
    for edit in edits.iter() {
        let part = Span {
            start: span.start + edit.span.start,
            end: span.start + edit.span.end,
        };
        splices.replace(part, edit.text);
    }
    correct_length(message, splices);
}

/// Takes the body of a message out.
pub(crate) fn take_body_out(message: &Message<'_>, splices: &mut Splices) {
    for field in message.fields(HeaderName::ContentType) {
        splices.remove(field.line);
    }
    splices.remove(message.body_span());
    correct_length(message, splices);
}

/// Notes the Content-Length of a body that was changed, where the message has the field.
fn correct_length(message: &Message<'_>, splices: &mut Splices) {
    let size_bytes = message.body().len() as i64 + splices.growth(message.body_span());
    body::replace_length(message, size_bytes.max(0) as usize, splices);
}
