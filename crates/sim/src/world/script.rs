//! Faults that belong together: what chance alone would bring about too rarely.

use super::{Blow, Event, World};

impl World {
    /// One of the scripts, against some service.
    pub(super) fn script(&mut self, lasts_us: u64) {
        let drawn = self.random.between(0, 3);
        match self.plan.faults.script.unwrap_or(drawn) {
            0 => self.decline(lasts_us),
            1 => self.cut_and_thaw(),
            2 => self.heir_declines(lasts_us),
            _ => self.stranger(lasts_us),
        }
    }

    fn later(&mut self, span_us: u64, lasts_us: u64, blow: Blow) {
        self.after(span_us, Event::Strike { blow, lasts_us });
    }

    /// A node, likely an owner, goes out bit by bit, and comes back as it likes.
    fn decline(&mut self, lasts_us: u64) {
        self.count("script: a node goes out bit by bit");
        let (node, _) = self.target();
        let delay_us = self.random.between(20_000, 200_000);
        let mut blows = [
            Blow::AnswersLate { node, delay_us },
            Blow::Cut {
                ways: self.ways_around(node),
            },
            Blow::CutCoordinator {
                node,
                reach: [false, true],
            },
            Blow::Freeze {
                node,
                span_us: lasts_us,
            },
        ];
        let first = self.random.between(0, 1) as usize;
        blows.swap(0, first);
        let mut at_us = 0;
        for blow in blows {
            self.later(at_us, lasts_us, blow);
            at_us += self.random.span_us(10_000, 500_000);
        }
    }

    /// An owner lives by the coordinator alone, which it then loses; it freezes before its time is over, and
    /// what it had sent to the others arrives after it.
    fn cut_and_thaw(&mut self) {
        self.count("script: heartbeats arrive after the lease");
        let (node, service) = self.target();
        let node = self.owner(service).unwrap_or(node);
        let lease_us = self.plan.settings.lease_us;
        let outward = self
            .ways_around(node)
            .into_iter()
            .filter(|&(from, _)| from == node);
        let ways = outward.collect();
        let alone_us = self.random.between(lease_us, 2 * lease_us);
        let freeze_us = alone_us + self.random.between(lease_us / 2, lease_us);
        let thaw_us = alone_us + self.random.between(lease_us, lease_us * 3 / 2);
        let mend_us = alone_us + self.random.between(lease_us, lease_us * 3 / 2);
        let reach = [false, false];
        self.later(0, mend_us, Blow::Cut { ways });
        self.later(alone_us, 4 * lease_us, Blow::CutCoordinator { node, reach });
        let span_us = thaw_us.saturating_sub(freeze_us).max(1_000);
        self.later(freeze_us, span_us, Blow::Freeze { node, span_us });
    }

    /// The owner dies, and whoever comes after it gets its answers late, is heard by nobody, and freezes just
    /// after it has begun.
    fn heir_declines(&mut self, lasts_us: u64) {
        self.count("script: the heir declines");
        let (node, service) = self.target();
        let owner = self.owner(service).unwrap_or(node);
        let members = self.members[service]
            .iter()
            .map(|&member| usize::from(member));
        let Some(heir) = members.into_iter().find(|&member| member != owner) else {
            return;
        };
        let lease_us = self.plan.settings.lease_us;
        let delay_us = self.random.between(30_000, lease_us * 2 / 3);
        let ways = self.ways_around(heir);
        let back_us = lasts_us.max(4 * lease_us);
        self.later(
            0,
            lasts_us,
            Blow::Crash {
                node: owner,
                back_us,
            },
        );
        self.later(
            0,
            4 * lease_us,
            Blow::AnswersLate {
                node: heir,
                delay_us,
            },
        );
        self.later(0, 4 * lease_us, Blow::Cut { ways });
        let freeze_us = lease_us * 9 / 10 + delay_us + self.random.between(0, lease_us / 3);
        let span_us = lease_us;
        self.later(
            freeze_us,
            span_us,
            Blow::Freeze {
                node: heir,
                span_us,
            },
        );
    }

    /// A member that has just come back and is not in sync sees the coordinator and not the owner; the owner
    /// sees the other members and not the coordinator.
    fn stranger(&mut self, lasts_us: u64) {
        self.count("script: a member not in sync, apart from the owner");
        let (node, service) = self.target();
        let owner = self.owner(service).unwrap_or(node);
        let members = self.members[service]
            .iter()
            .map(|&member| usize::from(member));
        let Some(stranger) = members.rev().find(|&member| member != owner) else {
            return;
        };
        let lease_us = self.plan.settings.lease_us;
        let span_us = lasts_us.max(10 * lease_us);
        let ways = vec![(owner, stranger), (stranger, owner)];
        self.later(0, span_us, Blow::Cut { ways });
        let back_us = self.random.between(20_000, 200_000);
        self.later(
            1_000,
            back_us,
            Blow::Crash {
                node: stranger,
                back_us,
            },
        );
        let alone_us = self.random.between(2 * lease_us, 4 * lease_us);
        let reach = [false, false];
        self.later(
            alone_us,
            span_us,
            Blow::CutCoordinator { node: owner, reach },
        );
    }
}
