//! What names promise.

use super::*;

#[test]
fn every_name_is_found_in_any_case() {
    for (name, text) in NAMED {
        assert_eq!(HeaderName::parse(text.as_bytes()), name);
        assert_eq!(
            HeaderName::parse(text.to_ascii_uppercase().as_bytes()),
            name
        );
        assert_eq!(
            HeaderName::parse(text.to_ascii_lowercase().as_bytes()),
            name
        );
        assert_eq!(name.as_str(), text);
    }
    assert_eq!(HeaderName::Other.as_str(), "*");
}

#[test]
fn compact_forms_are_those_of_the_registry() {
    let forms = [
        (b'a', HeaderName::AcceptContact),
        (b'b', HeaderName::ReferredBy),
        (b'c', HeaderName::ContentType),
        (b'd', HeaderName::RequestDisposition),
        (b'e', HeaderName::ContentEncoding),
        (b'f', HeaderName::From),
        (b'i', HeaderName::CallId),
        (b'j', HeaderName::RejectContact),
        (b'k', HeaderName::Supported),
        (b'l', HeaderName::ContentLength),
        (b'm', HeaderName::Contact),
        (b'o', HeaderName::Event),
        (b'r', HeaderName::ReferTo),
        (b's', HeaderName::Subject),
        (b't', HeaderName::To),
        (b'u', HeaderName::AllowEvents),
        (b'v', HeaderName::Via),
        (b'x', HeaderName::SessionExpires),
        (b'y', HeaderName::Identity),
    ];
    for byte in 0..=u8::MAX {
        let expected = forms
            .iter()
            .find(|(form, _)| *form == byte.to_ascii_lowercase())
            .map_or(HeaderName::Other, |(_, name)| *name);
        assert_eq!(HeaderName::parse(&[byte]), expected, "{}", byte as char);
    }
}

#[test]
fn a_name_with_anything_changed_is_other() {
    for (_, text) in NAMED {
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = b'!';
            assert_eq!(HeaderName::parse(&bytes), HeaderName::Other, "{text} {at}");
        }
        assert_eq!(HeaderName::parse(&text.as_bytes()[..0]), HeaderName::Other);
        assert_eq!(
            HeaderName::parse(format!("{text}x").as_bytes()),
            HeaderName::Other
        );
        assert_eq!(
            HeaderName::parse(format!("x{text}").as_bytes()),
            HeaderName::Other
        );
    }
}

#[test]
fn reason_phrases_name_the_header() {
    assert_eq!(HeaderName::CallId.missing_reason(), "Missing Call-ID");
    assert_eq!(HeaderName::CSeq.repeated_reason(), "Repeated CSeq");
    assert_eq!(HeaderName::Via.malformed_reason(), "Malformed Via");
    assert_eq!(HeaderName::Other.malformed_reason(), "Malformed Header");
}

#[test]
fn methods_are_case_sensitive() {
    for method in [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Subscribe,
        Method::Notify,
        Method::Publish,
        Method::Info,
        Method::Refer,
        Method::Message,
        Method::Update,
    ] {
        assert_eq!(Method::parse(method.as_str().as_bytes()), method);
        let lower = method.as_str().to_ascii_lowercase();
        assert_eq!(Method::parse(lower.as_bytes()), Method::Other);
    }
    assert_eq!(Method::parse(b""), Method::Other);
    assert_eq!(Method::parse(b"INVITED"), Method::Other);
}
