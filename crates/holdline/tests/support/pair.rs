//! Two nodes of a cluster on this machine: one address, one file as coordinator, one store.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use super::free_port;
use super::node::DOMAIN;
use super::nodes::Nodes;

/// Two nodes, `edge1` and `edge2`, of which one owns the service `edge`.
pub(crate) struct Pair {
    nodes: Nodes,
    /// The port of SIP.
    pub(crate) sip: u16,
}

impl Deref for Pair {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

impl Pair {
    /// Starts both with these users and waits until both are in sync; `edge` is within `[edge]`.
    pub(crate) fn start(edge: &str, users: &[&str]) -> Pair {
        let mut pair = Pair::prepare(edge);
        pair.launch(users);
        pair
    }

    /// Writes the files of both and starts neither.
    pub(crate) fn prepare(edge: &str) -> Pair {
        let sip = free_port();
        let config = |name: &str| config(name, sip, edge);
        let nodes = Nodes::prepare(&["edge1", "edge2"], Vec::new(), config);
        Pair { nodes, sip }
    }

    /// Where phones reach the service.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.sip))
    }
}

fn config(name: &str, sip: u16, edge: &str) -> String {
    let (admin, peer) = (free_port(), free_port());
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n\
         [edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{sip}\"]\n{edge}\n\
         [edge.sources]\nallow = [\"127.0.0.0/8\"]\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\ncertificates = \"../ca/{name}\"\n\
         coordinator = {{ kind = \"sqlite\", path = \"../cluster.db\" }}\n\
         [[service]]\nname = \"edge\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"127.0.0.1\"\n\
         mover = {{ kind = \"none\" }}\n"
    )
}
