//! Whatever the parties of a call do, in any order: every port comes back, every call is counted once, every table
//! is empty in the end.

mod rig;

use balancer::{Policy as PoolPolicy, PoolSettings, Source, TargetSettings};
use edge::PoolRoute;
use proxy::media::Policy;
use rig::{ALICE, BOB, CAROL, DAVE, Rig, Sip, answer, request, sdp, with_sdp};
use sip::Method;

const CALLEES: [&str; 3] = [BOB, CAROL, DAVE];

/// Small numbers that look random, from one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.roll(all.len())])
    }

    fn description(&mut self) -> String {
        const LINES: [&str; 6] = [
            "audio 4000 RTP/AVP 0",
            "video 4200 RTP/AVP 96",
            "video 0 RTP/AVP 96",
            "image 4300 udptl t38",
            "audio 4400 TCP/MSRP *",
            "audio 70000 RTP/AVP 0",
        ];
        // The last one is a lie, and so is rare.
        let known = if self.roll(12) == 0 { 6 } else { 5 };
        let count = 1 + self.roll(3);
        let lines: Vec<_> = (0..count).map(|_| LINES[self.roll(known)]).collect();
        sdp(&format!("10.0.0.{}", 1 + self.roll(3)), &lines)
    }

    fn described(&mut self, message: String) -> String {
        match self.roll(4) {
            0 => message,
            _ => with_sdp(&message, &self.description()),
        }
    }
}

/// A dialog as its caller knows it, from a response.
#[derive(Clone)]
struct Dialog {
    to: String,
    peer: String,
    routes: Vec<String>,
}

struct Call {
    rig_id: String,
    uri: &'static str,
    via: String,
    cseq: u32,
    dialogs: Vec<Dialog>,
    /// The INVITEs that callees got.
    invites: Vec<Sip>,
}

impl Call {
    fn by_alice(&mut self, dice: &mut Dice, method: &str) -> Option<String> {
        let dialog = dice.of(&self.dialogs)?.clone();
        self.cseq += 1;
        let (cseq, id) = (self.cseq, &self.rig_id);
        let mut lines = vec![
            format!("Call-ID: {id}"),
            format!("To: {}", dialog.to),
            format!("CSeq: {cseq} {method}"),
        ];
        let routes = dialog.routes.iter().rev();
        lines.extend(routes.map(|route| format!("Route: {route}")));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-{id}-{cseq}");
        let uri = format!("sip:x@{}", dialog.peer);
        Some(request(method, &uri, &via, &lines))
    }

    fn by_callee(&mut self, dice: &mut Dice, method: &str) -> Option<(String, String)> {
        let invite = dice.of(&self.invites)?.clone();
        let tag = format!("t{}", dice.roll(2));
        self.cseq += 1;
        let (cseq, id, at) = (self.cseq, &self.rig_id, invite.flow.remote.to_string());
        let mut lines = vec![
            format!("Call-ID: {id}"),
            format!("From: {};tag={tag}{}", invite.the("To"), &at[8..10]),
            format!("To: {}", invite.the("From")),
            format!("CSeq: {cseq} {method}"),
        ];
        let routes = invite.headers("Record-Route");
        lines.extend(routes.iter().map(|route| format!("Route: {route}")));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let via = format!("{at};branch=z9hG4bK-{id}-{cseq}");
        Some((
            at,
            request(method, "sip:alice@192.0.2.10:5060", &via, &lines),
        ))
    }
}

/// A callee's word about a request: any of those that it may say, or nothing.
fn reply(dice: &mut Dice, message: &Sip) -> Option<String> {
    const INVITED: [u16; 12] = [100, 180, 183, 183, 200, 200, 200, 486, 487, 500, 503, 603];
    const ASKED: [u16; 6] = [200, 200, 200, 481, 491, 500];
    let at = message.flow.remote.to_string();
    let is_invite = message.method() == "INVITE";
    let status = match is_invite {
        true => *dice.of(&INVITED)?,
        false => *dice.of(&ASKED)?,
    };
    if dice.roll(4) == 0 {
        return None;
    }
    let tag = format!("t{}{}", dice.roll(2), &at[8..10]);
    let contact = format!("Contact: <sip:x@{at}>");
    let reply = answer(message, status, &tag, &[&contact, "RSeq: 1"]);
    Some(match (message.method(), status) {
        ("INVITE" | "UPDATE" | "PRACK", 183..=299) => dice.described(reply),
        _ => reply,
    })
}

fn rig(dice: &mut Dice) -> Rig {
    let mut rig = Rig::with_bob();
    rig.settings.proxy.media.policy = Policy::Always;
    rig.settings.proxy.serial_ring_ms = 5_000;
    rig.users.media = rig::Media::new([20, 100][dice.roll(2)]);
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 1_000, None, "");
    rig.bind("bob", "sip:bob@phone.example.com", 1_000, None, "");
    rig.bind("bob", "sip:bob@192.0.2.40:5060", 500, None, "");
    let target = |address: &&str| TargetSettings::new(Source::Uri(format!("sip:{address}")));
    let targets = CALLEES.iter().map(target).collect();
    let pool = PoolSettings::new("pbx", PoolPolicy::RoundRobin, targets);
    let pool = rig.users.farm.begin(pool);
    rig.settings.pool_routes = vec![PoolRoute {
        user: (*b"8*").into(),
        domain: None,
        methods: vec![Method::Invite],
        pool,
    }];
    rig
}

