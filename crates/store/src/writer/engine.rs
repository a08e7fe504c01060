//! The task behind a writer.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::deferred::{Told, Waiting};
use super::{
    Batch, CommitError, Completion, DEFERRED_BYTES_MAX, GROUP_CHANGES_MAX, Job, SPACING_ROWS_PER_S,
    WriterOptions, weight,
};
use crate::backend::Connection;
use crate::binding::{BindingChange, DeferredChange};
use crate::error::{Fault, fault};
use crate::group::{self, Change, Folded, Statements};
use crate::health::Health;
use crate::store::Store;

/// A wait that never ends by itself.
const NEVER: Duration = Duration::from_secs(3600);

/// On SQLite the engine waits less long for another process than the administration does, so that
/// it sees deadlines pass; it tries again soon enough.
const SQLITE_WAIT: &str = "PRAGMA busy_timeout = 250";

/// Spacing is not for making groups larger than this.
const SPACED_CHANGES_MAX: u64 = 1024;

/// The shortest time that a server is given for a group.
const ATTEMPT_MIN: Duration = Duration::from_millis(50);

pub(super) struct Engine {
    store: Store,
    options: WriterOptions,
    jobs: mpsc::UnboundedReceiver<Job>,
    statements: Statements,
    connection: Option<Connection>,
    /// Taken from the channel, in order, not yet in the group.
    pending: VecDeque<Job>,
    /// What is being written, kept as it is until it is written or given up, so that the order of
    /// changes outlives any number of attempts.
    group: Group,
    waiting: Waiting,
    /// When the oldest of `waiting` came.
    waiting_since: Option<Instant>,
    /// Whether a flush of `waiting` is under way: it takes more than one group.
    is_flushing: bool,
    /// Who hears when it is done.
    told: Told,
    /// No attempt before this.
    not_before: Option<Instant>,
    backoff: Duration,
    last_commit_began: Option<Instant>,
    /// From the start of the last commit to that of the next.
    spacing: Duration,
    closing_since: Option<Instant>,
}

/// Changes in the order in which they were made.
#[derive(Default)]
struct Group {
    items: Vec<Item>,
    changes: usize,
    /// Whether a flush of what waits is done once this is written.
    ends_flush: bool,
}

enum Item {
    Durable(Batch),
    Deferred(DeferredChange),
}

impl Group {
    fn push(&mut self, item: Item) {
        self.changes += match &item {
            Item::Durable(batch) => batch.changes.len(),
            Item::Deferred(_) => 1,
        };
        self.items.push(item);
    }

    fn folded(&self) -> Folded<'_> {
        let mut changes = Vec::with_capacity(self.changes);
        for item in &self.items {
            item.extend(&mut changes);
        }
        Folded::new(changes)
    }

    fn has_durable(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, Item::Durable(_)))
    }
}

impl Item {
    fn extend<'a>(&'a self, changes: &mut Vec<Change<'a>>) {
        match self {
            Self::Durable(batch) => changes.extend(batch.changes.iter().map(Change::from)),
            Self::Deferred(change) => changes.push(change.into()),
        }
    }
}

impl Engine {
    pub(super) fn new(
        store: Store,
        options: WriterOptions,
        jobs: mpsc::UnboundedReceiver<Job>,
    ) -> Self {
        Self {
            statements: Statements::new(store.dialect()),
            spacing: options.commit_spacing,
            backoff: options.backoff_min,
            store,
            options,
            jobs,
            connection: None,
            pending: VecDeque::new(),
            group: Group::default(),
            waiting: Waiting::new(DEFERRED_BYTES_MAX),
            waiting_since: None,
            is_flushing: false,
            told: Told::default(),
            not_before: None,
            last_commit_began: None,
            closing_since: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.drain();
            let now = Instant::now();
            self.give_up_late(now);
            if self.finished(now) {
                break;
            }
            match self.idle_for(now) {
                None => {
                    let since = self.last_commit_began.replace(now).map(|began| now - began);
                    self.fill_group(now);
                    self.spacing = spacing(&self.options, self.group.changes, since);
                    self.attempt().await;
                }
                // Only spacing or backoff holds the work back: what arrives meanwhile joins it.
                Some(pause) if self.has_work(now) => tokio::time::sleep(pause).await,
                Some(pause) => {
                    if let Ok(job) = tokio::time::timeout(pause, self.jobs.recv()).await {
                        self.accept(job.unwrap_or(Job::Close));
                    }
                }
            }
        }
        self.stop().await;
    }

