mod allocations;
mod within;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use transaction::{Flow, Timers, Transport};

use super::{Begin, Event, Now, Station};
use crate::settings::{Answering, Calling, Registering, Settings, User};
use crate::tally::Reason;

const CALLER: &str = "127.0.0.1:5070";
const CALLEE: &str = "127.0.0.1:5080";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn settings() -> Settings {
    let user = |name: &str| User {
        name: name.into(),
        password: "secret".into(),
    };
    Settings {
        target: at(CALLEE),
        transport: Transport::Udp,
        domain: "example.org".to_owned(),
        sources: vec![at(CALLER)],
        threads: 1,
        users: vec![user("alice"), user("bob")],
        registering: None,
        calling: None,
        answering: Answering::default(),
        has_media: false,
        streams_max: 0,
        sound: None,
        stays: false,
        span_ms: None,
        grace_ms: 0,
        timers: Timers::default(),
        is_told: true,
    }
}

fn calling() -> Calling {
    Calling {
        per_s: 10.0,
        active_max: 100,
        total: Some(5),
        duration_ms: 1_000,
        duration_spread_ms: 0,
        to: None,
        answer_timeout_ms: 60_000,
        cancel_per_mille: 0,
        cancel_after_ms: 500,
        reinvite_per_mille: 0,
        reinvite_after_ms: 400,
    }
}

type Loses = Box<dyn FnMut(usize, &str) -> bool>;

/// Two stations, and a network between them that loses what it is told to.
struct Scene {
    now_us: u64,
    stations: [Station; 2],
    wire: VecDeque<(usize, Flow, Vec<u8>)>,
    /// Whether a message to this station, by its first line, is lost.
    loses: Loses,
}

impl Scene {
    fn new(caller: Settings, callee: Settings) -> Scene {
        let begin = |run, local: &str| Begin {
            thread: 0,
            run,
            locals: vec![at(local)],
            ports: Vec::new(),
            silent_port: 40_000,
        };
        let now = Now { us: 0 };
        let mut first = Station::new(Arc::new(caller), begin(1, CALLER), now);
        first.start_calls(now);
        let second = Station::new(Arc::new(callee), begin(2, CALLEE), now);
        Scene {
            now_us: 0,
            stations: [first, second],
            wire: VecDeque::new(),
            loses: Box::new(|_, _| false),
        }
    }

    /// Lets `ms` pass, two of them at a time.
    fn pass(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1_000;
        while self.now_us < end_us {
            self.now_us += 2_000;
            let now = Now { us: self.now_us };
            for from in 0..2 {
                self.stations[from].poll(now);
                self.gather(from);
            }
            while let Some((to, flow, bytes)) = self.wire.pop_front() {
                self.stations[to].receive(now, flow, &bytes);
                self.gather(to);
            }
        }
    }

    fn gather(&mut self, from: usize) {
        for (bytes, flow) in self.stations[from].outbox.iter() {
            let to = usize::from(flow.remote == at(CALLEE));
            let line = String::from_utf8_lossy(bytes);
            let line = line.lines().next().unwrap_or_default().to_owned();
            if (self.loses)(to, &line) {
                continue;
            }
            let back = Flow {
                transport: flow.transport,
                remote: flow.local,
                local: flow.remote,
            };
            self.wire.push_back((to, back, bytes.to_vec()));
        }
        self.stations[from].outbox.clear();
    }

    fn is_empty(&self) -> bool {
        self.stations.iter().all(|station| {
            station.is_done()
                && station.by_key.is_empty()
                && station.free_calls.len() == station.calls.len()
                && station.free_answers.len() == station.answers.len()
        })
    }
}

#[test]
fn calls_are_made_answered_and_ended() {
    let mut caller = settings();
    caller.calling = Some(calling());
    let mut scene = Scene::new(caller, settings());
    scene.pass(3_000);
    let [first, second] = &scene.stations;
    assert_eq!(first.tally.calls.attempted, 5);
    assert_eq!(first.tally.calls.rang, 5);
    assert_eq!(first.tally.calls.answered, 5);
    assert_eq!(first.tally.calls.completed, 5);
    assert_eq!(first.tally.failed() + second.tally.failed(), 0);
    assert_eq!(second.tally.answers.acknowledged, 5);
    assert_eq!(second.tally.answers.ended, 5);
    assert_eq!(first.tally.messages.retransmissions_sent, 0);
    assert_eq!(
        first.tally.messages.unexpected + first.tally.messages.late,
        0
    );
    assert!(scene.is_empty());
}

