//! One fault, over and over, and what it came to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::judge::{Judge, owners_at_once};
use crate::phones::{Phase, Phones};
use crate::world::Plan;
use crate::{Error, Fault, World};

/// Established calls that a fault finds, each with two streams.
const ESTABLISHED: usize = 4;
/// Calls of each other phase.
const OTHERS: usize = 3;
/// Time between what is done near the fault.
const APART: Duration = Duration::from_millis(25);
/// How long calls may take to be set up, when nothing is wrong.
const SET_UP: Duration = Duration::from_secs(8);
/// How long those that were hit may take to end: INVITE and BYE are resent after 0.5, 1.5, 3.5, 7.5 s.
const END: Duration = Duration::from_secs(16);
/// How long everything is watched before the fault.
const BEFORE: Duration = Duration::from_millis(200);
/// How much longer a service is waited for that is not back.
const LONGER: Duration = Duration::from_secs(3);

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which fault.
    pub fault: Fault,
    /// How often.
    pub runs: usize,
    /// Where, and with what.
    pub plan: Plan,
}

/// What a fault came to, over all runs.
#[derive(Debug)]
pub struct Row {
    /// Which fault.
    pub fault: Fault,
    /// Whether it was on loopback, where nobody can judge.
    pub is_loopback: bool,
    /// Time without service in each run, in microseconds, the shortest first.
    pub service_us: Vec<u64>,
    /// Longest time without sound in each direction of each established call, in microseconds, the shortest first.
    pub media_gap_us: Vec<u64>,
    /// How many calls there were.
    pub calls: usize,
    /// What became of those that were lost.
    pub lost: Vec<String>,
    /// Most hosts that sent as the address at once, by the judge's word.
    pub owners_at_once_max: u64,
    /// Runs in which the service stayed where it was.
    pub stayed: usize,
    /// Runs after which the service did not answer.
    pub never_back: usize,
    /// What else was seen, a line each.
    pub notes: Vec<String>,
}

impl Row {
    fn new(fault: Fault, is_loopback: bool) -> Row {
        Row {
            fault,
            is_loopback,
            service_us: Vec::new(),
            media_gap_us: Vec::new(),
            calls: 0,
            lost: Vec::new(),
            owners_at_once_max: 0,
            stayed: 0,
            never_back: 0,
            notes: Vec::new(),
        }
    }

    /// Its name in reports.
    pub fn id(&self) -> String {
        format!("takeover-{}", self.fault.name())
    }

    /// Whether nothing was lost, the service always came back, and there never were two owners.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.never_back == 0 && self.owners_at_once_max <= 1
    }

    /// The row as a report has it.
    pub fn json(&self) -> Value {
        let ms = |sorted: &[u64], share| percentile(sorted, share).map(|us| us as f64 / 1_000.0);
        let owners = (!self.is_loopback).then_some(self.owners_at_once_max);
        json!({
            "id": self.id(),
            "runs": self.service_us.len(),
            "service_p50_ms": ms(&self.service_us, 500),
            "service_p99_ms": ms(&self.service_us, 990),
            "service_max_ms": ms(&self.service_us, 1_000),
            "media_gap_p50_ms": ms(&self.media_gap_us, 500),
            "media_gap_p99_ms": ms(&self.media_gap_us, 990),
            "media_gap_max_ms": ms(&self.media_gap_us, 1_000),
            "calls": self.calls,
            "lost": self.lost.len(),
            "losses": self.lost,
            "owners_at_once_max": owners,
            "stayed": self.stayed,
            "never_back": self.never_back,
            "loopback": self.is_loopback,
            "notes": self.notes,
        })
    }
}

/// The smallest value that this share (in thousandths) of all do not exceed.
fn percentile(sorted: &[u64], permille: usize) -> Option<u64> {
    let rank = (sorted.len() * permille).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied()
}

