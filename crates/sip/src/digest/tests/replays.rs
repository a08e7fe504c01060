use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn nonce(issued_ms: u64, unique: u64) -> FreshNonce {
    // One set for all in a filter of any size.
    FreshNonce {
        issued_ms,
        unique,
        placement: 0,
    }
}

/// The smallest filter: one set of eight.
fn small() -> ReplayFilter {
    let filter = ReplayFilter::new(0);
    assert_eq!(filter.size_bytes(), 8 + 8 * 24);
    filter
}

#[test]
fn each_count_is_accepted_once_in_any_order_within_the_window() {
    let mut filter = small();
    let nonce = nonce(0, 1);
    for nc in [1, 3, 2, 40, 9, 8, 39, 72] {
        assert_eq!(filter.admit(&nonce, Some(nc)), Replay::Accepted, "{nc}");
    }
    for nc in [72, 40, 72] {
        assert_eq!(filter.admit(&nonce, Some(nc)), Replay::Replayed, "{nc}");
    }
    for nc in [39, 1, 4, 0] {
        assert_eq!(filter.admit(&nonce, Some(nc)), Replay::Stale, "{nc}");
    }
}

#[test]
fn the_window_is_as_deep_as_it_says() {
    for step in [1, 31, 32, 33, 34, 1_000_000] {
        let mut filter = small();
        let nonce = nonce(0, 1);
        assert_eq!(filter.admit(&nonce, Some(1)), Replay::Accepted);
        assert_eq!(filter.admit(&nonce, Some(1 + step)), Replay::Accepted);
        let expected = if step > NONCE_COUNT_WINDOW {
            Replay::Stale
        } else {
            Replay::Replayed
        };
        assert_eq!(filter.admit(&nonce, Some(1)), expected, "{step}");
    }
}

#[test]
fn a_nonce_may_begin_at_any_count_up_to_the_last() {
    let mut filter = small();
    let nonce = nonce(0, 1);
    assert_eq!(filter.admit(&nonce, Some(u32::MAX - 1)), Replay::Accepted);
    assert_eq!(filter.admit(&nonce, Some(u32::MAX)), Replay::Accepted);
    assert_eq!(filter.admit(&nonce, Some(u32::MAX)), Replay::Replayed);
    assert_eq!(filter.admit(&nonce, Some(u32::MAX - 2)), Replay::Accepted);
}

#[test]
fn without_a_count_a_nonce_is_good_for_one_use() {
    let mut filter = small();
    assert_eq!(filter.admit(&nonce(0, 1), None), Replay::Accepted);
    assert_eq!(filter.admit(&nonce(0, 1), None), Replay::Replayed);
    for nc in [1, u32::MAX, u32::MAX - 1, u32::MAX - 32] {
        assert_ne!(
            filter.admit(&nonce(0, 1), Some(nc)),
            Replay::Accepted,
            "{nc}"
        );
    }
    assert_eq!(filter.admit(&nonce(0, 2), Some(1)), Replay::Accepted);
    assert_eq!(filter.admit(&nonce(0, 2), None), Replay::Replayed);
}

#[test]
fn a_count_of_zero_is_never_accepted() {
    let mut filter = small();
    assert_eq!(filter.admit(&nonce(0, 1), Some(0)), Replay::Stale);
    assert_eq!(filter.admit(&nonce(0, 1), Some(0)), Replay::Stale);
}

#[test]
fn the_oldest_is_forgotten_and_what_is_as_old_becomes_stale() {
    let mut filter = small();
    for unique in 0..8 {
        assert_eq!(
            filter.admit(&nonce(100 + unique, unique), Some(1)),
            Replay::Accepted
        );
    }
    assert_eq!(filter.evicted_count(), 0);
    assert_eq!(filter.admit(&nonce(200, 8), Some(1)), Replay::Accepted);
    assert_eq!(filter.evicted_count(), 1);

    assert_eq!(
        filter.admit(&nonce(100, 0), Some(1)),
        Replay::Stale,
        "it was used"
    );
    assert_eq!(
        filter.admit(&nonce(100, 0), Some(2)),
        Replay::Stale,
        "it is forgotten"
    );
    assert_eq!(
        filter.admit(&nonce(100, 77), Some(1)),
        Replay::Stale,
        "it cannot be told"
    );
    assert_eq!(
        filter.admit(&nonce(99, 78), None),
        Replay::Stale,
        "it cannot be told"
    );
    assert_eq!(
        filter.admit(&nonce(101, 1), Some(1)),
        Replay::Replayed,
        "it is remembered"
    );
    assert_eq!(
        filter.admit(&nonce(101, 1), Some(2)),
        Replay::Accepted,
        "it is remembered"
    );
    assert_eq!(filter.evicted_count(), 1);
}

#[test]
fn a_nonce_older_than_all_remembered_has_one_use() {
    let mut filter = small();
    for unique in 0..8 {
        assert_eq!(filter.admit(&nonce(100, unique), Some(1)), Replay::Accepted);
    }
    assert_eq!(filter.admit(&nonce(50, 9), Some(1)), Replay::Accepted);
    assert_eq!(filter.admit(&nonce(50, 9), Some(1)), Replay::Stale);
    assert_eq!(filter.admit(&nonce(50, 9), Some(2)), Replay::Stale);
    assert_eq!(filter.admit(&nonce(51, 10), None), Replay::Accepted);
    assert_eq!(
        filter.admit(&nonce(100, 3), Some(2)),
        Replay::Accepted,
        "none was pushed out"
    );
    assert_eq!(filter.evicted_count(), 2);
}

#[test]
fn the_default_filter_has_room_and_a_known_size() {
    let filter = ReplayFilter::default();
    assert_eq!(filter.size_bytes(), REMEMBERED_NONCES_DEFAULT / 8 * 200);
    assert_eq!(ReplayFilter::new(9).size_bytes(), 2 * 200);
}

proptest! {
    /// Against a memory that forgets nothing: whatever the order, no use is let in twice.
    #[test]
    fn no_use_is_ever_accepted_twice(
        uses in proptest::collection::vec((0u64..40, proptest::option::of(1u32..80)), 0..600),
    ) {
        let mut filter = small();
        let mut accepted = HashSet::new();
        let mut spent = HashSet::new();
        for (number, nc) in uses {
            // Three nonces a millisecond, so that there are ties.
            if filter.admit(&nonce(number / 3, number), nc) == Replay::Accepted {
                prop_assert!(accepted.insert((number, nc)), "{number} {nc:?} twice");
                prop_assert!(!spent.contains(&number), "{number} after its one use");
                if nc.is_none() {
                    prop_assert!(
                        !accepted.iter().any(|use_| use_.0 == number && use_.1.is_some()),
                        "{} without a count after one with it", number
                    );
                    spent.insert(number);
                }
            }
        }
    }

    /// While there is room nothing is stale but what is below the window.
    #[test]
    fn in_a_filter_with_room_all_first_uses_are_accepted(
        uses in proptest::collection::vec((0u64..8, 1u32..33), 0..300),
    ) {
        let mut filter = small();
        let mut seen = HashSet::new();
        for (number, nc) in uses {
            let expected =
                if seen.insert((number, nc)) { Replay::Accepted } else { Replay::Replayed };
            prop_assert_eq!(filter.admit(&nonce(number, number), Some(nc)), expected);
        }
    }
}
