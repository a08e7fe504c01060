//! What a PBX shows.

use pbx::{CallView, Counts, Tables};

/// How a PBX is doing.
#[derive(Debug, Clone, Default)]
pub struct PbxSnapshot {
    /// What was counted since the start.
    pub counts: Counts,
    /// How full its tables are.
    pub tables: Tables,
    /// Its legs.
    pub calls: Vec<CallView>,
    /// Messages that came and went.
    pub received: u64,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that could not be sent.
    pub send_failures: u64,
    /// The longest that its thread was busy at a time, in the last minute or two: so long any other call waited.
    pub longest_turn: std::time::Duration,
}
