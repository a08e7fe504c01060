//! What is known of the platform at one moment: what the view shows and the story goes by.

/// Everything, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Snapshot {
    /// Since the demo began, in milliseconds.
    pub(super) at_ms: u64,
    /// How a phone joins.
    pub(super) join: Join,
    /// The processes, the edges first.
    pub(super) nodes: Vec<NodeView>,
    /// The services of the cluster.
    pub(super) services: Vec<ServiceView>,
    /// The media servers as the edge sees them.
    pub(super) targets: Vec<TargetView>,
    /// The calls.
    pub(super) calls: CallsView,
    /// What was done to the platform last, and what the calls felt.
    pub(super) felt: Option<Felt>,
    /// What happened, the oldest first, with its time.
    pub(super) events: Vec<(u64, String)>,
}

/// How a phone joins.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Join {
    /// Address and port, as they stand in a URI.
    pub(super) at: String,
    /// User and password.
    pub(super) users: Vec<(String, String)>,
    /// The users of these who have a phone here.
    pub(super) here: Vec<String>,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum NodeState {
    /// There is no process.
    #[default]
    Down,
    /// It does not answer yet, or not now.
    Starting,
    /// It answers.
    Up,
    /// It answers, and was asked to leave its work to others.
    Drained,
    /// It was stopped.
    Frozen,
}

impl NodeState {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            NodeState::Down => "down",
            NodeState::Starting => "starting",
            NodeState::Up => "up",
            NodeState::Drained => "drained",
            NodeState::Frozen => "frozen",
        }
    }
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NodeView {
    /// Its name.
    pub(super) name: String,
    /// Where it is in its life.
    pub(super) state: NodeState,
    /// The number of its process, if there is one.
    pub(super) process: Option<u32>,
    /// Seconds since it started, if it answers.
    pub(super) uptime_s: Option<u64>,
    /// Calls that it has to do with: the edge's calls, or half of a PBX's legs.
    pub(super) calls: u64,
    /// How late its heartbeats came at most, in microseconds.
    pub(super) late_us: u64,
    /// Packets that it relays in a second, if it does.
    pub(super) packets_per_s: Option<u64>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServiceView {
    /// Its name.
    pub(super) name: String,
    /// Who owns it, by the owner's own word.
    pub(super) owner: Option<String>,
    /// The term of office.
    pub(super) epoch: u64,
    /// Who may own it.
    pub(super) members: Vec<String>,
    /// Who knows all that the owner does.
    pub(super) in_sync: Vec<String>,
    /// Records in the owner's table.
    pub(super) records: u64,
    /// How long a batch takes to be safe, in microseconds.
    pub(super) commit_us: u64,
}

impl ServiceView {
    /// Whether it has an owner and all members are in sync.
    pub(super) fn is_whole(&self) -> bool {
        self.owner.is_some() && self.in_sync.len() == self.members.len()
    }
}

/// A media server of a pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TargetView {
    /// The pool.
    pub(super) pool: String,
    /// Its service, or else its URI.
    pub(super) target: String,
    /// How it stands, in a word.
    pub(super) state: String,
    /// Active calls.
    pub(super) calls: u32,
}

/// The calls as those who make and take them have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CallsView {
    /// How many are to go on at one time.
    pub(super) wanted: u64,
    /// That go on.
    pub(super) active: u64,
    /// Begun so far.
    pub(super) begun: u64,
    /// Of these, ended as they should.
    pub(super) completed: u64,
    /// Of these, lost: refused, cut off, without an end, or without sound for good.
    pub(super) lost: u64,
    /// Why calls failed, in words.
    pub(super) failures: String,
    /// How many phones are registered.
    pub(super) phones: u64,
    /// How long a call takes to be answered, half of them and 99 of 100, in microseconds.
    pub(super) set_up_us: (u64, u64),
    /// How it sounds by the relay's estimate: the mean and the worst way of a call.
    pub(super) mos: Option<(f64, f64)>,
    /// From packet to packet in the last seconds: half of them, and the longest, in microseconds.
    pub(super) gap_us: (u64, u64),
    /// For how long the stream has heard nothing that waits longest, in microseconds.
    pub(super) silent_us: u64,
}

/// What was done to the platform, and what the calls felt.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Felt {
    /// When, since the demo began, in milliseconds.
    pub(super) at_ms: u64,
    /// In words: "edge1 killed".
    pub(super) what: String,
    /// For how long the service gave no answer, where one was asked, in milliseconds.
    pub(super) away_ms: Option<u64>,
    /// It answers again, or was not asked.
    pub(super) is_back: bool,
    /// The longest pause in any stream since, in microseconds.
    pub(super) gap_us: u64,
    /// Calls lost since.
    pub(super) lost: u64,
    /// Calls that went on then.
    pub(super) of: u64,
}

impl Felt {
    /// In a line.
    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.what, self.consequences())
    }

    /// In a line, but for what was done.
    pub(super) fn consequences(&self) -> String {
        let service = match (self.away_ms, self.is_back) {
            (Some(ms), true) => format!("service back after {ms} ms, "),
            (Some(ms), false) => format!("service away for {ms} ms, "),
            (None, _) => String::new(),
        };
        format!(
            "{service}longest gap {} ms, calls lost {} of {}",
            self.gap_us.div_ceil(1_000),
            self.lost,
            self.of
        )
    }
}

impl Snapshot {
    /// The service of this name.
    pub(super) fn service(&self, name: &str) -> Option<&ServiceView> {
        self.services.iter().find(|service| service.name == name)
    }

    /// What a node does for the services, in words.
    pub(super) fn part_of(&self, name: &str) -> String {
        let mut parts = [
            ("owner of", Vec::new()),
            ("standby of", Vec::new()),
            ("not in sync:", Vec::new()),
        ];
        for service in &self.services {
            let is_in = |members: &[String]| members.iter().any(|member| member == name);
            let part = match service.owner.as_deref() == Some(name) {
                true => 0,
                false if is_in(&service.in_sync) => 1,
                false if is_in(&service.members) => 2,
                false => continue,
            };
            parts[part].1.push(service.name.as_str());
        }
        let told = parts.iter().filter(|(_, names)| !names.is_empty());
        let told = told.map(|(word, names)| format!("{word} {}", names.join(" ")));
        told.collect::<Vec<String>>().join("; ")
    }
}

/// A time since the beginning, as minutes and seconds.
pub(super) fn clock(at_ms: u64) -> String {
    format!("{}:{:02}", at_ms / 60_000, at_ms / 1_000 % 60)
}
