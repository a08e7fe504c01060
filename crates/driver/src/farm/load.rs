//! What the agents on the hosts of targets report.

use balancer::{AgentLoad, Signal};

use super::view::UnknownTarget;
use crate::shared::Shared;

impl Shared {
    /// Takes in the load of a host, for all targets of this name; gives how many.
    pub(crate) fn report_load(&self, name: &str, load: AgentLoad) -> Result<usize, UnknownTarget> {
        self.with_farm(|inner, now| {
            let targets = inner.places.named(name);
            if targets.is_empty() {
                return Err(UnknownTarget {
                    known: inner.places.names(),
                });
            }
            for target in &targets {
                inner.pools.report(now, *target, Signal::AgentLoad(load));
            }
            Ok(targets.len())
        })
    }
}
