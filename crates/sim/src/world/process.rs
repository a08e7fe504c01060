//! Processes: starting, freezing, taking inputs, performing effects.

use std::collections::VecDeque;

use cluster::checkpoint::{Ignore, Limits};
use cluster::invariant;
use cluster::ownership::{Basis, LossReason};
use cluster::{
    Effect, Epoch, Event as Told, Held, Identity, Incarnation, NodeId, Options, Output, Service,
    ServiceId, Time,
};

use super::{Asker, Deferred, Event, Input, Process, Run, World, node_id};
use crate::coordinator::Request;
use crate::oracle::Violation;

/// Outputs that a process holds at most.
const HELD_MAX: usize = 10_000;
/// Between a timer's moment and the process that it wakes.
const TIMER_SLACK_US: u64 = 300;

impl World {
    pub(super) fn start(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life || self.nodes[node].process.is_some() {
            return;
        }
        self.lives += 1;
        let number = self.lives;
        let now = self.local(node);
        let identity = Identity {
            node: self.nodes[node].id,
            incarnation: Incarnation(self.random.number() >> 8 << 8 | number & 0xff),
        };
        let runs = (0..self.members.len()).map(|service| Run {
            machine: Service::new(now, self.options(identity, service)),
            held: Held::new(HELD_MAX),
            acts: false,
            paused: false,
            wake_us: u64::MAX,
        });
        let runs: Vec<Run> = runs.collect();
        let entry = &mut self.nodes[node];
        entry.life += 1;
        entry.process = Some(Process { identity, runs });
        let leaving = entry.leaving;
        self.note("start", &[node as u64]);
        for service in 0..self.members.len() {
            self.deliver(
                node,
                Input::Wake {
                    service,
                    at_us: u64::MAX,
                },
            );
        }
        if leaving {
            self.deliver(node, Input::Leave { leaving });
        }
    }

    fn options(&self, identity: Identity, service: usize) -> Options {
        let members = self.members[service].iter();
        Options {
            service: ServiceId(service as u32),
            identity,
            preference: members.map(|&node| node_id(usize::from(node))).collect(),
            settings: self.plan.settings,
            seed: (1, 2),
            records_max: 1_000,
            limits: Limits {
                backlog_bytes_max: self.plan.backlog_bytes_max,
                // A snapshot of several parts, with batches between them.
                part_bytes: 500,
            },
            rules: self.plan.rules,
        }
    }

    pub(super) fn local(&self, node: usize) -> Time {
        self.nodes[node].clock.local(self.now_us)
    }

    /// Ends a process at once. With it ends what it had decided and not done.
    pub(super) fn kill(&mut self, node: usize) -> Option<Identity> {
        let entry = &mut self.nodes[node];
        let process = entry.process.take()?;
        entry.life += 1;
        entry.deferred.clear();
        entry.waiting.clear();
        entry.frozen_until_us = 0;
        self.disturb(node, self.now_us);
        self.note("kill", &[node as u64]);
        Some(process.identity)
    }

    pub(super) fn freeze(&mut self, node: usize, span_us: u64) {
        let until = self.now_us + span_us;
        let entry = &mut self.nodes[node];
        if entry.process.is_some() && until > entry.frozen_until_us {
            entry.frozen_until_us = until;
            self.disturb(node, until);
            self.note("freeze", &[node as u64, span_us]);
            self.at(until, Event::Thaw { node });
        }
    }

    pub(super) fn thaw(&mut self, node: usize) {
        if self.now_us < self.nodes[node].frozen_until_us {
            return;
        }
        self.note("thaw", &[node as u64]);
        while let Some(Deferred { service, out, at }) = self.nodes[node].deferred.pop_front() {
            self.perform(node, service, &out, at);
        }
        if self.random.one_in(2) {
            self.take_all(node);
        }
        while !self.is_frozen(node) {
            let Some(input) = self.nodes[node].waiting.pop_front() else {
                break;
            };
            self.handle(node, input);
        }
    }

