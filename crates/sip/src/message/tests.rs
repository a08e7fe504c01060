//! What the index promises.

use proptest::prelude::*;

use super::*;
use crate::check::{Requirement, check};
use crate::scan;

fn defect(text: &str) -> Option<Defect> {
    let mut index = Index::new();
    let message = index.parse(text.as_bytes(), &Limits::default());
    message.expect("it has a start line").defect()
}

fn values(text: &str, name: HeaderName) -> Vec<String> {
    let mut index = Index::new();
    let limits = Limits::default();
    let message = index
        .parse(text.as_bytes(), &limits)
        .expect("it has a start line");
    let values = message.values(name);
    values
        .map(|value| String::from_utf8_lossy(value.bytes).into_owned())
        .collect()
}

fn with(headers: &str) -> String {
    format!("OPTIONS sip:a@b SIP/2.0\r\n{headers}\r\n\r\n")
}

#[test]
fn the_equal_forms_of_section_7_3_1_are_equal() {
    let alice = "<sip:alice@atlanta.com>";
    let bob = "<sip:bob@biloxi.com>";
    let carol = "<sip:carol@chicago.com>";
    for headers in [
        format!("Route: {alice}\r\nSubject: Lunch\r\nRoute: {bob}\r\nRoute: {carol}"),
        format!("Route: {alice}, {bob}\r\nRoute: {carol}\r\nSubject: Lunch"),
        format!("Subject: Lunch\r\nRoute: {alice}, {bob},\r\n       {carol}"),
    ] {
        assert_eq!(
            values(&with(&headers), HeaderName::Route),
            [alice, bob, carol]
        );
    }
    for header in [
        "Subject: lunch",
        "Subject   :   lunch",
        "Subject            :lunch",
        "subject:\tlunch  ",
        "s: lunch",
    ] {
        assert_eq!(
            values(&with(header), HeaderName::Subject),
            ["lunch"],
            "{header}"
        );
    }
}

#[test]
fn a_folded_value_is_one_value() {
    let text = with(
        "Subject: I know you're there,\r\n pick up the phone\r\n\tand answer!\r\nTo:\r\n <sip:a@b>",
    );
    let mut index = Index::new();
    let message = index
        .parse(text.as_bytes(), &Limits::default())
        .expect("it has a start line");
    assert_eq!(message.header_count(), 2);
    let subject = message.header(HeaderName::Subject).expect("it is there");
    assert!(subject.ends_with(b"phone\r\n\tand answer!"));
    assert_eq!(message.to().expect("it is there").uri, b"sip:a@b");
    assert_eq!(message.defect(), None);
}

#[test]
fn start_lines_are_read_or_refused() {
    let parse = |text: &str| {
        Index::new()
            .parse(text.as_bytes(), &Limits::default())
            .err()
    };
    for text in [
        "INVITE\r\n\r\n",
        "INVITE sip:a@b\r\n\r\n",
        "INVITE sip:a@b HTTP/1.1\r\n\r\n",
        " INVITE sip:a@b SIP/2.0\r\n\r\n",
        "INV(ITE sip:a@b SIP/2.0\r\n\r\n",
        "INVITE\tsip:a@b SIP/2.0\r\n\r\n",
        "SIP/2.0\r\n\r\n",
        "SIP/2.0 2000x OK\r\n\r\n",
        "\0\0",
    ] {
        assert_eq!(parse(text), Some(ParseError::StartLine), "{text}");
    }
    assert_eq!(parse("\r\n\r\n"), Some(ParseError::Empty));
    assert_eq!(parse(""), Some(ParseError::Empty));
    let limits = Limits {
        size_bytes_max: 10,
        ..Limits::default()
    };
    let error = Index::new().parse(&[b'x'; 11], &limits).err();
    assert_eq!(error, Some(ParseError::TooLarge { size_bytes_max: 10 }));
    for (text, expected) in [
        ("INVITE  sip:a@b SIP/2.0\r\n\r\n", Defect::RequestLine),
        ("INVITE sip:a@b  SIP/2.0\r\n\r\n", Defect::RequestLine),
        ("INVITE sip:a@b SIP/2.0 \r\n\r\n", Defect::RequestLine),
        ("INVITE sip:a b SIP/2.0\r\n\r\n", Defect::RequestLine),
        ("INVITE  SIP/2.0\r\n\r\n", Defect::RequestLine),
        ("INVITE sip:a@b SIP/7.0\r\n\r\n", Defect::Version),
        ("SIP/1.0 200 OK\r\n\r\n", Defect::Version),
        ("SIP/2.0 99 OK\r\n\r\n", Defect::StatusCode),
        ("SIP/2.0 700 OK\r\n\r\n", Defect::StatusCode),
        ("SIP/2.0 4294967301 OK\r\n\r\n", Defect::StatusCode),
    ] {
        assert_eq!(defect(text), Some(expected), "{text}");
    }
}

