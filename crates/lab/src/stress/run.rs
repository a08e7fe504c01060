//! One run: the generator at the phones' host, what is looked at meanwhile, and the row that comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Stress;
use super::experiment::{CALL_S, Experiment, Kind};
use super::failures::{Failures, span_min};
use super::meter::Meter;
use crate::report::{Count, Sound, StressRow};
use crate::world::{DOMAIN, ECHO};
use crate::{Error, World};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long calls that are under way may take to end, after the last began: the longest call, and the longest that a request is tried.
const GRACE: Duration = Duration::from_secs(45);
/// How long the generator may take beyond that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Later than this in begin of one in a hundred, and the generator was the limit.
const LATE_MS: f64 = 100.0;

impl Stress {
    /// Makes one row.
    pub(super) fn make(
        &self,
        world: &mut World,
        experiment: &Experiment,
    ) -> Result<StressRow, Error> {
        world.settled()?;
        let mut span = Duration::from_secs_f64(self.span_s());
        if experiment.is_failing {
            span = span.max(span_min());
        }
        let mut row = experiment.row(span.as_secs_f64());
        let folder = self.plan.folder.join(experiment.id());
        fs::create_dir(&folder).map_err(|error| Error::File {
            path: folder.clone(),
            error,
        })?;
        let mut meter = Meter::new(world, experiment.stage.pbxs(), span);
        let arguments = arguments(world, experiment, span);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (phones, _) = world.phones();
        let generator = phones.start_first(&self.plan.program, &arguments, &folder)?;
        let begun = Instant::now();
        let pbxs = match experiment.kind {
            Kind::Invite => experiment.stage.pbxs(),
            Kind::Register => 0,
        };
        let failures = Failures::new(begun, span, pbxs);
        let failures = experiment.is_failing.then_some(failures);
        row.notes
            .extend(experiment.stage.shortfall(super::descriptors()));
        let (count, notes) = watch(world, generator, &mut meter, failures, begun + span)?;
        row.node_failures = experiment.is_failing.then_some(count);
        row.notes.extend(notes);
        self.read(&folder, experiment, &mut row)?;
        tell_of(meter, experiment, &mut row);
        Ok(row)
    }

    /// Reads what the generator says.
    fn read(
        &self,
        folder: &Path,
        experiment: &Experiment,
        row: &mut StressRow,
    ) -> Result<(), Error> {
        let path = folder.join("log");
        let text = fs::read_to_string(&path).map_err(|error| Error::File { path, error })?;
        let start = text.find('{').unwrap_or(text.len());
        match serde_json::from_str(&text[start..]) {
            Ok(report) => {
                fill(&report, experiment, row);
                Ok(())
            }
            Err(_) => Err(Error::Program {
                command: format!("{} load", self.plan.program.display()),
                what: text.lines().last().unwrap_or("no report").to_owned(),
            }),
        }
    }
}

/// The generator's command line.
fn arguments(world: &World, experiment: &Experiment, span: Duration) -> Vec<String> {
    let mut all: Vec<String> = ["load", "--json", "--quiet", "--user", "u{n}"]
        .map(str::to_owned)
        .into();
    let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
    option("--target", world.service().to_string());
    option("--domain", DOMAIN.to_owned());
    option("--users", experiment.stage.users().to_string());
    option("--for", format!("{}ms", span.as_millis()));
    option("--grace", format!("{}s", GRACE.as_secs()));
    match experiment.kind {
        Kind::Invite => {
            option("--calls-per-s", experiment.per_s.to_string());
            option("--active-max", experiment.active_limit().to_string());
            option("--call-duration", format!("{}s..{}s", CALL_S.0, CALL_S.1));
            option("--to", format!("sip:{ECHO}@{DOMAIN}"));
            if experiment.stage.is_relayed {
                // The PBX has the other end. A socket that was used rests a moment.
                let streams = experiment.active_limit() * 5 / 4;
                option("--streams-max", streams.to_string());
                all.push("--media".to_owned());
            }
        }
        Kind::Register => {
            option("--rate", experiment.per_s.to_string());
            option("--expires", "1h".to_owned());
            all.push("--register".to_owned());
        }
    }
    all
}

/// Watches until the generator has ended, and lets nodes fail. Gives how many did, and what is to be noted.
fn watch(
    world: &mut World,
    mut generator: Child,
    meter: &mut Meter,
    mut failures: Option<Failures>,
    until: Instant,
) -> Result<(u64, Vec<String>), Error> {
    let begun = Instant::now();
    let deadline = until + GRACE + PATIENCE;
    let mut notes = Vec::new();
    let done = loop {
        if matches!(generator.try_wait(), Ok(Some(_))) {
            break Ok(());
        }
        let now = Instant::now();
        if now > deadline {
            notes.push("the generator did not end".to_owned());
            let _ = generator.kill();
            let _ = generator.wait();
            break Ok(());
        }
        meter.look(world, generator.id(), now - begun);
        let failed = failures.as_mut().map(|failures| failures.step(world, now));
        if let Some(Err(error)) = failed {
            let _ = generator.kill();
            let _ = generator.wait();
            break Err(error);
        }
        std::thread::sleep(LOOK);
    };
    let mut count = 0;
    if let Some(mut failures) = failures {
        failures.heal(world)?;
        count = failures.count as u64;
        notes.append(&mut failures.notes);
    }
    done.map(|()| (count, notes))
}

