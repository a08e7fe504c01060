use std::net::UdpSocket;
use std::time::{Duration, Instant};

use balancer::{Policy, PoolSettings, Source, State, TargetSettings, Wanted};

use super::*;
use crate::node::tests::{settings, start};

/// A media server that answers probes, or does not.
struct Server {
    socket: UdpSocket,
    uri: String,
}

impl Server {
    fn new() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let wait = Some(Duration::from_secs(5));
        socket.set_read_timeout(wait).expect("an option");
        let uri = format!("sip:{}", socket.local_addr().expect("bound"));
        Server { socket, uri }
    }

    /// Answers the next probe; gives its Call-ID.
    fn answers_a_probe(&self) -> String {
        let mut room = [0; 2_048];
        let (size, from) = self.socket.recv_from(&mut room).expect("a probe");
        let request = String::from_utf8_lossy(&room[..size]).into_owned();
        assert!(request.starts_with("OPTIONS sip:"), "{request}");
        let head = request.split_once("\r\n").expect("lines").1;
        let answer = format!("SIP/2.0 200 OK\r\n{head}");
        self.socket.send_to(answer.as_bytes(), from).expect("sent");
        let line = head.lines().find(|line| line.starts_with("Call-ID: "));
        line.expect("a Call-ID").to_owned()
    }
}

fn pool(targets: &[&str]) -> FarmSettings {
    let target = |uri: &&str| TargetSettings::new(Source::Uri((*uri).to_owned()));
    let mut pool = PoolSettings::new(
        "pbx",
        Policy::RoundRobin,
        targets.iter().map(target).collect(),
    );
    pool.health.probe_interval_ms = 30;
    pool.health.probe_timeout_ms = 60;
    FarmSettings {
        media: Vec::new(),
        pools: vec![pool],
        ..FarmSettings::default()
    }
}

