//! Whole clusters under faults of every kind: safe at every step, and settled once the faults have healed.

use cluster::ownership::{Cause, Phase, TRANSITIONS};
use sim::{Coverage, Plan, run};

/// Runs a span of seeds, and returns what they reached.
fn run_all(seeds: std::ops::Range<u64>) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds {
        let report = run::seed(seed);
        assert_eq!(
            report.violation, None,
            "seed {seed}: put it into crates/sim/seeds"
        );
        coverage.add(&report.coverage);
    }
    coverage
}

#[test]
fn the_first_seeds_are_safe_and_settle() {
    run_all(0..90);
}

#[test]
fn the_seeds_after_them_are_safe_and_settle() {
    run_all(90..180);
}

#[test]
fn the_next_seeds_are_safe_and_settle_and_take_every_way_there_is() {
    let coverage = run_all(180..280);
    for &transition in TRANSITIONS {
        let (from, cause, _) = transition;
        let taken = coverage.steps.contains_key(&transition);
        match (from, cause) {
            // An owner whose authority has not run out is nobody's predecessor yet: only a coordinator that
            // loses writes, or clocks beyond the margin, lead here.
            (Phase::Owner | Phase::Draining, Cause::Superseded) => {
                assert!(!taken, "{transition:?}")
            }
            // A drain is short, and little falls into it.
            (Phase::Draining, Cause::Lapsed) => {}
            _ => assert!(taken, "{transition:?}"),
        }
    }
}

#[test]
fn seeds_that_failed_once_are_safe_now() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("it is in the repository") {
        let name = entry.expect("it can be read").file_name();
        let Some(seed) = name
            .to_str()
            .and_then(|name| name.strip_suffix(".md")?.parse().ok())
        else {
            continue;
        };
        assert_eq!(run::seed(seed).violation, None, "seed {seed}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_same_seed_has_the_same_trace() {
    let plan = || Plan {
        chaos_us: 4_000_000,
        ..Plan::of_seed(12)
    };
    let (first, second) = (run::plan(plan()), run::plan(plan()));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.coverage, second.coverage);
    assert_ne!(first.trace, run::seed(13).trace);
}

#[test]
fn a_coordinator_restored_from_an_old_copy_makes_no_two_owners() {
    let mut restored = 0;
    for seed in 0..40 {
        let mut plan = Plan::of_seed(seed);
        plan.faults.restores = true;
        plan.settings.grace_us = Some(500_000);
        let report = run::plan(plan);
        assert_eq!(report.violation, None, "seed {seed}");
        let note = "fault: coordinator restored from an old copy";
        restored += report.coverage.notes.get(note).copied().unwrap_or(0);
    }
    assert!(restored > 10, "{restored}");
}
