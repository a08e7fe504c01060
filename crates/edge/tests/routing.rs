//! Where requests go, and what they look like there (RFC 3261 sections 16.3 to 16.6).

mod rig;

use rig::{ALICE, BOB, CAROL, DAVE, Rig, Sip, answer, request};

const TO_BOB: &str = "sip:bob@example.org";
const VIA: &str = "192.0.2.10:5060;branch=z9hG4bK-r1";
const FOREIGN: &str = "sip:eve@192.0.2.40:5060";

fn message(uri: &str, lines: &[&str]) -> String {
    request("MESSAGE", uri, VIA, lines)
}

/// Asserts that a request from Alice is refused with `status`, and gives the refusal.
#[track_caller]
fn refused(rig: &mut Rig, text: &str, status: u16) -> Sip {
    rig.feed(ALICE, text);
    let refusal = rig.to(ALICE);
    assert_eq!(refusal.status(), status);
    rig.quiet();
    refusal
}

/// Feeds a request from Alice that Dave gets, and gives it as he gets it.
#[track_caller]
fn to_dave(rig: &mut Rig, text: &str) -> Sip {
    rig.feed(ALICE, text);
    let sent = rig.to(DAVE);
    rig.quiet();
    rig.feed(DAVE, &answer(&sent, 200, "d", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    sent
}

#[test]
fn max_forwards_goes_down_by_one() {
    for (line, sent) in [
        ("Max-Forwards: 70", "69"),
        ("Max-Forwards: 1", "0"),
        ("Max-Forwards: -", "70"),
    ] {
        let mut rig = Rig::new();
        let forwarded = to_dave(&mut rig, &message(FOREIGN, &[line]));
        assert_eq!(forwarded.headers("Max-Forwards"), [sent]);
        rig.forgets();
    }
}

#[test]
fn max_forwards_zero_is_refused() {
    let mut rig = Rig::new();
    refused(&mut rig, &message(FOREIGN, &["Max-Forwards: 0"]), 483);
    rig.forgets();
}

#[test]
fn what_is_asked_of_the_edge_itself_may_have_come_this_far() {
    let mut rig = Rig::new();
    let options = request("OPTIONS", "sip:192.0.2.1", VIA, &["Max-Forwards: 0"]);
    let answer = refused(&mut rig, &options, 200);
    assert!(answer.the("Allow").contains("INVITE"));
    rig.forgets();
}

#[test]
fn nothing_but_options_can_be_asked_of_the_edge() {
    let mut rig = Rig::new();
    refused(
        &mut rig,
        &request("INVITE", "sip:example.org", VIA, &[]),
        404,
    );
    rig.forgets();
}

#[test]
fn an_extension_required_of_proxies_is_refused_and_named() {
    let mut rig = Rig::new();
    let text = message(FOREIGN, &["Proxy-Require: teleport"]);
    assert_eq!(refused(&mut rig, &text, 420).the("Unsupported"), "teleport");
    rig.forgets();
}

#[test]
fn an_unknown_scheme_is_refused() {
    for uri in ["soap.beep://192.168.0.2:3002", "sips:bob@example.org"] {
        let mut rig = Rig::with_bob();
        refused(&mut rig, &message(uri, &[]), 416);
        rig.forgets();
    }
}

#[test]
fn an_unknown_user_gets_404_and_an_absent_one_480() {
    let mut rig = Rig::new();
    refused(&mut rig, &message("sip:nobody@example.org", &[]), 404);
    refused(&mut rig, &message(TO_BOB, &[]), 480);
    rig.forgets();
}

#[test]
fn a_telephone_number_is_a_user_of_the_first_domain() {
    let mut rig = Rig::new();
    rig.users.passwords.insert("+15551234", "");
    rig.bind("+15551234", "sip:x@192.0.2.40:5060", 1_000, None, "");
    let sent = to_dave(&mut rig, &message("tel:+1-555-1234", &[]));
    assert_eq!(sent.uri(), "sip:x@192.0.2.40:5060");
    rig.forgets();
}

#[test]
fn what_is_not_edited_is_forwarded_byte_by_byte() {
    let mut rig = Rig::new();
    let odd = "x-ODD :   a,b  ;c\r\n\tfolded";
    let sent = to_dave(&mut rig, &message(FOREIGN, &[odd, "Subject: =?x"]));
    assert!(
        sent.text
            .contains("\r\nx-ODD :   a,b  ;c\r\n\tfolded\r\nSubject: =?x\r\n")
    );
    rig.forgets();
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let mut rig = Rig::new();
    rig.feed(ALICE, &message(FOREIGN, &[]));
    let sent = rig.to(DAVE);
    rig.feed(DAVE, &sent.text);
    assert_eq!(rig.to(DAVE).status(), 482);
    rig.quiet();
    rig.feed(DAVE, &answer(&sent, 200, "d", &[]));
    assert_eq!(rig.edge.counted().of("loop"), 1);
    rig.forgets();
}

#[test]
fn a_request_that_comes_back_for_somebody_else_is_a_spiral() {
    let mut rig = Rig::with_bob();
    rig.feed(ALICE, &message(FOREIGN, &[]));
    let sent = rig.to(DAVE);
    rig.feed(DAVE, &sent.text.replacen(FOREIGN, TO_BOB, 1));
    let again = rig.to(BOB);
    assert_eq!(again.headers("Via").len(), 3);
    rig.feed(BOB, &answer(&again, 200, "b", &[]));
    let back = rig.to(DAVE);
    assert_eq!((back.status(), back.headers("Via").len()), (200, 2));
    rig.feed(DAVE, &answer(&sent, 200, "d", &[]));
    rig.forgets();
}

#[test]
fn our_own_route_is_taken_off() {
    for ours in [
        "<sip:192.0.2.1;lr>",
        "<sip:192.0.2.1:5060;lr>",
        "<sip:example.org;lr>",
    ] {
        let mut rig = Rig::new();
        let line = format!("Route: {ours}");
        let sent = to_dave(&mut rig, &message(FOREIGN, &[&line]));
        assert_eq!((sent.uri(), sent.header("Route")), (FOREIGN, None));
        rig.forgets();
    }
}

#[test]
fn the_next_route_says_where_it_goes_and_the_request_uri_stays() {
    let mut rig = Rig::new();
    let lines = [
        "Route: <sip:192.0.2.1;lr>, <sip:192.0.2.40;lr>",
        "Route: <sip:192.0.2.41;lr>",
    ];
    let sent = to_dave(&mut rig, &message("sip:eve@elsewhere.example", &lines));
    assert_eq!(sent.uri(), "sip:eve@elsewhere.example");
    assert_eq!(
        sent.headers("Route"),
        ["<sip:192.0.2.40;lr>", "<sip:192.0.2.41;lr>"]
    );
    rig.forgets();
}

#[test]
fn a_strict_router_gets_its_own_uri_and_the_true_one_in_route() {
    let forms: [&[&str]; 4] = [
        &["Route: <sip:192.0.2.40>"],
        &["Route: <sip:192.0.2.1;lr>, <sip:192.0.2.40>"],
        &["Route: <sip:192.0.2.1;lr>", "Route: <sip:192.0.2.40>"],
        &["Route: <sip:192.0.2.1;lr>,<sip:192.0.2.40> "],
    ];
    for lines in forms {
        let mut rig = Rig::new();
        let sent = to_dave(&mut rig, &message("sip:eve@elsewhere.example", lines));
        assert_eq!(sent.uri(), "sip:192.0.2.40");
        assert_eq!(sent.headers("Route"), ["<sip:eve@elsewhere.example>"]);
        rig.forgets();
    }
}

#[test]
fn routes_after_a_strict_router_stay_before_the_true_target() {
    let mut rig = Rig::new();
    let lines = ["Route: <sip:192.0.2.1;lr>, <sip:192.0.2.40>, <sip:192.0.2.50;lr>"];
    let sent = to_dave(&mut rig, &message("sip:eve@elsewhere.example", &lines));
    assert_eq!(
        sent.headers("Route"),
        ["<sip:192.0.2.50;lr>", "<sip:eve@elsewhere.example>"]
    );
    rig.forgets();
}

#[test]
fn an_unreadable_route_is_refused() {
    let mut rig = Rig::new();
    refused(&mut rig, &message(FOREIGN, &["Route: <sip:"]), 400);
    rig.forgets();
}

/// Sets a dialog up between Alice and Bob and gives our Record-Route value.
#[track_caller]
fn dialog(rig: &mut Rig) -> String {
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    let route = ok.the("Record-Route").to_owned();
    rig.feed(ALICE, &bye(&route, &ok, "sip:bob@192.0.2.20:5060"));
    let bye = rig.to(BOB);
    assert_eq!((bye.method(), bye.header("Route")), ("BYE", None));
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    rig.take();
    route
}

fn bye(route: &str, ok: &Sip, uri: &str) -> String {
    let (route, to) = (format!("Route: {route}"), format!("To: {}", ok.the("To")));
    request(
        "BYE",
        uri,
        "192.0.2.10:5060;branch=z9hG4bK-bye",
        &[&route, &to, "CSeq: 9 BYE"],
    )
}

#[test]
fn what_a_strict_router_made_of_our_record_route_is_mended() {
    let mut rig = Rig::with_bob();
    let route = dialog(&mut rig);
    let ours = route.trim_matches(['<', '>']);
    let forms: [(&[&str], &[&str]); 3] = [
        (&["Route: <sip:bob@192.0.2.20:5060>"], &[]),
        (
            &["Route: <sip:192.0.2.20;lr>, <sip:bob@192.0.2.20:5060>"],
            &["<sip:192.0.2.20;lr>"],
        ),
        (
            &[
                "Route: <sip:192.0.2.20;lr>",
                "Route: <sip:bob@192.0.2.20:5060>",
            ],
            &["<sip:192.0.2.20;lr>"],
        ),
    ];
    for (at, (routes, left)) in forms.into_iter().enumerate() {
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-s{at}");
        let mut lines = vec!["To: <sip:bob@example.org>;tag=b", "CSeq: 10 INFO"];
        lines.extend(routes);
        rig.feed(ALICE, &request("INFO", ours, &via, &lines));
        let sent = rig.to(BOB);
        assert_eq!(sent.uri(), "sip:bob@192.0.2.20:5060");
        assert_eq!(sent.headers("Route"), left);
        rig.feed(BOB, &answer(&sent, 200, "b", &[]));
        rig.take();
    }
    rig.forgets();
}

#[test]
fn record_route_is_put_into_what_begins_a_dialog_only() {
    for (method, count) in [
        ("INVITE", 1),
        ("SUBSCRIBE", 1),
        ("REFER", 1),
        ("MESSAGE", 0),
        ("OPTIONS", 0),
    ] {
        let mut rig = Rig::with_bob();
        rig.feed(ALICE, &request(method, TO_BOB, VIA, &[]));
        let sent = rig.to(BOB);
        assert_eq!(sent.headers("Record-Route").len(), count, "{method}");
        rig.feed(BOB, &answer(&sent, 404, "b", &[]));
        rig.forgets();
    }
}

#[test]
fn record_route_can_be_turned_off_and_the_ack_still_passes() {
    let mut settings = rig::settings();
    settings.proxy.record_route = false;
    settings.auth.trusted.clear();
    let mut rig = Rig::with(settings);
    rig.bind("bob", "sip:bob@192.0.2.20:5060", 1_000, None, "");
    let invite = |lines: &[&str]| request("INVITE", TO_BOB, VIA, lines);
    rig.feed(ALICE, &invite(&[]));
    let challenge = rig.to(ALICE);
    let line = rig::credentials(
        "alice",
        "a",
        "INVITE",
        TO_BOB,
        challenge.the("Proxy-Authenticate"),
    );
    let line = format!("Proxy-Authorization: {line}");
    rig.feed(
        ALICE,
        &invite(&[&line, "CSeq: 2 INVITE"]).replace("-r1", "-r2"),
    );
    assert_eq!(rig.to(ALICE).status(), 100);
    let sent = rig.to(BOB);
    assert_eq!(sent.header("Record-Route"), None);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    // Alice's outbound proxy is the edge, whatever the dialog says.
    let to = format!("To: {}", ok.the("To"));
    let via = "192.0.2.10:5060;branch=z9hG4bK-ack";
    let ack = request(
        "ACK",
        "sip:bob@192.0.2.20:5060",
        via,
        &[&to, "Route: <sip:192.0.2.1;lr>"],
    );
    rig.feed(ALICE, &ack);
    assert_eq!(rig.to(BOB).method(), "ACK");
    rig.feed(rig::STRANGER, &ack.replace("tag=a", "tag=x"));
    rig.quiet();
    let bye = request(
        "BYE",
        "sip:bob@192.0.2.20:5060",
        "192.0.2.10:5060;branch=z9hG4bK-b",
        &[&to, "CSeq: 3 BYE"],
    );
    rig.feed(ALICE, &bye);
    let challenge = rig.to(ALICE);
    assert_eq!(challenge.status(), 407);
    let uri = "sip:bob@192.0.2.20:5060";
    let line = rig::credentials(
        "alice",
        "a",
        "BYE",
        uri,
        challenge.the("Proxy-Authenticate"),
    );
    let bye = request(
        "BYE",
        uri,
        "192.0.2.10:5060;branch=z9hG4bK-c",
        &[&to, "CSeq: 4 BYE", &format!("Proxy-Authorization: {line}")],
    );
    rig.feed(ALICE, &bye);
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    rig.forgets();
}

#[test]
fn two_record_routes_where_the_transports_differ_and_both_come_off() {
    let mut rig = Rig::new();
    rig.bind(
        "bob",
        "sip:bob@192.0.2.20:5060;transport=tcp",
        1_000,
        None,
        "",
    );
    rig.feed(ALICE, &request("INVITE", TO_BOB, VIA, &[]));
    rig.to(ALICE);
    let sent = rig.to(BOB);
    assert!(sent.the("Via").starts_with("SIP/2.0/TCP"));
    let recorded = sent.headers("Record-Route");
    assert_eq!(recorded.len(), 2);
    assert!(recorded[0].contains("transport=tcp") && !recorded[1].contains("transport"));
    let routes: Vec<_> = recorded
        .iter()
        .map(|value| format!("Route: {value}"))
        .collect();
    rig.feed_on(rig::tcp(BOB), &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    // From the callee, over TCP.
    let mut lines = vec![
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
    ];
    lines.extend(routes.iter().map(String::as_str));
    let info = request(
        "INFO",
        "sip:alice@192.0.2.10:5060",
        "192.0.2.20:5060;branch=z9hG4bK-i",
        &lines,
    );
    rig.feed_on(rig::tcp(BOB), &info);
    let info = rig.to(ALICE);
    assert_eq!((info.method(), info.header("Route")), ("INFO", None));
    rig.feed(ALICE, &answer(&info, 200, "a", &[]));
    rig.take();
    // From the caller, over UDP, the other way round.
    let to = format!("To: {}", ok.the("To"));
    let uri = "sip:bob@192.0.2.20:5060;transport=tcp";
    let mut lines = vec![to.as_str(), "CSeq: 2 BYE"];
    lines.extend(routes.iter().rev().map(String::as_str));
    rig.feed(
        ALICE,
        &request("BYE", uri, "192.0.2.10:5060;branch=z9hG4bK-bye", &lines),
    );
    let bye = rig.to(BOB);
    assert_eq!((bye.method(), bye.header("Route")), ("BYE", None));
    rig.feed_on(rig::tcp(BOB), &answer(&bye, 200, "b", &[]));
    rig.forgets();
}

/// A call between two phones behind NAT: neither's Contact can be reached.
#[test]
fn both_ends_behind_nat_are_reached_by_their_flows() {
    let mut rig = Rig::new();
    let (alice, bob) = ("192.0.2.10:40000", "192.0.2.20:30000");
    rig.bind(
        "bob",
        "sip:bob@10.0.0.2:5060",
        1_000,
        Some(rig::udp(bob)),
        "",
    );
    let contact = "Contact: <sip:alice@10.0.0.1:5060>";
    let via = "10.0.0.1:5060;branch=z9hG4bK-n";
    rig.feed(alice, &request("INVITE", TO_BOB, via, &[contact]));
    assert_eq!(rig.to(alice).status(), 100);
    let sent = rig.to(bob);
    assert_eq!(sent.uri(), "sip:bob@10.0.0.2:5060");
    rig.feed(
        bob,
        &answer(&sent, 200, "b", &["Contact: <sip:bob@10.0.0.2:5060>"]),
    );
    let ok = rig.to(alice);
    let route = format!("Route: {}", ok.the("Record-Route"));
    let to = format!("To: {}", ok.the("To"));
    for (method, cseq) in [("ACK", "CSeq: 1 ACK"), ("INFO", "CSeq: 2 INFO")] {
        let via = format!("10.0.0.1:5060;branch=z9hG4bK-{method}");
        let text = request(method, "sip:bob@10.0.0.2:5060", &via, &[&route, &to, cseq]);
        rig.feed(alice, &text);
        let sent = rig.to(bob);
        assert_eq!(
            (sent.method(), sent.uri()),
            (method, "sip:bob@10.0.0.2:5060")
        );
        rig.feed(bob, &answer(&sent, 200, "b", &[]));
        rig.take();
    }
    let lines = [
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
        &route,
    ];
    let bye = request(
        "BYE",
        "sip:alice@10.0.0.1:5060",
        "10.0.0.2:5060;branch=z9hG4bK-b",
        &lines,
    );
    rig.feed(bob, &bye);
    let bye = rig.to(alice);
    assert_eq!(bye.method(), "BYE");
    rig.feed(alice, &answer(&bye, 200, "a", &[]));
    assert_eq!(rig.to(bob).status(), 200);
    rig.forgets();
}

#[test]
fn a_cookie_that_was_tampered_with_opens_nothing() {
    let mut rig = Rig::with_bob();
    let route = dialog(&mut rig);
    let at = route.find("hl=").expect("a cookie") + 5;
    let mut tampered = route.clone();
    tampered.replace_range(at..=at, if &route[at..=at] == "A" { "B" } else { "A" });
    let lines = [
        &format!("Route: {tampered}"),
        "To: <sip:bob@example.org>;tag=b",
    ];
    let via = "198.51.100.7:5060;branch=z9hG4bK-t";
    for uri in ["sip:eve@203.0.113.5", "sip:bob@192.0.2.20:5060"] {
        let from = "From: <sip:eve@elsewhere.example>;tag=a";
        let text = request("INFO", uri, via, &[lines[0], lines[1], from]);
        rig.feed(rig::STRANGER, &text);
        assert_eq!(rig.to(rig::STRANGER).status(), 403);
    }
    // An ACK cannot be answered.
    rig.feed(
        rig::STRANGER,
        &request("ACK", "sip:bob@192.0.2.20:5060", via, &lines),
    );
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_cookie_does_not_let_a_new_dialog_in() {
    let mut rig = Rig::with_bob();
    let route = dialog(&mut rig);
    let text = request(
        "INVITE",
        "sip:eve@203.0.113.5",
        "198.51.100.7:5060;branch=z9hG4bK-t",
        &[&format!("Route: {route}")],
    );
    rig.feed(rig::STRANGER, &text);
    assert_eq!(rig.to(rig::STRANGER).status(), 407);
    rig.quiet();
    rig.forgets();
}

#[test]
fn an_in_dialog_request_for_an_address_of_record_goes_to_its_contact() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(
        BOB,
        &answer(&sent, 200, "b", &["Contact: <sip:bob@example.org>"]),
    );
    let ok = rig.to(ALICE);
    rig.feed(ALICE, &bye(ok.the("Record-Route"), &ok, TO_BOB));
    let bye = rig.to(BOB);
    assert_eq!(
        (bye.method(), bye.uri()),
        ("BYE", "sip:bob@192.0.2.20:5060")
    );
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    rig.forgets();
}

#[test]
fn a_binding_with_a_path_is_reached_along_it() {
    let mut rig = Rig::new();
    rig.bind(
        "bob",
        "sip:bob@10.0.0.2",
        1_000,
        None,
        "<sip:192.0.2.40;lr>, <sip:10.0.0.9;lr>",
    );
    let sent = to_dave(&mut rig, &message(TO_BOB, &[]));
    assert_eq!(sent.uri(), "sip:bob@10.0.0.2");
    assert_eq!(
        sent.headers("Route"),
        ["<sip:192.0.2.40;lr>, <sip:10.0.0.9;lr>"]
    );
    rig.forgets();
}

#[test]
fn responses_go_to_the_source_and_say_so() {
    // Sent-by, rport asked for, where it came from, where the answer goes, what Via says.
    let cases = [
        (
            "203.0.113.9:5070",
            true,
            "192.0.2.10:4000",
            "192.0.2.10:4000",
            "received=192.0.2.10;rport=4000",
        ),
        (
            "203.0.113.9:5070",
            false,
            "192.0.2.10:4000",
            "192.0.2.10:5070",
            "received=192.0.2.10",
        ),
        (
            "192.0.2.10",
            false,
            "192.0.2.10:4000",
            "192.0.2.10:5060",
            "",
        ),
        (
            "host.example:5080",
            false,
            "192.0.2.10:4000",
            "192.0.2.10:5080",
            "received=192.0.2.10",
        ),
        (
            "10.1.2.3:5070",
            false,
            "192.0.2.10:4000",
            "192.0.2.10:4000",
            "received=192.0.2.10",
        ),
    ];
    for (sent_by, asks, from, back, says) in cases {
        let mut rig = Rig::new();
        let text = request(
            "OPTIONS",
            "sip:192.0.2.1",
            &format!("{sent_by};branch=z9hG4bK-o"),
            &[],
        );
        let text = if asks {
            text
        } else {
            text.replace(";rport", "")
        };
        rig.feed(from, &text);
        let answer = rig.to(back);
        let via = answer.the("Via");
        for param in says.split(';') {
            assert!(via.contains(param), "{via}: {param}");
        }
        rig.forgets();
    }
}

#[test]
fn a_response_goes_back_over_the_stream_its_request_came_on() {
    let mut rig = Rig::with_bob();
    let text = request("MESSAGE", TO_BOB, "10.0.0.1:5060;branch=z9hG4bK-t", &[])
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    rig.feed_on(rig::tcp("192.0.2.10:49152"), &text);
    let sent = rig.to(BOB);
    // Without Content-Length, as a datagram may be.
    let text = answer(&sent, 486, "b", &[]).replace("Content-Length: 0\r\n", "");
    rig.feed(BOB, &text);
    let answer = rig.to("192.0.2.10:49152");
    assert_eq!((answer.status(), answer.the("Content-Length")), (486, "0"));
    assert!(answer.flow.transport.is_reliable());
    rig.forgets();
}

#[test]
fn an_in_dialog_request_reaches_a_caller_on_a_stream() {
    let mut rig = Rig::with_bob();
    let alice = "192.0.2.10:49152";
    let contact = "Contact: <sip:alice@10.0.0.1:5060;transport=tcp>";
    let text = request(
        "INVITE",
        TO_BOB,
        "10.0.0.1:5060;branch=z9hG4bK-t",
        &[contact],
    );
    rig.feed_on(rig::tcp(alice), &text.replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    rig.to(alice);
    let sent = rig.to(BOB);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    rig.take();
    let routes: Vec<_> = sent
        .headers("Record-Route")
        .iter()
        .map(|route| format!("Route: {route}"))
        .collect();
    let mut lines = vec![
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
    ];
    lines.extend(routes.iter().map(String::as_str));
    let uri = "sip:alice@10.0.0.1:5060;transport=tcp";
    rig.feed(
        BOB,
        &request("BYE", uri, "192.0.2.20:5060;branch=z9hG4bK-b", &lines),
    );
    let bye = rig.to(alice);
    assert!(bye.flow.transport.is_reliable());
    assert_eq!((bye.method(), bye.header("Route")), ("BYE", None));
    rig.feed_on(rig::tcp(alice), &answer(&bye, 200, "a", &[]));
    rig.forgets();
}

#[test]
fn a_name_is_resolved_before_the_request_leaves() {
    let mut rig = Rig::new();
    rig.feed(
        ALICE,
        &message("sip:eve@elsewhere.example:5070;transport=udp", &[]),
    );
    rig.quiet();
    let asked = &rig.output.resolves[0];
    assert_eq!(
        (asked.port, asked.transport),
        (Some(5070), Some(transaction::Transport::Udp))
    );
    rig.resolve("elsewhere.example", &[DAVE]);
    let sent = rig.to(DAVE);
    assert_eq!(sent.uri(), "sip:eve@elsewhere.example:5070;transport=udp");
    rig.feed(DAVE, &answer(&sent, 200, "d", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.forgets();
}

#[test]
fn a_name_that_leads_nowhere_is_answered_with_502() {
    let mut rig = Rig::new();
    rig.feed(ALICE, &message("sip:eve@elsewhere.example", &[]));
    rig.resolve("elsewhere.example", &[]);
    assert_eq!(rig.to(ALICE).status(), 502);
    rig.feed(
        ALICE,
        &request("INVITE", "sip:eve@elsewhere.example", VIA, &[]),
    );
    rig.take();
    rig.resolve("elsewhere.example", &["[2001:db8::1]:5060"]);
    assert_eq!(rig.to(ALICE).status(), 502);
    rig.forgets();
}

#[test]
fn a_place_without_a_way_there_is_answered_with_502() {
    let mut rig = Rig::new();
    for uri in ["sip:eve@[2001:db8::1]", "sip:eve@192.0.2.40;transport=sctp"] {
        refused(
            &mut rig,
            &message(uri, &[]).replace("-r1", &format!("-{}", uri.len())),
            502,
        );
    }
    rig.forgets();
}

#[test]
fn the_next_address_is_tried_when_one_fails() {
    // By silence, by ICMP, by 503.
    for way in 0..3 {
        let mut rig = Rig::new();
        rig.feed(
            ALICE,
            &request("INVITE", "sip:eve@elsewhere.example", VIA, &[]),
        );
        rig.resolve("elsewhere.example", &[CAROL, DAVE]);
        let first = rig.to(CAROL);
        match way {
            0 => rig.wait(32_100),
            1 => rig.undelivered(&first),
            _ => rig.feed(CAROL, &answer(&first, 503, "c", &[])),
        }
        let second = rig.to(DAVE);
        assert_ne!(first.branch(), second.branch());
        rig.take();
        rig.feed(DAVE, &answer(&second, 486, "d", &[]));
        assert_eq!(rig.to(ALICE).status(), 486);
        rig.forgets();
    }
}

#[test]
fn when_no_address_is_left_a_503_becomes_500() {
    let mut rig = Rig::new();
    rig.feed(
        ALICE,
        &request("INVITE", "sip:eve@elsewhere.example", VIA, &[]),
    );
    rig.resolve("elsewhere.example", &[CAROL, DAVE]);
    let first = rig.to(CAROL);
    rig.undelivered(&first);
    let second = rig.to(DAVE);
    rig.take();
    rig.feed(DAVE, &answer(&second, 503, "d", &["Retry-After: 100"]));
    let refusal = rig.to(ALICE);
    assert_eq!(
        (refusal.status(), refusal.header("Retry-After")),
        (500, None)
    );
    rig.forgets();
}

#[test]
fn a_cancel_while_a_name_is_resolved_ends_it() {
    let mut rig = Rig::new();
    let uri = "sip:eve@elsewhere.example";
    rig.feed(ALICE, &request("INVITE", uri, VIA, &[]));
    rig.take();
    rig.feed(ALICE, &request("CANCEL", uri, VIA, &[]));
    let mut statuses: Vec<_> = rig.take().iter().map(Sip::status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 487]);
    // The answer to the look-up comes too late.
    rig.resolve("elsewhere.example", &[DAVE]);
    rig.quiet();
    rig.forgets();
}

#[test]
fn an_ack_waits_for_its_name() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    let (route, to) = (
        format!("Route: {}", ok.the("Record-Route")),
        format!("To: {}", ok.the("To")),
    );
    let uri = "sip:bob@phone.example";
    let via = "192.0.2.10:5060;branch=z9hG4bK-ack";
    rig.feed(ALICE, &request("ACK", uri, via, &[&route, &to]));
    rig.quiet();
    rig.resolve("phone.example", &[BOB]);
    let ack = rig.to(BOB);
    assert_eq!(
        (ack.method(), ack.uri(), ack.header("Route")),
        ("ACK", uri, None)
    );
    rig.feed(ALICE, &request("ACK", uri, via, &[&route, &to]));
    rig.resolve("phone.example", &[]);
    rig.quiet();
    rig.feed(
        ALICE,
        &bye(ok.the("Record-Route"), &ok, "sip:bob@192.0.2.20:5060"),
    );
    rig.forgets();
}

#[test]
fn responses_that_belong_to_nothing_are_dropped() {
    let mut rig = Rig::with_bob();
    rig.feed(ALICE, &message(TO_BOB, &[]));
    let sent = rig.to(BOB);
    let ok = answer(&sent, 200, "b", &[]);
    rig.feed(
        BOB,
        &ok.replace(&sent.branch()[..20], "z9hG4bK0000000000000"),
    );
    rig.feed(BOB, &ok.replace("CSeq: 1 MESSAGE", "CSeq: 1 INVITE"));
    assert_eq!(rig.edge.counted().of("stray-response"), 2);
    rig.feed(
        BOB,
        &ok.replace("Via: SIP/2.0/UDP 192.0.2.1", "Via: SIP/2.0 192.0.2.1"),
    );
    rig.feed(BOB, "SIP/2.0 200 OK\r\nVia: what\r\n\r\n");
    rig.feed(BOB, "\r\n\r\n");
    rig.feed(BOB, "nonsense");
    rig.quiet();
    rig.feed(BOB, &ok);
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.feed(BOB, &ok);
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_final_response_without_the_callers_via_ends_its_branch() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    let via = format!("Via: {}\r\n", sent.headers("Via")[1]);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]).replace(&via, ""));
    assert_eq!(rig.to(ALICE).status(), 502);
    rig.forgets();
}

#[test]
fn a_lost_flow_ends_what_waits_on_it() {
    // Before anything was heard, and while it rings.
    for rings in [false, true] {
        let mut rig = Rig::with_bob();
        let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
        if rings {
            rig.feed(BOB, &answer(&sent, 180, "b", &[]));
            assert_eq!(rig.to(ALICE).status(), 180);
        }
        rig.break_flow(BOB);
        assert_eq!(rig.to(ALICE).status(), 500);
        assert_eq!(rig.edge.counters().calls_failed, 1);
        rig.forgets();
    }
}

#[test]
fn a_message_nobody_answers_gets_no_408() {
    let mut rig = Rig::with_bob();
    rig.feed(ALICE, &message(TO_BOB, &[]));
    rig.wait(60_000);
    assert!(
        rig.take()
            .iter()
            .all(|sent| sent.flow.remote.to_string() == BOB)
    );
    rig.has_forgotten();
    // Nor is one passed on.
    rig.feed(ALICE, &message(TO_BOB, &[]));
    let sent = rig.to(BOB);
    rig.feed(BOB, &answer(&sent, 408, "b", &[]));
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_message_gets_no_ringing() {
    let mut rig = Rig::with_bob();
    rig.feed(ALICE, &message(TO_BOB, &[]));
    let sent = rig.to(BOB);
    rig.feed(BOB, &answer(&sent, 183, "b", &[]));
    rig.quiet();
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.forgets();
}

#[test]
fn a_draining_edge_takes_nothing_new_and_ends_what_there_is() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[]));
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    let ok = rig.to(ALICE);
    rig.edge.drain(true);
    let refusal = refused(&mut rig, &message(TO_BOB, &[]), 503);
    assert_eq!(refusal.the("Retry-After"), "5");
    rig.feed(
        ALICE,
        &bye(ok.the("Record-Route"), &ok, "sip:bob@192.0.2.20:5060"),
    );
    let bye = rig.to(BOB);
    rig.feed(BOB, &answer(&bye, 200, "b", &[]));
    assert_eq!(rig.to(ALICE).status(), 200);
    rig.edge.drain(false);
    rig.feed(ALICE, &message(TO_BOB, &[]).replace("-r1", "-r9"));
    assert_eq!(rig.to(BOB).method(), "MESSAGE");
    rig.forgets();
}

