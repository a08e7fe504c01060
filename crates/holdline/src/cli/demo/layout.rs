//! Where everything of the platform is on this machine, and the configuration of its nodes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Failure, free_port, host};

/// The nodes, the edges first.
pub(super) const NODES: [&str; 4] = ["edge1", "edge2", "pbx1", "pbx2"];
/// How many of them are edges.
pub(super) const EDGES: usize = 2;
/// How many services there are: the edge, and one for each PBX.
pub(super) const SERVICES: usize = 1 + NODES.len() - EDGES;
/// The service that the edges are members of.
pub(super) const EDGE_SERVICE: &str = "edge";
/// What the platform's PBXs do.
const DIALPLAN: &str = include_str!("dialplan.toml");

/// Ports for the edge's media. They are below those that the system gives to clients.
const MEDIA_PORTS: u16 = 400;
const MEDIA_RANGES: std::ops::Range<u16> = 28_400..32_400;
/// Ports for a PBX's media, at its own address.
const PBX_MEDIA: (u16, u16) = (20_000, 20_199);
/// The first port that is tried for a PBX's SIP.
const PBX_SIP: u16 = 5_070;
/// After how many seconds in sync a PBX gets its service back from the other one.
const FAILBACK_S: u64 = 5;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The address that phones reach.
    pub(super) address: IpAddr,
    /// The edge's port.
    pub(super) sip: u16,
    /// The folder of all nodes.
    pub(super) folder: PathBuf,
    /// The cluster's lease.
    pub(super) lease_ms: u64,
    /// The first port for media.
    media: u16,
    /// What each node has to itself, as in [`NODES`].
    places: [Place; NODES.len()],
}

/// What a node has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    admin: u16,
    peer: u16,
    /// Where the node's own service takes SIP: the edge's of both, or the PBX's that it is preferred for.
    service: SocketAddr,
}

impl Layout {
    /// Looks for free ports, from `sip` on for the edge.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn find(
        address: IpAddr,
        sip: u16,
        folder: &Path,
        lease_ms: u64,
    ) -> Result<Layout, Failure> {
        let sip = free_port(address, sip, true)?;
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let edge = SocketAddr::new(address, sip);
        let (mut admin, mut peer) = (8_059, 7_399);
        let mut places = [Place {
            admin,
            peer,
            service: edge,
        }; NODES.len()];
        for (at, place) in places.iter_mut().enumerate() {
            admin = free_port(loopback, admin + 1, false)?;
            peer = free_port(loopback, peer + 1, false)?;
            (place.admin, place.peer) = (admin, peer);
            if at >= EDGES {
                let own = own_address(sip, at);
                place.service = SocketAddr::new(own, free_port(own, PBX_SIP, true)?);
            }
        }
        Ok(Layout {
            address,
            sip,
            folder: folder.to_owned(),
            lease_ms,
            media: media_ports(address),
            places,
        })
    }

    /// Where a service takes SIP.
    pub(super) fn service(&self, name: &str) -> Option<SocketAddr> {
        let of_node = NODES.iter().zip(&self.places);
        let mut own = of_node.filter(|(node, _)| **node == name || name == EDGE_SERVICE);
        own.next().map(|(_, place)| place.service)
    }

    /// A node's admin API.
    pub(super) fn admin(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.places[node].admin)
    }

    /// The address as it stands in a URI, with the port where it has to be said.
    pub(super) fn join(&self) -> String {
        match self.sip {
            5060 => host(self.address),
            port => format!("{}:{port}", host(self.address)),
        }
    }

    /// A node's folder.
    pub(super) fn own_folder(&self, node: usize) -> PathBuf {
        self.folder.join(NODES[node])
    }

    /// The folder of the certificates' authority.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca")
    }

    /// A node's configuration.
    pub(super) fn config(&self, node: usize) -> String {
        let (name, place) = (NODES[node], &self.places[node]);
        let path = |path: PathBuf| json!(path);
        let data = path(self.own_folder(node).join("data"));
        let store = json!(format!("sqlite:{}", self.folder.join("users.db").display()));
        let common = format!(
            "[node]\nname = \"{name}\"\ndata = {data}\ndrain_timeout_s = 2\n\
             [store]\nurl = {store}\n[admin]\nlisten = \"127.0.0.1:{}\"\n[log]\nlevel = \"warn\"\n",
            place.admin
        );
        let own = match node {
            0..EDGES => self.edge(),
            _ => self.pbx(),
        };
        common + &self.cluster(name, place) + &own
    }

    fn cluster(&self, name: &str, place: &Place) -> String {
        let (certificates, coordinator) = (
            json!(self.authority().join(name)),
            json!(self.folder.join("cluster.db")),
        );
        let failback_s = if name.starts_with("pbx") {
            FAILBACK_S
        } else {
            0
        };
        let mut text = format!(
            "[cluster]\npeer_listen = \"127.0.0.1:{}\"\ncertificates = {certificates}\nlease_ms = {}\nfailback_s = {failback_s}\n\
             coordinator = {{ kind = \"sqlite\", path = {coordinator} }}\n\
             [[service]]\nname = \"{EDGE_SERVICE}\"\nrole = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"{}\"\n\
             mover = {{ kind = \"none\" }}\n",
            place.peer, self.lease_ms, self.address,
        );
        for (pbx, other) in [(2, 3), (3, 2)] {
            let (own, other) = (NODES[pbx], NODES[other]);
            let at = self.places[pbx].service;
            text += &format!(
                "[[service]]\nname = \"{own}\"\nrole = \"pbx\"\nmembers = [\"{own}\", \"{other}\"]\n\
                 address = \"{}\"\nport = {}\nmover = {{ kind = \"none\" }}\n",
                at.ip(),
                at.port()
            );
        }
        text
    }

    /// Where the PBXs reach the edge: they are at IPv4's loopback.
    fn inside(&self) -> SocketAddr {
        match self.address {
            IpAddr::V4(_) => SocketAddr::new(self.address, self.sip),
            IpAddr::V6(_) => SocketAddr::new(own_address(self.sip, 0), self.sip),
        }
    }

    fn edge(&self) -> String {
        let host = host(self.address);
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        let inside = match self.address {
            IpAddr::V4(_) => String::new(),
            IpAddr::V6(_) => format!(", \"udp:{}\"", self.inside()),
        };
        format!(
            "[edge]\ndomains = [\"{host}\", \"localhost\"]\n\
             listen = [\"udp:{host}:{sip}\", \"tcp:{host}:{sip}\"{inside}]\nworkers = 1\n\
             rtp_ports = [{first}, {last}]\n[edge.media]\npolicy = \"always\"\nrelay_threads = 1\n\
             [edge.sources]\nallow = [\"127.0.0.0/8\", \"{address}/{bits}\"]\n\
             [[edge.pool]]\nname = \"pbx\"\npolicy = \"hash-user\"\nslow_start_s = 0\n\
             targets = [{{ service = \"pbx1\" }}, {{ service = \"pbx2\" }}]\n\
             [[edge.route]]\nuser = \"1??\"\npool = \"pbx\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\n\
             [[edge.route]]\nuser = \"6*\"\npool = \"pbx\"\n\
             [[edge.route]]\nuser = \"echo*\"\npool = \"pbx\"\n\
             [[edge.route]]\nuser = \"?97\"\npool = \"pbx\"\n",
            sip = self.sip,
            first = self.media,
            last = self.media + MEDIA_PORTS - 1,
            address = self.address,
        )
    }

    fn pbx(&self) -> String {
        let host = host(self.address);
        let media = json!(self.folder.join("media"));
        let (first, last) = PBX_MEDIA;
        format!(
            "[pbx]\nedge = \"{}\"\ndomains = [\"{host}\", \"localhost\"]\n\
             rtp_ports = [{first}, {last}]\nmedia_threads = 1\nmedia_store = {media}\n{DIALPLAN}",
            self.inside(),
        )
    }
}

