//! Tests of the whole module: published vectors here, each part in a file of its own.

mod authenticating;
mod nonces;
mod parsing;
mod replays;
mod writing;

use super::*;

/// RFC 2617 section 3.5.
const RFC_2617: &[u8] = b"Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
    nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, \
    nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", \
    opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";

/// The parameters of RFC 7616 section 3.9.1, for one algorithm and response.
fn rfc_7616(algorithm: &str, response: &str) -> Vec<u8> {
    format!(
        "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
         algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
         nc=00000001, cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
         response=\"{response}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
    )
    .into_bytes()
}

fn holds(value: &[u8], realm: &str, password: &str) -> bool {
    let credentials = Credentials::parse(value).expect("sound credentials");
    let ha1 = Ha1::compute(
        credentials.algorithm(),
        b"Mufasa",
        realm.as_bytes(),
        password.as_bytes(),
    );
    verify(&credentials, &ha1, b"GET", WithoutQop::Refuse)
}

#[test]
fn the_example_of_rfc_2617_is_verified() {
    assert!(holds(RFC_2617, "testrealm@host.com", "Circle Of Life"));
    assert!(!holds(RFC_2617, "testrealm@host.com", "Circle of Life"));
}

#[test]
fn the_examples_of_rfc_7616_are_verified() {
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let value = rfc_7616(algorithm, response);
        assert!(
            holds(&value, "http-auth@example.org", "Circle of Life"),
            "{algorithm}"
        );
        assert!(
            !holds(&value, "http-auth@example.org", "circle of life"),
            "{algorithm}"
        );
    }
}

/// The example of RFC 7616 section 3.9.2 cuts SHA-512 where it should use SHA-512/256 (its userhash
/// shows it), so the expected value here was computed with OpenSSL's `sha512-256`.
#[test]
fn sha_512_256_is_the_function_of_fips_180_4() {
    assert_eq!(
        Algorithm::Sha512_256
            .hash(&[b"a", b"", b"bc"])
            .to_hex()
            .as_str(),
        "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    );
    let value = rfc_7616(
        "SHA-512-256",
        "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0",
    );
    assert!(holds(&value, "http-auth@example.org", "Circle of Life"));
}

/// Alice registers; expected values computed with OpenSSL's hash functions.
#[test]
fn a_register_is_verified_with_and_without_qop() {
    let cases = [
        (
            Algorithm::Md5,
            "71e251ce6611d87fb3b1f5d9360d387d",
            "38b817741ab4be892cb2598d21b27a28",
        ),
        (
            Algorithm::Sha256,
            "ee15628f0129705a8b5e02776c288f2a22ea0d092428de1a7a05729355ed45f3",
            "49528f1aaa2be280f48a83d98a78904f98d0043cbbb0f458a818dbfcc6b70b4e",
        ),
        (
            Algorithm::Sha512_256,
            "148a4c41ca5bbd008987ed01fba664ad1eecb7789102f6563db8b545efb967f1",
            "bd076d7e12e92f1fa1ba0d2bb5ca5596252029cd403b10679e6a29250f109793",
        ),
    ];
    for (algorithm, with_qop, without_qop) in cases {
        let ha1 = Ha1::compute(algorithm, b"alice", b"example.org", b"se cret:1");
        let head = format!(
            "Digest username=\"alice\",realm=\"example.org\",nonce=\"abc\",\
             uri=\"sip:example.org\",algorithm={algorithm}"
        );
        let counted =
            format!("{head},response=\"{with_qop}\",qop=auth,nc=00000002,cnonce=\"0a4f113b\"");
        let counted = Credentials::parse(counted.as_bytes()).expect("sound");
        assert!(verify(&counted, &ha1, b"REGISTER", WithoutQop::Refuse));
        assert!(!verify(&counted, &ha1, b"INVITE", WithoutQop::Refuse));

        let plain = format!("{head},response=\"{without_qop}\"");
        let plain = Credentials::parse(plain.as_bytes()).expect("sound");
        assert!(verify(&plain, &ha1, b"REGISTER", WithoutQop::Accept));
        assert!(!verify(&plain, &ha1, b"REGISTER", WithoutQop::Refuse));
    }
}

#[test]
fn an_ha1_of_another_algorithm_does_not_verify() {
    let credentials = Credentials::parse(RFC_2617).expect("sound");
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512_256] {
        let ha1 = Ha1::compute(
            algorithm,
            b"Mufasa",
            b"testrealm@host.com",
            b"Circle Of Life",
        );
        assert!(!verify(&credentials, &ha1, b"GET", WithoutQop::Accept));
    }
}

#[test]
fn an_ha1_survives_being_stored() {
    for algorithm in Algorithm::ALL {
        let ha1 = Ha1::compute(algorithm, b"alice", b"example.org", b"secret");
        assert_eq!(ha1.as_bytes().len(), algorithm.hash_bytes());
        assert_eq!(Ha1::from_bytes(algorithm, ha1.as_bytes()), Some(ha1));
        let hex = ha1.to_hex();
        assert_eq!(Ha1::from_hex(algorithm, hex.as_bytes()), Some(ha1));
        assert_eq!(
            Ha1::from_hex(algorithm, hex.as_str().to_uppercase().as_bytes()),
            Some(ha1)
        );
        assert_eq!(Ha1::from_hex(algorithm, &hex.as_bytes()[1..]), None);
        assert_eq!(Ha1::from_bytes(algorithm, &ha1.as_bytes()[1..]), None);
        let mut broken = hex.as_str().to_owned();
        broken.replace_range(3..4, "g");
        assert_eq!(Ha1::from_hex(algorithm, broken.as_bytes()), None);
    }
}

#[test]
fn secrets_and_user_data_are_not_printed() {
    let ha1 = Ha1::compute(
        Algorithm::Md5,
        b"Mufasa",
        b"testrealm@host.com",
        b"Circle Of Life",
    );
    let credentials = Credentials::parse(RFC_2617).expect("sound");
    let printed = format!(
        "{ha1:?} {:?} {credentials:?} {:?} {:?} {:?}",
        ha1.to_hex(),
        credentials.username(),
        credentials.response(),
        NonceSource::new([7; 16], 0)
    );
    for secret in ["939e7578", "Mufasa", "6629fae4", "0707", "7, 7"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn algorithm_names_are_read_in_any_case() {
    for algorithm in Algorithm::ALL {
        assert_eq!(
            Algorithm::parse(algorithm.name().as_bytes()),
            Some(algorithm)
        );
        assert_eq!(
            Algorithm::parse(algorithm.name().to_lowercase().as_bytes()),
            Some(algorithm)
        );
    }
    for unknown in ["MD5-sess", "SHA-256-sess", "SHA-1", "", "MD5 "] {
        assert_eq!(Algorithm::parse(unknown.as_bytes()), None, "{unknown}");
    }
}
