//! A media server (SIPp) is killed, frozen, cut off or slow at each step of a call: what the caller sees of it.
//!
//! Until the answer he sees one call that is answered once, by the next server if need be. From the answer on the call
//! is that server's: its end is answered, and nothing of it is left.
#![allow(clippy::panic, reason = "this is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::hosts::{Line, NODE};
use support::pools::{ROUTE, is_over, pool_of, sign_of_life, states};
use support::sipp::{Over, Sipp};
use support::{Message, Node, Phone, free_port, wait_until};

/// What the design promises from a death to a sign of life from the next media server.
const PROMISED: Duration = Duration::from_secs(1);
/// Attempts until one is within [`PROMISED`]: a machine that is busy may be late, a call may never be lost.
const ATTEMPTS: usize = 4;
/// T1: a BYE that nobody answers is given up after 64 of them.
const T1_MS: u64 = 40;
/// How long a stalled server does nothing: less than it takes to find it dead.
const STALL: Duration = Duration::from_millis(350);
/// Longer than a test.
const LONG_MS: u32 = 14_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL: the system tells those who send.
    Killed,
    /// SIGSTOP: as a host that hangs.
    Frozen,
    /// nftables drops everything both ways.
    Cut,
    /// It does its work later than is borne, or than is usual.
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    BeforeInvite,
    AfterInvite,
    AfterTrying,
    AfterRinging,
    /// The 200 is there, its ACK is not sent.
    AfterAnswer,
    MidCall,
}

/// What the caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The call is answered by the other server.
    Moved,
    /// It is answered by the server that it came to.
    Kept,
    /// It was answered by that server, and its BYE gets this status. 0: none, so that the caller's own timer F ends it.
    Ended(u16),
}

/// The table.
fn expected(fault: Fault, step: Step) -> Seen {
    use Fault::{Cut, Frozen, Killed, Slow};
    use Step::{AfterAnswer, AfterInvite, AfterRinging, AfterTrying, BeforeInvite, MidCall};
    match (step, fault) {
        // It is found out by its slow answers to probes.
        (BeforeInvite, _) => Seen::Moved,
        // Later than the reply timeout.
        (AfterInvite, _) => Seen::Moved,
        // Later than the ring timeout.
        (AfterTrying, _) => Seen::Moved,
        (AfterRinging, Killed | Frozen | Cut) => Seen::Moved,
        // Who rings may ring for long.
        (AfterRinging, Slow) => Seen::Kept,
        // ICMP tells, which is 503 (RFC 3261 section 16.9), which is passed on as 500 (section 16.7).
        (AfterAnswer | MidCall, Killed) => Seen::Ended(500),
        // A proxy must not answer a BYE with 408 (RFC 4320 section 4.2).
        (AfterAnswer | MidCall, Frozen | Cut) => Seen::Ended(0),
        (AfterAnswer | MidCall, Slow) => Seen::Ended(200),
    }
}

const STEPS: [Step; 6] = [
    Step::BeforeInvite,
    Step::AfterInvite,
    Step::AfterTrying,
    Step::AfterRinging,
    Step::AfterAnswer,
    Step::MidCall,
];

/// The pauses of the server that fails: before its answer to a probe, its 100, its 180 and its 200.
fn pauses_ms(fault: Fault, step: Step) -> [u32; 4] {
    match (fault, step) {
        (Fault::Slow, Step::BeforeInvite) => [2_000, 0, 0, 0],
        (Fault::Slow, Step::AfterInvite) => [0, 900, 0, 0],
        (Fault::Slow, Step::AfterTrying) => [0, 0, 2_000, 0],
        (Fault::Slow, Step::AfterRinging) => [0, 0, 0, 1_500],
        (_, Step::AfterInvite) => [0, LONG_MS, 0, 0],
        (_, Step::AfterTrying) => [0, 0, LONG_MS, 0],
        (_, Step::AfterRinging) => [0, 0, 0, LONG_MS],
        _ => [0; 4],
    }
}

/// A node with a pool of two servers, and alice.
struct Farm {
    node: Node,
    alice: Phone,
    failing: Sipp,
    other: Sipp,
    /// Where the servers are, the one that fails being the first.
    servers: [SocketAddr; 2],
    fault: Fault,
    step: Step,
    _folder: tempfile::TempDir,
}

