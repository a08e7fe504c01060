//! Legs and the media thread: ends, descriptions of ours, sounds.

use dialog::offer;
use sdp::Direction;
use voice::{Command, EndId, RecordId, Stream};

use crate::call::Calls;
use crate::call::leg::{Calling, End, Leg, Path, Timer, Why};
use crate::call::reply::Purpose;
use crate::call::send::SDP;
use crate::control::{Figures, Happening, LegId, PlayId, RecordingId, Sound};
use crate::output::{Feed, Recording, Voiced};
use crate::pbx::Turn;
use crate::session::{self, Own, Peer, Through, write_own, write_through};

/// How long after there was no port for a leg one is asked for again, in milliseconds.
const PORT_AGAIN_MS: u64 = 1_000;

/// How long a key that we send lasts, and the pause after it.
const DIGIT_MS: u32 = 100;

/// Silence in the place of sounds that nobody knows, in milliseconds; it is repeated.
const NOTHING_KNOWN_MS: u32 = 1_000;

fn voiced(turn: &mut Turn<'_>, thread: u16, command: Command) {
    turn.output.voice.push(Voiced { thread, command });
}

impl Calls {
    /// Passes a command to the thread of a leg's end, if it has one that knows its peer.
    pub(crate) fn command_end(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &Leg,
        command: impl FnOnce(EndId) -> Command,
    ) -> bool {
        match leg.ears.end.filter(|end| end.is_described) {
            Some(end) => {
                voiced(turn, end.port.thread, command(end.id));
                true
            }
            None => false,
        }
    }

    /// Gives a leg an end, near to that of the leg it is to hear.
    pub(crate) fn open_end(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) -> bool {
        if leg.ears.end.is_some() {
            return true;
        }
        let near = leg
            .peer
            .or(leg.offered_for)
            .and_then(|other| self.legs.get(&other)?.ears.end);
        let room = leg.ears.room.and_then(|(room, _)| {
            let mut legs = self.legs.values();
            let eldest = legs.find(|leg| leg.ears.room.is_some_and(|(other, _)| other == room));
            eldest?.ears.end
        });
        let thread = room.or(near).map(|end| end.port.thread);
        let Some(port) = turn.around.take_port(leg.flow.local.ip(), thread) else {
            return false;
        };
        let number = self.ids.issue();
        let random = self.hidden(b's', number);
        let stream = Stream {
            ssrc: random as u32,
            first_sequence: (random >> 32) as u16 >> 1,
            first_timestamp: (random >> 16) as u32,
            started_at: voice::Time::from_ms(turn.now.unix_ms),
        };
        let end = End {
            id: EndId(number),
            port,
            stream,
            is_described: false,
            learned: None,
            connected: None,
        };
        self.ends.insert(end.id, leg.id);
        leg.ears.end = Some(end);
        voiced(
            turn,
            port.thread,
            Command::Open {
                end: end.id,
                port: port.port,
                stream,
            },
        );
        true
    }

    /// Takes a leg's end away; whether there was one, whose figures come.
    pub(crate) fn close_end(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) -> bool {
        let Some(end) = leg.ears.end.take() else {
            return false;
        };
        voiced(turn, end.port.thread, Command::Close { end: end.id });
        leg.closing = Some(end.id);
        true
    }

    /// Tells the media thread of a leg's peer, and then what the leg is to hear and say. `by_peer`: the peer answered our offer.
    pub(crate) fn describe(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, by_peer: bool) {
        leg.session.by_peer = by_peer;
        let agreed = session::agree(&leg.session.peer, &turn.settings.codecs, by_peer);
        leg.session.agreed = agreed.or(leg.session.agreed);
        let Some(agreed) = leg.session.agreed else {
            return;
        };
        let Some(end) = leg.ears.end.as_mut() else {
            return;
        };
        let remote = session::remote(&leg.session.peer, agreed, leg.flow.remote.ip(), end.learned);
        let was_described = std::mem::replace(&mut end.is_described, true);
        voiced(
            turn,
            end.port.thread,
            Command::Remote {
                end: end.id,
                remote: Box::new(remote),
            },
        );
        if !was_described {
            self.begin_sound(turn, leg);
        }
    }

