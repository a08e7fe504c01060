use std::collections::VecDeque;

use super::*;
use crate::checkpoint::Ignore;
use crate::node::Incarnation;
use crate::ownership::{Basis, LossReason};
use crate::record::Version;
use crate::wire::message::Start;

const LIMITS: Limits = Limits {
    backlog_bytes_max: 4_096,
    part_bytes: 1_000,
};
const STEP_US: u64 = 1_000;
const LEASE_US: u64 = 300_000;

fn node(index: usize) -> NodeId {
    NodeId::new(index as u8).unwrap()
}

/// Nodes on a network without delay and a coordinator that answers at once, on one clock.
struct Bench {
    now: Time,
    nodes: Vec<Option<Service>>,
    cut: Vec<(usize, usize)>,
    coordinator: (Revision, Option<Record>),
    reachable: bool,
    frames: VecDeque<(usize, usize, Vec<u8>)>,
    done: Vec<(usize, Effect)>,
    settings: Settings,
}

impl Bench {
    fn new(count: usize, settings: Settings) -> Bench {
        let mut bench = Bench {
            now: Time(5_000_000),
            nodes: Vec::new(),
            cut: Vec::new(),
            coordinator: (Revision(0), None),
            reachable: true,
            frames: VecDeque::new(),
            done: Vec::new(),
            settings,
        };
        for index in 0..count {
            let service = bench.service(index, count, 1);
            bench.nodes.push(Some(service));
        }
        bench
    }

    /// Nodes that have settled: node 0 is the owner, all are in sync.
    fn settled(count: usize) -> Bench {
        let mut bench = Bench::new(count, Settings::of_lease(LEASE_US));
        bench.run(1_000_000);
        assert_eq!(bench.owner(), Some(0));
        assert_eq!(bench.in_sync(), count);
        bench.done.clear();
        bench
    }

    fn service(&self, index: usize, count: usize, life: u64) -> Service {
        Service::new(
            self.now,
            Options {
                service: ServiceId(1),
                identity: Identity {
                    node: node(index),
                    incarnation: Incarnation(index as u64 * 1000 + life),
                },
                preference: (0..count).map(node).collect(),
                settings: self.settings,
                seed: (1, 2),
                records_max: 1_000,
                limits: LIMITS,
                rules: Rules::default(),
            },
        )
    }

    fn run(&mut self, span_us: u64) {
        let end = self.now.after(span_us);
        while self.now < end {
            self.now = self.now.after(STEP_US);
            self.turn();
        }
    }

    fn turn(&mut self) {
        for index in 0..self.nodes.len() {
            self.act(index, |_, _, _| {});
        }
        while let Some((from, to, bytes)) = self.frames.pop_front() {
            self.act(to, |service, now, out| {
                let _ = service.receive(now, node(from), &bytes, &mut Ignore, out);
            });
        }
    }

    fn act(&mut self, index: usize, input: impl FnOnce(&mut Service, Time, &mut Output)) {
        let mut out = Output::new();
        let now = self.now;
        let Some(service) = &mut self.nodes[index] else {
            return;
        };
        input(service, now, &mut out);
        service.poll(now, &mut out);
        for effect in std::mem::take(&mut out.effects) {
            self.perform(index, &effect, &out.bytes);
            self.done.push((index, effect));
        }
    }

    fn perform(&mut self, index: usize, effect: &Effect, bytes: &[u8]) {
        let (revision, record) = self.coordinator;
        match *effect {
            Effect::Send { to, ref range } => {
                let to = to.index();
                if !self.cut.contains(&(index, to)) && self.nodes[to].is_some() {
                    self.frames
                        .push_back((index, to, bytes[range.clone()].to_vec()));
                }
            }
            Effect::CoordinatorRead { request } if self.reachable => {
                let outcome = Outcome::Read { revision, record };
                self.act(index, |service, now, out| {
                    service.answered(now, request, outcome, out)
                });
            }
            Effect::CoordinatorCas {
                request,
                expected,
                record: new,
            } if self.reachable => {
                let outcome = if expected == (Version { revision, record }) {
                    self.coordinator = (Revision(revision.0 + 1), Some(new));
                    let revision = self.coordinator.0;
                    Outcome::Written { revision }
                } else {
                    Outcome::Conflict { revision, record }
                };
                self.act(index, |service, now, out| {
                    service.answered(now, request, outcome, out)
                });
            }
            _ => {}
        }
    }