#[test]
fn compact_forms_folds_and_lists_are_read() {
    let mut rig = Rig::with_bob();
    let text = "MESSAGE sip:bob@example.org SIP/2.0\r\n\
                v: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1 ,\r\n SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK-0\r\n\
                f: <sip:alice@example.org>;tag=a\r\nt:\r\n <sip:bob@example.org>\r\ni: 1\r\n\
                CSeq: 1\r\n MESSAGE\r\nl: 0\r\n\r\n";
    rig.feed(ALICE, text);
    let sent = rig.to(BOB);
    assert!(
        sent.text.contains("branch=z9hG4bK-1;received=")
            || sent.text.contains("branch=z9hG4bK-1 ,")
    );
    let ours = sent.the("Via").to_owned();
    // The callee puts all of them into one line.
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: {ours}, SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK-0\r\n\
         f: <sip:alice@example.org>;tag=a\r\nt: <sip:bob@example.org>;tag=b\r\ni: 1\r\nCSeq: 1 MESSAGE\r\nl: 0\r\n\r\n"
    );
    rig.feed(BOB, &response);
    let back = rig.to(ALICE);
    let vias =
        "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK-0";
    assert_eq!(back.headers("Via"), [vias]);
    rig.forgets();
}

#[test]
fn several_contacts_in_an_invite_are_the_callees_matter() {
    let mut rig = Rig::with_bob();
    let contacts = "Contact: <sip:alice@192.0.2.10:5060>, <sip:alice@10.0.0.1>";
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &[contacts]));
    assert!(sent.text.contains(contacts));
    rig.feed(BOB, &answer(&sent, 400, "b", &[]));
    assert_eq!(rig.to(BOB).method(), "ACK");
    assert_eq!(rig.to(ALICE).status(), 400);
    rig.forgets();
}