#[test]
fn a_status_line_may_lack_its_reason() {
    let mut index = Index::new();
    for (text, reason) in [
        ("SIP/2.0 100\r\n\r\n", ""),
        ("SIP/2.0 100 \r\n\r\n", ""),
        ("sip/2.0 100 a b\r\n\r\n", "a b"),
    ] {
        let message = index
            .parse(text.as_bytes(), &Limits::default())
            .expect("it is one");
        assert_eq!(
            (message.status(), message.reason()),
            (100, reason.as_bytes())
        );
        assert_eq!((message.defect(), message.method()), (None, None));
        assert!(message.request_uri().is_empty() && message.method_bytes().is_empty());
    }
}

#[test]
fn header_lines_that_are_none_are_defects() {
    for header in [
        "X",
        "X Y: z",
        ": x",
        "X\0: y",
        "X: a\rb",
        "X: a\nb: c",
        "X: a\r\r\nY: b",
    ] {
        let text = with(&format!("{header}\r\nZ: z"));
        assert_eq!(defect(&text), Some(Defect::HeaderLine), "{header:?}");
    }
    assert_eq!(
        defect("OPTIONS sip:a@b SIP/2.0\nX: y\n\n"),
        Some(Defect::HeaderLine)
    );
    for cut in [
        "OPTIONS sip:a@b SIP/2.0",
        "OPTIONS sip:a@b SIP/2.0\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\nX: y",
        "OPTIONS sip:a@b SIP/2.0\r\nX: y\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\nX: y\r\n z",
    ] {
        assert_eq!(defect(cut), Some(Defect::Unterminated), "{cut:?}");
    }
}

#[test]
fn there_are_as_many_headers_as_the_limit_allows() {
    let limits = Limits {
        headers_max: 3,
        ..Limits::default()
    };
    let mut index = Index::new();
    for (count, expected) in [(3, None), (4, Some(Defect::TooManyHeaders))] {
        let text = with(&vec!["X: y"; count].join("\r\n"));
        let message = index
            .parse(text.as_bytes(), &limits)
            .expect("it has a start line");
        assert_eq!((message.defect(), message.header_count()), (expected, 3));
    }
}

#[test]
fn the_body_is_as_long_as_content_length_says() {
    let mut index = Index::new();
    for (headers, body, rest) in [
        ("l: 2", "hi", "there"),
        ("X: y", "hithere", ""),
        ("l: 0", "", "hithere"),
        ("l: 2\r\nContent-Length: 02", "hi", "there"),
    ] {
        let text = format!("{}{body}{rest}", with(headers));
        let message = index
            .parse(text.as_bytes(), &Limits::default())
            .expect("it has a start line");
        assert_eq!(message.body(), body.as_bytes(), "{headers}");
        assert_eq!(
            message.extent().of(message.buffer()).len(),
            text.len() - rest.len()
        );
        assert_eq!(message.defect(), None);
    }
    let length = HeaderName::ContentLength;
    for (headers, expected) in [
        ("l: 9", Defect::ShortBody),
        ("l: -1", Defect::Malformed(length)),
        ("l: 1, 1", Defect::Malformed(length)),
        ("l:", Defect::Malformed(length)),
        ("l: 4294967297", Defect::Malformed(length)),
        ("l: 1\r\nl: 2", Defect::Repeated(length)),
    ] {
        assert_eq!(
            defect(&format!("{}hi", with(headers))),
            Some(expected),
            "{headers}"
        );
    }
}

