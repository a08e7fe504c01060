//! Path (RFC 3327 section 5.3), flows (RFC 5626 sections 5.3 and 6) and contacts behind NAT.

mod fixture;

use fixture::{AOR, Registrar, flow, request};
use registrar::{BindingTarget, Change, Refusal, targets};
use transaction::Transport;

const INSTANCE: &str = "\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

fn contact(uri: &str, reg_id: u32) -> String {
    format!("Contact: <{uri}>;+sip.instance={INSTANCE};reg-id={reg_id}")
}

fn target_list(registrar: &Registrar) -> Vec<BindingTarget<'_>> {
    let mut list = Vec::new();
    targets(&registrar.location, AOR, registrar.now, |target| {
        list.push(target)
    });
    list
}

#[test]
fn a_path_is_kept_and_sent_back() {
    let mut registrar = Registrar::new();
    let lines = [
        "Contact: <sip:alice@10.0.0.1>",
        "Path: <sip:p1.example.org;lr>,\r\n <sip:p2.example.org;lr>",
        "Path: \"Third,\r\n one\" <sip:p3.example.org;lr>",
        "Supported: gruu, path",
    ];
    assert_eq!(registrar.register(1, &lines).status, 200);
    let path = "<sip:p1.example.org;lr>, <sip:p2.example.org;lr>, \"Third,   one\" <sip:p3.example.org;lr>";
    assert_eq!(
        registrar.headers(),
        format!(
            "Contact: <sip:alice@10.0.0.1>;expires=3600\r\nPath: {path}\r\n\
             Supported: path, outbound\r\n"
        )
    );
    let [target] = target_list(&registrar)[..] else {
        panic!("one target")
    };
    assert_eq!(target.path, path.as_bytes());
    assert_eq!(target.flow, None, "the path says where to go");
}

#[test]
fn a_path_without_support_is_taken_or_refused_as_the_operator_likes() {
    let lines = [
        "Contact: <sip:alice@10.0.0.1>",
        "Path: <sip:p1.example.org;lr>",
    ];
    let mut registrar = Registrar::new();
    assert_eq!(registrar.register(1, &lines).status, 200);
    registrar.policy.path_needs_support = true;
    let outcome = registrar.register(2, &lines);
    assert_eq!(
        (outcome.status, outcome.refusal),
        (420, Some(Refusal::PathUnsupported))
    );
    assert_eq!(registrar.headers(), "Unsupported: path\r\n");
}

#[test]
fn a_path_that_no_request_could_take_is_refused() {
    let long = format!("Path: <sip:{}.example.org;lr>", "p".repeat(2_100));
    for path in [
        "Path: nonsense",
        "Path: <tel:+1555>",
        "Path: <sip:a",
        "Path: ,",
        &long,
    ] {
        let mut registrar = Registrar::new();
        let outcome =
            registrar.register(1, &["Contact: <sip:a@10.0.0.1>", path, "Supported: path"]);
        assert_eq!(outcome.status, 400, "{path}");
        assert_eq!(registrar.location.bindings(), 0);
    }
}

#[test]
fn a_flow_is_replaced_whatever_its_contact() {
    let mut registrar = Registrar::new();
    let lines = [
        &contact("sip:alice@10.0.0.1:4000", 1),
        "Supported: path, outbound",
    ];
    assert_eq!(registrar.register(1, &lines).status, 200);
    assert_eq!(
        registrar.headers(),
        format!(
            "Contact: <sip:alice@10.0.0.1:4000>;expires=3600;+sip.instance={INSTANCE};reg-id=1\r\n\
             Require: outbound\r\nSupported: path, outbound\r\n"
        )
    );
    // The phone came back with another address and another Call-ID.
    let lines = [
        &contact("sip:alice@10.0.0.2:5000", 1),
        "Supported: path, outbound",
    ];
    let outcome = registrar.send(&request("other", 1, &lines));
    assert_eq!((outcome.status, outcome.durable), (200, true));
    let [Change::Put(row)] = &registrar.reply.changes[..] else {
        panic!("one row")
    };
    assert_eq!(row.id, 1);
    assert_eq!(registrar.uris(), ["sip:alice@10.0.0.2:5000"]);
    // Its second flow is a binding of its own, even with the same contact.
    registrar.now += 1;
    let lines = [
        &contact("sip:alice@10.0.0.2:5000", 2),
        "Supported: path, outbound",
    ];
    registrar.send(&request("third", 1, &lines));
    assert_eq!(registrar.location.bindings(), 2);
    let alternates: Vec<_> = target_list(&registrar)
        .iter()
        .map(|target| (target.id, target.alternate))
        .collect();
    assert_eq!(alternates, [(1, true), (2, false)]);
    let removal = format!("{};expires=0", contact("sip:alice@10.0.0.2:5000", 2));
    registrar.send(&request("third", 2, &[&removal]));
    assert_eq!(registrar.reply.changes, [Change::Delete { id: 2 }]);
}

