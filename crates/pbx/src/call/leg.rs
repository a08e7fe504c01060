//! One leg, and what is known of it.

use std::net::SocketAddr;

use dialog::challenge::Challenge;
use dialog::reliable::{Receiver, Sender};
use dialog::{Dialog, offer, session};
use sip::build::ToTag;
use transaction::{ClientId, Flow, ServerId, Time};
use voice::{EndId, Negotiated, Stream};

use crate::call::state::State;
use crate::control::{Cause, LegId, Party, PlayId, RecordingId, RoomId, Sound};
use crate::session::Peer;
use crate::surroundings::MediaPort;

/// Early dialogs of one INVITE that are kept.
pub(crate) const FORKS_MAX: usize = 8;

/// What a leg's timers are for; at most one of each runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A 2xx or a reliable provisional is to be sent again.
    Again,
    /// Its ACK or PRACK never came.
    GiveUp,
    /// Nobody answers; a caller is told once a minute that it is still rung.
    Ring,
    /// The session is to be refreshed, or is over (RFC 4028).
    Session,
    /// A re-INVITE may be tried again (RFC 3261 section 14.1), or it is time to leave the way of the media.
    Retry,
    /// The figures of the media do not come.
    Report,
}

pub(crate) const TIMERS: usize = 6;

/// How much the caller has been told, or is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Told {
    /// 100.
    #[default]
    Trying,
    /// 180.
    Ringing,
    /// 183 with a description.
    Progress,
    /// 200.
    Answer,
}

/// A request of the peer that changes the session and is not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) server: ServerId,
    /// The headers of its responses.
    pub(crate) head: Vec<u8>,
    pub(crate) to_tag: ToTag,
    pub(crate) cseq: u32,
    pub(crate) is_invite: bool,
}

/// Why we sent an offer in a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The first INVITE.
    Call,
    /// The media thread is to hear and speak, or does so on other terms.
    Own,
    /// The media are to go to this leg's peer directly; `back` if that leg has our peer's description already.
    Direct { other: LegId, back: bool },
    /// This leg's peer asked for a change, and waits for its answer.
    PassOn { other: LegId },
    /// To keep the session alive (RFC 4028); nothing changes.
    Refresh,
}

/// A request of ours that offers, or refreshes, and has no final answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calling {
    pub(crate) client: ClientId,
    pub(crate) cseq: u32,
    pub(crate) why: Why,
}

/// Something sent again until it is acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeating {
    pub(crate) bytes: Vec<u8>,
    pub(crate) attempt: u32,
    pub(crate) cseq: u32,
}

/// An early dialog.
#[derive(Debug, Clone)]
pub(crate) struct Fork {
    pub(crate) dialog: Dialog,
    pub(crate) received: Receiver,
    /// Whether a PRACK of this node is on its way, or was.
    pub(crate) is_acknowledged: bool,
    /// Whether a reliable provisional brought the answer to our offer; not written down.
    pub(crate) is_answered: bool,
    /// Whether an UPDATE has changed what was agreed since; not written down.
    pub(crate) is_updated: bool,
}

/// Whom a leg's description names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Path {
    /// Nobody yet.
    #[default]
    None,
    /// The media thread.
    Own,
    /// The peer of the other leg.
    Direct,
}

/// What offers and answers have come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) offers: offer::State,
    /// `o=`: identifier and version.
    pub(crate) origin: (u64, u64),
    /// What we said last.
    pub(crate) local: Vec<u8>,
    /// What the peer said last.
    pub(crate) remote: Vec<u8>,
    pub(crate) peer: Peer,
    pub(crate) path: Path,
    /// What `path` is when our open offer is answered.
    pub(crate) offered: Path,
    pub(crate) agreed: Option<Negotiated>,
    /// Whether the peer's description is in force, or a preview of it (an unreliable 18x).
    pub(crate) has_remote: bool,
    /// Whether a description of ours left before the answer was final.
    pub(crate) is_previewed: bool,
    /// How often in a row the peer refused what we offered.
    pub(crate) refusals: u8,
    /// How often in a row the other leg was told where this leg's peer has gone.
    pub(crate) rounds: u8,
    /// Whether the peer's description answered an offer of ours.
    pub(crate) by_peer: bool,
    /// What the peer takes for agreed, or where its sound goes, is not known: it is offered the media thread anew.
    pub(crate) is_unsure: bool,
    /// It refused to hear from the other leg's peer: not asked again while they are together.
    pub(crate) no_direct: bool,
}

