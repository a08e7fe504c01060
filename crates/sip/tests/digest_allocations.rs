//! Digest authentication allocates nothing per request.

use allocation_counter::measure;
use sip::digest::{
    Algorithm, Attempt, Challenge, Credentials, Ha1, NonceSource, Outcome, ReplayFilter,
    ResponseInput, WithoutQop, authenticate,
};

const NOW_MS: u64 = 1_700_000_000_000;

#[test]
fn a_challenge_and_its_answer_allocate_nothing_after_warm_up() {
    let nonces = NonceSource::new([9; 16], NOW_MS);
    let mut filter = ReplayFilter::new(8);
    let mut out = Vec::new();
    for algorithm in Algorithm::ALL {
        let ha1 = Ha1::compute(algorithm, b"alice", b"example.org", b"secret");
        for round in 0..20u64 {
            let nonce = nonces.issue(NOW_MS + round, round);
            let input = ResponseInput {
                method: b"REGISTER",
                uri: b"sip:example.org",
                nonce: nonce.as_bytes(),
                protection: Some((b"00000001", b"xyz", b"auth")),
            };
            let value = format!(
                "Digest username=\"alice\", realm=\"example.org\", nonce=\"{}\", \
                 uri=\"sip:example.org\", response=\"{}\", algorithm={algorithm}, qop=auth, \
                 nc=00000001, cnonce=\"xyz\"",
                nonce.as_bytes().escape_ascii(),
                input.response(&ha1).to_hex().as_str(),
            );
            let mut outcome = Outcome::Stale;
            let allocated = measure(|| {
                out.clear();
                let nonce = nonces.issue(NOW_MS + round, 1_000 + round);
                let challenge = Challenge {
                    realm: b"example.org",
                    nonce: nonce.as_bytes(),
                    stale: true,
                    opaque: None,
                };
                challenge.write_lines(b"WWW-Authenticate", &Algorithm::ALL, &mut out);
                let credentials = Credentials::parse(value.as_bytes()).expect("sound");
                let attempt = Attempt {
                    credentials: &credentials,
                    method: b"REGISTER",
                    now_ms: NOW_MS + round,
                    without_qop: WithoutQop::Refuse,
                };
                outcome = authenticate(
                    &attempt,
                    &nonces,
                    |_, _, _| Some(ha1),
                    |nonce, nc| filter.admit(nonce, nc),
                );
            });
            // The filter has room for eight: later algorithms find its rounds used or forgotten.
            let expected = algorithm == Algorithm::ALL[0];
            assert_eq!(outcome == Outcome::Authentic, expected, "{outcome:?}");
            let is_warm = round > 0 || algorithm != Algorithm::ALL[0];
            assert!(!is_warm || allocated.count_total == 0, "{allocated:?}");
        }
    }
}
