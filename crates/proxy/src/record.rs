//! What a standby is told of requests and calls in progress, so that it goes on with them.

/// An INVITE that is being answered or remembered: what does not change. Key: its number (8 bytes), then its Call-ID.
pub const INVITE: u16 = 2;
/// A branch of an INVITE as it was sent. Key: the INVITE's number, the branch's (4 bytes), the Call-ID.
pub const BRANCH: u16 = 3;
/// How far an INVITE is. Key: as of [`INVITE`].
pub const INVITE_STATE: u16 = 4;
/// A call, with its dialogs, its media and its place at a target. Key: its number (8 bytes), then its Call-ID.
pub const DIALOG: u16 = 5;
