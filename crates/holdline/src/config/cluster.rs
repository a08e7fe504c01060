//! `[cluster]` and `[[service]]`: the node's place among others.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Token;
use super::read::{NAME_WANTED, name, word};
use super::reader::Section;

const LISTEN_WANTED: &str = "an address of this machine and a port: \"10.0.0.1:7400\"";
const ADDRESS_WANTED: &str = "an address: \"10.0.0.100\"";
const URL_WANTED: &str = "\"http://10.0.0.1:2379\" or with https";
const FOLDER_WANTED: &str = "a folder";
const FILE_WANTED: &str = "a file";
const INTERFACE_WANTED: &str = "an interface of this machine: \"eth0\"";
const OPTION_WANTED: &str = "a text: \"10.0.1.1\"";
const PREFIX_WANTED: &str = "a path: \"/holdline\"";

/// `[cluster]`: absent where one node is all there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where it listens for the other nodes.
    pub peer_listen: SocketAddr,
    /// What they are told to reach it by.
    pub peer_advertise: SocketAddr,
    /// The folder with this node's certificates and the cluster's secret.
    pub certificates: PathBuf,
    /// How long a promise or a renewal lasts, in milliseconds.
    pub lease_ms: u64,
    /// How much earlier an owner stops, in milliseconds.
    pub margin_ms: u64,
    /// How long a commit waits for a member, in milliseconds.
    pub commit_timeout_ms: u64,
    /// How long a member that is not in sync leaves a service to those that are, in milliseconds.
    pub grace_ms: u64,
    /// After how many seconds a service goes back to its preferred member; none: it stays.
    pub failback_s: Option<u64>,
    /// Where it is written down who owns what.
    pub coordinator: Coordinator,
    /// How machines are switched off before what they owned is claimed; none: the lease alone keeps owners apart.
    pub fences: Vec<Fence>,
    /// What moves.
    pub services: Vec<Service>,
}

/// `[[cluster.fence]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The node that it switches off.
    pub node: String,
    /// The fence agent.
    pub program: PathBuf,
    /// What it is told.
    pub options: Vec<(String, Token)>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// `[cluster.coordinator]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coordinator {
    /// etcd.
    Etcd {
        /// Its members.
        endpoints: Vec<String>,
        /// What its keys begin with.
        prefix: String,
        /// Who asks, and by what password.
        user: Option<(String, Token)>,
        /// The authority of its certificates.
        ca: Option<PathBuf>,
        /// What it is shown: a certificate and its key.
        identity: Option<(PathBuf, PathBuf)>,
    },
    /// A file, for members on one machine.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

/// What a node does for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Proxy, registrar, relay.
    Edge,
    /// Calls with a voice.
    Pbx,
}

/// `[[service]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the cluster.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The nodes that may own it, the preferred one first.
    pub members: Vec<String>,
    /// Its address.
    pub address: IpAddr,
    /// Its port for SIP: that of a PBX; an edge has its own listeners.
    pub port: u16,
    /// How the address moves.
    pub mover: Mover,
    /// Most records of its calls and bindings.
    pub records_max: u64,
}

