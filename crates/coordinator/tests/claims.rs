//! What holds for every coordinator: each claim runs on SQLite and on a real etcd.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

#[allow(dead_code, reason = "each test needs its part")]
mod support;

use std::time::Duration;

use cluster::{
    Epoch, Identity, Incarnation, NodeId, NodeSet, Outcome, Record, Revision, Tenure, Version,
};
use coordinator::{CasOutcome, ClusterId, Coordinator, Error, Options, Registration, read_outcome};
use support::Etcd;
use tempfile::TempDir;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const ID: ClusterId = ClusterId(7);
const NONE: Version = Version {
    revision: Revision(0),
    record: None,
};

/// One of the two, with a way past the coordinator.
enum Place {
    Sqlite(TempDir),
    Etcd(Etcd),
}

impl Place {
    async fn sqlite() -> Place {
        Place::Sqlite(TempDir::new().unwrap())
    }

    async fn etcd() -> Place {
        Place::Etcd(Etcd::start(1).await)
    }

    fn options(&self) -> Options {
        match self {
            Place::Sqlite(folder) => Options::Sqlite {
                path: folder.path().join("coordinator.db"),
                cluster: "test".to_owned(),
            },
            Place::Etcd(etcd) => etcd.options("test"),
        }
    }

    async fn open(&self) -> Coordinator {
        Coordinator::open(&self.options()).await.unwrap()
    }

    async fn joined(&self) -> Coordinator {
        let coordinator = self.open().await;
        coordinator.join(None, ID, SOON).await.unwrap();
        coordinator
    }

    /// Writes what an operator with the wrong hands would; `None`: deletes.
    async fn put(&self, key: &str, bytes: Option<&[u8]>) {
        match self {
            Place::Sqlite(folder) => {
                use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
                let path = folder.path().join("coordinator.db");
                let options = SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await.unwrap();
                let query = match bytes {
                    Some(_) => sqlx::query(
                        "INSERT INTO entry VALUES (?1, 1, ?2) ON CONFLICT (key) DO UPDATE \
                         SET value = ?2, revision = revision + 1",
                    ),
                    None => sqlx::query("DELETE FROM entry WHERE key = ?1"),
                };
                let query = query.bind(format!("test/{key}"));
                let query = match bytes {
                    Some(bytes) => query.bind(bytes.to_vec()),
                    None => query,
                };
                query.execute(&mut connection).await.unwrap();
            }
            Place::Etcd(etcd) => {
                let mut client = etcd_client::Client::connect(etcd.urls(), None)
                    .await
                    .unwrap();
                let key = format!("/holdline/test/{key}");
                match bytes {
                    Some(bytes) => drop(client.put(key, bytes, None).await.unwrap()),
                    None => drop(client.delete(key, None).await.unwrap()),
                }
            }
        }
    }
}

/// Each claim as a test on each place.
macro_rules! claims {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&super::Place::sqlite().await).await; })*
        }
        mod on_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&super::Place::etcd().await).await; })*
        }
    };
}

claims! {
    what_is_written_is_read_and_its_revision_grows
    of_claims_at_once_one_wins
    no_renewal_is_lost_where_many_write
    revision_and_record_both_have_to_match
    a_write_that_is_sent_twice_is_taken_once
    what_a_newer_program_wrote_can_be_replaced
    garbage_is_told_and_left_alone
    another_cluster_of_the_same_name_is_refused
    a_cluster_that_was_forgotten_is_entered_anew
    a_watch_shows_the_present_and_what_follows
    members_have_numbers_of_their_own_for_ever
    members_agree_or_are_told
    many_requests_at_once_are_all_answered
    members_that_start_at_once_make_one_cluster
    a_request_without_time_ends_at_once
}

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn record(owner: u8, epoch: u64) -> Record {
    Record {
        owner: node(owner),
        incarnation: Incarnation(u64::from(owner) + 1000),
        epoch: Epoch(epoch),
        tenure: Tenure::Held,
        members: NodeSet::of(node(0)).with(node(1)),
        in_sync: NodeSet::of(node(owner)),
        renewals: 0,
    }
}

async fn write(coordinator: &Coordinator, expected: &Version, record: Record) -> Version {
    let cas = coordinator.cas("edge", expected, &record, SOON).await;
    match cas.unwrap() {
        CasOutcome::Written { revision } => Version {
            revision,
            record: Some(record),
        },
        other => panic!("{other:?}"),
    }
}

