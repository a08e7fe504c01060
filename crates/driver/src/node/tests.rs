use super::*;

use crate::farm::FarmSettings;
use sip::digest::{Algorithm, WithoutQop};
use store::StoreOptions;

/// Two workers on a port of the system's choice.
pub(crate) fn settings() -> Settings {
    Settings {
        domains: vec!["example.org".to_owned()],
        listeners: vec![Listener {
            transport: Transport::Udp,
            local: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
        }],
        workers: 2,
        record_route: true,
        max_breadth: 60,
        serial_ring: Duration::from_secs(30),
        registrar: registrar::Policy::default(),
        algorithms: vec![Algorithm::Md5],
        nonce_lifetime: Duration::from_secs(300),
        without_qop: WithoutQop::Refuse,
        trusted: Vec::new(),
        sources: edge::sources::SourceLimits::default(),
        overload: edge::overload::OverloadLimits::default(),
        limits: sip::Limits::default(),
        timers: transaction::Timers::default(),
        cookie_secret: (1, 2),
        retry_after_s: 5,
        streams: net::tcp::StreamOptions::default(),
        name_servers: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
        gather: Duration::ZERO,
        media: proxy::media::Settings::default(),
        relay: None,
        farm: FarmSettings::default(),
        nonce_secret: None,
        cluster: None,
    }
}

pub(super) async fn try_start(
    settings: Settings,
    folder: &tempfile::TempDir,
) -> Result<Arc<Node>, StartError> {
    let url = format!("sqlite:{}", folder.path().join("t.db").display());
    let store = Store::open(&url, StoreOptions::default()).await;
    Node::start(settings, store.expect("a store")).await
}

/// A node, and the folder of its store.
pub(crate) async fn start(settings: Settings) -> (Arc<Node>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let node = try_start(settings, &folder).await;
    (node.expect("a node"), folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_has_ended_is_missed() {
    let (node, _folder) = start(settings()).await;
    assert!(node.workers_alive());
    node.shared.inboxes[1].push(Item::Stop);
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.workers_alive() {
        assert!(Instant::now() < deadline, "the worker does not end");
        std::thread::yield_now();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn users_that_were_stored_are_known_at_once_and_replaced_only_if_asked_to() {
    let (node, _folder) = start(settings()).await;
    let alice = |md5: u8| NewSubscriber {
        username: "alice".to_owned(),
        domain: "example.org".to_owned(),
        credentials: store::Credentials {
            ha1_md5: Some([md5; 16]),
            ..store::Credentials::default()
        },
    };
    for (md5, replaces, known) in [(1, false, 1), (2, false, 1), (3, true, 3)] {
        node.learn_users(&[alice(md5)], replaces).await;
        let users = node.shared.users.read().expect("nobody panics");
        let found = users.credential(b"alice@example.org", Algorithm::Md5);
        assert_eq!(
            found,
            sip::digest::Ha1::from_bytes(Algorithm::Md5, &[known; 16])
        );
    }
    node.stop().await;
}
