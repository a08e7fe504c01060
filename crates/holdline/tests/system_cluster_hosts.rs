//! Two edges with three etcds on hosts of their own, the address moved by the kernel's interface and kept by its lease: what
//! phones notice of each fault, and that never two edges send from the service's address.
//!
//! `HOLDLINE_TAKEOVER_RUNS` is how many runs each fault gets (one by itself); the figures are appended as JSON lines to the file
//! that `HOLDLINE_TAKEOVER_ROWS` names.

mod support;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::Phone;
use support::lan::{Fault, Lan, Witness};
use support::phone::{connect, end, unique};

/// How often the service is asked.
const ASK: Duration = Duration::from_millis(4);

/// Asks the service again and again, and notes when it answers.
struct Prober {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Prober {
    fn start(socket: UdpSocket, service: SocketAddr) -> Prober {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        socket.set_nonblocking(true).expect("an option");
        let local = socket.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            let (mut answers, mut bytes) = (Vec::new(), [0; 4096]);
            while !ends.load(Ordering::Relaxed) {
                let branch = unique("z9hG4bK");
                let ask = format!(
                    "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch={branch}\r\n\
                     Max-Forwards: 70\r\nFrom: <sip:probe@example.org>;tag=p\r\nTo: <sip:example.org>\r\n\
                     Call-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
                );
                // Nobody has the address for a moment.
                let _ = socket.send_to(ask.as_bytes(), service);
                std::thread::sleep(ASK);
                while socket.recv(&mut bytes).is_ok() {
                    answers.push(Instant::now());
                }
            }
            answers
        });
        Prober { is_over, thread }
    }

    /// The longest time without an answer, and the time until the first answer that came later than `since` plus a gap.
    fn end(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        let answers = self.thread.join().expect("no panic");
        let gaps = answers.windows(2).map(|two| two[1] - two[0]);
        gaps.max().unwrap_or(Duration::MAX)
    }
}

/// What one run showed.
struct Run {
    away: Duration,
    /// Packets that one edge sent after the other had begun to.
    overlaps: usize,
    /// Calls that did not go on.
    lost: usize,
}

fn phone(lan: &Lan, user: &str) -> Phone {
    Phone::on(lan.socket(), lan.service(), user)
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

/// One fault, with a call that rings and one that is established.
fn run(lan: &mut Lan, fault: Fault) -> Run {
    let owner = lan.owner().expect("an owner");
    let [mut alice, mut bob, mut carol, mut dave] =
        ["alice", "bob", "carol", "dave"].map(|user| phone(lan, user));
    for phone in [&mut alice, &mut bob, &mut carol, &mut dave] {
        let answer = phone.registers(600);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    let (mut talk, _) = connect(&mut alice, &mut bob);
    let mut call = carol.calls("dave");
    let invite = dave.request("INVITE");
    dave.responds(&invite, "180 Ringing", "");
    carol.response(180);
    let witnesses = [Witness::of(&lan.edges[0]), Witness::of(&lan.edges[1])];
    let prober = Prober::start(lan.socket(), lan.service());
    std::thread::sleep(Duration::from_millis(300));
    let struck = since_1970();
    lan.strike(owner, fault);
    std::thread::sleep(Duration::from_millis(1_500));
    let mut lost = 0;
    // A phone sends its answer again until it is acknowledged (RFC 3261 section 13.3.1.4).
    dave.responds(&invite, "200 OK", "");
    if goes_on(|| {
        carol.answered(&mut call);
        dave.request("ACK");
    }) {
        lost += usize::from(!goes_on(|| end((&mut carol, &mut call), &mut dave)));
    } else {
        lost += 1;
    }
    lost += usize::from(!goes_on(|| end((&mut alice, &mut talk), &mut bob)));
    lan.heal(owner, fault);
    // A frozen owner that wakes up is to say nothing.
    std::thread::sleep(Duration::from_millis(300));
    let away = prober.end();
    let [one, other] = witnesses.map(|witness| witness.seen());
    let (old, new) = if owner == 0 {
        (one, other)
    } else {
        (other, one)
    };
    let overlaps = match new.iter().find(|at| **at > struck) {
        Some(begun) => old.iter().filter(|at| *at > begun).count(),
        None => 0,
    };
    Run {
        away,
        overlaps,
        lost,
    }
}

/// Whether something comes about; what fails is a test's own assertion.
fn goes_on(work: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok()
}

fn runs() -> usize {
    let runs = std::env::var("HOLDLINE_TAKEOVER_RUNS").ok();
    runs.and_then(|runs| runs.parse().ok()).unwrap_or(1)
}

/// All runs of a fault; `most` is the longest that the service may be away.
fn row(name: &str, fault: Fault, most: Duration) {
    let users = ["alice", "bob", "carol", "dave"];
    let Some(mut lan) = Lan::build(RELAY, &users) else {
        return;
    };
    let count = runs();
    let mut away = Vec::new();
    let (mut overlaps, mut lost) = (0, 0);
    for _ in 0..count {
        let one = run(&mut lan, fault);
        away.push(one.away.as_micros() as u64);
        overlaps += one.overlaps;
        lost += one.lost;
    }
    away.sort_unstable();
    let ms = |us: u64| us as f64 / 1_000.0;
    let at = |part: usize| ms(away[(away.len() * part / 100).min(away.len() - 1)]);
    let (p50, p99, max) = (at(50), at(99), ms(away[away.len() - 1]));
    let owners = if overlaps == 0 { 1 } else { 2 };
    let facts = format!(
        "{{\"row\":\"{name}\",\"runs\":{count},\"service_p50_ms\":{p50},\"service_p99_ms\":{p99},\"service_max_ms\":{max},\
         \"lost\":{lost},\"owners_at_once_max\":{owners}}}"
    );
    println!("{facts}");
    if let Ok(path) = std::env::var("HOLDLINE_TAKEOVER_ROWS") {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("a file");
        writeln!(file, "{facts}").expect("written");
    }
    assert_eq!(
        overlaps,
        0,
        "two owners at once\n{}\n{}",
        lan.log(0),
        lan.log(1)
    );
    assert_eq!(lost, 0, "calls were lost\n{}\n{}", lan.log(0), lan.log(1));
    assert!(
        max < ms(most.as_micros() as u64),
        "{facts}\n{}\n{}",
        lan.log(0),
        lan.log(1)
    );
}

/// All calls go through the relay.
const RELAY: &str = "rtp_ports = [20000, 20039]\n[edge.media]\npolicy = \"always\"";

/// Generous: the tests run beside others on a slow machine.
const MOST: Duration = Duration::from_millis(2_000);

#[test]
fn a_killed_process_is_replaced_at_once() {
    row("takeover-killed", Fault::Process, MOST);
}

#[test]
fn a_node_that_dies_is_replaced_within_a_lease() {
    row("takeover-node", Fault::Node, MOST);
}

#[test]
fn a_frozen_owner_is_replaced_and_says_nothing_when_it_wakes_up() {
    row("takeover-frozen", Fault::Frozen, MOST);
}

#[test]
fn an_owner_cut_off_from_its_peer_stays() {
    row("takeover-cut-peers", Fault::CutPeers, MOST);
}

#[test]
fn an_owner_cut_off_from_the_coordinator_stays() {
    row("takeover-cut-coordinator", Fault::CutCoordinator, MOST);
}

#[test]
fn an_owner_cut_off_from_both_is_replaced() {
    row("takeover-cut-both", Fault::CutBoth, MOST);
}