async fn what_is_written_is_read_and_its_revision_grows(place: &Place) {
    let coordinator = place.joined().await;
    let read = coordinator.read("edge", SOON).await;
    let none = Outcome::Read {
        revision: Revision(0),
        record: None,
    };
    assert_eq!(read_outcome(&read), none);
    let first = write(&coordinator, &NONE, record(0, 1)).await;
    assert!(first.revision > Revision(0));
    let released = Record {
        tenure: Tenure::Released {
            successor: Some(node(1)),
        },
        ..record(0, 1)
    };
    let second = write(&coordinator, &first, released).await;
    assert!(second.revision > first.revision);
    let elsewhere = place.joined().await;
    assert_eq!(elsewhere.read("edge", SOON).await.unwrap(), second);
    assert_eq!(elsewhere.read("pbx1", SOON).await.unwrap(), NONE);
    let cas = elsewhere.cas("edge", &first, &record(1, 2), SOON).await;
    let conflict = Outcome::Conflict {
        revision: second.revision,
        record: second.record,
    };
    assert_eq!(CasOutcome::outcome(&cas), conflict);
}

async fn of_claims_at_once_one_wins(place: &Place) {
    let mut version = NONE;
    for epoch in 1..=5 {
        let mut claims = tokio::task::JoinSet::new();
        for number in 0..6 {
            let coordinator = place.joined().await;
            claims.spawn(async move {
                let claim = record(number, epoch);
                let cas = coordinator.cas("edge", &version, &claim, SOON).await;
                (number, cas.unwrap())
            });
        }
        let mut winners = Vec::new();
        let mut seen = Vec::new();
        for (number, outcome) in claims.join_all().await {
            match outcome {
                CasOutcome::Written { revision } => winners.push((number, revision)),
                CasOutcome::Conflict(version) => seen.push(version),
                CasOutcome::Unknown(error) => panic!("{error}"),
            }
        }
        let [(winner, revision)] = winners[..] else {
            panic!("{winners:?}");
        };
        version = Version {
            revision,
            record: Some(record(winner, epoch)),
        };
        assert_eq!(seen, [version; 5]);
    }
}

async fn no_renewal_is_lost_where_many_write(place: &Place) {
    let first = place.joined().await;
    write(&first, &NONE, record(0, 1)).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let coordinator = place.joined().await;
        writers.spawn(async move {
            let mut version = coordinator.read("edge", SOON).await.unwrap();
            let mut taken = 0;
            while taken < 25 {
                let mut next = version.record.unwrap();
                next.renewals += 1;
                // Told apart by who wrote it, as each life's are.
                next.incarnation = Incarnation(std::ptr::from_ref(&coordinator) as u64);
                let cas = coordinator.cas("edge", &version, &next, SOON).await;
                version = match cas.unwrap() {
                    CasOutcome::Written { revision } => {
                        taken += 1;
                        Version {
                            revision,
                            record: Some(next),
                        }
                    }
                    CasOutcome::Conflict(version) => version,
                    CasOutcome::Unknown(error) => panic!("{error}"),
                };
            }
        });
    }
    writers.join_all().await;
    let last = first.read("edge", SOON).await.unwrap();
    assert_eq!(last.record.unwrap().renewals, 100);
}

async fn revision_and_record_both_have_to_match(place: &Place) {
    let coordinator = place.joined().await;
    let version = write(&coordinator, &NONE, record(0, 1)).await;
    // A coordinator restored from an old copy counts the same revisions again, for other records.
    let other = Version {
        record: Some(record(1, 9)),
        ..version
    };
    let older = Version {
        revision: Revision(version.revision.0 + 1),
        ..version
    };
    for wrong in [other, older, NONE] {
        let cas = coordinator.cas("edge", &wrong, &record(1, 2), SOON).await;
        assert!(
            matches!(cas, Ok(CasOutcome::Conflict(found)) if found == version),
            "{cas:?}"
        );
    }
}

async fn a_write_that_is_sent_twice_is_taken_once(place: &Place) {
    let coordinator = place.joined().await;
    let version = write(&coordinator, &NONE, record(0, 1)).await;
    assert_eq!(write(&coordinator, &NONE, record(0, 1)).await, version);
    assert_eq!(coordinator.read("edge", SOON).await.unwrap(), version);
}

