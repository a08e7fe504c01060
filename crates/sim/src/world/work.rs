//! The application: an owner's changes, outputs that wait for them, and what a new owner must have.

use cluster::invariant::{self, Broken};
use cluster::ownership::Basis;
use cluster::{Batch, Epoch, Seq};

use super::{Event, Input, World, node_id};
use crate::oracle::{Change, KIND, Violation, Waiting, version_in};

/// Keys of a service.
pub(super) const KEYS: u64 = 40;

impl World {
    /// The owner does something: changes records and answers, or answers from what it knows.
    pub(super) fn work(&mut self, node: usize, service: usize, epoch: Epoch) {
        let now = self.local(node);
        let until = self.nodes[node].kernel[service];
        let Some(run) = self.run(node, service) else {
            return;
        };
        if !run.acts || run.machine.status().epoch != epoch {
            return;
        }
        let acts = !run.paused;
        if acts && until.is_some_and(|until| now < until) {
            self.change(node, service, epoch);
        }
        let mean_us = self.plan.work_us;
        let span_us = self.random.between(mean_us / 2, mean_us * 3 / 2);
        let life = self.nodes[node].life;
        let input = Input::Work { service, epoch };
        self.after(span_us, Event::Input { node, life, input });
    }

    fn change(&mut self, node: usize, service: usize, epoch: Epoch) {
        let now = self.local(node);
        let mut batch = Batch::new();
        let mut tells = Vec::new();
        let key = self.random.between(0, KEYS - 1);
        let only_reads = self.random.one_in(4);
        if !only_reads {
            for _ in 0..self.random.between(1, 3) {
                tells.push(self.one_change(service, &mut batch));
            }
        }
        let Some(run) = self.run(node, service) else {
            return;
        };
        let needs = if only_reads {
            // What it answers from may not be committed yet.
            let last = run
                .machine
                .position()
                .map_or(Seq(0), |position| position.seq);
            if let Some(version) = version_in(run.machine.table(), key) {
                tells.push(Change { key, version });
            }
            Ok(last)
        } else {
            run.machine.checkpoint(now, &batch)
        };
        match needs {
            Ok(needs) => {
                let committed = run.machine.status().committed;
                // Only a full queue refuses it, and a datagram may be lost.
                let _ = run.held.hold(
                    needs,
                    Waiting {
                        needs,
                        epoch,
                        tells,
                    },
                );
                if let Some(seq) = committed {
                    self.committed(node, service, seq);
                }
            }
            Err(_) => self.count("work refused"),
        }
    }

    fn one_change(&mut self, service: usize, batch: &mut Batch) -> Change {
        let key = self.random.between(0, KEYS - 1);
        let removes = self.random.one_in(4);
        let change = self.truths[service].change(key, removes);
        let name = key.to_be_bytes();
        let result = if removes {
            batch.remove(KIND, &name)
        } else {
            let mut value = change.version.to_be_bytes().to_vec();
            value.resize(self.random.between(8, 400) as usize, 0);
            batch.put(KIND, &name, &value)
        };
        result.expect("three small records fit");
        change
    }

    /// What depends on batches up to `seq` leaves, as far as the kernel lets it.
    pub(super) fn committed(&mut self, node: usize, service: usize, seq: Seq) {
        loop {
            let now = self.local(node);
            let until = self.nodes[node].kernel[service];
            let Some(run) = self.run(node, service) else {
                return;
            };
            if !run.acts {
                return;
            }
            let Some(output) = run.held.release(seq) else {
                return;
            };
            let may = until.is_some_and(|until| now < until);
            if may || !self.plan.kernel_keeps {
                self.check_alone(node, service);
                self.leaves(node, service, &output);
            } else {
                self.count("output stopped by the kernel");
            }
        }
    }

    /// Nobody else may send at the moment at which this node does.
    fn check_alone(&mut self, node: usize, service: usize) {
        let (first, id) = (self.owner(service), self.nodes[node].id);
        if let Some(other) = first.filter(|&other| other != node) {
            let what = Broken::TwoOwners {
                first: id,
                second: node_id(other),
            };
            self.broken(Violation::Broken { service, what });
        }
    }

    fn leaves(&mut self, node: usize, service: usize, output: &Waiting) {
        self.note("leaves", &[node as u64, service as u64, output.needs.0]);
        let (_, record) = self.coordinator.current(service);
        let identity = self.nodes[node]
            .process
            .as_ref()
            .map(|process| process.identity);
        if let Some(record) = record.filter(|record| record.epoch == output.epoch) {
            let have = record
                .in_sync
                .iter()
                .filter(|&member| member != self.nodes[node].id);
            let have = have.filter_map(|member| {
                let run = self.nodes[member.index()]
                    .process
                    .as_ref()?
                    .runs
                    .get(service)?;
                let position = run.machine.position()?;
                let same = position.epoch == output.epoch
                    && identity.is_some_and(|identity| identity.incarnation == position.owner);
                same.then_some((member, position.seq))
            });
            if let Err(what) = invariant::may_leave(output.needs, have) {
                self.broken(Violation::Broken { service, what });
            }
        }
        let now_us = self.now_us;
        for &change in &output.tells {
            self.truths[service].leave(now_us, change);
        }
        if output.tells.is_empty() {
            self.truths[service].left_us = now_us;
            self.truths[service].left += 1;
        }
    }

    /// A node has become the owner: it has to have what the world has seen, unless nobody in sync could.
    pub(super) fn take_over(&mut self, node: usize, service: usize, basis: Basis) {
        let Some(run) = self.nodes[node]
            .process
            .as_ref()
            .and_then(|process| process.runs.get(service))
        else {
            return;
        };
        if matches!(basis, Basis::First | Basis::Unsynced) {
            if basis == Basis::Unsynced {
                self.check_nobody_synced(node, service);
            }
            self.truths[service].forget();
        } else if let Some((key, version)) = self.truths[service].lacks(run.machine.table()) {
            let node = node_id(node);
            self.broken(Violation::Lost {
                service,
                node,
                key,
                version,
            });
        }
    }

    /// No member that the record before this one named as in sync was well for the whole grace.
    fn check_nobody_synced(&mut self, node: usize, service: usize) {
        let Some(before) = self.coordinator.before(service) else {
            return;
        };
        let settings = &self.plan.settings;
        // A short grace, which only a plan has, is spent by answers that are late.
        if settings
            .grace_us
            .is_none_or(|grace_us| grace_us < 3 * settings.lease_us)
        {
            return;
        }
        let span_us = settings.lease_us + settings.grace_us.unwrap_or(0) + settings.lease_us;
        for member in before
            .in_sync
            .iter()
            .filter(|member| member.index() != node)
        {
            let other = &self.nodes[member.index()];
            let well = self.now_us.saturating_sub(other.disturbed_us) > span_us
                && other.reach == [true, true]
                && other.answers_late_us == 0
                && !other.leaving
                && self
                    .coordinator
                    .well_since_us
                    .is_some_and(|since| self.now_us - since > span_us);
            let run = other
                .process
                .as_ref()
                .and_then(|process| process.runs.get(service));
            let whole = run
                .and_then(|run| run.machine.position())
                .map(|position| position.epoch);
            if well && whole == Some(before.epoch) {
                let node = node_id(node);
                self.broken(Violation::ClaimedOverSynced {
                    service,
                    node,
                    member,
                });
            }
        }
    }
}
