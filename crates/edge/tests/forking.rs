//! One request to several places (RFC 3261 sections 16.6 and 16.7, RFC 5393 section 5).

mod rig;

use rig::{ALICE, BOB, CAROL, DAVE, Rig, Sip, answer, request};

const TO_BOB: &str = "sip:bob@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-f1";

/// An edge where bob has a phone at each of these places, with these q.
fn rig(phones: &[(&str, u16)]) -> Rig {
    let mut rig = Rig::new();
    for (address, q) in phones {
        rig.bind("bob", &format!("sip:bob@{address}"), *q, None, "");
    }
    rig
}

/// Sends the INVITE and takes the 100.
fn invite(rig: &mut Rig, lines: &[&str]) {
    rig.feed(ALICE, &request("INVITE", TO_BOB, VIA, lines));
    assert_eq!(rig.to(ALICE).status(), 100);
}

/// Answers as the phone at `address`, takes the ACK of a refusal.
#[track_caller]
fn answers(rig: &mut Rig, address: &str, sent: &Sip, status: u16, lines: &[&str]) {
    rig.feed(address, &answer(sent, status, &address[8..10], lines));
    if status >= 300 {
        assert_eq!(rig.to(address).method(), "ACK");
    }
}

/// Takes the CANCEL that the phone got and answers it and its INVITE.
#[track_caller]
fn is_cancelled(rig: &mut Rig, address: &str, sent: &Sip) -> Sip {
    let cancel = rig.to(address);
    assert_eq!(
        (cancel.method(), cancel.branch()),
        ("CANCEL", sent.branch())
    );
    rig.feed(address, &answer(&cancel, 200, "x", &[]));
    answers(rig, address, sent, 487, &[]);
    cancel
}

#[test]
fn all_phones_of_the_same_q_ring_at_once() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    assert_ne!(bob.branch(), carol.branch());
    assert_eq!(
        (bob.the("Max-Breadth"), carol.the("Max-Breadth")),
        ("30", "30")
    );
    answers(&mut rig, BOB, &bob, 180, &[]);
    answers(&mut rig, CAROL, &carol, 180, &[]);
    assert_eq!((rig.to(ALICE).status(), rig.to(ALICE).status()), (180, 180));
    answers(&mut rig, CAROL, &carol, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    let cancel = is_cancelled(&mut rig, BOB, &bob);
    assert!(cancel.the("Reason").contains("cause=200"));
    rig.quiet();
    assert_eq!(rig.calls, ["Started", "Ringing", "Answered"]);
    hang_up(rig, &[CAROL]);
}

/// Ends the call by a BYE for each of the phones that answered.
fn hang_up(mut rig: Rig, phones: &[&str]) {
    for (at, phone) in phones.iter().enumerate() {
        assert_eq!(rig.edge.calls().len(), 1);
        let to = format!("To: <sip:bob@example.org>;tag={}", &phone[8..10]);
        let cseq = format!("CSeq: {} BYE", 2 + at);
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-bye{at}");
        rig.feed(
            ALICE,
            &request("BYE", "sip:bob@192.0.2.99:5060", &via, &[&to, &cseq]),
        );
        let bye = rig.to("192.0.2.99:5060");
        rig.feed("192.0.2.99:5060", &answer(&bye, 200, "x", &[]));
        assert_eq!(rig.to(ALICE).status(), 200);
    }
    assert_eq!(rig.calls.last().map(String::as_str), Some("Ended"));
    rig.forgets();
}

#[test]
fn every_2xx_goes_to_the_caller_and_each_is_a_dialog() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, BOB, &bob, 200, &[]);
    answers(&mut rig, CAROL, &carol, 200, &[]);
    // And one that is sent again.
    answers(&mut rig, CAROL, &carol, 200, &[]);
    let tags: Vec<_> = rig
        .take()
        .iter()
        .map(|sent| sent.the("To").to_owned())
        .collect();
    assert_eq!(tags.len(), 3);
    assert_ne!(tags[0], tags[1]);
    assert_eq!(rig.calls, ["Started", "Answered"]);
    hang_up(rig, &[CAROL, BOB]);
}

