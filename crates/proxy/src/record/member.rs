//! A member takes the owner's records in, and becomes the owner.

use std::net::SocketAddr;

use records::{Error, Op};
use relay::SessionId;
use sip::Method;
use transaction::layer::{ClientRecord, Id, NOBODY, ServerRecord};
use transaction::{State, Time};

use super::dialog::DialogRecord;
use super::invite::{BranchRecord, ClientState, InviteRecord, Sent, StateRecord};
use super::journal::hash_of;
use super::parked::ParkedInvite;
use super::{BRANCH, DIALOG, INVITE, INVITE_STATE, read_key};
use crate::anchor::Anchor;
use crate::calls::{Call, Stage};
use crate::context::{BranchState, Context};
use crate::failover::{Phase, Try};
use crate::media::Anchored;
use crate::negotiate::Exchange;
use crate::pool::Farm;
use crate::proxy::{Network, Proxy, STORED, Surroundings};

/// A client transaction that is not there.
const GONE: u64 = NOBODY;

impl Proxy {
    /// Becomes a member of a cluster, before anything else; `shared` is a secret that all members have.
    pub fn join(&mut self, shared: (u64, u64)) {
        self.calls.share_secret(shared);
    }

    /// Takes in a change of a record.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed.
    pub fn apply<N: Network>(
        &mut self,
        now: (Time, u64),
        op: &Op<'_>,
        network: &mut N,
    ) -> Result<(), Error> {
        match (op.kind, op.value) {
            (DIALOG, Some(value)) => {
                let (number, call_id) = read_key(op.key)?;
                self.put_call(now, (number, call_id), DialogRecord::read(value)?, network);
                Ok(())
            }
            (DIALOG, None) => {
                let (number, _) = read_key(op.key)?;
                if let Some(call) = self.parked.calls.remove(&number) {
                    self.let_go(call, network);
                }
                Ok(())
            }
            (INVITE | INVITE_STATE | BRANCH, Some(value)) => {
                self.parked.put(op.kind, op.key, value)
            }
            (INVITE | INVITE_STATE | BRANCH, None) => self.parked.remove(op.kind, op.key),
            _ => Ok(()),
        }
    }

    fn put_call<N: Network>(
        &mut self,
        (now, unix_ms): (Time, u64),
        (number, call_id): (u64, &[u8]),
        record: DialogRecord<'_>,
        network: &mut N,
    ) {
        let known = self.parked.calls.get(&number).copied();
        let known = known.filter(|call| self.calls.get(*call).is_some());
        let texts = (call_id, record.from, record.to);
        let Some(id) = known.or_else(|| self.calls.restore(now, record.hash, texts)) else {
            self.counters.records_lacking += 1;
            return;
        };
        self.parked.calls.insert(number, id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let time_of = |then_unix_ms: u64| {
            let ago_ms = unix_ms.saturating_sub(then_unix_ms);
            Time::from_ms(now.as_ms().saturating_sub(ago_ms))
        };
        call.record.number = number;
        call.stage = record.stage;
        call.started = time_of(record.started_unix_ms);
        call.answered = record.answered_unix_ms.map(time_of);
        call.set_dialogs(&record.dialogs);
        let place = record.place.and_then(|(pool, transport, remote)| {
            Some((network.find_pool(pool)?, transport, remote))
        });
        if call.place != place {
            release(call, network);
            call.place = place;
            count(call, network);
        }
        let anchor = call.anchor;
        let Some(media) = record.media else {
            if let Some(mut anchor) = anchor.and_then(|anchor| self.anchors.remove(anchor)) {
                let ports = anchor.take_ports();
                ports.into_iter().for_each(|port| network.give_back(port));
            }
            call.anchor = None;
            return;
        };
        let before = anchor.and_then(|anchor| self.anchors.get_mut(anchor));
        let (mut placed, lacking) = media.place(before, network);
        self.counters.records_lacking += lacking;
        let anchor = anchor.filter(|anchor| self.anchors.get(*anchor).is_some());
        let anchor = anchor.unwrap_or_else(|| self.anchors.insert(Anchor::new(id)));
        placed.call = id;
        placed.session = crate::anchoring::session_of(network.thread(), anchor);
        if let Some(kept) = self.anchors.get_mut(anchor) {
            *kept = placed;
        }
        call.anchor = Some(anchor);
    }

    /// Forgets a call whose record is gone: its ports were never opened here.
    fn let_go<N: Network>(&mut self, id: Id, network: &mut N) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        release(call, network);
        if let Some(mut anchor) = call.anchor.and_then(|anchor| self.anchors.remove(anchor)) {
            let ports = anchor.take_ports();
            ports.into_iter().for_each(|port| network.give_back(port));
        }
        self.calls.end(id);
    }

