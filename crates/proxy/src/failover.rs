//! A request to a pool: one target after the other, until one answers (design section 8).
//!
//! The caller sees one call. A target that does not reply, is unreachable or says that it cannot is left for the
//! next one; its branch is cancelled, and should it answer all the same, we acknowledge that and end it.

use balancer::{CallSlot, Signal, TargetId};
use sip::{HeaderName, Message, NameAddr, Uri, lex};
use transaction::layer::{Id, NOBODY};
use transaction::{ClientId, Flow, Time};

use crate::context::{Branch, BranchState, Context};
use crate::cookie;
use crate::loops;
use crate::negotiate::Refusal;
use crate::pool::Chosen;
use crate::proxy::{Network, Proxy, STORED, Surroundings};

/// How far a request is at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was heard.
    Sent,
    /// It said 100.
    Trying,
    /// It rings.
    Ringing,
    /// It has answered, finally.
    Over,
    /// It was left for the next one.
    GivenUp,
}

/// Most late answers of one target, with different tags, that are hung up; more are only acknowledged.
const HUNG_UP_MAX: usize = 16;

/// How far the CSeq of our BYE is beyond that of the INVITE: what its caller has sent to the target since then (PRACK,
/// UPDATE) was counted on by him, and a lower number would be refused (RFC 3261 section 12.2.2).
const CSEQ_AHEAD: u32 = 1_000;

/// A request at one target.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) target: TargetId,
    pub(crate) slot: Option<CallSlot>,
    pub(crate) client: Option<ClientId>,
    /// Its branch.
    pub(crate) at: usize,
    pub(crate) phase: Phase,
    pub(crate) sent: Time,
    /// When it is given up unless it is heard of.
    pub(crate) deadline: Option<Time>,
    /// How long its first response took, in milliseconds.
    pub(crate) rtt_ms: Option<u32>,
    /// What stands for the tags of late answers that were hung up.
    pub(crate) hung_up: Vec<u64>,
}

impl Try {
    fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Sent | Phase::Trying | Phase::Ringing)
    }
}

