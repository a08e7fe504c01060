//! The number of active calls, from a command or a query of the operator's.

use crate::error::Trouble;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// The time that a command or query has.
pub const CALLS_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read of an answer at most. A list of channels may be long.
pub const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// How much of an answer without a number is shown.
const SHOWN_CHARS_MAX: usize = 80;
/// How often a running command is looked at.
const WAIT_STEP: Duration = Duration::from_millis(10);
/// How long the last of what a command printed may take once it has ended.
const PIPE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where the number of active calls is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallsSource {
    /// Nowhere: the edges count what they send.
    Edges,
    /// What a command prints, run by `sh -c`.
    Command {
        /// Such as `asterisk -rx "core show channels count"`.
        command: String,
        /// Only lines with this text are looked at, such as `active calls`.
        line: Option<String>,
    },
    /// What a URL answers: the length of a JSON array, or a number in a text.
    Query {
        /// Such as `http://127.0.0.1:8088/ari/channels?api_key=user:password`.
        url: String,
        /// Only lines with this text are looked at.
        line: Option<String>,
    },
}

impl CallsSource {
    /// Asks for the number. None where there is nobody to ask.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn ask(&self) -> Result<Option<u32>, Trouble> {
        let (answer, line) = match self {
            CallsSource::Edges => return Ok(None),
            CallsSource::Command { command, line } => (run(command, CALLS_TIMEOUT)?, line),
            CallsSource::Query { url, line } => (query(url)?, line),
        };
        match number(&answer, line.as_deref()) {
            Some(number) => Ok(Some(number)),
            None => Err(Trouble::NoNumber {
                answer: answer.trim().chars().take(SHOWN_CHARS_MAX).collect(),
            }),
        }
    }
}

/// The number in an answer: the length of a JSON array, else the first number of the first line that
/// holds `line` and a number.
#[must_use]
pub fn number(answer: &str, line: Option<&str>) -> Option<u32> {
    if line.is_none() && answer.trim_start().starts_with('[') {
        let array: Vec<serde::de::IgnoredAny> = serde_json::from_str(answer).ok()?;
        return u32::try_from(array.len()).ok();
    }
    let lines = answer.lines();
    let mut lines = lines.filter(|one| line.is_none_or(|text| one.contains(text)));
    lines.find_map(|one| {
        let mut words = one.split(|c: char| !c.is_ascii_digit());
        words.find(|word| !word.is_empty())?.parse().ok()
    })
}

/// What `command` prints. It runs in a process group of its own, so that all of it can be ended.
fn run(command: &str, timeout: Duration) -> Result<String, Trouble> {
    let failed = |what: String| Trouble::Command { what };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (sender, receiver) = channel();
    let stdout = child.stdout.take();
    thread::spawn(move || {
        let mut text = Vec::new();
        let limited = stdout.map(|stdout| stdout.take(ANSWER_BYTES_MAX));
        // What was read until an error is looked at all the same, if somebody still waits for it.
        let _ = limited.map(|mut stdout| stdout.read_to_end(&mut text));
        let _ = sender.send(text);
    });
    let group = Pid::from_raw(child.id().cast_signed());
    let in_time = has_ended_within(group, timeout);
    // Whatever it left behind goes too, and with it those who could write to the pipe. The shell is
    // not waited for yet, so that the number of the group is still its own.
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !in_time {
        return Err(Trouble::CommandSlow {
            timeout_ms: timeout.as_millis(),
        });
    }
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    // A daemon that left the group may hold the pipe; it is not waited for.
    let text = receiver.recv_timeout(PIPE_TIMEOUT).unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a child ends in time. It is left for its parent to wait for.
fn has_ended_within(child: Pid, timeout: Duration) -> bool {
    let end = Instant::now() + timeout;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::Pid(child), flags) {
            Ok(WaitStatus::StillAlive) if Instant::now() < end => thread::sleep(WAIT_STEP),
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(_) => return true,
        }
    }
}

fn query(url: &str) -> Result<String, Trouble> {
    let failed = |what: String| Trouble::Query { what };
    let config = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(CALLS_TIMEOUT))
        .build();
    let client: ureq::Agent = config.into();
    let mut answer = client
        .get(url)
        .call()
        .map_err(|error| failed(error.to_string()))?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    body.read_to_string()
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{CallsSource, number, run};
    use crate::error::Trouble;
    use std::time::{Duration, Instant};

    #[test]
    fn the_number_is_found_where_the_operator_says() {
        let asterisk = "14 active channels\n7 active calls\n472 calls processed\n";
        assert_eq!(number(asterisk, Some("active calls")), Some(7));
        assert_eq!(number(asterisk, None), Some(14));
        assert_eq!(number("\n12 total.\n", None), Some(12));
        assert_eq!(number("calls: none", None), None);
        assert_eq!(number("5 calls", Some("channels")), None);
        assert_eq!(number("99999999999 calls", None), None);
    }

    #[test]
    fn an_array_is_counted() {
        assert_eq!(number(r#" [{"id":"1","n":[5]},{"id":"2"}]"#, None), Some(2));
        assert_eq!(number("[]", None), Some(0));
        assert_eq!(number("[1, 2", None), None);
    }

    #[test]
    fn what_a_command_prints_is_read() {
        let source = CallsSource::Command {
            command: "printf 'a\\nb 3\\n'; printf '4 calls' | cat".to_owned(),
            line: Some("calls".to_owned()),
        };
        assert_eq!(source.ask(), Ok(Some(4)));
        assert_eq!(CallsSource::Edges.ask(), Ok(None));
    }

    #[test]
    fn a_command_that_fails_or_says_nothing_is_told() {
        let ask = |command: &str| {
            let command = command.to_owned();
            CallsSource::Command {
                command,
                line: None,
            }
            .ask()
        };
        assert!(matches!(
            ask("echo 5; exit 3"),
            Err(Trouble::Command { .. })
        ));
        assert!(matches!(
            ask("/nowhere/at/all"),
            Err(Trouble::Command { .. })
        ));
        assert!(matches!(ask("echo nothing"), Err(Trouble::NoNumber { .. })));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_it_started() {
        let from = Instant::now();
        let said = run("sleep 30 | cat & sleep 30", Duration::from_millis(200));
        assert!(matches!(
            said,
            Err(Trouble::CommandSlow { timeout_ms: 200 })
        ));
        assert!(from.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_a_command_leaves_behind_does_not_hold_it_up() {
        let from = Instant::now();
        let said = run("sleep 30 & echo 6", Duration::from_secs(5));
        assert_eq!(said, Ok("6\n".to_owned()));
        assert!(from.elapsed() < Duration::from_secs(5));
        let said = run("setsid sleep 3 & sleep 0.1; echo 6", Duration::from_secs(2));
        assert_eq!(said, Ok(String::new()), "who left the group holds the pipe");
        assert!(from.elapsed() < Duration::from_secs(5));
    }
}
