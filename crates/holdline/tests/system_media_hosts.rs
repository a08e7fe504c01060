//! Sound between phones at hosts of their own: each behind its NAT, the node in public, a stranger beside
//! it. Debian's baresip plays a tone and records what it hears.

mod support;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use support::baresip::Baresip;
use support::hosts::{Ear, NODE, PHONE, Sprayer, Town};
use support::node::password_of;
use support::{Node, sound, wait_until};

/// What each phone plays, and the stranger.
const TONES_HZ: [f64; 2] = [700.0, 1_100.0];
const STRANGE_HZ: f64 = 1_900.0;
/// The node's ports for media.
const PORTS: std::ops::Range<u16> = 20_000..20_040;
/// How long a tone is listened to, and how many tenths of a second of it must come: a busy machine may
/// lose some.
const LISTEN: Duration = Duration::from_secs(2);
const TENTHS_MIN: usize = 14;

/// A call between the two.
struct Call<'a> {
    town: &'a Town,
    node: &'a Node,
    phones: [Baresip; 2],
    /// What comes to each.
    ears: [Ear; 2],
}

impl Call<'_> {
    /// Asserts that from now on each hears the other, and nobody else.
    fn is_heard(&self, when: &str) {
        let start = Instant::now();
        // The first packets may still be under way or on a new path.
        wait_until(when, || {
            let both = [0, 1].map(|at| self.tenths(at, start) > 0);
            (both == [true, true]).then_some(())
        });
        let start = Instant::now();
        thread::sleep(LISTEN);
        for at in [0, 1] {
            let tenths = self.tenths(at, start);
            assert!(
                tenths >= TENTHS_MIN,
                "{when}: phone {at} heard {tenths} tenths of a second; log:\n{}",
                self.node.log()
            );
            let strange = sound::largest_share(&self.ears[at].since(start), STRANGE_HZ);
            assert!(strange < 0.05, "{when}: phone {at} heard a stranger");
        }
    }

    /// The tenths of a second in which a phone heard the other one's tone.
    fn tenths(&self, at: usize, since: Instant) -> usize {
        sound::frames_with(&self.ears[at].since(since), TONES_HZ[1 - at])
    }

    /// Asserts that neither hears anything.
    fn is_silent(&self) {
        // What was under way has come by then.
        thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        thread::sleep(Duration::from_millis(700));
        for ear in &self.ears {
            assert!(ear.since(start).is_empty(), "sound on hold");
        }
    }

    /// Asserts that each phone's own recording holds the other's tone for most of so many seconds.
    fn is_recorded(&self, seconds: usize) {
        for (at, phone) in self.phones.iter().enumerate() {
            let recorded = phone.recorded();
            let tenths = sound::frames_with(&recorded, TONES_HZ[1 - at]);
            assert!(tenths >= seconds * 7, "phone {at} recorded {tenths} tenths");
            let strange = sound::largest_share(&recorded, STRANGE_HZ);
            assert!(strange < 0.05, "phone {at} recorded a stranger");
        }
    }

    /// How many times the node learned where a phone's sound comes from.
    fn sources_learned(&self, at: usize) -> u64 {
        let calls = self.town.node.within(|| self.node.items("calls"));
        let learned = &calls[0]["media"][at]["sources_learned"];
        learned.as_u64().expect("a number")
    }

    /// The first phone hangs up; no port is left in use.
    fn ends(mut self) {
        self.phones[0].command("hangup", "");
        for phone in &mut self.phones {
            phone.sees("CALL_CLOSED");
        }
        self.town.node.within(|| {
            self.node
                .wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
        });
    }
}

/// Two phones that talk to each other, if hosts can be had.
fn talking(test: impl FnOnce(&Town, Call<'_>)) {
    let Some(town) = Town::build() else { return };
    let users = ["alice", "bob"];
    let node = town.node.within(|| {
        let ports = format!("rtp_ports = [{}, {}]\n", PORTS.start, PORTS.end - 1);
        let node = Node::start_on(&[&NODE.to_string()], &ports, "");
        node.add_users(&users);
        node
    });
    let address = SocketAddr::from((NODE, node.sip));
    let ears = [0, 1].map(|at| town.phones[at].listens());
    let mut phones = [0, 1].map(|at: usize| {
        let user = users[at];
        town.phones[at].within(|| {
            let account = (user, &password_of(user)[..]);
            Baresip::with_tone(node.path(), account, PHONE.into(), address, TONES_HZ[at])
        })
    });
    town.node.within(|| {
        node.wait_for(|node| node.items("registrations").len() == 2);
    });
    phones[0].command("dial", "sip:bob@example.org");
    phones[1].sees("CALL_INCOMING");
    phones[1].command("accept", "");
    for phone in &mut phones {
        phone.sees("CALL_ESTABLISHED");
    }
    let call = Call {
        town: &town,
        node: &node,
        phones,
        ears,
    };
    test(&town, call);
}

#[test]
fn phones_behind_different_nats_hear_each_other_also_after_a_hold() {
    talking(|_, mut call| {
        call.is_heard("at first");
        call.is_recorded(2);
        call.phones[0].command("hold", "");
        call.is_silent();
        call.phones[0].command("resume", "");
        call.is_heard("after the caller's hold");
        call.phones[1].command("hold", "");
        call.is_silent();
        call.phones[1].command("resume", "");
        call.is_heard("after the callee's hold");
        call.ends();
    });
}

#[test]
fn phones_hear_each_other_after_a_nat_has_given_another_port() {
    talking(|town, call| {
        call.is_heard("at first");
        let before = [0, 1].map(|at| call.sources_learned(at));
        town.rebinds(0);
        call.is_heard("after a new binding");
        let learned = [0, 1].map(|at| call.sources_learned(at) - before[at]);
        assert_eq!(learned, [1, 0]);
        call.is_recorded(4);
        call.ends();
    });
}

#[test]
fn a_stranger_who_sends_to_every_port_changes_nothing_that_is_heard() {
    talking(|town, call| {
        let stranger = Sprayer::start(&town.stranger, PORTS, STRANGE_HZ);
        call.is_heard("beside a stranger");
        town.rebinds(0);
        call.is_heard("after a new binding beside a stranger");
        call.is_recorded(4);
        assert!(stranger.stop() > 1_000);
        let foreign = town.node.within(|| {
            let name = "holdline_relay_dropped_total{reason=\"foreign\"}";
            call.node.metric(name)
        });
        assert!(foreign > 100.0, "{foreign}");
        call.ends();
    });
}
