//! The generator's honesty: what it counts is what the node counts, and what went wrong on purpose is not counted as well.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use support::node::DOMAIN;
use support::office::own_address;
use support::{Node, ask, text};

const USERS: usize = 10;

fn node(edge: &str) -> Node {
    let names: Vec<String> = (1..=USERS).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Node::with_users(edge, "", &names)
}

/// Runs `holdline load` against the node; gives whether it counts as well done, and its report.
fn load(node: &Node, more: &[&str]) -> (bool, Value) {
    let target = node.address().to_string();
    let users = USERS.to_string();
    let mut arguments = vec![
        "load", "--json", "--quiet", "--target", &target, "--domain", DOMAIN,
    ];
    arguments.extend(["--users", &users]);
    if !more.contains(&"--password") {
        arguments.extend(["--password", "secret-of-{user}"]);
    }
    arguments.extend(more);
    let output = ask(node.path(), &arguments);
    assert!(!output.stdout.is_empty(), "{}", text(&output.stderr));
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.success(), report)
}

#[test]
fn the_node_counts_the_calls_and_registrations_that_the_generator_made() {
    for transport in [&[][..], &["--tcp"]] {
        let node = node("");
        let calls = [
            "--register",
            "--calls-per-s",
            "20",
            "--total",
            "60",
            "--call-duration",
            "500ms",
        ];
        let (is_good, report) = load(&node, &[&calls[..], transport].concat());
        assert!(is_good, "{report:#}");
        assert_eq!(report["registrations"]["succeeded"], USERS, "{report:#}");
        assert_eq!(node.metric("holdline_registered_users"), USERS as f64);
        for (metric, ours) in [
            (
                "holdline_calls_answered_total",
                &report["calls"]["answered"],
            ),
            (
                "holdline_calls_answered_total",
                &report["answers"]["acknowledged"],
            ),
            ("holdline_calls_ended_total", &report["calls"]["completed"]),
            ("holdline_calls_ended_total", &report["answers"]["ended"]),
        ] {
            assert_eq!(node.metric(metric), 60.0, "{metric}: {report:#}");
            assert_eq!(*ours, 60, "{metric}: {report:#}");
        }
        // Every INVITE was challenged once, and each user's REGISTER.
        assert_eq!(report["messages"]["challenges"], 60 + USERS, "{report:#}");
        assert_eq!(report["messages"]["unexpected"], 0, "{report:#}");
        node.wait_for(|node| node.metric("holdline_calls") == 0.0);
    }
}

#[test]
fn sound_through_the_relay_is_heard_by_whom_it_is_meant_for() {
    let relay = own_address();
    let edge = format!(
        "rtp_ports = [21000, 21099]\n[edge.media]\npolicy = \"always\"\naddresses = [\"{relay}\"]\n"
    );
    let node = node(&edge);
    let calls = [
        "--register",
        "--media",
        "--calls-per-s",
        "10",
        "--total",
        "20",
        "--call-duration",
        "2s",
        "--reinvite-share",
        "0.5",
    ];
    let (is_good, report) = load(&node, &calls);
    assert!(is_good, "{report:#}");
    assert_eq!(report["calls"]["reinvited"], 10, "{report:#}");
    let media = &report["media"];
    assert_eq!(media["streams"], 40, "{report:#}");
    for nothing in ["silent", "corrupt", "wrong_party", "foreign", "echoed"] {
        assert_eq!(media[nothing], 0, "{report:#}");
    }
    assert!(media["received"].as_u64() > Some(40 * 50), "{report:#}");
}

#[test]
fn cancelled_changed_and_hung_up_calls_from_two_addresses_are_counted_on_both_sides() {
    for transport in [&[][..], &["--tcp"]] {
        let node = node("");
        let calls = [
            "--register",
            "--from",
            "127.0.0.1,127.0.0.2",
            "--calls-per-s",
            "20",
            "--total",
            "40",
            "--call-duration",
            "1500ms..2s",
            "--ring",
            "500ms",
            "--cancel-share",
            "0.25",
            "--cancel-after",
            "100ms",
            "--reinvite-share",
            "0.5",
            "--reinvite-after",
            "200ms",
            "--hang-up-share",
            "0.2",
            "--hang-up-after",
            "1s",
        ];
        let (is_good, report) = load(&node, &[&calls[..], transport].concat());
        assert!(is_good, "{report:#}");
        for (side, count, expected) in [
            ("calls", "cancelled", 10),
            ("calls", "completed", 30),
            ("calls", "reinvited", 15),
            ("calls", "ended_by_peer", 6),
            ("answers", "cancelled", 10),
            ("answers", "reinvited", 15),
            ("answers", "hung_up", 6),
            ("answers", "ended", 24),
        ] {
            assert_eq!(report[side][count], expected, "{side} {count}: {report:#}");
        }
        assert_eq!(report["messages"]["unexpected"], 0, "{report:#}");
        assert_eq!(node.metric("holdline_calls_ended_total"), 30.0);
        node.wait_for(|node| node.metric("holdline_calls") == 0.0);
    }
}

#[test]
fn phones_do_as_they_are_told() {
    let relay = own_address();
    let edge = format!(
        "rtp_ports = [21100, 21199]\n[edge.media]\npolicy = \"always\"\naddresses = [\"{relay}\"]\n"
    );
    let node = node(&edge);
    let target = node.address().to_string();
    let phone = |user: &str, more: &[&str]| {
        let password = format!("secret-of-{user}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
        command.args(["load", "phone", "--target", &target, "--domain", DOMAIN]);
        command.args(["--register", user, "--password", &password]);
        command.args(more).stdout(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let mut callee = phone(
        "user2",
        &["--answer", "--hang-up-after", "3s", "--for", "30s"],
    );
    let mut told = BufReader::new(callee.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = told.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next()["status"], 200);
    let words = ["--call", "user2", "--play", "tone", "--dtmf", "1#"];
    let caller = phone(
        "user1",
        &[&words[..], &["--reinvite-after", "500ms", "--for", "20s"]].concat(),
    );
    let output = caller.wait_with_output().expect("it ends");
    let said = text(&output.stdout);
    assert!(said.contains("\"event\":\"answered\""), "{said}");
    assert!(said.contains("\"by_peer\":true"), "{said}");
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|event: &Value| event["event"] != "heard")
    {
        events.push(next());
    }
    let heard = events.last().expect("one");
    assert_eq!(heard["keys"], "1#", "{events:?}");
    assert!(heard["packets"].as_u64() > Some(100), "{events:?}");
    assert!(heard["loudness"].as_u64() > Some(1_000), "{events:?}");
    assert!(callee.wait().expect("it ends").success());
}

#[test]
fn calls_that_must_fail_are_counted_by_their_reason_and_fail_the_run() {
    let node = node("");
    // Nobody has registered.
    let (is_good, report) = load(&node, &["--calls-per-s", "20", "--total", "10"]);
    assert!(!is_good, "{report:#}");
    assert_eq!(report["calls"]["failed"], 10, "{report:#}");
    assert_eq!(report["calls"]["failures"]["480"], 10, "{report:#}");
    let wrong = ["--register", "--password", "wrong"];
    let (is_good, report) = load(&node, &wrong);
    assert!(!is_good, "{report:#}");
    assert_eq!(report["registrations"]["failed"], USERS, "{report:#}");
    assert_eq!(node.metric("holdline_registered_users"), 0.0);
}
