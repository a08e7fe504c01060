//! Two nodes with an edge and a PBX each, on hosts of their own with three etcds; both are services whose addresses are moved by the
//! kernel's interface and kept by its lease. What who hears the PBX notices of each fault, and that never two nodes speak from its address.

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::lan::{Fault, Lan, Witness};
use support::{Codec, PATIENCE, Phone, State, Talker, wait_until};

/// The address of the PBX.
const PBX: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 101);

/// What follows in `[edge]`, and the rest of the file.
const NODE: &str = r#"
rtp_ports = [20000, 20039]
[edge.media]
policy = "always"

[[edge.pool]]
name = "pbx"
slow_start_s = 0
targets = [{ service = "pbx1" }]

[[edge.route]]
user = "6*"
pool = "pbx"

[edge.failover]
reply_timeout_ms = 5000

[pbx]
rtp_ports = [30000, 30039]
media_threads = 1
media_store = "../media"

[[pbx.menu]]
name = "main"
prompt = ["welcome"]
timeout_s = 60
keys = { 1 = ["play goodbye", "hangup"] }

[[pbx.route]]
pattern = "600"
steps = ["menu main"]

[[pbx.route]]
pattern = "601"
steps = ["answer", "music"]

[[service]]
name = "pbx1"
role = "pbx"
members = ["edge1", "edge2"]
address = "10.9.0.101"
mover = { kind = "netlink", interface = "eth0" }
"#;

/// Generous: the tests run beside others on a slow machine.
const SILENCE_MAX: Duration = Duration::from_secs(3);

fn phone(lan: &Lan, user: &str) -> Talker {
    let phone = Phone::on(lan.socket(), lan.service(), user);
    lan.phones
        .within(move || Talker::on(phone, user, &[Codec::Pcmu]))
}

/// Calls from the phones' host.
fn reaches(lan: &Lan, phone: &Talker, number: &str) {
    lan.phones.within(|| phone.dials(number));
    phone.is_up(0);
}

fn service(lan: &Lan, number: usize) -> Option<Value> {
    let status = lan.status(number)?;
    let services = status["cluster"]["services"].as_array()?;
    let found = services.iter().find(|service| service["name"] == "pbx1");
    found.cloned()
}

fn owns(lan: &Lan, number: usize) -> bool {
    service(lan, number).is_some_and(|one| one["phase"] == "owner")
}

/// Waits until both members have what the owner of the PBX has.
fn is_in_sync(lan: &Lan) -> usize {
    wait_until("the PBX's members in sync", || {
        let owner = (0..2).find(|&number| owns(lan, number))?;
        let in_sync = service(lan, owner)?["in_sync"].as_array()?.len();
        (in_sync == 2).then_some(owner)
    })
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970")
}

/// A fault befalls the owner of edge and PBX; `listener` hears music, `chooser` is in a menu.
fn strikes(lan: &mut Lan, fault: Fault, (listener, chooser): (&Talker, &Talker)) {
    let old = is_in_sync(lan);
    let witnesses = [0, 1].map(|number| Witness::at(&lan.edges[number], PBX));
    let struck = since_1970();
    lan.strike(old, fault);
    let pause = listener.silence(0);
    eprintln!("{fault:?}: silence of {} ms", pause.as_millis());
    assert!(pause < SILENCE_MAX, "{pause:?}\n{}", lan.log(1 - old));
    wait_until("the new owner", || owns(lan, 1 - old).then_some(()));
    listener.hears_music(0);
    chooser.presses(0, "1");
    // The menu says goodbye and hangs up.
    let deadline = Instant::now() + PATIENCE;
    while chooser.state(0) != State::Over {
        let logs = || {
            format!(
                "{}\n{}\n{}",
                lan.log(0),
                lan.log(1),
                lan.status(1 - old).unwrap_or_default()
            )
        };
        assert!(
            Instant::now() < deadline,
            "the key was not acted upon\n{}",
            logs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    lan.heal(old, fault);
    // Who was frozen and wakes up is to say nothing.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(is_in_sync(lan), 1 - old);
    let [one, other] = witnesses.map(|witness| witness.seen());
    let (before, after) = if old == 0 { (one, other) } else { (other, one) };
    let begun = after.iter().find(|at| **at > struck).expect("it speaks");
    let overlaps = before.iter().filter(|at| *at > begun).count();
    assert_eq!(
        overlaps,
        0,
        "two owners at once\n{}\n{}",
        lan.log(0),
        lan.log(1)
    );
}

#[test]
fn calls_go_on_when_edge_and_pbx_freeze_together_and_when_both_die() {
    let Some(mut lan) = Lan::build(NODE, &["ann", "ben", "cat"]) else {
        return;
    };
    is_in_sync(&lan);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| phone(&lan, user));
    reaches(&lan, &ann, "601");
    reaches(&lan, &ben, "600");
    reaches(&lan, &cat, "600");
    ann.hears_music(0);
    for chooser in [&ben, &cat] {
        chooser.sees(0, "the prompt", |call| (call.packets() > 50).then_some(()));
    }
    strikes(&mut lan, Fault::Frozen, (&ann, &ben));
    strikes(&mut lan, Fault::Process, (&ann, &cat));
    ann.hangs_up(0);
}
