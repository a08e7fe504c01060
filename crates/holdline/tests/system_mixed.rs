//! A pool of media servers of different makes: a fault of one is not a fault of the farm.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use support::baresip::Baresip;
use support::phone::Dialog;
use support::sipp::{Over, Sipp};
use support::{Node, Phone, free_port};

/// Whom the callers call: a number that each of the media servers knows.
const NUMBER: &str = "8000";
/// Calls to each media server in turn.
const ROUNDS: u64 = 3;
/// How often an answering phone looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A phone that answers whoever calls, until it is dropped.
struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    fn start(mut phone: Phone) -> Answering {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let Some(message) = phone.receive_within(LOOK) else {
                    continue;
                };
                match message.method() {
                    "INVITE" => {
                        phone.responds(&message, "180 Ringing", "");
                        phone.answers(&message);
                    }
                    "BYE" => phone.responds(&message, "200 OK", ""),
                    _ => {}
                }
            }
        });
        Answering {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What went wrong in it, the callers have noticed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The targets of the pool by their ports.
fn targets(node: &Node) -> BTreeMap<u16, Value> {
    let status = node.verb("status");
    let targets = status["pools"][0]["targets"].as_array().expect("targets");
    let port = |target: &Value| target["target"].as_str()?.rsplit(':').next()?.parse().ok();
    let rows = targets.iter();
    rows.map(|target| (port(target).expect("a port"), target.clone()))
        .collect()
}

/// A number of each, such as `picks`.
fn numbers(node: &Node, key: &str) -> BTreeMap<u16, u64> {
    let targets = targets(node).into_iter();
    targets
        .map(|(port, target)| (port, target[key].as_u64().expect("a number")))
        .collect()
}

fn is_in(state: &str, node: &Node, port: u16) -> bool {
    targets(node)[&port]["state"] == state
}

fn is_connected(phone: &mut Phone) -> Dialog {
    let mut call = phone.calls(NUMBER);
    phone.is_connected(&mut call);
    call
}

fn talk(phone: &mut Phone, times: u64) {
    for _ in 0..times {
        let mut call = is_connected(phone);
        phone.hangs_up(&mut call);
    }
}

#[test]
fn sipp_baresip_and_another_edge_stand_in_for_one_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let trusting = "trusted = [\"127.0.0.1\"]\n";
    let mut second_edge = Node::with_users(trusting, "", &[NUMBER]);
    let mut behind = Phone::udp(&second_edge, NUMBER);
    assert_eq!(behind.registers(600).status(), 200);
    let _behind = Answering::start(behind);
    let [sipp_port, baresip_port] = [free_port(), free_port()];
    let _baresip = Baresip::serves(folder.path(), NUMBER, baresip_port);
    let sipp = Sipp::serves(folder.path(), (Over::Udp, sipp_port), [0, 0, 0]);
    let edge_port = second_edge.sip;
    let ports = [sipp_port, baresip_port, edge_port];
    let uris = ports.map(|port| format!("{{ uri = \"sip:127.0.0.1:{port}\" }}"));
    let pool = format!(
        "[[edge.pool]]\nname = \"pbx\"\npolicy = \"round-robin\"\nslow_start_s = 0\n\
         targets = [{}]\n[[edge.route]]\nuser = \"8*\"\npool = \"pbx\"\n",
        uris.join(", ")
    );
    let node = Node::with_users(&pool, "", &["alice"]);
    // Each answers probes in its own way.
    node.wait_for(|node| {
        let answers = numbers(node, "probe_answers");
        let mut ports = ports.iter();
        ports.all(|port| answers[port] > 0 && is_in("up", node, *port))
    });
    let of_each = |number| {
        ports
            .map(|port| (port, number))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    let mut alice = Phone::udp(&node, "alice");
    talk(&mut alice, ROUNDS * 3);
    assert_eq!(numbers(&node, "picks"), of_each(ROUNDS));
    // A call at each stays up.
    let mut up: Vec<Dialog> = (0..3).map(|_| is_connected(&mut alice)).collect();
    assert_eq!(numbers(&node, "calls"), of_each(1));
    sipp.signal("-KILL");
    talk(&mut alice, ROUNDS * 2);
    node.wait_for(|node| is_in("out", node, sipp_port));
    assert!(is_in("up", &node, baresip_port) && is_in("up", &node, edge_port));
    // The next one dies, too, and the last carries on.
    second_edge.kill();
    let before = numbers(&node, "picks")[&baresip_port];
    talk(&mut alice, ROUNDS);
    assert_eq!(numbers(&node, "picks")[&baresip_port], before + ROUNDS);
    node.wait_for(|node| is_in("out", node, edge_port));
    // What was up there is still up.
    let at_baresip = format!(":{baresip_port}");
    let mut up = up
        .iter_mut()
        .filter(|call| call.target.contains(&at_baresip));
    alice.hangs_up(up.next().expect("one of the three"));
    node.wait_for(|node| numbers(node, "calls")[&baresip_port] == 0);
}
