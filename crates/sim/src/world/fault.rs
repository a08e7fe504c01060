//! What goes wrong, and how it heals.

use super::{Event, Input, World};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The process dies.
    Kill {
        /// Whose.
        node: usize,
        /// When it is started again, in microseconds.
        back_us: u64,
    },
    /// The machine goes dark.
    Crash {
        /// Which.
        node: usize,
        /// When it is back, in microseconds.
        back_us: u64,
    },
    /// The process stands still.
    Freeze {
        /// Whose.
        node: usize,
        /// For how long, in microseconds.
        span_us: u64,
    },
    /// Segments of these directions do not get through.
    Cut {
        /// From, to.
        ways: Vec<(usize, usize)>,
    },
    /// Requests (`[0]`) or answers (`[1]`) of a node and the coordinator do not get through.
    CutCoordinator {
        /// Which node.
        node: usize,
        /// Which of the two get through.
        reach: [bool; 2],
    },
    /// The coordinator's answers take longer to get to a node.
    AnswersLate {
        /// Which node.
        node: usize,
        /// How much longer, in microseconds.
        delay_us: u64,
    },
    /// The coordinator answers nobody.
    CoordinatorDown,
    /// The coordinator takes its time.
    CoordinatorSlow {
        /// How much more each way, in microseconds.
        delay_us: u64,
    },
    /// The coordinator is down for two leases or longer, and is then restored from an old copy. From then on
    /// nobody promises that nothing is lost.
    Restore {
        /// How many versions of each record are gone.
        back: usize,
    },
    /// An operator moves a service.
    Switchover {
        /// Which.
        service: usize,
    },
    /// An operator takes a node out.
    Leave {
        /// Which.
        node: usize,
    },
    /// An operator changes the members of a service.
    Configure {
        /// Which.
        service: usize,
        /// To whom, in order of preference.
        members: Vec<u8>,
    },
}

