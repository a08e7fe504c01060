//! Long runs by hand:
//! `cargo run -p sim --release -- [--seeds N] [--minutes M] [--from SEED] [--restores 1] [--trace SEED] [--gaps N]`.
//!
//! A seed that fails goes into `crates/sim/seeds/` with a line on what it showed; the tests run all of them.

use std::time::{Duration, Instant};

use sim::availability::{Scenario, gap_us};
use sim::{Coverage, Plan, run};

/// Violations after which a run by hand ends.
const VIOLATIONS_MAX: u32 = 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--trace") {
        trace(seed);
        return;
    }
    if let Some(runs) = number("--gaps") {
        gaps(runs);
        return;
    }
    let known = ["--seeds", "--minutes", "--from", "--restores"];
    if words
        .iter()
        .step_by(2)
        .any(|word| !known.contains(&word.as_str()))
    {
        eprintln!(
            "sim: --seeds N, --minutes M, --from SEED, --restores 1 (of the coordinator, from old copies), \
             --trace SEED, --gaps N; each with a number"
        );
        std::process::exit(2);
    }
    let seeds = number("--seeds").unwrap_or(u64::MAX);
    let minutes = number("--minutes").unwrap_or(1);
    let restores = number("--restores").is_some();
    let from = number("--from").unwrap_or(1_000_000);
    let failed = explore(from, seeds, minutes, restores);
    std::process::exit(i32::from(failed > 0));
}

fn explore(from: u64, seeds: u64, minutes: u64, restores: bool) -> u32 {
    let began = Instant::now();
    let span = Duration::from_secs(minutes.saturating_mul(60));
    let mut coverage = Coverage::default();
    let (mut count, mut failed, mut ran_us) = (0, 0, 0);
    while count < seeds && began.elapsed() < span && failed < VIOLATIONS_MAX {
        let mut plan = Plan::of_seed(from + count);
        if restores {
            // Without a grace nobody claims what an old copy says.
            plan.faults.restores = true;
            plan.settings.grace_us = Some(500_000);
        }
        let report = run::plan(plan);
        count += 1;
        ran_us += report.ran_us;
        coverage.add(&report.coverage);
        if let Some(violation) = report.violation {
            failed += 1;
            println!("seed {}: {violation:?}", report.seed);
        }
    }
    println!(
        "{count} seeds, {failed} failed, {} s of clusters' time, {:?}",
        ran_us / 1_000_000,
        began.elapsed()
    );
    for ((from, cause, to), times) in &coverage.steps {
        println!("{times:>10} {from:?} --{cause:?}--> {to:?}");
    }
    for (note, times) in &coverage.notes {
        println!("{times:>10} {note}");
    }
    failed
}

fn trace(seed: u64) {
    let plan = Plan {
        verbose: true,
        ..Plan::of_seed(seed)
    };
    println!("{plan:?}");
    let report = run::plan(plan);
    report.text.iter().for_each(|line| println!("{line}"));
    println!("{:?}, trace {:016x}", report.violation, report.trace);
}

fn gaps(runs: u64) {
    println!("| what happens | p50 | p99 | max |\n|---|---|---|---|");
    for scenario in Scenario::ALL {
        let gap = |seed| {
            gap_us(scenario, seed).unwrap_or_else(|violation| {
                println!("seed {seed}: {scenario:?}: {violation:?}");
                u64::MAX
            })
        };
        let mut gaps: Vec<u64> = (1..=runs).map(gap).collect();
        gaps.sort_unstable();
        let at = |share: usize| {
            gaps.get((gaps.len() * share / 100).min(gaps.len() - 1))
                .map_or(0, |gap| gap / 1000)
        };
        println!("| {scenario:?} | {} | {} | {} |", at(50), at(99), at(100));
    }
}
