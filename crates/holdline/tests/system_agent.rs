//! `holdline agent` beside media servers: its reports decide, its silence stops nothing.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::Value;

use support::sipp::{Over, Sipp};
use support::{Ending, Node, PATIENCE, Phone, ask, free_port, holdline, signal, text, wait_until};

/// Of the node's operator.
const TOKEN: &str = "0123456789abcdef";
/// Of the agents.
const AGENT_TOKEN: &str = "fedcba9876543210";

/// `[admin]` with both.
fn tokens() -> String {
    format!("token = \"{TOKEN}\"\nagent_token = \"{AGENT_TOKEN}\"\n")
}

/// Two media servers, chosen by the calls that their agents count: 100 are full load.
fn by_load(ports: [u16; 2]) -> String {
    let [one, other] = ports;
    format!(
        "[[edge.pool]]\nname = \"pbx\"\npolicy = \"load\"\nslow_start_s = 0\n\
         targets = [{{ uri = \"sip:127.0.0.1:{one}\" }}, {{ uri = \"sip:127.0.0.1:{other}\" }}]\n\
         load = {{ cpu = 0, memory = 0, disk = 0, calls = 1, calls_full = 100, fresh_s = 3, stale_s = 6 }}\n\
         [[edge.route]]\nuser = \"8*\"\npool = \"pbx\"\n"
    )
}

/// A running agent.
struct Agent {
    process: Ending,
    log: PathBuf,
}

impl Agent {
    fn start(folder: &Path, token: &str, arguments: &[&str]) -> Agent {
        let log = folder.join(format!("agent-{}", free_port()));
        let arguments = [&["agent", "--interval-ms", "200"], arguments].concat();
        let process = holdline(folder, &arguments)
            .env("HOLDLINE_TOKEN", token)
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .stderr(fs::File::create(&log).expect("made"))
            .spawn();
        Agent {
            process: Ending(process.expect("built")),
            log,
        }
    }

    /// One for the media server at `port` that has so many calls.
    fn counting(node: &Node, port: u16, calls: u32) -> Agent {
        let url = node.url();
        let target = format!("sip:127.0.0.1:{port}");
        let command = format!("echo 7 channels; echo {calls} active calls");
        let of = ["--edge", &url, "--target", &target];
        let counted = ["--calls-command", &command, "--calls-line", "active calls"];
        Agent::start(node.path(), AGENT_TOKEN, &[of, counted].concat())
    }

    /// Waits for this in its log.
    fn says(&self, what: &str) {
        wait_until(what, || {
            let log = fs::read_to_string(&self.log).expect("readable");
            log.contains(what).then_some(())
        });
    }
}

/// The media server at `port` as the node shows it.
fn target(node: &Node, port: u16) -> Value {
    let status = node.verb("status");
    let targets = status["pools"][0]["targets"].as_array().expect("targets");
    let name = format!("sip:127.0.0.1:{port}");
    let found = targets.iter().find(|target| target["target"] == *name);
    found.expect("a target").clone()
}

fn picks(node: &Node, port: u16) -> u64 {
    target(node, port)["picks"].as_u64().expect("a number")
}

/// A whole call to a media server.
fn talks(phone: &mut Phone) {
    let mut call = phone.calls("8000");
    phone.is_connected(&mut call);
    phone.hangs_up(&mut call);
}

