//! The world of a run: nodes, clocks, network, coordinator, and one queue of what happens next.

mod coordination;
mod fault;
mod process;
mod script;
mod wire;
mod work;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use cluster::invariant::{self, Grant};
use cluster::ownership::{Cause, Phase};
use cluster::{Held, Identity, NodeId, Outcome, Output, RequestId, Revision, Service, Time};

use crate::coordinator::{Coordinator, Request};
use crate::network::Network;
use crate::oracle::{Truth, Violation, Waiting, version_in};
use crate::plan::Plan;
use crate::random::Random;

pub use fault::Blow;

/// A node's clock: its own zero, and its own idea of how long a second is.
#[derive(Clone, Copy, Debug)]
struct Clock {
    offset_us: u64,
    ppm: i64,
}

impl Clock {
    fn local(self, now_us: u64) -> Time {
        let gone = i128::from(now_us) * i128::from(1_000_000 + self.ppm) / 1_000_000;
        Time(self.offset_us + gone as u64)
    }

    /// The first moment of the world at which this clock shows `local` or later.
    fn world(self, local: Time) -> u64 {
        let gone = i128::from(local.0.saturating_sub(self.offset_us));
        let rate = i128::from(1_000_000 + self.ppm);
        u64::try_from((gone * 1_000_000 + rate - 1) / rate).unwrap_or(u64::MAX)
    }
}

/// What a process is given.
#[derive(Clone, Debug)]
enum Input {
    Frame {
        from: usize,
        bytes: Vec<u8>,
    },
    Disconnected {
        peer: usize,
    },
    Answer {
        service: usize,
        request: RequestId,
        outcome: Outcome,
    },
    Watch {
        service: usize,
        revision: Revision,
        record: cluster::Record,
    },
    Wake {
        service: usize,
        at_us: u64,
    },
    Work {
        service: usize,
        epoch: cluster::Epoch,
    },
    Fenced {
        service: usize,
        attempt: u64,
        succeeded: bool,
    },
    Switchover {
        service: usize,
    },
    Leave {
        leaving: bool,
    },
    Configure {
        service: usize,
        members: Vec<u8>,
    },
}

/// Who asked the coordinator.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Process { life: u64, request: RequestId },
    Supervisor { dead: Identity, tries: u8 },
}

#[derive(Clone, Debug)]
enum Event {
    Input {
        node: usize,
        life: u64,
        input: Input,
    },
    Arrive {
        from: usize,
        to: usize,
        connection: u64,
        number: u64,
        late: bool,
        bytes: Vec<u8>,
    },
    Connect {
        low: usize,
        high: usize,
    },
    Connected {
        low: usize,
        high: usize,
        connection: u64,
    },
    BreakIfCut {
        low: usize,
        high: usize,
        connection: u64,
    },
    EndSees {
        low: usize,
        high: usize,
        connection: u64,
        end: usize,
    },
    Request {
        node: usize,
        service: usize,
        asker: Asker,
        request: Request,
    },
    Answer {
        node: usize,
        service: usize,
        asker: Asker,
        outcome: Outcome,
    },
    Thaw {
        node: usize,
    },
    Reap {
        node: usize,
        dead: Identity,
    },
    Start {
        node: usize,
        life: u64,
    },
    Fault,
    Heal {
        blow: Blow,
    },
    Strike {
        blow: Blow,
        lasts_us: u64,
    },
}

struct Scheduled {
    at_us: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

/// A service in a process, with the application that uses it.
struct Run {
    machine: Service,
    held: Held<Waiting>,
    /// Authority as the application was told of it.
    acts: bool,
    paused: bool,
    wake_us: u64,
}

struct Process {
    identity: Identity,
    runs: Vec<Run>,
}

/// Effects that a process had decided on when it froze.
struct Deferred {
    service: usize,
    out: Output,
    at: usize,
}

struct Node {
    id: NodeId,
    clock: Clock,
    life: u64,
    process: Option<Process>,
    frozen_until_us: u64,
    deferred: VecDeque<Deferred>,
    waiting: VecDeque<Input>,
    /// The kernel's deadline for each service's address.
    kernel: Vec<Option<Time>>,
    /// Requests reach the coordinator; its answers reach us.
    reach: [bool; 2],
    /// How much longer the coordinator's answers take to get here.
    answers_late_us: u64,
    leaving: bool,
    /// When something last went wrong with it.
    disturbed_us: u64,
}

/// Counts what a run has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Transitions of the ownership machine.
    pub steps: BTreeMap<(Phase, Cause, Phase), u64>,
    /// Other things worth knowing about.
    pub notes: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Coverage) {
        for (&step, &count) in &other.steps {
            *self.steps.entry(step).or_default() += count;
        }
        for (&note, &count) in &other.notes {
            *self.notes.entry(note).or_default() += count;
        }
    }
}

