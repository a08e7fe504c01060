use proptest::prelude::*;
use sip::{Index, Limits};

use super::*;

const INVITE: &str = "INVITE sip:200@pbx SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
Record-Route: <sip:192.0.2.1;lr;c=1>, <sip:192.0.2.2;lr>\r\n\
From: \"Ann\" <sip:ann@example.org>;tag=remote\r\n\
To: <sip:200@example.org>\r\n\
Call-ID: call\r\n\
CSeq: 7 INVITE\r\n\
Contact: <sip:ann@192.0.2.9:5070>\r\n\
Content-Length: 0\r\n\r\n";

fn hop() -> Hop {
    Hop {
        transport: b"UDP",
        sent_by: "198.51.100.7:5060".parse().unwrap(),
        branch: 0x2a,
        max_forwards: 70,
    }
}

fn with<R>(text: &str, then: impl FnOnce(&Message<'_>) -> R) -> R {
    let mut index = Index::new();
    then(&index.parse(text.as_bytes(), &Limits::default()).unwrap())
}

fn incoming() -> Dialog {
    with(INVITE, |request| Dialog::incoming(request, b"local")).unwrap()
}

fn request(dialog: &Dialog, method: &str, cseq: u32) -> String {
    let mut out = Vec::new();
    dialog.write_request(method, cseq, &hop(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn who_is_called_sends_along_the_recorded_route() {
    let mut dialog = incoming();
    let cseq = dialog.next_cseq();
    assert_eq!(
        request(&dialog, "BYE", cseq),
        "BYE sip:ann@192.0.2.9:5070 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK000000000000002a;rport\r\n\
         Max-Forwards: 70\r\n\
         Route: <sip:192.0.2.1;lr;c=1>\r\n\
         Route: <sip:192.0.2.2;lr>\r\n\
         From: <sip:200@example.org>;tag=local\r\n\
         To: \"Ann\" <sip:ann@example.org>;tag=remote\r\n\
         Call-ID: call\r\n\
         CSeq: 1 BYE\r\n"
    );
    assert_eq!(Hop::read_branch(b"z9hG4bK000000000000002a"), Some(0x2a));
}

#[test]
fn who_calls_sends_along_the_route_backwards() {
    let dialog = Dialog::outgoing(
        b"call",
        (b"<sip:200@a>", b"l"),
        b"<sip:bob@b>",
        b"sip:bob@b",
    );
    let answer = "SIP/2.0 200 OK\r\n\
        Record-Route: <sip:far;lr>, <sip:near;lr>\r\n\
        To: <sip:bob@b>;tag=r\r\n\
        Contact: <sip:bob@192.0.2.5>\r\n\r\n";
    let dialog = with(answer, |response| dialog.establish(response)).unwrap();
    assert_eq!(
        dialog.routes,
        [
            b"<sip:near;lr>".as_slice().into(),
            Box::from(b"<sip:far;lr>".as_slice())
        ]
    );
    assert_eq!(&*dialog.target, b"sip:bob@192.0.2.5");
    assert_eq!(&*dialog.remote_tag, b"r");
}

#[test]
fn a_strict_router_is_the_request_uri() {
    let mut dialog = incoming();
    dialog.routes[0] = b"<sip:192.0.2.1>".as_slice().into();
    let text = request(&dialog, "BYE", 1);
    assert!(text.starts_with("BYE sip:192.0.2.1 SIP/2.0\r\n"));
    assert!(text.contains("Route: <sip:192.0.2.2;lr>\r\nRoute: <sip:ann@192.0.2.9:5070>\r\n"));
}

#[test]
fn a_request_that_is_not_newer_is_refused() {
    let mut dialog = incoming();
    assert_eq!(
        dialog.take_cseq(7),
        Err(Error::OldCSeq { last: 7, number: 7 })
    );
    assert_eq!(dialog.take_cseq(9), Ok(()));
    assert_eq!(dialog.take_cseq(8).map_err(Error::status), Err(500));
}

#[test]
fn a_refresh_changes_the_target_and_nothing_else() {
    let mut dialog = incoming();
    let before = dialog.clone();
    with("SIP/2.0 200 OK\r\nContact: <tel:5>\r\n\r\n", |response| {
        dialog.refresh_target(response)
    });
    assert_eq!(dialog, before);
    with(
        "SIP/2.0 200 OK\r\nContact: <sip:ann@192.0.2.77>\r\n\r\n",
        |response| dialog.refresh_target(response),
    );
    assert_eq!(&*dialog.target, b"sip:ann@192.0.2.77");
}

#[test]
fn a_request_without_a_contact_begins_no_dialog() {
    let text = INVITE.replace("Contact: <sip:ann@192.0.2.9:5070>\r\n", "");
    let refused = with(&text, |request| Dialog::incoming(request, b"local"));
    assert_eq!(refused, Err(Error::Malformed(HeaderName::Contact)));
}

#[test]
fn more_routes_than_are_taken_are_refused() {
    let routes = "Record-Route: <sip:x;lr>\r\n".repeat(Dialog::ROUTES_MAX);
    let text = INVITE.replace("Contact:", &format!("{routes}Contact:"));
    let refused = with(&text, |request| Dialog::incoming(request, b"local"));
    assert_eq!(refused, Err(Error::TooManyRoutes));
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut dialog = incoming();
    dialog.local_cseq = 300;
    let mut out = Vec::new();
    dialog.write_record(&mut out);
    assert_eq!(Dialog::read_record(&out), Ok(dialog));
    assert!(Dialog::read_record(b"").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_record_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Dialog::read_record(&bytes);
    }

    #[test]
    fn no_party_breaks_a_line(display in "[ -~\r\n\t]{0,20}", user in "[a-z0-9%]{1,8}") {
        let text = INVITE.replace("\"Ann\" <sip:ann@", &format!("{display} <sip:{user}@"));
        if let Ok(dialog) = with(&text, |request| Dialog::incoming(request, b"local")) {
            let written = request(&dialog, "BYE", 1) + "\r\n";
            let mut index = Index::new();
            let message = index.parse(written.as_bytes(), &Limits::default()).unwrap();
            prop_assert_eq!(message.header_count(), 8);
        }
    }
}
