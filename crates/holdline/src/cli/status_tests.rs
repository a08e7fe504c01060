use admin::{LinkStatus, PoolStatus, ServiceStatus, Takeover};

use super::super::COLUMNS;
use super::*;

/// 22 November 2026, 14:02:11 UTC.
const NOW_MS: u64 = 1_795_356_131_000;

fn service(name: &str, owner: &str, members: [&str; 2]) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        phase: "member".to_owned(),
        owner: Some(owner.to_owned()),
        epoch: 7,
        members: members.map(str::to_owned).to_vec(),
        in_sync: members.map(str::to_owned).to_vec(),
        records: 21_000,
        whole: true,
        lease_kept_by: "kernel (absolute)".to_owned(),
        ..ServiceStatus::default()
    }
}

fn pbx(name: &str, legs: u64) -> PbxStatus {
    PbxStatus {
        name: name.to_owned(),
        listener: format!("udp:10.0.0.{legs}:5060"),
        legs,
        incoming: 120_000,
        packets_received: 12_000_000,
        packets_sent: 12_000_001,
        ..PbxStatus::default()
    }
}

fn target(service: Option<&str>) -> TargetStatus {
    TargetStatus {
        target: "sip:10.0.0.31:5060".to_owned(),
        service: service.map(str::to_owned),
        address: None,
        state: "up".to_owned(),
        reason: "added".to_owned(),
        since_ms: 61_000,
        calls: 812,
        limit: Some(2_000),
        picks: 402_211,
        failures: 1,
        probes: 100,
        probe_answers: 97,
        probe_rtt_ms: 1,
        weight: 1,
        priority: (0, 0),
        share_permille: 1_000,
        kept_out_ms: 0,
        agent: None,
    }
}

/// A node that owns one service, is in a PBX's list of members, and has nothing to complain of.
fn node() -> NodeStatus {
    let mut own = service("pbx1", "node1", ["node1", "node2"]);
    own.phase = "owner".to_owned();
    own.authority_left_ms = Some(400);
    own.last_takeover = Some(Takeover {
        at_ms: NOW_MS - 191_000,
        epoch: 7,
        cause: "the owner was not heard for a lease".to_owned(),
        away_ms: Some(512),
    });
    NodeStatus {
        node: "node1".to_owned(),
        version: "0.1.0".to_owned(),
        state: State::Ready,
        reason: None,
        uptime_s: 90_000,
        listeners: Vec::new(),
        domains: Vec::new(),
        store: "postgres://holdline@db.example.org/holdline".to_owned(),
        users: 2,
        bindings: 0,
        calls: 0,
        transactions: 0,
        relay: None,
        pbx: None,
        pbxs: vec![pbx("pbx1", 8), pbx("pbx2", 4)],
        pools: vec![PoolStatus {
            pool: "pbx".to_owned(),
            policy: "hash-user".to_owned(),
            fallback: None,
            targets: vec![target(Some("pbx1")), target(None)],
        }],
        cluster: Some(ClusterStatus {
            name: "example".to_owned(),
            coordinator_answers: true,
            links: vec![LinkStatus {
                node: "node2".to_owned(),
                address: "10.0.0.2:7400".to_owned(),
                up: true,
                reason: None,
            }],
            services: vec![own, service("pbx2", "node2", ["node2", "node1"])],
            ..ClusterStatus::default()
        }),
    }
}

fn shown(status: &NodeStatus) -> String {
    let mut out = Vec::new();
    print(status, NOW_MS, &mut out).expect("memory");
    String::from_utf8(out).expect("text")
}

/// A line that begins so.
fn line<'t>(text: &'t str, start: &str) -> &'t str {
    let mut lines = text.lines();
    let found = lines.find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start}: {text}"))
}

