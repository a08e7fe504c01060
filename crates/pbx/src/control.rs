//! The seam between the applications, which say what is to happen, and the calls, which make it so by SIP
//! and media.
//!
//! All numbers are given out by [`Ids`], so that a call that has moved to another node keeps its own and
//! new ones collide with none.

use std::sync::Arc;

use records::{Changes, Op};
use transaction::Time;

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic clock.
    pub time: Time,
    /// Milliseconds since 1970, for what outlives the process and for media, whose streams are counted by it.
    pub unix_ms: u64,
}

/// What runs calls: is told what happened to legs and says what is to be done with them. It knows no SIP.
pub trait Applications {
    /// Takes what happened, and adds what is to be done. Actions are carried out in order, before the next
    /// happening is told.
    fn happened(
        &mut self,
        now: Now,
        ids: &mut Ids,
        happening: &Happening,
        actions: &mut Vec<Action>,
    );

    /// Does what is due at `now`.
    fn poll(&mut self, now: Now, ids: &mut Ids, actions: &mut Vec<Action>);

    /// When [`Applications::poll`] has something to do.
    fn next(&self, now: Time) -> Option<Time>;

    /// Adds the records of what changed since it was asked last (kinds from [`APPLICATION_KIND`] on).
    fn changes(&mut self, changes: &mut Changes);

    /// Takes in a record of another node, or the end of one. Nothing is done with it yet.
    fn restore(&mut self, op: Op<'_>);

    /// Goes on with what was restored: legs are there again and what they hear is playing.
    fn take_office(&mut self, now: Now, ids: &mut Ids, actions: &mut Vec<Action>);
}

/// Records of this kind and above are the applications'; those of calls lie below.
pub const APPLICATION_KIND: u16 = 64;

/// One party's half of a call: one dialog, or what is to become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

/// Something that is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayId(pub u64);

/// Something that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(pub u64);

/// A conference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// A question to the world outside (mailboxes, files, a webhook).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionId(pub u64);

/// Gives out numbers.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    next: u64,
}

impl Ids {
    /// Numbers of a term of office: two terms never give out the same (epochs below 2^24, 2^40 numbers each).
    pub fn of_epoch(epoch: u64) -> Ids {
        Ids { next: epoch << 40 }
    }

    /// The next number.
    pub fn issue(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

/// Who calls or is called, as SIP says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// The user part.
    pub user: String,
    /// The host part.
    pub host: String,
    /// The display name; may be empty.
    pub display: String,
}

/// Why a call was sent on (RFC 5806, RFC 7044).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiversionReason {
    /// Nobody answered.
    NoAnswer,
    /// The phone was busy.
    Busy,
    /// The phone could not be reached.
    Unavailable,
    /// Always.
    Unconditional,
    /// Something else.
    #[default]
    Unknown,
}

/// A call that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its leg.
    pub leg: LegId,
    /// Who calls: the asserted identity where the source is trusted to assert one (RFC 3325), else From.
    pub caller: Party,
    /// Whether that is proven: by credentials, or by a source that is trusted to say so. Who may dial what
    /// depends on it.
    pub is_trusted: bool,
    /// Whether the caller asked for privacy of the identity (RFC 3323).
    pub is_private: bool,
    /// Whom the Request-URI names.
    pub called: Party,
    /// Who was called before the call was sent on, the latest first.
    pub diversions: Vec<(Party, DiversionReason)>,
    /// The leg that this one is to take the place of (RFC 3891).
    pub replaces: Option<LegId>,
    /// Whether the caller wants the other to answer without a hand (Answer-Mode, Call-Info).
    pub auto_answer: bool,
    /// Who sent the call here, as Referred-By says it (RFC 3892); empty if nobody did.
    pub referred_by: String,
    /// Call-ID, for logs and records of calls.
    pub call_id: String,
}

/// What a transfer brings along for the call that it makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referral {
    /// Who sent the call on, as Referred-By says it (RFC 3892); empty if nobody did.
    pub referred_by: String,
    /// The dialog that the new call is to take the place of, as Replaces says it (RFC 3891), where another than this PBX has
    /// it; empty: none.
    pub replaces: String,
    /// The URI to be called for that; empty: the target's.
    pub uri: String,
    /// Whether the host of `uri` is one that the operator trusts: a PBX of the farm. It is asked for at once, and not written down.
    pub is_near: bool,
}

