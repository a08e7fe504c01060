//! Programs that a node has started and that outlive it: they would go on moving an address, or switching a machine off, for nobody.

use std::fs;
use std::time::Duration;

use net::clock::Boottime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that a node has, and with it all that it starts.
const VARIABLE: &str = "HOLDLINE_LIFE";
/// Most looks for them: what is found may have started more.
const LOOKS_MAX: usize = 20;
/// Between looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Tells what one life of a node has started from everything else.
#[derive(Debug)]
pub(super) struct Heirs {
    life: String,
}

impl Heirs {
    /// Of a life that begins.
    pub(super) fn new() -> Heirs {
        let (own, now) = (std::process::id(), Boottime::now().as_ns());
        Heirs {
            life: format!("{own}-{now}"),
        }
    }

    /// The variable for the environment of the node.
    pub(super) fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.life)
    }

    /// Kills them all; says how many were met that this process may not kill, or that go on.
    pub(super) async fn end(&self) -> usize {
        let mark = format!("{VARIABLE}={}", self.life);
        let mut left = Vec::new();
        for _ in 0..LOOKS_MAX {
            left = marked(mark.as_bytes());
            if left.is_empty() {
                break;
            }
            for heir in &left {
                // It may have ended by itself.
                let _ = kill(*heir, Signal::SIGKILL);
            }
            tokio::time::sleep(PAUSE).await;
        }
        left.len()
    }
}

/// Processes with such a variable. One that has ended has none, and one of another user's cannot be read.
fn marked(mark: &[u8]) -> Vec<Pid> {
    let own = Pid::this();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let is_marked = |process: &Pid| {
        let read = fs::read(format!("/proc/{process}/environ"));
        read.is_ok_and(|variables| variables.split(|byte| *byte == 0).any(|one| one == mark))
    };
    numbers
        .map(Pid::from_raw)
        .filter(|process| *process != own)
        .filter(is_marked)
        .collect()
}