#[test]
fn single_headers_and_numbers_are_held_to_it() {
    let text = with("Expires: 5\r\nMin-Expires: x\r\nm: <sip:a@b>\r\nContact: <sip:c@d>");
    let mut index = Index::new();
    let message = index
        .parse(text.as_bytes(), &Limits::default())
        .expect("it has a start line");
    assert_eq!(message.number(HeaderName::Expires, 10), Ok(Some(5)));
    assert_eq!(
        message.number(HeaderName::Expires, 4),
        Err(Defect::Malformed(HeaderName::Expires))
    );
    assert_eq!(
        message.number(HeaderName::MinExpires, 9),
        Err(Defect::Malformed(HeaderName::MinExpires))
    );
    assert_eq!(message.number(HeaderName::MaxForwards, 9), Ok(None));
    assert_eq!(
        message.single(HeaderName::Contact),
        Err(Defect::Repeated(HeaderName::Contact))
    );
    assert_eq!(
        message.single(HeaderName::To),
        Err(Defect::Missing(HeaderName::To))
    );
    assert!(message.has(HeaderName::Contact) && !message.has(HeaderName::Other));
    assert_eq!(message.fields(HeaderName::Contact).count(), 2);
}

#[test]
fn a_value_whose_quotes_are_not_closed_runs_to_the_end_of_its_line() {
    let text = with("Contact: \"a, <sip:b@c>\r\nContact: <sip:d@e");
    assert_eq!(
        values(&text, HeaderName::Contact),
        ["\"a, <sip:b@c>", "<sip:d@e"]
    );
    assert_eq!(values(&with("Route:"), HeaderName::Route), [""]);
}

#[test]
fn an_index_used_again_remembers_nothing() {
    let mut index = Index::new();
    let long = with("Via: x\r\nTo: y\r\nX\r\nl: 5");
    assert!(
        index
            .parse(long.as_bytes(), &Limits::default())
            .is_ok_and(|message| message.defect().is_some())
    );
    let short = with("From: z");
    let message = index
        .parse(short.as_bytes(), &Limits::default())
        .expect("it has a start line");
    assert_eq!((message.defect(), message.header_count()), (None, 1));
    assert!(!message.has(HeaderName::Via) && !message.has(HeaderName::To));
    let copy = short.clone();
    assert_eq!(
        index.message(copy.as_bytes()).header(HeaderName::From),
        Some(&b"z"[..])
    );
}

const SEED: &str = "INVITE sip:bob@example.org;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1]\r\n\
    v: SIP/2.0/UDP old.example.org\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:192.0.2.9;lr>,\r\n <sip:192.0.2.7;lr>\r\n\
    From: \"A. \\\"Ali\\\" <b>\" <sip:alice@example.org>;tag=1\r\n\
    To : Bob <sip:bob@example.org>\r\n\
    Call-ID: a@b\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1>;q=0.5\r\n\
    X-Odd: ;,\r\n\
    Content-Length: 4\r\n\r\nbody";

