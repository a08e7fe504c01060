//! Who may speak for a party of a call, and which message of theirs counts (RFC 3261, 3262, 3264, 3311).

mod rig;

use proxy::media::Policy;
use relay::Command;
use rig::{ALICE, BOB, CAROL, DAVE, EDGE, Rig, Sip, answer, relayed, request, sdp, with_sdp};

const TO_BOB: &str = "sip:bob@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-a1";
const AUDIO: &str = "audio 4000 RTP/AVP 0 8";
const VIDEO: &str = "video 4200 RTP/AVP 96";

fn rig() -> Rig {
    let mut rig = Rig::with_bob();
    rig.settings.proxy.media.policy = Policy::Always;
    rig
}

fn invite() -> String {
    let offer = sdp("10.0.0.10", &[AUDIO]);
    with_sdp(&request("INVITE", TO_BOB, VIA, &[]), &offer)
}

fn answered(sent: &Sip, status: u16, tag: &str, sound: &str) -> String {
    let answered = answer(sent, status, tag, &["Contact: <sip:bob@192.0.2.20:5060>"]);
    with_sdp(&answered, &sdp(sound, &["audio 6000 RTP/AVP 0"]))
}

/// A request within the call by the one who has the tag `from`, to the one who has the tag `to`. `of` has our
/// Record-Route; without it the request brings none of ours.
fn within(
    method: &str,
    cseq: u32,
    (at, uri): (&str, &str),
    (from, to): (&str, &str),
    of: Option<&Sip>,
) -> String {
    let user = |tag: &str| if tag == "a" { "alice" } else { "bob" };
    let mut lines = vec![
        format!("From: <sip:{}@example.org>;tag={from}", user(from)),
        format!("To: <sip:{}@example.org>;tag={to}", user(to)),
        format!("CSeq: {cseq} {method}"),
        format!("Contact: <sip:x@{at}>"),
    ];
    let routes = of.map(|of| of.headers("Record-Route")).unwrap_or_default();
    lines.extend(routes.iter().map(|route| format!("Route: {route}")));
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let via = format!("{at};branch=z9hG4bK-{from}{method}{cseq}");
    request(method, uri, &via, &lines)
}

fn by_alice(method: &str, cseq: u32, to: &str, of: &Sip) -> String {
    let place = (ALICE, "sip:bob@192.0.2.20:5060");
    within(method, cseq, place, ("a", to), Some(of))
}

fn by_bob(method: &str, cseq: u32, of: &Sip) -> String {
    let place = (BOB, "sip:alice@192.0.2.10:5060");
    within(method, cseq, place, ("b", "a"), Some(of))
}

/// Sets a call up; gives the INVITE as Bob got it.
#[track_caller]
fn established(rig: &mut Rig) -> Sip {
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    rig.feed(ALICE, &by_alice("ACK", 1, "b", &sent));
    assert_eq!(rig.to(BOB).method(), "ACK");
    sent
}

#[track_caller]
fn hangs_up(rig: &mut Rig, tag: &str, cseq: u32, of: &Sip) {
    rig.take();
    rig.feed(ALICE, &by_alice("BYE", cseq, tag, of));
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 200, tag, &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
}

/// What the relay was told last of a side of the stream 0.
fn told(rig: &Rig, of: u8) -> Option<(String, String)> {
    let remote = |command: &Command| match command {
        Command::Remote {
            side,
            stream: 0,
            remote,
            ..
        } if *side == of => Some(*remote),
        _ => None,
    };
    let last = rig.users.media.commands.iter().rev().find_map(remote)?;
    Some((last.rtp?.to_string(), last.signalling.to_string()))
}

fn is_told(rig: &Rig, of: u8, sound: &str, host: &str) -> bool {
    told(rig, of) == Some((sound.to_owned(), host.to_owned()))
}

