//! The configuration of each node, and its fence agent.

use std::net::SocketAddr;

use super::{DOMAIN, Farm, Lack, NODES, World, free_port};

/// The first port of the relay.
pub(super) const MEDIA_PORTS_FIRST: u16 = 20_000;
/// Where a PBX listens.
pub(super) const PBX_PORT: u16 = 5_070;
/// Who is called to be heard by oneself.
pub(crate) const ECHO: &str = "600";

/// What makes callers be heard, and lets the rest ring.
const DIALPLAN: &str = "[[pbx.route]]\npattern = \"600\"\nsteps = [\"answer\", \"echo\"]\n\
                        [[pbx.route]]\npattern = \"800\"\nsteps = [\"answer\", \"music\"]\n\
                        [[pbx.route]]\npattern = \"u.\"\nsteps = [\"ring $number for 60s\"]\n";

/// An agent that kills all processes of a node and takes its link, by what the laboratory wrote into its folder.
/// Options come as lines of its standard input.
pub(super) const FENCE: &str = "#!/bin/sh\n\
# Switches a node of the laboratory off: its processes, and its link.\n\
while IFS='=' read -r name value; do\n\
    case \"$name\" in\n\
        action) action=$value ;;\n\
        folder) folder=$value ;;\n\
        bridge) bridge=$value ;;\n\
        link) link=$value ;;\n\
    esac\n\
done\n\
[ \"$action\" = off ] || exit 0\n\
echo \"off\" >> \"$folder/fenced\"\n\
if [ -n \"$bridge\" ]; then nsenter --net=\"$bridge\" ip link set \"$link\" down || exit 1; fi\n\
read -r watcher < \"$folder/watcher\" || exit 1\n\
kill -STOP \"$watcher\" 2>/dev/null\n\
for process in $(cat \"/proc/$watcher/task/$watcher/children\" 2>/dev/null) \"$watcher\"; do\n\
    kill -KILL \"$process\" 2>/dev/null\n\
done\n\
exit 0\n";

impl World {
    /// The whole file of a node.
    pub(super) fn config(&self, number: usize) -> String {
        let node = &self.nodes[number];
        let (name, admin) = (&node.name, node.admin);
        let half = match number < NODES {
            true => self.edge_config(),
            false => self.pbx_config(),
        };
        let cluster = self.cluster_config(number);
        format!(
            "[node]\nname = \"{name}\"\ndata = \"data\"\ndrain_timeout_s = 2\n{half}\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[store]\nurl = \"sqlite:../users.db\"\n{cluster}"
        )
    }

    fn edge_config(&self) -> String {
        let sip = self.service.port();
        // On loopback both nodes would want the same ports: sound goes from phone to phone.
        let media = match self.plan.is_loopback || self.plan.media_ports == 0 {
            true => String::new(),
            false => {
                let last = MEDIA_PORTS_FIRST + (self.plan.media_ports - 1);
                format!(
                    "rtp_ports = [{MEDIA_PORTS_FIRST}, {last}]\n[edge.media]\npolicy = \"always\"\n"
                )
            }
        };
        format!(
            "[edge]\ndomains = [\"{DOMAIN}\"]\nlisten = [\"udp:{sip}\"]\nworkers = 1\n{media}\
             [edge.sources]\nallow = [\"127.0.0.0/8\", \"10.77.0.0/24\"]\n{}",
            self.pool_config()
        )
    }

    fn pool_config(&self) -> String {
        let uri = |at: SocketAddr| format!("{{ uri = \"sip:{at}\" }}");
        let mut targets: Vec<String> = match &self.plan.farm {
            Farm::None => return String::new(),
            Farm::Pbxs(_) => {
                let names = self.nodes[NODES..].iter().map(|node| &node.name);
                names
                    .map(|name| format!("{{ service = {name:?} }}"))
                    .collect()
            }
            Farm::Others(all) => all.iter().copied().map(uri).collect(),
        };
        let mut more = match self.plan.farm {
            // A PBX that moves answers what is sent again after half a second: another one that is asked meanwhile would ring the same phone.
            Farm::Pbxs(_) => "[edge.failover]\nreply_timeout_ms = 2000\n",
            Farm::None | Farm::Others(_) => "",
        };
        if self.plan.lack == Some(Lack::Failover) {
            // Nobody looks whether it lives, and nobody else is asked.
            targets.truncate(1);
            more = "probe = { interval_ms = 0 }\n[edge.failover]\ntargets_max = 1\nmove_ringing = false\n";
        }
        let policy = self.plan.policy;
        format!(
            "[[edge.route]]\nuser = \"*\"\npool = \"pbx\"\n\
             [[edge.pool]]\nname = \"pbx\"\npolicy = \"{policy}\"\nslow_start_s = 0\n\
             calls = {{ out_s = 1, out_max_s = 1 }}\ntargets = [{}]\n{more}",
            targets.join(", ")
        )
    }

    fn pbx_config(&self) -> String {
        let [first, last] = self.plan.pbx_ports;
        format!(
            "[pbx]\nedge = \"{}\"\ndomains = [\"{DOMAIN}\"]\nrtp_ports = [{first}, {last}]\n\
             media_threads = 1\n{DIALPLAN}",
            self.service
        )
    }

    fn cluster_config(&self, number: usize) -> String {
        let own = &self.nodes[number];
        let lease_ms = self.plan.lease_ms;
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
        let name = &own.name;
        let mut text = format!(
            "[cluster]\npeer_listen = \"{peer}\"\nlease_ms = {lease_ms}\n\
             certificates = \"../ca/{name}\"\ncoordinator = {coordinator}\n"
        );
        text += &self.fence_config();
        for (service, at) in self.services() {
            let members = self.members(&service);
            let role = match &*service {
                "edge" => String::new(),
                _ => format!("role = \"pbx\"\nport = {}\n", at.port()),
            };
            text += &format!(
                "[[service]]\nname = {service:?}\n{role}members = {members:?}\naddress = \"{}\"\nmover = {mover}\n",
                at.ip()
            );
        }
        text
    }

    fn fence_config(&self) -> String {
        if !self.plan.is_fenced {
            return String::new();
        }
        let program = self.plan.folder.join("fence");
        let bridge = self.bridge.as_ref().map(crate::Host::path);
        let all = self.nodes.iter().map(|node| {
            let name = &node.name;
            format!(
                "[[cluster.fence]]\nnode = {name:?}\nprogram = {program:?}\n\
                 options = {{ folder = {:?}, bridge = {:?}, link = {:?} }}\ntimeout_ms = 5000\n",
                self.plan.folder.join(name),
                bridge.as_deref().unwrap_or_default(),
                super::port(name)
            )
        });
        all.collect()
    }
}
