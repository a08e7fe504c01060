//! Registrations, and who may call whom, by SIPp, sipsak and phones of our own.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use sip::digest::Algorithm;

use support::message::Message;
use support::node::password_of;
use support::phone::{Dialog, connect, end};
use support::sipp::{Over, Sipp};
use support::{Node, Phone, program, text};

/// The contacts of a 200, with what is said about each.
fn contacts(answer: &Message) -> Vec<&str> {
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.all("Contact")
}

#[test]
fn sipp_registers_refreshes_and_leaves_over_udp_and_tcp() {
    let node = Node::with_users("", "", &["alice"]);
    let words = [("PASSWORD", &password_of("alice")[..])];
    for over in [Over::Udp, Over::Tcp] {
        let register = Sipp::calls(&node, "register", over, &words, 1);
        register.end().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(node.metric("holdline_bindings"), 0.0);
    }
}

#[test]
fn sipsak_finds_the_node_alive_and_registers() {
    let node = Node::with_users("", "", &["alice"]);
    let address = node.address();
    let sipsak = |arguments: &[&str]| {
        let mut command = Command::new(program("sipsak", "sipsak"));
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.expect("it is there");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let proxy = address.to_string();
    let options = sipsak(&["-vv", "-p", &proxy, "-s", "sip:example.org"]);
    assert!(options.contains("SIP/2.0 200 OK"), "{options}");
    let contact = "sip:alice@127.0.0.1:5999";
    sipsak(&[
        "-U",
        "-C",
        contact,
        "-x",
        "600",
        "-p",
        &proxy,
        "-u",
        "alice",
        "-a",
        &password_of("alice"),
        "-s",
        "sip:alice@example.org",
    ]);
    let bound = node.items("registrations");
    assert_eq!(bound[0]["aor"], "alice@example.org");
    assert_eq!(bound[0]["contact"], contact);
}

#[test]
fn a_phone_proves_itself_by_md5_sha_256_and_sha_512_256() {
    let auth = "[edge.auth]\nalgorithms = [\"SHA-512-256\", \"SHA-256\", \"MD5\"]\n";
    let node = Node::with_users("", auth, &["alice"]);
    for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
        let mut alice = Phone::udp(&node, "alice");
        alice.algorithm = algorithm;
        let challenge = alice.register_text("");
        alice.send(&challenge);
        // The best first, one line for each (RFC 8760 section 2.4).
        let lines = alice.response(401).all("WWW-Authenticate").len();
        assert_eq!(lines, 3);
        let answer = alice.registers(600);
        assert!(
            contacts(&answer)
                .iter()
                .any(|line| line.contains(&alice.contact))
        );
    }
    assert_eq!(node.items("registrations").len(), 3);
}

#[test]
fn nobody_learns_from_a_refusal_who_exists() {
    let node = Node::with_users("", "", &["alice"]);
    let answer_to = |user: &str, password: &str| {
        let mut phone = Phone::udp(&node, user);
        password.clone_into(&mut phone.password);
        let answer = phone.registers(600);
        assert_eq!(answer.status(), 401, "{answer:?}");
        let lines = answer.to_string();
        let lines = lines
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()));
        (
            lines.collect::<Vec<_>>(),
            answer.header("WWW-Authenticate").contains("stale"),
        )
    };
    let wrong = answer_to("alice", "not hers");
    let unknown = answer_to("nobody", "whatever");
    assert_eq!(wrong, unknown);
    assert!(!wrong.1);
    assert_eq!(node.metric("holdline_bindings"), 0.0);
    assert!(!node.log().contains("nobody"), "{}", node.log());
}

#[test]
fn who_proves_to_be_another_user_may_not_register_in_his_place() {
    let node = Node::with_users("", "", &["alice", "mallory"]);
    let mut mallory = Phone::udp(&node, "mallory");
    let aor = mallory.aor();
    let request = mallory
        .register_text("")
        .replace(&aor, "sip:alice@example.org");
    mallory.send(&request);
    let challenge = mallory.response(401);
    let credentials = mallory.credentials(&challenge, "REGISTER", "sip:example.org", 1);
    let contact = format!("{credentials}Contact: <{}>\r\n", mallory.contact);
    let request = mallory
        .register_text(&contact)
        .replace(&aor, "sip:alice@example.org");
    mallory.send(&request);
    mallory.response(403);
    assert_eq!(node.metric("holdline_bindings"), 0.0);
}