#[test]
fn each_message_lost_once_is_sent_again_and_counted_on_both_sides() {
    for lost in ["INVITE", "SIP/2.0 200", "ACK", "BYE"] {
        let mut caller = settings();
        caller.calling = Some(Calling {
            total: Some(1),
            ..calling()
        });
        let mut scene = Scene::new(caller, settings());
        let mut has_lost = false;
        scene.loses = Box::new(move |_, line| {
            let loses = !has_lost && line.starts_with(lost);
            has_lost |= loses;
            loses
        });
        scene.pass(40_000);
        let [first, second] = &scene.stations;
        assert_eq!(first.tally.calls.completed, 1, "{lost}");
        assert_eq!(second.tally.answers.ended, 1, "{lost}");
        let again =
            first.tally.messages.retransmissions_sent + second.tally.messages.retransmissions_sent;
        assert!(again >= 1, "{lost}: {again}");
        assert_eq!(first.tally.failed() + second.tally.failed(), 0, "{lost}");
        assert!(scene.is_empty(), "{lost}");
    }
}

#[test]
fn a_call_that_nobody_hears_fails_after_timer_b() {
    let mut caller = settings();
    caller.calling = Some(Calling {
        total: Some(1),
        ..calling()
    });
    let mut scene = Scene::new(caller, settings());
    scene.loses = Box::new(|to, _| to == 1);
    scene.pass(31_900);
    assert_eq!(scene.stations[0].tally.failed(), 0);
    scene.pass(200);
    let tally = &scene.stations[0].tally;
    assert_eq!(tally.call_failures.of(Reason::InviteTimeout), 1);
    // After 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
    assert_eq!(tally.messages.retransmissions_sent, 6);
    assert!(scene.is_empty());
}

#[test]
fn a_refusal_is_acknowledged_and_counted_by_its_status() {
    let mut caller = settings();
    caller.calling = Some(calling());
    let mut callee = settings();
    callee.answering.status = 486;
    let mut scene = Scene::new(caller, callee);
    scene.pass(3_000);
    let tally = &scene.stations[0].tally;
    assert_eq!(tally.call_failures.of(Reason::Status(486)), 5);
    assert_eq!(scene.stations[1].tally.failed(), 0);
    assert!(scene.is_empty());
}

#[test]
fn an_answer_to_a_request_that_was_never_sent_is_late_and_brings_nothing() {
    let mut caller = settings();
    caller.calling = Some(Calling {
        total: Some(1),
        ..calling()
    });
    let mut scene = Scene::new(caller, settings());
    let station = &mut scene.stations[0];
    station.poll(Now { us: 1_000_000 });
    let text = response(station, "200 OK", "").replace("CSeq: 1 INVITE", "CSeq: 0 INVITE");
    let flow = Flow {
        transport: Transport::Udp,
        remote: at(CALLEE),
        local: at(CALLER),
    };
    station.receive(Now { us: 1_010_000 }, flow, text.as_bytes());
    assert!(station.outbox.is_empty());
    assert_eq!(station.tally.messages.late, 1);
}

#[test]
fn a_share_of_the_calls_is_cancelled_while_it_rings() {
    let mut caller = settings();
    caller.calling = Some(Calling {
        cancel_per_mille: 400,
        ..calling()
    });
    let mut callee = settings();
    callee.answering.ring_ms = 800;
    let mut scene = Scene::new(caller, callee);
    scene.pass(4_000);
    let [first, second] = &scene.stations;
    assert_eq!(first.tally.calls.cancelled, 2);
    assert_eq!(second.tally.answers.cancelled, 2);
    assert_eq!(first.tally.calls.completed, 3);
    assert_eq!(first.tally.failed() + second.tally.failed(), 0);
    assert!(scene.is_empty());
}

#[test]
fn no_more_calls_are_active_than_may_be() {
    let mut caller = settings();
    caller.calling = Some(Calling {
        active_max: 1,
        ..calling()
    });
    let mut scene = Scene::new(caller, settings());
    scene.pass(8_000);
    let tally = &scene.stations[0].tally;
    assert_eq!((tally.calls.completed, tally.calls.active_max), (5, 1));
    assert!(tally.calls.held_back >= 4);
    assert!(scene.is_empty());
}

#[test]
fn a_call_left_over_at_the_end_is_unfinished_on_both_sides() {
    let mut caller = settings();
    caller.calling = Some(Calling {
        total: Some(1),
        duration_ms: 60_000,
        ..calling()
    });
    let mut scene = Scene::new(caller, settings());
    scene.pass(1_000);
    for station in &mut scene.stations {
        station.stop();
        station.abandon(Now { us: 1_000_000 });
    }
    let [first, second] = &scene.stations;
    assert_eq!(first.tally.call_failures.of(Reason::Unfinished), 1);
    assert_eq!(second.tally.answer_failures.of(Reason::Unfinished), 1);
    assert!(scene.is_empty());
}

