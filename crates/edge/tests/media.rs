//! Media are anchored, and every port comes back whatever becomes of the call (RFC 3264, 3261, 3262, 3311).

mod rig;

use proxy::media::Policy;
use relay::{Command, Kind};
use rig::{ALICE, BOB, CAROL, Rig, Sip, answer, relayed, request, sdp, with_sdp};

const TO_BOB: &str = "sip:bob@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-a1";
const AUDIO: &str = "audio 4000 RTP/AVP 0 8";

fn rig() -> Rig {
    let mut rig = Rig::with_bob();
    rig.settings.proxy.media.policy = Policy::Always;
    rig.settings.proxy.media.retry_after_s = 7;
    rig
}

fn invite() -> String {
    let offer = sdp("10.0.0.10", &[AUDIO]);
    with_sdp(&request("INVITE", TO_BOB, VIA, &[]), &offer)
}

fn answered(sent: &Sip, status: u16, tag: &str) -> String {
    let answered = answer(sent, status, tag, &["Contact: <sip:bob@192.0.2.20:5060>"]);
    with_sdp(&answered, &sdp("10.0.0.20", &["audio 6000 RTP/AVP 0"]))
}

fn routes<'a>(of: &'a Sip, is_reversed: bool) -> Vec<String> {
    let mut routes: Vec<&'a str> = of.headers("Record-Route");
    if is_reversed {
        routes.reverse();
    }
    routes
        .iter()
        .map(|route| format!("Route: {route}"))
        .collect()
}

/// A request of the caller in the dialog of `ok`.
fn by_alice(method: &str, cseq: u32, ok: &Sip) -> String {
    let (cseq_line, to) = (
        format!("CSeq: {cseq} {method}"),
        format!("To: {}", ok.the("To")),
    );
    let routes = routes(ok, true);
    let mut lines = vec![cseq_line.as_str(), to.as_str()];
    lines.extend(routes.iter().map(String::as_str));
    let via = format!("192.0.2.10:5060;branch=z9hG4bK-{method}{cseq}");
    request(method, "sip:bob@192.0.2.20:5060", &via, &lines)
}

/// A request of the callee in the dialog of `invite`.
fn by_bob(method: &str, cseq: u32, invite: &Sip) -> String {
    let routes = routes(invite, false);
    let cseq_line = format!("CSeq: {cseq} {method}");
    let mut lines = vec![
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
        "Contact: <sip:bob@192.0.2.20:5060>",
        cseq_line.as_str(),
    ];
    lines.extend(routes.iter().map(String::as_str));
    let via = format!("192.0.2.20:5060;branch=z9hG4bK-b{method}{cseq}");
    request(method, "sip:alice@192.0.2.10:5060", &via, &lines)
}

/// Sets a call up; gives the INVITE as Bob got it and the 200 as Alice got it.
#[track_caller]
fn established(rig: &mut Rig) -> (Sip, Sip) {
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answered(&sent, 200, "b"));
    let ok = rig.to(ALICE);
    assert_eq!(ok.status(), 200);
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    assert_eq!(rig.to(BOB).method(), "ACK");
    (sent, ok)
}

#[track_caller]
fn hangs_up(rig: &mut Rig, ok: &Sip, cseq: u32) {
    rig.feed(ALICE, &by_alice("BYE", cseq, ok));
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
}

/// Where a side of the stream 0 wants to be sent to, as the relay was told last.
fn told(rig: &Rig, of: u8) -> Option<String> {
    let address = |command: &Command| match command {
        Command::Remote { side, remote, .. } if *side == of => remote.rtp,
        _ => None,
    };
    let last = rig.users.media.commands.iter().rev().find_map(address);
    last.map(|address| address.to_string())
}

#[test]
fn both_parties_are_told_the_relays_ports() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    let to_bob = relayed(&sent);
    assert_eq!(rig.users.media.in_use(), 2);
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.10:4000"));
    rig.feed(BOB, &answered(&sent, 200, "b"));
    let ok = rig.to(ALICE);
    let to_alice = relayed(&ok);
    assert_eq!((to_bob.len(), to_alice.len()), (1, 1));
    assert_ne!(to_bob, to_alice);
    assert_eq!(told(&rig, 1).as_deref(), Some("10.0.0.20:6000"));
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    rig.take();
    hangs_up(&mut rig, &ok, 2);
    assert_eq!(rig.users.media.in_use(), 0);
    rig.forgets();
}