impl Proxy {
    /// Sends the branch at `at` to a target of the request's pool.
    pub(crate) fn start_try<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
        request: &Message<'_>,
        next_route: Option<NameAddr<'_>>,
    ) -> Result<(), u16> {
        loop {
            let Some(context) = self.contexts.get_mut(id) else {
                return Ok(());
            };
            let chosen = match context.chosen.take() {
                Some(chosen) => Ok(chosen),
                None => choose(s, context, request),
            };
            let chosen = match chosen {
                Ok(chosen) => chosen,
                Err(retry_after_s) => {
                    context.refusal.get_or_insert(Refusal {
                        status: 503,
                        reason: "No Media Server",
                        retry_after_s: Some(retry_after_s),
                    });
                    self.counters.pool_shortages += 1;
                    return Err(503);
                }
            };
            context.tried.push(chosen.target);
            if context.tried.len() > 1 {
                self.counters.moved_on += 1;
            }
            let flow = s.network.flow_to(chosen.transport, chosen.remote);
            let Some(flow) = flow else {
                s.network.report(chosen.target, Signal::Unreachable);
                if let Some(slot) = chosen.slot {
                    s.network.release(slot);
                }
                continue;
            };
            context.tries.push(Try {
                target: chosen.target,
                slot: chosen.slot,
                client: None,
                at,
                phase: Phase::Sent,
                sent: s.now,
                deadline: None,
                rtt_ms: None,
                hung_up: Vec::new(),
            });
            let sent = self.send_branch(s, (id, at), flow, request, next_route);
            let deadline = s.now.plus_ms(s.settings.pool.reply_timeout_ms);
            let Some(context) = self.contexts.get_mut(id) else {
                return sent;
            };
            let client = context.branches[at].client;
            let is_invite = context.is_invite;
            if let Some(one) = context.tries.last_mut() {
                one.client = client;
                if sent.is_err() {
                    one.phase = Phase::Over;
                    if let Some(slot) = one.slot.take() {
                        s.network.release(slot);
                    }
                } else if is_invite {
                    one.deadline = Some(deadline);
                    // With a full wheel the transaction's own timer ends the wait.
                    let _ = self.wheel.insert(deadline, id.to_bits());
                }
            }
            return sent;
        }
    }

    /// Notes that a target was heard of.
    pub(crate) fn heard<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        status: u16,
    ) {
        let Some(one) = self
            .contexts
            .get_mut(id)
            .and_then(|context| context.try_of(client))
        else {
            return;
        };
        let rtt_ms = *one
            .rtt_ms
            .get_or_insert(s.now.ms_since(one.sent).min(u64::from(u32::MAX)) as u32);
        match (one.phase, status) {
            (Phase::Sent, 100) => {
                one.phase = Phase::Trying;
                let ring_timeout_ms = s.settings.pool.ring_timeout_ms;
                one.deadline = (ring_timeout_ms > 0).then(|| s.now.plus_ms(ring_timeout_ms));
                if let Some(deadline) = one.deadline {
                    let _ = self.wheel.insert(deadline, id.to_bits());
                }
            }
            (Phase::Sent | Phase::Trying, 101..=199) => {
                one.phase = Phase::Ringing;
                one.deadline = None;
                let target = one.target;
                s.network
                    .report(target, Signal::Answered { status, rtt_ms });
            }
            // What it says after it was given up shows that it lives, too.
            (_, 200..) => {
                let target = one.target;
                if one.is_waiting() {
                    one.phase = Phase::Over;
                }
                // What a 503 says depends on its Retry-After.
                if status != 503 {
                    s.network
                        .report(target, Signal::Answered { status, rtt_ms });
                }
            }
            _ => {}
        }
    }

    /// Whether the target of `client` was left for another one.
    pub(crate) fn is_given_up(&mut self, id: Id, client: ClientId) -> bool {
        let one = self
            .contexts
            .get_mut(id)
            .and_then(|context| context.try_of(client));
        one.is_some_and(|one| one.phase == Phase::GivenUp)
    }

    /// Ends the counting of a call at the target of `client`.
    pub(crate) fn try_over<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
    ) {
        let one = self
            .contexts
            .get_mut(id)
            .and_then(|context| context.try_of(client));
        if let Some(slot) = one.and_then(|one| one.slot.take()) {
            s.network.release(slot);
        }
    }

    /// Takes a final response that speaks of its target: the next one gets its turn. Gives whether there is
    /// one to try.
    pub(crate) fn moves_on<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
        response: &Message<'_>,
    ) -> bool {
        let status = response.status();
        let Some(context) = self.contexts.get_mut(id) else {
            return false;
        };
        if let Some(client) = context.branches[at].client
            && let Some(one) = context.try_of(client)
            && status == 503
        {
            // With Retry-After it wants to be left alone for a time, and is well otherwise.
            let signal = match response.number(HeaderName::RetryAfter, u32::MAX) {
                Ok(Some(retry_after_s)) => Signal::Busy { retry_after_s },
                _ => Signal::Answered {
                    status,
                    rtt_ms: one.rtt_ms.unwrap_or(0),
                },
            };
            s.network.report(one.target, signal);
        }
        let may_move = context.pool.is_some() && !context.is_cancelled && !context.is_final_sent;
        if !may_move || !s.settings.pool.moves_on(status) {
            return false;
        }
        self.next_try(s, (id, at));
        true
    }

    /// Leaves the try at place `place` for the next target.
    fn give_up<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        place: usize,
        signal: Option<Signal>,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let one = &mut context.tries[place];
        one.phase = Phase::GivenUp;
        one.deadline = None;
        let (target, client, at) = (one.target, one.client, one.at);
        if let Some(slot) = one.slot.take() {
            s.network.release(slot);
        }
        if let Some(signal) = signal {
            s.network.report(target, signal);
        }
        if let Some(client) = client {
            s.layer.fall_silent(client);
            let outcome = s.layer.cancel_client(s.now, client, b"", s.outbox);
            self.counters.cancelled += u64::from(outcome != transaction::CancelOutcome::Over);
            self.branch_over(s, id, client);
        }
        self.next_try(s, (id, at));
    }

    /// Sends a request to the next target, after the branch at `at` has come to nothing.
    fn next_try<N: Network>(&mut self, s: &mut Surroundings<'_, N>, (id, at): (Id, usize)) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.branches[at].state = BranchState::Done;
        if context.is_cancelled || context.is_final_sent {
            let chosen = context.chosen.take();
            if let Some(slot) = chosen.and_then(|chosen| chosen.slot) {
                s.network.release(slot);
            }
            return self.branch_done(s, (id, at), 0);
        }
        let next = context.branches.len();
        context.branches.push(Branch {
            client: None,
            state: BranchState::Starting,
            target: 0,
        });
        self.note_moved(s, id);
        self.send_stored(s, (id, next), None);
    }

    fn note_moved<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let call = self.contexts.get(id).and_then(|context| context.call);
        if let Some(call) = call {
            self.note_call(s, call, crate::event::CallNote::Moved);
        }
    }

    /// Takes the failure of a client transaction to a target. Gives whether the request belongs to a pool, and
    /// so has been seen to.
    pub(crate) fn try_failed<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        signal: Signal,
    ) -> bool {
        let Some(context) = self
            .contexts
            .get_mut(id)
            .filter(|context| context.pool.is_some())
        else {
            return false;
        };
        let Some(place) = context
            .tries
            .iter()
            .position(|one| one.client == Some(client))
        else {
            return false;
        };
        if context.tries[place].is_waiting() {
            self.give_up(s, id, place, Some(signal));
        }
        true
    }

    /// Gives up what has waited too long for its target; called when something of a context is due.
    pub(crate) fn overdue<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get(id) else {
            return;
        };
        let is_overdue =
            |one: &Try| one.is_waiting() && one.deadline.is_some_and(|deadline| deadline <= s.now);
        let Some(place) = context.tries.iter().position(is_overdue) else {
            return;
        };
        let (target, phase) = (context.tries[place].target, context.tries[place].phase);
        if phase == Phase::Sent {
            s.network.report(target, Signal::Timeout);
        }
        self.leave(s, id, place);
    }

    /// Leaves a try for another target, if there is one: while there is none, this one may still answer, or
    /// whoever takes its place.
    fn leave<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id, place: usize) {
        let mut index = std::mem::take(&mut self.index);
        if let Some(context) = self.contexts.get_mut(id) {
            context.tries[place].deadline = None;
            let stored = std::mem::take(&mut context.request);
            if let Ok(request) = index.parse(&stored, &STORED) {
                context.chosen = choose(s, context, &request).ok();
            }
            context.request = stored;
        }
        self.index = index;
        let has_next = |context: &Context| context.chosen.is_some();
        if self.contexts.get(id).is_some_and(has_next) {
            self.give_up(s, id, place, None);
        }
    }

    /// Takes the news that a target is dead: what waits for it goes to the next one at once.
    pub fn target_lost<N: Network>(&mut self, s: &mut Surroundings<'_, N>, target: TargetId) {
        let moves_ringing = s.settings.pool.moves_ringing;
        let is_lost = |one: &Try| {
            one.target == target
                && one.is_waiting()
                && (moves_ringing || one.phase != Phase::Ringing)
        };
        let lost: Vec<(Id, usize)> = self
            .contexts
            .iter()
            .filter(|(_, context)| !context.is_final_sent)
            .filter_map(|(id, context)| Some((id, context.tries.iter().position(is_lost)?)))
            .collect();
        for (id, place) in lost {
            self.touch(id);
            self.leave(s, id, place);
        }
    }

    /// Moves the counting of a call from its try to the call, which ends it.
    pub(crate) fn settle_try<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let (call, pool) = (context.call, context.pool);
        let Some(slot) = context.try_of(client).and_then(|one| one.slot.take()) else {
            return;
        };
        let flow = s.layer.client_flow(client);
        match call.and_then(|call| self.calls.get_mut(call)) {
            Some(call) => {
                call.place = pool
                    .zip(flow)
                    .map(|(pool, flow)| (pool, flow.transport, flow.remote));
                if let Some(former) = call.slot.0.replace(slot) {
                    s.network.release(former);
                }
            }
            None => s.network.release(slot),
        }
    }

    /// Ends the counting at all targets of a request that is over.
    pub(crate) fn tries_over<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        for one in &mut context.tries {
            if let Some(slot) = one.slot.take() {
                s.network.release(slot);
            }
        }
    }

    /// Acknowledges a 2xx of a target that was given up, and hangs up (RFC 3261 sections 13.2.2.4, 15.1.1).
    pub(crate) fn hang_up_late<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        response: &Message<'_>,
    ) {
        let Some(flow) = s.layer.client_flow(client) else {
            return;
        };
        let Ok(cseq) = response.cseq() else { return };
        // The same for each repetition of the 2xx.
        let tag = response
            .to()
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default();
        let call_id = response.call_id().unwrap_or_default();
        let branch = s.layer.hash(|hasher| {
            hasher.write(call_id);
            hasher.write(tag);
        });
        let upstream = self.recorded_upstream(id);
        let within = |out: &mut Vec<u8>, request, branch| {
            write_within(
                s.settings,
                (response, upstream),
                request,
                (branch, flow),
                out,
            );
        };
        s.outbox
            .send(flow, |out| within(out, (b"ACK", cseq.number), branch));
        let key = self.key_of(response);
        let one = self
            .contexts
            .get_mut(id)
            .and_then(|context| context.try_of(client));
        let Some(one) = one else { return };
        if one.hung_up.contains(&key) || one.hung_up.len() == HUNG_UP_MAX {
            return;
        }
        one.hung_up.push(key);
        self.counters.hung_up_late += 1;
        let branch = s.layer.new_branch();
        let number = cseq.number.saturating_add(CSEQ_AHEAD).min(i32::MAX as u32);
        let bye = |out: &mut Vec<u8>| within(out, (b"BYE", number), branch);
        s.layer
            .begin_client(s.now, false, (branch, NOBODY), flow, s.outbox, bye);
    }

    /// How many Record-Route values a request had when it came.
    fn recorded_upstream(&mut self, id: Id) -> usize {
        let stored = self.contexts.get(id).map(|context| &context.request[..]);
        let mut index = std::mem::take(&mut self.index);
        let request = index.parse(stored.unwrap_or_default(), &STORED).ok();
        let count = request.map_or(0, |request| request.values(HeaderName::RecordRoute).count());
        self.index = index;
        count
    }
}

