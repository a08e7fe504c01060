//! Client transactions (RFC 3261 section 17.1).

use sip::build;
use sip::{Message, Method};

use super::server::role_of;
use super::{ClientId, Deadlines, Fired, Id, Layer, OWN, due, peer_bucket, start_timer};
use crate::flow::{Flow, Outbox};
use crate::machine::{Action, Event, Kind, State, start, step};
use crate::time::Time;
use crate::timer::Role;

/// One client transaction.
#[derive(Debug)]
pub struct ClientTransaction {
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) flow: Flow,
    /// The number in the branch, with [`OF_CANCEL`] mixed in for a CANCEL.
    pub(super) branch: u64,
    /// The request as it was sent; given back when it is of no more use.
    pub(super) request: Vec<u8>,
    pub(super) deadlines: Deadlines,
    pub(super) cancel: Cancel,
    /// Why, while the CANCEL is pending: a Reason value or empty.
    pub(super) cancel_reason: Vec<u8>,
    pub(super) user: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// Wanted, but nothing was heard yet (section 9.1).
    Pending,
    Sent,
}

/// What became of the wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// A CANCEL went out.
    Sent,
    /// It goes out with the first provisional response.
    Pending,
    /// There is nothing left to cancel.
    Over,
}

/// A CANCEL has the branch of its INVITE (section 9.1); its transaction is told apart by this.
const OF_CANCEL: u64 = 0x5bd1_e995_9d1b_873d;

/// The user's number of a transaction that nobody waits for, as a CANCEL's own.
pub const NOBODY: u64 = u64::MAX;

impl Layer {
    /// Begins a client transaction: `write` appends the request, whose topmost Via holds `branch`, and it
    /// is sent to `flow`. The transaction is of an INVITE if `invite`.
    pub fn begin_client(
        &mut self,
        now: Time,
        invite: bool,
        (branch, user): (u64, u64),
        flow: Flow,
        outbox: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> ClientId {
        let kind = if invite {
            Kind::InviteClient
        } else {
            Kind::NonInviteClient
        };
        let reliable = flow.transport.is_reliable();
        outbox.send(flow, write);
        let transition = start(kind, reliable);
        let request = if invite || !reliable {
            self.buffers.copy(outbox.last())
        } else {
            Vec::new()
        };
        let mut deadlines = Deadlines::NONE;
        for action in transition.actions {
            if matches!(
                action,
                Action::StartRetransmit | Action::StartTimeout | Action::StartLinger
            ) {
                start_timer(
                    &self.timers,
                    now,
                    (kind, transition.next, reliable),
                    role_of(action),
                    &mut deadlines,
                );
            }
        }
        let id = self.clients.insert(ClientTransaction {
            kind,
            state: transition.next,
            flow,
            branch,
            request,
            deadlines,
            cancel: Cancel::No,
            cancel_reason: Vec::new(),
            user,
        });
        self.by_peer[peer_bucket(flow.remote)] += 1;
        let clients = &self.clients;
        self.by_branch.insert_unique(branch, id.slot(), |&slot| {
            clients.at(slot).map_or(0, |(_, client)| client.branch)
        });
        self.arm(now, true, id);
        id
    }

    /// The client transaction that a response with this branch and CSeq method belongs to
    /// (section 17.1.3), and its user's number.
    pub fn find_client(&self, branch: u64, method: Method) -> Option<(ClientId, u64)> {
        let branch = if method == Method::Cancel {
            branch ^ OF_CANCEL
        } else {
            branch
        };
        let clients = &self.clients;
        let slot = self.by_branch.find(branch, |&slot| {
            clients
                .at(slot)
                .is_some_and(|(_, client)| client.branch == branch)
        })?;
        let (id, client) = clients.at(*slot)?;
        let fits = client.kind.is_invite() == (method == Method::Invite);
        fits.then_some((id, client.user))
    }

    /// The flow a client transaction sends to.
    pub fn client_flow(&self, id: ClientId) -> Option<Flow> {
        self.clients.get(id).map(|client| client.flow)
    }

    /// The user's number of a client transaction; `None` if it is gone or nobody's.
    pub fn client_user(&self, id: ClientId) -> Option<u64> {
        let user = self.clients.get(id)?.user;
        (user != NOBODY).then_some(user)
    }

    /// Whether a client transaction still waits for a final response.
    pub fn client_is_pending(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| {
            matches!(
                client.state,
                State::Calling | State::Trying | State::Proceeding
            )
        })
    }