#[test]
fn a_binding_without_a_flow_becomes_one() {
    let mut registrar = Registrar::new();
    registrar.register(1, &["Contact: <sip:alice@10.0.0.1>"]);
    registrar.register(2, &[&contact("sip:alice@10.0.0.1", 1)]);
    assert_eq!(registrar.location.bindings(), 1);
    assert!(
        !registrar.headers().contains("Require"),
        "not supported, not required"
    );
    registrar.register(3, &["Contact: <sip:alice@10.0.0.1>;expires=0"]);
    assert_eq!(
        registrar.location.bindings(),
        0,
        "the URI is enough to remove it"
    );
}

#[test]
fn a_reg_id_without_an_instance_is_ignored() {
    let mut registrar = Registrar::new();
    let outcome = registrar.register(
        1,
        &[
            "Contact: <sip:alice@10.0.0.1>;reg-id=1",
            "Supported: path, outbound",
        ],
    );
    assert_eq!(outcome.status, 200);
    assert!(!registrar.headers().contains("reg-id") && !registrar.headers().contains("Require"));
}

#[test]
fn a_flow_stands_alone_in_its_registration() {
    let mut registrar = Registrar::new();
    let flow = contact("sip:alice@10.0.0.1", 1);
    let outcome = registrar.register(1, &[&flow, "Contact: <sip:alice@10.0.0.2>"]);
    assert_eq!(
        (outcome.status, outcome.refusal),
        (400, Some(Refusal::SeveralFlows))
    );
    let outcome = registrar.register(1, &[&flow, "Contact: <sip:alice@10.0.0.2>;expires=0"]);
    assert_eq!(outcome.status, 200, "a removal beside it is fine");
}

#[test]
fn behind_a_proxy_flows_need_its_consent() {
    let flow = contact("sip:alice@10.0.0.1", 1);
    let via = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKfirst";
    let path = "Path: <sip:near.example.org;lr>";
    let mut registrar = Registrar::new();
    for lines in [
        &[&flow, via, "Supported: outbound"][..],
        &[&flow, via, path, "Supported: outbound"],
    ] {
        let outcome = registrar.register(1, lines);
        assert_eq!(
            (outcome.status, outcome.refusal),
            (439, Some(Refusal::FirstHopLacksOutbound))
        );
    }
    assert_eq!(registrar.register(1, &[&flow, via]).status, 200);
    assert!(!registrar.headers().contains("reg-id"), "ignored");
    // The proxy nearest to the phone is the last value.
    let path = "Path: <sip:near.example.org;lr>, <sip:edge.example.org;lr;ob>";
    let outcome = registrar.register(2, &[&flow, via, path, "Supported: path, outbound"]);
    assert_eq!(outcome.status, 200);
    assert!(registrar.headers().contains("Require: outbound\r\n"));
}

#[test]
fn a_bad_reg_id_or_instance_is_refused() {
    let long = format!(
        "Contact: <sip:a@10.0.0.1>;+sip.instance=\"<{}>\"",
        "x".repeat(300)
    );
    let bad = [
        &format!("Contact: <sip:a@10.0.0.1>;+sip.instance={INSTANCE};reg-id=0"),
        &format!("Contact: <sip:a@10.0.0.1>;+sip.instance={INSTANCE};reg-id=2147483648"),
        &format!("Contact: <sip:a@10.0.0.1>;+sip.instance={INSTANCE};reg-id"),
        "Contact: <sip:a@10.0.0.1>;+sip.instance=<urn:x>",
        "Contact: <sip:a@10.0.0.1>;+sip.instance=\"<urn:\r\n x>\"",
        &long,
    ];
    for line in bad {
        let mut registrar = Registrar::new();
        assert_eq!(registrar.register(1, &[line]).status, 400, "{line}");
    }
}