    /// Takes what has been queued.
    fn drain(&mut self) {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.accept(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.accept(Job::Close);
                    break;
                }
            }
        }
    }

    fn accept(&mut self, job: Job) {
        match job {
            Job::Close => {
                self.closing_since.get_or_insert_with(Instant::now);
            }
            // Nothing durable is ahead of it: it can wait with the others, merged.
            Job::Deferred(changes, completion) if self.pending.is_empty() => {
                self.absorb(changes, completion);
            }
            job => self.pending.push_back(job),
        }
    }

    /// Lets deferred changes wait, merged with others of the same row.
    fn absorb(&mut self, changes: Vec<DeferredChange>, completion: Option<Completion>) {
        let health = self.store.counters();
        health
            .queued
            .fetch_sub(weight(changes.len()), Ordering::Relaxed);
        self.told.add(completion);
        let total = changes.len();
        let kept = changes
            .into_iter()
            .filter_map(|change| self.waiting.add(change).then_some(()))
            .count();
        if kept < total {
            self.count_dropped(total - kept);
        }
        if !self.waiting.is_empty() || !self.told.is_empty() {
            self.waiting_since.get_or_insert_with(Instant::now);
        }
        self.count_waiting();
    }

    /// Publishes how many deferred changes are not written yet, those being written included.
    fn count_waiting(&self) {
        let in_group = self.group.items.iter();
        let in_group = in_group.filter(|item| matches!(item, Item::Deferred(_)));
        let waiting = (self.waiting.len() + in_group.count()) as u64;
        let counters = self.store.counters();
        counters.deferred.store(waiting, Ordering::Relaxed);
    }

    fn count_dropped(&mut self, count: usize) {
        self.told.fail(&CommitError::Dropped);
        let dropped = &self.store.counters().deferred_dropped;
        if dropped.load(Ordering::Relaxed) == 0 {
            tracing::warn!("deferred changes of bindings are being dropped: too many wait");
        }
        Health::add(dropped, count);
    }

    fn flush_due(&self, now: Instant) -> bool {
        self.is_flushing
            || self.waiting_since.is_some_and(|since| {
                self.closing_since.is_some() || now - since >= self.options.defer
            })
    }

    fn has_work(&self, now: Instant) -> bool {
        !self.group.items.is_empty() || !self.pending.is_empty() || self.flush_due(now)
    }

    /// How long there is nothing to do; `None`: there is something to do now.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(now);
        if !self.has_work(now) {
            let due = self.waiting_since.map(|since| since + self.options.defer);
            return Some(due.map_or(NEVER, until));
        }
        let spaced = self
            .last_commit_began
            .map(|began| began + self.spacing)
            .filter(|_| self.closing_since.is_none());
        let pause = [spaced, self.not_before]
            .into_iter()
            .flatten()
            .map(until)
            .max();
        pause
            .filter(|pause| !pause.is_zero())
            // Deadlines and new arrivals are looked at now and then.
            .map(|pause| pause.min(self.tick()))
    }

    fn tick(&self) -> Duration {
        self.options.commit_timeout / 16
    }

    /// Moves work into the group, in order, unless one is being tried still.
    fn fill_group(&mut self, now: Instant) {
        if !self.group.items.is_empty() {
            return;
        }
        if self.flush_due(now) {
            self.fill_from_waiting(now);
        }
        while let Some(job) = self.pending.pop_front() {
            match job {
                Job::Durable(batch)
                    if self.group.changes > 0
                        && self.group.changes + batch.changes.len() > GROUP_CHANGES_MAX =>
                {
                    self.pending.push_front(Job::Durable(batch));
                    break;
                }
                Job::Durable(batch) => {
                    // Waiting changes of the same rows were made before it and go before it.
                    if !self.waiting.is_empty() {
                        for id in batch.changes.iter().map(BindingChange::id) {
                            if let Some(earlier) = self.waiting.remove(id) {
                                self.group.push(Item::Deferred(earlier));
                            }
                        }
                    }
                    self.group.push(Item::Durable(batch));
                }
                Job::Deferred(changes, completion) => self.absorb(changes, completion),
                Job::Close => {}
            }
        }
        self.count_waiting();
    }

    /// Takes the next slice of a flush of all that waits.
    fn fill_from_waiting(&mut self, now: Instant) {
        if !self.is_flushing {
            self.is_flushing = true;
            self.told.begin();
        }
        let (slice, is_last) = self.waiting.slice(GROUP_CHANGES_MAX);
        for change in slice {
            self.group.push(Item::Deferred(change));
        }
        if is_last {
            self.is_flushing = false;
            self.group.ends_flush = true;
            self.waiting_since = (!self.waiting.is_empty()).then_some(now);
        }
    }

    /// Tries to write the group, and deals with what comes of it.
    async fn attempt(&mut self) {
        // Only empty batches, or nothing: no need for a database.
        if self.group.changes == 0 {
            return self.succeeded(0, Duration::ZERO);
        }
        let limit = self.attempt_limit();
        match tokio::time::timeout(limit, self.connected()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.database_failed("connecting", &error),
            Err(late) => return self.database_failed("connecting", &late),
        }
        match self.write_group().await {
            Ok((rows, took)) => self.succeeded(rows, took),
            Err(error) => match fault(&error) {
                Fault::Database => self.database_failed("writing bindings", &error),
                Fault::Rows => self.write_apart(error).await,
            },
        }
    }

    /// How long a server may take: until the oldest batch in the group is late.
    fn attempt_limit(&self) -> Duration {
        let oldest = self.group.items.iter().find_map(|item| match item {
            Item::Durable(batch) => Some(batch.submitted_at),
            Item::Deferred(_) => None,
        });
        let waited = oldest.map_or(Duration::ZERO, |at| at.elapsed());
        let left = self.options.commit_timeout.saturating_sub(waited);
        left.max(ATTEMPT_MIN)
    }

    async fn connected(&mut self) -> Result<(), crate::StoreError> {
        if self.connection.is_none() {
            let connecting = Box::pin(self.store.connect("connecting"));
            let mut connection = connecting.await?;
            if let Connection::Sqlite(_) = connection {
                connection.run(SQLITE_WAIT).await?;
            }
            self.connection = Some(connection);
            Health::add(&self.store.counters().connects, 1);
        }
        Ok(())
    }

    /// Writes the group while keeping an eye on deadlines. A write on SQLite is let run to its end,
    /// as its own busy timeout ends it: cut short, it might still happen after later ones. A server
    /// that says nothing is left when nobody waits for it any more.
    async fn write_group(&mut self) -> Result<(usize, Duration), sqlx::Error> {
        let Some(mut connection) = self.connection.take() else {
            return Err(sqlx::Error::PoolClosed);
        };
        let began = Instant::now();
        let limit = match connection {
            Connection::Sqlite(_) => NEVER,
            _ => self.attempt_limit(),
        };
        let folded = self.group.folded();
        let rows = folded.rows();
        let written = tokio::time::timeout(
            limit,
            group::write(&mut connection, &mut self.statements, &folded),
        );
        let written = written.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        drop(folded);
        if usable(&written) {
            self.connection = Some(connection);
        }
        written.map(|()| (rows, began.elapsed()))
    }

    /// Answers everything in the group.
    fn succeeded(&mut self, rows: usize, took: Duration) {
        let health = self.store.counters();
        if rows > 0 {
            Health::add(&health.commits, 1);
            Health::add(&health.rows, rows);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            health.last_commit_us.store(took_us, Ordering::Relaxed);
            health.works();
            self.backoff = self.options.backoff_min;
            self.not_before = None;
        }
        self.group.changes = 0;
        let items = std::mem::take(&mut self.group.items);
        self.count_waiting();
        for item in items {
            if let Item::Durable(batch) = item {
                self.answer(batch, Ok(()));
            }
        }
        if std::mem::take(&mut self.group.ends_flush) {
            self.told.durable();
        }
    }

    fn answer(&self, batch: Batch, result: Result<(), CommitError>) {
        let health = self.store.counters();
        health
            .queued
            .fetch_sub(weight(batch.changes.len()), Ordering::Relaxed);
        if result.is_err() {
            Health::add(&health.failed, 1);
        }
        (batch.completion)(result);
    }

    /// Keeps the group for another attempt after a pause.
    fn database_failed(&mut self, operation: &'static str, error: &dyn std::fmt::Display) {
        self.store.counters().fails(operation, error);
        self.connection = None;
        self.not_before = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(self.options.backoff_max);
        if !self.group.has_durable() {
            self.dissolve();
        }
    }

    /// Lets the deferred changes of a group that is given up wait again, merged with newer ones.
    fn dissolve(&mut self) {
        self.group.changes = 0;
        let mut dropped = 0;
        // From the newest on, so that each one put back is older than what waits.
        for item in std::mem::take(&mut self.group.items).into_iter().rev() {
            if let Item::Deferred(change) = item
                && !self.waiting.put_back(change)
            {
                dropped += 1;
            }
        }
        if dropped > 0 {
            self.count_dropped(dropped);
        }
        // What is back may be behind the place where the flush was.
        self.is_flushing = false;
        self.group.ends_flush = false;
        self.waiting.restart();
        self.told.again();
        if !self.waiting.is_empty() || !self.told.is_empty() {
            self.waiting_since.get_or_insert_with(Instant::now);
        }
        self.count_waiting();
    }

    /// The database refused a row. Writes each batch on its own, so that only the one at fault is
    /// answered with the error.
    async fn write_apart(&mut self, refusal: sqlx::Error) {
        tracing::warn!(error = %refusal, "database refused a row; writing the group one by one");
        let mut rest = std::mem::take(&mut self.group.items).into_iter();
        self.group.changes = 0;
        let ends_flush = std::mem::take(&mut self.group.ends_flush);
        while let Some(item) = rest.next() {
            self.group.push(item);
            let result = match self.connected().await {
                Ok(()) => self.write_group().await,
                Err(_) => Err(sqlx::Error::PoolTimedOut),
            };
            match result {
                Ok((rows, took)) => self.succeeded(rows, took),
                Err(error) if fault(&error) == Fault::Rows => self.refuse_group(&error),
                Err(error) => {
                    for item in rest.by_ref() {
                        self.group.push(item);
                    }
                    self.group.ends_flush = ends_flush;
                    return self.database_failed("writing bindings", &error);
                }
            }
        }
        if ends_flush {
            self.told.durable();
        }
    }

    fn refuse_group(&mut self, error: &sqlx::Error) {
        self.group.changes = 0;
        for item in std::mem::take(&mut self.group.items) {
            match item {
                Item::Durable(batch) => {
                    let reason = error.to_string();
                    self.answer(batch, Err(CommitError::Refused { reason }));
                }
                Item::Deferred(_) => self.count_dropped(1),
            }
        }
        self.count_waiting();
    }

    /// Answers batches that have waited too long.
    fn give_up_late(&mut self, now: Instant) {
        let timeout = self.options.commit_timeout;
        let late = |batch: &Batch| now.saturating_duration_since(batch.submitted_at) >= timeout;
        let in_group = self
            .group
            .items
            .iter()
            .any(|item| matches!(item, Item::Durable(batch) if late(batch)));
        if in_group {
            let items = std::mem::take(&mut self.group.items);
            self.group.changes = 0;
            for item in items {
                match item {
                    Item::Durable(batch) if late(&batch) => {
                        self.answer(batch, Err(CommitError::TimedOut));
                    }
                    item => self.group.push(item),
                }
            }
            if !self.group.has_durable() {
                self.dissolve();
            }
        }
        while self.group.items.is_empty() {
            match self.pending.pop_front() {
                Some(Job::Durable(batch)) if late(&batch) => {
                    self.answer(batch, Err(CommitError::TimedOut));
                }
                Some(Job::Deferred(changes, completion)) => self.absorb(changes, completion),
                Some(job) => {
                    self.pending.push_front(job);
                    break;
                }
                None => break,
            }
        }
    }

    /// Closing, and there is nothing left or no hope.
    fn finished(&self, now: Instant) -> bool {
        self.closing_since.is_some_and(|since| {
            let idle = self.group.items.is_empty()
                && self.pending.is_empty()
                && self.waiting.is_empty()
                && self.told.is_empty();
            idle || now - since >= self.options.commit_timeout
        })
    }

    async fn stop(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        let items = std::mem::take(&mut self.group.items);
        let mut lost = self.waiting.len();
        for item in items {
            match item {
                Item::Durable(batch) => self.answer(batch, Err(CommitError::Closed)),
                Item::Deferred(_) => lost += 1,
            }
        }
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.pending.push_back(job);
        }
        for job in std::mem::take(&mut self.pending) {
            match job {
                Job::Durable(batch) => self.answer(batch, Err(CommitError::Closed)),
                Job::Deferred(changes, completion) => {
                    lost += changes.len();
                    self.told.add(completion);
                }
                Job::Close => {}
            }
        }
        self.told.fail(&CommitError::Closed);
        if lost > 0 {
            tracing::warn!(lost, "deferred changes of bindings were not written");
            self.count_dropped(lost);
        }
    }
}

