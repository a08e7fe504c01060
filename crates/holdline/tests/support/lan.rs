//! Two edges, etcds and a host with phones on one switch, each in a network namespace, and the faults that befall them.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::process::{Command, Stdio};

use super::Ending;
use super::hosts::{Host, has_programs, not_tested};
use super::node::DOMAIN;
use super::nodes::{Nodes, signal_to};

/// The address of the service.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
/// The port of SIP.
pub(crate) const SIP: u16 = 5060;
/// The nodes.
const NAMES: [&str; 2] = ["edge1", "edge2"];

/// What befalls a node.
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
    nodes: Nodes,
    etcd_processes: Vec<Ending>,
    etcds: Vec<Host>,
    _switch: Host,
    pub(crate) phones: Host,
}

impl Deref for Lan {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Lan {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

/// Where a host is, by its number.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number as u8)
}

/// Where an etcd is.
fn etcd(number: usize) -> Ipv4Addr {
    address(11 + number)
}

impl Lan {
    /// Where the phones are.
    pub(crate) const PHONES: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 50);

    /// Builds it with three etcds, starts everything and waits until both nodes are in sync; `edge` is within `[edge]`. Where the machine
    /// does not let that happen, says so and gives none.
    pub(crate) fn build(edge: &str, users: &[&str]) -> Option<Lan> {
        let mut lan = Lan::prepare(3, edge)?;
        lan.launch(users);
        Some(lan)
    }

    /// Builds it, starts so many etcds and writes the nodes' files.
    pub(crate) fn prepare(etcds: usize, edge: &str) -> Option<Lan> {
        if !has_programs(&["etcd", "ip", "nft"]) {
            return None;
        }
        let wired = Lan::wire(etcds, edge);
        let mut lan = wired.map_err(|reason| not_tested(&reason)).ok()?;
        lan.start_etcds();
        Some(lan)
    }

    fn wire(etcds: usize, edge: &str) -> Result<Lan, String> {
        let switch = Host::new()?;
        switch.ip("link add br0 type bridge\nlink set br0 up\n")?;
        let plug = |address: Ipv4Addr| -> Result<Host, String> {
            let host = Host::new()?;
            let number = address.octets()[3];
            switch.ip(&format!(
                "link add p{number} type veth peer name eth0 netns {}\n\
                 link set p{number} master br0\nlink set p{number} up\n",
                host.path()
            ))?;
            host.ip(&format!(
                "addr add {address}/24 dev eth0\nlink set eth0 up\n"
            ))?;
            Ok(host)
        };
        let edges = vec![plug(address(1))?, plug(address(2))?];
        let phones = plug(Lan::PHONES)?;
        let hosts = (0..etcds).map(|number| plug(etcd(number)));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        Ok(Lan {
            nodes: Nodes::prepare(&NAMES, edges, |name| config(name, etcds, edge)),
            etcd_processes: Vec::new(),
            etcds: hosts,
            _switch: switch,
            phones,
        })
    }

    fn start_etcds(&mut self) {
        let peer = |number: usize| format!("e{number}=http://{}:2380", etcd(number));
        let peers: Vec<String> = (0..self.etcds.len()).map(peer).collect();
        for (number, host) in self.etcds.iter().enumerate() {
            let (peer, client) = (
                format!("http://{}:2380", etcd(number)),
                format!("http://{}:2379", etcd(number)),
            );
            let data = self.folder().join(format!("etcd{number}"));
            let log = File::create(data.with_extension("log")).expect("made");
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("e{number}")])
                .arg("--data-dir")
                .arg(&data)
                .args(["--initial-cluster", &peers.join(",")])
                .args(["--initial-advertise-peer-urls", &peer])
                .args(["--listen-peer-urls", &peer])
                .args(["--advertise-client-urls", &client])
                .args(["--listen-client-urls", &client])
                .arg("--unsafe-no-fsync")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let child = host.within(|| command.spawn().expect("etcd is there"));
            self.etcd_processes.push(Ending(child));
        }
    }

    /// All etcds stand still, or go on.
    pub(crate) fn freezes_etcds(&self, are_frozen: bool) {
        let signal = if are_frozen { "STOP" } else { "CONT" };
        for process in &self.etcd_processes {
            signal_to(process.0.id(), signal);
        }
    }

    /// Where phones reach the service.
    pub(crate) fn service_address(&self) -> SocketAddr {
        SocketAddr::from((SERVICE, SIP))
    }

    /// A socket of the phones' host.
    pub(crate) fn socket(&self) -> UdpSocket {
        self.phones
            .within(|| UdpSocket::bind((Lan::PHONES, 0)).expect("a free port"))
    }

    /// Lets a fault befall a node.
    pub(crate) fn strike(&mut self, number: usize, fault: Fault) {
        let mut from: Vec<Ipv4Addr> = (0..self.etcds.len()).map(etcd).collect();
        let other = address(2 - number);
        match fault {
            Fault::Process => self.kill_process(number),
            Fault::Node => {
                self.freeze(number);
                self.host(number)
                    .ip("link set eth0 down\n")
                    .expect("root may");
                self.kill(number);
            }
            Fault::Frozen => self.freeze(number),
            Fault::CutPeers => self.cut(number, &[other]),
            Fault::CutCoordinator => self.cut(number, &from),
            Fault::CutBoth => {
                from.push(other);
                self.cut(number, &from);
            }
        }
    }

    fn cut(&self, number: usize, from: &[Ipv4Addr]) {
        let from: Vec<String> = from.iter().map(Ipv4Addr::to_string).collect();
        let from = from.join(", ");
        let rules = format!(
            "table ip cut {{\n chain in {{ type filter hook input priority 0; ip saddr {{ {from} }} drop; }}\n\
             chain out {{ type filter hook output priority 0; ip daddr {{ {from} }} drop; }}\n}}\n"
        );
        self.host(number)
            .feed("nft", &["-f", "-"], &rules)
            .expect("root may");
    }

    /// Undoes a fault, and waits until both are in sync.
    pub(crate) fn heal(&mut self, number: usize, fault: Fault) {
        match fault {
            Fault::Process => {}
            Fault::Node => {
                self.host(number)
                    .ip("link set eth0 up\n")
                    .expect("root may");
                self.begin(number);
            }
            Fault::Frozen => self.thaw(number),
            Fault::CutPeers | Fault::CutCoordinator | Fault::CutBoth => {
                self.host(number)
                    .run("nft", &["delete", "table", "ip", "cut"])
                    .expect("root may");
            }
        }
        self.is_in_sync();
    }
}

fn config(name: &str, etcds: usize, edge: &str) -> String {
    let at = NAMES.iter().position(|other| *other == name);
    let own = address(at.expect("one of them") + 1);
    let endpoint = |number: usize| format!("http://{}:2379", etcd(number));
    let endpoints: Vec<String> = (0..etcds).map(endpoint).collect();
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
