//! What an operator is to hear of a PBX, and what is counted of what it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PbxEvent {
    /// A voice message is in its mailbox, and who wants to hear of it elsewhere was not told.
    NotHandedOver {
        /// The mailbox.
        mailbox: String,
        /// Its sound in the media store.
        path: String,
        /// By which way.
        way: String,
        /// Why.
        reason: String,
    },
    /// What was said is not in the media store, or only the beginning of it.
    NotSaved {
        /// The recording's name in the media store.
        path: String,
        /// Why.
        reason: String,
    },
}

/// Who is told, at once and on any thread.
pub type PbxListener = Arc<dyn Fn(PbxEvent) + Send + Sync>;

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PbxKept {
    /// Recordings and voice messages that are safe.
    pub recordings: u64,
    /// Those that are not, or only their beginning.
    pub recordings_lost: u64,
    /// Records of calls that there was no room for.
    pub cdrs_lost: u64,
    /// Voice messages that were handed over, by each way.
    pub handed_over: u64,
    /// Those that wait for who is to take them.
    pub hand_overs_waiting: u64,
    /// Those that were given up.
    pub hand_overs_given_up: u64,
}

/// Tells and counts.
#[derive(Default)]
pub(crate) struct News {
    listener: Option<PbxListener>,
    recordings: AtomicU64,
    recordings_lost: AtomicU64,
    cdrs_lost: AtomicU64,
    handed_over: AtomicU64,
    hand_overs_waiting: AtomicU64,
    hand_overs_given_up: AtomicU64,
}

impl News {
    pub(crate) fn new(listener: Option<PbxListener>) -> News {
        News {
            listener,
            ..News::default()
        }
    }

    pub(crate) fn kept(&self) -> PbxKept {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PbxKept {
            recordings: of(&self.recordings),
            recordings_lost: of(&self.recordings_lost),
            cdrs_lost: of(&self.cdrs_lost),
            handed_over: of(&self.handed_over),
            hand_overs_waiting: of(&self.hand_overs_waiting),
            hand_overs_given_up: of(&self.hand_overs_given_up),
        }
    }

    pub(crate) fn saved(&self) {
        self.recordings.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn not_saved(&self, path: &str, reason: &impl ToString) {
        self.recordings_lost.fetch_add(1, Ordering::Relaxed);
        let (path, reason) = (path.to_owned(), reason.to_string());
        tracing::error!(path, reason, "a recording is not saved");
        self.tell(PbxEvent::NotSaved { path, reason });
    }

    /// There was no room for so many records of calls.
    pub(crate) fn cdrs_lost(&self, count: usize) {
        if count > 0 {
            self.cdrs_lost.fetch_add(count as u64, Ordering::Relaxed);
            tracing::error!(
                count,
                "records of calls are lost: too many wait to be written; is the disk or the store too slow?"
            );
        }
    }

    pub(crate) fn hand_over_begins(&self) {
        self.hand_overs_waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A hand-over is over, well or not.
    pub(crate) fn hand_over_ends(&self, is_handed_over: bool) {
        self.hand_overs_waiting.fetch_sub(1, Ordering::Relaxed);
        self.handed_over
            .fetch_add(u64::from(is_handed_over), Ordering::Relaxed);
    }

    pub(crate) fn given_up(&self, mailbox: &str, path: &str, way: &str, reason: String) {
        self.hand_overs_given_up.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            mailbox,
            path,
            way,
            reason,
            "a voice message is not handed over"
        );
        self.tell(PbxEvent::NotHandedOver {
            mailbox: mailbox.to_owned(),
            path: path.to_owned(),
            way: way.to_owned(),
            reason,
        });
    }

    fn tell(&self, event: PbxEvent) {
        if let Some(listener) = &self.listener {
            listener(event);
        }
    }
}
