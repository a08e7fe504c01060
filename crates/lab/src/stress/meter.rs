//! What processes take, and how many calls each PBX has, over time.
//!
//! A PBX is a node here, as in the published figure 13: once it owns both services, because the other one has failed, the calls of both are its own.

use std::fs;
use std::time::Duration;

use nix::unistd::Pid;

use crate::World;
use crate::report::{Process, Sample, Series};
use crate::world::NODES;

/// Ticks of a second in /proc (USER_HZ, on all of Linux' usual machines).
const TICKS_PER_S: f64 = 100.0;

/// The name of a node.
pub(super) fn name(number: usize) -> String {
    match number < NODES {
        true => format!("edge{}", number + 1),
        false => format!("pbx{}", number - NODES + 1),
    }
}

/// A process that may be replaced by another.
#[derive(Debug, Default)]
struct Watched {
    pid: Option<Pid>,
    /// Of this process, at the start and now.
    ticks: (u64, u64),
    /// Of those before it.
    ticks_before: u64,
    memory_bytes_max: u64,
}

impl Watched {
    /// One that runs: what it has used until now does not count.
    fn of(pid: Option<Pid>) -> Watched {
        let ticks = pid.and_then(ticks_of).unwrap_or(0);
        Watched {
            pid,
            ticks: (ticks, ticks),
            ..Watched::default()
        }
    }

    fn look(&mut self, pid: Option<Pid>) {
        if self.pid != pid {
            self.ticks_before += self.ticks.1 - self.ticks.0;
            self.ticks = (0, 0);
            self.pid = pid;
        }
        let Some(pid) = pid else { return };
        if let Some(ticks) = ticks_of(pid) {
            self.ticks.1 = ticks.max(self.ticks.0);
        }
        let memory_bytes = memory_bytes_of(pid).unwrap_or(0);
        self.memory_bytes_max = self.memory_bytes_max.max(memory_bytes);
    }

    #[expect(clippy::cast_precision_loss, reason = "no run takes 2^52 ticks")]
    fn cpu_s(&self) -> f64 {
        (self.ticks_before + self.ticks.1 - self.ticks.0) as f64 / TICKS_PER_S
    }
}

/// Calls that a PBX was given, over its restarts.
#[derive(Debug, Default)]
struct Processed {
    /// The process that said so last.
    pid: Option<Pid>,
    last: u64,
    before: u64,
    /// What it had before the run.
    at_start: Option<u64>,
}

impl Processed {
    /// Takes what the PBX says, and gives how many there were in this run.
    fn take(&mut self, pid: Option<Pid>, incoming: u64) -> u64 {
        if self.pid != pid {
            self.before += self.last;
            self.pid = pid;
        }
        self.last = incoming;
        let all = self.before + incoming;
        all - *self.at_start.get_or_insert(all)
    }

    /// How many there were until now, of one that does not answer.
    fn until_now(&self) -> u64 {
        self.before + self.last - self.at_start.unwrap_or(0)
    }
}

/// The machine's processors: ticks that were not idle, and all.
#[derive(Debug, Clone, Copy, Default)]
struct Processors {
    busy: u64,
    all: u64,
}

/// What is looked at during a run.
#[derive(Debug)]
pub(super) struct Meter {
    nodes: Vec<Watched>,
    etcds: Vec<Watched>,
    generator: Watched,
    /// At the start, and at the last look before the end of the work.
    processors: [Processors; 2],
    /// How long work is begun.
    span: Duration,
    processed: Vec<Processed>,
    series: Vec<Series>,
}

impl Meter {
    /// Begins, before there is any stress.
    pub(super) fn new(world: &World, pbxs: usize, span: Duration) -> Meter {
        let numbers = 0..NODES + pbxs;
        let named = |number| Series {
            name: name(NODES + number),
            samples: Vec::new(),
        };
        let mut meter = Meter {
            nodes: numbers
                .map(|number| Watched::of(world.process(number)))
                .collect(),
            etcds: world.coordinator_processes().map(Watched::of).collect(),
            generator: Watched::default(),
            processors: [processors(); 2],
            span,
            processed: (0..pbxs).map(|_| Processed::default()).collect(),
            series: (0..pbxs).map(named).collect(),
        };
        meter.ask(world, Duration::ZERO);
        meter
    }

    /// Looks, so long after the start.
    pub(super) fn look(&mut self, world: &World, generator: u32, at: Duration) {
        for (number, watched) in self.nodes.iter_mut().enumerate() {
            watched.look(world.process(number));
        }
        for (watched, pid) in self.etcds.iter_mut().zip(world.coordinator_processes()) {
            watched.look(pid);
        }
        if at <= self.span {
            self.processors[1] = processors();
        }
        let generator = i32::try_from(generator).ok().map(Pid::from_raw);
        self.generator.look(generator);
        self.ask(world, at);
    }

