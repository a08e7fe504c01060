//! The simulator notices when a rule is not kept: each of them, switched off, is found by a run. Without
//! this, runs that find nothing would say nothing.

use cluster::rule::{Rule, Rules};
use sim::{Plan, run};

/// The first seed below `seeds` whose run breaks something when `change` is made to its plan.
fn caught(seeds: u64, change: impl Fn(&mut Plan)) -> Option<u64> {
    (0..seeds).find(|&seed| {
        let mut plan = Plan::of_seed(seed);
        change(&mut plan);
        run::plan(plan).violation.is_some()
    })
}

/// One service of three nodes, and one script of faults over and over.
fn direct(plan: &mut Plan, script: u64, members: Vec<u8>) {
    plan.nodes = 3;
    plan.services = vec![members];
    plan.watches = false;
    plan.settings.fences = false;
    plan.settings.grace_us = Some(50_000);
    plan.faults.script_odds = 1;
    plan.faults.script = Some(script);
    plan.faults.every_us = 1_500_000;
    plan.faults.freeze_odds = 0;
}

fn is_caught(rule: Rule, seeds: u64) {
    let rules = Rules::without(&[rule]);
    let seed = caught(seeds, |plan| plan.rules = rules);
    println!("{rule:?}: {seed:?}");
    assert!(seed.is_some(), "{rule:?} is not missed in {seeds} seeds");
}

#[test]
fn an_owner_that_does_not_stop_early_is_caught() {
    is_caught(Rule::Margin, 40);
}

#[test]
fn a_member_that_breaks_its_promise_is_caught() {
    is_caught(Rule::Promise, 40);
}

#[test]
fn a_member_that_claims_a_record_in_motion_is_caught() {
    is_caught(Rule::Unchanged, 40);
}

#[test]
fn an_owner_that_releases_before_it_withdraws_is_caught() {
    is_caught(Rule::WithdrawFirst, 40);
}

#[test]
fn an_owner_that_forgets_writes_without_an_answer_is_caught() {
    is_caught(Rule::PendingCounts, 40);
}

#[test]
fn a_member_dropped_without_the_coordinator_is_caught() {
    is_caught(Rule::DropThroughCoordinator, 40);
}

#[test]
fn an_output_that_does_not_wait_is_caught() {
    is_caught(Rule::OutputCommit, 20);
}

#[test]
fn a_claim_with_half_a_table_is_caught() {
    is_caught(Rule::CompleteTable, 20);
}

#[test]
fn an_owner_that_does_not_ask_members_out_of_sync_is_caught() {
    let seed = caught(30, |plan| {
        direct(plan, 3, vec![0, 1, 2]);
        plan.rules = Rules::without(&[Rule::EveryMember]);
    });
    println!("EveryMember: {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn a_claim_counted_from_its_answer_is_caught() {
    let seed = caught(30, |plan| {
        direct(plan, 2, vec![0, 1, 2]);
        plan.rules = Rules::without(&[Rule::ClaimStamp]);
    });
    println!("ClaimStamp: {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn a_renewal_counted_from_its_answer_is_caught() {
    let seed = caught(100, |plan| {
        direct(plan, 0, vec![0, 1]);
        plan.rules = Rules::without(&[Rule::RenewalStamp]);
    });
    println!("RenewalStamp: {seed:?}");
    assert!(seed.is_some());
}

/// Each of the two rules is the other's second line (`docs/ownership.md`): only without both something breaks.
#[test]
fn promises_during_a_claim_to_an_owner_that_takes_them_late_are_caught() {
    let both = [Rule::SilentWhileClaiming, Rule::LapseIsFinal];
    let seed = caught(400, |plan| {
        direct(plan, 1, vec![0, 1]);
        plan.rules = Rules::without(&both);
    });
    println!("{both:?}: {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn clocks_further_apart_than_the_margin_are_caught() {
    let seed = caught(60, |plan| plan.clock_ppm = 150_000);
    println!("clocks: {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn a_kernel_that_does_not_keep_the_lease_is_caught() {
    let seed = caught(40, |plan| {
        plan.kernel_keeps = false;
        plan.faults.freeze_odds = 300;
        plan.work_us = 4_000;
    });
    println!("kernel: {seed:?}");
    assert!(seed.is_some());
}
