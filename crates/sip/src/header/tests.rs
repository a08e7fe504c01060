//! What the typed views promise.

use proptest::prelude::*;

use super::*;

fn via(text: &str) -> Via<'_> {
    Via::parse(text.as_bytes()).unwrap_or_else(|| unreachable!("{text}"))
}

fn name_addr(text: &str) -> NameAddr<'_> {
    NameAddr::parse(text.as_bytes()).unwrap_or_else(|| unreachable!("{text}"))
}

#[test]
fn the_via_forms_of_section_20_42_are_read() {
    let first = via("SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7");
    assert_eq!(first.transport, b"UDP");
    assert_eq!(first.host.bytes, b"erlang.bell-telephone.com");
    assert_eq!(
        (first.port, first.branch()),
        (Some(5060), Some(&b"z9hG4bK87asdks7"[..]))
    );
    assert!(first.has_magic_cookie());
    let second = via("SIP/2.0/UDP 192.0.2.1:5060 ;received=192.0.2.207;branch=z9hG4bK77asjd");
    assert_eq!(second.received(), Some("192.0.2.207".parse().unwrap()));
    let spaced = via(
        "SIP / 2.0 / UDP first.example.com: 4000;ttl=16\r\n ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
    );
    assert_eq!(spaced.port, Some(4000));
    assert_eq!(spaced.params.value(b"ttl"), Some(&b"16"[..]));
    assert_eq!(spaced.params.value(b"MADDR"), Some(&b"224.2.0.1"[..]));
    assert_eq!(spaced.branch(), Some(&b"z9hG4bKa7c6a8dlze.1"[..]));
    assert_eq!(spaced.sent_by, b"first.example.com: 4000");
}

#[test]
fn a_via_may_hold_ipv6_and_any_transport() {
    let six = via("SIP/2.0/TLS [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111");
    assert_eq!(six.host.address, Some("2001:db8::9:1".parse().unwrap()));
    assert_eq!(six.received(), Some("2001:db8::9:255".parse().unwrap()));
    let bare = via("SIP/2.0/UDP [2001:db8::9:1]:5070;received=2001:db8::9:255");
    assert_eq!((bare.port, bare.received()), (Some(5070), six.received()));
    assert_eq!(
        via("SIP/2.0/UNKNOWN t1.example.com;branch=x").transport,
        b"UNKNOWN"
    );
    assert_eq!(via("sip/2.0/udp h").branch(), None);
}

#[test]
fn rport_is_absent_asks_or_tells() {
    assert_eq!(via("SIP/2.0/UDP h;branch=x").rport(), None);
    assert_eq!(via("SIP/2.0/UDP h;rport;branch=x").rport(), Some(None));
    assert_eq!(via("SIP/2.0/UDP h;RPORT=5061").rport(), Some(Some(5061)));
    assert_eq!(via("SIP/2.0/UDP h;rport=x").rport(), Some(None));
}

#[test]
fn only_a_branch_with_more_than_the_cookie_is_of_rfc_3261() {
    assert!(!via("SIP/2.0/UDP h;branch=z9hG4bK").has_magic_cookie());
    assert!(!via("SIP/2.0/UDP h;branch=1").has_magic_cookie());
    assert!(via("SIP/2.0/UDP h;branch=Z9HG4BKa").has_magic_cookie());
}