/// How far apart commits are, `changes` having come in the time `since` the last one: the more of them
/// come, the further, but not so far that a group of them gets too large.
fn spacing(options: &WriterOptions, changes: usize, since: Option<Duration>) -> Duration {
    let Some(since) = since else {
        return options.commit_spacing;
    };
    let least = options.commit_spacing;
    let micros = since.as_micros().max(1) as u64;
    let rows_per_s = (changes as u64).saturating_mul(1_000_000) / micros;
    let more = options.commit_spacing_max.saturating_sub(least);
    let share = rows_per_s.min(SPACING_ROWS_PER_S) as u32;
    let wanted = least + more * share / SPACING_ROWS_PER_S as u32;
    let full = Duration::from_micros(SPACED_CHANGES_MAX * 1_000_000 / rows_per_s.max(1));
    wanted.min(full.max(least))
}

/// Whether a connection can go on after this result: yes, unless something other than a refused
/// row went wrong.
fn usable(result: &Result<(), sqlx::Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => fault(error) == Fault::Rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_spaced_by_the_rate_of_rows() {
        let options = WriterOptions::default();
        let spaced = |changes, since_ms| {
            let since = Some(Duration::from_millis(since_ms));
            spacing(&options, changes, since).as_millis() as u64
        };
        let (least, most) = (10, 50);
        assert_eq!(
            spacing(&options, 1, None),
            options.commit_spacing,
            "nothing is known yet"
        );
        assert_eq!(spaced(1, 60_000), least);
        assert_eq!(spaced(5, 10), 30, "half the rate, half of the way");
        assert_eq!(spaced(100, 50), most);
        assert_eq!(spaced(1000, 50), most);
        assert!(
            spaced(4096, 50) < 15,
            "a group is not made larger than is of use"
        );
        assert_eq!(spaced(4096, 0), least);
    }
}