    /// What a leg hears and says begins as soon as the media thread knows its peer.
    fn begin_sound(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if leg.ears.in_band {
            self.command_end(turn, leg, |end| Command::DetectInBand { end, on: true });
        }
        if let Some((room, muted)) = leg.ears.room {
            self.command_end(turn, leg, |end| Command::Join {
                end,
                room: voice::RoomId(room.0),
                muted,
            });
        }
        if leg.ears.is_echo {
            self.command_end(turn, leg, |end| Command::Echo { end });
        }
        self.begin_play(turn, leg);
        self.begin_recording(turn, leg);
        self.send_digits(turn, leg);
    }

    pub(crate) fn begin_play(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let Some(end) = leg.ears.end.filter(|end| end.is_described) else {
            return;
        };
        let Some(play) = leg.ears.play.as_mut() else {
            return;
        };
        let mut sounds = Vec::new();
        for sound in &play.sounds {
            turn.around.sound(sound, &mut sounds);
            if let (Some(voice::Sound::Feed { .. }), Sound::File(_) | Sound::Music(_)) =
                (sounds.last(), sound)
            {
                let (thread, play, from_ms) =
                    (end.port.thread, voice::PlayId(play.play.0), play.from_ms);
                turn.output.feeds.push(Feed {
                    thread,
                    end: end.id,
                    play,
                    sound: sound.clone(),
                    from_ms,
                });
                break;
            }
        }
        let id = play.play;
        if sounds.is_empty() && play.repeat {
            // What goes on for ever does not end at once, only to be begun anew: music that cannot be read is silence.
            sounds.push(voice::Sound::Silence {
                ms: NOTHING_KNOWN_MS,
            });
        }
        if sounds.is_empty() {
            leg.ears.play = None;
            return self.tell(Happening::Played {
                leg: leg.id,
                play: id,
                completed: true,
            });
        }
        play.began_unix_ms = Some(turn.now.unix_ms);
        let is_fed = matches!(sounds.last(), Some(voice::Sound::Feed { .. }));
        let command = Command::Play {
            end: end.id,
            play: voice::PlayId(id.0),
            sounds,
            from_ms: if is_fed { 0 } else { play.from_ms },
            times: u32::from(!play.repeat),
            barge_in: play.barge_in,
        };
        voiced(turn, end.port.thread, command);
    }

    pub(crate) fn begin_recording(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let Some(end) = leg.ears.end.filter(|end| end.is_described) else {
            return;
        };
        let Some(taking) = leg.ears.taking.as_mut() else {
            return;
        };
        taking.began_unix_ms = Some(turn.now.unix_ms);
        let record = RecordId(taking.recording.0);
        turn.output.recordings.push(Recording {
            record,
            recording: taking.recording,
            path: taking.path.clone(),
            rate_hz: 8_000,
            from_ms: taking.from_ms,
        });
        let command = Command::Record {
            end: end.id,
            record,
            both: taking.both,
            written: voice::Written::Pcm16,
            rate: voice::SampleRate::Hz8000,
            ms_max: taking
                .max_ms
                .saturating_sub(taking.from_ms)
                .max(u32::from(taking.max_ms > 0)),
            silence_ms: taking.silence_ms,
            beep: taking.beep && taking.from_ms == 0,
        };
        voiced(turn, end.port.thread, command);
    }

    pub(crate) fn send_digits(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if leg.ears.digits.is_empty() || !leg.ears.end.is_some_and(|end| end.is_described) {
            return;
        }
        let digits = std::mem::take(&mut leg.ears.digits);
        self.command_end(turn, leg, |end| Command::SendDigits {
            end,
            digits,
            ms: DIGIT_MS,
            pause_ms: DIGIT_MS,
        });
    }

    /// Answers the peer's open offer with the media thread; false if there is no codec or no port for it.
    pub(crate) fn answer_own(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) -> bool {
        let Some(agreed) = session::agree(&leg.session.peer, &turn.settings.codecs, false) else {
            return false;
        };
        if !self.open_end(turn, leg) {
            return false;
        }
        let direction = match leg.session.peer.direction {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        };
        leg.session.agreed = Some(agreed);
        self.write_own(turn, leg, Some(agreed), direction);
        leg.offer_step(offer::Event::SendAnswer);
        leg.session.path = Path::Own;
        leg.session.is_unsure = false;
        self.describe(turn, leg, false);
        true
    }

