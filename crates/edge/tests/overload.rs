//! What is turned away where there is too much, and what never is.

mod rig;

use balancer::{Policy, PoolSettings, Source, TargetSettings};
use edge::overload::Load;
use rig::{ALICE, BOB, CAROL, Rig, Sip, answer, request, udp};
use transaction::Time;

const TO_BOB: &str = "sip:bob@example.org";

fn invite(number: u32) -> String {
    let call_id = format!("Call-ID: call-{number}");
    let via = format!("192.0.2.10:5060;branch=z9hG4bK-i{number}");
    request("INVITE", TO_BOB, &via, &[&call_id])
}

/// Sends an INVITE; what came back first.
fn call(rig: &mut Rig, number: u32) -> Sip {
    rig.feed(ALICE, &invite(number));
    rig.to(ALICE)
}

/// Reports rounds with a lag until the share is below `permille`.
fn overload(rig: &mut Rig, permille: u32) {
    while rig.edge.throttle().share_permille() >= permille {
        rig.now_ms += 100;
        let load = Load {
            lag_us: 200_000,
            handled: 100,
            dropped: 0,
        };
        let now = Time::from_ms(rig.now_ms);
        rig.edge.observe(&rig.settings, now, load);
    }
}

#[test]
fn an_overloaded_edge_turns_new_calls_away_and_finishes_those_it_has() {
    let mut rig = Rig::with_bob();
    assert_eq!(call(&mut rig, 1).status(), 100);
    let first = rig.to(BOB);
    overload(&mut rig, 300);
    let refused = (100..200)
        .map(|number| call(&mut rig, number))
        .filter(|answer| answer.status() == 503);
    let refused: Vec<Sip> = refused.collect();
    assert!((70..=90).contains(&refused.len()), "{}", refused.len());
    assert!(refused[0].header("Retry-After").is_some());
    assert_eq!(rig.edge.transactions().0, 1 + 100 - refused.len());
    while rig.sent.pop().is_some() {}
    // The call of before goes its way.
    rig.feed(BOB, &answer(&first, 180, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 180);
    let contact = "Contact: <sip:bob@192.0.2.20:5060>";
    rig.feed(BOB, &answer(&first, 200, "b", &[contact]));
    let ok = rig.to(ALICE);
    let (route, to) = (
        format!("Route: {}", ok.the("Record-Route")),
        format!("To: {}", ok.the("To")),
    );
    for method in ["ACK", "INVITE", "INFO", "BYE"] {
        let cseq = format!("CSeq: 9 {method}");
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-in-{method}");
        let lines = [route.as_str(), &to, "Call-ID: call-1", &cseq];
        let text = request(method, "sip:bob@192.0.2.20:5060", &via, &lines);
        rig.feed(ALICE, &text);
        assert_eq!(rig.to(BOB).method(), method);
        while rig.sent.pop().is_some() {}
    }
}

#[test]
fn the_other_half_of_a_call_that_a_media_server_took_is_never_turned_away() {
    let mut rig = Rig::with_bob();
    let server = TargetSettings::new(Source::Uri(format!("sip:{CAROL}")));
    let pool = PoolSettings::new("pbx", Policy::RoundRobin, vec![server]);
    rig.users.farm.begin(pool);
    overload(&mut rig, 50);
    for number in 0..20 {
        rig.feed(CAROL, &invite(number));
        assert_eq!(rig.to(CAROL).status(), 100);
        assert_eq!(rig.to(BOB).method(), "INVITE");
    }
}

#[test]
fn a_cancel_is_never_turned_away() {
    let mut rig = Rig::with_bob();
    assert_eq!(call(&mut rig, 1).status(), 100);
    let first = rig.to(BOB);
    rig.feed(BOB, &answer(&first, 180, "b", &[]));
    rig.to(ALICE);
    overload(&mut rig, 50);
    let via = "192.0.2.10:5060;branch=z9hG4bK-i1";
    let cancel = request("CANCEL", TO_BOB, via, &["Call-ID: call-1"]);
    rig.feed(ALICE, &cancel);
    assert_eq!(rig.to(ALICE).status(), 200);
    assert_eq!(rig.to(BOB).method(), "CANCEL");
}

#[test]
fn when_the_lag_is_gone_everything_gets_in_again() {
    let mut rig = Rig::with_bob();
    overload(&mut rig, 300);
    for _ in 0..100 {
        rig.now_ms += 100;
        let now = Time::from_ms(rig.now_ms);
        rig.edge.observe(&rig.settings, now, Load::default());
    }
    assert_eq!(rig.edge.throttle().share_permille(), 1_000);
    for number in 0..100 {
        assert_eq!(call(&mut rig, number).status(), 100);
        rig.to(BOB);
    }
}

#[test]
fn calls_at_once_are_limited_over_all_threads() {
    let mut rig = Rig::with_bob();
    rig.settings.overload.calls_max = 5;
    // Another thread has three.
    rig.users.gate.note_calls(1, 3);
    assert_eq!(call(&mut rig, 1).status(), 100);
    let first = rig.to(BOB);
    assert_eq!(call(&mut rig, 2).status(), 100);
    rig.to(BOB);
    assert_eq!(call(&mut rig, 3).status(), 503);
    assert_eq!(rig.edge.counted().of("calls-max"), 1);
    rig.feed(BOB, &answer(&first, 486, "b", &[]));
    assert_eq!(rig.to(BOB).method(), "ACK");
    rig.to(ALICE);
    assert_eq!(call(&mut rig, 4).status(), 100);
}

#[test]
fn calls_a_second_are_limited_and_requests_in_dialogs_are_not() {
    let mut rig = Rig::with_bob();
    rig.settings.overload.calls_per_s = 3;
    let statuses: Vec<u16> = (0..5)
        .map(|number| {
            let status = call(&mut rig, number).status();
            if status == 100 {
                rig.to(BOB);
            }
            status
        })
        .collect();
    assert_eq!(statuses, [100, 100, 100, 503, 503]);
    rig.now_ms += 1_000;
    assert_eq!(call(&mut rig, 10).status(), 100);
    rig.to(BOB);
    let dialog = "To: <sip:bob@example.org>;tag=b";
    for number in 0..20 {
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-r{number}");
        let call_id = format!("Call-ID: dialog-{number}");
        let text = request("INVITE", "sip:bob@192.0.2.20", &via, &[dialog, &call_id]);
        rig.feed_on(udp(ALICE), &text);
        assert_eq!(rig.to(ALICE).status(), 100);
        rig.to(BOB);
    }
}

#[test]
fn registrations_a_second_are_limited_once_they_are_authentic() {
    let mut rig = Rig::new();
    rig.settings.overload.registrations_per_s = 2;
    let mut statuses = Vec::new();
    for number in 0..4 {
        let text = |at: u32, line: &str| {
            let cseq = format!("CSeq: {at} REGISTER");
            let call_id = format!("Call-ID: r{number}");
            let via = format!("192.0.2.10:5060;branch=z9hG4bK-r{number}-{at}");
            let to = "To: <sip:alice@example.org>";
            let lines = [cseq.as_str(), &call_id, to, line];
            let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            request("REGISTER", "sip:example.org", &via, &lines)
        };
        rig.feed(ALICE, &text(1, ""));
        let challenge = rig.to(ALICE);
        let line = rig::credentials(
            "alice",
            "a",
            "REGISTER",
            "sip:example.org",
            challenge.the("WWW-Authenticate"),
        );
        rig.feed(ALICE, &text(2, &format!("Authorization: {line}")));
        statuses.push(rig.to(ALICE).status());
    }
    assert_eq!(statuses, [200, 200, 503, 503]);
}