#[test]
fn where_the_policy_says_never_nothing_is_touched() {
    let mut rig = rig();
    rig.settings.proxy.media.policy = Policy::Never;
    let sent = rig.invite(&invite());
    assert_eq!(sent.body(), sdp("10.0.0.10", &[AUDIO]));
    rig.feed(BOB, &answered(&sent, 200, "b"));
    let ok = rig.to(ALICE);
    assert_eq!(ok.body(), sdp("10.0.0.20", &["audio 6000 RTP/AVP 0"]));
    assert!(rig.users.media.commands.is_empty());
}

#[test]
fn media_are_anchored_where_nat_is_seen_and_only_there() {
    let mut rig = rig();
    rig.settings.proxy.media.policy = Policy::Nat;
    let open = with_sdp(
        &request("INVITE", TO_BOB, VIA, &[]),
        &sdp("192.0.2.10", &[AUDIO]),
    );
    assert_eq!(rig.invite(&open).body(), sdp("192.0.2.10", &[AUDIO]));
    let via = "192.0.2.10:5060;branch=z9hG4bK-a2";
    let hidden = request("INVITE", TO_BOB, via, &["Call-ID: call-2"]);
    let hidden = with_sdp(&hidden, &sdp("10.0.0.10", &[AUDIO]));
    assert_eq!(relayed(&rig.invite(&hidden)).len(), 1);
}

#[test]
fn a_refused_call_gives_its_ports_back() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    rig.to(BOB);
    assert_eq!(rig.to(ALICE).status(), 486);
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn a_cancelled_call_gives_its_ports_back() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    rig.feed(BOB, &answered(&sent, 183, "b"));
    assert_eq!(relayed(&rig.to(ALICE)).len(), 1);
    rig.feed(ALICE, &request("CANCEL", TO_BOB, VIA, &["CSeq: 1 CANCEL"]));
    assert_eq!(rig.to(BOB).method(), "CANCEL");
    rig.feed(BOB, &answer(&sent, 487, "b", &[]));
    rig.take();
    assert_eq!(rig.users.media.in_use(), 0);
    rig.feed(
        ALICE,
        &request(
            "ACK",
            TO_BOB,
            VIA,
            &["To: <sip:bob@example.org>;tag=b", "CSeq: 1 ACK"],
        ),
    );
    rig.forgets();
}

#[test]
fn a_call_that_nobody_answers_gives_its_ports_back() {
    let mut rig = rig();
    rig.invite(&invite());
    rig.wait(40_000);
    assert_eq!(rig.users.media.in_use(), 0);
    rig.forgets();
}

#[test]
fn a_forked_call_keeps_the_ports_of_the_branch_that_wins() {
    let mut rig = rig();
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 1_000, None, "");
    rig.feed(ALICE, &invite());
    rig.to(ALICE);
    let (at_bob, at_carol) = (rig.to(BOB), rig.to(CAROL));
    assert_ne!(relayed(&at_bob), relayed(&at_carol));
    assert_eq!(rig.users.media.in_use(), 3);
    rig.feed(BOB, &answer(&at_bob, 180, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 180);
    rig.feed(CAROL, &answered(&at_carol, 200, "c"));
    let ok = rig.to(ALICE);
    assert_eq!(relayed(&ok).len(), 1);
    let is_select = |command: &&Command| matches!(command, Command::Select { side: 2, .. });
    assert_eq!(rig.users.media.commands.iter().filter(is_select).count(), 1);
    assert_eq!(rig.to(BOB).method(), "CANCEL");
    rig.feed(BOB, &answer(&at_bob, 487, "b", &[]));
    assert_eq!(rig.users.media.in_use(), 2);
    rig.take();
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    rig.feed(ALICE, &by_alice("BYE", 2, &ok));
    rig.take();
    rig.wait(40_000);
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn of_two_answers_the_one_that_goes_on_keeps_its_sound() {
    let mut rig = rig();
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 1_000, None, "");
    rig.feed(ALICE, &invite());
    rig.to(ALICE);
    let (at_bob, at_carol) = (rig.to(BOB), rig.to(CAROL));
    rig.feed(BOB, &answered(&at_bob, 200, "b"));
    let first = rig.to(ALICE);
    rig.feed(CAROL, &answered(&at_carol, 200, "c"));
    rig.take();
    assert_eq!(rig.users.media.in_use(), 3);
    rig.feed(ALICE, &by_alice("ACK", 1, &first));
    rig.take();
    hangs_up(&mut rig, &first, 2);
    assert_eq!(rig.users.media.in_use(), 2);
    let last = rig.users.media.commands.last();
    assert!(
        matches!(last, Some(Command::Select { side: 2, .. })),
        "{last:?}"
    );
}

