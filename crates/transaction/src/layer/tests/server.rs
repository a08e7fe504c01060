//! Server transactions.

use super::*;

const INVITE: &str = "z9hG4bKin";

#[test]
fn a_request_again_is_absorbed_and_answered_from_store() {
    for (method, status) in [
        ("INVITE", 180),
        ("OPTIONS", 183),
        ("OPTIONS", 200),
        ("INVITE", 404),
    ] {
        let mut rig = Rig::new();
        let text = request(method, INVITE);
        let server = rig.begin_server(&text, UDP, 5);
        assert_eq!(rig.receive(&text), Request::Retransmission);
        assert!(rig.sent().is_empty(), "nothing was answered yet");
        assert!(rig.respond(server, status));
        let first = rig.sent();
        assert_eq!(rig.receive(&text), Request::Retransmission);
        assert_eq!(rig.sent(), first);
        if status < 200 {
            rig.respond(server, 500);
        }
        rig.assert_empty();
    }
}

#[test]
fn the_last_provisional_response_is_the_one_sent_again() {
    let mut rig = Rig::new();
    let text = request("INVITE", INVITE);
    let server = rig.begin_server(&text, UDP, 5);
    rig.respond(server, 100);
    rig.forward(server, 183);
    rig.sent();
    rig.receive(&text);
    assert_eq!(rig.sent_lines(), ["SIP/2.0 183 X"]);
    rig.respond(server, 500);
    rig.assert_empty();
}

#[test]
fn a_response_made_here_has_a_tag_unless_it_is_a_100() {
    let mut rig = Rig::new();
    let text = request("INVITE", INVITE);
    let server = rig.begin_server(&text, UDP, 5);
    rig.respond(server, 100);
    rig.respond(server, 180);
    rig.forward(server, 183);
    rig.respond(server, 486);
    let sent = rig.sent();
    assert!(
        sent[0].contains("To: <sip:bob@example.org>\r\n"),
        "{}",
        sent[0]
    );
    let tag = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("To:"));
        let line = line.expect("a To").to_owned();
        line.split(";tag=").nth(1).expect("a tag").to_owned()
    };
    assert_eq!(tag(&sent[1]).len(), 16);
    assert_eq!(tag(&sent[1]), tag(&sent[3]), "the same in every response");
    for header in ["Via: ", "From: ", "Call-ID: ", "CSeq: "] {
        let line = text.lines().find(|line| line.starts_with(header));
        assert!(
            sent[3].contains(line.expect("it is in the request")),
            "{}",
            sent[3]
        );
    }
    rig.assert_empty();
}

#[test]
fn a_tag_in_the_request_is_kept() {
    let mut rig = Rig::new();
    let text = request("INVITE", INVITE).replace(
        "To: <sip:bob@example.org>",
        "To: <sip:bob@example.org>;tag=x",
    );
    let server = rig.begin_server(&text, UDP, 5);
    rig.respond(server, 481);
    assert!(rig.sent()[0].contains("To: <sip:bob@example.org>;tag=x\r\n"));
    rig.assert_empty();
}

#[test]
fn a_second_final_response_is_refused() {
    for (method, first) in [("INVITE", 486), ("BYE", 200), ("BYE", 404)] {
        let mut rig = Rig::new();
        let server = rig.begin_server(&request(method, INVITE), UDP, 5);
        assert!(rig.respond(server, first));
        rig.sent();
        for status in [100, 180, 200, 500] {
            assert!(!rig.respond(server, status), "{method} {first} {status}");
            assert!(!rig.forward(server, status), "{method} {first} {status}");
        }
        assert!(rig.sent().is_empty());
        rig.assert_empty();
    }
}

#[test]
fn after_a_2xx_only_a_2xx_from_elsewhere_is_sent() {
    let mut rig = Rig::new();
    let server = rig.begin_server(&request("INVITE", INVITE), UDP, 5);
    assert!(rig.forward(server, 200));
    assert!(rig.forward(server, 200));
    assert!(!rig.forward(server, 180));
    assert!(!rig.forward(server, 486));
    assert!(
        !rig.respond(server, 200),
        "there is nothing to make it from"
    );
    assert!(!rig.respond(server, 486));
    assert_eq!(rig.sent().len(), 2);
    rig.assert_empty();
}