/// Why a leg ended or is to end: a SIP status and a Q.850 cause (RFC 3326).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The SIP status; 200 for a normal end.
    pub status: u16,
    /// The Q.850 cause; 16 for a normal end.
    pub q850: u8,
    /// Text; may be empty.
    pub text: String,
}

/// A piece of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sound {
    /// A prompt by its name (`voicemail/greeting`), in the caller's language.
    Prompt(String),
    /// A number read out.
    Number(u64),
    /// Digits read out one by one.
    Digits(String),
    /// A tone of the country's (`ringback`, `busy`, `congestion`, `beep`, `milliwatt`).
    Tone(String),
    /// A file of the media store.
    File(String),
    /// Music on hold: a class of the configuration.
    Music(String),
    /// Silence, in milliseconds.
    Silence(u32),
}

/// What an application wants done. What cannot be done any more (the leg is gone) is passed over: the
/// happening that tells of the end is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the caller that it rings (180).
    Ring {
        /// The incoming leg.
        leg: LegId,
    },
    /// Open media to the caller before the answer (183); what is played is heard.
    Progress {
        /// The incoming leg.
        leg: LegId,
    },
    /// Answer the caller (200), with sound of our own unless a bridge comes with it in the same turn.
    Answer {
        /// The incoming leg.
        leg: LegId,
    },
    /// Refuse the caller.
    Reject {
        /// The incoming leg.
        leg: LegId,
        /// With what.
        cause: Cause,
        /// Seconds for Retry-After.
        retry_after_s: Option<u32>,
    },
    /// Call somebody.
    Dial {
        /// The new leg, a number from [`Ids`].
        leg: LegId,
        /// For whom: its offer goes along, so that the media of both may do without us.
        for_leg: Option<LegId>,
        /// User or `user@host`; a bare user is one of the caller's domain.
        target: String,
        /// Who is shown as the caller.
        caller: Party,
        /// Whether the identity is to be hidden.
        is_private: bool,
        /// Who was called before.
        diversions: Vec<(Party, DiversionReason)>,
        /// Whether the phone is to answer by itself.
        auto_answer: bool,
        /// What the transfer brought that makes this call.
        referral: Referral,
    },
    /// End a leg: BYE, CANCEL or a refusal, whatever its state asks for.
    Hangup {
        /// The leg.
        leg: LegId,
        /// Why.
        cause: Cause,
    },
    /// Let two legs hear each other; one that is not answered yet gets what the other's state is
    /// (ringing, early media, the answer).
    Bridge {
        /// One.
        a: LegId,
        /// The other.
        b: LegId,
    },
    /// Take a leg out of its bridge; it hears nothing until told otherwise.
    Unbridge {
        /// The leg.
        leg: LegId,
    },
    /// Play to a leg.
    Play {
        /// The leg.
        leg: LegId,
        /// The number that [`Happening::Played`] will name.
        play: PlayId,
        /// What, one after the other.
        sounds: Vec<Sound>,
        /// Where to begin, in milliseconds: for a call that has moved.
        from_ms: u32,
        /// Over and over, until stopped.
        repeat: bool,
        /// Whether a key stops it.
        barge_in: bool,
    },
    /// Stop what is played.
    StopPlay {
        /// The leg.
        leg: LegId,
        /// What.
        play: PlayId,
    },
    /// Record a leg, or what both legs of its bridge say.
    Record {
        /// The leg.
        leg: LegId,
        /// The number that [`Happening::Recorded`] will name.
        recording: RecordingId,
        /// Where in the media store.
        path: String,
        /// Whether the other leg is mixed in.
        both: bool,
        /// Longest, in milliseconds.
        max_ms: u32,
        /// Ends after so much silence, in milliseconds; 0: never.
        silence_ms: u32,
        /// Whether a key ends it.
        key_ends: bool,
        /// Whether a beep says that it begins.
        beep: bool,
        /// What is there already, in milliseconds: for a call that has moved.
        from_ms: u32,
    },
    /// End a recording.
    StopRecord {
        /// Which.
        recording: RecordingId,
    },
    /// Put a leg into a conference.
    Join {
        /// The leg.
        leg: LegId,
        /// The conference.
        room: RoomId,
        /// Whether it is only heard by nobody.
        muted: bool,
    },
    /// Take a leg out of its conference.
    Leave {
        /// The leg.
        leg: LegId,
    },
    /// Mute or unmute a leg in its conference.
    Mute {
        /// The leg.
        leg: LegId,
        /// Which.
        muted: bool,
    },
    /// Play to all of a conference.
    PlayRoom {
        /// The conference.
        room: RoomId,
        /// What.
        sounds: Vec<Sound>,
    },
    /// Send a leg back what it says.
    Echo {
        /// The leg.
        leg: LegId,
    },
    /// Send keys to a leg.
    SendDigits {
        /// The leg.
        leg: LegId,
        /// Which.
        digits: String,
    },
    /// Listen for keys in the sound too, not only for telephone events.
    DetectInBand {
        /// The leg.
        leg: LegId,
        /// Whether.
        on: bool,
    },
    /// Answer a transfer that a leg asked for: the NOTIFYs of RFC 3515.
    TransferResult {
        /// The leg that asked.
        leg: LegId,
        /// The status that the transfer has come to; below 200: it goes on.
        status: u16,
    },
    /// Ask the world outside; [`Happening::Told`] brings the answer.
    Ask {
        /// Its number.
        question: QuestionId,
        /// What.
        what: Question,
    },
    /// Write the record of a call, once, when it is over.
    Cdr(Box<Cdr>),
    /// Something for those who watch: state of an extension (RFC 4235) or of a mailbox (RFC 3842).
    Publish(Publish),
}