#[test]
fn serial_forking_gives_each_branch_its_ports() {
    let mut rig = rig();
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 500, None, "");
    let at_bob = rig.invite(&invite());
    rig.feed(BOB, &answer(&at_bob, 480, "b", &[]));
    rig.to(BOB);
    let at_carol = rig.to(CAROL);
    assert_eq!(relayed(&at_carol).len(), 1);
    assert_eq!(rig.users.media.in_use(), 2);
    rig.feed(CAROL, &answer(&at_carol, 603, "c", &[]));
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut rig = rig();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    assert_eq!(sent.body(), "");
    let ok = answer(&sent, 200, "b", &["Contact: <sip:bob@192.0.2.20:5060>"]);
    rig.feed(
        BOB,
        &with_sdp(&ok, &sdp("10.0.0.20", &["audio 6000 RTP/AVP 0"])),
    );
    let ok = rig.to(ALICE);
    let to_alice = relayed(&ok);
    let ack = with_sdp(&by_alice("ACK", 1, &ok), &sdp("10.0.0.10", &[AUDIO]));
    for _ in 0..2 {
        rig.feed(ALICE, &ack);
        let ack = rig.to(BOB);
        assert_ne!(relayed(&ack), to_alice);
    }
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.10:4000"));
    assert_eq!(told(&rig, 1).as_deref(), Some("10.0.0.20:6000"));
    hangs_up(&mut rig, &ok, 2);
    rig.forgets();
}

