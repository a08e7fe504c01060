//! A node on one address with users in memory, for trying the driver by itself:
//! `edge LISTEN DATABASE USERS`, where USERS of domain bench.example are named u0, u1, ... with password `p`.

use std::time::Duration;

use driver::{Node, Settings};
use proxy::Listener;
use sip::digest::{Algorithm, Ha1, WithoutQop};
use store::{Credentials, Store, StoreOptions};
use transaction::{Timers, Transport};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments
        .next()
        .expect("LISTEN")
        .parse()
        .expect("an address");
    let url = arguments.next().expect("DATABASE");
    let users: usize = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(10);
    let store = Store::open(&url, StoreOptions::default())
        .await
        .expect("a store");
    for user in 0..users {
        let name = format!("u{user}");
        let ha1 = Ha1::compute(Algorithm::Md5, name.as_bytes(), b"bench.example", b"p");
        let mut md5 = [0; 16];
        md5.copy_from_slice(ha1.as_bytes());
        let credentials = Credentials {
            ha1_md5: Some(md5),
            ..Credentials::default()
        };
        let _ = store.user_add(&name, "bench.example", &credentials).await;
    }
    let settings = Settings {
        domains: vec!["bench.example".to_owned()],
        listeners: vec![
            Listener {
                transport: Transport::Udp,
                local: listen,
                advertise: None,
            },
            Listener {
                transport: Transport::Tcp,
                local: listen,
                advertise: None,
            },
        ],
        workers: 1,
        record_route: true,
        max_breadth: 60,
        serial_ring: Duration::from_secs(30),
        registrar: registrar::Policy::default(),
        algorithms: vec![Algorithm::Md5],
        nonce_lifetime: Duration::from_secs(300),
        without_qop: WithoutQop::Accept,
        trusted: vec!["127.0.0.0/8".parse().expect("a network")],
        sources: edge::sources::SourceLimits::default(),
        overload: edge::overload::OverloadLimits::default(),
        limits: sip::Limits::default(),
        timers: Timers::default(),
        cookie_secret: (1, 2),
        retry_after_s: 5,
        nonce_secret: None,
        cluster: None,
        streams: net::tcp::StreamOptions::default(),
        name_servers: Vec::new(),
        gather: Duration::from_micros(
            std::env::var("GATHER_US")
                .ok()
                .and_then(|us| us.parse().ok())
                .unwrap_or(1_000),
        ),
        media: proxy::media::Settings::default(),
        relay: None,
        farm: Default::default(),
    };
    let node = Node::start(settings, store).await.expect("a node");
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let snapshot = node.snapshot(0);
        println!("{snapshot:?}");
    }
}
