//! Who is let in, and what a REGISTER gets (RFC 3261 sections 10.3, 22 and 26.3).

mod rig;

use rig::{
    ALICE, BOB, EDGE, Rig, STRANGER, Sip, answer, credentials, credentials_counted, request,
};

const TO_BOB: &str = "sip:bob@example.org";
const BRANCH: &str = "198.51.100.7:5060;branch=z9hG4bK-";

/// A request of a sender who is not trusted; `at` makes branch and CSeq.
fn text(method: &str, uri: &str, at: u32, lines: &[&str]) -> String {
    let cseq = format!("CSeq: {at} {method}");
    let mut all = vec![cseq.as_str(), "Contact: <sip:alice@198.51.100.7:5060>"];
    all.extend(lines);
    request(method, uri, &format!("{BRANCH}{at}"), &all)
}

/// Sends it from [`STRANGER`] and gives the answer.
#[track_caller]
fn ask(rig: &mut Rig, text: &str) -> Sip {
    rig.feed(STRANGER, text);
    rig.to(STRANGER)
}

/// The challenge that a MESSAGE to `uri` gets.
#[track_caller]
fn challenge(rig: &mut Rig, uri: &str) -> String {
    let refusal = ask(rig, &text("MESSAGE", uri, 1, &[]));
    assert_eq!(refusal.status(), 407);
    rig.quiet();
    refusal.the("Proxy-Authenticate").to_owned()
}

#[test]
fn a_sender_without_credentials_is_challenged_and_one_with_them_passes() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    assert!(challenge.contains("realm=\"example.org\"") && challenge.contains("algorithm=MD5"));
    let line = credentials("alice", "a", "MESSAGE", TO_BOB, &challenge);
    rig.feed(
        STRANGER,
        &text(
            "MESSAGE",
            TO_BOB,
            2,
            &[&format!("Proxy-Authorization: {line}")],
        ),
    );
    let sent = rig.to(BOB);
    // They were meant for us.
    assert_eq!(sent.header("Proxy-Authorization"), None);
    rig.feed(BOB, &answer(&sent, 200, "b", &[]));
    assert_eq!(rig.to(STRANGER).status(), 200);
    rig.forgets();
}

#[test]
fn credentials_for_others_travel_on() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    let ours = credentials("alice", "a", "MESSAGE", TO_BOB, &challenge);
    let theirs = ours.replace("realm=\"example.org\"", "realm=\"elsewhere\"");
    let lines = [
        format!("Proxy-Authorization: {theirs}"),
        format!("Proxy-Authorization: {ours}"),
    ];
    rig.feed(
        STRANGER,
        &text("MESSAGE", TO_BOB, 2, &[&lines[0], &lines[1]]),
    );
    assert_eq!(rig.to(BOB).headers("Proxy-Authorization"), [theirs]);
    rig.forgets();
}

#[test]
fn a_wrong_password_is_challenged_again() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    let line = credentials("alice", "wrong", "MESSAGE", TO_BOB, &challenge);
    let again = ask(
        &mut rig,
        &text(
            "MESSAGE",
            TO_BOB,
            2,
            &[&format!("Proxy-Authorization: {line}")],
        ),
    );
    assert_eq!(again.status(), 407);
    assert!(!again.the("Proxy-Authenticate").contains("stale=TRUE"));
    rig.forgets();
}

#[test]
fn an_old_nonce_is_stale() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    let line = credentials("alice", "a", "MESSAGE", TO_BOB, &challenge);
    rig.wait(301_000);
    let again = ask(
        &mut rig,
        &text(
            "MESSAGE",
            TO_BOB,
            2,
            &[&format!("Proxy-Authorization: {line}")],
        ),
    );
    assert_eq!(again.status(), 407);
    assert!(again.the("Proxy-Authenticate").contains("stale=TRUE"));
    rig.forgets();
}

#[test]
fn credentials_cannot_be_played_again() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    let line = credentials("alice", "a", "MESSAGE", TO_BOB, &challenge);
    let line = format!("Proxy-Authorization: {line}");
    rig.feed(STRANGER, &text("MESSAGE", TO_BOB, 2, &[&line]));
    rig.to(BOB);
    assert_eq!(
        ask(&mut rig, &text("MESSAGE", TO_BOB, 3, &[&line])).status(),
        407
    );
    let line = credentials_counted("alice", "a", "MESSAGE", TO_BOB, &challenge, 2);
    rig.feed(
        STRANGER,
        &text(
            "MESSAGE",
            TO_BOB,
            4,
            &[&format!("Proxy-Authorization: {line}")],
        ),
    );
    rig.to(BOB);
    rig.forgets();
}

