//! CANCEL of what was sent and of what was received.

use sip::Method;

use super::*;

fn cancel(rig: &mut Rig, client: ClientId, reason: &[u8]) -> CancelOutcome {
    rig.layer
        .cancel_client(rig.now, client, reason, &mut rig.outbox)
}

#[test]
fn a_cancel_waits_for_a_provisional_response_and_keeps_its_reason() {
    let mut rig = Rig::new();
    let (client, branch) = rig.begin_client("INVITE", UDP, 5);
    rig.sent();
    let reason = b"SIP ;cause=200 ;text=\"Call completed elsewhere\"";
    assert_eq!(cancel(&mut rig, client, reason), CancelOutcome::Pending);
    assert_eq!(cancel(&mut rig, client, b""), CancelOutcome::Pending);
    assert!(rig.sent().is_empty());
    assert!(rig.answer(client, 100, "INVITE"));
    let sent = rig.sent();
    let expected = format!(
        "CANCEL sip:bob@example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch:016x}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 7 CANCEL\r\n\
         Route: <sip:192.0.2.44;lr>\r\n\
         Reason: {}\r\n\
         Content-Length: 0\r\n\r\n",
        String::from_utf8_lossy(reason),
    );
    assert_eq!(sent, [expected]);
    assert!(rig.answer(client, 180, "INVITE"));
    assert!(rig.sent().is_empty(), "one CANCEL is enough");
    rig.assert_empty();
}

#[test]
fn a_cancel_has_a_transaction_of_its_own_that_nobody_hears_of() {
    for transport in [UDP, TCP] {
        let mut rig = Rig::new();
        let (client, branch) = rig.begin_client("INVITE", transport, 5);
        rig.answer(client, 180, "INVITE");
        rig.sent();
        assert_eq!(cancel(&mut rig, client, b""), CancelOutcome::Sent);
        assert_eq!(cancel(&mut rig, client, b""), CancelOutcome::Sent);
        assert_eq!(rig.sent_lines(), ["CANCEL sip:bob@example.org SIP/2.0"]);
        let (of_cancel, _) = rig
            .layer
            .find_client(branch, Method::Cancel)
            .expect("it is there");
        assert_ne!(of_cancel, client);
        let (of_invite, user) = rig
            .layer
            .find_client(branch, Method::Invite)
            .expect("so is this");
        assert_eq!((of_invite, user), (client, 5));
        let (sent, _) = rig.pass(600);
        assert_eq!(
            sent.len(),
            usize::from(transport == UDP),
            "it is sent again: {sent:?}"
        );
        assert!(
            !rig.answer(of_cancel, 200, "CANCEL"),
            "its answer is nobody's"
        );
        assert!(rig.answer(client, 487, "INVITE"));
        assert_eq!(rig.sent_lines(), ["ACK sip:bob@example.org SIP/2.0"]);
        let (sent, fired) = rig.pass(40_000);
        assert!(sent.is_empty());
        assert_eq!(times(&fired), [Fired::ClientGone { client, user: 5 }]);
        rig.assert_empty();
    }
}

#[test]
fn a_cancelled_invite_without_a_final_response_ends_after_64_t1() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    rig.answer(client, 180, "INVITE");
    cancel(&mut rig, client, b"");
    rig.answer(client, 180, "INVITE");
    let (_, fired) = rig.pass(40_000);
    assert_times(&fired, &[32_000, 32_000]);
    let timeout = Fired::ClientTimeout { client, user: 5 };
    assert_eq!(
        times(&fired),
        [timeout, Fired::ClientGone { client, user: 5 }]
    );
    rig.assert_empty();
}

#[test]
fn a_final_response_makes_a_pending_cancel_idle() {
    for status in [200, 486] {
        let mut rig = Rig::new();
        let (client, _) = rig.begin_client("INVITE", UDP, 5);
        cancel(&mut rig, client, b"SIP;cause=200");
        rig.sent();
        assert!(rig.answer(client, status, "INVITE"));
        let sent = rig.sent_lines();
        assert!(
            sent.iter().all(|line| !line.starts_with("CANCEL")),
            "{sent:?}"
        );
        assert_eq!(cancel(&mut rig, client, b""), CancelOutcome::Over);
        rig.assert_empty();
    }
}

#[test]
fn a_pending_cancel_does_not_stop_timers_a_and_b() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    cancel(&mut rig, client, b"");
    rig.sent();
    let (sent, fired) = rig.pass(40_000);
    assert_eq!(sent.len(), 6);
    assert_times(&fired, &[32_000, 32_000]);
    rig.assert_empty();
}

#[test]
fn timer_c_and_a_cancel_end_with_the_487() {
    let mut rig = Rig::new();
    let (client, _) = rig.begin_client("INVITE", UDP, 5);
    rig.answer(client, 180, "INVITE");
    rig.sent();
    let (_, fired) = rig.pass(186_000);
    assert_eq!(times(&fired), [Fired::TimerC { client, user: 5 }]);
    assert_eq!(cancel(&mut rig, client, b""), CancelOutcome::Sent);
    assert!(rig.answer(client, 487, "INVITE"));
    assert_eq!(rig.sent_lines().len(), 2);
    rig.assert_empty();
}

#[test]
fn nothing_is_cancelled_but_an_invite_without_a_final_response() {
    let mut rig = Rig::new();
    let (bye, _) = rig.begin_client("BYE", UDP, 5);
    assert_eq!(cancel(&mut rig, bye, b""), CancelOutcome::Over);
    let (gone, _) = rig.begin_client("INVITE", TCP, 6);
    rig.answer(gone, 404, "INVITE");
    assert_eq!(cancel(&mut rig, gone, b""), CancelOutcome::Over);
    rig.assert_empty();
}

#[test]
fn a_received_cancel_finds_its_invite_and_is_answered_by_itself() {
    let mut rig = Rig::new();
    let invite = rig.begin_server(&request("INVITE", "z9hG4bKin"), UDP, 5);
    let text = request("CANCEL", "z9hG4bKin");
    let server = rig.begin_server(&text, UDP, 6);
    let mut index = Index::new();
    let message = parse(&mut index, &text);
    let via = message.via().expect("it has one");
    assert_eq!(rig.layer.find_cancelled(&message, &via), Some((invite, 5)));
    assert!(rig.respond(server, 200));
    assert!(rig.respond(invite, 487));
    assert_eq!(
        rig.sent_lines(),
        ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    let other = request("CANCEL", "z9hG4bKother");
    let message = parse(&mut index, &other);
    let via = message.via().expect("it has one");
    assert_eq!(rig.layer.find_cancelled(&message, &via), None);
    rig.assert_empty();
}
