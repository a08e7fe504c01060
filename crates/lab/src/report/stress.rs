//! Rows of the stress: so many calls or registrations a second, and what became of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::NOTES_MAX;

/// Most packets of sound that may be lost, in thousandths.
const LOST_MAX_PERMILLE: u64 = 1;
/// The longest silence, of 99 in 100 streams: what people notice, in milliseconds.
const GAP_MS_MAX: f64 = 200.0;
/// Processors are full from here on, in per cent: measured twice a second, they never look wholly so.
const FULL_PERCENT: f64 = 95.0;

/// How many of one kind there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Begun.
    pub attempted: u64,
    /// Of these, done as they should be.
    pub succeeded: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// What was heard of the sound of all calls.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sound {
    /// What phones listened to.
    pub streams: u64,
    /// Of these, nothing was heard of.
    pub silent: u64,
    /// Packets that phones sent.
    pub sent: u64,
    /// Packets that phones heard.
    pub received: u64,
    /// Packets that were missing between others.
    pub lost: u64,
    /// Packets that were not as they were sent, or of another call.
    pub corrupt: u64,
    /// The longest silence of each stream, in milliseconds: p50, p99, max.
    pub gap_ms: [f64; 3],
}

/// How a target of the pool stood at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Since the start, in seconds.
    pub at_s: f64,
    /// Calls at this moment.
    pub active: u64,
    /// Calls given to it since the start.
    pub processed: u64,
}

/// How a target of the pool stood over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Which: `pbx1`.
    pub name: String,
    /// The oldest first.
    pub samples: Vec<Sample>,
}

/// What a process took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Which: `edge1`, `generator`.
    pub name: String,
    /// Its CPU, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had, in MiB.
    pub memory_mib_max: f64,
}

/// What stress came to. Of registrations there are no calls at one time and no series.
#[derive(Debug, Clone, Default)]
pub struct StressRow {
    /// Its name: `stress-invite-proposed-285`, `stress-register-1000`.
    pub id: String,
    /// What was done, for people.
    pub title: String,
    /// What was to be begun a second.
    pub offered_per_s: f64,
    /// What was begun a second.
    pub achieved_per_s: f64,
    /// How long, in seconds.
    pub span_s: f64,
    /// Most calls that were to be active at one time.
    pub active_limit: Option<u64>,
    /// Most that were.
    pub active_max: Option<u64>,
    /// How long a call lasts, in seconds, from and to.
    pub call_s: Option<(f64, f64)>,
    /// Registered users.
    pub users: Option<u64>,
    /// How many.
    pub count: Count,
    /// Why those failed that did.
    pub failures: BTreeMap<String, u64>,
    /// Requests that were sent again.
    pub retransmissions: u64,
    /// From the request to its success, in milliseconds: p50, p99, max.
    pub response_ms: Option<[f64; 3]>,
    /// What was heard, where the generator's phones listen.
    pub sound: Option<Sound>,
    /// The machine's processors while work was begun, in per cent, whoever used them.
    pub busy_percent: Option<f64>,
    /// Nodes that failed meanwhile, where they were to.
    pub node_failures: Option<u64>,
    /// CPU of all nodes, in microseconds for each that was begun.
    pub cpu_us: Option<f64>,
    /// What each process took.
    pub processes: Vec<Process>,
    /// Calls that were given to the targets of the pool.
    pub processed: Option<u64>,
    /// Each target of the pool over time (the published figure 13).
    pub series: Vec<Series>,
    /// Most that may fail, in thousandths.
    pub failed_max_permille: u64,
    /// Most that may be sent again; none: any number.
    pub retransmissions_max: Option<u64>,
    /// What the published work says: its column and its figure.
    pub published: Vec<(String, String)>,
    /// The generator was the limit, and not the platform: the row says nothing, and is red.
    pub is_generator_late: bool,
    /// What else was seen.
    pub notes: Vec<String>,
}

impl Sound {
    fn json(&self) -> Value {
        json!({
            "streams": self.streams, "silent": self.silent, "sent": self.sent, "received": self.received,
            "lost": self.lost, "corrupt": self.corrupt,
        })
    }

    /// What is not as it should be, where no node fails.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.streams == 0 || self.silent > 0 {
            faults.push(format!(
                "{} of {} streams were silent",
                self.silent, self.streams
            ));
        }
        if self.corrupt > 0 {
            faults.push(format!("{} packets were wrong ones", self.corrupt));
        }
        if self.lost * 1_000 > self.received * LOST_MAX_PERMILLE {
            faults.push(format!(
                "{} packets of {} lost",
                self.lost,
                self.lost + self.received
            ));
        }
        if self.gap_ms[1] > GAP_MS_MAX {
            faults.push(format!(
                "silence of {:.0} ms (p99), limit {GAP_MS_MAX:.0} ms",
                self.gap_ms[1]
            ));
        }
        faults
    }
}

