//! INVITE transactions that outlive their process: what another layer needs to go on with them, and how it does.
//!
//! Timers begin anew with the transaction: what a peer sees is a retransmission more, or a few seconds of patience.

use sip::{Message, Method, Via, build::ToTag};

use super::client::Cancel;
use super::{
    ClientId, ClientTransaction, Deadlines, Layer, ServerId, ServerTransaction, peer_bucket,
    start_timer,
};
use crate::flow::{Flow, Outbox};
use crate::machine::{Kind, State};
use crate::time::Time;
use crate::timer::Role;

/// What of a server INVITE transaction outlives its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerRecord<'a> {
    /// What it is matched by ([`super::ServerKey::number`]).
    pub key: u128,
    /// Where responses go.
    pub flow: Flow,
    /// The headers that all responses share; empty when no more is made here.
    pub head: &'a [u8],
    /// Where the To tag goes in them.
    pub tag: ToTag,
    /// How far it is.
    pub state: State,
    /// The response to send again; empty for none.
    pub stored: &'a [u8],
}

/// What of a client INVITE transaction outlives its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRecord<'a> {
    /// The number in its branch.
    pub branch: u64,
    /// Where it was sent.
    pub flow: Flow,
    /// The request as it was sent; empty when it is of no more use.
    pub request: &'a [u8],
    /// How far it is.
    pub state: State,
    /// Whether it is to be cancelled, or was.
    pub is_cancelled: bool,
}

impl Layer {
    /// Keys the matching tables and the tags with a secret that other members have too, and branches by the epoch besides.
    /// To be called while the layer is empty.
    pub fn share_secret(&mut self, shared: (u64, u64)) {
        debug_assert!(self.is_empty(), "tables are keyed before they are filled");
        self.shared = shared;
    }

