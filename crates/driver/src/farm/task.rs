//! The task that does what is due.

use std::sync::{Arc, Weak};

use balancer::{Due, TargetId, Time};

use super::{Inner, Probe};
use crate::inbox::Item;
use crate::node::Node;
use crate::shared::Shared;
use crate::tasks::Tasks;

/// Call-IDs that are tried until one belongs to the worker that is to send a probe. With as many workers as there
/// may be, one in a million does not find any; then its answer is lost, and the next one is not.
const CALL_IDS_MAX: u32 = 4_096;

/// How often a member of a cluster looks whether it has become the owner.
const MEMBER_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Does what is due, whenever something is. Without pools it sleeps.
pub(crate) async fn attend(node: Weak<Node>, shared: Arc<Shared>, tasks: Tasks) {
    let wake = shared.farm.wake.clone();
    let clock = shared.clock;
    let shared = Arc::downgrade(&shared);
    loop {
        let Some((strong, _node)) = shared.upgrade().zip(node.upgrade()) else {
            return;
        };
        if !strong.may_act() {
            // A member probes nobody: it would be from the owner's address.
            drop((strong, _node));
            tokio::time::sleep(MEMBER_PAUSE).await;
            continue;
        }
        let planned = look(&strong, &tasks);
        drop((strong, _node));
        if planned == Time::MAX {
            wake.notified().await;
            continue;
        }
        let until = clock.instant_of(transaction::Time::from_ms(planned.as_ms()));
        // Woken or in time, the next look tells.
        let _ = tokio::time::timeout_at(until.into(), wake.notified()).await;
    }
}

/// Does what is due now; gives when to look again.
fn look(shared: &Arc<Shared>, tasks: &Tasks) -> Time {
    let mut inner = shared.farm.lock();
    let inner = &mut *inner;
    let now = shared.farm_now();
    let mut due = std::mem::take(&mut inner.due);
    inner.pools.poll(now, &mut due);
    for one in due.drain(..) {
        match one {
            Due::Probe { target, number } => probe(shared, inner, target, number),
            Due::Lookup(id) => {
                if let Some(uri) = inner.pools.lookup_name(id) {
                    super::lookup::look_up_service(shared, tasks, id, uri.to_owned());
                }
            }
        }
    }
    inner.due = due;
    while let Some((target, hop)) = inner.places.take_lookup(now) {
        super::lookup::look_up_target(shared, tasks, target, hop);
    }
    shared.settle_farm(inner);
    inner.planned = inner.next();
    inner.planned
}

/// Hands a probe to the worker that probes this target. One whose name has led nowhere yet is not probed: that counts
/// as a probe without an answer.
fn probe(shared: &Shared, inner: &mut Inner, target: TargetId, number: u32) {
    let Some((transport, remote)) = inner.places.address(target) else {
        return;
    };
    let Some(uri) = inner.places.uri(target) else {
        return;
    };
    inner.places.count_probe(target);
    let worker = target.index() % shared.inboxes.len();
    let mut call_id = String::new();
    for _ in 0..CALL_IDS_MAX {
        inner.probes += 1;
        call_id = format!("probe-{:016x}-{}", inner.mark, inner.probes);
        if shared.worker_of(call_id.as_bytes()) == worker {
            break;
        }
    }
    shared.inboxes[worker].push(Item::Probe(Box::new(Probe {
        target,
        number,
        uri,
        call_id,
        transport,
        remote,
    })));
}