#[test]
fn a_captured_request_is_not_worth_anything_to_another_one() {
    let node = Node::with_users("", "", &["alice"]);
    let (mut alice, mut thief) = (Phone::udp(&node, "alice"), Phone::udp(&node, "alice"));
    let request = alice.register_text("");
    alice.send(&request);
    let challenge = alice.response(401);
    let credentials = alice.credentials(&challenge, "REGISTER", "sip:example.org", 1);
    let request = alice.register_text(&format!("{credentials}Contact: <{}>\r\n", alice.contact));
    alice.send(&request);
    alice.response(200);
    // The same request again is a retransmission and changes nothing.
    alice.send(&request);
    alice.hears_nothing(200);
    let stolen = thief.register_text(&format!(
        "{credentials}Contact: <sip:thief@127.0.0.1:9>\r\n"
    ));
    thief.send(&stolen);
    assert_ne!(thief.receive().status(), 200);
    let bound = node.items("registrations");
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0]["contact"], alice.contact);
    // The count goes on where the owner uses the nonce again.
    let again = alice.credentials(&challenge, "REGISTER", "sip:example.org", 2);
    let request = alice.register_text(&again);
    alice.send(&request);
    alice.response(200);
}

#[test]
fn a_binding_ends_when_its_time_is_over() {
    let limits = "[edge.registrar]\nmin_expires_s = 1\n";
    let node = Node::with_users("", limits, &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    contacts(&bob.registers(2));
    assert_eq!(node.items("registrations").len(), 1);
    std::thread::sleep(Duration::from_millis(3_100));
    assert!(contacts(&bob.registers_with("")).is_empty());
    let call = alice.calls("bob");
    alice.refused(&call, 480);
    node.wait_for(|node| node.metric("holdline_bindings") == 0.0);
}

#[test]
fn an_interval_that_is_too_brief_is_answered_with_the_least() {
    let node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let answer = alice.registers(59);
    assert_eq!(answer.status(), 423, "{answer:?}");
    assert_eq!(answer.header("Min-Expires"), "60");
    let contact = format!(
        "Contact: <{}>;expires=10\r\nExpires: 600\r\n",
        alice.contact
    );
    assert_eq!(alice.registers_with(&contact).status(), 423);
    assert!(contacts(&alice.registers_with("")).is_empty());
    assert_eq!(contacts(&alice.registers(60)).len(), 1);
}

#[test]
fn one_address_has_several_contacts_and_a_star_removes_them_all() {
    let node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let lines = "Contact: <sip:alice@127.0.0.1:6001>;q=0.7, <sip:alice@127.0.0.1:6002>\r\n\
                 m: \"Three\" <sip:alice@127.0.0.1:6003>;expires=300\r\nExpires: 600\r\n";
    assert_eq!(contacts(&alice.registers_with(lines)).len(), 3);
    // A fetch changes nothing (RFC 3261 section 10.2.3).
    let fetched = alice.registers_with("");
    let fetched = contacts(&fetched);
    assert_eq!(fetched.len(), 3);
    assert!(fetched[0].contains("q=0.7"), "{fetched:?}");
    let one = "Contact: <sip:alice@127.0.0.1:6002>;expires=0\r\n";
    assert_eq!(contacts(&alice.registers_with(one)).len(), 2);
    for bad in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *, <sip:alice@127.0.0.1:6001>\r\nExpires: 0\r\n",
    ] {
        assert_eq!(alice.registers_with(bad).status(), 400, "{bad}");
    }
    assert_eq!(node.items("registrations").len(), 2);
    let all = "Contact: *\r\nExpires: 0\r\n";
    assert!(contacts(&alice.registers_with(all)).is_empty());
    assert!(node.items("registrations").is_empty());
}

#[test]
fn a_request_older_than_the_last_one_changes_nothing() {
    let node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    alice.registration.1 = 40;
    contacts(&alice.registers(600));
    alice.registration.1 = 10;
    let late = alice.registers(0);
    assert!(late.status() >= 400, "{late:?}");
    assert_eq!(node.items("registrations").len(), 1);
    alice.registration.1 = 50;
    assert!(contacts(&alice.registers(0)).is_empty());
}

