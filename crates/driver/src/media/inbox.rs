//! What workers and those who look leave for a relay thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use net::poll::Waker;
use relay::{Command, SessionId};

use super::ThreadSnapshot;

/// Commands that may wait for one relay thread. Beyond it those are dropped and counted that only say
/// more about a stream; what opens and closes has its bound in the ports.
pub(crate) const COMMANDS_MAX: usize = 65_536;

/// From so many on no more ports are given out.
const COMMANDS_BUSY: usize = COMMANDS_MAX / 4 * 3;

/// How often it is looked whether there is room.
const ROOM_LOOK: Duration = Duration::from_micros(200);

/// Questions that may wait for one relay thread; one too many is not answered.
const ASKS_MAX: usize = 64;

/// A question to a relay thread: what it is doing, and how these sessions are.
pub(crate) struct Ask {
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) answer: SyncSender<ThreadSnapshot>,
}

/// What is waiting.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) commands: Vec<Command>,
    pub(super) asks: Vec<Ask>,
    /// Commands dropped since the start.
    pub(super) dropped: u64,
    pub(super) is_over: bool,
}

/// A relay thread's inbox.
pub(crate) struct RelayInbox {
    waiting: Mutex<Waiting>,
    /// Commands that wait, to be read without the lock.
    length: AtomicUsize,
    /// Whether ports that only the owner of a service has are to be open.
    wants_ports: AtomicBool,
    waker: Waker,
}

impl RelayInbox {
    pub(super) fn new(waker: Waker) -> RelayInbox {
        RelayInbox {
            waiting: Mutex::default(),
            length: AtomicUsize::new(0),
            wants_ports: AtomicBool::new(false),
            waker,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_nearly_full(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= COMMANDS_BUSY
    }

    /// Waits until the thread has taken in most of what there is, but no longer than this.
    pub(super) fn wait_for_room(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.length.load(Ordering::Relaxed) > COMMANDS_MAX / 2 && Instant::now() < deadline {
            std::thread::sleep(ROOM_LOOK);
        }
    }

    /// Whether commands wait.
    pub(super) fn has_commands(&self) -> bool {
        self.length.load(Ordering::Acquire) > 0
    }

    /// Leaves commands, in order, and empties `batch`.
    pub(super) fn push(&self, batch: &mut Vec<Command>) {
        if batch.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.commands.len() + batch.len() > COMMANDS_MAX {
            let before = batch.len();
            batch.retain(|command| !may_be_lost(command));
            waiting.dropped += (before - batch.len()) as u64;
        }
        waiting.commands.append(batch);
        self.length.store(waiting.commands.len(), Ordering::Release);
        drop(waiting);
        self.waker.wake();
    }

    pub(crate) fn ask(&self, ask: Ask) {
        let mut waiting = self.lock();
        if waiting.asks.len() < ASKS_MAX {
            waiting.asks.push(ask);
            drop(waiting);
            self.waker.wake();
        }
    }

    /// Has the ports opened, or closed, that only the owner of a service has.
    pub(super) fn want_ports(&self, wants: bool) {
        self.wants_ports.store(wants, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn wants_ports(&self) -> bool {
        self.wants_ports.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.lock().is_over = true;
        self.waker.wake();
    }

    /// Takes the commands alone.
    pub(super) fn take_commands(&self, commands: &mut Vec<Command>) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.commands, commands);
        self.length.store(0, Ordering::Relaxed);
    }

    /// Takes everything: commands and questions into buffers that are empty. Gives how many commands were
    /// dropped since the start, and whether this is the end.
    pub(super) fn take(&self, commands: &mut Vec<Command>, asks: &mut Vec<Ask>) -> (u64, bool) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.commands, commands);
        std::mem::swap(&mut waiting.asks, asks);
        self.length.store(0, Ordering::Relaxed);
        (waiting.dropped, waiting.is_over)
    }
}

fn may_be_lost(command: &Command) -> bool {
    matches!(
        command,
        Command::Remote { .. } | Command::Source { .. } | Command::Select { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use net::poll::Poller;

    fn inbox() -> (Poller, RelayInbox) {
        let poller = Poller::new().expect("a descriptor");
        let inbox = RelayInbox::new(poller.waker());
        (poller, inbox)
    }

    fn select(number: u64) -> Command {
        let session = SessionId(number);
        Command::Select { session, side: 1 }
    }

    #[test]
    fn commands_are_taken_in_order_and_once() {
        let (_poller, inbox) = inbox();
        inbox.push(&mut vec![select(1), select(2)]);
        inbox.push(&mut vec![select(3)]);
        let (mut commands, mut asks) = (Vec::new(), Vec::new());
        assert_eq!(inbox.take(&mut commands, &mut asks), (0, false));
        assert_eq!(commands, [select(1), select(2), select(3)]);
        commands.clear();
        inbox.stop();
        assert_eq!(inbox.take(&mut commands, &mut asks), (0, true));
        assert!(commands.is_empty());
    }

    #[test]
    fn one_question_too_many_gets_no_answer() {
        let (_poller, inbox) = inbox();
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        for _ in 0..=ASKS_MAX {
            let (sessions, answer) = (Vec::new(), answer.clone());
            inbox.ask(Ask { sessions, answer });
        }
        drop(answer);
        let (mut commands, mut asks) = (Vec::new(), Vec::new());
        inbox.take(&mut commands, &mut asks);
        assert_eq!(asks.len(), ASKS_MAX);
        asks.clear();
        assert!(answers.recv().is_err());
    }

    #[test]
    fn a_full_inbox_keeps_what_opens_and_closes() {
        let (_poller, inbox) = inbox();
        inbox.push(&mut (0..COMMANDS_BUSY as u64 - 1).map(select).collect());
        assert!(!inbox.is_nearly_full());
        inbox.push(&mut vec![select(0)]);
        assert!(inbox.is_nearly_full());
        inbox.push(&mut (0..COMMANDS_MAX as u64 / 4).map(select).collect());
        let session = SessionId(7);
        let close = Command::Close { session };
        inbox.push(&mut vec![select(7), close, select(8)]);
        let (mut commands, mut asks) = (Vec::new(), Vec::new());
        assert_eq!(inbox.take(&mut commands, &mut asks), (2, false));
        assert_eq!(commands.len(), COMMANDS_MAX + 1);
        assert_eq!(commands.last(), Some(&close));
        assert!(!inbox.is_nearly_full());
    }
}
