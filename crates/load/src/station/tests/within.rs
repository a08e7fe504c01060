//! What happens within calls, and calls that are refused or passed over on purpose.

use super::*;

/// One that makes calls and one that takes them.
fn scene(calling: Calling, answering: Answering) -> Scene {
    let (mut caller, mut callee) = (settings(), settings());
    caller.calling = Some(calling);
    caller.answering = answering;
    callee.answering = answering;
    Scene::new(caller, callee)
}

fn one_with_reinvite() -> Calling {
    Calling {
        total: Some(1),
        reinvite_per_mille: 1_000,
        ..calling()
    }
}

/// Loses the first of the messages that begin so.
fn lose_first(scene: &mut Scene, lost: impl Fn(&str) -> bool + 'static) {
    let mut has_lost = false;
    scene.loses = Box::new(move |_, line| {
        let loses = !has_lost && lost(line);
        has_lost |= loses;
        loses
    });
}

#[test]
fn a_share_of_the_calls_is_changed_while_it_goes_on() {
    let mut scene = scene(
        Calling {
            reinvite_per_mille: 400,
            ..calling()
        },
        Answering::default(),
    );
    scene.pass(3_000);
    let [first, second] = &scene.stations;
    assert_eq!(
        (first.tally.calls.reinvited, second.tally.answers.reinvited),
        (2, 2)
    );
    assert_eq!(
        (first.tally.calls.completed, second.tally.answers.ended),
        (5, 5)
    );
    assert_eq!(second.tally.answers.acknowledged, 5);
    assert_eq!(first.tally.failed() + second.tally.failed(), 0);
    assert!(scene.is_empty());
}

#[test]
fn calls_are_of_all_lengths_between_the_shortest_and_the_longest() {
    let calls = Calling {
        per_s: 100.0,
        total: Some(20),
        duration_ms: 500,
        duration_spread_ms: 1_000,
        ..calling()
    };
    let mut scene = scene(calls, Answering::default());
    let mut ended = Vec::new();
    for _ in 0..10 {
        scene.pass(200);
        ended.push(scene.stations[0].tally.calls.completed);
    }
    assert_eq!((ended[1], ended[9]), (0, 20));
    assert!(ended[4] > 4 && ended[4] < 16, "{ended:?}");
    assert!(scene.is_empty());
}

#[test]
fn each_message_of_a_change_lost_once_is_sent_again() {
    // The first of each is that of the call's beginning.
    for (lost, which) in [("INVITE", 2), ("SIP/2.0 200", 2), ("ACK", 2)] {
        let mut scene = scene(one_with_reinvite(), Answering::default());
        let mut seen = 0;
        scene.loses = Box::new(move |_, line| {
            seen += usize::from(line.starts_with(lost));
            seen == which && line.starts_with(lost)
        });
        scene.pass(40_000);
        let [first, second] = &scene.stations;
        let report = (first.tally.to_json(), second.tally.to_json());
        assert_eq!(first.tally.calls.reinvited, 1, "{lost}: {report:#?}");
        assert_eq!(first.tally.calls.completed, 1, "{lost}: {report:#?}");
        assert_eq!(second.tally.answers.ended, 1, "{lost}");
        assert_eq!(
            first.tally.failed() + second.tally.failed(),
            0,
            "{lost}: {report:#?}"
        );
        assert!(scene.is_empty(), "{lost}");
    }
}