/// An address of loopback for a node's own service, which no other demo has whose edge has another port.
fn own_address(sip: u16, node: usize) -> IpAddr {
    let [high, low] = sip.to_be_bytes();
    IpAddr::from([127, 90 + node as u8, high, low])
}

/// The first port of a range for media, which another demo has not taken.
fn media_ports(address: IpAddr) -> u16 {
    let mut firsts = MEDIA_RANGES.step_by(usize::from(MEDIA_PORTS));
    let is_free = |first: &u16| std::net::UdpSocket::bind((address, *first)).is_ok();
    // If all are taken, the nodes say what they miss.
    firsts.find(is_free).unwrap_or(MEDIA_RANGES.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_of_each_node_is_valid_for_both_families() {
        for address in ["127.0.0.1", "::1"] {
            let address = address.parse().expect("an address");
            let folder = Path::new("/tmp/a \"b");
            let layout = Layout::find(address, 5060, folder, 300).expect("free ports");
            for (node, name) in NODES.iter().enumerate() {
                let text = layout.config(node);
                let config = Config::parse(&text, folder)
                    .unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}\n{text}"));
                assert_eq!(config.node.name, *name);
                assert_eq!(config.pbx.is_some(), node >= EDGES);
            }
        }
    }

    #[test]
    fn no_two_nodes_have_a_port_in_common() {
        let address = IpAddr::from([127, 0, 0, 1]);
        let layout = Layout::find(address, 5060, Path::new("/tmp"), 300).expect("free ports");
        let mut ports: Vec<u16> = layout
            .places
            .iter()
            .flat_map(|place| [place.admin, place.peer])
            .collect();
        let edge = layout.service(EDGE_SERVICE).expect("it has one");
        assert_eq!((edge.ip(), edge.port()), (address, layout.sip));
        assert_ne!(layout.service("pbx1"), layout.service("pbx2"));
        assert_eq!(layout.service("none"), None);
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }
}