async fn what_a_newer_program_wrote_can_be_replaced(place: &Place) {
    let coordinator = place.joined().await;
    let mut bytes = Vec::new();
    record(0, 1).write(&mut bytes);
    // A field that is not known yet: tag, length, bytes.
    bytes.extend_from_slice(b"\x63\x05later");
    place.put("services/edge", Some(&bytes)).await;
    let version = coordinator.read("edge", SOON).await.unwrap();
    assert_eq!(version.record, Some(record(0, 1)));
    let next = write(&coordinator, &version, record(1, 2)).await;
    // One who has the version from elsewhere learns by the conflict, and succeeds then.
    place.put("services/pbx1", Some(&bytes)).await;
    let elsewhere = place.joined().await;
    let version = coordinator.read("pbx1", SOON).await.unwrap();
    let mut tries = 0;
    while let Ok(CasOutcome::Conflict(found)) =
        elsewhere.cas("pbx1", &version, &record(1, 2), SOON).await
    {
        assert_eq!((found, tries), (version, 0));
        tries += 1;
    }
    assert!(next.revision > Revision(0));
}

async fn garbage_is_told_and_left_alone(place: &Place) {
    let coordinator = place.joined().await;
    let version = write(&coordinator, &NONE, record(0, 1)).await;
    place.put("services/edge", Some(b"\xff\xff garbage")).await;
    let read = coordinator.read("edge", SOON).await;
    assert!(matches!(read, Err(Error::Garbage { .. })), "{read:?}");
    for expected in [version, NONE] {
        let cas = coordinator
            .cas("edge", &expected, &record(1, 2), SOON)
            .await;
        assert!(matches!(cas, Err(Error::Garbage { .. })), "{cas:?}");
        assert_eq!(CasOutcome::outcome(&cas), Outcome::Failed);
    }
    place.put("members", Some(b"garbage")).await;
    let members = coordinator.members(SOON).await;
    assert!(
        matches!(members, Err(Error::BadEntry { .. })),
        "{members:?}"
    );
    place.put("id", Some(b"garbage")).await;
    let read = coordinator.read("edge", SOON).await;
    assert!(matches!(read, Err(Error::BadClusterId)), "{read:?}");
}

async fn another_cluster_of_the_same_name_is_refused(place: &Place) {
    let coordinator = place.joined().await;
    let version = write(&coordinator, &NONE, record(0, 1)).await;
    let other = ClusterId(8);
    // A new member adopts what is there; one that knows another cluster does not.
    let stranger = place.open().await;
    assert_eq!(stranger.join(None, other, SOON).await.unwrap(), ID);
    let refused = place.open().await.join(Some(other), other, SOON).await;
    assert!(
        matches!(refused, Err(Error::OtherCluster { found, own }) if found == ID && own == other),
        "{refused:?}"
    );
    // What turns into another cluster's under way is not written either.
    place.put("id", Some(other.to_string().as_bytes())).await;
    let read = coordinator.read("edge", SOON).await;
    assert!(matches!(read, Err(Error::OtherCluster { .. })), "{read:?}");
    let cas = coordinator.cas("edge", &version, &record(0, 2), SOON).await;
    assert!(matches!(cas, Err(Error::OtherCluster { .. })), "{cas:?}");
    let cas = coordinator.cas("pbx1", &NONE, &record(0, 2), SOON).await;
    assert!(matches!(cas, Err(Error::OtherCluster { .. })), "{cas:?}");
    let theirs = place.open().await;
    theirs.join(Some(other), other, SOON).await.unwrap();
    assert_eq!(theirs.read("edge", SOON).await.unwrap(), version);
    assert_eq!(theirs.read("pbx1", SOON).await.unwrap(), NONE);
}

async fn a_cluster_that_was_forgotten_is_entered_anew(place: &Place) {
    let coordinator = place.joined().await;
    place.put("id", None).await;
    let cas = coordinator.cas("edge", &NONE, &record(0, 1), SOON).await;
    assert!(matches!(cas, Err(Error::NoCluster)), "{cas:?}");
    let again = coordinator.join(Some(ID), ClusterId(9), SOON).await;
    assert_eq!(again.unwrap(), ID);
    write(&coordinator, &NONE, record(0, 1)).await;
}