#[test]
fn an_invite_within_a_call_has_the_target_and_the_routes_of_its_dialog() {
    let mut scene = scene(one_with_reinvite(), Answering::default());
    let station = &mut scene.stations[0];
    station.poll(Now { us: 0 });
    let lines = "Record-Route: <sip:127.0.0.1:6060;lr>\r\nContact: <sip:bob@127.0.0.9:7000>\r\n";
    let tag = |station: &mut Station, us, status: &str| {
        answer_with_tag(station, us, status, lines);
    };
    tag(station, 10_000, "200 OK");
    station.outbox.clear();
    station.poll(Now { us: 500_000 });
    let (reinvite, flow) = last(station);
    assert!(
        reinvite.starts_with("INVITE sip:bob@127.0.0.9:7000 SIP/2.0\r\n"),
        "{reinvite}"
    );
    assert!(
        reinvite.contains("Route: <sip:127.0.0.1:6060;lr>\r\n"),
        "{reinvite}"
    );
    assert!(reinvite.contains(";tag=theirs\r\n"), "{reinvite}");
    assert!(reinvite.contains("m=audio "), "{reinvite}");
    assert_eq!(flow.remote, at("127.0.0.1:6060"));
    // Its refusal is acknowledged by the same way, and the call goes on and has failed.
    tag(station, 600_000, "488 Not Acceptable Here");
    let (ack, _) = last(station);
    assert!(
        ack.starts_with("ACK sip:bob@127.0.0.9:7000 SIP/2.0\r\n"),
        "{ack}"
    );
    assert!(ack.contains("Route: <sip:127.0.0.1:6060;lr>\r\n"), "{ack}");
    assert_eq!(station.tally.calls.active, 1);
    station.poll(Now { us: 1_100_000 });
    assert!(last(station).0.starts_with("BYE "));
    answer_with_tag(station, 1_110_000, "200 OK", "");
    let failures = &station.tally.call_failures;
    assert_eq!(failures.of(Reason::ReinviteStatus(488)), 1);
    assert_eq!(station.tally.calls.completed, 0);
    assert!(scene.is_empty());
}

#[test]
fn who_says_that_there_is_no_such_call_ends_it() {
    for status in ["481 Call/Transaction Does Not Exist", "408 Request Timeout"] {
        let mut scene = scene(one_with_reinvite(), Answering::default());
        let station = &mut scene.stations[0];
        station.poll(Now { us: 0 });
        answer_with_tag(
            station,
            10_000,
            "200 OK",
            "Contact: <sip:bob@127.0.0.1:5080>\r\n",
        );
        station.poll(Now { us: 500_000 });
        answer_with_tag(station, 510_000, status, "");
        assert!(last(station).0.starts_with("BYE "), "{status}");
        answer_with_tag(station, 520_000, "481 Call/Transaction Does Not Exist", "");
        assert_eq!(station.tally.failed(), 1, "{status}");
        assert!(scene.is_empty(), "{status}");
    }
}

#[test]
fn after_491_it_is_tried_again_within_two_to_four_seconds() {
    let mut scene = scene(
        Calling {
            duration_ms: 10_000,
            ..one_with_reinvite()
        },
        Answering::default(),
    );
    let station = &mut scene.stations[0];
    station.poll(Now { us: 0 });
    answer_with_tag(
        station,
        10_000,
        "200 OK",
        "Contact: <sip:bob@127.0.0.1:5080>\r\n",
    );
    station.poll(Now { us: 500_000 });
    answer_with_tag(station, 510_000, "491 Request Pending", "");
    assert!(last(station).0.starts_with("ACK "));
    station.outbox.clear();
    station.poll(Now { us: 2_600_000 });
    assert!(station.outbox.is_empty());
    station.poll(Now { us: 4_510_000 });
    assert!(last(station).0.contains("CSeq: 3 INVITE\r\n"));
    answer_with_tag(
        station,
        4_520_000,
        "200 OK",
        "Contact: <sip:bob@127.0.0.1:5080>\r\n",
    );
    station.poll(Now { us: 10_100_000 });
    answer_with_tag(station, 10_200_000, "200 OK", "");
    assert_eq!(
        (station.tally.calls.reinvited, station.tally.failed()),
        (1, 0)
    );
    assert!(scene.is_empty());
}

