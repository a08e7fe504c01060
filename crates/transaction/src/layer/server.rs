//! Server transactions (RFC 3261 section 17.2).

use std::hash::Hasher;

use sip::build::{self, ToTag};
use sip::{Message, Method, Splices, Via};

use super::{Deadlines, Fired, Id, Layer, ServerId, due, start_timer};
use crate::flow::{Flow, Outbox};
use crate::machine::{Action, Actions, Event, Kind, State, step};
use crate::time::Time;
use crate::timer::Role;

/// What identifies a server transaction (section 17.2.3), as a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKey(pub(crate) u128);

impl ServerKey {
    /// The hash; it is the same on all layers with the same [`Layer::share_secret`].
    pub fn number(self) -> u128 {
        self.0
    }
}

/// One server transaction.
#[derive(Debug)]
pub struct ServerTransaction {
    pub(super) kind: Kind,
    pub(super) state: State,
    /// Where responses go.
    pub(super) flow: Flow,
    pub(super) key: u128,
    /// The headers all responses share.
    pub(super) head: Vec<u8>,
    pub(super) tag: ToTag,
    /// The response to send again.
    pub(super) stored: Vec<u8>,
    pub(super) deadlines: Deadlines,
    pub(super) user: u64,
}

/// What a request is to the transactions that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// None knows it.
    New(ServerKey),
    /// It was seen before; what was answered has been sent again.
    Retransmission,
    /// The ACK of a 3xx-6xx; absorbed.
    AckAbsorbed,
    /// An ACK in `Accepted`: of a 2xx, for the transaction user (RFC 6026 section 7.1).
    AckOfSuccess,
}

impl Layer {
    /// Matches a request against the server transactions (section 17.2.3) and absorbs what they absorb.
    pub fn receive_request(
        &mut self,
        now: Time,
        message: &Message<'_>,
        via: &Via<'_>,
        outbox: &mut Outbox,
    ) -> Request {
        let is_ack = message.method() == Some(Method::Ack);
        let key = self.request_key(message, via);
        let Some(id) = self.find_server(key) else {
            return Request::New(key);
        };
        let event = if is_ack { Event::Ack } else { Event::Request };
        let actions = self.server_step(now, id, event, outbox);
        match (is_ack, actions) {
            (false, _) => Request::Retransmission,
            (true, Some(actions)) if actions.contains(Action::Deliver) => Request::AckOfSuccess,
            (true, _) => Request::AckAbsorbed,
        }
    }

    /// What a request is matched by: an ACK by its INVITE's.
    pub fn request_key(&self, message: &Message<'_>, via: &Via<'_>) -> ServerKey {
        match message.method() {
            Some(Method::Ack) => self.invite_key(message, via),
            _ => self.server_key(message, via, message.method_bytes()),
        }
    }

    /// What a request would be matched by: an ACK and a CANCEL by their INVITE's.
    pub fn invite_key(&self, message: &Message<'_>, via: &Via<'_>) -> ServerKey {
        self.server_key(message, via, b"INVITE")
    }

    /// The INVITE transaction that a CANCEL means: the same branch and sent-by (section 9.2).
    pub fn find_cancelled(&self, message: &Message<'_>, via: &Via<'_>) -> Option<(ServerId, u64)> {
        let id = self.find_server(self.server_key(message, via, b"INVITE"))?;
        self.servers.get(id).map(|server| (id, server.user))
    }

    /// Begins a server transaction for a request that [`Layer::receive_request`] did not know.
    /// `splices` are the changes to its topmost Via; responses go to `flow`; `user` comes back with
    /// events.
    pub fn begin_server(
        &mut self,
        key: ServerKey,
        message: &Message<'_>,
        splices: &Splices,
        flow: Flow,
        user: u64,
    ) -> ServerId {
        let is_invite = message.method() == Some(Method::Invite);
        let kind = if is_invite {
            Kind::InviteServer
        } else {
            Kind::NonInviteServer
        };
        self.scratch.clear();
        let tag = build::response_head(message, splices, &mut self.scratch);
        let head = self.buffers.copy(&self.scratch);
        let id = self.servers.insert(ServerTransaction {
            kind,
            state: if is_invite {
                State::Proceeding
            } else {
                State::Trying
            },
            flow,
            key: key.0,
            head,
            tag,
            stored: Vec::new(),
            deadlines: Deadlines::NONE,
            user,
        });
        let servers = &self.servers;
        self.by_key.insert_unique(key.0 as u64, id.slot(), |&slot| {
            servers.at(slot).map_or(0, |(_, server)| server.key as u64)
        });
        id
    }

