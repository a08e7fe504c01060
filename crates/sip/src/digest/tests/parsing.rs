use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

const RESPONSE: &str = "6629fae49393a05397450978507c4ef1";

/// Sound credentials without qop, and `more` after them.
fn with(more: &str) -> String {
    format!(
        "Digest username=\"alice\", realm=\"example.org\", nonce=\"abc\", \
         uri=\"sip:example.org\", response=\"{RESPONSE}\"{more}"
    )
}

fn error(value: &str) -> CredentialsError {
    Credentials::parse(value.as_bytes()).expect_err("unsound credentials")
}

#[test]
fn the_parts_are_where_the_client_put_them() {
    let credentials = Credentials::parse(RFC_2617).expect("sound");
    assert!(credentials.username().is(b"Mufasa"));
    assert!(credentials.realm().is(b"testrealm@host.com"));
    assert!(
        credentials
            .nonce()
            .is(b"dcd98b7102dd2f0e8b11d0f600bfb0c093")
    );
    assert!(credentials.uri().is(b"/dir/index.html"));
    assert_eq!(credentials.response().to_hex().as_str(), RESPONSE);
    assert_eq!(credentials.algorithm(), Algorithm::Md5);
    assert_eq!(credentials.qop(), Some(&b"auth"[..]));
    assert_eq!(credentials.nc(), Some(1));
    assert!(credentials.cnonce().expect("there").is(b"0a4f113b"));
    assert!(
        credentials
            .opaque()
            .expect("there")
            .is(b"5ccc069c403ebaf9f0171e9517f40e41")
    );
}

#[test]
fn order_case_folds_spaces_and_unknown_parameters_do_not_matter() {
    let value = format!(
        " \r\n\tdIgEsT\r\n  NC = \"0000000A\" ,,x-new=[::1];y,\r\n CNONCE=\"c\", Qop=\"AUTH\",\
         Response\t=\r\n {}, uri=\"sip:b@[2001:db8::1];a=1,2\",Nonce=abc==,\
         realm=\"r\",algorithm=\"md5\", Username=\"\", auth=\"\\\"\",x-new=2, ",
        RESPONSE.to_uppercase()
    );
    let credentials = Credentials::parse(value.as_bytes()).expect("sound");
    assert_eq!(credentials.nc(), Some(10));
    assert_eq!(credentials.qop(), Some(&b"AUTH"[..]));
    assert!(credentials.uri().is(b"sip:b@[2001:db8::1];a=1,2"));
    assert!(credentials.nonce().is(b"abc=="));
    assert!(credentials.username().is(b""));
    assert_eq!(credentials.response().to_hex().as_str(), RESPONSE);
}

#[test]
fn a_plain_username_is_borrowed_and_an_escaped_one_is_resolved() {
    let value = with("");
    let plain = Credentials::parse(value.as_bytes()).expect("sound");
    assert!(matches!(
        plain.username().unescaped(),
        Cow::Borrowed(b"alice")
    ));

    let value = with("").replace("alice", "a\\\"l\\\\i \r\n \tce\\é");
    assert_eq!(error(&value), CredentialsError::Syntax { at: 31 });
    let value = with("").replace("alice", "a\\\"l\\\\i\r\n \tc\u{e9}");
    let escaped = Credentials::parse(value.as_bytes()).expect("sound");
    assert_eq!(escaped.username().unescaped(), "a\"l\\i c\u{e9}".as_bytes());
    assert!(escaped.username().is("a\"l\\i c\u{e9}".as_bytes()));
    assert!(!escaped.username().is(b"a\"l\\i c"));
    assert_eq!(
        escaped.username().as_sent(),
        "a\\\"l\\\\i\r\n \tc\u{e9}".as_bytes()
    );
}

#[test]
fn cnonce_and_nc_without_qop_count_for_nothing() {
    let value = with(", cnonce=\"c\", nc=zz");
    let credentials = Credentials::parse(value.as_bytes()).expect("sound");
    assert_eq!((credentials.qop(), credentials.nc()), (None, None));
}

#[test]
fn another_scheme_is_told_from_digest() {
    for other in [
        "",
        "Digest2 a=b",
        "Basic QWxhZGRpbg==",
        "Dig",
        "Digest,username=\"a\"",
    ] {
        assert!(!scheme_is_digest(other.as_bytes()), "{other}");
        assert_eq!(error(other), CredentialsError::NotDigest, "{other}");
    }
    for digest in ["Digest x", " digest\tx", "DIGEST", "Digest\r\n x"] {
        assert!(scheme_is_digest(digest.as_bytes()), "{digest}");
    }
    assert!(CredentialsError::NotDigest.is_unsupported());
}

#[test]
fn each_mandatory_parameter_is_missed_by_name() {
    for (text, parameter) in [
        ("username=\"alice\", ", Parameter::Username),
        ("realm=\"example.org\", ", Parameter::Realm),
        ("nonce=\"abc\", ", Parameter::Nonce),
        ("uri=\"sip:example.org\", ", Parameter::Uri),
        (
            ", response=\"6629fae49393a05397450978507c4ef1\"",
            Parameter::Response,
        ),
    ] {
        assert_eq!(
            error(&with("").replace(text, "")),
            CredentialsError::Missing(parameter)
        );
    }
    assert_eq!(
        error(&with(",qop=auth,nc=00000001")),
        CredentialsError::Missing(Parameter::Cnonce)
    );
    assert_eq!(
        error(&with(",qop=auth,cnonce=\"c\"")),
        CredentialsError::Missing(Parameter::NonceCount)
    );
    assert_eq!(
        error("Digest"),
        CredentialsError::Missing(Parameter::Username)
    );
}