    fn owner(&self) -> Option<usize> {
        let acts = |node: &Option<Service>| {
            let until = node.as_ref().and_then(Service::until);
            until.is_some_and(|until| self.now < until)
        };
        let mut owners = (0..self.nodes.len()).filter(|&index| acts(&self.nodes[index]));
        let owner = owners.next();
        assert_eq!(owners.next(), None);
        owner
    }

    fn in_sync(&self) -> usize {
        self.coordinator.1.map_or(0, |record| record.in_sync.len())
    }

    fn put(&mut self, index: usize, key: &[u8], value: &[u8]) -> Result<Seq, Error> {
        let mut batch = Batch::new();
        batch.put(1, key, value).unwrap();
        let now = self.now;
        let service = self.nodes[index].as_mut().unwrap();
        service.checkpoint(now, &batch)
    }

    fn remove(&mut self, index: usize, key: &[u8]) {
        let mut batch = Batch::new();
        batch.remove(1, key).unwrap();
        let now = self.now;
        let service = self.nodes[index].as_mut().unwrap();
        service.checkpoint(now, &batch).unwrap();
    }

    fn value(&self, index: usize, key: &[u8]) -> Option<Vec<u8>> {
        let service = self.nodes[index].as_ref().unwrap();
        service.table().find(1, key).map(<[u8]>::to_vec)
    }

    fn committed(&self, index: usize) -> Option<Seq> {
        self.nodes[index].as_ref().unwrap().status().committed
    }

