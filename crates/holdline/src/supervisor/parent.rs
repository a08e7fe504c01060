//! The parent's side.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cluster::Identity;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::estate::Estate;
use super::heirs::Heirs;
use super::word::{WORD_BYTES_MAX, Word};
use super::{Told, systemd};
use crate::cli::{EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE};

/// Failures within [`FAILURES_SPAN`] after which the node is not started again.
pub(super) const FAILURES_MAX: usize = 5;
/// See [`FAILURES_MAX`].
const FAILURES_SPAN: Duration = Duration::from_secs(60);
/// Before the node is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// What is supervised, and how.
#[derive(Debug)]
pub struct Supervision {
    /// The program of the node.
    pub program: PathBuf,
    /// Its arguments, `--supervised` among them.
    pub arguments: Vec<OsString>,
    /// After how long without a beat the node counts as hung: the cluster's lease.
    pub lease: Duration,
    /// What is done when it has ended.
    pub estate: Estate,
}

impl Supervision {
    /// The supervision of this program, run by the same command line with `--supervised`.
    ///
    /// # Errors
    /// The system does not say which program this is.
    pub fn of_this_program(lease: Duration, estate: Estate) -> Result<Supervision, std::io::Error> {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        arguments.push(OsString::from("--supervised"));
        Ok(Supervision {
            program: std::env::current_exe()?,
            arguments,
            lease,
            estate,
        })
    }
}

/// Why there is no supervision.
#[derive(Debug)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The runtime, the signals or the sockets of the process.
    Process {
        /// What the system says.
        error: std::io::Error,
    },
    /// The node's process cannot be started.
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

impl std::error::Error for SuperviseError {}

impl fmt::Display for SuperviseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SuperviseError::Process { error } => {
                write!(f, "the system refused the supervisor: {error}")
            }
            SuperviseError::Start { program, error } => write!(
                f,
                "cannot start the node's process {}: {error}",
                program.display()
            ),
        }
    }
}

/// How a life of the node's process ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    /// It stopped beating and was killed.
    hung: bool,
    /// It was asked to end, by us or by somebody else.
    asked: bool,
}

/// What comes after a life.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The supervisor ends with this exit status.
    End(u8),
    /// The node is started again.
    Again,
}

/// Runs the node in a process of its own and watches it until it ends by intention, or has failed `FAILURES_MAX` times in
/// a minute. Returns the exit status to end with. SIGTERM and SIGHUP of this process are passed on, SIGINT as SIGTERM.
///
/// # Errors
/// [`SuperviseError`].
pub async fn supervise(mut supervision: Supervision) -> Result<u8, SuperviseError> {
    let process = |error| SuperviseError::Process { error };
    let mut asked = Asked::take().map_err(process)?;
    let warm = tokio::spawn(supervision.estate.keep_warm());
    let mut failures = VecDeque::new();
    let status = loop {
        let mut life = Life::begin(&supervision)?;
        life.watch(&mut asked).await.map_err(process)?;
        if supervision.estate.starts_programs {
            life.end_heirs().await;
        }
        supervision
            .estate
            .settle(life.identity, supervision.lease)
            .await;
        let ended = life.ended().await.map_err(process)?;
        match next(&ended, Instant::now(), &mut failures) {
            Next::End(status) => break status,
            Next::Again => {}
        }
        tokio::select! {
            () = sleep(RESTART_PAUSE) => {}
            Some(_) = asked.end() => break EXIT_FAILED,
        }
    };
    warm.abort();
    Ok(status)
}

