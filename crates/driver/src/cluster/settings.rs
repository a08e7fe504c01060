//! What a node's place in a cluster is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Identity, Settings};
use coordinator::Coordinator;
use coordinator::fence::Agent;

use super::roster::Roster;

/// How an address of a service comes to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoverSettings {
    /// It is local to all members, which are on one machine: the owner alone has the sockets.
    None,
    /// By the kernel's own interface.
    Netlink {
        /// The interface that has the address.
        interface: String,
        /// Bits of the network's prefix; all of them unless said otherwise.
        prefix_bits: Option<u8>,
        /// Whether the kernel keeps the lease too.
        kernel_lease: bool,
    },
    /// By a program of the operator's.
    Exec {
        /// The program.
        program: PathBuf,
        /// The interface that it is told.
        interface: String,
        /// How long it may take.
        timeout: Duration,
    },
}

/// A service that this node is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its name, unique in the cluster.
    pub name: String,
    /// The names of its members, the preferred one first.
    pub members: Vec<String>,
    /// Its address, if it has one of its own.
    pub address: Option<IpAddr>,
    /// How the address moves.
    pub mover: MoverSettings,
    /// The spans that ownership goes by.
    pub spans: Settings,
    /// Most records of its table.
    pub records_max: usize,
}

/// The way to the process that watches this one.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPulse {
    /// Says who this process is, before it claims anything.
    pub introduce: fn(Identity),
    /// Says that the thread which keeps the heartbeats goes on.
    pub beat: fn(),
}

/// A node's place in a cluster.
#[derive(Clone)]
pub struct ClusterSettings {
    /// The cluster's name, as in its secret.
    pub name: String,
    /// This node's name.
    pub node: String,
    /// Where it listens for other nodes.
    pub peer_listen: SocketAddr,
    /// What other nodes are told to reach it by.
    pub peer_advertise: SocketAddr,
    /// The folder with its certificates.
    pub certificates: PathBuf,
    /// The version of the program, for other nodes.
    pub version: String,
    /// Where the records of ownership are.
    pub coordinator: Arc<Coordinator>,
    /// What is kept of the cluster between lives of the process: a folder.
    pub data: PathBuf,
    /// The edge's service. Without one the edge acts by itself.
    pub edge: Option<ServiceSettings>,
    /// The PBXs' services that this node is a member of.
    pub pbxs: Vec<ServiceSettings>,
    /// Where PBXs of the cluster take SIP. They are another node's a moment later: that nobody is there now says nothing.
    pub pbx_addresses: Vec<SocketAddr>,
    /// Who acts for these services; a PBX enters before the node starts.
    pub roster: Roster,
    /// What switches a node's machine off before its service is claimed, by the node's name.
    pub fences: Vec<(String, Agent)>,
    /// Who is told that this process lives.
    pub pulse: Option<ClusterPulse>,
}

impl std::fmt::Debug for ClusterSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterSettings")
            .field("name", &self.name)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl ClusterSettings {
    /// All services that this node is a member of.
    pub fn services(&self) -> impl Iterator<Item = &ServiceSettings> {
        self.edge.iter().chain(&self.pbxs)
    }
}

impl ServiceSettings {
    /// Whether the sockets of the service are opened by its owner alone.
    pub fn opens_late(&self) -> bool {
        self.mover == MoverSettings::None
    }
}
