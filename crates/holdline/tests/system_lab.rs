//! `holdline lab`: the published experiments on hosts of their own, and that their report shows it when something is missing. Where the
//! machine gives no rights for that, it is on loopback, with the rows that can be had there.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::text;

/// For machines that do other tests meanwhile; the figures are for `make lab`.
const SLACK: &str = "6";

/// What a laboratory came to.
struct Made {
    is_good: bool,
    report: Value,
    page: String,
}

impl Made {
    fn row(&self, id: &str) -> &Value {
        let rows = self.report["rows"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["id"] == id);
        row.unwrap_or_else(|| panic!("no {id} in {:#}", self.report))
    }

    /// Whether the rows are red, in the report and on the page.
    fn is_red(&self, id: &str) -> bool {
        let (row, place) = (self.row(id), self.page.find(&format!(">{id}<")));
        let (before, _) = self.page.split_at(place.expect("it is on the page"));
        let line = before.rfind("<tr").expect("it is in a table");
        let is_red = before[line..].starts_with("<tr class=\"bad\">");
        assert_eq!(row["passed"], !is_red, "{row:#}");
        is_red
    }
}

/// Makes experiments; none where they need rights that there are none of.
fn laboratory(arguments: &[&str]) -> Option<Made> {
    let out = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
    command.args(["lab", "--json", "--runs", "1", "--slack", SLACK]);
    // What a bad one keeps for who looks for the reason goes with the test.
    command.env("TMPDIR", out.path());
    command.arg("--out").arg(out.path()).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("it is built");
    let errors = text(&output.stderr);
    eprintln!("{errors}");
    if errors.contains("no hosts of its own can be made here") {
        eprintln!("\n**** NOT TESTED on hosts of their own: {errors} ****\n");
        return None;
    }
    let read = |name: &str| fs::read_to_string(out.path().join(name)).expect("written");
    let printed: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report:\n{errors}"));
    let report: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(printed, report);
    Some(Made {
        is_good: output.status.success(),
        report,
        page: read("report.html"),
    })
}

#[test]
fn nobody_has_to_act_when_a_pbx_and_the_edge_die_at_once() {
    let Some(made) = laboratory(&["--only", "scenario-3-node"]) else {
        return;
    };
    for test in 1..=3 {
        let id = format!("scenario-3-test-{test}-node");
        let row = made.row(&id);
        assert_eq!(row["user_action"], false, "{row:#}");
        assert_eq!(row["lost"], 0, "{row:#}");
        assert_eq!(row["owners_at_once_max"], 1, "{row:#}");
        assert!(!made.is_red(&id), "{row:#}");
    }
    let paper = &made.row("scenario-3-test-2-node")["paper"];
    assert_eq!(paper["user_action"], "dial again");
    assert!(made.is_good, "{:#}", made.report);
}

#[test]
fn a_pool_without_failover_makes_its_rows_red() {
    let Some(made) = laboratory(&["--without", "failover", "--only", "scenario-1-node"]) else {
        return;
    };
    assert!(!made.is_good);
    for test in 1..=3 {
        let id = format!("scenario-1-test-{test}-node");
        assert!(made.is_red(&id), "{:#}", made.row(&id));
    }
    assert_eq!(made.row("scenario-1-test-1-node")["user_action"], true);
}

#[test]
fn an_edge_whose_calls_nobody_knows_makes_its_rows_red() {
    let Some(made) = laboratory(&["--without", "standby", "--only", "scenario-2-killed"]) else {
        return;
    };
    assert!(!made.is_good);
    let row = made.row("scenario-2-test-3-killed");
    assert!(made.is_red("scenario-2-test-3-killed"), "{row:#}");
}

#[test]
fn an_edge_that_drops_the_sound_of_calls_makes_its_rows_red() {
    let Some(made) = laboratory(&["--without", "relay", "--only", "scenario-2-killed"]) else {
        return;
    };
    assert!(!made.is_good);
    let row = made.row("scenario-2-test-3-killed");
    assert!(made.is_red("scenario-2-test-3-killed"), "{row:#}");
    let notes = row["notes"].to_string();
    assert!(notes.contains("did not come back"), "{row:#}");
}

#[test]
fn a_commit_that_the_standby_never_heard_of_makes_its_rows_red() {
    let Some(made) = laboratory(&["--without", "commit", "--only", "scenario-2-killed"]) else {
        return;
    };
    assert!(!made.is_good);
    let row = made.row("scenario-2-test-3-killed");
    assert!(made.is_red("scenario-2-test-3-killed"), "{row:#}");
    assert_eq!(row["user_action"], true, "{row:#}");
}

#[test]
fn on_loopback_it_says_what_it_cannot_do() {
    let made = laboratory(&["--loopback", "--only", "scenario-2-killed,scenario-1-node"]);
    let made = made.expect("it needs no rights");
    assert!(made.is_good, "{:#}", made.report);
    assert_eq!(made.report["absent"][0]["id"], "scenario-1-node");
    let row = made.row("scenario-2-test-1-killed");
    assert_eq!(row["owners_at_once_max"], Value::Null);
    assert_eq!(row["lost"], 0, "{row:#}");
}
