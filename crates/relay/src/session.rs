//! A call: its legs, and which of them talk.

use crate::leg::{Leg, NONE, usable};
use crate::legs::Legs;
use crate::report::{LegReport, Report};
use crate::settings::Settings;
use crate::types::{Direction, Remote, SessionId, Time};

/// Reports of legs that ended before their session, kept for its report. Further ones are only in the totals.
pub(crate) const ENDED_LEGS_MAX: usize = 16;

/// No side.
const NO_SIDE: u8 = u8::MAX;

/// A call.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) opened: Time,
    /// When the controller said something last.
    pub(crate) touched: Time,
    /// The first of its legs; each knows the next.
    pub(crate) first: u32,
    /// The side that the caller talks with: the selected one, before that the one that described itself last.
    current: u8,
    is_selected: bool,
    /// How many times a side described itself.
    described: u32,
    pub(crate) ended: Vec<LegReport>,
    pub(crate) left_out: u32,
}

impl Session {
    pub(crate) fn new(id: SessionId, now: Time) -> Session {
        Session {
            id,
            opened: now,
            touched: now,
            first: NONE,
            current: NO_SIDE,
            is_selected: false,
            described: 0,
            ended: Vec::new(),
            left_out: 0,
        }
    }

    pub(crate) fn selected(&self) -> Option<u8> {
        self.is_selected.then_some(self.current)
    }

    /// Whether the caller talks with this side. He does with himself.
    pub(crate) fn is_current(&self, side: u8) -> bool {
        side == 0 || side == self.current
    }

    /// A side described itself.
    pub(crate) fn describe(&mut self, legs: &mut Legs, leg: u32, remote: &Remote, relearn: bool) {
        self.described = self.described.wrapping_add(1);
        let Some(leg) = legs.get_mut(leg) else {
            return;
        };
        leg.described = self.described;
        leg.describe(remote, relearn);
        if !self.is_selected && leg.side != 0 {
            self.current = leg.side;
        }
    }

    /// The caller talks with this side from now on.
    pub(crate) fn select(&mut self, legs: &mut Legs, side: u8, now: Time) {
        self.current = side;
        self.is_selected = true;
        let mut at = self.first;
        while let Some(leg) = legs.get_mut(at) {
            leg.guard.reopen(now);
            at = leg.next;
        }
    }

    /// Legs were closed: before one was selected, the current side is the last of those left.
    pub(crate) fn fall_back(&mut self, legs: &Legs) {
        if self.is_selected {
            return;
        }
        let callees = self.legs(legs).filter(|(_, leg)| leg.side != 0);
        let latest = callees.max_by_key(|(_, leg)| leg.described);
        self.current = latest.map_or(NO_SIDE, |(_, leg)| leg.side);
    }

    /// Tells each leg which one its packets leave from.
    pub(crate) fn link(&self, legs: &mut Legs) {
        let mut at = self.first;
        while let Some((stream, side, next)) =
            legs.get(at).map(|leg| (leg.stream, leg.side, leg.next))
        {
            let other = match side {
                0 => self.current,
                _ if side == self.current => 0,
                _ => NO_SIDE,
            };
            let peer = self.find(legs, stream, other).unwrap_or(NONE);
            if let Some(leg) = legs.get_mut(at) {
                leg.peer = peer;
            }
            at = next;
        }
    }

    pub(crate) fn find(&self, legs: &Legs, stream: u8, side: u8) -> Option<u32> {
        let mut all = self.legs(legs);
        let found = all.find(|(_, leg)| leg.stream == stream && leg.side == side)?;
        Some(found.0)
    }

    pub(crate) fn legs<'a>(&self, legs: &'a Legs) -> impl Iterator<Item = (u32, &'a Leg)> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let leg = legs.get(at)?;
            let this = at;
            at = leg.next;
            Some((this, leg))
        })
    }

    /// When the session is dead if nothing comes until then.
    pub(crate) fn deadline(&self, legs: &Legs, settings: &Settings) -> Time {
        let alive = self.legs(legs).map(|(_, leg)| leg.alive).max();
        let since = self.touched.max(alive.unwrap_or(Time::ZERO));
        let ms = match self.is_talking(legs) {
            true => settings.silence_ms,
            false => settings.hold_ms,
        };
        since.plus_micros(ms.saturating_mul(1_000))
    }

    /// Whether somebody has to send. What is said to go one way does not count: this is how most phones put a call on
    /// hold, and few of them send anything meanwhile.
    fn is_talking(&self, legs: &Legs) -> bool {
        let sends = |leg: &Leg| {
            let remote = leg.remote.as_ref();
            remote.is_some_and(|remote| {
                remote.direction == Direction::SendRecv && usable(remote.rtp).is_some()
            })
        };
        self.is_selected
            && self.legs(legs).any(|(_, leg)| {
                leg.side == 0 && sends(leg) && legs.get(leg.peer).is_some_and(sends)
            })
    }

    /// What has become of it up to now.
    pub(crate) fn report(&self, legs: &Legs, now: Time) -> Report {
        let mut reports = self.ended.clone();
        let open = self.legs(legs).map(|(_, leg)| self.report_leg(legs, leg));
        reports.extend(open);
        reports.sort_by_key(|report| (report.stream, report.side));
        Report {
            session: self.id,
            opened: self.opened,
            at: now,
            selected: self.selected(),
            legs: reports,
            legs_left_out: self.left_out,
        }
    }

    pub(crate) fn report_leg(&self, legs: &Legs, leg: &Leg) -> LegReport {
        let peer = legs.get(leg.peer);
        let beyond_us = peer.and_then(|peer| peer.round_trip_us);
        LegReport::of(leg, self.is_current(leg.side), beyond_us)
    }
}
