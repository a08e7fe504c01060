//! The coordinator, from the cluster's thread: requests go to tokio, answers come back through the inbox.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::{Incarnation, NodeId, Record, RequestId, Version};
use coordinator::fence::{Action, Agent};
use coordinator::{CasOutcome, ClusterId, Coordinator, Member, Registration, read_outcome};
use net::peer::Place;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;

use super::address::neighbour;
use super::inbox::{ClusterInbox, Order};
use super::post;
use super::settings::{ClusterSettings, ServiceSettings};
use crate::event::Event;

/// How long a request of no service may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked who the members are.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the coordinator is left alone when it does not answer at the start, or refuses.
const RETRY: Duration = Duration::from_millis(500);
/// Least time between two runs of a fence agent that fails.
const FENCE_SPACING: Duration = Duration::from_secs(2);
/// Where the id of the cluster is kept.
const ID_FILE: &str = "cluster-id";

/// Asks the coordinator on behalf of the machines.
pub(super) struct Requests {
    pub(super) runtime: Handle,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) inbox: Arc<ClusterInbox>,
    pub(super) within: Duration,
    /// What switches machines off.
    pub(super) fences: Vec<Arc<Fence>>,
    pub(super) events: broadcast::Sender<Event>,
    /// Whether the last request was answered.
    pub(super) answers: Arc<AtomicBool>,
}

/// What switches a node's machine off.
pub(super) struct Fence {
    node: String,
    agent: Agent,
    /// Held while it runs: a device is not told twice at one time. When it succeeded the last time.
    turn: Mutex<Option<Instant>>,
}

impl Fence {
    pub(super) fn new((node, agent): (String, Agent)) -> Fence {
        Fence {
            node,
            agent,
            turn: Mutex::new(None),
        }
    }

    /// Switches it off; who asks while another service has it switched off waits for that.
    ///
    /// # Errors
    /// Why the machine may be on.
    async fn switch_off(&self) -> Result<(), String> {
        let asked = Instant::now();
        let mut off_at = self.turn.lock().await;
        if off_at.is_some_and(|off_at| off_at >= asked) {
            return Ok(());
        }
        let ran = self.agent.run(Action::Off).await;
        ran.map_err(|error| error.to_string())?;
        *off_at = Some(Instant::now());
        Ok(())
    }
}

impl Requests {
    pub(super) fn read(&self, seat: usize, service: &str, request: RequestId) {
        let (coordinator, inbox) = (self.coordinator.clone(), self.inbox.clone());
        let (service, within, answers) = (service.to_owned(), self.within, self.answers.clone());
        self.runtime.spawn(async move {
            let read = coordinator.read(&service, within).await;
            note(&answers, &service, read.as_ref().err());
            let outcome = read_outcome(&read);
            inbox.push(Order::Answered {
                seat,
                request,
                outcome,
            });
        });
    }

    pub(super) fn write(
        &self,
        seat: usize,
        service: &str,
        request: RequestId,
        expected: Version,
        record: Record,
    ) {
        let (coordinator, inbox) = (self.coordinator.clone(), self.inbox.clone());
        let (service, within, answers) = (service.to_owned(), self.within, self.answers.clone());
        self.runtime.spawn(async move {
            let cas = coordinator.cas(&service, &expected, &record, within).await;
            let error = match &cas {
                Ok(CasOutcome::Unknown(error)) | Err(error) => Some(error),
                Ok(_) => None,
            };
            note(&answers, &service, error);
            let outcome = CasOutcome::outcome(&cas);
            inbox.push(Order::Answered {
                seat,
                request,
                outcome,
            });
        });
    }

    /// Has the machine of a node switched off, for a service. The run ends, and its agent with it, when it is aborted.
    pub(super) fn fence(
        &self,
        seat: usize,
        (service, node): (&str, &str),
        attempt: u64,
    ) -> AbortHandle {
        let fence = self.fences.iter().find(|fence| fence.node == node).cloned();
        let (inbox, events) = (self.inbox.clone(), self.events.clone());
        let (service, node) = (service.to_owned(), node.to_owned());
        let run = self.runtime.spawn(async move {
            let begun = Instant::now();
            let failure = match fence {
                None => Some("there is no fence agent for it; add a [[cluster.fence]]".to_owned()),
                Some(fence) => fence.switch_off().await.err(),
            };
            let succeeded = failure.is_none();
            post::warn(&events, &service, match failure {
                None => format!("{node} was switched off"),
                Some(why) => format!("{node} was not switched off, and the claim is put off: {why}; it is tried again"),
            });
            if !succeeded {
                tokio::time::sleep(FENCE_SPACING.saturating_sub(begun.elapsed())).await;
            }
            inbox.push(Order::Fenced {
                seat,
                attempt,
                succeeded,
            });
        });
        run.abort_handle()
    }

