//! What the proxy decides and asks about media: whose sound is anchored, by which ports, on which relay.

use std::net::{IpAddr, SocketAddr};

use balancer::PoolId;
use relay::{Command, Port, SessionId};

/// Whether the media of a call go through the relay. The order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Policy {
    /// Session descriptions are not looked at.
    #[default]
    Never,
    /// When one of the parties is behind NAT, or one has IPv4 and the other IPv6.
    Nat,
    /// Always.
    Always,
}

/// Settings of media.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// For calls that no listed domain takes part in.
    pub policy: Policy,
    /// For calls from and to users of a domain, in lower case; of two that are listed the stronger holds.
    pub domains: Vec<(Box<[u8]>, Policy)>,
    /// For calls to a pool; counts as a domain that is listed.
    pub pools: Vec<(PoolId, Policy)>,
    /// What callers are told to wait for when all ports are taken, in seconds.
    pub retry_after_s: u32,
}

impl Settings {
    /// Whether no call is anchored, whoever takes part in it.
    pub fn is_never(&self) -> bool {
        self.policy == Policy::Never && self.domains.is_empty() && self.pools.is_empty()
    }

    /// The policy for a call between two domains, which may go to a pool.
    pub fn policy_of(&self, caller: &[u8], callee: &[u8], pool: Option<PoolId>) -> Policy {
        let listed = |domain: &[u8]| {
            let found = self
                .domains
                .iter()
                .find(|(listed, _)| listed.eq_ignore_ascii_case(domain));
            found.map(|(_, policy)| *policy)
        };
        let mut pools = self.pools.iter();
        let of_pool = pools.find(|(listed, _)| Some(*listed) == pool);
        let of_pool = of_pool.map(|(_, policy)| *policy);
        let strongest = listed(caller).max(listed(callee)).max(of_pool);
        strongest.unwrap_or(self.policy)
    }
}

/// Ports for the media of one party of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPort {
    /// The relay thread that has them.
    pub relay: u16,
    /// Its RTP socket.
    pub port: Port,
    /// What the party is told: address and port of RTP, as in SDP; RTCP is on the next port.
    pub address: SocketAddr,
}

/// Why there are no ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPorts {
    /// All of the range are taken, or the relay has too many commands waiting.
    Taken,
    /// There is no relay, or none with an address for this party.
    Absent,
}

/// The relays as the proxy sees them.
pub trait MediaPorts {
    /// Takes a pair of ports for a party that is reached from `local`, our side of its flow. All ports of a
    /// call lie on one relay thread: `relay` is that of its first pair, `None` for the first.
    ///
    /// # Errors
    /// [`NoPorts`]; nothing was taken then.
    fn take_ports(&mut self, local: IpAddr, relay: Option<u16>) -> Result<MediaPort, NoPorts> {
        let _ = (local, relay);
        Err(NoPorts::Absent)
    }

    /// Takes the pair of ports that another member has taken for a party of a call: the one with this address, as
    /// [`MediaPort::address`] has it, which is the same on all members. All of a call have to lie on one relay thread
    /// here too, so members need the same ports and the same number of relay threads. `None` if it is not there,
    /// or taken. It is marked as taken from then on, so that it is given to nobody else; it is opened, or given back by
    /// [`MediaPorts::give_back`], like any other.
    fn claim(&mut self, address: SocketAddr) -> Option<MediaPort> {
        let _ = address;
        None
    }

    /// Says that a pair which the relay has been told to close is nobody's any more: it may be claimed before the relay
    /// gives it back.
    fn leave(&mut self, port: MediaPort) {
        let _ = port;
    }

    /// Gives ports back that were taken and never opened. What was opened comes back by the relay.
    fn give_back(&mut self, port: MediaPort) {
        let _ = port;
    }

    /// Passes a command to a relay thread, in order, before the messages of this turn leave.
    fn command(&mut self, relay: u16, command: Command) {
        let _ = (relay, command);
    }

    /// What the numbers of this thread's sessions begin with, so that news of them find it.
    fn thread(&self) -> u8 {
        0
    }
}

/// Where a call's media are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchored {
    /// The relay thread.
    pub relay: u16,
    /// The session there.
    pub session: SessionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_of_two_listed_domains_holds() {
        let settings = Settings {
            policy: Policy::Nat,
            domains: vec![
                ((*b"inside.example").into(), Policy::Never),
                ((*b"trunk.example").into(), Policy::Always),
            ],
            pools: Vec::new(),
            retry_after_s: 5,
        };
        let policy = |caller: &[u8], callee: &[u8]| settings.policy_of(caller, callee, None);
        assert_eq!(policy(b"inside.example", b"Inside.Example"), Policy::Never);
        assert_eq!(policy(b"inside.example", b"trunk.example"), Policy::Always);
        assert_eq!(
            policy(b"inside.example", b"elsewhere.example"),
            Policy::Never
        );
        assert_eq!(policy(b"elsewhere.example", b"else.example"), Policy::Nat);
    }
}
