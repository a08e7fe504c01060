//! What experiments came to: rows, their limits, and the two forms of a report, JSON and one page of HTML.

mod page;
mod plot;
mod published;
mod stress;
mod times;

use std::time::Duration;

use serde_json::{Value, json};

pub use page::page;
pub use published::{Published, contingency as published_contingency};
pub use stress::{Count, Process, Sample, Series, Sound, StressRow};
pub use times::Times;

/// Most losses and notes that a row keeps; further ones are only counted.
pub const NOTES_MAX: usize = 50;

/// How long something may take, else its row is red.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the user has a sign of life, of 99 in 100.
    pub user: Duration,
    /// Without service, of 99 in 100.
    pub service: Duration,
    /// Without sound, of 99 in 100.
    pub media_gap: Duration,
}

impl Limits {
    /// What the platform sets out to keep, times a factor for machines that do other work meanwhile.
    #[must_use]
    pub fn of(slack: f64) -> Limits {
        let times = |ms: u64| Duration::from_millis(ms).mul_f64(slack.max(0.0));
        Limits {
            user: times(1_000),
            service: times(500),
            media_gap: times(500),
        }
    }
}

/// One experiment of the contingency, over all runs.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name: `scenario-2-test-3-node-fenced`.
    pub id: String,
    /// What was done, for people.
    pub title: String,
    /// How often.
    pub runs: usize,
    /// The calls of all runs.
    pub calls: usize,
    /// Calls for which somebody had to do something, such as to dial again.
    pub user_actions: usize,
    /// How long users waited.
    pub user: Times,
    /// How long there was no service.
    pub service: Times,
    /// The longest silence of each direction of each call.
    pub media_gap: Times,
    /// What became of calls that were lost.
    pub lost: Vec<String>,
    /// Runs after which there was no service.
    pub never_back: usize,
    /// Most hosts that sent as one service address at a time; none where nobody could judge.
    pub owners_at_once_max: Option<u64>,
    /// What the published work says of it.
    pub published: Option<Published>,
    /// What else was seen.
    pub notes: Vec<String>,
}

impl Row {
    /// One without any run.
    #[must_use]
    pub fn new(id: String, title: String) -> Row {
        Row {
            id,
            title,
            runs: 0,
            calls: 0,
            user_actions: 0,
            user: Times::default(),
            service: Times::default(),
            media_gap: Times::default(),
            lost: Vec::new(),
            never_back: 0,
            owners_at_once_max: None,
            published: None,
            notes: Vec::new(),
        }
    }

    /// What is not as it should be, a line each; none is good.
    #[must_use]
    pub fn faults(&self, limits: &Limits) -> Vec<String> {
        let mut faults = Vec::new();
        if self.runs == 0 {
            faults.push("no run was made".to_owned());
        }
        if !self.lost.is_empty() {
            faults.push(format!("{} of {} calls lost", self.lost.len(), self.calls));
        }
        if self.user_actions > 0 {
            faults.push(format!("users had to act {} times", self.user_actions));
        }
        if self.never_back > 0 {
            faults.push(format!("no service after {} runs", self.never_back));
        }
        if let Some(owners @ 2..) = self.owners_at_once_max {
            faults.push(format!("{owners} owners at once"));
        }
        for (what, times, limit) in [
            ("users waited", &self.user, limits.user),
            ("no service for", &self.service, limits.service),
            ("silence of", &self.media_gap, limits.media_gap),
        ] {
            let (found, limit_ms) = (times.at_ms(990), limit.as_secs_f64() * 1e3);
            if let Some(ms) = found.filter(|ms| *ms > limit_ms) {
                faults.push(format!("{what} {ms:.0} ms (p99), limit {limit_ms:.0} ms"));
            }
        }
        faults
    }

    /// The row as the report has it.
    #[must_use]
    pub fn json(&self, limits: &Limits) -> Value {
        let faults = self.faults(limits);
        json!({
            "id": self.id,
            "title": self.title,
            "runs": self.runs,
            "calls": self.calls,
            "user_action": self.user_actions > 0,
            "user_actions": self.user_actions,
            "user_ms": self.user.json(),
            "service_ms": self.service.json(),
            "media_gap_ms": self.media_gap.json(),
            "lost": self.lost.len(),
            "losses": self.lost.iter().take(NOTES_MAX).collect::<Vec<_>>(),
            "never_back": self.never_back,
            "owners_at_once_max": self.owners_at_once_max,
            "paper": self.published.as_ref().map(Published::json),
            "notes": self.notes.iter().take(NOTES_MAX).collect::<Vec<_>>(),
            "passed": faults.is_empty(),
            "faults": faults,
        })
    }
}

/// All that was tried.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What it was made on and with, a name and a value each.
    pub machine: Vec<(String, String)>,
    /// The contingency.
    pub rows: Vec<Row>,
    /// The stress.
    pub stress: Vec<StressRow>,
    /// Rows that could not be had, and why.
    pub absent: Vec<(String, String)>,
}

impl Report {
    /// How many rows are not as they should be.
    #[must_use]
    pub fn failed(&self, limits: &Limits) -> usize {
        let rows = self.rows.iter().map(|row| row.faults(limits));
        let stress = self.stress.iter().map(StressRow::faults);
        rows.chain(stress)
            .filter(|faults| !faults.is_empty())
            .count()
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self, limits: &Limits) -> Value {
        let machine = self.machine.iter();
        let machine: serde_json::Map<String, Value> = machine
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let contingency = self.rows.iter().map(|row| row.json(limits));
        let rows = contingency.chain(self.stress.iter().map(StressRow::json));
        let absent = self.absent.iter();
        json!({
            "machine": machine,
            "limits": {
                "user_p99_ms": limits.user.as_millis() as u64,
                "service_p99_ms": limits.service.as_millis() as u64,
                "media_gap_p99_ms": limits.media_gap.as_millis() as u64,
            },
            "failed": self.failed(limits),
            "rows": rows.collect::<Vec<_>>(),
            "absent": absent.map(|(id, why)| json!({ "id": id, "reason": why })).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests;