    /// Becomes the owner of what the records hold: the relay is told of all sessions at once, INVITEs are made live over
    /// `spread_ms`, or before by what comes for them.
    pub fn take_office<N: Network>(&mut self, s: &mut Surroundings<'_, N>, spread_ms: u64) {
        self.journal.is_on = true;
        self.wheel.clear(s.now);
        self.is_sweeping = false;
        let is_begun: Vec<u64> = self.parked.calls_of_invites();
        let calls: Vec<(u64, Id)> = self.parked.calls.iter().map(|(n, id)| (*n, *id)).collect();
        for (number, id) in calls {
            let Some(call) = self.calls.get_mut(id) else {
                continue;
            };
            // Its INVITE was not committed: it is as if it had not come.
            if call.stage != Stage::Answered && is_begun.binary_search(&number).is_err() {
                self.let_go(id, s.network);
                self.journal_call_over(number, id);
                continue;
            }
            self.counters.calls_started += 1;
            self.counters.calls_answered += u64::from(call.stage == Stage::Answered);
            if call.slot.0.is_none() {
                count(call, s.network);
            }
            if let Some(anchor) = call.anchor.and_then(|anchor| self.anchors.get(anchor)) {
                anchor.revive(s.network);
                call.media = anchor.relay.map(|relay| Anchored {
                    relay,
                    session: anchor.session,
                });
            }
        }
        let numbers: Vec<u64> = self.parked.numbers().collect();
        let count = numbers.len().max(1) as u64;
        for (at, number) in (0u64..).zip(numbers) {
            let due = s.now.plus_ms(spread_ms * at / count);
            self.parked.queue.push_back((due, number));
        }
        self.arm_sweep(s);
    }

    fn journal_call_over(&mut self, number: u64, id: Id) {
        if let Some(call) = self.calls.get(id) {
            self.journal.call_over(number, &call.call_id);
        }
    }

    /// Becomes a member again and forgets everything. `was_owner`: what is open at the relay is closed.
    pub fn leave_office<N: Network>(&mut self, now: Time, was_owner: bool, network: &mut N) {
        self.journal.is_on = false;
        self.journal.clear();
        self.parked.clear();
        for mut context in self.contexts.drain() {
            let chosen = context.chosen.take().and_then(|chosen| chosen.slot);
            let tries = context.tries.iter_mut().filter_map(|one| one.slot.take());
            tries.chain(chosen).for_each(|slot| network.release(slot));
        }
        for mut anchor in self.anchors.drain() {
            if was_owner {
                anchor.close(network);
                // The records of the same calls come back at once, and claim the same ports.
                let ports = anchor.take_ports();
                ports.into_iter().for_each(|port| network.leave(port));
            } else {
                let ports = anchor.take_ports();
                ports.into_iter().for_each(|port| network.give_back(port));
            }
        }
        self.calls.clear(|call| release(call, network));
        self.lookups.drain().for_each(drop);
        self.wheel.clear(now);
        self.is_sweeping = false;
    }

