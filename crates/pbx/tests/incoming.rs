//! Calls that come in and are answered by the PBX itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Cause, Happening, LegId, PlayId, Sound};
use rig::*;

fn answers(happening: &Happening) -> Vec<Action> {
    match happening {
        Happening::Incoming(incoming) => vec![
            Action::Ring { leg: incoming.leg },
            Action::Answer { leg: incoming.leg },
        ],
        _ => Vec::new(),
    }
}

fn world() -> World {
    World::new(|happening, _| answers(happening))
}

#[test]
fn a_call_is_answered_with_sound_and_ended_by_the_caller() {
    let mut world = world();
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "0 8 101")));
    let ok = world.the("SIP/2.0 200 ");
    assert_eq!(world.those("SIP/2.0 100 ").len(), 1);
    assert_eq!(header(&ok, "Record-Route"), "<sip:192.0.2.1;lr;c=a>");
    assert!(
        body(&ok).contains("m=audio 20000 RTP/AVP 8 101\r\n"),
        "{ok}"
    );
    assert!(
        world
            .commands
            .iter()
            .any(|command| matches!(command, voice::Command::Remote { .. }))
    );
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    assert!(matches!(
        world.happenings().last(),
        Some(Happening::Answered { .. })
    ));
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.the("SIP/2.0 200 ");
    let happenings = world.happenings();
    assert!(
        matches!(&happenings[..], [Happening::Quality { codec, .. }, Happening::Ended { .. }] if codec == "PCMA"),
        "{happenings:?}"
    );
    world.is_empty_at_the_end();
}

#[test]
fn a_200_is_sent_again_until_its_ack_and_the_call_is_ended_without_one() {
    let mut world = world();
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    world.pass(4_000);
    assert_eq!(world.those("SIP/2.0 200 ").len(), 3);
    world.pass(30_000);
    let bye = world.those("BYE ")[0].to_owned();
    assert!(bye.starts_with("BYE sip:100@192.0.2.100:5062 "));
    assert_eq!(header(&bye, "Route"), "<sip:192.0.2.1;lr;c=a>");
    world.is_empty_at_the_end();
}

#[test]
fn a_late_offer_is_made_in_the_200_and_answered_in_the_ack() {
    let mut world = world();
    world.receive(&invite("a", "200", "", ""));
    let ok = world.the("SIP/2.0 200 ");
    assert!(
        body(&ok).contains("m=audio 20000 RTP/AVP 8 0 9 96 101 102\r\n"),
        "{ok}"
    );
    world.receive(&within(
        "ACK",
        "a",
        &ok,
        1,
        "",
        &sdp("192.0.2.9", 4000, "0 101"),
    ));
    assert!(world.commands.iter().any(|command| matches!(command, voice::Command::Remote { remote, .. } if remote.negotiated.send == voice::Format::PCMU)));
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_late_offer_that_is_not_answered_ends_the_call() {
    let mut world = world();
    world.receive(&invite("a", "200", "", ""));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.the("BYE ");
    world.is_empty_at_the_end();
}

#[test]
fn what_nobody_can_speak_is_refused() {
    let mut world = world();
    for (call, description) in [
        ("a", sdp("192.0.2.9", 4000, "18")),
        ("b", sdp("192.0.2.9", 0, "8")),
        ("c", "v=0\r\n".to_owned()),
    ] {
        world.receive(&invite(call, "200", "", &description));
        let refused = if call == "c" {
            "SIP/2.0 400 "
        } else {
            "SIP/2.0 488 "
        };
        world.the(refused);
    }
    let text = invite("d", "200", "", "hello").replace("application/sdp", "text/plain");
    world.receive(&text);
    world.the("SIP/2.0 415 ");
    world.is_empty_at_the_end();
}

#[test]
fn a_caller_that_cancels_gets_487() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![Action::Ring { leg: incoming.leg }],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    world.the("SIP/2.0 180 ");
    let cancel = invite("a", "200", "", "")
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    world.receive(&cancel);
    world.the("SIP/2.0 200 ");
    let refused = world.the("SIP/2.0 487 ");
    let ack = within("ACK", "a", &refused, 1, "", "").replace("z9hG4bKaACK1", "z9hG4bKai");
    world.receive(&ack);
    assert!(
        matches!(world.happenings().last(), Some(Happening::Ended { cause, .. }) if cause.status == 487)
    );
    world.is_empty_at_the_end();
}

