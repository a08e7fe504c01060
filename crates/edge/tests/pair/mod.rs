//! An owner, its standby, and phones around them, with a death at any step.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test file uses its part"
)]

mod phone;

use std::collections::BTreeMap;

use edge::{Office, Settings};
use records::{Batch, Changes, Ops};
use transaction::Flow;

pub use phone::{Phone, Plan};

use crate::rig::{Rig, Sip, tcp, udp};

/// One way through the network.
const LATENCY_MS: u64 = 5;
/// How long there is no owner.
const GAP_MS: u64 = 300;
/// After this everything is forgotten.
const FORGETS_MS: u64 = 500_000;

/// What the owner had done of its last step when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Died {
    /// It had not committed.
    BeforeCommit,
    /// It had committed, and sent nothing.
    BeforeSending,
    /// It was done.
    After,
}

enum Wire {
    ToEdge(Flow, String),
    ToPhone(Sip),
}

pub struct Pair {
    pub nodes: [Rig; 2],
    pub acting: Option<usize>,
    pub now_ms: u64,
    pub phones: Vec<Phone>,
    wire: BTreeMap<(u64, u64), Wire>,
    sequence: u64,
    pub steps: usize,
    dies: Option<(usize, Died)>,
    /// So many steps after its takeover the second owner dies too, and the first, begun anew, has taken the records in.
    pub dies_again_after: Option<usize>,
    /// What the records are now, as the standby's side of the stream has them.
    pub table: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
    standby: Option<usize>,
    /// Whether the owner writes fields and kinds that its standby does not know.
    pub is_newer: bool,
    takes_over_at: Option<u64>,
    reconnects_at: Option<u64>,
    pub has_died: bool,
    /// What happened, for when it fails.
    log: Vec<String>,
    /// Bytes and number of changes that were streamed.
    pub streamed: (usize, usize),
}

impl Pair {
    pub fn new(settings: &Settings, phones: Vec<Phone>, dies: Option<(usize, Died)>) -> Pair {
        let node = || {
            let mut rig = Rig::with(settings.clone());
            rig.edge.join(settings);
            rig.output.has_standby = true;
            rig
        };
        let mut pair = Pair {
            nodes: [node(), node()],
            acting: None,
            now_ms: 1_000,
            phones,
            wire: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            dies: None,
            dies_again_after: None,
            table: BTreeMap::new(),
            standby: Some(1),
            is_newer: false,
            takes_over_at: None,
            reconnects_at: None,
            has_died: false,
            log: Vec::new(),
            streamed: (0, 0),
        };
        pair.take_office(0);
        pair.dies = dies;
        pair
    }

    /// Does the same to both nodes, as the configuration and the store would.
    pub fn both(&mut self, mut work: impl FnMut(&mut Rig)) {
        self.nodes.iter_mut().for_each(&mut work);
    }

    fn take_office(&mut self, node: usize) {
        let rig = &mut self.nodes[node];
        rig.now_ms = self.now_ms;
        let (now, settings) = (rig.now(), rig.settings.clone());
        let epoch = 1 + node as u64;
        rig.edge
            .take_office(&settings, now, epoch, &mut rig.users, &mut rig.output);
        assert_eq!(rig.edge.office(), Office::Owner { epoch });
        rig.collect();
        self.acting = Some(node);
    }

    fn put(&mut self, after_ms: u64, wire: Wire) {
        self.sequence += 1;
        self.wire
            .insert((self.now_ms + after_ms, self.sequence), wire);
    }

    /// One turn of the owner.
    fn step(&mut self, work: impl FnOnce(&mut Rig)) {
        let Some(node) = self.acting else { return };
        let rig = &mut self.nodes[node];
        rig.now_ms = self.now_ms;
        rig.users.farm.now_ms = self.now_ms;
        work(rig);
        let now = rig.now();
        rig.edge.note(now, &mut rig.users, &mut rig.output);
        let changes = std::mem::take(&mut rig.output.changes);
        let sent = rig.take();
        if changes.is_empty() && sent.is_empty() {
            return;
        }
        self.steps += 1;
        let died = self.dies.filter(|(step, _)| *step == self.steps);
        let died = died.map(|(_, died)| died);
        if died == Some(Died::BeforeCommit) {
            return self.die();
        }
        self.replicate(&changes);
        if died == Some(Died::BeforeSending) {
            return self.die();
        }
        for sip in sent {
            self.put(LATENCY_MS, Wire::ToPhone(sip));
        }
        if died.is_some() {
            self.die();
        }
    }