    /// Asks on an interface who has an address.
    pub(super) fn ask_neighbours(&self, seat: usize, address: IpAddr, interface: String) {
        let inbox = self.inbox.clone();
        self.runtime.spawn_blocking(move || {
            let used = neighbour(address, &interface);
            inbox.push(Order::Neighbours { seat, used });
        });
    }

    /// Follows the record of a service for as long as the runtime lives.
    pub(super) fn watch(&self, seat: usize, service: &str) {
        let (coordinator, inbox) = (self.coordinator.clone(), self.inbox.clone());
        let service = service.to_owned();
        self.runtime.spawn(async move {
            let Ok(mut watch) = coordinator.watch(&service) else {
                return;
            };
            while let Some(version) = watch.next().await {
                inbox.push(Order::Observed {
                    seat,
                    revision: version.revision,
                    record: version.record,
                });
            }
        });
    }
}

/// Logs when the coordinator ceases to answer, and when it answers again.
fn note(answers: &AtomicBool, service: &str, error: Option<&coordinator::Error>) {
    let did = answers.swap(error.is_none(), Ordering::Relaxed);
    match error {
        Some(error) if did => tracing::warn!(
            service,
            %error,
            "the coordinator does not answer; services stay where they are while their members hear each other"
        ),
        None if !did => tracing::info!("the coordinator answers"),
        _ => {}
    }
}

/// What the coordinator said of this node and the others.
pub(super) struct Joined {
    pub(super) own: NodeId,
    /// The cluster's id.
    pub(super) id: ClusterId,
    pub(super) members: Vec<Member>,
}

/// Joins the cluster and enters this node; tries for as long as it takes.
pub(super) async fn join(settings: &ClusterSettings, incarnation: Incarnation, id: u64) -> Joined {
    let mut told = String::new();
    loop {
        match try_join(settings, incarnation, id).await {
            Ok(joined) => return joined,
            Err(error) => {
                let words = error.to_string();
                if words != told {
                    tracing::warn!(
                        "this node is not in the cluster {} yet: {words}",
                        settings.name
                    );
                    told = words;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn try_join(
    settings: &ClusterSettings,
    incarnation: Incarnation,
    id: u64,
) -> Result<Joined, coordinator::Error> {
    let coordinator = &settings.coordinator;
    let path = settings.data.join(ID_FILE);
    let own = kept_id(&path);
    let id = coordinator.join(own, ClusterId(id), WITHIN).await?;
    if own.is_none()
        && let Err(error) = std::fs::write(&path, format!("{:016x}\n", id.0))
    {
        tracing::warn!(path = %path.display(), %error, "the cluster's id is not kept; a mix-up of clusters may go unnoticed");
    }
    // The same of all services.
    if let Some(service) = settings.services().next() {
        for (name, span_us) in [
            ("lease_ms", service.spans.lease_us),
            ("margin_ms", service.spans.margin_us),
        ] {
            let span_ms = (span_us / 1_000).to_string();
            coordinator.agree(name, &span_ms, WITHIN).await?;
        }
    }
    let registration = Registration {
        name: settings.node.clone(),
        address: settings.peer_advertise,
        version: settings.version.clone(),
        incarnation,
    };
    let own = coordinator.register(&registration, WITHIN).await?;
    let members = coordinator.members(WITHIN).await?;
    let own = own.node;
    Ok(Joined { own, id, members })
}

fn kept_id(path: &Path) -> Option<ClusterId> {
    let text = std::fs::read_to_string(path).ok()?;
    u64::from_str_radix(text.trim(), 16).ok().map(ClusterId)
}

/// Follows who the members are, and tells the thread when that changes. A node that starts anew elsewhere is found so.
pub(crate) async fn attend(
    coordinator: Arc<Coordinator>,
    services: Vec<ServiceSettings>,
    inbox: Arc<ClusterInbox>,
) {
    let mut known = Vec::new();
    loop {
        if let Ok(members) = coordinator.members(WITHIN).await {
            let places = places(&members);
            let preferences: Vec<Vec<NodeId>> = services
                .iter()
                .map(|service| preference(service, &members))
                .collect();
            let now = (places.clone(), preferences.clone());
            if known != [now.clone()] {
                known = vec![now];
                inbox.push(Order::Members {
                    places,
                    preferences,
                });
            }
        }
        tokio::time::sleep(MEMBERS_INTERVAL).await;
    }
}

pub(super) fn places(members: &[Member]) -> Vec<Place> {
    let place = |member: &Member| Place {
        number: member.node.index() as u8,
        name: member.registration.name.clone(),
        address: member.registration.address,
    };
    members.iter().map(place).collect()
}

/// The members of a service that have registered, in order of preference.
pub(super) fn preference(service: &ServiceSettings, members: &[Member]) -> Vec<NodeId> {
    let find = |name: &String| {
        let found = members
            .iter()
            .find(|member| member.registration.name == *name);
        found.map(|member| member.node)
    };
    service.members.iter().filter_map(find).collect()
}
