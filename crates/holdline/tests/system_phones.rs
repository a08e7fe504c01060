//! Two softphones of Debian at `holdline demo`.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};

use serde_json::Value;

use support::baresip::Baresip;
use support::{Ending, ask_json, free_port, holdline, signal, wait_until};

/// A demo, its two users' phones and what it tells.
struct Demo {
    process: Ending,
    lines: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    admin: String,
    domain: String,
    passwords: [String; 2],
}

impl Demo {
    fn start() -> Demo {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port().to_string();
        let mut demo = holdline(
            folder.path(),
            &["demo", "--alone", "--json", "--port", &port],
        );
        let child = demo
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Ending(child.expect("built"));
        let mut lines = BufReader::new(process.0.stdout.take().expect("piped"));
        let ready = event(&mut lines);
        let word = |value: &Value| value.as_str().expect("text").to_owned();
        Demo {
            process,
            lines,
            folder,
            admin: format!("http://{}", word(&ready["admin"])),
            domain: format!("127.0.0.1:{port}"),
            passwords: [0, 1].map(|at| word(&ready["users"][at]["password"])),
        }
    }

    /// A phone for the user of this number, registered.
    fn phone(&mut self, at: usize, transport: &str) -> Baresip {
        let (user, domain) = (["alice", "bob"][at], &self.domain);
        let account = (user, &domain[..], &self.passwords[at][..]);
        let phone = Baresip::start(self.folder.path(), account, transport);
        let told = self.tells("registered");
        assert_eq!(told["aor"], format!("{user}@127.0.0.1"));
        assert_eq!(
            told["transport"].as_str().map(str::to_lowercase).as_deref(),
            Some(transport)
        );
        phone
    }

    /// What the demo tells next, which must be this.
    fn tells(&mut self, kind: &str) -> Value {
        let event = event(&mut self.lines);
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    fn asks(&self, verb: &str) -> Value {
        ask_json(
            self.folder.path(),
            &[verb, "--json", "--admin", &self.admin],
        )
    }

    /// Waits until there is one call in this state.
    fn shows_call(&self, state: &str) {
        wait_until(state, || {
            let calls = self.asks("calls");
            let calls = calls["items"].as_array().expect("a list");
            (calls.len() == 1 && calls[0]["state"] == state).then_some(())
        });
    }

    /// Asserts that no call is left, and gives what the demo sums up at its end.
    fn ends(mut self) -> Value {
        assert_eq!(
            self.asks("calls")["items"].as_array().map(Vec::len),
            Some(0)
        );
        let status = self.asks("status");
        assert_eq!(status["bindings"], 2);
        assert_eq!(status["relay"]["ports_in_use"], 0, "{status}");
        signal(&self.process.0, "-INT");
        let summary = self.tells("summary");
        assert!(self.process.0.wait().expect("a child").success());
        summary
    }
}

fn event(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).expect("open");
    serde_json::from_str(&line).expect("JSON")
}

/// One call of each kind, from alice to bob and back.
fn two_softphones(over: [&str; 2]) {
    let mut demo = Demo::start();
    let (mut alice, mut bob) = (demo.phone(0, over[0]), demo.phone(1, over[1]));
    let registrations = demo.asks("registrations");
    let registrations = registrations["items"].as_array().expect("a list");
    assert_eq!(registrations.len(), 2);
    let agent = registrations[0]["user_agent"].as_str().expect("text");
    assert!(agent.starts_with("baresip"), "{agent}");
    let (to_bob, to_alice) = (
        format!("sip:bob@{}", demo.domain),
        format!("sip:alice@{}", demo.domain),
    );

    // Answered; the caller hangs up.
    rings(&mut demo, (&mut alice, &to_bob), &mut bob);
    bob.command("accept", "");
    is_up(&mut demo, &mut alice, &mut bob);
    is_heard(&demo);
    alice.command("hangup", "");
    let told = is_over(&mut demo, "call_ended", &mut alice, &mut bob);
    for leg in told["media"].as_array().expect("a list") {
        assert!(leg["mos"].as_f64().expect("an estimate") > 3.5, "{told}");
    }

    // Answered; the callee hangs up.
    rings(&mut demo, (&mut bob, &to_alice), &mut alice);
    alice.command("accept", "");
    is_up(&mut demo, &mut bob, &mut alice);
    alice.command("hangup", "");
    is_over(&mut demo, "call_ended", &mut bob, &mut alice);

    // The caller gives up.
    rings(&mut demo, (&mut alice, &to_bob), &mut bob);
    alice.command("hangup", "");
    let told = is_over(&mut demo, "call_failed", &mut alice, &mut bob);
    assert_eq!(told["status"], 487);

    // The callee refuses.
    rings(&mut demo, (&mut bob, &to_alice), &mut alice);
    alice.command("hangup", "");
    let told = is_over(&mut demo, "call_failed", &mut bob, &mut alice);
    assert!(
        [486, 603].contains(&told["status"].as_u64().expect("a status")),
        "{told}"
    );

    let summary = demo.ends();
    assert_eq!(summary["registered"], 2);
    assert_eq!(summary["calls"], 4);
    assert_eq!(summary["answered"], 2);
    assert_eq!(summary["cancelled"], 1);
    assert_eq!(summary["refused"], 1);
}

fn rings(demo: &mut Demo, (caller, to): (&mut Baresip, &str), callee: &mut Baresip) {
    caller.command("dial", to);
    callee.sees("CALL_INCOMING");
    caller.sees("CALL_RINGING");
    demo.tells("call_started");
    demo.tells("call_ringing");
    demo.shows_call("ringing");
}

fn is_up(demo: &mut Demo, caller: &mut Baresip, callee: &mut Baresip) {
    caller.sees("CALL_ESTABLISHED");
    callee.sees("CALL_ESTABLISHED");
    demo.tells("call_answered");
    demo.shows_call("answered");
}

/// Waits until both phones' sound has gone through the demo for a while.
fn is_heard(demo: &Demo) {
    wait_until("sound both ways", || {
        let calls = demo.asks("calls");
        let media = calls["items"][0]["media"].as_array()?;
        let sent = media.iter().filter_map(|leg| leg["packets"].as_u64());
        (sent.filter(|packets| *packets >= 25).count() == 2).then_some(())
    });
}

fn is_over(demo: &mut Demo, kind: &str, caller: &mut Baresip, callee: &mut Baresip) -> Value {
    caller.sees("CALL_CLOSED");
    callee.sees("CALL_CLOSED");
    demo.tells(kind)
}

#[test]
fn two_softphones_call_each_other_over_udp() {
    two_softphones(["udp", "udp"]);
}

#[test]
fn two_softphones_call_each_other_over_tcp() {
    two_softphones(["tcp", "tcp"]);
}

#[test]
fn a_softphone_on_udp_and_one_on_tcp_call_each_other() {
    two_softphones(["udp", "tcp"]);
}