/// What `holdline status` says, its lines joined.
fn status_in_words(node: &Node) -> String {
    let shown = text(&ask(node.path(), &["status"]).stdout);
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn calls_go_where_agents_report_little_load_and_go_on_when_one_falls_silent() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = [free_port(), free_port()];
    let _servers = ports.map(|port| Sipp::serves(folder.path(), (Over::Udp, port), [0, 0, 0]));
    let [busy, idle] = ports;
    let node = Node::with_users(&by_load(ports), &tokens(), &["alice"]);
    let mut agent_of_busy = Agent::counting(&node, busy, 80);
    let _agent_of_idle = Agent::counting(&node, idle, 30);
    for (port, calls) in [(busy, 80), (idle, 30)] {
        node.wait_for(|node| {
            let target = target(node, port);
            let agent = &target["agent"];
            target["state"] == "up" && agent["calls"] == calls && agent["cpu_permille"].is_u64()
        });
    }
    let shown = status_in_words(&node);
    assert!(
        shown.contains(" 80 calls, ") && shown.contains("s ago"),
        "{shown}"
    );
    let mut alice = Phone::udp(&node, "alice");
    for _ in 0..5 {
        talks(&mut alice);
    }
    assert_eq!((picks(&node, busy), picks(&node, idle)), (0, 5));
    // Its agent dies as by a power cut: what it said last is believed less and less.
    agent_of_busy.process.0.kill().expect("a child");
    agent_of_busy.process.0.wait().expect("a child");
    let mut calls = 5;
    let mut trusts = Vec::new();
    wait_until("no trust in old figures", || {
        talks(&mut alice);
        calls += 1;
        let agent = target(&node, busy)["agent"].clone();
        trusts.push(agent["trust_permille"].as_u64().expect("a number"));
        (trusts.last() == Some(&0)).then_some(())
    });
    assert!(trusts.is_sorted_by(|a, b| a >= b), "{trusts:?}");
    assert!(
        trusts.iter().any(|trust| (1..1_000).contains(trust)),
        "{trusts:?}"
    );
    // By the edge's own count it is the emptier one.
    let before = picks(&node, busy);
    for _ in 0..5 {
        talks(&mut alice);
    }
    assert_eq!(picks(&node, busy), before + 5);
    assert_eq!(picks(&node, busy) + picks(&node, idle), calls + 5);
    let shown = status_in_words(&node);
    assert!(shown.contains("s ago, trust 0 %"), "{shown}");
    // An agent that is back is believed at once.
    let _agent_again = Agent::counting(&node, busy, 80);
    node.wait_for(|node| {
        let agent = target(node, busy)["agent"].clone();
        agent["trust_permille"] == 1_000 && agent["calls"] == 80
    });
    let before = picks(&node, busy);
    talks(&mut alice);
    assert_eq!(picks(&node, busy), before);
}

#[test]
fn an_agents_token_is_for_reports_and_what_an_edge_refuses_is_logged() {
    let node = Node::start_edge(&by_load([free_port(), free_port()]), &tokens());
    let url = node.url();
    // It opens no other door.
    for verb in [&["status"][..], &["drain"], &["target", "list"]] {
        let arguments = [verb, &["--admin", &url]].concat();
        let mut verb = holdline(Path::new("/"), &arguments);
        let output = verb.env("HOLDLINE_TOKEN", AGENT_TOKEN).output();
        let output = output.expect("built");
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains("the agents' token is for"), "{errors}");
    }
    let dead = format!("http://127.0.0.1:{}", free_port());
    let unknown = ["--edge", &url, "--edge", &dead, "--target", "pbx9"];
    let agent = Agent::start(node.path(), AGENT_TOKEN, &unknown);
    agent.says("no target pbx9");
    agent.says("the edge is not reached");
    let agent = Agent::start(node.path(), "no-token-of-this-node", &unknown);
    agent.says("status=401");
}

#[test]
fn an_agent_tells_systemd_that_it_runs_and_ends_at_sigterm() {
    let port = free_port();
    let node = Node::start_edge(&by_load([port, free_port()]), &tokens());
    let socket = UnixDatagram::bind(node.path().join("notify")).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    let told = || {
        let mut room = [0; 64];
        let size = socket.recv(&mut room).expect("told");
        text(&room[..size])
    };
    let mut agent = Agent::counting(&node, port, 1);
    assert_eq!(told(), "READY=1");
    agent.says("the edge takes reports");
    signal(&agent.process.0, "-TERM");
    assert_eq!(told(), "STOPPING=1");
    let status = wait_until("its end", || agent.process.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
    agent.says("ended");
}

#[test]
fn what_an_agent_cannot_be_asked_is_said_as_a_wrong_command_line() {
    let agent = ["agent", "--edge", "http://127.0.0.1:9"];
    for (arguments, what) in [
        (
            &["--target", "pbx1", "--edge", "10.0.0.1:8060"][..],
            "http://HOST:PORT",
        ),
        (
            &["--target", "pbx1", "--interval-ms", "5"],
            "at most one every 100 ms",
        ),
        (
            &["--target", "pbx1", "--calls-line", "active"],
            "--calls-command",
        ),
        (&["--target", ""], "no target"),
    ] {
        let output = ask(Path::new("/"), &[&agent, arguments].concat());
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(what), "{errors}");
    }
}