    /// Writes our own description of a leg that has an end.
    pub(crate) fn write_own(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        agreed: Option<voice::Negotiated>,
        direction: Direction,
    ) {
        let Some(end) = leg.ears.end else { return };
        let session = &mut leg.session;
        session.origin.1 += 1;
        let mut local = std::mem::take(&mut session.local);
        local.clear();
        let own = Own {
            origin: session.origin,
            address: end.port.address,
            codecs: &turn.settings.codecs,
            agreed,
            direction,
            peer: session
                .has_remote
                .then_some((&session.remote[..], &session.peer)),
        };
        write_own(&own, &mut local);
        leg.session.local = local;
    }

    /// Writes the description of another leg's peer as ours.
    pub(crate) fn write_direct(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        (body, from): (&[u8], &Peer),
    ) {
        let session = &mut leg.session;
        session.origin.1 += 1;
        let mut local = std::mem::take(&mut session.local);
        local.clear();
        let through = Through {
            origin: session.origin,
            address: turn.settings.advertised,
            body,
            from,
            peer: session
                .has_remote
                .then_some((&session.remote[..], &session.peer)),
        };
        write_through(&through, &mut local);
        leg.session.local = local;
    }

    /// Offers the media thread to a leg's peer by re-INVITE.
    pub(crate) fn offer_own(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) -> bool {
        if !self.open_end(turn, leg) {
            self.set_timer(turn.now.time, leg, Timer::Retry, PORT_AGAIN_MS);
            return false;
        }
        if !leg.offer_step(offer::Event::SendOffer) {
            return false;
        }
        let direction = if leg.is_holding {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        self.write_own(turn, leg, None, direction);
        leg.session.offered = Path::Own;
        self.send_change(turn, leg, Why::Own);
        true
    }

    /// Offers another leg's peer to a leg's peer by re-INVITE.
    pub(crate) fn offer_direct(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        other: (&[u8], &Peer),
        why: Why,
    ) -> bool {
        if !leg.is_quiet() || !leg.offer_step(offer::Event::SendOffer) {
            return false;
        }
        self.write_direct(turn, leg, other);
        leg.session.offered = Path::Direct;
        self.send_change(turn, leg, why);
        true
    }

    /// Offers what was said last once more.
    pub(crate) fn send_offer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, why: Why) {
        if leg.offer_step(offer::Event::SendOffer) {
            self.send_change(turn, leg, why);
        }
    }

    /// Sends a re-INVITE with what we say.
    fn send_change(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, why: Why) {
        self.push_request_headers(turn, leg);
        self.push_connected(turn.settings, leg);
        self.push_credentials(turn.settings, leg, "INVITE");
        let cseq = leg.dialog.next_cseq();
        let purpose = Purpose::Invite {
            leg: leg.id,
            cseq,
            flow: leg.flow,
            acks: Vec::new(),
            orphan: None,
        };
        let local = std::mem::take(&mut leg.session.local);
        let client = self.request(
            turn,
            (&leg.dialog, leg.flow),
            ("INVITE", cseq),
            purpose,
            Some((SDP, &local)),
        );
        leg.session.local = local;
        leg.calling = Some(Calling { client, cseq, why });
    }

    /// The other leg's peer answered what this leg's peer asked for.
    pub(crate) fn pass_answer(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        other: (&[u8], &Peer),
    ) {
        if leg.session.offers != offer::State::Received {
            return;
        }
        self.write_direct(turn, leg, other);
        leg.offer_step(offer::Event::SendAnswer);
        leg.session.path = Path::Direct;
        self.accept_change(turn, leg, true);
    }

