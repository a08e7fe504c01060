//! What a steady load allocates, as a counting allocator sees it.

mod rig;

use std::collections::BTreeMap;

use allocation_counter::measure;
use rig::{ALICE, BOB, Rig, STRANGER, answer, credentials, request, udp};

/// Steps of a load and how often each of them allocated.
#[derive(Default)]
struct Counts {
    steps: BTreeMap<&'static str, u64>,
    is_warm: bool,
    /// What an owner noted: changes to records, and their bytes in batches.
    changes: usize,
    change_bytes: usize,
}

impl Counts {
    /// Feeds a message and counts under `step` what that allocates.
    fn feed(&mut self, rig: &mut Rig, step: &'static str, from: &str, text: &str) {
        let (now, flow) = (rig.now(), udp(from));
        let info = measure(|| {
            rig.edge.receive(
                &rig.settings,
                now,
                text.as_bytes(),
                flow,
                &mut rig.users,
                &mut rig.output,
            );
            note(rig);
        });
        self.count(step, info.count_total);
        self.count_changes(rig);
        rig.collect();
    }

    /// Moves the time on and counts what the timers allocate.
    fn wait(&mut self, rig: &mut Rig, ms: u64) {
        rig.now_ms += ms;
        let now = rig.now();
        let info = measure(|| {
            rig.edge
                .poll(&rig.settings, now, &mut rig.users, &mut rig.output);
            rig.edge.next(now.time);
            note(rig);
        });
        self.count("timers", info.count_total);
        self.count_changes(rig);
        rig.collect();
        rig.take();
    }

    fn count(&mut self, step: &'static str, count: u64) {
        *self.steps.entry(step).or_default() += if self.is_warm { count } else { 0 };
    }

    fn count_changes(&mut self, rig: &mut Rig) {
        let mut batch = records::Batch::new();
        let changes = &mut rig.output.changes;
        assert_eq!(changes.fill(0, &mut batch), changes.len());
        self.changes += changes.len();
        self.change_bytes += batch.bytes().len();
        changes.clear();
    }

    #[track_caller]
    fn are_none(&self) {
        assert!(self.steps.len() > 2);
        let some: Vec<_> = self.steps.iter().filter(|(_, count)| **count > 0).collect();
        assert!(some.is_empty(), "{some:?}");
    }
}

/// What an owner does besides: nothing, without a cluster.
fn note(rig: &mut Rig) {
    let now = rig.now();
    rig.edge.note(now, &mut rig.users, &mut rig.output);
}

/// Makes an edge the owner of its service in a cluster.
fn takes_office(rig: &mut Rig) {
    let (now, settings) = (rig.now(), rig.settings.clone());
    rig.edge.join(&settings);
    rig.edge
        .take_office(&settings, now, 1, &mut rig.users, &mut rig.output);
}

