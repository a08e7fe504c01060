//! What etcd adds: several servers, of which some die, hang or lose their data; users; TLS.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

#[allow(dead_code, reason = "each test needs its part")]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::{Epoch, Incarnation, NodeId, NodeSet, Record, Revision, Tenure, Version};
use coordinator::{CasOutcome, ClusterId, Coordinator, Error, EtcdOptions, Options, Password, Tls};
use support::Etcd;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(5);
/// What a member asks with: a third of the lease.
const REQUEST: Duration = Duration::from_millis(100);
const ID: ClusterId = ClusterId(7);
const NONE: Version = Version {
    revision: Revision(0),
    record: None,
};

fn record(renewals: u64) -> Record {
    let node = NodeId::new(1).unwrap();
    Record {
        owner: node,
        incarnation: Incarnation(1),
        epoch: Epoch(1),
        tenure: Tenure::Held,
        members: NodeSet::of(node),
        in_sync: NodeSet::of(node),
        renewals,
    }
}

async fn open(options: EtcdOptions) -> Coordinator {
    Coordinator::open(&Options::Etcd(options)).await.unwrap()
}

async fn joined(etcd: &Etcd) -> Coordinator {
    let coordinator = open(etcd.etcd_options("test")).await;
    coordinator.join(None, ID, SOON).await.unwrap();
    coordinator
}

