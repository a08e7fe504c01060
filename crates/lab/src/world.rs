//! The hosts of a laboratory, and what runs on them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::host::Waiting;
use crate::{Error, Host};

/// The domain of all users.
pub(crate) const DOMAIN: &str = "example.org";
/// The password of all users.
pub(crate) const PASSWORD: &str = "a laboratory's";
/// The users.
pub(crate) const USERS: [&str; 2] = ["alice", "bob"];
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nodes that can own the service.
pub(crate) const NODES: usize = 2;
const COORDINATORS: usize = 3;
/// The ports of the relay.
const MEDIA_PORTS: u16 = 200;
const MEDIA_PORTS_FIRST: u16 = 20_000;

/// How a laboratory is built.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program whose nodes are tried.
    pub program: PathBuf,
    /// On loopback, without hosts of its own.
    pub is_loopback: bool,
    /// The lease of the cluster.
    pub lease_ms: u64,
    /// Whether the etcds write to the disk that `folder` is on, as slow as whatever else goes on there makes it; to memory otherwise.
    pub is_on_disk: bool,
    /// The folder for configurations, data and logs, which exists.
    pub folder: PathBuf,
}

/// A node of the cluster.
#[derive(Debug)]
struct Node {
    host: Host,
    /// Its own address.
    address: Ipv4Addr,
    admin: u16,
    /// The process that was started: it watches the node's.
    watcher: Option<Child>,
}

/// Two nodes of a cluster, their coordinators, and the host of the phones.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    nodes: Vec<Node>,
    coordinators: Vec<(Ipv4Addr, Child)>,
    /// Where the bridge is.
    bridge: Option<Host>,
    phones: Host,
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
    }
}

fn name(number: usize) -> String {
    format!("edge{}", number + 1)
}

/// Ends of links are known by this on the bridge.
fn port(name: &str) -> String {
    format!("to-{name}")
}

const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn free_port() -> Result<u16, Error> {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(held.local_addr()?.port())
}

impl World {
    /// Builds it, with all running and the nodes in sync.
    ///
    /// # Errors
    /// No rights, no etcd, or the nodes do not come up.
    pub fn build(plan: Plan) -> Result<World, Error> {
        let mut world = match plan.is_loopback {
            true => World::on_loopback(plan)?,
            false => World::on_hosts(plan)?,
        };
        world.start()?;
        Ok(world)
    }

    fn on_loopback(plan: Plan) -> Result<World, Error> {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(Node {
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
            _hosts: Vec::new(),
            service: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            phones_address: Ipv4Addr::LOCALHOST,
        })
    }

