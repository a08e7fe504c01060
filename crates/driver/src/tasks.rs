//! What a worker has done elsewhere: writing and looking up.

use std::sync::{Arc, Mutex, PoisonError};

use edge::Renewals;
use net::resolve::{Query, Resolver};
use proxy::Resolve;
use registrar::Change;
use store::DeferredChange;
use tokio::runtime::Handle;
use transaction::Transport;

use crate::inbox::Item;
use crate::rows;
use crate::shared::Shared;

/// Most look-ups at one time; what is beyond them counts as a name that leads nowhere.
const LOOKUPS_MAX: usize = 1_024;

/// Hands work to tokio. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) runtime: Handle,
    pub(crate) resolver: Arc<Resolver>,
    lookups: Arc<tokio::sync::Semaphore>,
    /// For the order among equal SRV weights.
    random: Arc<Mutex<u64>>,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle, resolver: Resolver, seed: u64) -> Tasks {
        Tasks {
            runtime,
            resolver: Arc::new(resolver),
            lookups: Arc::new(tokio::sync::Semaphore::new(LOOKUPS_MAX)),
            random: Arc::new(Mutex::new(seed | 1)),
        }
    }

    /// Has changes made durable; the answers of `tokens` hear of it.
    pub(crate) fn submit(
        &self,
        shared: &Arc<Shared>,
        worker: usize,
        changes: Vec<Change>,
        tokens: Vec<u64>,
    ) {
        let changes = changes.into_iter().map(rows::durable).collect();
        let then = shared.clone();
        let completion = Box::new(move |result: Result<(), store::CommitError>| {
            if let Err(error) = &result {
                tracing::warn!(%error, "registrations were not stored; their phones are told 503");
            }
            then.inboxes[worker].push(Item::Stored(tokens, result.is_ok()));
        });
        if let Err(rejected) = shared.writer.submit(changes, completion) {
            tracing::warn!(reason = ?rejected.reason, "registrations were not taken by the store");
            (rejected.completion)(Err(store::CommitError::Closed));
        }
    }

    /// Has changes written soon; empties the list. The location table hears when `renewals`, which are
    /// among them, are durable: then the next refresh of these bindings need not be waited for either.
    pub(crate) fn defer(
        &self,
        shared: &Arc<Shared>,
        changes: &mut Vec<Change>,
        renewals: Renewals,
    ) {
        let changes: Vec<DeferredChange> = changes.drain(..).filter_map(rows::deferred).collect();
        let deferred = if renewals.is_empty() {
            shared.writer.defer(changes)
        } else {
            let then = shared.clone();
            let completion = Box::new(move |result: Result<(), store::CommitError>| {
                if result.is_ok() {
                    for (aor, id, expires_at_unix_s) in renewals.iter() {
                        let mut location = then.location(aor);
                        // One that was made to end earlier since then has been written so already.
                        let stands = location.lookup(aor, 0).any(|binding| {
                            binding.id() == id && binding.expires_at_unix_s() >= expires_at_unix_s
                        });
                        if stands {
                            location.committed(aor, id, expires_at_unix_s);
                        }
                    }
                }
            });
            shared.writer.defer_with(changes, completion)
        };
        if let Err(reason) = deferred {
            // The bindings stay in memory; their next refresh is written.
            tracing::warn!(
                ?reason,
                "refreshed registrations were not taken by the store"
            );
        }
    }

    /// Looks a name up (RFC 3263) and tells the worker.
    pub(crate) fn resolve(&self, shared: &Arc<Shared>, worker: usize, resolve: Resolve) {
        let then = shared.clone();
        let Ok(permit) = self.lookups.clone().try_acquire_owned() else {
            then.inboxes[worker].push(Item::Resolved(resolve.token, Vec::new()));
            return;
        };
        let tasks = self.clone();
        self.runtime.spawn(async move {
            let found = tasks.look_up(&resolve).await;
            then.inboxes[worker].push(Item::Resolved(resolve.token, found));
            drop(permit);
        });
    }

    /// Where a name leads, the first to try in front; empty where it leads nowhere.
    pub(crate) async fn look_up(
        &self,
        resolve: &Resolve,
    ) -> Vec<(Transport, std::net::SocketAddr)> {
        let Ok(host) = std::str::from_utf8(&resolve.host) else {
            return Vec::new();
        };
        let transport = resolve.transport.map(|transport| match transport {
            Transport::Udp => net::resolve::Transport::Udp,
            Transport::Tcp => net::resolve::Transport::Tcp,
        });
        let query = Query {
            host,
            port: resolve.port,
            transport,
            secure: false,
        };
        let random = self.random.clone();
        let mut next = move || {
            let mut state = random.lock().unwrap_or_else(PoisonError::into_inner);
            *state = step(*state);
            *state
        };
        match self.resolver.resolve(query, &mut next).await {
            Ok(destinations) => destinations
                .into_iter()
                .filter_map(|destination| {
                    let transport = match destination.transport {
                        net::resolve::Transport::Udp => Transport::Udp,
                        net::resolve::Transport::Tcp => Transport::Tcp,
                        net::resolve::Transport::Tls => return None,
                    };
                    Some((transport, destination.address))
                })
                .collect(),
            Err(error) => {
                tracing::info!(?error, "a name could not be resolved");
                Vec::new()
            }
        }
    }
}

/// One step of xorshift64*; good enough to spread calls over equal servers.
fn step(mut state: u64) -> u64 {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