/// What the generator counted.
fn fill(report: &Value, experiment: &Experiment, row: &mut StressRow) {
    let (part, succeeded, response) = match experiment.kind {
        Kind::Invite => ("calls", "completed", "set_up_ms"),
        Kind::Register => ("registrations", "succeeded", "register_ms"),
    };
    let counts = &report[part];
    let of = |value: &Value| value.as_u64().unwrap_or(0);
    row.count = Count {
        attempted: of(&counts["attempted"]),
        succeeded: of(&counts[succeeded]),
        failed: of(&counts["failed"]),
    };
    row.achieved_per_s = float(row.count.attempted) / row.span_s.max(0.001);
    row.retransmissions = of(&report["messages"]["retransmissions_sent"]);
    if experiment.kind == Kind::Invite {
        row.active_max = Some(of(&counts["active_max"]));
    }
    let failures = counts["failures"].as_object().into_iter().flatten();
    row.failures = failures
        .map(|(reason, count)| (reason.clone(), of(count)))
        .collect::<BTreeMap<_, _>>();
    let at = |name: &str| counts[response][name].as_f64().unwrap_or(0.0);
    row.response_ms = Some([at("p50"), at("p99"), at("max")]);
    row.sound = experiment.stage.is_relayed.then(|| sound(report));
    let late_ms = report["behind_ms"]["p99"].as_f64().unwrap_or(0.0);
    let dropped = of(&report["messages"]["dropped_here"]);
    row.is_generator_late = late_ms >= LATE_MS || dropped > 0;
    for (name, count) in [
        ("calls waited for room", of(&counts["held_back"])),
        (
            "registrations left out since the user's last was not done",
            of(&counts["skipped"]),
        ),
        ("messages dropped at the generator", dropped),
        (
            "messages that nobody waited for",
            of(&report["messages"]["unexpected"]),
        ),
    ] {
        if count > 0 {
            row.notes.push(format!("{count} {name}"));
        }
    }
    row.notes.push(format!("begun late by p99 {late_ms:.1} ms"));
}

/// What was heard.
fn sound(report: &Value) -> Sound {
    let media = &report["media"];
    let of = |name: &str| media[name].as_u64().unwrap_or(0);
    let at = |name: &str| media["gap_ms"][name].as_f64().unwrap_or(0.0);
    Sound {
        streams: of("streams"),
        silent: of("silent"),
        sent: of("sent"),
        received: of("received"),
        lost: of("lost"),
        corrupt: of("corrupt") + of("wrong_party"),
        gap_ms: [at("p50"), at("p99"), at("max")],
    }
}

/// What was looked at.
fn tell_of(meter: Meter, experiment: &Experiment, row: &mut StressRow) {
    row.cpu_us = match row.count.attempted {
        0 => None,
        all => Some(meter.nodes_cpu_s() * 1e6 / float(all)),
    };
    row.busy_percent = meter.busy_percent();
    row.processes = meter.processes();
    if experiment.kind == Kind::Invite {
        row.processed = Some(meter.processed());
        row.series = meter.series();
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::experiment::experiments;
    use super::*;

    #[test]
    fn a_row_holds_what_the_generator_counted() {
        let all = experiments(false);
        let invite = all.iter().find(|one| one.kind == Kind::Invite);
        let invite = invite.expect("there is one");
        let report = json!({
            "calls": {
                "attempted": 1_750, "completed": 1_700, "failed": 50, "failures": {"503": 50},
                "active_max": 900, "held_back": 3,
                "set_up_ms": {"p50": 2.0, "p99": 9.0, "max": 30.0},
            },
            "messages": {"retransmissions_sent": 7, "dropped_here": 0, "unexpected": 0},
            "behind_ms": {"p99": 250.0},
        });
        let mut row = invite.row(10.0);
        fill(&report, invite, &mut row);
        assert_eq!((row.count.succeeded, row.failures["503"]), (1_700, 50));
        assert!((row.achieved_per_s - 175.0).abs() < 1e-9);
        assert_eq!(row.response_ms, Some([2.0, 9.0, 30.0]));
        assert_eq!(row.retransmissions, 7);
        // Calls failed, and the generator was late: the row says so.
        assert_eq!(row.faults().len(), 2);
        assert_eq!(row.notes.len(), 2);
    }

    #[test]
    fn a_generator_that_said_nothing_makes_an_empty_row_and_a_bad_one() {
        let row = experiments(false)[0].row(5.0);
        assert!(!row.faults().is_empty());
    }
}