    fn on_hosts(plan: Plan) -> Result<World, Error> {
        let bridge = Host::new()?;
        bridge.ip("link add lan0 type bridge\nlink set lan0 up\n")?;
        let join = |name: &str, last: u8| -> Result<Host, Error> {
            let host = Host::new()?;
            let port = port(name);
            bridge.ip(&format!(
                "link add {port} type veth peer name eth0 address 02:00:00:00:00:{last:02x} netns {}\n\
                 link set {port} master lan0\nlink set {port} up\n",
                host.path()
            ))?;
            host.ip(&format!(
                "addr add {}/24 dev eth0\nlink set eth0 up\n",
                address(last)
            ))?;
            Ok(host)
        };
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let last = number as u8 + 1;
            nodes.push(Node {
                host: join(&name(number), last)?,
                address: address(last),
                admin: 8060,
                watcher: None,
            });
        }
        let mut hosts = Vec::new();
        for number in 0..COORDINATORS {
            hosts.push(join(&format!("etcd{}", number + 1), number as u8 + 11)?);
        }
        let phones = join("phones", 21)?;
        let coordinators = etcd(&plan, &hosts)?;
        Ok(World {
            plan,
            nodes,
            coordinators,
            bridge: Some(bridge),
            phones,
            _hosts: hosts,
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
        done(&folder, &["certs", "init", "ca", "--cluster", "lab"])?;
        for number in 0..NODES {
            let name = name(number);
            done(&folder, &["certs", "node", &name, "--ca", "ca"])?;
            let own = folder.join(&name);
            let written = fs::create_dir(&own).and_then(|()| {
                let config = self.config(number);
                fs::write(own.join("holdline.toml"), config)
            });
            written.map_err(|error| Error::File { path: own, error })?;
        }
        self.begin(0)?;
        self.wait("an owner", || self.owner())?;
        for user in USERS {
            let body = json!({ "aor": format!("{user}@{DOMAIN}"), "password": PASSWORD });
            self.wait("the users", || {
                let answer = self.http(0, "POST", "/api/users", &body.to_string())?;
                matches!(answer.0, 201 | 409).then_some(())
            })?;
        }
        self.begin(1)?;
        self.in_sync().map(drop)
    }

    fn config(&self, number: usize) -> String {
        let (name, own) = (name(number), &self.nodes[number]);
        let (sip, service) = (self.service.port(), self.service.ip());
        // On loopback both nodes would want the same ports: sound goes from phone to phone.
        let media = match self.plan.is_loopback {
            true => String::new(),
            false => {
                let last = MEDIA_PORTS_FIRST + MEDIA_PORTS - 1;
                format!(
                    "rtp_ports = [{MEDIA_PORTS_FIRST}, {last}]\n[edge.media]\npolicy = \"always\"\n"
                )
            }
        };
        let (admin, lease_ms) = (own.admin, self.plan.lease_ms);
        let (peer, coordinator, mover) = match self.plan.is_loopback {
            true => (
                format!("127.0.0.1:{}", free_port().unwrap_or(7_400)),
                "{ kind = \"sqlite\", path = \"../cluster.db\" }".to_owned(),
                "{ kind = \"none\" }",
            ),
            false => {
                let urls = self.coordinators.iter();
                let urls: Vec<_> = urls.map(|(at, _)| format!("http://{at}:2379")).collect();
                (
                    format!("{}:7400", own.address),
                    format!("{{ kind = \"etcd\", endpoints = {urls:?} }}"),
                    "{ kind = \"netlink\", interface = \"eth0\" }",
                )
            }
        };
        let members: Vec<_> = (0..NODES).map(self::name).collect();
        format!(
            "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 2\n\
             [edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{sip}\"]\nworkers = 1\n\
             {media}\
             [edge.sources]\nallow = [\"127.0.0.0/8\", \"10.77.0.0/24\"]\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[store]\nurl = \"sqlite:../users.db\"\n\
             [cluster]\npeer_listen = \"{peer}\"\nlease_ms = {lease_ms}\n\
             certificates = \"../ca/{name}\"\ncoordinator = {coordinator}\n\
             [[service]]\nname = \"edge\"\nmembers = {members:?}\naddress = \"{service}\"\nmover = {mover}\n"
        )
    }

    /// Where phones reach the service.
    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// The host of the phones, and its address.
    pub(crate) fn phones(&self) -> (&Host, Ipv4Addr) {
        (&self.phones, self.phones_address)
    }

    /// The host that sees all frames.
    pub(crate) fn bridge(&self) -> Option<&Host> {
        self.bridge.as_ref()
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.nodes[number].host
    }

    pub(crate) fn address(&self, number: usize) -> Ipv4Addr {
        self.nodes[number].address
    }

    pub(crate) fn coordinators(&self) -> Vec<Ipv4Addr> {
        self.coordinators.iter().map(|(at, _)| *at).collect()
    }

    /// Starts a node, unless it runs.
    pub(crate) fn begin(&mut self, number: usize) -> Result<(), Error> {
        let node = &mut self.nodes[number];
        // One that was killed five times within a minute is not started any more by the one that watches it, which ends.
        let has_ended = |process: &mut Child| !matches!(process.try_wait(), Ok(None));
        if node.watcher.as_mut().is_none_or(has_ended) {
            let folder = self.plan.folder.join(name(number));
            let arguments = ["run", "--config", "holdline.toml"];
            node.watcher = Some(node.host.start(&self.plan.program, &arguments, &folder)?);
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
            Some(bridge) => bridge.ip(&format!("link set {} up\n", port(&name(number)))),
            None => Ok(()),
        }
    }

    /// What takes a node's link.
    pub(crate) fn unlink(&self, number: usize) -> Result<Option<Waiting>, Error> {
        let Some(bridge) = &self.bridge else {
            return Ok(None);
        };
        let line = format!("link set {} down\n", port(&name(number)));
        bridge.prepare("ip", &["-batch", "-"], line).map(Some)
    }

    fn http(&self, number: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let node = &self.nodes[number];
        let text = node.host.within(|| -> std::io::Result<String> {
            let to = SocketAddr::from(([127, 0, 0, 1], node.admin));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        let text = text.ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let body = text.split_once("\r\n\r\n")?.1.to_owned();
        Some((status, body))
    }

    /// What a node says of the service, if it answers.
    pub(crate) fn view(&self, number: usize) -> Option<Value> {
        self.nodes[number].watcher.as_ref()?;
        let (_, body) = self.http(number, "GET", "/api/status", "")?;
        let status: Value = serde_json::from_str(&body).ok()?;
        Some(status["cluster"]["services"][0].clone())
    }

    /// The node that owns the service, by its own word.
    pub(crate) fn owner(&self) -> Option<usize> {
        let is_owner = |number: &usize| {
            let view = self.view(*number);
            view.is_some_and(|view| view["phase"] == "owner")
        };
        (0..NODES).find(is_owner)
    }

    /// Waits until there is one owner and the other is in sync; gives the owner and its epoch.
    pub(crate) fn in_sync(&self) -> Result<(usize, u64), Error> {
        self.wait("the pair in sync", || {
            let owner = self.owner()?;
            let view = self.view(owner)?;
            let whole = (0..NODES).all(|number| self.process(number).is_some());
            let in_sync = view["in_sync"].as_array()?.len();
            (whole && in_sync == NODES).then_some((owner, view["epoch"].as_u64()?))
        })
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::InVain {
                    what: what.to_owned(),
                    logs: self.plan.folder.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Starts one etcd on each host.
fn etcd(plan: &Plan, hosts: &[Host]) -> Result<Vec<(Ipv4Addr, Child)>, Error> {
    let folder = &plan.folder;
    if !plan.is_on_disk {
        // Seen by this laboratory only, and gone with it.
        let disks = folder.join("disks");
        fs::create_dir(&disks).map_err(|error| Error::File {
            path: disks.clone(),
            error,
        })?;
        let at = disks.display().to_string();
        Host::own().run("mount", &["-t", "tmpfs", "etcds", &at], "")?;
    }
    let at = |number: usize| address(number as u8 + 11);
    let all: Vec<_> = (0..hosts.len())
        .map(|number| format!("etcd{}=http://{}:2380", number + 1, at(number)))
        .collect();
    let mut started = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("etcd{}", number + 1);
        let own = folder.join(&name);
        fs::create_dir(&own).map_err(|error| Error::File {
            path: own.clone(),
            error,
        })?;
        let data = match plan.is_on_disk {
            true => "data".to_owned(),
            false => format!("../disks/{name}"),
        };
        let (client, peer) = (
            format!("http://{}:2379", at(number)),
            format!("http://{}:2380", at(number)),
        );
        let arguments = [
            "--name",
            &name,
            "--data-dir",
            &data,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &all.join(","),
            "--initial-cluster-state",
            "new",
        ];
        let process = host.start(Path::new("etcd"), &arguments, &own)?;
        started.push((at(number), process));
    }
    Ok(started)
}
