//! What others leave for a media thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use net::poll::Waker;
use voice::{Command, EndId};

use super::ThreadView;

/// Commands that may wait for one media thread. What opens and closes has its bound in the ports; the rest is dropped and counted beyond it.
const COMMANDS_MAX: usize = 65_536;

/// From so many on no more ports are given out.
const COMMANDS_BUSY: usize = COMMANDS_MAX / 4 * 3;

/// Questions that may wait for one media thread; one too many is not answered.
const ASKS_MAX: usize = 64;

/// A question: what the thread is doing, and how these ends are.
pub(super) struct Ask {
    pub(super) ends: Vec<EndId>,
    pub(super) answer: SyncSender<ThreadView>,
}

/// What is waiting.
#[derive(Default)]
struct Waiting {
    commands: Vec<Command>,
    asks: Vec<Ask>,
    /// Commands dropped since the start.
    dropped: u64,
    is_over: bool,
}

/// A media thread's inbox.
pub(super) struct VoiceInbox {
    waiting: Mutex<Waiting>,
    /// Commands that wait, to be read without the lock.
    length: AtomicUsize,
    waker: Waker,
}

impl VoiceInbox {
    pub(super) fn new(waker: Waker) -> VoiceInbox {
        VoiceInbox {
            waiting: Mutex::default(),
            length: AtomicUsize::new(0),
            waker,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_nearly_full(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= COMMANDS_BUSY
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
            batch.retain(|command| matches!(command, Command::Open { .. } | Command::Close { .. }));
            waiting.dropped += (before - batch.len()) as u64;
        }
        waiting.commands.append(batch);
        self.length.store(waiting.commands.len(), Ordering::Release);
        drop(waiting);
        self.waker.wake();
    }

    pub(super) fn ask(&self, ask: Ask) {
        let mut waiting = self.lock();
        if waiting.asks.len() < ASKS_MAX {
            waiting.asks.push(ask);
            drop(waiting);
            self.waker.wake();
        }
    }

    pub(super) fn stop(&self) {
        self.lock().is_over = true;
        self.waker.wake();
    }

    /// Takes the commands alone, into a buffer that is empty.
    pub(super) fn take_commands(&self, commands: &mut Vec<Command>) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.commands, commands);
        self.length.store(0, Ordering::Relaxed);
    }

    /// Takes everything into buffers that are empty. Gives how many commands were dropped since the start, and whether this is the end.
    pub(super) fn take(&self, commands: &mut Vec<Command>, asks: &mut Vec<Ask>) -> (u64, bool) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.commands, commands);
        std::mem::swap(&mut waiting.asks, asks);
        self.length.store(0, Ordering::Relaxed);
        (waiting.dropped, waiting.is_over)
    }
}
