//! A node's place in a cluster.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use edge::record::{BINDING, binding_key};
use records::Changes;
use tokio::runtime::Handle;

use super::{Node, StartError};
use crate::cluster::{
    ClusterSettings, ClusterThread, ClusterView, Desk, EdgeCrew, Order, ServiceSettings,
};
use crate::settings::Settings;
use crate::shared::{ClusterPlace, Membership, Shared};

/// How long the thread of the cluster has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is looked whether services have been handed over.
const LEAVE_LOOK: Duration = Duration::from_millis(20);

/// What is made before the workers are.
pub(super) struct Place {
    settings: ClusterSettings,
    /// The edge's service and its desk, if it is one.
    edge: Option<(ServiceSettings, Arc<Desk>)>,
}

impl Place {
    /// The place of a node that is a member of services of a cluster.
    pub(super) fn of(settings: &Settings) -> Option<Place> {
        let cluster = settings.cluster.as_ref()?;
        cluster.services().next()?;
        let desk = |edge: &ServiceSettings| (edge.clone(), cluster.roster.desk());
        Some(Place {
            settings: cluster.clone(),
            edge: cluster.edge.as_ref().map(desk),
        })
    }

    /// Whether the edge is a service.
    pub(super) fn has_edge(&self) -> bool {
        self.edge.is_some()
    }

    /// Whether the edge's sockets are the owner's alone.
    pub(super) fn opens_late(&self) -> bool {
        self.edge
            .as_ref()
            .is_some_and(|(edge, _)| edge.opens_late())
    }

    /// What the workers share, where the edge is a service.
    pub(super) fn shared(&self) -> Option<ClusterPlace> {
        let (edge, desk) = self.edge.as_ref()?;
        Some(ClusterPlace {
            desk: desk.clone(),
            opens_late: edge.opens_late(),
        })
    }

    /// What is known of all services.
    pub(super) fn membership(&self) -> Membership {
        let edge = self.edge.iter().map(|(_, desk)| desk.clone());
        Membership {
            inbox: self.settings.roster.inbox.clone(),
            desks: edge.chain(self.settings.roster.desks()).collect(),
        }
    }
}

/// Bindings that ended without a worker's doing, as the records are to have it.
#[derive(Default)]
pub(super) struct Gone {
    changes: Changes,
    key: Vec<u8>,
}

impl Gone {
    pub(super) fn note(&mut self, shared: &Shared, aor: &[u8], id: u64) {
        if shared.place.is_some() {
            self.key.clear();
            binding_key(aor, id, &mut self.key);
            // Keys of bindings are shorter than those of a record may be.
            let _ = self.changes.remove(BINDING, &self.key);
        }
    }

    pub(super) fn leave(self, shared: &Shared) {
        if let Some(place) = &shared.place
            && !self.changes.is_empty()
        {
            place.desk.leave(&self.changes);
        }
    }
}

impl Node {
    pub(super) fn start_cluster(&self, place: Place) -> Result<(), StartError> {
        let mut random = [0; 4];
        random.copy_from_slice(&super::random()?[..4]);
        let roster = &place.settings.roster;
        let has_edge = place.edge.is_some();
        if let Some((edge, desk)) = place.edge {
            let crew = Box::new(EdgeCrew::new(self.shared.clone()));
            roster.enter(edge, desk, crew);
        }
        let inbox = roster.inbox.clone();
        let Some((poller, mut crews)) = roster.take() else {
            // A roster is for one node.
            return Ok(());
        };
        if has_edge {
            // First, as operators look at it.
            crews.rotate_right(1);
        }
        let thread = ClusterThread {
            settings: place.settings,
            poller,
            inbox,
            events: self.shared.events.clone(),
            runtime: Handle::current(),
            crews,
            random,
        };
        tokio::spawn(thread.join_and_run());
        Ok(())
    }

    /// The cluster as this node sees it; `None` without one, and where its thread does not answer.
    pub fn cluster(&self) -> Option<ClusterView> {
        let place = self.shared.membership.as_ref()?;
        let (sender, receiver) = sync_channel(1);
        place.tell(Order::Inspect(sender));
        receiver.recv_timeout(ANSWER_TIMEOUT).ok()
    }

    /// Moves a service to another member, or to the most preferred one in sync.
    ///
    /// # Errors
    /// Why it does not move, in words.
    pub fn switchover(&self, service: &str, to: Option<&str>) -> Result<(), String> {
        let away = || "this node is in no cluster (yet)".to_owned();
        let place = self.shared.membership.as_ref().ok_or_else(away)?;
        let (answer, receiver) = sync_channel(1);
        place.tell(Order::Switchover {
            service: service.to_owned(),
            to: to.map(str::to_owned),
            answer,
        });
        receiver.recv_timeout(ANSWER_TIMEOUT).map_err(|_| away())?
    }

    /// Leaves all services to other members (`true`), or takes part again.
    pub fn set_leaving(&self, leaving: bool) {
        if let Some(place) = &self.shared.membership {
            place.tell(Order::Leave(leaving));
        }
    }

    /// Hands all services over; waits for it, at most for `limit`. Whether this node owns none any more.
    pub async fn leave_cluster(&self, limit: Duration) -> bool {
        let Some(place) = &self.shared.membership else {
            return true;
        };
        place.tell(Order::Leave(true));
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            tokio::time::sleep(LEAVE_LOOK).await;
            if !place.desks.iter().any(|desk| desk.may_act()) {
                return true;
            }
        }
        false
    }
}
