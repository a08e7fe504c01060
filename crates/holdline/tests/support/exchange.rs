//! An edge and two nodes with PBXs on this machine: each PBX is a service that the other node is a member of too.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::{DOMAIN, password_of, run};
use super::office::own_address;
use super::pair::signal_to;
use super::{Codec, Ending, Talker, ask, free_port, text, wait_until};

/// The nodes: the edge first.
const NODES: [&str; 3] = ["edge1", "pbx1", "pbx2"];

/// The nodes and what they share.
pub(crate) struct Exchange {
    folder: tempfile::TempDir,
    processes: Vec<Ending>,
    sip: u16,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for number in 0..self.processes.len() {
            // Otherwise it would be started again.
            super::signal(&self.processes[number].0, "-STOP");
            if let Some(node) = self.process(number) {
                signal_to(node, "KILL");
            }
        }
    }
}

impl Exchange {
    /// Starts them with these users, whose extensions are 101 and so on, and this dialplan, and waits until all are in sync.
    pub(crate) fn start(users: &[&str], plan: &str) -> Exchange {
        let folder = tempfile::tempdir().expect("a folder");
        let done = |at: &Path, arguments: &[&str]| {
            let output = ask(at, arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        };
        done(folder.path(), &["certs", "init", "ca", "--cluster", "lab"]);
        let (sip, port) = (free_port(), free_port());
        let addresses = [own_address(), own_address()];
        let extensions: String = users
            .iter()
            .zip(101..)
            .map(|(user, number)| {
                format!("[[pbx.extension]]\nnumber = \"{number}\"\nphones = [\"{user}\"]\n")
            })
            .collect();
        for name in NODES {
            done(folder.path(), &["certs", "node", name, "--ca", "ca"]);
            fs::create_dir(folder.path().join(name)).expect("made");
            let role = match name {
                "edge1" => edge(sip),
                _ => format!(
                    "[pbx]\nedge = \"127.0.0.1:{sip}\"\ndomains = [\"{DOMAIN}\"]\nrtp_ports = [20000, 20199]\n\
                     media_threads = 1\nmedia_store = \"../media\"\ncdr_file = \"cdr.jsonl\"\n{extensions}\n{plan}\n"
                ),
            };
            let config = config(name, &role, addresses, port);
            fs::write(folder.path().join(name).join("holdline.toml"), config).expect("written");
        }
        let mut exchange = Exchange {
            folder,
            processes: Vec::new(),
            sip,
        };
        exchange.begin("edge1");
        wait_until("the edge", || exchange.status(0));
        let lines: String = users
            .iter()
            .map(|user| format!("{user}@{DOMAIN},{}\n", password_of(user)))
            .collect();
        fs::write(exchange.path(0).join("users"), lines).expect("written");
        done(&exchange.path(0), &["user", "import", "users"]);
        exchange.begin("pbx1");
        exchange.is_owned_by("pbx1", 1);
        exchange.begin("pbx2");
        wait_until("the users", || {
            (exchange.status(0)?["users"].as_u64()? == users.len() as u64).then_some(())
        });
        for service in ["pbx1", "pbx2"] {
            exchange.is_in_sync(service);
        }
        wait_until("the edge to see them", || {
            let status = exchange.status(0)?;
            let targets = status["pools"][0]["targets"].as_array()?.clone();
            targets
                .iter()
                .all(|target| target["state"] == "up")
                .then_some(())
        });
        exchange
    }

    fn begin(&mut self, name: &str) {
        let path = self.folder.path().join(name);
        self.processes.push(Ending(run(&path)));
    }

    /// The folder of a node: 0 is the edge.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(NODES[number])
    }

    /// A phone.
    pub(crate) fn phone(&self, user: &str) -> Talker {
        let edge = SocketAddr::from(([127, 0, 0, 1], self.sip));
        Talker::at(edge, user, &[Codec::Pcmu])
    }

    /// The process of a node, which another one watches.
    fn process(&self, number: usize) -> Option<u32> {
        let watcher = self.processes[number].0.id();
        let path = format!("/proc/{watcher}/task/{watcher}/children");
        let children = fs::read_to_string(path).ok()?;
        children.split(' ').next()?.parse().ok()
    }

