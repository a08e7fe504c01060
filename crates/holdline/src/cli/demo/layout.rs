//! Where everything of the platform is on this machine, and the configuration of its nodes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Failure, free_port, host};

/// The nodes, the edges first.
pub(super) const NODES: [&str; 4] = ["edge1", "edge2", "pbx1", "pbx2"];
/// How many of them are edges.
pub(super) const EDGES: usize = 2;
/// The service that the edges are members of.
pub(super) const EDGE_SERVICE: &str = "edge";
/// What the platform's PBXs do.
const DIALPLAN: &str = include_str!("dialplan.toml");

/// Ports for media of one demo: first the edge's, then each PBX's. They are below those that the system gives to clients.
const MEDIA_PORTS: u16 = 640;
const EDGE_PORTS: u16 = 400;
const PBX_PORTS: u16 = (MEDIA_PORTS - EDGE_PORTS) / 2;
const MEDIA_RANGES: std::ops::Range<u16> = 27_400..32_520;

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
    /// The nodes' own ports, as in [`NODES`].
    places: [Place; NODES.len()],
}

/// A node's own ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    admin: u16,
    peer: u16,
    /// A PBX's port for SIP.
    sip: u16,
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
        let mut places = [Place::default(); NODES.len()];
        let (mut admin, mut peer, mut pbx) = (8_059, 7_399, sip.saturating_add(9));
        for (at, place) in places.iter_mut().enumerate() {
            admin = free_port(loopback, admin + 1, false)?;
            peer = free_port(loopback, peer + 1, false)?;
            if at >= EDGES {
                pbx = free_port(address, pbx.saturating_add(1), true)?;
            }
            *place = Place {
                admin,
                peer,
                sip: if at < EDGES { sip } else { pbx },
            };
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

    /// Where a node answers for its services: the edge's address, or the PBX's own.
    pub(super) fn service(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.address, self.places[node].sip)
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

    /// What the edges know a PBX by.
    pub(super) fn target(&self, node: usize) -> String {
        format!("sip:{}:{}", host(self.address), self.places[node].sip)
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
            0..EDGES => self.edge(name, place),
            _ => self.pbx(node, place),
        };
        common + &own
    }

    fn edge(&self, name: &str, place: &Place) -> String {
        let host = host(self.address);
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        let targets: Vec<String> = (EDGES..NODES.len())
            .map(|pbx| format!("{{ uri = \"{}\" }}", self.target(pbx)))
            .collect();
        let (certificates, coordinator) = (
            json!(self.authority().join(name)),
            json!(self.folder.join("cluster.db")),
        );
        format!(
            "[edge]\ndomains = [\"{host}\", \"localhost\"]\n\
             listen = [\"udp:{host}:{sip}\", \"tcp:{host}:{sip}\"]\nworkers = 1\n\
             rtp_ports = [{first}, {last}]\n[edge.media]\npolicy = \"always\"\nrelay_threads = 1\n\
             [edge.sources]\nallow = [\"127.0.0.0/8\", \"{address}/{bits}\"]\n\
             [[edge.pool]]\nname = \"pbx\"\npolicy = \"hash-user\"\nslow_start_s = 0\ntargets = [{targets}]\n\
             [[edge.route]]\nuser = \"1??\"\npool = \"pbx\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\n\
             [[edge.route]]\nuser = \"6*\"\npool = \"pbx\"\n\
             [[edge.route]]\nuser = \"7*\"\npool = \"pbx\"\n\
             [[edge.route]]\nuser = \"?97\"\npool = \"pbx\"\n\
             [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\ncertificates = {certificates}\nlease_ms = {lease_ms}\n\
             coordinator = {{ kind = \"sqlite\", path = {coordinator} }}\n\
             [[service]]\nname = \"{EDGE_SERVICE}\"\nrole = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"{address}\"\n\
             mover = {{ kind = \"none\" }}\n",
            sip = self.sip,
            first = self.media,
            last = self.media + EDGE_PORTS - 1,
            address = self.address,
            targets = targets.join(", "),
            peer = place.peer,
            lease_ms = self.lease_ms,
        )
    }

    fn pbx(&self, node: usize, place: &Place) -> String {
        let host = host(self.address);
        let first = self.media + EDGE_PORTS + (node - EDGES) as u16 * PBX_PORTS;
        let media = json!(self.folder.join("media"));
        format!(
            "[pbx]\nlisten = \"{host}:{}\"\nedge = \"{host}:{}\"\ndomains = [\"{host}\", \"localhost\"]\n\
             rtp_ports = [{first}, {}]\nmedia_threads = 1\nmedia_store = {media}\n{DIALPLAN}",
            place.sip,
            self.sip,
            first + PBX_PORTS - 1,
        )
    }
}

/// The first port of a range for media, which another demo has not taken.
fn media_ports(address: IpAddr) -> u16 {
    let mut firsts = MEDIA_RANGES.step_by(usize::from(MEDIA_PORTS));
    let is_free = |first: &u16| {
        // The edge's and each PBX's first: a demo that has begun has them.
        let places = [0, EDGE_PORTS, EDGE_PORTS + PBX_PORTS];
        places
            .iter()
            .all(|place| std::net::UdpSocket::bind((address, first + place)).is_ok())
    };
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
            .chain(layout.places.iter().skip(1).map(|place| place.sip))
            .collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }
}
