//! The rows: what is done to a server, and what is read off.

use super::Plan;
use super::error::Error;
use super::failover::{self, Situation};
use super::floor;
use super::pbx;
use super::process::{self, Keeper};
use super::prompts;
use super::relay;
use super::report::{Figure, Row, Sample};
use super::server::{DOMAIN, PASSWORD, Running, Server, Side, free_udp_port};
use super::sipp::{self, Counts, Load};
use super::takeover;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Calls offered a second.
const CALLS_PER_S: u64 = 2_000;
/// What the caller's scenario holds a call, in seconds.
const HOLD_S: f64 = 1.0;
/// Registrations offered a second.
const REGISTRATIONS_PER_S: u64 = 1_500;
/// The same, where only memory is measured.
const FILL_PER_S: u64 = 2_500;
/// Users of register-digest.
const USERS: u64 = 10_000;
/// Times that each user refreshes after its first registration.
const REFRESHES: u64 = 3;
/// Users registered before anything is measured.
const WARM_USERS: u64 = 1_000;
/// Registrations of the peer in register-memory, which grow its memory linearly.
const PEER_POPULATION: u64 = 100_000;
/// Workers the peer is tried with; the cheapest that fails no call is taken.
const CHILDREN_TRIED: [u32; 3] = [1, 2, 4];

/// How long the phases of a repetition are, in seconds.
#[derive(Debug, Clone, Copy)]
struct Timing {
    warm_up_s: u64,
    run_s: u64,
    /// After the load, until the last timer of its transactions has fired: that work belongs to
    /// the calls (timers J and L, 32 s).
    settle_s: u64,
    users: u64,
}

const FULL: Timing = Timing {
    warm_up_s: 5,
    run_s: 30,
    settle_s: 34,
    users: USERS,
};
const QUICK: Timing = Timing {
    warm_up_s: 1,
    run_s: 5,
    settle_s: 2,
    users: 2_000,
};
/// For choosing the peer's number of workers.
const TRIAL: Timing = Timing {
    warm_up_s: 2,
    run_s: 8,
    settle_s: 6,
    users: 5_000,
};

type Work = fn(&Scene<'_>, &mut Keeper, &Visit<'_>) -> Result<Sample, Error>;

/// One repetition at one server.
pub(crate) struct Visit<'a> {
    server: &'a Server,
    pub(crate) folder: PathBuf,
    timing: Timing,
    /// Registrations of register-memory.
    population: u64,
}

impl<'a> Visit<'a> {
    /// One that knows by itself how long it takes.
    pub(crate) fn new(server: &'a Server, folder: PathBuf) -> Self {
        Self {
            server,
            folder,
            timing: QUICK,
            population: 0,
        }
    }
}

/// What all rows need.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) plan: &'a Plan,
    /// The workspace.
    pub(crate) root: &'a Path,
    /// Where this run keeps its files.
    pub(crate) folder: &'a Path,
    /// Our program, or why there is none.
    pub(crate) holdline: &'a Result<PathBuf, String>,
    /// The load generator of the relay rows, if there are any.
    pub(crate) generator: Option<&'a Path>,
}

