//! What the PBX hears and says: the media of calls, one packet each 20 ms.
//!
//! The problem: a PBX speaks with hundreds of callers at once. It plays prompts, hears keys, records, joins two ends of different codecs, mixes
//! conferences; each stream has to leave on time, and another node has to be able to go on with it.
//!
//! The approach: one [`Voice`] is all media of one thread. An *end* is one RTP stream with one peer. [`Command`]s say what it hears and says;
//! [`Voice::receive`] judges and keeps what came; [`Voice::tick`] takes each end's next 20 ms out of its jitter buffer, and sends each
//! end's next packet. Time is cut in slots of 2 ms of which ten make a frame; each end has its slot, so that packets do not leave in bursts. A
//! packet's number and timestamp follow from the stream's beginning and the time alone ([`Stream`]). What the controller should know comes out as
//! [`Event`]s.
//!
//! Not attempted: SRTP, since the edge's relay stands before the PBX; packets of other lengths than 20 ms on the way out (they are taken in of any);
//! sound above 8,000 Hz, except where Opus passes through undecoded; video, text and fax.

mod command;
mod conference;
mod control;
mod decoders;
mod ear;
mod end;
mod event;
mod frame;
mod guard;
mod mouth;
mod player;
mod recorder;
mod report;
mod room;
mod settings;
mod timeline;
mod types;
mod voice;

pub use audio::SampleRate;
pub use audio::dtmf::Digit;
pub use audio::tone::{Country, Progress, Tone};
pub use command::{Command, Written};
pub use event::{Ending, Event, How, Refusal};
pub use report::{LATE_BOUNDS_US, Lateness, PeerView, Reason, Report, Totals};
pub use settings::Settings;
pub use types::{
    Clip, Codec, Direction, EndId, FORMATS_MAX, Format, Negotiated, OpusParameters, PlayId, PortId,
    RecordId, Remote, RoomId, Sound, Stream, Time,
};
pub use voice::Voice;