    fn ask(&mut self, world: &World, at: Duration) {
        let at_s = at.as_secs_f64();
        let all = self.series.iter_mut().zip(&mut self.processed);
        for (number, (series, processed)) in all.enumerate() {
            let status = world.status(NODES + number).unwrap_or_default();
            let of = |name: &str| status["pbx"][name].as_u64();
            let sample = match (of("legs"), of("incoming")) {
                (Some(active), Some(incoming)) => Sample {
                    at_s,
                    active,
                    processed: processed.take(world.process(NODES + number), incoming),
                },
                // It is down, or too busy to say.
                _ => match world.process(NODES + number) {
                    Some(_) => continue,
                    None => Sample {
                        at_s,
                        active: 0,
                        processed: processed.until_now(),
                    },
                },
            };
            series.samples.push(sample);
        }
    }

    /// How much of the machine's processors was in use while work was begun, by whomever, in per cent.
    #[expect(clippy::cast_precision_loss, reason = "no run takes 2^52 ticks")]
    pub(super) fn busy_percent(&self) -> Option<f64> {
        let [begun, ended] = self.processors;
        let all = ended.all.checked_sub(begun.all).filter(|all| *all > 0)?;
        Some(ended.busy.saturating_sub(begun.busy) as f64 * 100.0 / all as f64)
    }

    /// Calls given to all PBXs.
    pub(super) fn processed(&self) -> u64 {
        let last = self
            .series
            .iter()
            .filter_map(|series| series.samples.last());
        last.map(|sample| sample.processed).sum()
    }

    /// CPU of all nodes, in seconds.
    pub(super) fn nodes_cpu_s(&self) -> f64 {
        self.nodes.iter().map(Watched::cpu_s).sum()
    }

    /// Each process, the generator last.
    #[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
    pub(super) fn processes(&self) -> Vec<Process> {
        let of = |name: String, watched: &Watched| Process {
            name,
            cpu_s: watched.cpu_s(),
            memory_mib_max: watched.memory_bytes_max as f64 / f64::from(1 << 20),
        };
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.map(|(number, watched)| of(name(number), watched));
        let etcds = self.etcds.iter().enumerate();
        let etcds = etcds.map(|(number, watched)| of(format!("etcd{}", number + 1), watched));
        nodes
            .chain(etcds)
            .filter(|process| process.memory_mib_max > 0.0)
            .chain([of("generator".to_owned(), &self.generator)])
            .collect()
    }

    pub(super) fn series(self) -> Vec<Series> {
        self.series
    }
}

fn processors() -> Processors {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    processors_in(&stat)
}

/// The first line: user, nice, system, idle, waiting for disks, and others.
fn processors_in(stat: &str) -> Processors {
    let line = stat.lines().next().unwrap_or_default();
    let ticks = line.split_ascii_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Processors {
        busy: all - idle,
        all,
    }
}

fn ticks_of(pid: Pid) -> Option<u64> {
    ticks_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// User's and system's time, behind the name in parentheses, which may hold anything.
fn ticks_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn memory_bytes_of(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 17 25 0 0 20 0 3 0 5 1 2";
        assert_eq!(ticks_in(stat), Some(42));
        assert_eq!(ticks_in("42 (a"), None);
    }

    #[test]
    fn what_a_pbx_did_before_it_died_counts() {
        let mut processed = Processed::default();
        let pid = |number| Some(Pid::from_raw(number));
        assert_eq!(processed.take(pid(7), 10), 0);
        assert_eq!(processed.take(pid(7), 15), 5);
        assert_eq!(processed.until_now(), 5);
        assert_eq!(processed.take(pid(8), 2), 7);
        assert_eq!(processed.take(pid(8), 4), 9);
        // The next one has had more than the one before it already.
        assert_eq!(processed.take(pid(9), 20), 29);
    }

    #[test]
    fn processors_are_busy_when_they_neither_rest_nor_wait_for_disks() {
        let found = processors_in("cpu  10 20 30 400 50 1 2 3 0 0\ncpu0 1 1 1 1\n");
        assert_eq!((found.busy, found.all), (66, 516));
    }

    #[test]
    fn a_process_in_anothers_place_adds_to_it() {
        let own = Pid::this();
        let mut watched = Watched::of(Some(own));
        watched.look(Some(own));
        assert!(watched.memory_bytes_max > 1 << 20 && watched.cpu_s() < 60.0);
        watched.look(None);
        let before = watched.cpu_s();
        watched.look(Some(own));
        assert!(watched.cpu_s() >= before);
    }
}
