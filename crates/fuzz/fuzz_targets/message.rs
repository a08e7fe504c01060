//! A datagram or a framed message: indexed, read through every view, edited and written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{HeaderName, Index, Limits, Message, NameAddr, Span, Splices, Via, build, scan};

fuzz_target!(|data: &[u8]| {
    scan::kind(data);
    let scanned = scan::call_id(data);
    let mut index = Index::new();
    let limits = Limits::default();
    let Ok(message) = index.parse(data, &limits) else {
        return;
    };
    spans_lie_in_the_buffer(&message);
    views_do_not_panic(&message);
    if message.defect().is_none() {
        assert!(message.header_count() <= usize::from(limits.headers_max));
        if let (Some(scanned), Ok(indexed)) = (scanned, message.call_id()) {
            // The thread is chosen by the Call-ID that is matched later. Of one that is folded, which
            // no Call-ID may be, the first line chooses.
            let folded = indexed.contains(&b'\n');
            assert!(scanned == indexed || folded && indexed.starts_with(scanned));
        }
    }
    written_as_it_came(&message);
    first_values_are_taken_out(&message);
    answered(&message);
});

fn inside(message: &Message<'_>, span: Span) {
    assert!(
        span.start <= span.end && span.end as usize <= message.buffer().len(),
        "{span:?}"
    );
}

fn spans_lie_in_the_buffer(message: &Message<'_>) {
    inside(message, message.body_span());
    inside(message, message.extent());
    inside(message, message.request_uri_span());
    inside(
        message,
        Span {
            start: message.headers_start(),
            end: message.headers_end(),
        },
    );
    let mut at = message.headers_start();
    for field in message.all_fields() {
        inside(message, field.line);
        assert!(field.line.start >= at && field.line.end <= message.headers_end());
        at = field.line.end;
        let line = field.line.of(message.buffer()).as_ptr_range();
        for part in [field.name_bytes, field.value]
            .iter()
            .filter(|part| !part.is_empty())
        {
            let part = part.as_ptr_range();
            assert!(part.start >= line.start && part.end <= line.end);
        }
        for value in message.values(field.name) {
            inside(message, value.span);
            assert!(value.bytes.is_empty() || value.bytes == value.span.of(message.buffer()));
        }
    }
}

fn views_do_not_panic(message: &Message<'_>) {
    let _ = (
        message.method_bytes(),
        message.reason(),
        message.body(),
        message.status(),
    );
    let _ = (message.via(), message.cseq(), message.from(), message.to());
    let _ = message.number(HeaderName::MaxForwards, 255);
    let _ = sip::Uri::parse(message.request_uri());
    for field in message.all_fields() {
        for value in message.values(field.name) {
            if let Some(via) = Via::parse(value.bytes) {
                let _ = (
                    via.branch(),
                    via.has_magic_cookie(),
                    via.received(),
                    via.rport(),
                );
            }
            if let Some(name_addr) = NameAddr::parse(value.bytes) {
                let _ = (name_addr.tag(), name_addr.q(), name_addr.parse_uri());
                name_addr.params.iter().for_each(drop);
            }
        }
    }
}

fn written_as_it_came(message: &Message<'_>) {
    let mut out = Vec::new();
    let whole = message.extent();
    Splices::new().write_range(message.buffer(), whole, &mut out);
    assert_eq!(out, whole.of(message.buffer()));
}

/// What is left of a list header after its first value was taken out are the other values.
fn first_values_are_taken_out(message: &Message<'_>) {
    for name in [HeaderName::Via, HeaderName::Route, HeaderName::Contact] {
        let before: Vec<_> = message
            .values(name)
            .map(|value| value.bytes.to_vec())
            .collect();
        if before.is_empty() || message.defect().is_some() {
            continue;
        }
        let mut splices = Splices::new();
        splices.remove_first_values(message, name, 1);
        let mut out = Vec::new();
        splices.write_range(message.buffer(), message.extent(), &mut out);
        let mut index = Index::new();
        let after = index
            .parse(&out, &Limits::default())
            .expect("it parsed before");
        let after: Vec<_> = after
            .values(name)
            .map(|value| value.bytes.to_vec())
            .collect();
        assert_eq!(after, before[1..], "{name:?}");
    }
}

/// A response made for a sound request parses, and carries what must be copied.
fn answered(message: &Message<'_>) {
    if !message.is_request() || message.defect().is_some() {
        return;
    }
    let (Ok(via), Ok(_), Ok(cseq)) = (message.via(), message.to(), message.cseq()) else {
        return;
    };
    let mut splices = Splices::new();
    let source = "[2001:db8::9]:5099".parse().expect("an address");
    build::stamp_via(message, &via, source, &mut splices);
    let (mut head, mut out) = (Vec::new(), Vec::new());
    let tag = build::response_head(message, &splices, &mut head);
    build::response(&head, tag, 404, "Not Found", Some(b"fuzz"), b"", &mut out);
    let mut index = Index::new();
    let response = index
        .parse(&out, &Limits::default())
        .expect("our own response parses");
    assert_eq!(response.status(), 404);
    assert_eq!(response.cseq().map(|cseq| cseq.number), Ok(cseq.number));
    let stamped = response
        .via()
        .expect("the Via was readable before it was stamped");
    assert_eq!((stamped.host, stamped.port), (via.host, via.port));
    assert_eq!(stamped.received(), Some(source.ip()));
    assert!(response.to().is_ok_and(|to| to.tag().is_some()));
}
