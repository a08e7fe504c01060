//! What time and the network bring besides messages.

use std::net::SocketAddr;

use relay::SessionId;
use sip::Limits;
use transaction::{ClientId, Flow, Time, Transport};

use crate::directory::Directory;
use crate::edge::{Edge, surroundings};
use crate::output::{Now, Output};
use crate::settings::Settings;

/// The user's number of a server transaction that no proxied request belongs to.
const NOBODY: u64 = u64::MAX;

impl Edge {
    /// Does what is due.
    pub fn poll<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        directory: &mut D,
        output: &mut Output,
    ) {
        if !self.is_acting() {
            return;
        }
        while let Some(fired) = self.layer.poll(now.time, &mut output.outbox) {
            if let transaction::Fired::ServerGone { user: NOBODY, .. } = fired {
                continue;
            }
            let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
            self.proxy.fired(&mut surroundings, fired);
        }
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        self.proxy.expire(&mut surroundings);
    }

    /// When [`Edge::poll`] has something to do.
    pub fn next(&self, now: Time) -> Option<Time> {
        if !self.is_acting() {
            return None;
        }
        match (self.layer.next(now), self.proxy.next(now)) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        }
    }

    /// Takes the answer to a name that was to be resolved.
    pub fn resolved<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        (token, addresses): (u64, &[(Transport, SocketAddr)]),
        directory: &mut D,
        output: &mut Output,
    ) {
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        self.proxy.resolved(&mut surroundings, token, addresses);
    }

    /// Takes the news that the relay has ended a session in which nobody was heard any more.
    pub fn media_silent<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        session: SessionId,
        directory: &mut D,
        output: &mut Output,
    ) {
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        self.proxy.media_silent(&mut surroundings, session);
    }

    /// Takes back a message, or its beginning, that could not be delivered (RFC 3261 section 18.4): if
    /// it was a request of ours, its transaction fails at once.
    pub fn undelivered<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        sent: &[u8],
        directory: &mut D,
        output: &mut Output,
    ) {
        let mut index = sip::Index::new();
        let Ok(request) = index.parse(sent, &Limits::default()) else {
            return;
        };
        let (Some(method), Ok(via)) = (request.method(), request.via()) else {
            return;
        };
        let Some((number, _)) = via.branch().and_then(proxy::loops::read_branch) else {
            return;
        };
        if let Some((client, _)) = self.layer.find_client(number, method) {
            self.counted.add("undelivered");
            self.client_failed(settings, now, client, directory, output);
        }
    }

    /// Whether anything may wait for an answer of a peer; if not, [`Edge::flow_failed`] has nothing to do
    /// for it. Connections come and go far more often than while a call is being set up over them.
    pub fn may_wait_for(&self, peer: SocketAddr) -> bool {
        self.layer.may_have_clients_to(peer) || self.is_probing(peer)
    }

    /// Takes note that nothing can be sent on a flow any more: what waits for an answer on it fails.
    pub fn flow_failed<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        failed: impl Fn(&Flow) -> bool,
        directory: &mut D,
        output: &mut Output,
    ) {
        self.take_up_all((settings, now), directory, output);
        self.probes_failed(&failed, directory);
        let mut clients = Vec::new();
        self.layer.clients_of(failed, &mut clients);
        for client in clients {
            self.client_failed(settings, now, client, directory, output);
        }
    }

    fn client_failed<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        client: ClientId,
        directory: &mut D,
        output: &mut Output,
    ) {
        let user = self.layer.client_user(client);
        let is_lost = self
            .layer
            .transport_failed(now.time, client, &mut output.outbox)
            .is_some();
        let Some(user) = user else { return };
        // An INVITE that is being answered outlives its transport in the layer, which cannot know
        // whether its answer may come another way (RFC 3261 section 18.2.2).
        let is_being_answered = !is_lost && self.layer.client_is_pending(client);
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        if is_lost {
            // Section 16.9: as if a 503 had come.
            self.proxy
                .client_failed(&mut surroundings, client, user, 503);
        } else if is_being_answered {
            self.proxy.client_lost(&mut surroundings, client, user);
        }
    }
}
