//! What a run is made of: drawn from its seed, or set by a test.

use cluster::Settings;
use cluster::rule::Rules;

use crate::random::Random;

/// Chances of what goes wrong. Spans are in microseconds, odds are "once in so many".
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Mean time between two faults of the schedule; zero: there are none.
    pub every_us: u64,
    /// Longest fault.
    pub lasts_us_max: u64,
    /// Odds that a fault is a script of several that belong together.
    pub script_odds: u64,
    /// Whether the coordinator may be restored from an old copy.
    pub restores: bool,
    /// Only this script, by its number.
    pub script: Option<u64>,
    /// Odds that a process freezes between deciding and doing.
    pub freeze_odds: u64,
    /// Odds that the answer to a request is lost.
    pub answer_lost_odds: u64,
    /// Odds that a request is under way for seconds.
    pub stuck_odds: u64,
    /// Odds that a segment is lost and sent again.
    pub segment_lost_odds: u64,
    /// Odds that a read shows a record of some time ago.
    pub stale_read_odds: u64,
}

impl Faults {
    /// Nothing goes wrong by itself.
    pub const NONE: Faults = Faults {
        every_us: 0,
        lasts_us_max: 0,
        script_odds: 0,
        restores: false,
        script: None,
        freeze_odds: 0,
        answer_lost_odds: 0,
        stuck_odds: 0,
        segment_lost_odds: 0,
        stale_read_odds: 0,
    };
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u8,
    /// The members of each service, in order of preference.
    pub services: Vec<Vec<u8>>,
    /// The spans of the protocol.
    pub settings: Settings,
    /// How far each node's clock may go wrong, in parts per million.
    pub clock_ppm: i64,
    /// What goes wrong.
    pub faults: Faults,
    /// How long it does.
    pub chaos_us: u64,
    /// Whether members are told of changes of the record, instead of only reading it.
    pub watches: bool,
    /// Whether each node has a supervisor.
    pub supervised: bool,
    /// Between two of an owner's changes, on average.
    pub work_us: u64,
    /// Bytes of batches that wait for members.
    pub backlog_bytes_max: usize,
    /// The rules that hold.
    pub rules: Rules,
    /// Whether the kernel holds back what is sent after its deadline.
    pub kernel_keeps: bool,
    /// Whether to keep the trace as text, not only its hash.
    pub verbose: bool,
}

/// The margin of the default settings is a tenth of the lease: rates that differ by less than
/// 1 / 0.9 = 1.111 are allowed, and 1.045 / 0.955 = 1.094.
pub const CLOCK_PPM: i64 = 45_000;
const LEASE_US: u64 = 300_000;

impl Plan {
    /// The run that `seed` stands for.
    pub fn of_seed(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        let nodes = random.between(3, 7) as u8;
        let mut settings = Settings::of_lease(LEASE_US);
        settings.grace_us = match random.between(0, 3) {
            0 => None,
            1 => Some(50_000),
            _ => Some(1_000_000),
        };
        settings.fences = random.one_in(6);
        settings.fence_us = 2_000_000;
        settings.failback_us = random.one_in(3).then_some(1_500_000);
        Plan {
            seed,
            nodes,
            services: services(nodes, &mut random),
            settings,
            clock_ppm: CLOCK_PPM,
            faults: Faults {
                every_us: random.between(150_000, 900_000),
                lasts_us_max: random.between(300_000, 4_000_000),
                script_odds: 5,
                restores: false,
                script: None,
                freeze_odds: random.between(500, 6_000),
                answer_lost_odds: random.between(20, 300),
                stuck_odds: random.between(50, 600),
                segment_lost_odds: random.between(50, 2_000),
                stale_read_odds: random.between(3, 30),
            },
            chaos_us: 8_000_000,
            watches: random.one_in(2),
            supervised: random.one_in(2),
            work_us: random.between(10_000, 60_000),
            backlog_bytes_max: if random.one_in(3) {
                8 * 1024
            } else {
                256 * 1024
            },
            rules: Rules::default(),
            kernel_keeps: true,
            verbose: false,
        }
    }

    /// A cluster on which nothing goes wrong but what a test does to it.
    pub fn quiet(seed: u64, nodes: u8, services: Vec<Vec<u8>>) -> Plan {
        Plan {
            nodes,
            services,
            settings: Settings::of_lease(LEASE_US),
            faults: Faults::NONE,
            chaos_us: 0,
            watches: true,
            supervised: true,
            work_us: 2_000,
            clock_ppm: 100,
            ..Plan::of_seed(seed)
        }
    }
}

/// An edge of two members, then services that prefer different owners (active-active), of two members or
/// of three.
fn services(nodes: u8, random: &mut Random) -> Vec<Vec<u8>> {
    let mut services = vec![vec![0, 1]];
    for first in 1..nodes.min(random.between(2, 4) as u8) {
        let size = random.between(2, 3) as u8;
        services.push((0..size).map(|step| (first + step) % nodes).collect());
    }
    services
}
