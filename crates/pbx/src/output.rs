//! What is to be done after inputs.

use records::Changes;
use transaction::Outbox;
use voice::{Command, EndId, PlayId, RecordId};

use crate::control::{Cause, Cdr, LegId, Question, QuestionId, RecordingId, Sound};

/// A command for one media thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Voiced {
    /// Which thread.
    pub thread: u16,
    /// What.
    pub command: Command,
}

/// A play that was begun with sounds of which the surroundings feed the last one ([`voice::Event::Hungry`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Which thread plays it.
    pub thread: u16,
    /// The end that hears it.
    pub end: EndId,
    /// The play.
    pub play: PlayId,
    /// The file.
    pub sound: Sound,
    /// Where in the file to begin, in milliseconds.
    pub from_ms: u32,
}

/// A recording that was begun: its pieces ([`voice::Event::Recorded`]) go to `path`. When all of it is safe, or is known
/// to be lost, [`crate::Pbx::recorded`] is to hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// What the media thread calls it.
    pub record: RecordId,
    /// What applications call it.
    pub recording: RecordingId,
    /// Where in the media store.
    pub path: String,
    /// Samples a second.
    pub rate_hz: u32,
    /// What is there already, in milliseconds: the pieces come after it.
    pub from_ms: u32,
}

/// What happened to a call, for logs and those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A leg began.
    Began {
        /// Which.
        leg: LegId,
        /// Whether it came in.
        is_incoming: bool,
        /// Its Call-ID.
        call_id: String,
    },
    /// A leg was answered.
    Answered {
        /// Which.
        leg: LegId,
    },
    /// A leg is over.
    Ended {
        /// Which.
        leg: LegId,
        /// Why.
        cause: Cause,
    },
}

/// What is to be done after one or more inputs, in the order: voice commands, records, messages. The driver empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages; they leave after `changes` are safe.
    pub outbox: Outbox,
    /// Commands for media threads.
    pub voice: Vec<Voiced>,
    /// Files that are to be fed to plays.
    pub feeds: Vec<Feed>,
    /// Recordings that began.
    pub recordings: Vec<Recording>,
    /// Questions to the world outside; [`crate::Pbx::told`] takes the answers.
    pub asks: Vec<(QuestionId, Question)>,
    /// Records of calls that are over.
    pub cdrs: Vec<Cdr>,
    /// Records of state that changed.
    pub changes: Changes,
    /// What happened, if `is_watched`.
    pub events: Vec<Event>,
    /// Whether anybody listens to events.
    pub is_watched: bool,
}

impl Output {
    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.outbox.clear();
        self.voice.clear();
        self.feeds.clear();
        self.recordings.clear();
        self.asks.clear();
        self.cdrs.clear();
        self.changes.clear();
        self.events.clear();
    }
}
