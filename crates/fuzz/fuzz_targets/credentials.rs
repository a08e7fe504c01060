//! Digest credentials as they come, and names that survive being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::digest::{Algorithm, Challenge, Credentials, scheme_is_digest};

fuzz_target!(|data: &[u8]| {
    if let Ok(credentials) = Credentials::parse(data) {
        assert!(scheme_is_digest(data));
        let sent = [
            credentials.username(),
            credentials.realm(),
            credentials.nonce(),
            credentials.uri(),
        ];
        for value in sent
            .into_iter()
            .chain(credentials.cnonce())
            .chain(credentials.opaque())
        {
            let plain = value.unescaped();
            assert!(plain.len() <= value.as_sent().len());
            assert!(value.is(&plain));
        }
        assert_eq!(credentials.qop().is_some(), credentials.nc().is_some());
        assert_ne!(credentials.nc(), Some(0));
        assert_eq!(credentials.response().algorithm(), credentials.algorithm());
    }
    a_name_comes_back_as_it_was(data);
    a_challenge_stays_on_its_lines(data);
});

fn a_name_comes_back_as_it_was(name: &[u8]) {
    if name.iter().any(u8::is_ascii_control) {
        return;
    }
    let mut quoted = Vec::new();
    for &byte in name {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    let mut value = b"Digest username=\"".to_vec();
    value.extend_from_slice(&quoted);
    value.extend_from_slice(b"\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=\"");
    value.extend_from_slice(&[b'0'; 32]);
    value.push(b'"');
    let credentials = Credentials::parse(&value).expect("what is quoted can be read");
    assert_eq!(credentials.username().unescaped(), name);
}

fn a_challenge_stays_on_its_lines(text: &[u8]) {
    let challenge = Challenge {
        realm: text,
        nonce: b"n",
        stale: true,
        opaque: Some(text),
    };
    let mut out = Vec::new();
    challenge.write_lines(b"WWW-Authenticate", &Algorithm::ALL, &mut out);
    let lines = out.split(|&byte| byte == b'\n').count();
    assert_eq!(lines, Algorithm::ALL.len() + 1);
}
