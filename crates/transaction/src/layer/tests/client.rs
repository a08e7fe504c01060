//! Client transactions.

use super::*;

#[test]
fn timer_a_doubles_until_timer_b_ends_the_invite() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    assert_eq!(rig.sent_lines().len(), 1);
    let (sent, fired) = rig.pass(40_000);
    assert_times(&sent, &[500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_times(&fired, &[32_000, 32_000]);
    let timeout = Fired::ClientTimeout { client, user: 5 };
    assert_eq!(
        times(&fired),
        [timeout, Fired::ClientGone { client, user: 5 }]
    );
    rig.assert_empty();
}

#[test]
fn over_tcp_nothing_is_sent_again_and_timers_b_and_f_still_end_it() {
    for method in ["INVITE", "BYE"] {
        let mut rig = Rig::new();
        let (client, _) = rig.begin_client(method, TCP, 5);
        rig.sent();
        let (sent, fired) = rig.pass(40_000);
        assert!(sent.is_empty());
        assert_times(&fired, &[32_000, 32_000]);
        assert_eq!(fired[0].1, Fired::ClientTimeout { client, user: 5 });
        rig.assert_empty();
    }
}

#[test]
fn timer_e_doubles_up_to_t2_until_timer_f() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("BYE", UDP, 5);
    rig.sent();
    let (sent, fired) = rig.pass(40_000);
    let at = [
        500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    assert_times(&sent, &at);
    assert_times(&fired, &[32_000, 32_000]);
    assert_eq!(fired[0].1, Fired::ClientTimeout { client, user: 5 });
    rig.assert_empty();
}

#[test]
fn a_provisional_response_slows_a_non_invite_to_t2_and_does_not_stop_it() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("OPTIONS", UDP, 5);
    rig.sent();
    rig.pass(100);
    assert!(rig.answer(client, 183, "OPTIONS"));
    let (sent, _) = rig.pass(12_000);
    assert_times(&sent, &[400, 4_400, 8_400]);
    assert!(rig.answer(client, 200, "OPTIONS"));
    let (sent, fired) = rig.pass(10_000);
    assert!(sent.is_empty());
    assert_times(&fired, &[5_000]);
    rig.assert_empty();
}

#[test]
fn a_final_response_to_a_non_invite_comes_once() {
    for (transport, linger) in [(UDP, &[5_000][..]), (TCP, &[0])] {
        let mut rig = Rig::new();
        let (client, branch) = rig.begin_client("BYE", transport, 5);
        assert_eq!(
            rig.layer.find_client(branch, sip::Method::Bye),
            Some((client, 5))
        );
        assert_eq!(rig.layer.find_client(branch, sip::Method::Invite), None);
        assert_eq!(rig.layer.find_client(branch, sip::Method::Cancel), None);
        assert!(rig.answer(client, 200, "BYE"));
        assert!(!rig.answer(client, 200, "BYE"));
        assert!(!rig.answer(client, 481, "BYE"));
        assert!(!rig.layer.client_is_pending(client));
        rig.sent();
        let (sent, fired) = rig.pass(6_000);
        assert!(sent.is_empty());
        assert_times(&fired, linger);
        assert_eq!(times(&fired), [Fired::ClientGone { client, user: 5 }]);
        assert!(!rig.answer(client, 200, "BYE"), "it is forgotten");
        rig.assert_empty();
    }
}

#[test]
fn a_provisional_response_stops_timer_a_and_starts_timer_c() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    rig.sent();
    assert!(rig.answer(client, 100, "INVITE"));
    rig.pass(100_000);
    assert!(
        rig.answer(client, 180, "INVITE"),
        "and it sets timer C anew"
    );
    let (sent, fired) = rig.pass(100_000);
    assert!(sent.is_empty() && fired.is_empty());
    assert!(rig.answer(client, 100, "INVITE"), "which a 100 does not");
    let (sent, fired) = rig.pass(150_000);
    assert!(sent.is_empty());
    let expected = [85_000, 85_000 + 32_000, 85_000 + 32_000];
    assert_times(&fired, &expected);
    let all = [
        Fired::TimerC { client, user: 5 },
        Fired::ClientTimeout { client, user: 5 },
        Fired::ClientGone { client, user: 5 },
    ];
    assert_eq!(times(&fired), all);
    rig.assert_empty();
}

#[test]
fn every_2xx_to_an_invite_is_delivered_until_timer_m() {
    for transport in [UDP, TCP] {
        let mut rig = Rig::new();
        let (client, _) = rig.begin_client("INVITE", transport, 5);
        rig.sent();
        assert!(rig.answer(client, 180, "INVITE"));
        assert!(rig.answer(client, 200, "INVITE"));
        assert!(rig.answer(client, 200, "INVITE"));
        assert!(!rig.answer(client, 180, "INVITE"));
        assert!(!rig.answer(client, 486, "INVITE"));
        let (sent, fired) = rig.pass(40_000);
        assert!(
            sent.is_empty(),
            "the ACK of a 2xx is not of this layer: {sent:?}"
        );
        assert_times(&fired, &[32_000]);
        assert!(!rig.answer(client, 200, "INVITE"));
        rig.assert_empty();
    }
}

