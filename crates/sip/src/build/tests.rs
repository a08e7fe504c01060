//! What messages made from other messages promise.

use super::*;
use crate::message::{Index, Limits};

fn request(via: &str, to: &str) -> String {
    format!(
        "INVITE sip:bob@example.org SIP/2.0\r\n\
         Via: {via}\r\n\
         Via: SIP/2.0/TCP older;branch=z9hG4bK0\r\n\
         Max-Forwards: 70\r\n\
         Record-Route: <sip:192.0.2.8;lr>\r\n\
         Route: <sip:192.0.2.9;lr>, <sip:192.0.2.10;lr>\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: {to}\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 4711 INVITE\r\n\
         Content-Length: 2\r\n\r\nhi"
    )
}

/// The topmost Via after it was stamped.
fn stamped(via: &str, source: &str) -> String {
    let text = request(via, "<sip:bob@example.org>");
    let mut index = Index::new();
    let limits = Limits::default();
    let message = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    let mut splices = Splices::new();
    let via = message.via().expect("it can be read");
    stamp_via(
        &message,
        &via,
        source.parse().expect("an address"),
        &mut splices,
    );
    let mut out = Vec::new();
    splices.write_range(message.buffer(), message.extent(), &mut out);
    let again = index
        .parse(&out, &limits)
        .expect("it still has a start line");
    assert_eq!(again.values(HeaderName::Via).count(), 2);
    let line = again.fields(HeaderName::Via).next().expect("there is one");
    String::from_utf8_lossy(line.value).into_owned()
}

#[test]
fn the_via_of_an_honest_sender_stays_as_it_is() {
    let via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1";
    assert_eq!(stamped(via, "192.0.2.1:9999"), via);
    let six = "SIP/2.0/UDP [2001:db8:0::1];branch=z9hG4bK1";
    assert_eq!(stamped(six, "[2001:db8::1]:5060"), six);
}

#[test]
fn a_name_or_another_address_gets_received() {
    for host in ["192.0.2.2", "pc33.example.org", "[2001:db8::1]:5060"] {
        let via = format!("SIP/2.0/UDP {host};branch=z9hG4bK1");
        assert_eq!(
            stamped(&via, "192.0.2.1:9999"),
            format!("{via};received=192.0.2.1")
        );
        assert_eq!(
            stamped(&via, "[2001:db8::7]:1"),
            format!("{via};received=2001:db8::7")
        );
    }
    assert_eq!(
        stamped("SIP/2.0/UDP h", "192.0.2.1:9"),
        "SIP/2.0/UDP h;received=192.0.2.1"
    );
}

#[test]
fn rport_is_filled_in_and_brings_received() {
    assert_eq!(
        stamped(
            "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1",
            "192.0.2.1:9999"
        ),
        "SIP/2.0/UDP 192.0.2.1;rport=9999;branch=z9hG4bK1;received=192.0.2.1"
    );
    assert_eq!(
        stamped(
            "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 ; rport",
            "192.0.2.1:9999"
        ),
        "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1 ; rport=9999;received=192.0.2.1"
    );
}

#[test]
fn what_a_stranger_filled_in_beforehand_is_overwritten() {
    assert_eq!(
        stamped(
            "SIP/2.0/UDP 10.0.0.1;rport=1;received=10.9.9.9;branch=z9hG4bK1",
            "192.0.2.1:9999"
        ),
        "SIP/2.0/UDP 10.0.0.1;rport=9999;received=192.0.2.1;branch=z9hG4bK1"
    );
    assert_eq!(
        stamped("SIP/2.0/UDP 192.0.2.1;received=\"x;y\"", "192.0.2.1:9999"),
        "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1"
    );
    assert_eq!(
        stamped(
            "SIP/2.0/UDP 192.0.2.1;received;Received = 1",
            "192.0.2.1:9999"
        ),
        "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;received=192.0.2.1"
    );
}

