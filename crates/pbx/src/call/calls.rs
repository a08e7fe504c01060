//! All legs of one thread, and how they are found.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use transaction::{Layer, Slab, Time, Wheel};
use voice::EndId;

use crate::call::leg::Leg;
use crate::call::record::Resting;
use crate::call::refusal::Refusals;
use crate::call::reply::Purpose;
use crate::call::watch::Watch;
use crate::control::{Cause, Happening, Ids, LegId, Now, RecordingId};
use crate::pbx::Counts;
use crate::settings::Settings;

/// Most transactions of each kind.
const TRANSACTIONS_MAX: u32 = 200_000;

/// Most timers of legs, stale ones included.
const TIMERS_MAX: u32 = 1_000_000;

/// Legs at one time for each call that may come in: beyond it nobody is called.
pub(crate) const LEGS_PER_CALL: usize = 8;

/// What a tag of ours names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Leg(LegId),
    /// A subscription, by its tag.
    Subscription,
}

/// All legs of one thread.
pub(crate) struct Calls {
    pub(crate) layer: Layer,
    pub(crate) legs: BTreeMap<LegId, Box<Leg>>,
    pub(crate) by_tag: BTreeMap<u64, Owner>,
    /// INVITEs in progress by caller and number: what comes by another way is a merged request (RFC 3261 section 8.2.2.2).
    pub(crate) by_caller: BTreeMap<u64, LegId>,
    pub(crate) ends: BTreeMap<EndId, LegId>,
    pub(crate) recordings: BTreeMap<RecordingId, LegId>,
    pub(crate) purposes: Slab<Purpose>,
    pub(crate) watch: Watch,
    pub(crate) wheel: Wheel<u64>,
    pub(crate) happenings: VecDeque<Happening>,
    /// Legs that may have to be settled.
    pub(crate) touched: Vec<LegId>,
    /// Legs whose records may have changed.
    pub(crate) changed: Vec<LegId>,
    /// Legs whose records are to be taken away.
    pub(crate) forgotten: Vec<LegId>,
    pub(crate) ids: Ids,
    pub(crate) counts: Counts,
    pub(crate) is_draining: bool,
    pub(crate) refusals: Refusals,
    pub(crate) incoming: usize,
    pub(crate) splices: sip::Splices,
    pub(crate) descriptions: sdp::Index,
    /// A record that is being written.
    pub(crate) text: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) head: Vec<u8>,
    /// Max-Forwards of the request that is being written.
    pub(crate) max_forwards: u32,
    /// Records of another node that are not read yet.
    pub(crate) resting: Resting,
    secret: (u64, u64),
}

impl Calls {
    pub(crate) fn new(now: Now, seed: (u64, u64), epoch: u64, settings: &Settings) -> Calls {
        Calls {
            layer: Layer::new(now.time, seed, settings.timers, TRANSACTIONS_MAX),
            legs: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            by_caller: BTreeMap::new(),
            ends: BTreeMap::new(),
            recordings: BTreeMap::new(),
            purposes: Slab::default(),
            watch: Watch::default(),
            wheel: Wheel::new(now.time, TIMERS_MAX),
            happenings: VecDeque::new(),
            touched: Vec::new(),
            changed: Vec::new(),
            forgotten: Vec::new(),
            ids: Ids::of_epoch(epoch),
            counts: Counts::default(),
            is_draining: false,
            refusals: Refusals::default(),
            incoming: 0,
            splices: sip::Splices::new(),
            descriptions: sdp::Index::new(),
            text: Vec::new(),
            extra: Vec::new(),
            head: Vec::new(),
            max_forwards: 70,
            resting: Resting::default(),
            secret: seed,
        }
    }

    /// A keyed hash of a number that was given out once, for what strangers see: tags, Call-IDs, SSRCs.
    pub(crate) fn hidden(&self, purpose: u8, number: u64) -> u64 {
        self.keyed(|hasher| {
            hasher.write_u8(purpose);
            hasher.write_u64(number);
        })
    }

    pub(crate) fn keyed(&self, write: impl FnOnce(&mut SipHasher13)) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0 ^ 0x7062_7821, self.secret.1);
        write(&mut hasher);
        hasher.finish()
    }

    /// Does something with a leg, which is out of the table meanwhile.
    pub(crate) fn with<R>(
        &mut self,
        id: LegId,
        then: impl FnOnce(&mut Calls, &mut Leg) -> R,
    ) -> Option<R> {
        let mut leg = self.legs.remove(&id)?;
        let result = then(self, &mut leg);
        leg.is_changed = true;
        self.touched.push(id);
        self.legs.insert(id, leg);
        Some(result)
    }

    /// Puts a new leg in.
    pub(crate) fn insert(&mut self, leg: Leg) {
        self.by_tag.insert(leg.tag, Owner::Leg(leg.id));
        self.touched.push(leg.id);
        self.incoming += usize::from(leg.is_incoming);
        self.legs.insert(leg.id, Box::new(leg));
    }

    /// Takes a leg out for good.
    pub(crate) fn remove(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else {
            return;
        };
        self.by_tag.remove(&leg.tag);
        if self.by_caller.get(&leg.caller_key) == Some(&id) {
            self.by_caller.remove(&leg.caller_key);
        }
        for end in leg
            .ears
            .end
            .map(|end| end.id)
            .into_iter()
            .chain(leg.closing)
        {
            self.ends.remove(&end);
        }
        self.incoming -= usize::from(leg.is_incoming);
        self.forgotten.push(id);
    }

    pub(crate) fn tell(&mut self, happening: Happening) {
        self.happenings.push_back(happening);
    }

    /// Whether another call that comes in would be one too many.
    pub(crate) fn is_full(&self, settings: &Settings) -> bool {
        let incoming = self.incoming + self.resting.incoming;
        self.is_draining || incoming >= settings.calls_max || self.layer.is_full()
    }

    /// Whether another leg may be called.
    pub(crate) fn may_dial(&self, settings: &Settings) -> bool {
        let legs = self.legs.len() + self.resting.legs;
        legs < settings.calls_max.saturating_mul(LEGS_PER_CALL) && !self.layer.is_full()
    }

    /// When something is due.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        [
            self.layer.next(now),
            self.wheel.next(now),
            self.watch.next(),
            self.resting.next,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// A cause of a status, with the Q.850 cause that goes with it.
pub(crate) fn cause_of(status: u16, text: &str) -> Cause {
    Cause {
        status,
        q850: q850_of(status),
        text: text.to_owned(),
    }
}

/// The Q.850 cause of a SIP status (RFC 3398 section 8.2.6.1, the other way round of 7.2.4.1).
pub(crate) const fn q850_of(status: u16) -> u8 {
    match status {
        200 => 16,
        401 | 402 | 403 | 407 | 603 | 607 => 21,
        404 | 604 => 1,
        408 | 504 => 102,
        410 => 22,
        480 => 18,
        484 => 28,
        486 | 600 => 17,
        487 => 16,
        488 | 606 => 65,
        482 | 483 => 25,
        501 | 405 => 79,
        502 => 38,
        503 => 41,
        400 | 481 | 500 | 580 => 41,
        414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        413 | 415 => 79,
        _ => 31,
    }
}
