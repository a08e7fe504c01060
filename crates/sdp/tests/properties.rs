//! What holds of every description that is taken.

use std::net::IpAddr;

use proptest::prelude::*;
use sdp::{Description, Edits, Error, Index, Limits, Ports, Rewrite, check_answer, rewrite};

/// Addresses of the inside, which nothing that is relayed may show; and two holds.
fn connection() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1..=254u8).prop_map(|last| format!("IN IP4 10.1.2.{last}")),
        2 => (1..=0xffffu16).prop_map(|last| format!("IN IP6 fd00::{last:x}")),
        1 => Just("IN IP4 0.0.0.0".to_owned()),
        1 => Just("IN IP6 ::".to_owned()),
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    const FIXED: [&str; 14] = [
        "sendrecv",
        "inactive",
        "rtcp-mux",
        "ice-lite",
        "ice-ufrag:abcd",
        "ice-pwd:0123456789012345678901",
        "candidate:1 1 UDP 2130706431 10.1.2.3 4000 typ host",
        "end-of-candidates",
        "rtpmap:96 opus/48000/2",
        "ptime:20",
        "mid:1",
        "group:BUNDLE 1 2",
        "group:LS 1 2",
        "x-unknown: 1  2 ",
    ];
    prop_oneof![
        8 => proptest::sample::select(FIXED.as_slice()).prop_map(str::to_owned),
        1 => "[a-z-]{1,12}(:[ -~]{0,20})?",
    ]
}

fn rtcp() -> impl Strategy<Value = Option<String>> {
    let rtcp = (any::<u16>(), proptest::option::of(connection()));
    let text = |(port, address): (u16, Option<String>)| match address {
        Some(address) => format!("rtcp:{port} {address}"),
        None => format!("rtcp:{port}"),
    };
    proptest::option::weighted(0.3, rtcp.prop_map(text))
}

/// An m-line and what follows it, as lines.
fn media() -> impl Strategy<Value = Vec<String>> {
    const PROTOCOLS: [&str; 6] = [
        "audio {} RTP/AVP 0 8 96",
        "video {} UDP/TLS/RTP/SAVPF 96 97",
        "image {} udptl t38",
        "application {} UDP/DTLS/SCTP webrtc-datachannel",
        "message {} TCP/MSRP *",
        "audio {} RTP/SAVP 96",
    ];
    let port = prop_oneof![1 => Just(0u16), 4 => 1..=u16::MAX];
    (
        proptest::sample::select(PROTOCOLS.as_slice()),
        port,
        any::<bool>(),
        proptest::option::of(connection()),
        rtcp(),
        proptest::collection::vec(attribute(), 0..5),
    )
        .prop_map(|(line, port, has_title, connection, rtcp, attributes)| {
            let mut lines = vec![format!("m={}", line.replace("{}", &port.to_string()))];
            lines.extend(has_title.then(|| "i=title".to_owned()));
            lines.extend(connection.map(|connection| format!("c={connection}")));
            lines.extend(attributes.iter().map(|attribute| format!("a={attribute}")));
            lines.extend(rtcp.map(|rtcp| format!("a={rtcp}")));
            lines
        })
}

/// A description; a few lack an address that they need.
fn description() -> impl Strategy<Value = String> {
    (
        proptest::option::weighted(0.8, connection()),
        proptest::collection::vec(attribute(), 0..3),
        proptest::collection::vec(media(), 0..5),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(connection, attributes, media, is_crlf, is_ended)| {
            let mut lines = vec!["v=0".to_owned(), "o=- 1 2 IN IP4 10.9.9.9".to_owned()];
            lines.push("s=-".to_owned());
            lines.extend(connection.map(|connection| format!("c={connection}")));
            lines.push("t=0 0".to_owned());
            lines.extend(attributes.iter().map(|attribute| format!("a={attribute}")));
            lines.extend(media.into_iter().flatten());
            let line_end = if is_crlf { "\r\n" } else { "\n" };
            let mut text = lines.join(line_end);
            if is_ended {
                text += line_end;
            }
            text
        })
}

/// The relay's address, and ports for m-lines by number: which of them are to be relayed, and how far
/// RTCP is from RTP.
fn change() -> impl Strategy<Value = (IpAddr, Vec<Option<Ports>>)> {
    const ADDRESSES: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
    let ports = (1..=60_000u16, 0..3u16).prop_map(|(rtp, apart)| Ports {
        rtp,
        rtcp: rtp + apart,
    });
    let ports = proptest::collection::vec(proptest::option::weighted(0.8, ports), 5);
    (proptest::sample::select(ADDRESSES.as_slice()), ports)
        .prop_map(|(address, ports)| (address.parse().expect("an address"), ports))
}