#[test]
fn a_phone_that_lost_the_call_to_another_cannot_move_its_sound() {
    let mut rig = rig();
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 1_000, None, "");
    rig.feed(ALICE, &invite());
    rig.to(ALICE);
    let (at_bob, at_carol) = (rig.to(BOB), rig.to(CAROL));
    rig.feed(BOB, &answered(&at_bob, 200, "b", "10.0.0.20"));
    rig.feed(CAROL, &answer(&at_carol, 486, "c", &[]));
    rig.feed(ALICE, &by_alice("ACK", 1, "b", &at_bob));
    rig.take();
    let hers = sdp("192.0.2.30", &["audio 7000 RTP/AVP 0"]);
    let commands = rig.users.media.commands.len();
    // She has the cookie, the Call-ID and the caller's tag.
    for (tags, uri) in [
        (("c", "a"), "sip:alice@192.0.2.10:5060"),
        (("a", "c"), "sip:bob@192.0.2.20:5060"),
        (("a", "b"), "sip:bob@192.0.2.20:5060"),
    ] {
        let ack = within("ACK", 1, (CAROL, uri), tags, Some(&at_carol));
        rig.feed(CAROL, &with_sdp(&ack, &hers));
        rig.take();
    }
    for (cseq, method) in [(2, "UPDATE"), (3, "INVITE")] {
        let place = (CAROL, "sip:alice@192.0.2.10:5060");
        let forged = within(method, cseq, place, ("c", "a"), Some(&at_carol));
        rig.feed(CAROL, &with_sdp(&forged, &hers));
        let at_alice = rig.to(ALICE);
        assert_eq!(at_alice.method(), method);
        rig.feed(ALICE, &answer(&at_alice, 481, "a", &[]));
    }
    assert_eq!(rig.users.media.commands.len(), commands);
    // Nor does her host count as one of the call's.
    let moved = sdp("10.0.0.11", &["audio 4100 RTP/AVP 0"]);
    rig.take();
    rig.feed(
        ALICE,
        &with_sdp(&by_alice("UPDATE", 9, "b", &at_bob), &moved),
    );
    let update = rig.to(BOB);
    rig.feed(BOB, &answered(&update, 200, "b", "10.0.0.20"));
    assert!(is_told(&rig, 0, "10.0.0.11:4100", "192.0.2.10"));
    assert!(is_told(&rig, 1, "10.0.0.20:6000", "192.0.2.20"));
    hangs_up(&mut rig, "b", 10, &at_bob);
    rig.forgets();
}

#[test]
fn who_knows_the_tags_and_has_no_cookie_gets_no_sound() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let commands = rig.users.media.commands.len();
    // A user of ours sends to himself, as if it were within the call.
    let forged = within(
        "UPDATE",
        2,
        (CAROL, "sip:x@192.0.2.40:5060"),
        ("b", "a"),
        None,
    );
    rig.feed(
        CAROL,
        &with_sdp(&forged, &sdp("192.0.2.30", &["audio 7000 RTP/AVP 0"])),
    );
    let at_dave = rig.to(DAVE);
    let agreed = answer(&at_dave, 200, "a", &[]);
    rig.feed(
        DAVE,
        &with_sdp(&agreed, &sdp("192.0.2.40", &["audio 7000 RTP/AVP 0"])),
    );
    rig.to(CAROL);
    assert_eq!(rig.users.media.commands.len(), commands);
    hangs_up(&mut rig, "b", 2, &sent);
    rig.forgets();
}

#[test]
fn a_callee_who_moved_to_another_network_keeps_his_sound() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let place = (CAROL, "sip:alice@192.0.2.10:5060");
    let moved = within("INVITE", 1, place, ("b", "a"), Some(&sent));
    rig.feed(
        CAROL,
        &with_sdp(&moved, &sdp("10.9.0.9", &["audio 6100 RTP/AVP 0"])),
    );
    assert_eq!(rig.to(CAROL).status(), 100);
    let at_alice = rig.to(ALICE);
    assert_eq!(relayed(&at_alice).len(), 1);
    assert!(is_told(&rig, 1, "10.0.0.20:6000", "192.0.2.20"));
    let agreed = answer(
        &at_alice,
        200,
        "a",
        &["Contact: <sip:alice@192.0.2.10:5060>"],
    );
    rig.feed(ALICE, &with_sdp(&agreed, &sdp("10.0.0.10", &[AUDIO])));
    assert_eq!(rig.to(CAROL).status(), 200);
    assert!(is_told(&rig, 1, "10.9.0.9:6100", "192.0.2.30"));
}