#[test]
fn an_offer_in_a_reliable_18x_is_answered_in_the_prack() {
    let mut rig = rig();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &["Supported: 100rel"]));
    let ringing = answer(
        &sent,
        183,
        "b",
        &[
            "Require: 100rel",
            "RSeq: 1",
            "Contact: <sip:bob@192.0.2.20:5060>",
        ],
    );
    rig.feed(
        BOB,
        &with_sdp(&ringing, &sdp("10.0.0.20", &["audio 6000 RTP/AVP 0"])),
    );
    let ringing = rig.to(ALICE);
    assert_eq!(relayed(&ringing).len(), 1);
    let prack = with_sdp(&by_alice("PRACK", 2, &ringing), &sdp("10.0.0.10", &[AUDIO]));
    rig.feed(ALICE, &prack);
    let prack = rig.to(BOB);
    assert_eq!(relayed(&prack).len(), 1);
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.10:4000"));
    rig.feed(BOB, &answer(&prack, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    rig.take();
    hangs_up(&mut rig, &ok, 3);
    rig.forgets();
}

#[test]
fn a_reinvite_of_either_side_moves_the_media() {
    let mut rig = rig();
    let (sent, ok) = established(&mut rig);
    let before = relayed(&ok);
    let moved = with_sdp(
        &by_alice("INVITE", 2, &ok),
        &sdp("10.0.0.11", &["audio 4100 RTP/AVP 0"]),
    );
    rig.feed(ALICE, &moved);
    assert_eq!(rig.to(ALICE).status(), 100);
    let at_bob = rig.to(BOB);
    assert_eq!(relayed(&at_bob), relayed(&sent));
    // An offer changes nothing before it is answered.
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.10:4000"));
    rig.feed(BOB, &answered(&at_bob, 200, "b"));
    let again = rig.to(ALICE);
    assert_eq!(relayed(&again), before);
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.11:4100"));
    rig.feed(ALICE, &by_alice("ACK", 2, &ok));
    rig.take();
    let moved = with_sdp(
        &by_bob("INVITE", 1, &sent),
        &sdp("10.0.0.21", &["audio 6100 RTP/AVP 0"]),
    );
    rig.feed(BOB, &moved);
    assert_eq!(rig.to(BOB).status(), 100);
    let at_alice = rig.to(ALICE);
    assert_eq!(relayed(&at_alice), before);
    let agreed = answer(&at_alice, 200, "a", &[]);
    rig.feed(
        ALICE,
        &with_sdp(&agreed, &sdp("10.0.0.11", &["audio 4100 RTP/AVP 0"])),
    );
    assert_eq!(rig.to(BOB).status(), 200);
    assert_eq!(told(&rig, 1).as_deref(), Some("10.0.0.21:6100"));
    assert_eq!(rig.users.media.in_use(), 2);
    rig.take();
    hangs_up(&mut rig, &ok, 3);
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn a_refused_reinvite_changes_nothing() {
    let mut rig = rig();
    let (_, ok) = established(&mut rig);
    let more = sdp(
        "10.0.0.11",
        &["audio 4100 RTP/AVP 0", "video 4200 RTP/AVP 96"],
    );
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, &ok), &more));
    assert_eq!(rig.to(ALICE).status(), 100);
    let at_bob = rig.to(BOB);
    assert_eq!(relayed(&at_bob).len(), 2);
    assert_eq!(rig.users.media.in_use(), 4);
    rig.feed(BOB, &answer(&at_bob, 488, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 488);
    assert_eq!(rig.users.media.in_use(), 2);
    assert_eq!(told(&rig, 0).as_deref(), Some("10.0.0.10:4000"));
    rig.take();
    hangs_up(&mut rig, &ok, 3);
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn an_update_holds_the_call_and_a_line_that_is_refused_gives_its_ports_back() {
    let mut rig = rig();
    let offer = sdp("10.0.0.10", &[AUDIO, "video 4200 RTP/AVP 96"]);
    let sent = rig.invite(&with_sdp(&request("INVITE", TO_BOB, VIA, &[]), &offer));
    assert_eq!(relayed(&sent).len(), 2);
    assert_eq!(rig.users.media.in_use(), 4);
    let ok = answer(&sent, 200, "b", &[]);
    let agreed = sdp("10.0.0.20", &["audio 6000 RTP/AVP 0", "video 0 RTP/AVP 96"]);
    rig.feed(BOB, &with_sdp(&ok, &agreed));
    let ok = rig.to(ALICE);
    assert_eq!(relayed(&ok)[1], 0);
    assert_eq!(rig.users.media.in_use(), 2);
    rig.feed(ALICE, &by_alice("ACK", 1, &ok));
    rig.take();
    let held = sdp("10.0.0.10", &[AUDIO, "video 0 RTP/AVP 96"])
        .replace("RTP/AVP 0 8", "RTP/AVP 0 8\r\na=sendonly");
    rig.feed(ALICE, &with_sdp(&by_alice("UPDATE", 2, &ok), &held));
    let update = rig.to(BOB);
    assert_eq!(relayed(&update)[1], 0);
    let agreed = with_sdp(&answer(&update, 200, "b", &[]), &agreed);
    rig.feed(BOB, &agreed);
    assert_eq!(rig.to(ALICE).status(), 200);
    let is_held = |command: &Command| matches!(command, Command::Remote { side: 0, remote, .. } if remote.direction == relay::Direction::SendOnly);
    assert!(rig.users.media.commands.iter().any(is_held));
    hangs_up(&mut rig, &ok, 3);
    rig.forgets();
}

#[test]
fn audio_gives_way_to_a_fax() {
    let mut rig = rig();
    let (_, ok) = established(&mut rig);
    let fax = sdp("10.0.0.10", &["image 4002 udptl t38"]);
    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 2, &ok), &fax));
    rig.to(ALICE);
    let at_bob = rig.to(BOB);
    assert_eq!(relayed(&at_bob).len(), 1);
    let agreed = with_sdp(
        &answer(&at_bob, 200, "b", &[]),
        &sdp("10.0.0.20", &["image 6002 udptl t38"]),
    );
    rig.feed(BOB, &agreed);
    rig.to(ALICE);
    assert_eq!(
        rig.users.media.kinds(),
        [Kind::Rtp, Kind::Rtp, Kind::Datagram, Kind::Datagram]
    );
    assert_eq!(rig.users.media.in_use(), 2);
    rig.feed(ALICE, &by_alice("ACK", 2, &ok));
    rig.take();
    hangs_up(&mut rig, &ok, 3);
    rig.forgets();
}

#[test]
fn when_ports_are_used_up_new_calls_are_refused_and_others_go_on() {
    let mut rig = rig();
    rig.users.media = rig::Media::new(3);
    let (_, ok) = established(&mut rig);
    let via = "192.0.2.10:5060;branch=z9hG4bK-x";
    let second = request(
        "INVITE",
        TO_BOB,
        via,
        &["Call-ID: call-2", "From: <sip:alice@example.org>;tag=z"],
    );
    rig.feed(ALICE, &with_sdp(&second, &sdp("10.0.0.10", &[AUDIO])));
    assert_eq!(rig.to(ALICE).status(), 100);
    let refused = rig.to(ALICE);
    assert_eq!((refused.status(), refused.the("Retry-After")), (503, "7"));
    rig.quiet();
    assert_eq!(rig.users.media.in_use(), 2);
    hangs_up(&mut rig, &ok, 2);
    assert_eq!(rig.users.media.in_use(), 0);
}