/// One call of a load, with headers as phones send them.
fn call(rig: &mut Rig, counts: &mut Counts, number: usize) {
    let call_id = format!("Call-ID: {number:08x}-43f1-4e0a-9c55-0123456789ab");
    let via = |name: &str| format!("192.0.2.10:5060;branch=z9hG4bK-{name}-{number}");
    let agent = "User-Agent: Phone T46U 108.86.0";
    let invite = request(
        "INVITE",
        "sip:bob@example.org",
        &via("i"),
        &[&call_id, agent],
    );
    counts.feed(rig, "INVITE", ALICE, &invite);
    let invite = rig.to(BOB);
    assert_eq!(rig.to(ALICE).status(), 100);
    counts.feed(rig, "180", BOB, &answer(&invite, 180, "b", &[]));
    let contact = "Contact: <sip:bob@192.0.2.20:5060>";
    counts.feed(rig, "200", BOB, &answer(&invite, 200, "b", &[contact]));
    assert_eq!(rig.to(ALICE).status(), 180);
    let ok = rig.to(ALICE);
    let (route, to) = (
        format!("Route: {}", ok.the("Record-Route")),
        format!("To: {}", ok.the("To")),
    );
    let uri = "sip:bob@192.0.2.20:5060";
    let ack = request("ACK", uri, &via("a"), &[&call_id, &route, &to]);
    counts.feed(rig, "ACK", ALICE, &ack);
    assert_eq!(rig.to(BOB).method(), "ACK");
    let bye = request(
        "BYE",
        uri,
        &via("b"),
        &[&call_id, &route, &to, "CSeq: 2 BYE"],
    );
    counts.feed(rig, "BYE", ALICE, &bye);
    let bye = rig.to(BOB);
    counts.feed(rig, "200 of BYE", BOB, &answer(&bye, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    counts.wait(rig, 100);
}

/// One refresh of a load, with its challenge.
fn refresh(rig: &mut Rig, counts: &mut Counts, number: u32) {
    let register = |at: u32, lines: &[&str]| {
        let cseq = format!("CSeq: {at} REGISTER");
        let mut all = vec![
            cseq.as_str(),
            "To: <sip:alice@example.org>",
            "Contact: <sip:alice@198.51.100.7:5060>",
            "Expires: 600",
        ];
        all.extend(lines);
        request(
            "REGISTER",
            "sip:example.org",
            &format!("198.51.100.7:5060;branch=z9hG4bK-{at}"),
            &all,
        )
    };
    counts.feed(rig, "REGISTER", STRANGER, &register(2 * number, &[]));
    let challenge = rig.to(STRANGER);
    let line = credentials(
        "alice",
        "a",
        "REGISTER",
        "sip:example.org",
        challenge.the("WWW-Authenticate"),
    );
    let line = format!("Authorization: {line}");
    counts.feed(
        rig,
        "REGISTER with credentials",
        STRANGER,
        &register(2 * number + 1, &[&line]),
    );
    rig.store(true);
    assert_eq!(rig.to(STRANGER).status(), 200);
    counts.wait(rig, 1_000);
}

#[test]
fn a_steady_call_allocates_nothing() {
    let mut rig = Rig::with_bob();
    rig.output.is_watched = false;
    let mut counts = Counts::default();
    for number in 0..1_600 {
        counts.is_warm = number >= 1_200;
        call(&mut rig, &mut counts, number);
    }
    counts.are_none();
    rig.forgets();
}

#[test]
fn the_records_of_a_steady_call_allocate_nothing() {
    let mut rig = Rig::with_bob();
    takes_office(&mut rig);
    rig.output.is_watched = false;
    let mut counts = Counts::default();
    for number in 0..1_600 {
        counts.is_warm = number >= 1_200;
        call(&mut rig, &mut counts, number);
    }
    counts.are_none();
    rig.forgets();
}

#[test]
fn the_records_of_a_steady_refresh_allocate_nothing() {
    let mut rig = Rig::new();
    takes_office(&mut rig);
    rig.output.is_watched = false;
    rig.stores = false;
    let mut counts = Counts::default();
    for number in 1..500 {
        counts.is_warm = number >= 300;
        refresh(&mut rig, &mut counts, number);
    }
    counts.are_none();
    rig.forgets();
}

/// Each change costs the owner, the way and every member: what is more needs a reason.
#[test]
fn a_call_is_a_dozen_changes_of_two_kilobytes_with_the_end_of_its_records() {
    let mut rig = Rig::with_bob();
    takes_office(&mut rig);
    let mut counts = Counts::default();
    call(&mut rig, &mut counts, 1);
    for _ in 0..40 {
        counts.wait(&mut rig, 1_000);
    }
    let (changes, bytes) = (counts.changes, counts.change_bytes);
    assert!(changes <= 12 && bytes <= 2_250, "{changes}, {bytes} bytes");
    rig.forgets();
}

#[test]
fn a_refresh_is_one_change_of_two_hundred_bytes() {
    let mut rig = Rig::new();
    takes_office(&mut rig);
    rig.stores = false;
    let mut counts = Counts::default();
    refresh(&mut rig, &mut counts, 1);
    let (before, before_bytes) = (counts.changes, counts.change_bytes);
    refresh(&mut rig, &mut counts, 2);
    let (changes, bytes) = (counts.changes - before, counts.change_bytes - before_bytes);
    assert!(changes <= 1 && bytes <= 200, "{changes}, {bytes} bytes");
    rig.forgets();
}

#[test]
fn a_steady_refresh_with_its_challenge_allocates_nothing() {
    let mut rig = Rig::new();
    rig.output.is_watched = false;
    rig.stores = false;
    let mut counts = Counts::default();
    for number in 1..500 {
        counts.is_warm = number >= 300;
        refresh(&mut rig, &mut counts, number);
    }
    counts.are_none();
    rig.forgets();
}

#[test]
fn what_is_refused_allocates_nothing() {
    let mut rig = Rig::with_bob();
    let mut counts = Counts::default();
    for number in 0..200 {
        counts.is_warm = number >= 100;
        let via = format!("198.51.100.7:5060;branch=z9hG4bK-{number}");
        for (step, uri, status) in [
            ("407", "sip:bob@example.org", 407),
            ("416", "mailto:bob@example.org", 416),
            ("404", "sip:example.org", 404),
        ] {
            counts.feed(&mut rig, step, STRANGER, &request("INVITE", uri, &via, &[]));
            assert_eq!(rig.to(STRANGER).status(), status);
        }
    }
    counts.are_none();
    rig.forgets();
}

#[test]
fn floods_scans_and_bans_allocate_nothing() {
    const FLOODERS: u32 = 100;
    let mut rig = Rig::new();
    rig.stores = false;
    rig.output.is_watched = false;
    rig.settings.sources.requests_per_s = 5;
    rig.settings.sources.requests_burst = 10;
    let mut counts = Counts::default();
    // The phone shares its address with the first flooder.
    for number in 1..300 {
        refresh(&mut rig, &mut counts, number);
    }
    let (mut over, mut banned, mut bans) = (0, 0, 0);
    for round in 0..2_000_u32 {
        counts.is_warm = bans > 10;
        let address = format!("198.51.100.{}:6000", 7 + round % FLOODERS);
        for number in 0..10 {
            let (flow, now) = (udp(&address), rig.now().time);
            let mut is_banned = false;
            let info = measure(|| is_banned = rig.users.sources.is_banned(now, &flow));
            counts.count("whether one is banned", info.count_total);
            if is_banned {
                banned += 1;
                continue;
            }
            let via = format!("{address};branch=z9hG4bK-{round}-{number}");
            let call_id = format!("Call-ID: {round}-{number}");
            let text = request("INVITE", "sip:bob@example.org", &via, &[&call_id]);
            counts.feed(&mut rig, "INVITE of a flood", &address, &text);
            match rig.to(&address).status() {
                503 => over += 1,
                status => assert_eq!(status, 407),
            }
            bans += rig.output.bans.len();
            rig.output.bans.clear();
        }
        counts.wait(&mut rig, 1);
        if round % FLOODERS == 0 {
            refresh(&mut rig, &mut counts, 300 + round / FLOODERS);
        }
    }
    // The phone makes up for its neighbour.
    assert_eq!(bans, FLOODERS as usize - 1);
    assert!(over > 1_000 && banned > 1_000, "{over} {banned}");
    counts.are_none();
    rig.forgets();
}