impl World {
    /// The schedule's next fault.
    pub(super) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let every_us = self.plan.faults.every_us;
        let next_us = self.random.between(every_us / 4, every_us * 2);
        self.after(next_us, Event::Fault);
        let lasts_us = self.random.span_us(5_000, self.plan.faults.lasts_us_max);
        if self.random.one_in(self.plan.faults.script_odds) {
            self.script(lasts_us);
        } else {
            let blow = self.draw(lasts_us);
            self.strike_for(blow, lasts_us);
        }
    }

    pub(super) fn strike_for(&mut self, blow: Blow, lasts_us: u64) {
        if !self.healed {
            self.strike(&blow);
            let least_us = match blow {
                Blow::Restore { .. } => 2 * self.plan.settings.lease_us,
                _ => 0,
            };
            self.after(lasts_us.max(least_us), Event::Heal { blow });
        }
    }

    /// A node and a service; owners of services are hit more often than others.
    pub(super) fn target(&mut self) -> (usize, usize) {
        let service = self.random.between(0, self.members.len() as u64 - 1) as usize;
        let node = self.random.between(0, self.nodes.len() as u64 - 1) as usize;
        let owner = self.owner(service).filter(|_| self.random.one_in(2));
        (owner.unwrap_or(node), service)
    }

    /// A fault against somebody.
    fn draw(&mut self, lasts_us: u64) -> Blow {
        let count = self.nodes.len() as u64;
        let (node, service) = self.target();
        match self.random.between(0, 15) {
            0 | 1 => Blow::Kill {
                node,
                back_us: lasts_us,
            },
            2 => Blow::Crash {
                node,
                back_us: lasts_us,
            },
            3 | 4 => Blow::Freeze {
                node,
                span_us: lasts_us,
            },
            5 => Blow::Cut {
                ways: self.around(node, true, true),
            },
            6 => {
                let inward = self.random.one_in(2);
                Blow::Cut {
                    ways: self.around(node, inward, !inward),
                }
            }
            7 => {
                let peer = (node + self.random.between(1, count - 1) as usize) % self.nodes.len();
                let both = self.random.one_in(2);
                let ways = [(node, peer), (peer, node)];
                Blow::Cut {
                    ways: ways[..1 + usize::from(both)].to_vec(),
                }
            }
            8 | 9 => {
                let reach = [[false, false], [true, false], [false, true]];
                let reach = reach[self.random.between(0, 2) as usize];
                Blow::CutCoordinator { node, reach }
            }
            10 => Blow::CoordinatorDown,
            11 => {
                let delay_us = self.random.span_us(5_000, 400_000);
                Blow::CoordinatorSlow { delay_us }
            }
            12 | 13 => Blow::Switchover { service },
            14 => Blow::Leave { node },
            15 if self.plan.faults.restores => Blow::Restore {
                back: self.random.between(1, 60) as usize,
            },
            _ => {
                let members = self.other_members(service);
                Blow::Configure { service, members }
            }
        }
    }

    /// The members with one more, or one less.
    fn other_members(&mut self, service: usize) -> Vec<u8> {
        let mut members = self.members[service].clone();
        let node = self.random.between(0, self.nodes.len() as u64 - 1) as u8;
        match members.iter().position(|&member| member == node) {
            Some(at) if members.len() > 2 => {
                members.remove(at);
            }
            None if members.len() < 4 => members.push(node),
            _ => {}
        }
        members
    }

    fn around(&self, node: usize, inward: bool, outward: bool) -> Vec<(usize, usize)> {
        let peers = (0..self.nodes.len()).filter(move |&peer| peer != node);
        let ways = peers.flat_map(move |peer| {
            [
                inward.then_some((peer, node)),
                outward.then_some((node, peer)),
            ]
        });
        ways.flatten().collect()
    }

    /// The directions between a node and all others.
    pub fn ways_around(&self, node: usize) -> Vec<(usize, usize)> {
        self.around(node, true, true)
    }

    /// Lets something go wrong.
    pub fn strike(&mut self, blow: &Blow) {
        self.count(match blow {
            Blow::Kill { .. } => "fault: process killed",
            Blow::Crash { .. } => "fault: machine crashed",
            Blow::Freeze { .. } => "fault: process frozen",
            Blow::Cut { .. } => "fault: network cut",
            Blow::CutCoordinator { .. } => "fault: coordinator cut off",
            Blow::AnswersLate { .. } => "fault: answers late",
            Blow::CoordinatorDown => "fault: coordinator down",
            Blow::CoordinatorSlow { .. } => "fault: coordinator slow",
            Blow::Restore { .. } => "fault: coordinator restored from an old copy",
            Blow::Switchover { .. } => "operator: switchover",
            Blow::Leave { .. } => "operator: node leaves",
            Blow::Configure { .. } => "operator: members changed",
        });
        match blow {
            &Blow::Kill { node, back_us } => {
                if let Some(dead) = self.kill(node) {
                    self.break_all(node, false);
                    if self.plan.supervised {
                        let reap_us = self.random.between(300, 5_000);
                        self.after(reap_us, Event::Reap { node, dead });
                    }
                    self.start_later(node, back_us.max(6_000));
                }
            }
            &Blow::Crash { node, back_us } => self.crash(node, back_us),
            &Blow::Freeze { node, span_us } => self.freeze(node, span_us),
            Blow::Cut { ways } => ways.iter().for_each(|&(from, to)| self.cut(from, to, true)),
            &Blow::CutCoordinator { node, reach } => {
                self.nodes[node].reach = reach;
                self.disturb(node, self.now_us);
            }
            &Blow::AnswersLate { node, delay_us } => {
                self.nodes[node].answers_late_us = delay_us;
                self.disturb(node, self.now_us);
            }
            Blow::CoordinatorDown => self.coordinator.set_up(self.now_us, false),
            &Blow::CoordinatorSlow { delay_us } => {
                self.coordinator.set_delay(self.now_us, delay_us)
            }
            Blow::Restore { .. } => self.coordinator.set_up(self.now_us, false),
            &Blow::Switchover { service } => {
                if let Some(node) = self.owner(service) {
                    self.input(node, 0, Input::Switchover { service });
                }
            }
            &Blow::Leave { node } => self.set_leaving(node, true),
            Blow::Configure { service, members } => self.configure(*service, members.clone()),
        }
    }

    /// Ends what [`World::strike`] began. What ends by itself has no end here.
    pub fn heal(&mut self, blow: Blow) {
        match blow {
            Blow::Cut { ways } => ways
                .iter()
                .for_each(|&(from, to)| self.cut(from, to, false)),
            Blow::CutCoordinator { node, .. } => {
                self.nodes[node].reach = [true, true];
                self.disturb(node, self.now_us);
            }
            Blow::AnswersLate { node, .. } => {
                self.nodes[node].answers_late_us = 0;
                self.disturb(node, self.now_us);
            }
            Blow::CoordinatorDown => self.coordinator.set_up(self.now_us, true),
            Blow::Restore { back } => {
                // Another fault's end may have brought it up meanwhile: then nobody restores it.
                let down_us = self.now_us - self.coordinator.changed_us;
                if !self.coordinator.is_up && down_us >= 2 * self.plan.settings.lease_us {
                    self.coordinator.restore(back);
                    self.restored = true;
                }
                self.coordinator.set_up(self.now_us, true);
            }
            Blow::CoordinatorSlow { .. } => self.coordinator.set_delay(self.now_us, 0),
            Blow::Leave { node } => self.set_leaving(node, false),
            _ => {}
        }
    }

    /// The machine is gone, and with it whatever its kernel kept.
    pub(super) fn crash(&mut self, node: usize, back_us: u64) {
        self.kill(node);
        self.break_all(node, true);
        self.nodes[node]
            .kernel
            .iter_mut()
            .for_each(|until| *until = None);
        self.start_later(node, back_us.max(20_000));
    }

    fn start_later(&mut self, node: usize, span_us: u64) {
        let life = self.nodes[node].life;
        self.after(span_us, Event::Start { node, life });
    }

    fn set_leaving(&mut self, node: usize, leaving: bool) {
        self.nodes[node].leaving = leaving;
        self.disturb(node, self.now_us);
        self.input(node, 0, Input::Leave { leaving });
    }

    /// The operator's new configuration reaches one node after the other.
    fn configure(&mut self, service: usize, members: Vec<u8>) {
        self.members[service].clone_from(&members);
        for node in 0..self.nodes.len() {
            let span_us = self.random.between(0, 500_000);
            let members = members.clone();
            self.input(node, span_us, Input::Configure { service, members });
            self.disturb(node, self.now_us + span_us);
        }
    }

    fn input(&mut self, node: usize, span_us: u64, input: Input) {
        let life = self.nodes[node].life;
        self.after(span_us, Event::Input { node, life, input });
    }

    /// Ends all faults, and lets no more come.
    pub fn heal_all(&mut self) {
        self.note("heal", &[]);
        self.healed = true;
        self.coordinator.set_up(self.now_us, true);
        self.coordinator.set_delay(self.now_us, 0);
        for node in 0..self.nodes.len() {
            self.nodes[node].reach = [true, true];
            self.nodes[node].answers_late_us = 0;
            self.set_leaving(node, false);
            self.nodes[node].frozen_until_us = self.now_us;
            self.after(0, Event::Thaw { node });
            for service in 0..self.members.len() {
                let members = self.members[service].clone();
                // After whatever of the operator's is still on its way.
                self.input(node, 500_000, Input::Configure { service, members });
            }
            if self.nodes[node].process.is_none() {
                self.start_later(node, 1_000);
            }
            for peer in 0..self.nodes.len() {
                if peer != node {
                    self.cut(node, peer, false);
                }
            }
        }
    }
}
