//! A checkpoint on its way from the owner to a member and back allocates nothing after warm-up.

use allocation_counter::measure;
use cluster::checkpoint::{Ignore, Limits};
use cluster::ownership::Settings;
use cluster::rule::Rules;
use cluster::{
    Batch, Effect, Identity, Incarnation, NodeId, Options, Outcome, Output, Record, Revision,
    Service, ServiceId, Time,
};

/// Two nodes and what lies between them, all of it used again.
struct Pair {
    now: Time,
    nodes: [Service; 2],
    outs: [Output; 2],
    coordinator: (Revision, Option<Record>),
    batch: Batch,
}

fn service(index: u8) -> Service {
    let node = |number| NodeId::new(number).expect("it is small");
    Service::new(
        Time(0),
        Options {
            service: ServiceId(1),
            identity: Identity {
                node: node(index),
                incarnation: Incarnation(u64::from(index) + 7),
            },
            preference: vec![node(0), node(1)],
            settings: Settings::of_lease(300_000),
            seed: (1, 2),
            records_max: 1_000,
            limits: Limits {
                backlog_bytes_max: 1 << 20,
                part_bytes: 1_000,
            },
            rules: Rules::default(),
        },
    )
}

impl Pair {
    fn step(&mut self) {
        self.now = self.now.after(5_000);
        for index in 0..2 {
            self.nodes[index].poll(self.now, &mut self.outs[index]);
        }
        for _ in 0..4 {
            for index in 0..2 {
                self.pass_on(index);
            }
        }
    }

    /// Does what node `index` wants done.
    fn pass_on(&mut self, index: usize) {
        let (first, second) = self.outs.split_at_mut(1);
        let (here, there) = match index {
            0 => (&mut first[0], &mut second[0]),
            _ => (&mut second[0], &mut first[0]),
        };
        let now = self.now;
        let mut at = 0;
        while at < here.effects.len() {
            let (revision, record) = self.coordinator;
            match here.effects[at] {
                Effect::Send { ref range, .. } => {
                    let bytes = &here.bytes[range.clone()];
                    let other = &mut self.nodes[1 - index];
                    other
                        .receive(
                            now,
                            NodeId::new(index as u8).expect("it is small"),
                            bytes,
                            &mut Ignore,
                            there,
                        )
                        .expect("it is in order");
                }
                Effect::CoordinatorRead { request } => {
                    let outcome = Outcome::Read { revision, record };
                    self.nodes[index].answered(now, request, outcome, here);
                }
                Effect::CoordinatorCas {
                    request,
                    expected,
                    record,
                } => {
                    assert_eq!(expected.revision, revision);
                    let revision = Revision(revision.0 + 1);
                    self.coordinator = (revision, Some(record));
                    let outcome = Outcome::Written { revision };
                    self.nodes[index].answered(now, request, outcome, here);
                }
                _ => {}
            }
            at += 1;
        }
        here.clear();
        self.nodes[1 - index].poll(now, there);
    }

    fn put(&mut self, key: u8) {
        self.batch.clear();
        self.batch.put(1, &[key], &[key; 300]).expect("it is small");
        self.batch
            .put(2, &[key], b"beside it")
            .expect("it is small");
        self.batch.remove(2, &[key]).expect("it is small");
        self.nodes[0]
            .checkpoint(self.now, &self.batch)
            .expect("it is the owner");
    }
}

#[test]
fn a_checkpoint_allocates_nothing_after_warm_up() {
    let mut pair = Pair {
        now: Time(0),
        nodes: [service(0), service(1)],
        outs: [Output::new(), Output::new()],
        coordinator: (Revision(0), None),
        batch: Batch::new(),
    };
    for round in 0..1_000 {
        if round > 200 {
            pair.put(round as u8 % 50);
        }
        pair.step();
    }
    let before = pair.nodes[0].status();
    assert_eq!(before.record.map(|record| record.in_sync.len()), Some(2));
    let allocated = measure(|| {
        for round in 0..500 {
            pair.put(round as u8 % 50);
            pair.step();
        }
    });
    let after = pair.nodes[0].status();
    assert!(after.committed > before.committed, "it went on");
    assert_eq!(allocated.count_total, 0);
}
