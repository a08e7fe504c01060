//! A call from INVITE to BYE, and each way it may end (RFC 3261 sections 13, 15 and 16).

mod rig;

use proxy::Stage;
use rig::{ALICE, BOB, CAROL, Rig, Sip, answer, request};

const TO_BOB: &str = "sip:bob@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-a1";

fn invite() -> String {
    request("INVITE", TO_BOB, VIA, &[])
}

/// A request of the caller within the dialog that `ok` began.
fn in_dialog(method: &str, cseq: u32, branch: &str, ok: &Sip) -> String {
    let routes: Vec<_> = ok
        .headers("Record-Route")
        .iter()
        .rev()
        .map(|route| format!("Route: {route}"))
        .collect();
    let cseq = format!("CSeq: {cseq} {method}");
    let to = format!("To: {}", ok.the("To"));
    let mut lines = vec![cseq.as_str(), to.as_str()];
    lines.extend(routes.iter().map(String::as_str));
    let via = format!("192.0.2.10:5060;branch=z9hG4bK-{branch}");
    request(method, "sip:bob@192.0.2.20:5060", &via, &lines)
}

/// A request of the callee within the dialog that `invite`, as he got it, began.
fn backwards(method: &str, branch: &str, invite: &Sip) -> String {
    let routes: Vec<_> = invite
        .headers("Record-Route")
        .iter()
        .map(|route| format!("Route: {route}"))
        .collect();
    let mut lines = vec![
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
        "Contact: <sip:bob@192.0.2.20:5060>",
    ];
    lines.extend(routes.iter().map(String::as_str));
    let via = format!("192.0.2.20:5060;branch=z9hG4bK-{branch}");
    request(method, "sip:alice@192.0.2.10:5060", &via, &lines)
}

/// Sets a call up; gives the INVITE as Bob got it and the 200 as Alice got it.
#[track_caller]
fn established(rig: &mut Rig) -> (Sip, Sip) {
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    rig.feed(ALICE, &in_dialog("ACK", 1, "ack", &ok));
    assert_eq!(rig.to(BOB).method(), "ACK");
    (sent, ok)
}

#[test]
fn a_call_goes_from_invite_to_bye() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    assert_eq!(sent.uri(), "sip:bob@192.0.2.20:5060");
    assert_eq!(sent.headers("Via").len(), 2);
    assert_eq!(sent.the("Max-Forwards"), "69");
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 180);
    rig.feed(
        BOB,
        &answer(&sent, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]),
    );
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    assert_eq!(ok.headers("Via").len(), 1);
    rig.feed(ALICE, &in_dialog("ACK", 1, "ack", &ok));
    let ack = rig.to(BOB);
    assert_eq!((ack.method(), ack.headers("Route").len()), ("ACK", 0));
    rig.feed(ALICE, &in_dialog("BYE", 2, "bye", &ok));
    let bye = rig.to(BOB);
    assert_eq!(bye.method(), "BYE");
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.quiet();
    assert_eq!(rig.calls, ["Started", "Ringing", "Answered", "Ended"]);
    rig.forgets();
}

#[test]
fn the_callee_hangs_up() {
    let mut rig = Rig::with_bob();
    let (sent, _) = established(&mut rig);
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    let bye = rig.to(ALICE);
    assert_eq!(
        (bye.method(), bye.uri()),
        ("BYE", "sip:alice@192.0.2.10:5060")
    );
    rig.feed(ALICE, &answer(&bye, 200, "a", &[]));
    assert_eq!(rig.to(BOB).status(), 200);
    assert_eq!(rig.calls, ["Started", "Answered", "Ended"]);
    rig.forgets();
}

#[test]
fn the_table_says_how_far_a_call_is() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    let stage = |rig: &Rig| rig.edge.calls().iter().map(|call| call.stage).next();
    assert_eq!(stage(&rig), Some(Stage::Calling));
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    assert_eq!(stage(&rig), Some(Stage::Ringing));
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    assert_eq!(stage(&rig), Some(Stage::Answered));
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    rig.take();
    rig.wait(40_000);
    assert_eq!(stage(&rig), None);
    rig.forgets();
}

