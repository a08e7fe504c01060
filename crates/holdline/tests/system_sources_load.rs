//! Scanners (sipvicious) and floods beside phones that behave: no call is lost, and who does harm is banned.
//!
//! Here the load is small; `HOLDLINE_TEST_CALLS_PER_S=500` makes it as many calls a second, for which the build had
//! better be a release.
#![allow(clippy::panic, reason = "this is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::node::password_of;
use support::phone::unique;
use support::pools::{ROUTE, is_over, pool_of};
use support::sipp::Sipp;
use support::{Ending, Message, Node, Phone, ask, free_port, program};

/// Calls a second, where the environment says nothing, and how long they go on.
const CALLS_PER_S: usize = 40;
const SECONDS: usize = 8;
const SECONDS_BY_HAND: usize = 30;

/// Where the callers are: a site that may call as often as it likes.
const SITE: [u8; 4] = [127, 0, 0, 2];
/// Where svmap is, and the flooder. Svwar and svcrack have no choice and are where the media servers are.
const MAPPER: [u8; 4] = [127, 0, 0, 66];
const FLOODER: [u8; 4] = [127, 0, 0, 77];

/// How much is done: calls a second, and for how many seconds.
fn load() -> (usize, usize) {
    let said = std::env::var("HOLDLINE_TEST_CALLS_PER_S").ok();
    said.map_or((CALLS_PER_S, SECONDS), |said| {
        let calls = said.parse();
        (
            calls.expect("HOLDLINE_TEST_CALLS_PER_S is a number"),
            SECONDS_BY_HAND,
        )
    })
}

/// A node with a pool of two media servers.
fn node(sources: &str) -> (Node, [Sipp; 2], tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let servers = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let sipps = servers.map(|at| Sipp::answers(folder.path(), at, 1));
    let uris = servers.map(|at| format!("sip:{at}"));
    let pool = pool_of("pbx", &uris, "").replace("\"priority\"", "\"least-calls\"");
    let more = format!("[edge.sources]\n{sources}");
    let node = Node::with_users(&format!("{pool}{ROUTE}"), &more, &["alice", "bob"]);
    (node, sipps, folder)
}

/// A phone at an address of loopback.
fn phone_at(node: &Node, ip: [u8; 4], user: &str) -> Phone {
    let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).expect("loopback");
    Phone::on(socket, node.address(), user)
}

/// A program of sipvicious against the node.
fn sipvicious(node: &Node, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name, "sipvicious"));
    command.arg(format!("-p{}", node.sip)).args(arguments);
    // svmap asks each host once.
    let hosts = if name == "svmap" { 5_000 } else { 1 };
    command.args(std::iter::repeat_n("127.0.0.1", hosts));
    command.env("HOME", node.path()).stdin(Stdio::null());
    command
}

/// Begins a scan that takes longer than any test.
fn scans(node: &Node, name: &str, arguments: &[&str]) -> Ending {
    let mut command = sipvicious(node, name, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ending(command.spawn().expect("it starts"))
}

/// Lets svwar ask for users, among them those that there are; what it says it found.
fn looks_for_users(node: &Node, method: &str) -> String {
    // It hears the same of all users, and most often gives up. If it is banned it would not end.
    let file = node.path().join(format!("svwar-{method}"));
    let found = File::create(&file).expect("made");
    let mut command = sipvicious(node, "svwar", &["--force", "-m", method, "-e7900-8100"]);
    command.stdout(found.try_clone().expect("a handle"));
    let mut running = Ending(command.stderr(found).spawn().expect("it starts"));
    let deadline = Instant::now() + Duration::from_secs(1);
    while running.0.try_wait().expect("a child").is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    drop(running);
    fs::read_to_string(file).expect("readable")
}

/// The bans in force: the reason by the source.
fn bans(node: &Node) -> BTreeMap<String, String> {
    let bans = node.verb("bans");
    let word = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let rows = bans.as_array().expect("a list").iter();
    rows.map(|ban| (word(&ban["source"]), word(&ban["reason"])))
        .collect()
}

#[test]
fn scanners_are_banned_while_calls_go_through_and_none_is_lost() {
    let (calls_per_s, seconds) = load();
    let (node, _servers, _folder) = node("allow = [\"127.0.0.2\"]\nban_s = 600\n");
    // Guessers name the domain by its address.
    let added = ask(node.path(), &["domain", "add", "127.0.0.1"]);
    assert!(added.status.success());
    let words = [("CALLEE", "8000"), ("PASSWORD", &password_of("alice")[..])];
    let site = SocketAddr::from((SITE, free_port()));
    let calls = Sipp::loads(&node, "caller", site, &words, (calls_per_s, seconds));
    let banned = |source: &str| node.wait_for(|node| bans(node).contains_key(source));
    let own = format!("-b{}", SocketAddr::from((MAPPER, 0)).ip());
    let mapper = scans(&node, "svmap", &[&own]);
    banned("127.0.0.66");
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let said = looks_for_users(&node, method);
        assert!(!said.contains("| 8000"), "{method}: {said}");
    }
    // It may have been banned.
    ask(node.path(), &["unban", "127.0.0.1"]);
    let cracker = scans(&node, "svcrack", &["-ualice", "-r1000-999999"]);
    banned("127.0.0.1");
    let end = calls.end_within(Duration::from_secs(seconds as u64 + 20));
    let all = bans(&node);
    drop((mapper, cracker));
    if let Err(error) = end {
        panic!("{error}\nbanned: {all:?}\n{}", node.log());
    }
    assert_eq!(all["127.0.0.1"], "password", "{all:?}");
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(node.metric("holdline_banned_messages_total") > 100.0);
    assert_eq!(node.metric("holdline_calls_failed_total"), 0.0);
    assert_eq!(node.metric("holdline_calls_hung_up_late_total"), 0.0);
    is_over(&node, (calls_per_s * seconds) as f64);
    eprintln!(
        "{} calls, {calls_per_s} a second; banned {all:?}, {} of their messages dropped; {} calls moved on",
        calls_per_s * seconds,
        node.metric("holdline_banned_messages_total"),
        node.metric("holdline_calls_moved_on_total"),
    );
}

