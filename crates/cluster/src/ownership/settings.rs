//! The spans that ownership goes by.

use crate::error::Error;

/// Spans of the ownership protocol, in microseconds of each node's own clock. All nodes of a cluster have
/// the same lease and margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an acknowledgement or a renewal lasts.
    pub lease_us: u64,
    /// How much earlier an owner stops: two nodes' clocks may run apart by less than this a lease.
    pub margin_us: u64,
    /// Between heartbeats.
    pub heartbeat_us: u64,
    /// Between renewals of the record.
    pub renew_us: u64,
    /// Between a member's readings of the record, where nothing brings it changes by itself.
    pub read_us: u64,
    /// When a request to the coordinator is sent again.
    pub request_us: u64,
    /// How long a member that is not in sync leaves the service to those that are, after the lease; `None`:
    /// it never claims.
    pub grace_us: Option<u64>,
    /// How much later each member than the one before it in order of preference claims, so that one wins
    /// without a race.
    pub stagger_us: u64,
    /// How long a drain before a switchover may take.
    pub drain_us: u64,
    /// How long a more preferred member has been in sync when the service moves back to it; `None`: it stays.
    pub failback_us: Option<u64>,
    /// Whether a claim waits for the fence agent.
    pub fences: bool,
    /// How long a fence agent may take.
    pub fence_us: u64,
    /// How long the commit waits for a member before it is dropped from the members in sync.
    pub commit_timeout_us: u64,
}

impl Settings {
    /// The spans that go with a lease; 300 ms is the default of the configuration.
    pub fn of_lease(lease_us: u64) -> Settings {
        Settings {
            lease_us,
            margin_us: lease_us / 10,
            heartbeat_us: lease_us / 6,
            renew_us: lease_us / 4,
            read_us: lease_us / 6,
            request_us: lease_us / 3,
            grace_us: Some(lease_us * 10),
            stagger_us: lease_us / 10,
            drain_us: lease_us * 3,
            failback_us: None,
            fences: false,
            fence_us: 30_000_000,
            commit_timeout_us: lease_us * 2 / 3,
        }
    }

    /// Looks for contradictions.
    ///
    /// # Errors
    /// [`Error::Setting`] with the setting's name.
    pub fn check(&self) -> Result<(), Error> {
        let lease = self.lease_us;
        let wrong = [
            ("lease_us", lease < 1000),
            (
                "margin_us",
                self.margin_us == 0 || self.margin_us > lease / 2,
            ),
            (
                "heartbeat_us",
                self.heartbeat_us == 0 || self.heartbeat_us > lease / 3,
            ),
            ("renew_us", self.renew_us == 0 || self.renew_us > lease / 2),
            ("read_us", self.read_us == 0),
            (
                "grace_us",
                self.grace_us.is_some_and(|grace_us| grace_us < lease),
            ),
            (
                "request_us",
                self.request_us == 0 || self.request_us > lease,
            ),
            ("commit_timeout_us", self.commit_timeout_us == 0),
        ];
        match wrong.iter().find(|(_, wrong)| *wrong) {
            Some(&(name, _)) => Err(Error::Setting { name }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spans_of_a_lease_agree_and_a_margin_of_none_does_not() {
        let settings = Settings::of_lease(300_000);
        assert_eq!(settings.check(), Ok(()));
        let bad = Settings {
            margin_us: 0,
            ..settings
        };
        assert_eq!(bad.check(), Err(Error::Setting { name: "margin_us" }));
    }
}
