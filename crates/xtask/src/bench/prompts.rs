//! The pbx-prompts row: how late packets leave while 500 callers hear a prompt. There is no peer's figure beside it.

use super::error::Error;
use super::pbx;
use super::process::Keeper;
use super::report::{Figure, Row, Sample};
use super::rows::Scene;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Callers who listen at one time: what is aimed at.
const CALLS: u64 = 500;
/// Calls begun a second until all are there.
const CALLS_PER_S: u64 = 100;
/// How long all of them listen, in seconds; shorter with `--quick`.
const RUN_S: u64 = 30;
const QUICK_S: u64 = 5;
/// From the last call's beginning until it is looked, so that all are answered.
const SETTLE_S: u64 = 2;
/// A packet of sound, in microseconds.
const FRAME_US: f64 = 20_000.0;

/// Runs the row.
///
/// # Errors
/// The machine's. That our side could not run is said in the row.
pub(crate) fn row(scene: &Scene<'_>, keeper: &mut Keeper) -> Result<Row, Error> {
    let mut row = Row::new("pbx-prompts", "frames late at p99 (late_p99_frames)");
    row.work = format!(
        "{CALLS} calls at once that hear a prompt in G.711 and send 50 packets a second each, by `holdline load --media` beside it on \
         the same processors; the bound within which 99 of 100 packets left, of bounds at 0.05, 0.1, 0.25, 0.5, 1, 2, 5 and 25 frames"
    );
    row.note("aim_frames", 1);
    let program = match scene.holdline {
        Ok(program) => program,
        Err(reason) => {
            println!("  holdline: not measured: {reason}");
            row.note("ours_absent", reason.clone());
            return Ok(row);
        }
    };
    let mut samples = Vec::new();
    let repeats = match scene.plan.is_quick() {
        true => 1,
        false => scene.plan.repeats(),
    };
    for repeat in 0..repeats {
        let folder = scene.folder.join(format!("pbx-prompts-{repeat}"));
        let config = "bench/holdline-pbx-prompts.toml";
        let sample = pbx::with_node(scene, keeper, (&folder, program, config), |at| {
            measure(scene, at, program)
        })?;
        sample.say("holdline", row.unit);
        samples.push(sample);
    }
    row.ours = Figure::of(&samples);
    Ok(row)
}

fn measure(scene: &Scene<'_>, at: pbx::At<'_>, program: &Path) -> Result<Sample, Error> {
    let seconds = if scene.plan.is_quick() {
        QUICK_S
    } else {
        RUN_S
    };
    let ramp_s = CALLS / CALLS_PER_S;
    let duration_s = ramp_s + SETTLE_S + seconds + SETTLE_S;
    // With --quiet nothing but the report is printed.
    let report = at.folder.join("load-log");
    let mut load = Command::new(program);
    load.args([
        "load",
        "--json",
        "--quiet",
        "--media",
        "--domain",
        "bench.example",
    ])
    .args([
        "--to",
        "sip:prompt@bench.example",
        "--target",
        &at.node.address.to_string(),
    ])
    .args([
        "--calls-per-s",
        &CALLS_PER_S.to_string(),
        "--total",
        &CALLS.to_string(),
    ])
    .args(["--active-max", &CALLS.to_string()])
    .args(["--call-duration", &format!("{duration_s}s")]);
    let mut load = at.keeper.spawn("load", &mut load, &report)?;
    thread::sleep(Duration::from_secs(ramp_s + SETTLE_S));
    let (before, before_us) = (figures(program, at.admin)?, at.node.cpu_us());
    thread::sleep(Duration::from_secs(seconds));
    let (after, after_us) = (figures(program, at.admin)?, at.node.cpu_us());
    let deadline = std::time::Instant::now() + Duration::from_secs(duration_s + 40);
    load.wait_until(deadline);
    let text = fs::read_to_string(&report).map_err(Error::io("reading the load's report"))?;
    let load: Value = serde_json::from_str(&text).map_err(|_| load.failure())?;
    let mut sample = Sample::new(after.late_p99_us / FRAME_US);
    let completed = load["calls"]["completed"].as_u64().unwrap_or(0);
    sample.failed = CALLS.saturating_sub(completed);
    sample.retransmissions = load["messages"]["retransmissions_sent"]
        .as_u64()
        .unwrap_or(0);
    let sent = (after.sent - before.sent).max(1.0);
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds and calls")]
    let expected = (CALLS * seconds * 50) as f64;
    sample.note("late_p99_frames", sample.value);
    sample.note(
        "late_by_more_than_a_frame_share",
        (after.late - before.late) / sent,
    );
    sample.note("packets_sent_of_expected", sent / expected);
    sample.note("cpu_us_a_packet", (after_us - before_us) / sent);
    sample.note("turn_longest_us", after.turn_longest_us);
    for (name, key) in [
        ("gap_p99_ms", "gap_ms"),
        ("load_behind_p99_ms", "behind_ms"),
    ] {
        sample.note(name, load["media"][key]["p99"].as_f64().unwrap_or(0.0));
    }
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
    sample.note("memory_bytes", at.node.memory_bytes() as f64);
    Ok(sample)
}

/// What the node counts of its media.
struct Figures {
    sent: f64,
    late: f64,
    late_p99_us: f64,
    turn_longest_us: f64,
}

fn figures(program: &Path, admin: SocketAddr) -> Result<Figures, Error> {
    let output = Command::new(program)
        .args(["status", "--json", "--admin", &format!("http://{admin}")])
        .output()
        .map_err(Error::io("asking the node how it is"))?;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let of = |key: &str| status["pbx"][key].as_f64().unwrap_or(f64::NAN);
    Ok(Figures {
        sent: of("packets_sent"),
        late: of("packets_late"),
        late_p99_us: of("packets_late_p99_us"),
        turn_longest_us: of("turn_longest_us"),
    })
}