    /// Kills the process of a node; the one that watches it lives.
    pub(crate) fn kill_process(&self, number: usize) {
        signal_to(self.process(number).expect("it runs"), "KILL");
    }

    /// What a node says of itself, if it answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        let output = ask(&self.path(number), &["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What a node says of a service.
    pub(crate) fn service(&self, number: usize, name: &str) -> Option<Value> {
        let status = self.status(number)?;
        let services = status["cluster"]["services"].as_array()?;
        let found = services.iter().find(|service| service["name"] == name);
        found.cloned()
    }

    /// Waits until a node says that it owns a service; gives how long that took.
    pub(crate) fn is_owned_by(&self, name: &str, number: usize) -> Duration {
        let begun = Instant::now();
        wait_until("the owner", || {
            (self.service(number, name)?["phase"] == "owner").then_some(())
        });
        begun.elapsed()
    }

    /// Waits until the owner of a service says that the other member is in sync.
    pub(crate) fn is_in_sync(&self, name: &str) {
        wait_until("the members in sync", || {
            (1..NODES.len()).find_map(|number| {
                let service = self.service(number, name)?;
                let in_sync = service["in_sync"].as_array()?.len();
                (service["phase"] == "owner" && in_sync == 2).then_some(())
            })
        });
    }

    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(self.path(number).join("log")).unwrap_or_default()
    }

    /// A verb, asked of a node.
    pub(crate) fn verb(&self, number: usize, arguments: &[&str]) {
        let output = ask(&self.path(number), arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// What the media store holds below a folder, by names that do not begin with a dot.
    pub(crate) fn stored(&self, under: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("media").join(under)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => found.push(path),
                }
            }
        }
        found.sort();
        found
    }

    /// The records of calls of both nodes, as JSON lines.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = |number| fs::read_to_string(self.path(number).join("cdr.jsonl"));
        let texts: String = [1, 2]
            .map(|number| text(number).unwrap_or_default())
            .concat();
        let lines = texts.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("JSON")).collect()
    }

    /// Legs of the PBXs of a node.
    pub(crate) fn legs(&self, number: usize) -> Option<u64> {
        self.status(number)?["pbx"]["legs"].as_u64()
    }
}

fn edge(sip: u16) -> String {
    let relay = own_address();
    format!(
        "[edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:127.0.0.1:{sip}\"]\nrtp_ports = [21000, 21199]\n\
         [edge.media]\npolicy = \"always\"\naddresses = [\"{relay}\"]\n\
         [edge.sources]\nallow = [\"127.0.0.0/8\"]\n\
         [[edge.pool]]\nname = \"pbx\"\npolicy = \"priority\"\nslow_start_s = 0\nprobe = {{ timeout_ms = 500 }}\n\
         targets = [{{ service = \"pbx1\" }}, {{ service = \"pbx2\" }}]\n\
         [[edge.route]]\nuser = \"*\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\npool = \"pbx\"\n\
         [edge.failover]\nreply_timeout_ms = 5000\n"
    )
}

fn config(name: &str, role: &str, addresses: [IpAddr; 2], port: u16) -> String {
    let (admin, peer) = (free_port(), free_port());
    let [one, two] = addresses;
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n{role}\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\ncertificates = \"../ca/{name}\"\nlease_ms = 1000\n\
         coordinator = {{ kind = \"sqlite\", path = \"../cluster.db\" }}\n\
         [[service]]\nname = \"pbx1\"\nrole = \"pbx\"\nmembers = [\"pbx1\", \"pbx2\"]\naddress = \"{one}\"\nport = {port}\n\
         mover = {{ kind = \"none\" }}\n\
         [[service]]\nname = \"pbx2\"\nrole = \"pbx\"\nmembers = [\"pbx2\", \"pbx1\"]\naddress = \"{two}\"\nport = {port}\n\
         mover = {{ kind = \"none\" }}\n"
    )
}