/// What an application asks of the world outside. Slow things: none of them holds up a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The messages of a mailbox.
    Mailbox {
        /// The mailbox.
        mailbox: String,
    },
    /// Keep a recording as a message: the answer comes when it is safe.
    KeepMessage {
        /// The mailbox.
        mailbox: String,
        /// Where the recording lies.
        path: String,
        /// Who left it.
        caller: Party,
        /// How long it is, in milliseconds.
        length_ms: u32,
    },
    /// A message has been heard.
    MarkHeard {
        /// The mailbox.
        mailbox: String,
        /// Which.
        message: String,
    },
    /// Delete a message.
    DeleteMessage {
        /// The mailbox.
        mailbox: String,
        /// Which.
        message: String,
    },
    /// Delete a recording that nobody wants; the answer is of no interest.
    DeleteRecording {
        /// Where it lies.
        path: String,
    },
    /// Keep a recording as the greeting of a mailbox.
    KeepGreeting {
        /// The mailbox.
        mailbox: String,
        /// Where the recording lies.
        path: String,
    },
    /// Whether a PIN is right, for a mailbox, a conference or a route.
    CheckPin {
        /// Whose (`mailbox/100`, `room/200`, `route/abroad`).
        subject: String,
        /// What was keyed in.
        pin: String,
    },
}

/// The world's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, yes.
    Done,
    /// No: a wrong PIN, no such thing.
    No,
    /// It cannot be done now: the store is away, the disk is full.
    Failed,
    /// A mailbox.
    Mailbox(Mailbox),
}

/// A mailbox and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Where its greeting lies in the media store, if it has one.
    pub greeting: Option<String>,
    /// The messages, the new ones first, each the oldest first.
    pub messages: Vec<VoiceMessage>,
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceMessage {
    /// Its name.
    pub message: String,
    /// Where its sound lies in the media store.
    pub path: String,
    /// Who left it.
    pub caller: Party,
    /// When, in seconds since 1970.
    pub left_unix_s: u64,
    /// How long it is, in milliseconds.
    pub length_ms: u32,
    /// Whether it has been heard.
    pub is_heard: bool,
}

/// State for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The calls of a user, or of an extension with all its phones, changed.
    Extension {
        /// The user, or the extension's number.
        user: String,
        /// All its calls; those that are over for the last time.
        dialogs: Vec<WatchedDialog>,
    },
    /// A mailbox's counts changed.
    Mailbox {
        /// The mailbox.
        mailbox: String,
        /// Messages not heard yet.
        new: u32,
        /// Messages heard.
        old: u32,
    },
}

/// How far a call is for those who watch (RFC 4235 section 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialogState {
    /// The INVITE is on its way.
    Trying,
    /// It was answered by no more than a 100.
    Proceeding,
    /// It rings.
    Early,
    /// They talk.
    Confirmed,
    /// It is over.
    Terminated,
}

/// A call of somebody who is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedDialog {
    /// Names the call from its beginning to its end.
    pub leg: LegId,
    /// Whether who is watched has called.
    pub is_initiator: bool,
    /// How far it is.
    pub state: DialogState,
    /// Who the other is; `None`: that is nobody's business (RFC 3323).
    pub remote: Option<Arc<Party>>,
}

