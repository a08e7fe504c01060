//! How the store is doing, for `/metrics`, `/healthz` and the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A snapshot of the store's state and counters. Counters run from the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Whether the last thing asked of the database worked.
    pub up: bool,
    /// What the database or its driver said last when something failed.
    pub last_error: Option<String>,
    /// Changes queued or being written.
    pub queued: u64,
    /// Deferred changes waiting, merged by row.
    pub deferred: u64,
    /// Groups committed.
    pub commits: u64,
    /// Rows inserted, refreshed or deleted by them.
    pub rows: u64,
    /// How long the last commit took, in microseconds.
    pub last_commit_us: u64,
    /// Batches turned away because the queue was full.
    pub rejected: u64,
    /// Batches answered with an error: not known to be durable.
    pub failed: u64,
    /// Deferred changes given up because too many were waiting or the database refused them.
    pub deferred_dropped: u64,
    /// How many times the writer connected.
    pub connects: u64,
}

/// The counters behind it.
#[derive(Default)]
pub(crate) struct Health {
    up: AtomicBool,
    last_error: Mutex<Option<String>>,
    pub(crate) queued: AtomicU64,
    pub(crate) deferred: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) last_commit_us: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) deferred_dropped: AtomicU64,
    pub(crate) connects: AtomicU64,
}

impl Health {
    /// Notes that the database answered; logs it if it had not before.
    pub(crate) fn works(&self) {
        if !self.up.load(Ordering::Relaxed) && !self.up.swap(true, Ordering::Relaxed) {
            tracing::info!("database is up");
        }
    }

    /// Notes that it did not; logs the change, not each repetition.
    pub(crate) fn fails(&self, operation: &'static str, error: &dyn std::fmt::Display) {
        let text = format!("{operation}: {error}");
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.up.swap(false, Ordering::Relaxed) || last.is_none() {
            tracing::error!(
                operation,
                %error,
                "database is down: calls go on, new registrations wait for it"
            );
        }
        *last = Some(text);
    }

    pub(crate) fn add(counter: &AtomicU64, amount: usize) {
        counter.fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> StoreHealth {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreHealth {
            up: self.up.load(Ordering::Relaxed),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            queued: read(&self.queued),
            deferred: read(&self.deferred),
            commits: read(&self.commits),
            rows: read(&self.rows),
            last_commit_us: read(&self.last_commit_us),
            rejected: read(&self.rejected),
            failed: read(&self.failed),
            deferred_dropped: read(&self.deferred_dropped),
            connects: read(&self.connects),
        }
    }
}