/// What a leg's end plays.
#[derive(Debug, Clone)]
pub(crate) struct Play {
    pub(crate) play: PlayId,
    pub(crate) sounds: Vec<Sound>,
    pub(crate) from_ms: u32,
    pub(crate) repeat: bool,
    pub(crate) barge_in: bool,
    /// When it began to be heard.
    pub(crate) began_unix_ms: Option<u64>,
}

/// What of a leg is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Taking {
    pub(crate) recording: RecordingId,
    pub(crate) path: String,
    pub(crate) both: bool,
    pub(crate) max_ms: u32,
    pub(crate) silence_ms: u32,
    pub(crate) key_ends: bool,
    pub(crate) beep: bool,
    pub(crate) from_ms: u32,
    pub(crate) began_unix_ms: Option<u64>,
}

/// The leg's RTP stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) id: EndId,
    pub(crate) port: MediaPort,
    pub(crate) stream: Stream,
    /// Whether the media thread knows the peer.
    pub(crate) is_described: bool,
    pub(crate) learned: Option<SocketAddr>,
    /// The end that it was connected to.
    pub(crate) connected: Option<EndId>,
}

/// What a leg hears and says where the media thread has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ears {
    pub(crate) end: Option<End>,
    pub(crate) play: Option<Play>,
    pub(crate) taking: Option<Taking>,
    pub(crate) room: Option<(RoomId, bool)>,
    pub(crate) is_echo: bool,
    pub(crate) in_band: bool,
    /// Keys that wait for the end to be described.
    pub(crate) digits: Vec<voice::Digit>,
}

/// A transfer that the leg asked for (RFC 3515).
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    /// The CSeq of the REFER, which names the subscription.
    pub(crate) id: u32,
    /// Whether NOTIFYs are wanted (RFC 4488).
    pub(crate) is_told: bool,
}

/// What the peer can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) reliable: bool,
    pub(crate) requires_reliable: bool,
    pub(crate) update: bool,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) is_incoming: bool,
    pub(crate) state: State,
    pub(crate) flow: Flow,
    pub(crate) dialog: Dialog,
    /// The number in our tag.
    pub(crate) tag: u64,
    pub(crate) forks: Vec<Fork>,
    pub(crate) party: Party,
    /// Who it is is not to be told (RFC 3323).
    pub(crate) is_private: bool,
    pub(crate) began_unix_ms: u64,
    pub(crate) abilities: Abilities,
    pub(crate) serving: Option<Serving>,
    pub(crate) calling: Option<Calling>,
    /// The transaction of the peer's last request: who sends it again gets the same answer, also from another node.
    pub(crate) served: Option<ServerId>,
    pub(crate) repeating: Option<Repeating>,
    pub(crate) reliable: Option<Sender>,
    /// The number of the INVITE that began an incoming leg.
    pub(crate) invite_cseq: u32,
    /// What keeps the table of merged requests.
    pub(crate) caller_key: u64,
    pub(crate) max_forwards: u32,
    /// When an incoming leg that nobody has answered is refused, in milliseconds since 1970.
    pub(crate) until_unix_ms: u64,
    pub(crate) session: Session,
    pub(crate) timer: Option<session::Session>,
    pub(crate) wants: Told,
    pub(crate) told: Told,
    /// The leg that it is bridged with.
    pub(crate) peer: Option<LegId>,
    /// The leg whose description was offered to it.
    pub(crate) offered_for: Option<LegId>,
    pub(crate) ears: Ears,
    /// What it spoke with the leg it was bridged with, when their sound passed us by.
    pub(crate) spoke: Option<voice::Codec>,
    /// The end that was closed, until its figures come.
    pub(crate) closing: Option<EndId>,
    /// Since when the media thread has nothing to do for the two legs of a bridge.
    pub(crate) quiet_since: Option<Time>,
    pub(crate) is_holding: bool,
    pub(crate) transfer: Option<Transfer>,
    /// Why it ended, until that is told.
    pub(crate) cause: Option<Cause>,
    pub(crate) was_answered: bool,
    /// It was called and never answered.
    pub(crate) has_failed: bool,
    pub(crate) contacts: Vec<String>,
    /// An outgoing first INVITE as it is to be sent again (422, 488).
    pub(crate) invite_extra: Vec<u8>,
    pub(crate) min_se_s: u32,
    /// What its host asks for with each request; not written down, since it asks again.
    pub(crate) challenge: Option<Challenge>,
    /// How often it asked since it took a request.
    pub(crate) challenges: u8,
    pub(crate) deadlines: [Time; TIMERS],
    pub(crate) armed: Time,
    pub(crate) is_changed: bool,
    /// A hash of the record that was written last.
    pub(crate) written: u64,
}

