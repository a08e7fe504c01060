//! What is turned away before the edge slows down (RFC 7339 and 7200, the local part).
//!
//! The problem: beyond its capacity a proxy that takes everything finishes nothing: queues grow past the timers of
//! phones, which send again, and all of the work is for calls that have been given up.
//!
//! The approach: what begins something (a request outside dialogs) is refused with 503 and Retry-After, without a
//! transaction, before credentials are looked at; what continues something never is. How much is let in is the
//! *share* of a [`Throttle`], one a worker. Each interval it falls in proportion to the lag beyond a target, or to
//! what the kernel dropped, and rises by an eighth when neither is there; so it settles about what the worker can do.
//! Who answers a challenge of ours gets in twice as often as who has only begun: work was spent on him. Whom to
//! refuse is dealt out evenly, not by chance.
//!
//! The operator's own limits (calls at once, calls and registrations a second) are those of the node; its threads
//! share a [`Gate`].
//!
//! Not attempted: telling neighbours by how much to send less (the `oc` parameter of RFC 7339).

#[cfg(test)]
mod tests;

use transaction::Time;

/// How long the lag has to last, and how often the share changes, in milliseconds.
const INTERVAL_MS: u64 = 200;
/// Rounds that an interval has at least.
const ROUNDS_MIN: u32 = 3;
/// After so long without a whole interval the worker has rested.
const REST_MS: u64 = 10_000;
/// All, as a share.
const WHOLE: u32 = 1 << 16;
/// The share never falls below this: else nobody would learn that there is room again.
const SHARE_MIN: u32 = WHOLE / 64;

/// What the operator says of how much the node takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverloadLimits {
    /// Lag of a worker beyond which it takes on less, in milliseconds; 0 for never.
    pub lag_ms: u32,
    /// Calls at once on the node; 0 for any number.
    pub calls_max: u32,
    /// New calls a second on the node; 0 for any number.
    pub calls_per_s: u32,
    /// Registrations a second on the node; 0 for any number.
    pub registrations_per_s: u32,
}

impl Default for OverloadLimits {
    fn default() -> OverloadLimits {
        OverloadLimits {
            lag_ms: 50,
            calls_max: 0,
            calls_per_s: 0,
            registrations_per_s: 0,
        }
    }
}

/// How a worker fared in one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How long a message that comes now has to wait, in microseconds.
    pub lag_us: u64,
    /// Messages handled.
    pub handled: u64,
    /// Messages lost before they could be handled.
    pub dropped: u64,
}

/// Requests by what refusing them wastes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been done for it.
    Fresh,
    /// It answers a challenge of ours.
    Challenged,
}

/// How much of what is new one worker lets in.
#[derive(Debug)]
pub struct Throttle {
    share: u32,
    /// What is left over of the shares of those before, by stage.
    credit: [u32; 2],
    since_ms: u64,
    /// Rounds of the interval.
    rounds: u32,
    /// Least lag of the interval: what was there all the time.
    lag_us: Option<u64>,
    handled: u64,
    dropped: u64,
    lag_us_last: u64,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            share: WHOLE,
            credit: [0; 2],
            since_ms: 0,
            rounds: 0,
            lag_us: None,
            handled: 0,
            dropped: 0,
            lag_us_last: 0,
        }
    }
}

impl Throttle {
    /// Takes in how a round went. Whether the worker has just begun or ceased to refuse.
    pub fn observe(&mut self, limits: &OverloadLimits, now: Time, load: Load) -> bool {
        let now_ms = now.as_ms();
        self.lag_us = Some(
            self.lag_us
                .map_or(load.lag_us, |least| least.min(load.lag_us)),
        );
        self.handled += load.handled;
        self.dropped += load.dropped;
        self.rounds += 1;
        // A worker that had nothing to do may be late once without being overloaded.
        if now_ms.saturating_sub(self.since_ms) < INTERVAL_MS || self.rounds < ROUNDS_MIN {
            return false;
        }
        let before = self.is_refusing();
        self.adjust(limits);
        self.since_ms = now_ms;
        (self.rounds, self.handled, self.dropped) = (0, 0, 0);
        self.lag_us_last = self.lag_us.take().unwrap_or(0);
        before != self.is_refusing()
    }

