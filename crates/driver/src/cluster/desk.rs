//! Where those who act for a service leave what changed, and hear whether they may act and what is committed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use net::clock::Boottime;
use net::poll::Waker;
use records::{Batch, Changes};

/// Most batches that wait to be taken: 64 MiB. They grow only while neither the stream nor its members keep up.
const BATCHES_MAX: usize = 64 * 1024 * 1024 / records::BATCH_BYTES_MAX;
/// Batches whose memory is kept for the next.
const SPARE_MAX: usize = 16;

/// Names what was left on a desk at one time: it is committed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// What is on the desk and not yet taken.
#[derive(Debug, Default)]
struct Tray {
    /// The term that it is for; none while this node may not act.
    epoch: Option<u64>,
    ticket: u64,
    batches: Vec<Batch>,
    spare: Vec<Batch>,
    /// Who waits, as bits.
    waiting: u64,
    /// Whether who takes looks again before long by itself, and need not be woken.
    is_watched: bool,
}

/// What was taken off the desk at one time.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) ticket: Ticket,
    pub(crate) batches: Vec<Batch>,
    pub(crate) waiting: u64,
}

/// The desk of one service.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Until when this node may act, in nanoseconds of the boot clock; zero: it may not.
    until_ns: AtomicU64,
    /// The term in office, plus one; zero: none.
    office: AtomicU64,
    committed: AtomicU64,
    has_standby: AtomicBool,
    tray: Mutex<Tray>,
    waker: Waker,
    /// Changes that are too large for any batch, or had no room, since the start.
    refused: AtomicU64,
    /// Whether what is left here is lost, and told to be safe ([`loses_commits`]).
    loses: bool,
}

/// Whether this is a build that is broken on purpose, so that the laboratory can be seen to notice it: the environment of a debug build says so.
/// Others never ask.
fn loses_commits() -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("HOLDLINE_BREAK").is_some_and(|what| what == "commit")
}

impl Desk {
    /// `waker` wakes the thread that takes what is left here.
    pub(crate) fn new(waker: Waker) -> Desk {
        let loses = loses_commits();
        if loses {
            tracing::error!("HOLDLINE_BREAK: what is committed here is lost, on purpose");
        }
        Desk {
            loses,
            until_ns: AtomicU64::new(0),
            office: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            has_standby: AtomicBool::new(false),
            tray: Mutex::default(),
            waker,
            refused: AtomicU64::new(0),
        }
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something may be sent for the service now. To be asked right before sending.
    pub(crate) fn may_act(&self) -> bool {
        let until_ns = self.until_ns.load(Ordering::Acquire);
        until_ns != 0 && Boottime::now().as_ns() < until_ns
    }

    /// Whether a standby would go on with what is committed.
    pub(crate) fn has_standby(&self) -> bool {
        self.has_standby.load(Ordering::Relaxed)
    }

    /// Leaves changes for the standby, in the name of term `epoch`; `who` is woken when they are committed. `None`:
    /// the term is over, or there is no room, and nothing that depends on them may ever leave.
    pub(crate) fn submit(&self, epoch: u64, who: usize, changes: &Changes) -> Option<Ticket> {
        let mut tray = self.tray();
        if tray.epoch != Some(epoch) {
            return None;
        }
        if tray.batches.len() >= BATCHES_MAX {
            self.refused
                .fetch_add(changes.len() as u64, Ordering::Relaxed);
            return None;
        }
        if self.loses {
            // Everything up to the first ticket is safe from the start.
            return Some(Ticket(0));
        }
        let tray = &mut *tray;
        let was_empty = tray.batches.is_empty();
        let mut from = 0;
        while from < changes.len() {
            if tray.batches.is_empty() {
                tray.batches.push(tray.spare.pop().unwrap_or_default());
            }
            let last = tray.batches.len() - 1;
            let reached = changes.fill(from, &mut tray.batches[last]);
            if reached == from && tray.batches[last].is_empty() {
                // `Changes` takes nothing that an empty batch has no room for.
                self.refused.fetch_add(1, Ordering::Relaxed);
                from += 1;
                continue;
            }
            from = reached;
            if from < changes.len() {
                tray.batches.push(tray.spare.pop().unwrap_or_default());
            }
        }
        tray.waiting |= 1 << (who % 64);
        let ticket = Ticket(tray.ticket);
        if was_empty && !tray.is_watched {
            self.waker.wake();
        }
        Some(ticket)
    }

    /// Leaves changes that no message depends on, if this node is in office.
    pub(crate) fn leave(&self, changes: &Changes) {
        let office = self.office.load(Ordering::Acquire);
        if office > 0 {
            // Whoever waits for nothing is woken for nothing, once.
            let _ = self.submit(office - 1, 0, changes);
        }
    }

    /// The last ticket whose changes are safe, if the term `epoch` is in office still.
    pub(crate) fn committed(&self, epoch: u64) -> Option<Ticket> {
        let committed = self.committed.load(Ordering::Acquire);
        // Read after it: a later term's commits are not taken for those of this one.
        (self.office.load(Ordering::Acquire) == epoch + 1).then_some(Ticket(committed))
    }

    /// Begins a term.
    pub(crate) fn open(&self, epoch: u64) {
        let mut tray = self.tray();
        tray.epoch = Some(epoch);
        tray.ticket += 1;
        tray.batches.clear();
        tray.waiting = 0;
        tray.is_watched = false;
        self.office.store(epoch + 1, Ordering::Release);
    }

    /// Says until when this node may act.
    pub(crate) fn extend(&self, until: Boottime) {
        self.until_ns.store(until.as_ns(), Ordering::Release);
    }

    /// Ends the term: from here on nothing leaves.
    pub(crate) fn close(&self) {
        self.until_ns.store(0, Ordering::Release);
        self.office.store(0, Ordering::Release);
        self.has_standby.store(false, Ordering::Relaxed);
        let mut tray = self.tray();
        tray.epoch = None;
        tray.batches.clear();
    }

    /// Says whether a standby is in sync.
    pub(crate) fn set_standby(&self, has_standby: bool) {
        self.has_standby.store(has_standby, Ordering::Relaxed);
    }

    /// Whether something waits to be taken.
    pub(crate) fn has_changes(&self) -> bool {
        !self.tray().batches.is_empty()
    }

    /// Takes what is there. Whoever is given something comes again before long, unasked: he is not woken for what is left
    /// meanwhile, until he has found nothing.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut tray = self.tray();
        tray.is_watched = !tray.batches.is_empty();
        if tray.batches.is_empty() {
            return None;
        }
        let taken = Taken {
            ticket: Ticket(tray.ticket),
            batches: std::mem::take(&mut tray.batches),
            waiting: std::mem::take(&mut tray.waiting),
        };
        tray.ticket += 1;
        Some(taken)
    }