#[test]
fn only_the_first_of_several_values_is_stamped() {
    let text = request(
        "SIP/2.0/UDP h;branch=1, SIP/2.0/UDP i;rport;branch=2",
        "<sip:b@c>",
    );
    let mut index = Index::new();
    let limits = Limits::default();
    let message = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    let mut splices = Splices::new();
    let via = message.via().expect("it can be read");
    stamp_via(
        &message,
        &via,
        "192.0.2.1:9".parse().expect("an address"),
        &mut splices,
    );
    let mut out = Vec::new();
    splices.write_range(message.buffer(), message.extent(), &mut out);
    let out = String::from_utf8_lossy(&out).into_owned();
    let expected =
        "Via: SIP/2.0/UDP h;branch=1;received=192.0.2.1, SIP/2.0/UDP i;rport;branch=2\r\n";
    assert!(out.contains(expected), "{out}");
}

fn answered(to: &str, to_tag: Option<&[u8]>) -> String {
    let text = request("SIP/2.0/UDP h;branch=1", to);
    let mut index = Index::new();
    let limits = Limits::default();
    let message = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    let mut head = Vec::new();
    let tag = response_head(&message, &Splices::new(), &mut head);
    let mut out = Vec::new();
    response(
        &head,
        tag,
        404,
        "Not Found",
        to_tag,
        b"Server: x\r\n",
        &mut out,
    );
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_response_repeats_five_headers_in_their_order() {
    assert_eq!(
        answered("<sip:bob@example.org>", Some(b"t")),
        "SIP/2.0 404 Not Found\r\n\
         Via: SIP/2.0/UDP h;branch=1\r\n\
         Via: SIP/2.0/TCP older;branch=z9hG4bK0\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>;tag=t\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 4711 INVITE\r\n\
         Server: x\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn the_to_tag_is_added_where_there_is_none() {
    for (to, expected) in [
        ("sip:bob@example.org", "To: sip:bob@example.org;tag=t\r\n"),
        ("<sip:b@c>;x=y  ", "To: <sip:b@c>;x=y;tag=t  \r\n"),
        ("<sip:b@c>\r\n ;x=y", "To: <sip:b@c>\r\n ;x=y;tag=t\r\n"),
        ("<sip:b@c>;tag=old", "To: <sip:b@c>;tag=old\r\n"),
        (
            "\"x;tag=no\" <sip:b@c;tag=no>",
            "To: \"x;tag=no\" <sip:b@c;tag=no>;tag=t\r\n",
        ),
    ] {
        let out = answered(to, Some(b"t"));
        assert!(out.contains(expected), "{out}");
        let out = answered(to, None);
        assert!(out.contains(&format!("To: {to}\r\n")), "{out}");
    }
}

#[test]
fn an_ack_and_a_cancel_are_made_from_the_invite() {
    let text = request(
        "SIP/2.0/UDP h;branch=1, SIP/2.0/UDP i;branch=2",
        "<sip:bob@example.org>",
    );
    let (mut index, mut other) = (Index::new(), Index::new());
    let limits = Limits::default();
    let invite = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    let response = "SIP/2.0 486 Busy\r\nTo: <sip:bob@example.org>;tag=z\r\n\r\n";
    let response = other
        .parse(response.as_bytes(), &limits)
        .expect("it has a start line");
    let common = |method: &str, to: &str, reason: &str| {
        format!(
            "{method} sip:bob@example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP h;branch=1\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:192.0.2.9;lr>, <sip:192.0.2.10;lr>\r\n\
             From: <sip:alice@example.org>;tag=a\r\n\
             To: <sip:bob@example.org>{to}\r\n\
             Call-ID: c@192.0.2.1\r\n\
             CSeq: 4711 {method}\r\n\
             {reason}Content-Length: 0\r\n\r\n"
        )
    };
    let mut out = Vec::new();
    ack(&invite, &response, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), common("ACK", ";tag=z", ""));
    out.clear();
    cancel(&invite, b"", &mut out);
    assert_eq!(String::from_utf8_lossy(&out), common("CANCEL", "", ""));
    out.clear();
    cancel(&invite, b"SIP;cause=200", &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        common("CANCEL", "", "Reason: SIP;cause=200\r\n")
    );
}