#[test]
fn a_share_of_the_calls_is_ended_by_who_was_called() {
    let answering = Answering {
        hang_up_per_mille: 400,
        hang_up_after_ms: 300,
        ..Answering::default()
    };
    let mut scene = scene(calling(), answering);
    scene.pass(3_000);
    let [first, second] = &scene.stations;
    assert_eq!(
        (first.tally.calls.completed, first.tally.calls.ended_by_peer),
        (5, 2)
    );
    assert_eq!(
        (second.tally.answers.ended, second.tally.answers.hung_up),
        (3, 2)
    );
    assert_eq!(first.tally.failed() + second.tally.failed(), 0);
    assert_eq!(
        first.tally.messages.unexpected + second.tally.messages.unexpected,
        0
    );
    assert!(scene.is_empty());
}

#[test]
fn a_bye_of_who_was_called_is_sent_again_and_may_cross_the_callers() {
    for hang_up_after_ms in [300, 1_000] {
        for lost in ["BYE", "SIP/2.0 200"] {
            let answering = Answering {
                hang_up_per_mille: 1_000,
                hang_up_after_ms,
                ..Answering::default()
            };
            let mut scene = scene(
                Calling {
                    total: Some(1),
                    ..calling()
                },
                answering,
            );
            scene.pass(200);
            lose_first(&mut scene, move |line| line.starts_with(lost));
            scene.pass(40_000);
            let [first, second] = &scene.stations;
            assert_eq!(first.tally.calls.completed, 1, "{hang_up_after_ms} {lost}");
            let ended = second.tally.answers.ended + second.tally.answers.hung_up;
            assert_eq!(ended, 1, "{hang_up_after_ms} {lost}");
            assert_eq!(
                first.tally.failed() + second.tally.failed(),
                0,
                "{hang_up_after_ms} {lost}"
            );
            assert!(scene.is_empty(), "{hang_up_after_ms} {lost}");
        }
    }
}

#[test]
fn who_hangs_up_though_he_was_not_to_has_ended_the_call_early() {
    let (mut caller, mut callee) = (settings(), settings());
    caller.calling = Some(calling());
    callee.answering.hang_up_per_mille = 1_000;
    let mut scene = Scene::new(caller, callee);
    scene.pass(3_000);
    let tally = &scene.stations[0].tally;
    assert_eq!(tally.call_failures.of(Reason::EndedEarly), 5);
    assert!(scene.is_empty());
}

#[test]
fn a_bye_goes_back_by_the_routes_of_the_invite() {
    let answering = Answering {
        hang_up_per_mille: 1_000,
        ..Answering::default()
    };
    let mut scene = scene(calling(), answering);
    let station = &mut scene.stations[1];
    let flow = Flow {
        transport: Transport::Udp,
        remote: at("127.0.0.1:6060"),
        local: at(CALLEE),
    };
    let via = "Via: SIP/2.0/UDP 127.0.0.1:6060;branch=z9hG4bKx\r\nFrom: <sip:alice@x>;tag=a\r\nCall-ID: strange\r\nMax-Forwards: 9\r\n";
    let invite = format!(
        "INVITE sip:bob@127.0.0.1:5080 SIP/2.0\r\n{via}To: <sip:bob@x>\r\nCSeq: 7 INVITE\r\nContact: <sip:alice@127.0.0.7:7000>\r\n\
         Record-Route: <sip:127.0.0.1:6060;lr>, <sip:127.0.0.2;lr>\r\nContent-Length: 0\r\n\r\n"
    );
    station.receive(Now { us: 0 }, flow, invite.as_bytes());
    let (accepted, _) = last(station);
    let tag = accepted
        .lines()
        .find_map(|line| line.strip_prefix("To: "))
        .expect("To");
    let ack = format!(
        "ACK sip:bob@127.0.0.1:5080 SIP/2.0\r\n{via}To: {tag}\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
    );
    station.receive(Now { us: 1_000 }, flow, ack.as_bytes());
    station.poll(Now { us: 10_000 });
    let (bye, to) = last(station);
    assert_eq!(to.remote, at("127.0.0.1:6060"));
    assert!(
        bye.starts_with("BYE sip:alice@127.0.0.7:7000 SIP/2.0\r\n"),
        "{bye}"
    );
    assert!(
        bye.contains(&format!(
            "From: {tag}\r\nTo: <sip:alice@x>;tag=a\r\nCall-ID: strange\r\nCSeq: 1 BYE\r\n\
        Route: <sip:127.0.0.1:6060;lr>\r\nRoute: <sip:127.0.0.2;lr>\r\n"
        )),
        "{bye}"
    );
    // A challenge is answered as the one who was called.
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
    answer(station, 20_000, "401 Unauthorized", challenge);
    assert!(
        last(station)
            .0
            .contains("Authorization: Digest username=\"bob\"")
    );
    answer(station, 30_000, "200 OK", "");
    assert_eq!(
        (station.tally.answers.hung_up, station.tally.failed()),
        (1, 0)
    );
    // The other half of this scene has not begun.
    assert!(station.is_idle() && station.by_key.is_empty());
}