/// `service.mover`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mover {
    /// It does not: all members are on this machine.
    None,
    /// By the kernel's own interface.
    Netlink {
        /// The interface that has it.
        interface: String,
        /// Bits of its network's prefix.
        prefix_bits: Option<u8>,
        /// Whether the kernel keeps the lease too.
        kernel_lease: bool,
    },
    /// By a program.
    Exec {
        /// The program.
        program: PathBuf,
        /// The interface that it is told.
        interface: String,
        /// How long it may take, in milliseconds.
        timeout_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Etcd,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoverKind {
    None,
    Netlink,
    Exec,
}

const KINDS: &[(&str, Kind)] = &[("etcd", Kind::Etcd), ("sqlite", Kind::Sqlite)];
const MOVERS: &[(&str, MoverKind)] = &[
    ("netlink", MoverKind::Netlink),
    ("none", MoverKind::None),
    ("exec", MoverKind::Exec),
];
const ROLES: &[(&str, Role)] = &[("edge", Role::Edge), ("pbx", Role::Pbx)];

/// Where a PBX takes SIP unless it is said.
const PORT: u64 = 5_070;

impl Service {
    /// Where a PBX is reached, whoever owns it.
    pub fn uri(&self) -> String {
        format!("sip:{}", SocketAddr::new(self.address, self.port))
    }
}

impl Cluster {
    /// The PBX that is reached there, whoever owns it.
    pub fn pbx_at(&self, at: SocketAddr) -> Option<&Service> {
        let is_there = |service: &&Service| {
            service.role == Role::Pbx && SocketAddr::new(service.address, service.port) == at
        };
        self.services.iter().find(is_there)
    }

    /// The name of the PBX that has this URI.
    pub fn pbx_named(&self, uri: &str) -> Option<String> {
        let services = self.services.iter();
        let mut pbxs = services.filter(|service| service.role == Role::Pbx);
        let found = pbxs.find(|service| service.uri() == uri)?;
        Some(found.name.clone())
    }

    /// The PBXs that a node is a member of.
    pub fn pbxs_of<'c>(&'c self, node: &'c str) -> impl Iterator<Item = &'c Service> {
        let services = self.services.iter();
        services.filter(move |service| {
            service.role == Role::Pbx && service.members.iter().any(|member| member == node)
        })
    }
}

fn parse<T: std::str::FromStr>(wanted: &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| text.parse().map_err(|_| wanted.to_owned())
}

fn text(wanted: &'static str) -> impl Fn(&str) -> Result<String, String> {
    move |text| match text.is_empty() {
        true => Err(wanted.to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Reads `[cluster]` and every `[[service]]`. `node` is this node's name and data folder; relative paths start from
/// `folder`.
pub(super) fn cluster(
    root: &mut Section<'_>,
    node: (&str, &Path),
    folder: &Path,
) -> Option<Cluster> {
    let is_there = root.has("cluster");
    let has_services = root.has("service");
    let mut section = root.section("cluster");
    let listen = section.text(
        "peer_listen",
        "",
        LISTEN_WANTED,
        parse::<SocketAddr>(LISTEN_WANTED),
    );
    let advertise = section.text(
        "peer_advertise",
        "",
        LISTEN_WANTED,
        parse::<SocketAddr>(LISTEN_WANTED),
    );
    let certificates = section.text("certificates", "", FOLDER_WANTED, text(FOLDER_WANTED));
    let lease = section.integer("lease_ms", 300, 50..=60_000);
    let margin = section.integer("margin_ms", 0, 0..=30_000);
    let commit_timeout = section.integer("commit_timeout_ms", 0, 0..=60_000);
    let grace = section.integer("grace_ms", 0, 0..=3_600_000);
    let failback_s = section.integer("failback_s", 0, 0..=86_400).value;
    if margin.value > lease.value / 2 {
        let what = format!(
            "{} is more than half of lease_ms ({})",
            margin.value, lease.value
        );
        section.contradiction(
            "margin_ms",
            margin.span.clone(),
            what,
            "write a tenth of lease_ms",
        );
    }
    if grace.value != 0 && grace.value < lease.value {
        let what = format!("{} is less than lease_ms ({})", grace.value, lease.value);
        let want = "write ten times lease_ms, or leave it out";
        section.contradiction("grace_ms", grace.span.clone(), what, want);
    }
    let coordinator = coordinator(&mut section, is_there, folder);
    let fences = fences(&mut section, folder);
    if is_there && listen.is_none() && !section.has("peer_listen") {
        let want = "say where this node listens for the others: peer_listen = \"10.0.0.1:7400\"";
        section.contradiction("peer_listen", section.span(), "it is not there", want);
    }
    let listen = listen.map(|placed| placed.value);
    if let (Some(listen), None) = (listen, &advertise)
        && listen.ip().is_unspecified()
    {
        let want = "add peer_advertise = \"10.0.0.1:7400\": how others reach this node";
        section.contradiction("peer_listen", section.span(), "it is every address", want);
    }
    let span = section.span();
    let services = services(root, node.0, folder);
    lacks_fence(&section, span, &fences, &services);
    section.finish();
    if has_services && !is_there {
        let want = "add a section [cluster]: services move among the nodes of one";
        root.contradiction("service", root.span(), "there is no [cluster]", want);
    }
    let listen = listen?;
    Some(Cluster {
        peer_listen: listen,
        peer_advertise: advertise.map_or(listen, |placed| placed.value),
        certificates: certificates.map_or_else(
            || node.1.join("certificates"),
            |placed| folder.join(placed.value),
        ),
        lease_ms: lease.value,
        margin_ms: or(margin.value, lease.value / 10),
        commit_timeout_ms: or(commit_timeout.value, lease.value * 2 / 3),
        grace_ms: or(grace.value, lease.value * 10),
        failback_s: (failback_s > 0).then_some(failback_s),
        coordinator: coordinator?,
        fences,
        services,
    })
    .filter(|_| is_there)
}

/// 0 stands for what goes with the lease.
fn or(written: u64, derived: u64) -> u64 {
    if written == 0 { derived } else { written }
}

fn coordinator(cluster: &mut Section<'_>, is_there: bool, folder: &Path) -> Option<Coordinator> {
    let is_written = cluster.has("coordinator");
    let span = cluster.span();
    if is_there && !is_written {
        let want = "add coordinator = { kind = \"etcd\", endpoints = [\"http://10.0.0.1:2379\"] }";
        cluster.contradiction("coordinator", span, "it is not there", want);
    }
    let mut section = cluster.section("coordinator");
    let kind = word(&mut section, "kind", KINDS).map(|placed| placed.value);
    let endpoints = section.list("endpoints", &[], URL_WANTED, |text| {
        let ok = text.starts_with("http://") || text.starts_with("https://");
        ok.then(|| text.to_owned())
            .ok_or_else(|| URL_WANTED.to_owned())
    });
    let prefix = section.text("prefix", "/holdline", PREFIX_WANTED, text(PREFIX_WANTED));
    let user = section.text("user", "", "a user of etcd", text("a user of etcd"));
    let password = section.text("password", "", "its password", |text| Ok(Token::of(text)));
    let mut file = |key| section.text(key, "", FILE_WANTED, text(FILE_WANTED));
    let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
    let path = section.text("path", "", FILE_WANTED, text(FILE_WANTED));
    let span = section.span();
    let made = match kind {
        Some(Kind::Etcd) if is_written => {
            if endpoints.is_empty() {
                let want = "name its members: endpoints = [\"http://10.0.0.1:2379\"]";
                section.contradiction("endpoints", span, "etcd is nowhere", want);
            }
            let whole = |path: String| folder.join(path);
            let identity = certificate
                .map(|file| file.value)
                .zip(key.map(|file| file.value));
            Some(Coordinator::Etcd {
                endpoints: endpoints.into_iter().map(|placed| placed.value).collect(),
                prefix: prefix.map_or_else(String::new, |placed| placed.value),
                user: user
                    .map(|user| user.value)
                    .zip(password.map(|password| password.value)),
                ca: ca.map(|file| whole(file.value)),
                identity: identity.map(|(one, other)| (whole(one), whole(other))),
            })
        }
        Some(Kind::Sqlite) if is_written => match path {
            Some(path) => Some(Coordinator::Sqlite {
                path: folder.join(path.value),
            }),
            None => {
                let want =
                    "name the file that all members use: path = \"/var/lib/holdline/cluster.db\"";
                section.contradiction("path", span, "it is not there", want);
                None
            }
        },
        _ => None,
    };
    section.finish();
    made
}

fn fences(cluster: &mut Section<'_>, folder: &Path) -> Vec<Fence> {
    let mut fences = Vec::new();
    for mut section in cluster.tables("fence") {
        let node = section.text("node", "", NAME_WANTED, name);
        let program = section.text("program", "", FILE_WANTED, text(FILE_WANTED));
        let options = section.entries("options", OPTION_WANTED, |name, value| {
            Ok((name.to_owned(), Token::of(value)))
        });
        let timeout_ms = section.integer("timeout_ms", 30_000, 1_000..=600_000).value;
        for key in ["node", "program"] {
            if !section.has(key) {
                let want = match key {
                    "node" => "say which node it switches off: node = \"edge1\"",
                    _ => "name a fence agent: program = \"/usr/sbin/fence_ipmilan\"",
                };
                section.contradiction(key, section.span(), "it is not there", want);
            }
        }
        section.finish();
        if let (Some(node), Some(program)) = (node, program) {
            fences.push(Fence {
                node: node.value,
                program: folder.join(program.value),
                options: options.into_iter().map(|option| option.value).collect(),
                timeout_ms,
            });
        }
    }
    fences
}

/// With fencing a claim waits for it, and would wait for ever for a node that has none.
fn lacks_fence(
    cluster: &Section<'_>,
    span: std::ops::Range<usize>,
    fences: &[Fence],
    services: &[Service],
) {
    if fences.is_empty() {
        return;
    }
    let mut members: Vec<&String> = services
        .iter()
        .flat_map(|service| &service.members)
        .collect();
    members.sort();
    members.dedup();
    for member in members {
        if fences.iter().all(|fence| fence.node != *member) {
            let what = format!("there is none for {member}");
            let want = "add one for each member, or remove them all";
            cluster.contradiction("fence", span.clone(), what, want);
        }
    }
}

fn services(root: &mut Section<'_>, node: &str, folder: &Path) -> Vec<Service> {
    let has_pbx = root.has("pbx");
    let mut services: Vec<Service> = Vec::new();
    for mut section in root.tables("service") {
        let span = section.span();
        let own = section.text("name", "", NAME_WANTED, name);
        let role = word(&mut section, "role", ROLES).map_or(Role::Edge, |role| role.value);
        let members = section.list("members", &[], NAME_WANTED, name);
        let address = section.text(
            "address",
            "",
            ADDRESS_WANTED,
            parse::<IpAddr>(ADDRESS_WANTED),
        );
        let records_max = section
            .integer("records_max", 1_000_000, 1_000..=4_000_000)
            .value;
        let port = section.integer("port", PORT, 1..=65_535).value as u16;
        let mover = mover(section.section("mover"), folder);
        let own = own.map(|own| own.value);
        for (key, is_there) in [
            ("name", own.is_some()),
            ("address", address.is_some()),
            ("members", !members.is_empty()),
        ] {
            if !is_there && !section.has(key) {
                let want = match key {
                    "name" => "give it a name: name = \"edge\"",
                    "address" => "say at which address phones reach it: address = \"10.0.0.100\"",
                    _ => "name the nodes that may own it: members = [\"edge1\", \"edge2\"]",
                };
                section.contradiction(key, span.clone(), "it is not there", want);
            }
        }
        let names: Vec<String> = members.into_iter().map(|member| member.value).collect();
        if let Some(own) = &own
            && services.iter().any(|service| service.name == *own)
        {
            section.contradiction(
                "name",
                span.clone(),
                "two services have it",
                "rename one of them",
            );
        }
        if role == Role::Edge
            && services.iter().any(|service| {
                service.role == Role::Edge && service.members.contains(&node.to_owned())
            })
            && names.contains(&node.to_owned())
        {
            let what = "this node is a member of another service of that role";
            section.contradiction("role", span.clone(), what, "a node has one edge");
        }
        let other = address.as_ref().and_then(|address| {
            let mut others = services.iter();
            others.find(|service| service.address == address.value)
        });
        if let (Some(other), Some(address)) = (other, &address) {
            let what = format!("the service {} has it", other.name);
            let want = "give each an address of its own: they move apart";
            section.contradiction("address", address.span.clone(), what, want);
        }
        if role == Role::Pbx && !has_pbx && names.contains(&node.to_owned()) {
            let what = "this node is a member, and has no [pbx]";
            let want = "add [pbx] with a dialplan, or take this node out of members";
            section.contradiction("role", span.clone(), what, want);
        }
        section.finish();
        if let (Some(name), Some(address), false) = (own, address, names.is_empty()) {
            services.push(Service {
                name,
                role,
                members: names,
                address: address.value,
                port,
                mover,
                records_max,
            });
        }
    }
    services
}

fn mover(mut section: Section<'_>, folder: &Path) -> Mover {
    let kind = word(&mut section, "kind", MOVERS).map_or(MoverKind::None, |kind| kind.value);
    let interface = section.text("interface", "", INTERFACE_WANTED, text(INTERFACE_WANTED));
    let prefix = section.integer("prefix_bits", 0, 0..=128).value;
    let kernel_lease = section.flag("kernel_lease", true);
    let program = section.text("program", "", FILE_WANTED, text(FILE_WANTED));
    let timeout_ms = section.integer("timeout_ms", 5_000, 100..=60_000).value;
    let span = section.span();
    let lacks = |section: &Section<'_>, key: &str, want: &str| {
        section.contradiction(key, span.clone(), "it is not there", want);
        Mover::None
    };
    let mover = match kind {
        MoverKind::None => Mover::None,
        MoverKind::Netlink => match interface {
            Some(interface) => Mover::Netlink {
                interface: interface.value,
                prefix_bits: u8::try_from(prefix).ok().filter(|bits| *bits > 0),
                kernel_lease,
            },
            None => lacks(
                &section,
                "interface",
                "mover = { kind = \"netlink\", interface = \"eth0\" }; \"none\" where all members are on this machine",
            ),
        },
        MoverKind::Exec => match program {
            Some(program) => Mover::Exec {
                program: folder.join(program.value),
                interface: interface.map_or_else(String::new, |interface| interface.value),
                timeout_ms,
            },
            None => lacks(
                &section,
                "program",
                "name what moves the address: program = \"/etc/holdline/move\"",
            ),
        },
    };
    section.finish();
    mover
}