/// A target that a request was not sent to yet; if there is none, when to come again.
fn choose<N: Network>(
    s: &mut Surroundings<'_, N>,
    context: &Context,
    request: &Message<'_>,
) -> Result<Chosen, u32> {
    let (Some(pool), Some(from)) = (context.pool, context.from) else {
        return Err(0);
    };
    if context.tried.len() >= s.settings.pool.tries_max {
        return Err(0);
    }
    let uri = Uri::parse(request.request_uri()).ok();
    let call = balancer::Call {
        source: from.remote.ip(),
        call_id: request.call_id().unwrap_or_default(),
        user: uri.and_then(|uri| uri.user).unwrap_or_default(),
    };
    let is_call = context.call.is_some();
    let chosen = s.network.choose(pool, &call, is_call, &context.tried);
    chosen.map_err(|shortage| shortage.retry_after_s)
}

/// Writes a request of ours within the dialog that a 2xx to a forwarded INVITE began, as its caller would from
/// here: the Record-Route values between us and the callee are the route, the last of them first. `upstream` are
/// those that the INVITE came with.
fn write_within(
    settings: &crate::settings::Settings,
    (response, upstream): (&Message<'_>, usize),
    (method, cseq): (&[u8], u32),
    (branch, flow): (u64, Flow),
    out: &mut Vec<u8>,
) {
    let contact = response.values(HeaderName::Contact).next();
    let contact = contact.and_then(|value| NameAddr::parse(value.bytes));
    let contact = contact.filter(|contact| contact.parse_uri().is_ok());
    out.extend_from_slice(method);
    out.push(b' ');
    match contact {
        Some(contact) => out.extend_from_slice(contact.uri),
        None => {
            out.extend_from_slice(b"sip:");
            lex::push_host(out, flow.remote.ip());
            out.push(b':');
            lex::push_number(out, u64::from(flow.remote.port()));
        }
    }
    out.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
    out.extend_from_slice(flow.transport.via_token());
    out.push(b' ');
    settings.push_sent_by(&flow, out);
    out.extend_from_slice(b";branch=");
    loops::push_branch(branch, 0, out);
    out.extend_from_slice(b"\r\nMax-Forwards: 70\r\n");
    let is_ours = |value: &[u8]| {
        NameAddr::parse(value)
            .and_then(|route| route.parse_uri().ok())
            .is_some_and(|uri| uri.params.has(cookie::PARAMETER))
    };
    let routes = || response.values(HeaderName::RecordRoute);
    let beyond: Vec<&[u8]> = routes()
        .take(routes().count().saturating_sub(upstream))
        .map(|value| value.bytes)
        .take_while(|value| !is_ours(value))
        .collect();
    for route in beyond.iter().rev() {
        out.extend_from_slice(b"Route: ");
        out.extend_from_slice(route);
        out.extend_from_slice(b"\r\n");
    }
    for (name, line) in [
        (HeaderName::From, &b"From: "[..]),
        (HeaderName::To, b"To: "),
        (HeaderName::CallId, b"Call-ID: "),
    ] {
        out.extend_from_slice(line);
        out.extend_from_slice(response.header(name).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"CSeq: ");
    lex::push_number(out, u64::from(cseq));
    out.push(b' ');
    out.extend_from_slice(method);
    out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
}
