//! A host: a network namespace that has no name, or, on loopback, this machine.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::Error;
use crate::cage::path;

/// The nice value of what goes before others: as that of threads with sound.
const FIRST: &str = "-10";

/// A host.
#[derive(Debug)]
pub struct Host {
    /// None is the namespace that the laboratory itself is in.
    namespace: Option<File>,
}

impl Host {
    /// A new one, with loopback only.
    ///
    /// # Errors
    /// [`Error::Rights`], or loopback cannot be set up.
    pub fn new() -> Result<Host, Error> {
        let rights = |what: String| Error::Rights { what };
        let made = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| rights(format!("unshare: {error}")))?;
            File::open("/proc/thread-self/ns/net")
                .map_err(|error| rights(format!("/proc: {error}")))
        });
        let namespace = made.join().expect("it does not panic")?;
        let host = Host {
            namespace: Some(namespace),
        };
        host.run("ip", &["link", "set", "lo", "up"], "")?;
        Ok(host)
    }

    /// The one that the laboratory is on itself.
    pub fn own() -> Host {
        Host { namespace: None }
    }

    /// Does something at this host: sockets and processes that are opened by it are the host's.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(namespace) = &self.namespace else {
            return work();
        };
        let done = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("it is open and of this kind");
                work()
            });
            worker.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program of the system to its end; gives what it printed.
    ///
    /// # Errors
    /// It could not be started, or failed.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
        let failed = |what: String| Error::Program {
            command: format!("{program} {}", arguments.join(" ")),
            what,
        };
        self.within(|| {
            let mut command = Command::new(program);
            command.env("PATH", path()).args(arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let started = command.stderr(Stdio::piped()).spawn();
            let mut child = started.map_err(|error| failed(error.to_string()))?;
            if let Some(mut stdin) = child.stdin.take() {
                // What it does not read, it says by its status.
                let _ = stdin.write_all(input.as_bytes());
            }
            let output = child.wait_with_output();
            let output = output.map_err(|error| failed(error.to_string()))?;
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
            }
        })
    }

    /// Several commands of ip(8).
    ///
    /// # Errors
    /// One of them failed.
    pub fn ip(&self, lines: &str) -> Result<(), Error> {
        self.run("ip", &["-batch", "-"], lines).map(drop)
    }

    /// As [`Host::start`], for what a machine of its own has in the world outside, and here shares the processors with what is tried: it goes before
    /// others, where the system lets it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_first(
        &self,
        program: &Path,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Child, Error> {
        let program = program.display().to_string();
        let mut all = vec!["-n", FIRST, &program];
        all.extend(arguments);
        self.start(Path::new("nice"), &all, folder)
    }

    /// Starts a program in a folder, whose words go to the file `log` there.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&self, program: &Path, arguments: &[&str], folder: &Path) -> Result<Child, Error> {
        let log = folder.join("log");
        let failed = |error: std::io::Error| Error::Program {
            command: program.display().to_string(),
            what: error.to_string(),
        };
        self.within(|| {
            let opened = File::options().create(true).append(true).open(&log);
            let output = opened.map_err(failed)?;
            let errors = output.try_clone().map_err(failed)?;
            let mut command = Command::new(program);
            command.args(arguments).current_dir(folder);
            command.env("PATH", path()).env_remove("NOTIFY_SOCKET");
            command.env_remove("HOLDLINE_TOKEN");
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            command.spawn().map_err(failed)
        })
    }

    /// Has a program of the system wait for what it reads, so that only [`Waiting::go`] is left to be done when it matters.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) fn prepare(
        &self,
        program: &str,
        arguments: &[&str],
        input: String,
    ) -> Result<Waiting, Error> {
        let name = format!("{program} {}", arguments.join(" "));
        let started = self.within(|| {
            let mut command = Command::new(program);
            command.env("PATH", path()).args(arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command.stderr(Stdio::piped()).spawn()
        });
        match started {
            Ok(child) => Ok(Waiting { name, child, input }),
            Err(error) => Err(Error::Program {
                command: name,
                what: error.to_string(),
            }),
        }
    }

    /// What a program opens to reach this host's namespace.
    pub(crate) fn path(&self) -> String {
        let file = self.namespace.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{file}", std::process::id())
    }
}

/// A program that waits for what it reads.
#[derive(Debug)]
pub(crate) struct Waiting {
    name: String,
    child: Child,
    input: String,
}

impl Waiting {
    /// Gives it what it waits for, and waits for its end.
    pub(crate) fn go(mut self) -> Result<(), Error> {
        if let Some(mut stdin) = self.child.stdin.take() {
            // What it does not read, it says by its status.
            let _ = stdin.write_all(self.input.as_bytes());
        }
        let failed = |what: String| Error::Program {
            command: self.name.clone(),
            what,
        };
        let output = self.child.wait_with_output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }
}
