//! SIPp, the load generator: one run of one scenario, and what its statistics say of it.

use super::error::Error;
use super::install::path_of;
use super::process::{Keeper, Process};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a run may take beyond its calls at their rate: a call whose answer never comes, twice.
const GRACE_S: u64 = 70;
/// How long a call waits for a message before it has failed: timer B.
const RECEIVE_LIMIT_MS: &str = "32000";
/// Socket buffers, so that a burst is not lost at the generator.
const BUFFER_BYTES: &str = "4194304";
/// Open calls at once, below the usual limit of open files.
const OPEN_CALLS_MAX: &str = "12000";

/// Calls (or registrations) to place.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    /// The scenario's file.
    pub(crate) scenario: &'a Path,
    /// The server.
    pub(crate) target: SocketAddr,
    pub(crate) calls: u64,
    pub(crate) per_s: u64,
    /// Further options.
    pub(crate) options: Vec<String>,
}

/// What SIPp counted in one run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    totals: BTreeMap<String, String>,
    messages: BTreeMap<String, String>,
    /// From the start to the end of the last call, in seconds.
    pub(crate) elapsed_s: f64,
}

impl Counts {
    fn read(folder: &Path, elapsed_s: f64) -> Self {
        Self {
            totals: last_row(&folder.join("totals.csv")),
            messages: messages_file(folder).map_or_else(BTreeMap::new, |file| last_row(&file)),
            elapsed_s,
        }
    }

    fn total(&self, name: &str) -> u64 {
        number(self.totals.get(name))
    }

    /// Calls that failed or were still open at the end.
    pub(crate) fn failed(&self) -> u64 {
        self.total("FailedCall(C)") + self.total("CurrentCall")
    }

    /// Calls that were completed as the scenario says.
    pub(crate) fn succeeded(&self) -> u64 {
        self.total("SuccessfulCall(C)")
    }

    /// Messages this end sent again, for want of an answer.
    pub(crate) fn retransmitted(&self) -> u64 {
        self.total("Retransmissions(C)")
    }

    /// A column of the messages file for each step of the scenario with this ending, in the
    /// scenario's order: `180_Recv`, `INVITE_Retrans`.
    pub(crate) fn steps(&self, ending: &str) -> Vec<u64> {
        let mut found: Vec<(u64, u64)> = self
            .messages
            .iter()
            .filter_map(|(name, value)| {
                let (step, rest) = name.split_once('_')?;
                (rest == ending).then_some((step.parse().ok()?, number(Some(value))))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, count)| count).collect()
    }
}

fn number(value: Option<&String>) -> u64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The last row of one of SIPp's files, by the names of its first.
fn last_row(file: &Path) -> BTreeMap<String, String> {
    parse_last_row(&fs::read_to_string(file).unwrap_or_default())
}

fn parse_last_row(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.lines();
    let (Some(names), Some(values)) = (lines.next(), lines.next_back()) else {
        return BTreeMap::new();
    };
    let names = names.split(';').map(str::to_owned);
    names.zip(values.split(';').map(str::to_owned)).collect()
}

/// SIPp names this file after the scenario and its own process.
fn messages_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("_counts.csv"))
}

fn command(folder: &Path, scenario: &Path, port: u16) -> Result<Command, Error> {
    fs::create_dir_all(folder).map_err(Error::io("making a folder for SIPp"))?;
    let program = path_of("sipp").ok_or(Error::Missing(vec!["sipp"]))?;
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .arg("-sf")
        .arg(scenario)
        .args(["-i", "127.0.0.1", "-p", &port.to_string()])
        .args(["-nostdin", "-buff_size", BUFFER_BYTES])
        .args([
            "-trace_stat",
            "-stf",
            "totals.csv",
            "-fd",
            "1",
            "-trace_counts",
        ]);
    Ok(command)
}

/// Places a load and waits until it is done. `folder` must be a new one.
///
/// # Errors
/// The end of SIPp's output when it could not run; a load with failed calls is not an error.
pub(crate) fn place(keeper: &mut Keeper, folder: &Path, load: &Load<'_>) -> Result<Counts, Error> {
    let limit_s = load.calls / load.per_s + GRACE_S;
    let port = super::server::free_udp_port()?;
    let mut command = command(folder, load.scenario, port)?;
    command
        .arg(load.target.to_string())
        .args(["-m", &load.calls.to_string(), "-r", &load.per_s.to_string()])
        .args(["-l", OPEN_CALLS_MAX, "-recv_timeout", RECEIVE_LIMIT_MS])
        .args(&load.options);
    let began = Instant::now();
    let mut process = keeper.spawn("sipp", &mut command, &folder.join("log"))?;
    let ended = process.wait_until(began + Duration::from_secs(limit_s));
    let counts = Counts::read(folder, began.elapsed().as_secs_f64());
    // 0: all calls succeeded; 1: some failed; without an end, those still open have failed; the
    // rest: it could not run.
    let has_run = matches!(ended.map(|status| status.code()), None | Some(Some(0 | 1)));
    let result = if has_run && counts.succeeded() + counts.failed() > 0 {
        Ok(counts)
    } else {
        Err(process.failure())
    };
    keeper.end(process, "-TERM");
    result
}

/// A SIPp that answers calls.
#[derive(Debug)]
pub(crate) struct Callee {
    process: Process,
    folder: PathBuf,
    began: Instant,
}

/// Starts answering calls at `port`. `folder` must be a new one.
///
/// # Errors
/// The machine's.
pub(crate) fn answer(
    keeper: &mut Keeper,
    folder: &Path,
    scenario: &Path,
    port: u16,
) -> Result<Callee, Error> {
    let mut command = command(folder, scenario, port)?;
    let process = keeper.spawn("sipp as callee", &mut command, &folder.join("log"))?;
    // It says nowhere that it listens.
    std::thread::sleep(Duration::from_millis(500));
    let mut callee = Callee {
        process,
        folder: folder.to_owned(),
        began: Instant::now(),
    };
    match callee.process.ended() {
        Ok(None) => Ok(callee),
        _ => Err(callee.process.failure()),
    }
}

impl Callee {
    /// Ends it and says what it counted. SIGUSR1 lets open calls finish.
    pub(crate) fn stop(self, keeper: &mut Keeper) -> Counts {
        keeper.end(self.process, "-USR1");
        Counts::read(&self.folder, self.began.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_counts() {
        let row = parse_last_row("A;B(C);\n1;2;\n3;4;\n");
        assert_eq!(row.get("B(C)").map(String::as_str), Some("4"));
        assert!(parse_last_row("A;B\n").is_empty());
    }

    #[test]
    fn steps_come_in_the_order_of_the_scenario() {
        let messages = parse_last_row("10_180_Recv;2_180_Recv;2_180_Retrans;\n7;5;1;\n");
        let counts = Counts {
            messages,
            ..Counts::default()
        };
        assert_eq!(counts.steps("180_Recv"), [5, 7]);
        assert_eq!(counts.steps("180_Retrans"), [1]);
    }
}