/// Decides what comes after a life, and says why.
fn next(ended: &Ended, now: Instant, failures: &mut VecDeque<Instant>) -> Next {
    let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
    if ended.asked && !ended.hung {
        return Next::End(code.unwrap_or(EXIT_FAILED));
    }
    if ended.asked {
        tracing::error!("the node hung while it ended, and was killed");
        return Next::End(EXIT_FAILED);
    }
    match code {
        // A wrong command line or configuration does not get better by itself.
        Some(code @ (0 | EXIT_CONFIG | EXIT_USAGE)) => return Next::End(code),
        _ if ended.hung => tracing::error!("the node stood still for a lease, and was killed"),
        _ => tracing::error!(status = %ended.status, "the node's process ended"),
    }
    failures.push_back(now);
    while failures.front().is_some_and(|at| now - *at > FAILURES_SPAN) {
        failures.pop_front();
    }
    if failures.len() >= FAILURES_MAX {
        tracing::error!(
            failures = failures.len(),
            "the node failed again and again within a minute: it is not started any more. See why above, put it right, and \
             start it anew"
        );
        return Next::End(EXIT_FAILED);
    }
    tracing::warn!("the node is started again, as a member");
    Next::Again
}

/// Signals that this process has got.
struct Asked {
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
}

impl Asked {
    fn take() -> Result<Asked, std::io::Error> {
        Ok(Asked {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What to pass on.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::SIGHUP,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.interrupt.recv() => Signal::SIGTERM,
        }
    }

    /// Waits until the end is asked for.
    async fn end(&mut self) -> Option<()> {
        tokio::select! {
            asked = self.terminate.recv() => asked,
            asked = self.interrupt.recv() => asked,
        }
    }
}

/// One life of the node's process.
struct Life {
    child: Child,
    pid: Pid,
    socket: UnixDatagram,
    lease: Duration,
    /// When it beat last; `None`: not yet.
    beaten: Option<Instant>,
    /// It stopped beating and was killed.
    hung: bool,
    asked: bool,
    identity: Option<Identity>,
    heirs: Heirs,
}

impl Life {
    fn begin(supervision: &Supervision) -> Result<Life, SuperviseError> {
        let process = |error| SuperviseError::Process { error };
        // Datagrams with an end: it comes when the other process has closed its last descriptor.
        let (unix, words) = (AddressFamily::Unix, SockType::SeqPacket);
        let (ours, theirs) = socketpair(unix, words, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| process(error.into()))?;
        let ours = std::os::unix::net::UnixDatagram::from(ours);
        ours.set_nonblocking(true).map_err(process)?;
        let heirs = Heirs::new();
        let (name, value) = heirs.variable();
        let child = Command::new(&supervision.program)
            .env(name, value)
            .args(&supervision.arguments)
            .stdin(Stdio::from(theirs))
            // systemd listens to this process.
            .env_remove("NOTIFY_SOCKET")
            // A terminal's Ctrl-C reaches this process only, which passes it on once.
            .process_group(0)
            .spawn()
            .map_err(|error| SuperviseError::Start {
                program: supervision.program.clone(),
                error,
            })?;
        // A child that was just started has a number.
        let pid = Pid::from_raw(child.id().unwrap_or(0).cast_signed());
        Ok(Life {
            child,
            pid,
            socket: UnixDatagram::from_std(ours).map_err(process)?,
            lease: supervision.lease,
            beaten: None,
            hung: false,
            asked: false,
            identity: None,
            heirs,
        })
    }