#[test]
fn a_contact_behind_nat_is_reached_where_it_came_from() {
    // transport, source, contact, behind NAT, flow used
    let table = [
        (
            Transport::Udp,
            "192.0.2.7:5060",
            "sip:a@192.0.2.7:5060",
            false,
            false,
        ),
        (
            Transport::Udp,
            "192.0.2.7:5060",
            "sip:a@192.0.2.7",
            false,
            false,
        ),
        (
            Transport::Udp,
            "192.0.2.7:5062",
            "sip:a@192.0.2.7",
            true,
            true,
        ),
        (
            Transport::Udp,
            "192.0.2.7:5060",
            "sip:a@10.0.0.7:5060",
            true,
            true,
        ),
        (
            Transport::Udp,
            "192.0.2.7:5060",
            "sip:a@phone.example.org",
            true,
            true,
        ),
        (
            Transport::Udp,
            "[2001:db8::7]:5060",
            "sip:a@[2001:DB8:0::7]",
            false,
            false,
        ),
        (
            Transport::Udp,
            "[2001:db8::7]:5060",
            "sip:a@[2001:db8::8]",
            true,
            true,
        ),
        (
            Transport::Udp,
            "[::ffff:192.0.2.7]:5060",
            "sip:a@192.0.2.7",
            false,
            false,
        ),
        (
            Transport::Tcp,
            "192.0.2.7:40000",
            "sip:a@192.0.2.7;transport=tcp",
            false,
            true,
        ),
        (
            Transport::Tcp,
            "192.0.2.7:40000",
            "sip:a@10.0.0.7;transport=tcp",
            true,
            true,
        ),
    ];
    for (transport, source, uri, behind_nat, use_flow) in table {
        let mut registrar = Registrar::new();
        registrar.flow = flow(transport, source);
        registrar.register(1, &[&format!("Contact: <{uri}>")]);
        let binding = registrar
            .location
            .lookup(AOR, registrar.now)
            .next()
            .expect("a binding");
        assert_eq!(
            (binding.behind_nat(), binding.use_flow()),
            (behind_nat, use_flow),
            "{source} {uri}"
        );
        assert_eq!(binding.flow(), registrar.flow);
        let [target] = target_list(&registrar)[..] else {
            panic!("one target")
        };
        assert_eq!(
            target.flow,
            use_flow.then_some(registrar.flow),
            "{source} {uri}"
        );
    }
}

#[test]
fn through_a_proxy_without_a_path_the_contact_is_all_there_is() {
    let mut registrar = Registrar::new();
    let via = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKfirst";
    registrar.register(1, &["Contact: <sip:a@10.0.0.7>", via]);
    let [target] = target_list(&registrar)[..] else {
        panic!("one target")
    };
    assert_eq!(target.flow, None);
}

#[test]
fn requests_go_to_sip_contacts_only_and_without_their_headers() {
    let mut registrar = Registrar::new();
    let lines = [
        "Contact: <mailto:alice@example.org>, <tel:+1-555-1234>",
        "Contact: <sip:alice@192.0.2.7?Route=%3Csip:evil.example%3E>;q=0.3",
        "Contact: <sips:alice@192.0.2.7>;q=1.0",
    ];
    assert_eq!(registrar.register(1, &lines).status, 200);
    assert_eq!(registrar.location.bindings(), 4, "the others are listed");
    let list: Vec<_> = target_list(&registrar)
        .iter()
        .map(|target| (target.uri, target.q, target.alternate))
        .collect();
    assert_eq!(
        list,
        [
            (&b"sip:alice@192.0.2.7"[..], 300, false),
            (&b"sips:alice@192.0.2.7"[..], 1000, false)
        ]
    );
}

#[test]
fn a_contact_on_another_port_of_the_same_host_is_believed_when_the_via_is_true() {
    for (via_port, use_flow) in [(5062, false), (5060, true)] {
        let mut registrar = Registrar::new();
        registrar.flow = flow(Transport::Udp, "192.0.2.7:5062");
        let text = format!(
            "REGISTER sip:example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.7:{via_port};branch=z9hG4bK1\r\n\
             From: <sip:alice@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\n\
             Call-ID: ports\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\
             Contact: <sip:alice@192.0.2.7:6001>\r\nContent-Length: 0\r\n\r\n"
        );
        registrar.send(text.as_bytes());
        let [target] = target_list(&registrar)[..] else {
            panic!("one target")
        };
        assert_eq!(target.flow.is_some(), use_flow, "{via_port}");
    }
}