    /// Gives the memory of batches back.
    pub(crate) fn recycle(&self, batches: Vec<Batch>) {
        let mut tray = self.tray();
        for mut batch in batches {
            if tray.spare.len() < SPARE_MAX {
                batch.clear();
                tray.spare.push(batch);
            }
        }
    }

    /// Says that all up to `ticket` is safe.
    pub(crate) fn commit(&self, ticket: Ticket) {
        self.committed.store(ticket.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn changes(count: u8) -> Changes {
        let mut changes = Changes::new();
        for number in 0..count {
            changes.put(1, &[number], |out| out.push(number)).unwrap();
        }
        changes
    }

    fn desk() -> (net::poll::Poller, Desk) {
        let poller = net::poll::Poller::new().unwrap();
        let desk = Desk::new(poller.waker());
        (poller, desk)
    }

    #[test]
    fn what_workers_leave_meanwhile_shares_a_ticket() {
        let (_poller, desk) = desk();
        assert_eq!(desk.submit(3, 0, &changes(1)), None);
        desk.open(3);
        let first = desk.submit(3, 0, &changes(2)).unwrap();
        assert_eq!(desk.submit(3, 1, &changes(1)), Some(first));
        let taken = desk.take().unwrap();
        assert_eq!((taken.ticket, taken.waiting), (first, 0b11));
        let second = desk.submit(3, 1, &changes(1)).unwrap();
        assert!(second > first);
        assert!(desk.committed(3).unwrap() < first);
        desk.commit(first);
        assert_eq!(desk.committed(3), Some(first));
    }

    #[test]
    fn who_takes_is_woken_after_he_found_nothing_and_not_before() {
        let (mut poller, desk) = desk();
        let mut is_woken = || {
            let ready = poller.wait(Some(Duration::ZERO)).unwrap();
            !ready.is_empty()
        };
        desk.open(3);
        desk.submit(3, 0, &changes(1)).unwrap();
        assert!(is_woken());
        assert!(desk.take().is_some());
        desk.submit(3, 0, &changes(1)).unwrap();
        assert!(!is_woken());
        assert!(desk.take().is_some());
        assert!(desk.take().is_none());
        desk.submit(3, 0, &changes(1)).unwrap();
        assert!(is_woken());
        // A term that ends in between leaves nobody waiting for the next one's changes.
        assert!(desk.take().is_some());
        desk.close();
        desk.open(4);
        desk.submit(4, 0, &changes(1)).unwrap();
        assert!(is_woken());
    }

    #[test]
    fn a_term_that_is_over_commits_nothing_whatever_the_next_one_does() {
        let (_poller, desk) = desk();
        desk.open(3);
        let old = desk.submit(3, 0, &changes(1)).unwrap();
        desk.close();
        assert_eq!(desk.submit(3, 0, &changes(1)), None);
        desk.open(5);
        let new = desk.submit(5, 0, &changes(1)).unwrap();
        assert!(new > old);
        desk.commit(new);
        assert_eq!(desk.committed(3), None);
        assert_eq!(desk.committed(5), Some(new));
    }

    #[test]
    fn what_nobody_takes_has_a_limit() {
        let (_poller, desk) = desk();
        desk.open(3);
        let mut large = Changes::new();
        for key in 0..8u32 {
            large
                .put_value(1, &key.to_be_bytes(), &[0; 60_000])
                .unwrap();
        }
        let submit = || desk.submit(3, 0, &large).is_some();
        let tries = BATCHES_MAX * 2;
        let taken = (0..tries).filter(|_| submit()).count();
        assert!((1..tries).contains(&taken), "{taken}");
        let batches = desk.take().unwrap().batches;
        // The last one may have needed another batch or two.
        assert!((BATCHES_MAX..BATCHES_MAX + 4).contains(&batches.len()));
        assert!(submit());
    }

    #[test]
    fn nobody_acts_before_or_after_his_time() {
        let (_poller, desk) = desk();
        assert!(!desk.may_act());
        desk.extend(Boottime::now().after(Duration::from_secs(60)));
        assert!(desk.may_act());
        desk.extend(Boottime::now());
        assert!(!desk.may_act());
        desk.extend(Boottime::now().after(Duration::from_secs(60)));
        desk.close();
        assert!(!desk.may_act());
    }
}