/// The text without line breaks and the blanks at their beginnings.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn services_have_owners_epochs_members_in_sync_lag_and_the_last_takeover() {
    let text = shown(&node());
    let own = line(&text, "pbx1 ");
    let words: Vec<&str> = own.split_whitespace().collect();
    let wanted = [
        "pbx1", "node1", "(here)", "7", "node1", "node2", "21000", "0", "0", "µs",
    ];
    assert_eq!(words, wanted, "{text}");
    assert!(line(&text, "pbx2 ").contains("node2         7"), "{text}");
    let takeover = "pbx1: taken by node1 3m 11s ago, at 13:59:00 UTC, 512 ms after the one before was last heard: the owner was not heard \
                    for a lease; lease kept by the kernel (absolute)";
    assert!(joined(&text).contains(takeover), "{text}");
    assert!(
        text.contains("epoch 7 of node2 was taken before this node looked"),
        "{text}"
    );
    assert!(joined(&text).contains("look at nothing"), "{text}");
}

#[test]
fn a_takeover_of_an_earlier_epoch_is_not_told_as_the_last() {
    let mut status = node();
    let cluster = status.cluster.as_mut().expect("it has one");
    cluster.services[0].epoch = 8;
    assert!(!shown(&status).contains("13:59:00"));
}

#[test]
fn each_pbx_is_shown_by_itself_and_who_owns_it() {
    let text = joined(&shown(&node()));
    assert!(
        text.contains("pbx pbx1 at udp:10.0.0.8:5060 (owned here): 8 legs"),
        "{text}"
    );
    assert!(
        text.contains("pbx pbx2 at udp:10.0.0.4:5060 (its owner is node2): 4 legs"),
        "{text}"
    );
}

#[test]
fn a_target_that_is_a_service_is_shown_by_its_name() {
    let text = shown(&node());
    let at = text.find("TARGET").expect("a table");
    let names: Vec<&str> = text[at..]
        .lines()
        .skip(1)
        .take(2)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["pbx1", "sip:10.0.0.31:5060"], "{text}");
}

#[test]
fn what_is_wrong_stands_at_the_top_with_what_it_means() {
    let mut status = node();
    status.pools[0].targets[0].state = "out".to_owned();
    status.pbxs[1].recordings_lost = 3;
    let cluster = status.cluster.as_mut().expect("it has one");
    cluster.coordinator_answers = false;
    cluster.has_left = true;
    cluster.certificate_ends_s = NOW_MS / 1_000 + 86_400 * 3;
    cluster.links[0].up = false;
    cluster.services[0].in_sync.pop();
    cluster.services[1].owner = None;
    let text = shown(&status);
    let head = text.split("\n\n").next().expect("a first part");
    let head = joined(head.split("up for").next().expect("before it"));
    for what in [
        "pbx1: node2 is not in sync: if node1 fails, calls are lost",
        "pbx2: nobody owns it",
        "the coordinator does not answer",
        "no link to node2 (10.0.0.2:7400): it is not reached",
        "node1 has left its services to others",
        "this node's certificate ends in 3d 0h",
        "pool pbx: pbx1 is out: added",
        "pbx pbx2: 3 recordings or voice messages were not saved whole",
    ] {
        assert!(head.contains(what), "{what}: {text}");
    }
}

#[test]
fn an_owner_by_the_record_alone_is_told_of() {
    let mut status = node();
    let cluster = status.cluster.as_mut().expect("it has one");
    cluster.services[0].phase = "member".to_owned();
    cluster.services[1].owner_silent_ms = 61_000;
    let text = shown(&status);
    assert!(
        text.contains("pbx1: nobody serves it: node1 had it last"),
        "{text}"
    );
    assert!(
        text.contains("pbx2: its owner node2 was not heard for 1m 01s"),
        "{text}"
    );
}

#[test]
fn a_terminal_of_80_columns_has_room_for_every_line() {
    let mut status = node();
    status.listeners = (1..9)
        .map(|host| format!("udp:10.0.0.{host}:5060"))
        .collect();
    status.domains = vec!["example.org".to_owned(); 12];
    let cluster = status.cluster.as_mut().expect("it has one");
    cluster.links[0].up = false;
    cluster.links[0].reason = Some("its certificate is of another cluster's authority, ".repeat(3));
    status.pools[0].targets[0].reason = "no reply, ".repeat(20);
    let text = shown(&status);
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}\n{text}");
    }
}
