//! Which runs there are, and what the published ones came to.

use std::path::PathBuf;

use crate::report::StressRow;
use crate::world::{Farm, Lack, Plan};

/// Calls a second of the published tables.
const CALLS_PER_S: [u32; 6] = [175, 210, 245, 285, 315, 346];
/// Registrations a second, over [`POPULATION`].
const REGISTRATIONS_PER_S: [u32; 3] = [500, 750, 1_000];
/// How long a call lasts, in seconds: the shortest and the longest.
pub(super) const CALL_S: (u32, u32) = (5, 7);
/// Users of the published registrations.
const POPULATION: u64 = 10_000;
/// Users of one PBX alone: who calls only needs a password.
const CALLERS: u64 = 1_000;
/// The last port for sound of each PBX.
const PBX_PORT_LAST: u16 = 59_999;
/// How many there are: a call has a pair.
const PBX_PORTS: u64 = 8_000;
/// The same for ten times as many calls.
const PBX_PORTS_TENFOLD: u64 = 40_000;
/// Descriptors that a PBX needs beside those of its ports.
const DESCRIPTORS_BESIDE: u64 = 1_500;

/// What is under stress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// A pair of edges and two PBXs; else one of each, and nobody who stands in for them.
    pub(super) is_pair: bool,
    /// Built for ten times as many calls.
    pub(super) is_tenfold: bool,
}

impl Stage {
    fn name(self) -> &'static str {
        match self.is_pair {
            false => "conventional",
            true => "proposed",
        }
    }

    /// Those who call and register.
    pub(super) fn users(self) -> u64 {
        match self.is_pair {
            false => CALLERS,
            true => POPULATION,
        }
    }

    pub(super) fn pbxs(self) -> usize {
        if self.is_pair { 2 } else { 1 }
    }

    /// The ports of each PBX, where a process may have so many descriptors.
    fn pbx_ports(self, descriptors: u64) -> [u16; 2] {
        let wanted = match self.is_tenfold {
            true => PBX_PORTS_TENFOLD,
            false => PBX_PORTS,
        };
        let most = descriptors.saturating_sub(DESCRIPTORS_BESIDE).max(2);
        let count = wanted.min(most) / 2 * 2;
        let count = u16::try_from(count).unwrap_or(PBX_PORT_LAST);
        [PBX_PORT_LAST - count + 1, PBX_PORT_LAST]
    }

    /// How it is built, in this folder. Sound goes to the PBXs themselves.
    pub(super) fn plan(self, plan: &Plan, folder: PathBuf, descriptors: u64) -> Plan {
        let alone = (!self.is_pair).then_some(Lack::Standby);
        let users = (1..=self.users()).map(|number| format!("u{number}"));
        Plan {
            folder,
            users: users.collect(),
            farm: Farm::Pbxs(self.pbxs()),
            policy: "round-robin",
            media_ports: 0,
            pbx_ports: self.pbx_ports(descriptors),
            lack: plan.lack.or(alone),
            ..plan.clone()
        }
    }
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invite,
    Register,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Experiment {
    pub(super) stage: Stage,
    pub(super) kind: Kind,
    pub(super) per_s: u32,
    /// Nodes fail meanwhile.
    pub(super) is_failing: bool,
}

/// All of them: those of one stage after each other, those with failures last.
pub(super) fn experiments(is_whole: bool) -> Vec<Experiment> {
    let mut all = Vec::new();
    let mut add = |stage: Stage, kind, rates: &[u32], is_failing| {
        let times = if stage.is_tenfold { 10 } else { 1 };
        all.extend(rates.iter().map(|per_s| Experiment {
            stage,
            kind,
            per_s: per_s * times,
            is_failing,
        }));
    };
    let stage = |is_pair, is_tenfold| Stage {
        is_pair,
        is_tenfold,
    };
    let (usual, largest) = (&CALLS_PER_S[3..4], &REGISTRATIONS_PER_S[2..]);
    let some = [CALLS_PER_S[0], CALLS_PER_S[3], CALLS_PER_S[5]];
    let calls = if is_whole { &CALLS_PER_S[..] } else { &some };
    let (more, registrations) = match is_whole {
        true => (calls, &REGISTRATIONS_PER_S[..]),
        false => (usual, largest),
    };
    add(stage(false, false), Kind::Invite, calls, false);
    if is_whole {
        add(stage(false, true), Kind::Invite, more, false);
    }
    add(stage(true, false), Kind::Invite, calls, false);
    add(
        stage(true, false),
        Kind::Register,
        &REGISTRATIONS_PER_S,
        false,
    );
    add(stage(true, false), Kind::Invite, usual, true);
    add(stage(true, false), Kind::Register, largest, true);
    add(stage(true, true), Kind::Invite, more, false);
    add(stage(true, true), Kind::Register, registrations, false);
    all
}