    fn adjust(&mut self, limits: &OverloadLimits) {
        let target_us = u64::from(limits.lag_ms) * 1_000;
        if target_us == 0 {
            self.share = WHOLE;
            return;
        }
        let lag_us = self.lag_us.unwrap_or(0);
        // A few datagrams are lost at any start; one in a hundred is more than that.
        let is_losing = self.dropped * 100 > self.handled + self.dropped;
        if lag_us <= target_us && !is_losing {
            self.share = (self.share + self.share / 8 + WHOLE / 64).min(WHOLE);
            return;
        }
        // A queue that is getting shorter is left to do so.
        let is_falling = lag_us < self.lag_us_last / 8 * 7;
        if is_falling && !is_losing {
            return;
        }
        let by_lag = WHOLE as u64 * target_us / lag_us.max(target_us);
        let by_loss = WHOLE as u64 * self.handled / (self.handled + self.dropped).max(1);
        // Never less than half of before: the lag is that of what was taken on earlier.
        let kept = by_lag.min(by_loss).max(u64::from(WHOLE) / 2);
        self.share = ((u64::from(self.share) * kept) >> 16) as u32;
        self.share = self.share.max(SHARE_MIN);
    }

    /// Whether anything is being refused.
    pub fn is_refusing(&self) -> bool {
        self.share < WHOLE
    }

    /// As [`Throttle::is_refusing`], for a request that comes now: after a time without rounds there is nothing left
    /// of what was too much.
    pub fn is_refusing_at(&mut self, now: Time) -> bool {
        if self.is_refusing() && now.as_ms().saturating_sub(self.since_ms) > REST_MS {
            self.share = WHOLE;
        }
        self.is_refusing()
    }

    /// The share that is let in, in thousandths.
    pub fn share_permille(&self) -> u32 {
        self.share * 1_000 / WHOLE
    }

    /// The lag of the last interval, in microseconds.
    pub fn lag_us(&self) -> u64 {
        self.lag_us_last
    }

    /// Whether one more request is let in.
    pub fn admits(&mut self, stage: Stage) -> bool {
        let share = match stage {
            Stage::Fresh => self.share,
            Stage::Challenged => (2 * self.share).min(WHOLE),
        };
        let credit = &mut self.credit[stage as usize];
        *credit += share;
        let is_in = *credit >= WHOLE;
        if is_in {
            *credit -= WHOLE;
        }
        is_in
    }
}

/// Things that may still begin this second, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
struct Allowance {
    filled_ms: u64,
    used_thousandths: u64,
}

impl Allowance {
    fn take(&mut self, now: Time, per_s: u32) -> bool {
        if per_s == 0 {
            return true;
        }
        let now_ms = now.as_ms();
        let drained = now_ms
            .saturating_sub(self.filled_ms)
            .saturating_mul(u64::from(per_s));
        self.filled_ms = self.filled_ms.max(now_ms);
        self.used_thousandths = self.used_thousandths.saturating_sub(drained);
        let is_in = self.used_thousandths + 1_000 <= u64::from(per_s) * 1_000;
        if is_in {
            self.used_thousandths += 1_000;
        }
        is_in
    }
}

/// The limits of the node that its threads use up together.
#[derive(Debug, Default)]
pub struct Gate {
    calls: Allowance,
    registrations: Allowance,
    /// Calls of each thread when it said so last.
    at_once: Vec<u32>,
}

impl Gate {
    /// A gate for so many threads.
    pub fn new(threads: usize) -> Gate {
        Gate {
            at_once: vec![0; threads],
            ..Gate::default()
        }
    }

    /// Takes note of the calls of a thread; gives those of all.
    pub fn note_calls(&mut self, thread: u8, calls: u32) -> u32 {
        if let Some(noted) = self.at_once.get_mut(usize::from(thread)) {
            *noted = calls;
        }
        self.at_once
            .iter()
            .fold(0, |sum, calls| sum.saturating_add(*calls))
    }

    /// Whether one more call may begin now.
    pub fn admits_call(&mut self, limits: &OverloadLimits, now: Time) -> bool {
        self.calls.take(now, limits.calls_per_s)
    }

    /// Whether one more registration may be made now.
    pub fn admits_registration(&mut self, limits: &OverloadLimits, now: Time) -> bool {
        self.registrations.take(now, limits.registrations_per_s)
    }
}
