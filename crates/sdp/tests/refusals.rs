//! What is refused, why, and with which answer.

use sdp::{Error, Index, Limits, Part};

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n";
const AUDIO: &str = "m=audio 4000 RTP/AVP 0\r\n";

fn parsed(body: &[u8]) -> Result<(), Error> {
    let mut index = Index::new();
    index.parse(body, &Limits::default()).map(|_| ())
}

/// What comes of the head with `line` in the place of its line `number`, counted from 1, and one m-line.
fn with_line(number: usize, line: &str) -> Result<(), Error> {
    let mut lines: Vec<&str> = HEAD.lines().collect();
    lines[number - 1] = line;
    lines.push(AUDIO.trim_end());
    let body = lines.join("\r\n") + "\r\n";
    parsed(body.as_bytes())
}

/// What comes of the head and these lines.
fn with_media(lines: &str) -> Result<(), Error> {
    parsed(format!("{HEAD}{lines}\r\n").as_bytes())
}

#[test]
fn each_part_is_missed_by_name() {
    let body = format!("{HEAD}{AUDIO}");
    assert_eq!(parsed(body.as_bytes()), Ok(()));
    let without = |letter: &str| {
        let lines = body.split_inclusive('\n');
        let kept: String = lines.filter(|line| !line.starts_with(letter)).collect();
        parsed(kept.as_bytes())
    };
    assert_eq!(without("v"), Err(Error::Missing(Part::Version)));
    assert_eq!(without("o"), Err(Error::Missing(Part::Origin)));
    assert_eq!(without("s"), Err(Error::Missing(Part::SessionName)));
    assert_eq!(without("c"), Err(Error::NoAddress { media: 0 }));
    // No reader asks for the time of a call; no media at all are none to relay.
    assert_eq!(without("t"), Ok(()));
    assert_eq!(without("m"), Ok(()));
    assert_eq!(parsed(b""), Err(Error::Missing(Part::Version)));
    assert_eq!(parsed(b"\r\n"), Err(Error::Missing(Part::Version)));
}

#[test]
fn the_version_is_zero() {
    assert_eq!(with_line(1, "v=1"), Err(Error::Version));
    assert_eq!(with_line(1, "v="), Err(Error::Version));
    assert_eq!(with_line(1, "v=0 "), Ok(()));
}

#[test]
fn an_origin_has_six_fields() {
    for line in [
        "o=",
        "o=-",
        "o=alice 1 IN IP4 192.0.2.5",
        "o=alice 1 1 IN IP4",
    ] {
        assert_eq!(with_line(2, line), Err(Error::Origin { line: 2 }), "{line}");
    }
    for line in [
        "o=a 1 1 ATM NSAP 47",
        "o=a 1 1 IN IP5 192.0.2.5",
        "o=a b c d e f",
    ] {
        assert_eq!(
            with_line(2, line),
            Err(Error::AddressType { line: 2 }),
            "{line}"
        );
    }
    // Phones write names with spaces, none, host names, and numbers of any length.
    for line in [
        "o=Alice B. 1 1 IN IP4 192.0.2.5",
        "o= 1 1 IN IP4 192.0.2.5",
        "o=- 18446744073709551616 1 in ip6 phone.example.org",
    ] {
        assert_eq!(with_line(2, line), Ok(()), "{line}");
    }
}

#[test]
fn a_connection_is_one_unicast_address() {
    let line = 4;
    for (text, error) in [
        ("c=", Error::Connection { line }),
        ("c=IN IP4", Error::Connection { line }),
        ("c=IN IP4 192.0.2.5 192.0.2.6", Error::Connection { line }),
        ("c=IN IP4 192.0.2.256", Error::Connection { line }),
        ("c=IN IP4 192.0.2", Error::Connection { line }),
        ("c=IN IP4 2001:db8::1", Error::Connection { line }),
        ("c=IN IP6 192.0.2.5", Error::Connection { line }),
        ("c=IN IP6 [2001:db8::1]", Error::Connection { line }),
        ("c=IN IP6 fe80::1%eth0", Error::Connection { line }),
        ("c=IN IP4 192.0.2.5/127", Error::AddressSuffix { line }),
        ("c=IN IP6 2001:db8::1/3", Error::AddressSuffix { line }),
        ("c=IN IP5 192.0.2.5", Error::AddressType { line }),
        ("c=ATM NSAP 47.0091", Error::AddressType { line }),
        ("c=IN IP4 phone.example.org", Error::HostName { line }),
        ("c=IN IP6 phone", Error::HostName { line }),
        ("c=IN IP4 224.2.36.42/127", Error::NotUnicast { line }),
        ("c=IN IP4 239.0.0.1", Error::NotUnicast { line }),
        ("c=IN IP4 255.255.255.255", Error::NotUnicast { line }),
        ("c=IN IP6 ff15::101", Error::NotUnicast { line }),
        ("c=IN IP6 ::ffff:224.0.0.1", Error::NotUnicast { line }),
    ] {
        assert_eq!(with_line(line.into(), text), Err(error), "{text}");
    }
    for text in [
        "c=in ip4 192.0.2.5",
        "c=IN  IP6\t2001:DB8::1 ",
        "c=IN IP4 0.0.0.0",
        "c=IN IP6 ::",
    ] {
        assert_eq!(with_line(line.into(), text), Ok(()), "{text}");
    }
}

