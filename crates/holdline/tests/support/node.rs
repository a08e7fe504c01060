//! A node in a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use serde_json::Value;

use super::{Ending, PATIENCE, ask, ask_json, free_port, holdline, signal, text};

/// The domain of all nodes.
pub(crate) const DOMAIN: &str = "example.org";

/// A node in a process of its own, killed when a test fails.
#[derive(Debug)]
pub(crate) struct Node {
    process: Ending,
    folder: tempfile::TempDir,
    /// The port of the admin API.
    pub(crate) admin: u16,
    /// The port of SIP, UDP and TCP.
    pub(crate) sip: u16,
}

impl Node {
    /// Starts one; `more` follows the key `listen` of `[admin]`.
    pub(crate) fn start(more: &str) -> Node {
        Node::start_edge("", more)
    }

    /// Starts one; `edge` is within `[edge]`, `more` follows the key `listen` of `[admin]`.
    pub(crate) fn start_edge(edge: &str, more: &str) -> Node {
        Node::start_on(&["127.0.0.1"], edge, more)
    }

    /// Starts one that listens on these addresses, UDP and TCP.
    pub(crate) fn start_on(addresses: &[&str], edge: &str, more: &str) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let (admin, sip) = (free_port(), free_port());
        let listen: Vec<_> = addresses
            .iter()
            .flat_map(|address| ["udp", "tcp"].map(|over| format!("{over}:{address}:{sip}")))
            .collect();
        // All phones of a test share an address, and some of them misbehave.
        let sources = match more.contains("[edge.sources]") {
            true => "",
            false => "[edge.sources]\nallow = [\"127.0.0.0/8\", \"::1\"]\n",
        };
        let config = format!(
            "[node]\nname = \"t\"\ndata = \"data\"\ndrain_timeout_s = 10\n\
             [edge]\ndomains = [\"{DOMAIN}\"]\n\
             listen = {listen:?}\n{edge}\n{sources}\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n{more}"
        );
        fs::write(folder.path().join("holdline.toml"), config).expect("written");
        let process = Ending(run(folder.path()));
        let node = Node {
            process,
            folder,
            admin,
            sip,
        };
        node.wait_for(|node| node.http("GET /healthz").0 == 200);
        node
    }

    /// Starts one that has users, each with [`password_of`] his name.
    pub(crate) fn with_users(edge: &str, more: &str, users: &[&str]) -> Node {
        let node = Node::start_edge(edge, more);
        node.add_users(users);
        node
    }

    pub(crate) fn add_users(&self, users: &[&str]) {
        let aor = |user: &str| format!("{user}@{DOMAIN}");
        let (last, others) = users.split_last().expect("a user");
        let lines: String = others
            .iter()
            .map(|user| format!("{},{}\n", aor(user), password_of(user)))
            .collect();
        fs::write(self.path().join("users"), lines).expect("written");
        let import = ["user", "import", "users"];
        // An import is known within seconds; a single user at once, and all others with him.
        let (last, password) = (aor(last), password_of(last));
        let add = ["user", "add", &last, "--password", &password];
        for verb in [&import[..], &add[..]] {
            let output = ask(self.path(), verb);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens for SIP.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.sip))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).expect("readable")
    }

    pub(crate) fn wait_for(&self, ready: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain; log:\n{}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Status and the whole answer; status 0 when nobody listens.
    pub(crate) fn http(&self, head: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.admin)) else {
            return (0, String::new());
        };
        let head = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("an option");
        let mut answer = String::new();
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer))
            .is_err()
        {
            return (0, answer);
        }
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.unwrap_or(0), answer)
    }

    /// A verb of the program that prints JSON.
    pub(crate) fn verb(&self, verb: &str) -> Value {
        ask_json(self.path(), &[verb, "--json"])
    }

    /// The items that `holdline registrations` or `calls` prints.
    pub(crate) fn items(&self, verb: &str) -> Vec<Value> {
        let answer = self.verb(verb);
        answer["items"].as_array().expect("a list").clone()
    }

    /// A number of `/metrics`: `name`, or `name{label="value"}`; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, answer) = self.http("GET /metrics");
        assert_eq!(status, 200, "{answer}");
        let row = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        row.map_or(0.0, |number| number.trim().parse().expect("a number"))
    }

    /// Everything that was dropped or refused.
    pub(crate) fn refused(&self) -> f64 {
        let (_, answer) = self.http("GET /metrics");
        let rows = answer
            .lines()
            .filter(|line| line.starts_with("holdline_refused_total{"));
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.process.0, name);
    }

    /// As a power cut does it.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("a child");
        self.process.0.wait().expect("a child");
    }

    /// Starts the process again, on the data of the former one.
    pub(crate) fn restart(&mut self) {
        self.process = Ending(run(self.folder.path()));
        self.wait_for(|node| node.http("GET /healthz").0 == 200);
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.0.try_wait().expect("a child").is_some()
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.0.try_wait().expect("a child") {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "does not end; log:\n{}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The password that [`Node::with_users`] gives.
pub(crate) fn password_of(user: &str) -> String {
    format!("secret-of-{user}")
}

/// Runs the program in a folder that has its configuration.
pub(crate) fn run(folder: &Path) -> Child {
    let errors = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("made");
    holdline(folder, &["run"])
        .stderr(errors)
        .spawn()
        .expect("built")
}
