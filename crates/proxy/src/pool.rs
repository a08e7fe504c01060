//! What the proxy decides and asks about pools of media servers.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use balancer::{Call, CallSlot, NoTarget, PoolId, Shortage, Signal, TargetId};
use transaction::{Flow, Transport};

/// When a call moves on to the next target of its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a target may be silent, in milliseconds.
    pub reply_timeout_ms: u64,
    /// How long a target may take from its 100 to the first ringing, in milliseconds; 0 for as long as it likes.
    pub ring_timeout_ms: u64,
    /// Statuses that speak of a target and not of the callee.
    pub move_on: Vec<RangeInclusive<u16>>,
    /// Whether a call that rings moves on when its target is found dead.
    pub moves_ringing: bool,
    /// Most targets that one call is sent to.
    pub tries_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            reply_timeout_ms: 500,
            ring_timeout_ms: 60_000,
            // 501, 505, 513 and 580 speak of the request, 555 and others of the callee.
            move_on: vec![500..=500, 502..=504],
            moves_ringing: true,
            tries_max: 8,
        }
    }
}

impl Settings {
    /// Whether a final response says that another target may do better.
    pub fn moves_on(&self, status: u16) -> bool {
        self.move_on.iter().any(|range| range.contains(&status))
    }
}

/// A target for a request.
#[derive(Debug)]
pub struct Chosen {
    /// Which.
    pub target: TargetId,
    /// The call's place among those that are counted there; `None` for what is no call.
    pub slot: Option<CallSlot>,
    /// Where it is.
    pub transport: Transport,
    /// Where it is.
    pub remote: SocketAddr,
}

/// The pools as the proxy sees them.
pub trait Farm {
    /// A target for a request, others than those that were `tried`; a call is counted there at once.
    ///
    /// # Errors
    /// When no target is left.
    fn choose(
        &mut self,
        pool: PoolId,
        call: &Call<'_>,
        is_call: bool,
        tried: &[TargetId],
    ) -> Result<Chosen, NoTarget> {
        let _ = (pool, call, is_call, tried);
        Err(NoTarget {
            reason: Shortage::Empty,
            retry_after_s: 0,
        })
    }

    /// Appends the name of a pool, which is the same on all members of a cluster.
    fn pool_name(&mut self, pool: PoolId, name: &mut Vec<u8>) {
        let (_, _) = (pool, name);
    }

    /// The pool of a name.
    fn find_pool(&mut self, name: &[u8]) -> Option<PoolId> {
        let _ = name;
        None
    }

    /// The target of a pool at an address, whose record another member made: with `is_call` the call is counted there, even
    /// beyond the target's limit. `None` if there is no such target here.
    fn adopt(
        &mut self,
        pool: PoolId,
        (transport, remote): (Transport, SocketAddr),
        is_call: bool,
    ) -> Option<Chosen> {
        let (_, _, _, _) = (pool, transport, remote, is_call);
        None
    }

    /// Ends a call's counting.
    fn release(&mut self, slot: CallSlot) {
        let _ = slot;
    }

    /// Says what was noticed about a target.
    fn report(&mut self, target: TargetId, signal: Signal) {
        let _ = (target, signal);
    }

    /// Whether a flow comes from a target of some pool.
    fn is_target(&mut self, flow: &Flow) -> bool {
        let _ = flow;
        false
    }
}
