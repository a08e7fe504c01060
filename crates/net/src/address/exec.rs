//! A program of the operator's moves the address, as clouds need it.

use super::{AddressError, Exit, Progress};
use crate::clock::Boottime;
use crate::sys;
use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// As much of what the program says as is kept, in bytes; the rest is read and forgotten.
pub const OUTPUT_BYTES_MAX: usize = 4_096;

/// Most reads of its output in one look.
const READS_MAX: usize = 16;

/// Runs `PROGRAM ARGUMENTS add|remove ADDRESS INTERFACE` and watches it.
///
/// One runs at a time. What is asked meanwhile begins when it has ended, and of that only the last counts: after
/// `add`, `remove`, `add` nothing needs to be removed.
#[derive(Debug)]
pub struct ExecMover {
    program: PathBuf,
    arguments: Vec<OsString>,
    address: IpAddr,
    interface: String,
    timeout: Duration,
    running: Option<Running>,
    /// What is to begin when that has ended.
    next: Option<bool>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    adds: bool,
    ends_by: Boottime,
    pipe: PipeReader,
    output: Vec<u8>,
}

impl ExecMover {
    /// For `address` and `interface`, by `program` with `arguments` ahead of the three, which may take `timeout`.
    pub fn new(
        program: PathBuf,
        arguments: Vec<OsString>,
        address: IpAddr,
        interface: &str,
        timeout: Duration,
    ) -> ExecMover {
        ExecMover {
            program,
            arguments,
            address,
            interface: interface.to_owned(),
            timeout,
            running: None,
            next: None,
        }
    }

    pub(super) fn begin(&mut self, adds: bool, now: Boottime) -> Result<Progress, AddressError> {
        self.next = Some(adds);
        self.poll(now)
    }

    pub(super) fn poll(&mut self, now: Boottime) -> Result<Progress, AddressError> {
        if let Some(running) = &mut self.running {
            running.read();
            let ended = match running.child.try_wait() {
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(Exit::Status(status.code())),
                Ok(None) if now < running.ends_by => return Ok(Progress::UnderWay),
                Ok(None) => {
                    running.kill();
                    Err(Exit::TimedOut)
                }
                Err(error) => {
                    running.kill();
                    Err(Exit::NotRun(error))
                }
            };
            running.read();
            let (adds, output) = (running.adds, std::mem::take(&mut running.output));
            self.running = None;
            if let Err(exit) = ended {
                // What waits begins at the next look.
                return Err(self.failed(adds, exit, &output));
            }
        }
        match self.next.take() {
            Some(adds) => {
                let started = self.start(adds, now);
                self.running =
                    Some(started.map_err(|error| self.failed(adds, Exit::NotRun(error), &[]))?);
                Ok(Progress::UnderWay)
            }
            None => Ok(Progress::Done),
        }
    }

    fn start(&self, adds: bool, now: Boottime) -> io::Result<Running> {
        let (pipe, output) = io::pipe()?;
        sys::set_nonblocking(pipe.as_fd())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(action(adds));
        command.arg(self.address.to_string()).arg(&self.interface);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        // A group of its own, to be killed with all that it started.
        command.process_group(0);
        Ok(Running {
            child: command.spawn()?,
            adds,
            ends_by: now.after(self.timeout),
            pipe,
            output: Vec::new(),
        })
    }

    fn failed(&self, adds: bool, exit: Exit, output: &[u8]) -> AddressError {
        AddressError::Program {
            program: self.program.clone(),
            action: action(adds),
            exit,
            output: String::from_utf8_lossy(output).into_owned(),
        }
    }
}

impl Running {
    /// Takes what it has said.
    fn read(&mut self) {
        let mut room = [0; 4_096];
        for _ in 0..READS_MAX {
            // An empty pipe is an error here too; what matters is told by how the program ends.
            let Ok(length @ 1..) = self.pipe.read(&mut room) else {
                return;
            };
            let left = OUTPUT_BYTES_MAX - self.output.len();
            self.output.extend_from_slice(&room[..length.min(left)]);
        }
    }

    fn kill(&mut self) {
        // It may have ended just now.
        let _ = sys::kill_group(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

fn action(adds: bool) -> &'static str {
    if adds { "add" } else { "remove" }
}

#[cfg(test)]
mod tests;
