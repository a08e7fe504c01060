//! The relay rows: Debian's rtpengine and Holdline relay the same paced calls.

pub(crate) mod calls;
pub(crate) mod load;
mod packet;
pub(crate) mod rtpengine;
mod session;
mod tally;
mod wire;

use super::error::Error;
use super::process::Keeper;
use super::report::{Row, Sample};
use super::rows::{Phones, Scene, Visit, per};
use super::server::{Running, Server, Side, free_udp_port};
use load::Plan;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The relays' ports. Below those that the kernel gives to the load generator.
const PORTS: RangeInclusive<u16> = 20_000..=29_999;
/// Calls that are set up and carried for a moment before memory is first read, so that what a
/// server takes once is not counted as a call's.
const FIRST_CALLS: usize = 20;
const FIRST_CALLS_S: u32 = 1;
/// What the load generator may take beyond its plan.
const GRACE_S: u64 = 60;
/// Calls of the floor's row.
const FLOOR_CALLS: usize = 1_000;
/// rtpengine's numbers of threads that are tried, the first its default; the cheapest that loses nothing is taken.
const THREADS_TRIED: [Option<u32>; 3] = [None, Some(1), Some(2)];
const UNIT: &str = "µs CPU per packet";

/// How long a load is, in seconds.
#[derive(Debug, Clone, Copy)]
struct Length {
    warm_up_s: u32,
    run_s: u32,
}

const FULL: Length = Length {
    warm_up_s: 5,
    run_s: 30,
};
const TRIAL: Length = Length {
    warm_up_s: 2,
    run_s: 8,
};
const QUICK: Length = Length {
    warm_up_s: 1,
    run_s: 4,
};

/// The generator sending to itself: what a delay measured here is at least.
///
/// # Errors
/// The machine's.
pub(crate) fn floor(scene: &Scene<'_>, keeper: &mut Keeper) -> Result<Row, Error> {
    let mut row = Row::new("relay-floor", "µs delay");
    row.work = format!(
        "the load of relay-{FLOOR_CALLS} from the generator to itself, without a relay: context, \
         not a comparison; generator_cpu_us is one packet sent and received in batches"
    );
    let result = load_alone(scene, keeper, "relay-floor", FLOOR_CALLS)?;
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    println!(
        "  delay {:.0} µs at the median, {:.0} p99, {:.0} max; {} lost; left late by {:.0} µs p99",
        number("delay_p50_us"),
        number("delay_p99_us"),
        number("delay_max_us"),
        number("lost"),
        number("late_p99_us"),
    );
    row.note("loss", number("lost") / number("sent"));
    for name in [
        "delay_p50_us",
        "delay_p99_us",
        "delay_max_us",
        "late_p99_us",
    ] {
        row.note(name, number(name));
    }
    row.note(
        "generator_cpu_us",
        number("generator_cpu_us") / number("arrived"),
    );
    Ok(row)
}

/// A row of `calls` calls through both relays in turn.
///
/// # Errors
/// When the peer or the load generator could not be run.
pub(crate) fn row(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    id: &str,
    calls: usize,
) -> Result<Row, Error> {
    let mut row = Row::new(id, UNIT);
    row.work = format!(
        "{calls} two-way G.711 calls, {} packets/s each way, streams evenly spread in time; CPU of the relay \
         per packet relayed",
        load::PACKETS_PER_S
    );
    row.note("calls", calls);
    row.note("offered_per_s", calls * 2 * load::PACKETS_PER_S as usize);
    let floor = load_alone(scene, keeper, id, calls)?;
    for name in ["delay_p50_us", "delay_p99_us", "delay_max_us"] {
        row.note(&format!("floor_{name}"), floor[name].clone());
    }
    let visit = |server: Server, name: &str| Relaying {
        server,
        folder: format!("{id}-{name}"),
        calls,
        length: if scene.plan.is_quick { QUICK } else { FULL },
    };
    let mut threads = None;
    if scene.plan.sides.contains(&Side::Theirs) {
        threads = scene.cheapest(&mut row, "threads", &THREADS_TRIED, |&threads| {
            let name = threads.map_or_else(|| "default".to_owned(), |count| count.to_string());
            let mut relaying = visit(Server::Rtpengine { threads }, &format!("trial-{name}"));
            relaying.length = if scene.plan.is_quick { QUICK } else { TRIAL };
            let sample = relaying.measure(scene, keeper)?;
            Ok((
                format!("rtpengine, trial with threads={name}"),
                name,
                sample,
            ))
        })?;
        let name = threads.map_or_else(|| "default".to_owned(), |count| count.to_string());
        row.note("theirs_threads", name);
    }
    if let Ok(program) = scene.holdline {
        // What a call takes of memory without a relay: the rest is the relay's.
        let server = Server::Holdline {
            program: program.clone(),
            template: "holdline.toml",
        };
        let bytes = visit(server, "without-relay").without_relay(scene, keeper)?;
        println!("  holdline without a relay: {bytes:.0} bytes a call");
        row.note("ours_memory_per_call_without_relay_bytes", bytes.round());
    }
    scene.in_turn(
        &mut row,
        "rtpengine",
        scene.plan.repeats,
        |side, repeat, program| {
            let server = match side {
                Side::Theirs => Server::Rtpengine { threads },
                Side::Ours => Server::Holdline {
                    program: program.to_owned(),
                    template: "holdline-relay.toml",
                },
            };
            visit(server, &format!("{repeat}-{side:?}")).measure(scene, keeper)
        },
    )?;
    Ok(row)
}

