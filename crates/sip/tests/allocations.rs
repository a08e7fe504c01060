//! Indexing, checking, editing, writing and answering allocate nothing after warm-up.

use allocation_counter::measure;
use sip::check::check;
use sip::{HeaderName, Index, Limits, Requirement, Span, Splices, build};

const INVITE: &[u8] = b"INVITE sip:bob@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP client.example.org:5060;branch=z9hG4bK1;rport\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:192.0.2.9;lr>, <sip:192.0.2.8;lr>\r\n\
    From: \"Alice\" <sip:alice@example.org>;tag=a\r\n\
    To: <sip:bob@[2001:db8::1]>\r\n\
    Call-ID: c@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1>\r\n\
    Content-Length: 4\r\n\r\nbody";

/// What is used again from message to message.
#[derive(Default)]
struct Tools {
    index: Index,
    other: Index,
    splices: Splices,
    head: Vec<u8>,
    out: Vec<u8>,
}

impl Tools {
    fn forward_and_answer(&mut self, source: std::net::SocketAddr) {
        let limits = Limits::default();
        let message = self.index.parse(INVITE, &limits).expect("it is a message");
        check(&message, Requirement::Element).expect("it is in order");
        let via = message.via().expect("it is in order");
        self.splices.clear();
        build::stamp_via(&message, &via, source, &mut self.splices);
        self.head.clear();
        let tag = build::response_head(&message, &self.splices, &mut self.head);
        self.out.clear();
        build::response(&self.head, tag, 100, "Trying", None, b"", &mut self.out);
        build::response(
            &self.head,
            tag,
            404,
            "Not Found",
            Some(b"t"),
            b"",
            &mut self.out,
        );
        let at = message.headers_start();
        self.splices
            .insert(at, b"Via: SIP/2.0/TCP [2001:db8::9];branch=z9hG4bK2\r\n");
        self.splices
            .insert(at, b"Record-Route: <sip:192.0.2.9;lr>\r\n");
        self.splices
            .remove_first_values(&message, HeaderName::Route, 1);
        let body: Span = message.body_span();
        self.splices.replace(body, b"other body");
        self.out.clear();
        self.splices
            .write_range(message.buffer(), message.extent(), &mut self.out);
        let sent = self
            .other
            .parse(&self.out, &limits)
            .expect("it is a message");
        assert_eq!(sent.values(HeaderName::Via).count(), 2);
        self.head.clear();
        build::ack(&sent, &message, &mut self.head);
        build::cancel(&sent, b"SIP;cause=200", &mut self.head);
    }
}

#[test]
fn a_message_allocates_nothing_after_warm_up() {
    let mut tools = Tools::default();
    for source in ["192.0.2.7:9999", "[2001:db8::7]:9999"] {
        let source = source.parse().expect("an address");
        tools.forward_and_answer(source);
        let info = measure(|| {
            for _ in 0..100 {
                tools.forward_and_answer(source);
            }
        });
        assert_eq!(info.count_total, 0, "{source}");
    }
}