impl Leg {
    /// A leg that begins.
    pub(crate) fn new(id: LegId, is_incoming: bool, flow: Flow, dialog: Dialog, tag: u64) -> Leg {
        Leg {
            id,
            is_incoming,
            state: if is_incoming {
                State::Invited
            } else {
                State::Calling
            },
            flow,
            dialog,
            tag,
            forks: Vec::new(),
            party: Party::default(),
            is_private: false,
            began_unix_ms: 0,
            abilities: Abilities::default(),
            serving: None,
            calling: None,
            served: None,
            repeating: None,
            reliable: None,
            invite_cseq: 0,
            caller_key: 0,
            max_forwards: 70,
            until_unix_ms: 0,
            session: Session::default(),
            timer: None,
            wants: Told::Trying,
            told: Told::Trying,
            peer: None,
            offered_for: None,
            ears: Ears::default(),
            spoke: None,
            closing: None,
            quiet_since: None,
            is_holding: false,
            transfer: None,
            cause: None,
            was_answered: false,
            has_failed: false,
            contacts: Vec::new(),
            invite_extra: Vec::new(),
            min_se_s: 0,
            challenge: None,
            challenges: 0,
            deadlines: [Time::MAX; TIMERS],
            armed: Time::MAX,
            is_changed: true,
            written: 0,
        }
    }

    /// Whether the leg itself has to hear or be heard by the media thread.
    pub(crate) fn needs_voice(&self) -> bool {
        let ears = &self.ears;
        ears.play.is_some()
            || ears.taking.is_some()
            || ears.room.is_some()
            || ears.is_echo
            || ears.in_band
            || !ears.digits.is_empty()
    }

    /// Whether it could be offered something now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state == State::Confirmed
            && self.calling.is_none()
            && self.serving.is_none()
            && self.repeating.is_none()
            && !self.session.offers.is_open()
    }

    /// The text of our tag.
    pub(crate) fn tag_text(&self) -> Box<[u8]> {
        self.dialog.local_tag.clone()
    }

    /// Moves the machine; whether it moved.
    pub(crate) fn step(&mut self, event: crate::call::state::Event) -> bool {
        let next = crate::call::state::step(self.state, event);
        if let Some(next) = next {
            self.state = next;
        }
        next.is_some()
    }

    /// Moves the offers; whether it may be.
    pub(crate) fn offer_step(&mut self, event: offer::Event) -> bool {
        let next = offer::step(self.session.offers, event);
        if let Some(next) = next {
            self.session.offers = next;
        }
        next.is_some()
    }
}
