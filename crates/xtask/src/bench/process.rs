//! Processes: started and ended by their own identity, their CPU time and memory as the kernel
//! counts them.

use super::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to end when asked, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Ends what is left and removes the folder when this process is gone, however it went: it is a
/// child that reads a pipe and acts at its end. It outlives Ctrl-C, which ends the rest.
const KEEPER: &str = "trap '' INT TERM HUP
started=
while read -r verb pid; do
  case $verb in
    start) started=\"$started $pid\" ;;
    end) rest=; for p in $started; do [ \"$p\" = \"$pid\" ] || rest=\"$rest $p\"; done; started=$rest ;;
  esac
done
if [ -n \"$started\" ]; then kill -TERM $started; sleep 2; kill -KILL $started; fi 2>/dev/null
rm -rf \"$1\"";

/// Knows what was started; see [`KEEPER`].
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Keeper {
    /// Starts watching; `folder` is removed at the end.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let mut child = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting a shell"))?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    fn say(&mut self, verb: &str, pid: u32) {
        if let Some(pipe) = &mut self.pipe {
            // Without a keeper there is only less care for accidents.
            let _ = writeln!(pipe, "{verb} {pid}");
        }
    }

    /// Starts a program, its output to `log`.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn spawn(
        &mut self,
        name: &str,
        command: &mut Command,
        log: &Path,
    ) -> Result<Process, Error> {
        let file = fs::File::create(log).map_err(Error::io("making a log file"))?;
        let errors = file.try_clone().map_err(Error::io("making a log file"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(Error::io("starting a program"))?;
        self.say("start", child.id());
        Ok(Process {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Asks a process to end with `signal`, kills it when it does not, and forgets it.
    pub(crate) fn end(&mut self, mut process: Process, signal: &str) {
        if matches!(process.child.try_wait(), Ok(None)) {
            let pid = process.child.id().to_string();
            let _ = Command::new("kill").args([signal, &pid]).status();
            if process.wait_until(Instant::now() + END_LIMIT).is_none() {
                let _ = process.child.kill();
                let _ = process.child.wait();
            }
        }
        self.say("end", process.child.id());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}

/// A program that was started here.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// How it ended, or nothing when `deadline` came first.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
                _ => return None,
            }
        }
    }

    /// An error with the end of what the program printed.
    pub(crate) fn failure(&self) -> Error {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        Error::Program {
            name: self.name.clone(),
            said: lines[lines.len().saturating_sub(15)..].join("\n"),
        }
    }
}

/// The numbers of one process that `/proc/PID/stat` tells.
struct Stat {
    parent: u32,
    own_ticks: u64,
    children_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 4 and 14 to 17 of proc_pid_stat(5). The name, field 2, may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        own_ticks: number(14)? + number(15)?,
        children_ticks: number(16)? + number(17)?,
    })
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.parent)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            all.iter()
                .filter(|&&(_, of)| of == parent)
                .map(|&(pid, _)| pid),
        );
        next += 1;
    }
    found
}

fn tick_us() -> f64 {
    let output = Command::new("getconf").arg("CLK_TCK").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let per_second = text.ok().and_then(|text| text.trim().parse().ok());
    1e6 / per_second.unwrap_or(100.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a run are far below 2^52"
)]
fn ticks_to_us(ticks: u64) -> f64 {
    ticks as f64 * tick_us()
}

/// User and system time of this very process, in microseconds.
pub(crate) fn own_cpu_us() -> f64 {
    one_cpu_us(std::process::id())
}

/// User and system time of a process and all its descendants, those that ended and were waited
/// for included, in microseconds.
pub(crate) fn cpu_us(root: u32) -> f64 {
    let ticks = tree(root)
        .into_iter()
        .filter_map(stat)
        .map(|stat| stat.own_ticks + stat.children_ticks)
        .sum();
    ticks_to_us(ticks)
}

/// User and system time of one process with all its threads, in microseconds.
pub(crate) fn one_cpu_us(pid: u32) -> f64 {
    ticks_to_us(stat(pid).map_or(0, |stat| stat.own_ticks))
}

/// What this benchmark does not account for: the time all processors were busy, less that of this
/// process and its descendants (the server and the load generator), in microseconds.
pub(crate) fn others_us() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    ticks_to_us(parse_busy_ticks(&text)) - cpu_us(std::process::id())
}

/// User, nice, system, irq and softirq of the first line of proc_stat(5).
fn parse_busy_ticks(text: &str) -> u64 {
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|&field| ticks.get(field))
        .sum()
}

/// Resident memory of a process and its descendants, in bytes; what they share is counted once
/// (the proportional set size).
pub(crate) fn memory_bytes(root: u32) -> u64 {
    let of = |pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        parse_pss_bytes(&text)
    };
    tree(root).into_iter().map(of).sum()
}

fn parse_pss_bytes(smaps: &str) -> u64 {
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 99";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            (stat.parent, stat.own_ticks, stat.children_ticks),
            (3, 110, 15)
        );
    }

    #[test]
    fn waiting_for_a_disk_is_not_busy() {
        assert_eq!(
            parse_busy_ticks("cpu  1 2 4 1000 1000 8 16 32 0 0\ncpu0 1 1\n"),
            31
        );
    }

    #[test]
    fn memory_is_the_proportional_set_size() {
        let text = "00400000-7ff r--p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: 12 kB\n";
        assert_eq!(parse_pss_bytes(text), 12 * 1024);
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        assert_eq!(tree(std::process::id())[0], std::process::id());
        assert!(memory_bytes(std::process::id()) > 0);
    }
}