/// What a registrar answers to the last message.
fn answer(station: &mut Station, now_us: u64, status: &str, lines: &str) {
    let text = response(station, status, lines);
    let flow = Flow {
        transport: Transport::Udp,
        remote: at(CALLEE),
        local: at(CALLER),
    };
    station.receive(Now { us: now_us }, flow, text.as_bytes());
}

/// A response to the last message, which is taken away.
fn response(station: &mut Station, status: &str, lines: &str) -> String {
    let request = String::from_utf8(station.outbox.last().to_vec()).expect("text");
    station.outbox.clear();
    let kept: String = request
        .split_inclusive("\r\n")
        .filter(|line| {
            ["Via", "From", "To", "Call-ID", "CSeq"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    format!("SIP/2.0 {status}\r\n{kept}{lines}Content-Length: 0\r\n\r\n")
}

#[test]
fn a_registration_answers_the_challenge_and_refreshes_in_time() {
    let mut register = settings();
    register.users.truncate(1);
    register.registering = Some(Registering {
        per_s: 10.0,
        expires_s: 100,
        is_cycling: false,
    });
    let mut scene = Scene::new(register, settings());
    let station = &mut scene.stations[0];
    station.poll(Now { us: 10_000 });
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
    answer(station, 20_000, "401 Unauthorized", challenge);
    let second = String::from_utf8(station.outbox.last().to_vec()).expect("text");
    assert!(
        second.contains("Authorization: Digest username=\"alice\""),
        "{second}"
    );
    assert!(second.contains("CSeq: 2 REGISTER"), "{second}");
    answer(station, 30_000, "200 OK", "Expires: 50\r\n");
    assert!(station.has_registered());
    assert_eq!(station.tally.registrations.succeeded, 1);
    assert_eq!(station.tally.register.count(), 1);
    assert_eq!(
        station.events.pop_front(),
        Some(Event::Registered { status: 200 })
    );
    // Four fifths of what was granted.
    station.poll(Now { us: 39_000_000 });
    assert!(station.outbox.is_empty());
    station.poll(Now { us: 41_000_000 });
    assert_eq!(station.tally.registrations.refreshes, 1);
    answer(station, 41_100_000, "403 Forbidden", "");
    assert_eq!(
        station.tally.registration_failures.of(Reason::Status(403)),
        1
    );
    assert!(scene.is_empty());
}

#[test]
fn a_refresh_that_a_server_could_not_do_is_tried_again() {
    let mut register = settings();
    register.users.truncate(1);
    register.registering = Some(Registering {
        per_s: 10.0,
        expires_s: 100,
        is_cycling: false,
    });
    let mut scene = Scene::new(register, settings());
    let station = &mut scene.stations[0];
    station.poll(Now { us: 10_000 });
    answer(station, 20_000, "200 OK", "");
    station.poll(Now { us: 80_100_000 });
    assert_eq!(station.tally.registrations.refreshes, 1);
    answer(
        station,
        80_200_000,
        "503 Service Unavailable",
        "Retry-After: 7\r\n",
    );
    let failures = &station.tally.registration_failures;
    assert_eq!(failures.of(Reason::Status(503)), 1);
    station.poll(Now { us: 87_100_000 });
    assert!(station.outbox.is_empty());
    station.poll(Now { us: 87_300_000 });
    assert_eq!(station.tally.registrations.refreshes, 2);
    answer(station, 87_400_000, "200 OK", "");
    assert_eq!(station.tally.registrations.succeeded, 2);
    assert!(scene.is_empty());
}

#[test]
fn all_addresses_have_their_turn() {
    let mut caller = settings();
    caller.calling = Some(calling());
    let mut station = Station::new(
        Arc::new(caller),
        Begin {
            thread: 0,
            run: 1,
            locals: vec![at("127.0.0.2:5070"), at("127.0.0.3:5070")],
            ports: Vec::new(),
            silent_port: 40_000,
        },
        Now { us: 0 },
    );
    station.start_calls(Now { us: 0 });
    station.poll(Now { us: 350_000 });
    let from: Vec<_> = station
        .outbox
        .iter()
        .map(|(bytes, flow)| {
            let text = String::from_utf8_lossy(bytes);
            assert!(
                text.contains(&format!("Via: SIP/2.0/UDP {};", flow.local)),
                "{text}"
            );
            assert!(text.contains(&format!("@{}>", flow.local)), "{text}");
            flow.local.ip().to_string()
        })
        .collect();
    assert_eq!(from, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
}
