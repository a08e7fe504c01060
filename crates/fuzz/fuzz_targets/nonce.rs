//! Nonces that come back: only those that were issued are known, and only within their lifetime.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::digest::{NonceSource, NonceState};

const STARTED_MS: u64 = 1_000_000;
const LIFETIME_MS: u64 = 60_000;

fuzz_target!(|data: &[u8]| {
    let source = NonceSource::new(*b"0123456789abcdef", STARTED_MS).with_lifetime_ms(LIFETIME_MS);
    assert_eq!(
        source.check(STARTED_MS, data),
        NonceState::Forged,
        "2^80 tries are not enough"
    );
    let Some((numbers, changes)) = data.split_first_chunk::<12>() else {
        return;
    };
    let unique = u64::from_be_bytes(*numbers.first_chunk().expect("8 of 12"));
    let late_ms = u64::from(u32::from_be_bytes(*numbers.last_chunk().expect("4 of 12")) & 0x1_ffff);
    let nonce = source.issue(STARTED_MS, unique);
    match source.check(STARTED_MS + late_ms, nonce.as_bytes()) {
        NonceState::Fresh(fresh) => {
            assert!(late_ms <= LIFETIME_MS);
            assert_eq!(fresh.issued_ms(), STARTED_MS);
            assert!(fresh.filter_index(7) < 7);
        }
        NonceState::Stale => assert!(late_ms > LIFETIME_MS),
        NonceState::Forged => panic!("our own nonce"),
    }
    let mut changed = nonce.as_bytes().to_vec();
    for (at, &change) in changes.iter().enumerate().take(changed.len()) {
        changed[at] ^= change;
    }
    if changed != nonce.as_bytes() {
        assert_eq!(source.check(STARTED_MS, &changed), NonceState::Forged);
    }
});
