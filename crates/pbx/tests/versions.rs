//! Records of a version before and behind this one: what it does not know is passed over, what is absent is filled in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use pbx::control::{Action, Happening, LegId};
use records::{Op, tlv};
use rig::*;

/// Records of a PBX, by kind and key.
type Table = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

/// The record of a leg.
const LEG: u16 = 1;
/// A field and a kind that nobody knows yet.
const LATER_TAG: u64 = 4_711;
const LATER_KIND: u16 = 63;
/// Fields of a leg that have fields themselves: its dialog, and its end at the media thread.
const NESTING: [u64; 2] = [1, 30];

/// A call between two phones, up on both sides; and what its caller got.
fn established() -> (World, String) {
    let mut world = World::new(|happening, ids| match happening {
        Happening::Incoming(incoming) => {
            let (a, b) = (incoming.leg, LegId(ids.issue()));
            vec![dial(b, Some(a), "200"), Action::Bridge { a, b }]
        }
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    world.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    (world, ok)
}

/// A node that takes over from `before` with these records, and ends both legs when one has ended.
fn taken_over(before: &World, records: Table) -> World {
    let legs: Vec<LegId> = before.pbx.calls().iter().map(|call| call.leg).collect();
    let rule = move |happening: &Happening, _: &mut pbx::control::Ids| match happening {
        Happening::Ended { leg, cause } => {
            let others = legs.iter().filter(|other| *other != leg);
            let hang_up = |other: &LegId| Action::Hangup {
                leg: *other,
                cause: cause.clone(),
            };
            others.map(hang_up).collect()
        }
        _ => Vec::new(),
    };
    let mut world = World::with(before.settings.clone(), 2, rule);
    world.now_ms = before.now_ms;
    for ((kind, key), value) in &records {
        world.pbx.restore(Op {
            kind: *kind,
            key,
            value: Some(value),
        });
    }
    world.records = records;
    world.turn(|pbx, turn| pbx.take_office(turn, 2));
    world
}

/// The caller hangs up; gives the status that it is told.
fn status_of_bye(world: &mut World, ok: &str) -> String {
    world.receive(&within("BYE", "a", ok, 2, "", ""));
    let answers = world.those("SIP/2.0 ");
    assert_eq!(answers.len(), 1, "{:#?}", world.sent);
    answers[0][8..11].to_owned()
}

/// The fields of a record.
fn fields(value: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut reader, mut found) = (tlv::Fields::new(value), Vec::new());
    while let Some((tag, value)) = reader.field().unwrap() {
        found.push((tag, value.to_vec()));
    }
    found
}

fn written(fields: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in fields {
        tlv::write_bytes(tag, &value, &mut out);
    }
    out
}

#[test]
fn what_a_later_version_wrote_is_passed_over_and_the_call_goes_on() {
    let (world, ok) = established();
    let mut records = Table::new();
    let later = (LATER_TAG, b"of a later version".to_vec());
    for ((kind, key), value) in &world.records {
        let mut all = fields(value);
        for (tag, value) in &mut all {
            if *kind == LEG && NESTING.contains(tag) {
                tlv::write_bytes(later.0, &later.1, value);
            }
        }
        // In front, between and behind.
        let middle = all.len() / 2;
        for at in [all.len(), middle, 0] {
            all.insert(at, later.clone());
        }
        records.insert((*kind, key.clone()), written(all));
        records.insert((LATER_KIND, key.clone()), written([later.clone()]));
    }
    let mut other = taken_over(&world, records);
    other.records.retain(|(kind, _), _| *kind != LATER_KIND);
    assert!(other.sent.is_empty(), "{:?}", other.sent);
    assert_eq!(status_of_bye(&mut other, &ok), "200");
    let bye = other.the("BYE ");
    other.receive(&reply(&bye, "200 OK", "", "", ""));
    other.is_empty_at_the_end();
}

#[test]
fn a_record_without_a_field_is_filled_in_or_refused_and_leaves_nothing() {
    let (world, ok) = established();
    let legs = world.records.iter().filter(|((kind, _), _)| *kind == LEG);
    let all: BTreeSet<u64> = legs
        .flat_map(|(_, value)| fields(value))
        .map(|(tag, _)| tag)
        .collect();
    let mut needed = Vec::new();
    for absent in &all {
        let mut records = world.records.clone();
        for ((kind, _), value) in &mut records {
            if *kind == LEG {
                let rest = fields(value).into_iter();
                *value = written(rest.filter(|(tag, _)| tag != absent));
            }
        }
        let mut other = taken_over(&world, records);
        if status_of_bye(&mut other, &ok) != "200" {
            needed.push(*absent);
        }
        other.is_empty_in_time();
    }
    assert!(all.len() > 15, "{all:?}");
    // Its dialog, its tag and what its phone described: without them it is no leg.
    assert_eq!(needed, [1, 5, 21], "of {all:?}");
}