impl Process {
    fn json(&self) -> Value {
        json!({ "name": self.name, "cpu_s": self.cpu_s, "memory_mib_max": self.memory_mib_max })
    }
}

impl StressRow {
    /// What failed, in per cent of what was begun.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
    pub fn failed_percent(&self) -> f64 {
        match self.count.attempted {
            0 => 0.0,
            all => self.count.failed as f64 * 100.0 / all as f64,
        }
    }

    /// What was done as it should be a second: what the platform carried of what it was offered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
    pub fn carried_per_s(&self) -> f64 {
        match self.span_s > 0.0 {
            true => self.count.succeeded as f64 / self.span_s,
            false => 0.0,
        }
    }

    /// What is not as it should be, a line each; none is good.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let Count {
            attempted, failed, ..
        } = self.count;
        if attempted == 0 {
            faults.push("nothing was begun".to_owned());
        }
        if failed * 1_000 > attempted * self.failed_max_permille {
            let reasons = self.failures.iter();
            let reasons: Vec<_> = reasons
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            faults.push(format!(
                "{failed} of {attempted} failed ({}), {:.0}/s were carried",
                reasons.join(", "),
                self.carried_per_s()
            ));
        }
        if let Some(most) = self.retransmissions_max
            && self.retransmissions > most
        {
            faults.push(format!("{} sent again", self.retransmissions));
        }
        if self.node_failures == Some(0) {
            faults.push("no node failed".to_owned());
        } else if let (Some(sound), None) = (&self.sound, self.node_failures) {
            faults.extend(sound.faults());
        }
        if self.is_generator_late {
            faults.push("the generator was the limit".to_owned());
        }
        // Why, as far as that can be said; a row that is good is so however busy the machine was.
        if let Some(percent) = self.busy_percent
            && percent >= FULL_PERCENT
            && !faults.is_empty()
        {
            faults.push(format!(
                "the machine's processors were full ({percent:.0} %): {}",
                self.shares()
            ));
        }
        faults
    }

    /// Who had the processors: the nodes, the coordinators, the generator, in processors.
    fn shares(&self) -> String {
        let of = |is_it: &dyn Fn(&str) -> bool| -> f64 {
            let all = self.processes.iter().filter(|one| is_it(&one.name));
            all.map(|one| one.cpu_s).sum()
        };
        let is_etcd = |name: &str| name.starts_with("etcd");
        let etcds_s = of(&is_etcd);
        let generator_s = of(&|name| name == "generator");
        let nodes_s = of(&|name| name != "generator" && !is_etcd(name));
        format!(
            "nodes {nodes_s:.1} s, coordinators {etcds_s:.1} s, generator {generator_s:.1} s of CPU"
        )
    }

    /// The row as the report has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let three = |ms: Option<[f64; 3]>| match ms {
            Some([p50, p99, max]) => json!({ "p50": p50, "p99": p99, "max": max }),
            None => Value::Null,
        };
        let faults = self.faults();
        let published = self.published.iter();
        let paper: serde_json::Map<String, Value> = published
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let series = self.series.iter().map(|series| {
            let samples = series.samples.iter();
            let samples = samples.map(|at| json!([at.at_s, at.active, at.processed]));
            json!({ "name": series.name, "samples": samples.collect::<Vec<_>>() })
        });
        let processes = self.processes.iter().map(Process::json);
        json!({
            "id": self.id,
            "title": self.title,
            "offered_per_s": self.offered_per_s,
            "achieved_per_s": self.achieved_per_s,
            "span_s": self.span_s,
            "active_limit": self.active_limit,
            "active_max": self.active_max,
            "call_s": self.call_s,
            "users": self.users,
            "attempted": self.count.attempted,
            "succeeded": self.count.succeeded,
            "failed": self.count.failed,
            "failed_percent": self.failed_percent(),
            "failures": self.failures,
            "retransmissions": self.retransmissions,
            "response_ms": three(self.response_ms),
            "media_gap_ms": three(self.sound.map(|sound| sound.gap_ms)),
            "sound": self.sound.as_ref().map(Sound::json),
            "busy_percent": self.busy_percent,
            "node_failures": self.node_failures,
            "carried_per_s": self.carried_per_s(),
            "cpu_us": self.cpu_us,
            "processed": self.processed,
            "processes": processes.collect::<Vec<_>>(),
            "series": series.collect::<Vec<_>>(),
            "paper": match paper.is_empty() { true => Value::Null, false => Value::Object(paper) },
            "notes": self.notes.iter().take(NOTES_MAX).collect::<Vec<_>>(),
            "passed": faults.is_empty(),
            "faults": faults,
        })
    }
}
