use super::*;

const LIMITS: FrameLimits = FrameLimits {
    header_bytes_max: 300,
    message_bytes_max: 1_000,
};

/// A frame that does not borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Ping,
    Message(Vec<u8>),
    Error(FrameError, Vec<u8>),
}

fn drain(framer: &mut Framer, seen: &mut Vec<Seen>) {
    loop {
        seen.push(match framer.poll() {
            Frame::NeedMore => return,
            Frame::KeepAlivePing => Seen::Ping,
            Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
            Frame::Error { error, bytes } => {
                seen.push(Seen::Error(error, bytes.to_vec()));
                return;
            }
        });
    }
}

/// What comes out of `stream`, in one piece and byte by byte; both have to agree.
fn frames(stream: &[u8]) -> Vec<Seen> {
    let mut whole = Vec::new();
    let mut framer = Framer::new(LIMITS);
    framer.push(stream);
    drain(&mut framer, &mut whole);

    let mut trickled = Vec::new();
    let mut framer = Framer::new(LIMITS);
    for byte in stream {
        framer.push(&[*byte]);
        drain(&mut framer, &mut trickled);
        if let Some(Seen::Error(..)) = trickled.last() {
            break;
        }
    }
    assert_eq!(whole, trickled);
    whole
}

fn message(headers: &str, body: &str) -> Vec<u8> {
    format!("OPTIONS sip:a@example.org SIP/2.0\r\n{headers}\r\n\r\n{body}").into_bytes()
}