#[test]
fn a_refusal_ends_the_call_and_is_acknowledged_on_each_hop() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 486, "b", &["X-Kept: yes"]));
    let ack = rig.to(BOB);
    assert_eq!((ack.method(), ack.branch()), ("ACK", sent.branch()));
    let refusal = rig.to(ALICE);
    assert_eq!((refusal.status(), refusal.the("X-Kept")), (486, "yes"));
    let ack = request("ACK", TO_BOB, VIA, &[&format!("To: {}", refusal.the("To"))]);
    rig.feed(ALICE, &ack);
    rig.quiet();
    assert_eq!(rig.calls, ["Started", "Failed { status: 486 }"]);
    rig.forgets();
}

#[test]
fn a_refusal_is_sent_again_until_it_is_acknowledged() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    rig.take();
    rig.wait(520);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.forgets();
}

#[test]
fn a_retransmitted_invite_is_absorbed() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(ALICE, &invite());
    assert_eq!(rig.to(ALICE).status(), 100);
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    rig.take();
    rig.feed(ALICE, &invite());
    assert_eq!(rig.to(ALICE).status(), 180);
    rig.quiet();
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    rig.forgets();
}

#[test]
fn a_retransmitted_2xx_goes_to_the_caller_each_time() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    for _ in 0..3 {
        rig.feed(BOB, &answer(&sent, 200, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), 200);
        rig.quiet();
        rig.wait(1_000);
    }
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    assert_eq!(rig.calls, ["Started", "Answered"]);
    rig.forgets();
}

#[test]
fn a_callee_that_is_not_there_is_answered_for_with_408() {
    let mut rig = Rig::with_bob();
    rig.invite(&invite());
    rig.wait(31_000);
    let again = rig.take();
    assert_eq!(again.len(), 5, "timer A: 0.5, 1.5, 3.5, 7.5, 15.5 s");
    assert!(again.iter().all(|sent| sent.method() == "INVITE"));
    rig.wait(2_000);
    let refusal = rig.to(ALICE);
    assert_eq!(refusal.status(), 408);
    assert_eq!(rig.edge.counters().timeouts, 1);
    assert_eq!(rig.calls, ["Started", "Failed { status: 408 }"]);
    rig.forgets();
}

#[test]
fn a_callee_that_rings_for_ever_is_cancelled_by_timer_c() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    rig.take();
    rig.wait(184_000);
    rig.quiet();
    rig.wait(1_100);
    let cancel = rig.to(BOB);
    assert_eq!(
        (cancel.method(), cancel.branch()),
        ("CANCEL", sent.branch())
    );
    rig.feed(BOB, &answer(&cancel, 200, "b", &[]));
    rig.feed(BOB, &answer(&sent, 487, "b", &[]));
    assert_eq!(rig.to(BOB).method(), "ACK");
    assert_eq!(rig.to(ALICE).status(), 487);
    rig.forgets();
}

#[test]
fn a_provisional_response_prolongs_timer_c() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    for _ in 0..3 {
        rig.feed(BOB, &answer(&sent, 180, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), 180);
        rig.wait(150_000);
        rig.quiet();
    }
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    rig.forgets();
}

#[test]
fn a_callee_silent_after_timer_c_is_given_up() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    rig.wait(186_000);
    rig.take();
    rig.wait(33_000);
    assert_eq!(rig.to(ALICE).status(), 408);
    assert_eq!(rig.calls.len(), 3);
    rig.forgets();
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(
        ALICE,
        &request("CANCEL", TO_BOB, VIA, &["Reason: SIP;cause=487"]),
    );
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.quiet();
    rig.feed(BOB, &answer(&sent, 100, "b", &[]));
    let cancel = rig.to(BOB);
    assert_eq!(
        (cancel.method(), cancel.branch()),
        ("CANCEL", sent.branch())
    );
    assert_eq!(cancel.the("Reason"), "SIP;cause=487");
    rig.feed(BOB, &answer(&cancel, 200, "b", &[]));
    rig.feed(BOB, &answer(&sent, 487, "b", &[]));
    assert_eq!(rig.to(BOB).method(), "ACK");
    assert_eq!(rig.to(ALICE).status(), 487);
    rig.quiet();
    assert_eq!(rig.calls, ["Started", "Failed { status: 487 }"]);
    rig.forgets();
}

