//! Pools without sockets.

use std::net::SocketAddr;

use balancer::{
    Call, CallSlot, Due, NoTarget, PoolId, PoolSettings, Pools, Settings, Signal, State, TargetId,
    Time,
};
use proxy::Chosen;
use transaction::{Flow, Transport};

pub struct Farm {
    pub pools: Option<Pools>,
    pub name: String,
    targets: Vec<TargetId>,
    pub now_ms: u64,
}

impl Farm {
    pub fn new() -> Farm {
        Farm {
            pools: None,
            name: String::new(),
            targets: Vec::new(),
            now_ms: 0,
        }
    }

    /// Begins with one pool; its targets are URIs with addresses.
    pub fn begin(&mut self, pool: PoolSettings) -> PoolId {
        let name = pool.name.clone();
        self.name = name.to_string();
        let settings = Settings {
            pools: vec![pool],
            hash_key: [1, 2],
        };
        let pools = Pools::new(settings, Time::ZERO, 7).expect("good settings");
        let id = pools.find(&name).expect("the pool");
        let status = pools.snapshot(Time::ZERO);
        self.targets = status[0].targets.iter().map(|target| target.id).collect();
        self.pools = Some(pools);
        id
    }

    fn now(&self) -> Time {
        Time::from_ms(self.now_ms)
    }

    pub fn address(&self, target: TargetId) -> Option<SocketAddr> {
        let endpoint = self.pools.as_ref()?.endpoint(target)?;
        endpoint.uri.strip_prefix("sip:")?.parse().ok()
    }

    pub fn target_at(&self, address: &str) -> TargetId {
        let address = address.parse().ok();
        let found = self
            .targets
            .iter()
            .find(|target| self.address(**target) == address);
        *found.expect("a target")
    }

    pub fn state(&self, address: &str) -> State {
        let target = self.target_at(address);
        self.pools.as_ref().expect("pools").state(target)
    }

    /// Calls that are counted at all targets.
    pub fn active(&self) -> u32 {
        let pools = self.pools.as_ref().expect("pools");
        self.targets
            .iter()
            .map(|target| pools.active(*target))
            .sum()
    }

    pub fn due(&mut self) -> Vec<(TargetId, u32)> {
        let now = self.now();
        let mut due = Vec::new();
        if let Some(pools) = &mut self.pools {
            pools.poll(now, &mut due);
        }
        let probe = |due: &Due| match due {
            Due::Probe { target, number } => Some((*target, *number)),
            Due::Lookup(_) => None,
        };
        due.iter().filter_map(probe).collect()
    }

    pub fn choose(
        &mut self,
        pool: PoolId,
        call: &Call<'_>,
        is_call: bool,
        tried: &[TargetId],
    ) -> Result<Chosen, NoTarget> {
        let now = self.now();
        let pools = self.pools.as_mut().expect("pools");
        let pick = pools.pick(pool, now, call, tried)?;
        let slot = is_call.then(|| pools.begin(now, pick.target).expect("it was picked"));
        let remote = self.address(pick.target).expect("an address");
        Ok(Chosen {
            target: pick.target,
            slot,
            transport: Transport::Udp,
            remote,
        })
    }

    /// Counts a call of another owner at the target at an address.
    pub fn adopt(&mut self, remote: SocketAddr, is_call: bool) -> Option<Chosen> {
        let now = self.now();
        let mut targets = self.targets.iter();
        let target = *targets.find(|target| self.address(**target) == Some(remote))?;
        let pools = self.pools.as_mut()?;
        let slot = is_call.then(|| pools.begin(now, target).expect("a target"));
        Some(Chosen {
            target,
            slot,
            transport: Transport::Udp,
            remote,
        })
    }

    pub fn release(&mut self, slot: CallSlot) {
        let now = self.now();
        self.pools.as_mut().expect("pools").end(now, slot);
    }

    pub fn report(&mut self, target: TargetId, signal: Signal) {
        let now = self.now();
        self.pools
            .as_mut()
            .expect("pools")
            .report(now, target, signal);
    }

    pub fn is_target(&self, flow: &Flow) -> bool {
        self.targets
            .iter()
            .any(|target| self.address(*target) == Some(flow.remote))
    }

    #[track_caller]
    pub fn has_forgotten(&self) {
        assert!(
            self.pools.as_ref().is_none_or(Pools::is_idle),
            "calls are counted"
        );
    }
}
