//! Names of targets, looked up on tokio.

use std::sync::Arc;

use balancer::{Endpoint, LookupId, Record, TargetId};
use net::resolve::{ResolveError, Service, ServiceHost};
use proxy::Resolve;
use transaction::Transport;

use super::places::Hop;
use crate::shared::Shared;
use crate::tasks::Tasks;

/// Looks up where a target is, and says so.
pub(super) fn look_up_target(shared: &Arc<Shared>, tasks: &Tasks, target: TargetId, hop: Hop) {
    let (shared, tasks) = (shared.clone(), tasks.clone());
    tasks.runtime.clone().spawn(async move {
        let resolve = Resolve {
            token: 0,
            host: hop.host.as_bytes().into(),
            port: hop.port,
            transport: hop.transport,
        };
        let found = tasks.look_up(&resolve).await;
        if found.is_empty() {
            tracing::warn!(name = hop.host, "the name of a media server leads nowhere");
        }
        shared.with_farm(|inner, now| {
            if inner.places.looked_up(target, now, &found) {
                shared.publish_addresses(&inner.places);
            }
        });
    });
}

/// Looks up the targets of an SRV name, and says who they are.
pub(super) fn look_up_service(shared: &Arc<Shared>, tasks: &Tasks, id: LookupId, uri: String) {
    let (shared, tasks) = (shared.clone(), tasks.clone());
    tasks.runtime.clone().spawn(async move {
        let hop = Hop::of(&uri);
        let found = match &hop {
            Some(hop) => {
                let transport = match hop.transport {
                    Some(Transport::Tcp) => net::resolve::Transport::Tcp,
                    _ => net::resolve::Transport::Udp,
                };
                tasks.resolver.service(&hop.host, transport).await
            }
            None => Err(ResolveError::InvalidName),
        };
        shared.with_farm(|inner, now| match found {
            Ok(Service { hosts, lifetime }) => {
                if hosts.is_empty() {
                    tracing::warn!(name = uri, "no media servers are named by the DNS");
                }
                let transport = hop.and_then(|hop| hop.transport);
                let records: Vec<Record> = hosts
                    .into_iter()
                    .map(|host| record(host, transport))
                    .collect();
                let ttl_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
                inner.pools.set_records(now, id, &records, ttl_s);
                shared.settle_farm(inner);
                // A record may lead somewhere else without any change of state.
                shared.survey(inner);
            }
            Err(error) => {
                tracing::warn!(name = uri, ?error, "media servers cannot be looked up");
                inner.pools.lookup_failed(now, id);
            }
        });
    });
}

fn record(host: ServiceHost, transport: Option<Transport>) -> Record {
    let parameter = match transport {
        Some(Transport::Tcp) => ";transport=tcp",
        _ => "",
    };
    Record {
        priority: host.priority,
        weight: host.weight,
        endpoint: Endpoint {
            uri: format!("sip:{}:{}{parameter}", host.host, host.address.port()),
            address: Some(host.address),
        },
    }
}