#[test]
fn a_lower_q_gets_its_turn_when_the_higher_failed() {
    let mut rig = rig(&[(CAROL, 500), (BOB, 900), (DAVE, 100)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    rig.quiet();
    answers(&mut rig, BOB, &bob, 486, &[]);
    let carol = rig.to(CAROL);
    assert_eq!(carol.uri(), "sip:bob@192.0.2.30:5060");
    rig.quiet();
    answers(&mut rig, CAROL, &carol, 480, &[]);
    let dave = rig.to(DAVE);
    answers(&mut rig, DAVE, &dave, 404, &[]);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.forgets();
}

#[test]
fn a_lower_q_gets_its_turn_when_the_higher_rings_too_long() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.take();
    rig.wait(9_900);
    rig.quiet();
    rig.wait(200);
    let carol = rig.to(CAROL);
    is_cancelled(&mut rig, BOB, &bob);
    rig.quiet();
    answers(&mut rig, CAROL, &carol, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    hang_up(rig, &[CAROL]);
}

#[test]
fn a_phone_that_never_answers_its_cancel_does_not_keep_the_caller_for_ever() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.take();
    rig.wait(10_100);
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 486, &[]);
    rig.take();
    rig.wait(32_000);
    assert!(
        rig.take()
            .iter()
            .any(|sent| sent.flow.remote.to_string() == ALICE && sent.status() == 486)
    );
    rig.forgets();
}

#[test]
fn each_group_rings_its_full_time() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500), (DAVE, 100)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    rig.wait(5_000);
    rig.take();
    answers(&mut rig, BOB, &bob, 486, &[]);
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 180, &[]);
    rig.take();
    // The time of Bob's group is over, Carol's is not.
    rig.wait(9_000);
    rig.quiet();
    rig.wait(1_100);
    let dave = rig.to(DAVE);
    is_cancelled(&mut rig, CAROL, &carol);
    answers(&mut rig, DAVE, &dave, 486, &[]);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.forgets();
}

#[test]
fn a_2xx_from_a_group_that_was_given_up_counts() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.wait(10_100);
    rig.take();
    answers(&mut rig, BOB, &bob, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.wait(40_000);
    rig.take();
    hang_up(rig, &[BOB]);
}

#[test]
fn a_place_that_cannot_be_reached_counts_as_failed_at_once() {
    // Alone in its group, first and last among several, and all of them.
    let cases: [&[(&str, u16)]; 5] = [
        &[("[2001:db8::1]", 900), (BOB, 500)],
        &[("[2001:db8::1]", 900), (BOB, 900)],
        &[(BOB, 900), ("[2001:db8::1]", 900)],
        &[
            ("[2001:db8::1]", 900),
            ("[2001:db8::2]", 800),
            ("[2001:db8::3]", 700),
            (BOB, 600),
        ],
        &[("[2001:db8::1]", 900), ("[2001:db8::2]", 900), (BOB, 500)],
    ];
    for phones in cases {
        let mut rig = rig(phones);
        invite(&mut rig, &[]);
        let bob = rig.to(BOB);
        rig.quiet();
        answers(&mut rig, BOB, &bob, 486, &[]);
        assert_eq!(rig.to(ALICE).status(), 486);
        rig.forgets();
    }
    let mut rig = rig(&[
        ("[2001:db8::1]", 900),
        ("[2001:db8::2]", 800),
        ("[2001:db8::3]", 700),
    ]);
    invite(&mut rig, &[]);
    assert_eq!(rig.to(ALICE).status(), 502);
    rig.forgets();
}

#[test]
fn a_place_that_cannot_be_reached_after_one_that_refused_is_passed_over() {
    let mut rig = rig(&[
        (BOB, 900),
        ("[2001:db8::1]", 800),
        ("[2001:db8::2]", 700),
        (CAROL, 600),
    ]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 404, &[]);
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 404, &[]);
    assert_eq!(rig.to(ALICE).status(), 404);
    rig.forgets();
}

#[test]
fn the_best_response_is_chosen() {
    let cases = [
        (486, 404, 486),
        (408, 486, 486),
        (503, 486, 486),
        (486, 302, 302),
        (486, 407, 407),
        (404, 484, 484),
        (503, 503, 500),
        (500, 503, 500),
        (487, 480, 480),
    ];
    for (one, two, best) in cases {
        let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
        invite(&mut rig, &[]);
        let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
        answers(&mut rig, BOB, &bob, one, &[]);
        rig.quiet();
        answers(&mut rig, CAROL, &carol, two, &[]);
        assert_eq!(rig.to(ALICE).status(), best, "{one} {two}");
        rig.quiet();
        rig.forgets();
    }
}

