//! The failover rows: a media server dies, and the caller's next sign of life comes from another one.
//!
//! Situation 1: the INVITE goes to a server that has just died and is not known to be dead. Situation 2: it dies
//! after its 100 Trying and before it rings. Each is repeated with a server that is frozen (SIGSTOP: its socket takes
//! what comes, and nobody answers, as with a host that is gone) and with one that is killed (SIGKILL: ICMP answers).

mod caller;
pub(crate) mod media_server;

use super::error::Error;
use super::process::{self, Keeper, Process};
use super::report::{Figure, Row, Sample};
use super::rows::Scene;
use super::server::{free_tcp_port, free_udp_port, is_healthy, wait_until_ready};
use caller::Caller;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What the published work measured for situations 1 and 2, in milliseconds: means of 200.
const PUBLISHED_MS: [f64; 2] = [4_170.0, 63_000.0];
/// How long a repetition waits for a sign of life before the call counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(70);
/// How long the pool may take to find the servers up again.
const UP_LIMIT: Duration = Duration::from_secs(20);
/// Repetitions with `--quick`.
const QUICK_RUNS: usize = 10;
const UNIT: &str = "ms to a sign of life";

/// How a server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Frozen,
    Killed,
}

impl Death {
    fn signal(self) -> &'static str {
        match self {
            Self::Frozen => "-STOP",
            Self::Killed => "-KILL",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Killed => "killed",
        }
    }
}

/// When it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Situation {
    /// Before the INVITE.
    One,
    /// After 100 Trying.
    Two,
}

/// The node, its two media servers, and who calls.
struct Stage<'a> {
    keeper: &'a mut Keeper,
    folder: &'a Path,
    node: Process,
    admin: SocketAddr,
    first: SocketAddr,
    /// The one that dies; none between two repetitions.
    dying: Option<Process>,
    second: Process,
    /// Where the dying one says that it has sent its 100.
    reports: UdpSocket,
    caller: Caller,
    situation: Situation,
}

/// Runs one of the rows.
///
/// # Errors
/// The machine's, or a program's that was not to die.
pub(crate) fn row(
    scene: &Scene<'_>,
    keeper: &mut Keeper,
    id: &str,
    situation: Situation,
) -> Result<Row, Error> {
    let runs = match scene.plan.is_quick() {
        true => QUICK_RUNS,
        false => scene.plan.runs(),
    };
    let mut row = Row::new(id, UNIT);
    row.work = match situation {
        Situation::One => {
            "INVITE to a media server that has just died: from the INVITE to the first 180 or 200 at the \
             caller, of another media server; half of the servers frozen, half killed"
        }
        Situation::Two => {
            "a media server dies after its 100 Trying: from its death to the first 180 or 200 at the caller, \
             of another media server; half of the servers frozen, half killed"
        }
    }
    .to_owned();
    let place = match situation {
        Situation::One => 0,
        Situation::Two => 1,
    };
    row.note("published_mean_ms", PUBLISHED_MS[place]);
    let program = match scene.holdline {
        Ok(program) => program,
        Err(reason) => {
            println!("  holdline: not measured: {reason}");
            row.note("ours_absent", reason.clone());
            return Ok(row);
        }
    };
    let folder = scene.folder.join(id);
    fs::create_dir_all(&folder).map_err(Error::io("making a folder"))?;
    let mut stage = Stage::set(keeper, scene.root, &folder, program, situation)?;
    let (began, others_us) = (Instant::now(), process::others_us());
    let mut samples = Vec::new();
    for death in [Death::Frozen, Death::Killed] {
        let mut own = Vec::new();
        for number in 0..runs.div_ceil(2) {
            own.push(stage.repeat(death, number)?);
        }
        say(&mut row, death.word(), &own);
        samples.append(&mut own);
    }
    stage.strike();
    note(&mut row, "", &samples);
    row.note("runs", samples.len());
    row.note("lost", samples.iter().filter(|took| took.is_none()).count());
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "a number of processors")]
    let elapsed_us = began.elapsed().as_secs_f64() * 1e6 * cpus as f64;
    let others = 100.0 * (process::others_us() - others_us) / elapsed_us;
    let figures: Vec<Sample> = samples.iter().map(|took| sample(*took, others)).collect();
    row.ours = Figure::of(&figures);
    Ok(row)
}

fn sample(took: Option<Duration>, others_percent: f64) -> Sample {
    let mut sample = Sample::new(took.unwrap_or(LOST_AFTER).as_secs_f64() * 1e3);
    sample.failed = u64::from(took.is_none());
    sample.note("others_percent", others_percent);
    sample
}

/// The distribution of what was answered, as fields of the row.
fn note(row: &mut Row, prefix: &str, samples: &[Option<Duration>]) -> [f64; 3] {
    let mut answered: Vec<f64> = samples
        .iter()
        .flatten()
        .map(|took| took.as_secs_f64() * 1e3)
        .collect();
    answered.sort_by(f64::total_cmp);
    let figures = [50, 99, 100].map(|percent| percentile(&answered, percent));
    for (name, value) in ["p50_ms", "p99_ms", "max_ms"].into_iter().zip(figures) {
        row.note(&format!("{prefix}{name}"), (value * 10.0).round() / 10.0);
    }
    figures
}