/// Requests of a flood that had this answer, or none (0).
type Answers = BTreeMap<u16, u64>;

/// Sends INVITEs and REGISTERs by turns, `per_s` a second, until it is told to stop; gives how many, and what came back
/// in the first and in the last second.
fn floods(node: SocketAddr, per_s: u64, stop: &AtomicBool) -> (u64, [Answers; 2]) {
    let socket = UdpSocket::bind(SocketAddr::from((FLOODER, 0))).expect("loopback");
    socket.set_nonblocking(true).expect("an option");
    let local = socket.local_addr().expect("bound");
    let began = Instant::now();
    let mut sent = 0;
    let mut heard: Vec<(Instant, u16)> = Vec::new();
    let mut bytes = [0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        while sent < began.elapsed().as_millis() as u64 * per_s / 1_000 {
            sent += 1;
            let method = ["INVITE", "REGISTER"][sent as usize % 2];
            let uri = ["sip:8000@example.org", "sip:example.org"][sent as usize % 2];
            let (branch, call_id) = (unique("z9hG4bKf"), unique("flood"));
            let request = format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch={branch}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=f\r\n\
                 To: <sip:alice@example.org>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
                 Contact: <sip:alice@{local}>\r\nContent-Length: 0\r\n\r\n"
            );
            // A full socket is the flood's own loss.
            let _ = socket.send_to(request.as_bytes(), node);
        }
        while let Ok(size) = socket.recv(&mut bytes) {
            let status = Message::new(&bytes[..size]).status();
            heard.push((Instant::now(), status));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let second = Duration::from_secs(1);
    let until = Instant::now();
    let count = |is_in: &dyn Fn(Instant) -> bool| {
        let mut answers = Answers::new();
        for (_, status) in heard.iter().filter(|(at, _)| is_in(*at)) {
            *answers.entry(*status).or_default() += 1;
        }
        answers
    };
    let first = count(&|at| at < began + second);
    let last = count(&|at| at + second > until);
    (sent, [first, last])
}

#[test]
fn a_flood_gets_503_and_then_nothing_and_phones_beside_it_are_not_touched() {
    const PER_S: u64 = 3_000;
    const CALLS: usize = 12;
    let (node, _servers, _folder) = node("requests_per_s = 20\nrequests_burst = 50\n");
    // One has its own address, one shares the flooder's.
    let mut alice = phone_at(&node, [127, 0, 0, 3], "alice");
    let mut bob = phone_at(&node, FLOODER, "bob");
    assert_eq!(bob.registers(600).status(), 200);
    let stop = AtomicBool::new(false);
    let (sent, [first, last]) = thread::scope(|scope| {
        let flood = scope.spawn(|| floods(node.address(), PER_S, &stop));
        for round in 0..CALLS {
            for phone in [&mut alice, &mut bob] {
                let began = Instant::now();
                let mut call = phone.calls("8000");
                phone.is_connected(&mut call);
                phone.hangs_up(&mut call);
                let took = began.elapsed();
                assert!(took < Duration::from_secs(1), "{round}: {took:?}");
            }
            // Each is to stay within its own rate.
            thread::sleep(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().expect("it does not panic")
    });
    assert!(sent > PER_S, "{sent}");
    let of = |status| first.get(&status).copied().unwrap_or(0);
    // Its burst is challenged, then it is turned away, then it is no longer heard.
    assert!(of(401) + of(407) >= 50, "{first:?}");
    assert!(of(401) + of(407) < 150, "{first:?}");
    assert!(of(503) > 100, "{first:?}");
    assert_eq!(last, Answers::new());
    let [a, b, c, d] = FLOODER;
    let flooder = format!("{a}.{b}.{c}.{d}");
    let all = bans(&node);
    assert!(all.len() == 1 && all.contains_key(&flooder), "{all:?}");
    assert!(node.metric("holdline_banned_messages_total") > PER_S as f64);
    assert_eq!(node.metric("holdline_calls_failed_total"), 0.0);
    is_over(&node, 2.0 * CALLS as f64);
    // The edge is as it was for those who ask rightly.
    assert_eq!(alice.registers(600).status(), 200);
}
