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
        let active = u64::from(active) + 1;
        let then = u64::from(self.active_then);
        let rate = (u64::from(self.rate()) * FULL / rate_full).min(FULL * 100);
        let own = |calls| {
            let mut mean = Mean::default();
            mean.add(formula.calls, of_calls(calls));
            mean.add(formula.call_rate, rate);
            mean
        };
        let ours = own(active).value().unwrap_or(of_calls(active));
        let trust = u64::from(self.trust);
        if trust == 0 {
            return ours;
        }
        // The media server may have calls that did not come through here.
        let calls = self.agent.calls.map_or(active, |told| {
            (u64::from(told) + active).saturating_sub(then).max(active)
        });
        let mut told = own(calls);
        let host = [
            (formula.cpu, self.agent.cpu_permille),
            (formula.memory, self.agent.memory_permille),
            (formula.disk, self.agent.disk_permille),
        ];
        let came = of_calls(active.saturating_sub(then));
        let went = of_calls(then.saturating_sub(active));
        for (part, permille) in host {
            if let Some(permille) = permille {
                let then = u64::from(permille) * (FULL / 1_000);
                told.add(part, (then + came).saturating_sub(went));
            }
        }
        let told = told.value().unwrap_or(ours);
        (told * trust + ours * (1_000 - trust)) / 1_000
    }
}

/// A weighted mean.
#[derive(Debug, Default)]
struct Mean {
    sum: u64,
    parts: u64,
}

impl Mean {
    fn add(&mut self, part: u32, value: u64) {
        self.sum = self
            .sum
            .saturating_add(u64::from(part).saturating_mul(value));
        self.parts += u64::from(part);
    }

    /// None when nothing was added.
    fn value(&self) -> Option<u64> {
        self.sum.checked_div(self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::{FULL, Figures};
    use crate::event::AgentLoad;
    use crate::settings::LoadFormula;
    use crate::time::Time;

    fn told(load: AgentLoad, active: u32) -> Figures {
        let mut figures = Figures::default();
        figures.review(3_000, 30_000);
        figures.report(load, active, Time::from_ms(1_000));
        figures
    }

    fn load(figures: &Figures, active: u32) -> u64 {
        figures.load(&LoadFormula::default(), active, (500, 50)) * 1_000 / FULL
    }

    #[test]
    fn without_an_agent_calls_are_the_load() {
        assert_eq!(load(&Figures::default(), 249), 500);
        assert_eq!(load(&Figures::default(), 999), 2_000);
    }

    #[test]
    fn the_agents_figures_are_weighed_with_the_calls() {
        let figures = told(
            AgentLoad {
                cpu_permille: Some(900),
                memory_permille: Some(300),
                disk_permille: Some(100),
                calls: None,
            },
            250,
        );
        // (4 * 900 + 300 + 100 + 4 * 500) / 10, with the one call more that is asked about.
        assert_eq!(load(&figures, 249), 600);
        assert_eq!(load(&figures, 299), 700, "a call more shows in all parts");
    }

    #[test]
    fn what_the_agent_does_not_know_is_left_out() {
        let figures = told(
            AgentLoad {
                cpu_permille: Some(900),
                ..AgentLoad::default()
            },
            250,
        );
        assert_eq!(load(&figures, 249), 700);
        assert_eq!(load(&told(AgentLoad::default(), 250), 249), 500);
    }

    #[test]
    fn calls_that_did_not_come_through_here_count_where_the_agent_tells_of_them() {
        let calls = |calls| AgentLoad {
            calls: Some(calls),
            ..AgentLoad::default()
        };
        assert_eq!(load(&told(calls(350), 100), 99), 700);
        assert_eq!(
            load(&told(calls(10), 100), 99),
            200,
            "ours are there in any case"
        );
    }

    #[test]
    fn trust_falls_evenly() {
        let mut figures = told(AgentLoad::default(), 0);
        for (ms, trust) in [(4_000, 1_000), (17_500, 500), (31_000, 0), (90_000, 0)] {
            figures.age(Time::from_ms(ms));
            assert_eq!(figures.trust, trust);
        }
    }
}
