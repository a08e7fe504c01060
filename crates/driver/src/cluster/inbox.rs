//! What others leave for the cluster's thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use cluster::{NodeId, Outcome, Record, RequestId, Revision};
use net::peer::Place;
use net::poll::Waker;

use super::view::ClusterView;

/// Most things that wait. Beyond it what comes from an operator is refused, and what a watch shows replaces what it showed before. Answers
/// are as many as there are requests, which the machines have few of.
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

impl Order {
    /// Whether what it shows makes what an earlier one showed worthless.
    fn replaces(&self, earlier: &Order) -> bool {
        match (self, earlier) {
            (Order::Observed { seat, .. }, Order::Observed { seat: other, .. }) => seat == other,
            (Order::Members { .. }, Order::Members { .. }) => true,
            _ => false,
        }
    }
}

/// The inbox of the cluster's thread.
pub(crate) struct ClusterInbox {
    orders: Mutex<Vec<Order>>,
    is_over: AtomicBool,
    waker: Waker,
}

impl ClusterInbox {
    pub(crate) fn new(waker: Waker) -> ClusterInbox {
        ClusterInbox {
            orders: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
            waker,
        }
    }

    /// Leaves something. Questions are dropped when too much waits; their answer's sender is dropped with them.
    pub(crate) fn push(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_lost = matches!(order, Order::Inspect(_) | Order::Switchover { .. });
        if orders.len() >= WAITING_MAX {
            if may_be_lost {
                return;
            }
            if matches!(order, Order::Observed { .. } | Order::Members { .. }) {
                orders.retain(|waiting| !order.replaces(waiting));
            }
        }
        self.is_over
            .fetch_or(matches!(order, Order::Stop), Ordering::Release);
        orders.push(order);
        drop(orders);
        self.waker.wake();
    }

    /// Whether the end was ordered, taken or not.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Takes everything, in order, into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Order>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *orders, taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_takes_nothing_is_not_buried_in_what_a_watch_shows() {
        let poller = net::poll::Poller::new().unwrap();
        let inbox = ClusterInbox::new(poller.waker());
        for number in 0..WAITING_MAX as u64 * 3 {
            inbox.push(Order::Observed {
                seat: (number % 2) as usize,
                revision: Revision(number),
                record: None,
            });
        }
        let mut orders = Vec::new();
        inbox.take(&mut orders);
        assert!(orders.len() <= WAITING_MAX, "{}", orders.len());
        let last = orders.iter().rev().find_map(|order| match order {
            Order::Observed { revision, .. } => Some(revision.0),
            _ => None,
        });
        assert_eq!(last, Some(WAITING_MAX as u64 * 3 - 1));
        assert!(!inbox.is_over());
        inbox.push(Order::Stop);
        assert!(inbox.is_over());
    }
}
