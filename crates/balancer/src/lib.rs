//! Which media server gets the next call: pools, policies, health.
//!
//! The problem: new calls go to the best of several servers, at once and by many rules; servers die,
//! fill up, flap, are taken out for maintenance and come back, and DNS and the operator change who
//! they are, while calls are counted exactly on all of them.
//!
//! The approach: [`Pools`] is a machine without sockets, SIP or clock. [`Pools::pick`] chooses,
//! [`Pools::begin`] and [`Pools::end`] count, [`Pools::report`] takes in what others noticed,
//! [`Pools::poll`] says which probes and look-ups are due, [`Pools::events`] what changed and why.
//! What may be chosen is kept sorted as calls begin and end, in buckets that are found by bitmaps, so
//! that a choice costs the same with two targets and a hundred. Health is a table
//! (`health::Stage::step`) over counts of misses and answers.
//!
//! ```
//! use balancer::*;
//! let entry = |uri: &str| TargetSettings::new(Source::Uri(uri.to_owned()));
//! let targets = vec![entry("sip:10.0.0.30:5060"), entry("sip:10.0.0.31:5060")];
//! let settings = Settings {
//!     pools: vec![PoolSettings::new("pbx", Policy::LeastCalls, targets)],
//!     hash_key: [1, 2],
//! };
//! let now = Time::from_ms(0);
//! let mut pools = Pools::new(settings, now, 7)?;
//! let pbx = pools.find("pbx").unwrap();
//! let source = [192, 0, 2, 1].into();
//! let call = Call { source, call_id: b"a84b4c76e66710", user: b"bob" };
//!
//! // The first target does not reply in time, so the call goes to the other one.
//! let first = pools.pick(pbx, now, &call, &[]).unwrap().target;
//! let slot = pools.begin(now, first)?;
//! pools.report(now, first, Signal::Timeout);
//! pools.end(now, slot);
//! let second = pools.pick(pbx, now, &call, &[first]).unwrap().target;
//! let slot = pools.begin(now, second)?;
//! assert!(second != first && pools.active(second) == 1);
//!
//! // When the call ends, however it ends:
//! pools.end(now, slot);
//! assert!(pools.is_idle());
//! # Ok::<(), Error>(())
//! ```
//!
//! Not attempted: sending probes, name resolution, which answers move a call on (`proxy` decides
//! that), counts that several nodes share.

mod buckets;
mod error;
mod event;
mod figures;
mod health;
mod pool;
mod pools;
mod random;
mod reload;
pub mod settings;
mod slots;
mod snapshot;
mod target;
mod time;
mod turns;
mod window;
mod words;

pub use error::Error;
pub use event::{
    AgentLoad, Call, CallSlot, Due, Event, LookupId, NoTarget, Pick, PoolId, Reason, Shortage,
    Signal, State, TargetId,
};
pub use pools::{Counters, EVENTS_MAX, Pools};
pub use reload::{NAMES_MAX, RECORDS_MAX, Record, TTL_MAX_S, TTL_MIN_S};
pub use settings::{
    HashBy, HealthSettings, LoadFormula, Policy, PoolSettings, Settings, Source, TargetSettings,
};
pub use snapshot::{PoolStatus, TargetStatus};
pub use target::{Endpoint, Wanted};
pub use time::Time;
pub use words::WORDS_MAX;
