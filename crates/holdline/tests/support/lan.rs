//! Two edges, three etcds and a host with phones on one switch, each in a network namespace, and the faults that befall them.

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::Value;

use super::hosts::{Host, not_tested};
use super::node::{DOMAIN, password_of, run};
use super::pair::signal_to;
use super::{Ending, ask, holdline, text, wait_until};

/// The address of the service.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
/// The port of SIP.
pub(crate) const SIP: u16 = 5060;
/// How many members etcd has.
const ETCDS: usize = 3;

/// What befalls the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node's process is killed.
    Process,
    /// All its processes are killed, and its link goes down.
    Node,
    /// All its processes stand still.
    Frozen,
    /// It does not reach the other edge.
    CutPeers,
    /// It does not reach etcd.
    CutCoordinator,
    /// It reaches neither.
    CutBoth,
}

/// The hosts and what runs on them.
pub(crate) struct Lan {
    folder: tempfile::TempDir,
    _switch: Host,
    pub(crate) edges: [Host; 2],
    pub(crate) phones: Host,
    _etcds: Vec<Host>,
    etcd_processes: Vec<Ending>,
    nodes: [Option<Ending>; 2],
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number as u8)
}

impl Lan {
    /// Builds it and starts everything; where the machine does not let that happen, says so and gives none.
    pub(crate) fn build(edge: &str, users: &[&str]) -> Option<Lan> {
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
        match Lan::wire() {
            Ok(mut lan) => {
                lan.start_etcd();
                lan.start_nodes(edge, users);
                Some(lan)
            }
            Err(reason) => {
                not_tested(&reason);
                None
            }
        }
    }

    fn wire() -> Result<Lan, String> {
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
        Ok(Lan {
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
            _switch: switch,
            edges,
            phones,
            _etcds: etcds,
            etcd_processes: Vec::new(),
            nodes: [None, None],
        })
    }

    fn start_etcd(&mut self) {
        let peers: Vec<String> = (0..ETCDS)
            .map(|number| format!("e{number}=http://{}:2380", address(11 + number)))
            .collect();
        for (number, host) in self._etcds.iter().enumerate() {
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

    fn start_nodes(&mut self, edge: &str, users: &[&str]) {
        let done = |arguments: &[&str]| {
            let output = ask(self.folder.path(), arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        };
        done(&["certs", "init", "ca", "--cluster", "lab"]);
        for number in 0..2 {
            let name = name(number);
            done(&["certs", "node", &name, "--ca", "ca"]);
            fs::create_dir(self.path(number)).expect("made");
            fs::write(
                self.path(number).join("holdline.toml"),
                config(number, edge),
            )
            .expect("written");
        }
        self.begin(0);
        wait_until("an owner", || self.owner());
        let lines: String = users
            .iter()
            .map(|user| format!("{user}@{DOMAIN},{}\n", password_of(user)))
            .collect();
        fs::write(self.path(0).join("users"), lines).expect("written");
        let output = self.ask(0, &["user", "import", "users"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        wait_until("the users", || {
            let status = self.status(0)?;
            (status["users"].as_u64()? == users.len() as u64).then_some(())
        });
        self.begin(1);
        self.is_in_sync();
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

    fn each(&self, number: usize, signal: &str) {
        // The watcher first, lest it sees the other's end.
        if let Some((watcher, node)) = self.processes(number) {
            signal_to(watcher, signal);
            if let Some(node) = node {
                signal_to(node, signal);
            }
        }
    }

    /// Lets a fault befall a node.
    pub(crate) fn strike(&mut self, number: usize, fault: Fault) {
        let etcds: Vec<String> = (0..ETCDS).map(|at| address(11 + at).to_string()).collect();
        let other = address(2 - number).to_string();
        match fault {
            Fault::Process => {
                let (_, node) = self.processes(number).expect("it runs");
                signal_to(node.expect("it runs"), "KILL");
            }
            Fault::Node => {
                self.each(number, "STOP");
                self.edges[number]
                    .ip("link set eth0 down\n")
                    .expect("root may");
                self.each(number, "KILL");
                self.nodes[number] = None;
            }
            Fault::Frozen => self.each(number, "STOP"),
            Fault::CutPeers => self.cut(number, &[other]),
            Fault::CutCoordinator => self.cut(number, &etcds),
            Fault::CutBoth => {
                let mut all = etcds;
                all.push(other);
                self.cut(number, &all);
            }
        }
    }

    fn cut(&self, number: usize, from: &[String]) {
        let from = from.join(", ");
        let rules = format!(
            "table ip cut {{\n chain in {{ type filter hook input priority 0; ip saddr {{ {from} }} drop; }}\n\
             chain out {{ type filter hook output priority 0; ip daddr {{ {from} }} drop; }}\n}}\n"
        );
        self.edges[number]
            .feed("nft", &["-f", "-"], &rules)
            .expect("root may");
    }

    /// Undoes a fault, and waits until both are in sync.
    pub(crate) fn heal(&mut self, number: usize, fault: Fault) {
        match fault {
            Fault::Process => {}
            Fault::Node => {
                self.edges[number]
                    .ip("link set eth0 up\n")
                    .expect("root may");
                self.begin(number);
            }
            Fault::Frozen => self.each(number, "CONT"),
            Fault::CutPeers | Fault::CutCoordinator | Fault::CutBoth => {
                self.edges[number]
                    .run("nft", &["delete", "table", "ip", "cut"])
                    .expect("root may");
            }
        }
        self.is_in_sync();
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for number in 0..2 {
            self.each(number, "KILL");
        }
    }
}

fn name(number: usize) -> String {
    format!("edge{}", number + 1)
}

fn config(number: usize, edge: &str) -> String {
    let (name, own) = (name(number), address(number + 1));
    let endpoints: Vec<String> = (0..ETCDS)
        .map(|at| format!("http://{}:2379", address(11 + at)))
        .collect();
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n\
         [edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{SIP}\"]\n{edge}\n\
         [edge.sources]\nallow = [\"10.0.0.0/8\"]\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"{own}:7400\"\ncertificates = \"../ca/{name}\"\n\
         coordinator = {{ kind = \"etcd\", endpoints = {endpoints:?} }}\n\
         [[service]]\nname = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"{SERVICE}\"\n\
         mover = {{ kind = \"netlink\", interface = \"eth0\" }}\n"
    )
}

/// Notes when packets left a host from the service's address, by the kernel's time.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Looks at all that leaves a host.
    pub(crate) fn of(host: &Host) -> Witness {
        Witness::at(host, SERVICE)
    }

    /// The same for the address of another service.
    pub(crate) fn at(host: &Host, service: Ipv4Addr) -> Witness {
        let socket: OwnedFd = host.within(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .expect("root may");
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))
                .expect("an option");
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("an option");
            setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).expect("an option");
            socket
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (notes, end) = (seen.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                if let Some(at) = look(&socket, service, &mut bytes) {
                    notes.lock().expect("no panic").push(at);
                }
            }
        });
        Witness {
            seen,
            is_over,
            thread: Some(thread),
        }
    }

    /// When packets left, since 1970.
    pub(crate) fn seen(&self) -> Vec<Duration> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When the next packet from a service's address left, if it is one.
fn look(socket: &OwnedFd, service: Ipv4Addr, bytes: &mut [u8]) -> Option<Duration> {
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let (source, at) = {
        let mut parts = [IoSliceMut::new(bytes)];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .ok()?;
        let at = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        })?;
        (message.bytes, at)
    };
    let is_from_service = source >= 20 && bytes[0] >> 4 == 4 && bytes[12..16] == service.octets();
    is_from_service.then_some(at)
}
