//! Records of calls: one of each, in the store and in the lines, whatever happens to the node.

mod support;

use std::collections::BTreeSet;

use support::office::rows_in;
use support::talker::hear_each_other;
use support::{Codec, Office, Talker, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["echo"]
"##;

/// The names of all records in the store, and how each ended.
fn stored(office: &Office) -> Vec<(String, i64, i64)> {
    let rows = rows_in(&office.node.path().join("data/holdline.db"));
    let named = |row: store::CdrRow| (row.id, row.status, row.q850);
    rows.into_iter().map(named).collect()
}

#[test]
fn every_call_has_one_record_with_codecs_and_causes_also_when_the_node_is_killed() {
    let mut office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let ben = Talker::with(&office.node, "ben", &[Codec::Pcma]);
    let call = ann.dials("102");
    ben.answers(0);
    hear_each_other((&ann, call), (&ben, 0));
    ben.hangs_up(0);
    ann.is_over(call);
    office.is_over(1);
    let call = ann.dials("103");
    assert_eq!(ann.is_over(call).0, 480);
    office.is_over(2);
    let call = ann.dials("999");
    assert_eq!(ann.is_over(call).0, 404);
    let records = office.is_over(3);
    let legs = records[0]["legs"].as_array().expect("legs");
    let codecs: BTreeSet<_> = legs
        .iter()
        .filter_map(|leg| leg["codec"].as_str())
        .collect();
    assert_eq!(codecs, BTreeSet::from(["PCMA", "PCMU"]));
    assert_eq!(
        (&records[0]["status"], &records[0]["q850"]),
        (&200.into(), &16.into())
    );
    assert!(records[0]["answered_unix_ms"].is_i64(), "{records:?}");
    assert_eq!(
        (&records[1]["status"], &records[1]["q850"]),
        (&480.into(), &18.into())
    );
    assert!(records[1]["answered_unix_ms"].is_null(), "{records:?}");
    assert_eq!(
        (&records[2]["status"], &records[2]["q850"]),
        (&404.into(), &1.into())
    );

    // Two whose sound passes the PBX by.
    let cat = Talker::with(&office.node, "cat", &[Codec::G722, Codec::Pcmu]);
    let call = ann.dials("103");
    cat.answers(0);
    ann.hangs_up(call);
    let records = office.is_over(4);
    for leg in records[3]["legs"].as_array().expect("legs") {
        assert_eq!(leg["codec"], "PCMU");
    }

    // One that goes on when the node is killed.
    let call = ann.dials("103");
    cat.answers(1);
    ann.is_up(call);
    wait_until("the call to be written down", || {
        let path = office.node.path().join("data/cdr-underway.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.contains("answered_unix_ms\":1").then_some(())
    });
    office.node.kill();
    drop((ann, ben, cat));
    office.node.restart();
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("600");
    ann.hangs_up(call);
    let records = office.is_over(6);
    let cut = &records[4];
    assert_eq!((&cut["status"], &cut["q850"]), (&503.into(), &41.into()));
    assert_eq!(
        (&cut["caller"], &cut["called"]),
        (&"ann@example.org".into(), &"103@example.org".into())
    );
    assert!(cut["answered_unix_ms"].as_i64() <= cut["ended_unix_ms"].as_i64());
    wait_until("the store to have them", || {
        (stored(&office).len() == 6).then_some(())
    });
    let lines: BTreeSet<_> = records
        .iter()
        .filter_map(|line| line["id"].as_str())
        .map(str::to_owned)
        .collect();
    let rows: BTreeSet<_> = stored(&office).into_iter().map(|(id, ..)| id).collect();
    assert_eq!((lines.len(), &lines), (6, &rows));
}
