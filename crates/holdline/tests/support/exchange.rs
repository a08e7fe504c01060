//! An edge and two nodes with PBXs on this machine: each PBX is a service that the other node is a member of too.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use serde_json::Value;

use super::node::DOMAIN;
use super::nodes::Nodes;
use super::office::{files_below, own_address, records_in};
use super::{Codec, Talker, free_port, wait_until};

/// The nodes: the edge first.
const NODES: [&str; 3] = ["edge1", "pbx1", "pbx2"];

/// The nodes and what they share.
pub(crate) struct Exchange {
    nodes: Nodes,
    sip: u16,
}

impl Deref for Exchange {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

impl Exchange {
    /// Starts them with these users, whose extensions are 101 and so on, and this dialplan, and waits until all are in sync. Sounds are
    /// in a folder that both PBXs have.
    pub(crate) fn start(users: &[&str], plan: &str) -> Exchange {
        Exchange::start_on("media_store = \"../media\"\n", users, plan)
    }

    /// As [`Exchange::start`], with the place where sounds are.
    pub(crate) fn start_on(media: &str, users: &[&str], plan: &str) -> Exchange {
        let (sip, port) = (free_port(), free_port());
        let addresses = [own_address(), own_address()];
        let extensions: String = users
            .iter()
            .zip(101..)
            .map(|(user, number)| {
                format!("[[pbx.extension]]\nnumber = \"{number}\"\nphones = [\"{user}\"]\n")
            })
            .collect();
        let nodes = Nodes::prepare(&NODES, Vec::new(), |name| {
            let role = match name {
                "edge1" => edge(sip),
                _ => format!(
                    "[pbx]\nedge = \"127.0.0.1:{sip}\"\ndomains = [\"{DOMAIN}\"]\nrtp_ports = [20000, 20199]\n\
                     media_threads = 1\ncdr_file = \"cdr.jsonl\"\n{media}\n{extensions}\n{plan}\n"
                ),
            };
            config(name, &role, addresses, port)
        });
        let mut exchange = Exchange { nodes, sip };
        exchange.begin(0);
        wait_until("the edge", || exchange.status(0));
        exchange.add_users(users);
        exchange.begin(1);
        exchange.comes_to("pbx1", 1);
        exchange.begin(2);
        for service in ["pbx1", "pbx2"] {
            exchange.has_standby(service);
        }
        wait_until("the edge to see them", || {
            let status = exchange.status(0)?;
            let targets = status["pools"][0]["targets"].as_array()?.clone();
            targets
                .iter()
                .all(|target| target["state"] == "up")
                .then_some(())
        });
        exchange
    }

    /// A phone.
    pub(crate) fn phone(&self, user: &str) -> Talker {
        let edge = SocketAddr::from(([127, 0, 0, 1], self.sip));
        Talker::at(edge, user, &[Codec::Pcmu])
    }

    /// What the media store holds below a folder, by names that do not begin with a dot.
    pub(crate) fn stored(&self, under: &str) -> Vec<PathBuf> {
        files_below(self.folder().join("media").join(under))
    }

    /// The records of calls of both nodes, as JSON lines.
    pub(crate) fn records(&self) -> Vec<Value> {
        let of = |number| records_in(&self.path(number));
        [1, 2].map(of).concat()
    }

    /// Legs of the PBXs of a node.
    pub(crate) fn legs(&self, number: usize) -> Option<u64> {
        self.status(number)?["pbx"]["legs"].as_u64()
    }
}

fn edge(sip: u16) -> String {
    let relay = own_address();
    format!(
        "[edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:127.0.0.1:{sip}\"]\nrtp_ports = [21000, 21199]\n\
         [edge.media]\npolicy = \"always\"\naddresses = [\"{relay}\"]\n\
         [edge.sources]\nallow = [\"127.0.0.0/8\"]\n\
         [[edge.pool]]\nname = \"pbx\"\npolicy = \"priority\"\nslow_start_s = 0\nprobe = {{ timeout_ms = 500 }}\n\
         targets = [{{ service = \"pbx1\" }}, {{ service = \"pbx2\" }}]\n\
         [[edge.route]]\nuser = \"*\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\npool = \"pbx\"\n\
         [edge.failover]\nreply_timeout_ms = 5000\n"
    )
}

fn config(name: &str, role: &str, addresses: [IpAddr; 2], port: u16) -> String {
    let (admin, peer) = (free_port(), free_port());
    let [one, two] = addresses;
    format!(
        "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 10\n{role}\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [store]\nurl = \"sqlite:../users.db\"\n\
         [cluster]\npeer_listen = \"127.0.0.1:{peer}\"\ncertificates = \"../ca/{name}\"\nlease_ms = 1000\n\
         coordinator = {{ kind = \"sqlite\", path = \"../cluster.db\" }}\n\
         [[service]]\nname = \"pbx1\"\nrole = \"pbx\"\nmembers = [\"pbx1\", \"pbx2\"]\naddress = \"{one}\"\nport = {port}\n\
         mover = {{ kind = \"none\" }}\n\
         [[service]]\nname = \"pbx2\"\nrole = \"pbx\"\nmembers = [\"pbx2\", \"pbx1\"]\naddress = \"{two}\"\nport = {port}\n\
         mover = {{ kind = \"none\" }}\n"
    )
}
