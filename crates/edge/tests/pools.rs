//! Calls to a pool go to one target after the other, and the caller sees one call (design section 8).

mod rig;

use balancer::{Policy, PoolSettings, Source, State, TargetSettings};
use edge::PoolRoute;
use proxy::media::Policy as MediaPolicy;
use rig::{ALICE, BOB, CAROL, DAVE, Rig, Sip, answer, request, sdp, with_sdp};
use sip::Method;

const MENU: &str = "sip:8000@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-a1";

/// An edge whose users 8xxx are a pool of Carol's and Dave's media servers.
fn rig() -> Rig {
    rig_of(&[CAROL, DAVE])
}

fn rig_of(targets: &[&str]) -> Rig {
    let mut rig = Rig::with_bob();
    let target = |address: &&str| TargetSettings::new(Source::Uri(format!("sip:{address}")));
    let targets = targets.iter().map(target).collect();
    let pool = rig
        .users
        .farm
        .begin(PoolSettings::new("pbx", Policy::RoundRobin, targets));
    rig.settings.pool_routes = vec![PoolRoute {
        user: (*b"8*").into(),
        domain: None,
        methods: vec![Method::Invite],
        pool,
    }];
    rig
}

fn invite() -> String {
    request("INVITE", MENU, VIA, &[])
}

/// Where the INVITE went first, and it.
#[track_caller]
fn first(rig: &mut Rig) -> (&'static str, Sip) {
    rig.feed(ALICE, &invite());
    assert_eq!(rig.to(ALICE).status(), 100);
    next(rig)
}

/// Where an INVITE went now, and it.
#[track_caller]
fn next(rig: &mut Rig) -> (&'static str, Sip) {
    let peers = [CAROL, DAVE, BOB];
    let is_invite = |sent: &&Sip| sent.first().starts_with("INVITE");
    let sent = rig.sent.iter().find(is_invite).expect("an INVITE");
    let to = sent.flow.remote.to_string();
    let peer = peers.into_iter().find(|peer| *peer == to).expect("a peer");
    (peer, rig.to(peer))
}

fn by_alice(method: &str, cseq: u32, ok: &Sip) -> String {
    let (cseq_line, to) = (
        format!("CSeq: {cseq} {method}"),
        format!("To: {}", ok.the("To")),
    );
    let routes: Vec<_> = ok
        .headers("Record-Route")
        .iter()
        .rev()
        .map(|route| format!("Route: {route}"))
        .collect();
    let mut lines = vec![cseq_line.as_str(), to.as_str()];
    lines.extend(routes.iter().map(String::as_str));
    let contact = ok.the("Contact").trim_matches(['<', '>']).to_owned();
    let via = format!("192.0.2.10:5060;branch=z9hG4bK-{method}{cseq}");
    request(method, &contact, &via, &lines)
}

fn contact(of: &str) -> String {
    format!("Contact: <sip:ivr@{of}>")
}