#[test]
fn a_bye_of_no_dialog_of_the_call_ends_nothing() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let place = (CAROL, "sip:alice@192.0.2.10:5060");
    for (status, cseq) in [(481, 2), (200, 3)] {
        rig.feed(CAROL, &within("BYE", cseq, place, ("c", "a"), Some(&sent)));
        let bye = rig.to(ALICE);
        rig.feed(ALICE, &answer(&bye, status, "a", &[]));
        assert_eq!(rig.to(CAROL).status(), status);
        assert_eq!(rig.users.media.in_use(), 2);
        assert_eq!(rig.edge.calls().len(), 1);
    }
    hangs_up(&mut rig, "b", 2, &sent);
    assert_eq!(rig.users.media.in_use(), 0);
    rig.forgets();
}

#[test]
fn a_bye_that_is_refused_while_it_rings_silences_nothing() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answered(&sent, 183, "b", "10.0.0.20"));
    rig.take();
    rig.feed(ALICE, &by_alice("BYE", 2, "b", &sent));
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 481, "b", &[]));
    rig.take();
    assert_eq!(rig.users.media.in_use(), 2);
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 1);
    hangs_up(&mut rig, "b", 3, &sent);
    rig.forgets();
}

#[test]
fn of_two_answers_beyond_one_branch_the_first_has_the_sound_until_its_end() {
    for ends in [["b", "c"], ["c", "b"]] {
        let mut rig = rig();
        let sent = rig.invite(&invite());
        rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
        rig.feed(BOB, &answered(&sent, 200, "c", "10.0.0.30"));
        let ports = [relayed(&rig.to(ALICE)), relayed(&rig.to(ALICE))];
        assert_eq!(ports[0], ports[1]);
        assert!(is_told(&rig, 1, "10.0.0.20:6000", "192.0.2.20"));
        hangs_up(&mut rig, ends[0], 2, &sent);
        // What was lost on its way comes once more.
        rig.feed(BOB, &answered(&sent, 200, ends[0], "10.0.0.20"));
        assert_eq!((rig.users.media.in_use(), rig.edge.calls().len()), (2, 1));
        hangs_up(&mut rig, ends[1], 3, &sent);
        assert_eq!(rig.users.media.in_use(), 0);
        rig.forgets();
    }
}

#[test]
fn what_one_phone_beyond_a_branch_refused_another_may_accept() {
    let mut rig = rig();
    let offer = sdp("10.0.0.10", &[AUDIO, VIDEO]);
    let sent = rig.invite(&with_sdp(&request("INVITE", TO_BOB, VIA, &[]), &offer));
    let ringing = answer(&sent, 183, "x", &[]);
    let refused = sdp("10.0.0.30", &["audio 6000 RTP/AVP 0", "video 0 RTP/AVP 96"]);
    rig.feed(BOB, &with_sdp(&ringing, &refused));
    let accepted = sdp(
        "10.0.0.20",
        &["audio 6000 RTP/AVP 0", "video 6200 RTP/AVP 96"],
    );
    let ok = answer(&sent, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]);
    rig.feed(BOB, &with_sdp(&ok, &accepted));
    rig.to(ALICE);
    assert!(relayed(&rig.to(ALICE))[1] > 0);
    assert_eq!(rig.users.media.in_use(), 4);
    hangs_up(&mut rig, "b", 2, &sent);
    rig.forgets();
}

#[test]
fn a_call_that_is_over_does_not_begin_anew_when_somebody_still_negotiates() {
    let mut before = rig();
    let sent = established(&mut before);
    for with_description in [true, false] {
        let mut rig = rig();
        let again = by_bob("INVITE", 5, &sent);
        let again = match with_description {
            true => with_sdp(&again, &sdp("10.0.0.20", &[AUDIO])),
            false => again,
        };
        rig.feed(BOB, &again);
        rig.to(BOB);
        let at_alice = rig.to(ALICE);
        rig.feed(ALICE, &answer(&at_alice, 481, "a", &[]));
        assert_eq!(rig.to(BOB).status(), 481);
        assert_eq!((rig.users.media.in_use(), rig.edge.calls().len()), (0, 0));
        rig.take();
        rig.forgets();
    }
}