    /// Changes the user's number of a server transaction.
    pub fn set_server_user(&mut self, id: ServerId, user: u64) {
        if let Some(server) = self.servers.get_mut(id) {
            server.user = user;
        }
    }

    /// Where the responses of a server transaction go.
    pub fn server_flow(&self, id: ServerId) -> Option<Flow> {
        self.servers.get(id).map(|server| server.flow)
    }

    /// The state of a server transaction.
    pub fn server_state(&self, id: ServerId) -> Option<State> {
        self.servers.get(id).map(|server| server.state)
    }

    /// Answers with a response made here: status, reason and `extra` header lines. 101 to 699 get a To
    /// tag made from a keyed hash of the transaction, so that a retransmission would get the same.
    /// Gives whether it was sent: a second final response is not.
    pub fn respond(
        &mut self,
        now: Time,
        id: ServerId,
        status: u16,
        reason: &str,
        extra: &[u8],
        outbox: &mut Outbox,
    ) -> bool {
        // Past its final response a transaction has no head to answer with.
        let Some(server) = self.servers.get_mut(id).filter(|server| keeps_head(server)) else {
            return false;
        };
        let mut tag_text = [0u8; 16];
        let key = server.key;
        let head = std::mem::take(&mut server.head);
        let tag = server.tag;
        write_tag(self.hash(|hasher| hasher.write_u128(key)), &mut tag_text);
        let to_tag = (status > 100).then_some(&tag_text[..]);
        let sent = self.respond_with(now, id, status, outbox, |out| {
            build::response(&head, tag, status, reason, to_tag, extra, out);
        });
        match self.servers.get_mut(id) {
            Some(server) if keeps_head(server) => server.head = head,
            _ => self.buffers.release(head),
        }
        sent
    }

    /// Answers with a response made elsewhere, appended by `write`. Gives whether it was sent.
    pub fn respond_with(
        &mut self,
        now: Time,
        id: ServerId,
        status: u16,
        outbox: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let Some(event) = Event::of_status(status) else {
            return false;
        };
        let Some(actions) = self.server_step(now, id, event, outbox) else {
            return false;
        };
        if !actions.contains(Action::Send) {
            return false;
        }
        let Some(server) = self.servers.get_mut(id) else {
            return false;
        };
        outbox.send(server.flow, write);
        self.buffers.release_from(&mut server.stored);
        match server.state {
            // The callee repeats its 2xx itself; nothing of ours is needed any more (RFC 6026 section 7.1).
            State::Accepted => self.buffers.release_from(&mut server.head),
            State::Completed => {
                server.stored = self.buffers.copy(outbox.last());
                self.buffers.release_from(&mut server.head);
            }
            _ => server.stored = self.buffers.copy(outbox.last()),
        }
        if actions.contains(Action::Forget) {
            self.forget_server(id);
        } else {
            self.arm(now, false, id);
        }
        true
    }

    /// Forgets a server transaction that will never be answered (RFC 4320 section 4.2: no 408 to a
    /// request other than INVITE). Nothing is sent.
    pub fn abandon_server(&mut self, id: ServerId) {
        self.forget_server(id);
    }

    pub(super) fn find_server(&self, key: ServerKey) -> Option<Id> {
        let servers = &self.servers;
        let slot = self.by_key.find(key.0 as u64, |&slot| {
            servers
                .at(slot)
                .is_some_and(|(_, server)| server.key == key.0)
        })?;
        servers.at(*slot).map(|(id, _)| id)
    }

