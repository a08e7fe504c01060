//! Whether this thread acts for its service, and how it comes to do so (design sections 3, 4 and 7).
//!
//! A node without a cluster acts alone: nothing is noted. In a cluster a thread begins as a member ([`Edge::join`]), takes
//! the owner's records in ([`Edge::apply`]), and becomes the owner with what they hold ([`Edge::take_office`]). An owner that
//! lost its authority becomes a member with empty tables ([`Edge::leave_office`]) and is given all records again.
//!
//! Requests other than INVITE have no records while they are in progress: whoever sent one sends it again until it
//! is answered, and it is sent on with the same branch as before, so that the other end takes it for the same.
//! Answers without a transaction are made from the request alone, with the same tag by every owner.

use std::hash::Hasher;
use std::net::SocketAddr;

use records::Op;
use registrar::BindingRow;
use relay::SessionId;
use sip::{Message, Method, Via};
use transaction::{ClientId, Flow};

use crate::auth;
use crate::directory::Directory;
use crate::edge::{Edge, surroundings};
use crate::output::{Now, Output};
use crate::record::BINDING;
use crate::settings::Settings;

/// Whether this thread acts for its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Office {
    /// There is no cluster: it acts, and notes nothing.
    #[default]
    Alone,
    /// Another node acts. This one takes its records in; what comes from the network is dropped.
    Member,
    /// It acts, and notes what changes.
    Owner {
        /// The service's epoch.
        epoch: u64,
    },
}

/// Over this time after a takeover the INVITEs that were in progress go on, in milliseconds, so that a takeover is no storm
/// of retransmissions. One that a message arrives for goes on at once.
pub const REVIVAL_SPREAD_MS: u64 = 500;

impl Edge {
    /// Becomes a member of a cluster, once, before anything else. `settings` hold the secrets that all members share
    /// ([`crate::record::Keys`]).
    pub fn join(&mut self, settings: &Settings) {
        let shared = shared_secret(settings.proxy.cookie_secret);
        self.layer.share_secret(shared);
        self.proxy.join(shared);
        self.office = Office::Member;
    }

    /// Whether this thread acts.
    pub fn office(&self) -> Office {
        self.office
    }

    /// Takes in a change that the owner noted. The order matters within a kind and key only, so that a snapshot may come
    /// in any order; a record that is there already is replaced. An owner is told nothing by others, and passes over it.
    ///
    /// # Errors
    /// What is wrong with a record; it is left out. One of a kind that is unknown is passed over, and what there is no room
    /// for is left out and counted ([`proxy::Counters::records_lacking`]).
    pub fn apply<D: Directory>(
        &mut self,
        now: Now,
        op: &Op<'_>,
        directory: &mut D,
    ) -> Result<(), records::Error> {
        if self.office != Office::Member {
            return Ok(());
        }
        if op.kind == BINDING {
            return apply_binding(op, directory);
        }
        self.proxy.apply((now.time, now.unix_ms), op, directory)
    }

