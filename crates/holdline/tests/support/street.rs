//! Two edges that are not started yet, an etcd and a host with phones on one switch, each in a network namespace.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::hosts::{Host, not_tested};
use super::node::{DOMAIN, password_of, run};
use super::pair::signal_to;
use super::{Ending, PATIENCE, ask, holdline, text, wait_until};

/// The address of the service.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
/// The port of SIP.
pub(crate) const SIP: u16 = 5060;
/// How many members etcd has.
const ETCDS: usize = 1;

/// The hosts and what runs on them.
pub(crate) struct Street {
    folder: tempfile::TempDir,
    _switch: Host,
    pub(crate) edges: [Host; 2],
    pub(crate) phones: Host,
    etcds: Vec<Host>,
    etcd_processes: Vec<Ending>,
    nodes: [Option<Ending>; 2],
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number as u8)
}

impl Street {
    /// Builds it, starts etcd and writes the nodes' files; where the machine does not let that happen, says so and gives none.
    pub(crate) fn build() -> Option<Street> {
        for program in ["etcd", "ip", "nft"] {
            let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
            let found = folders
                .split(':')
                .any(|folder| fs::metadata(format!("{folder}/{program}")).is_ok());
            if !found {
                not_tested(&format!("{program} is missing"));
                return None;
            }
        }
        match Street::wire() {
            Ok(mut lan) => {
                lan.start_etcd();
                lan.write_files();
                Some(lan)
            }
            Err(reason) => {
                not_tested(&reason);
                None
            }
        }
    }