    /// Does what is due of a takeover.
    pub(crate) fn revive_due<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        while let Some((due, number)) = self.parked.queue.front().copied() {
            if due > s.now {
                return;
            }
            self.parked.queue.pop_front();
            self.revive(s, number, true);
        }
    }

    /// Makes all INVITEs live that are not yet: something happens that may concern any of them.
    pub fn revive_all<N: Network>(&mut self, s: &mut Surroundings<'_, N>) {
        while let Some((_, number)) = self.parked.queue.pop_front() {
            self.revive(s, number, true);
        }
    }

    /// Makes the INVITE live that a branch of this number belongs to.
    pub fn revive_branch<N: Network>(&mut self, s: &mut Surroundings<'_, N>, branch: u64) {
        if let Some(number) = self.parked.by_branch(branch) {
            self.revive(s, number, false);
        }
    }

    /// Makes the INVITE live whose server transaction is matched by this.
    pub fn revive_server<N: Network>(&mut self, s: &mut Surroundings<'_, N>, key: u128) {
        if let Some(number) = self.parked.by_key(key) {
            self.revive(s, number, false);
        }
    }

    /// Whether INVITEs of another owner are not live yet.
    pub fn has_parked(&self) -> bool {
        self.parked.len() > 0
    }

    /// Makes an INVITE live. With `resends`, its peers hear again what they may not have heard: the caller what he was
    /// answered with last, branches that are silent the INVITE.
    fn revive<N: Network>(&mut self, s: &mut Surroundings<'_, N>, number: u64, resends: bool) {
        let Some(parked) = self.parked.take(number) else {
            return;
        };
        // Both were read when they came.
        let records = (
            InviteRecord::read(&parked.invite),
            StateRecord::read(&parked.state),
        );
        let (Ok(invite), Ok(state)) = records else {
            return;
        };
        let call = self.parked.calls.get(&invite.call).copied();
        let call = call.filter(|call| self.calls.get(*call).is_some());
        if state.branches.is_empty() && !state.is_final_sent && state.server.is_none() {
            return;
        }
        let mut context = self.spare.pop().unwrap_or_default();
        context.reset();
        self.fill_context(
            s.network,
            &mut context,
            (number, &parked),
            (&invite, &state),
            call,
        );
        let id = self.contexts.insert(context);
        let server = ServerRecord {
            key: invite.key,
            flow: invite.back,
            head: invite.head,
            tag: invite.tag,
            state: state.server.unwrap_or(State::Terminated),
            stored: state.stored,
        };
        let outbox = resends.then_some(&mut *s.outbox);
        let server = s.layer.restore_server(s.now, &server, id.to_bits(), outbox);
        if let Some(server) = server
            && state.server == Some(State::Proceeding)
            && state.stored.is_empty()
        {
            s.layer.respond(s.now, server, 100, "Trying", b"", s.outbox);
        }
        if let Some(context) = self.contexts.get_mut(id) {
            context.server = server;
            // A server transaction that has sent a final response is not in this state.
            context.is_final_sent &= state.server != Some(State::Proceeding);
        }
        let mut branches = parked.branches;
        branches.sort_unstable_by_key(|(index, ..)| *index);
        for (index, _, value) in &branches {
            self.revive_client(s, id, (*index, value), &state, resends);
        }
        self.go_on_alive(s, id);
    }

    /// What of a context its records say.
    fn fill_context<N: Network>(
        &self,
        network: &mut N,
        context: &mut Context,
        (number, parked): (u64, &ParkedInvite),
        (invite, state): (&InviteRecord<'_>, &StateRecord<'_>),
        call: Option<Id>,
    ) {
        context.from = Some(invite.from);
        context.is_invite = true;
        context.is_final_sent = state.is_final_sent;
        context.is_cancelled = state.is_cancelled;
        context.targets.copy(&invite.targets);
        let targets = invite.targets.as_slice().len();
        let is_there = |branch: &&crate::context::Branch| branch.target < targets;
        let branches = state.branches.iter().filter(is_there);
        context.branches.extend(branches.copied());
        context.next_target = state.next_target.min(targets);
        context.share = state.share;
        context.request.extend_from_slice(invite.request);
        context.loop_part = invite.loop_part;
        context.records_route = invite.records_route;
        context.breadth = invite.breadth;
        context.breadth_given = invite.breadth_given;
        context.has_description = invite.has_description;
        context.best_status = state.best_status;
        context.best.extend_from_slice(state.best);
        context.challenges.extend_from_slice(state.challenges);
        let alternates = state.alternates.iter();
        let is_there = |(at, _): &&(usize, _)| *at < context.branches.len();
        context
            .alternates
            .extend(alternates.filter(is_there).copied());
        context.call = call.filter(|_| state.has_call);
        let anchor_of = |call: Option<Id>| self.calls.get(call?)?.anchor;
        context.anchor = anchor_of(call);
        context.exchange = invite.exchange.and_then(|(number, value)| {
            let anchor = anchor_of(self.parked.calls.get(&number).copied())?;
            Exchange::read(anchor, value).ok()
        });
        context.pool = invite.pool.and_then(|name| network.find_pool(name));
        let recorded = &mut context.recorded;
        recorded.number = number;
        recorded.call_id.extend_from_slice(&parked.call_id);
        recorded.is_written = true;
        recorded.state = hash_of(&parked.state);
        recorded.reason.extend_from_slice(state.reason);
    }

    /// Makes one client transaction of an INVITE live.
    fn revive_client<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        (index, value): (u32, &[u8]),
        state: &StateRecord<'_>,
        resends: bool,
    ) {
        let mut sent = Sent {
            client: Id::from_bits(GONE),
            index,
            at: usize::MAX,
            is_written: true,
            has_rung: false,
        };
        let known = state.clients.iter().find(|client| client.index == index);
        let branch = BranchRecord::read(value).ok().flatten();
        let whole = known
            .zip(branch)
            .filter(|(known, branch)| self.can_go_on(known, branch));
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let branches = context.branches.len();
        let Some((known, branch)) = whole.filter(|(_, branch)| branch.at < branches) else {
            return context.recorded.sent.push(sent);
        };
        let is_given_up = known.phase == Some(Phase::GivenUp);
        let record = ClientRecord {
            branch: branch.number,
            flow: branch.flow,
            request: branch.request,
            state: known.state,
            is_cancelled: known.is_cancelled,
        };
        let outbox = (resends && !is_given_up).then_some(&mut *s.outbox);
        let client = s.layer.restore_client(s.now, &record, id.to_bits(), outbox);
        let Some(client) = client else {
            return context.recorded.sent.push(sent);
        };
        sent.client = client;
        sent.at = branch.at;
        sent.has_rung = known.state == State::Proceeding;
        context.recorded.sent.push(sent);
        context.clients_live += 1;
        if let Some(branch) = context.branches.get_mut(branch.at) {
            branch.client = Some(client);
        }
        context.sides.extend(known.side.map(|side| (client, side)));
        if let (Some(pool), Some(phase)) = (context.pool, known.phase) {
            let address = (branch.flow.transport, branch.flow.remote);
            if let Some(chosen) = s.network.adopt(pool, address, known.has_slot) {
                let one = try_of(s, known, phase, (client, branch.at), chosen);
                context.tried.push(one.target);
                if let Some(deadline) = one.deadline {
                    let _ = self.wheel.insert(deadline, id.to_bits());
                }
                context.tries.push(one);
            }
        }
        if is_given_up {
            s.layer.fall_silent(client);
        }
        if known.is_cancelled {
            s.layer.cancel_client(s.now, client, state.reason, s.outbox);
        }
    }

    /// Whether a client transaction can be restored to something that comes to an end: what is resent, cancelled and
    /// acknowledged is made from the request.
    fn can_go_on(&mut self, known: &ClientState, branch: &BranchRecord<'_>) -> bool {
        known.state == State::Accepted
            || self
                .index
                .parse(branch.request, &STORED)
                .is_ok_and(|request| request.method() == Some(Method::Invite))
    }

    /// Goes on with an INVITE that was made live: names that were being resolved are asked for again, and branches that
    /// could not be restored have come to nothing. It is answered when nobody is left who would do that.
    fn go_on_alive<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        self.touch(id);
        self.arm_ring(s, id);
        let branches = self
            .contexts
            .get(id)
            .map_or(0, |context| context.branches.len());
        for at in 0..branches {
            let Some(context) = self.contexts.get(id) else {
                return;
            };
            let Some(branch) = context.branches.get(at) else {
                return;
            };
            match branch.state {
                BranchState::Starting => self.send_stored(s, (id, at), None),
                BranchState::Pending
                    if branch
                        .client
                        .is_none_or(|client| !s.layer.client_is_pending(client)) =>
                {
                    self.branch_done(s, (id, at), 408)
                }
                _ => {}
            }
        }
        self.go_on(s, id);
    }

    /// The server transaction that a client transaction's context answers.
    pub fn server_of(&self, user: u64) -> Option<transaction::ServerId> {
        self.contexts.get(Id::from_bits(user))?.server
    }

    /// Takes the news of where the packets of a party come from.
    pub fn media_learned(
        &mut self,
        session: SessionId,
        (stream, side): (u8, u8),
        source: SocketAddr,
    ) {
        if !self.journal.is_on {
            return;
        }
        let Some((id, anchor)) = self.anchors.at(session.0 as u32) else {
            return;
        };
        if anchor.session != session {
            return;
        }
        if let Some(side) = self
            .anchors
            .get_mut(id)
            .and_then(|found| found.side_mut(side))
            && side.port(stream).is_some()
        {
            side.set_learned(stream, Some(source));
            self.touch_anchor(id);
        }
    }
}

fn try_of<N: Network>(
    s: &Surroundings<'_, N>,
    known: &ClientState,
    phase: Phase,
    (client, at): (Id, usize),
    chosen: crate::pool::Chosen,
) -> Try {
    let waits = known.state == State::Calling && phase == Phase::Sent;
    let reply_timeout_ms = s.settings.pool.reply_timeout_ms;
    Try {
        target: chosen.target,
        slot: chosen.slot,
        client: Some(client),
        at,
        phase,
        sent: s.now,
        deadline: waits.then(|| s.now.plus_ms(reply_timeout_ms)),
        rtt_ms: None,
        hung_up: Vec::new(),
    }
}

/// Ends the counting of a call at its target.
fn release<N: Farm>(call: &mut Call, network: &mut N) {
    call.place = None;
    if let Some(slot) = call.slot.0.take() {
        network.release(slot);
    }
}

/// Counts a call at its target, if that is known here.
fn count<N: Farm>(call: &mut Call, network: &mut N) {
    if let Some((pool, transport, remote)) = call.place {
        let chosen = network.adopt(pool, (transport, remote), true);
        call.slot.0 = chosen.and_then(|chosen| chosen.slot);
    }
}
