//! Whether a target is alive: a machine of three stages as a table, and what it counts.

use crate::event::Reason;
use crate::random::Random;
use crate::settings::{HealthSettings, JITTER_PERMILLE};
use crate::time::Time;
use crate::window::Window;

/// Probes whose time of sending is remembered, to know how long a late answer took.
const PROBES_REMEMBERED: usize = 4;

/// Where a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// In service.
    In,
    /// Somebody said that nobody is there: out, and one probe decides.
    Checking,
    /// Out.
    Out,
}

/// What happened, as far as the table cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Input {
    /// A sign of life.
    Alive,
    /// Enough of them in a row, and its time out is over.
    AliveEnough,
    /// A probe or a call had no reply.
    Missed,
    /// Enough of them in a row.
    MissedEnough,
    /// ICMP unreachable or a closed connection.
    Unreachable,
    /// Too many calls failed.
    Failing,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Action {
    /// Nothing.
    Keep,
    /// It is out now, until a probe says more.
    Check,
    /// It is out now.
    TakeOut,
    /// The probe did not deny it: what was out is out for good.
    Confirm,
    /// A false alarm: it is in service as before.
    Restore,
    /// It is back in service, after an absence.
    BringBack,
}

impl Stage {
    #[cfg(test)]
    pub(crate) const ALL: [Stage; 3] = [Stage::In, Stage::Checking, Stage::Out];

    /// The table.
    pub(crate) const fn step(self, input: Input) -> (Stage, Action) {
        use Input::{Alive, AliveEnough, Failing, Missed, MissedEnough, Unreachable};
        match (self, input) {
            (Stage::In, Alive | AliveEnough | Missed) => (Stage::In, Action::Keep),
            (Stage::In, MissedEnough | Failing) => (Stage::Out, Action::TakeOut),
            (Stage::In, Unreachable) => (Stage::Checking, Action::Check),
            (Stage::Checking, Alive | AliveEnough) => (Stage::In, Action::Restore),
            (Stage::Checking, Missed | MissedEnough | Failing) => (Stage::Out, Action::Confirm),
            (Stage::Checking, Unreachable) => (Stage::Checking, Action::Keep),
            (Stage::Out, AliveEnough) => (Stage::In, Action::BringBack),
            (Stage::Out, Alive | Missed | MissedEnough | Unreachable | Failing) => {
                (Stage::Out, Action::Keep)
            }
        }
    }
}

impl Input {
    #[cfg(test)]
    pub(crate) const ALL: [Input; 6] = [
        Input::Alive,
        Input::AliveEnough,
        Input::Missed,
        Input::MissedEnough,
        Input::Unreachable,
        Input::Failing,
    ];
}

/// A change of service, with its reason.
pub(crate) type Change = Option<(Action, Reason)>;

/// A target's health.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) settings: HealthSettings,
    pub(crate) stage: Stage,
    /// Probes and calls in a row without a reply.
    pub(crate) misses: u32,
    /// Signs of life in a row while out.
    pub(crate) answers: u32,
    /// Times it went out that are not forgiven yet.
    pub(crate) flaps: u32,
    /// Before this it is not brought back.
    pub(crate) exiled_until: Time,
    /// The usual time of an answer to a probe, ms; 0 before the first.
    pub(crate) rtt_ms: u32,
    /// The usual time of a first response to a call, ms; 0 before the first.
    pub(crate) reply_ms: u32,
    /// Why it is or was out the last time.
    pub(crate) reason: Reason,
    /// Whether it ever gave a sign of life.
    was_alive: bool,
    in_since: Time,
    window: Window,
    next_probe: Time,
    number: u32,
    sent: [Time; PROBES_REMEMBERED],
    /// Whether the last probe's answer is waited for.
    waiting: bool,
    /// In [`Stage::Checking`]: the first probe that counts.
    check_from: u32,
}

impl Health {
    /// In service until something speaks against it; the first probe comes within an interval.
    pub(crate) fn new(settings: HealthSettings, now: Time, random: &mut Random) -> Self {
        let first = random.below(settings.probe_interval_ms);
        Self {
            settings,
            stage: Stage::In,
            misses: 0,
            answers: 0,
            flaps: 0,
            exiled_until: now,
            rtt_ms: 0,
            reply_ms: 0,
            reason: Reason::Added,
            was_alive: false,
            in_since: now,
            window: Window::new(settings.window_ms, now),
            next_probe: now.plus_ms(first),
            number: 0,
            sent: [Time::ZERO; PROBES_REMEMBERED],
            waiting: false,
            check_from: 0,
        }
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.settings.probe_interval_ms > 0
    }

