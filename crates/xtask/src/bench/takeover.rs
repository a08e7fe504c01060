//! The takeover rows: what befalls the owner of a pair of edges, on hosts of their own with three etcds. The stage is that of
//! the tests of real processes (`crates/holdline/tests/system_cluster_hosts.rs`), which need root and network namespaces.

use super::error::Error;
use super::report::{Figure, Row, Sample};
use super::rows::Scene;
use serde_json::Value;
use std::fs;
use std::process::Command;

/// The rows, each with its test and what befalls the owner.
const ROWS: &[(&str, &str, &str)] = &[
    (
        "takeover-killed",
        "a_killed_process_is_replaced_at_once",
        "its process is killed",
    ),
    (
        "takeover-node",
        "a_node_that_dies_is_replaced_within_a_lease",
        "all its processes are killed and its link goes down",
    ),
    (
        "takeover-frozen",
        "a_frozen_owner_is_replaced_and_says_nothing_when_it_wakes_up",
        "all its processes stand still",
    ),
    (
        "takeover-cut-peers",
        "an_owner_cut_off_from_its_peer_stays",
        "it does not reach the other edge",
    ),
    (
        "takeover-cut-coordinator",
        "an_owner_cut_off_from_the_coordinator_stays",
        "it does not reach etcd",
    ),
    (
        "takeover-cut-both",
        "an_owner_cut_off_from_both_is_replaced",
        "it reaches neither the other edge nor etcd",
    ),
];
/// Runs with `--quick`.
const QUICK_RUNS: usize = 3;
const UNIT: &str = "ms without service (median)";

/// Runs one row.
///
/// # Errors
/// The tests cannot be run, or one of their own promises did not hold.
pub(crate) fn row(scene: &Scene<'_>, id: &str) -> Result<Row, Error> {
    let Some((_, test, what)) = ROWS.iter().find(|(row, ..)| *row == id) else {
        return Err(Error::Usage(format!("{id}: no such row")));
    };
    let runs = match scene.plan.is_quick() {
        true => QUICK_RUNS,
        false => scene.plan.runs(),
    };
    let mut row = Row::new(id, UNIT);
    row.work = format!("the owner of a pair of edges with calls: {what}");
    let rows = scene.folder.join(format!("{id}.jsonl"));
    let status = Command::new("cargo")
        .current_dir(scene.root)
        .args([
            "test",
            "--release",
            "-p",
            "holdline",
            "--test",
            "system_cluster_hosts",
        ])
        .args(["--", "--exact", test])
        .env("HOLDLINE_TAKEOVER_RUNS", runs.to_string())
        .env("HOLDLINE_TAKEOVER_ROWS", &rows)
        .status()
        .map_err(Error::io("running the takeover tests"))?;
    let text = fs::read_to_string(&rows).unwrap_or_default();
    let Some(facts) = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
    else {
        row.note(
            "not_run",
            "the machine gives no network namespaces, or etcd is missing",
        );
        return Ok(row);
    };
    fill(&mut row, &facts);
    row.note("passed", status.success());
    Ok(row)
}

/// Puts what the test wrote into the row.
fn fill(row: &mut Row, facts: &Value) {
    let mut sample = Sample::new(facts["service_p50_ms"].as_f64().unwrap_or(f64::NAN));
    sample.failed = facts["lost"].as_u64().unwrap_or(0);
    row.ours = Figure::of(&[sample]);
    for (name, value) in facts.as_object().into_iter().flatten() {
        if name != "row" {
            row.note(name, value.clone());
        }
    }
}
