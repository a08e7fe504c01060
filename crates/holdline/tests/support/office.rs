//! A node with an edge and a PBX, users, and a dialplan.

use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use super::{Node, free_port, wait_until};

/// The users of every office, with the extensions 101 to 105.
pub(crate) const USERS: [&str; 5] = ["ann", "ben", "cat", "dan", "eve"];

/// The extensions of [`USERS`].
pub(crate) const EXTENSIONS: &str = "
[[pbx.extension]]
number = \"101\"
name = \"Ann\"
phones = [\"ann\"]
group = \"sales\"
mailbox = \"101\"

[[pbx.extension]]
number = \"102\"
phones = [\"ben\"]
group = \"sales\"
ring_s = 3
mailbox = \"101\"

[[pbx.extension]]
number = \"103\"
phones = [\"cat\"]

[[pbx.extension]]
number = \"104\"
phones = [\"dan\"]

[[pbx.extension]]
number = \"105\"
phones = [\"eve\"]

[[pbx.mailbox]]
number = \"101\"
pin = \"4711\"
message_min_s = 1
";

/// A node in which the edge sends every call through the PBX.
pub(crate) struct Office {
    pub(crate) node: Node,
    /// The PBX's own address.
    pub(crate) address: IpAddr,
}

/// An address of loopback that no other node has.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let (number, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let part = |bits: u32| (number >> bits & 255) as u8;
    IpAddr::from([127, 128 + part(8) % 64, part(0), (next % 250 + 1) as u8])
}

/// All files below a folder.
pub(crate) fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
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

/// The records of calls that a node with `cdr_file = "cdr.jsonl"` wrote in its folder.
pub(crate) fn records_in(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("cdr.jsonl")).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("JSON")).collect()
}

/// The records of calls in a store.
pub(crate) fn rows_in(database: &Path) -> Vec<store::CdrRow> {
    let url = format!("sqlite://{}", database.display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let store = store::Store::open(&url, store::StoreOptions::default())
            .await
            .expect("it opens");
        let mut rows = Vec::new();
        let mut note = |row: store::CdrRow| {
            rows.push(row);
            ControlFlow::Continue(())
        };
        store.cdrs(i64::MAX, &mut note).await.expect("readable");
        rows
    })
}

/// The Call-ID of who called, of each record.
pub(crate) fn call_ids(rows: &[store::CdrRow]) -> Vec<String> {
    let first = |row: &store::CdrRow| {
        let detail: Value = serde_json::from_str(&row.detail).expect("JSON");
        let id = detail["legs"][0]["call_id"].as_str();
        id.expect("a leg").to_owned()
    };
    rows.iter().map(first).collect()
}

impl Office {
    /// Starts one with these keys of `[pbx]` and this dialplan.
    pub(crate) fn start(keys: &str, plan: &str) -> Office {
        Office::start_edge("", keys, plan)
    }

    /// As [`Office::start`], with more of `[edge]`.
    pub(crate) fn start_edge(edge: &str, keys: &str, plan: &str) -> Office {
        let address = own_address();
        let port = free_port();
        let more = format!(
            "[[edge.pool]]\nname = \"pbx\"\nprobe = {{ timeout_ms = 2000 }}\ntargets = [{{ uri = \"sip:{address}:{port}\" }}]\nslow_start_s = 0\n\
             [[edge.route]]\nuser = \"*\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\npool = \"pbx\"\n\
             [edge.failover]\nreply_timeout_ms = 5000\n\
             [pbx]\nlisten = \"{address}:{port}\"\nrtp_ports = [20000, 20399]\nmedia_threads = 1\ncdr_file = \"cdr.jsonl\"\n\
             {keys}\n{EXTENSIONS}\n{plan}\n"
        );
        let node = Node::with_users(edge, &more, &USERS);
        node.wait_for(|node| {
            super::pools::states(node)
                .iter()
                .all(|(_, state)| state == "up")
        });
        Office { node, address }
    }

    /// What the media store holds below a folder, by names that do not begin with a dot.
    pub(crate) fn stored(&self, under: &str) -> Vec<PathBuf> {
        files_below(self.node.path().join("data/media").join(under))
    }

    /// The records of calls, as JSON lines.
    pub(crate) fn records(&self) -> Vec<Value> {
        records_in(self.node.path())
    }

    /// Waits until so many calls have their records, gives them, and asserts that nothing is left of any call.
    pub(crate) fn is_over(&self, calls: usize) -> Vec<Value> {
        self.is_idle();
        wait_until("the records of calls", || {
            (self.records().len() >= calls).then_some(())
        });
        let records = self.records();
        assert_eq!(records.len(), calls, "{records:#?}");
        records
    }

    /// Waits until no call, no leg and no port is in use.
    pub(crate) fn is_idle(&self) {
        self.node.wait_for(|node| {
            node.metric("holdline_pbx_legs") == 0.0
                && node.metric("holdline_pbx_ports_in_use") == 0.0
                && node.metric("holdline_calls") == 0.0
        });
    }

    /// Changes the file, and has it read anew.
    pub(crate) fn edits(&self, from: &str, to: &str) {
        let file = self.node.path().join("holdline.toml");
        let text = fs::read_to_string(&file).expect("readable");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&file, text.replace(from, to)).expect("written");
    }
}