    /// Goes on by new settings.
    pub(crate) fn reload(&mut self, settings: HealthSettings, now: Time) {
        if settings.window_ms != self.settings.window_ms {
            self.window = Window::new(settings.window_ms, now);
        }
        self.settings = settings;
    }

    /// Forgets what was known: the target is another one now, or is let in again by hand.
    pub(crate) fn start_over(&mut self, now: Time) {
        self.stage = Stage::In;
        self.misses = 0;
        self.answers = 0;
        self.was_alive = false;
        self.in_since = now;
        self.rtt_ms = 0;
        self.reply_ms = 0;
        self.waiting = false;
        self.next_probe = now;
        self.window.clear(now);
    }

    /// When [`Health::poll`] has something to do.
    pub(crate) fn wake(&self) -> Time {
        if !self.is_probed() {
            return match self.stage {
                Stage::In => Time::MAX,
                Stage::Checking | Stage::Out => self.exiled_until,
            };
        }
        let probe = if self.waiting {
            self.probe_deadline()
        } else {
            self.next_probe
        };
        match self.stage {
            Stage::Out if self.answers >= self.answers_back() => probe.min(self.exiled_until),
            _ => probe,
        }
    }

    fn probe_deadline(&self) -> Time {
        let usual = u64::from(self.rtt_ms) * 2;
        let sent = self.sent[self.number as usize % PROBES_REMEMBERED];
        sent.plus_ms(self.settings.probe_timeout_ms.max(usual))
    }

    /// Does what is due: a probe's answer is given up, a time out ends.
    pub(crate) fn poll(&mut self, now: Time) -> Change {
        if !self.is_probed() {
            // A probe that was on its way when a reload ended probing decides nothing any more.
            self.waiting = false;
            let is_over = self.stage != Stage::In && now >= self.exiled_until;
            return is_over
                .then(|| self.step(Input::AliveEnough, Reason::Trial, now))
                .flatten();
        }
        let is_back = self.answers >= self.answers_back() && now >= self.exiled_until;
        if self.stage == Stage::Out && is_back {
            return self.step(Input::AliveEnough, self.answers_reason(), now);
        }
        if self.waiting && now >= self.probe_deadline() {
            self.waiting = false;
            return self.missed(now);
        }
        None
    }

    /// The number of the probe that is to leave now.
    pub(crate) fn probe(&mut self, now: Time, random: &mut Random) -> Option<u32> {
        if !self.is_probed() || self.waiting || now < self.next_probe {
            return None;
        }
        self.number = self.number.wrapping_add(1);
        self.sent[self.number as usize % PROBES_REMEMBERED] = now;
        self.waiting = true;
        let interval = random.around(self.settings.probe_interval_ms, JITTER_PERMILLE);
        self.next_probe = now.plus_ms(interval);
        Some(self.number)
    }

    /// A probe had no answer in time, or none can come.
    pub(crate) fn probe_missed(&mut self, number: u32, now: Time) -> Change {
        if number != self.number || !self.waiting {
            return None;
        }
        self.waiting = false;
        self.missed(now)
    }

    fn missed(&mut self, now: Time) -> Change {
        self.misses = self.misses.saturating_add(1);
        self.answers = 0;
        if self.stage != Stage::Out {
            // Certainty is near: no need to wait for the interval.
            self.next_probe = now;
        }
        let (input, misses) = match self.misses >= self.settings.misses_out {
            true => (Input::MissedEnough, self.misses),
            false => (Input::Missed, self.misses),
        };
        self.step(input, Reason::NoReply { misses }, now)
    }

    /// A probe was answered, late or in time.
    pub(crate) fn probe_answered(&mut self, number: u32, now: Time) -> Change {
        let age = self.number.wrapping_sub(number);
        if age as usize >= PROBES_REMEMBERED {
            return None;
        }
        let took = now.ms_since(self.sent[number as usize % PROBES_REMEMBERED]);
        self.rtt_ms = smoothed(self.rtt_ms, u32::try_from(took).unwrap_or(u32::MAX));
        if age == 0 {
            self.waiting = false;
        }
        if self.stage == Stage::Checking && number < self.check_from {
            return None;
        }
        self.alive(now)
    }

    fn alive(&mut self, now: Time) -> Change {
        self.misses = 0;
        self.answers = self.answers.saturating_add(1);
        let enough = self.answers >= self.answers_back() && now >= self.exiled_until;
        let input = if enough {
            Input::AliveEnough
        } else {
            Input::Alive
        };
        let reason = match self.stage {
            Stage::Checking => Reason::StillThere,
            Stage::In | Stage::Out => self.answers_reason(),
        };
        self.was_alive |= enough || self.stage != Stage::Out;
        self.step(input, reason, now)
    }

