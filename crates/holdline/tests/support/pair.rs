//! Two nodes of a cluster on this machine: one address, one file as coordinator, one store.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::{DOMAIN, password_of, run};
use super::{Ending, PATIENCE, ask, free_port, signal, text, wait_until};

/// Sends a signal to a process.
pub(crate) fn signal_to(process: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    assert!(sent.expect("kill is there").success());
}

/// Two nodes, `edge1` and `edge2`, of which one owns the service `edge`.
pub(crate) struct Pair {
    folder: tempfile::TempDir,
    processes: [Option<Ending>; 2],
    /// The port of SIP.
    pub(crate) sip: u16,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for number in 0..2 {
            if self.processes[number].is_some() {
                self.kill(number);
            }
        }
    }
}

impl Pair {
    /// Starts both with these users and waits until both are in sync; `edge` is within `[edge]`.
    pub(crate) fn start(edge: &str, users: &[&str]) -> Pair {
        let mut pair = Pair::prepare(edge);
        pair.launch(users);
        pair
    }

    /// Writes the files of both and starts neither.
    pub(crate) fn prepare(edge: &str) -> Pair {
        let folder = tempfile::tempdir().expect("a folder");
        let sip = free_port();
        let done = |arguments: &[&str]| {
            let output = ask(folder.path(), arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        };
        done(&["certs", "init", "ca", "--cluster", "lab"]);
        for number in 0..2 {
            let name = name(number);
            done(&["certs", "node", &name, "--ca", "ca"]);
            fs::create_dir(folder.path().join(&name)).expect("made");
            let config = config(&name, sip, edge);
            fs::write(folder.path().join(&name).join("holdline.toml"), config).expect("written");
        }
        Pair {
            folder,
            processes: [None, None],
            sip,
        }
    }

    /// Starts both, adds users, and waits until both are in sync.
    pub(crate) fn launch(&mut self, users: &[&str]) {
        self.begin(0);
        wait_until("an owner", || self.owner());
        if !users.is_empty() {
            self.add_users(users);
        }
        self.begin(1);
        self.is_in_sync();
    }

    pub(crate) fn add_users(&self, users: &[&str]) {
        let lines: String = users
            .iter()
            .map(|user| format!("{user}@{DOMAIN},{}\n", password_of(user)))
            .collect();
        fs::write(self.path(0).join("users"), lines).expect("written");
        let output = ask(&self.path(0), &["user", "import", "users"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        wait_until("the users", || {
            (self.status(0)?["users"].as_u64()? == users.len() as u64).then_some(())
        });
    }

    /// Changes a node's configuration, for its next start.
    pub(crate) fn edit(&self, number: usize, change: impl FnOnce(String) -> String) {
        let path = self.path(number).join("holdline.toml");
        let config = fs::read_to_string(&path).expect("readable");
        fs::write(path, change(config)).expect("written");
    }

    /// What both have in common.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a node.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(name(number))
    }

    /// Where phones reach the service.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.sip))
    }

    /// Starts a node.
    pub(crate) fn begin(&mut self, number: usize) {
        self.processes[number] = Some(Ending(run(&self.path(number))));
    }

    /// Starts a node by a command of the test's, in its folder.
    pub(crate) fn begin_by(&mut self, number: usize, mut command: Command) {
        let path = self.path(number);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(path.join("log"))
            .expect("made");
        command.current_dir(path).stdin(Stdio::null()).stderr(log);
        command
            .env_remove("HOLDLINE_TOKEN")
            .env_remove("NOTIFY_SOCKET");
        self.processes[number] = Some(Ending(command.spawn().expect("it is there")));
    }

    /// The node's process, which another one watches.
    pub(crate) fn node(&self, number: usize) -> u32 {
        let watcher = self.processes[number].as_ref().expect("it runs").0.id();
        wait_until("the node's process", || {
            let path = format!("/proc/{watcher}/task/{watcher}/children");
            fs::read_to_string(path)
                .ok()?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
    }

    /// Kills the node's process; the one that watches it lives.
    pub(crate) fn kill_process(&self, number: usize) {
        signal_to(self.node(number), "KILL");
    }

    /// Kills the process that watches a node, and no more.
    pub(crate) fn kill_watcher(&mut self, number: usize) {
        let mut process = self.processes[number].take().expect("it runs");
        process.0.kill().expect("a child");
        process.0.wait().expect("a child");
    }

    /// Stops the node's process, so that nobody but the clock may end its time: the one that watches it is stopped too.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, "-STOP");
        signal_to(self.node(number), "STOP");
    }

    /// Lets both go on.
    pub(crate) fn thaw(&self, number: usize) {
        signal_to(self.node(number), "CONT");
        self.signal(number, "-CONT");
    }

    /// As a power cut does it.
    pub(crate) fn kill(&mut self, number: usize) {
        let node = self.node(number);
        self.signal(number, "-STOP");
        signal_to(node, "KILL");
        let mut process = self.processes[number].take().expect("it runs");
        process.0.kill().expect("a child");
        process.0.wait().expect("a child");
    }

    pub(crate) fn signal(&self, number: usize, what: &str) {
        signal(&self.processes[number].as_ref().expect("it runs").0, what);
    }

    /// What a node says of itself, if it answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        self.processes[number].as_ref()?;
        let output = ask(&self.path(number), &["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What a node says of the service.
    pub(crate) fn service(&self, number: usize) -> Option<Value> {
        let status = self.status(number)?;
        Some(status["cluster"]["services"][0].clone())
    }

    /// The node that owns the service, by its own word.
    pub(crate) fn owner(&self) -> Option<usize> {
        (0..2).find(|&number| {
            self.service(number)
                .is_some_and(|service| service["phase"] == "owner")
        })
    }

    /// Waits until a node owns the service; gives how long it took.
    pub(crate) fn is_owned_by(&self, number: usize) -> Duration {
        let begun = Instant::now();
        while self.owner() != Some(number) {
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "no new owner:\n{}\n{}", self.log(0), self.log(1));
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    }

    /// Waits until the owner says that the other is in sync.
    pub(crate) fn is_in_sync(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let in_sync = self.owner().and_then(|owner| {
                let service = self.service(owner)?;
                Some(service["in_sync"].as_array()?.len())
            });
            if in_sync == Some(2) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in sync:\n{}\n{}",
                self.log(0),
                self.log(1)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(self.path(number).join("log")).unwrap_or_default()
    }

    /// Waits until a node has logged all of these words in one line.
    pub(crate) fn says(&self, number: usize, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        let said = |line: &str| words.iter().all(|words| line.contains(words));
        while !self.log(number).lines().any(said) {
            assert!(
                Instant::now() < deadline,
                "{words:?} was not said:\n{}",
                self.log(number)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A verb, asked of a node.
    pub(crate) fn verb(&self, number: usize, arguments: &[&str]) {
        let output = ask(&self.path(number), arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// The items that `holdline registrations` or `calls` prints on a node.
    pub(crate) fn items(&self, number: usize, verb: &str) -> Vec<Value> {
        let output = ask(&self.path(number), &[verb, "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer["items"].as_array().expect("a list").clone()
    }
}

fn name(number: usize) -> String {
    format!("edge{}", number + 1)
}

fn config(name: &str, sip: u16, edge: &str) -> String {
    let (admin, peer) = (free_port(), free_port());
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n\
         [edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{sip}\"]\n{edge}\n\
         [edge.sources]\nallow = [\"127.0.0.0/8\"]\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\ncertificates = \"../ca/{name}\"\n\
         coordinator = {{ kind = \"sqlite\", path = \"../cluster.db\" }}\n\
         [[service]]\nname = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"127.0.0.1\"\n\
         mover = {{ kind = \"none\" }}\n"
    )
}
