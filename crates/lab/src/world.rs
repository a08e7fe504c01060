//! The hosts of a laboratory, and what runs on them.

mod config;
mod hosts;
mod plan;
mod views;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::Waiting;
use crate::{Error, Host};
pub(crate) use config::ECHO;
pub use plan::{Farm, Lack, Plan};
pub use views::Tenure;

/// The domain of all users.
pub(crate) const DOMAIN: &str = "example.org";
/// The password of the phones' users.
pub(crate) const PASSWORD: &str = "a laboratory's";
/// The users of every laboratory.
pub(crate) const USERS: [&str; 2] = ["alice", "bob"];
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nodes that can own the edge's service, the first of all.
pub(crate) const NODES: usize = 2;
const COORDINATORS: usize = 3;

/// A node of the cluster.
#[derive(Debug)]
struct Node {
    name: String,
    host: Host,
    /// Its own address.
    address: Ipv4Addr,
    admin: u16,
    /// The process that was started: it watches the node's.
    watcher: Option<Child>,
}

/// The nodes of a cluster, their coordinators, and the hosts of the phones.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    /// The edges, and the PBXs after them.
    nodes: Vec<Node>,
    coordinators: Vec<(Ipv4Addr, Child)>,
    /// Where the bridge is.
    bridge: Option<Host>,
    phones: Host,
    /// A translator of addresses, and the host behind it.
    behind: Option<[Host; 2]>,
    /// Where media servers of others are.
    farm: Host,
    /// Hosts that only processes are on.
    _hosts: Vec<Host>,
    service: SocketAddr,
    phones_address: Ipv4Addr,
}

impl Drop for World {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.end(number);
        }
        for (_, process) in &mut self.coordinators {
            let _ = process.kill();
            let _ = process.wait();
        }
        if self.bridge.is_some() && !self.plan.is_on_disk {
            let disks = self.plan.folder.join("disks").display().to_string();
            let _ = Host::own().run("umount", &[&disks], "");
        }
    }
}

/// Ends of links are known by this on the bridge.
fn port(name: &str) -> String {
    format!("to-{name}")
}

const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// An address of loopback that no other laboratory of this machine has.
fn own_address(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 64, low, 1 + number)
}

fn free_port() -> Result<u16, Error> {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(held.local_addr()?.port())
}

fn file(path: &Path) -> impl Fn(std::io::Error) -> Error {
    |error| Error::File {
        path: path.to_owned(),
        error,
    }
}

impl World {
    /// Builds it, with all running and the nodes in sync.
    ///
    /// # Errors
    /// No rights, no etcd, or the nodes do not come up.
    pub fn build(plan: Plan) -> Result<World, Error> {
        let mut world = World::begun(plan)?;
        world.complete()?;
        Ok(world)
    }

    /// Builds it as far as its hosts are there and its nodes are started: for who has to put something on a host that the nodes wait for.
    ///
    /// # Errors
    /// No rights, no etcd, or no node comes up.
    pub fn begun(plan: Plan) -> Result<World, Error> {
        let mut world = match plan.is_loopback {
            true => World::on_loopback(plan)?,
            false => World::on_hosts(plan)?,
        };
        world.start()?;
        Ok(world)
    }

    /// Waits until all is in sync.
    ///
    /// # Errors
    /// It does not come about.
    pub fn complete(&mut self) -> Result<(), Error> {
        self.settled()?;
        self.know_users()
    }

    /// Names of the nodes, the edges first.
    fn names(plan: &Plan) -> impl Iterator<Item = String> + use<> {
        let edges = (1..=NODES).map(|number| format!("edge{number}"));
        let pbxs = (1..=plan.pbxs()).map(|number| format!("pbx{number}"));
        edges.chain(pbxs)
    }

    fn on_loopback(plan: Plan) -> Result<World, Error> {
        let mut nodes = Vec::new();
        for name in World::names(&plan) {
            nodes.push(Node {
                name,
                host: Host::own(),
                address: Ipv4Addr::LOCALHOST,
                admin: free_port()?,
                watcher: None,
            });
        }
        Ok(World {
            plan,
            nodes,
            coordinators: Vec::new(),
            bridge: None,
            phones: Host::own(),
            behind: None,
            farm: Host::own(),
            _hosts: Vec::new(),
            service: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            phones_address: Ipv4Addr::LOCALHOST,
        })
    }