async fn a_watch_shows_the_present_and_what_follows(place: &Place) {
    let owner = place.joined().await;
    let member = place.joined().await;
    let mut watch = member.watch("edge").unwrap();
    assert_eq!(timeout(SOON, watch.next()).await.unwrap(), Some(NONE));
    let mut version = write(&owner, &NONE, record(0, 1)).await;
    for renewals in 1..20 {
        assert_eq!(timeout(SOON, watch.next()).await.unwrap(), Some(version));
        let next = Record {
            renewals,
            ..record(0, 1)
        };
        version = write(&owner, &version, next).await;
    }
    let released = version.record.unwrap().released_for(Identity {
        node: node(0),
        incarnation: Incarnation(1000),
    });
    let released = write(&owner, &version, released.unwrap()).await;
    let begun = std::time::Instant::now();
    while timeout(SOON, watch.next()).await.unwrap() != Some(released) {}
    assert!(begun.elapsed() < Duration::from_millis(500));
    drop(owner);
    drop(member);
    let late = place.joined().await.watch("edge").unwrap().next().await;
    assert_eq!(late, Some(released));
}

fn registration(name: &str, incarnation: u64) -> Registration {
    Registration {
        name: name.to_owned(),
        address: "127.0.0.1:7400".parse().unwrap(),
        version: "0.1.0".to_owned(),
        incarnation: Incarnation(incarnation),
    }
}

async fn members_have_numbers_of_their_own_for_ever(place: &Place) {
    let mut nodes = tokio::task::JoinSet::new();
    for number in 0..8 {
        let coordinator = place.joined().await;
        nodes.spawn(async move {
            let registration = registration(&format!("n{number}"), number);
            coordinator.register(&registration, SOON).await.unwrap()
        });
    }
    let registered = nodes.join_all().await;
    let mut numbers: Vec<usize> = registered
        .iter()
        .map(|member| member.node.index())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    let coordinator = place.joined().await;
    let third = registered
        .iter()
        .find(|member| member.registration.name == "n3")
        .unwrap();
    let again = coordinator.register(&registration("n3", 99), SOON).await;
    assert_eq!(again.unwrap().node, third.node);
    let members = coordinator.members(SOON).await.unwrap();
    assert_eq!(members.len(), 8);
    let life = |member: &&coordinator::Member| member.registration.incarnation == Incarnation(99);
    assert_eq!(members.iter().filter(life).count(), 1);
    let bad = coordinator.register(&registration("a b", 1), SOON).await;
    assert!(matches!(bad, Err(Error::Name { .. })), "{bad:?}");
}

async fn members_agree_or_are_told(place: &Place) {
    let (one, two) = (place.joined().await, place.joined().await);
    one.agree("lease_ms", "300", SOON).await.unwrap();
    two.agree("lease_ms", "300", SOON).await.unwrap();
    let other = two.agree("lease_ms", "200", SOON).await;
    assert!(
        matches!(other, Err(Error::Disagreement { .. })),
        "{other:?}"
    );
}

async fn many_requests_at_once_are_all_answered(place: &Place) {
    let coordinator = std::sync::Arc::new(place.joined().await);
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..200 {
        let coordinator = coordinator.clone();
        requests.spawn(async move {
            let service = format!("s{}", number % 40);
            coordinator.read(&service, SOON).await.unwrap()
        });
    }
    assert_eq!(requests.join_all().await, [NONE; 200]);
}

async fn members_that_start_at_once_make_one_cluster(place: &Place) {
    let mut members = tokio::task::JoinSet::new();
    for number in 0..12 {
        let options = place.options();
        members.spawn(async move {
            let coordinator = Coordinator::open(&options).await.unwrap();
            let joined = coordinator.join(None, ClusterId(number), SOON).await;
            joined.unwrap()
        });
    }
    let ids = members.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

async fn a_request_without_time_ends_at_once(place: &Place) {
    let coordinator = place.joined().await;
    let begun = std::time::Instant::now();
    let read = coordinator.read("edge", Duration::ZERO).await;
    // A local file may be quicker than the look at the clock.
    assert!(
        matches!(read, Err(Error::TimedOut { .. }) | Ok(NONE)),
        "{read:?}"
    );
    let cas = coordinator
        .cas("edge", &NONE, &record(0, 1), Duration::ZERO)
        .await;
    let cas = cas.unwrap();
    assert!(!matches!(cas, CasOutcome::Conflict(_)), "{cas:?}");
    assert!(begun.elapsed() < Duration::from_millis(500));
    // What is unknown may have been taken all the same: a reading shows it.
    let found = coordinator.read("edge", SOON).await.unwrap().record;
    assert!(found.is_none_or(|found| found == record(0, 1)));
    let named = coordinator.read("a/b", SOON).await;
    assert!(matches!(named, Err(Error::Name { .. })), "{named:?}");
}
