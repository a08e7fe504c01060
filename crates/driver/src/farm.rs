//! Pools of media servers, as all threads of a node share them.
//!
//! The machine ([`balancer::Pools`]) lies behind a lock that is held for one operation. A task on tokio asks it what
//! is due and hands probes to workers; what it decides is told by whoever caused it, at once: a target that is dead
//! to all workers, every change to those who listen.

mod load;
mod lookup;
mod places;
mod settings;
mod task;
mod view;
mod word;

pub use settings::{FarmSettings, RouteSettings};
pub(crate) use task::attend;
pub use view::{FarmView, NotSaid, PoolView, TargetView, UnknownTarget};
pub(crate) use word::WORD;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use balancer::{Call, CallSlot, Due, NoTarget, PoolId, Pools, Signal, State, TargetId, Time};
use proxy::Chosen;
use tokio::sync::Notify;
use transaction::{Flow, Transport};

use crate::clock::START_MS;
use crate::event::Event;
use crate::inbox::Item;
use crate::shared::Shared;
use places::{Addresses, Places};

/// A probe for a worker to send.
pub(crate) struct Probe {
    pub(crate) target: TargetId,
    pub(crate) number: u32,
    pub(crate) uri: Arc<str>,
    pub(crate) call_id: String,
    pub(crate) transport: Transport,
    pub(crate) remote: std::net::SocketAddr,
}

/// What is behind the lock.
struct Inner {
    pools: Pools,
    places: Places,
    /// When the task looks again by itself.
    planned: Time,
    due: Vec<Due>,
    /// Numbers the Call-IDs of probes.
    probes: u64,
    /// Tells them from those of other nodes.
    mark: u64,
}

/// The pools of a node.
pub(crate) struct Farm {
    inner: Mutex<Inner>,
    /// Where the targets are, for a quick look.
    addresses: RwLock<Arc<Addresses>>,
    /// Whether there is any target: without one nothing is locked.
    is_used: AtomicBool,
    /// Wakes the task.
    wake: Arc<Notify>,
}