    /// Kills the owner between two steps.
    pub fn kill(&mut self) {
        self.die();
    }

    fn die(&mut self) {
        self.acting = None;
        self.has_died = true;
        self.takes_over_at = Some(self.now_ms + GAP_MS);
        // Nobody has a connection to the next owner.
        let standby = &mut self.nodes[self.standby.expect("a standby")];
        for phone in self.phones.iter().filter(|phone| phone.is_tcp) {
            let at = phone.at.parse().expect("an address");
            standby.users.closed.insert(at);
        }
    }

    fn replicate(&mut self, changes: &Changes) {
        for op in changes.iter() {
            let key = (op.kind, op.key.to_vec());
            match op.value {
                Some(value) => self.table.insert(key, value.to_vec()),
                None => self.table.remove(&key),
            };
        }
        let Some(standby) = self.standby else { return };
        let (mut from, mut batch) = (0, Batch::new());
        let standby = &mut self.nodes[standby];
        standby.now_ms = self.now_ms;
        let now = standby.now();
        while from < changes.len() {
            batch.clear();
            from = changes.fill(from, &mut batch);
            self.streamed.0 += batch.bytes().len();
            let mut ops = Ops::new(batch.bytes());
            while let Some(op) = ops.op().expect("it is whole") {
                self.streamed.1 += 1;
                let mut newer = op.value.map(<[u8]>::to_vec);
                if self.is_newer {
                    if let Some(value) = &mut newer {
                        records::tlv::write_bytes(77, b"of a later version", value);
                    }
                    let unknown = records::Op { kind: 99, ..op };
                    let applied = standby.edge.apply(now, &unknown, &mut standby.users);
                    assert_eq!(applied, Ok(()));
                }
                let op = records::Op {
                    value: newer.as_deref(),
                    ..op
                };
                let applied = standby.edge.apply(now, &op, &mut standby.users);
                assert_eq!(applied, Ok(()), "{op:?}");
            }
        }
    }

    /// Feeds the owner a message of a phone.
    pub fn feed(&mut self, flow: Flow, text: &str) {
        self.step(|rig| rig.feed_on(flow, text));
    }

    /// Lets the owner do something in a step of its own.
    pub fn turn(&mut self, work: impl FnOnce(&mut Rig)) {
        self.step(work);
    }

    /// Takes what is on its way to a peer that is no phone.
    pub fn sent_to(&mut self, peer: &str) -> Option<Sip> {
        let is_to = |wire: &Wire| match wire {
            Wire::ToPhone(sip) => sip.flow.remote.to_string() == peer,
            Wire::ToEdge(..) => false,
        };
        let key = *self.wire.iter().find(|(_, wire)| is_to(wire))?.0;
        match self.wire.remove(&key) {
            Some(Wire::ToPhone(sip)) => Some(sip),
            _ => None,
        }
    }

    fn flush_phones(&mut self) {
        for at in 0..self.phones.len() {
            let phone = &mut self.phones[at];
            let flow = match phone.is_tcp {
                true => tcp(&phone.at),
                false => udp(&phone.at),
            };
            for text in std::mem::take(&mut phone.out) {
                self.put(LATENCY_MS, Wire::ToEdge(flow, text));
            }
        }
    }

    fn next(&self) -> Option<u64> {
        let wire = self.wire.keys().next().map(|(due, _)| *due);
        let phones = self.phones.iter().filter_map(Phone::next).min();
        let edge = self.acting.and_then(|node| {
            let rig = &self.nodes[node];
            let now = transaction::Time::from_ms(self.now_ms);
            rig.edge.next(now).map(|next| next.as_ms())
        });
        let dues = [wire, phones, edge, self.takes_over_at, self.reconnects_at];
        dues.into_iter().flatten().min()
    }

