//! What the checks promise.

use super::*;
use crate::message::{Index, Limits};

const INVITE: &str = "INVITE sip:bob@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:192.0.2.9;lr>\r\n\
    From: <sip:alice@example.org>;tag=a\r\n\
    To: <sip:bob@example.org>\r\n\
    Call-ID: c@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1>\r\n\
    Content-Length: 0\r\n\r\n";

fn verdicts(text: &str) -> (Option<Defect>, Option<Defect>) {
    let mut index = Index::new();
    let limits = Limits::default();
    let message = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    (
        check(&message, Requirement::Proxy).err(),
        check(&message, Requirement::Element).err(),
    )
}

#[test]
fn an_ordinary_message_passes() {
    assert_eq!(verdicts(INVITE), (None, None));
    let response = INVITE.replace("INVITE sip:bob@example.org SIP/2.0", "SIP/2.0 200 OK");
    assert_eq!(verdicts(&response), (None, None));
}

#[test]
fn each_mandatory_header_is_missed_doubled_and_read() {
    for (name, line) in [
        (
            HeaderName::Via,
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n",
        ),
        (HeaderName::From, "From: <sip:alice@example.org>;tag=a\r\n"),
        (HeaderName::To, "To: <sip:bob@example.org>\r\n"),
        (HeaderName::CallId, "Call-ID: c@192.0.2.1\r\n"),
        (HeaderName::CSeq, "CSeq: 1 INVITE\r\n"),
    ] {
        let missing = Some(Defect::Missing(name));
        assert_eq!(verdicts(&INVITE.replace(line, "")), (missing, missing));
        let malformed = Some(Defect::Malformed(name));
        let text = INVITE.replace(line, &format!("{}: \r\n", name.as_str()));
        assert_eq!(verdicts(&text), (malformed, malformed), "{text}");
        if name != HeaderName::Via {
            let repeated = Some(Defect::Repeated(name));
            let text = INVITE.replace(line, &format!("{line}{line}"));
            assert_eq!(verdicts(&text), (repeated, repeated));
        }
    }
}

#[test]
fn what_routing_depends_on_is_checked_for_everybody() {
    for (from, to, defect) in [
        (
            "sip:bob@example.org SIP",
            "sip:bob@ SIP",
            Defect::RequestUri,
        ),
        (
            "sip:bob@example.org SIP",
            "sip:bob@example.org?Route=x SIP",
            Defect::RequestUri,
        ),
        ("CSeq: 1 INVITE", "CSeq: 1 invite", Defect::CSeqMethod),
        (
            "CSeq: 1 INVITE",
            "CSeq: 2147483648 INVITE",
            Defect::Malformed(HeaderName::CSeq),
        ),
        (
            "Max-Forwards: 70",
            "Max-Forwards: 256",
            Defect::Malformed(HeaderName::MaxForwards),
        ),
        (
            "Max-Forwards: 70",
            "Max-Forwards: 7\r\nMax-Forwards: 7",
            Defect::Repeated(HeaderName::MaxForwards),
        ),
        (
            "<sip:192.0.2.9;lr>",
            "sip:192.0.2.9;lr",
            Defect::Malformed(HeaderName::Route),
        ),
        (
            "<sip:192.0.2.9;lr>",
            "<sip:192.0.2.9;lr>,",
            Defect::Malformed(HeaderName::Route),
        ),
        (
            "<sip:192.0.2.9;lr>",
            "<sip:;lr>",
            Defect::Malformed(HeaderName::Route),
        ),
        ("c@192.0.2.1", "c d", Defect::Malformed(HeaderName::CallId)),
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", Defect::Version),
        ("Length: 0", "Length: 1", Defect::ShortBody),
    ] {
        let text = INVITE.replace(from, to);
        assert_ne!(text, INVITE);
        assert_eq!(verdicts(&text), (Some(defect), Some(defect)), "{to}");
    }
}

#[test]
fn what_only_the_last_element_reads_is_forwarded() {
    for (from, to, name) in [
        ("<sip:alice@example.org>;", "<alice:>;", HeaderName::From),
        ("<sip:bob@example.org>\r", "<sip:>\r", HeaderName::To),
        ("<sip:alice@192.0.2.1>", "<sip:@>", HeaderName::Contact),
        ("<sip:alice@192.0.2.1>", "sip:a?b", HeaderName::Contact),
    ] {
        let (proxy, element) = verdicts(&INVITE.replace(from, to));
        assert_eq!(proxy, None, "{to}");
        let allowed = name == HeaderName::From && element.is_none();
        assert!(
            allowed || element == Some(Defect::Malformed(name)),
            "{to} {element:?}"
        );
    }
    let two = INVITE.replace("Contact: ", "Contact: <sip:a@b>, ");
    let repeated = Some(Defect::Repeated(HeaderName::Contact));
    assert_eq!(verdicts(&two), (None, repeated));
}

#[test]
fn every_defect_has_an_answer_and_a_label() {
    let (status, reason) = Defect::Missing(HeaderName::To).status();
    assert_eq!((status, reason), (400, "Missing To"));
    assert_eq!(Defect::Version.status().0, 505);
    assert_eq!(Defect::Scheme.status().0, 416);
    assert_eq!(Defect::ShortBody.label(), "short-body");
}
