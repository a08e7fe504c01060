//! What a standby is told of requests and calls in progress, so that it goes on with them.
//!
//! An owner notes in its journal which contexts and calls an input touched; once a turn their records are written, those
//! that say the same as before left out ([`crate::Proxy::note`]). A member takes calls in as they are, with their ports and their
//! places at targets, and keeps INVITEs in progress as they came, found by branch and by what their server
//! transaction is matched by: each is made live by the first message for it, or by its turn after the takeover.

mod codec;
mod dialog;
mod invite;
mod journal;
mod media;
mod member;
mod parked;

pub(crate) use dialog::CallRecord;
pub(crate) use invite::Recorded;
pub(crate) use journal::Journal;
pub(crate) use parked::Parked;

/// An INVITE that is being answered or remembered: what does not change. Key: its number (8 bytes), then its Call-ID.
pub const INVITE: u16 = 2;
/// A branch of an INVITE as it was sent. Key: the INVITE's number, the branch's (4 bytes), the Call-ID.
pub const BRANCH: u16 = 3;
/// How far an INVITE is. Key: as of [`INVITE`].
pub const INVITE_STATE: u16 = 4;
/// A call, with its dialogs, its media and its place at a target. Key: its number (8 bytes), then its Call-ID.
pub const DIALOG: u16 = 5;

/// Longest Call-ID of a call that has records; calls with a longer one end with their owner.
pub const CALL_ID_BYTES_MAX: usize = 512;

/// Writes the key of a record.
fn write_key(number: u64, branch: Option<u32>, call_id: &[u8], key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(&number.to_be_bytes());
    if let Some(branch) = branch {
        key.extend_from_slice(&branch.to_be_bytes());
    }
    key.extend_from_slice(call_id);
}

/// The number that a key begins with, and what follows.
fn read_key(key: &[u8]) -> Result<(u64, &[u8]), records::Error> {
    let (number, rest) = key.split_first_chunk().ok_or(records::Error::Truncated)?;
    Ok((u64::from_be_bytes(*number), rest))
}