impl Scene<'_> {
    /// Runs a row.
    ///
    /// # Errors
    /// When the peer or the load generator could not be run. That our side could not is said in
    /// the row.
    pub(crate) fn row(&self, id: &str, keeper: &mut Keeper) -> Result<Row, Error> {
        match id {
            "udp-floor" => udp_floor(),
            "relay-floor" => relay::floor(self, keeper),
            _ if id.starts_with("takeover-") => takeover::row(self, id),
            "failover-situation-1" => failover::row(self, keeper, id, Situation::One),
            "failover-situation-2" => failover::row(self, keeper, id, Situation::Two),
            "pbx-call" => pbx::row(self, keeper),
            "pbx-prompts" => prompts::row(self, keeper),
            "replication-call" => {
                let mut row = self.replication(keeper, id, "µs CPU per call", proxy_call)?;
                "the calls of proxy-call at the owner of a pair whose standby holds all records, beside a node alone: all \
                 processes of the owner's node, the standby's (`standby`) not counted"
                    .clone_into(&mut row.work);
                row.note("offered_per_s", CALLS_PER_S);
                Ok(row)
            }
            "replication-register" => {
                let unit = "µs CPU per registration";
                let mut row = self.replication(keeper, id, unit, register_digest)?;
                "the registrations of register-digest at the owner of a pair whose standby holds all records, beside a \
                 node alone: all processes of the owner's node, the standby's (`standby`) not counted"
                    .clone_into(&mut row.work);
                row.note("offered_per_s", REGISTRATIONS_PER_S);
                Ok(row)
            }
            "relay-100" => relay::row(self, keeper, id, 100),
            "relay-500" => relay::row(self, keeper, id, 500),
            "relay-1000" => relay::row(self, keeper, id, 1_000),
            "proxy-call" => {
                let work = "INVITE, 100, 180, 200, ACK, 1 s held, BYE, 200 through a \
                            record-routing proxy, callee by location lookup, UDP";
                let mut row = self.compare(keeper, id, "µs CPU per call", proxy_call)?;
                work.clone_into(&mut row.work);
                row.note("offered_per_s", CALLS_PER_S);
                Ok(row)
            }
            "register-digest" => {
                let mut row =
                    self.compare(keeper, id, "µs CPU per registration", register_digest)?;
                row.work = format!(
                    "REGISTER, 401, REGISTER with MD5 digest, 200, UDP; {} users, each once new \
                     (`first`) and {REFRESHES} times refreshed (`refresh`); the figure is the mean \
                     of all; theirs in memory only, ours durable in SQLite",
                    self.timing().users
                );
                row.note("offered_per_s", REGISTRATIONS_PER_S);
                Ok(row)
            }
            _ => {
                let mut row =
                    self.compare(keeper, id, "bytes per registration", register_memory)?;
                let peers = self.population(Side::Theirs);
                row.work = format!(
                    "growth of resident memory by registering users with one contact each: {} of \
                     ours, {peers} of theirs",
                    self.population(Side::Ours)
                );
                row.note("population", self.population(Side::Ours));
                row.note("theirs_population", peers);
                Ok(row)
            }
        }
    }

    fn timing(&self) -> Timing {
        if self.plan.is_quick { QUICK } else { FULL }
    }

    fn population(&self, side: Side) -> u64 {
        match side {
            Side::Ours => self.plan.population,
            Side::Theirs if self.plan.is_quick => PEER_POPULATION / 5,
            Side::Theirs => PEER_POPULATION,
        }
    }

    /// Both sides in turn, the first to go alternating.
    fn compare(
        &self,
        keeper: &mut Keeper,
        id: &str,
        unit: &'static str,
        work: Work,
    ) -> Result<Row, Error> {
        let mut row = Row::new(id, unit);
        let is_memory = unit.starts_with("bytes");
        let mut peer = Server::Kamailio { children: 2 };
        if self.plan.sides.contains(&Side::Theirs) && !is_memory {
            let children = self.cheapest(&mut row, "children", &CHILDREN_TRIED, |&children| {
                let server = Server::Kamailio { children };
                let visit = Visit {
                    server: &server,
                    folder: self.folder.join(format!("{id}-trial-{children}")),
                    timing: if self.plan.is_quick { QUICK } else { TRIAL },
                    population: 0,
                };
                let sample = work(self, keeper, &visit)?;
                let who = format!("kamailio, trial with children={children}");
                Ok((who, children.to_string(), sample))
            })?;
            peer = Server::Kamailio { children };
        }
        if let Server::Kamailio { children } = peer {
            row.note("theirs_children", children);
        }
        let repeats = if is_memory { 1 } else { self.plan.repeats };
        self.in_turn(&mut row, "kamailio", repeats, |side, repeat, program| {
            let ours = Server::Holdline {
                program: program.to_owned(),
                template: "holdline.toml",
            };
            let visit = Visit {
                server: if side == Side::Ours { &ours } else { &peer },
                folder: self.folder.join(format!("{id}-{repeat}-{side:?}")),
                timing: self.timing(),
                population: self.population(side),
            };
            work(self, keeper, &visit)
        })?;
        Ok(row)
    }

    /// The owner of a pair beside a node without a cluster, under the same load.
    fn replication(
        &self,
        keeper: &mut Keeper,
        id: &str,
        unit: &'static str,
        work: Work,
    ) -> Result<Row, Error> {
        let mut row = Row::new(id, unit);
        if let Err(reason) = self.holdline {
            row.note("ours_absent", reason.clone());
            return Ok(row);
        }
        let repeats = self.plan.repeats;
        let peer = "holdline without replication";
        self.in_turn(&mut row, peer, repeats, |side, repeat, program| {
            let (program, template) = (program.to_owned(), "holdline.toml");
            let server = match side {
                Side::Ours => Server::Pair { program, template },
                Side::Theirs => Server::Holdline { program, template },
            };
            let visit = Visit {
                server: &server,
                folder: self.folder.join(format!("{id}-{repeat}-{side:?}")),
                timing: self.timing(),
                population: 0,
            };
            work(self, keeper, &visit)
        })?;
        Ok(row)
    }

    /// Measures both sides `repeats` times, the first to go alternating: `measure(side, repetition,
    /// our program)`.
    ///
    /// # Errors
    /// When the peer could not be measured. That our side could not is said in the row.
    pub(crate) fn in_turn(
        &self,
        row: &mut Row,
        peer: &'static str,
        repeats: usize,
        mut measure: impl FnMut(Side, usize, &Path) -> Result<Sample, Error>,
    ) -> Result<(), Error> {
        let mut absent = self.holdline.as_ref().err().cloned();
        let program = self.holdline.as_deref().unwrap_or(Path::new(""));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for repeat in 0..repeats {
            let mut sides = self.plan.sides.clone();
            if repeat % 2 == 1 {
                sides.reverse();
            }
            for side in sides {
                if side == Side::Theirs {
                    let sample = measure(side, repeat, program)?;
                    sample.say(peer, row.unit);
                    theirs.push(sample);
                } else if absent.is_none() {
                    match measure(side, repeat, program) {
                        Ok(sample) => {
                            sample.say("holdline", row.unit);
                            ours.push(sample);
                        }
                        Err(error) => absent = Some(error.to_string()),
                    }
                }
            }
        }
        row.peer = peer;
        row.ours = Figure::of(&ours);
        row.theirs = Figure::of(&theirs);
        if let Some(reason) = absent.filter(|_| self.plan.sides.contains(&Side::Ours)) {
            println!("  holdline: not measured: {reason}");
            row.note("ours_absent", reason);
        }
        Ok(())
    }

    /// The one of several set-ups of the peer that costs it least and fails nothing, or least.
    /// `measure` returns what it measured, as a sentence and a word.
    ///
    /// # Errors
    /// When one could not be measured.
    pub(crate) fn cheapest<T: Copy>(
        &self,
        row: &mut Row,
        what: &str,
        tried: &[T],
        mut measure: impl FnMut(&T) -> Result<(String, String, Sample), Error>,
    ) -> Result<T, Error> {
        let mut best = (u64::MAX, f64::INFINITY, tried[0]);
        let mut samples = serde_json::Map::new();
        for one in tried {
            let (who, word, sample) = measure(one)?;
            sample.say(&who, row.unit);
            samples.insert(word, sample.to_json());
            if (sample.failed, sample.value) < (best.0, best.1) {
                best = (sample.failed, sample.value, *one);
            }
        }
        row.note(&format!("theirs_by_{what}"), samples);
        Ok(best.2)
    }

    fn scenario(&self, name: &str) -> PathBuf {
        self.root.join("bench/sipp").join(name)
    }

    /// Starts a server, works with it, and stops it whatever came of it.
    pub(crate) fn with_server(
        &self,
        keeper: &mut Keeper,
        visit: &Visit<'_>,
        users: &[String],
        work: impl FnOnce(&mut Keeper, &mut Running) -> Result<Sample, Error>,
    ) -> Result<Sample, Error> {
        let folder = visit.folder.join("server");
        let mut running = visit.server.start(keeper, self.root, &folder, users)?;
        let (began, others_us) = (Instant::now(), process::others_us());
        let mut result = work(keeper, &mut running);
        if let Ok(sample) = &mut result {
            let cpus = thread::available_parallelism().map_or(1, usize::from);
            let elapsed_us = began.elapsed().as_secs_f64() * 1e6 * cpus as f64;
            let others_us = process::others_us() - others_us;
            sample.note("others_percent", 100.0 * others_us / elapsed_us);
        }
        let result = result.and_then(|sample| running.check().map(|()| sample));
        running.stop(keeper);
        result
    }

    /// Registers the phones of `file`, `count` of them, for the `pass`-th time.
    pub(crate) fn register(
        &self,
        keeper: &mut Keeper,
        visit: &Visit<'_>,
        target: std::net::SocketAddr,
        phones: &Phones,
        pass: u64,
    ) -> Result<Counts, Error> {
        let name = format!("sipp-{}-{pass}", phones.name);
        let scenario = self.scenario("register.xml");
        let load = Load {
            scenario: &scenario,
            target,
            calls: phones.count,
            per_s: phones.per_s,
            options: [
                "-inf",
                &phones.file.to_string_lossy(),
                "-auth_uri",
                DOMAIN,
                "-cid_str",
                &format!("%u-{}", phones.name),
                "-base_cseq",
                &(10 * pass + 1).to_string(),
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        sipp::place(keeper, &visit.folder.join(name), &load)
    }
}

/// Users with one contact each, as an injection file of SIPp.
pub(crate) struct Phones {
    name: &'static str,
    file: PathBuf,
    count: u64,
    per_s: u64,
}

impl Phones {
    pub(crate) fn write(
        visit: &Visit<'_>,
        name: &'static str,
        per_s: u64,
        phones: impl Iterator<Item = (String, u16)>,
    ) -> Result<Self, Error> {
        fs::create_dir_all(&visit.folder).map_err(Error::io("making a folder"))?;
        let mut text = String::from("SEQUENTIAL\n");
        let mut count = 0;
        for (user, port) in phones {
            let credentials = format!("[authentication username={user} password={PASSWORD}]");
            // Writing to a String does not fail.
            let _ = writeln!(text, "{user};127.0.0.1:{port};{credentials}");
            count += 1;
        }
        let file = visit.folder.join(format!("{name}.csv"));
        fs::write(&file, text).map_err(Error::io("writing an injection file"))?;
        Ok(Self {
            name,
            file,
            count,
            per_s,
        })
    }

    fn numbered(
        visit: &Visit<'_>,
        name: &'static str,
        per_s: u64,
        count: u64,
    ) -> Result<Self, Error> {
        let port = |number: u64| u16::try_from(10_000 + number % 50_000).unwrap_or(u16::MAX);
        let phones = users(name, count).into_iter().zip((0..).map(port));
        Self::write(visit, name, per_s, phones)
    }
}

fn users(name: &str, count: u64) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}")).collect()
}

