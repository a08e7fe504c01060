//! One target: who it is, how it stands, what it carries.

use crate::event::{Reason, State, TargetId};
use crate::figures::Figures;
use crate::health::{Health, Stage};
use crate::settings::Source;
use crate::time::Time;
use crate::turns::WHOLE;
use std::net::SocketAddr;

/// Steps in which a share grows in slow start.
pub(crate) const WARMING_STEPS: u64 = 50;

/// Where a target is reached. Two targets with the same URI are the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The next hop, as the caller writes it: opaque here.
    pub uri: String,
    /// Its address, where a name was looked up.
    pub address: Option<SocketAddr>,
}

/// Who a target is, whatever happens to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Uri(String),
    Service(String),
}

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        let (Key::Uri(name) | Key::Service(name)) = self;
        name
    }

    pub(crate) fn of(source: &Source) -> Option<Key> {
        match source {
            Source::Uri(uri) => Some(Key::Uri(uri.clone())),
            Source::Service(name) => Some(Key::Service(name.clone())),
            Source::Srv(_) => None,
        }
    }
}

/// What the operator wants of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Calls.
    Open,
    /// No new calls.
    Drained,
    /// Nothing: as if it were dead.
    Disabled,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) key: Key,
    pub(crate) endpoint: Endpoint,
    pub(crate) wanted: Wanted,
    /// No pool names it: it goes with its last call.
    pub(crate) leaving: bool,
    /// Its service has no owner.
    pub(crate) ownerless: bool,
    pub(crate) health: Health,
    pub(crate) busy_until: Time,
    pub(crate) slow_start_ms: u64,
    pub(crate) warm_since: Option<Time>,
    /// The share that slow start gives it, in thousandths.
    pub(crate) share: u32,
    pub(crate) active: u32,
    pub(crate) begun: u64,
    pub(crate) figures: Figures,
    /// What was said last.
    pub(crate) state: State,
    pub(crate) reason: Reason,
    pub(crate) since: Time,
    /// In which pools, as which members.
    pub(crate) memberships: Vec<(u16, u16)>,
    /// When it is in the timers.
    pub(crate) timer: Time,
}

impl Target {
    /// The state that follows from what is known.
    pub(crate) fn standing(&self, now: Time) -> State {
        if self.wanted == Wanted::Disabled {
            State::Disabled
        } else if self.ownerless || self.health.stage != Stage::In {
            State::Out
        } else if self.leaving || self.wanted == Wanted::Drained {
            State::Draining
        } else if now < self.busy_until {
            State::Busy
        } else if self.warm_since.is_some() {
            State::Warming
        } else {
            State::Up
        }
    }

    /// Whether its health is watched.
    pub(crate) fn is_watched(&self) -> bool {
        self.wanted != Wanted::Disabled && !self.ownerless
    }

    /// Whether nothing but its health can speak against new calls. Without an owner of its service
    /// there is nobody to send to.
    pub(crate) fn may_take_calls(&self) -> bool {
        self.wanted == Wanted::Open && !self.leaving && !self.ownerless
    }

    /// Begins slow start, where there is one.
    pub(crate) fn warm(&mut self, now: Time) {
        if self.slow_start_ms > 0 {
            self.warm_since = Some(now);
            self.share = WHOLE / WARMING_STEPS as u32;
        } else {
            self.cool();
        }
    }

    /// Ends slow start.
    pub(crate) fn cool(&mut self) {
        self.warm_since = None;
        self.share = WHOLE;
    }

    /// Lets the share grow. True when slow start is over.
    pub(crate) fn grow(&mut self, now: Time) -> bool {
        let Some(since) = self.warm_since else {
            return false;
        };
        let passed = now.ms_since(since);
        if passed >= self.slow_start_ms {
            self.cool();
            return true;
        }
        let least = WHOLE / WARMING_STEPS as u32;
        let share = (passed * u64::from(WHOLE) / self.slow_start_ms) as u32;
        self.share = share.max(least);
        false
    }

    /// When something is due here.
    pub(crate) fn wake(&self, now: Time) -> Time {
        let mut wake = match self.is_watched() {
            true => self.health.wake(),
            false => Time::MAX,
        };
        if now < self.busy_until {
            wake = wake.min(self.busy_until);
        }
        if self.warm_since.is_some() {
            let step = (self.slow_start_ms / WARMING_STEPS).max(10);
            wake = wake.min(now.plus_ms(step));
        }
        wake.min(self.figures.wake(now))
    }
}