/// A cluster, its surroundings and what is known about both.
pub struct World {
    plan: Plan,
    random: Random,
    now_us: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    nodes: Vec<Node>,
    network: Network,
    coordinator: Coordinator,
    truths: Vec<Truth>,
    members: Vec<Vec<u8>>,
    healed: bool,
    /// The coordinator has lost writes: whoever may act still is alone, and no more is promised.
    restored: bool,
    takes_all: bool,
    violation: Option<Violation>,
    coverage: Coverage,
    trace: u64,
    text: Vec<String>,
    out: Output,
    lives: u64,
}

impl World {
    /// The cluster of a plan, all processes about to start.
    pub fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed);
        let services = plan.services.len();
        let nodes = (0..plan.nodes).map(|number| Node {
            id: node_id(usize::from(number)),
            clock: Clock {
                offset_us: random.between(0, 1_000_000_000),
                ppm: random.between(0, 2 * plan.clock_ppm.unsigned_abs()) as i64 - plan.clock_ppm,
            },
            life: 0,
            process: None,
            frozen_until_us: 0,
            deferred: VecDeque::new(),
            waiting: VecDeque::new(),
            kernel: vec![None; services],
            reach: [true, true],
            answers_late_us: 0,
            leaving: false,
            disturbed_us: 0,
        });
        let nodes: Vec<Node> = nodes.collect();
        let mut world = World {
            network: Network::new(nodes.len()),
            coordinator: Coordinator::new(services),
            truths: (0..services).map(|_| Truth::default()).collect(),
            members: plan.services.clone(),
            random,
            now_us: 0,
            order: 0,
            queue: BinaryHeap::new(),
            nodes,
            healed: false,
            restored: false,
            takes_all: false,
            violation: None,
            coverage: Coverage::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            text: Vec::new(),
            out: Output::new(),
            lives: 0,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            let at_us = self.random.between(0, 200_000);
            self.after(at_us, Event::Start { node, life: 0 });
            for high in node + 1..self.nodes.len() {
                let at_us = self.random.between(0, 100_000);
                self.after(at_us, Event::Connect { low: node, high });
            }
        }
        if self.plan.faults.every_us > 0 {
            self.after(self.plan.faults.every_us, Event::Fault);
        }
    }

    /// What the world's clock shows, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// What the run has reached.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// A hash of everything that happened.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// What happened, in words, if the plan is verbose.
    pub fn text(&self) -> &[String] {
        &self.text
    }

    /// Runs until this moment.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_until(&mut self, until_us: u64) -> Result<(), Violation> {
        // A cluster at work has some thousand events a second.
        let mut left = 200_000 + (until_us.saturating_sub(self.now_us)) / 5;
        while self.violation.is_none() {
            let Some(Reverse(next)) = self.queue.peek() else {
                break;
            };
            if next.at_us > until_us {
                break;
            }
            let Some(Reverse(Scheduled { at_us, event, .. })) = self.queue.pop() else {
                break;
            };
            self.now_us = at_us;
            left -= 1;
            if left == 0 {
                self.violation = Some(Violation::Spinning { at_us });
            }
            self.happen(event);
        }
        self.now_us = self.now_us.max(until_us);
        self.violation.clone().map_or(Ok(()), Err)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { node, life, input } => {
                if self.nodes[node].life == life {
                    self.deliver(node, input);
                }
            }
            Event::Arrive {
                from,
                to,
                connection,
                number,
                late,
                bytes,
            } => {
                self.arrive(from, to, (connection, number, late), bytes);
            }
            Event::Connect { low, high } => self.connect(low, high),
            Event::Connected {
                low,
                high,
                connection,
            } => self.connected(low, high, connection),
            Event::BreakIfCut {
                low,
                high,
                connection,
            } => self.break_if_cut(low, high, connection),
            Event::EndSees {
                low,
                high,
                connection,
                end,
            } => self.end_sees(low, high, connection, end),
            Event::Request {
                node,
                service,
                asker,
                request,
            } => {
                self.request_arrives(node, service, asker, request);
            }
            Event::Answer {
                node,
                service,
                asker,
                outcome,
            } => {
                self.answer_arrives(node, service, asker, outcome);
            }
            Event::Thaw { node } => self.thaw(node),
            Event::Reap { node, dead } => self.reap(node, dead),
            Event::Start { node, life } => self.start(node, life),
            Event::Fault => self.fault(),
            Event::Heal { blow } => self.heal(blow),
            Event::Strike { blow, lasts_us } => self.strike_for(blow, lasts_us),
        }
    }

    fn after(&mut self, span_us: u64, event: Event) {
        self.at(self.now_us.saturating_add(span_us), event);
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.order += 1;
        let order = self.order;
        self.queue.push(Reverse(Scheduled {
            at_us,
            order,
            event,
        }));
    }

    /// Adds to the trace.
    fn note(&mut self, what: &'static str, numbers: &[u64]) {
        let mut mix = |word: u64| {
            self.trace = (self.trace ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
        };
        mix(self.now_us);
        what.bytes().for_each(|byte| mix(u64::from(byte)));
        numbers.iter().for_each(|&number| mix(number));
        if self.plan.verbose {
            self.text
                .push(format!("{:>10} {what} {numbers:?}", self.now_us));
        }
    }

    /// Something is wrong with a node, until this moment at least.
    fn disturb(&mut self, node: usize, until_us: u64) {
        let disturbed_us = &mut self.nodes[node].disturbed_us;
        *disturbed_us = until_us.max(*disturbed_us);
    }

    fn count(&mut self, what: &'static str) {
        *self.coverage.notes.entry(what).or_default() += 1;
    }

    fn broken(&mut self, violation: Violation) {
        let alone = matches!(&violation, Violation::Broken { what, .. } if matches!(what, invariant::Broken::TwoOwners { .. }));
        if self.restored && !alone {
            return;
        }
        self.violation.get_or_insert(violation);
    }

    /// The kernel's deadlines of all nodes for a service, as they are now.
    fn grants(&self, service: usize) -> impl Iterator<Item = Grant> {
        let now_us = self.now_us;
        self.nodes.iter().filter_map(move |node| {
            let until = node.kernel[service]?;
            Some(Grant {
                node: node.id,
                now: node.clock.local(now_us),
                until,
            })
        })
    }

    /// Who may act for a service now.
    pub fn owner(&self, service: usize) -> Option<usize> {
        let owner = invariant::one_owner(self.grants(service)).ok()?;
        owner.map(NodeId::index)
    }

    fn check_owners(&mut self, service: usize) {
        if let Err(what) = invariant::one_owner(self.grants(service)) {
            self.broken(Violation::Broken { service, what });
        }
    }

    /// How many outputs of a service have left, and when the last did.
    pub fn left(&self, service: usize) -> (u64, u64) {
        (self.truths[service].left, self.truths[service].left_us)
    }

    /// Whether all nodes whose tables are whole up to the same batch hold the same.
    fn tables_agree(&self, service: usize) -> bool {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let machines = processes.map(|process| &process.runs[service].machine);
        let mut seen: Vec<(cluster::wire::message::Position, Vec<Option<u64>>)> = Vec::new();
        for machine in machines {
            let Some(position) = machine.position() else {
                continue;
            };
            let table = machine.table();
            let content: Vec<Option<u64>> =
                (0..work::KEYS).map(|key| version_in(table, key)).collect();
            match seen.iter().find(|other| other.0 == position) {
                Some(other) if other.1 != content => return false,
                Some(_) => {}
                None => seen.push((position, content)),
            }
        }
        true
    }

    /// How each node stands, for a person.
    pub fn standing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (service, run) in node
                .process
                .iter()
                .flat_map(|process| process.runs.iter().enumerate())
            {
                lines.push(format!("node {index} service {service}: {:?}", run.machine));
            }
        }
        lines
    }

    /// Whether nobody who is in sync is left, and the operator wants no claim without.
    pub fn is_given_up(&self, service: usize) -> bool {
        let (_, Some(record)) = self.coordinator.current(service) else {
            return false;
        };
        let whole = |node: NodeId| {
            let process = self.nodes[node.index()].process.as_ref();
            let position =
                process.and_then(|process| process.runs.get(service)?.machine.position());
            position.is_some_and(|position| position.epoch == record.epoch)
        };
        self.plan.settings.grace_us.is_none() && !record.in_sync.iter().any(whole)
    }

    /// Whether a service is as it should be when nothing is wrong.
    ///
    /// # Errors
    /// [`Violation::Unsettled`].
    pub fn settled(&self, service: usize) -> Result<(), Violation> {
        let unsettled = |why| Err(Violation::Unsettled { service, why });
        if self.is_given_up(service) {
            return Ok(());
        }
        let Some(owner) = self.owner(service) else {
            return unsettled("nobody owns it");
        };
        let (_, record) = self.coordinator.current(service);
        let Some(record) = record else {
            return unsettled("there is no record");
        };
        if record.owner.index() != owner || record.is_released() {
            return unsettled("the record names another owner");
        }
        let members: cluster::NodeSet = self.members[service]
            .iter()
            .map(|&node| node_id(usize::from(node)))
            .collect();
        if record.members != members {
            return unsettled("the record has other members than the configuration");
        }
        if record.in_sync != members {
            return unsettled("not all members are in sync");
        }
        if !self.tables_agree(service) {
            return unsettled("two tables at the same batch differ");
        }
        Ok(())
    }
}

/// The node with this index.
fn node_id(index: usize) -> NodeId {
    u8::try_from(index)
        .ok()
        .and_then(NodeId::new)
        .expect("a cluster has few nodes")
}
