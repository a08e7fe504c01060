//! A URI, a host, and the comparison of two of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::Uri;
use sip::uri::Host;

fuzz_target!(|data: &[u8]| {
    let (one, two) = match data.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, data),
    };
    let _ = Host::parse_with_port(one);
    let Ok(first) = Uri::parse(one) else { return };
    assert_eq!(first.bytes, one);
    assert!(first.equivalent(&first));
    let mut aor = Vec::new();
    first.push_aor(&mut aor);
    if first.is_sip() {
        assert!(!first.host.bytes.is_empty());
        // The canonical form of a canonical host is itself.
        let (mut domain, mut again) = (Vec::new(), Vec::new());
        first.push_domain(&mut domain);
        let text = [b"sip:", domain.as_slice()].concat();
        Uri::parse(&text)
            .expect("a canonical host can be read")
            .push_domain(&mut again);
        assert_eq!(domain, again);
    }
    if let Ok(second) = Uri::parse(two) {
        assert_eq!(
            first.equivalent(&second),
            second.equivalent(&first),
            "equality has two sides"
        );
    }
});