    /// Sets branches apart from those of earlier epochs.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// What of a server INVITE transaction outlives its process.
    pub fn server_record(&self, id: ServerId) -> Option<ServerRecord<'_>> {
        let server = self.servers.get(id)?;
        (server.kind == Kind::InviteServer).then_some(ServerRecord {
            key: server.key,
            flow: server.flow,
            head: &server.head,
            tag: server.tag,
            state: server.state,
            stored: &server.stored,
        })
    }

    /// What of a client INVITE transaction outlives its process.
    pub fn client_record(&self, id: ClientId) -> Option<ClientRecord<'_>> {
        let client = self.clients.get(id)?;
        (client.kind == Kind::InviteClient).then_some(ClientRecord {
            branch: client.branch,
            flow: client.flow,
            request: &client.request,
            state: client.state,
            is_cancelled: client.cancel != Cancel::No,
        })
    }

    /// The transaction that has a key.
    pub fn server_of(&self, key: super::ServerKey) -> Option<ServerId> {
        self.find_server(key)
    }

    /// What of a server transaction of another method outlives its process.
    pub fn request_record(&self, id: ServerId) -> Option<ServerRecord<'_>> {
        let server = self.servers.get(id)?;
        (server.kind == Kind::NonInviteServer).then_some(ServerRecord {
            key: server.key,
            flow: server.flow,
            head: &server.head,
            tag: server.tag,
            state: server.state,
            stored: &server.stored,
        })
    }

    /// Goes on with a server transaction of another method: its request, sent again, gets the answer that it got. `None` if there is
    /// no room, or the key is taken.
    pub fn restore_request(
        &mut self,
        now: Time,
        record: &ServerRecord<'_>,
        user: u64,
    ) -> Option<ServerId> {
        matches!(
            record.state,
            State::Trying | State::Proceeding | State::Completed
        )
        .then(|| self.insert_server(now, Kind::NonInviteServer, record, user, None))
        .flatten()
    }

    /// Goes on with a server INVITE transaction of another process. With `resends`, what it was answered with last is
    /// sent again, since nobody knows whether it has left. `None` if there is no room, or the key is taken.
    pub fn restore_server(
        &mut self,
        now: Time,
        record: &ServerRecord<'_>,
        user: u64,
        resends: Option<&mut Outbox>,
    ) -> Option<ServerId> {
        matches!(
            record.state,
            State::Proceeding | State::Completed | State::Confirmed | State::Accepted
        )
        .then(|| self.insert_server(now, Kind::InviteServer, record, user, resends))
        .flatten()
    }

    fn insert_server(
        &mut self,
        now: Time,
        kind: Kind,
        record: &ServerRecord<'_>,
        user: u64,
        resends: Option<&mut Outbox>,
    ) -> Option<ServerId> {
        let is_known = self.find_server(super::ServerKey(record.key)).is_some();
        let tag_fits = record.tag.at as usize <= record.head.len();
        if is_known || !tag_fits || self.is_full() {
            return None;
        }
        let reliable = record.flow.transport.is_reliable();
        let mut deadlines = Deadlines::NONE;
        for role in Role::ALL {
            let machine = (kind, record.state, reliable);
            start_timer(&self.timers, now, machine, role, &mut deadlines);
        }
        let waits = matches!(record.state, State::Proceeding | State::Completed);
        if let Some(outbox) = resends.filter(|_| waits && !record.stored.is_empty()) {
            outbox.send(record.flow, |out| out.extend_from_slice(record.stored));
        }
        let id = self.servers.insert(ServerTransaction {
            kind,
            state: record.state,
            flow: record.flow,
            key: record.key,
            head: self.buffers.copy(record.head),
            tag: record.tag,
            stored: self.buffers.copy(record.stored),
            deadlines,
            user,
        });
        let servers = &self.servers;
        self.by_key
            .insert_unique(record.key as u64, id.slot(), |&slot| {
                servers.at(slot).map_or(0, |(_, server)| server.key as u64)
            });
        self.arm(now, false, id);
        Some(id)
    }

    /// Goes on with a client INVITE transaction of another process. With `resends`, one of which nothing was heard
    /// is sent again. A wish to cancel it is to be said again by [`Layer::cancel_client`]. `None` if there is no room, or
    /// the branch is taken.
    pub fn restore_client(
        &mut self,
        now: Time,
        record: &ClientRecord<'_>,
        user: u64,
        resends: Option<&mut Outbox>,
    ) -> Option<ClientId> {
        let is_known = self.find_client(record.branch, Method::Invite).is_some();
        let needs_request = record.state != State::Accepted;
        let is_live = matches!(
            record.state,
            State::Calling | State::Proceeding | State::Completed | State::Accepted
        );
        if is_known || !is_live || needs_request && record.request.is_empty() || self.is_full() {
            return None;
        }
        let reliable = record.flow.transport.is_reliable();
        let mut deadlines = Deadlines::NONE;
        for role in Role::ALL {
            // Timer B in Proceeding is for what was cancelled.
            if record.state == State::Proceeding && role == Role::Linger {
                continue;
            }
            let machine = (Kind::InviteClient, record.state, reliable);
            start_timer(&self.timers, now, machine, role, &mut deadlines);
        }
        if let Some(outbox) = resends.filter(|_| record.state == State::Calling) {
            outbox.send(record.flow, |out| out.extend_from_slice(record.request));
        }
        let id = self.clients.insert(ClientTransaction {
            kind: Kind::InviteClient,
            state: record.state,
            flow: record.flow,
            branch: record.branch,
            request: match needs_request {
                true => self.buffers.copy(record.request),
                false => Vec::new(),
            },
            deadlines,
            cancel: Cancel::No,
            cancel_reason: Vec::new(),
            user,
        });
        self.by_peer[peer_bucket(record.flow.remote)] += 1;
        let clients = &self.clients;
        self.by_branch
            .insert_unique(record.branch, id.slot(), |&slot| {
                clients.at(slot).map_or(0, |(_, client)| client.branch)
            });
        self.arm(now, true, id);
        Some(id)
    }

    /// The flow that the responses to a request go to, if a transaction knows it: of an ACK, its INVITE's.
    pub fn flow_of_request(
        &self,
        message: &Message<'_>,
        via: &Via<'_>,
    ) -> Option<(ServerId, Flow)> {
        let is_ack = message.method() == Some(Method::Ack);
        let method = if is_ack {
            b"INVITE"
        } else {
            message.method_bytes()
        };
        let id = self.find_server(self.server_key(message, via, method))?;
        Some((id, self.servers.get(id)?.flow))
    }

    /// The client of a server transaction has come back over another connection: responses go there
    /// (RFC 3261 section 18.2.2).
    pub fn move_server(&mut self, id: ServerId, flow: Flow) {
        if let Some(server) = self.servers.get_mut(id) {
            server.flow = flow;
        }
    }

    /// The server of a client transaction has answered over another connection: CANCEL and ACK go there.
    pub fn move_client(&mut self, id: ClientId, flow: Flow) {
        if let Some(client) = self.clients.get_mut(id) {
            self.by_peer[peer_bucket(client.flow.remote)] -= 1;
            self.by_peer[peer_bucket(flow.remote)] += 1;
            client.flow = flow;
        }
    }

    /// Forgets all transactions; their numbers are stale from then on.
    pub fn clear(&mut self, now: Time) {
        for server in self.servers.drain() {
            self.buffers.release(server.head);
            self.buffers.release(server.stored);
        }
        for client in self.clients.drain() {
            self.buffers.release(client.request);
            self.buffers.release(client.cancel_reason);
        }
        self.by_key.clear();
        self.by_branch.clear();
        self.by_peer.fill(0);
        self.wheel.clear(now);
        self.fired.clear();
    }
}