fn relayed(description: &Description<'_>, address: IpAddr, ports: &[Option<Ports>]) -> Vec<u8> {
    let mut edits = Edits::new();
    rewrite(description, &Rewrite { address, ports }, &mut edits);
    let body = description.body();
    let mut out = Vec::new();
    edits.write(body, &mut out);
    assert_eq!(out.len(), edits.size_after(body.len()));

    // All edits lie in the body in order; what lies between them is in what was written, in order.
    let (mut at, mut written) = (0usize, 0usize);
    for edit in edits.iter() {
        let (start, end) = (edit.span.start as usize, edit.span.end as usize);
        assert!(at <= start && start <= end && end <= body.len());
        assert!(start < end || !edit.text.is_empty(), "an edit of nothing");
        assert_eq!(body[at..start], out[written..written + start - at]);
        written += start - at;
        assert_eq!(edit.text, &out[written..written + edit.text.len()]);
        written += edit.text.len();
        at = end;
    }
    assert_eq!(body[at..], out[written..]);
    out
}

/// The lines that no relay has anything to do with, in order.
fn untouched(body: &[u8]) -> Vec<&[u8]> {
    const TOUCHED: [&[u8]; 9] = [
        b"o=",
        b"c=",
        b"m=",
        b"a=rtcp:",
        b"a=candidate",
        b"a=ice-",
        b"a=end-of-candidates",
        b"a=group:BUNDLE",
        b"a=bundle-only",
    ];
    body.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty() && !TOUCHED.iter().any(|head| line.starts_with(head)))
        .collect()
}

fn is_taken<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(taken) => Some(taken),
        Err(error) => {
            assert!(matches!(error, Error::NoAddress { .. }), "{error:?}");
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_relayed_says_what_was_asked_for(
        text in description(),
        (address, ports) in change(),
    ) {
        let mut index = Index::new();
        let limits = Limits::default();
        let Some(before) = is_taken(index.parse(text.as_bytes(), &limits)) else {
            return Ok(());
        };
        let out = relayed(&before, address, &ports);
        let mut second = Index::new();
        let after = second.parse(&out, &limits).expect("it was one before");
        let asked = address.to_string();
        prop_assert_eq!(after.origin().address, asked.as_bytes());
        prop_assert_eq!(before.media_count(), after.media_count());
        prop_assert!(!after.has_bundle());
        for (old, new) in before.media().zip(after.media()) {
            prop_assert_eq!(old.direction(), new.direction());
            prop_assert!(old.formats().eq(new.formats()));
            let given = ports[old.number()].filter(|_| old.needs_ports());
            let Some(given) = given else {
                prop_assert_eq!(old.port(), new.port());
                if old.port() != 0 {
                    prop_assert_eq!(old.address(), new.address());
                }
                continue;
            };
            prop_assert_eq!(new.port(), given.rtp);
            if old.is_held_by_address() {
                prop_assert_eq!(old.address(), new.address());
                continue;
            }
            prop_assert_eq!(new.address(), Ok(address));
            if old.transport() == sdp::Transport::Rtp && new.rtcp().is_some() {
                let rtcp = new.rtcp().expect("asked above");
                prop_assert_eq!(rtcp.ip(), address);
                let is_shared = given.rtp == given.rtcp || old.has_explicit_rtcp();
                prop_assert!(rtcp.port() == given.rtcp || is_shared && rtcp.port() == given.rtp
                    || old.has_rtcp_mux());
            }
        }
        prop_assert_eq!(check_answer(&before, &after), Ok(()));
    }

    #[test]
    fn twice_is_once(text in description(), (address, ports) in change()) {
        let mut index = Index::new();
        let limits = Limits::default();
        let Some(before) = is_taken(index.parse(text.as_bytes(), &limits)) else {
            return Ok(());
        };
        let once = relayed(&before, address, &ports);
        let mut second = Index::new();
        let after = second.parse(&once, &limits).expect("it was one before");
        prop_assert_eq!(relayed(&after, address, &ports), once);
    }

    #[test]
    fn other_lines_stay_as_they_were(text in description(), (address, ports) in change()) {
        let mut index = Index::new();
        let Some(before) = is_taken(index.parse(text.as_bytes(), &Limits::default())) else {
            return Ok(());
        };
        let out = relayed(&before, address, &ports);
        prop_assert_eq!(untouched(text.as_bytes()), untouched(&out));
        let is_bare = !text.contains("\r\n");
        prop_assert_eq!(is_bare, !out.windows(2).any(|pair| pair == b"\r\n"));
    }

    #[test]
    fn the_inside_is_hidden_where_all_media_are_relayed(
        text in description(),
        (address, ports) in change(),
    ) {
        let mut index = Index::new();
        let Some(before) = is_taken(index.parse(text.as_bytes(), &Limits::default())) else {
            return Ok(());
        };
        let is_all = (before.media()).all(|media| {
            media.port() == 0 || media.needs_ports() && ports[media.number()].is_some()
        });
        if is_all {
            let out = relayed(&before, address, &ports);
            let out = String::from_utf8_lossy(&out);
            prop_assert!(!out.contains("10.1.2.") && !out.contains("fd00::"), "{out}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut index = Index::new();
        let mut text = b"v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\n".to_vec();
        let _ = index.parse(&bytes, &Limits::default()).is_ok();
        text.extend_from_slice(&bytes);
        let _ = index.parse(&text, &Limits::default()).is_ok();
    }
}