    fn wire() -> Result<Street, String> {
        let switch = Host::new()?;
        switch.ip("link add br0 type bridge\nlink set br0 up\n")?;
        let plug = |number: usize| -> Result<Host, String> {
            let host = Host::new()?;
            switch.ip(&format!(
                "link add p{number} type veth peer name eth0 netns {}\n\
                 link set p{number} master br0\nlink set p{number} up\n",
                host.path()
            ))?;
            host.ip(&format!(
                "addr add {}/24 dev eth0\nlink set eth0 up\n",
                address(number)
            ))?;
            Ok(host)
        };
        let edges = [plug(1)?, plug(2)?];
        let phones = plug(50)?;
        let etcds = (0..ETCDS)
            .map(|number| plug(11 + number))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Street {
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
            _switch: switch,
            edges,
            phones,
            etcds,
            etcd_processes: Vec::new(),
            nodes: [None, None],
        })
    }

    fn start_etcd(&mut self) {
        let peers: Vec<String> = (0..ETCDS)
            .map(|number| format!("e{number}=http://{}:2380", address(11 + number)))
            .collect();
        for (number, host) in self.etcds.iter().enumerate() {
            let own = address(11 + number);
            let data = self.folder.path().join(format!("etcd{number}"));
            let log =
                File::create(self.folder.path().join(format!("etcd{number}.log"))).expect("made");
            let child = host.within(|| {
                Command::new("etcd")
                    .arg("--name")
                    .arg(format!("e{number}"))
                    .arg("--data-dir")
                    .arg(&data)
                    .args(["--initial-cluster", &peers.join(",")])
                    .args([
                        "--initial-advertise-peer-urls",
                        &format!("http://{own}:2380"),
                    ])
                    .args(["--listen-peer-urls", &format!("http://{own}:2380")])
                    .args(["--advertise-client-urls", &format!("http://{own}:2379")])
                    .args(["--listen-client-urls", &format!("http://{own}:2379")])
                    .args(["--unsafe-no-fsync"])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn()
                    .expect("etcd is there")
            });
            self.etcd_processes.push(Ending(child));
        }
    }

    fn write_files(&self) {
        let done = |arguments: &[&str]| {
            let output = ask(self.folder.path(), arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        };
        done(&["certs", "init", "ca", "--cluster", "lab"]);
        for number in 0..2 {
            let name = name(number);
            done(&["certs", "node", &name, "--ca", "ca"]);
            fs::create_dir(self.path(number)).expect("made");
            fs::write(self.path(number).join("holdline.toml"), config(number)).expect("written");
        }
    }

    /// Changes a node's configuration, for its next start.
    pub(crate) fn edit(&self, number: usize, change: impl FnOnce(String) -> String) {
        let path = self.path(number).join("holdline.toml");
        let config = fs::read_to_string(&path).expect("readable");
        fs::write(path, change(config)).expect("written");
    }

    /// Adds users, by a node that runs.
    pub(crate) fn add_users(&self, number: usize, users: &[&str]) {
        let lines: String = users
            .iter()
            .map(|user| format!("{user}@{DOMAIN},{}\n", password_of(user)))
            .collect();
        fs::write(self.path(number).join("users"), lines).expect("written");
        self.verb(number, &["user", "import", "users"]);
        wait_until("the users", || {
            let status = self.status(number)?;
            (status["users"].as_u64()? == users.len() as u64).then_some(())
        });
    }

    /// A verb, asked of a node.
    pub(crate) fn verb(&self, number: usize, arguments: &[&str]) {
        let output = self.ask(number, arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Waits until a node owns the service.
    pub(crate) fn is_owned_by(&self, number: usize) {
        wait_until("the new owner", || {
            (self.owner() == Some(number)).then_some(())
        });
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

    /// The folder of a node.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(name(number))
    }

    /// Where phones reach the service.
    pub(crate) fn service(&self) -> SocketAddr {
        SocketAddr::from((SERVICE, SIP))
    }

    /// A socket of the phones' host.
    pub(crate) fn socket(&self) -> UdpSocket {
        self.phones
            .within(|| UdpSocket::bind((address(50), 0)).expect("a free port"))
    }

    /// Starts a node.
    pub(crate) fn begin(&mut self, number: usize) {
        let path = self.path(number);
        let child: Child = self.edges[number].within(|| run(&path));
        self.nodes[number] = Some(Ending(child));
    }

    fn ask(&self, number: usize, arguments: &[&str]) -> std::process::Output {
        let path = self.path(number);
        self.edges[number].within(|| holdline(&path, arguments).output().expect("built"))
    }

    /// What a node says of itself, if it answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        self.nodes[number].as_ref()?;
        serde_json::from_slice(&self.ask(number, &["status", "--json"]).stdout).ok()
    }

    /// What a node does about the service, if it answers.
    pub(crate) fn phase(&self, number: usize) -> Option<String> {
        let status = self.status(number)?;
        let phase = status["cluster"]["services"][0]["phase"].as_str()?;
        Some(phase.to_owned())
    }

    /// The node that owns the service, by its own word.
    pub(crate) fn owner(&self) -> Option<usize> {
        (0..2).find(|&number| {
            self.status(number)
                .is_some_and(|status| status["cluster"]["services"][0]["phase"] == "owner")
        })
    }

    /// Waits until the owner says that the other is in sync.
    pub(crate) fn is_in_sync(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let in_sync = self.owner().and_then(|owner| {
                let status = self.status(owner)?;
                Some(
                    status["cluster"]["services"][0]["in_sync"]
                        .as_array()?
                        .len(),
                )
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

    /// The process that watches a node's, and the node's.
    fn processes(&self, number: usize) -> Option<(u32, Option<u32>)> {
        let watcher = self.nodes[number].as_ref()?.0.id();
        let path = format!("/proc/{watcher}/task/{watcher}/children");
        let node = fs::read_to_string(path).ok()?;
        Some((
            watcher,
            node.split(' ').next().and_then(|id| id.parse().ok()),
        ))
    }

    /// Kills a node as a power cut does it, but for its link.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some((watcher, node)) = self.processes(number) {
            // The watcher first, lest it sees the other's end.
            signal_to(watcher, "STOP");
            if let Some(node) = node {
                signal_to(node, "KILL");
            }
            signal_to(watcher, "KILL");
        }
        self.nodes[number] = None;
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        for number in 0..2 {
            self.kill(number);
        }
    }
}

fn name(number: usize) -> String {
    format!("edge{}", number + 1)
}

fn config(number: usize) -> String {
    let (name, own) = (name(number), address(number + 1));
    let endpoints: Vec<String> = (0..ETCDS)
        .map(|at| format!("http://{}:2379", address(11 + at)))
        .collect();
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n\
         [edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{SIP}\"]\n\
         [edge.sources]\nallow = [\"10.0.0.0/8\"]\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"{own}:7400\"\ncertificates = \"../ca/{name}\"\n\
         coordinator = {{ kind = \"etcd\", endpoints = {endpoints:?} }}\n\
         [[service]]\nname = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"{SERVICE}\"\n\
         mover = {{ kind = \"netlink\", interface = \"eth0\" }}\n"
    )
}