#[test]
fn a_description_that_lies_opens_nothing() {
    let lies = [
        (
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
            400,
        ),
        (
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 70000 RTP/AVP 0\r\n",
            400,
        ),
        (
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 224.0.0.1/3\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
            488,
        ),
        ("m=audio 4000 RTP/AVP 0\r\n", 400),
    ];
    for (at, (lie, status)) in lies.into_iter().enumerate() {
        let mut rig = rig();
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-l{at}");
        rig.feed(ALICE, &with_sdp(&request("INVITE", TO_BOB, &via, &[]), lie));
        assert_eq!(rig.to(ALICE).status(), 100);
        assert_eq!(rig.to(ALICE).status(), status, "{lie}");
        rig.quiet();
        assert_eq!(rig.users.media.in_use(), 0);
        assert_eq!(rig.edge.tables().anchored, 0);
    }
}

#[test]
fn an_answer_that_lies_is_taken_out() {
    let mut rig = rig();
    let sent = rig.invite(&invite());
    let lie = sdp(
        "10.0.0.20",
        &["audio 6000 RTP/AVP 0", "audio 6002 RTP/AVP 0"],
    );
    rig.feed(BOB, &with_sdp(&answer(&sent, 200, "b", &[]), &lie));
    let ok = rig.to(ALICE);
    assert_eq!(
        (ok.status(), ok.body(), ok.the("Content-Length")),
        (200, "", "0")
    );
    assert_eq!(ok.header("Content-Type"), None);
    assert_eq!(rig.edge.counters().descriptions_refused, 1);
    assert_eq!(told(&rig, 1), None);
}

#[test]
fn a_call_whose_bye_was_lost_ends_when_nobody_is_heard_any_more() {
    let mut rig = rig();
    established(&mut rig);
    let silent = rig.users.media.falls_silent();
    assert_eq!(silent.len(), 1);
    for session in silent {
        let now = rig.now();
        let (settings, users, output) = (&rig.settings, &mut rig.users, &mut rig.output);
        rig.edge.media_silent(settings, now, session, users, output);
    }
    rig.poll();
    assert_eq!(rig.calls.last().map(String::as_str), Some("Silent"));
    assert_eq!(rig.edge.counters().calls_silent, 1);
    rig.forgets();
}

#[test]
fn a_call_from_before_a_restart_is_anchored_when_it_negotiates_anew() {
    let mut before = rig();
    let (sent, ok) = established(&mut before);
    for is_callers in [true, false] {
        let mut rig = rig();
        let (from, to) = if is_callers {
            (ALICE, BOB)
        } else {
            (BOB, ALICE)
        };
        let again = match is_callers {
            true => by_alice("INVITE", 5, &ok),
            false => by_bob("INVITE", 5, &sent),
        };
        rig.feed(
            from,
            &with_sdp(&again, &sdp("10.0.0.5", &["audio 4300 RTP/AVP 0"])),
        );
        assert_eq!(rig.to(from).status(), 100);
        let again = rig.to(to);
        assert_eq!(relayed(&again).len(), 1);
        let tag = if is_callers { "b" } else { "a" };
        rig.feed(to, &answered(&again, 200, tag));
        assert_eq!(relayed(&rig.to(from)).len(), 1);
        assert_eq!(rig.users.media.in_use(), 2);
        let is_select = |command: &Command| matches!(command, Command::Select { side: 1, .. });
        assert!(rig.users.media.commands.iter().any(is_select));
        hangs_up(&mut rig, &ok, 6);
        rig.forgets();
    }
}