#[test]
fn a_second_offer_before_the_answer_to_the_first_is_refused() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let first = sdp("10.0.0.11", &["audio 4100 RTP/AVP 0", VIDEO]);
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, "b", &sent), &first));
    rig.to(ALICE);
    let at_bob = rig.to(BOB);
    let second = sdp("10.0.0.12", &["audio 4200 RTP/AVP 0"]);
    rig.feed(
        ALICE,
        &with_sdp(&by_alice("UPDATE", 3, "b", &sent), &second),
    );
    assert_eq!(rig.to(ALICE).status(), 491);
    rig.quiet();
    let agreed = answer(&at_bob, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]);
    let lines = ["audio 6000 RTP/AVP 0", "video 6200 RTP/AVP 96"];
    rig.feed(BOB, &with_sdp(&agreed, &sdp("10.0.0.20", &lines)));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 2);
    assert!(is_told(&rig, 0, "10.0.0.11:4100", "192.0.2.10"));
    assert_eq!(rig.users.media.in_use(), 4);
    hangs_up(&mut rig, "b", 4, &sent);
    rig.forgets();
}

#[test]
fn offers_that_cross_leave_all_as_it_was() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let (hers, his) = (sdp("10.0.0.11", &[AUDIO]), sdp("10.0.0.21", &[AUDIO]));
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, "b", &sent), &hers));
    rig.feed(BOB, &with_sdp(&by_bob("INVITE", 1, &sent), &his));
    rig.sent.retain(|sent| !sent.first().contains("100"));
    let (at_bob, at_alice) = (rig.to(BOB), rig.to(ALICE));
    rig.feed(BOB, &answer(&at_bob, 491, "b", &[]));
    rig.feed(ALICE, &answer(&at_alice, 491, "a", &[]));
    rig.take();
    assert!(is_told(&rig, 0, "10.0.0.10:4000", "192.0.2.10"));
    assert!(is_told(&rig, 1, "10.0.0.20:6000", "192.0.2.20"));
    hangs_up(&mut rig, "b", 3, &sent);
    rig.forgets();
}

#[test]
fn an_update_outlives_the_reinvite_that_was_answered_before_it() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let first = sdp("10.0.0.11", &["audio 4100 RTP/AVP 0"]);
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, "b", &sent), &first));
    rig.to(ALICE);
    let reinvite = rig.to(BOB);
    rig.feed(BOB, &answered(&reinvite, 183, "b", "10.0.0.20"));
    rig.to(ALICE);
    let second = sdp("10.0.0.12", &["audio 4200 RTP/AVP 0"]);
    rig.feed(
        ALICE,
        &with_sdp(&by_alice("UPDATE", 3, "b", &sent), &second),
    );
    let update = rig.to(BOB);
    let lines = ["Contact: <sip:bob@192.0.2.20:5060>"];
    rig.feed(BOB, &answer(&reinvite, 200, "b", &lines));
    rig.feed(BOB, &answered(&update, 200, "b", "10.0.0.20"));
    assert!(is_told(&rig, 0, "10.0.0.12:4200", "192.0.2.10"));
    hangs_up(&mut rig, "b", 4, &sent);
    rig.forgets();
}