    /// Signs of life in a row that bring it back. One that was never there has not failed, it begins: the first one is enough.
    fn answers_back(&self) -> u32 {
        match self.was_alive {
            true => self.settings.answers_back,
            false => 1,
        }
    }

    fn answers_reason(&self) -> Reason {
        Reason::Answers {
            answers: self.answers,
        }
    }

    /// A call got a response: traffic proves life, whatever the probes say.
    pub(crate) fn call_answered(&mut self, status: u16, rtt_ms: u32, now: Time) -> Change {
        self.reply_ms = smoothed(self.reply_ms, rtt_ms);
        let failed = is_failure(status);
        if status >= 200 {
            let counts = self.window.count(failed, now);
            if failed {
                // Somebody is there all the same.
                self.misses = 0;
                return self.failing(counts, now);
            }
        }
        match self.stage {
            // It may have been sent before whatever made the probe necessary.
            Stage::Checking => None,
            Stage::In | Stage::Out => self.alive(now),
        }
    }

    /// A call got no reply: a miss like a probe's, and the next probe leaves at once.
    pub(crate) fn call_unanswered(&mut self, now: Time) -> Change {
        let counts = self.window.count(true, now);
        match self.stage {
            Stage::In => self.missed(now).or_else(|| self.failing(counts, now)),
            // The probe decides; the call may be older than the suspicion.
            Stage::Checking | Stage::Out => None,
        }
    }

    fn failing(&mut self, (failed, of): (u32, u32), now: Time) -> Change {
        let settings = &self.settings;
        let share =
            u64::from(failed) * 1_000 >= u64::from(of) * u64::from(settings.failures_permille);
        if settings.failures_out == 0 || failed < settings.failures_out || !share {
            return None;
        }
        self.step(Input::Failing, Reason::CallsFailed { failed, of }, now)
    }

    /// Nobody is there, says the network.
    pub(crate) fn unreachable(&mut self, now: Time) -> Change {
        self.answers = 0;
        if self.stage == Stage::In {
            self.waiting = false;
            self.next_probe = now;
            self.check_from = self.number.wrapping_add(1);
            if !self.is_probed() {
                return self.step(Input::MissedEnough, Reason::Unreachable, now);
            }
        }
        self.step(Input::Unreachable, Reason::Unreachable, now)
    }

    /// Ends the time out of a target that answers.
    pub(crate) fn release(&mut self, now: Time) -> Change {
        if !self.is_only_exiled(now) {
            return None;
        }
        self.step(Input::AliveEnough, Reason::Needed, now)
    }

    /// Whether it answers and is out for having failed before.
    pub(crate) fn is_only_exiled(&self, now: Time) -> bool {
        self.stage == Stage::Out
            && self.is_probed()
            && self.answers >= self.answers_back()
            && now < self.exiled_until
    }

    fn step(&mut self, input: Input, reason: Reason, now: Time) -> Change {
        let (stage, action) = self.stage.step(input);
        self.stage = stage;
        match action {
            Action::Keep => return None,
            Action::Check => self.reason = reason,
            Action::TakeOut => {
                self.reason = reason;
                self.exile(input == Input::Failing, now);
            }
            Action::Confirm => self.exile(false, now),
            Action::Restore => self.misses = 0,
            Action::BringBack => {
                self.misses = 0;
                self.in_since = now;
                self.window.clear(now);
            }
        }
        Some((action, reason))
    }

    /// The first time out lasts until it answers; the next ones last longer and longer. One that
    /// answers probes and fails calls, or is not probed, stays out from the first time on.
    fn exile(&mut self, failing: bool, now: Time) {
        let settings = &self.settings;
        let good_ms = now.ms_since(self.in_since);
        let forgiven = u32::try_from(good_ms / settings.forgive_ms).unwrap_or(u32::MAX);
        let flaps = self.flaps.saturating_sub(forgiven);
        let doublings = match failing || !self.is_probed() {
            true => Some(flaps),
            false => flaps.checked_sub(1),
        };
        let ms = doublings.map_or(0, |n| settings.exile_ms.saturating_mul(1 << n.min(32)));
        self.exiled_until = now.plus_ms(ms.min(settings.exile_max_ms));
        self.flaps = flaps.saturating_add(1);
        self.answers = 0;
        // A later failure counts from here on, however long it was in service before.
        self.in_since = now;
    }
}

/// Answers that speak against the server and not against the call (RFC 3261 section 21.5). 503
/// without Retry-After counts as 500 does.
fn is_failure(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// A mean in which the last value is an eighth.
fn smoothed(usual: u32, value: u32) -> u32 {
    match (usual, value.min(60_000)) {
        (0, value) => value,
        (usual, value) => (usual * 7 + value) / 8,
    }
}

#[cfg(test)]
mod tests;