    /// Some drivers take in all that has come before they let the machine decide, and look at their timers last.
    fn take_all(&mut self, node: usize) {
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        let is_timer = |input: &Input| matches!(input, Input::Wake { .. } | Input::Work { .. });
        let (timers, inputs): (VecDeque<Input>, VecDeque<Input>) =
            waiting.into_iter().partition(is_timer);
        self.takes_all = true;
        for input in inputs {
            self.handle(node, input);
        }
        self.takes_all = false;
        self.nodes[node].waiting = timers;
        let now = self.local(node);
        let mut out = Output::new();
        for service in 0..self.members.len() {
            out.clear();
            self.finish(node, service, now, &mut out);
        }
    }

    fn is_frozen(&self, node: usize) -> bool {
        self.now_us < self.nodes[node].frozen_until_us
    }

    pub(super) fn deliver(&mut self, node: usize, input: Input) {
        if self.nodes[node].process.is_none() {
            return;
        }
        if self.is_frozen(node) || !self.nodes[node].waiting.is_empty() {
            self.nodes[node].waiting.push_back(input);
        } else {
            self.handle(node, input);
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        let now = self.local(node);
        let services = self.members.len();
        let mut out = std::mem::take(&mut self.out);
        let touched = match input {
            Input::Wake { service, at_us } => {
                // One that was set before an earlier one has nothing to do.
                let due = self.run(node, service).filter(|run| run.wake_us == at_us);
                due.map_or(0..0, |run| {
                    run.wake_us = u64::MAX;
                    service..service + 1
                })
            }
            Input::Work { service, epoch } => {
                self.work(node, service, epoch);
                service..service + 1
            }
            Input::Disconnected { peer } => {
                let peer = node_id(peer);
                for service in 0..services {
                    if let Some(run) = self.run(node, service) {
                        run.machine.disconnected(now, peer);
                    }
                }
                0..services
            }
            Input::Leave { leaving } => {
                for service in 0..services {
                    out.clear();
                    if let Some(run) = self.run(node, service) {
                        run.machine.set_leaving(now, leaving, &mut out);
                    }
                    self.finish(node, service, now, &mut out);
                }
                0..0
            }
            other => {
                out.clear();
                let service = self.one(node, now, other, &mut out);
                self.finish(node, service, now, &mut out);
                0..0
            }
        };
        for service in touched {
            out.clear();
            self.finish(node, service, now, &mut out);
        }
        self.out = out;
    }

    /// Gives an input to the service that it is for.
    fn one(&mut self, node: usize, now: Time, input: Input, out: &mut Output) -> usize {
        let service = match &input {
            Input::Frame { bytes, .. } => {
                cluster::wire::Frame::read(bytes).map_or(0, |frame| frame.service.0 as usize)
            }
            Input::Answer { service, .. }
            | Input::Watch { service, .. }
            | Input::Fenced { service, .. }
            | Input::Switchover { service }
            | Input::Configure { service, .. } => *service,
            _ => 0,
        };
        let mut refused = None;
        if let Some(run) = self.run(node, service) {
            let machine = &mut run.machine;
            match input {
                Input::Frame { from, bytes } => {
                    let result = machine.receive(now, node_id(from), &bytes, &mut Ignore, out);
                    refused = result.err();
                }
                Input::Answer {
                    request, outcome, ..
                } => machine.answered(now, request, outcome, out),
                Input::Watch {
                    revision, record, ..
                } => {
                    machine.observe(now, revision, Some(record), out);
                }
                Input::Fenced {
                    attempt, succeeded, ..
                } => machine.fenced(now, attempt, succeeded, out),
                Input::Switchover { .. } => {
                    // There may be nobody to switch to.
                    let _ = machine.switchover(now, None, out);
                }
                Input::Configure { members, .. } => {
                    let members = members.iter().map(|&node| node_id(usize::from(node)));
                    machine.configure(&members.collect::<Vec<NodeId>>());
                }
                _ => {}
            }
        }
        if let Some(error) = refused.filter(|_| self.plan.verbose) {
            self.text.push(format!(
                "{:>10} node {node} service {service} refuses: {error}",
                self.now_us
            ));
        }
        match refused {
            Some(cluster::Error::StaleEpoch { .. }) => self.count("frame of an epoch that is over"),
            Some(cluster::Error::Gap { .. }) => self.count("gap in a stream"),
            Some(_) => self.count("frame refused"),
            None => {}
        }
        service
    }

    pub(super) fn run(&mut self, node: usize, service: usize) -> Option<&mut Run> {
        self.nodes[node].process.as_mut()?.runs.get_mut(service)
    }

    /// Lets the machine decide, then does what it decided, or freezes in between.
    fn finish(&mut self, node: usize, service: usize, now: Time, out: &mut Output) {
        if self.takes_all {
            self.perform(node, service, out, 0);
            return;
        }
        let Some(run) = self.run(node, service) else {
            return;
        };
        run.machine.poll(now, out);
        let next = run.machine.next(now);
        let wake = run.wake_us;
        self.wake(node, service, next, wake);
        if out.effects.is_empty() {
            return;
        }
        if self.is_frozen(node) {
            // It froze while it did the same for another service.
            let (out, at) = (std::mem::take(out), 0);
            self.nodes[node]
                .deferred
                .push_back(Deferred { service, out, at });
        } else if self.random.one_in(self.plan.faults.freeze_odds) && !self.healed {
            let at = self.random.between(0, out.effects.len() as u64 - 1) as usize;
            self.count("frozen between deciding and doing");
            let span_us = self.random.span_us(2_000, 1_500_000);
            let rest = std::mem::take(out);
            self.perform_some(node, service, &rest, 0, at);
            if self.nodes[node].process.is_some() {
                let out = rest;
                self.nodes[node]
                    .deferred
                    .push_back(Deferred { service, out, at });
                self.freeze(node, span_us);
            }
        } else {
            self.perform(node, service, out, 0);
        }
    }

    fn wake(&mut self, node: usize, service: usize, next: Time, already_us: u64) {
        if next == Time::NEVER {
            return;
        }
        let slack_us = self.random.between(1, TIMER_SLACK_US);
        let at_us = self.nodes[node].clock.world(next).max(self.now_us) + slack_us;
        if at_us < already_us.saturating_sub(TIMER_SLACK_US) {
            if let Some(run) = self.run(node, service) {
                run.wake_us = at_us;
            }
            let life = self.nodes[node].life;
            let input = Input::Wake { service, at_us };
            self.at(at_us, Event::Input { node, life, input });
        }
    }

    fn perform(&mut self, node: usize, service: usize, out: &Output, from: usize) {
        self.perform_some(node, service, out, from, out.effects.len());
    }

    fn perform_some(&mut self, node: usize, service: usize, out: &Output, from: usize, to: usize) {
        for effect in &out.effects[from..to] {
            self.effect(node, service, effect, &out.bytes);
        }
    }

    fn effect(&mut self, node: usize, service: usize, effect: &Effect, bytes: &[u8]) {
        match *effect {
            Effect::Send { to, ref range } => {
                self.send(node, to.index(), bytes[range.clone()].to_vec())
            }
            Effect::CoordinatorRead { request } => {
                let stale = self.random.one_in(self.plan.faults.stale_read_odds);
                let stale_us = if stale {
                    self.random.span_us(1_000, 400_000)
                } else {
                    0
                };
                self.ask(node, service, request, Request::Read { stale_us });
            }
            Effect::CoordinatorCas {
                request,
                expected,
                record,
            } => {
                self.ask(node, service, request, Request::Cas { expected, record });
            }
            Effect::GainAuthority {
                epoch,
                until,
                basis,
            } => {
                self.note(
                    "gain",
                    &[node as u64, service as u64, epoch.0, until.0, basis as u64],
                );
                self.grant(node, service, until);
                if self.local(node) < until {
                    let before = self.truths[service].epoch.replace(epoch);
                    if let Err(what) = invariant::epochs_rise(before, epoch) {
                        self.broken(Violation::Broken { service, what });
                    }
                    self.gained(node, service, epoch, basis);
                } else {
                    // It froze with the news: the kernel takes a deadline that is over, and lets nothing
                    // out. Its application is told of the end with the next effect. But what the next
                    // term begins with is what this one began with.
                    if matches!(basis, Basis::First | Basis::Unsynced) {
                        self.truths[service].forget();
                    }
                    self.count("authority that was over when it began");
                }
            }
            Effect::ExtendAuthority { until } => self.grant(node, service, until),
            Effect::LoseAuthority { epoch, reason } => {
                self.note(
                    "lose",
                    &[node as u64, service as u64, epoch.0, reason as u64],
                );
                self.count(match reason {
                    LossReason::Lapsed => "authority lapsed",
                    LossReason::Superseded => "authority superseded",
                    LossReason::HandedOver => "authority handed over",
                });
                self.nodes[node].kernel[service] = None;
                if let Some(run) = self.run(node, service) {
                    run.acts = false;
                    run.paused = false;
                    run.held.discard();
                }
            }
            Effect::Pause { .. } => self.pause(node, service, true),
            Effect::Resume => self.pause(node, service, false),
            Effect::Fence { target, attempt } => self.fence(node, service, target, attempt),
            Effect::Committed { seq } => self.committed(node, service, seq),
            Effect::Event(told) => self.told(told),
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Step { from, cause, to } => {
                *self.coverage.steps.entry((from, cause, to)).or_default() += 1;
            }
            Told::InSync { .. } => self.count("members in sync changed"),
            Told::CoordinatorWentBack { .. } => self.count("coordinator seen to go back"),
            Told::ClaimedUnsynced { .. } => self.count("claimed by a member not in sync"),
        }
    }

    fn pause(&mut self, node: usize, service: usize, paused: bool) {
        if let Some(run) = self.run(node, service) {
            run.paused = paused;
        }
    }

    /// The kernel is told until when this node may send for a service.
    fn grant(&mut self, node: usize, service: usize, until: Time) {
        self.note("grant", &[node as u64, service as u64, until.0]);
        self.nodes[node].kernel[service] = Some(until);
        self.check_owners(service);
    }

    fn gained(&mut self, node: usize, service: usize, epoch: Epoch, basis: Basis) {
        self.count(match basis {
            Basis::First => "claimed: first",
            Basis::InSync => "claimed: in sync",
            Basis::Released => "claimed: released",
            Basis::Own => "claimed: own",
            Basis::Unsynced => "claimed: not in sync",
        });
        if let Some(run) = self.run(node, service) {
            run.acts = true;
            run.paused = false;
            run.held.discard();
        }
        self.take_over(node, service, basis);
        let life = self.nodes[node].life;
        let input = Input::Work { service, epoch };
        self.after(1_000, Event::Input { node, life, input });
    }

    fn fence(&mut self, node: usize, service: usize, target: NodeId, attempt: u64) {
        self.note("fence", &[node as u64, service as u64, attempt]);
        let span_us = self.random.between(50_000, 400_000);
        let succeeded = self.healed || !self.random.one_in(5);
        if succeeded {
            self.crash(target.index(), span_us / 2);
        }
        let life = self.nodes[node].life;
        let input = Input::Fenced {
            service,
            attempt,
            succeeded,
        };
        self.after(span_us, Event::Input { node, life, input });
    }

    /// The supervisor finds its process dead: withdraws the addresses, then releases the records.
    pub(super) fn reap(&mut self, node: usize, dead: Identity) {
        if self.nodes[node].process.is_some() {
            return;
        }
        self.note("reap", &[node as u64]);
        for service in 0..self.members.len() {
            self.nodes[node].kernel[service] = None;
            let asker = Asker::Supervisor { dead, tries: 0 };
            self.ask_as(node, service, asker, Request::Read { stale_us: 0 });
        }
    }
}
