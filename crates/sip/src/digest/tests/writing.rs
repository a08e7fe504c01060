use super::*;

const CHALLENGE: Challenge<'static> = Challenge {
    realm: b"example.org",
    nonce: b"abc",
    stale: false,
    opaque: None,
};

fn value(challenge: &Challenge<'_>, algorithm: Algorithm) -> String {
    let mut out = Vec::new();
    challenge.write_value(algorithm, &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn a_challenge_names_realm_nonce_algorithm_and_qop() {
    assert_eq!(
        value(&CHALLENGE, Algorithm::Sha256),
        "Digest realm=\"example.org\", nonce=\"abc\", algorithm=SHA-256, qop=\"auth\""
    );
}

#[test]
fn a_challenge_says_stale_and_opaque_when_asked() {
    let challenge = Challenge {
        stale: true,
        opaque: Some(b"x\"y"),
        ..CHALLENGE
    };
    assert_eq!(
        value(&challenge, Algorithm::Md5),
        "Digest realm=\"example.org\", nonce=\"abc\", algorithm=MD5, qop=\"auth\", \
         stale=TRUE, opaque=\"x\\\"y\""
    );
}

#[test]
fn a_realm_cannot_end_its_quotes_or_its_line() {
    let challenge = Challenge {
        realm: b"a\"b\\c\r\nVia: x\0",
        ..CHALLENGE
    };
    let value = value(&challenge, Algorithm::Md5);
    assert!(
        value.starts_with("Digest realm=\"a\\\"b\\\\cVia: x\", nonce="),
        "{value}"
    );
}

#[test]
fn each_algorithm_has_a_line_in_the_order_of_preference() {
    let mut out = b"before\r\n".to_vec();
    CHALLENGE.write_lines(
        b"Proxy-Authenticate",
        &[Algorithm::Sha256, Algorithm::Md5],
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "before\r\n\
         Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"abc\", algorithm=SHA-256, \
         qop=\"auth\"\r\n\
         Proxy-Authenticate: Digest realm=\"example.org\", nonce=\"abc\", algorithm=MD5, \
         qop=\"auth\"\r\n"
    );
}
