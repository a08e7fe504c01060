//! A target's load as one number: an agent's figures as far as they can be trusted, and our own.

use crate::event::AgentLoad;
use crate::settings::LoadFormula;
use crate::time::Time;

/// How often figures that grow old, and the rate of calls, are looked at again, ms.
const REVIEW_MS: u64 = 1_000;
/// Full load, in the unit of [`Figures::load`].
pub(crate) const FULL: u64 = 1_000_000;

/// What is known of a target's load.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    agent: AgentLoad,
    /// When the agent spoke last.
    at: Option<Time>,
    /// Active calls then: what came since is not in the agent's figures yet.
    active_then: u32,
    /// How far the agent is believed, in thousandths.
    pub(crate) trust: u32,
    /// Calls begun in this second and the one before.
    rate: [u32; 2],
    second: u64,
    /// Whether some pool looks at load, and from when on it finds figures old.
    reviewed: Option<(u64, u64)>,
}

impl Figures {
    /// Looks again as time passes, because a pool chooses by these figures.
    pub(crate) fn review(&mut self, fresh_ms: u64, stale_ms: u64) {
        self.reviewed = Some((fresh_ms, stale_ms));
    }

    pub(crate) fn agent(&self) -> Option<(AgentLoad, Time)> {
        self.at.map(|at| (self.agent, at))
    }

    pub(crate) fn report(&mut self, load: AgentLoad, active: u32, now: Time) {
        self.agent = load;
        self.at = Some(now);
        self.active_then = active;
        self.age(now);
    }

    /// Counts a call that begins.
    pub(crate) fn begin(&mut self, now: Time) {
        self.age(now);
        self.rate[0] = self.rate[0].saturating_add(1);
    }

    /// Calls a second, as of the last look.
    pub(crate) fn rate(&self) -> u32 {
        self.rate[0].max(self.rate[1])
    }

    /// Lets trust fall and seconds pass.
    pub(crate) fn age(&mut self, now: Time) {
        let second = now.as_ms() / 1_000;
        match second.saturating_sub(self.second) {
            0 => {}
            1 => self.rate = [0, self.rate[0]],
            _ => self.rate = [0, 0],
        }
        self.second = self.second.max(second);
        let (Some((fresh_ms, stale_ms)), Some(at)) = (self.reviewed, self.at) else {
            self.trust = 0;
            return;
        };
        let age_ms = now.ms_since(at);
        self.trust = if age_ms <= fresh_ms {
            1_000
        } else if age_ms >= stale_ms {
            0
        } else {
            ((stale_ms - age_ms) * 1_000 / (stale_ms - fresh_ms)) as u32
        };
    }

    pub(crate) fn wake(&self, now: Time) -> Time {
        let moves = self.trust > 0 || self.rate != [0, 0];
        match self.reviewed {
            Some(_) if moves => now.plus_ms(REVIEW_MS),
            _ => Time::MAX,
        }
    }

    /// The load after one more call, [`FULL`] where it is full. `calls_full` is the number of calls
    /// that is full load for this target, `rate_full` the calls a second.
    ///
    /// What the agent says is corrected by the calls that came and went since it spoke: without
    /// that, all calls would go to the same target until its next report.
    pub(crate) fn load(&self, formula: &LoadFormula, active: u32, full: (u64, u64)) -> u64 {
        let (calls_full, rate_full) = (full.0.max(1), full.1.max(1));
        let of_calls = |calls: u64| (calls * FULL / calls_full).min(FULL * 100);
        let calls = of_calls(u64::from(active) + 1);
        let rate = (u64::from(self.rate()) * FULL / rate_full).min(FULL * 100);
        let own_parts = u64::from(formula.calls) + u64::from(formula.call_rate);
        let own = match own_parts {
            0 => calls,
            parts => {
                (calls * u64::from(formula.calls) + rate * u64::from(formula.call_rate)) / parts
            }
        };
        let host_parts =
            u64::from(formula.cpu) + u64::from(formula.memory) + u64::from(formula.disk);
        let trust = u64::from(self.trust);
        if host_parts == 0 || trust == 0 {
            return own;
        }
        let host = u64::from(self.agent.cpu_permille) * u64::from(formula.cpu)
            + u64::from(self.agent.memory_permille) * u64::from(formula.memory)
            + u64::from(self.agent.disk_permille) * u64::from(formula.disk);
        let host = host * (FULL / 1_000) / host_parts;
        let came = of_calls(u64::from((active + 1).saturating_sub(self.active_then)));
        let went = of_calls(u64::from(self.active_then.saturating_sub(active + 1)));
        let host = (host + came).saturating_sub(went);
        let told = (host * host_parts + own * own_parts) / (host_parts + own_parts);
        (told * trust + own * (1_000 - trust)) / 1_000
    }
}