#[test]
fn more_contacts_than_allowed_are_refused_whole() {
    let limits = "[edge.registrar]\ncontacts_max = 2\n";
    let node = Node::with_users("", limits, &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let line = |port| format!("Contact: <sip:alice@127.0.0.1:{port}>\r\n");
    contacts(&alice.registers_with(&(line(1) + &line(2))));
    assert_eq!(alice.registers_with(&line(3)).status(), 403);
    assert_eq!(node.items("registrations").len(), 2);
}

#[test]
fn each_call_that_cannot_be_is_refused_with_its_reason() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let mut alice = Phone::udp(&node, "alice");
    let call = alice.calls("nobody");
    alice.refused(&call, 404);
    let call = alice.calls("bob");
    alice.refused(&call, 480);
    // Without proof.
    let mut call = Dialog::out(&alice, "sip:bob@example.org");
    alice.invites(&mut call, "", 407);
    // From one foreigner to another, and to one of ours.
    let mut stranger = Phone::udp(&node, "stranger");
    let mut call = Dialog::out(&stranger, "sip:x@192.0.2.1");
    "sip:stranger@elsewhere.test".clone_into(&mut call.local);
    stranger.invites(&mut call, "", 403);
    let mut call = Dialog::out(&stranger, "sip:bob@example.org");
    "sip:stranger@elsewhere.test".clone_into(&mut call.local);
    stranger.invites(&mut call, "", 407);
    // A Route of his own leads no further.
    let mut call = Dialog::out(&stranger, "sip:x@192.0.2.1");
    "sip:stranger@elsewhere.test".clone_into(&mut call.local);
    call.routes = vec![
        format!("<sip:{};lr>", node.address()),
        "<sip:192.0.2.9;lr>".to_owned(),
    ];
    stranger.invites(&mut call, "", 403);
    // Nor does a dialog that never was.
    call.routes = vec![format!("<sip:{};lr;hl=AALp_zEpqQGi>", node.address())];
    "x".clone_into(&mut call.remote_tag);
    let bye = stranger.within(&mut call, "BYE", "", "");
    stranger.send(&bye);
    let answer = stranger.receive();
    assert!((400..500).contains(&answer.status()), "{answer:?}");
    assert_eq!(node.metric("holdline_requests_forwarded_total"), 0.0);
    assert!(node.metric("holdline_refused_total{reason=\"relay-denied\"}") >= 2.0);
}

#[test]
fn a_call_with_the_proof_of_another_user_is_refused() {
    let node = Node::with_users("", "", &["alice", "bob", "mallory"]);
    let (mut mallory, mut bob) = (Phone::udp(&node, "mallory"), Phone::udp(&node, "bob"));
    bob.registers(600);
    let mut call = Dialog::out(&mallory, "sip:bob@example.org");
    "sip:alice@example.org".clone_into(&mut call.local);
    let challenge = mallory.invites(&mut call, "", 407);
    let credentials = mallory.credentials(&challenge, "INVITE", "sip:bob@example.org", 1);
    mallory.invites(&mut call, &credentials, 403);
    bob.hears_nothing(200);
}

#[test]
fn a_phone_behind_nat_is_reached_where_it_came_from() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    for phone in [&mut alice, &mut bob] {
        phone.contact = format!("sip:{}@192.168.77.5:5060", phone.user);
        contacts(&phone.registers(600));
    }
    // In both directions, to the end of the call.
    let (mut call, mut at_bob) = connect(&mut alice, &mut bob);
    let info = alice.within(&mut call, "INFO", "", "");
    alice.send(&info);
    let info = bob.request("INFO");
    // The contact stays what the phone said: only the way to it differs.
    assert_eq!(info.uri(), bob.contact);
    bob.responds(&info, "200 OK", "");
    alice.response(200);
    end((&mut bob, &mut at_bob), &mut alice);
}

#[test]
fn a_phone_on_tcp_is_reached_over_its_connection() {
    let node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    // Nobody listens where the contact says.
    "sip:bob@192.168.77.5:5060;transport=tcp".clone_into(&mut bob.contact);
    contacts(&bob.registers(600));
    bob.pings();
    let opened = node.metric("holdline_tcp_connections_opened_total");
    let (mut call, _) = connect(&mut alice, &mut bob);
    end((&mut alice, &mut call), &mut bob);
    assert_eq!(node.metric("holdline_tcp_connections_opened_total"), opened);
    drop(bob);
    node.wait_for(|node| node.metric("holdline_tcp_connections") == 0.0);
    let call = alice.calls("bob");
    let answer = alice.receive();
    assert!(
        [100, 408, 430, 480, 500, 502].contains(&answer.status()),
        "{answer:?}"
    );
    alice.cancels(&call);
}
