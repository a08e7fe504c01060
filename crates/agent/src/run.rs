//! The agent's life: look, ask, send.

use crate::calls::CallsSource;
use crate::error::{Error, Trouble};
use crate::proc::{CpuTimes, DiskTimes, memory_permille};
use crate::report::Report;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Edges that are reported to.
pub const EDGES_MAX: usize = 64;
/// The shortest interval between two reports.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Where reports are posted, after an edge's base URL.
pub const REPORT_PATH: &str = "/api/agent";

/// The time that an edge has to take a report.
const POST_TIMEOUT: Duration = Duration::from_secs(1);
/// A number of calls that is older is not sent any more.
const CALLS_AGE_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two questions for calls: a command costs more than a look at `/proc`.
const CALLS_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long anything sleeps before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// What an agent is to do.
#[derive(Clone)]
pub struct Options {
    /// This host's target as the edges' pools name it: by its URI or service name.
    pub target: String,
    /// The base URLs of the edges' admin APIs, such as `http://10.0.0.1:8060`. All of them are told,
    /// the standby too, so that it knows after a takeover.
    pub edges: Vec<String>,
    /// The token that they want.
    pub token: Option<String>,
    /// The time between two reports.
    pub interval: Duration,
    /// Where the number of calls is from.
    pub calls: CallsSource,
}

/// Something for the log. Each is said when it changes, not every time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An edge takes reports.
    Taken {
        /// Which.
        edge: String,
    },
    /// An edge is not reached.
    Unreachable {
        /// Which.
        edge: String,
        /// What the system says.
        what: String,
    },
    /// An edge refuses reports: the token, or no such target.
    Refused {
        /// Which.
        edge: String,
        /// The HTTP status.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// A figure is not known.
    Missing(Trouble),
    /// All figures are known again.
    Complete,
}

impl Options {
    /// Judges them before anything begins.
    ///
    /// # Errors
    /// What [`run`] would refuse.
    pub fn check(&self) -> Result<(), Error> {
        if self.target.is_empty() {
            return Err(Error::NoTarget);
        }
        if self.edges.is_empty() {
            return Err(Error::NoEdges);
        }
        if self.edges.len() > EDGES_MAX {
            return Err(Error::TooManyEdges {
                edges: self.edges.len(),
            });
        }
        if let Some(edge) = self.edges.iter().find(|edge| !edge.starts_with("http://")) {
            return Err(Error::NotHttp { edge: edge.clone() });
        }
        if self.interval < INTERVAL_MIN {
            return Err(Error::TooOften {
                interval_ms: self.interval.as_millis(),
            });
        }
        Ok(())
    }
}

/// Reports until `stop` is set. `notice` is told what an operator would want to know.
///
/// # Errors
/// The options cannot be.
pub fn run(
    options: &Options,
    stop: &AtomicBool,
    notice: &(dyn Fn(Notice) + Sync),
) -> Result<(), Error> {
    options.check()?;
    let newest: Vec<Newest> = options.edges.iter().map(|_| Newest::default()).collect();
    let calls = Mutex::new(None);
    thread::scope(|scope| {
        for (edge, newest) in options.edges.iter().zip(&newest) {
            scope.spawn(move || send(edge, options, newest, stop, notice));
        }
        if options.calls != CallsSource::Edges {
            scope.spawn(|| ask(options, &calls, stop, notice));
        }
        look(options, &calls, &newest, stop, notice);
        for newest in &newest {
            newest.changed.notify_all();
        }
    });
    Ok(())
}

/// The report that is to be sent next. A newer one takes its place: there is no backlog.
#[derive(Default)]
struct Newest {
    report: Mutex<Option<Report>>,
    changed: Condvar,
}

impl Newest {
    fn put(&self, report: Report) {
        *locked(&self.report) = Some(report);
        self.changed.notify_one();
    }

