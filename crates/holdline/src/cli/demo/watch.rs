//! Looks at the nodes by their admin API, and hears what they tell.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admin::{Binding, Call, Event, Page, Stamped, Status};

use super::Failure;
use super::layout::{EDGES, Layout, NODES};
use crate::client::Client;

/// How often a node is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_millis(800);
/// How many looks apart its calls and phones are looked at, which are long lists.
const LISTS_EVERY: u32 = 5;
/// Before a node is listened to again.
const EVENTS_PAUSE: Duration = Duration::from_millis(300);
/// Events that nobody has taken yet; the oldest go.
const EVENTS_MAX: usize = 1_024;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What each node says of itself; none where it does not answer.
    pub(super) nodes: [Option<Status>; NODES.len()],
    /// How the calls of the edge sound.
    pub(super) mos: Vec<f64>,
    /// Of the users that the demo gives to people, those who have a phone here.
    pub(super) here: Vec<String>,
}

/// Who looks, until this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    events: Arc<Mutex<VecDeque<(usize, Event)>>>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Begins to look at all nodes. `guests` are addresses of record.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn start(layout: &Layout, guests: &[String]) -> Result<Watch, Failure> {
        let watch = Watch {
            seen: Arc::default(),
            events: Arc::default(),
            is_over: Arc::default(),
        };
        for node in 0..NODES.len() {
            let look = Look {
                node,
                client: Client::impatient(&layout.admin(node), PATIENCE),
                guests: guests.to_vec(),
                seen: watch.seen.clone(),
            };
            let is_over = watch.is_over.clone();
            begin(move || look.look_on(&is_over))?;
            if node < EDGES {
                let (base, events) = (layout.admin(node), watch.events.clone());
                let is_over = watch.is_over.clone();
                begin(move || listen(node, &base, &events, &is_over))?;
            }
        }
        Ok(watch)
    }

    /// What was seen last.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told since the last call, and by which node.
    pub(super) fn events(&self) -> Vec<(usize, Event)> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.drain(..).collect()
    }
}

fn begin(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("demo-watch".to_owned());
    thread.spawn(work).map(drop).map_err(Failure::Input)
}

/// Looks at one node.
struct Look {
    node: usize,
    client: Client,
    guests: Vec<String>,
    seen: Arc<Mutex<Seen>>,
}

impl Look {
    fn look_on(&self, is_over: &AtomicBool) {
        let mut looks = 0_u32;
        while !is_over.load(Ordering::Relaxed) {
            let status = self.client.get::<Status>("/api/status").ok();
            let owns = status.as_ref().is_some_and(is_owner);
            self.seen().nodes[self.node] = status;
            if owns && looks.is_multiple_of(LISTS_EVERY) {
                self.look_at_lists();
            }
            looks = looks.wrapping_add(1);
            std::thread::sleep(LOOK);
        }
    }

    fn look_at_lists(&self) {
        if let Ok(calls) = self.client.get::<Page<Call>>("/api/calls?limit=200") {
            let legs = calls.items.iter().flat_map(|call| &call.media);
            let mos = legs.filter(|leg| leg.selected || leg.side == 0);
            self.seen().mos = mos.filter_map(|leg| leg.mos).collect();
        }
        let is_here = |guest: &&String| {
            let path = format!("/api/registrations?aor={}", crate::client::escaped(guest));
            let page = self.client.get::<Page<Binding>>(&path);
            page.is_ok_and(|page| !page.items.is_empty())
        };
        let here: Vec<String> = self.guests.iter().filter(is_here).cloned().collect();
        self.seen().here = here;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the node owns a service in which phones register.
fn is_owner(status: &Status) -> bool {
    let cluster = status.cluster.as_ref();
    cluster.is_some_and(|cluster| {
        let services = cluster.services.iter();
        services
            .filter(|service| service.name == super::layout::EDGE_SERVICE)
            .any(|service| service.phase == "owner")
    })
}

/// Hears what a node tells, again and again.
fn listen(node: usize, base: &str, events: &Mutex<VecDeque<(usize, Event)>>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(stream) = Client::events(base) {
            let lines = BufReader::new(stream).lines();
            for line in lines.map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Those of a later version are passed over.
                if let Ok(stamped) = serde_json::from_str::<Stamped>(&line) {
                    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
                    if events.len() >= EVENTS_MAX {
                        events.pop_front();
                    }
                    events.push_back((node, stamped.event));
                }
            }
        }
        std::thread::sleep(EVENTS_PAUSE);
    }
}
