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
/// From so many a second on a stage is built for ten times the published ones.
const TENFOLD_PER_S: u32 = 1_000;
/// Calls a second whose sound passes the edge; the first one in the short run, too: each packet goes eight times in or out of a process, so that two processors
/// that make the sound themselves carry some hundred calls at one time.
const RELAYED_PER_S: [u32; 3] = [60, 175, 285];
/// The last port for sound of each PBX.
const PBX_PORT_LAST: u16 = 59_999;
/// How many there are for each PBX, if all calls are at one of them: a call has a pair.
const PBX_PORTS: u64 = 5_200;
/// The same for ten times as many calls.
const PBX_PORTS_TENFOLD: u64 = 50_000;
/// Ports of the edge's relay: a call has two pairs.
const RELAY_PORTS: u16 = 8_400;
/// Descriptors that a PBX needs beside those of its ports.
const DESCRIPTORS_BESIDE: u64 = 1_500;

/// What is under stress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// A pair of edges and two PBXs; else one of each, and nobody who stands in for them.
    pub(super) is_pair: bool,
    /// Built for ten times as many calls.
    pub(super) is_tenfold: bool,
    /// Sound passes the edge's relay, and the generator's phones speak and listen.
    pub(super) is_relayed: bool,
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

    /// The ports of each PBX, where a process may have so many descriptors; each node of a pair has those of both, since it may have to act for both.
    pub(super) fn pbx_ports(self, descriptors: u64) -> [u16; 2] {
        let left = descriptors.saturating_sub(DESCRIPTORS_BESIDE);
        let most = (left / self.pbxs() as u64).max(2);
        let count = self.pbx_ports_wanted().min(most) / 2 * 2;
        let count = u16::try_from(count).unwrap_or(PBX_PORT_LAST);
        [PBX_PORT_LAST - count + 1, PBX_PORT_LAST]
    }

    fn pbx_ports_wanted(self) -> u64 {
        match self.is_tenfold {
            true => PBX_PORTS_TENFOLD,
            false => PBX_PORTS,
        }
    }

    /// What is to be said of it where a process may not have the descriptors that it needs.
    pub(super) fn shortfall(self, descriptors: u64) -> Option<String> {
        let [first, last] = self.pbx_ports(descriptors);
        let pairs = u64::from(last - first).div_ceil(2);
        (pairs * 2 < self.pbx_ports_wanted()).then(|| {
            format!("a process may have {descriptors} descriptors: each PBX takes {pairs} calls at one time")
        })
    }

    /// How it is built, in this folder. Sound goes to the PBXs themselves, unless it is to be relayed.
    pub(super) fn plan(self, plan: &Plan, folder: PathBuf, descriptors: u64) -> Plan {
        let alone = (!self.is_pair).then_some(Lack::Standby);
        let users = (1..=self.users()).map(|number| format!("u{number}"));
        Plan {
            folder,
            users: users.collect(),
            farm: Farm::Pbxs(self.pbxs()),
            policy: "round-robin",
            media_ports: if self.is_relayed { RELAY_PORTS } else { 0 },
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

/// All of them: those of one stage after each other, those with failures last. Without `is_whole` only the least, the usual and the largest of the published
/// rates, and none of the tenfold ones.
pub(super) fn experiments(is_whole: bool) -> Vec<Experiment> {
    let mut all = Vec::new();
    let mut add = |stage: Stage, kind, rates: &[u32], is_failing| {
        all.extend(rates.iter().map(|per_s| Experiment {
            stage,
            kind,
            per_s: *per_s,
            is_failing,
        }));
    };
    let stage = |is_pair, is_tenfold| Stage {
        is_pair,
        is_tenfold,
        is_relayed: false,
    };
    let relayed = Stage {
        is_relayed: true,
        ..stage(true, false)
    };
    let some = [CALLS_PER_S[0], CALLS_PER_S[3], CALLS_PER_S[5]];
    let calls = if is_whole { &CALLS_PER_S[..] } else { &some };
    let (usual, registrations) = (&CALLS_PER_S[3..4], &REGISTRATIONS_PER_S);
    let largest = &REGISTRATIONS_PER_S[2..];
    let tenfold = |rates: &[u32]| -> Vec<u32> {
        let rates = rates.iter().filter(|_| is_whole);
        rates.map(|per_s| per_s * 10).collect()
    };
    add(stage(false, false), Kind::Invite, calls, false);
    add(stage(false, true), Kind::Invite, &tenfold(calls), false);
    add(stage(true, false), Kind::Invite, calls, false);
    add(stage(true, false), Kind::Register, registrations, false);
    let more = tenfold(registrations);
    add(stage(true, false), Kind::Register, &more, false);
    add(stage(true, false), Kind::Invite, usual, true);
    add(stage(true, false), Kind::Register, largest, true);
    let rates = if is_whole { RELAYED_PER_S.len() } else { 1 };
    add(relayed, Kind::Invite, &RELAYED_PER_S[..rates], false);
    add(stage(true, true), Kind::Invite, &tenfold(calls), false);
    all
}

impl Experiment {
    /// The one of that name, at whatever rate it says.
    pub(super) fn named(id: &str) -> Option<Experiment> {
        let (id, is_failing) = without(id, "-failures");
        let (id, is_relayed) = without(id, "-relayed");
        let (rest, per_s) = id.rsplit_once('-')?;
        let per_s: u32 = per_s.parse().ok().filter(|per_s| *per_s > 0)?;
        let (kind, is_pair) = match rest {
            "stress-invite-conventional" => (Kind::Invite, false),
            "stress-invite-proposed" => (Kind::Invite, true),
            "stress-register" => (Kind::Register, true),
            _ => return None,
        };
        // Registrations take no ports.
        let is_tenfold = kind == Kind::Invite && per_s > TENFOLD_PER_S;
        let stage = Stage {
            is_pair,
            is_tenfold,
            is_relayed,
        };
        Some(Experiment {
            stage,
            kind,
            per_s,
            is_failing,
        })
    }

    /// Its row's name.
    pub(super) fn id(&self) -> String {
        let (stage, per_s) = (self.stage.name(), self.per_s);
        let failures = if self.is_failing { "-failures" } else { "" };
        let relayed = if self.stage.is_relayed {
            "-relayed"
        } else {
            ""
        };
        match self.kind {
            Kind::Invite => format!("stress-invite-{stage}-{per_s}{relayed}{failures}"),
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
        let sound = match self.stage.is_relayed {
            true => ", with sound through the edge",
            false => "",
        };
        let meanwhile = match self.is_failing {
            true => ", while nodes fail",
            false => "",
        };
        format!(
            "{} {what} a second through {through}{sound}{meanwhile}",
            self.per_s
        )
    }

    /// What the published work says of it.
    fn published(&self) -> Vec<(String, String)> {
        let known: &[(&str, &str)] = match (
            self.kind,
            self.stage.is_pair,
            self.per_s,
            self.is_failing || self.stage.is_relayed,
        ) {
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

/// A name without this end, and whether it had it.
fn without<'a>(name: &'a str, end: &str) -> (&'a str, bool) {
    name.strip_suffix(end)
        .map_or((name, false), |rest| (rest, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_stages_are_built_once() {
        for (is_whole, count) in [(false, 12), (true, 35)] {
            let all = experiments(is_whole);
            for one in &all {
                let named = Experiment::named(&one.id());
                assert_eq!(named.as_ref().map(Experiment::id), Some(one.id()));
            }
            let mut ids: Vec<_> = all.iter().map(Experiment::id).collect();
            assert_eq!(ids.len(), count, "{ids:?}");
            let mut stages: Vec<_> = all.iter().map(|experiment| experiment.stage).collect();
            stages.dedup();
            assert_eq!(stages.len(), if is_whole { 5 } else { 3 });
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), count);
        }
    }

    #[test]
    fn a_pbx_has_no_more_ports_than_it_may_have_descriptors() {
        let tenfold = |is_pair| Stage {
            is_pair,
            is_tenfold: true,
            is_relayed: false,
        };
        assert_eq!(tenfold(false).pbx_ports(200_000), [10_000, 59_999]);
        assert_eq!(tenfold(true).pbx_ports(200_000), [10_000, 59_999]);
        assert_eq!(tenfold(true).shortfall(200_000), None);
        assert_eq!(tenfold(false).pbx_ports(20_000), [41_500, 59_999]);
        assert_eq!(tenfold(true).pbx_ports(20_000), [50_750, 59_999]);
        let said = tenfold(true).shortfall(20_000);
        assert!(said.is_some_and(|said| said.contains("4625 calls")));
        assert_eq!(tenfold(true).pbx_ports(0), [59_998, 59_999]);
    }

    #[test]
    fn a_row_at_any_rate_can_be_named() {
        let named = Experiment::named("stress-invite-proposed-600").expect("a name");
        assert_eq!((named.per_s, named.stage.is_tenfold), (600, false));
        let named = Experiment::named("stress-invite-conventional-3460").expect("a name");
        assert!(named.stage.is_tenfold && !named.stage.is_pair);
        let named = Experiment::named("stress-invite-proposed-90-relayed-failures");
        assert!(named.is_some_and(|named| named.stage.is_relayed && named.is_failing));
        for id in ["stress-register", "stress-register-0", "scenario-1-node"] {
            assert_eq!(Experiment::named(id), None);
        }
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