#[test]
fn a_parameter_that_is_there_twice_is_refused() {
    assert_eq!(
        error(&with(", USERNAME=\"bob\"")),
        CredentialsError::Duplicate(Parameter::Username)
    );
    assert_eq!(
        error(&with(", opaque=\"\", opaque=\"\"")),
        CredentialsError::Duplicate(Parameter::Opaque)
    );
}

#[test]
fn what_is_left_out_is_refused_as_unsupported() {
    for (more, parameter) in [
        (", algorithm=MD5-sess", Parameter::Algorithm),
        (", algorithm=SHA-512", Parameter::Algorithm),
        (", qop=auth-int, nc=00000001, cnonce=\"c\"", Parameter::Qop),
        (", qop=\"\"", Parameter::Qop),
        (", userhash=true", Parameter::Userhash),
        (", username*=UTF-8''alice", Parameter::UsernameExtended),
    ] {
        let error = error(&with(more));
        assert_eq!(error, CredentialsError::Unsupported(parameter), "{more}");
        assert!(error.is_unsupported());
    }
    assert!(Credentials::parse(with(", userhash=FALSE").as_bytes()).is_ok());
}

#[test]
fn values_outside_their_grammar_are_refused() {
    for nc in ["1", "0000000g", "000000001", "00000000", "\"\"", "+0000001"] {
        assert_eq!(
            error(&with(&format!(", qop=auth, cnonce=\"c\", nc={nc}"))),
            CredentialsError::Value(Parameter::NonceCount),
            "{nc}"
        );
    }
    assert_eq!(
        error(&with(", algorithm=SHA-256")),
        CredentialsError::Value(Parameter::Response),
        "the length is MD5's"
    );
    assert_eq!(
        error(&with("").replace("6629", "xyz0")),
        CredentialsError::Value(Parameter::Response)
    );
}

#[test]
fn broken_grammar_is_refused_where_it_breaks() {
    let at = with("").len();
    for (more, offset) in [
        (" x", 1),
        (", =x", 2),
        (", x", 3),
        (", x=", 4),
        (", x=,", 4),
        (", x=\"", 5),
        (", x=\"\\", 5),
        (", x=\"a\r\n", 6),
        (", x=\"a\0\"", 6),
        (", x=\"\"y", 6),
        (", x=a\"b\"", 5),
        ("\r\n", 0),
    ] {
        assert_eq!(
            error(&with(more)),
            CredentialsError::Syntax { at: at + offset },
            "{more:?}"
        );
    }
}

#[test]
fn the_number_of_parameters_is_limited() {
    let room = PARAMETERS_MAX - 5;
    assert!(Credentials::parse(with(&", x=y".repeat(room)).as_bytes()).is_ok());
    assert_eq!(
        error(&with(&", x=y".repeat(room + 1))),
        CredentialsError::TooManyParameters
    );
}

/// Pieces that take the scanner to all its corners sooner than plain noise does.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            "Digest ",
            "username",
            "realm",
            "nonce",
            "uri",
            "response",
            "algorithm",
            "qop",
            "nc",
            "cnonce",
            "username*",
            "=",
            ",",
            "\"",
            "\\",
            "\r\n ",
            "\r\n",
            " ",
            "\t",
            "auth",
            "00000001",
            RESPONSE,
            "\"a\"",
            "\"a\\\"b\"",
            "MD5",
            "SHA-256",
            "\u{e9}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(value in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Credentials::parse(&value);
        let _ = scheme_is_digest(&value);
    }

    #[test]
    fn arbitrary_pieces_never_panic(pieces in proptest::collection::vec(fragment(), 0..60)) {
        let mut value = b"Digest ".to_vec();
        value.extend(pieces.concat());
        let _ = Credentials::parse(&value);
    }

    #[test]
    fn sound_credentials_with_a_byte_changed_never_panic(at in 0usize..200, byte: u8) {
        let mut value = RFC_2617.to_vec();
        let at = at % value.len();
        value[at] = byte;
        if let Ok(credentials) = Credentials::parse(&value) {
            let ha1 = Ha1::compute(Algorithm::Md5, b"Mufasa", b"testrealm@host.com", b"x");
            prop_assert!(!verify(&credentials, &ha1, b"GET", WithoutQop::Accept));
        }
    }

    #[test]
    fn what_is_escaped_is_unescaped_to_the_same(username in "[ -~\u{80}-\u{2ff}]{0,40}") {
        let quoted = username.replace('\\', "\\\\").replace('"', "\\\"");
        let value = with("").replace("alice", &quoted);
        let credentials = Credentials::parse(value.as_bytes()).expect("sound");
        prop_assert_eq!(&*credentials.username().unescaped(), username.as_bytes());
        prop_assert!(credentials.username().is(username.as_bytes()));
    }
}