impl Farm {
    /// At this host; with a line, the server that fails is at its far end.
    fn new((fault, step): (Fault, Step), over: Over, line: Option<&Line>) -> Farm {
        let near = line.map_or(Ipv4Addr::LOCALHOST, |_| NODE);
        let far = line.map_or(Ipv4Addr::LOCALHOST, |_| Line::FAR);
        let servers = [far, near].map(|ip| SocketAddr::from((ip, free_port())));
        let folder = tempfile::tempdir().expect("a folder");
        let failing = || {
            let pauses = pauses_ms(fault, step);
            Sipp::serves_at(folder.path(), (over, servers[0]), pauses)
        };
        let failing = match line {
            Some(line) => line.far.within(failing),
            None => failing(),
        };
        let other = Sipp::serves_at(folder.path(), (over, servers[1]), [0, 0, 20, 50]);
        let node = Farm::node(
            &servers.map(|at| format!("sip:{at}{}", over.parameter())),
            near,
        );
        let address = SocketAddr::from((near, node.sip));
        let alice = Phone::udp_to(address, "alice");
        Farm {
            node,
            alice,
            failing,
            other,
            servers,
            fault,
            step,
            _folder: folder,
        }
    }

    fn node(uris: &[String], address: Ipv4Addr) -> Node {
        // Each has an address of loopback for its media that no other test has, or one at its own host.
        static NEXT: AtomicU8 = AtomicU8::new(160);
        let media = match address {
            Ipv4Addr::LOCALHOST => {
                let pid = std::process::id();
                let (high, low) = (pid >> 8 & 255, (pid & 255).max(1));
                let own = NEXT.fetch_add(1, Ordering::Relaxed);
                format!("addresses = [\"127.{own}.{high}.{low}\"]\n")
            }
            _ => String::new(),
        };
        let pool = pool_of("pbx", uris, "");
        let edge = format!(
            "rtp_ports = [21000, 21019]\n{pool}{ROUTE}[edge.media]\npolicy = \"always\"\n{media}\
             [edge.timers]\nt1_ms = {T1_MS}\n[edge.failover]\nring_timeout_s = 1\n"
        );
        let node = Node::start_on(&[&address.to_string()], &edge, "");
        node.add_users(&["alice"]);
        node
    }

    /// Lets the fault happen; gives when.
    fn fails(&self, line: Option<&Line>) -> Instant {
        match self.fault {
            Fault::Killed => self.failing.signal("-KILL"),
            Fault::Frozen => self.failing.signal("-STOP"),
            Fault::Cut => line.expect("built for it").cut(),
            Fault::Slow if matches!(self.step, Step::AfterAnswer | Step::MidCall) => {
                self.failing.signal("-STOP");
            }
            // It is so from the start.
            Fault::Slow => {}
        }
        Instant::now()
    }

    /// The fault is over, where it is one that ends.
    fn recovers(&self) {
        if self.fault == Fault::Slow {
            thread::sleep(STALL);
            self.failing.signal("-CONT");
        }
    }

    /// Who answered, and what its BYE got; and the time from the fault to the next sign of life.
    fn call(&mut self, line: Option<&Line>) -> (Seen, Duration) {
        let wanted = match (self.fault, self.step) {
            (Fault::Slow, Step::BeforeInvite) => "out",
            // Both have been probed by now, and are not to be out when it begins.
            _ => "up",
        };
        self.node.wait_for(|node| states(node)[0].1 == wanted);
        let early = (self.step == Step::BeforeInvite).then(|| self.fails(line));
        let mut call = self.alice.calls("8000");
        let failed = match self.step {
            Step::BeforeInvite => early,
            Step::AfterInvite => Some(self.fails_after("INVITE sip:8000@", line)),
            Step::AfterTrying => Some(self.fails_after("SIP/2.0 100 ", line)),
            Step::AfterRinging => {
                self.alice.response(180);
                Some(self.fails(line))
            }
            Step::AfterAnswer | Step::MidCall => None,
        };
        let mut took = Duration::ZERO;
        let mut heard = None;
        if let Some(failed) = failed {
            heard = Some(sign_of_life(&mut self.alice));
            took = failed.elapsed();
        }
        let answer = match heard {
            Some(message) if message.status() == 200 => message,
            Some(message) if message.status() != 180 => panic!("{message:?}"),
            _ => self.rings_until_answered(),
        };
        call.learn(&answer);
        if self.step == Step::AfterAnswer {
            self.fails(line);
        }
        self.alice.acknowledges(&mut call);
        if self.step == Step::MidCall {
            wait_until("ACK", || {
                let has = self.failing.messages().contains("ACK sip:");
                has.then_some(())
            });
            self.fails(line);
        }
        let bye = self.alice.within(&mut call, "BYE", "", "");
        self.alice.send(&bye);
        if matches!(self.step, Step::AfterAnswer | Step::MidCall) {
            self.recovers();
        }
        let status = match expected(self.fault, self.step) {
            Seen::Ended(0) => self.gives_up(),
            _ => sign_of_life(&mut self.alice).status(),
        };
        let by = |at: usize| answer.contact().contains(&self.servers[at].to_string());
        let seen = match self.step {
            Step::AfterAnswer | Step::MidCall if by(0) => Seen::Ended(status),
            _ if by(0) && status == 200 => Seen::Kept,
            _ if by(1) && status == 200 => Seen::Moved,
            _ => panic!("{answer:?}, then {status} to BYE"),
        };
        (seen, took)
    }