    fn on_hosts(plan: Plan) -> Result<World, Error> {
        let bridge = Host::new()?;
        bridge.ip("link add lan0 type bridge\nlink set lan0 up\n")?;
        let mut nodes = Vec::new();
        for (number, name) in World::names(&plan).enumerate() {
            let last = number as u8 + 1;
            nodes.push(Node {
                host: hosts::join(&bridge, &name, last)?,
                name,
                address: address(last),
                admin: 8060,
                watcher: None,
            });
        }
        let mut etcds = Vec::new();
        for number in 0..COORDINATORS {
            let name = format!("etcd{}", number + 1);
            etcds.push(hosts::join(&bridge, &name, number as u8 + 11)?);
        }
        let phones = hosts::join(&bridge, "phones", 21)?;
        let farm = hosts::join(&bridge, "farm", World::FARM.octets()[3])?;
        let behind = hosts::behind(&bridge, 31)?;
        let coordinators = hosts::etcd(&plan, &etcds)?;
        Ok(World {
            plan,
            nodes,
            coordinators,
            bridge: Some(bridge),
            phones,
            behind: Some(behind),
            farm,
            _hosts: etcds,
            service: SocketAddr::from((address(100), 5060)),
            phones_address: address(21),
        })
    }

    fn start(&mut self) -> Result<(), Error> {
        let program = self.plan.program.display().to_string();
        let done = |folder: &Path, arguments: &[&str]| {
            let inside = folder.display().to_string();
            let mut all = vec!["-C", &inside, &program];
            all.extend(arguments);
            Host::own().run("env", &all, "").map(drop)
        };
        let folder = self.plan.folder.clone();
        self.write_fence()?;
        done(&folder, &["certs", "init", "ca", "--cluster", "lab"])?;
        for number in 0..self.nodes.len() {
            let name = self.nodes[number].name.clone();
            done(&folder, &["certs", "node", &name, "--ca", "ca"])?;
            let own = folder.join(&name);
            fs::create_dir(&own).map_err(file(&own))?;
            let config = self.config(number);
            fs::write(own.join("holdline.toml"), config).map_err(file(&own))?;
        }
        self.begin(0)?;
        self.wait("an owner", || self.owner())?;
        self.add_users()?;
        for number in 1..self.nodes.len() {
            if self.runs(number) {
                self.begin(number)?;
            }
        }
        if self.plan.lack == Some(Lack::Relay) {
            self.silence()?;
        }
        Ok(())
    }