#[test]
fn a_request_without_a_readable_header_is_refused_or_dropped() {
    let mut rig = Rig::with_bob();
    let good = message(TO_BOB, &[]);
    for (from, to, status) in [
        ("Call-ID: call-1", "Call-ID:", 400),
        ("CSeq: 1 MESSAGE", "CSeq: one MESSAGE", 400),
        ("CSeq: 1 MESSAGE", "CSeq: 1 INVITE", 400),
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", 505),
    ] {
        refused(&mut rig, &good.replacen(from, to, 1), status);
    }
    for text in [
        good.replacen("Via: SIP", "Via: ", 1),
        "MESSAGE sip:a SIP/2.0\r\n\r\n".to_owned(),
    ] {
        rig.feed(ALICE, &text);
        assert!(rig.take().iter().all(|sent| sent.status() == 400));
    }
    // An ACK is never answered.
    rig.feed(
        ALICE,
        &good
            .replace("MESSAGE", "ACK")
            .replacen("Call-ID: call-1", "Call-ID:", 1),
    );
    rig.quiet();
    rig.forgets();
}

#[test]
fn prack_and_update_travel_before_the_answer() {
    let mut rig = Rig::with_bob();
    let sent = rig.invite(&request("INVITE", TO_BOB, VIA, &["Supported: 100rel"]));
    rig.feed(
        BOB,
        &answer(&sent, 183, "b", &["RSeq: 1", "Require: 100rel"]),
    );
    let early = rig.to(ALICE);
    let (route, to) = (
        format!("Route: {}", early.the("Record-Route")),
        format!("To: {}", early.the("To")),
    );
    for (method, cseq) in [("PRACK", "CSeq: 2 PRACK"), ("UPDATE", "CSeq: 3 UPDATE")] {
        let via = format!("192.0.2.10:5060;branch=z9hG4bK-{method}");
        rig.feed(
            ALICE,
            &request(
                method,
                "sip:bob@192.0.2.20:5060",
                &via,
                &[&route, &to, cseq],
            ),
        );
        let sent = rig.to(BOB);
        assert_eq!((sent.method(), sent.header("Route")), (method, None));
        rig.feed(BOB, &answer(&sent, 200, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), 200);
    }
    rig.feed(BOB, &answer(&sent, 486, "b", &[]));
    assert_eq!(rig.calls, ["Started", "Ringing", "Failed { status: 486 }"]);
    rig.forgets();
}