/// What an extension does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionState {
    /// Nothing.
    Idle,
    /// It is being called.
    Ringing,
    /// It calls.
    Trying,
    /// It talks.
    Busy,
}

/// Whose word ended a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndedBy {
    /// Ours: the dialplan came to its end, nobody took the call, or it was refused.
    #[default]
    Pbx,
    /// Who called: BYE or CANCEL.
    Caller,
    /// Another party.
    Callee,
}

/// The record of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cdr {
    /// Names the call; the same record written twice is kept once.
    pub id: u64,
    /// Who called.
    pub caller: Party,
    /// Whom.
    pub called: Party,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When it was answered.
    pub answered_unix_ms: Option<u64>,
    /// When it ended.
    pub ended_unix_ms: u64,
    /// What the caller was answered: 200 for a call that was answered, however it ended; else the refusal, or 487 for who gave up. The
    /// Q.850 cause is that of the leg whose end was the call's: of a refusal the callee's, where a phone gave one.
    pub cause: Cause,
    /// Whose word ended it.
    pub ended_by: EndedBy,
    /// What was done with it, step by step (`ring 101`, `voicemail 101`).
    pub steps: Vec<String>,
    /// Its legs.
    pub legs: Vec<LegRecord>,
}

/// A leg in the record of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegRecord {
    /// Call-ID.
    pub call_id: String,
    /// Who.
    pub party: Party,
    /// The codec; empty if the sound did not pass here.
    pub codec: String,
    /// How it ended.
    pub cause: Cause,
    /// How the sound came in.
    pub figures: Figures,
}

/// How the sound of a leg came in; all 0 if that was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Mean opinion score, by the E-model, in hundredths.
    pub mos_hundredths: u16,
    /// Packets lost on the way, in ten thousandths.
    pub lost_per_myriad: u16,
    /// The largest jitter (RFC 3550 section 6.4.1), in milliseconds.
    pub jitter_ms: u16,
}

/// What happened to a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A call came in.
    Incoming(Box<Incoming>),
    /// A called leg rings.
    Ringing {
        /// The leg.
        leg: LegId,
        /// Whether it sends sound already.
        has_media: bool,
    },
    /// A leg was answered: a called one by its phone, an incoming one by us, and its ACK is there.
    Answered {
        /// The leg.
        leg: LegId,
    },
    /// A called leg came to nothing.
    Failed {
        /// The leg.
        leg: LegId,
        /// Why.
        cause: Cause,
        /// Where else to try (3xx).
        contacts: Vec<String>,
    },
    /// A leg is over: the party hung up, or what was asked for is done.
    Ended {
        /// The leg.
        leg: LegId,
        /// Why.
        cause: Cause,
    },
    /// A key.
    Digit {
        /// The leg.
        leg: LegId,
        /// Which: `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// What was played has come to an end.
    Played {
        /// The leg.
        leg: LegId,
        /// What.
        play: PlayId,
        /// Whether to its end.
        completed: bool,
    },
    /// A recording has ended and all of it is in the media store (or is not).
    Recorded {
        /// The leg.
        leg: LegId,
        /// Which.
        recording: RecordingId,
        /// How long it is, in milliseconds.
        length_ms: u32,
        /// Whether it is safe.
        is_saved: bool,
    },
    /// A leg asks to send its other party elsewhere (REFER).
    TransferTo {
        /// The leg that asks.
        leg: LegId,
        /// User or `user@host`; the user may be empty where `referral` names a dialog.
        target: String,
        /// The leg that the new call takes the place of: an attended transfer.
        replaces: Option<LegId>,
        /// What the new call is to bring along.
        referral: Referral,
    },
    /// A leg put its other party on hold, or took it back.
    Hold {
        /// The leg.
        leg: LegId,
        /// Which.
        on: bool,
    },
    /// Somebody begins to watch a mailbox: its counts are wanted.
    Watched {
        /// The user or number that was named.
        mailbox: String,
    },
    /// The world's answer.
    Told {
        /// To which question.
        question: QuestionId,
        /// What it is.
        answer: Answer,
    },
    /// The figures of a leg's media, before it ends.
    Quality {
        /// The leg.
        leg: LegId,
        /// Call-ID.
        call_id: String,
        /// The codec; empty if the sound did not pass here.
        codec: String,
        /// How it came in.
        figures: Figures,
    },
}
