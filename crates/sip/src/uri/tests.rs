//! What URIs promise.

use proptest::prelude::*;

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|error| unreachable!("{text}: {error:?}"))
}

fn same(one: &str, two: &str) -> bool {
    let (one, two) = (uri(one), uri(two));
    assert_eq!(
        one.equivalent(&two),
        two.equivalent(&one),
        "it goes both ways"
    );
    one.equivalent(&two)
}

#[test]
fn the_examples_of_section_19_1_3_are_read() {
    let plain = uri("sip:alice@atlanta.com");
    assert_eq!(plain.user, Some(&b"alice"[..]));
    assert_eq!(plain.host.bytes, b"atlanta.com");
    let secret = uri("sip:alice:secretword@atlanta.com;transport=tcp");
    assert_eq!(
        (secret.user, secret.password),
        (Some(&b"alice"[..]), Some(&b"secretword"[..]))
    );
    assert_eq!(secret.params.value(b"Transport"), Some(&b"tcp"[..]));
    let headers = uri("sips:alice@atlanta.com?subject=project%20x&priority=urgent");
    assert_eq!(headers.scheme, Scheme::Sips);
    assert_eq!(
        headers.headers,
        Some(&b"subject=project%20x&priority=urgent"[..])
    );
    assert_eq!(headers.port_or_default(), 5061);
    let phone = uri("sip:+1-212-555-1212:1234@gateway.com;user=phone");
    assert_eq!(
        (phone.user, phone.password),
        (Some(&b"+1-212-555-1212"[..]), Some(&b"1234"[..]))
    );
    assert_eq!(uri("sips:1212@gateway.com").user, Some(&b"1212"[..]));
    assert_eq!(
        uri("sip:alice@192.0.2.4").host.address,
        Some("192.0.2.4".parse().unwrap())
    );
    let register = uri("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com");
    assert_eq!(register.user, None);
    assert_eq!(register.params.value(b"method"), Some(&b"REGISTER"[..]));
    let day = uri("sip:alice;day=tuesday@atlanta.com");
    assert_eq!(day.user, Some(&b"alice;day=tuesday"[..]));
    assert_eq!(day.params.iter().count(), 0);
}

#[test]
fn the_equivalent_uris_of_section_19_1_4_are_equivalent() {
    for (one, two) in [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:carol@chicago.com;newparam=5",
            "sip:carol@chicago.com;security=on",
        ),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ] {
        assert!(same(one, two), "{one} {two}");
    }
}

#[test]
fn the_different_uris_of_section_19_1_4_differ() {
    for (one, two) in [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:a@h;user=phone", "sip:a@h"),
        ("sip:a@h;ttl=1", "sip:a@h"),
        ("sip:a@h;maddr=h", "sip:a@h"),
        ("sip:a@h;method=INVITE", "sip:a@h"),
        ("sips:a@h", "sip:a@h"),
        ("sip:a:p@h", "sip:a@h"),
        ("sip:h", "sip:a@h"),
        ("sip:a@h?x=1&x=1", "sip:a@h?x=1&y=1"),
        ("tel:+1", "sip:+1@h"),
    ] {
        assert!(!same(one, two), "{one} {two}");
    }
}

#[test]
fn hosts_compare_by_address_or_name() {
    assert!(same("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]"));
    assert!(same("sip:a@example.org.", "sip:a@EXAMPLE.org"));
    assert!(!same("sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]"));
}

#[test]
fn the_ipv6_references_of_rfc_5118_are_read() {
    let address = |text: &str| uri(text).host.address.map(|address| address.to_string());
    assert_eq!(
        address("sip:[2001:db8::10]").as_deref(),
        Some("2001:db8::10")
    );
    let with_port = uri("sip:[2001:db8::10]:5070");
    assert_eq!(with_port.port, Some(5070));
    // Section 4.3: without brackets the port is part of the address.
    assert_eq!(
        address("sip:[2001:db8::10:5070]").as_deref(),
        Some("2001:db8::10:5070")
    );
    // Section 4.2: without brackets it is no host.
    assert_eq!(Uri::parse(b"sip:2001:db8::10"), Err(UriError::Port));
    assert_eq!(
        address("sip:[::ffff:192.0.2.1]").as_deref(),
        Some("::ffff:192.0.2.1")
    );
    // Section 4.10.
    assert_eq!(
        address("sip:[2001:db8:::192.0.2.1]"),
        address("sip:[2001:db8::192.0.2.1]")
    );
    for bad in [
        "sip:[2001:db8:::1]",
        "sip:[::1",
        "sip:[]",
        "sip:[::1]x",
        "sip:[:::]",
        "sip:[fe80::1%25eth0]",
    ] {
        assert_eq!(Uri::parse(bad.as_bytes()), Err(UriError::Host), "{bad}");
    }
}