fn say(row: &mut Row, word: &str, samples: &[Option<Duration>]) {
    let [p50, p99, max] = note(row, &format!("{word}_"), samples);
    let lost = samples.iter().filter(|took| took.is_none()).count();
    println!(
        "  {word}: {} runs, {lost} lost; {p50:.0} ms at the median, {p99:.0} p99, {max:.0} max",
        samples.len()
    );
}

/// The smallest value that at least so many per cent are not above; of an ordered list.
fn percentile(ordered: &[f64], percent: usize) -> f64 {
    let rank = (ordered.len() * percent).div_ceil(100);
    let value = ordered.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

impl<'a> Stage<'a> {
    fn set(
        keeper: &'a mut Keeper,
        root: &Path,
        folder: &'a Path,
        program: &Path,
        situation: Situation,
    ) -> Result<Self, Error> {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (first, second) = (at(free_udp_port()?), at(free_udp_port()?));
        let (listen, admin) = (at(free_udp_port()?), at(free_tcp_port()?));
        let reports = UdpSocket::bind("127.0.0.1:0").map_err(Error::io("binding a port"))?;
        reports
            .set_read_timeout(Some(Duration::from_secs(5)))
            .map_err(Error::io("setting a timeout"))?;
        let second_server = media_server::spawn(keeper, folder, second, None)?;
        let text = fs::read_to_string(root.join("bench/holdline-failover.toml"))
            .map_err(Error::io("reading holdline's configuration in bench/"))?
            .replace("{data}", &folder.join("data").to_string_lossy())
            .replace("{listen}", &listen.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{first}", &first.to_string())
            .replace("{second}", &second.to_string());
        let config = folder.join("holdline.toml");
        fs::write(&config, text).map_err(Error::io("writing a configuration"))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(&config);
        let mut node = keeper.spawn("holdline", &mut command, &folder.join("log"))?;
        wait_until_ready(&mut node, || is_healthy(admin))?;
        Ok(Self {
            keeper,
            folder,
            node,
            admin,
            first,
            dying: None,
            second: second_server,
            reports,
            caller: Caller::new(listen)?,
            situation,
        })
    }

    /// One call; how long the caller waited for a sign of life, or nothing when none came.
    fn repeat(&mut self, death: Death, number: usize) -> Result<Option<Duration>, Error> {
        let report_to = match self.situation {
            Situation::One => None,
            Situation::Two => Some(self.reports.local_addr()),
        };
        let report_to = report_to
            .transpose()
            .map_err(Error::io("asking a socket"))?;
        let dying = media_server::spawn(self.keeper, self.folder, self.first, report_to)?;
        let pid = dying.pid();
        self.dying = Some(dying);
        self.wait_until_up()?;
        // Deaths fall anywhere between two probes.
        thread::sleep(Duration::from_millis((number as u64 * 37) % 250));
        let died = match self.situation {
            Situation::One => {
                signal(pid, death.signal())?;
                let sent = Instant::now();
                self.caller.invite()?;
                sent
            }
            Situation::Two => {
                self.caller.invite()?;
                self.reports
                    .recv(&mut [0; 16])
                    .map_err(Error::io("waiting for the media server's 100"))?;
                // The 100 was sent before the report; this is for the edge to have read it.
                thread::sleep(Duration::from_millis(10));
                signal(pid, death.signal())?;
                Instant::now()
            }
        };
        let alive = self.caller.sign_of_life(died + LOST_AFTER)?;
        let took = alive.map(|at| at.saturating_duration_since(died));
        let is_whole = took.is_some() && self.caller.talks_and_hangs_up()?;
        if let Some(dying) = self.dying.take() {
            self.keeper.end(dying, "-KILL");
        }
        if !matches!(self.node.ended(), Ok(None)) {
            return Err(self.node.failure());
        }
        Ok(took.filter(|_| is_whole))
    }

    /// Waits until the pool would give a call to both.
    fn wait_until_up(&self) -> Result<(), Error> {
        let deadline = Instant::now() + UP_LIMIT;
        loop {
            let up = states(self.admin);
            if up.len() == 2 && up.iter().all(|state| state == "up") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Late {
                    name: "a media server's return to its pool".to_owned(),
                    limit_s: UP_LIMIT.as_secs(),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn strike(self) {
        self.keeper.end(self.node, "-TERM");
        self.keeper.end(self.second, "-KILL");
    }
}

fn signal(pid: u32, name: &str) -> Result<(), Error> {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    sent.map(drop).map_err(Error::io("sending a signal"))
}

/// The states of the targets, as the admin API tells them; none when it does not.
fn states(admin: SocketAddr) -> Vec<String> {
    let asked = || -> std::io::Result<String> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&admin, limit)?;
        stream.set_read_timeout(Some(limit))?;
        write!(
            stream,
            "GET /api/pools HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let pools: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let targets = pools[0]["targets"].as_array();
    let states = targets.into_iter().flatten();
    states
        .filter_map(|target| target["state"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), 100.0);
        assert_eq!(percentile(&values, 99), 198.0);
        assert_eq!(percentile(&values, 100), 200.0);
        assert_eq!(percentile(&[7.0], 50), 7.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
