//! What an operator may set, and the bounds of what commands ask for.

/// What an operator may set for all ends of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// [`crate::Event::Silent`] is told after this many milliseconds without a packet from a peer that should send.
    pub silence_ms: u32,
    /// The least delay of the jitter buffer, in milliseconds.
    pub delay_ms_min: u32,
    /// The most delay that the jitter buffer aims at.
    pub delay_ms_max: u32,
    /// How often reports are sent (RFC 3550 section 6.2), in milliseconds.
    pub rtcp_ms: u32,
    /// Work that Opus is encoded with, 0 to 10.
    pub opus_complexity: u8,
    /// Ends at one time; further ones are refused.
    pub ends_max: usize,
    /// Sounds of one play.
    pub sounds_max: usize,
    /// Digits that wait to be sent to one peer.
    pub digits_max: usize,
    /// No recording is longer, in milliseconds.
    pub record_ms_max: u32,
    /// Members of a conference whose voices are mixed at one time: the loudest ones.
    pub speakers_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            silence_ms: 30_000,
            delay_ms_min: 10,
            delay_ms_max: 200,
            rtcp_ms: 5_000,
            opus_complexity: 5,
            ends_max: 10_000,
            sounds_max: 256,
            digits_max: 64,
            record_ms_max: 4 * 3_600_000,
            speakers_max: 8,
        }
    }
}