#[test]
fn a_notify_finds_its_subscriber_behind_nat() {
    let mut rig = Rig::with_bob();
    let alice = "192.0.2.10:40000";
    let contact = "Contact: <sip:alice@10.0.0.1:5060>";
    rig.feed(
        alice,
        &request(
            "SUBSCRIBE",
            TO_BOB,
            "10.0.0.1:5060;branch=z9hG4bK-s",
            &[contact],
        ),
    );
    let sent = rig.to(BOB);
    let route = format!("Route: {}", sent.the("Record-Route"));
    // It may overtake the 200.
    let lines = [
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
        &route,
    ];
    rig.feed(
        BOB,
        &request(
            "NOTIFY",
            "sip:alice@10.0.0.1:5060",
            "192.0.2.20:5060;branch=z9hG4bK-n",
            &lines,
        ),
    );
    let notify = rig.to(alice);
    assert_eq!((notify.method(), notify.header("Route")), ("NOTIFY", None));
    rig.feed(alice, &answer(&notify, 200, "a", &[]));
    assert_eq!(rig.to(BOB).status(), 200);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    assert_eq!(rig.to(alice).status(), 200);
    rig.forgets();
}

#[test]
fn a_phone_whose_stream_closed_is_tried_where_its_contact_says() {
    for is_closed in [false, true] {
        let mut rig = Rig::new();
        let stream = "192.0.2.20:49152";
        let contact = "sip:bob@192.0.2.20:5060;transport=tcp";
        rig.bind("bob", contact, 1_000, Some(rig::tcp(stream)), "");
        if is_closed {
            rig.users.closed.insert(stream.parse().expect("an address"));
        }
        rig.feed(ALICE, &message(TO_BOB, &[]));
        let sent = rig.to(if is_closed { BOB } else { stream });
        assert!(sent.flow.transport.is_reliable());
        rig.feed_on(sent.flow, &answer(&sent, 200, "b", &[]));
        assert_eq!(rig.to(ALICE).status(), 200);
        rig.forgets();
    }
}