#[test]
fn what_is_no_uri_is_refused_by_part() {
    for (text, error) in [
        ("", UriError::Scheme),
        ("alice", UriError::Scheme),
        (":a@b", UriError::Scheme),
        ("1sip:a@b", UriError::Scheme),
        ("<sip:a@b", UriError::Scheme),
        ("sip:", UriError::Host),
        ("sip:a@", UriError::Host),
        ("sip:@b", UriError::User),
        ("sip:a@b@c", UriError::User),
        ("sip:a b@c", UriError::Character),
        ("sip:a@b\u{7f}", UriError::Character),
        ("sip:a%4@b", UriError::Escape),
        ("sip:a@b;x=%zz", UriError::Escape),
        ("sip:a@b..c", UriError::Host),
        ("sip:a@.b", UriError::Host),
        ("sip:a@b:", UriError::Port),
        ("sip:a@b:65536", UriError::Port),
        ("sip:a@b:-1", UriError::Port),
        ("sip:a@b/c", UriError::Host),
        ("tel:", UriError::User),
        ("tel:+", UriError::User),
        ("tel:1+2", UriError::User),
        ("tel:--", UriError::User),
        ("tel:+12ab", UriError::User),
    ] {
        assert_eq!(Uri::parse(text.as_bytes()).err(), Some(error), "{text}");
    }
}

#[test]
fn tel_uris_are_read_and_compared_by_rfc_3966() {
    let local = uri("tel:7042;phone-context=example.com");
    assert_eq!(local.scheme, Scheme::Tel);
    assert_eq!(local.user, Some(&b"7042"[..]));
    assert_eq!(
        local.params.value(b"phone-context"),
        Some(&b"example.com"[..])
    );
    assert!(same("tel:+1-201-555-0123", "tel:+1(201)555.0123"));
    assert!(same("tel:+1-201-555-0123", "TEL:+12015550123"));
    assert!(!same("tel:+12015550123", "tel:12015550123"));
    assert!(!same("tel:+12015550123", "tel:+12015550123;ext=1"));
    assert!(same(
        "tel:863-1234;phone-context=+1-914-555",
        "tel:8631234;Phone-Context=+1-914-555"
    ));
    assert!(Uri::parse(b"tel:*21#").is_ok());
}

#[test]
fn another_scheme_is_opaque() {
    let other = uri("mailto:watson@bell-telephone.com");
    assert_eq!((other.scheme, other.is_sip()), (Scheme::Other, false));
    assert!(same("urn:service:sos", "urn:service:sos"));
    assert!(!same("urn:service:sos", "urn:service:SOS"));
}

#[test]
fn the_address_of_record_is_canonical() {
    let aor = |text: &str| {
        let mut out = Vec::new();
        uri(text).push_aor(&mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        aor("sip:%61lice:pw@EXAMPLE.org.:5060;transport=tcp"),
        "alice@example.org"
    );
    assert_eq!(aor("sips:example.ORG"), "example.org");
    assert_eq!(aor("sip:a@[2001:DB8:0::1]:5"), "a@[2001:db8::1]");
}

#[test]
fn an_escape_without_digits_stands_for_itself() {
    let mut out = Vec::new();
    push_unescaped(b"%41%4z%", &mut out);
    assert_eq!(out, b"A%4z%");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Uri::parse(&bytes);
        let _ = Host::parse_with_port(&bytes);
    }

    #[test]
    fn addresses_are_those_of_the_standard_library(text in r"[0-9]{1,4}(\.[0-2]?[0-9]{0,3}){2,4}") {
        let expected = text.parse::<std::net::Ipv4Addr>().ok();
        prop_assert_eq!(v4(text.as_bytes()), expected);
    }

    #[test]
    fn parts_are_slices_and_a_uri_is_equivalent_to_itself(
        text in r"(sip|SIPS|tel|x):[a-c%@:;=?&.\[\]1-9+-]{0,24}",
    ) {
        if let Ok(uri) = Uri::parse(text.as_bytes()) {
            prop_assert!(uri.equivalent(&uri));
            let copy = text.clone();
            let other = Uri::parse(copy.as_bytes()).expect("it was read before");
            prop_assert!(uri.equivalent(&other));
            let inside = |part: &[u8]| part.len() <= text.len();
            prop_assert!(inside(uri.user.unwrap_or_default()) && inside(uri.host.bytes));
            let mut out = Vec::new();
            uri.push_aor(&mut out);
            prop_assert!(uri.params.iter().all(|param| !param.name.is_empty() || param.value.is_some()));
        }
    }
}