#[test]
fn timer_g_sends_a_failure_again_until_the_ack_and_timer_i_absorbs_more() {
    let mut rig = Rig::new();
    let invite = request("INVITE", INVITE);
    let server = rig.begin_server(&invite, UDP, 5);
    rig.forward(server, 180);
    rig.respond(server, 486);
    rig.sent();
    let (sent, fired) = rig.pass(12_000);
    assert_times(&sent, &[500, 1_500, 3_500, 7_500, 11_500]);
    assert!(sent.iter().all(|(_, line)| line.contains("486")) && fired.is_empty());
    let ack = request("ACK", INVITE);
    assert_eq!(rig.receive(&ack), Request::AckAbsorbed);
    assert_eq!(rig.receive(&ack), Request::AckAbsorbed);
    assert_eq!(rig.receive(&invite), Request::Retransmission);
    let (sent, fired) = rig.pass(10_000);
    assert!(sent.is_empty(), "{sent:?}");
    assert_times(&fired, &[5_000]);
    assert_eq!(times(&fired), [Fired::ServerGone { server, user: 5 }]);
    rig.assert_empty();
}

#[test]
fn without_an_ack_timer_h_ends_a_failure() {
    for transport in [UDP, TCP] {
        let mut rig = Rig::new();
        let server = rig.begin_server(&request("INVITE", INVITE), transport, 5);
        rig.respond(server, 500);
        rig.sent();
        let (sent, fired) = rig.pass(40_000);
        assert_eq!(sent.is_empty(), transport == TCP);
        assert_times(&fired, &[32_000]);
        assert_eq!(times(&fired), [Fired::ServerGone { server, user: 5 }]);
        rig.assert_empty();
    }
}

#[test]
fn over_tcp_the_ack_of_a_failure_ends_it_at_once() {
    let mut rig = Rig::new();
    let server = rig.begin_server(&request("INVITE", INVITE), TCP, 5);
    rig.respond(server, 500);
    assert_eq!(rig.receive(&request("ACK", INVITE)), Request::AckAbsorbed);
    assert!(rig.layer.is_empty());
    rig.assert_empty();
}

#[test]
fn an_ack_in_accepted_is_delivered_and_the_invite_again_is_absorbed_until_timer_l() {
    let mut rig = Rig::new();
    let invite = request("INVITE", INVITE);
    let server = rig.begin_server(&invite, UDP, 5);
    rig.forward(server, 200);
    rig.sent();
    assert_eq!(rig.receive(&request("ACK", INVITE)), Request::AckOfSuccess);
    assert_eq!(rig.receive(&invite), Request::Retransmission);
    let (sent, fired) = rig.pass(40_000);
    assert!(sent.is_empty(), "a 2xx is repeated by the callee: {sent:?}");
    assert_times(&fired, &[32_000]);
    rig.assert_empty();
}

#[test]
fn an_ack_before_any_final_response_is_dropped() {
    let mut rig = Rig::new();
    let server = rig.begin_server(&request("INVITE", INVITE), UDP, 5);
    assert_eq!(rig.receive(&request("ACK", INVITE)), Request::AckAbsorbed);
    rig.respond(server, 500);
    rig.assert_empty();
}

#[test]
fn the_ack_of_a_2xx_with_its_own_branch_is_of_no_transaction() {
    let mut rig = Rig::new();
    let server = rig.begin_server(&request("INVITE", INVITE), UDP, 5);
    rig.forward(server, 200);
    assert!(matches!(
        rig.receive(&request("ACK", "z9hG4bKother")),
        Request::New(_)
    ));
    rig.assert_empty();
}