impl Farm {
    pub(crate) fn new(
        settings: &FarmSettings,
        cookie_secret: (u64, u64),
        (seed, mark): (u64, u64),
    ) -> Result<Farm, balancer::Error> {
        let hash_key = settings::hash_key(cookie_secret);
        let now = Time::from_ms(START_MS);
        let mut pools = Pools::new(settings.of_balancer(hash_key), now, seed)?;
        for (name, wanted) in &settings.words {
            pools.set_wanted_of(now, name, *wanted)?;
        }
        Ok(Farm {
            inner: Mutex::new(Inner {
                pools,
                places: Places::default(),
                planned: Time::MAX,
                due: Vec::new(),
                probes: 0,
                mark,
            }),
            addresses: RwLock::default(),
            is_used: AtomicBool::new(false),
            wake: Arc::new(Notify::new()),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn farm_now(&self) -> Time {
        Time::from_ms(self.clock.now().time.as_ms())
    }

    /// Works on the pools, and tells what came of it.
    fn with_farm<R>(&self, work: impl FnOnce(&mut Inner, Time) -> R) -> R {
        let mut inner = self.farm.lock();
        let result = work(&mut inner, self.farm_now());
        self.settle_farm(&mut inner);
        result
    }

    /// Tells what has changed, and sees to it that the task looks in time.
    fn settle_farm(&self, inner: &mut Inner) {
        if !inner.pools.events().is_empty() {
            self.tell_changes(inner);
        }
        let next = inner.next();
        if next < inner.planned {
            inner.planned = next;
            self.farm.wake.notify_one();
        }
    }

    fn tell_changes(&self, inner: &mut Inner) {
        let events = std::mem::take(inner.pools.events());
        let is_new =
            |event: &balancer::Event| event.from == State::Absent || event.to == State::Absent;
        // The survey forgets the names of those that are gone, and learns those of new ones.
        let names: Vec<Option<String>> = events
            .iter()
            .map(|event| inner.places.name(event.target))
            .collect();
        if events.iter().any(is_new) {
            self.survey(inner);
        }
        for (event, name) in events.into_iter().zip(names) {
            if event.to.is_dead() && event.from != State::Absent {
                for inbox in &self.inboxes {
                    inbox.push(Item::TargetLost(event.target));
                }
            }
            let name = name.or_else(|| inner.places.name(event.target));
            let target = name.unwrap_or_else(|| format!("#{}", event.target.index()));
            let (from, to) = (event.from.as_str(), event.to.as_str());
            let reason = event.reason.to_string();
            if event.to.is_dead() {
                tracing::warn!(%target, from, to, reason, "a media server takes no calls");
            } else {
                tracing::info!(%target, from, to, reason, "a media server changed");
            }
            // Nobody listening is no error.
            let _ = self.events.send(Event::Target {
                target,
                from,
                to,
                reason,
            });
        }
    }

    /// Learns who the targets are, after some came or went.
    fn survey(&self, inner: &mut Inner) {
        let now = self.farm_now();
        inner.places.survey(&inner.pools, now);
        self.publish_addresses(&inner.places);
    }

    fn publish_addresses(&self, places: &Places) {
        let addresses = Arc::new(places.addresses());
        self.farm
            .is_used
            .store(!places.is_empty(), Ordering::Release);
        *self
            .farm
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Learns who the targets are when the node starts.
    pub(crate) fn start_farm(&self) {
        self.with_farm(|inner, _| self.survey(inner));
    }

    /// Puts other pools in force; targets that stay keep what is known of them.
    pub(crate) fn reload_farm(&self, settings: &FarmSettings) {
        let key = settings::hash_key(self.cookie_secret);
        let reloaded =
            self.with_farm(|inner, now| inner.pools.reload(settings.of_balancer(key), now));
        if let Err(error) = reloaded {
            tracing::error!(%error, "the pools stay as they were");
        }
    }

    /// The routes to pools, by the pools that there are.
    pub(crate) fn pool_routes(&self, settings: &FarmSettings) -> Vec<edge::PoolRoute> {
        let inner = self.farm.lock();
        settings.routes_to(|pool| inner.pools.find(pool))
    }

    /// The policies of media of pools, by the pools that there are.
    pub(crate) fn pool_media(
        &self,
        settings: &FarmSettings,
    ) -> Vec<(PoolId, proxy::media::Policy)> {
        let inner = self.farm.lock();
        settings.media_of(|pool| inner.pools.find(pool))
    }

    /// A target for a request (see [`proxy::Farm::choose`]).
    pub(crate) fn choose(
        &self,
        pool: PoolId,
        call: &Call<'_>,
        is_call: bool,
        tried: &[TargetId],
    ) -> Result<Chosen, NoTarget> {
        self.with_farm(|inner, now| {
            // Those whose names have led nowhere yet; hardly ever any.
            let mut passed_over: Vec<TargetId> = Vec::new();
            loop {
                let not = match passed_over.is_empty() {
                    true => tried,
                    false => &passed_over,
                };
                let pick = inner.pools.pick(pool, now, call, not)?;
                let Some((transport, remote)) = inner.places.address(pick.target) else {
                    if passed_over.is_empty() {
                        passed_over.extend_from_slice(tried);
                    }
                    passed_over.push(pick.target);
                    continue;
                };
                let slot = match is_call {
                    true => inner.pools.begin(now, pick.target).ok(),
                    false => None,
                };
                return Ok(Chosen {
                    target: pick.target,
                    slot,
                    transport,
                    remote,
                });
            }
        })
    }

    /// See [`proxy::Farm::pool_name`].
    pub(crate) fn pool_name(&self, pool: PoolId, name: &mut Vec<u8>) {
        let inner = self.farm.lock();
        name.extend_from_slice(inner.pools.name_of(pool).unwrap_or_default().as_bytes());
    }

    /// See [`proxy::Farm::find_pool`].
    pub(crate) fn find_pool(&self, name: &[u8]) -> Option<PoolId> {
        self.farm.lock().pools.find(std::str::from_utf8(name).ok()?)
    }

    /// The target at an address, as a record of another node names it (see [`proxy::Farm::adopt`]).
    pub(crate) fn adopt_call(
        &self,
        (transport, remote): (Transport, SocketAddr),
        is_call: bool,
    ) -> Option<Chosen> {
        self.with_farm(|inner, now| {
            let target = inner.places.target_at((transport, remote))?;
            let slot = match is_call {
                true => Some(inner.pools.begin(now, target).ok()?),
                false => None,
            };
            Some(Chosen {
                target,
                slot,
                transport,
                remote,
            })
        })
    }

    pub(crate) fn release_call(&self, slot: CallSlot) {
        self.with_farm(|inner, now| inner.pools.end(now, slot));
    }

    pub(crate) fn report_target(&self, target: TargetId, signal: Signal) {
        self.with_farm(|inner, now| {
            inner.places.count(target, &signal);
            inner.pools.report(now, target, signal);
        });
    }

    pub(crate) fn is_target(&self, flow: &Flow) -> bool {
        if !self.farm.is_used.load(Ordering::Acquire) {
            return false;
        }
        let addresses = self
            .farm
            .addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        addresses.has(flow)
    }
}

impl Inner {
    /// When there is something to do next.
    fn next(&self) -> Time {
        let next = self.pools.next().unwrap_or(Time::MAX);
        next.min(self.places.next())
    }
}

#[cfg(test)]
mod tests;
