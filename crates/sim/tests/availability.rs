//! How long a service is away when one thing goes wrong: the worst of some seeds, in milliseconds.

use sim::availability::{Scenario, gap_us};

fn worst_ms(scenario: Scenario) -> u64 {
    let gaps = (1..=8).map(|seed| gap_us(scenario, seed).expect("it is safe"));
    gaps.max().unwrap_or(0) / 1_000
}

#[test]
fn what_needs_no_takeover_is_hardly_noticed() {
    for scenario in [
        Scenario::CutCoordinator,
        Scenario::CoordinatorDown,
        Scenario::Switchover,
    ] {
        assert!(worst_ms(scenario) < 25, "{scenario:?}");
    }
}

#[test]
fn a_process_that_was_killed_is_replaced_at_once() {
    assert!(worst_ms(Scenario::Killed) < 50);
}

#[test]
fn an_owner_that_is_gone_is_replaced_after_a_lease() {
    for scenario in [Scenario::Node, Scenario::Frozen, Scenario::CutBoth] {
        assert!(worst_ms(scenario) < 300 + 100, "{scenario:?}");
    }
}

#[test]
fn a_member_that_is_gone_holds_outputs_up_for_the_commit_timeout() {
    for scenario in [Scenario::CutPeers, Scenario::StandbyNode] {
        assert!(worst_ms(scenario) < 200 + 50, "{scenario:?}");
    }
}
