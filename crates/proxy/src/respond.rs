//! Responses on their way back, and what happens when none comes (RFC 3261 sections 16.7 to 16.10).

use sip::{Envelope, HeaderName, Message, Method, status};
use transaction::layer::Id;
use transaction::{CancelOutcome, ClientId, Fired, ServerId};

use crate::calls::{HungUp, Stage};
use crate::context::{Branch, BranchState, Context};
use crate::event::CallNote;
use crate::forward::push_length;
use crate::proxy::{
    CALL_AGE_MS_MAX, Network, Proxy, SPARE_MAX, SWEEP, SWEEP_EVERY_MS, Surroundings,
};

/// Reason of the CANCELs after somebody else answered (RFC 3326 section 2).
const ANSWERED_ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

/// Most bytes of challenges collected from several branches.
const CHALLENGES_BYTES_MAX: usize = 8_192;

impl Proxy {
    /// Takes a response to one of our client transactions, after the layer said that it is to be
    /// delivered (section 16.7). The topmost Via is ours.
    pub fn receive_response<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        client: ClientId,
        user: u64,
        response: &Message<'_>,
    ) {
        let id = Id::from_bits(user);
        if self.contexts.get(id).is_none() {
            self.counters.strays += 1;
            return;
        }
        self.touch(id);
        let status = response.status();
        self.heard(s, id, client, status);
        if status == 100 {
            return;
        }
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let at = context
            .branches
            .iter()
            .position(|branch| branch.client == Some(client));
        // Section 16.7 step 3: without another Via it leads to nobody. A final one ends its branch all the
        // same, or the caller would wait for ever.
        if response.values(HeaderName::Via).nth(1).is_none() {
            self.counters.strays += 1;
            if let Some(at) = at.filter(|_| status >= 200) {
                self.branch_done(s, (id, at), 502);
            }
            return;
        }
        self.splices.clear();
        self.splices
            .remove_first_values(response, HeaderName::Via, 1);
        let server = self.contexts.get(id).and_then(|context| context.server);
        let ends = (
            s.layer.client_flow(client),
            server.and_then(|server| s.layer.server_flow(server)),
        );
        s.judge_identity(response, ends, &mut self.splices);
        match status {
            101..=199 => self.provisional(s, id, client, response),
            200..=299 => self.success(s, id, client, response),
            _ => {
                self.branch_over(s, id, client);
                self.try_over(s, id, client);
                let Some(context) = self.contexts.get_mut(id) else {
                    return;
                };
                // What comes of a branch that was given up as lost says nothing any more.
                let is_open = |at: &usize| context.branches[*at].state != BranchState::Done;
                let Some(at) = at.filter(is_open) else { return };
                self.keep_if_better(s, id, response);
                // RFC 3263 section 4.3: a 503 is a reason to try the next address.
                let is_failure = status == 503;
                let goes_on = self.moves_on(s, (id, at), response)
                    || is_failure && self.try_alternate(s, (id, at));
                if !goes_on {
                    self.branch_done(s, (id, at), 0);
                }
            }
        }
    }

    /// Keeps a final response that is better than those before it, with our Via off, and the challenges
    /// of one that is not (section 16.7 steps 4, 6 and 7).
    fn keep_if_better<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        response: &Message<'_>,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if !context.is_better(response.status()) {
            return collect_challenges(context, response);
        }
        context.best_status = response.status();
        context.best.clear();
        let server = context.server;
        self.add_length(s, server, response);
        if let Some(context) = self.contexts.get_mut(id) {
            self.splices
                .write_range(response.buffer(), response.extent(), &mut context.best);
        }
    }

    /// Notes the Content-Length that a response needs on a stream (section 18.3).
    fn add_length<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        server: Option<ServerId>,
        response: &Message<'_>,
    ) {
        let streams = server
            .and_then(|server| s.layer.server_flow(server))
            .is_some_and(|flow| flow.transport.is_reliable());
        if streams && !response.has(HeaderName::ContentLength) {
            push_length(response, &mut self.splices);
        }
    }

    fn provisional<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        response: &Message<'_>,
    ) {
        let Some(context) = self.contexts.get(id) else {
            return;
        };
        // RFC 4320 section 4.1: no provisional response but 100 to a request other than INVITE.
        if context.is_final_sent || !context.is_invite || self.is_given_up(id, client) {
            return;
        }
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.recorded.rang(client);
        let (call, server) = (context.call, context.server);
        self.describe_response(s, id, client, response);
        self.pass(s, server, response);
        if let Some(call) = call.filter(|&call| {
            self.calls
                .get(call)
                .is_some_and(|call| call.stage == Stage::Calling)
        }) {
            self.stage(s, call, Stage::Ringing);
            self.note_call(s, call, CallNote::Ringing);
        }
    }

    /// A 2xx goes on at once (section 16.7 step 5); to an INVITE each of them does, and what still rings
    /// is cancelled (step 10).
    fn success<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        client: ClientId,
        response: &Message<'_>,
    ) {
        if self.is_given_up(id, client) {
            let is_invite = |context: &Context| context.is_invite;
            // Other requests began nothing that would have to be ended.
            return match self.contexts.get(id).is_some_and(is_invite) {
                true => self.hang_up_late(s, id, client, response),
                false => self.free(id),
            };
        }
        self.settle_try(s, id, client);
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if let Some(branch) = context.branch_of(client) {
            branch.state = BranchState::Done;
        }
        if context.is_final_sent && !context.is_invite {
            return self.free(id);
        }
        let is_first = !context.is_final_sent;
        context.is_final_sent = true;
        context.next_target = context.targets.as_slice().len();
        let (call, server, is_invite) = (context.call, context.server, context.is_invite);
        self.describe_response(s, id, client, response);
        let is_passed = self.pass(s, server, response);
        if is_first {
            self.cancel_branches(s, id, ANSWERED_ELSEWHERE);
        }
        match call {
            Some(call) if is_invite => {
                if is_first || is_passed {
                    self.calls.answered_by(call, self.key_of(response));
                }
                if is_first {
                    self.answered(s, call);
                }
            }
            // A BYE is answered once.
            Some(call) => self.bye_answered(s, id, call),
            None => {}
        }
        self.free(id);
    }

    /// What stands for the tag of the one who made a response.
    pub(crate) fn key_of(&self, response: &Message<'_>) -> u64 {
        let to = response.to().ok();
        let tag = to.and_then(|to| to.tag()).unwrap_or_default();
        self.calls.key(response.call_id().unwrap_or_default(), tag)
    }

    /// A BYE has come to its end: of a forked call each answer is a dialog of its own, and the last one ends it.
    /// One that names no dialog of the call says nothing, whatever it was answered with.
    fn bye_answered<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id, call: Id) {
        let Some(callee) = self.contexts.get(id).and_then(|context| context.callee) else {
            return;
        };
        match self.calls.hang_up(call, callee) {
            HungUp::Nothing => {}
            HungUp::Dialog => self.dialog_over(s, call, callee),
            HungUp::Call => self.end_call(s, call),
        }
    }

    fn answered<N: Network>(&mut self, s: &mut Surroundings<'_, N>, call: Id) {
        self.stage(s, call, Stage::Answered);
        self.counters.calls_answered += 1;
        self.arm_sweep(s);
        self.note_call(s, call, CallNote::Answered);
    }

    fn stage<N: Network>(&mut self, s: &mut Surroundings<'_, N>, call: Id, stage: Stage) {
        if let Some(call) = self.calls.get_mut(call) {
            call.stage = stage;
            if stage == Stage::Answered {
                call.answered.get_or_insert(s.now);
            }
        }
    }

    /// Sends `response` upstream with the changes noted in `self.splices`; gives whether it was sent.
    fn pass<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        server: Option<ServerId>,
        response: &Message<'_>,
    ) -> bool {
        let Some(server) = server else {
            self.counters.strays += 1;
            return false;
        };
        self.add_length(s, Some(server), response);
        let splices = &self.splices;
        let sent = s
            .layer
            .respond_with(s.now, server, response.status(), s.outbox, |out| {
                splices.write_range(response.buffer(), response.extent(), out);
            });
        self.counters.responses += u64::from(sent);
        sent
    }

    /// Notes that nothing more comes from a branch; `status`, if not 0, stands for its response.
    pub(crate) fn branch_done<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
        status: u16,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if let Some(branch) = context.branches.get_mut(at) {
            branch.state = BranchState::Done;
        }
        if status != 0 && context.is_better(status) {
            context.best_status = status;
            context.best.clear();
        }
        // Section 16.7 step 5: after a 6xx nobody else is asked, and those who ring are cancelled.
        if (600..700).contains(&context.best_status) && !context.is_final_sent {
            context.next_target = context.targets.as_slice().len();
            self.cancel_branches(s, id, b"");
        }
        self.go_on(s, id);
    }

    /// Tries the next group of targets if nobody of this one is left, or answers with the best response.
    pub(crate) fn go_on<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.is_waiting() || context.is_final_sent {
            return self.free(id);
        }
        if context.next_target < context.targets.as_slice().len() && !context.is_cancelled {
            return self.next_group(s, id);
        }
        self.finish(s, id);
    }

    fn next_group<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let start = context.branches.len();
        let count = context.open_group();
        self.arm_ring(s, id);
        for at in start..start + count {
            self.send_stored(s, (id, at), None);
        }
    }

    /// Answers with the best response (section 16.7 steps 6 to 9).
    pub(crate) fn finish<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        self.tries_over(s, id);
        self.exchange_over(s, id);
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.is_final_sent = true;
        let refusal = context.refusal.filter(|refusal| {
            context.best.is_empty() && matches!(context.best_status, 0 | 503)
                || refusal.status == context.best_status
        });
        let mut status = match context.best_status {
            _ if refusal.is_some() => refusal.map_or(500, |refusal| refusal.status),
            0 => 408,
            // Section 16.7 step 6: a 503 is about one server downstream, not about us.
            503 => 500,
            status => status,
        };
        if context.is_cancelled && (context.best.is_empty() || status == 408) {
            status = 487;
        }
        let (server, call, is_invite) = (context.server, context.call.take(), context.is_invite);
        let refusal = refusal.filter(|refusal| refusal.status == status);
        let is_made_here =
            refusal.is_some() || context.best.is_empty() || status != context.best_status;
        match server {
            None => {}
            // RFC 4320 section 4.2: a 408 to a request other than INVITE comes too late for anybody.
            Some(server) if status == 408 && !is_invite => s.layer.abandon_server(server),
            Some(server) => {
                let (best, challenges) = (&context.best, &context.challenges);
                let sent = if is_made_here {
                    let reason = refusal.map_or(status::reason(status), |refusal| refusal.reason);
                    let extra = match (status, refusal) {
                        (503, Some(refusal)) => retry_after(
                            refusal
                                .retry_after_s
                                .unwrap_or(s.settings.media.retry_after_s),
                        ),
                        _ => Vec::new(),
                    };
                    s.layer
                        .respond(s.now, server, status, reason, &extra, s.outbox)
                } else {
                    let split = sip_headers_end(best);
                    s.layer
                        .respond_with(s.now, server, status, s.outbox, |out| {
                            out.extend_from_slice(&best[..split]);
                            // Section 16.7 step 7.
                            if matches!(status, 401 | 407) {
                                out.extend_from_slice(challenges);
                            }
                            out.extend_from_slice(&best[split..]);
                        })
                };
                self.counters.responses += u64::from(sent);
            }
        }
        match call {
            Some(call) if is_invite => {
                self.counters.calls_failed += 1;
                self.note_call(s, call, CallNote::Failed { status });
                self.drop_call(s, call);
            }
            // A BYE that has to bring credentials comes again; any other refusal leaves no call behind.
            Some(call) if !matches!(status, 401 | 407) => self.bye_answered(s, id, call),
            _ => {}
        }
        self.free(id);
    }

    /// Takes a CANCEL for the request of `user` (section 16.10): everything that rings is cancelled and
    /// nobody else is asked. The caller has answered the CANCEL.
    pub fn cancel<N: Network>(&mut self, s: &mut Surroundings<'_, N>, user: u64, reason: &[u8]) {
        let id = Id::from_bits(user);
        self.touch(id);
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if !context.is_invite || context.is_final_sent {
            return;
        }
        context.is_cancelled = true;
        context.next_target = context.targets.as_slice().len();
        self.cancel_branches(s, id, reason);
        self.go_on(s, id);
    }

    fn cancel_branches<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id, reason: &[u8]) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let is_invite = context.is_invite;
        for branch in &mut context.branches {
            match (branch.state, branch.client) {
                (BranchState::Pending, Some(client)) if is_invite => {
                    let outcome = s.layer.cancel_client(s.now, client, reason, s.outbox);
                    self.counters.cancelled += u64::from(outcome != CancelOutcome::Over);
                    if context.recorded.number != 0 && outcome != CancelOutcome::Over {
                        context.recorded.reason.clear();
                        context.recorded.reason.extend_from_slice(reason);
                    }
                }
                (BranchState::Starting | BranchState::Resolving, _) => {
                    branch.state = BranchState::Done
                }
                _ => {}
            }
        }
    }

    /// Takes what the transaction layer noticed.
    pub fn fired<N: Network>(&mut self, s: &mut Surroundings<'_, N>, fired: Fired) {
        match fired {
            Fired::ClientTimeout { client, user } => {
                self.counters.timeouts += 1;
                self.client_failed(s, client, user, 408);
            }
            // Section 16.8: as if a CANCEL had come for this branch; the 487 or its absence ends it.
            Fired::TimerC { client, user } => {
                self.touch(Id::from_bits(user));
                s.layer.cancel_client(s.now, client, b"", s.outbox);
            }
            Fired::ClientGone { client, user } => {
                let id = Id::from_bits(user);
                self.touch(id);
                let Some(context) = self.contexts.get_mut(id) else {
                    return;
                };
                context.clients_live = context.clients_live.saturating_sub(1);
                self.branch_over(s, id, client);
                self.try_over(s, id, client);
                let Some(context) = self.contexts.get_mut(id) else {
                    return;
                };
                // Whatever ended it, a branch without its transaction has nothing to wait for.
                let is_open = |branch: &Branch| {
                    branch.client == Some(client) && branch.state == BranchState::Pending
                };
                match context.branches.iter().position(is_open) {
                    Some(at) => self.branch_done(s, (id, at), 408),
                    None => self.free(id),
                }
            }
            Fired::ServerGone { server, user } => {
                let id = Id::from_bits(user);
                self.touch(id);
                if let Some(context) = self.contexts.get_mut(id)
                    && context.server == Some(server)
                {
                    context.server = None;
                }
                self.free(id);
            }
        }
    }

    /// Takes the failure of a client transaction: the next address of its name (RFC 3263 section 4.3), or
    /// as if `status` had come (section 16.9: 503 for a transport that failed).
    pub fn client_failed<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        client: ClientId,
        user: u64,
        status: u16,
    ) {
        self.branch_over(s, Id::from_bits(user), client);
        self.branch_failed(s, client, user, status);
    }

    fn branch_failed<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        client: ClientId,
        user: u64,
        status: u16,
    ) {
        let id = Id::from_bits(user);
        self.touch(id);
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let Some(at) = context
            .branches
            .iter()
            .position(|branch| branch.client == Some(client))
        else {
            return;
        };
        if context.branches[at].state == BranchState::Done {
            return;
        }
        let signal = match status {
            503 => balancer::Signal::Unreachable,
            _ => balancer::Signal::Timeout,
        };
        if self.try_failed(s, id, client, signal) {
            return;
        }
        if !self.try_alternate(s, (id, at)) {
            self.branch_done(s, (id, at), status);
        }
    }

    /// Takes the news that nobody is to be reached where an INVITE is being answered: the branch is given
    /// up and cancelled, and the next address or target gets its turn. Should it be answered all the
    /// same before the caller has his answer, that counts.
    pub fn client_lost<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        client: ClientId,
        user: u64,
    ) {
        let outcome = s.layer.cancel_client(s.now, client, b"", s.outbox);
        self.counters.cancelled += u64::from(outcome != CancelOutcome::Over);
        self.branch_failed(s, client, user, 503);
    }

    /// Sends a branch to the next address of its name (RFC 3263 section 4.3); gives whether there was one.
    fn try_alternate<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
    ) -> bool {
        let Some(context) = self.contexts.get_mut(id) else {
            return false;
        };
        if context.is_cancelled || context.is_final_sent {
            return false;
        }
        let mut alternates = context.alternates.iter();
        let Some(place) = alternates.position(|(branch, _)| *branch == at) else {
            return false;
        };
        let (_, flow) = context.alternates.remove(place);
        self.send_stored(s, (id, at), Some(flow));
        true
    }

    /// Does what is due: rings that last too long, calls that outlived everything.
    pub fn expire<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        self.revive_due(s);
        while let Some((_, key)) = self.wheel.pop(s.now) {
            if key == SWEEP {
                self.sweep_calls(s);
                continue;
            }
            let id = Id::from_bits(key);
            self.touch(id);
            let Some(context) = self.contexts.get(id) else {
                continue;
            };
            if context.pool.is_some() {
                self.overdue(s, id);
                continue;
            }
            // An earlier group's entry says nothing about the one that rings now.
            let is_stale = s.now < context.rings_until
                || context.is_final_sent
                || context.next_target >= context.targets.as_slice().len();
            if is_stale {
                continue;
            }
            // Their 487s or their silence come later; the next group does not wait for them.
            self.cancel_branches(s, id, b"");
            self.next_group(s, id);
        }
    }

    /// Ends calls that outlived everything, a part of the table at a time.
    fn sweep_calls<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        while let Some(id) = self.calls.sweep(s.now, CALL_AGE_MS_MAX) {
            self.end_call(s, id);
        }
        self.is_sweeping = false;
        self.arm_sweep(s);
    }

    /// Sees to it that calls are swept as long as there are any.
    pub(crate) fn arm_sweep<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        if !self.is_sweeping && !self.calls.is_empty() {
            let due = s.now.plus_ms(SWEEP_EVERY_MS);
            self.is_sweeping = self.wheel.insert(due, SWEEP).is_ok();
        }
    }

    /// When [`Proxy::expire`] has something to do.
    pub fn next(&self, now: transaction::Time) -> Option<transaction::Time> {
        let due = self.parked.next();
        let next = self.wheel.next(now);
        due.map_or(next, |due| Some(next.map_or(due, |next| next.min(due))))
    }

    /// The call of the dialog that a BYE is about to end, and what stands for the tag of its callee.
    pub(crate) fn call_of_bye(&self, envelope: &Envelope<'_>) -> Option<(Id, u64)> {
        if envelope.cseq.method != Method::Bye {
            return None;
        }
        let (from, to) = (envelope.from_tag, envelope.to_tag);
        self.calls.find_dialog(
            envelope.call_id,
            from.unwrap_or_default(),
            to.unwrap_or_default(),
        )
    }

    /// Ends a call that was answered.
    fn end_call<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        self.note_call(s, id, CallNote::Ended);
        self.drop_call(s, id);
        self.counters.calls_ended += 1;
    }

    /// Gives a context back when nothing of it is left.
    pub(crate) fn free(&mut self, id: Id) {
        if !self.contexts.get(id).is_some_and(Context::is_over) {
            return;
        }
        self.context_over(id);
        if let Some(context) = self.contexts.remove(id)
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(context);
        }
    }
}

/// Keeps the challenges of a 401 or 407 that is not the best response for the one that is (section 16.7
/// step 7).
fn collect_challenges(context: &mut Context, response: &Message<'_>) {
    if !matches!(response.status(), 401 | 407) {
        return;
    }
    for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
        for field in response.fields(name) {
            let line = field.line.of(response.buffer());
            if context.challenges.len() + line.len() <= CHALLENGES_BYTES_MAX {
                context.challenges.extend_from_slice(line);
            }
        }
    }
}

/// The header line that says when to come again (RFC 3261 section 20.33).
fn retry_after(seconds: u32) -> Vec<u8> {
    let mut line = b"Retry-After: ".to_vec();
    sip::lex::push_number(&mut line, u64::from(seconds));
    line.extend_from_slice(b"\r\n");
    line
}

/// Where the empty line of a stored message begins.
fn sip_headers_end(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2)
}