fn state(node: &crate::Node, uri: &str) -> Option<State> {
    let view = node.farm();
    let targets = &view.pools.first()?.targets;
    let target = targets.iter().find(|target| target.status.name == uri)?;
    Some(target.status.state)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_probed_and_its_answers_are_heard_whichever_worker_gets_them() {
    let server = Server::new();
    let mut with_pool = settings();
    with_pool.farm = pool(&[&server.uri]);
    let (node, _folder) = start(with_pool).await;
    let call_ids: Vec<String> = (0..20).map(|_| server.answers_a_probe()).collect();
    let distinct: std::collections::BTreeSet<_> = call_ids.iter().collect();
    assert_eq!(distinct.len(), 20);
    let target = node.farm().pools[0].targets[0].clone();
    assert_eq!(target.status.state, State::Up);
    // The last answer may still be on its way.
    assert!(
        target.probe_answers >= 18 && target.probes >= 20,
        "{target:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_silent_goes_out_and_one_that_answers_comes_back() {
    let server = Server::new();
    let mut with_pool = settings();
    with_pool.farm = pool(&[&server.uri]);
    let (node, _folder) = start(with_pool).await;
    let mut events = node.events();
    wait_until("out", || state(&node, &server.uri) == Some(State::Out));
    let told = events.recv().await.expect("an event");
    let Event::Target {
        target,
        to: "out",
        reason,
        ..
    } = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(target, server.uri);
    assert_eq!(reason, "no reply, 3 times in a row");
    while state(&node, &server.uri) == Some(State::Out) {
        server.answers_a_probe();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_where_nobody_listens_goes_out_by_icmp_at_once() {
    let server = Server::new();
    let uri = server.uri.clone();
    let mut with_pool = settings();
    with_pool.farm = pool(&[&uri]);
    with_pool.farm.pools[0].health.probe_timeout_ms = 5_000;
    drop(server);
    let (node, _folder) = start(with_pool).await;
    wait_until("out", || state(&node, &uri) == Some(State::Out));
    assert!(node.farm().pools[0].targets[0].failures > 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_is_known_of_targets_that_stay() {
    let (one, two) = (Server::new(), Server::new());
    let mut with_pool = settings();
    with_pool.farm = pool(&[&one.uri]);
    with_pool.farm.pools[0].health.probe_interval_ms = 0;
    let (node, _folder) = start(with_pool.clone()).await;
    let drained = node.set_wanted(&one.uri, None, Wanted::Drained);
    assert_eq!(drained, Ok(vec![one.uri.clone()]));
    with_pool.farm = pool(&[&one.uri, &two.uri]);
    with_pool.farm.pools[0].health.probe_interval_ms = 0;
    node.reload(with_pool);
    assert_eq!(state(&node, &one.uri), Some(State::Draining));
    assert!(state(&node, &two.uri).is_some_and(State::takes_calls));
    let flow = |address: std::net::SocketAddr| Flow {
        transport: Transport::Udp,
        remote: address,
        local: address,
    };
    let address = two.socket.local_addr().expect("bound");
    assert!(node.shared.is_target(&flow(address)));
    let unknown = node.set_wanted("sip:nobody", None, Wanted::Open);
    assert!(matches!(unknown, Err(NotSaid::Unknown { known }) if known.len() == 2));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_by_a_reload_is_told_by_its_name() {
    let (one, two) = (Server::new(), Server::new());
    let mut with_pool = settings();
    with_pool.farm = pool(&[&one.uri]);
    let (node, _folder) = start(with_pool.clone()).await;
    let mut events = node.events();
    with_pool.farm = pool(&[&two.uri]);
    node.reload(with_pool);
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Event::Target {
            target, from, to, ..
        } = events.recv().await.expect("an event")
        {
            assert!(from == "absent" || to == "absent", "{from} {to}");
            told.push(target);
        }
    }
    told.sort();
    let mut both = [one.uri, two.uri];
    both.sort();
    assert_eq!(told, both);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_pools_is_not_woken() {
    let (node, _folder) = start(settings()).await;
    let turns = |node: &crate::Node| node.snapshot(0).turns;
    let before = turns(&node);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Being asked wakes each of the two once.
    assert!(turns(&node) - before <= 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_report_reaches_the_target_that_it_names_and_no_other() {
    let (one, two) = (Server::new(), Server::new());
    let mut with_pool = settings();
    with_pool.farm = pool(&[&one.uri, &two.uri]);
    with_pool.farm.pools[0].health.probe_interval_ms = 0;
    let (node, _folder) = start(with_pool).await;
    let load = balancer::AgentLoad {
        cpu_permille: Some(420),
        ..balancer::AgentLoad::default()
    };
    let bare = one.uri.strip_prefix("sip:").expect("a URI");
    assert_eq!(node.report_load(bare, load), Ok(1));
    let unknown = node.report_load("sip:192.0.2.1", load);
    assert_eq!(unknown.expect_err("no such target").known.len(), 2);
    let agents: Vec<_> = node.farm().pools[0]
        .targets
        .iter()
        .map(|target| target.status.agent.map(|(load, _)| load))
        .collect();
    assert_eq!(agents, [Some(load), None]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_words_hold_from_the_start_and_for_those_that_come_later() {
    let (one, two) = (Server::new(), Server::new());
    let mut with_pool = settings();
    with_pool.farm = pool(&[&one.uri]);
    let word = |server: &Server, wanted| (server.uri.clone(), wanted);
    with_pool.farm.words = vec![word(&one, Wanted::Drained), word(&two, Wanted::Disabled)];
    let (node, _folder) = start(with_pool.clone()).await;
    assert_eq!(state(&node, &one.uri), Some(State::Draining));
    with_pool.farm = pool(&[&two.uri]);
    node.reload(with_pool.clone());
    assert_eq!(state(&node, &two.uri), Some(State::Disabled));
    // The first is not there, and its word can be taken back all the same.
    assert_eq!(node.words().len(), 2);
    let freed = node.set_wanted(&one.uri, None, Wanted::Open);
    assert_eq!(freed, Ok(vec![one.uri.clone()]));
    assert_eq!(node.words(), [word(&two, Wanted::Disabled)]);
    with_pool.farm = pool(&[&one.uri, &two.uri]);
    node.reload(with_pool);
    assert!(state(&node, &one.uri).is_some_and(State::takes_calls));
    node.stop().await;
}
