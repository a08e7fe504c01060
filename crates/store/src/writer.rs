//! The group commit: changes of bindings come in from threads that never wait, go out in shared
//! transactions, and are answered when they are durable.
//!
//! One task owns one connection. It takes whatever is queued, writes it as one group and calls the
//! completions in order. Under load the commits are spaced by [`WriterOptions::commit_spacing`], so
//! that more changes share one; after a quiet moment a change is committed at once. Deferred
//! changes are merged by row and written in a slice of a group when they are due.
//!
//! While the database is away, what is to be durable is answered with an error after
//! [`WriterOptions::commit_timeout`]; what is deferred is kept, merged, up to a limit. An error
//! does not mean that nothing was written: the answer to a commit can be lost on the way. Who must
//! be sure defers a delete of the row, which is written when the database is back.
//!
//! One limit is known: a disk that stalls in the middle of SQLite's commit delays the answers until
//! it goes on, because a commit that has begun cannot be called off.

mod deferred;
mod engine;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::binding::{BindingChange, DeferredChange, ROW_BYTES_MAX};
use crate::health::{Health, StoreHealth};
use crate::store::Store;

/// The most changes that may be queued or being written at one time.
pub const WRITE_QUEUE_MAX: usize = 65_536;

/// The most changes in one transaction; also the most that one call may hand over.
pub const GROUP_CHANGES_MAX: usize = 4096;

/// The most memory for deferred changes that wait, in bytes as the writer counts them: enough for
/// the refreshes of two million bindings.
pub const DEFERRED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The rate of rows at which the spacing of commits is the longest, in rows a second.
pub const SPACING_ROWS_PER_S: u64 = 1000;

/// How groups are formed.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// How long a batch waits to be durable before it is answered with an error.
    pub commit_timeout: Duration,
    /// The least time from the start of a commit to the start of the next. A commit costs as much
    /// CPU as a hundred rows, so this is what a registration's CPU under load depends on most.
    pub commit_spacing: Duration,
    /// What the spacing grows to, in proportion, as rows come at [`SPACING_ROWS_PER_S`] or faster.
    pub commit_spacing_max: Duration,
    /// How long deferred changes wait and gather.
    pub defer: Duration,
    /// The first wait after a failed attempt; doubled up to `backoff_max`.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            commit_timeout: Duration::from_secs(2),
            commit_spacing: Duration::from_millis(10),
            // A phone asks again after 500 ms (RFC 3261 timer E) and does not notice this.
            commit_spacing_max: Duration::from_millis(50),
            defer: Duration::from_millis(500),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
        }
    }
}

/// Called once, on the writer's thread, with what became of a batch. It must not block. If the
/// process ends without [`BindingWriter::close`], it is not called.
pub type Completion = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// Why a batch is not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// The database did not answer in time. The batch may have been written all the same, or may
    /// not; it will not be tried again.
    TimedOut,
    /// The database refused the batch's rows. Nothing of it was written.
    Refused {
        /// What the database said.
        reason: String,
    },
    /// A deferred change was dropped: too many waited, or the database refused it.
    Dropped,
    /// The writer was closed first.
    Closed,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the database did not answer in time"),
            Self::Refused { reason } => write!(f, "the database refused the rows: {reason}"),
            Self::Dropped => f.write_str("a deferred change was dropped"),
            Self::Closed => f.write_str("the writer is closed"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Why something was not even queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// [`WRITE_QUEUE_MAX`] changes are waiting.
    QueueFull,
    /// More than [`GROUP_CHANGES_MAX`] changes at once, or a row over [`ROW_BYTES_MAX`].
    TooLarge,
    /// The writer is closed.
    Closed,
}