#[test]
fn a_6xx_cancels_the_others_and_asks_nobody_else() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 900), (DAVE, 500)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.take();
    answers(&mut rig, CAROL, &carol, 603, &[]);
    is_cancelled(&mut rig, BOB, &bob);
    assert_eq!(rig.to(ALICE).status(), 603);
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_6xx_while_another_place_is_resolved_is_the_answer() {
    for method in ["INVITE", "MESSAGE"] {
        let mut rig = rig(&[(BOB, 900), ("phone.example", 900)]);
        rig.feed(ALICE, &request(method, TO_BOB, VIA, &[]));
        let bob = rig.to(BOB);
        rig.take();
        rig.feed(BOB, &answer(&bob, 603, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), 603);
        rig.resolve("phone.example", &[CAROL]);
        assert!(
            rig.take()
                .iter()
                .all(|sent| sent.flow.remote.to_string() == BOB)
        );
        rig.forgets();
    }
}

#[test]
fn a_2xx_after_a_6xx_is_forwarded() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 900)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, CAROL, &carol, 603, &[]);
    rig.quiet();
    answers(&mut rig, BOB, &bob, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    hang_up(rig, &[BOB]);
}

#[test]
fn the_challenges_of_all_branches_go_to_the_caller() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000), (DAVE, 1_000)]);
    invite(&mut rig, &[]);
    let (bob, carol, dave) = (rig.to(BOB), rig.to(CAROL), rig.to(DAVE));
    answers(
        &mut rig,
        BOB,
        &bob,
        401,
        &["WWW-Authenticate: Digest realm=\"b\""],
    );
    answers(
        &mut rig,
        CAROL,
        &carol,
        401,
        &["WWW-Authenticate: Digest realm=\"c\""],
    );
    answers(
        &mut rig,
        DAVE,
        &dave,
        407,
        &["Proxy-Authenticate: Digest realm=\"d\""],
    );
    let refusal = rig.to(ALICE);
    assert_eq!(refusal.status(), 401);
    let realms = ["Digest realm=\"b\"", "Digest realm=\"c\""];
    assert_eq!(refusal.headers("WWW-Authenticate"), realms);
    assert_eq!(
        refusal.headers("Proxy-Authenticate"),
        ["Digest realm=\"d\""]
    );
    rig.forgets();
}

#[test]
fn challenges_are_not_put_into_another_answer() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, BOB, &bob, 603, &[]);
    answers(
        &mut rig,
        CAROL,
        &carol,
        401,
        &["WWW-Authenticate: Digest realm=\"c\""],
    );
    let refusal = rig.to(ALICE);
    assert_eq!(
        (refusal.status(), refusal.header("WWW-Authenticate")),
        (603, None)
    );
    rig.forgets();
}

#[test]
fn max_breadth_zero_is_refused_with_440() {
    let mut rig = rig(&[(BOB, 1_000)]);
    invite(&mut rig, &["Max-Breadth: 0"]);
    assert_eq!(rig.to(ALICE).status(), 440);
    rig.quiet();
    rig.forgets();
}

#[test]
fn max_breadth_one_rings_one_phone_after_another() {
    // Whether their q says so or not.
    for q in [1_000, 900] {
        let mut rig = rig(&[(BOB, 1_000), (CAROL, q)]);
        invite(&mut rig, &["Max-Breadth: 1"]);
        let bob = rig.to(BOB);
        rig.quiet();
        assert_eq!(bob.the("Max-Breadth"), "1");
        answers(&mut rig, BOB, &bob, 486, &[]);
        let carol = rig.to(CAROL);
        assert_eq!(carol.the("Max-Breadth"), "1");
        answers(&mut rig, CAROL, &carol, 486, &[]);
        assert_eq!(rig.to(ALICE).status(), 486);
        rig.forgets();
    }
}

#[test]
fn max_breadth_is_shared() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000), (DAVE, 1_000)]);
    invite(&mut rig, &["Max-Breadth: 8"]);
    for phone in [BOB, CAROL, DAVE] {
        assert_eq!(rig.to(phone).headers("Max-Breadth"), ["2"]);
    }
    rig.forgets();
}