/// One repetition at one relay.
struct Relaying {
    server: Server,
    folder: String,
    calls: usize,
    length: Length,
}

impl Relaying {
    fn measure(&self, scene: &Scene<'_>, keeper: &mut Keeper) -> Result<Sample, Error> {
        let visit = Visit::new(&self.server, scene.folder.join(&self.folder));
        let users = ["callee".to_owned()];
        scene.with_server(keeper, &visit, &users, |keeper, server| {
            let ends = [free_address()?, free_address()?];
            let mut controller = self.controller(scene, keeper, &visit, server)?;
            let mut plan = Plan {
                warm_up_s: 0,
                run_s: FIRST_CALLS_S,
                salt: 0,
                relay_pid: Some(server.pid()),
                ends,
                calls: Vec::with_capacity(self.calls),
            };
            let first = FIRST_CALLS.min(self.calls / 2);
            for number in 0..first {
                plan.calls.push(controller.call(number, ends)?);
            }
            load(scene, keeper, &visit.folder.join("first"), &plan)?;
            let before_bytes = server.memory_bytes();
            let began = Instant::now();
            for number in first..self.calls {
                plan.calls.push(controller.call(number, ends)?);
            }
            let set_up_s = began.elapsed().as_secs_f64();
            plan.warm_up_s = self.length.warm_up_s;
            plan.run_s = self.length.run_s;
            plan.salt = 1;
            let result = load(scene, keeper, &visit.folder.join("run"), &plan)?;
            let grown = bytes(server.memory_bytes()) - bytes(before_bytes);
            let mut sample = sample(&result);
            sample.note(
                "memory_per_call_bytes",
                per(grown, (self.calls - first) as u64),
            );
            sample.note("memory_bytes", bytes(server.memory_bytes()));
            sample.note("set_up_s", set_up_s);
            Ok(sample)
        })
    }

    /// What the same calls take of memory when nothing is relayed, in bytes a call.
    fn without_relay(&self, scene: &Scene<'_>, keeper: &mut Keeper) -> Result<f64, Error> {
        let visit = Visit::new(&self.server, scene.folder.join(&self.folder));
        let users = ["callee".to_owned()];
        let sample = scene.with_server(keeper, &visit, &users, |keeper, server| {
            let ends = [free_address()?, free_address()?];
            let mut controller = self.controller(scene, keeper, &visit, server)?;
            let first = FIRST_CALLS.min(self.calls / 2);
            let mut before_bytes = 0;
            for number in 0..self.calls {
                if number == first {
                    before_bytes = server.memory_bytes();
                }
                controller.call(number, ends)?;
            }
            let grown = bytes(server.memory_bytes()) - bytes(before_bytes);
            Ok(Sample::new(per(grown, (self.calls - first) as u64)))
        })?;
        Ok(sample.value)
    }