#[test]
fn a_dialog_follows_its_phone_to_another_stream() {
    let mut rig = Rig::with_bob();
    let (before, after) = ("192.0.2.10:49152", "192.0.2.10:50000");
    let uri = "sip:alice@10.0.0.1:5060;transport=tcp";
    let text = request(
        "INVITE",
        TO_BOB,
        "10.0.0.1:5060;branch=z9hG4bK-t",
        &[&format!("Contact: <{uri}>")],
    );
    rig.feed_on(
        rig::tcp(before),
        &text.replace("SIP/2.0/UDP", "SIP/2.0/TCP"),
    );
    rig.to(before);
    let sent = rig.to(BOB);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    rig.take();
    rig.users.closed.insert(before.parse().expect("an address"));
    rig.bind("alice", uri, 1_000, Some(rig::tcp(after)), "");
    let routes: Vec<_> = sent
        .headers("Record-Route")
        .iter()
        .map(|route| format!("Route: {route}"))
        .collect();
    let mut lines = vec![
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
    ];
    lines.extend(routes.iter().map(String::as_str));
    rig.feed(
        BOB,
        &request("BYE", uri, "192.0.2.20:5060;branch=z9hG4bK-b", &lines),
    );
    let bye = rig.to(after);
    assert_eq!((bye.method(), bye.header("Route")), ("BYE", None));
    rig.feed_on(rig::tcp(after), &answer(&bye, 200, "a", &[]));
    assert_eq!(rig.to(BOB).status(), 200);
    rig.forgets();
}