/// A batch that was not queued, given back whole. The completion has not been called.
pub struct Rejected {
    /// The changes.
    pub changes: Vec<BindingChange>,
    /// The completion.
    pub completion: Completion,
    /// Why.
    pub reason: RejectReason,
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// What travels to the engine.
enum Job {
    Durable(Batch),
    Deferred(Vec<DeferredChange>, Option<Completion>),
    Close,
}

struct Batch {
    changes: Vec<BindingChange>,
    completion: Completion,
    submitted_at: Instant,
}

/// The writer's handle. Clones share the writer; it stops when the last one is gone or when it is
/// closed, having written what it can.
#[derive(Clone)]
pub struct BindingWriter {
    /// Bounded by the count of changes in `health.queued`, not by the channel.
    jobs: mpsc::UnboundedSender<Job>,
    store: Store,
    closed: Arc<AtomicBool>,
}

impl BindingWriter {
    /// Starts the engine on a thread of its own. It connects when there is something to write. Must be
    /// called in a tokio runtime, which takes the engine if the system has no thread for it.
    ///
    /// Start one writer per database: a second would not know the order of the first's changes.
    #[must_use]
    pub fn start(store: &Store, options: WriterOptions) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        start(engine::Engine::new(store.clone(), options, receiver));
        Self {
            jobs: sender,
            store: store.clone(),
            closed: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Hands over changes that must be durable together, and what to do when they are. Never
    /// blocks; may be called from any thread. Batches are written, and answered, in the order of
    /// the calls.
    ///
    /// # Errors
    /// [`Rejected`], with the batch in it, when the queue is full, the batch is too large or the
    /// writer is closed.
    pub fn submit(
        &self,
        changes: Vec<BindingChange>,
        completion: Completion,
    ) -> Result<(), Rejected> {
        let too_large = changes.len() > GROUP_CHANGES_MAX
            || changes
                .iter()
                .any(|change| change.text_bytes() > ROW_BYTES_MAX);
        if let Err(reason) = self.admit(changes.len(), too_large) {
            return Err(Rejected {
                changes,
                completion,
                reason,
            });
        }
        let batch = Batch {
            changes,
            completion,
            submitted_at: Instant::now(),
        };
        match self.jobs.send(Job::Durable(batch)) {
            Err(mpsc::error::SendError(Job::Durable(batch))) => Err(Rejected {
                changes: batch.changes,
                completion: batch.completion,
                reason: RejectReason::Closed,
            }),
            _ => Ok(()),
        }
    }

    /// Hands over changes that nobody waits for. Never blocks. They are written after what was
    /// handed over before them, within a second while the database is there.
    ///
    /// # Errors
    /// The reason, when they were not taken.
    pub fn defer(&self, changes: Vec<DeferredChange>) -> Result<(), RejectReason> {
        self.defer_then(changes, None)
    }

    /// As [`BindingWriter::defer`], and has `completion` called once all of the changes, or later ones
    /// of the same rows, are durable. An error says that at least one deferred change was dropped and
    /// nobody knows whether it was one of these. It is cheap: calls are answered a flush at a time.
    ///
    /// # Errors
    /// The reason, when they were not taken; the completion is dropped uncalled.
    pub fn defer_with(
        &self,
        changes: Vec<DeferredChange>,
        completion: Completion,
    ) -> Result<(), RejectReason> {
        self.defer_then(changes, Some(completion))
    }

    fn defer_then(
        &self,
        changes: Vec<DeferredChange>,
        completion: Option<Completion>,
    ) -> Result<(), RejectReason> {
        let too_large = changes.len() > GROUP_CHANGES_MAX
            || changes
                .iter()
                .any(|change| change.text_bytes() > ROW_BYTES_MAX);
        self.admit(changes.len(), too_large)?;
        self.jobs
            .send(Job::Deferred(changes, completion))
            .map_err(|_| RejectReason::Closed)
    }

    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.store.health()
    }

    /// Writes what is queued and deferred, then stops the writer. Waits no longer than
    /// [`WriterOptions::commit_timeout`] for a database that is away; what could not be written is
    /// answered with [`CommitError::Closed`].
    pub async fn close(self) {
        self.closed.store(true, Ordering::Release);
        if self.jobs.send(Job::Close).is_ok() {
            self.jobs.closed().await;
        }
    }

    /// Counts changes in, if there is room for them.
    fn admit(&self, changes: usize, too_large: bool) -> Result<(), RejectReason> {
        if too_large {
            return Err(RejectReason::TooLarge);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(RejectReason::Closed);
        }
        let counters = self.store.counters();
        let before = counters
            .queued
            .fetch_add(weight(changes), Ordering::Relaxed);
        if before + weight(changes) > WRITE_QUEUE_MAX as u64 {
            counters
                .queued
                .fetch_sub(weight(changes), Ordering::Relaxed);
            Health::add(&counters.rejected, 1);
            return Err(RejectReason::QueueFull);
        }
        Ok(())
    }
}

/// Runs the engine. A thread with a runtime of its own has one wake-up per commit and answer, where
/// one of many tasks has several: with commits every few milliseconds that is what it costs.
fn start(engine: engine::Engine) {
    let shared = tokio::runtime::Handle::current();
    let other = shared.clone();
    // The engine goes through a channel, so that it is still here if there is no thread.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("bindings".to_owned());
    let spawned = thread.spawn(move || {
        let Ok(engine) = receiver.recv() else { return };
        let own = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match own {
            Ok(own) => own.block_on(engine::Engine::run(engine)),
            Err(_) => drop(other.spawn(engine::Engine::run(engine))),
        }
    });
    if spawned.is_err() {
        drop(shared.spawn(engine.run()));
        return;
    }
    // It waits for nothing else, so it is there.
    let _ = sender.send(engine);
}

/// What a number of changes counts for in the queue: an empty batch takes a place too.
fn weight(changes: usize) -> u64 {
    changes.max(1) as u64
}
