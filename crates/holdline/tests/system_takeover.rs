//! `holdline lab takeover`: real nodes, real etcds and phones on hosts of their own, and a judge on the wire. Where the machine
//! gives no rights for that, it is on loopback, with the faults that can be had there.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{text, wait_until};

/// More than any takeover may take on a machine that is busy with other tests; the figures are for `cargo xtask bench`.
const SERVICE_MS_MAX: f64 = 2_000.0;

fn laboratory(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
    command.args(["lab", "takeover", "--json"]).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Whether faults need hosts of their own that cannot be had here.
fn cannot(errors: &str) -> bool {
    let cannot = errors.contains("no hosts of its own can be made here");
    if cannot {
        eprintln!("\n**** NOT TESTED on hosts of their own: {errors} ****\n");
    }
    cannot
}

/// Makes an experiment; gives its row, or none where it cannot be made.
fn row(arguments: &[&str]) -> Option<(bool, Value)> {
    let output = laboratory(arguments).output().expect("it is built");
    let errors = text(&output.stderr);
    if cannot(&errors) {
        return None;
    }
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report:\n{errors}"));
    eprintln!("{errors}");
    Some((output.status.success(), report["rows"][0].clone()))
}

/// Nothing is lost by a fault, and there never are two owners.
fn survives(fault: &str) -> Option<Value> {
    let (is_good, row) = row(&["--fault", fault, "--runs", "2"])?;
    assert!(is_good, "{row:#}");
    assert_eq!(row["lost"], 0, "{row:#}");
    assert_eq!(row["owners_at_once_max"], 1, "{row:#}");
    let service_ms = row["service_max_ms"].as_f64().expect("a number");
    assert!(service_ms < SERVICE_MS_MAX, "{row:#}");
    let media_ms = row["media_gap_max_ms"].as_f64().expect("a number");
    assert!(media_ms < SERVICE_MS_MAX, "{row:#}");
    Some(row)
}

#[test]
fn no_call_is_lost_when_the_owners_process_is_killed() {
    survives("killed");
}

#[test]
fn no_call_is_lost_when_the_owner_and_its_watcher_are_killed() {
    survives("unwatched");
}

#[test]
fn no_call_is_lost_when_the_owners_host_dies() {
    survives("node");
}

#[test]
fn no_call_is_lost_when_the_owner_freezes_and_it_is_silent_when_it_wakes() {
    survives("frozen");
}

#[test]
fn an_owner_cut_off_from_its_peer_goes_on() {
    if let Some(row) = survives("cut-peers") {
        assert_eq!(row["stayed"], 2, "{row:#}");
    }
}

#[test]
fn an_owner_cut_off_from_the_coordinator_goes_on() {
    if let Some(row) = survives("cut-coordinator") {
        assert_eq!(row["stayed"], 2, "{row:#}");
    }
}

#[test]
fn no_call_is_lost_when_the_owner_is_cut_off_from_all() {
    survives("cut-both");
}

#[test]
fn the_laboratory_says_that_a_cluster_without_failover_is_not_good() {
    // Nobody takes over within the time that is watched.
    let made = row(&["--fault", "unwatched", "--runs", "1", "--lease-ms", "5000"]);
    if let Some((is_good, row)) = made {
        assert!(!is_good, "{row:#}");
        assert_eq!(row["never_back"], 1, "{row:#}");
    }
}

#[test]
fn on_loopback_too_no_call_is_lost() {
    let made = row(&["--loopback", "--fault", "killed", "--runs", "1"]);
    let (is_good, row) = made.expect("it needs no rights");
    assert!(is_good, "{row:#}");
    assert_eq!(row["owners_at_once_max"], Value::Null);
}

/// Processes that are at work in a folder.
fn at_work_in(folder: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("it is there").flatten();
    let folders = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    folders.filter(|at| at.starts_with(folder)).count()
}

#[test]
fn a_laboratory_that_is_killed_leaves_no_process() {
    let mut command = laboratory(&["--fault", "killed", "--runs", "50"]);
    let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut process: Child = started.expect("it is built");
    let folder = std::env::temp_dir().join(format!("holdline-lab-{}", process.id()));
    let folder = folder.canonicalize().unwrap_or(folder);
    // Those of etcd and the first node; on loopback the node's alone.
    wait_until("something at work", || {
        (at_work_in(&folder) >= 2).then_some(())
    });
    let is_caged = folder.join("killed/etcd1").exists();
    process.kill().expect("a child");
    process.wait().expect("a child");
    if is_caged {
        wait_until("their end", || (at_work_in(&folder) == 0).then_some(()));
    } else {
        eprintln!(
            "\n**** NOT TESTED: without namespaces a node outlives a laboratory that is killed ****\n"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = fs::remove_dir_all(&folder);
}