#[test]
fn an_offer_that_was_never_answered_makes_no_answer_of_the_next_offer() {
    let mut rig = rig();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    rig.to(ALICE);
    // Its answer is missing.
    rig.feed(ALICE, &by_alice("ACK", 1, "b", &sent));
    rig.to(BOB);
    let offer = sdp("10.0.0.10", &[AUDIO, VIDEO]);
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, "b", &sent), &offer));
    rig.to(ALICE);
    let at_bob = rig.to(BOB);
    assert_eq!(relayed(&at_bob).len(), 2);
    let ok = answer(&at_bob, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]);
    let lines = ["audio 6000 RTP/AVP 0", "video 6200 RTP/AVP 96"];
    rig.feed(BOB, &with_sdp(&ok, &sdp("10.0.0.20", &lines)));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 2);
    assert_eq!(rig.users.media.in_use(), 4);
    assert!(is_told(&rig, 0, "10.0.0.10:4000", "192.0.2.10"));
    // And the callee may offer in his turn.
    rig.feed(
        BOB,
        &with_sdp(&by_bob("UPDATE", 1, &sent), &sdp("10.0.0.20", &lines)),
    );
    assert_eq!(rig.to(ALICE).method(), "UPDATE");
    hangs_up(&mut rig, "b", 3, &sent);
    rig.wait(40_000);
    rig.take();
    rig.forgets();
}

#[test]
fn more_lines_than_a_call_may_have_open_nothing() {
    let mut rig = rig();
    let many = |port: u16| -> Vec<String> {
        let line = |at: u16| format!("audio {} RTP/AVP 0", port + 2 * at);
        (0..9).map(line).collect()
    };
    let lines = |many: &[String]| {
        many.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\r\nm=")
    };
    let offer = sdp("10.0.0.10", &[&lines(&many(4000))]);
    rig.feed(
        ALICE,
        &with_sdp(&request("INVITE", TO_BOB, VIA, &[]), &offer),
    );
    assert_eq!(rig.to(ALICE).status(), 100);
    assert_eq!(rig.to(ALICE).status(), 488);
    rig.quiet();
    assert_eq!(rig.users.media.in_use(), 0);
    let via = "192.0.2.10:5060;branch=z9hG4bK-a2";
    let late = request("INVITE", TO_BOB, via, &["Call-ID: call-2"]);
    let sent = rig.invite(&late);
    let ok = answer(&sent, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]);
    rig.feed(BOB, &with_sdp(&ok, &offer));
    assert_eq!(rig.to(ALICE).body(), "");
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn lines_that_come_and_go_for_ever_take_no_more_ports() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let mut lines = vec![AUDIO.to_owned()];
    for round in 0..40u32 {
        // The newest line lives, of a new kind now and then, and those before it are refused.
        for line in &mut lines[1..] {
            *line = "video 0 RTP/AVP 96".to_owned();
        }
        match round {
            0..8 => lines.push(VIDEO.to_owned()),
            _ => {
                lines[1 + round as usize % 8] =
                    ["image 4300 udptl t38", VIDEO][round as usize % 2].to_owned()
            }
        }
        let all: Vec<_> = lines.iter().map(String::as_str).collect();
        let cseq = 2 + round;
        rig.feed(
            ALICE,
            &with_sdp(
                &by_alice("UPDATE", cseq, "b", &sent),
                &sdp("10.0.0.10", &all),
            ),
        );
        let update = rig.to(BOB);
        rig.feed(
            BOB,
            &with_sdp(&answer(&update, 200, "b", &[]), &sdp("10.0.0.20", &all)),
        );
        assert_eq!(rig.to(ALICE).status(), 200);
        assert_eq!(rig.users.media.in_use(), 4);
    }
    hangs_up(&mut rig, "b", 90, &sent);
    rig.forgets();
}