    /// Becomes the owner, with what the records hold: calls are there, their relay sessions are opened, INVITEs go on
    /// with the next message for them or within [`REVIVAL_SPREAD_MS`].
    pub fn take_office<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        epoch: u64,
        directory: &mut D,
        output: &mut Output,
    ) {
        self.layer.clear(now.time);
        self.layer.set_epoch(epoch);
        self.office = Office::Owner { epoch };
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        self.proxy.take_office(&mut surroundings, REVIVAL_SPREAD_MS);
    }

    /// Becomes a member again, having lost the authority, or one that is to be given all records anew: forgets everything,
    /// gives ports and places at targets back, sends nothing. Bindings are the node's: the driver empties its tables
    /// ([`registrar::Location::clear`]) once.
    pub fn leave_office<D: Directory>(&mut self, now: Now, directory: &mut D) {
        let was_owner = self.office != Office::Member;
        self.office = Office::Member;
        self.layer.clear(now.time);
        self.proxy.leave_office(now.time, was_owner, directory);
        self.held.drain().for_each(drop);
        self.probes.clear();
        self.bindings_noted.clear();
    }

    /// Puts what changed since the last call into [`Output::changes`]. The driver calls it at the end of each turn, after
    /// the last input and before it looks at the output. It costs nothing unless this thread is an owner.
    pub fn note<D: Directory>(&mut self, now: Now, directory: &mut D, output: &mut Output) {
        if !matches!(self.office, Office::Owner { .. }) {
            return;
        }
        let now = (now.time, now.unix_ms);
        let changes = &mut output.changes;
        self.proxy.note(now, &self.layer, directory, changes);
        self.note_bindings(directory, changes);
    }

    /// Takes the news of [`relay::Event::Learned`], so that a standby sends to where the party really is.
    pub fn media_learned(&mut self, session: SessionId, stream: u8, side: u8, source: SocketAddr) {
        self.proxy.media_learned(session, (stream, side), source);
    }

    /// Whether what comes from the network is for this thread.
    pub(crate) fn is_acting(&self) -> bool {
        self.office != Office::Member
    }

    /// Makes the INVITE live that a request is about, and has its answers go the way it came, if its client has come back
    /// over another connection.
    pub(crate) fn take_up_request<D: Directory>(
        &mut self,
        (settings, now): (&Settings, Now),
        (request, via, flow): (&Message<'_>, &Via<'_>, Flow),
        directory: &mut D,
        output: &mut Output,
    ) {
        let is_of_invite = matches!(
            request.method(),
            Some(Method::Invite | Method::Ack | Method::Cancel)
        );
        if is_of_invite && self.proxy.has_parked() {
            let key = self.layer.invite_key(request, via).number();
            let mut s = surroundings(&mut self.layer, settings, now, directory, output);
            self.proxy.revive_server(&mut s, key);
        }
        if flow.transport.is_reliable()
            && let Some((server, before)) = self.layer.flow_of_request(request, via)
            && before.transport.is_reliable()
            && before.remote != flow.remote
            && !directory.is_open(&before)
        {
            self.layer.move_server(server, flow);
        }
    }

    /// Makes the INVITE live that a response is about.
    pub(crate) fn take_up_response<D: Directory>(
        &mut self,
        (settings, now): (&Settings, Now),
        branch: u64,
        directory: &mut D,
        output: &mut Output,
    ) {
        if self.proxy.has_parked() {
            let mut s = surroundings(&mut self.layer, settings, now, directory, output);
            self.proxy.revive_branch(&mut s, branch);
        }
    }

    /// Has what is still to be sent to a server go the way its response came, if it has come back over another connection.
    pub(crate) fn follow_server<D: Directory>(
        &mut self,
        client: ClientId,
        flow: Flow,
        directory: &mut D,
    ) {
        if flow.transport.is_reliable()
            && let Some(before) = self.layer.client_flow(client)
            && before.transport.is_reliable()
            && before.remote != flow.remote
            && !directory.is_open(&before)
        {
            self.layer.move_client(client, flow);
        }
    }

    /// Has the answers to a user of ours go where he has registered since, if he has lost the connection that his request
    /// came on: nobody can open that again (RFC 5626 section 5.3).
    pub(crate) fn follow_client<D: Directory>(
        &mut self,
        (settings, now): (&Settings, Now),
        user: u64,
        response: &Message<'_>,
        directory: &mut D,
    ) {
        let Some(server) = self.proxy.server_of(user) else {
            return;
        };
        let flow = self.layer.server_flow(server);
        let Some(before) = flow.filter(|flow| flow.transport.is_reliable()) else {
            return;
        };
        let Ok(from) = response.from() else { return };
        if directory.is_open(&before) || auth::our_aor(settings, &from, &mut self.aor).is_none() {
            return;
        }
        let (aor, host) = (&self.aor, before.remote.ip());
        let mut flows = Vec::new();
        directory.location(aor, |location, _| {
            let bindings = location.lookup(aor, now.unix_s());
            let bindings = bindings.filter(|binding| binding.use_flow());
            flows.extend(bindings.map(|binding| binding.flow()));
        });
        let is_his = |flow: &&Flow| {
            flow.transport == before.transport
                && flow.remote.ip() == host
                && directory.is_open(flow)
        };
        if let Some(flow) = flows.iter().find(is_his) {
            self.layer.move_server(server, *flow);
        }
    }

    /// Makes all INVITEs live: something happens that may concern any.
    pub(crate) fn take_up_all<D: Directory>(
        &mut self,
        (settings, now): (&Settings, Now),
        directory: &mut D,
        output: &mut Output,
    ) {
        if self.proxy.has_parked() && self.is_acting() {
            let mut s = surroundings(&mut self.layer, settings, now, directory, output);
            self.proxy.revive_all(&mut s);
        }
    }
}

fn apply_binding<D: Directory>(op: &Op<'_>, directory: &mut D) -> Result<(), records::Error> {
    let (id, aor) = op
        .key
        .split_first_chunk()
        .ok_or(records::Error::Truncated)?;
    let id = u64::from_be_bytes(*id);
    let row = op.value.map(|value| BindingRow::read(aor, id, value));
    match row.transpose()? {
        Some((row, durable_expires_at_unix_s)) => {
            directory.note_binding(id);
            directory.location(aor, |location, _| {
                location.restore_as(&row, durable_expires_at_unix_s)
            });
        }
        None => {
            directory.location(aor, |location, _| location.remove_binding(aor, id));
        }
    }
    Ok(())
}

/// The secret of what has to be alike on all members, from the one that they share: knowing a tag tells nothing of the
/// cookies.
fn shared_secret(cookie_secret: (u64, u64)) -> (u64, u64) {
    let part = |number: u8| {
        let (first, second) = cookie_secret;
        let mut hasher = siphasher::sip::SipHasher24::new_with_keys(first, second);
        hasher.write(b"members");
        hasher.write_u8(number);
        hasher.finish()
    };
    (part(1), part(2))
}