#[test]
fn credentials_of_another_user_are_refused() {
    let mut rig = Rig::with_bob();
    let challenge = challenge(&mut rig, TO_BOB);
    let line = credentials("carol", "c", "MESSAGE", TO_BOB, &challenge);
    let refusal = ask(
        &mut rig,
        &text(
            "MESSAGE",
            TO_BOB,
            2,
            &[&format!("Proxy-Authorization: {line}")],
        ),
    );
    assert_eq!(refusal.status(), 403);
    rig.forgets();
}

#[test]
fn unreadable_credentials_are_refused() {
    let mut rig = Rig::with_bob();
    let refusal = ask(
        &mut rig,
        &text(
            "MESSAGE",
            TO_BOB,
            2,
            &["Proxy-Authorization: Digest username="],
        ),
    );
    assert_eq!(refusal.status(), 400);
    rig.forgets();
}

#[test]
fn a_stranger_is_not_spoken_for_to_the_rest_of_the_world() {
    let mut rig = Rig::with_bob();
    let from = "From: <sip:eve@elsewhere.example>;tag=a";
    for uri in [
        "sip:mallory@203.0.113.5",
        "sip:mallory@elsewhere.example",
        "tel:+4930123;x=<",
    ] {
        let answer = ask(
            &mut rig,
            &text("MESSAGE", uri, 1, &[from]).replace("bK-1", &format!("bK-{}", uri.len())),
        );
        assert!(matches!(answer.status(), 400 | 403 | 407), "{uri}");
        rig.quiet();
    }
    // Nor by way of a Route.
    let route = "Route: <sip:192.0.2.1;lr>, <sip:203.0.113.5;lr>";
    assert_eq!(
        ask(&mut rig, &text("MESSAGE", TO_BOB, 9, &[from, route])).status(),
        403
    );
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_foreign_caller_of_our_user_is_challenged() {
    let mut rig = Rig::with_bob();
    let from = "From: <sip:eve@elsewhere.example>;tag=a";
    assert_eq!(
        ask(&mut rig, &text("MESSAGE", TO_BOB, 1, &[from])).status(),
        407
    );
    rig.forgets();
}

#[test]
fn a_user_may_hide_his_name_but_not_take_a_foreign_one() {
    for (from, passes) in [
        ("anonymous@anonymous.invalid", true),
        ("eve@elsewhere.example", false),
    ] {
        let mut rig = Rig::with_bob();
        let from = format!("From: <sip:{from}>;tag=a");
        let challenge = ask(&mut rig, &text("MESSAGE", TO_BOB, 1, &[&from]));
        let line = credentials(
            "alice",
            "a",
            "MESSAGE",
            TO_BOB,
            challenge.the("Proxy-Authenticate"),
        );
        let line = format!("Proxy-Authorization: {line}");
        rig.feed(STRANGER, &text("MESSAGE", TO_BOB, 2, &[&from, &line]));
        if passes {
            assert_eq!(
                rig.to(BOB).the("From"),
                "<sip:anonymous@anonymous.invalid>;tag=a"
            );
        } else {
            assert_eq!(rig.to(STRANGER).status(), 403);
        }
        rig.quiet();
        rig.forgets();
    }
}

#[test]
fn a_users_domain_may_be_the_edges_address() {
    let mut rig = Rig::with_bob();
    let from = "From: <sip:alice@192.0.2.1>;tag=a";
    let uri = "sip:bob@192.0.2.1";
    let challenge = ask(&mut rig, &text("MESSAGE", uri, 1, &[from]));
    let line = credentials(
        "alice",
        "a",
        "MESSAGE",
        uri,
        challenge.the("Proxy-Authenticate"),
    );
    rig.feed(
        STRANGER,
        &text(
            "MESSAGE",
            uri,
            2,
            &[from, &format!("Proxy-Authorization: {line}")],
        ),
    );
    assert_eq!(rig.to(BOB).uri(), "sip:bob@192.0.2.20:5060");
    rig.forgets();
}

/// A REGISTER of alice.
fn register(at: u32, lines: &[&str]) -> String {
    let mut all = vec!["To: <sip:alice@example.org>", "Expires: 600"];
    all.extend(lines);
    text("REGISTER", "sip:example.org", at, &all)
}

/// Registers with credentials; gives what was sent, if anything was.
#[track_caller]
fn registered(rig: &mut Rig, at: u32) -> Vec<Sip> {
    let challenge = ask(rig, &register(at, &[]));
    assert_eq!(challenge.status(), 401);
    let line = credentials(
        "alice",
        "a",
        "REGISTER",
        "sip:example.org",
        challenge.the("WWW-Authenticate"),
    );
    rig.feed(
        STRANGER,
        &register(at + 1, &[&format!("Authorization: {line}")]),
    );
    rig.take()
}

#[test]
fn a_register_is_challenged_and_then_answered_with_its_binding() {
    let mut rig = Rig::new();
    let sent = registered(&mut rig, 1);
    assert_eq!((sent.len(), sent[0].status()), (1, 200));
    assert!(
        sent[0]
            .the("Contact")
            .starts_with("<sip:alice@198.51.100.7:5060>;expires=")
    );
    rig.feed(
        BOB,
        &request(
            "MESSAGE",
            "sip:alice@example.org",
            "192.0.2.20:5060;branch=z9hG4bK-m",
            &["From: <sip:bob@example.org>;tag=b"],
        ),
    );
    assert_eq!(rig.to(STRANGER).method(), "MESSAGE");
    rig.forgets();
}

#[test]
fn a_register_waits_until_it_is_stored() {
    let mut rig = Rig::new();
    rig.stores = false;
    assert_eq!(registered(&mut rig, 1).len(), 0);
    assert_eq!(rig.edge.tables().held, 1);
    assert!(!rig.edge.is_idle());
    rig.wait(3_000);
    rig.quiet();
    rig.store(true);
    assert_eq!(rig.to(STRANGER).status(), 200);
    rig.forgets();
}

#[test]
fn a_register_that_cannot_be_stored_gets_503() {
    let mut rig = Rig::new();
    rig.stores = false;
    registered(&mut rig, 1);
    rig.store(false);
    let refusal = rig.to(STRANGER);
    assert_eq!((refusal.status(), refusal.the("Retry-After")), (503, "5"));
    rig.forgets();
}

#[test]
fn a_register_that_is_sent_again_while_it_is_stored_is_absorbed() {
    let mut rig = Rig::new();
    rig.stores = false;
    let challenge = ask(&mut rig, &register(1, &[]));
    let line = credentials(
        "alice",
        "a",
        "REGISTER",
        "sip:example.org",
        challenge.the("WWW-Authenticate"),
    );
    let text = register(2, &[&format!("Authorization: {line}")]);
    rig.feed(STRANGER, &text);
    rig.feed(STRANGER, &text);
    rig.quiet();
    rig.store(true);
    assert_eq!(rig.to(STRANGER).status(), 200);
    rig.feed(STRANGER, &text);
    assert_eq!(rig.to(STRANGER).status(), 200);
    rig.quiet();
    rig.forgets();
}

#[test]
fn a_refresh_does_not_wait_for_the_store() {
    let mut rig = Rig::new();
    registered(&mut rig, 1);
    rig.stores = false;
    rig.wait(1_000);
    let sent = registered(&mut rig, 3);
    assert_eq!((sent.len(), sent[0].status()), (1, 200));
    assert_eq!(
        (rig.output.deferred.len(), rig.output.durable.len()),
        (1, 0)
    );
    let renewals: Vec<_> = rig.output.renewals.iter().map(|(aor, ..)| aor).collect();
    assert_eq!(renewals, [b"alice@example.org"], "the registrar is to hear");
    rig.forgets();
}

#[test]
fn nobody_registers_for_somebody_else() {
    let mut rig = Rig::new();
    let to = "To: <sip:bob@example.org>";
    let register = |at, lines: &[&str]| {
        let mut all = vec![to, "From: <sip:bob@example.org>;tag=b"];
        all.extend(lines);
        text("REGISTER", "sip:example.org", at, &all)
    };
    let challenge = ask(&mut rig, &register(1, &[]));
    let line = credentials(
        "alice",
        "a",
        "REGISTER",
        "sip:example.org",
        challenge.the("WWW-Authenticate"),
    );
    let refusal = ask(&mut rig, &register(2, &[&format!("Authorization: {line}")]));
    assert_eq!(refusal.status(), 403);
    rig.forgets();
}

#[test]
fn a_register_for_another_domain_gets_404() {
    let mut rig = Rig::new();
    let text = text(
        "REGISTER",
        "sip:example.org",
        1,
        &["To: <sip:alice@elsewhere.example>"],
    );
    assert_eq!(ask(&mut rig, &text).status(), 404);
    rig.forgets();
}

#[test]
fn a_register_that_came_a_long_way_is_taken() {
    let mut rig = Rig::new();
    assert_eq!(
        ask(&mut rig, &register(1, &["Max-Forwards: 0"])).status(),
        401
    );
    rig.forgets();
}

#[test]
fn a_draining_edge_takes_no_registrations() {
    let mut rig = Rig::new();
    rig.edge.drain(true);
    assert_eq!(ask(&mut rig, &register(1, &[])).status(), 503);
    rig.forgets();
}

#[test]
fn what_is_asked_of_the_edge_by_its_address_is_answered() {
    let mut rig = Rig::new();
    let uri = format!("sip:{EDGE}");
    let answer = ask(&mut rig, &text("OPTIONS", &uri, 1, &[]));
    assert_eq!(answer.status(), 200);
    rig.forgets();
}

#[test]
fn a_user_who_was_deleted_is_called_no_more_though_bindings_are_left() {
    let mut rig = Rig::with_bob();
    rig.users.passwords.remove("bob");
    rig.feed(
        ALICE,
        &request("MESSAGE", TO_BOB, "192.0.2.10;branch=z9hG4bK-a", &[]),
    );
    assert_eq!(rig.to(ALICE).status(), 404);
    rig.quiet();
    rig.forgets();
}

#[test]
fn an_identity_asserted_by_a_phone_is_taken_out() {
    let mut rig = Rig::with_bob();
    let asserted = "P-Asserted-Identity: <sip:boss@example.org>";
    let via = "198.51.100.7:5060;branch=z9hG4bK-1";
    rig.feed(STRANGER, &request("MESSAGE", TO_BOB, via, &[asserted]));
    let challenge = rig.to(STRANGER).the("Proxy-Authenticate").to_owned();
    let answer = credentials("alice", "a", "MESSAGE", TO_BOB, &challenge);
    let line = format!("Proxy-Authorization: {answer}");
    let via = "198.51.100.7:5060;branch=z9hG4bK-2";
    rig.feed(
        STRANGER,
        &request(
            "MESSAGE",
            TO_BOB,
            via,
            &[
                asserted,
                "P-Preferred-Identity: <sip:alice@example.org>",
                &line,
                "CSeq: 2 MESSAGE",
            ],
        ),
    );
    let sent = rig.to(BOB);
    assert_eq!(sent.header("P-Asserted-Identity"), None);
    assert_eq!(sent.header("P-Preferred-Identity"), None);
    rig.feed(BOB, &rig::answer(&sent, 200, "b", &[]));
    rig.take();
    rig.forgets();
}

/// What a phone that is not trusted gets of a request of a trusted source.
fn told_to_a_phone(lines: &[&str]) -> Sip {
    let mut rig = Rig::new();
    rig.bind("bob", "sip:bob@198.51.100.7:5060", 1_000, None, "");
    let via = "192.0.2.10;branch=z9hG4bK-a";
    rig.feed(ALICE, &request("MESSAGE", TO_BOB, via, lines));
    let sent = rig.to(STRANGER);
    // Its own word of who it is does not count.
    let claims = ["P-Asserted-Identity: <sip:boss@example.org>"];
    rig.feed(STRANGER, &rig::answer(&sent, 200, "b", &claims));
    assert_eq!(rig.to(ALICE).header("P-Asserted-Identity"), None);
    rig.forgets();
    sent
}

#[test]
fn an_identity_that_is_private_goes_to_trusted_parties_only() {
    let asserted = "P-Asserted-Identity: <sip:alice@example.org>, <tel:+49301>";
    for (privacy, is_told) in [
        ("Privacy: none", true),
        ("Subject: no word of it", true),
        ("Privacy: id", false),
        ("Privacy: header; ID;critical", false),
        ("Privacy: user", false),
    ] {
        let sent = told_to_a_phone(&[asserted, privacy]);
        let told = sent.header("P-Asserted-Identity").is_some();
        assert_eq!(told, is_told, "{privacy}");
    }
    let mut rig = Rig::with_bob();
    let via = "192.0.2.10;branch=z9hG4bK-a";
    let lines = [asserted, "Privacy: id"];
    rig.feed(ALICE, &request("MESSAGE", TO_BOB, via, &lines));
    let sent = rig.to(BOB);
    assert!(asserted.ends_with(sent.the("P-Asserted-Identity")));
    // Nor does a phone hear who answers, if that is private.
    rig.feed(BOB, &rig::answer(&sent, 200, "b", &lines));
    assert!(rig.to(ALICE).header("P-Asserted-Identity").is_some());
    rig.forgets();
}