#[test]
fn a_word_of_a_branch_that_is_over_says_nothing_of_the_next_one() {
    let mut rig = rig();
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 500, None, "");
    let at_bob = rig.invite(&with_sdp(
        &request("INVITE", TO_BOB, VIA, &["Supported: 100rel"]),
        &sdp("10.0.0.10", &[AUDIO]),
    ));
    rig.feed(BOB, &answered(&at_bob, 183, "b", "10.0.0.20"));
    rig.to(ALICE);
    rig.feed(ALICE, &by_alice("PRACK", 2, "b", &at_bob));
    let prack = rig.to(BOB);
    rig.feed(BOB, &answer(&at_bob, 480, "b", &[]));
    rig.to(BOB);
    let at_carol = rig.to(CAROL);
    rig.feed(BOB, &answered(&prack, 200, "b", "10.0.0.66"));
    assert_eq!(rig.to(ALICE).status(), 200);
    assert_eq!(rig.users.media.in_use(), 2);
    rig.feed(CAROL, &answered(&at_carol, 200, "c", "10.0.0.30"));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 1);
    assert!(is_told(&rig, 1, "10.0.0.30:6000", "192.0.2.30"));
    let is_bobs = |command: &&Command| matches!(command, Command::Remote { remote, .. } if remote.rtp.is_some_and(|rtp| rtp.to_string() == "10.0.0.66:6000"));
    assert_eq!(rig.users.media.commands.iter().filter(is_bobs).count(), 0);
    hangs_up(&mut rig, "c", 3, &at_bob);
    rig.forgets();
}

#[test]
fn a_2xx_that_comes_again_reads_the_same() {
    for is_late in [false, true] {
        let mut rig = rig();
        let asked = if is_late {
            request("INVITE", TO_BOB, VIA, &[])
        } else {
            invite()
        };
        let sent = rig.invite(&asked);
        let ok = answered(&sent, 200, "b", "10.0.0.20");
        rig.feed(BOB, &ok);
        let first = rig.to(ALICE);
        rig.feed(BOB, &ok);
        assert_eq!(rig.to(ALICE).text, first.text);
        let ack = by_alice("ACK", 1, "b", &sent);
        let ack = if is_late {
            with_sdp(&ack, &sdp("10.0.0.10", &[AUDIO]))
        } else {
            ack
        };
        rig.feed(ALICE, &ack);
        let acknowledged = rig.to(BOB);
        rig.feed(BOB, &ok);
        assert_eq!(rig.to(ALICE).text, first.text);
        rig.feed(ALICE, &ack);
        assert_eq!(rig.to(BOB).text, acknowledged.text);
        assert_eq!(rig.users.media.in_use(), 2);
        hangs_up(&mut rig, "b", 2, &sent);
        rig.forgets();
    }
}

#[test]
fn times_that_ports_lacked_are_counted_once() {
    let mut rig = rig();
    rig.users.media = rig::Media::new(1);
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    assert_eq!(rig.to(ALICE).body(), "");
    assert_eq!(rig.edge.counters().ports_lacking, 1);
    assert_eq!(sent.flow.local.to_string(), EDGE);
}

#[test]
fn a_prack_that_repeats_the_offer_is_no_new_one() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    rig.feed(
        BOB,
        &answer(&sent, 180, "b", &["Require: 100rel", "RSeq: 1"]),
    );
    rig.to(ALICE);
    let prack = by_alice("PRACK", 2, "b", &sent);
    rig.feed(ALICE, &with_sdp(&prack, &sdp("10.0.0.10", &[AUDIO])));
    let prack = rig.to(BOB);
    assert_eq!(relayed(&prack), relayed(&sent));
    rig.feed(BOB, &answer(&prack, 200, "b", &[]));
    rig.to(ALICE);
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 1);
    assert!(is_told(&rig, 0, "10.0.0.10:4000", "192.0.2.10"));
    assert!(is_told(&rig, 1, "10.0.0.20:6000", "192.0.2.20"));
    hangs_up(&mut rig, "b", 3, &sent);
    rig.forgets();
}

#[test]
fn a_refused_answer_in_an_ack_opens_nothing() {
    let mut rig = rig();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answered(&sent, 200, "b", "10.0.0.20"));
    rig.to(ALICE);
    // It has a line more than the offer.
    let lie = sdp("10.0.0.10", &[AUDIO, VIDEO]);
    rig.feed(ALICE, &with_sdp(&by_alice("ACK", 1, "b", &sent), &lie));
    assert_eq!(rig.to(BOB).body(), "");
    assert_eq!(told(&rig, 0), None);
    assert_eq!(rig.edge.counters().descriptions_refused, 1);
    // The same ACK may still bring what fits.
    let fits = sdp("10.0.0.10", &[AUDIO]);
    rig.feed(ALICE, &with_sdp(&by_alice("ACK", 1, "b", &sent), &fits));
    assert_eq!(relayed(&rig.to(BOB)).len(), 1);
    assert!(is_told(&rig, 0, "10.0.0.10:4000", "192.0.2.10"));
    hangs_up(&mut rig, "b", 2, &sent);
    rig.forgets();
}