    /// Nothing comes until the node has given up the BYE; gives 0.
    fn gives_up(&mut self) -> u16 {
        let is_ended = |node: &Node| node.metric("holdline_calls") == 0.0;
        self.node.wait_for(is_ended);
        thread::sleep(Duration::from_millis(64 * T1_MS));
        let status = self.alice.receive_within(Duration::from_millis(100));
        status.map_or(0, |message| message.status())
    }

    fn fails_after(&self, what: &str, line: Option<&Line>) -> Instant {
        let has = || self.failing.messages().contains(what).then_some(());
        wait_until(what, has);
        self.fails(line)
    }

    fn rings_until_answered(&mut self) -> Message {
        loop {
            let message = sign_of_life(&mut self.alice);
            match message.status() {
                180 => {}
                200 => return message,
                status => panic!("{status}: {message:?}"),
            }
        }
    }

    /// Asserts that nothing more comes and that nothing is left.
    fn ends(mut self, seen: Seen) {
        self.alice.hears_nothing(200);
        let has_moved = self.node.metric("holdline_calls_moved_on_total") >= 1.0;
        let is_skipped = (self.fault, self.step) == (Fault::Slow, Step::BeforeInvite);
        assert_eq!(has_moved, seen == Seen::Moved && !is_skipped);
        assert_eq!(self.node.metric("holdline_calls_failed_total"), 0.0);
        let at_other = self.other.messages();
        assert_eq!(at_other.contains("INVITE sip:"), seen == Seen::Moved);
        assert_eq!(at_other.contains("BYE sip:ivr@"), seen == Seen::Moved);
        if is_skipped {
            assert!(!self.failing.messages().contains("INVITE sip:"));
        }
        is_over(&self.node, 1.0);
        let node = &self.node;
        node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    }
}

/// One call; what its caller saw is checked, and the time to the sign of life is given.
fn survives(case: (Fault, Step), over: Over) -> Option<Duration> {
    let line = match case.0 {
        Fault::Cut => Some(Line::build()?),
        _ => None,
    };
    let call = || {
        let mut farm = Farm::new(case, over, line.as_ref());
        let (seen, took) = farm.call(line.as_ref());
        assert_eq!(seen, expected(case.0, case.1));
        farm.ends(seen);
        took
    };
    Some(match &line {
        Some(line) => line.node.within(call),
        None => call(),
    })
}

/// One row of the table: the calls at once, and once more those whose callers waited for too long.
fn at_any_step(fault: Fault) {
    let first: BTreeMap<usize, Option<Duration>> = thread::scope(|scope| {
        let begin = |step: Step| {
            let name = format!("{fault:?} {step:?}");
            let work = thread::Builder::new().name(name);
            let call = move || survives((fault, step), Over::Udp);
            work.spawn_scoped(scope, call).expect("a thread")
        };
        let calls: Vec<_> = STEPS.into_iter().map(begin).collect();
        let ends = calls.into_iter().map(|call| call.join());
        let ends: Vec<_> = ends.collect();
        let failed = STEPS.iter().zip(&ends).filter(|(_, end)| end.is_err());
        let failed: Vec<_> = failed.map(|(step, _)| step).collect();
        assert!(failed.is_empty(), "{fault:?}: {failed:?}");
        ends.into_iter().flatten().enumerate().collect()
    });
    // How slow a server may be is the operator's word.
    for (at, took) in first.into_iter().filter(|_| fault != Fault::Slow) {
        let mut all: Vec<Duration> = took.into_iter().collect();
        while all.last().is_some_and(|took| *took >= PROMISED) {
            assert!(all.len() < ATTEMPTS, "{fault:?} {:?}: {all:?}", STEPS[at]);
            all.extend(survives((fault, STEPS[at]), Over::Udp));
        }
    }
}

#[test]
fn a_server_that_is_killed_at_any_step_loses_no_call_that_it_has_not_answered() {
    at_any_step(Fault::Killed);
}

#[test]
fn a_server_that_is_frozen_at_any_step_loses_no_call_that_it_has_not_answered() {
    at_any_step(Fault::Frozen);
}

#[test]
fn a_server_that_is_cut_off_at_any_step_loses_no_call_that_it_has_not_answered() {
    at_any_step(Fault::Cut);
}

#[test]
fn a_server_that_is_slow_at_any_step_loses_no_call() {
    at_any_step(Fault::Slow);
}

#[test]
fn a_server_whose_connection_breaks_loses_no_call() {
    survives((Fault::Killed, Step::AfterTrying), Over::Tcp);
}
