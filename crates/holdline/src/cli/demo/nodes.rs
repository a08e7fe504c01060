//! The nodes' processes: started, killed, stopped and brought back.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Failure;
use super::layout::{Layout, NODES};

/// A node's process that watches the one which does the work.
#[derive(Debug, Default)]
struct Process {
    child: Option<Child>,
    /// Stopped by us, and not seen to have ended.
    frozen: Option<Pid>,
    is_drained: bool,
}

/// All of them; they end when this is dropped, and when this process does.
#[derive(Debug)]
pub(super) struct Nodes {
    layout: Layout,
    processes: [Process; NODES.len()],
}

impl Nodes {
    /// Writes the files of all nodes, certificates among them. Nothing runs yet.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn prepare(layout: &Layout) -> Result<Nodes, Failure> {
        let authority = layout.authority();
        let mut random = [0; net::peer::authority::SECRET_BYTES];
        File::open("/dev/urandom")
            .and_then(|mut source| io::Read::read_exact(&mut source, &mut random))
            .map_err(Failure::Input)?;
        if !authority.exists() {
            net::peer::authority::create(&authority, "demo", random)
                .map_err(Failure::Certificates)?;
        }
        for (node, name) in NODES.iter().enumerate() {
            let into = authority.join(name);
            if !into.exists() {
                net::peer::authority::issue(
                    &authority,
                    name,
                    net::peer::authority::NODE_DAYS,
                    &into,
                )
                .map_err(Failure::Certificates)?;
            }
            let folder = layout.own_folder(node);
            let file = folder.join("holdline.toml");
            let written = fs::create_dir_all(&folder)
                .and_then(|()| fs::write(&file, layout.config(node)))
                .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o600)));
            written.map_err(|error| Failure::File { path: file, error })?;
        }
        Ok(Nodes {
            layout: layout.clone(),
            processes: Default::default(),
        })
    }

    /// Starts a node, unless its process is there.
    ///
    /// # Errors
    /// The system starts no process.
    pub(super) fn start(&mut self, node: usize) -> Result<(), Failure> {
        if self.is_there(node) {
            return Ok(());
        }
        let folder = self.layout.own_folder(node);
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .map_err(Failure::Input)?;
        let program = std::env::current_exe().map_err(Failure::Input)?;
        let child = Command::new(program)
            .args(["run", "--ends-with-parent", "--config"])
            .arg(folder.join("holdline.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_remove("NOTIFY_SOCKET")
            // Ctrl-C is for the demo, which ends the calls first.
            .process_group(0)
            .spawn()
            .map_err(Failure::Input)?;
        self.processes[node] = Process {
            child: Some(child),
            ..Process::default()
        };
        Ok(())
    }

    /// Whether a node's process, or the one that watches it, is there.
    pub(super) fn is_there(&mut self, node: usize) -> bool {
        let process = &mut self.processes[node];
        let has_ended = match &mut process.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => return false,
        };
        if has_ended {
            *process = Process::default();
        }
        !has_ended
    }

    /// The process of the node itself: the one that is watched.
    pub(super) fn process(&self, node: usize) -> Option<Pid> {
        let watcher = self.processes[node].child.as_ref()?.id();
        // Whichever of its threads has started it.
        let tasks = fs::read_dir(format!("/proc/{watcher}/task")).ok()?;
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .find_map(|children| pid(children.split(' ').next()?.parse().ok()?))
    }

    /// Whether the process was stopped by us and is still there.
    pub(super) fn is_frozen(&mut self, node: usize) -> bool {
        let now = self.process(node);
        let process = &mut self.processes[node];
        // Who watches it may have killed it, and started another.
        process.frozen = process.frozen.filter(|frozen| Some(*frozen) == now);
        process.frozen.is_some()
    }

    /// Whether it was asked to leave its work to others.
    pub(super) fn is_drained(&self, node: usize) -> bool {
        self.processes[node].is_drained
    }

    /// Notes that it was asked to, or to take part again.
    pub(super) fn set_drained(&mut self, node: usize, is_drained: bool) {
        self.processes[node].is_drained = is_drained;
    }

    /// Kills the node's process. Who watches it sees that, and starts it again.
    pub(super) fn kill(&mut self, node: usize) -> bool {
        self.process(node)
            .is_some_and(|process| send(process, Signal::SIGKILL))
    }

    /// Kills the node's process and the one that watches it, as a power cut does.
    pub(super) fn cut(&mut self, node: usize) -> bool {
        let own = self.process(node);
        let Some(mut watcher) = self.processes[node].child.take() else {
            return false;
        };
        // So that it does not see what happens.
        if let Some(watcher) = pid(watcher.id()) {
            send(watcher, Signal::SIGSTOP);
        }
        let killed = own.is_some_and(|process| send(process, Signal::SIGKILL));
        // It is a child of ours that has not been waited for.
        let _ = watcher.kill();
        let _ = watcher.wait();
        self.processes[node] = Process::default();
        killed
    }

    /// Stops the node's process; who watches it kills it after a lease.
    pub(super) fn freeze(&mut self, node: usize) -> bool {
        let Some(process) = self.process(node) else {
            return false;
        };
        let is_stopped = send(process, Signal::SIGSTOP);
        self.processes[node].frozen = is_stopped.then_some(process);
        is_stopped
    }

    /// Lets it go on, if it is there.
    pub(super) fn thaw(&mut self, node: usize) -> bool {
        self.is_frozen(node);
        let frozen = self.processes[node].frozen.take();
        frozen.is_some_and(|process| send(process, Signal::SIGCONT))
    }

    /// The last lines that a node has logged.
    pub(super) fn log(&self, node: usize, lines: usize) -> Vec<String> {
        let log = fs::read_to_string(self.layout.own_folder(node).join("log"));
        let log = log.unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        let last = all.iter().skip(all.len().saturating_sub(lines));
        last.map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in 0..NODES.len() {
            self.cut(node);
        }
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .map(Pid::from_raw)
}

/// Whether there was such a process to send it to.
fn send(process: Pid, signal: Signal) -> bool {
    kill(process, signal).is_ok()
}