fn settle(seconds: u64) {
    thread::sleep(Duration::from_secs(seconds));
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
pub(crate) fn per(total: f64, count: u64) -> f64 {
    total / count.max(1) as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn udp_floor() -> Result<Row, Error> {
    let mut row = Row::new("udp-floor", "µs CPU per datagram");
    "one UDP datagram of 500 bytes sent and received over loopback, a system call each: context, \
     not a comparison"
        .clone_into(&mut row.work);
    let floor_us = floor::send_and_receive_us()?;
    println!("  {floor_us:.2} µs CPU");
    row.note("floor", floor_us);
    Ok(row)
}

fn proxy_call(scene: &Scene<'_>, keeper: &mut Keeper, visit: &Visit<'_>) -> Result<Sample, Error> {
    let port = free_udp_port()?;
    let phones = std::iter::once(("callee".to_owned(), port));
    let phone = Phones::write(visit, "phone", 1, phones)?;
    let (caller, callee) = (scene.scenario("caller.xml"), scene.scenario("callee.xml"));
    let timing = visit.timing;
    scene.with_server(keeper, visit, &["callee".to_owned()], |keeper, server| {
        let registered = scene.register(keeper, visit, server.address, &phone, 0)?;
        if registered.succeeded() != 1 {
            return Err(Error::Program {
                name: "sipp".to_owned(),
                said: "the callee could not be registered".to_owned(),
            });
        }
        let place = |keeper: &mut Keeper, name: &str, seconds| {
            let load = Load {
                scenario: &caller,
                target: server.address,
                calls: CALLS_PER_S * seconds,
                per_s: CALLS_PER_S,
                options: vec!["-s".to_owned(), "callee".to_owned()],
            };
            let folder = visit.folder.join(format!("callee-{name}"));
            let answering = sipp::answer(keeper, &folder, &callee, port)?;
            let called = sipp::place(keeper, &visit.folder.join(format!("caller-{name}")), &load);
            let answered = answering.stop(keeper);
            called.map(|called| (called, answered))
        };
        place(keeper, "warm-up", timing.warm_up_s)?;
        let (before_us, standby_us) = (server.cpu_us(), server.standby_cpu_us());
        let (called, answered) = place(keeper, "run", timing.run_s)?;
        let memory_bytes = server.memory_bytes();
        settle(timing.settle_s);
        let calls = CALLS_PER_S * timing.run_s;
        let sum = |steps: Vec<u64>| steps.iter().sum::<u64>();
        // The caller's scenario waits for each provisional response twice: before the 200 and,
        // late, after it.
        let late = |ending: &str| called.steps(ending).get(1).copied().unwrap_or(0);
        let rung = sum(answered.steps("180_Sent"));
        let mut sample = Sample::new(per(server.cpu_us() - before_us, calls));
        sample.failed =
            called.failed() + calls.saturating_sub(called.succeeded() + called.failed());
        sample.out_of_order = late("180_Recv") + late("100_Recv");
        sample.retransmissions = called.retransmitted()
            + answered.retransmitted()
            + sum(answered.steps("INVITE_Retrans"))
            + sum(answered.steps("BYE_Retrans"));
        sample.note("memory_bytes", per(memory_bytes_f64(memory_bytes), 1));
        note_standby(&mut sample, server, standby_us, calls);
        let heard = sum(called.steps("180_Recv"));
        sample.note("provisional_lost", rate(rung.saturating_sub(heard), 1.0));
        sample.note("achieved_per_s", rate(calls, called.elapsed_s - HOLD_S));
        Ok(sample)
    })
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
fn memory_bytes_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// Tells what the standby of a pair did for each of `count`, since it had taken so much.
fn note_standby(sample: &mut Sample, server: &Running, before_us: Option<f64>, count: u64) {
    if let Some((before_us, after_us)) = before_us.zip(server.standby_cpu_us()) {
        sample.note("standby", per(after_us - before_us, count));
    }
}

fn register_digest(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    visit: &Visit<'_>,
) -> Result<Sample, Error> {
    let count = visit.timing.users;
    let warm = Phones::numbered(visit, "warm", REGISTRATIONS_PER_S, WARM_USERS)?;
    let phones = Phones::numbered(visit, "phone", REGISTRATIONS_PER_S, count)?;
    let mut all = users("warm", WARM_USERS);
    all.extend(users("phone", count));
    scene.with_server(keeper, visit, &all, |keeper, server| {
        let mut passes = Vec::new();
        scene.register(keeper, visit, server.address, &warm, 0)?;
        settle(2);
        let (before_us, standby_us) = (server.cpu_us(), server.standby_cpu_us());
        passes.push(scene.register(keeper, visit, server.address, &phones, 0)?);
        // A store may write what it was told within a second.
        settle(2);
        let between_us = server.cpu_us();
        for pass in 1..=REFRESHES {
            passes.push(scene.register(keeper, visit, server.address, &phones, pass)?);
        }
        let memory_bytes = server.memory_bytes();
        settle(visit.timing.settle_s);
        let after_us = server.cpu_us();
        let mut sample = Sample::new(per(after_us - before_us, count * (1 + REFRESHES)));
        for pass in &passes {
            sample.failed += count - pass.succeeded().min(count);
            sample.retransmissions += pass.retransmitted();
        }
        sample.note("first", per(between_us - before_us, count));
        sample.note("refresh", per(after_us - between_us, count * REFRESHES));
        note_standby(&mut sample, server, standby_us, count * (1 + REFRESHES));
        sample.note("memory_bytes", memory_bytes_f64(memory_bytes));
        let elapsed_s: f64 = passes.iter().map(|pass| pass.elapsed_s).sum();
        sample.note("achieved_per_s", rate(count * (1 + REFRESHES), elapsed_s));
        Ok(sample)
    })
}

fn register_memory(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    visit: &Visit<'_>,
) -> Result<Sample, Error> {
    let count = visit.population;
    let warm = Phones::numbered(visit, "warm", FILL_PER_S, WARM_USERS)?;
    let phones = Phones::numbered(visit, "phone", FILL_PER_S, count)?;
    let mut all = users("warm", WARM_USERS);
    all.extend(users("phone", count));
    scene.with_server(keeper, visit, &all, |keeper, server| {
        scene.register(keeper, visit, server.address, &warm, 0)?;
        settle(visit.timing.settle_s);
        let before = server.memory_bytes();
        let done = scene.register(keeper, visit, server.address, &phones, 0)?;
        // Transactions are not registrations: they are gone after this.
        settle(visit.timing.settle_s);
        let after = server.memory_bytes();
        let grown = memory_bytes_f64(after) - memory_bytes_f64(before);
        let mut sample = Sample::new(per(grown, done.succeeded()));
        sample.failed = count - done.succeeded().min(count);
        sample.retransmissions = done.retransmitted();
        sample.note("memory_before_bytes", memory_bytes_f64(before));
        sample.note("memory_bytes", memory_bytes_f64(after));
        sample.note("achieved_per_s", rate(count, done.elapsed_s));
        Ok(sample)
    })
}
