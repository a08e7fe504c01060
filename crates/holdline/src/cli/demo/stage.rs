//! The platform as it runs: brings it up, does what is asked to it, and knows how it stands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use admin::{Event, ServiceStatus, State, Status};
use load::{Histogram, Tally};
use serde_json::{Value, json};

use super::Failure;
use super::calls::{Calls, failures, lost, users};
use super::layout::{Layout, NODES, SERVICES};
use super::nodes::Nodes;
use super::probe::Probe;
use super::snapshot::{
    CallsView, Felt, Join, NodeState, NodeView, ServiceView, Snapshot, TargetView,
};
use super::story::Verb;
use super::watch::{Seen, Watch};
use super::{host, random_text};
use crate::client::Client;

/// How long the platform may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take for a verb.
const VERB_PATIENCE: Duration = Duration::from_secs(3);
/// How far back pauses are looked at.
const WINDOW: Duration = Duration::from_secs(5);
/// After which time a pause is no longer put down to what was done before it, once the service is back.
const FELT: Duration = Duration::from_secs(5);
/// Things that happened which are kept.
const EVENTS_MAX: usize = 10_000;
/// Lines of a node's log that are shown when it does not come up.
const LOG_LINES: usize = 5;

/// How far the platform has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// The first edge makes the store.
    First,
    /// The users are there, and the others start.
    Others,
    /// Calls go on.
    Open,
}

/// What is being felt.
struct Feeling {
    felt: Felt,
    begun: Instant,
    probe: Option<Probe>,
    pause: Histogram,
    lost: u64,
}

/// Pauses until some moments in the last seconds.
type Moments = VecDeque<(Instant, Histogram)>;

/// The platform.
pub(super) struct Stage {
    layout: Layout,
    nodes: Nodes,
    watch: Watch,
    calls: Option<Calls>,
    calls_wanted: u32,
    /// The password of the demo's own phones.
    password: String,
    opening: Opening,
    begun: Instant,
    join: Join,
    feeling: Option<Feeling>,
    felt: Vec<Felt>,
    events: VecDeque<(u64, String)>,
    moments: Moments,
    /// How late the heartbeats of each node came at most, in microseconds; a node that starts again counts anew.
    late_us: [u64; NODES.len()],
}

impl Stage {
    /// Begins to bring it up; [`look`](Stage::look) goes on with it.
    ///
    /// # Errors
    /// Files or processes that cannot be made.
    pub(super) fn open(
        layout: Layout,
        users: Vec<(String, String)>,
        calls: u32,
    ) -> Result<Stage, Failure> {
        let mut nodes = Nodes::prepare(&layout)?;
        let of_guest = |(name, _): &(String, String)| format!("{name}@{}", host(layout.address));
        let guests: Vec<String> = users.iter().map(of_guest).collect();
        nodes.start(0)?;
        Ok(Stage {
            watch: Watch::start(&layout, &guests)?,
            join: Join {
                at: layout.join(),
                users,
                here: Vec::new(),
            },
            layout,
            nodes,
            calls: None,
            calls_wanted: calls,
            password: random_text().map_err(Failure::Input)?,
            opening: Opening::First,
            begun: Instant::now(),
            feeling: None,
            felt: Vec::new(),
            events: VecDeque::new(),
            moments: VecDeque::new(),
            late_us: [0; NODES.len()],
        })
    }

    /// Where everything is.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How phones join.
    pub(super) fn join(&self) -> &Join {
        &self.join
    }

    /// Whether everything has been started, the calls too.
    pub(super) fn is_open(&self) -> bool {
        self.opening == Opening::Open
    }

    /// How it stands.
    ///
    /// # Errors
    /// It does not come up.
    pub(super) fn look(&mut self) -> Result<Snapshot, Failure> {
        self.bring_up()?;
        let tally = self.calls.as_ref().map(Calls::tally).unwrap_or_default();
        self.feel(&tally);
        for (node, event) in self.watch.events() {
            let text = match &event {
                Event::ServiceChanged { service, what } => {
                    Some(format!("{}: {service} {what}", NODES[node]))
                }
                event => self.told(event),
            };
            text.into_iter().for_each(|text| self.note(text));
        }
        Ok(self.snapshot(&tally))
    }

