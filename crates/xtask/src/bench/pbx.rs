//! The pbx-call row: calls that the PBX bridges, both legs, set up and torn down.
//!
//! The peer cannot be installed from Debian 12: its figures are those of Asterisk 23 with PJSIP that were measured
//! on such a machine, 4.0 to 4.7 ms of CPU a bridged call, at most 350 calls a second.

use super::error::Error;
use super::process::Keeper;
use super::report::{Figure, Row, Sample};
use super::rows::{Scene, per};
use super::server::{Running, free_tcp_port, free_udp_port, is_healthy, wait_until_ready};
use super::sipp::{self, Counts, Load};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Calls offered a second: what is aimed at, three times what made the peer collapse.
const CALLS_PER_S: u64 = 1_000;
/// How long, in seconds; shorter with `--quick`.
const RUN_S: u64 = 30;
const QUICK_S: u64 = 5;
const WARM_UP_S: u64 = 2;
/// Until the last timer of its transactions has fired.
const SETTLE_S: u64 = 34;
/// The middle of what was measured of the peer.
const THEIRS_US: f64 = 4_350.0;

/// Runs the row.
///
/// # Errors
/// The machine's. That our side could not run is said in the row.
pub(crate) fn row(scene: &Scene<'_>, keeper: &mut Keeper) -> Result<Row, Error> {
    let mut row = Row::new("pbx-call", "µs CPU per call");
    row.work = "INVITE, 180, 200, ACK, 1 s held, BYE, 200 on both legs through the PBX, with answers to offers passed on, a record of \
                each call in SQLite; no sound passes the PBX"
        .to_owned();
    row.note("offered_per_s", CALLS_PER_S);
    row.note(
        "theirs_measured",
        "Asterisk 23 with PJSIP on such a machine, 4.0-4.7 ms; not in this run",
    );
    row.peer = "asterisk, not in this run";
    row.theirs = Figure::of(&[Sample::new(THEIRS_US)]);
    let program = match scene.holdline {
        Ok(program) => program,
        Err(reason) => {
            println!("  holdline: not measured: {reason}");
            row.note("ours_absent", reason.clone());
            return Ok(row);
        }
    };
    let mut samples = Vec::new();
    let repeats = if scene.plan.is_quick() {
        1
    } else {
        scene.plan.repeats()
    };
    for repeat in 0..repeats {
        let folder = scene.folder.join(format!("pbx-call-{repeat}"));
        let config = "bench/holdline-pbx.toml";
        let sample = with_node(scene, keeper, (&folder, program, config), |at| {
            calls(scene, at)
        })?;
        sample.say("holdline", row.unit);
        samples.push(sample);
    }
    row.ours = Figure::of(&samples);
    Ok(row)
}

/// A node that is a PBX, and all around it.
pub(crate) struct At<'a> {
    pub(crate) keeper: &'a mut Keeper,
    pub(crate) folder: &'a Path,
    pub(crate) node: &'a Running,
    /// Where it believes its edge.
    pub(crate) callee: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Starts a PBX with this configuration, measures, and ends it.
pub(crate) fn with_node(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    (folder, program, config): (&Path, &Path, &str),
    measure: impl FnOnce(At<'_>) -> Result<Sample, Error>,
) -> Result<Sample, Error> {
    fs::create_dir_all(folder).map_err(Error::io("making a folder"))?;
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, callee, admin) = (
        at(free_udp_port()?),
        at(free_udp_port()?),
        at(free_tcp_port()?),
    );
    let text = fs::read_to_string(scene.root.join(config))
        .map_err(Error::io("reading holdline's configuration in bench/"))?
        .replace("{data}", &folder.join("data").to_string_lossy())
        .replace("{listen}", &listen.to_string())
        .replace("{admin}", &admin.to_string())
        .replace("{callee}", &callee.to_string());
    let config = folder.join("holdline.toml");
    fs::write(&config, text).map_err(Error::io("writing a configuration"))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(&config);
    let mut process = keeper.spawn("holdline", &mut command, &folder.join("log"))?;
    wait_until_ready(&mut process, || is_healthy(admin))?;
    let mut node = Running::new(process, listen);
    let measured = measure(At {
        keeper,
        folder,
        node: &node,
        callee,
        admin,
    });
    let checked = measured.and_then(|sample| node.check().map(|()| sample));
    node.stop(keeper);
    checked
}

fn calls(scene: &Scene<'_>, at: At<'_>) -> Result<Sample, Error> {
    let At {
        keeper,
        folder,
        node,
        callee,
        ..
    } = at;
    let scenarios = scene.root.join("bench/sipp");
    let (caller, answerer) = (scenarios.join("caller.xml"), scenarios.join("callee.xml"));
    let place =
        |keeper: &mut Keeper, name: &str, seconds: u64| -> Result<(Counts, Counts), Error> {
            let load = Load {
                scenario: &caller,
                target: node.address,
                calls: CALLS_PER_S * seconds,
                per_s: CALLS_PER_S,
                options: vec!["-s".to_owned(), "callee".to_owned()],
            };
            let place = folder.join(format!("callee-{name}"));
            let answering = sipp::answer(keeper, &place, &answerer, callee.port())?;
            let called = sipp::place(keeper, &folder.join(format!("caller-{name}")), &load);
            let answered = answering.stop(keeper);
            called.map(|called| (called, answered))
        };
    place(keeper, "warm-up", WARM_UP_S)?;
    let before_us = node.cpu_us();
    let seconds = if scene.plan.is_quick() {
        QUICK_S
    } else {
        RUN_S
    };
    let (called, answered) = place(keeper, "run", seconds)?;
    let memory_bytes = node.memory_bytes();
    if !scene.plan.is_quick() {
        thread::sleep(Duration::from_secs(SETTLE_S));
    }
    let count = CALLS_PER_S * seconds;
    let mut sample = Sample::new(per(node.cpu_us() - before_us, count));
    sample.failed = called.failed() + count.saturating_sub(called.succeeded() + called.failed());
    let again = |counts: &Counts| {
        let steps = ["INVITE_Retrans", "BYE_Retrans"].map(|name| counts.steps(name));
        counts.retransmitted() + steps.iter().flatten().sum::<u64>()
    };
    sample.retransmissions = called.retransmitted() + again(&answered);
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
    sample.note("memory_bytes", memory_bytes as f64);
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    sample.note("achieved_per_s", count as f64 / (called.elapsed_s - 1.0));
    Ok(sample)
}
