//! A thread that keeps a lease, so that whoever renews it waits for nobody.
//!
//! The kernel changes packet filters and interfaces one request after the other, for all programs of the machine: one that loads a
//! large firewall holds up everybody else's. The thread of the heartbeats must not stand in that queue. The program's deadline is a
//! number in memory and is set by whoever renews; the filter, and the survey of interfaces, are this thread's.

use super::AddressError;
use super::lease::{Deadline, Lease, Strength};
use crate::clock::Boottime;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the lease is looked after.
const SURVEY_INTERVAL: Duration = Duration::from_secs(3);
/// Renewals in a row that the kernel refuses until that is a fault.
const FAILURES_MAX: u32 = 3;
/// How long the kernel may take for one until that is a fault.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long the end waits for the thread.
const END_MAX: Duration = Duration::from_secs(2);

/// What is asked of the kernel.
trait Guard: Send + 'static {
    fn extend(&mut self, until: Boottime) -> Result<(), AddressError>;
    fn survey(&mut self) -> Result<(), AddressError>;
    fn strength(&self) -> Strength;
}

impl Guard for Lease {
    fn extend(&mut self, until: Boottime) -> Result<(), AddressError> {
        // Read right before the kernel is told: the filter's time begins then.
        self.extend_filter(Boottime::now(), until)
    }

    fn survey(&mut self) -> Result<(), AddressError> {
        Lease::survey(self)
    }

    fn strength(&self) -> Strength {
        Lease::strength(self)
    }
}

/// Keeps a [`Lease`] from a thread of its own. When it is dropped, so is the lease.
#[derive(Debug)]
pub struct Keeper {
    deadline: Deadline,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

/// What is wanted, and what has become of it. Only the last wish counts.
#[derive(Debug)]
struct Slot {
    wanted: Boottime,
    /// Counts wishes, and those that were carried out or refused.
    asked: u64,
    answered: u64,
    /// Since when the kernel owes an answer.
    waits_since: Option<Boottime>,
    failures: u32,
    refusal: Option<AddressError>,
    /// A survey that failed.
    complaint: Option<AddressError>,
    strength: Strength,
    is_over: bool,
    has_ended: bool,
}

impl Shared {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Keeps `lease`, which lets nothing pass yet, by a thread of this name.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(lease: Lease, name: &str) -> io::Result<Keeper> {
        let deadline = lease.deadline();
        Keeper::begin(lease, deadline, name)
    }

    fn begin(guard: impl Guard, deadline: Deadline, name: &str) -> io::Result<Keeper> {
        let slot = Slot {
            wanted: Boottime::START,
            asked: 0,
            answered: 0,
            waits_since: None,
            failures: 0,
            refusal: None,
            complaint: None,
            strength: guard.strength(),
            is_over: false,
            has_ended: false,
        };
        let shared = Arc::new(Shared {
            slot: Mutex::new(slot),
            changed: Condvar::new(),
        });
        let theirs = shared.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || keep(guard, &theirs))?;
        Ok(Keeper { deadline, shared })
    }

    /// Lets the address be used until `until`; one that is over makes it dumb. What is told last counts. It waits for nothing.
    pub fn extend(&self, until: Boottime) {
        self.deadline.set(until);
        let mut slot = self.shared.slot();
        slot.wanted = until;
        slot.asked += 1;
        slot.waits_since.get_or_insert_with(Boottime::now);
        drop(slot);
        self.shared.changed.notify_all();
    }

    /// Whether all that was told is in force; where the lease is absolute it is so at once.
    pub fn is_settled(&self) -> bool {
        let slot = self.shared.slot();
        slot.strength == Strength::Absolute || slot.asked == slot.answered
    }

    /// What is in force.
    pub fn strength(&self) -> Strength {
        self.shared.slot().strength
    }

    /// Why the address may be dumb though the lease is valid: the kernel goes on refusing the filter, or does not answer.
    pub fn fault(&self, now: Boottime) -> Option<String> {
        let slot = self.shared.slot();
        if let Some(refusal) = &slot.refusal
            && slot.failures >= FAILURES_MAX
        {
            return Some(refusal.to_string());
        }
        let is_late = slot
            .waits_since
            .is_some_and(|at| now.since(at) > ANSWER_MAX);
        is_late.then(|| {
            "the kernel does not answer: something else holds its packet filters".to_owned()
        })
    }

    /// What the last survey met, once.
    pub fn complaint(&self) -> Option<AddressError> {
        self.shared.slot().complaint.take()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.deadline.set(Boottime::START);
        let mut slot = self.shared.slot();
        slot.is_over = true;
        self.shared.changed.notify_all();
        // A kernel that does not answer is not waited for: what it has times out.
        let wait = self
            .shared
            .changed
            .wait_timeout_while(slot, END_MAX, |slot| !slot.has_ended);
        drop(wait);
    }
}

/// What the thread does.
fn keep(mut guard: impl Guard, shared: &Shared) {
    // What it may have is as good as nothing where that is not given: the machine is not busy, or the program keeps the lease.
    let _ = crate::priority::urgent();
    let mut surveyed = Boottime::now();
    while let Some((asked, until)) = next(shared, surveyed) {
        if let Some(until) = until {
            let done = guard.extend(until);
            let mut slot = shared.slot();
            slot.answered = asked;
            slot.waits_since = (slot.asked != asked).then(Boottime::now);
            slot.failures = if done.is_ok() { 0 } else { slot.failures + 1 };
            slot.refusal = done.err();
            slot.strength = guard.strength();
        }
        if Boottime::now().since(surveyed) >= SURVEY_INTERVAL {
            let done = guard.survey();
            surveyed = Boottime::now();
            let mut slot = shared.slot();
            slot.complaint = done.err();
            slot.strength = guard.strength();
        }
    }
    drop(guard);
    shared.slot().has_ended = true;
    shared.changed.notify_all();
}

/// Waits for a wish, or until a survey is due; nothing more at the end.
fn next(shared: &Shared, surveyed: Boottime) -> Option<(u64, Option<Boottime>)> {
    let mut slot = shared.slot();
    loop {
        if slot.is_over {
            return None;
        }
        if slot.asked != slot.answered {
            return Some((slot.asked, Some(slot.wanted)));
        }
        let left = SURVEY_INTERVAL.saturating_sub(Boottime::now().since(surveyed));
        if left.is_zero() {
            return Some((slot.asked, None));
        }
        let waited = shared.changed.wait_timeout(slot, left);
        slot = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests;
