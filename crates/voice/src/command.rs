//! What the controller wants.

use std::sync::Arc;

use audio::SampleRate;
use audio::dtmf::Digit;

use crate::types::{EndId, PlayId, PortId, RecordId, Remote, RoomId, Sound, Stream};

pub use audio::wav::Written;

/// What the controller wants. A command for what is not there is counted ([`crate::Totals::commands_unknown`]) and changes nothing.
///
/// What an end says is decided in this order: digits that are being sent, what is being played, then what it is connected to
/// ([`Command::Connect`], [`Command::Join`], [`Command::Echo`], the last one said), else silence.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begins an end on a free port. What cannot be is answered by [`crate::Event::Refused`].
    Open {
        /// The end.
        end: EndId,
        /// Its sockets.
        port: PortId,
        /// How the stream that it sends began.
        stream: Stream,
    },
    /// The peer described itself, or the agreement changed. Until then an end sends nothing and takes nothing.
    Remote {
        /// The end.
        end: EndId,
        /// What is known of the peer.
        remote: Box<Remote>,
    },
    /// Plays sounds one after the other; what was being played before ends ([`crate::Event::Played`] with `completed: false`).
    Play {
        /// The end that hears it.
        end: EndId,
        /// What events call it.
        play: PlayId,
        /// At most [`crate::Settings::sounds_max`]; the rest is left out.
        sounds: Vec<Sound>,
        /// Where to begin, in milliseconds after the start of all sounds: another node goes on there. Not for [`Sound::Feed`].
        from_ms: u32,
        /// How often all of it is played; 0 is without end.
        times: u32,
        /// A key that is pressed ends it.
        barge_in: bool,
    },
    /// Ends what is being played, if it is this.
    StopPlay {
        /// The end.
        end: EndId,
        /// What was begun.
        play: PlayId,
    },
    /// The next piece of a [`Sound::Feed`].
    Feed {
        /// The end.
        end: EndId,
        /// What is being played.
        play: PlayId,
        /// Samples at the rate that the sound names.
        chunk: Arc<[i16]>,
        /// It is the last one.
        is_last: bool,
    },
    /// Two ends hear each other. What either was connected to before hears it no more. Where both use the same codec, and nothing else is to be heard
    /// or listened to, payloads pass undecoded. Keys pass as events or tones.
    Connect {
        /// One end.
        a: EndId,
        /// The other.
        b: EndId,
    },
    /// The end hears nobody and nobody hears it, nor itself; it leaves its room. What is played to it goes on.
    Disconnect {
        /// The end.
        end: EndId,
    },
    /// The end enters a conference, which begins with the first one.
    Join {
        /// The end.
        end: EndId,
        /// The conference.
        room: RoomId,
        /// It is not heard.
        muted: bool,
    },
    /// The end leaves its conference.
    Leave {
        /// The end.
        end: EndId,
    },
    /// Whether the others of its conference hear the end.
    Mute {
        /// The end.
        end: EndId,
        /// Not heard.
        muted: bool,
    },
    /// All members of a conference hear this, beside each other. [`crate::Event::RoomPlayed`] tells when it is over.
    RoomPlay {
        /// The conference.
        room: RoomId,
        /// What events call it.
        play: PlayId,
        /// The sounds; no [`Sound::Feed`].
        sounds: Vec<Sound>,
        /// How often; 0 is without end.
        times: u32,
    },
    /// Ends what a conference hears.
    StopRoomPlay {
        /// The conference.
        room: RoomId,
        /// What was begun.
        play: PlayId,
    },
    /// Records what comes from an end, or both ways. One recording an end; another one ends the one before.
    Record {
        /// The end.
        end: EndId,
        /// What events call it.
        record: RecordId,
        /// What is said to the end is recorded too.
        both: bool,
        /// How it is written down.
        written: Written,
        /// 8,000 or 16,000 samples a second (48,000 counts as 16,000).
        rate: SampleRate,
        /// It ends after so many milliseconds; 0 is [`crate::Settings::record_ms_max`], which nothing exceeds.
        ms_max: u32,
        /// It ends when nobody has spoken for so many milliseconds; 0 is never.
        silence_ms: u32,
        /// The end hears a beep before it begins.
        beep: bool,
    },
    /// Records what is heard in a conference.
    RecordRoom {
        /// The conference.
        room: RoomId,
        /// What events call it.
        record: RecordId,
        /// How it is written down.
        written: Written,
        /// It ends after so many milliseconds; 0 is [`crate::Settings::record_ms_max`].
        ms_max: u32,
    },
    /// Ends a recording: the rest comes as [`crate::Event::Recorded`], then [`crate::Event::RecordEnded`].
    StopRecord {
        /// What was begun.
        record: RecordId,
    },
    /// Sends keys to the peer, as events where they were agreed on, else as tones.
    SendDigits {
        /// The end.
        end: EndId,
        /// At most [`crate::Settings::digits_max`] may wait; the rest is left out and counted.
        digits: Vec<Digit>,
        /// How long each lasts, in milliseconds: 100 is usual.
        ms: u32,
        /// The pause after each: 100 is usual.
        pause_ms: u32,
    },
    /// The end hears itself.
    Echo {
        /// The end.
        end: EndId,
    },
    /// Whether keys are looked for in sound. Where events came in this call, those count alone.
    DetectInBand {
        /// The end.
        end: EndId,
        /// Look for them.
        on: bool,
    },
    /// The end is over, and its port free. Answered by [`crate::Event::Closed`].
    Close {
        /// The end.
        end: EndId,
    },
}