    /// Waits for a report, at most for a [`NAP`].
    fn take(&self) -> Option<Report> {
        let guard = locked(&self.report);
        let waited = self
            .changed
            .wait_timeout_while(guard, NAP, |report| report.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// What is behind a lock is whole at any time: one value that is replaced.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of calls and when it was asked for.
type Counted = Option<(u32, Instant)>;

/// Looks at the machine once an interval.
fn look(
    options: &Options,
    calls: &Mutex<Counted>,
    newest: &[Newest],
    stop: &AtomicBool,
    notice: &(dyn Fn(Notice) + Sync),
) {
    let mut machine = Machine::default();
    let mut trouble = None;
    let mut next = Instant::now();
    machine.look();
    loop {
        next += options.interval;
        if !sleep_until(next, stop) {
            return;
        }
        // A machine that stood still does not make up for it.
        next = next.max(Instant::now());
        let mut report = machine.look();
        report.target.clone_from(&options.target);
        let counted = *locked(calls);
        let fresh = counted.filter(|(_, at)| at.elapsed() <= CALLS_AGE_MAX);
        report.calls = fresh.map(|(calls, _)| calls);
        tell(&mut trouble, machine.trouble.clone(), notice);
        for newest in newest {
            newest.put(report.clone());
        }
    }
}

fn tell(last: &mut Option<Trouble>, now: Option<Trouble>, notice: &(dyn Fn(Notice) + Sync)) {
    if *last != now {
        match &now {
            Some(trouble) => notice(Notice::Missing(trouble.clone())),
            None => notice(Notice::Complete),
        }
        *last = now;
    }
}

/// Asks for the number of calls again and again.
fn ask(
    options: &Options,
    calls: &Mutex<Counted>,
    stop: &AtomicBool,
    notice: &(dyn Fn(Notice) + Sync),
) {
    let mut trouble = None;
    loop {
        let from = Instant::now();
        match options.calls.ask() {
            Ok(number) => {
                *locked(calls) = number.map(|number| (number, from));
                tell(&mut trouble, None, notice);
            }
            Err(why) => tell(&mut trouble, Some(why), notice),
        }
        let interval = options.interval.max(CALLS_INTERVAL_MIN);
        if !sleep_until(from + interval, stop) {
            return;
        }
    }
}

/// True when the time has come, false when it is time to stop.
fn sleep_until(at: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}

/// Sends the newest report to one edge again and again.
fn send(
    edge: &str,
    options: &Options,
    newest: &Newest,
    stop: &AtomicBool,
    notice: &(dyn Fn(Notice) + Sync),
) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(POST_TIMEOUT))
        // An edge has few connections for its operator; agents keep none.
        .max_idle_connections(0)
        .build();
    let client: ureq::Agent = config.into();
    let url = format!("{}{REPORT_PATH}", edge.trim_end_matches('/'));
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(report) = newest.take() else {
            continue;
        };
        let now = post(&client, &url, edge, options, &report);
        if last.as_ref() != Some(&now) {
            notice(now.clone());
            last = Some(now);
        }
    }
}

fn post(client: &ureq::Agent, url: &str, edge: &str, options: &Options, report: &Report) -> Notice {
    let mut request = client.post(url).content_type("application/json");
    if let Some(token) = &options.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let edge = edge.to_owned();
    match request.send(report.to_json()) {
        Ok(answer) if answer.status().is_success() => Notice::Taken { edge },
        Ok(mut answer) => Notice::Refused {
            edge,
            status: answer.status().as_u16(),
            message: answer.body_mut().read_to_string().unwrap_or_default(),
        },
        Err(error) => Notice::Unreachable {
            edge,
            what: error.to_string(),
        },
    }
}

/// What was seen of the machine the last time.
#[derive(Default)]
struct Machine {
    cpu: Option<CpuTimes>,
    disks: Option<(DiskTimes, Instant)>,
    trouble: Option<Trouble>,
}

impl Machine {
    fn look(&mut self) -> Report {
        self.trouble = None;
        let cpu = self.read("/proc/stat").and_then(|text| {
            let cpu = CpuTimes::parse(&text);
            self.known("/proc/stat", cpu)
        });
        let cpu_permille = cpu
            .zip(self.cpu)
            .and_then(|(now, before)| now.busy_permille_since(&before));
        self.cpu = cpu;
        let memory_permille = self.read("/proc/meminfo").and_then(|text| {
            let memory = memory_permille(&text);
            self.known("/proc/meminfo", memory)
        });
        let disks = self.read("/proc/diskstats");
        let disks = disks.map(|text| (DiskTimes::parse(&text), Instant::now()));
        let disk_permille = disks
            .as_ref()
            .zip(self.disks.as_ref())
            .and_then(|(now, before)| {
                let elapsed = now.1.saturating_duration_since(before.1);
                let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                now.0.busy_permille_since(&before.0, elapsed_ms)
            });
        self.disks = disks;
        Report {
            cpu_permille,
            memory_permille,
            disk_permille,
            ..Report::default()
        }
    }

    fn read(&mut self, path: &'static str) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                let what = error.to_string();
                self.trouble = Some(Trouble::Unreadable { path, what });
                None
            }
        }
    }

    fn known<T>(&mut self, path: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.trouble = Some(Trouble::Unknown { path });
        }
        value
    }
}