    /// Watches the process until no thread of it will run again.
    ///
    /// The kernel tells of a process's end when it has closed all that the process had, and closing a socket for packets or
    /// for filters may wait for all processors: 30 ms, and 300 where others are busy. That no descriptor is left is known
    /// before, by the end of the words from it.
    async fn watch(&mut self, asked: &mut Asked) -> Result<(), std::io::Error> {
        let mut bytes = [0; WORD_BYTES_MAX + 1];
        let mut deaf = false;
        loop {
            // Never, before the first beat.
            let due = self.beaten.map(|at| at + self.lease);
            tokio::select! {
                biased;
                heard = self.socket.recv(&mut bytes), if !deaf => match heard {
                    Ok(length @ 1..) => self.hear(&bytes[..length]),
                    Ok(_) if has_no_descriptors(self.pid) => return Ok(()),
                    // It is waited for.
                    Ok(_) | Err(_) => deaf = true,
                },
                status = self.child.wait() => {
                    status?;
                    break;
                }
                signal = asked.next() => {
                    self.asked |= signal == Signal::SIGTERM;
                    // Where it has ended just now, it is waited for next.
                    let _ = kill(self.pid, signal);
                }
                () = until(due) => if self.hangs(due) {
                    let _ = killpg(self.pid, Signal::SIGKILL);
                    (self.hung, self.beaten) = (true, None);
                },
            }
        }
        // What it said last may say that it ended by intention.
        while let Ok(length @ 1..) = self.socket.try_recv(&mut bytes) {
            self.hear(&bytes[..length]);
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) {
        match Word::read(bytes) {
            Some(Word::Beat) if !self.hung => self.beaten = Some(Instant::now()),
            Some(Word::Beat) => {}
            Some(Word::Identity(identity)) => self.identity = Some(identity),
            Some(Word::Told(told)) => {
                self.asked |= told == Told::Stopping;
                systemd::tell(told);
            }
            // Of a later version.
            None => {}
        }
    }

    /// Whether a process without a beat since `due` less a lease is to be given up. If this process itself did not get to
    /// run, nor may the other have done: it is given the time anew.
    fn hangs(&mut self, due: Option<Instant>) -> bool {
        let now = Instant::now();
        let late = due.is_some_and(|due| now > due + self.lease / 2);
        if late {
            self.beaten = Some(now);
        }
        !late
    }

    /// Kills what it has started and has not ended: an `add` of a mover that goes on would undo the withdrawal.
    async fn end_heirs(&self) {
        let left = self.heirs.end().await;
        if left > 0 {
            tracing::error!(
                left,
                "programs that the node started go on after it and cannot be killed"
            );
        }
    }

    /// Waits for it, after [`Life::watch`].
    async fn ended(&mut self) -> Result<Ended, std::io::Error> {
        Ok(Ended {
            status: self.child.wait().await?,
            hung: self.hung,
            asked: self.asked,
        })
    }
}

/// Whether a process whose words have ended is one that has ended: it has no descriptors left, so that none of its threads
/// has anything to send by. Its first thread stands for all: it is the last one that the program ends.
fn has_no_descriptors(pid: Pid) -> bool {
    match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(mut descriptors) => descriptors.next().is_none(),
        Err(_) => false,
    }
}

/// Sleeps until then, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn ended(raw: i32, hung: bool, asked: bool) -> Ended {
        Ended {
            status: ExitStatus::from_raw(raw),
            hung,
            asked,
        }
    }

    #[test]
    fn a_node_is_started_again_unless_its_end_was_meant_or_comes_too_often() {
        let now = Instant::now();
        let mut failures = VecDeque::new();
        let exit = |code: i32| code << 8;
        for (raw, hung, asked, expected) in [
            (exit(0), false, false, Next::End(0)),
            (exit(78), false, false, Next::End(78)),
            (exit(1), false, true, Next::End(1)),
            (9, false, true, Next::End(1)),
            (9, true, true, Next::End(1)),
            (exit(1), false, false, Next::Again),
            (11, false, false, Next::Again),
            (9, true, false, Next::Again),
        ] {
            let got = next(&ended(raw, hung, asked), now, &mut failures);
            assert_eq!(got, expected, "{raw} {hung} {asked}");
        }
        assert_eq!(failures.len(), 3);
        let crash = ended(11, false, false);
        assert_eq!(next(&crash, now, &mut failures), Next::Again);
        // A minute later the first ones are forgotten.
        let later = now + FAILURES_SPAN + Duration::from_secs(1);
        for _ in 1..FAILURES_MAX {
            assert_eq!(next(&crash, later, &mut failures), Next::Again);
        }
        assert_eq!(next(&crash, later, &mut failures), Next::End(EXIT_FAILED));
    }
}
