//! Frames and records of the cluster: no bytes make a reader panic, what is read is written back the same,
//! and a service that is fed frames keeps within its limits.
#![no_main]

use cluster::checkpoint::{Ignore, Limits, Ops};
use cluster::ownership::Settings;
use cluster::rule::Rules;
use cluster::wire::{Frame, frame_length};
use cluster::{Identity, Incarnation, NodeId, Options, Output, Record, Service, ServiceId, Time};
use libfuzzer_sys::fuzz_target;

const RECORDS_MAX: usize = 8;

fuzz_target!(|data: &[u8]| {
    let _ = frame_length(data);
    if let Ok(record) = Record::read(data) {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!(Record::read(&bytes), Ok(record));
    }
    let mut ops = Ops::new(data);
    while let Ok(Some(_)) = ops.op() {}
    feed(data);
});

/// Gives a member, which might take over, frames from its only peer, one after the other.
fn feed(mut data: &[u8]) {
    let node = |number| NodeId::new(number).expect("it is small");
    let mut now = Time(1_000_000);
    let mut out = Output::new();
    let mut service = Service::new(
        now,
        Options {
            service: ServiceId(1),
            identity: Identity {
                node: node(0),
                incarnation: Incarnation(1),
            },
            preference: vec![node(0), node(1)],
            settings: Settings::of_lease(300_000),
            seed: (1, 2),
            records_max: RECORDS_MAX,
            limits: Limits {
                backlog_bytes_max: 4096,
                part_bytes: 1_000,
            },
            rules: Rules::default(),
        },
    );
    while let Ok(Some(length)) = frame_length(data) {
        let Some((frame, rest)) = data.split_at_checked(length) else {
            break;
        };
        data = rest;
        if let Ok(read) = Frame::read(frame) {
            let mut again = Vec::new();
            read.write(&mut again);
            assert_eq!(Frame::read(&again), Ok(read));
        }
        now = now.after(10_000);
        let _ = service.receive(now, node(1), frame, &mut Ignore, &mut out);
        service.poll(now, &mut out);
        assert!(service.status().records <= RECORDS_MAX);
        assert!(service.until().is_none(), "nobody gave it authority");
        out.clear();
    }
}
