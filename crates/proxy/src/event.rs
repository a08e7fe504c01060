//! What the proxy tells the outside.

use crate::calls::Call;

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallNote {
    /// Its INVITE is being forwarded.
    Started,
    /// Somebody rings.
    Ringing,
    /// Its target was left for the next one.
    Moved,
    /// Somebody answered.
    Answered,
    /// It ended without an answer.
    Failed {
        /// The status that the caller got.
        status: u16,
    },
    /// It was answered and is over.
    Ended,
    /// It was answered, and nobody was heard any more: the relay has ended it.
    Silent,
}

/// Something an operator may want to see.
#[derive(Debug, Clone)]
pub enum Event {
    /// A call went a step.
    Call {
        /// The call.
        call: Box<Call>,
        /// The step.
        note: CallNote,
    },
}

/// What one thread counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests forwarded, each branch and each ACK.
    pub forwarded: u64,
    /// Responses forwarded.
    pub responses: u64,
    /// Responses that belong to nothing here and were dropped.
    pub strays: u64,
    /// Calls begun.
    pub calls_started: u64,
    /// Calls answered.
    pub calls_answered: u64,
    /// Calls that ended without an answer.
    pub calls_failed: u64,
    /// Answered calls that ended.
    pub calls_ended: u64,
    /// Branches that got no answer in time.
    pub timeouts: u64,
    /// Branches cancelled.
    pub cancelled: u64,
    /// Answered calls that ended since nobody was heard any more; they count as ended too.
    pub calls_silent: u64,
    /// Session descriptions in responses that were taken out, since they could not be relayed.
    pub descriptions_refused: u64,
    /// Requests that were sent to another target of their pool.
    pub moved_on: u64,
    /// Requests that found no target in their pool.
    pub pool_shortages: u64,
    /// Targets that answered after they were given up, and were hung up.
    pub hung_up_late: u64,
    /// Calls, and ports of calls, of another owner for which there was no room here.
    pub records_lacking: u64,
    /// Times that there were no ports for a description.
    pub ports_lacking: u64,
}
