//! The takeover rows: what befalls the owner of a pair of edges, on hosts of their own with three etcds. They are made by
//! `holdline lab takeover`, which needs root and network namespaces; `docs/lab.md` says what is measured.

use super::error::Error;
use super::report::{Figure, Row, Sample};
use super::rows::Scene;
use serde_json::Value;
use std::process::{Command, Stdio};

/// The rows, each with what befalls the owner.
const ROWS: &[(&str, &str)] = &[
    ("takeover-killed", "its process is killed"),
    (
        "takeover-node",
        "all its processes are killed and its link goes down",
    ),
    ("takeover-frozen", "all its processes stand still"),
    ("takeover-cut-peers", "it does not reach the other edge"),
    ("takeover-cut-coordinator", "it does not reach etcd"),
    (
        "takeover-cut-both",
        "it reaches neither the other edge nor etcd",
    ),
];
/// Runs with `--quick`.
const QUICK_RUNS: usize = 3;
const UNIT: &str = "ms without service (median)";

/// Runs one row.
///
/// # Errors
/// The laboratory cannot be started, or gives no report though it could be built.
pub(crate) fn row(scene: &Scene<'_>, id: &str) -> Result<Row, Error> {
    let Some((_, what)) = ROWS.iter().find(|(row, _)| *row == id) else {
        return Err(Error::Usage(format!("{id}: no such row")));
    };
    let runs = match scene.plan.is_quick() {
        true => QUICK_RUNS,
        false => scene.plan.takeover_runs(),
    };
    let mut row = Row::new(id, UNIT);
    row.work = format!("the owner of a pair of edges with calls in all phases: {what}");
    let program = match scene.holdline {
        Ok(program) => program,
        Err(reason) => {
            println!("  holdline: not measured: {reason}");
            row.note("ours_absent", reason.clone());
            return Ok(row);
        }
    };
    let fault = id.trim_start_matches("takeover-");
    let output = Command::new(program)
        .args(["lab", "takeover", "--json", "--fault", fault])
        .args(["--runs", &runs.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("running the laboratory"))?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let facts = &report["rows"][0];
    // On loopback nobody can judge, and there is no relay: that is no figure.
    if facts["loopback"] != false {
        row.note(
            "not_run",
            "the machine gives no network namespaces, or etcd is missing",
        );
        return Ok(row);
    }
    fill(&mut row, facts);
    row.note("passed", output.status.success());
    Ok(row)
}

/// Puts what the laboratory says into the row.
fn fill(row: &mut Row, facts: &Value) {
    let mut sample = Sample::new(facts["service_p50_ms"].as_f64().unwrap_or(f64::NAN));
    sample.failed = facts["lost"].as_u64().unwrap_or(0);
    row.ours = Figure::of(&[sample]);
    for (name, value) in facts.as_object().into_iter().flatten() {
        if name != "id" && name != "loopback" {
            row.note(name, value.clone());
        }
    }
}