#[test]
fn what_is_no_via_is_refused() {
    for text in [
        "",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDPh",
        "SIP/2.0/ h",
        "HTTP/1.1/TCP h",
        "SIP/2.0/UDP h:0x5",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP h k",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h;;branch=x",
        "SIP/2.0/UDP h;branch=\"x",
        "SIP/2.0/UDP ;branch=x",
    ] {
        assert_eq!(Via::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn the_address_forms_of_section_20_are_read() {
    let quoted = name_addr("\"A. G. Bell\" <sip:agb@bell-telephone.com> ;tag=a48s");
    assert_eq!(quoted.display, b"\"A. G. Bell\"");
    assert_eq!(quoted.uri, b"sip:agb@bell-telephone.com");
    assert_eq!(quoted.tag(), Some(&b"a48s"[..]));
    let bare = name_addr("sip:+12125551212@server.phone2net.com;tag=887s");
    assert_eq!(
        (bare.display, bare.uri),
        (&b""[..], &b"sip:+12125551212@server.phone2net.com"[..])
    );
    assert_eq!(bare.tag(), Some(&b"887s"[..]));
    let tokens = name_addr("Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8");
    assert_eq!(
        (tokens.display, tokens.tag()),
        (&b"Anonymous"[..], Some(&b"hyh8"[..]))
    );
    assert_eq!(name_addr("A.G. Bell <sip:a@b>").display, b"A.G. Bell");
    let watson = name_addr(
        "\"Mr. Watson\" <sip:watson@worcester.bell-telephone.com>\r\n ;q=0.7; expires=3600",
    );
    assert_eq!(
        (watson.q(), watson.params.value(b"expires")),
        (Some(700), Some(&b"3600"[..]))
    );
    assert_eq!(name_addr("<sip:a@b;lr>").params, Params::default());
    assert_eq!(
        name_addr("<sip:a@b;lr>")
            .parse_uri()
            .unwrap()
            .params
            .find(b"lr"),
        Some(None)
    );
    assert_eq!(name_addr("<tel:+1;ext=2>;x=y").uri, b"tel:+1;ext=2");
}

#[test]
fn brackets_and_quotes_inside_quotes_are_text() {
    let odd = name_addr(r#""<sip:x@y> \" ;tag=no, \\" <sip:a@b>;tag=yes;p="a;tag=z>""#);
    assert_eq!((odd.uri, odd.tag()), (&b"sip:a@b"[..], Some(&b"yes"[..])));
    assert_eq!(odd.params.value(b"p"), Some(&b"\"a;tag=z>\""[..]));
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        "alice",
        "<sip:a@b",
        "\"A <sip:a@b>",
        "\"A\" sip:a@b",
        "A, B <sip:a@b>",
        "sip:a@b?x=y",
        "sip:a@b, sip:c@d",
        "sip:a b@c",
        "<sip:a@b> x",
        "<sip:a@b>;x=\"y",
        "sip:a@b;x=<y>",
    ] {
        assert_eq!(NameAddr::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn q_is_in_thousandths() {
    let q = |text: &str| name_addr(&format!("<sip:a@b>{text}")).q();
    assert_eq!(q(""), Some(1000));
    for (text, value) in [
        ("1", 1000),
        ("0", 0),
        ("0.7", 700),
        ("0.333", 333),
        ("1.000", 1000),
        ("0.", 0),
        (".5", 500),
    ] {
        assert_eq!(q(&format!(";q={text}")), Some(value), "{text}");
    }
    for text in ["", "1.001", "2", "0.1234", "-1", "0.x", ".", "1e0"] {
        assert_eq!(q(&format!(";q={text}")), None, "{text}");
    }
    assert_eq!(q(";q"), None);
}

#[test]
fn parameters_keep_quotes_and_skip_nothing_inside_them() {
    let params = Params::new(b" a = b ; C;d=\"e;f\" ; ;g=");
    let list: Vec<_> = params
        .iter()
        .map(|param| (param.name, param.value))
        .collect();
    let expected: [(&[u8], Option<&[u8]>); 4] = [
        (b"a", Some(b"b")),
        (b"C", None),
        (b"d", Some(b"\"e;f\"")),
        (b"g", Some(b"")),
    ];
    assert_eq!(list, expected);
    assert!(params.has(b"c") && !params.has(b"f"));
    assert_eq!((params.find(b"c"), params.find(b"x")), (Some(None), None));
}

#[test]
fn cseq_is_a_number_below_2_to_the_31_and_a_method() {
    let cseq = CSeq::parse(b"0009\r\n  INVITE").unwrap();
    assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    assert_eq!(CSeq::parse(b"2147483647 X").unwrap().method, Method::Other);
    for bad in [
        &b"2147483648 ACK"[..],
        b"1",
        b"1 ",
        b"INVITE 1",
        b"-1 ACK",
        b"1 A B",
        b"",
        b"1ACK",
    ] {
        assert_eq!(CSeq::parse(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Via::parse(&bytes);
        let _ = CSeq::parse(&bytes);
        if let Some(address) = NameAddr::parse(&bytes) {
            let _ = (address.q(), address.tag(), address.parse_uri());
        }
        let _ = Params::new(&bytes).iter().count();
    }

    #[test]
    fn likely_vias_are_divided_the_same_again(text in r#"SIP/2.0/UDP [a-b.:\[\]0-9]{1,8}(;[a-c]{0,2}(=["a;,<> ]{0,4})?){0,4}"#) {
        if let Some(via) = Via::parse(text.as_bytes()) {
            let extended = format!("{text};z=1");
            let again = Via::parse(extended.as_bytes());
            prop_assert!(again.is_some_and(|again| again.params.value(b"z") == Some(b"1")));
            prop_assert_eq!(again.map(|again| again.params.iter().count()), Some(via.params.iter().count() + 1));
        }
    }
}