#[test]
fn what_neither_offers_nor_answers_passes_as_it_is() {
    let mut rig = rig();
    let sent = established(&mut rig);
    let commands = rig.users.media.commands.len();
    let described = sdp("10.0.0.10", &[AUDIO]);
    for (cseq, method) in [(2, "INFO"), (3, "OPTIONS"), (4, "MESSAGE")] {
        rig.feed(
            ALICE,
            &with_sdp(&by_alice(method, cseq, "b", &sent), &described),
        );
        let asked = rig.to(BOB);
        assert_eq!(asked.body(), described);
        rig.feed(BOB, &with_sdp(&answer(&asked, 200, "b", &[]), &described));
        assert_eq!(rig.to(ALICE).body(), described);
    }
    assert_eq!(rig.users.media.commands.len(), commands);
    hangs_up(&mut rig, "b", 5, &sent);
    rig.forgets();
}

#[test]
fn a_request_that_was_forked_before_us_has_its_media_for_each_branch() {
    for first_ends in ["486", "bye"] {
        let mut rig = rig();
        rig.bind("carol", "sip:carol@192.0.2.30:5060", 1_000, None, "");
        let at_bob = rig.invite(&invite());
        let via = "192.0.2.10:5060;branch=z9hG4bK-a2";
        // A Via that looks like one of ours makes no spiral of it.
        let ours = format!("Via: SIP/2.0/UDP {EDGE};branch=z9hG4bK{:032x}", 7);
        let other = request("INVITE", "sip:carol@example.org", via, &[&ours]);
        rig.feed(ALICE, &with_sdp(&other, &sdp("10.0.0.10", &[AUDIO])));
        assert_eq!(rig.to(ALICE).status(), 100);
        let at_carol = rig.to(CAROL);
        assert_ne!(relayed(&at_bob), relayed(&at_carol));
        assert_eq!((rig.users.media.in_use(), rig.edge.calls().len()), (4, 2));
        rig.feed(CAROL, &answered(&at_carol, 200, "c", "10.0.0.30"));
        assert_eq!(relayed(&rig.to(ALICE)).len(), 1);
        if first_ends == "486" {
            rig.feed(BOB, &answer(&at_bob, 486, "b", &[]));
        } else {
            rig.feed(BOB, &answered(&at_bob, 200, "b", "10.0.0.20"));
            hangs_up(&mut rig, "b", 2, &at_bob);
        }
        rig.take();
        assert_eq!((rig.users.media.in_use(), rig.edge.calls().len()), (2, 1));
        let moved = sdp("10.0.0.11", &["audio 4100 RTP/AVP 0"]);
        let update = by_alice("UPDATE", 3, "c", &at_carol);
        rig.feed(ALICE, &with_sdp(&update, &moved));
        let update = rig.to(BOB);
        rig.feed(BOB, &answered(&update, 200, "c", "10.0.0.30"));
        assert!(is_told(&rig, 0, "10.0.0.11:4100", "192.0.2.10"));
        hangs_up(&mut rig, "c", 4, &at_carol);
        rig.forgets();
    }
}

#[test]
fn no_more_calls_with_one_call_id_are_taken_than_can_be_told_apart() {
    let mut rig = rig();
    for number in 0..17 {
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-n{number}");
        let again = request("INVITE", TO_BOB, &via, &[]);
        rig.feed(ALICE, &with_sdp(&again, &sdp("10.0.0.10", &[AUDIO])));
    }
    let refused = rig.take();
    assert_eq!(refused.last().map(Sip::status), Some(503));
    assert_eq!((rig.users.media.in_use(), rig.edge.calls().len()), (32, 16));
    rig.wait(40_000);
    rig.take();
    rig.forgets();
}