    fn at_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Adds a line to what happened.
    pub(super) fn note(&mut self, text: String) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        let at_ms = self.at_ms();
        self.events.push_back((at_ms, text));
    }

    /// What is worth a line: what becomes of services and media servers, and what people do.
    fn told(&self, event: &Event) -> Option<String> {
        let is_guest = |uri: &str| {
            let user = uri.strip_prefix("sip:").unwrap_or(uri).split('@').next();
            self.join
                .users
                .iter()
                .any(|(name, _)| Some(name.as_str()) == user)
        };
        let is_shown = match event {
            Event::Registered { aor, .. }
            | Event::Unregistered { aor, .. }
            | Event::Expired { aor, .. } => is_guest(aor),
            Event::CallStarted { from, to, .. }
            | Event::CallRinging { from, to, .. }
            | Event::CallAnswered { from, to, .. }
            | Event::CallFailed { from, to, .. }
            | Event::CallEnded { from, to, .. } => is_guest(from) || is_guest(to),
            _ => true,
        };
        is_shown.then(|| super::alone::told(event)).flatten()
    }

    /// Goes on with bringing the platform up.
    fn bring_up(&mut self) -> Result<(), Failure> {
        match self.opening {
            Opening::Open => return Ok(()),
            Opening::First => {
                let is_up = self.watch.seen().nodes[0].is_some();
                if is_up {
                    self.import_users()?;
                    for node in 1..NODES.len() {
                        self.nodes.start(node)?;
                    }
                    self.opening = Opening::Others;
                }
            }
            Opening::Others => {
                if self.is_up() {
                    let calls = Calls::start(&self.layout, self.calls_wanted, &self.password)?;
                    self.calls = Some(calls);
                    self.opening = Opening::Open;
                    return Ok(());
                }
            }
        }
        let dead = (0..NODES.len()).find(|node| {
            let has_begun = *node == 0 || self.opening == Opening::Others;
            has_begun && !self.nodes.is_there(*node)
        });
        let late = (0..NODES.len()).find(|node| self.watch.seen().nodes[*node].is_none());
        match (dead, self.begun.elapsed() > PATIENCE) {
            (Some(node), _) => Err(self.not_up(node)),
            (None, true) => Err(self.not_up(late.unwrap_or(0))),
            (None, false) => Ok(()),
        }
    }

    /// Whether phones can register and call.
    fn is_up(&self) -> bool {
        let seen = self.watch.seen();
        let own_phones = users(self.calls_wanted, "").len();
        let users = (own_phones + self.join.users.len()) as u64;
        let has_users = |status: &Status| status.users >= users;
        let is_ready = |node: &Option<Status>| node.is_some();
        let owner = owner(&seen);
        let services = services(&seen);
        let are_whole = services.len() == SERVICES && services.iter().all(ServiceView::is_whole);
        let targets = owner.map(|status| status.pools.iter().flat_map(|pool| &pool.targets));
        are_whole
            && seen.nodes.iter().all(is_ready)
            && owner.is_some_and(has_users)
            && targets.is_some_and(|mut targets| targets.all(|target| target.state == "up"))
    }

    fn not_up(&self, node: usize) -> Failure {
        Failure::NotUp {
            node: NODES[node],
            log: self.nodes.log(node, LOG_LINES),
        }
    }

    fn import_users(&self) -> Result<(), Failure> {
        let host = host(self.layout.address);
        let phones = users(self.calls_wanted, &self.password);
        let phones = phones.iter().map(|user| (&*user.name, &*user.password));
        let guests = self.join.users.iter();
        let all = guests.map(|(name, password)| (name.as_str(), password.as_str()));
        let users: Vec<Value> = all
            .chain(phones)
            .map(
                |(name, password)| json!({ "aor": format!("{name}@{host}"), "password": password }),
            )
            .collect();
        let client = Client::impatient(&self.layout.admin(0), PATIENCE);
        let body = json!({ "users": users, "replace": true });
        client.post::<Value>("/api/users/import", &body)?;
        Ok(())
    }

    /// Does something to a node.
    ///
    /// # Errors
    /// It cannot be started again.
    pub(super) fn act(&mut self, verb: Verb, node: usize) -> Result<(), Failure> {
        let name = NODES[node];
        let is_felt = matches!(verb, Verb::Kill | Verb::Cut | Verb::Freeze | Verb::Drain);
        if is_felt && self.nodes.process(node).is_none() {
            self.note(format!("{name} has no process; heal it first"));
            return Ok(());
        }
        if is_felt {
            self.begin_feeling(verb, node);
        }
        match verb {
            Verb::Kill => {
                self.nodes.kill(node);
            }
            Verb::Cut => {
                self.nodes.cut(node);
            }
            Verb::Freeze => {
                self.nodes.freeze(node);
            }
            Verb::Thaw => {
                self.nodes.thaw(node);
            }
            Verb::Drain => self.set_drained(node, true),
            Verb::Heal => {
                self.nodes.start(node)?;
                self.nodes.thaw(node);
                if self.nodes.is_drained(node) {
                    self.set_drained(node, false);
                }
            }
        }
        Ok(())
    }

    /// Has a node leave its services to the other one, or take part again.
    fn set_drained(&mut self, node: usize, is_drained: bool) {
        let verb = if is_drained { "leave" } else { "join" };
        let client = Client::impatient(&self.layout.admin(node), VERB_PATIENCE);
        let asked = client.post::<Value>(&format!("/api/cluster/{verb}"), &json!({}));
        self.nodes.set_drained(node, is_drained);
        if let Err(error) = asked {
            self.note(format!("not asked: {error}"));
        }
    }

    fn begin_feeling(&mut self, verb: Verb, node: usize) {
        self.end_feeling();
        let tally = self.calls.as_ref().map(Calls::tally).unwrap_or_default();
        // A standby that dies takes nothing away.
        let owned = services(&self.watch.seen())
            .into_iter()
            .find(|service| service.owner.as_deref() == Some(NODES[node]));
        let service = owned.and_then(|service| self.layout.service(&service.name));
        let probe = service.and_then(|service| Probe::start(service).ok());
        let felt = Felt {
            at_ms: self.at_ms(),
            what: format!("{} {}", NODES[node], verb.done()),
            away_ms: probe.as_ref().map(|_| 0),
            is_back: probe.is_none(),
            of: tally.calls.active,
            ..Felt::default()
        };
        self.feeling = Some(Feeling {
            felt,
            begun: Instant::now(),
            probe,
            pause: tally.pause.clone(),
            lost: lost(&tally),
        });
    }

    /// Notes what the calls feel.
    fn feel(&mut self, tally: &Tally) {
        let now = Instant::now();
        self.moments.push_back((now, tally.pause.clone()));
        while self
            .moments
            .front()
            .is_some_and(|(at, _)| now - *at > WINDOW)
        {
            self.moments.pop_front();
        }
        let Some(feeling) = &mut self.feeling else {
            return;
        };
        if let Some(found) = feeling.probe.as_ref().map(Probe::found) {
            feeling.felt.away_ms = Some(found.away_ms);
            feeling.felt.is_back = found.is_back;
        }
        let lasts = !feeling.felt.is_back || feeling.begun.elapsed() < FELT;
        if lasts {
            let pause_us = tally.pause.since(&feeling.pause).max_us();
            let felt_us = feeling.begun.elapsed().as_micros() as u64;
            let gap_us = pause_us.max(tally.silent_us_max.min(felt_us));
            feeling.felt.gap_us = feeling.felt.gap_us.max(gap_us);
        }
        feeling.felt.lost = lost(tally).saturating_sub(feeling.lost);
    }

    fn end_feeling(&mut self) {
        if let Some(feeling) = self.feeling.take() {
            self.felt.push(feeling.felt);
        }
    }

    /// Ends the calls, then the nodes. Gives how it stood at last, and all that was felt.
    ///
    /// # Errors
    /// A thread of the calls has failed.
    pub(super) fn close(mut self) -> Result<(Snapshot, Vec<Felt>), Failure> {
        let before = self.look()?;
        let tally = match self.calls.take() {
            Some(calls) => calls.end()?,
            None => Tally::default(),
        };
        self.feel(&tally);
        self.end_feeling();
        let mut snapshot = self.snapshot(&tally);
        snapshot.calls.wanted = before.calls.wanted;
        Ok((snapshot, self.felt))
    }

    fn snapshot(&mut self, tally: &Tally) -> Snapshot {
        let states: Vec<(NodeState, Option<u32>)> =
            (0..NODES.len()).map(|node| self.state(node)).collect();
        let seen = self.watch.seen();
        let calls = self.calls_view(tally, &seen);
        for (known, status) in self.late_us.iter_mut().zip(&seen.nodes) {
            let cluster = status.as_ref().and_then(|status| status.cluster.as_ref());
            *known = cluster.map_or(*known, |cluster| cluster.late_us_max.max(*known));
        }
        let here = seen.here.iter();
        let here = here.filter_map(|aor| Some(aor.split('@').next()?.to_owned()));
        Snapshot {
            at_ms: self.at_ms(),
            join: Join {
                here: here.collect(),
                ..self.join.clone()
            },
            nodes: states
                .into_iter()
                .enumerate()
                .map(|(node, (state, process))| NodeView {
                    state,
                    process,
                    late_us: self.late_us[node],
                    ..node_view(node, seen.nodes[node].as_ref())
                })
                .collect(),
            services: services(&seen),
            targets: targets(&seen),
            calls,
            felt: self.feeling.as_ref().map(|feeling| feeling.felt.clone()),
            events: self.events.iter().cloned().collect(),
        }
    }

    fn state(&mut self, node: usize) -> (NodeState, Option<u32>) {
        let is_there = self.nodes.is_there(node);
        let is_frozen = self.nodes.is_frozen(node);
        let process = self.nodes.process(node);
        let process = process.and_then(|process| u32::try_from(process.as_raw()).ok());
        let state = match &self.watch.seen().nodes[node] {
            _ if !is_there => NodeState::Down,
            _ if is_frozen => NodeState::Frozen,
            None => NodeState::Starting,
            Some(_) if self.nodes.is_drained(node) => NodeState::Drained,
            Some(status) => match status.state {
                State::Starting => NodeState::Starting,
                State::Draining => NodeState::Drained,
                State::Ready | State::Degraded => NodeState::Up,
            },
        };
        (state, process)
    }

    fn calls_view(&self, tally: &Tally, seen: &Seen) -> CallsView {
        let mut gap_us = (0, 0);
        if let (Some((_, first)), Some((_, last))) = (self.moments.front(), self.moments.back()) {
            let pauses = last.since(first);
            gap_us = (pauses.at_us(500), pauses.max_us());
        }
        let worst = seen.mos.iter().copied().reduce(f64::min);
        let mean = seen.mos.iter().sum::<f64>() / seen.mos.len() as f64;
        CallsView {
            wanted: self.calls.as_ref().map_or(0, |calls| calls.wanted),
            active: tally.calls.active,
            begun: tally.calls.attempted,
            completed: tally.calls.completed,
            lost: lost(tally),
            failures: failures(tally),
            phones: owner(seen).map_or(0, |status| status.bindings),
            set_up_us: (tally.set_up.at_us(500), tally.set_up.at_us(990)),
            mos: worst.map(|worst| (mean, worst)),
            gap_us,
            silent_us: tally.silent_us_max,
        }
    }
}