#[test]
fn a_cancel_while_it_rings_goes_out_at_once_and_repeats_change_nothing() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    rig.take();
    let cancel = request("CANCEL", TO_BOB, VIA, &[]);
    rig.feed(ALICE, &cancel);
    assert_eq!(rig.to(BOB).method(), "CANCEL");
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.feed(ALICE, &cancel);
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.quiet();
    rig.feed(BOB, &answer(&sent, 487, "b", &[]));
    rig.forgets();
}

#[test]
fn a_cancelled_callee_that_never_answers_is_answered_for_with_487() {
    let mut rig = Rig::with_bob();
    rig.invite(&invite());
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &[]));
    rig.take();
    rig.wait(32_300);
    let statuses: Vec<_> = rig
        .take()
        .iter()
        .filter(|sent| sent.flow.remote.to_string() == ALICE)
        .map(Sip::status)
        .collect();
    assert_eq!(statuses, [487]);
    rig.forgets();
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_forwarded() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 180, "b", &[]));
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &[]));
    rig.take();
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    assert_eq!((ok.status(), ok.the("CSeq")), (200, "1 INVITE"));
    rig.feed(ALICE, &in_dialog("ACK", 1, "ack", &ok));
    assert_eq!(rig.to(BOB).method(), "ACK");
    rig.feed(ALICE, &in_dialog("BYE", 2, "bye", &ok));
    assert_eq!(rig.to(BOB).method(), "BYE");
    assert_eq!(rig.calls, ["Started", "Ringing", "Answered"]);
    rig.forgets();
}

#[test]
fn a_cancel_of_an_answered_call_changes_nothing() {
    let mut rig = Rig::with_bob();
    let (sent, _) = established(&mut rig);
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.quiet();
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    rig.forgets();
}

#[test]
fn a_cancel_of_nothing_gets_481() {
    let mut rig = Rig::with_bob();
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &[]));
    assert_eq!(rig.to(ALICE).status(), 481);
    rig.quiet();
    rig.forgets();
}

#[test]
fn an_ack_of_nothing_is_dropped() {
    let mut rig = Rig::with_bob();
    rig.feed(rig::STRANGER, &request("ACK", TO_BOB, VIA, &[]));
    rig.quiet();
    assert_eq!(rig.edge.counted().of("stray-ack"), 1);
    rig.forgets();
}

#[test]
fn the_ack_of_what_was_refused_without_a_transaction_goes_nowhere() {
    let mut rig = Rig::with_bob();
    let lines = ["Max-Forwards: 0"];
    rig.feed(ALICE, &request("INVITE", TO_BOB, VIA, &lines));
    let refusal = rig.to(ALICE);
    assert_eq!(refusal.status(), 483);
    let ack = request("ACK", TO_BOB, VIA, &[&format!("To: {}", refusal.the("To"))]);
    rig.feed(ALICE, &ack);
    rig.quiet();
    rig.forgets();
}

#[test]
fn the_same_ack_again_has_the_same_branch() {
    let mut rig = Rig::with_bob();
    let (sent, ok) = established(&mut rig);
    let ack = in_dialog("ACK", 1, "ack2", &ok);
    rig.feed(ALICE, &ack);
    let first = rig.to(BOB);
    rig.feed(ALICE, &ack);
    assert_eq!(rig.to(BOB).branch(), first.branch());
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    rig.forgets();
}

#[test]
fn a_reinvite_that_is_refused_does_not_end_the_call() {
    let mut rig = Rig::with_bob();
    let (sent, ok) = established(&mut rig);
    rig.feed(ALICE, &in_dialog("INVITE", 2, "re", &ok));
    assert_eq!(rig.to(ALICE).status(), 100);
    let reinvite = rig.to(BOB);
    assert_eq!(reinvite.headers("Record-Route").len(), 0);
    rig.feed(BOB, &answer(&reinvite, 488, "b", &[]));
    rig.take();
    assert_eq!(rig.edge.calls().len(), 1);
    rig.feed(BOB, &backwards("BYE", "b1", &sent));
    rig.take();
    assert_eq!(rig.calls, ["Started", "Answered"]);
    rig.forgets();
}

