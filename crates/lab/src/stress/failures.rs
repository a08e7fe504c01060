//! Nodes that fail while there is stress: a node of each kind by turns, each given back before the next, which waits until all services are in sync again.
//!
//! A PBX that is given back is a member of both services, and owns none until the other PBX fails: so it is always a PBX that has all calls which fails,
//! but for the first.

use std::time::{Duration, Instant};

use crate::world::NODES;
use crate::{Error, World};

/// From failure to failure, in the published work and at least.
const EVERY: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(6)];
/// Failures of a run at least: each node once.
pub(super) const ROUNDS_MIN: u32 = 4;

/// The failures of a run.
#[derive(Debug)]
pub(super) struct Failures {
    every: Duration,
    /// None is due from then on.
    until: Instant,
    next: Instant,
    /// What is down, and until when.
    down: Option<(usize, Instant)>,
    /// How many there were.
    pub(super) count: usize,
    /// PBXs that take turns with the edge that owns the service.
    pbxs: usize,
    /// When each was, for the row.
    pub(super) notes: Vec<String>,
    begun: Instant,
}

/// From failure to failure in a run of this length.
pub(super) fn every(span: Duration) -> Duration {
    (span / (ROUNDS_MIN + 1)).clamp(EVERY[1], EVERY[0])
}

/// The shortest run in which every node fails once.
pub(super) fn span_min() -> Duration {
    EVERY[1] * (ROUNDS_MIN + 1)
}

impl Failures {
    pub(super) fn new(begun: Instant, span: Duration, pbxs: usize) -> Failures {
        let every = every(span);
        Failures {
            every,
            until: begun + span,
            next: begun + every,
            down: None,
            count: 0,
            pbxs,
            notes: Vec::new(),
            begun,
        }
    }

    /// Who is next: a PBX and the edge in office by turns.
    fn victim(&self, world: &World) -> Option<usize> {
        let is_pbx = self.pbxs > 0 && self.count.is_multiple_of(2);
        match is_pbx {
            true => Some(NODES + self.count / 2 % self.pbxs),
            false => world.owner(),
        }
    }

    /// Does what is due.
    pub(super) fn step(&mut self, world: &mut World, now: Instant) -> Result<(), Error> {
        if let Some((number, until)) = self.down {
            if now >= until {
                self.heal(world)?;
                self.note(now, number, "is back");
            }
            return Ok(());
        }
        if now < self.next || now >= self.until || !world.is_whole() {
            return Ok(());
        }
        let Some(number) = self.victim(world) else {
            return Ok(());
        };
        let owned = world.owned_by(number).join(" and ");
        if let Some(link) = world.unlink(number)? {
            link.go()?;
        }
        world.end(number);
        self.note(now, number, &format!("fails, which owned {owned}"));
        self.down = Some((number, now + self.every / 2));
        self.next = now + self.every;
        self.count += 1;
        Ok(())
    }

    fn note(&mut self, now: Instant, number: usize, what: &str) {
        let at_s = now.duration_since(self.begun).as_secs_f64();
        let name = super::meter::name(number);
        self.notes.push(format!("{name} {what} at {at_s:.1} s"));
    }

    /// Gives back what is down.
    pub(super) fn heal(&mut self, world: &mut World) -> Result<(), Error> {
        let Some((number, _)) = self.down.take() else {
            return Ok(());
        };
        world.link(number)?;
        world.begin(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_a_failure_each_minute_and_a_short_run_one_of_each_kind() {
        assert_eq!(every(Duration::from_secs(3_600)), Duration::from_secs(60));
        assert_eq!(every(Duration::from_secs(5)), Duration::from_secs(6));
        let span = span_min();
        assert!(span.as_secs() / every(span).as_secs() > u64::from(ROUNDS_MIN));
    }
}