    /// Lets time pass until `end_ms`.
    pub fn run_until(&mut self, end_ms: u64) {
        self.flush_phones();
        while let Some(next) = self.next().filter(|next| *next <= end_ms) {
            self.now_ms = next.max(self.now_ms);
            if self.takes_over_at.is_some_and(|at| at <= self.now_ms) {
                self.takes_over_at = None;
                let heir = self.standby.take().expect("a standby");
                self.take_office(heir);
                self.join_again(1 - heir);
                self.reconnects_at = Some(self.now_ms + 50);
            }
            if self.reconnects_at.is_some_and(|at| at <= self.now_ms) {
                self.reconnects_at = None;
                self.reconnect();
            }
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now_ms {
                    break;
                }
                match entry.remove() {
                    Wire::ToEdge(flow, text) => {
                        let first = text.lines().next().unwrap_or_default();
                        let line = format!(
                            "{} {} > {:?} {first}",
                            self.now_ms, flow.remote, self.acting
                        );
                        self.log.push(line);
                        self.feed(flow, &text);
                    }
                    Wire::ToPhone(sip) => {
                        let line = format!("{} > {} {}", self.now_ms, sip.flow.remote, sip.first());
                        self.log.push(line);
                        let (to, now) = (sip.flow.remote.to_string(), self.now_ms);
                        let mut phones = self.phones.iter_mut();
                        if let Some(phone) = phones.find(|phone| phone.at == to) {
                            phone.receive(sip, now);
                        }
                    }
                }
                self.flush_phones();
            }
            for phone in &mut self.phones {
                phone.poll(self.now_ms);
            }
            self.flush_phones();
            self.step(Rig::poll);
            self.now_ms += u64::from(self.next() == Some(self.now_ms));
        }
        self.now_ms = end_ms;
    }

    fn reconnect(&mut self) {
        for at in 0..self.phones.len() {
            if !self.phones[at].is_tcp {
                continue;
            }
            self.phones[at].reconnect();
            let flow = tcp(&self.phones[at].at);
            let (user, contact) = self.phones[at].binding();
            let heir = self.acting.expect("an owner");
            {
                let aor = format!("{user}@example.org");
                let location = &mut self.nodes[heir].users.location;
                location.remove(aor.as_bytes(), |_| {});
                self.nodes[heir].bind(user, &contact, 1_000, Some(flow), "");
            }
        }
        self.flush_phones();
    }

    /// A node begins anew as a member and is told everything, in an order of no meaning.
    fn join_again(&mut self, node: usize) {
        let Some(after) = self.dies_again_after.take() else {
            return;
        };
        self.dies = Some((self.steps + after, Died::BeforeSending));
        let rig = &mut self.nodes[node];
        rig.now_ms = self.now_ms;
        let now = rig.now();
        rig.edge.leave_office(now, &mut rig.users);
        rig.edge = edge::Edge::new(now.time, (7, 8), &rig.settings);
        rig.edge.join(&rig.settings);
        for ((kind, key), value) in self.table.iter().rev() {
            let op = records::Op {
                kind: *kind,
                key,
                value: Some(value),
            };
            assert_eq!(rig.edge.apply(now, &op, &mut rig.users), Ok(()));
        }
        self.standby = Some(node);
    }

    /// Lets everything be forgotten, and asserts that it is.
    #[track_caller]
    pub fn forgets(&mut self) {
        self.run_until(self.now_ms + FORGETS_MS);
        let acting = self.acting.expect("an owner");
        self.nodes[acting].now_ms = self.now_ms;
        self.nodes[acting].has_forgotten();
        assert_eq!(self.nodes[acting].edge.counters().records_lacking, 0);
        assert!(
            self.table
                .keys()
                .all(|(kind, _)| *kind == edge::record::BINDING)
        );
        if let Some(standby) = self.standby {
            let standby = &self.nodes[standby];
            assert_eq!(standby.edge.tables(), edge::Tables::default(), "standby");
            assert_eq!(standby.edge.calls().len(), 0, "calls of the standby");
            assert_eq!(standby.users.media.in_use(), 0, "ports of the standby");
            standby.users.farm.has_forgotten();
        }
    }
}

/// Runs a scenario once for each step at which the owner may die and each way in which it may, and once without a death.
/// Gives how many runs there were.
#[track_caller]
pub fn with_every_death(mut scenario: impl FnMut(Option<(usize, Died)>) -> Pair) -> usize {
    let whole = scenario(None);
    let mut runs = 1;
    for step in 1..=whole.steps {
        for died in [Died::BeforeCommit, Died::BeforeSending, Died::After] {
            let run = std::panic::AssertUnwindSafe(|| scenario(Some((step, died))));
            match std::panic::catch_unwind(run) {
                Ok(_) => runs += 1,
                Err(_) => panic!("it failed when the owner died at step {step}, {died:?}"),
            }
        }
    }
    runs
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
