//! What the operator says about pools.

use core::hash::Hasher;

use balancer::{PoolId, PoolSettings, Wanted};
use sip::Method;
use siphasher::sip::SipHasher13;

/// Pools, what goes to them, and when a call moves on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FarmSettings {
    /// The pools.
    pub pools: Vec<PoolSettings>,
    /// Which requests go to which pool; the first that fits holds.
    pub routes: Vec<RouteSettings>,
    /// The policies of media of pools that have their own.
    pub media: Vec<(String, proxy::media::Policy)>,
    /// When a call moves on to the next target.
    pub failover: proxy::pool::Settings,
    /// What the operator said of targets, by name, before the node started; a reload does not look at it.
    pub words: Vec<(String, Wanted)>,
}

/// Requests that go to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// The user part: `*` stands for any characters, `?` for one.
    pub user: String,
    /// The domain, in lower case; `None` for all of ours.
    pub domain: Option<String>,
    /// The methods.
    pub methods: Vec<Method>,
    /// The name of the pool.
    pub pool: String,
}

impl FarmSettings {
    pub(super) fn of_balancer(&self, hash_key: [u64; 2]) -> balancer::Settings {
        balancer::Settings {
            pools: self.pools.clone(),
            hash_key,
        }
    }

    /// The policies of media, of the pools that `find` knows.
    pub(super) fn media_of(
        &self,
        find: impl Fn(&str) -> Option<PoolId>,
    ) -> Vec<(PoolId, proxy::media::Policy)> {
        let own = self.media.iter();
        own.filter_map(|(pool, policy)| Some((find(pool)?, *policy)))
            .collect()
    }

    /// The routes, to the pools that `find` knows.
    pub(super) fn routes_to(&self, find: impl Fn(&str) -> Option<PoolId>) -> Vec<edge::PoolRoute> {
        let route = |route: &RouteSettings| {
            let domain = route.domain.as_ref();
            Some(edge::PoolRoute {
                user: route.user.as_bytes().into(),
                domain: domain.map(|domain| domain.as_bytes().into()),
                methods: route.methods.clone(),
                pool: find(&route.pool)?,
            })
        };
        self.routes.iter().filter_map(route).collect()
    }
}

/// The key of the hash policies: the same after a restart, and nobody else's.
pub(crate) fn hash_key(secret: (u64, u64)) -> [u64; 2] {
    let word = |number: u64| {
        let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
        hasher.write(b"pools");
        hasher.write_u64(number);
        hasher.finish()
    };
    [word(0), word(1)]
}
