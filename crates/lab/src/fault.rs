//! What befalls the owner of a service, and how it is made good.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::Error;
use crate::host::Waiting;
use crate::world::World;

/// How long a frozen node is frozen.
const FROZEN: Duration = Duration::from_secs(1);
/// How long it is watched once it is awake.
const AWAKE: Duration = Duration::from_millis(700);
/// How long it is watched otherwise, at least.
const WATCHED: Duration = Duration::from_secs(1);

/// What befalls the owner of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed; the one that watches it lives.
    Killed,
    /// Both are killed; the host lives, and with it the kernel that has the address.
    Unwatched,
    /// All processes are killed and the link is taken at once, as by a power cut.
    Node,
    /// All processes stand still, and go on some seconds later.
    Frozen,
    /// No packet passes between the nodes.
    CutPeers,
    /// No packet passes between it and the coordinators.
    CutCoordinator,
    /// Both.
    CutBoth,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::Killed,
        Fault::Unwatched,
        Fault::Node,
        Fault::Frozen,
        Fault::CutPeers,
        Fault::CutCoordinator,
        Fault::CutBoth,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Unwatched => "unwatched",
            Fault::Node => "node",
            Fault::Frozen => "frozen",
            Fault::CutPeers => "cut-peers",
            Fault::CutCoordinator => "cut-coordinator",
            Fault::CutBoth => "cut-both",
        }
    }

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether the service has to move: where one channel is cut, the other keeps the owner in office.
    pub fn moves(self) -> bool {
        !matches!(self, Fault::CutPeers | Fault::CutCoordinator)
    }

    /// Whether it can befall a node that is on loopback.
    pub fn is_possible(self, on_loopback: bool) -> bool {
        let is_cut = matches!(
            self,
            Fault::CutPeers | Fault::CutCoordinator | Fault::CutBoth
        );
        !(on_loopback && is_cut)
    }

    /// Does what takes time beforehand.
    pub(crate) fn prepare(self, world: &World, number: usize) -> Result<Option<Waiting>, Error> {
        let from = match self {
            Fault::Killed | Fault::Unwatched | Fault::Frozen => return Ok(None),
            Fault::Node => return world.unlink(number),
            Fault::CutPeers => world.others(number),
            Fault::CutCoordinator => world.coordinators(),
            Fault::CutBoth => [world.others(number), world.coordinators()].concat(),
        };
        cut(world, number, &from).map(Some)
    }

    /// Has it befall a node, now.
    pub(crate) fn befall(
        self,
        world: &mut World,
        number: usize,
        prepared: Option<Waiting>,
    ) -> Result<(), Error> {
        let signal = |what, process| {
            if let Some(process) = process {
                // It may have ended by itself.
                let _ = kill(process, what);
            }
        };
        let done = prepared.map_or(Ok(()), Waiting::go);
        match self {
            Fault::Killed => signal(Signal::SIGKILL, world.process(number)),
            Fault::Unwatched | Fault::Node => world.end(number),
            Fault::Frozen => {
                let (watcher, node) = (world.watcher(number), world.process(number));
                signal(Signal::SIGSTOP, node);
                signal(Signal::SIGSTOP, watcher);
            }
            Fault::CutPeers | Fault::CutCoordinator | Fault::CutBoth => {}
        }
        done
    }

    /// What follows while phones and judge look on.
    pub(crate) fn follow(self, world: &World, number: usize) {
        if self != Fault::Frozen {
            std::thread::sleep(WATCHED);
            return;
        }
        std::thread::sleep(FROZEN);
        let both = [world.process(number), world.watcher(number)];
        for process in both.into_iter().flatten() {
            let _ = kill(process, Signal::SIGCONT);
        }
        std::thread::sleep(AWAKE);
    }

    /// Makes it good.
    pub(crate) fn heal(self, world: &mut World, number: usize) -> Result<(), Error> {
        match self {
            Fault::Killed | Fault::Frozen | Fault::Unwatched => world.begin(number),
            Fault::Node => {
                world.link(number)?;
                world.begin(number)
            }
            Fault::CutPeers | Fault::CutCoordinator | Fault::CutBoth => {
                let host = world.host(number);
                host.run("nft", &["delete", "table", "ip", "lab"], "")
                    .map(drop)
            }
        }
    }
}

/// What drops all that passes between a node and these addresses, both ways: nobody is told.
fn cut(world: &World, number: usize, from: &[Ipv4Addr]) -> Result<Waiting, Error> {
    let all: Vec<_> = from.iter().map(Ipv4Addr::to_string).collect();
    let all = all.join(", ");
    let rules = format!(
        "add table ip lab\n\
         add chain ip lab in {{ type filter hook prerouting priority -300 ; }}\n\
         add rule ip lab in ip saddr {{ {all} }} drop\n\
         add chain ip lab out {{ type filter hook output priority -300 ; }}\n\
         add rule ip lab out ip daddr {{ {all} }} drop\n"
    );
    world.host(number).prepare("nft", &["-f", "-"], rules)
}
