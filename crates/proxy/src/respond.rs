//! Responses on their way back, and what happens when none comes (RFC 3261 sections 16.7 to 16.10).

use sip::{HeaderName, Message, Method, status};
use transaction::layer::Id;
use transaction::{CancelOutcome, ClientId, Fired, ServerId};

use crate::calls::Stage;
use crate::context::{BranchState, Context};
use crate::event::CallNote;
use crate::proxy::{CALL, CALL_AGE_MS_MAX, Network, Proxy, SPARE_MAX, Surroundings, first_group};

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
        let Some(context) = self.contexts.get_mut(id) else {
            self.counters.strays += 1;
            return;
        };
        let status = response.status();
        if status == 100 {
            return;
        }
        // Section 16.7 step 3: without another Via it leads to nobody. A final one ends its branch all the
        // same, or the caller would wait for ever.
        if response.values(HeaderName::Via).nth(1).is_none() {
            self.counters.strays += 1;
            if status >= 200 {
                self.client_failed(s, client, user, 502);
            }
            return;
        }
        self.splices.clear();
        self.splices
            .remove_first_values(response, HeaderName::Via, 1);
        match status {
            101..=199 => self.provisional(s, id, response),
            200..=299 => self.success(s, id, client, response),
            _ => {
                let at = context
                    .branches
                    .iter()
                    .position(|branch| branch.client == Some(client));
                if context.is_better(status) {
                    context.best_status = status;
                    context.best.clear();
                    self.splices.write_range(
                        response.buffer(),
                        response.extent(),
                        &mut context.best,
                    );
                }
                collect_challenges(context, response);
                if let Some(at) = at {
                    self.branch_done(s, (id, at), 0);
                }
            }
        }
    }

    fn provisional<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        response: &Message<'_>,
    ) {
        let Some(context) = self.contexts.get(id) else {
            return;
        };
        if context.is_final_sent {
            return;
        }
        let (call, server) = (context.call, context.server);
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
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if let Some(branch) = context.branch_of(client) {
            branch.state = BranchState::Done;
        }
        if context.is_final_sent && !context.is_invite {
            return;
        }
        let is_first = !context.is_final_sent;
        context.is_final_sent = true;
        context.next_target = context.targets.as_slice().len();
        let (call, server) = (context.call, context.server);
        self.pass(s, server, response);
        if is_first {
            self.cancel_branches(s, id, ANSWERED_ELSEWHERE);
            if let Some(call) = call {
                self.answered(s, call);
            }
        }
        self.free(id);
    }

    fn answered<N: Network>(&mut self, s: &mut Surroundings<'_, N>, call: Id) {
        self.stage(s, call, Stage::Answered);
        self.counters.calls_answered += 1;
        // A full wheel leaves the call to its BYE.
        let _ = self
            .wheel
            .insert(s.now.plus_ms(CALL_AGE_MS_MAX), call.to_bits() | CALL);
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

    /// Sends `response` upstream with the changes noted in `self.splices`.
    fn pass<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        server: Option<ServerId>,
        response: &Message<'_>,
    ) {
        let Some(server) = server else {
            self.counters.strays += 1;
            return;
        };
        let streams = s
            .layer
            .server_flow(server)
            .is_some_and(|flow| flow.transport.is_reliable());
        if streams && !response.has(HeaderName::ContentLength) {
            self.splices.insert_with(response.headers_end(), |out| {
                out.extend_from_slice(b"Content-Length: ");
                sip::lex::push_number(out, response.body().len() as u64);
                out.extend_from_slice(b"\r\n");
            });
        }
        let splices = &self.splices;
        let sent = s
            .layer
            .respond_with(s.now, server, response.status(), s.outbox, |out| {
                splices.write_range(response.buffer(), response.extent(), out);
            });
        self.counters.responses += u64::from(sent);
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
            if context.is_waiting() {
                return self.cancel_branches(s, id, b"");
            }
        }
        self.go_on(s, id);
    }

    /// Tries the next group of targets if nobody of this one is left, or answers with the best response.
    fn go_on<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
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
        let first = context.next_target;
        let count = first_group(&context.targets.as_slice()[first..]);
        context.next_target += count;
        let start = context.branches.len();
        for target in first..first + count {
            context.branches.push(crate::context::Branch {
                client: None,
                state: BranchState::Starting,
                target,
            });
        }
        self.arm_ring(s, id);
        for at in start..start + count {
            self.send_stored(s, (id, at), None);
        }
    }

    /// Answers with the best response (section 16.7 steps 6 to 9).
    fn finish<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.is_final_sent = true;
        let mut status = match context.best_status {
            0 => 408,
            // Section 16.7 step 6: a 503 is about one server downstream, not about us.
            503 => 500,
            status => status,
        };
        if context.is_cancelled && matches!(status, 408 | 502) {
            status = 487;
        }
        let (server, call, is_invite) = (context.server, context.call.take(), context.is_invite);
        let is_made_here = context.best.is_empty() || status != context.best_status;
        if let Some(server) = server {
            if !is_made_here {
                let (best, challenges) = (&context.best, &context.challenges);
                let split = sip_headers_end(best);
                s.layer
                    .respond_with(s.now, server, status, s.outbox, |out| {
                        out.extend_from_slice(&best[..split]);
                        out.extend_from_slice(challenges);
                        out.extend_from_slice(&best[split..]);
                    });
            } else if status == 408 && !is_invite {
                // RFC 4320 section 4.1: a 408 to a non-INVITE request comes too late for anybody.
            } else {
                s.layer
                    .respond(s.now, server, status, status::reason(status), b"", s.outbox);
            }
            self.counters.responses += 1;
        }
        if let Some(call) = call {
            self.counters.calls_failed += 1;
            self.note_call(s, call, CallNote::Failed { status });
            self.calls.end(call);
        }
        self.free(id);
    }

    /// Takes a CANCEL for the request of `user` (section 16.10): everything that rings is cancelled and
    /// nobody else is asked. The caller has answered the CANCEL.
    pub fn cancel<N: Network>(&mut self, s: &mut Surroundings<'_, N>, user: u64, reason: &[u8]) {
        let id = Id::from_bits(user);
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
        if !context.is_invite {
            return;
        }
        for branch in &mut context.branches {
            match (branch.state, branch.client) {
                (BranchState::Pending, Some(client)) => {
                    if s.layer.cancel_client(s.now, client, reason, s.outbox) != CancelOutcome::Over
                    {
                        self.counters.cancelled += 1;
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
            Fired::TimerC { client, .. } => {
                s.layer.cancel_client(s.now, client, b"", s.outbox);
            }
            Fired::ClientGone { user, .. } => {
                let id = Id::from_bits(user);
                if let Some(context) = self.contexts.get_mut(id) {
                    context.clients_live = context.clients_live.saturating_sub(1);
                }
                self.free(id);
            }
            Fired::ServerGone { server, user } => {
                let id = Id::from_bits(user);
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
        let id = Id::from_bits(user);
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
        let alternate = context
            .alternates
            .iter()
            .position(|(branch, _)| *branch == at);
        match alternate {
            Some(place) if !context.is_cancelled && !context.is_final_sent => {
                let (_, flow) = context.alternates.remove(place);
                self.send_stored(s, (id, at), Some(flow));
            }
            _ => self.branch_done(s, (id, at), status),
        }
    }

    /// Does what is due: rings that last too long, calls that outlived everything.
    pub fn expire<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        while let Some((_, key)) = self.wheel.pop(s.now) {
            let id = Id::from_bits(key & !CALL);
            if key & CALL != 0 {
                self.end_call(s, id);
                continue;
            }
            let Some(context) = self.contexts.get(id) else {
                continue;
            };
            if context.is_final_sent
                || context.is_cancelled
                || context.next_target >= context.targets.as_slice().len()
            {
                continue;
            }
            // Their 487s or their silence come later; the next group does not wait for them.
            self.cancel_branches(s, id, b"");
            self.next_group(s, id);
        }
    }

    /// When [`Proxy::expire`] has something to do.
    pub fn next(&self, now: transaction::Time) -> Option<transaction::Time> {
        self.wheel.next(now)
    }

    /// Notes a BYE that is being forwarded: the call that it belongs to is over.
    pub fn bye<N: Network>(&mut self, s: &mut Surroundings<'_, N>, request: &Message<'_>) {
        if request.method() != Some(Method::Bye) {
            return;
        }
        let tag = |party: Result<sip::NameAddr<'_>, _>| {
            party
                .ok()
                .and_then(|party: sip::NameAddr<'_>| party.tag().map(<[u8]>::to_vec))
        };
        let (from, to) = (tag(request.from()), tag(request.to()));
        let call_id = request.header(HeaderName::CallId).unwrap_or_default();
        if let Some(id) =
            self.calls
                .find(call_id, &from.unwrap_or_default(), &to.unwrap_or_default())
        {
            self.end_call(s, id);
        }
    }

    fn end_call<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        if self
            .calls
            .get(id)
            .is_none_or(|call| call.stage != Stage::Answered)
        {
            return;
        }
        self.note_call(s, id, CallNote::Ended);
        self.calls.end(id);
        self.counters.calls_ended += 1;
    }

    /// Gives a context back when nothing of it is left.
    fn free(&mut self, id: Id) {
        if self.contexts.get(id).is_some_and(Context::is_over)
            && let Some(context) = self.contexts.remove(id)
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(context);
        }
    }
}

/// Keeps the challenges of a 401 or 407 for the response that goes upstream (section 16.7 step 7); those
/// of the best response itself are in it already.
fn collect_challenges(context: &mut Context, response: &Message<'_>) {
    if !matches!(response.status(), 401 | 407) || context.branches.len() < 2 {
        return;
    }
    let is_best = context.best_status == response.status() && context.challenges.is_empty();
    for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
        for field in response.fields(name) {
            let line = field.line.of(response.buffer());
            if !is_best && context.challenges.len() + line.len() <= CHALLENGES_BYTES_MAX {
                context.challenges.extend_from_slice(line);
            }
        }
    }
}

/// Where the empty line of a stored message begins.
fn sip_headers_end(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2)
}