fn error_of(headers: &str) -> FrameError {
    let stream = message(headers, "");
    match &frames(&stream)[..] {
        [Seen::Error(error, bytes)] => {
            assert_eq!(bytes, &stream, "the headers are handed over with the error");
            *error
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn messages_are_found_however_their_length_is_written() {
    for headers in [
        "Content-Length: 4",
        "l:4",
        "L: 4",
        "CONTENT-LENGTH \t : \t 0004 \t",
        "Content-Length:\r\n 4",
        "Content-Length:\r\n \r\n\t4\r\n ",
        "Via: x\r\nContent-Length: 4\r\nTo: y",
        "Content-Length: 4\r\nSubject: a\r\n l: 5",
        "l: 4\r\nContent-Length: 4",
        "Content-Length: 4\nTo: y",
        "Subject: Content-Length: 9\r\nl: 4",
        "X-l: 7\r\nlength: 9\r\nl: 4",
    ] {
        let first = message(headers, "body");
        let second = message("l: 0", "");
        let stream = [&first[..], &second[..]].concat();
        assert_eq!(
            frames(&stream),
            [Seen::Message(first), Seen::Message(second)],
            "{headers}"
        );
    }
}

#[test]
fn a_length_that_cannot_be_believed_ends_the_stream() {
    use FrameError::*;
    for (headers, error) in [
        ("To: x", MissingContentLength),
        ("To: x\r\n l: 4", MissingContentLength),
        ("Content-Length 4", MissingContentLength),
        ("l:", BadContentLength),
        ("l: -1", BadContentLength),
        ("l: +1", BadContentLength),
        ("l: 1 2", BadContentLength),
        ("l: 1\r\n 2", BadContentLength),
        ("l: 1, 1", BadContentLength),
        ("l: 0x1", BadContentLength),
        ("l: 1;a", BadContentLength),
        ("l: 1\rTo: x", BadContentLength),
        ("l: 4\r\nContent-Length: 5", ConflictingContentLength),
        ("l: 4\r\nl: x", BadContentLength),
        ("l: x\r\nl: 4", BadContentLength),
        ("l: 990", MessageTooLarge),
        ("l: 18446744073709551615", MessageTooLarge),
        ("l: 18446744073709551616", MessageTooLarge),
        ("l: 99999999999999999999999999999999999", MessageTooLarge),
    ] {
        assert_eq!(error_of(headers), error, "{headers}");
    }
}

#[test]
fn headers_end_where_the_index_finds_their_end() {
    let stream = b"OPTIONS sip:a SIP/2.0\nl: 2\n\nhi";
    assert_eq!(frames(stream), [Seen::Message(stream.to_vec())]);
    let mut index = crate::Index::default();
    let parsed = index
        .parse(stream, &crate::Limits::default())
        .expect("indexed");
    assert_eq!(parsed.body(), b"hi");
}

#[test]
fn a_ping_is_a_double_crlf_and_single_line_ends_are_skipped() {
    let hello = message("l: 0", "");
    let stream = [
        b"\r\n\r\n",
        &hello[..],
        b"\r\n",
        &hello[..],
        b"\r\n\r\n\r\n\r\n\n\r\n\r",
        &hello,
    ]
    .concat();
    let hello = Seen::Message(hello);
    let expected = [
        Seen::Ping,
        hello.clone(),
        hello.clone(),
        Seen::Ping,
        Seen::Ping,
        hello.clone(),
    ];
    assert_eq!(frames(&stream), expected);
}

#[test]
fn what_is_not_sip_is_told_at_its_first_line() {
    for stream in ["\x16\x03\x01\x02", "GET / HTTP/1.1\r\n", " l: 0\r\n", "\0"] {
        assert_eq!(
            frames(stream.as_bytes()),
            [Seen::Error(FrameError::NotSip, Vec::new())]
        );
    }
}

#[test]
fn headers_without_end_are_cut_at_the_limit() {
    let stream = message(&format!("Subject: {}", "a".repeat(400)), "");
    for stream in [&stream[..], &stream[..301]] {
        let expected = Seen::Error(FrameError::HeaderTooLong, stream[..300].to_vec());
        assert_eq!(frames(stream), [expected]);
    }
    // Exactly at the limit is within it.
    let room = LIMITS.header_bytes_max - message("l: 0\r\nSubject: ", "").len();
    let stream = message(&format!("l: 0\r\nSubject: {}", "a".repeat(room)), "");
    assert_eq!(stream.len(), LIMITS.header_bytes_max);
    assert_eq!(frames(&stream), [Seen::Message(stream)]);
}

#[test]
fn a_message_exactly_at_the_limit_is_within_it() {
    let header_bytes = message("l: 900", "").len();
    let body = LIMITS.message_bytes_max - header_bytes;
    let stream = message(&format!("l: {body}"), &"b".repeat(body));
    assert_eq!(frames(&stream), [Seen::Message(stream)]);
    assert_eq!(
        error_of(&format!("l: {}", body + 1)),
        FrameError::MessageTooLarge
    );
}

#[test]
fn an_error_stays() {
    let mut framer = Framer::new(LIMITS);
    framer.push(b"GET / HTTP/1.1\r\n");
    for _ in 0..2 {
        let expected = Frame::Error {
            error: FrameError::NotSip,
            bytes: b"",
        };
        assert_eq!(framer.poll(), expected);
        framer.push(&message("l: 0", ""));
    }
}

#[test]
fn no_byte_is_looked_at_twice() {
    let stream = message(&format!("Subject: {}\r\nl: 3", "a".repeat(200)), "hey");
    let mut framer = Framer::new(LIMITS);
    for byte in &stream {
        framer.push(&[*byte]);
        framer.poll();
    }
    assert!(
        framer.examined <= stream.len(),
        "{} of {}",
        framer.examined,
        stream.len()
    );
}

#[test]
fn a_message_begun_is_partial_and_line_ends_are_not() {
    let mut framer = Framer::new(LIMITS);
    for (piece, partial) in [
        ("\r\n", false),
        ("OPT", true),
        ("IONS sip:a SIP/2.0\r\nl: 1\r\n\r\n", true),
        ("b", false),
    ] {
        framer.push(piece.as_bytes());
        framer.poll();
        assert_eq!(framer.is_partial(), partial, "{piece}");
    }
    framer.release();
    assert_eq!(framer.buffer.capacity(), 0);
}

#[test]
fn memory_is_released_only_when_nothing_is_in_it() {
    let stream = message("l: 4", "body");
    let mut framer = Framer::new(LIMITS);
    framer.push(&stream[..stream.len() - 1]);
    assert_eq!(framer.poll(), Frame::NeedMore);
    framer.release();
    framer.push(&stream[stream.len() - 1..]);
    assert_eq!(framer.poll(), Frame::Message(&stream));
}

/// Pieces of any size give the same frames.
#[test]
fn the_division_into_pieces_does_not_matter() {
    let mut stream = Vec::new();
    for number in 0..40 {
        let body = "b".repeat(number * 7 % 50);
        stream.extend(message(&format!("Content-Length: {}", body.len()), &body));
        stream.extend([&b""[..], b"\r\n", b"\r\n\r\n", b"\n"][number % 4]);
    }
    let expected = frames(&stream);
    let mut state = 1u32;
    for _ in 0..200 {
        let mut framer = Framer::new(LIMITS);
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (piece, after) = rest.split_at(((state >> 16) as usize % 300 + 1).min(rest.len()));
            framer.push(piece);
            drain(&mut framer, &mut seen);
            rest = after;
        }
        assert_eq!(seen, expected);
    }
}
