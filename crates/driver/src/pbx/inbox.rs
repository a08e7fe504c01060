//! What other threads leave for the pbx thread.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use net::poll::Waker;
use pbx::control::{Answer, QuestionId, RecordingId};
use pbx::plan::Plan;
use voice::{EndId, Event, PlayId};

use super::inspect::PbxSnapshot;

/// One thing for the pbx thread.
pub(crate) enum Item {
    /// What a media thread heard.
    Heard(u16, Vec<Event>),
    /// The answer to a question.
    Told(QuestionId, Answer),
    /// All of a recording is safe, or it is lost.
    Recorded {
        /// Which.
        recording: RecordingId,
        /// How long it is, in milliseconds.
        length_ms: u32,
        /// Whether it is safe.
        is_saved: bool,
    },
    /// A file that is to be played to an end, from where it is to begin.
    Loaded(u16, EndId, PlayId, Arc<[i16]>),
    /// These records of calls are in the store.
    Kept(Vec<u64>),
    /// Records of the node that has the office changed.
    Apply(Vec<u8>),
    /// What was told of them is void.
    Forget,
    /// This node has the office from now on, for this term.
    TakeOffice(u64),
    /// It has it no more.
    LeaveOffice,
    /// Somebody else than a call put a message into this mailbox.
    MailboxChanged(String),
    /// Another dialplan, or other settings.
    Reload(Option<Arc<Plan>>, Option<Box<pbx::Settings>>),
    /// Refuse new calls.
    Drain,
    /// Tell what there is.
    Inspect(SyncSender<PbxSnapshot>),
    /// End.
    Stop,
}

/// The pbx thread's inbox. Its senders are bounded themselves: media threads by their ends, questions and
/// recordings by the calls that ask.
pub(crate) struct Inbox {
    items: Mutex<Vec<Item>>,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Inbox {
        Inbox {
            items: Mutex::new(Vec::new()),
            waker,
        }
    }

    pub(crate) fn push(&self, item: Item) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = items.is_empty();
        items.push(item);
        drop(items);
        if was_empty {
            self.waker.wake();
        }
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Takes everything, in order, into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Item>) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *items, taken);
    }
}
