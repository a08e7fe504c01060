//! What others leave for the cluster's thread.

use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use cluster::{NodeId, Outcome, Record, RequestId, Revision};
use net::peer::Place;
use net::poll::Waker;

use super::view::ClusterView;

/// Most things that wait; what comes from an operator is refused beyond it.
const WAITING_MAX: usize = 4_096;

/// One thing for the cluster's thread.
pub(crate) enum Order {
    /// The coordinator has answered.
    Answered {
        seat: usize,
        request: RequestId,
        outcome: Outcome,
    },
    /// A watch on the coordinator shows a record.
    Observed {
        seat: usize,
        revision: Revision,
        record: Option<Record>,
    },
    /// A fence agent has ended.
    Fenced {
        seat: usize,
        attempt: u64,
        succeeded: bool,
    },
    /// The neighbours were asked who has the address of a service: who, in words.
    Neighbours { seat: usize, used: Option<String> },
    /// Where the nodes are, and the members of each service in order of preference.
    Members {
        places: Vec<Place>,
        preferences: Vec<Vec<NodeId>>,
    },
    /// Move a service.
    Switchover {
        service: String,
        to: Option<String>,
        answer: SyncSender<Result<(), String>>,
    },
    /// Leave all services to others, or take part again.
    Leave(bool),
    /// Read the certificates again.
    Renew,
    /// Tell what there is.
    Inspect(SyncSender<ClusterView>),
    /// End.
    Stop,
}

/// The inbox of the cluster's thread.
pub(crate) struct ClusterInbox {
    orders: Mutex<Vec<Order>>,
    waker: Waker,
}

impl ClusterInbox {
    pub(crate) fn new(waker: Waker) -> ClusterInbox {
        ClusterInbox {
            orders: Mutex::new(Vec::new()),
            waker,
        }
    }

    /// Leaves something. Questions are dropped when too much waits; their answer's sender is dropped with them.
    pub(crate) fn push(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_lost = matches!(order, Order::Inspect(_) | Order::Switchover { .. });
        if may_be_lost && orders.len() >= WAITING_MAX {
            return;
        }
        orders.push(order);
        drop(orders);
        self.waker.wake();
    }

    /// Takes everything, in order, into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Order>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *orders, taken);
    }
}
