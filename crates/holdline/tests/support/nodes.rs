//! The nodes of a cluster: in folders beside each other, with certificates of one authority, each with the process that watches it, on
//! this machine or each at a host of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::hosts::Host;
use super::node::{DOMAIN, password_of, run};
use super::{Ending, PATIENCE, ask, holdline, text, wait_until};

/// The service that most clusters of tests have.
const EDGE: &str = "edge";

/// Sends a signal to a process.
pub(crate) fn signal_to(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    assert!(sent.expect("kill is there").success());
}

/// The nodes, by their numbers.
pub(crate) struct Nodes {
    folder: tempfile::TempDir,
    names: Vec<&'static str>,
    /// None where all are on this machine.
    hosts: Vec<Host>,
    processes: Vec<Option<Ending>>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for number in 0..self.names.len() {
            self.kill(number);
        }
    }
}

impl Nodes {
    /// Writes the files of all and starts none; `config` gives a node's by its name.
    pub(crate) fn prepare(
        names: &[&'static str],
        hosts: Vec<Host>,
        config: impl Fn(&str) -> String,
    ) -> Nodes {
        let folder = tempfile::tempdir().expect("a folder");
        let done = |arguments: &[&str]| {
            let output = ask(folder.path(), arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        };
        done(&["certs", "init", "ca", "--cluster", "lab"]);
        for name in names {
            done(&["certs", "node", name, "--ca", "ca"]);
            let own = folder.path().join(name);
            fs::create_dir(&own).expect("made");
            fs::write(own.join("holdline.toml"), config(name)).expect("written");
        }
        Nodes {
            folder,
            names: names.to_vec(),
            hosts,
            processes: names.iter().map(|_| None).collect(),
        }
    }

    /// Starts the first, adds users, starts the other ones, and waits until all are in sync.
    pub(crate) fn launch(&mut self, users: &[&str]) {
        self.begin(0);
        wait_until("an owner", || self.owner());
        if !users.is_empty() {
            self.add_users(users);
        }
        for number in 1..self.names.len() {
            self.begin(number);
        }
        self.is_in_sync();
    }

    /// Adds users by the first node, and waits until it knows them.
    pub(crate) fn add_users(&self, users: &[&str]) {
        let lines: String = users
            .iter()
            .map(|user| format!("{user}@{DOMAIN},{}\n", password_of(user)))
            .collect();
        fs::write(self.path(0).join("users"), lines).expect("written");
        self.verb(0, &["user", "import", "users"]);
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

    /// What all have in common.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a node.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(self.names[number])
    }

    /// The host of a node that has one.
    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Does something where a node is.
    fn at<T: Send>(&self, number: usize, work: impl FnOnce() -> T + Send) -> T {
        match self.hosts.get(number) {
            Some(host) => host.within(work),
            None => work(),
        }
    }

    /// Starts a node.
    pub(crate) fn begin(&mut self, number: usize) {
        let path = self.path(number);
        let started = self.at(number, || run(&path));
        self.processes[number] = Some(Ending(started));
    }

    /// Starts a node of this machine by a command of the test's, in its folder.
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

    fn watcher(&self, number: usize) -> Option<u32> {
        Some(self.processes[number].as_ref()?.0.id())
    }

    /// The node's process, which another one watches, if there is one at the moment.
    fn watched(&self, number: usize) -> Option<u32> {
        let watcher = self.watcher(number)?;
        let path = format!("/proc/{watcher}/task/{watcher}/children");
        let children = fs::read_to_string(path).ok()?;
        children.split(' ').next()?.parse().ok()
    }

    /// The node's process.
    pub(crate) fn node(&self, number: usize) -> u32 {
        wait_until("the node's process", || self.watched(number))
    }

    /// Kills the node's process; the one that watches it lives.
    pub(crate) fn kill_process(&self, number: usize) {
        signal_to(self.node(number), "KILL");
    }

    /// Kills the process that watches a node, and no more.
    pub(crate) fn kill_watcher(&mut self, number: usize) {
        self.processes[number] = None;
    }

    /// Stops both processes of a node, so that nobody but the clock may end its time.
    pub(crate) fn freeze(&self, number: usize) {
        // The one that watches first, lest it sees the other's end.
        signal_to(self.watcher(number).expect("it runs"), "STOP");
        signal_to(self.node(number), "STOP");
    }

    /// Lets both go on.
    pub(crate) fn thaw(&self, number: usize) {
        signal_to(self.node(number), "CONT");
        signal_to(self.watcher(number).expect("it runs"), "CONT");
    }

    /// Asks a node to end, as an init system does it.
    pub(crate) fn terminate(&self, number: usize) {
        signal_to(self.watcher(number).expect("it runs"), "TERM");
    }

    /// Kills both processes of a node, as a power cut does it.
    pub(crate) fn kill(&mut self, number: usize) {
        let Some(watcher) = self.watcher(number) else {
            return;
        };
        signal_to(watcher, "STOP");
        if let Some(node) = self.watched(number) {
            signal_to(node, "KILL");
        }
        self.processes[number] = None;
    }

    /// What a node prints when it is asked a verb.
    pub(crate) fn ask(&self, number: usize, arguments: &[&str]) -> Output {
        let path = self.path(number);
        self.at(number, || {
            holdline(&path, arguments)
                .output()
                .expect("the program is built")
        })
    }

    /// A verb, asked of a node.
    pub(crate) fn verb(&self, number: usize, arguments: &[&str]) {
        let output = self.ask(number, arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// The items that `holdline registrations` or `calls` prints on a node.
    pub(crate) fn items(&self, number: usize, verb: &str) -> Vec<Value> {
        let output = self.ask(number, &[verb, "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer["items"].as_array().expect("a list").clone()
    }

    /// What a node says of itself, if it answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        self.processes[number].as_ref()?;
        serde_json::from_slice(&self.ask(number, &["status", "--json"]).stdout).ok()
    }

    /// What a node says of a service.
    pub(crate) fn service_of(&self, number: usize, name: &str) -> Option<Value> {
        let status = self.status(number)?;
        let services = status["cluster"]["services"].as_array()?;
        let found = services.iter().find(|service| service["name"] == name);
        found.cloned()
    }

    /// What a node says of the service `edge`.
    pub(crate) fn service(&self, number: usize) -> Option<Value> {
        self.service_of(number, EDGE)
    }

    /// Whether a node owns a service, by its own word.
    fn owns(&self, number: usize, name: &str) -> bool {
        let service = self.service_of(number, name);
        service.is_some_and(|service| service["phase"] == "owner")
    }

    /// The node that owns a service, by its own word.
    pub(crate) fn owner_of(&self, name: &str) -> Option<usize> {
        (0..self.names.len()).find(|number| self.owns(*number, name))
    }

    /// The node that owns the service `edge`.
    pub(crate) fn owner(&self) -> Option<usize> {
        self.owner_of(EDGE)
    }

    /// Waits until a node owns a service; gives how long that took.
    pub(crate) fn comes_to(&self, name: &str, number: usize) -> Duration {
        let begun = Instant::now();
        // No other node is asked: one that stands still would not answer for long.
        self.waits(name, || self.owns(number, name).then_some(()));
        begun.elapsed()
    }

    /// Waits until a node owns the service `edge`; gives how long that took.
    pub(crate) fn is_owned_by(&self, number: usize) -> Duration {
        self.comes_to(EDGE, number)
    }

    /// Waits until a service's owner, which this gives, says that another member is in sync.
    pub(crate) fn has_standby(&self, name: &str) -> usize {
        self.waits(name, || {
            let owner = self.owner_of(name)?;
            let service = self.service_of(owner, name)?;
            (service["in_sync"].as_array()?.len() == 2).then_some(owner)
        })
    }

    /// Waits until the owner of the service `edge` says that the other is in sync.
    pub(crate) fn is_in_sync(&self) {
        self.has_standby(EDGE);
    }

    /// Waits for something of a service; in vain, it shows what the nodes logged.
    fn waits<T>(&self, service: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let logs = || {
                let logs = (0..self.names.len()).map(|number| self.log(number));
                logs.collect::<Vec<_>>().join("\n")
            };
            assert!(
                Instant::now() < deadline,
                "{service} has no owner, or no standby:\n{}",
                logs()
            );
            std::thread::sleep(Duration::from_millis(20));
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
}
