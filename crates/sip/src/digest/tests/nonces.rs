use proptest::prelude::*;

use super::*;

const SECRET: [u8; 16] = *b"sixteen secrets!";
const STARTED_MS: u64 = 1_700_000_000_000;

fn source() -> NonceSource {
    NonceSource::new(SECRET, STARTED_MS)
}

#[test]
fn a_nonce_is_fresh_for_its_lifetime_and_then_stale() {
    let source = source();
    let issued_ms = STARTED_MS + 5;
    let nonce = source.issue(issued_ms, 1);
    for (now_ms, fresh) in [
        (issued_ms, true),
        (issued_ms + NONCE_LIFETIME_MS_DEFAULT, true),
        (issued_ms + NONCE_LIFETIME_MS_DEFAULT + 1, false),
        (u64::MAX, false),
    ] {
        match source.check(now_ms, nonce.as_bytes()) {
            NonceState::Fresh(nonce) => {
                assert!(fresh);
                assert_eq!(nonce.issued_ms(), issued_ms);
            }
            other => assert_eq!((other, fresh), (NonceState::Stale, false)),
        }
    }
    let short = source.with_lifetime_ms(10);
    assert_eq!(
        short.check(issued_ms + 11, nonce.as_bytes()),
        NonceState::Stale
    );
}

#[test]
fn a_nonce_from_before_the_start_is_stale() {
    let nonce = source().issue(STARTED_MS + 10, 1);
    let restarted = NonceSource::new(SECRET, STARTED_MS + 11);
    assert_eq!(
        restarted.check(STARTED_MS + 12, nonce.as_bytes()),
        NonceState::Stale
    );
}

#[test]
fn a_nonce_of_another_secret_is_forged() {
    let nonce = NonceSource::new([1; 16], STARTED_MS).issue(STARTED_MS, 1);
    assert_eq!(
        source().check(STARTED_MS, nonce.as_bytes()),
        NonceState::Forged
    );
}

#[test]
fn a_nonce_from_the_future_is_stale_beyond_a_second() {
    let source = source();
    let nonce = source.issue(STARTED_MS + 2_000, 1);
    assert!(matches!(
        source.check(STARTED_MS + 1_000, nonce.as_bytes()),
        NonceState::Fresh(_)
    ));
    assert_eq!(
        source.check(STARTED_MS + 999, nonce.as_bytes()),
        NonceState::Stale
    );
}

#[test]
fn a_clock_behind_the_start_still_issues_usable_nonces() {
    let source = source();
    let nonce = source.issue(STARTED_MS - 60_000, 1);
    assert!(matches!(
        source.check(STARTED_MS - 60_000, nonce.as_bytes()),
        NonceState::Fresh(_)
    ));
}

#[test]
fn nonces_differ_by_time_and_by_number() {
    let source = source();
    let nonce = source.issue(STARTED_MS, 1);
    assert_ne!(nonce, source.issue(STARTED_MS, 2));
    assert_ne!(nonce, source.issue(STARTED_MS + 1, 1));
    assert_eq!(nonce, source.issue(STARTED_MS, 1));
}

#[test]
fn nonces_are_spread_over_the_filters() {
    let source = source();
    let mut counts = [0; 3];
    for unique in 0..3_000 {
        let nonce = source.issue(STARTED_MS, unique);
        let NonceState::Fresh(nonce) = source.check(STARTED_MS, nonce.as_bytes()) else {
            unreachable!("it was just issued");
        };
        counts[nonce.filter_index(3)] += 1;
        assert_eq!(nonce.filter_index(1), 0);
        assert_eq!(nonce.filter_index(0), 0);
    }
    assert!(counts.iter().all(|&count| count > 800), "{counts:?}");
}

proptest! {
    #[test]
    fn any_change_to_a_nonce_is_a_forgery(at in 0..NONCE_BYTES, byte: u8) {
        let mut text = source().issue(STARTED_MS, 1).as_bytes().to_vec();
        prop_assume!(text[at] != byte);
        text[at] = byte;
        prop_assert_eq!(source().check(STARTED_MS, &text), NonceState::Forged);
    }

    #[test]
    fn arbitrary_bytes_are_forged(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(source().check(STARTED_MS, &text), NonceState::Forged);
    }

    #[test]
    fn any_time_and_number_come_back_as_issued(now_ms: u64, unique: u64) {
        let source = NonceSource::new(SECRET, 0);
        let nonce = source.issue(now_ms, unique);
        let now_ms = now_ms.min((1 << 48) - 1);
        match source.check(now_ms, nonce.as_bytes()) {
            NonceState::Fresh(fresh) => {
                prop_assert_eq!((fresh.issued_ms, fresh.unique), (now_ms, unique));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
