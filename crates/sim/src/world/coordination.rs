//! Requests to the coordinator and their answers, each of which may be lost or late.

use cluster::{Outcome, RequestId, Version};

use super::{Asker, Event, Input, World};
use crate::coordinator::Request;

/// Tries of a supervisor to release one record.
const TRIES_MAX: u8 = 8;

impl World {
    pub(super) fn ask(&mut self, node: usize, service: usize, request: RequestId, what: Request) {
        let life = self.nodes[node].life;
        self.ask_as(node, service, Asker::Process { life, request }, what);
    }

    pub(super) fn ask_as(&mut self, node: usize, service: usize, asker: Asker, request: Request) {
        self.note("ask", &[node as u64, service as u64]);
        if !self.nodes[node].reach[0] {
            self.lost(node, service, asker);
            return;
        }
        let mut delay_us = self.random.span_us(100, 2_500) + self.coordinator.delay_us;
        if self.random.one_in(self.plan.faults.stuck_odds) && !self.healed {
            self.count("request stuck for long");
            self.disturb(node, self.now_us);
            delay_us += self.random.span_us(100_000, 3_000_000);
        }
        self.after(
            delay_us,
            Event::Request {
                node,
                service,
                asker,
                request,
            },
        );
    }

    pub(super) fn request_arrives(
        &mut self,
        node: usize,
        service: usize,
        asker: Asker,
        request: Request,
    ) {
        if !self.coordinator.is_up {
            self.lost(node, service, asker);
            return;
        }
        let outcome = self.coordinator.perform(self.now_us, service, request);
        if let Outcome::Written { revision } = outcome {
            self.note("written", &[node as u64, service as u64, revision.0]);
            self.tell_watchers(service);
        }
        if self.random.one_in(self.plan.faults.answer_lost_odds) && !self.healed {
            self.count("answer lost");
            self.disturb(node, self.now_us);
            return;
        }
        let mut delay_us = self.random.span_us(100, 2_500) + self.coordinator.delay_us;
        delay_us += self.nodes[node].answers_late_us;
        if self.random.one_in(self.plan.faults.stuck_odds) && !self.healed {
            self.count("answer stuck");
            self.disturb(node, self.now_us);
            delay_us += self.random.span_us(10_000, 270_000);
        }
        self.after(
            delay_us,
            Event::Answer {
                node,
                service,
                asker,
                outcome,
            },
        );
    }

    /// No answer, or at last the word that there will be none.
    fn lost(&mut self, node: usize, service: usize, asker: Asker) {
        if self.random.one_in(2) || matches!(asker, Asker::Supervisor { .. }) {
            let delay_us = self.random.between(1_000, 200_000);
            let outcome = Outcome::Failed;
            self.after(
                delay_us,
                Event::Answer {
                    node,
                    service,
                    asker,
                    outcome,
                },
            );
        }
    }

    fn tell_watchers(&mut self, service: usize) {
        let (revision, Some(record)) = self.coordinator.current(service) else {
            return;
        };
        if !self.plan.watches {
            return;
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].reach[1] {
                let delay_us = self.random.span_us(100, 5_000) + self.coordinator.delay_us;
                let life = self.nodes[node].life;
                let input = Input::Watch {
                    service,
                    revision,
                    record,
                };
                self.after(delay_us, Event::Input { node, life, input });
            }
        }
    }

    pub(super) fn answer_arrives(
        &mut self,
        node: usize,
        service: usize,
        asker: Asker,
        outcome: Outcome,
    ) {
        if !self.nodes[node].reach[1] && outcome != Outcome::Failed {
            self.count("answer lost to a cut");
            return;
        }
        match asker {
            Asker::Process { life, request } => {
                if self.nodes[node].life == life {
                    self.deliver(
                        node,
                        Input::Answer {
                            service,
                            request,
                            outcome,
                        },
                    );
                }
            }
            Asker::Supervisor { .. } => self.supervise(node, service, asker, outcome),
        }
    }

    /// The supervisor's loop: read, release by compare-and-set, again with what a conflict shows.
    fn supervise(&mut self, node: usize, service: usize, asker: Asker, outcome: Outcome) {
        let Asker::Supervisor { dead, tries } = asker else {
            return;
        };
        let asker = Asker::Supervisor {
            dead,
            tries: tries + 1,
        };
        match outcome {
            Outcome::Written { .. } => self.count("released by the supervisor"),
            Outcome::Failed if tries < TRIES_MAX => {
                self.ask_as(node, service, asker, Request::Read { stale_us: 0 });
            }
            Outcome::Read {
                revision,
                record: Some(record),
            }
            | Outcome::Conflict {
                revision,
                record: Some(record),
            } if tries < TRIES_MAX => {
                if let Some(released) = record.released_for(dead) {
                    let shown = Some(record);
                    let expected = Version {
                        revision,
                        record: shown,
                    };
                    let record = released;
                    self.ask_as(node, service, asker, Request::Cas { expected, record });
                }
            }
            _ => {}
        }
    }
}