    /// Section 17.2.3: branch and sent-by with the magic cookie; without it the fields of RFC 2543.
    /// The To tag is left out: an ACK has one where its INVITE had none.
    pub(super) fn server_key(
        &self,
        message: &Message<'_>,
        via: &Via<'_>,
        method: &[u8],
    ) -> ServerKey {
        let key = self.key(|hasher| {
            let mut part = |bytes: &[u8]| {
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            };
            part(method);
            part(via.sent_by);
            if via.has_magic_cookie() {
                part(via.branch().unwrap_or_default());
            } else {
                part(via.branch().unwrap_or_default());
                part(message.request_uri());
                part(message.call_id().unwrap_or_default());
                part(
                    message
                        .from()
                        .ok()
                        .and_then(|from| from.tag())
                        .unwrap_or_default(),
                );
                part(&message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
            }
        });
        ServerKey(key)
    }

    /// Moves the machine, sends again what is to be sent again, sets timers. Sending something new and
    /// delivering are the caller's. A `Forget` together with `Send` is left to the caller too.
    fn server_step(
        &mut self,
        now: Time,
        id: Id,
        event: Event,
        outbox: &mut Outbox,
    ) -> Option<Actions> {
        let server = self.servers.get_mut(id)?;
        let reliable = server.flow.transport.is_reliable();
        let transition = step(server.kind, server.state, event, reliable)?;
        server.state = transition.next;
        for action in transition.actions {
            match action {
                Action::Resend if !server.stored.is_empty() => {
                    if event == Event::RetransmitTimer {
                        server.deadlines.attempt += 1;
                    }
                    outbox.send(server.flow, |out| out.extend_from_slice(&server.stored));
                }
                Action::StopRetransmit => {
                    server.deadlines.by_role[Role::Retransmit as usize] = Time::MAX
                }
                Action::StopTimeout => server.deadlines.by_role[Role::Timeout as usize] = Time::MAX,
                Action::StartRetransmit | Action::StartTimeout | Action::StartLinger => {
                    let machine = (server.kind, server.state, reliable);
                    start_timer(
                        &self.timers,
                        now,
                        machine,
                        role_of(action),
                        &mut server.deadlines,
                    );
                }
                _ => {}
            }
        }
        let forget = transition.actions.contains(Action::Forget);
        if forget && !transition.actions.contains(Action::Send) {
            self.forget_server(id);
        } else {
            self.arm(now, false, id);
        }
        Some(transition.actions)
    }

    pub(super) fn server_timer(&mut self, now: Time, deadline: Time, id: Id, outbox: &mut Outbox) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        if server.deadlines.armed != deadline {
            return;
        }
        server.deadlines.armed = Time::MAX;
        for event in due(&mut server.deadlines, now).into_iter().flatten() {
            self.server_step(now, id, event, outbox);
        }
        self.arm(now, false, id);
    }

    fn forget_server(&mut self, id: Id) {
        let Some(server) = self.servers.get(id) else {
            return;
        };
        let key = server.key;
        if let Ok(entry) = self
            .by_key
            .find_entry(key as u64, |&slot| slot == id.slot())
        {
            entry.remove();
        }
        if let Some(mut server) = self.servers.remove(id) {
            self.buffers.release_from(&mut server.head);
            self.buffers.release_from(&mut server.stored);
            self.fired.push_back(Fired::ServerGone {
                server: id,
                user: server.user,
            });
        }
    }
}

pub(super) fn role_of(action: Action) -> Role {
    match action {
        Action::StartRetransmit => Role::Retransmit,
        Action::StartTimeout => Role::Timeout,
        _ => Role::Linger,
    }
}

fn keeps_head(server: &ServerTransaction) -> bool {
    matches!(server.state, State::Trying | State::Proceeding)
}

fn write_tag(value: u64, text: &mut [u8; 16]) {
    let digits = b"0123456789abcdef";
    for (at, byte) in text.iter_mut().enumerate() {
        *byte = digits[(value >> (60 - 4 * at)) as usize & 15];
    }
}