/// Renews as an owner does, until it was taken, and returns the version and how long that took.
async fn renew(coordinator: &Coordinator, version: &Version) -> (Version, Duration) {
    let begun = Instant::now();
    let next = record(version.record.map_or(0, |record| record.renewals + 1));
    loop {
        let asked = Instant::now();
        let cas = coordinator.cas("edge", version, &next, REQUEST).await;
        assert!(
            asked.elapsed() < REQUEST * 3,
            "it ended {:?} late",
            asked.elapsed()
        );
        match cas {
            Ok(CasOutcome::Written { revision }) => {
                let record = Some(next);
                return (Version { revision, record }, begun.elapsed());
            }
            Ok(CasOutcome::Conflict(found)) => panic!("{found:?} instead of {version:?}"),
            Ok(CasOutcome::Unknown(_)) => {}
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no renewal");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_an_election_and_no_write() {
    let mut etcd = Etcd::start(3).await;
    let coordinator = joined(&etcd).await;
    let mut watch = coordinator.watch("edge").unwrap();
    let mut version = NONE;
    for _ in 0..3 {
        let leader = etcd.leader().await;
        (version, _) = renew(&coordinator, &version).await;
        etcd.kill(leader);
        let took;
        (version, took) = renew(&coordinator, &version).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        (version, _) = renew(&coordinator, &version).await;
        while timeout(SOON, watch.next()).await.unwrap() != Some(version) {}
        etcd.resume(leader);
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(version.record, Some(record(8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_holds_up_no_request_but_for_a_part_of_its_time() {
    let etcd = Etcd::start(3).await;
    let coordinator = joined(&etcd).await;
    let (mut version, _) = renew(&coordinator, &NONE).await;
    let leader = etcd.leader().await;
    for hung in (0..3).filter(|number| *number != leader) {
        // Asked first by one who knows nothing yet, and by one who asked it last.
        let mut options = etcd.etcd_options("test");
        options.endpoints.rotate_left(hung);
        let fresh = open(options.clone()).await;
        let used = open(options).await;
        used.join(None, ID, SOON).await.unwrap();
        etcd.freeze(hung, true);
        for coordinator in [&used, &fresh] {
            let begun = Instant::now();
            let read = coordinator.read("edge", Duration::from_secs(1)).await;
            assert_eq!(read.unwrap(), version);
            assert!(begun.elapsed() < Duration::from_millis(700));
            let begun = Instant::now();
            let read = coordinator.read("edge", Duration::from_secs(1)).await;
            assert_eq!(read.unwrap(), version);
            let again = begun.elapsed();
            assert!(
                again < Duration::from_millis(200),
                "it was asked first again: {again:?}"
            );
        }
        (version, _) = renew(&used, &version).await;
        etcd.freeze(hung, false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_leaves_a_server_that_hangs_or_is_cut_off_from_the_majority() {
    let mut etcd = Etcd::start(3).await;
    let owner = joined(&etcd).await;
    let mut version = renew(&owner, &NONE).await.0;
    let leader = etcd.leader().await;
    let hung = (leader + 1) % 3;
    let mut options = etcd.etcd_options("test");
    options.endpoints.rotate_left(hung);
    let member = open(options).await;
    let mut watch = member.watch("edge").unwrap();
    assert_eq!(timeout(SOON, watch.next()).await.unwrap(), Some(version));
    etcd.freeze(hung, true);
    version = renew(&owner, &version).await.0;
    while timeout(SOON, watch.next()).await.unwrap() != Some(version) {}
    etcd.freeze(hung, false);
    etcd.kill(hung);
    etcd.kill(leader);
    sleep(Duration::from_millis(500)).await;
    etcd.resume(hung);
    etcd.resume(leader);
    version = renew(&owner, &version).await.0;
    while timeout(SOON * 2, watch.next()).await.unwrap() != Some(version) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_servers_down_or_no_majority_requests_fail_in_time_and_succeed_again_later() {
    let mut etcd = Etcd::start(3).await;
    let coordinator = joined(&etcd).await;
    let mut version = renew(&coordinator, &NONE).await.0;
    for down in [[0, 1, 2].as_slice(), &[1, 2]] {
        for number in down {
            etcd.kill(*number);
        }
        for _ in 0..5 {
            let begun = Instant::now();
            let read = coordinator.read("edge", REQUEST).await;
            assert!(read.as_ref().is_err_and(Error::is_passing), "{read:?}");
            let next = record(version.record.unwrap().renewals + 1);
            let cas = coordinator.cas("edge", &version, &next, REQUEST).await;
            match cas {
                Ok(CasOutcome::Unknown(_)) => {}
                Err(error) if error.is_passing() => {}
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < REQUEST * 4, "{:?}", begun.elapsed());
        }
        for number in down {
            etcd.resume(*number);
        }
        version = renew(&coordinator, &version).await.0;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_server_counts_anew_is_told_apart_by_what_it_says() {
    let mut etcd = Etcd::start(1).await;
    let coordinator = joined(&etcd).await;
    let old = renew(&coordinator, &NONE).await.0;
    etcd.kill(0);
    let copy = tempfile::tempdir().unwrap();
    let copied = |from: &Path, to: &Path| {
        let status = std::process::Command::new("cp")
            .args(["-a", "-T"])
            .args([from, to])
            .status();
        assert!(status.unwrap().success());
    };
    copied(&etcd.data(0), copy.path());
    etcd.resume(0);
    let lost = renew(&coordinator, &old).await.0;
    etcd.kill(0);
    std::fs::remove_dir_all(etcd.data(0)).unwrap();
    copied(copy.path(), &etcd.data(0));
    etcd.resume(0);
    etcd.wait().await;
    let cas = coordinator.cas("edge", &lost, &record(9), SOON).await;
    assert!(
        matches!(cas, Ok(CasOutcome::Conflict(found)) if found == old),
        "{cas:?}"
    );
    // Another write gets the number that the lost one had.
    let other = coordinator
        .cas("edge", &old, &record(5), SOON)
        .await
        .unwrap();
    let CasOutcome::Written { revision } = other else {
        panic!("{other:?}");
    };
    assert_eq!(revision, lost.revision);
    let cas = coordinator.cas("edge", &lost, &record(9), SOON).await;
    let record = Some(record(5));
    assert!(
        matches!(cas, Ok(CasOutcome::Conflict(found)) if found == Version { revision, record }),
        "{cas:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_users_the_password_counts_and_a_token_that_was_forgotten_is_fetched_anew() {
    let mut etcd = Etcd::start(1).await;
    let mut root = etcd_client::Client::connect(etcd.urls(), None)
        .await
        .unwrap();
    let all = etcd_client::PermissionType::Readwrite;
    let place = etcd_client::Permission::new(all, "/holdline/").with_prefix();
    root.role_add("holdline").await.unwrap();
    root.role_grant_permission("holdline", place).await.unwrap();
    for (user, role) in [("root", "root"), ("holdline", "holdline")] {
        root.user_add(user, "secret", None).await.unwrap();
        if role == "root" {
            root.role_add("root").await.unwrap();
        }
        root.user_grant_role(user, role).await.unwrap();
    }
    root.auth_enable().await.unwrap();
    let options = |user: &str, password: &str| EtcdOptions {
        user: Some((user.to_owned(), Password::new(password))),
        ..etcd.etcd_options("test")
    };
    for wrong in [etcd.etcd_options("test"), options("holdline", "guess")] {
        assert!(!format!("{wrong:?}").contains("guess"));
        let read = open(wrong).await.read("edge", SOON).await;
        assert!(matches!(read, Err(Error::Denied { .. })), "{read:?}");
    }
    let elsewhere = EtcdOptions {
        prefix: "/other".to_owned(),
        ..options("holdline", "secret")
    };
    let cas = open(elsewhere)
        .await
        .cas("edge", &NONE, &record(0), SOON)
        .await;
    assert!(matches!(cas, Err(Error::Denied { .. })), "{cas:?}");
    let coordinator = open(options("holdline", "secret")).await;
    coordinator.join(None, ID, SOON).await.unwrap();
    let mut watch = coordinator.watch("edge").unwrap();
    let version = renew(&coordinator, &NONE).await.0;
    while timeout(SOON, watch.next()).await.unwrap() != Some(version) {}
    // Its tokens are in its memory.
    etcd.kill(0);
    etcd.resume(0);
    etcd.wait().await;
    let version = renew(&coordinator, &version).await.0;
    while timeout(SOON * 2, watch.next()).await.unwrap() != Some(version) {}
}

/// Certificates of an authority of the test's own.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        use rcgen::{
            BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        };
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = ca.self_signed(&ca_key).unwrap();
        write("ca.pem", certificate.pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), certificate.pem()).unwrap();
            write(&format!("{name}.key"), key.serialize_pem()).unwrap();
        }
        Authority { folder }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn argument(&self, option: &str, name: &str) -> String {
        format!("--{option}={}", self.file(name).display())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_both_sides_have_to_show_certificates_of_the_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let extra = [
        ours.argument("cert-file", "server.pem"),
        ours.argument("key-file", "server.key"),
        ours.argument("trusted-ca-file", "ca.pem"),
        "--client-cert-auth".to_owned(),
    ];
    let etcd = Etcd::start_with(1, "https", &extra).await;
    let options = |ca: &Authority, own: Option<&Authority>| EtcdOptions {
        tls: Some(Tls {
            ca: ca.file("ca.pem"),
            identity: own.map(|own| (own.file("client.pem"), own.file("client.key"))),
        }),
        ..etcd.etcd_options("test")
    };
    let coordinator = open(options(&ours, Some(&ours))).await;
    let begun = Instant::now();
    while let Err(error) = coordinator.join(None, ID, SOON).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
        sleep(Duration::from_millis(50)).await;
    }
    let version = renew(&coordinator, &NONE).await.0;
    let watched = coordinator.watch("edge").unwrap().next().await;
    assert_eq!(watched, Some(version));
    for wrong in [
        options(&theirs, Some(&ours)),
        options(&ours, Some(&theirs)),
        options(&ours, None),
    ] {
        let read = open(wrong).await.read("edge", Duration::from_secs(2)).await;
        assert!(read.as_ref().is_err_and(Error::is_passing), "{read:?}");
    }
    let bare = Coordinator::open(&etcd.options("test")).await;
    assert!(matches!(bare, Err(Error::Setting { .. })), "{bare:?}");
    let missing = EtcdOptions {
        tls: Some(Tls {
            ca: ours.file("none.pem"),
            identity: None,
        }),
        ..etcd.etcd_options("test")
    };
    let missing = Coordinator::open(&Options::Etcd(missing)).await;
    assert!(matches!(missing, Err(Error::File { .. })), "{missing:?}");
}
