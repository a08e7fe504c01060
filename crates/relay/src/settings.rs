//! What an operator may set.

/// Whose packets a side's source may be learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Learn {
    /// From the signalled address, its host, and the host that the peer's SIP came from.
    #[default]
    Guarded,
    /// From any host besides, after some packets in a row. For networks where media and SIP of a phone
    /// leave by different addresses; whoever sprays packets may then be first.
    Open,
}

/// What an operator may set for all sessions of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A session that nobody sends valid packets for is dead after this many milliseconds.
    pub silence_ms: u64,
    /// The same while nobody has to send: no side is selected yet, or every stream is on hold.
    pub hold_ms: u64,
    /// Whose packets a source may be learned from.
    pub learn: Learn,
    /// Longer packets are dropped as huge.
    pub packet_bytes_max: usize,
    /// Sessions at one time; further ones are refused.
    pub sessions_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            silence_ms: 60_000,
            hold_ms: 3_600_000,
            learn: Learn::Guarded,
            packet_bytes_max: 1_500,
            sessions_max: 100_000,
        }
    }
}