    fn controller(
        &self,
        scene: &Scene<'_>,
        keeper: &mut Keeper,
        visit: &Visit<'_>,
        server: &Running,
    ) -> Result<Controller, Error> {
        if matches!(self.server, Server::Rtpengine { .. }) {
            return Ok(Controller::Rtpengine(rtpengine::Control::open(
                server.address,
            )?));
        }
        let callee = free_address()?;
        let phones = std::iter::once(("callee".to_owned(), callee.port()));
        let phone = Phones::write(visit, "phone", 1, phones)?;
        let registered = scene.register(keeper, visit, server.address, &phone, 0)?;
        if registered.succeeded() != 1 {
            return Err(Error::Program {
                name: "sipp".to_owned(),
                said: "the callee could not be registered".to_owned(),
            });
        }
        let phones = calls::Phones::open(server.address, callee.into())?;
        Ok(Controller::Holdline(phones))
    }
}

/// Who sets calls up.
enum Controller {
    Rtpengine(rtpengine::Control),
    Holdline(calls::Phones),
}

impl Controller {
    /// The relay's addresses of a new call: the one the caller, the one the callee sends to.
    fn call(&mut self, number: usize, ends: [SocketAddrV4; 2]) -> Result<[SocketAddrV4; 2], Error> {
        match self {
            Self::Rtpengine(control) => control.call(number, ends),
            Self::Holdline(phones) => phones.call(number, ends),
        }
    }
}

fn sample(result: &Value) -> Sample {
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    let count = |name: &str| result[name].as_u64().unwrap_or(0);
    let mut sample = Sample::new(number("relay_cpu_us") / number("arrived"));
    // A packet that came twice, changed or from elsewhere is as bad as one that did not come.
    sample.failed = count("lost") + count("corrupt") + count("duplicates");
    sample.out_of_order = count("out_of_order");
    sample.note("loss", number("lost") / number("sent"));
    for name in [
        "warm_up_lost",
        "duplicates",
        "corrupt",
        "refused",
        "delay_p50_us",
        "delay_p99_us",
        "delay_p999_us",
        "delay_max_us",
        "late_p50_us",
        "late_p99_us",
        "late_max_us",
    ] {
        sample.note(name, number(name));
    }
    sample.note(
        "generator_cpu_us",
        number("generator_cpu_us") / number("arrived"),
    );
    sample
}

/// The generator's packets straight to its other end.
fn load_alone(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    id: &str,
    calls: usize,
) -> Result<Value, Error> {
    let ends = [free_address()?, free_address()?];
    let length = if scene.plan.is_quick { QUICK } else { TRIAL };
    let plan = Plan {
        warm_up_s: length.warm_up_s,
        run_s: length.run_s,
        salt: 0,
        relay_pid: None,
        ends,
        calls: vec![[ends[1], ends[0]]; calls],
    };
    load(
        scene,
        keeper,
        &scene.folder.join(format!("{id}-floor")),
        &plan,
    )
}

/// Runs the load generator. `folder` must be a new one.
fn load(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    folder: &Path,
    plan: &Plan,
) -> Result<Value, Error> {
    fs::create_dir_all(folder).map_err(Error::io("making a folder for the load"))?;
    let (plan_file, result_file) = (folder.join("plan"), folder.join("result"));
    fs::write(&plan_file, plan.to_json().to_string())
        .map_err(Error::io("writing the load's plan"))?;
    let program = scene
        .generator
        .ok_or(Error::Missing(vec!["xtask in release"]))?;
    // A network does not wait for those it loads; without the right to it, it runs as the others do.
    let mut command = Command::new("nice");
    command.args(["-n", "-10"]).arg(program);
    command.arg("relay-load").args([&plan_file, &result_file]);
    let mut process = keeper.spawn("the load generator", &mut command, &folder.join("log"))?;
    let limit_s = u64::from(plan.warm_up_s + plan.run_s) + GRACE_S;
    let ended = process.wait_until(Instant::now() + Duration::from_secs(limit_s));
    let text = fs::read_to_string(&result_file).unwrap_or_default();
    let result = match (ended, serde_json::from_str(&text)) {
        (Some(_), Ok(result)) => Ok(result),
        (Some(_), Err(_)) => Err(process.failure()),
        (None, _) => Err(Error::Late {
            name: "the load generator".to_owned(),
            limit_s,
        }),
    };
    keeper.end(process, "-TERM");
    result
}

fn free_address() -> Result<SocketAddrV4, Error> {
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_udp_port()?))
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
fn bytes(count: u64) -> f64 {
    count as f64
}