#[test]
fn a_cancel_reaches_every_phone_that_rings() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 900), (DAVE, 500)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, BOB, &bob, 180, &[]);
    answers(&mut rig, CAROL, &carol, 486, &[]);
    rig.take();
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    is_cancelled(&mut rig, BOB, &bob);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.quiet();
    assert_eq!(
        rig.calls.last().map(String::as_str),
        Some("Failed { status: 486 }")
    );
    rig.forgets();
}

#[test]
fn a_lost_flow_gives_the_next_phone_its_turn() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.take();
    rig.break_flow(BOB);
    assert_eq!(rig.to(BOB).method(), "CANCEL");
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.wait(40_000);
    rig.take();
    hang_up(rig, &[CAROL]);
}

#[test]
fn a_forked_message_has_one_answer() {
    let mut rig = rig(&[
        (BOB, 1_000),
        (CAROL, 1_000),
        (DAVE, 1_000),
        ("phone.example", 1_000),
    ]);
    rig.feed(ALICE, &request("MESSAGE", TO_BOB, VIA, &[]));
    let (bob, carol, dave) = (rig.to(BOB), rig.to(CAROL), rig.to(DAVE));
    rig.feed(BOB, &answer(&bob, 404, "b", &[]));
    rig.quiet();
    rig.feed(CAROL, &answer(&carol, 200, "c", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.feed(DAVE, &answer(&dave, 200, "d", &[]));
    rig.resolve("phone.example", &["192.0.2.50:5060"]);
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_forked_message_that_one_refuses_and_one_ignores_is_refused() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    rig.feed(ALICE, &request("MESSAGE", TO_BOB, VIA, &[]));
    let bob = rig.to(BOB);
    rig.feed(BOB, &answer(&bob, 404, "b", &[]));
    rig.wait(33_000);
    assert!(
        rig.take()
            .iter()
            .any(|sent| sent.flow.remote.to_string() == ALICE && sent.status() == 404)
    );
    rig.forgets();
}

#[test]
fn timer_c_gives_the_next_phone_its_turn() {
    let mut settings = rig::settings();
    settings.proxy.serial_ring_ms = 600_000;
    let mut rig = Rig::with(settings);
    rig.bind("bob", "sip:bob@192.0.2.20:5060", 900, None, "");
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 500, None, "");
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.wait(185_100);
    rig.to(ALICE);
    is_cancelled(&mut rig, BOB, &bob);
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 486, &[]);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.wait(300_000);
    rig.forgets();
}

#[test]
fn more_breadth_than_is_allowed_is_cut_down() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    invite(&mut rig, &["Max-Breadth: 60000"]);
    for phone in [BOB, CAROL] {
        assert_eq!(rig.to(phone).headers("Max-Breadth"), ["30"]);
    }
    rig.forgets();
}

#[test]
fn what_a_lost_phone_answers_to_its_cancel_is_not_the_callers_answer() {
    let mut rig = rig(&[(BOB, 1_000), (CAROL, 1_000)]);
    invite(&mut rig, &[]);
    let (bob, carol) = (rig.to(BOB), rig.to(CAROL));
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.to(ALICE);
    rig.break_flow(BOB);
    is_cancelled(&mut rig, BOB, &bob);
    rig.quiet();
    answers(&mut rig, CAROL, &carol, 503, &[]);
    assert_eq!(rig.to(ALICE).status(), 500);
    rig.forgets();
}

#[test]
fn a_phone_that_was_lost_and_answers_after_all_has_the_call() {
    let mut rig = rig(&[(BOB, 900), (CAROL, 500)]);
    invite(&mut rig, &[]);
    let bob = rig.to(BOB);
    answers(&mut rig, BOB, &bob, 180, &[]);
    rig.take();
    rig.break_flow(BOB);
    assert_eq!(rig.to(BOB).method(), "CANCEL");
    let carol = rig.to(CAROL);
    answers(&mut rig, CAROL, &carol, 180, &[]);
    rig.take();
    answers(&mut rig, BOB, &bob, 200, &[]);
    assert_eq!(rig.to(ALICE).status(), 200);
    is_cancelled(&mut rig, CAROL, &carol);
    rig.wait(40_000);
    rig.take();
    hang_up(rig, &[BOB]);
}