/// Answers at `peer`, hangs up as Alice, and ends.
#[track_caller]
fn is_served(mut rig: Rig, peer: &str, sent: &Sip) {
    rig.feed(peer, &answer(sent, 200, "p", &[&contact(peer)]));
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    assert_eq!(rig.users.farm.active(), 1);
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    assert_eq!(rig.to(peer).method(), "ACK");
    rig.feed(ALICE, &by_alice("BYE", 2, &ok));
    let bye = rig.to(peer);
    rig.feed(peer, &answer(&bye, 200, "p", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    assert_eq!(rig.users.farm.active(), 0);
    rig.forgets();
}

#[test]
fn a_call_to_a_pool_is_counted_from_its_invite_to_its_bye() {
    let mut rig = rig();
    let (peer, sent) = first(&mut rig);
    assert_eq!(sent.uri(), MENU);
    assert_eq!(rig.users.farm.active(), 1);
    is_served(rig, peer, &sent);
}

#[test]
fn what_comes_from_a_target_goes_to_users_without_credentials() {
    let mut rig = rig();
    rig.settings.auth.trusted.clear();
    let via = "192.0.2.30:5060;branch=z9hG4bK-c1";
    rig.feed(
        CAROL,
        &request("INVITE", "sip:bob@example.org", via, &["Call-ID: leg-2"]),
    );
    assert_eq!(rig.to(CAROL).status(), 100);
    assert_eq!(rig.to(BOB).method(), "INVITE");
    let via = "192.0.2.40:5060;branch=z9hG4bK-d1";
    rig.feed(
        "192.0.2.41:5060",
        &request("INVITE", "sip:bob@example.org", via, &["Call-ID: leg-3"]),
    );
    assert_eq!(rig.take()[0].status(), 407);
}

#[test]
fn what_a_target_asserts_is_believed_and_told_to_phones_unless_it_is_private() {
    let mut rig = rig();
    rig.settings.auth.trusted.clear();
    let asserted = "P-Asserted-Identity: <sip:carol@example.org>";
    for (number, privacy, is_told) in [(1, "Privacy: none", true), (2, "Privacy: id", false)] {
        let via = format!("192.0.2.30:5060;branch=z9hG4bK-c{number}");
        let call_id = format!("Call-ID: leg-{number}");
        let lines = [&call_id, asserted, privacy];
        rig.feed(
            CAROL,
            &request("MESSAGE", "sip:bob@example.org", &via, &lines),
        );
        let sent = rig.to(BOB);
        assert_eq!(sent.header("P-Asserted-Identity").is_some(), is_told);
        // A target is told who answers, a phone whose word it would be is not believed.
        rig.feed(BOB, &answer(&sent, 200, "b", &[asserted]));
        assert_eq!(rig.to(CAROL).header("P-Asserted-Identity"), None);
    }
    rig.forgets();
}

#[test]
fn who_answers_at_a_target_is_told_to_callers_unless_it_is_private() {
    let asserted = "P-Asserted-Identity: <sip:ivr@example.org>";
    for (privacy, is_told) in [("Privacy: none", true), ("Privacy: id", false)] {
        let mut rig = rig();
        let (peer, sent) = first(&mut rig);
        rig.settings.auth.trusted.clear();
        rig.feed(peer, &answer(&sent, 183, "p", &[asserted, privacy]));
        let ringing = rig.to(ALICE);
        assert_eq!(ringing.header("P-Asserted-Identity").is_some(), is_told);
        rig.settings = self::rig().settings;
        is_served(rig, peer, &sent);
    }
}

#[test]
fn a_target_that_does_not_reply_is_left_after_the_reply_timeout() {
    let mut rig = rig();
    let (dead, _) = first(&mut rig);
    rig.wait(499);
    let invites = rig.take();
    assert!(
        invites
            .iter()
            .all(|sent| sent.flow.remote.to_string() == dead)
    );
    // The wheel's ticks are coarser than a millisecond.
    rig.wait(20);
    rig.sent.retain(|sent| sent.flow.remote.to_string() != dead);
    let (living, sent) = next(&mut rig);
    assert_eq!(rig.users.farm.active(), 1);
    // Nothing more goes to the dead one: should it come back it is not to begin a call.
    rig.take();
    rig.feed(living, &answer(&sent, 100, "", &[]));
    rig.wait(5_000);
    assert!(
        rig.take()
            .iter()
            .all(|sent| sent.flow.remote.to_string() != dead)
    );
    is_served(rig, living, &sent);
}

#[test]
fn a_target_that_dies_after_100_is_left_as_soon_as_that_is_known() {
    let mut rig = rig();
    let (dead, sent) = first(&mut rig);
    rig.feed(dead, &answer(&sent, 100, "", &[]));
    rig.wait(10_000);
    rig.quiet();
    rig.target_lost(dead);
    let (living, sent) = next(&mut rig);
    assert_ne!(dead, living);
    assert_eq!(rig.to(dead).method(), "CANCEL");
    is_served(rig, living, &sent);
}

#[test]
fn a_target_that_dies_while_it_rings_is_left_too() {
    let mut rig = rig();
    let (dead, sent) = first(&mut rig);
    rig.feed(dead, &answer(&sent, 180, "x", &[]));
    assert_eq!(rig.to(ALICE).status(), 180);
    rig.target_lost(dead);
    let (living, sent) = next(&mut rig);
    assert_eq!(rig.to(dead).method(), "CANCEL");
    is_served(rig, living, &sent);
}

#[test]
fn a_target_that_says_100_and_no_more_is_left_after_the_ring_timeout() {
    let mut rig = rig();
    let (dead, sent) = first(&mut rig);
    rig.feed(dead, &answer(&sent, 100, "", &[]));
    rig.wait(59_999);
    rig.quiet();
    rig.wait(20);
    let (living, sent) = next(&mut rig);
    assert_ne!(dead, living);
    assert_eq!(rig.to(dead).method(), "CANCEL");
    is_served(rig, living, &sent);
}

#[test]
fn a_late_answer_is_acknowledged_and_ended() {
    let mut rig = rig();
    let (late, at_late) = first(&mut rig);
    rig.wait(520);
    rig.take();
    let ok = answer(
        &at_late,
        200,
        "late",
        &[&contact(late), "Record-Route: <sip:192.0.2.31;lr>"],
    );
    // Its own Record-Route is above ours.
    let ok = ok.replacen("Record-Route: <sip:192.0.2.31;lr>\r\n", "", 1);
    let ok = ok.replacen(
        "Record-Route:",
        "Record-Route: <sip:192.0.2.31;lr>\r\nRecord-Route:",
        1,
    );
    for repeat in 0..2 {
        rig.feed(late, &ok);
        let ack = rig.to(late);
        assert_eq!(
            (ack.method(), ack.uri()),
            ("ACK", "sip:ivr@192.0.2.30:5060")
        );
        assert_eq!(ack.headers("Route"), ["<sip:192.0.2.31;lr>"]);
        assert_eq!(ack.the("CSeq"), "1 ACK");
        if repeat == 0 {
            let bye = rig.to(late);
            assert_eq!((bye.method(), bye.the("CSeq")), ("BYE", "1001 BYE"));
            assert_eq!(bye.the("To"), "<sip:bob@example.org>;tag=late");
            rig.feed(late, &answer(&bye, 200, "late", &[]));
        }
        // The caller hears nothing of it.
        rig.quiet();
    }
    assert_eq!(rig.edge.counters().hung_up_late, 1);
}

#[test]
fn a_late_answer_after_the_call_was_answered_elsewhere_is_ended_too() {
    let mut rig = rig();
    let (late, at_late) = first(&mut rig);
    rig.wait(520);
    rig.sent.retain(|sent| sent.flow.remote.to_string() != late);
    let (living, sent) = next(&mut rig);
    rig.feed(living, &answer(&sent, 200, "p", &[&contact(living)]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.feed(late, &answer(&at_late, 200, "late", &[&contact(late)]));
    assert_eq!(rig.to(late).method(), "ACK");
    assert_eq!(rig.to(late).method(), "BYE");
    rig.quiet();
}

#[test]
fn of_late_answers_by_several_each_is_ended() {
    let mut rig = rig();
    let (late, at_late) = first(&mut rig);
    rig.wait(520);
    for tag in ["one", "two", "one"] {
        rig.take();
        rig.feed(late, &answer(&at_late, 200, tag, &[&contact(late)]));
        let sent: Vec<_> = rig.take();
        let methods: Vec<_> = sent.iter().map(Sip::method).collect();
        let is_first = rig.edge.counters().hung_up_late;
        let expected = ["ACK", "BYE"];
        let count = if tag == "one" && is_first == 2 { 1 } else { 2 };
        assert_eq!(methods, expected[..count]);
        let to = format!("<sip:bob@example.org>;tag={tag}");
        assert!(sent.iter().all(|sent| sent.the("To") == to));
    }
    assert_eq!(rig.edge.counters().hung_up_late, 2);
}

#[test]
fn a_late_answer_to_what_is_no_call_is_not_hung_up() {
    let mut rig = rig();
    rig.settings.pool_routes[0].methods = vec![Method::Message];
    rig.feed(ALICE, &request("MESSAGE", MENU, VIA, &[]));
    let sent: Vec<_> = rig.take();
    let (late, at_late) = (sent[0].flow.remote.to_string(), sent[0].clone());
    rig.target_lost(&late);
    let sent = rig.take();
    let (other, at_other) = (sent[0].flow.remote.to_string(), sent[0].clone());
    assert_ne!(late, other);
    rig.feed(&late, &answer(&at_late, 200, "x", &[]));
    rig.quiet();
    rig.feed(&other, &answer(&at_other, 200, "y", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    assert_eq!(rig.edge.counters().hung_up_late, 0);
    rig.forgets();
}

#[test]
fn the_hang_up_of_a_late_answer_goes_no_way_that_is_not_the_callees() {
    let mut rig = rig();
    rig.settings.proxy.record_route = false;
    let upstream = "Record-Route: <sip:192.0.2.77;lr>";
    rig.feed(ALICE, &request("INVITE", MENU, VIA, &[upstream]));
    rig.to(ALICE);
    let (late, at_late) = next(&mut rig);
    rig.wait(520);
    rig.take();
    // A Contact that could not stand in a request line is none.
    let ok = answer(&at_late, 200, "late", &["Contact: <sip:ivr@192.0.2.9 x>"]);
    rig.feed(late, &ok);
    for method in ["ACK", "BYE"] {
        let sent = rig.to(late);
        assert_eq!(
            (sent.method(), sent.uri()),
            (method, &format!("sip:{late}")[..])
        );
        assert_eq!(sent.header("Route"), None);
    }
}

#[test]
fn a_503_goes_to_the_next_target_and_a_486_to_the_caller() {
    let mut rig = rig();
    let (busy, sent) = first(&mut rig);
    rig.feed(busy, &answer(&sent, 503, "x", &["Retry-After: 30"]));
    assert_eq!(rig.to(busy).method(), "ACK");
    let (other, sent) = next(&mut rig);
    assert_ne!(busy, other);
    assert_eq!(rig.users.farm.state(busy), State::Busy);
    rig.feed(other, &answer(&sent, 486, "x", &[]));
    rig.to(other);
    assert_eq!(rig.to(ALICE).status(), 486);
    rig.quiet();
    assert_eq!(rig.users.farm.active(), 0);
}

#[test]
fn the_last_target_may_take_its_time() {
    let mut rig = rig_of(&[CAROL]);
    let (only, sent) = first(&mut rig);
    rig.wait(3_000);
    rig.target_lost(only);
    rig.wait(3_000);
    assert!(
        rig.take()
            .iter()
            .all(|sent| sent.flow.remote.to_string() == only)
    );
    is_served(rig, only, &sent);
}

#[test]
fn an_unreachable_target_is_left_at_once() {
    let mut rig = rig();
    let (dead, _) = first(&mut rig);
    rig.break_flow(dead);
    let (living, sent) = next(&mut rig);
    assert_ne!(dead, living);
    is_served(rig, living, &sent);
}

#[test]
fn when_no_target_is_left_the_caller_gets_503_and_when_to_come_again() {
    let mut rig = rig();
    let (one, _) = first(&mut rig);
    rig.break_flow(one);
    let (other, _) = next(&mut rig);
    rig.break_flow(other);
    let refused = rig.to(ALICE);
    assert_eq!(refused.status(), 503);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(rig.users.farm.active(), 0);
    rig.feed(
        ALICE,
        &request(
            "ACK",
            MENU,
            VIA,
            &["CSeq: 1 ACK", &format!("To: {}", refused.the("To"))],
        ),
    );
    rig.forgets();
}

#[test]
fn a_caller_who_gives_up_is_sent_nowhere_else() {
    let mut rig = rig();
    let (peer, sent) = first(&mut rig);
    rig.feed(peer, &answer(&sent, 180, "x", &[]));
    rig.take();
    rig.feed(ALICE, &request("CANCEL", MENU, VIA, &["CSeq: 1 CANCEL"]));
    assert_eq!(rig.to(peer).method(), "CANCEL");
    rig.target_lost(peer);
    rig.take();
    rig.wait(600);
    assert!(
        rig.take()
            .iter()
            .all(|sent| !sent.first().starts_with("INVITE"))
    );
    rig.wait(64_000);
    assert_eq!(rig.users.farm.active(), 0);
}

#[test]
fn ports_follow_the_branch_that_wins() {
    let mut rig = rig();
    rig.settings.proxy.media.policy = MediaPolicy::Always;
    let offer = sdp("10.0.0.10", &["audio 4000 RTP/AVP 0"]);
    rig.feed(ALICE, &with_sdp(&invite(), &offer));
    rig.to(ALICE);
    let (dead, _) = next(&mut rig);
    assert_eq!(rig.users.media.in_use(), 2);
    rig.break_flow(dead);
    let (living, sent) = next(&mut rig);
    assert_eq!(rig.users.media.in_use(), 2);
    let ok = answer(&sent, 200, "p", &[&contact(living)]);
    rig.feed(
        living,
        &with_sdp(&ok, &sdp("10.0.0.40", &["audio 6000 RTP/AVP 0"])),
    );
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    rig.feed(ALICE, &by_alice("BYE", 2, &ok));
    let bye = rig.to(living);
    rig.feed(living, &answer(&bye, 200, "p", &[]));
    rig.take();
    rig.forgets();
}

#[test]
fn targets_are_probed_and_an_answer_of_any_kind_counts() {
    let mut rig = rig();
    for _ in 0..3 {
        rig.probe_all();
        for probe in rig.take() {
            assert_eq!(
                (probe.method(), probe.the("Max-Forwards")),
                ("OPTIONS", "1")
            );
            if probe.flow.remote.to_string() == CAROL {
                rig.feed(CAROL, &answer(&probe, 404, "o", &[]));
            }
        }
        rig.now_ms += 1_000;
    }
    rig.probe_all();
    rig.take();
    assert_eq!(rig.users.farm.state(CAROL), State::Up);
    assert_eq!(rig.users.farm.state(DAVE), State::Out);
    let (peer, _) = first(&mut rig);
    assert_eq!(peer, CAROL);
}