#[test]
fn an_address_that_no_relayed_line_uses_may_be_anything() {
    for text in [
        "c=IN IP4 phone.example.org",
        "c=IN IP4 224.2.36.42/127",
        "c=ATM NSAP 47",
    ] {
        let body = HEAD.replace("c=IN IP4 192.0.2.5", text);
        let own = format!("{body}{AUDIO}c=IN IP4 192.0.2.5\r\n");
        assert_eq!(parsed(own.as_bytes()), Ok(()), "{text}");
        let rejected = format!("{body}m=audio 0 RTP/AVP 0\r\nm=message 5 TCP/MSRP *\r\n");
        assert_eq!(parsed(rejected.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn an_m_line_has_a_port_and_formats() {
    let line = 6;
    for (text, error) in [
        ("m=", Error::MediaLine { line }),
        ("m=audio 4000", Error::MediaLine { line }),
        ("m=audio 4000 RTP/AVP", Error::MediaLine { line }),
        ("m=audio 65536 RTP/AVP 0", Error::Port { line }),
        ("m=audio 4294967297 RTP/AVP 0", Error::Port { line }),
        ("m=audio -1 RTP/AVP 0", Error::Port { line }),
        ("m=audio 0x10 RTP/AVP 0", Error::Port { line }),
        ("m=audio $ RTP/AVP 0", Error::Port { line }),
        ("m=audio 4000/ RTP/AVP 0", Error::Port { line }),
        ("m=audio 4000/two RTP/AVP 0", Error::Port { line }),
        ("m=audio 4000/2 RTP/AVP 0", Error::PortCount { line }),
        ("m=audio 4000/0 RTP/AVP 0", Error::PortCount { line }),
        ("m=audio 4000 RTP/AVP 128", Error::PayloadType { line }),
        ("m=audio 4000 RTP/AVP 0 PCMA", Error::PayloadType { line }),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:", Error::Rtcp { line: 7 }),
        (
            "m=audio 4000 RTP/AVP 0\r\na=rtcp:65536",
            Error::Rtcp { line: 7 },
        ),
        (
            "m=audio 4000 RTP/AVP 0\r\na=rtcp:1 IN IP4",
            Error::Rtcp { line: 7 },
        ),
        (
            "m=audio 4000 RTP/AVP 0\r\na=rtcp:1 IN IP4 a.b",
            Error::HostName { line: 7 },
        ),
        (
            "m=audio 4000 RTP/AVP 0\r\na=rtcp:1 IN IP4 224.1.1.1",
            Error::NotUnicast { line: 7 },
        ),
    ] {
        assert_eq!(with_media(text), Err(error), "{text}");
    }
    for text in [
        "m=audio 04000/1 RTP/AVP 0",
        "m=audio 65535 rtp/avp 127",
        "m=video 0 RTP/AVP",
        "m=video 0/2 RTP/AVP H264",
        "m=message 7/2 TCP/MSRP *",
    ] {
        assert_eq!(with_media(text), Ok(()), "{text}");
    }
}

#[test]
fn there_are_128_payload_types() {
    let line = |count| format!("m=audio 4000 RTP/AVP{}", " 0".repeat(count));
    assert_eq!(with_media(&line(128)), Ok(()));
    assert_eq!(with_media(&line(129)), Err(Error::PayloadType { line: 6 }));
}

#[test]
fn what_has_two_readings_is_refused() {
    assert_eq!(
        with_media("c=IN IP4 192.0.2.6"),
        Err(Error::Repeated { line: 6 })
    );
    assert_eq!(with_media("s=-"), Err(Error::Repeated { line: 6 }));
    assert_eq!(
        with_media("o=- 1 1 IN IP4 192.0.2.6"),
        Err(Error::Repeated { line: 6 })
    );
    assert_eq!(with_media("v=0"), Err(Error::Repeated { line: 6 }));
    for line in ["v=0", "o=- 1 1 IN IP4 192.0.2.6", "s=-"] {
        assert_eq!(
            with_media(&format!("{AUDIO}{line}")),
            Err(Error::Order { line: 7 }),
            "{line}"
        );
    }
    for line in ["c=IN IP4 192.0.2.6", "a=rtcp:4001"] {
        let twice = format!("{AUDIO}{line}\r\n{line}");
        assert_eq!(
            with_media(&twice),
            Err(Error::Repeated { line: 8 }),
            "{line}"
        );
    }
}

#[test]
fn order_matters_to_nobody_elsewhere() {
    let lines =
        format!("{AUDIO}a=sendrecv\r\nb=AS:64\r\nc=IN IP4 192.0.2.6\r\ni=x\r\nk=clear:x\r\nt=0 0");
    assert_eq!(with_media(&lines), Ok(()));
}

#[test]
fn a_line_is_a_type_and_a_value() {
    for line in ["audio", "mm=audio", "=x", " a=x", "a", "a:x", ""] {
        let body = format!("{line}\r\n{AUDIO}");
        assert_eq!(
            with_media(&body),
            Err(Error::LineForm { line: 6 }),
            "{line:?}"
        );
    }
    for (line, letter) in [("y=1", b'y'), ("A=x", b'A'), ("\u{e9}", 0)] {
        let expected = match letter {
            0 => Error::LineForm { line: 6 },
            letter => Error::LineType { line: 6, letter },
        };
        assert_eq!(with_media(line), Err(expected), "{line}");
    }
}

#[test]
fn nul_and_a_cr_alone_are_refused() {
    for text in ["a=x\0y", "a=x\ry", "a=x\r\r\n", "\0", "a=x\r"] {
        let body = format!("{HEAD}{AUDIO}{text}");
        assert_eq!(
            parsed(body.as_bytes()),
            Err(Error::ControlByte { line: 7 }),
            "{text:?}"
        );
    }
}

#[test]
fn each_limit_is_kept() {
    let limits = Limits {
        size_bytes_max: 400,
        lines_max: 8,
        line_bytes_max: 30,
        media_max: 2,
    };
    let parsed = |body: String| {
        let mut index = Index::new();
        index.parse(body.as_bytes(), &limits).map(|_| ())
    };
    assert_eq!(parsed(format!("{HEAD}{AUDIO}{AUDIO}a=x\r\n")), Ok(()));
    assert_eq!(
        parsed(format!("{HEAD}{AUDIO}{AUDIO}{AUDIO}")),
        Err(Error::TooManyMedia { media_max: 2 })
    );
    assert_eq!(
        parsed(format!("{HEAD}{AUDIO}{AUDIO}a=x\r\na=x\r\n")),
        Err(Error::TooManyLines { lines_max: 8 })
    );
    assert_eq!(parsed(format!("{HEAD}a={:28}", 'x')), Ok(()));
    assert_eq!(
        parsed(format!("{HEAD}a={:29}", 'x')),
        Err(Error::LineTooLong {
            line: 6,
            line_bytes_max: 30
        })
    );
    assert_eq!(
        parsed(format!("{HEAD}{:400}", 'x')),
        Err(Error::TooLarge {
            size_bytes_max: 400
        })
    );
}

#[test]
fn an_index_that_refused_is_as_good_as_new() {
    let mut index = Index::new();
    let limits = Limits::default();
    let bad = format!("{HEAD}a=group:BUNDLE 1\r\n{AUDIO}a=rtpmap:0 x/1\r\nm=x");
    assert!(index.parse(bad.as_bytes(), &limits).is_err());
    let good = format!("{HEAD}{AUDIO}");
    let description = index
        .parse(good.as_bytes(), &limits)
        .expect("a description");
    assert_eq!(description.media_count(), 1);
    assert!(!description.has_bundle());
    let media = description.media_at(0).expect("there is one");
    assert!(media.formats().all(|format| format.encoding == b"PCMU"));
    assert!(description.media_at(1).is_none());
}

#[test]
fn what_can_be_read_but_is_not_served_gets_488_and_the_rest_400() {
    let line = 1;
    for error in [
        Error::HostName { line },
        Error::NotUnicast { line },
        Error::AddressType { line },
        Error::PortCount { line },
        Error::TooManyMedia { media_max: 32 },
    ] {
        assert_eq!(error.status().0, 488, "{error:?}");
    }
    for error in [
        Error::Missing(Part::Origin),
        Error::Connection { line },
        Error::AddressSuffix { line },
        Error::Port { line },
        Error::NoAddress { media: 0 },
        Error::ControlByte { line },
        Error::TooManyLines { lines_max: 1 },
    ] {
        assert_eq!(error.status().0, 400, "{error:?}");
    }
}