/// Has a fault befall the owner, over and over; `tell` hears a line of each run.
///
/// # Errors
/// The laboratory cannot be built, or does not come to rest between two runs. What was lost is in the row.
pub fn takeover(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Row, Error> {
    let is_loopback = options.plan.is_loopback;
    if !options.fault.is_possible(is_loopback) {
        return Err(Error::OnLoopback {
            fault: options.fault.name(),
        });
    }
    let mut world = World::build(options.plan.clone())?;
    let service = world.service();
    let judge = match (world.bridge(), service.ip()) {
        (Some(bridge), std::net::IpAddr::V4(address)) => Some(Judge::listen(bridge, address)?),
        _ => None,
    };
    let (host, address) = world.phones();
    let mut phones = Phones::start(host, address, service)?;
    let mut row = Row::new(options.fault, is_loopback);
    for number in 0..options.runs {
        let line = run(
            options.fault,
            &mut world,
            &mut phones,
            judge.as_ref(),
            &mut row,
        )?;
        tell(&format!("{} {}: {line}", row.id(), number + 1));
    }
    row.service_us.sort_unstable();
    row.media_gap_us.sort_unstable();
    Ok(row)
}

/// Waits until something is so, or for as long as it may take.
fn within(patience: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn place(world: &World, phones: &mut Phones) -> Result<(), Error> {
    let now = Instant::now();
    let (host, _) = world.phones();
    for number in 0..ESTABLISHED + 3 * OTHERS {
        let phase = match number.checked_sub(ESTABLISHED).map(|rest| rest / OTHERS) {
            None => Phase::Established,
            Some(0) => Phase::Ringing,
            Some(1) => Phase::Answering,
            Some(_) => Phase::Dialling,
        };
        let (dial_at, answer_at) = match phase {
            Phase::Established => (now, Some(now)),
            Phase::Ringing | Phase::Answering => (now, None),
            // Until it is known when.
            Phase::Dialling => (now + SET_UP * 2, Some(now)),
        };
        phones.place(host, phase, dial_at, answer_at)?;
    }
    Ok(())
}

fn run(
    fault: Fault,
    world: &mut World,
    phones: &mut Phones,
    judge: Option<&Judge>,
    row: &mut Row,
) -> Result<String, Error> {
    let (owner, epoch) = world.in_sync()?;
    place(world, phones)?;
    within(SET_UP, || phones.are_ready());
    let was_ready = phones.are_ready();
    drop(judge.map(Judge::take));
    phones.watch();
    std::thread::sleep(BEFORE);
    let prepared = fault.prepare(world, owner)?;
    // Two calls are dialled or answered before it.
    std::thread::sleep(BEFORE);
    let at = Instant::now() + APART * 2;
    phones.schedule(at, APART);
    std::thread::sleep(APART * 2);
    fault.befall(world, owner, prepared)?;
    let took = at.elapsed();
    fault.follow(world, owner);
    within(LONGER, || phones.is_answered());
    let noticed = phones.unwatch();
    phones.answer_all();
    within(END, || phones.have_all_answered());
    phones.hang_up_all();
    within(END, || phones.have_all_ended());
    let outcome = phones.outcome();
    fault.heal(world, owner)?;
    let (now_owner, now_epoch) = world.in_sync()?;
    let spells = judge.map(Judge::take).unwrap_or_default();
    let owners = owners_at_once(&spells, now_epoch.saturating_sub(epoch));

    let us = |gap: Duration| u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
    let media_max = noticed.media_gaps.iter().max().copied().unwrap_or_default();
    row.service_us.push(us(noticed.service_gap));
    if !row.is_loopback {
        let gaps = noticed.media_gaps.iter();
        row.media_gap_us.extend(gaps.copied().map(us));
    }
    row.calls += outcome.calls;
    row.owners_at_once_max = row.owners_at_once_max.max(owners);
    row.stayed += usize::from(now_epoch == epoch);
    row.never_back += usize::from(!noticed.is_back);
    let view = world.view(now_owner).unwrap_or_default();
    let mut line = format!(
        "service {} ms from {} ms on (the fault took {} ms), media {} ms, lost {} of {}, owner {} -> {} (epochs {epoch} -> {now_epoch}), {}",
        noticed.service_gap.as_millis(),
        (noticed.since + BEFORE).duration_since(at).as_millis() as i64 - BEFORE.as_millis() as i64,
        took.as_millis(),
        media_max.as_millis(),
        outcome.lost.len(),
        outcome.calls,
        owner + 1,
        now_owner + 1,
        view["last_takeover"],
    );
    if owners > 1 {
        let spells = spells.iter().map(|spell| {
            let since = spell.first - spells[0].first;
            format!(
                "{}ms..+{}ms host {} ({} frames)",
                since.as_millis(),
                (spell.last - spell.first).as_millis(),
                spell.mac[5],
                spell.frames
            )
        });
        let spells: Vec<_> = spells.take(40).collect();
        row.notes
            .push(format!("two senders: {}", spells.join("; ")));
        line += "; TWO SENDERS";
    }
    if !was_ready {
        row.notes
            .push("not all calls were set up before the fault".to_owned());
        line += "; not all calls were set up before";
    }
    for lost in outcome.lost {
        line += &format!("\n    lost: {lost}");
        row.lost.push(lost);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 500), Some(100));
        assert_eq!(percentile(&sorted, 990), Some(198));
        assert_eq!(percentile(&sorted, 1_000), Some(200));
        assert_eq!(percentile(&[7], 10), Some(7));
        assert_eq!(percentile(&[], 500), None);
    }

    #[test]
    fn a_row_with_two_owners_or_losses_is_not_good() {
        let mut row = Row::new(Fault::Node, false);
        assert!(row.is_good());
        row.owners_at_once_max = 2;
        assert!(!row.is_good());
        row.owners_at_once_max = 1;
        row.lost.push("one".to_owned());
        assert!(!row.is_good());
    }
}