/// What the owner of the edge's service says of itself.
fn owner(seen: &Seen) -> Option<&Status> {
    seen.nodes.iter().flatten().find(|status| {
        let cluster = status.cluster.as_ref();
        cluster.is_some_and(|cluster| {
            let mut services = cluster.services.iter();
            services.any(|service| {
                service.name == super::layout::EDGE_SERVICE && service.phase == "owner"
            })
        })
    })
}

/// What a node says of itself.
fn node_view(node: usize, status: Option<&Status>) -> NodeView {
    let calls = status.map_or(0, |status| match &status.pbx {
        Some(pbx) => pbx.legs,
        None => status.calls,
    });
    let relay = status.and_then(|status| status.relay.as_ref());
    NodeView {
        name: NODES[node].to_owned(),
        uptime_s: status.map(|status| status.uptime_s),
        calls,
        packets_per_s: relay.map(|relay| relay.packets_per_s),
        ..NodeView::default()
    }
}

/// The services, each as its owner has it, or else as some member does.
fn services(seen: &Seen) -> Vec<ServiceView> {
    let mut views: Vec<(bool, ServiceView)> = Vec::new();
    for status in seen.nodes.iter().flatten() {
        let cluster = status.cluster.iter();
        for service in cluster.flat_map(|cluster| &cluster.services) {
            let is_owner = service.phase == "owner";
            let view = service_view(service, is_owner.then(|| status.node.clone()));
            match views.iter_mut().find(|(_, known)| known.name == view.name) {
                // The one before may not have heard yet.
                Some(known) if is_owner && (!known.0 || view.epoch > known.1.epoch) => {
                    *known = (true, view);
                }
                Some(_) => {}
                None => views.push((is_owner, view)),
            }
        }
    }
    views.into_iter().map(|(_, view)| view).collect()
}

fn service_view(service: &ServiceStatus, owner: Option<String>) -> ServiceView {
    ServiceView {
        name: service.name.clone(),
        owner,
        epoch: service.epoch,
        members: service.members.clone(),
        in_sync: service.in_sync.clone(),
        records: service.records,
        commit_us: service.commit_us,
    }
}

/// The media servers as the owner of the edge has them.
fn targets(seen: &Seen) -> Vec<TargetView> {
    let pools = owner(seen).into_iter().flat_map(|status| &status.pools);
    let targets = pools.flat_map(|pool| {
        pool.targets.iter().map(|target| TargetView {
            pool: pool.pool.clone(),
            target: crate::cli::target::name(target).to_owned(),
            state: target.state.clone(),
            calls: target.calls,
        })
    });
    targets.collect()
}