    /// Takes a response to a client transaction. Gives whether the transaction user is to have it:
    /// retransmissions are absorbed and 3xx-6xx to INVITE acknowledged here.
    pub fn receive_response(
        &mut self,
        now: Time,
        id: ClientId,
        response: &Message<'_>,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(event) = Event::of_status(response.status()) else {
            return false;
        };
        let Some(user) = self.clients.get(id).map(|client| client.user) else {
            return false;
        };
        let deliver = self.client_step(now, id, event, Some(response), outbox);
        if let Some(client) = self.clients.get_mut(id)
            && client.cancel == Cancel::Pending
            && client.state == State::Proceeding
        {
            let mut reason = std::mem::take(&mut client.cancel_reason);
            self.cancel_client(now, id, &reason, outbox);
            self.buffers.release_from(&mut reason);
        }
        deliver && user != NOBODY
    }

    /// Cancels an INVITE (section 9.1): at once if something was heard of it, else as soon as it is.
    /// `reason` is a Reason value (RFC 3326) or empty.
    pub fn cancel_client(
        &mut self,
        now: Time,
        id: ClientId,
        reason: &[u8],
        outbox: &mut Outbox,
    ) -> CancelOutcome {
        let Some(client) = self.clients.get_mut(id) else {
            return CancelOutcome::Over;
        };
        match (client.kind, client.state, client.cancel) {
            (Kind::InviteClient, State::Calling, _) => {
                if client.cancel == Cancel::No && !reason.is_empty() {
                    client.cancel_reason = self.buffers.copy(reason);
                }
                client.cancel = Cancel::Pending;
                return CancelOutcome::Pending;
            }
            (Kind::InviteClient, State::Proceeding, Cancel::Sent) => return CancelOutcome::Sent,
            (Kind::InviteClient, State::Proceeding, _) => {}
            _ => return CancelOutcome::Over,
        }
        client.cancel = Cancel::Sent;
        let (flow, branch) = (client.flow, client.branch);
        let request = std::mem::take(&mut client.request);
        let mut index = std::mem::take(&mut self.index);
        if let Ok(invite) = index.parse(&request, &OWN) {
            self.begin_client(
                now,
                false,
                (branch ^ OF_CANCEL, NOBODY),
                flow,
                outbox,
                |out| {
                    build::cancel(&invite, reason, out);
                },
            );
        }
        self.index = index;
        if let Some(client) = self.clients.get_mut(id) {
            client.request = request;
        }
        self.client_step(now, id, Event::Cancel, None, outbox);
        CancelOutcome::Sent
    }

    /// Sends an INVITE no more that nothing was heard of: a peer that comes back to life is not to begin a call
    /// that went elsewhere. What it heard before is cancelled by [`Layer::cancel_client`].
    pub fn fall_silent(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && client.state == State::Calling
        {
            client.deadlines.by_role[Role::Retransmit as usize] = Time::MAX;
        }
    }

    /// Tells a client transaction that its message could not be delivered (section 17.1.4). Gives the
    /// user's number if the user is to know; the transaction is gone then.
    pub fn transport_failed(
        &mut self,
        now: Time,
        id: ClientId,
        outbox: &mut Outbox,
    ) -> Option<u64> {
        let user = self.clients.get(id)?.user;
        let was_pending = self.client_is_pending(id);
        self.client_step(now, id, Event::TransportError, None, outbox);
        (was_pending && user != NOBODY && !self.client_is_pending(id)).then_some(user)
    }

    /// Whether there may be client transactions to a peer. Mostly there are none, and `false` spares
    /// [`Layer::clients_of`] its look at all of them.
    pub fn may_have_clients_to(&self, peer: std::net::SocketAddr) -> bool {
        self.by_peer[peer_bucket(peer)] > 0
    }

    /// The client transactions that wait for an answer over `flow`, which broke.
    pub fn clients_of(&self, failed: impl Fn(&Flow) -> bool, found: &mut Vec<ClientId>) {
        let waiting = self.clients.iter().filter(|(_, client)| {
            matches!(
                client.state,
                State::Calling | State::Trying | State::Proceeding
            ) && failed(&client.flow)
        });
        found.extend(waiting.map(|(id, _)| id));
    }

    /// Moves the machine; gives whether the message in hand is for the user.
    fn client_step(
        &mut self,
        now: Time,
        id: Id,
        event: Event,
        response: Option<&Message<'_>>,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        let reliable = client.flow.transport.is_reliable();
        let Some(transition) = step(client.kind, client.state, event, reliable) else {
            return false;
        };
        client.state = transition.next;
        let mut deliver = false;
        for action in transition.actions {
            match action {
                Action::Resend => {
                    client.deadlines.attempt += 1;
                    outbox.send(client.flow, |out| out.extend_from_slice(&client.request));
                }
                Action::Acknowledge => {
                    if let Some(response) = response
                        && let Ok(invite) = self.index.parse(&client.request, &OWN)
                    {
                        outbox.send(client.flow, |out| build::ack(&invite, response, out));
                    }
                }
                Action::Deliver => deliver = true,
                Action::InformTimeout if client.user != NOBODY => {
                    let user = client.user;
                    self.fired.push_back(match transition.next {
                        State::Terminated => Fired::ClientTimeout { client: id, user },
                        _ => Fired::TimerC { client: id, user },
                    });
                }
                Action::StopRetransmit => {
                    client.deadlines.by_role[Role::Retransmit as usize] = Time::MAX
                }
                Action::StopTimeout => client.deadlines.by_role[Role::Timeout as usize] = Time::MAX,
                Action::StartRetransmit | Action::StartTimeout | Action::StartLinger => {
                    let machine = (client.kind, client.state, reliable);
                    start_timer(
                        &self.timers,
                        now,
                        machine,
                        role_of(action),
                        &mut client.deadlines,
                    );
                }
                _ => {}
            }
        }
        let is_settled = client.state == State::Accepted
            || client.state == State::Completed && client.kind == Kind::NonInviteClient;
        if is_settled {
            self.buffers.release_from(&mut client.request);
        }
        if transition.actions.contains(Action::Forget) {
            self.forget_client(id);
        } else {
            self.arm(now, true, id);
        }
        deliver
    }

    pub(super) fn client_timer(&mut self, now: Time, deadline: Time, id: Id, outbox: &mut Outbox) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.deadlines.armed != deadline {
            return;
        }
        client.deadlines.armed = Time::MAX;
        for event in due(&mut client.deadlines, now).into_iter().flatten() {
            self.client_step(now, id, event, None, outbox);
        }
        self.arm(now, true, id);
    }

    fn forget_client(&mut self, id: Id) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let branch = client.branch;
        if let Ok(entry) = self.by_branch.find_entry(branch, |&slot| slot == id.slot()) {
            entry.remove();
        }
        if let Some(mut client) = self.clients.remove(id) {
            self.by_peer[peer_bucket(client.flow.remote)] -= 1;
            self.buffers.release_from(&mut client.request);
            self.buffers.release_from(&mut client.cancel_reason);
            if client.user != NOBODY {
                self.fired.push_back(Fired::ClientGone {
                    client: id,
                    user: client.user,
                });
            }
        }
    }
}