/// Lets what the edge sent arrive, and what comes of it.
fn arrives(rig: &mut Rig, dice: &mut Dice, call: &mut Call) {
    for message in rig.take() {
        let at = message.flow.remote.to_string();
        let is_request = !message.first().starts_with("SIP/2.0");
        if is_request {
            let is_of_call = message.the("Call-ID") == call.rig_id;
            if is_of_call && message.method() == "INVITE" && at != ALICE {
                call.invites.push(message.clone());
            }
            if let Some(reply) = Some(())
                .filter(|()| message.method() != "ACK")
                .and_then(|()| reply(dice, &message))
            {
                rig.feed(&at, &reply);
            }
            continue;
        }
        let is_of_invite =
            message.the("CSeq") == "1 INVITE" && message.the("Call-ID") == call.rig_id;
        if at != ALICE || !is_of_invite || !(101..300).contains(&message.status()) {
            continue;
        }
        let Some(peer) = message.header("Contact") else {
            continue;
        };
        let peer = peer
            .trim_start_matches("<sip:x@")
            .trim_end_matches('>')
            .to_owned();
        let routes = message.headers("Record-Route");
        call.dialogs.push(Dialog {
            to: message.the("To").to_owned(),
            peer,
            routes: routes.iter().map(|route| (*route).to_owned()).collect(),
        });
        if message.status() >= 200 && dice.roll(5) > 0 {
            let cseq = std::mem::replace(&mut call.cseq, 0);
            let ack = call.by_alice(dice, "ACK").expect("a dialog");
            call.cseq = cseq;
            let ack = dice.described(ack);
            rig.feed(ALICE, &ack);
        }
    }
}

/// Somebody does something.
fn happens(rig: &mut Rig, dice: &mut Dice, call: &mut Call) {
    const METHODS: [&str; 5] = ["INVITE", "UPDATE", "PRACK", "BYE", "INFO"];
    let peer = *dice.of(&CALLEES).expect("some");
    match dice.roll(14) {
        0 => {
            let id = format!("Call-ID: {}", call.rig_id);
            rig.feed(
                ALICE,
                &request("CANCEL", call.uri, &call.via, &[&id, "CSeq: 1 CANCEL"]),
            );
        }
        1..=3 => {
            let method = *dice.of(&METHODS).expect("some");
            if let Some(message) = call.by_alice(dice, method) {
                let message = dice.described(message);
                rig.feed(ALICE, &message);
            }
        }
        4..=5 => {
            let method = *dice.of(&METHODS).expect("some");
            if let Some((at, message)) = call.by_callee(dice, method) {
                let message = dice.described(message);
                rig.feed(&at, &message);
            }
        }
        6..=7 => {
            // A callee says more about what it was asked before.
            if let Some(invite) = dice.of(&call.invites).cloned()
                && let Some(reply) = reply(dice, &invite)
            {
                rig.feed(&invite.flow.remote.to_string(), &reply);
            }
        }
        8 => rig.target_lost(peer),
        9 if rig.edge.may_wait_for(peer.parse().expect("an address")) => rig.break_flow(peer),
        10 => rig.wait(600),
        11 => rig.wait(5_200),
        12 => resolves(rig, dice),
        _ => {}
    }
}

fn resolves(rig: &mut Rig, dice: &mut Dice) {
    while !rig.output.resolves.is_empty() {
        let addresses = [&[BOB, DAVE][..], &[BOB], &[]][dice.roll(3)];
        rig.resolve("phone.example.com", addresses);
    }
}

#[test]
fn every_call_ends_whole() {
    let mut counts = [0u64; 6];
    for seed in 0..3u64 {
        let mut dice = Dice(seed);
        let mut rig = rig(&mut dice);
        for number in 0..750 {
            rig.probe_all();
            rig.sent.retain(|sent| sent.first().starts_with("OPTIONS"));
            for probe in rig.take() {
                let at = probe.flow.remote.to_string();
                rig.feed(&at, &answer(&probe, 200, "o", &[]));
            }
            let uri = ["sip:bob@example.org", "sip:8000@example.org"][dice.roll(2)];
            let mut call = Call {
                rig_id: format!("c{seed}-{number}"),
                uri,
                via: format!("192.0.2.10:5060;branch=z9hG4bK-{seed}-{number}"),
                cseq: 1,
                dialogs: Vec::new(),
                invites: Vec::new(),
            };
            let id = format!("Call-ID: {}", call.rig_id);
            let invite = dice.described(request("INVITE", uri, &call.via, &[&id]));
            rig.feed(ALICE, &invite);
            for _ in 0..4 + dice.roll(16) {
                arrives(&mut rig, &mut dice, &mut call);
                happens(&mut rig, &mut dice, &mut call);
            }
            rig.wait(1_000);
            if number % 250 < 249 {
                continue;
            }
            resolves(&mut rig, &mut dice);
            rig.wait(400_000);
            for session in rig.users.media.falls_silent() {
                let now = rig.now();
                let (settings, users, output) = (&rig.settings, &mut rig.users, &mut rig.output);
                rig.edge.media_silent(settings, now, session, users, output);
            }
            assert_eq!(rig.users.media.in_use(), 0, "seed {seed}, call {number}");
            rig.wait(14 * 3_600_000);
            rig.take();
            rig.has_forgotten();
        }
        let counters = rig.edge.counters();
        let counted = [
            counters.calls_answered,
            counters.calls_failed,
            counters.calls_silent,
            counters.moved_on,
            counters.hung_up_late,
            counters.descriptions_refused + counters.ports_lacking,
        ];
        for (all, counted) in counts.iter_mut().zip(counted) {
            *all += counted;
        }
    }
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}
