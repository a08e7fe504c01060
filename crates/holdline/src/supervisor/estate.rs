//! What is done for a process that has died.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cluster::Identity;
use coordinator::{CasOutcome, Coordinator};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many leases a release may take. After one the standbys need it no more.
const RELEASE_LEASES: u32 = 10;
/// Between attempts while the coordinator is away.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the coordinator is read, so that its connection is there when it is needed.
const WARM: Duration = Duration::from_secs(2);

/// What takes the address of one service away. An error says why it may still be here.
pub type Withdrawal = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Takes the address of a service from this machine, whether it is there or not. It waits for a program without holding up others.
pub type Withdraw = Box<dyn Fn(&str) -> Withdrawal + Send>;

/// What a node may leave behind: addresses, and records that name it.
pub struct Estate {
    /// The coordinator.
    pub coordinator: Arc<Coordinator>,
    /// The services of the node.
    pub services: Vec<String>,
    /// Takes an address of theirs away.
    pub withdraw: Withdraw,
    /// Whether the node starts programs that may outlive it: movers, fence agents.
    pub starts_programs: bool,
}

impl fmt::Debug for Estate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Estate")
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl Estate {
    /// Withdraws the addresses, and releases the records of a life that has ended where that was done: each service by itself. `lease` is the
    /// cluster's.
    pub(super) async fn settle(&mut self, dead: Option<Identity>, lease: Duration) {
        let mut services = JoinSet::new();
        for service in &self.services {
            let withdrawal = (self.withdraw)(service);
            let (coordinator, service) = (self.coordinator.clone(), service.clone());
            services.spawn(async move {
                if let Err(reason) = withdrawal.await {
                    // Somebody else must not have the address while it is here: the lease keeps them apart.
                    tracing::error!(
                        service,
                        reason,
                        "its address could not be withdrawn; it is left to the lease"
                    );
                    return;
                }
                let Some(dead) = dead else {
                    return;
                };
                let released = release(&coordinator, &service, dead, lease / 3);
                match timeout(lease * RELEASE_LEASES, released).await {
                    Ok(true) => tracing::info!(service, "released for the process that ended"),
                    Ok(false) => {}
                    Err(_) => tracing::warn!(
                        service,
                        "not released: the coordinator gave no answer; the standbys wait for the lease"
                    ),
                }
            });
        }
        while services.join_next().await.is_some() {}
    }

    /// Keeps the way to the coordinator open, for ever.
    pub(super) fn keep_warm(&self) -> impl Future<Output = ()> + Send + 'static {
        let (coordinator, service) = (self.coordinator.clone(), self.services.first().cloned());
        async move {
            while let Some(service) = &service {
                // What it says is of no interest now.
                let _ = coordinator.read(service, WARM).await;
                sleep(WARM).await;
            }
        }
    }
}

/// Releases one record if it is of that life, and says whether there was anything to release.
async fn release(
    coordinator: &Coordinator,
    service: &str,
    dead: Identity,
    within: Duration,
) -> bool {
    let mut known = None;
    loop {
        let begun = Instant::now();
        let version = match known.take() {
            Some(version) => version,
            None => match coordinator.read(service, within).await {
                Ok(version) => version,
                Err(error) => {
                    tracing::debug!(service, %error, "to be released");
                    sleep(PAUSE.saturating_sub(begun.elapsed())).await;
                    continue;
                }
            },
        };
        let Some(released) = version.record.and_then(|record| record.released_for(dead)) else {
            return false;
        };
        match coordinator.cas(service, &version, &released, within).await {
            Ok(CasOutcome::Written { .. }) => return true,
            // The last write of the process that ended may arrive only now.
            Ok(CasOutcome::Conflict(version)) => known = Some(version),
            Ok(CasOutcome::Unknown(error)) | Err(error) => {
                tracing::debug!(service, %error, "to be released");
                sleep(PAUSE.saturating_sub(begun.elapsed())).await;
            }
        }
    }
}