#[test]
fn a_stranger_who_learned_a_cookie_reaches_the_caller_and_nobody_else() {
    // What the callee of a call knows: the cookie, the Call-ID and both tags.
    let foreign_route = "<sip:203.0.113.9:9999;lr>";
    for (uri, more) in [
        ("sip:victim@203.0.113.9:9999", None),
        ("sip:bob@example.org", None),
        ("sip:alice@192.0.2.10:5060", Some(foreign_route)),
        ("sip:alice@host.example.net", None),
    ] {
        let mut rig = Rig::with_bob();
        let mut route = format!("Route: {}", dialog(&mut rig));
        if let Some(more) = more {
            route = format!("{route}, {more}");
        }
        let lines = [
            "From: <sip:eve@elsewhere.example>;tag=b",
            "To: <sip:alice@example.org>;tag=a",
            "CSeq: 7 MESSAGE",
            &route,
        ];
        let via = "198.51.100.7:5060;branch=z9hG4bK-t";
        rig.feed(rig::STRANGER, &request("MESSAGE", uri, via, &lines));
        let sent = rig.to(ALICE);
        assert_eq!(sent.method(), "MESSAGE", "{uri}");
        rig.feed(ALICE, &answer(&sent, 481, "a", &[]));
        assert_eq!(rig.to(rig::STRANGER).status(), 481);
        rig.quiet();
        rig.forgets();
    }
}

#[test]
fn a_stranger_who_learned_a_cookie_does_not_pass_for_the_caller() {
    let mut rig = Rig::with_bob();
    let route = format!("Route: {}", dialog(&mut rig));
    let lines = [
        "From: <sip:alice@example.org>;tag=a",
        "To: <sip:bob@example.org>;tag=b",
        "CSeq: 7 MESSAGE",
        &route,
    ];
    let via = "198.51.100.7:5060;branch=z9hG4bK-t";
    let text = request("MESSAGE", "sip:victim@203.0.113.9:9999", via, &lines);
    rig.feed(rig::STRANGER, &text);
    assert_eq!(rig.to(rig::STRANGER).status(), 407);
    rig.quiet();
    rig.forgets();
}
