//! A node's place in a cluster.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use edge::record::{BINDING, binding_key};
use net::poll::Poller;
use records::Changes;
use tokio::runtime::Handle;

use super::{Node, StartError};
use crate::cluster::{
    ClusterInbox, ClusterSettings, ClusterThread, ClusterView, Desk, EdgeCrew, Order,
    ServiceSettings,
};
use crate::settings::Settings;
use crate::shared::{ClusterPlace, Shared};

/// How long the thread of the cluster has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is looked whether services have been handed over.
const LEAVE_LOOK: Duration = Duration::from_millis(20);

/// What is made before the workers are.
pub(super) struct Place {
    settings: ClusterSettings,
    edge: ServiceSettings,
    poller: Poller,
    desk: Arc<Desk>,
    inbox: Arc<ClusterInbox>,
}

impl Place {
    /// The place of a node whose edge is a service of a cluster.
    pub(super) fn of(settings: &Settings) -> Result<Option<Place>, StartError> {
        let Some(cluster) = &settings.cluster else {
            return Ok(None);
        };
        let Some(edge) = &cluster.edge else {
            return Ok(None);
        };
        let poller = Poller::new().map_err(|error| StartError::System {
            what: "an epoll descriptor",
            error,
        })?;
        Ok(Some(Place {
            settings: cluster.clone(),
            edge: edge.clone(),
            desk: Arc::new(Desk::new(poller.waker())),
            inbox: Arc::new(ClusterInbox::new(poller.waker())),
            poller,
        }))
    }

    /// Whether sockets are the owner's alone.
    pub(super) fn opens_late(&self) -> bool {
        self.edge.opens_late()
    }

    /// What the workers share.
    pub(super) fn shared(&self) -> ClusterPlace {
        ClusterPlace {
            desk: self.desk.clone(),
            inbox: self.inbox.clone(),
            opens_late: self.opens_late(),
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
        let crew = Box::new(EdgeCrew::new(self.shared.clone()));
        let thread = ClusterThread {
            settings: place.settings,
            poller: place.poller,
            inbox: place.inbox,
            events: self.shared.events.clone(),
            runtime: Handle::current(),
            crews: vec![(place.edge, place.desk, crew)],
            random,
        };
        tokio::spawn(thread.join_and_run());
        Ok(())
    }

    /// The cluster as this node sees it; `None` without one, and where its thread does not answer.
    pub fn cluster(&self) -> Option<ClusterView> {
        let place = self.shared.place.as_ref()?;
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
        let place = self.shared.place.as_ref().ok_or_else(away)?;
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
        if let Some(place) = &self.shared.place {
            place.tell(Order::Leave(leaving));
        }
    }

    /// Hands all services over; waits for it, at most for `limit`. Whether this node owns none any more.
    pub async fn leave_cluster(&self, limit: Duration) -> bool {
        let Some(place) = &self.shared.place else {
            return true;
        };
        place.tell(Order::Leave(true));
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            tokio::time::sleep(LEAVE_LOOK).await;
            if !place.desk.may_act() {
                return true;
            }
        }
        false
    }
}
