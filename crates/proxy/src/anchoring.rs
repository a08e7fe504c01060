//! Whose media are anchored, and until when: from the INVITE of a call, or from the first word after a restart, to
//! its end or its silence.

use std::net::IpAddr;

use sip::{HeaderName, Method, NameAddr, Uri, body};
use transaction::layer::Id;
use transaction::{ClientId, Flow};

use crate::anchor::Anchor;
use crate::calls::Stage;
use crate::cookie;
use crate::event::CallNote;
use crate::media::{self, Policy};
use crate::proxy::{Forward, Network, Proxy, Surroundings};
use crate::target::Targets;

/// Most anchors kept for use again.
const SPARE_MAX: usize = 4_096;

impl Proxy {
    /// Anchors the media of a call that begins, if the operator wants it.
    pub(crate) fn anchor_call<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        call: Id,
        forward: &Forward<'_>,
        targets: &Targets,
    ) -> Option<Id> {
        if !self.is_anchor_wanted(&s.settings.media, forward, targets) {
            return None;
        }
        let from = forward.from;
        self.begin_anchor(s, call, from.local.ip(), from.remote.ip())
    }

    pub(crate) fn is_anchor_wanted(
        &mut self,
        settings: &media::Settings,
        forward: &Forward<'_>,
        targets: &Targets,
    ) -> bool {
        if settings.is_never() {
            return false;
        }
        let one = forward.envelope.from.parse_uri();
        let one = one.as_ref().map_or(&b""[..], |uri| uri.host.bytes);
        let other = match forward.envelope.to_tag {
            None => Uri::parse(forward.routes.request_uri).map(|uri| uri.host.bytes),
            Some(_) => forward.envelope.to.parse_uri().map(|uri| uri.host.bytes),
        };
        match settings.policy_of(one, other.unwrap_or_default(), forward.pool) {
            Policy::Never => false,
            Policy::Always => true,
            Policy::Nat => self.is_nat_seen(forward, targets),
        }
    }

    fn begin_anchor<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        call: Id,
        local: IpAddr,
        signalling: IpAddr,
    ) -> Option<Id> {
        let anchor = self.scratch.spare.pop();
        let id = self
            .anchors
            .insert(anchor.unwrap_or_else(|| Anchor::new(call)));
        let anchor = self.anchors.get_mut(id)?;
        let session = session_of(s.network.thread(), id);
        anchor.begin(call, session, local, signalling);
        anchor.is_recorded = self.journal.is_on;
        if let Some(call) = self.calls.get_mut(call) {
            call.anchor = Some(id);
        }
        Some(id)
    }

    /// Takes up a call that was set up before this node was started, when it negotiates anew: the cookie of its
    /// dialog says that it was ours.
    pub(crate) fn adopt<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        forward: &Forward<'_>,
        targets: &Targets,
    ) -> Option<Id> {
        let envelope = forward.envelope;
        let (ends, direction) = forward.routes.dialog?;
        let (from_tag, to_tag) = (envelope.from_tag?, envelope.to_tag?);
        let negotiates = matches!(
            forward.request.method(),
            Some(Method::Invite | Method::Update)
        );
        if !negotiates
            || self
                .calls
                .find(envelope.call_id, from_tag, to_tag)
                .is_some()
            || !self.is_anchor_wanted(&s.settings.media, forward, targets)
        {
            return None;
        }
        let (from, to) = ((from_tag, envelope.from.uri), (to_tag, envelope.to.uri));
        let is_callers = direction == cookie::Direction::ToCallee;
        let (caller, callee) = if is_callers { (from, to) } else { (to, from) };
        let (tag, from, to) = (caller.0, caller.1, callee.1);
        let id = self.calls.start(s.now, envelope.call_id, tag, from, to)?;
        if let Some(call) = self.calls.get_mut(id) {
            call.stage = Stage::Answered;
            call.answered = Some(s.now);
        }
        self.record_call(s, id, envelope.call_id);
        let key = self.calls.key(envelope.call_id, callee.0);
        self.calls.answered_by(id, key);
        self.counters.calls_started += 1;
        self.counters.calls_answered += 1;
        self.arm_sweep(s);
        let here = forward.from;
        let at_caller = if is_callers { Some(here) } else { ends.caller };
        let at_callee = if is_callers { ends.callee } else { Some(here) };
        let addresses = |flow: Option<Flow>| {
            let flow = flow.unwrap_or(here);
            (flow.local.ip(), flow.remote.ip())
        };
        let (local, signalling) = addresses(at_caller);
        let anchor = self.begin_anchor(s, id, local, signalling);
        let (local, signalling) = addresses(at_callee);
        if let Some(anchor) = anchor.and_then(|anchor| self.anchors.get_mut(anchor))
            && let Some(side) = anchor.open_side(local, signalling)
            && let Some(side) = anchor.side_mut(side)
        {
            side.answered_as(key);
            side.is_answered = true;
        }
        Some(id)
    }

    /// Whether one of the parties is not where it says it is, or the parties have different families of
    /// addresses.
    fn is_nat_seen(&mut self, forward: &Forward<'_>, targets: &Targets) -> bool {
        let from = forward.from;
        let contact = forward.request.values(HeaderName::Contact).next();
        let contact = contact.and_then(|value| NameAddr::parse(value.bytes));
        let contact = contact.and_then(|contact| contact.parse_uri().ok()?.host.address);
        let is_elsewhere = |address| address != from.remote.ip();
        if contact.is_some_and(is_elsewhere) {
            return true;
        }
        if let Ok(Some(span)) = body::session_description(forward.request) {
            let text = span.of(forward.request.buffer());
            let description = self.scratch.index.parse(text, &sdp::Limits::default());
            let mut lines = description.iter().flat_map(|found| found.media());
            if lines.any(|line| line.rtp().is_some_and(|rtp| is_elsewhere(rtp.ip()))) {
                return true;
            }
        }
        targets.as_slice().iter().any(|target| {
            let named = Uri::parse(targets.uri(target))
                .ok()
                .and_then(|uri| uri.host.address);
            let at = target.flow.map(|flow| flow.remote.ip());
            let is_mixed = at
                .or(named)
                .is_some_and(|at| at.is_ipv4() != from.remote.is_ipv4());
            is_mixed || matches!((at, named), (Some(at), Some(named)) if at != named)
        })
    }

    /// Gives the ports of a branch back that nothing more comes from.
    pub(crate) fn branch_over<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let Some(place) = context.sides.iter().position(|(of, _)| *of == client) else {
            return;
        };
        let (_, side) = context.sides.swap_remove(place);
        let anchor = context
            .anchor
            .and_then(|anchor| self.anchors.get_mut(anchor));
        let Some(anchor) = anchor else { return };
        if anchor.side_mut(side).is_some_and(|side| !side.is_answered) {
            anchor.close_side(s.network, side);
        }
    }

    /// Gives the ports of one dialog of a forked call back, the others going on.
    pub(crate) fn dialog_over<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        call: Id,
        callee: u64,
    ) {
        let anchor = self.calls.get(call).and_then(|call| call.anchor);
        let Some(anchor) = anchor.and_then(|anchor| self.anchors.get_mut(anchor)) else {
            return;
        };
        // Beyond one branch there may be several dialogs, which have the same ports.
        let side = anchor.side_of(callee);
        let goes_on = self
            .calls
            .dialogs(call)
            .any(|tag| anchor.side_of(tag) == side);
        if let Some(side) = side.filter(|_| !goes_on) {
            anchor.close_side(s.network, side);
        }
    }

    /// Takes a call out of the table, and gives its ports back.
    pub(crate) fn drop_call<N: Network>(&mut self, s: &mut Surroundings<'_, N>, call: Id) {
        let anchor = self.calls.get(call).and_then(|call| call.anchor);
        let slot = self.calls.get_mut(call).and_then(|call| call.slot.0.take());
        if let Some(slot) = slot {
            s.network.release(slot);
        }
        self.call_over(call);
        self.calls.end(call);
        if let Some(mut anchor) = anchor.and_then(|anchor| self.anchors.remove(anchor)) {
            anchor.close(s.network);
            self.keep(anchor);
        }
    }

    fn keep(&mut self, anchor: Anchor) {
        if self.scratch.spare.len() < SPARE_MAX && anchor.is_small() {
            self.scratch.spare.push(anchor);
        }
    }

    /// Takes the news that the relay has ended a session in which nobody was heard any more: its call is over, for
    /// a BYE that was lost ends no call. The ports are free already.
    pub fn media_silent<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        session: relay::SessionId,
    ) {
        let Some((id, anchor)) = self.anchors.at(session.0 as u32) else {
            return;
        };
        if anchor.session != session {
            return;
        }
        let call = anchor.call;
        if let Some(anchor) = self.anchors.remove(id) {
            self.keep(anchor);
        }
        let is_answered = self
            .calls
            .get(call)
            .is_some_and(|call| call.stage == Stage::Answered);
        if let Some(call) = self.calls.get_mut(call) {
            call.anchor = None;
            call.media = None;
        }
        self.touch_call(call);
        // One that still rings has its transactions to end it.
        if is_answered {
            self.counters.calls_silent += 1;
            self.counters.calls_ended += 1;
            self.note_call(s, call, CallNote::Silent);
            self.drop_call(s, call);
        }
    }

    /// How many calls have their media anchored.
    pub fn anchored(&self) -> usize {
        self.anchors.len()
    }
}

/// The number of the session of a call: its place in the table, and enough of its generation that an old one is told
/// from a new one.
pub(crate) fn session_of(thread: u8, anchor: Id) -> relay::SessionId {
    relay::SessionId(u64::from(thread) << 56 | anchor.to_bits() & (u64::MAX >> 8))
}
