//! Stands where `driver::Node` will stand: the same questions, no calls.

use admin::{Binding, Call, MetricFamily, Page, Query, Stamped};
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::config::Config;

/// How many events a slow reader may lag behind.
const EVENTS_MAX: usize = 1024;

/// A node that opens no socket.
#[derive(Debug)]
pub(crate) struct Node {
    events: broadcast::Sender<Stamped>,
}

impl Node {
    pub(crate) fn start(_: &Config, _: Store, _: Handle) -> Result<Node, String> {
        Ok(Node {
            events: broadcast::channel(EVENTS_MAX).0,
        })
    }
    pub(crate) fn reload(&self, _: &Config) {}
    /// Users or domains changed in the store.
    pub(crate) fn directory_changed(&self) {}
    pub(crate) fn drain(&self) {}
    pub(crate) fn is_idle(&self) -> bool {
        true
    }
    pub(crate) fn stop(&self) {}
    pub(crate) fn listeners(&self) -> Vec<String> {
        Vec::new()
    }
    pub(crate) fn counts(&self) -> Counts {
        Counts::default()
    }
    pub(crate) fn registrations(&self, _: &Query) -> Page<Binding> {
        Page {
            items: Vec::new(),
            next: None,
        }
    }
    pub(crate) fn calls(&self, _: &Query) -> Page<Call> {
        Page {
            items: Vec::new(),
            next: None,
        }
    }
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        Vec::new()
    }
    pub(crate) fn events(&self) -> broadcast::Receiver<Stamped> {
        self.events.subscribe()
    }
}

/// How much of everything there is.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) users: u64,
    pub(crate) bindings: u64,
    pub(crate) calls: u64,
    pub(crate) transactions: u64,
}
