//! Power fencing by the operator's own programs, which speak the interface of the fence agents of ClusterLabs: options as lines
//! of `name=value` on standard input, what is to be done among them, exit status 0 for success.
//!
//! It stands beside the records, as the other thing outside that a claim may wait for. `net` would have been another place,
//! but it has neither programs nor time limits of theirs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::Error;

/// What is kept of a stream that an agent prints to, in bytes; what it prints beyond is read and dropped.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// Most options of an agent.
pub const OPTIONS_MAX: usize = 64;
/// How long the last of what it printed may take once it has ended: what it left running may hold the pipe.
const PIPE_END: Duration = Duration::from_millis(500);

/// What an agent is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Switch the machine off, and end when it is off. A claim waits for this.
    Off,
    /// Switch it off and on.
    Reboot,
    /// Say whether the agent reaches its device: for a check at the start.
    Monitor,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Off => "off",
            Action::Reboot => "reboot",
            Action::Monitor => "monitor",
        }
    }
}

/// A fence agent as the operator has set it up for one machine.
#[derive(Clone)]
pub struct Agent {
    program: PathBuf,
    /// Names and values, such as `plug` and the number of an outlet, or `password`.
    options: Vec<(String, String)>,
    /// How long a run may take.
    limit: Duration,
}

impl fmt::Debug for Agent {
    /// Without the values, for there are passwords among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("Agent")
            .field("program", &self.program)
            .field("options", &names)
            .field("limit", &self.limit)
            .finish()
    }
}

impl Agent {
    /// An agent with its options; `action` is not among them.
    ///
    /// # Errors
    /// [`Error::FenceOption`] for one that has no place in a line; [`Error::Setting`] for too many.
    pub fn new(
        program: impl Into<PathBuf>,
        options: Vec<(String, String)>,
        limit: Duration,
    ) -> Result<Agent, Error> {
        if options.len() > OPTIONS_MAX {
            return Err(Error::Setting {
                name: "fence options",
                reason: format!("more than {OPTIONS_MAX}"),
            });
        }
        let wordy = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        for (name, value) in &options {
            let bad = name.is_empty()
                || name == "action"
                || !name.bytes().all(wordy)
                || value.contains(['\n', '\r', '\0']);
            if bad {
                return Err(Error::FenceOption { name: name.clone() });
            }
        }
        Ok(Agent {
            program: program.into(),
            options,
            limit,
        })
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs the agent and returns what it printed. A run that is dropped or takes too long is killed, with all that it
    /// started.
    ///
    /// # Errors
    /// [`Error::FenceStart`], [`Error::FenceTimedOut`], [`Error::FenceFailed`]: the machine may be on, and nothing
    /// may be claimed on the strength of it.
    pub async fn run(&self, action: Action) -> Result<String, Error> {
        let start = |error| Error::FenceStart {
            program: self.program.clone(),
            error,
        };
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let mut group = Group(child.id());
        let Ok(done) = timeout(self.limit, talk(&mut child, &mut group, self.lines(action))).await
        else {
            // The group goes with its value.
            return Err(Error::FenceTimedOut {
                program: self.program.clone(),
                within: self.limit,
            });
        };
        let (status, output) = done.map_err(start)?;
        if status.success() {
            return Ok(output);
        }
        Err(Error::FenceFailed {
            program: self.program.clone(),
            status: status.code(),
            output,
        })
    }

    fn lines(&self, action: Action) -> String {
        let mut lines = format!("action={}\n", action.word());
        for (name, value) in &self.options {
            lines.push_str(&format!("{name}={value}\n"));
        }
        lines
    }
}

/// A group of processes that is killed with this value, while its first one has not been waited for: until then the
/// number is its own.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It may have ended in this moment.
            let _ = killpg(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Tells the agent what to do and waits for its end.
async fn talk(
    child: &mut Child,
    group: &mut Group,
    lines: String,
) -> Result<(ExitStatus, String), std::io::Error> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let say = async {
        if let Some(mut stdin) = stdin {
            // An agent that does not listen says so by its exit status.
            let _ = stdin.write_all(lines.as_bytes()).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let mut hear = std::pin::pin!(async {
            tokio::join!(say, keep(stdout, &mut out), keep(stderr, &mut err))
        });
        let mut heard = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = &mut hear, if !heard => heard = true,
            }
        };
        group.0 = None;
        if !heard {
            let _ = timeout(PIPE_END, hear).await;
        }
        status
    };
    out.extend_from_slice(&err);
    let text = String::from_utf8_lossy(&out).trim().to_owned();
    Ok((status, text))
}

/// Reads a stream to its end and keeps the beginning.
async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
}