#[test]
fn a_bye_that_wants_credentials_does_not_end_the_call() {
    let mut rig = Rig::with_bob();
    let (_, ok) = established(&mut rig);
    rig.feed(ALICE, &in_dialog("BYE", 2, "bye", &ok));
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 401, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 401);
    assert_eq!(rig.edge.calls().len(), 1);
    rig.feed(ALICE, &in_dialog("BYE", 3, "bye2", &ok));
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    assert_eq!(rig.calls, ["Started", "Answered", "Ended"]);
    rig.forgets();
}

#[test]
fn a_bye_to_a_callee_that_lost_the_call_ends_it() {
    for status in [481, 500] {
        let mut rig = Rig::with_bob();
        let (_, ok) = established(&mut rig);
        rig.feed(ALICE, &in_dialog("BYE", 2, "bye", &ok));
        let bye = rig.to(BOB);
        rig.feed(BOB, &answer(&bye, status, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), status);
        assert_eq!(rig.calls, ["Started", "Answered", "Ended"]);
        rig.forgets();
    }
}

#[test]
fn a_bye_that_nobody_answers_ends_the_call_without_a_408() {
    let mut rig = Rig::with_bob();
    let (_, ok) = established(&mut rig);
    rig.feed(ALICE, &in_dialog("BYE", 2, "bye", &ok));
    rig.wait(40_000);
    assert!(
        rig.take()
            .iter()
            .all(|sent| sent.flow.remote.to_string() == BOB)
    );
    assert_eq!(rig.calls, ["Started", "Answered", "Ended"]);
    rig.forgets();
}

#[test]
fn a_call_without_a_bye_forgets_after_a_day() {
    let mut rig = Rig::with_bob();
    established(&mut rig);
    rig.wait(11 * 3_600_000);
    assert_eq!(rig.edge.calls().len(), 1);
    rig.wait(3 * 3_600_000);
    assert_eq!(rig.calls, ["Started", "Answered", "Ended"]);
    rig.forgets();
}

#[test]
fn a_call_that_comes_round_again_is_one_call() {
    let mut rig = Rig::with_bob();
    rig.bind(
        "carol",
        "sip:bob@example.org",
        1_000,
        Some(rig::udp(CAROL)),
        "",
    );
    rig.feed(ALICE, &request("INVITE", "sip:carol@example.org", VIA, &[]));
    rig.to(ALICE);
    // Carol's proxy sends it on to Bob.
    let spiral = rig.to(CAROL);
    assert_eq!(spiral.uri(), TO_BOB);
    let text = spiral.text.replacen(
        "\r\n",
        "\r\nVia: SIP/2.0/UDP 192.0.2.30:5060;branch=z9hG4bK-c;rport\r\n",
        1,
    );
    rig.feed(CAROL, &text);
    assert_eq!(rig.to(CAROL).status(), 100);
    let sent = rig.to(BOB);
    assert_eq!(sent.headers("Record-Route").len(), 2);
    assert_eq!(sent.headers("Via").len(), 4);
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    assert_eq!(rig.to(BOB).method(), "ACK");
    let refusal = rig.to(CAROL);
    assert_eq!(refusal.status(), 486);
    // Carol's proxy takes its Via off.
    let carols: Vec<_> = refusal
        .text
        .split("\r\n")
        .filter(|line| !line.contains("bK-c"))
        .collect();
    rig.feed(CAROL, &carols.join("\r\n"));
    assert_eq!(rig.to(CAROL).method(), "ACK");
    assert_eq!(rig.to(ALICE).status(), 486);
    assert_eq!(rig.calls, ["Started", "Failed { status: 486 }"]);
    rig.forgets();
}

#[test]
fn the_100_brings_the_timestamp_back() {
    let mut rig = Rig::with_bob();
    rig.feed(
        ALICE,
        &request("INVITE", TO_BOB, VIA, &["Timestamp: 54.21"]),
    );
    let trying = rig.to(ALICE);
    assert_eq!((trying.status(), trying.the("Timestamp")), (100, "54.21"));
    assert!(!trying.the("To").contains("tag="));
    rig.forgets();
}

#[test]
fn an_invite_that_comes_again_after_its_end_is_a_new_one() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    rig.take();
    rig.wait(60_000);
    rig.take();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    assert_eq!(rig.edge.counters().calls_failed, 2);
    rig.forgets();
}
