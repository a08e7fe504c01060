//! What a laboratory is to be like.

use std::path::PathBuf;

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
    /// Users beside those of the phones, by name; the password of each is its name.
    pub users: Vec<String>,
    /// What calls go to.
    pub farm: Farm,
    /// How a target of the farm is chosen: a policy of `edge.pool`.
    pub policy: &'static str,
    /// Ports of each edge's relay; 0: sound does not pass the edge.
    pub media_ports: u16,
    /// The first and the last port for sound of each PBX.
    pub pbx_ports: [u16; 2],
    /// Whether who claims a service switches its owner off first.
    pub is_fenced: bool,
    /// What is taken away from the platform, to see that it is noticed.
    pub lack: Option<Lack>,
}

/// What calls go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farm {
    /// Nothing: to the phone that is called.
    None,
    /// So many PBXs.
    Pbxs(usize),
    /// Media servers of others, by their addresses.
    Others(Vec<std::net::SocketAddr>),
}

/// What is taken away from the platform, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Calls stay with the PBX that they were sent to first, and it has nobody to stand in for it.
    Failover,
    /// The edge has no standby that knows its calls.
    Standby,
    /// The second edge drops the sound of calls.
    Relay,
    /// Owners answer as if their standby knew what it never hears of. Of debug builds only.
    Commit,
}

impl Lack {
    /// All of them, by their names.
    pub const ALL: [(&str, Lack); 4] = [
        ("failover", Lack::Failover),
        ("standby", Lack::Standby),
        ("relay", Lack::Relay),
        ("commit", Lack::Commit),
    ];

    /// Whether it can be taken away from this build.
    #[must_use]
    pub fn is_possible(self) -> bool {
        self != Lack::Commit || cfg!(debug_assertions)
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Lack> {
        let mut all = Lack::ALL.into_iter();
        all.find(|(own, _)| *own == name).map(|(_, lack)| lack)
    }
}

impl Plan {
    /// A pair of edges, and nothing else, in this folder.
    #[must_use]
    pub fn of(program: PathBuf, folder: PathBuf) -> Plan {
        Plan {
            program,
            is_loopback: false,
            lease_ms: 300,
            is_on_disk: false,
            folder,
            users: Vec::new(),
            farm: Farm::None,
            policy: "priority",
            media_ports: 200,
            // Other ones than the relay's, since on loopback all have one address.
            pbx_ports: [40_000, 49_999],
            is_fenced: false,
            lack: None,
        }
    }

    /// How many PBXs of ours there are.
    #[must_use]
    pub fn pbxs(&self) -> usize {
        match self.farm {
            Farm::Pbxs(count) => count,
            Farm::None | Farm::Others(_) => 0,
        }
    }
}