/// Small numbers that look random, from one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn ten_thousand_calls_of_every_ending_leave_no_port_behind() {
    let mut rig = rig();
    rig.settings.proxy.serial_ring_ms = 5_000;
    rig.bind("bob", "sip:bob@192.0.2.30:5060", 1_000, None, "");
    rig.bind("bob", "sip:bob@192.0.2.40:5060", 500, None, "");
    let mut dice = Dice(42);
    for call in 0..10_000 {
        let (id, via) = (
            format!("Call-ID: c{call}"),
            format!("192.0.2.10:5060;branch=z9hG4bK-{call}"),
        );
        let invite = request("INVITE", TO_BOB, &via, &[&id]);
        let has_offer = dice.roll(5) > 0;
        let invite = match has_offer {
            true => with_sdp(
                &invite,
                &sdp("10.0.0.10", &[AUDIO, "video 4200 RTP/AVP 96"]),
            ),
            false => invite,
        };
        rig.feed(ALICE, &invite);
        let mut ok = None;
        for step in 0..12 {
            let messages = rig.take();
            for message in messages
                .iter()
                .filter(|message| message.flow.remote.to_string() != ALICE)
            {
                let peer = message.flow.remote.to_string();
                let status = match (message.method(), dice.roll(8)) {
                    ("INVITE", 0) => 183,
                    ("INVITE", 1) => 200,
                    ("INVITE", 2) => 486,
                    ("INVITE", 3) => 603,
                    ("INVITE", 4) => 503,
                    ("BYE" | "CANCEL", 0..=5) => 200,
                    _ => continue,
                };
                let reply = answer(
                    message,
                    status,
                    &format!("t{}", &peer[8..10]),
                    &["Contact: <sip:bob@192.0.2.20:5060>"],
                );
                let reply = match status {
                    183 | 200 if message.method() == "INVITE" => {
                        let media = [
                            "audio 6000 RTP/AVP 0",
                            ["video 0 RTP/AVP 96", "video 6002 RTP/AVP 96"][dice.roll(2) as usize],
                        ];
                        with_sdp(&reply, &sdp("10.0.0.20", &media))
                    }
                    _ => reply,
                };
                rig.feed(&peer, &reply);
            }
            let is_ok = |message: &&Sip| {
                message.first().starts_with("SIP/2.0 200")
                    && message.the("CSeq").ends_with("INVITE")
            };
            ok = ok.or_else(|| messages.into_iter().find(|message| is_ok(&message)));
            match (dice.roll(10), &ok) {
                (0, None) => {
                    let cancel = request("CANCEL", TO_BOB, &via, &[&id, "CSeq: 1 CANCEL"]);
                    rig.feed(ALICE, &cancel);
                }
                (1..=3, Some(ok)) => rig.feed(ALICE, &by_alice("BYE", 10 + step, ok)),
                (4, Some(ok)) => {
                    let more = sdp(
                        "10.0.0.11",
                        &[AUDIO, "video 4200 RTP/AVP 96", "audio 4300 RTP/AVP 0"],
                    );
                    rig.feed(ALICE, &with_sdp(&by_alice("INVITE", 10 + step, ok), &more));
                }
                (5, _) => rig.wait(700),
                _ => {}
            }
        }
        if call % 500 == 499 {
            rig.wait(400_000);
            // Whose BYE was lost, or never sent, is found by its silence.
            for session in rig.users.media.falls_silent() {
                let now = rig.now();
                let (settings, users, output) = (&rig.settings, &mut rig.users, &mut rig.output);
                rig.edge.media_silent(settings, now, session, users, output);
            }
            assert_eq!(rig.users.media.in_use(), 0);
            // Those that agreed on no media at all have no ports, and end with age.
            rig.wait(14 * 3_600_000);
            rig.take();
            rig.has_forgotten();
        }
    }
    let counters = rig.edge.counters();
    assert!(
        counters.calls_silent > 100 && counters.calls_failed > 1_000 && counters.cancelled > 100,
        "{counters:?}"
    );
}

#[test]
fn who_calls_over_loopback_is_heard_from_there() {
    let mut rig = rig();
    let caller = transaction::Flow {
        local: "127.0.0.1:5060".parse().expect("an address"),
        ..rig::udp(ALICE)
    };
    rig.settings.proxy.listeners[0].local = "127.0.0.1:5060".parse().expect("an address");
    rig.feed_on(caller, &invite());
    let host = rig
        .users
        .media
        .commands
        .iter()
        .find_map(|command| match command {
            Command::Remote {
                side: 0, remote, ..
            } => Some(remote.signalling),
            _ => None,
        });
    assert_eq!(host, Some("127.0.0.1".parse().expect("an address")));
}

#[test]
fn over_a_stream_the_length_is_that_of_what_is_sent() {
    let mut rig = Rig::new();
    rig.settings.proxy.media.policy = Policy::Always;
    rig.bind(
        "bob",
        "sip:bob@192.0.2.20:5060;transport=tcp",
        1_000,
        None,
        "",
    );
    let invite = invite().replace("Content-Length", "X-Length");
    rig.feed(ALICE, &invite);
    rig.to(ALICE);
    let sent = rig.to(BOB);
    assert_eq!(
        sent.headers("Content-Length"),
        [sent.body().len().to_string()]
    );
}