    fn write_fence(&self) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt;
        let program = self.plan.folder.join("fence");
        let written = fs::write(&program, config::FENCE)
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o700)));
        written.map_err(file(&program))
    }

    /// The second edge hears and says nothing of calls.
    fn silence(&self) -> Result<(), Error> {
        let first = config::MEDIA_PORTS_FIRST;
        let last = first + (self.plan.media_ports - 1);
        let rules = format!(
            "add table ip silence\n\
             add chain ip silence in {{ type filter hook prerouting priority -300 ; }}\n\
             add rule ip silence in udp dport {first}-{last} drop\n"
        );
        self.nodes[1]
            .host
            .run("nft", &["-f", "-"], &rules)
            .map(drop)
    }

    /// Whether a node is there at all.
    fn runs(&self, number: usize) -> bool {
        !(self.plan.lack == Some(Lack::Standby) && number == 1)
    }

    /// The address of the service of each PBX: pbx1, pbx2 and so on, as their preferred owners are called.
    fn pbx_addresses(&self) -> Vec<SocketAddr> {
        let ip = |number: u8| match self.plan.is_loopback {
            true => own_address(number),
            false => address(101 + number),
        };
        let all = (0..self.plan.pbxs()).map(|number| ip(number as u8));
        all.map(|ip| SocketAddr::from((ip, config::PBX_PORT)))
            .collect()
    }

    /// The names of the nodes that may own a service, the preferred one first.
    fn members(&self, service: &str) -> Vec<&str> {
        let lack = self.plan.lack;
        let (edges, pbxs) = self.nodes.split_at(NODES);
        match (service, lack) {
            ("edge", Some(Lack::Standby)) => vec![&edges[0].name],
            ("edge", _) => edges.iter().map(|node| &*node.name).collect(),
            (own, Some(Lack::Failover)) => {
                let of_name = |node: &&Node| node.name == own;
                pbxs.iter()
                    .filter(of_name)
                    .map(|node| &*node.name)
                    .collect()
            }
            (own, _) => {
                let mut names: Vec<&str> = pbxs.iter().map(|node| &*node.name).collect();
                names.sort_by_key(|name| *name != own);
                names
            }
        }
    }

    /// Where phones reach the service.
    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// All services with their addresses, the edge's first.
    pub fn services(&self) -> impl Iterator<Item = (String, SocketAddr)> + '_ {
        let pbxs = self.nodes[NODES..].iter().map(|node| node.name.clone());
        let edge = [("edge".to_owned(), self.service)];
        edge.into_iter().chain(pbxs.zip(self.pbx_addresses()))
    }

    /// The host of the phones, and its address.
    pub fn phones(&self) -> (&Host, Ipv4Addr) {
        (&self.phones, self.phones_address)
    }

    /// The host behind a translator of addresses, and its address there.
    pub fn behind(&self) -> Option<(&Host, Ipv4Addr)> {
        let [_, home] = self.behind.as_ref()?;
        Some((home, hosts::BEHIND))
    }

    /// The address of the host for media servers of others.
    pub const FARM: Ipv4Addr = address(41);

    /// The host for media servers of others.
    pub fn farm(&self) -> &Host {
        &self.farm
    }

    /// The host that sees all frames.
    pub(crate) fn bridge(&self) -> Option<&Host> {
        self.bridge.as_ref()
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.nodes[number].host
    }

    /// The addresses of all nodes but one.
    pub(crate) fn others(&self, number: usize) -> Vec<Ipv4Addr> {
        let all = self.nodes.iter().enumerate();
        all.filter(|(other, _)| *other != number)
            .map(|(_, node)| node.address)
            .collect()
    }

    pub(crate) fn coordinators(&self) -> Vec<Ipv4Addr> {
        self.coordinators.iter().map(|(at, _)| *at).collect()
    }

    /// Their processes.
    pub(crate) fn coordinator_processes(&self) -> impl Iterator<Item = Option<Pid>> + '_ {
        let all = self.coordinators.iter();
        all.map(|(_, process)| Some(Pid::from_raw(i32::try_from(process.id()).ok()?)))
    }

    /// Starts a node, unless it runs.
    pub(crate) fn begin(&mut self, number: usize) -> Result<(), Error> {
        let node = &mut self.nodes[number];
        // One that was killed five times within a minute is not started any more by the one that watches it, which ends.
        let has_ended = |process: &mut Child| !matches!(process.try_wait(), Ok(None));
        if node.watcher.as_mut().is_none_or(has_ended) {
            let folder = self.plan.folder.join(&node.name);
            let mut program = self.plan.program.as_path();
            let own = program.display().to_string();
            let mut arguments = vec!["run", "--config", "holdline.toml"];
            if self.plan.lack == Some(Lack::Commit) {
                arguments.splice(0..0, ["HOLDLINE_BREAK=commit", &own]);
                program = Path::new("env");
            }
            let started = node.host.start(program, &arguments, &folder)?;
            // For who fences it.
            let told = folder.join("watcher");
            fs::write(&told, format!("{}\n", started.id())).map_err(file(&told))?;
            node.watcher = Some(started);
        }
        Ok(())
    }

    /// The node's process, if one runs: the first child of the one that watches it.
    pub(crate) fn process(&self, number: usize) -> Option<Pid> {
        let watcher = self.nodes[number].watcher.as_ref()?.id();
        let children = format!("/proc/{watcher}/task/{watcher}/children");
        let text = fs::read_to_string(children).ok()?;
        let first = text.split(' ').next()?.parse().ok()?;
        Some(Pid::from_raw(first))
    }

    /// The process that watches the node's.
    pub(crate) fn watcher(&self, number: usize) -> Option<Pid> {
        let watcher = self.nodes[number].watcher.as_ref()?;
        Some(Pid::from_raw(i32::try_from(watcher.id()).ok()?))
    }

    /// Kills all processes of a node, as a power cut does it.
    pub(crate) fn end(&mut self, number: usize) {
        let (watcher, node) = (self.watcher(number), self.process(number));
        if let Some(watcher) = watcher {
            // First, so that it does not start another.
            let _ = kill(watcher, Signal::SIGSTOP);
        }
        if let Some(node) = node {
            let _ = kill(node, Signal::SIGKILL);
        }
        if let Some(mut process) = self.nodes[number].watcher.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Gives a node its link back.
    pub(crate) fn link(&self, number: usize) -> Result<(), Error> {
        match &self.bridge {
            Some(bridge) => bridge.ip(&format!("link set {} up\n", port(&self.nodes[number].name))),
            None => Ok(()),
        }
    }

    /// What takes a node's link.
    pub(crate) fn unlink(&self, number: usize) -> Result<Option<Waiting>, Error> {
        let Some(bridge) = &self.bridge else {
            return Ok(None);
        };
        let line = format!("link set {} down\n", port(&self.nodes[number].name));
        bridge.prepare("ip", &["-batch", "-"], line).map(Some)
    }
}
