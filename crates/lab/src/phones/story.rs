//! What there is to be told of a call.

use std::time::{Duration, Instant};

use super::{Order, Phase};

/// What there is to be told of a call.
#[derive(Debug, Clone)]
pub struct Story {
    /// Which test it was for.
    pub test: u8,
    /// In which phase the fault found it.
    pub phase: Phase,
    /// Whether no phone was called, but something that answers by itself.
    pub is_to_machine: bool,
    /// When the fault came.
    pub fault_at: Option<Instant>,
    /// When its caller dialled.
    pub dialled_at: Option<Instant>,
    /// When its caller had the first sign that it rings.
    pub alive_at: Option<Instant>,
    /// When the phone that was called was answered.
    pub picked_up_at: Option<Instant>,
    /// When its caller heard that it was answered.
    pub talking_at: Option<Instant>,
    /// How often the phone that was called was told of it by another name.
    pub invites: u32,
    /// Whether it was answered, and rang once more.
    pub answered_in_vain: bool,
    /// Whether it was established, and there was no sound at the end of the watch.
    pub is_silent: bool,
    /// The longest silence of each direction while it was watched.
    pub gaps: Vec<Duration>,
    /// Why it was lost, if it was.
    pub loss: Option<String>,
}

impl Story {
    pub(super) fn new(order: &Order) -> Story {
        Story {
            test: order.test,
            phase: order.phase,
            is_to_machine: order.is_to_machine,
            fault_at: None,
            dialled_at: None,
            alive_at: None,
            picked_up_at: None,
            talking_at: None,
            invites: 0,
            answered_in_vain: false,
            is_silent: false,
            gaps: Vec::new(),
            loss: None,
        }
    }

    /// How long somebody waited for what he had done: the caller for a sign of life once he had dialled, both for each other once it was answered, and of
    /// an established call for the other's voice.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        let since =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        match self.phase {
            Phase::Established => self.gaps.iter().max().copied(),
            Phase::Dialling => since(self.dialled_at, self.alive_at),
            Phase::Ringing | Phase::Answering => since(self.picked_up_at, self.talking_at),
        }
    }
}