    /// What a media thread heard.
    pub(crate) fn heard(&mut self, turn: &mut Turn<'_>, thread: u16, event: &voice::Event) {
        match event {
            voice::Event::Learned { end, source } => {
                if let Some(&id) = self.ends.get(end) {
                    self.with(id, |_, leg| {
                        let own = leg.ears.end.as_mut();
                        if let Some(end) = own.filter(|end| end.port.thread == thread) {
                            end.learned = Some(*source);
                        }
                    });
                }
            }
            voice::Event::Digit { end, digit, .. } => {
                if let Some(&id) = self.ends.get(end) {
                    self.key_pressed(turn, id, digit.sign());
                }
            }
            voice::Event::Played {
                end,
                play,
                completed,
                ..
            } => self.played(*end, PlayId(play.0), *completed),
            voice::Event::RecordEnded { record, .. } => {
                if let Some(&id) = self.recordings.get(&RecordingId(record.0)) {
                    self.with(id, |_, leg| {
                        leg.ears
                            .taking
                            .take_if(|taking| taking.recording.0 == record.0)
                    });
                }
            }
            voice::Event::Refused { end, .. } => self.refused_end(turn, *end),
            voice::Event::Closed { end, report } => self.closed_end(turn, *end, report),
            voice::Event::Silent { end } => self.silent(turn, *end),
            _ => {}
        }
    }

    /// A key of a leg.
    pub(crate) fn key_pressed(&mut self, turn: &mut Turn<'_>, id: LegId, digit: char) {
        self.with(id, |calls, leg| {
            if !leg.state.is_alive() {
                return;
            }
            if let Some(taking) = leg.ears.taking.as_ref().filter(|taking| taking.key_ends) {
                let record = RecordId(taking.recording.0);
                calls.command_end(turn, leg, |_| Command::StopRecord { record });
            }
            calls.tell(Happening::Digit { leg: id, digit });
        });
    }

    fn played(&mut self, end: EndId, play: PlayId, completed: bool) {
        let Some(&id) = self.ends.get(&end) else {
            return;
        };
        let was_playing = self.with(id, |_, leg| {
            leg.ears
                .play
                .take_if(|playing| playing.play == play)
                .is_some()
        });
        if was_playing == Some(true) {
            self.tell(Happening::Played {
                leg: id,
                play,
                completed,
            });
        }
    }

    /// The media thread has no room for an end: the leg cannot go on.
    fn refused_end(&mut self, turn: &mut Turn<'_>, end: EndId) {
        let Some(id) = self.ends.remove(&end) else {
            return;
        };
        self.with(id, |calls, leg| {
            leg.ears.end.take_if(|own| own.id == end);
            calls.hang_up(
                turn,
                leg,
                crate::call::calls::cause_of(503, "no media"),
                None,
            );
        });
    }

    fn closed_end(&mut self, turn: &mut Turn<'_>, end: EndId, report: &voice::Report) {
        let Some(id) = self.ends.remove(&end) else {
            return;
        };
        self.with(id, |calls, leg| {
            leg.closing.take_if(|closing| *closing == end);
            if leg.cause.is_none() {
                return;
            }
            calls.stop_timer(leg, Timer::Report);
            let codec = report
                .received_codec
                .or(report.sent_codec)
                .map_or("", voice::Codec::name);
            calls.tell_quality(leg, codec, figures_of(report));
            calls.tell_end(turn, leg);
        });
    }

    /// Nothing came from a peer that should send: it is gone, unless it only listens.
    fn silent(&mut self, turn: &mut Turn<'_>, end: EndId) {
        let Some(&id) = self.ends.get(&end) else {
            return;
        };
        self.with(id, |calls, leg| {
            let is_asked = leg.state == crate::call::state::State::Confirmed
                && leg.is_quiet()
                && leg.timer.is_some();
            if is_asked && let Some(session) = leg.timer.as_mut() {
                // A refresh shows whether it is still there (RFC 4028).
                session.we_refresh = true;
                calls.set_timer(turn.now.time, leg, Timer::Session, 0);
            }
        });
    }
}

/// How sound came in, by what a media thread saw of it.
fn figures_of(report: &voice::Report) -> Figures {
    let received = &report.received;
    let lost = u64::from(received.lost) * 10_000;
    let lost = lost.checked_div(u64::from(received.expected)).unwrap_or(0);
    let jitter_ms = received.jitter_us_max.div_ceil(1_000);
    Figures {
        mos_hundredths: report.mos.map_or(0, |mos| (mos * 100.0) as u16),
        lost_per_myriad: lost.min(10_000) as u16,
        jitter_ms: u16::try_from(jitter_ms).unwrap_or(u16::MAX),
    }
}