impl Experiment {
    /// Its row's name.
    pub(super) fn id(&self) -> String {
        let (stage, per_s) = (self.stage.name(), self.per_s);
        let failures = if self.is_failing { "-failures" } else { "" };
        match self.kind {
            Kind::Invite => format!("stress-invite-{stage}-{per_s}{failures}"),
            Kind::Register => format!("stress-register-{per_s}{failures}"),
        }
    }

    /// Most calls at one time: as many as there are if all are as long as the longest.
    pub(super) fn active_limit(&self) -> u64 {
        u64::from(self.per_s) * u64::from(CALL_S.1)
    }

    fn title(&self) -> String {
        let through = match self.stage.is_pair {
            false => "one edge and one PBX",
            true => "the pair and two PBXs",
        };
        let what = match self.kind {
            Kind::Invite => "calls",
            Kind::Register => "registrations",
        };
        let meanwhile = if self.is_failing {
            ", while nodes fail"
        } else {
            ""
        };
        format!(
            "{} {what} a second through {through}{meanwhile}",
            self.per_s
        )
    }

    /// What the published work says of it.
    fn published(&self) -> Vec<(String, String)> {
        let known: &[(&str, &str)] =
            match (self.kind, self.stage.is_pair, self.per_s, self.is_failing) {
                (Kind::Invite, false, 346, false) => &[("failed", "86 %")],
                (Kind::Invite, true, 285, false) => &[("failed", "0"), ("active_max", "2,000")],
                (Kind::Register, _, 1_000, false) => &[("retransmissions", "301,450 in an hour")],
                _ => &[],
            };
        let known = known.iter();
        known
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Its row, before anything has happened.
    pub(super) fn row(&self, span_s: f64) -> StressRow {
        let is_invite = self.kind == Kind::Invite;
        let call_s = (f64::from(CALL_S.0), f64::from(CALL_S.1));
        StressRow {
            id: self.id(),
            title: self.title(),
            offered_per_s: f64::from(self.per_s),
            span_s,
            active_limit: is_invite.then(|| self.active_limit()),
            call_s: is_invite.then_some(call_s),
            users: Some(self.stage.users()),
            failed_max_permille: 0,
            // Who is without an answer for a moment asks again.
            retransmissions_max: (!self.is_failing && !is_invite).then_some(0),
            published: self.published(),
            ..StressRow::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_stages_are_built_once() {
        for (is_whole, count) in [(false, 13), (true, 32)] {
            let all = experiments(is_whole);
            let mut ids: Vec<_> = all.iter().map(Experiment::id).collect();
            assert_eq!(ids.len(), count, "{ids:?}");
            let mut stages: Vec<_> = all.iter().map(|experiment| experiment.stage).collect();
            stages.dedup();
            assert_eq!(stages.len(), if is_whole { 4 } else { 3 });
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), count);
        }
    }

    #[test]
    fn a_pbx_has_no_more_ports_than_it_may_have_descriptors() {
        let tenfold = Stage {
            is_pair: true,
            is_tenfold: true,
        };
        assert_eq!(tenfold.pbx_ports(200_000), [20_000, 59_999]);
        assert_eq!(tenfold.pbx_ports(20_000), [41_500, 59_999]);
        assert_eq!(tenfold.pbx_ports(0), [59_998, 59_999]);
    }

    #[test]
    fn the_published_figures_are_beside_their_rows() {
        let rows: Vec<_> = experiments(false).iter().map(|one| one.row(5.0)).collect();
        let with: Vec<_> = rows
            .iter()
            .filter(|row| !row.published.is_empty())
            .map(|row| row.id.as_str())
            .collect();
        assert_eq!(
            with,
            [
                "stress-invite-conventional-346",
                "stress-invite-proposed-285",
                "stress-register-1000"
            ]
        );
        assert_eq!(rows[4].id, "stress-invite-proposed-285");
        assert_eq!(rows[4].active_limit, Some(1_995));
    }
}
