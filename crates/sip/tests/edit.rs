//! Indexing, editing and answering one ordinary message.

use sip::{HeaderName, Index, Limits, Method, Span, Splices, build};

const INVITE: &[u8] = b"INVITE sip:bob@example.org;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1]:5060;branch=z9hG4bK0\r\n\
v: SIP/2.0/UDP old.example.org\r\n\
Max-Forwards: 70\r\n\
Route: <sip:10.0.0.9;lr>, <sip:10.0.0.8;lr>,\r\n <sip:10.0.0.7;lr>\r\n\
Route: <sip:10.0.0.6;lr>\r\n\
f: \"A. \\\"Ali\\\" <b>\" <sip:alice@example.org>;tag=1\r\n\
To : Bob <sip:bob@example.org>\r\n\
Call-ID: a@b\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:alice@10.0.0.1>\r\n\
Content-Length: 4\r\n\r\nbodyXX";

fn written(splices: &Splices, message: &sip::Message<'_>) -> String {
    let mut out = Vec::new();
    splices.write_range(message.buffer(), message.extent(), &mut out);
    String::from_utf8(out).expect("the text is UTF-8")
}

#[test]
fn a_message_is_read_in_place() {
    let mut index = Index::new();
    let message = index.parse(INVITE, &Limits::default()).unwrap();
    assert_eq!(message.defect(), None);
    assert_eq!(message.method(), Some(Method::Invite));
    assert_eq!(message.request_uri(), b"sip:bob@example.org;user=phone");
    assert_eq!(message.values(HeaderName::Via).count(), 3);
    assert_eq!(message.via().unwrap().port, Some(5062));
    assert_eq!(message.from().unwrap().tag(), Some(&b"1"[..]));
    assert_eq!(message.from().unwrap().uri, b"sip:alice@example.org");
    assert_eq!(message.values(HeaderName::Route).count(), 4);
    assert_eq!(message.body(), b"body");
    assert_eq!(sip::scan::call_id(INVITE), Some(&b"a@b"[..]));
}

#[test]
fn what_was_not_edited_is_byte_identical() {
    let mut index = Index::new();
    let message = index.parse(INVITE, &Limits::default()).unwrap();
    let text = written(&Splices::new(), &message);
    assert_eq!(text.as_bytes(), &INVITE[..INVITE.len() - 2]);
}

#[test]
fn first_values_go_with_their_lines_when_nothing_is_left() {
    let mut index = Index::new();
    let message = index.parse(INVITE, &Limits::default()).unwrap();
    for (count, left) in [
        (
            1,
            "Route: <sip:10.0.0.8;lr>,\r\n <sip:10.0.0.7;lr>\r\nRoute: <sip:10.0.0.6;lr>\r\n",
        ),
        (
            2,
            "Route: <sip:10.0.0.7;lr>\r\nRoute: <sip:10.0.0.6;lr>\r\n",
        ),
        (3, "Route: <sip:10.0.0.6;lr>\r\n"),
        (4, ""),
        (9, ""),
    ] {
        let mut splices = Splices::new();
        splices.remove_first_values(&message, HeaderName::Route, count);
        let text = written(&splices, &message);
        let start = text.find("Route:").unwrap_or(0);
        let end = text.find("f: ").unwrap();
        assert_eq!(
            if left.is_empty() {
                ""
            } else {
                &text[start..end]
            },
            left,
            "{count}"
        );
    }
}

#[test]
fn splices_may_be_noted_in_any_order() {
    let buffer = b"0123456789";
    let mut splices = Splices::new();
    splices.replace(Span { start: 8, end: 9 }, b"eight");
    splices.insert(2, b"a");
    splices.insert(2, b"b");
    splices.remove(Span { start: 0, end: 1 });
    let mut out = Vec::new();
    splices.write_range(buffer, Span { start: 0, end: 10 }, &mut out);
    assert_eq!(out, b"1ab234567eight9");
}

#[test]
fn a_response_carries_the_stamped_via_and_a_tag() {
    let mut index = Index::new();
    let message = index.parse(INVITE, &Limits::default()).unwrap();
    let mut splices = Splices::new();
    let via = message.via().unwrap();
    build::stamp_via(
        &message,
        &via,
        "192.0.2.7:9999".parse().unwrap(),
        &mut splices,
    );
    let mut head = Vec::new();
    let tag = build::response_head(&message, &splices, &mut head);
    let mut out = Vec::new();
    build::response(&head, tag, 404, "Not Found", Some(b"xyz"), b"", &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("SIP/2.0 404 Not Found\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;rport=9999;received=192.0.2.7, SIP/2.0/TCP"), "{text}");
    assert!(
        text.contains("To : Bob <sip:bob@example.org>;tag=xyz\r\n"),
        "{text}"
    );
    assert!(text.contains("v: SIP/2.0/UDP old.example.org\r\n"));
    assert!(!text.contains("Contact"));
}
