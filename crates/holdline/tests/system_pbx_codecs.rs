//! Phones that have no codec in common.

mod support;

use std::collections::BTreeSet;

use support::talker::hear_each_other;
use support::{Codec, Office, Talker};

#[test]
fn phones_without_a_codec_in_common_hear_each_other() {
    let office = Office::start("", "");
    let ann = Talker::with(&office.node, "ann", &[Codec::G722]);
    let ben = Talker::of(&office.node, "ben");
    let cat = Talker::with(&office.node, "cat", &[Codec::Opus]);
    let call = ann.dials("102");
    ben.answers(0);
    hear_each_other((&ann, call), (&ben, 0));
    ann.hangs_up(call);
    ben.is_over(0);
    let call = ben.dials("103");
    cat.answers(0);
    hear_each_other((&ben, call), (&cat, 0));
    ben.hangs_up(call);
    cat.is_over(0);
    let records = office.is_over(2);
    for (record, expected) in records.iter().zip([["G722", "PCMU"], ["PCMU", "opus"]]) {
        let legs = record["legs"].as_array().expect("legs");
        let codecs: BTreeSet<_> = legs
            .iter()
            .filter_map(|leg| leg["codec"].as_str())
            .collect();
        assert_eq!(codecs, BTreeSet::from(expected), "{record}");
    }
}