#[test]
fn timer_j_keeps_the_answer_to_a_non_invite_and_is_zero_over_tcp() {
    for (transport, gone) in [(UDP, 32_000), (TCP, 0)] {
        let mut rig = Rig::new();
        let server = rig.begin_server(&request("REGISTER", INVITE), transport, 5);
        assert!(rig.respond(server, 200));
        assert_eq!(rig.sent_lines(), ["SIP/2.0 200 OK"]);
        let (sent, fired) = rig.pass(40_000);
        assert!(sent.is_empty());
        assert_times(&fired, &[gone]);
        assert_eq!(times(&fired), [Fired::ServerGone { server, user: 5 }]);
        rig.assert_empty();
    }
}

#[test]
fn another_branch_sent_by_or_method_is_another_transaction() {
    let mut rig = Rig::new();
    let text = request("INVITE", INVITE);
    let server = rig.begin_server(&text, UDP, 5);
    let others = [
        request("INVITE", "z9hG4bKin2"),
        text.replace("192.0.2.1:5060;", "192.0.2.1:5061;"),
        request("OPTIONS", INVITE),
        request("CANCEL", INVITE),
    ];
    for other in &others {
        assert!(matches!(rig.receive(other), Request::New(_)), "{other}");
    }
    // With the magic cookie nothing else counts.
    assert_eq!(
        rig.receive(&text.replace("Call-ID: c", "Call-ID: d")),
        Request::Retransmission
    );
    rig.respond(server, 500);
    rig.assert_empty();
}

#[test]
fn requests_of_rfc_2543_are_matched_by_their_fields() {
    for branch in ["1", "z9hG4bK"] {
        let mut rig = Rig::new();
        let text = request("INVITE", branch);
        let server = rig.begin_server(&text, UDP, 5);
        assert_eq!(rig.receive(&text), Request::Retransmission);
        for (from, to) in [
            ("Call-ID: c", "Call-ID: d"),
            ("sip:bob@example.org SIP", "sip:bob@example.net SIP"),
            ("tag=a", "tag=b"),
            ("CSeq: 7", "CSeq: 8"),
        ] {
            let other = text.replace(from, to);
            assert!(matches!(rig.receive(&other), Request::New(_)), "{other}");
        }
        let mut index = Index::new();
        let cancel = request("CANCEL", branch);
        let message = parse(&mut index, &cancel);
        let via = message.via().expect("it has one");
        assert_eq!(rig.layer.find_cancelled(&message, &via), Some((server, 5)));
        rig.respond(server, 486);
        // The ACK has the tag that the response gave.
        let ack =
            request("ACK", branch).replace("bob@example.org>\r\n", "bob@example.org>;tag=z\r\n");
        assert_eq!(rig.receive(&ack), Request::AckAbsorbed);
        rig.assert_empty();
    }
}

#[test]
fn without_a_branch_at_all_a_request_is_matched_too() {
    let mut rig = Rig::new();
    let text = request("BYE", "x").replace(";branch=x", "");
    let server = rig.begin_server(&text, UDP, 5);
    assert_eq!(rig.receive(&text), Request::Retransmission);
    rig.respond(server, 200);
    rig.assert_empty();
}

#[test]
fn a_server_has_its_users_number_and_tells_its_state() {
    let mut rig = Rig::new();
    let server = rig.begin_server(&request("INVITE", INVITE), UDP, 5);
    assert_eq!(rig.layer.server_state(server), Some(State::Proceeding));
    assert_eq!(rig.layer.server_flow(server), Some(flow(UDP)));
    rig.layer.set_server_user(server, 6);
    rig.forward(server, 200);
    assert_eq!(rig.layer.server_state(server), Some(State::Accepted));
    let (_, fired) = rig.pass(40_000);
    assert_eq!(times(&fired), [Fired::ServerGone { server, user: 6 }]);
    assert_eq!(rig.layer.server_state(server), None);
    assert_eq!(rig.layer.server_flow(server), None);
    assert!(!rig.respond(server, 500) && !rig.forward(server, 200));
    rig.assert_empty();
}
