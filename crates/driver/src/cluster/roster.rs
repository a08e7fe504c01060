//! Who acts for which service of a node, gathered before the cluster's thread runs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use net::poll::Poller;

use super::crew::Crew;
use super::desk::Desk;
use super::inbox::ClusterInbox;
use super::settings::ServiceSettings;

/// A service, where those who act for it leave what changed, and who they are.
pub(crate) type Crewed = (ServiceSettings, Arc<Desk>, Box<dyn Crew>);

/// What the cluster's thread is made of, until it runs.
struct Waiting {
    poller: Poller,
    crews: Vec<Crewed>,
}

/// The services of a node and who acts for them. Everybody who is to act for one enters before the node starts.
#[derive(Clone)]
pub struct Roster {
    waiting: Arc<Mutex<Option<Waiting>>>,
    pub(crate) inbox: Arc<ClusterInbox>,
    waker: net::poll::Waker,
}

impl Roster {
    /// Nobody yet.
    ///
    /// # Errors
    /// The system gives no epoll descriptor.
    pub fn new() -> io::Result<Roster> {
        let poller = Poller::new()?;
        let waker = poller.waker();
        Ok(Roster {
            inbox: Arc::new(ClusterInbox::new(waker.clone())),
            waiting: Arc::new(Mutex::new(Some(Waiting {
                poller,
                crews: Vec::new(),
            }))),
            waker,
        })
    }

    /// A desk for those who act for a service.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        Arc::new(Desk::new(self.waker.clone()))
    }

    /// Enters who acts for a service. Without effect once the node runs.
    pub(crate) fn enter(&self, service: ServiceSettings, desk: Arc<Desk>, crew: Box<dyn Crew>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.crews.push((service, desk, crew));
        }
    }

    /// Takes all who are entered, once.
    pub(crate) fn take(&self) -> Option<(Poller, Vec<Crewed>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .take()
            .map(|waiting| (waiting.poller, waiting.crews))
    }

    /// The desks of all who are entered.
    pub(crate) fn desks(&self) -> Vec<Arc<Desk>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let crews = waiting.iter().flat_map(|waiting| &waiting.crews);
        crews.map(|(_, desk, _)| desk.clone()).collect()
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}