#[test]
fn a_failure_of_an_invite_is_delivered_once_and_acknowledged_each_time() {
    let mut rig = Rig::new();
    let (client, branch) = rig.begin_client("INVITE", UDP, 5);
    rig.sent();
    assert!(rig.answer(client, 486, "INVITE"));
    let ack = rig.sent();
    assert_eq!(ack.len(), 1);
    let expected = format!(
        "ACK sip:bob@example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch:016x}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>;tag=b\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 7 ACK\r\n\
         Route: <sip:192.0.2.44;lr>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(ack[0], expected);
    rig.pass(10_000);
    assert!(!rig.answer(client, 486, "INVITE"));
    assert_eq!(rig.sent(), [expected], "again");
    assert!(rig.answer(client, 200, "INVITE"), "a 2xx may still follow");
    let (sent, fired) = rig.pass(40_000);
    assert!(sent.is_empty());
    assert_times(&fired, &[22_000]);
    rig.assert_empty();
}

#[test]
fn over_tcp_a_failure_is_acknowledged_and_the_invite_is_forgotten() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", TCP, 5);
    rig.sent();
    assert!(rig.answer(client, 603, "INVITE"));
    assert_eq!(rig.sent_lines(), ["ACK sip:bob@example.org SIP/2.0"]);
    assert_eq!(rig.layer.len(), (0, 0));
    assert!(!rig.answer(client, 603, "INVITE"));
    let (_, fired) = rig.pass(1);
    assert_eq!(times(&fired), [Fired::ClientGone { client, user: 5 }]);
    rig.assert_empty();
}

#[test]
fn an_invite_of_any_size_is_acknowledged() {
    let mut rig = Rig::new();
    let mut text = request("INVITE", "z9hG4bKbig");
    let more = "X-Padding: 0123456789\r\n".repeat(5_000);
    text.insert_str(text.find("From:").expect("there is one"), &more);
    let flow = flow(TCP);
    let client = rig
        .layer
        .begin_client(rig.now, true, (9, 5), flow, &mut rig.outbox, |out| {
            out.extend_from_slice(text.as_bytes());
        });
    rig.sent();
    rig.answer(client, 486, "INVITE");
    let ack = rig.sent();
    assert!(ack[0].contains("CSeq: 7 ACK\r\n"), "{}", ack[0]);
    rig.assert_empty();
}

#[test]
fn what_the_transport_cannot_deliver_ends_its_transaction_once() {
    for (method, transport) in [("INVITE", UDP), ("INVITE", TCP), ("BYE", UDP), ("BYE", TCP)] {
        let mut rig = Rig::new();
        let (client, _) = rig.begin_client(method, transport, 5);
        rig.sent();
        let (now, outbox) = (rig.now, &mut rig.outbox);
        assert_eq!(rig.layer.transport_failed(now, client, outbox), Some(5));
        assert_eq!(rig.layer.transport_failed(now, client, outbox), None);
        let (sent, fired) = rig.pass(40_000);
        assert!(sent.is_empty());
        assert_eq!(times(&fired), [Fired::ClientGone { client, user: 5 }]);
        rig.assert_empty();
    }
}

#[test]
fn an_invite_that_was_heard_of_outlives_its_connection() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", TCP, 5);
    rig.answer(client, 180, "INVITE");
    let (now, outbox) = (rig.now, &mut rig.outbox);
    assert_eq!(rig.layer.transport_failed(now, client, outbox), None);
    assert!(rig.layer.client_is_pending(client));
    rig.assert_empty();
}

#[test]
fn the_transactions_that_wait_on_a_flow_are_found() {
    let mut rig = Rig::new();
    let (waiting, _) = rig.begin_client("INVITE", UDP, 1);
    let (answered, _) = rig.begin_client("INVITE", UDP, 2);
    let (other, _) = rig.begin_client("BYE", TCP, 3);
    rig.answer(answered, 200, "INVITE");
    let mut found = Vec::new();
    rig.layer
        .clients_of(|flow| flow.transport == UDP, &mut found);
    assert_eq!(found, [waiting]);
    assert_eq!(rig.layer.client_flow(other), Some(flow(TCP)));
    rig.assert_empty();
}

#[test]
fn a_clock_that_stood_still_sends_once_and_ends_all_that_is_over() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    rig.sent();
    rig.now = rig.now.plus_ms(60_000);
    let (sent, fired) = rig.pass(0);
    assert_eq!(sent.len(), 1);
    let timeout = Fired::ClientTimeout { client, user: 5 };
    assert_eq!(
        times(&fired),
        [timeout, Fired::ClientGone { client, user: 5 }]
    );
    rig.assert_empty();
}
