//! The coordinator: one register a service, with compare-and-set, behind a network that loses and delays.

use std::collections::VecDeque;

use cluster::{Outcome, Record, Revision, Version};

/// Versions that a stale read may show.
const HISTORY_MAX: usize = 64;

#[derive(Debug, Default)]
struct Register {
    /// When it was written, which version, what: the newest last.
    versions: VecDeque<(u64, Revision, Record)>,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Read {
        /// Shows what was true this long ago.
        stale_us: u64,
    },
    Cas {
        expected: Version,
        record: Record,
    },
}

/// The registers of all services.
#[derive(Debug)]
pub(crate) struct Coordinator {
    registers: Vec<Register>,
    revision: u64,
    pub(crate) is_up: bool,
    pub(crate) delay_us: u64,
    /// When it last went down or came up.
    pub(crate) changed_us: u64,
    /// Since when it is up and at its usual pace.
    pub(crate) well_since_us: Option<u64>,
}

impl Coordinator {
    pub(crate) fn new(services: usize) -> Coordinator {
        Coordinator {
            registers: (0..services).map(|_| Register::default()).collect(),
            revision: 0,
            is_up: true,
            delay_us: 0,
            changed_us: 0,
            well_since_us: Some(0),
        }
    }

    pub(crate) fn set_up(&mut self, now_us: u64, is_up: bool) {
        if is_up != self.is_up {
            self.changed_us = now_us;
        }
        self.is_up = is_up;
        self.well_since_us = (is_up && self.delay_us == 0).then_some(now_us);
    }

    pub(crate) fn set_delay(&mut self, now_us: u64, delay_us: u64) {
        self.delay_us = delay_us;
        self.well_since_us = (self.is_up && delay_us == 0).then_some(now_us);
    }

    /// The coordinator is restored from a copy that is this many versions old, and counts on from there.
    pub(crate) fn restore(&mut self, back: usize) {
        for register in &mut self.registers {
            let kept = register.versions.len().saturating_sub(back);
            register.versions.truncate(kept);
        }
        let last = |register: &Register| register.versions.back().map(|version| version.1.0);
        self.revision = self.registers.iter().filter_map(last).max().unwrap_or(0);
    }

    /// The last record of the epoch before the current one.
    pub(crate) fn before(&self, service: usize) -> Option<Record> {
        let mut versions = self.registers[service].versions.iter().rev();
        let current = versions.next()?.2.epoch;
        let before = versions.find(|version| version.2.epoch < current);
        before.map(|version| version.2)
    }

    /// The record of a service now.
    pub(crate) fn current(&self, service: usize) -> (Revision, Option<Record>) {
        match self.registers[service].versions.back() {
            Some(&(_, revision, record)) => (revision, Some(record)),
            None => (Revision(0), None),
        }
    }

    /// Performs a request at this moment.
    pub(crate) fn perform(&mut self, now_us: u64, service: usize, request: Request) -> Outcome {
        let (at, record) = self.current(service);
        match request {
            Request::Read { stale_us } => {
                let then = now_us.saturating_sub(stale_us);
                let versions = &self.registers[service].versions;
                let seen = versions.iter().rev().find(|version| version.0 <= then);
                let seen = seen.or(versions.front());
                let revision = seen.map_or(Revision(0), |version| version.1);
                let record = seen.map(|version| version.2);
                Outcome::Read { revision, record }
            }
            Request::Cas { expected, .. }
                if expected
                    != (Version {
                        revision: at,
                        record,
                    }) =>
            {
                let revision = at;
                Outcome::Conflict { revision, record }
            }
            Request::Cas { record, .. } => {
                self.revision += 1;
                let revision = Revision(self.revision);
                let versions = &mut self.registers[service].versions;
                if versions.len() == HISTORY_MAX {
                    versions.pop_front();
                }
                versions.push_back((now_us, revision, record));
                Outcome::Written { revision }
            }
        }
    }
}
