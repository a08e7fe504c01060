use super::*;
use crate::node::Incarnation;

const SETTINGS: Settings = Settings {
    lease_us: 100,
    margin_us: 10,
    heartbeat_us: 20,
    renew_us: 20,
    read_us: 20,
    request_us: 30,
    grace_us: Some(1_000),
    stagger_us: 5,
    drain_us: 100,
    failback_us: None,
    fences: false,
    fence_us: 100,
    commit_timeout_us: 50,
};

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn me() -> Identity {
    Identity {
        node: node(2),
        incarnation: Incarnation(22),
    }
}

/// Held by node 1 in epoch 5; nodes 1, 2 and 3 are members, and 1 and 2 in sync.
fn record() -> Record {
    Record {
        owner: node(1),
        incarnation: Incarnation(11),
        epoch: Epoch(5),
        tenure: Tenure::Held,
        members: [1, 2, 3].map(node).into_iter().collect(),
        in_sync: [1, 2].map(node).into_iter().collect(),
        renewals: 9,
    }
}

const PREFERENCE: [u8; 3] = [1, 2, 3];

struct Case {
    record: Option<Record>,
    since: u64,
    promised: u64,
    known: Option<u64>,
    whole: Option<u64>,
    leaving: bool,
}

/// In sync; neither promised nor saw a change since time zero.
fn case() -> Case {
    Case {
        record: Some(record()),
        since: 0,
        promised: 0,
        known: Some(5),
        whole: Some(5),
        leaving: false,
    }
}

impl Case {
    fn at(&self, now: u64) -> Verdict {
        let preference = PREFERENCE.map(node);
        let view = View {
            revision: Revision(1),
            record: self.record,
            since: Time(self.since),
        };
        let situation = Situation {
            now: Time(now),
            identity: me(),
            preference: &preference,
            view: Some(view),
            promised: Time(self.promised),
            known: self.known.map(Epoch),
            whole: self.whole.map(Epoch),
            unanswered: None,
            leaving: self.leaving,
            not_before: Time(0),
        };
        judge(&situation, &SETTINGS, Rules::default())
    }

    /// Claims from `at` on, and not before.
    fn claims_from(&self, at: u64, basis: Basis) {
        assert_eq!(self.at(at), Verdict::Claim(basis));
        match self.at(at - 1) {
            Verdict::Wait(_, until) => assert_eq!(until, Time(at)),
            claim @ Verdict::Claim(_) => panic!("{claim:?} at {}", at - 1),
        }
    }
}

#[test]
fn a_member_in_sync_claims_a_lease_after_its_promise_and_the_last_change() {
    case().claims_from(100, Basis::InSync);
    let promised = Case {
        promised: 30,
        ..case()
    };
    promised.claims_from(130, Basis::InSync);
    assert_eq!(promised.at(120), Verdict::Wait(Wait::Promised, Time(130)));
    let changed = Case {
        since: 40,
        ..case()
    };
    changed.claims_from(140, Basis::InSync);
    assert_eq!(changed.at(120), Verdict::Wait(Wait::Changed, Time(140)));
}

#[test]
fn a_less_preferred_member_leaves_the_others_time() {
    let in_sync = [1, 2, 3].map(node).into_iter().collect();
    let record = Record {
        owner: node(3),
        in_sync,
        ..record()
    };
    let later = Case {
        record: Some(record),
        ..case()
    };
    later.claims_from(105, Basis::InSync);
    assert_eq!(later.at(102), Verdict::Wait(Wait::OthersFirst, Time(105)));
}

#[test]
fn a_record_that_was_released_is_claimed_at_once_but_by_its_successor_first() {
    let released = |successor: Option<u8>| Case {
        record: Some(Record {
            tenure: Tenure::Released {
                successor: successor.map(node),
            },
            ..record()
        }),
        since: 500,
        promised: 490,
        ..case()
    };
    assert_eq!(released(None).at(500), Verdict::Claim(Basis::Released));
    assert_eq!(released(Some(2)).at(500), Verdict::Claim(Basis::Released));
    released(Some(3)).claims_from(600, Basis::Released);
}

#[test]
fn a_member_not_in_sync_waits_for_the_grace_and_one_with_part_of_a_table_for_two() {
    let stale = Case {
        whole: Some(4),
        ..case()
    };
    stale.claims_from(1_100, Basis::Unsynced);
    let empty = Case {
        whole: None,
        ..case()
    };
    empty.claims_from(2_100, Basis::Unsynced);
    let unlisted = Case {
        record: Some(Record {
            in_sync: NodeSet::of(node(1)),
            ..record()
        }),
        ..case()
    };
    unlisted.claims_from(1_100, Basis::Unsynced);
    // The owner lived by heartbeats, with its record unchanged for longer than the grace.
    let kept = Case {
        promised: 5_000,
        ..stale
    };
    kept.claims_from(6_100, Basis::Unsynced);
    let never = Settings {
        grace_us: None,
        ..SETTINGS
    };
    let preference = PREFERENCE.map(node);
    let situation = Situation {
        now: Time(1_000_000),
        identity: me(),
        preference: &preference,
        view: Some(View {
            revision: Revision(1),
            record: unlisted.record,
            since: Time(0),
        }),
        promised: Time(0),
        known: None,
        whole: None,
        unanswered: None,
        leaving: false,
        not_before: Time(0),
    };
    let verdict = judge(&situation, &never, Rules::default());
    assert_eq!(verdict, Verdict::Wait(Wait::NotInSync, Time::NEVER));
}

#[test]
fn a_record_older_than_what_is_known_names_nobody_in_sync() {
    let restored = Case {
        known: Some(6),
        whole: Some(6),
        ..case()
    };
    restored.claims_from(1_100, Basis::Unsynced);
    let lost = Case {
        record: None,
        known: Some(6),
        ..case()
    };
    lost.claims_from(105, Basis::Unsynced);
}

#[test]
fn a_service_without_a_record_begins_with_the_preferred_member() {
    let fresh = Case {
        record: None,
        known: None,
        whole: None,
        ..case()
    };
    fresh.claims_from(105, Basis::First);
}

#[test]
fn its_own_record_is_claimed_again_without_waiting_but_for_a_promise() {
    let record = Record {
        owner: me().node,
        incarnation: me().incarnation,
        ..record()
    };
    let own = Case {
        record: Some(record),
        since: 500,
        promised: 0,
        ..case()
    };
    assert_eq!(own.at(500), Verdict::Claim(Basis::Own));
    let promised = Case {
        promised: 490,
        ..own
    };
    promised.claims_from(590, Basis::Own);
    // Of an earlier life it is anybody's.
    let before = Record {
        incarnation: Incarnation(21),
        ..record
    };
    let restarted = Case {
        record: Some(before),
        whole: None,
        since: 500,
        promised: 500,
        ..case()
    };
    restarted.claims_from(500 + 100 + 2_000 + 5, Basis::Unsynced);
}

#[test]
fn nobody_claims_who_leaves_or_is_no_member() {
    let leaving = Case {
        leaving: true,
        ..case()
    };
    assert_eq!(leaving.at(9_999), Verdict::Wait(Wait::Leaving, Time::NEVER));
    let record = Record {
        members: NodeSet::of(node(1)),
        ..record()
    };
    let stranger = Case {
        record: Some(record),
        ..case()
    };
    assert_eq!(
        stranger.at(9_999),
        Verdict::Wait(Wait::NotMember, Time::NEVER)
    );
}