    fn split(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    fn mend(&mut self) {
        for (a, b) in std::mem::take(&mut self.cut) {
            let now = self.now;
            for (here, there) in [(a, b), (b, a)] {
                if let Some(service) = &mut self.nodes[here] {
                    service.disconnected(now, node(there));
                }
            }
        }
    }

    fn did(&self, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.done
            .iter()
            .filter(|(_, effect)| wanted(effect))
            .count()
    }

    /// Nothing is left of what a test did.
    fn ends_empty(&mut self, keys: &[&[u8]]) {
        let owner = self.owner().unwrap();
        for key in keys {
            self.remove(owner, key);
        }
        self.run(200_000);
        for node in self.nodes.iter().flatten() {
            let status = node.status();
            assert_eq!((status.records, status.backlog_bytes), (0, 0));
        }
    }
}

#[test]
fn a_service_begins_with_its_preferred_member_and_all_get_in_sync() {
    let mut bench = Bench::settled(3);
    assert_eq!(bench.coordinator.1.unwrap().epoch, Epoch(1));
    bench.put(0, b"k", b"v").unwrap();
    bench.run(10_000);
    assert_eq!(bench.value(2, b"k").as_deref(), Some(b"v".as_slice()));
    bench.ends_empty(&[b"k"]);
}

#[test]
fn a_batch_is_committed_when_every_member_in_sync_has_it() {
    let mut bench = Bench::settled(2);
    let first = bench.put(0, b"k", b"v").unwrap();
    bench.turn();
    bench.turn();
    assert_eq!(bench.committed(0), Some(first));
    bench.split(0, 1);
    let second = bench.put(0, b"k", b"w").unwrap();
    bench.run(150_000);
    assert_eq!(bench.committed(0), Some(first));
    // After the commit timeout the member is dropped, through the coordinator.
    bench.run(100_000);
    assert_eq!(bench.committed(0), Some(second));
    assert_eq!(bench.in_sync(), 1);
    assert_eq!(bench.value(1, b"k").as_deref(), Some(b"v".as_slice()));
    bench.mend();
    bench.run(500_000);
    assert_eq!(bench.in_sync(), 2);
    assert_eq!(bench.value(1, b"k").as_deref(), Some(b"w".as_slice()));
    bench.ends_empty(&[b"k"]);
}

#[test]
fn without_the_coordinator_a_member_that_lags_is_not_dropped_and_nothing_is_committed() {
    let mut bench = Bench::settled(3);
    bench.reachable = false;
    bench.cut.push((0, 1));
    let before = bench.committed(0);
    bench.put(0, b"k", b"v").unwrap();
    bench.run(200_000);
    assert_eq!(bench.committed(0), before);
}

#[test]
fn a_pair_goes_on_without_the_coordinator_for_any_time() {
    let mut bench = Bench::settled(2);
    bench.reachable = false;
    for _ in 0..10 {
        bench.run(1_000_000);
        let seq = bench.put(0, b"k", b"v").unwrap();
        bench.run(10_000);
        assert_eq!(bench.committed(0), Some(seq));
    }
    assert_eq!(
        bench.did(|effect| matches!(effect, Effect::LoseAuthority { .. })),
        0
    );
    bench.reachable = true;
    bench.run(300_000);
    assert_eq!((bench.owner(), bench.in_sync()), (Some(0), 2));
    bench.ends_empty(&[b"k"]);
}

#[test]
fn an_owner_goes_on_without_its_member_as_long_as_it_has_the_coordinator() {
    let mut bench = Bench::settled(2);
    bench.split(0, 1);
    bench.run(5_000_000);
    assert_eq!(bench.owner(), Some(0));
    bench.reachable = false;
    let until = bench.nodes[0].as_ref().unwrap().until().unwrap();
    assert!(until.since(bench.now) <= LEASE_US * 9 / 10);
    bench.run(LEASE_US);
    assert_eq!(bench.owner(), None);
    let lapsed = |effect: &Effect| {
        matches!(
            effect,
            Effect::LoseAuthority {
                reason: LossReason::Lapsed,
                ..
            }
        )
    };
    assert_eq!(bench.did(lapsed), 1);
}

#[test]
fn a_member_in_sync_takes_over_after_a_lease_with_all_that_was_committed() {
    let mut bench = Bench::settled(2);
    bench.put(0, b"k", b"v").unwrap();
    bench.run(20_000);
    bench.nodes[0] = None;
    bench.run(LEASE_US + LEASE_US / 6);
    assert_eq!(bench.owner(), Some(1));
    let gained = |effect: &Effect| {
        matches!(
            effect,
            Effect::GainAuthority {
                epoch: Epoch(2),
                basis: Basis::InSync,
                ..
            }
        )
    };
    assert_eq!(bench.did(gained), 1);
    assert_eq!(bench.value(1, b"k").as_deref(), Some(b"v".as_slice()));
    bench.nodes[0] = Some(bench.service(0, 2, 2));
    bench.run(500_000);
    assert_eq!((bench.owner(), bench.in_sync()), (Some(1), 2));
    bench.ends_empty(&[b"k"]);
}

#[test]
fn a_switchover_takes_two_turns_and_the_old_owner_keeps_its_table() {
    let mut bench = Bench::settled(2);
    bench.put(0, b"k", b"v").unwrap();
    bench.run(20_000);
    bench.act(0, |service, now, out| {
        service.switchover(now, None, out).unwrap()
    });
    bench.turn();
    bench.turn();
    assert_eq!(bench.owner(), Some(1));
    bench.frames.clear();
    bench.run(200_000);
    assert_eq!(bench.in_sync(), 2);
    let position = bench.nodes[0].as_ref().unwrap().position().unwrap();
    assert_eq!((position.epoch, position.seq), (Epoch(2), Seq(0)));
    bench.ends_empty(&[b"k"]);
}

#[test]
fn a_table_that_is_where_the_new_term_began_resumes_and_another_begins_anew() {
    let position = |seq| Position {
        epoch: Epoch(1),
        owner: Incarnation(1),
        seq: Seq(seq),
    };
    let identity = Identity {
        node: node(1),
        incarnation: Incarnation(2),
    };
    let starts = [(7, Start::Resume(Seq(0))), (8, Start::Snapshot(Seq(0)))];
    for (seq, expected) in starts {
        let mut out = Output::new();
        let base = Some(position(7));
        let rules = Rules::default();
        let mut source = Source::new(ServiceId(1), Epoch(2), identity, base, LIMITS, rules);
        let session = crate::wire::Session {
            incarnation: Incarnation(3),
            join: 1,
        };
        source.join(node(0), session, Some(position(seq)), &mut out);
        let frame = Frame::read(&out.bytes).unwrap();
        let start = expected;
        assert_eq!(frame.message, Message::Welcome { session, start });
    }
}

#[test]
fn a_switchover_without_anybody_in_sync_is_refused() {
    let mut bench = Bench::settled(2);
    bench.split(0, 1);
    bench.run(1_000_000);
    let (now, mut out) = (bench.now, Output::new());
    let owner = bench.nodes[0].as_mut().unwrap();
    assert_eq!(
        owner.switchover(now, None, &mut out),
        Err(Error::NoSuccessor)
    );
    let member = bench.nodes[1].as_mut().unwrap();
    assert_eq!(member.switchover(now, None, &mut out), Err(Error::NotOwner));
}

#[test]
fn a_node_that_leaves_hands_over_and_comes_back_as_a_member() {
    let mut bench = Bench::settled(2);
    bench.act(0, |service, now, out| service.set_leaving(now, true, out));
    bench.run(100_000);
    assert_eq!(bench.owner(), Some(1));
    bench.nodes[1] = None;
    bench.run(20_000_000);
    assert_eq!(bench.owner(), None);
    bench.act(0, |service, now, out| service.set_leaving(now, false, out));
    bench.run(100_000);
    assert_eq!(bench.owner(), Some(0));
}

#[test]
fn a_service_goes_back_to_its_first_member_only_where_that_is_wanted() {
    let failback_us = Some(2_000_000);
    let settings = Settings {
        failback_us,
        ..Settings::of_lease(LEASE_US)
    };
    let mut bench = Bench::new(2, settings);
    bench.run(1_000_000);
    bench.nodes[0] = None;
    bench.run(1_000_000);
    assert_eq!(bench.owner(), Some(1));
    bench.nodes[0] = Some(bench.service(0, 2, 2));
    bench.run(1_500_000);
    assert_eq!(bench.owner(), Some(1));
    bench.run(1_500_000);
    assert_eq!(bench.owner(), Some(0));
    bench.ends_empty(&[]);
}

#[test]
fn a_claim_waits_for_the_fence_agent() {
    let settings = Settings {
        fences: true,
        ..Settings::of_lease(LEASE_US)
    };
    let mut bench = Bench::new(2, settings);
    bench.run(1_000_000);
    bench.nodes[0] = None;
    bench.run(1_000_000);
    assert_eq!(bench.owner(), None);
    let attempts = |bench: &Bench| -> Vec<u64> {
        let fences = bench.done.iter().filter_map(|(_, effect)| match effect {
            Effect::Fence { target, attempt } if *target == node(0) => Some(*attempt),
            _ => None,
        });
        fences.collect()
    };
    let first = attempts(&bench);
    assert_eq!(first.len(), 1);
    bench.act(1, |service, now, out| {
        service.fenced(now, first[0], false, out)
    });
    bench.run(LEASE_US + 10_000);
    let again = attempts(&bench);
    assert_eq!(again.len(), 2);
    bench.act(1, |service, now, out| {
        service.fenced(now, again[1], true, out)
    });
    bench.run(10_000);
    assert_eq!(bench.owner(), Some(1));
}

#[test]
fn an_owner_in_office_writes_over_a_coordinator_that_was_restored() {
    let mut bench = Bench::settled(2);
    let old = bench.coordinator;
    bench.act(0, |service, now, out| {
        service.switchover(now, None, out).unwrap()
    });
    bench.run(500_000);
    let epoch = bench.coordinator.1.unwrap().epoch;
    assert_eq!((bench.owner(), epoch), (Some(1), Epoch(2)));
    bench.coordinator = old;
    bench.run(500_000);
    assert_eq!(bench.owner(), Some(1));
    assert_eq!(bench.coordinator.1.unwrap().epoch, epoch);
    assert!(
        bench.did(|effect| matches!(
            effect,
            Effect::Event(crate::Event::CoordinatorWentBack { .. })
        )) > 0
    );
    bench.coordinator = (Revision(0), None);
    bench.run(500_000);
    assert_eq!(
        (bench.owner(), bench.coordinator.1.unwrap().epoch),
        (Some(1), epoch)
    );
}

#[test]
fn a_backlog_that_is_full_holds_back_new_work_and_harms_nothing() {
    let mut bench = Bench::settled(2);
    bench.reachable = false;
    bench.cut.push((0, 1));
    let value = [0; 500];
    let mut count = 0;
    while bench.put(0, &[count], &value).is_ok() {
        count += 1;
    }
    assert_eq!(bench.put(0, b"x", &value), Err(Error::BacklogFull));
    assert!((1..9).contains(&count));
    assert_eq!(bench.value(0, b"x"), None);
    bench.reachable = true;
    bench.run(500_000);
    assert!(bench.put(0, b"x", b"").is_ok());
}

#[test]
fn a_batch_for_which_a_table_has_no_room_changes_nothing_and_what_fits_of_it_is_committed() {
    let mut bench = Bench::settled(2);
    for hundred in 0..10_u8 {
        let mut batch = Batch::new();
        for one in 0..100 - hundred / 9 {
            batch.put(1, &[hundred, one], b"").unwrap();
        }
        let now = bench.now;
        let owner = bench.nodes[0].as_mut().unwrap();
        owner.checkpoint(now, &batch).unwrap();
        bench.run(100_000);
    }
    let mut batch = Batch::new();
    batch.put(1, b"x", b"").unwrap();
    batch.put(1, b"y", b"").unwrap();
    batch.remove(1, &[0, 0]).unwrap();
    let now = bench.now;
    let owner = bench.nodes[0].as_mut().unwrap();
    let before = owner.position();
    assert_eq!(owner.checkpoint(now, &batch), Err(Error::TableFull));
    assert_eq!((owner.table().len(), owner.position()), (999, before));
    let fitting = owner.table().fitting(&batch);
    let seq = owner.checkpoint(now, &fitting).unwrap();
    // There may be nothing that fits: what waits for it is committed all the same.
    let empty = owner.checkpoint(now, &Batch::new()).unwrap();
    assert!(seq < empty);
    bench.run(100_000);
    assert_eq!(bench.committed(0), Some(empty));
    for node in bench.nodes.iter().flatten() {
        assert_eq!(node.table().len(), 998);
    }
    assert_eq!(bench.in_sync(), 2);
}

#[test]
fn a_member_out_of_sync_that_holds_up_the_backlog_begins_anew() {
    let mut bench = Bench::settled(2);
    bench.cut.push((0, 1));
    bench.run(1_000_000);
    assert_eq!(bench.in_sync(), 1);
    let value = [0; 500];
    for key in 0..20 {
        bench.put(0, &[key], &value).unwrap();
        bench.turn();
    }
    bench.mend();
    bench.run(1_000_000);
    assert_eq!(bench.in_sync(), 2);
    assert_eq!(bench.value(1, &[19]).map(|value| value.len()), Some(500));
}

#[test]
fn records_of_a_kind_that_nobody_here_knows_are_passed_on() {
    let mut bench = Bench::settled(2);
    let mut batch = Batch::new();
    batch
        .put(60_000, b"of a later version", b"whatever")
        .unwrap();
    let now = bench.now;
    bench.nodes[0]
        .as_mut()
        .unwrap()
        .checkpoint(now, &batch)
        .unwrap();
    bench.run(20_000);
    bench.nodes[0] = None;
    bench.run(1_000_000);
    bench.nodes[0] = Some(bench.service(0, 2, 2));
    bench.run(1_000_000);
    let table = bench.nodes[0].as_ref().unwrap().table();
    assert_eq!(
        table.find(60_000, b"of a later version"),
        Some(b"whatever".as_slice())
    );
}

#[test]
fn garbage_and_strangers_are_refused_and_change_nothing() {
    let mut bench = Bench::settled(2);
    let before = bench.nodes[0].as_ref().unwrap().status();
    let (now, mut out) = (bench.now, Output::new());
    let owner = bench.nodes[0].as_mut().unwrap();
    assert!(
        owner
            .receive(now, node(1), b"GET / HTTP/1.1", &mut Ignore, &mut out)
            .is_err()
    );
    let frame = Frame {
        service: ServiceId(1),
        epoch: Epoch(99),
        message: Message::Heartbeat {
            owner: Incarnation(7),
            stamp: now,
        },
    };
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    let refused = owner.receive(now, node(9), &bytes, &mut Ignore, &mut out);
    assert_eq!(refused, Err(Error::Stranger { node: node(9) }));
    assert_eq!(owner.status(), before);
    assert!(out.effects.is_empty());
}

#[test]
fn an_acknowledgement_from_the_future_or_of_another_life_extends_nothing() {
    let mut bench = Bench::settled(2);
    bench.reachable = false;
    bench.split(0, 1);
    let (now, epoch) = (bench.now, Epoch(1));
    let until = bench.nodes[0].as_ref().unwrap().until();
    let (mine, other) = (Incarnation(1), Incarnation(2));
    let forged = [
        (mine, now.after(1_000_000), epoch),
        (other, now, epoch),
        (mine, now, Epoch(0)),
    ];
    for (owner, stamp, epoch) in forged {
        let message = Message::Acknowledged { owner, stamp };
        let mut bytes = Vec::new();
        Frame {
            service: ServiceId(1),
            epoch,
            message,
        }
        .write(&mut bytes);
        let mut out = Output::new();
        let service = bench.nodes[0].as_mut().unwrap();
        let _ = service.receive(now, node(1), &bytes, &mut Ignore, &mut out);
        assert_eq!(service.until(), until);
    }
}

#[test]
fn a_member_whose_table_is_full_asks_again_only_after_a_while() {
    let mut bench = Bench::settled(2);
    let mut small = bench.service(1, 2, 2);
    small.options.records_max = 1;
    let options = small.options.clone();
    bench.put(0, b"a", b"").unwrap();
    bench.put(0, b"b", b"").unwrap();
    bench.nodes[1] = Some(Service::new(bench.now, options));
    bench.done.clear();
    bench.run(10 * LEASE_US);
    assert_eq!(bench.in_sync(), 1);
    let whole = bench.nodes[1].as_ref().unwrap().position();
    assert_eq!(whole, None);
    // One join for every `JOIN_LEASES`, not one for every heartbeat.
    let joins = bench.nodes[1].as_ref().unwrap().replica.joins();
    assert!((2..=6).contains(&joins), "{joins}");
}

#[test]
fn a_frame_that_is_lost_within_a_session_is_noticed_and_the_session_begins_anew() {
    let mut bench = Bench::settled(2);
    bench.put(0, b"a", b"1").unwrap();
    bench.act(0, |_, _, _| {});
    // The connection loses what it may not lose.
    bench.frames.clear();
    bench.put(0, b"b", b"2").unwrap();
    bench.run(300_000);
    assert_eq!(
        (bench.value(1, b"a"), bench.value(1, b"b")),
        (Some(b"1".to_vec()), Some(b"2".to_vec()))
    );
    assert_eq!(bench.in_sync(), 2);
    assert!(bench.nodes[1].as_ref().unwrap().replica.joins() > 1);
    bench.ends_empty(&[b"a", b"b"]);
}