#[test]
fn a_call_is_refused_as_the_application_wants() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![Action::Reject {
            leg: incoming.leg,
            cause: Cause {
                status: 486,
                q850: 17,
                text: String::new(),
            },
            retry_after_s: Some(9),
        }],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let busy = world.the("SIP/2.0 486 ");
    assert_eq!(
        (header(&busy, "Reason"), header(&busy, "Retry-After")),
        ("Q.850;cause=17".into(), "9".into())
    );
    world.is_empty_at_the_end();
}

#[test]
fn more_calls_than_may_be_are_told_when_to_come_again_and_probes_too() {
    let mut world = world();
    world.settings.calls_max = 1;
    let options = invite("o", "200", "", "").replace("INVITE", "OPTIONS");
    world.receive(&options);
    world.the("SIP/2.0 200 ");
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.receive(&invite("b", "200", "", &sdp("192.0.2.9", 4000, "8")));
    assert_eq!(header(&world.the("SIP/2.0 503 "), "Retry-After"), "5");
    world.receive(&options.replace("z9hG4bKoi", "z9hG4bKoi2"));
    world.the("SIP/2.0 503 ");
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn what_is_not_understood_is_refused_by_its_reason() {
    let mut world = world();
    let offer = sdp("192.0.2.9", 4000, "8");
    for (text, status) in [
        (invite("a", "200", "Require: magic\r\n", &offer), "420"),
        (
            invite("b", "200", "", "").replace("INVITE", "MESSAGE"),
            "405",
        ),
        (invite("c", "200", "", "").replace("INVITE", "REFER"), "403"),
        (invite("d", "200", "", "").replace("INVITE", "BYE"), "481"),
        (invite("e", "200", "", "").replace("INVITE", "FROB"), "501"),
        (
            invite("f", "200", "", &offer).replace("INVITE sip:", "INVITE mailto:"),
            "416",
        ),
        (
            invite(
                "g",
                "200",
                "Replaces: x;to-tag=0123456789abcdef;from-tag=b\r\n",
                &offer,
            ),
            "481",
        ),
        (
            invite(
                "h",
                "200",
                "Supported: timer\r\nSession-Expires: 60\r\n",
                &offer,
            ),
            "422",
        ),
        (
            invite("i", "200", "", "")
                .replace("INVITE", "SUBSCRIBE")
                .replace("Allow:", "Event: presence\r\nAllow:"),
            "489",
        ),
    ] {
        world.receive(&text);
        world.the(&format!("SIP/2.0 {status} "));
    }
    world.is_empty_at_the_end();
}

#[test]
fn a_merged_request_is_a_loop() {
    let mut world = world();
    let offer = invite("a", "200", "", &sdp("192.0.2.9", 4000, "8"));
    world.receive(&offer);
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&offer.replace("z9hG4bKai", "z9hG4bKother"));
    world.the("SIP/2.0 482 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn hold_and_resume_are_answered_and_told() {
    let mut world = world();
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.happenings();
    let held = sdp("192.0.2.9", 4000, "8").replace("sendrecv", "sendonly");
    world.receive(&within("INVITE", "a", &ok, 2, "", &held));
    let answer = world.the("SIP/2.0 200 ");
    assert!(body(&answer).contains("a=recvonly"), "{answer}");
    assert!(matches!(
        &world.happenings()[..],
        [Happening::Hold { on: true, .. }]
    ));
    world.receive(&within("ACK", "a", &ok, 2, "", ""));
    world.receive(&within(
        "UPDATE",
        "a",
        &ok,
        3,
        "",
        &sdp("192.0.2.9", 4000, "8"),
    ));
    assert!(body(&world.the("SIP/2.0 200 ")).contains("a=sendrecv"));
    assert!(matches!(
        &world.happenings()[..],
        [Happening::Hold { on: false, .. }]
    ));
    world.receive(&within("INFO", "a", &ok, 2, "", ""));
    world.the("SIP/2.0 500 ");
    world.receive(&within("BYE", "a", &ok, 5, "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_request_of_no_dialog_is_told_so() {
    let mut world = world();
    let gone = "SIP/2.0 200 OK\r\nTo: <sip:200@example.org>;tag=0123456789abcdef\r\n";
    for method in [
        "BYE",
        "INVITE",
        "UPDATE",
        "INFO",
        "PRACK",
        "NOTIFY",
        "SUBSCRIBE",
    ] {
        world.receive(&within(method, "x", gone, 5, "", ""));
        world.the("SIP/2.0 481 ");
    }
    world.receive(&within("ACK", "x", gone, 5, "", ""));
    assert!(world.sent.is_empty());
    world.is_empty_at_the_end();
}

#[test]
fn a_call_refused_before_the_dialplan_has_a_record_once() {
    let mut world = World::new(|_, _| Vec::new());
    world.settings.calls_max = 0;
    let text = invite("a", "200", "", &sdp("192.0.2.9", 4000, "8"));
    world.receive(&text);
    world.the("SIP/2.0 503 ");
    let cdr = world.output.cdrs.pop().unwrap();
    assert_eq!((cdr.cause.status, cdr.legs.len()), (503, 1));
    assert_eq!((&cdr.caller.user[..], &cdr.called.user[..]), ("100", "200"));
    assert_eq!(cdr.legs[0].call_id, "a");
    // The same INVITE again is the same call.
    world.receive(&text);
    world.the("SIP/2.0 503 ");
    assert!(world.output.cdrs.is_empty());
    world.settings.calls_max = 10;
    let video = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=video 4000 RTP/AVP 97\r\n";
    world.receive(&invite("b", "200", "", video));
    world.the("SIP/2.0 488 ");
    assert_eq!(world.output.cdrs[0].cause.status, 488);
    world.receive(&invite(
        "c",
        "200",
        "Replaces: x;to-tag=1;from-tag=2\r\n",
        "",
    ));
    world.the("SIP/2.0 481 ");
    assert_eq!(world.output.cdrs[0].cause.status, 481);
    world.is_empty_at_the_end();
}

#[test]
fn a_caller_whom_nobody_answers_is_kept_informed_and_refused_in_the_end() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![Action::Ring { leg: incoming.leg }],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    world.the("SIP/2.0 180 ");
    world.pass(299_000);
    // RFC 3261 section 13.3.1.1: one a minute.
    assert_eq!(world.those("SIP/2.0 180 ").len(), 4);
    world.happenings();
    world.pass(1_000);
    let refusal = world.those("SIP/2.0 480 ")[0].to_owned();
    assert!(header(&refusal, "Reason").starts_with("Q.850;cause=18"));
    assert!(
        world
            .happenings()
            .iter()
            .any(|one| matches!(one, Happening::Ended { cause, .. } if cause.status == 480))
    );
    world.is_empty_at_the_end();
    // Who wants an answer sooner says so (section 13.3.1).
    let mut world = World::new(|_, _| Vec::new());
    let text = invite("b", "200", "Expires: 20\r\n", &sdp("192.0.2.9", 4000, "8"));
    world.receive(&text);
    world.pass(20_000);
    assert!(!world.those("SIP/2.0 487 ").is_empty());
    world.is_empty_at_the_end();
}

#[test]
fn keys_come_by_info_and_packages_that_are_not_known_are_refused() {
    let mut world = world();
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.happenings();
    let key = within("INFO", "a", &ok, 2, "", "Signal=5\r\nDuration=160\r\n")
        .replace("application/sdp", "application/dtmf-relay");
    world.receive(&key);
    world.the("SIP/2.0 200 ");
    assert!(matches!(
        &world.happenings()[..],
        [Happening::Digit { digit: '5', .. }]
    ));
    // RFC 6086 section 4.2.2.
    world.receive(&within("INFO", "a", &ok, 3, "Info-Package: foo\r\n", ""));
    world.the("SIP/2.0 469 ");
    world.receive(&within("BYE", "a", &ok, 4, "", ""));
    world.is_empty_at_the_end();
}

/// Plays music, and plays it again when it has come to an end, as queues do.
fn plays_music(leg: LegId) -> Action {
    Action::Play {
        leg,
        play: PlayId(7),
        sounds: vec![Sound::Music("unreadable".into())],
        from_ms: 0,
        repeat: true,
        barge_in: false,
    }
}

#[test]
fn music_that_cannot_be_read_is_silence_and_keeps_nobody_busy() {
    let mut world = World::new(|happening, _| match happening {
        Happening::Incoming(incoming) => vec![
            Action::Answer { leg: incoming.leg },
            plays_music(incoming.leg),
        ],
        Happening::Played { leg, .. } => vec![plays_music(*leg)],
        _ => Vec::new(),
    });
    world.receive(&invite("a", "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    let plays = |command: &&voice::Command| matches!(command, voice::Command::Play { .. });
    assert_eq!(world.commands.iter().filter(plays).count(), 1);
    assert_eq!(world.happenings().len(), 1);
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.is_empty_at_the_end();
}