#[test]
fn a_call_without_an_ack_is_ended() {
    let mut scene = scene(
        Calling {
            total: Some(1),
            ..calling()
        },
        Answering::default(),
    );
    scene.loses = Box::new(|_, line| line.starts_with("ACK"));
    scene.pass(70_000);
    let second = &scene.stations[1];
    assert_eq!(second.tally.answers.ended, 1);
    // The caller hung up before that; without his BYE it is the callee's.
    let mut scene = self::scene(
        Calling {
            total: Some(1),
            ..calling()
        },
        Answering::default(),
    );
    scene.loses =
        Box::new(|to, line| line.starts_with("ACK") || to == 1 && line.starts_with("BYE"));
    scene.pass(110_000);
    let [first, second] = &scene.stations;
    assert_eq!(second.tally.answer_failures.of(Reason::NoAck), 1);
    assert_eq!(first.tally.failed(), 1);
    assert!(scene.is_empty());
}

#[test]
fn calls_refused_and_passed_over_on_purpose_are_counted_on_both_sides() {
    let answering = Answering {
        status: 503,
        refuse_per_mille: 500,
        ignore_per_mille: 200,
        ..Answering::default()
    };
    let mut scene = scene(
        Calling {
            total: Some(10),
            ..calling()
        },
        answering,
    );
    scene.pass(70_000);
    let [first, second] = &scene.stations;
    let answers = &second.tally.answers;
    assert_eq!(
        (answers.invited, answers.ignored, answers.refused),
        (10, 2, 4)
    );
    let failures = &first.tally.call_failures;
    assert_eq!(failures.of(Reason::InviteTimeout), 2);
    assert_eq!(failures.of(Reason::Status(503)), 4);
    assert_eq!(first.tally.calls.completed, 4);
    assert_eq!(answers.ended, 4);
    // Six times each.
    assert_eq!(first.tally.messages.retransmissions_sent, 12);
    assert_eq!(second.tally.messages.retransmissions_received, 12);
    assert_eq!(second.tally.failed(), 0);
    assert!(scene.is_empty());
}

/// The last message and where it goes.
fn last(station: &Station) -> (String, Flow) {
    let (bytes, flow) = station.outbox.iter().last().expect("a message");
    (String::from_utf8_lossy(bytes).into_owned(), *flow)
}

/// As [`answer`], from somebody with a tag.
fn answer_with_tag(station: &mut Station, us: u64, status: &str, lines: &str) {
    let request = String::from_utf8_lossy(station.outbox.last()).into_owned();
    station.outbox.clear();
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.split_inclusive("\r\n") {
        match line.split_once(": ") {
            Some(("To", value)) if !value.contains(";tag=") => {
                text += &format!("To: {};tag=theirs\r\n", value.trim_end());
            }
            Some(("Via" | "From" | "To" | "Call-ID" | "CSeq", _)) => text += line,
            _ => {}
        }
    }
    text += &format!("{lines}Content-Length: 0\r\n\r\n");
    let flow = Flow {
        transport: Transport::Udp,
        remote: at(CALLEE),
        local: at(CALLER),
    };
    station.receive(Now { us }, flow, text.as_bytes());
}