/// The seed, or its response form, with pieces cut out, doubled and put in.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 19] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b",",
        b";",
        b"\"",
        b"<",
        b">",
        b":",
        b"\0",
        b"\\",
        b"%",
        b"@",
        b"=",
        b"\xff",
        b"\r\n ",
        b"Call-ID: x\r\n",
        b"l: 1\r\n",
    ];
    let piece = prop::sample::select(&PIECES[..]);
    let change = (
        any::<prop::sample::Index>(),
        0usize..6,
        proptest::option::of(piece),
    );
    (any::<bool>(), proptest::collection::vec(change, 0..5)).prop_map(|(is_request, changes)| {
        let text = match is_request {
            true => SEED.to_owned(),
            false => SEED.replacen(
                "INVITE sip:bob@example.org;user=phone SIP/2.0",
                "SIP/2.0 180 Ringing",
                1,
            ),
        };
        let mut bytes = text.into_bytes();
        for (at, remove, piece) in changes {
            let at = at.index(bytes.len());
            let end = (at + remove).min(bytes.len());
            bytes.splice(at..end, piece.unwrap_or_default().iter().copied());
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
        bytes
    })
}

/// Everything that can be asked of a message, and that its answers lie in the buffer.
fn ask(message: &Message<'_>) -> Result<(), TestCaseError> {
    let length = message.buffer().len() as u32;
    let inside = |span: Span| span.start <= span.end && span.end <= length;
    prop_assert!(inside(message.extent()) && inside(message.body_span()));
    prop_assert!(inside(message.request_uri_span()));
    prop_assert!(
        message.headers_start() <= message.headers_end() && message.headers_end() <= length
    );
    let mut at = message.headers_start();
    for field in message.all_fields() {
        prop_assert!(inside(field.line) && field.line.start >= at);
        at = field.line.end;
        let value = Span::within(message.buffer(), field.value);
        prop_assert!(value.start >= field.line.start && value.end <= field.line.end);
        for value in message.values(field.name) {
            prop_assert!(inside(value.span));
            prop_assert_eq!(value.bytes, lex::trim(value.span.of(message.buffer())));
            let _ = (Via::parse(value.bytes), NameAddr::parse(value.bytes));
        }
    }
    let _ = (
        message.via(),
        message.from(),
        message.to(),
        message.cseq(),
        message.call_id(),
    );
    let _ = message.number(HeaderName::MaxForwards, 255);
    let _ = check(message, Requirement::Element);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_indexed_or_refused(bytes: Vec<u8>) {
        let mut index = Index::new();
        if let Ok(message) = index.parse(&bytes, &Limits::default()) {
            ask(&message)?;
        }
        let _ = (scan::call_id(&bytes), scan::kind(&bytes));
    }

    #[test]
    fn any_change_to_a_message_is_indexed_or_refused(bytes in mutated()) {
        let mut index = Index::new();
        if let Ok(message) = index.parse(&bytes, &Limits::default()) {
            ask(&message)?;
        }
    }

    #[test]
    fn what_is_written_is_what_came_and_is_read_the_same(bytes in mutated()) {
        let (mut index, mut other) = (Index::new(), Index::new());
        let Ok(message) = index.parse(&bytes, &Limits::default()) else { return Ok(()) };
        let mut out = Vec::new();
        crate::Splices::new().write_range(&bytes, message.extent(), &mut out);
        prop_assert_eq!(&out[..], message.extent().of(&bytes));
        let again = other.parse(&out, &Limits::default());
        prop_assert!(again.is_ok());
        let Ok(again) = again else { return Ok(()) };
        prop_assert_eq!(again.defect(), message.defect());
        prop_assert_eq!(again.header_count(), message.header_count());
        for (one, two) in again.all_fields().zip(message.all_fields()) {
            prop_assert_eq!((one.name, one.name_bytes, one.value), (two.name, two.name_bytes, two.value));
        }
        prop_assert_eq!(again.body(), message.body());
        prop_assert_eq!((again.status(), again.request_uri()), (message.status(), message.request_uri()));
    }

    #[test]
    fn the_thread_is_chosen_by_the_call_id_that_is_found_later(bytes in mutated()) {
        let mut index = Index::new();
        if let Ok(message) = index.parse(&bytes, &Limits::default())
            && check(&message, Requirement::Proxy).is_ok()
        {
            prop_assert_eq!(scan::call_id(&bytes), message.call_id().ok());
        }
    }
}
