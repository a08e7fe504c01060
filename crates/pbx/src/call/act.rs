//! What applications want done.

use dialog::{Dialog, offer};
use sip::lex;
use voice::Command;

use crate::call::Calls;
use crate::call::calls::cause_of;
use crate::call::identity;
use crate::call::leg::{Calling, Leg, Path, Play, Taking, Timer, Told, Why};
use crate::call::reply::Purpose;
use crate::call::send::{SDP, push_header};
use crate::control::{
    Action, Cause, DiversionReason, Happening, LegId, Party, RecordingId, Referral, RoomId, Sound,
};
use crate::output::{self, Voiced};
use crate::pbx::Turn;

/// Keys that wait to be sent to one leg.
const DIGITS_MAX: usize = 64;

/// A call that is to be made.
struct Dial {
    leg: LegId,
    for_leg: Option<LegId>,
    target: String,
    caller: Party,
    is_private: bool,
    diversions: Vec<(Party, DiversionReason)>,
    auto_answer: bool,
    referral: Referral,
}

impl Calls {
    /// Does what an application wants. What cannot be done any more is passed over.
    pub(crate) fn act(&mut self, turn: &mut Turn<'_>, action: Action) {
        self.read_for(turn, &action);
        match action {
            Action::Ring { leg } => self.want(leg, Told::Ringing),
            Action::Progress { leg } => self.want(leg, Told::Progress),
            Action::Answer { leg } => self.want(leg, Told::Answer),
            Action::Reject {
                leg,
                cause,
                retry_after_s,
            } => {
                self.with(leg, |calls, leg| {
                    calls.hang_up(turn, leg, cause, retry_after_s)
                });
            }
            Action::Hangup { leg, cause } => {
                self.with(leg, |calls, leg| calls.hang_up(turn, leg, cause, None));
            }
            Action::Dial {
                leg,
                for_leg,
                target,
                caller,
                is_private,
                diversions,
                auto_answer,
                referral,
            } => {
                self.dial(
                    turn,
                    Dial {
                        leg,
                        for_leg,
                        target,
                        caller,
                        is_private,
                        diversions,
                        auto_answer,
                        referral,
                    },
                );
            }
            Action::Bridge { a, b } => self.bridge(a, b),
            Action::Unbridge { leg } => self.unbridge(leg),
            Action::TransferResult { leg, status } => {
                self.with(leg, |calls, leg| calls.tell_transfer(turn, leg, status));
            }
            Action::Ask { question, what } => turn.output.asks.push((question, what)),
            Action::Cdr(cdr) => turn.output.cdrs.push(*cdr),
            Action::Publish(publish) => self.publish(turn, publish),
            Action::PlayRoom { room, sounds } => self.play_room(turn, room, &sounds),
            Action::StopRecord { recording } => self.stop_recording(turn, recording),
            sound => self.act_on_sound(turn, sound),
        }
    }

    fn want(&mut self, leg: LegId, told: Told) {
        self.with(leg, |_, leg| leg.wants = leg.wants.max(told));
    }

    /// What has to do with what a leg hears and says.
    fn act_on_sound(&mut self, turn: &mut Turn<'_>, action: Action) {
        match action {
            Action::Play {
                leg,
                play,
                sounds,
                from_ms,
                repeat,
                barge_in,
            } => {
                let play = Play {
                    play,
                    sounds,
                    from_ms,
                    repeat,
                    barge_in,
                    began_unix_ms: None,
                };
                self.with(leg, |calls, leg| calls.play(turn, leg, play));
            }
            Action::StopPlay { leg, play } => {
                self.with(leg, |calls, leg| {
                    if leg
                        .ears
                        .play
                        .as_ref()
                        .is_some_and(|playing| playing.play == play)
                    {
                        leg.ears.play = None;
                        calls.command_end(turn, leg, |end| Command::StopPlay {
                            end,
                            play: voice::PlayId(play.0),
                        });
                        calls.tell(Happening::Played {
                            leg: leg.id,
                            play,
                            completed: false,
                        });
                    }
                });
            }
            Action::Record {
                leg,
                recording,
                path,
                both,
                max_ms,
                silence_ms,
                key_ends,
                beep,
                from_ms,
            } => {
                let taking = Taking {
                    recording,
                    path,
                    both,
                    max_ms,
                    silence_ms,
                    key_ends,
                    beep,
                    from_ms,
                    began_unix_ms: None,
                };
                let done = self.with(leg, |calls, leg| {
                    if leg.state.is_alive() {
                        leg.ears.taking = Some(taking);
                        calls.recordings.insert(recording, leg.id);
                        calls.begin_recording(turn, leg);
                    }
                    leg.state.is_alive()
                });
                if done != Some(true) {
                    self.tell(Happening::Recorded {
                        leg,
                        recording,
                        length_ms: from_ms,
                        is_saved: from_ms > 0,
                    });
                }
            }
            other => self.act_on_place(turn, other),
        }
    }

    /// Where a leg is heard, and what is sent to it.
    fn act_on_place(&mut self, turn: &mut Turn<'_>, action: Action) {
        match action {
            Action::Join { leg, room, muted } => {
                self.with(leg, |calls, leg| {
                    leg.ears.room = Some((room, muted));
                    leg.ears.is_echo = false;
                    calls.command_end(turn, leg, |end| Command::Join {
                        end,
                        room: voice::RoomId(room.0),
                        muted,
                    });
                });
            }
            Action::Leave { leg } => {
                self.with(leg, |calls, leg| {
                    if leg.ears.room.take().is_some() {
                        calls.command_end(turn, leg, |end| Command::Leave { end });
                    }
                });
            }
            Action::Mute { leg, muted } => {
                self.with(leg, |calls, leg| {
                    if let Some(room) = leg.ears.room.as_mut() {
                        room.1 = muted;
                        calls.command_end(turn, leg, |end| Command::Mute { end, muted });
                    }
                });
            }
            Action::Echo { leg } => {
                self.with(leg, |calls, leg| {
                    leg.ears.is_echo = true;
                    calls.command_end(turn, leg, |end| Command::Echo { end });
                });
            }
            Action::SendDigits { leg, digits } => {
                let digits = digits.chars().filter_map(voice::Digit::of_sign);
                self.with(leg, |calls, leg| {
                    let room = DIGITS_MAX.saturating_sub(leg.ears.digits.len());
                    leg.ears.digits.extend(digits.take(room));
                    calls.send_digits(turn, leg);
                });
            }
            Action::DetectInBand { leg, on } => {
                self.with(leg, |calls, leg| {
                    leg.ears.in_band = on;
                    calls.command_end(turn, leg, |end| Command::DetectInBand { end, on });
                });
            }
            _ => {}
        }
    }

    fn play(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, play: Play) {
        if !leg.state.is_alive() {
            return;
        }
        if let Some(before) = leg.ears.play.replace(play) {
            self.tell(Happening::Played {
                leg: leg.id,
                play: before.play,
                completed: false,
            });
        }
        self.begin_play(turn, leg);
    }

    fn play_room(&mut self, turn: &mut Turn<'_>, room: RoomId, sounds: &[Sound]) {
        let mut known = Vec::new();
        for sound in sounds {
            turn.around.sound(sound, &mut known);
        }
        known.retain(|sound| !matches!(sound, voice::Sound::Feed { .. }));
        let thread = self
            .legs
            .values()
            .find(|leg| leg.ears.room.is_some_and(|(other, _)| other == room))
            .and_then(|leg| leg.ears.end)
            .map(|end| end.port.thread);
        if let Some(thread) = thread.filter(|_| !known.is_empty()) {
            let play = voice::PlayId(self.ids.issue());
            let command = Command::RoomPlay {
                room: voice::RoomId(room.0),
                play,
                sounds: known,
                times: 1,
            };
            turn.output.voice.push(Voiced { thread, command });
        }
    }

    fn stop_recording(&mut self, turn: &mut Turn<'_>, recording: RecordingId) {
        let Some(&id) = self.recordings.get(&recording) else {
            return;
        };
        let was_begun = self.with(id, |calls, leg| {
            let taking = leg
                .ears
                .taking
                .take_if(|taking| taking.recording == recording)?;
            calls.command_end(turn, leg, |_| Command::StopRecord {
                record: voice::RecordId(recording.0),
            });
            taking.began_unix_ms
        });
        if was_begun == Some(None) {
            self.recordings.remove(&recording);
            self.tell(Happening::Recorded {
                leg: id,
                recording,
                length_ms: 0,
                is_saved: false,
            });
        }
    }

    /// Two legs are to hear each other.
    fn bridge(&mut self, a: LegId, b: LegId) {
        let are_there = a != b
            && [a, b]
                .iter()
                .all(|id| self.legs.get(id).is_some_and(|leg| leg.state.is_alive()));
        if !are_there {
            return;
        }
        for id in [a, b] {
            if self
                .legs
                .get(&id)
                .is_some_and(|leg| leg.peer.is_some_and(|peer| peer != a && peer != b))
            {
                self.unbridge(id);
            }
        }
        for (id, other) in [(a, b), (b, a)] {
            self.with(id, |_, leg| {
                leg.peer = Some(other);
                leg.quiet_since = None;
                leg.session.no_direct = false;
                leg.session.refusals = 0;
            });
        }
    }

    fn unbridge(&mut self, id: LegId) {
        let other = self.with(id, |_, leg| {
            leg.quiet_since = None;
            leg.peer.take()
        });
        if let Some(Some(other)) = other {
            self.with(other, |_, leg| leg.peer.take_if(|peer| *peer == id));
        }
    }

    /// Calls somebody.
    fn dial(&mut self, turn: &mut Turn<'_>, dial: Dial) {
        let id = dial.leg;
        let for_leg = dial.for_leg.and_then(|other| self.legs.get(&other));
        let max_forwards = for_leg
            .map_or(70u32, |leg| leg.max_forwards)
            .saturating_sub(1);
        let fails = if self.legs.contains_key(&id) {
            return;
        } else if !self.may_dial(turn.settings) {
            Some(503)
        } else if max_forwards == 0 {
            Some(483)
        } else {
            None
        };
        if let Some(code) = fails {
            return self.tell(Happening::Failed {
                leg: id,
                cause: cause_of(code, ""),
                contacts: Vec::new(),
            });
        }
        let mut leg = self.new_outgoing(turn, &dial);
        leg.max_forwards = max_forwards;
        let direct = dial
            .for_leg
            .and_then(|other| self.legs.get(&other))
            .filter(|other| {
                let is_open = other.session.has_remote
                    && other.session.path == Path::None
                    && other.is_incoming
                    && other.state.is_early();
                let is_answered_by_us = other.wants >= Told::Progress;
                turn.settings.media_by_need && is_open && !is_answered_by_us && !other.needs_voice()
            });
        leg.offered_for = dial.for_leg;
        let described = direct.map(|other| (other.session.remote.clone(), other.session.peer));
        self.counts.outgoing += 1;
        if turn.output.is_watched {
            let call_id = String::from_utf8_lossy(&leg.dialog.call_id).into_owned();
            turn.output.events.push(output::Event::Began {
                leg: id,
                is_incoming: false,
                call_id,
            });
        }
        match described {
            Some((body, peer)) => {
                self.write_direct(turn, &mut leg, (&body, &peer));
                leg.session.offered = Path::Direct;
            }
            None => {
                if !self.open_end(turn, &mut leg) {
                    return self.tell(Happening::Failed {
                        leg: id,
                        cause: cause_of(503, "no media port"),
                        contacts: Vec::new(),
                    });
                }
                self.write_own(turn, &mut leg, None, sdp::Direction::SendRecv);
                leg.session.offered = Path::Own;
            }
        }
        leg.offer_step(offer::Event::SendOffer);
        self.send_invite(turn, &mut leg);
        self.set_timer(
            turn.now.time,
            &mut leg,
            Timer::Ring,
            turn.settings.ring_ms_max,
        );
        self.insert(leg);
    }

    /// A leg to whom `dial` wants.
    fn new_outgoing(&mut self, turn: &Turn<'_>, dial: &Dial) -> Leg {
        let settings = turn.settings;
        let id = dial.leg;
        let (user, host) = match dial.target.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => (dial.target.as_str(), settings.domain()),
        };
        let called = Party {
            user: user.to_owned(),
            host: host.to_owned(),
            display: String::new(),
        };
        let mut uri = Vec::new();
        match dial.referral.uri.is_empty() {
            true => identity::write_uri(&called, settings, &mut uri),
            false => uri.extend_from_slice(dial.referral.uri.as_bytes()),
        }
        let to = [b"<", &uri[..], b">"].concat();
        let mut from = Vec::new();
        match dial.is_private {
            // RFC 3323 section 4.1.1.3.
            true => from.extend_from_slice(b"\"Anonymous\" <sip:anonymous@anonymous.invalid>"),
            false => identity::write_party(&dial.caller, settings, &mut from),
        }
        let tag = self.hidden(b't', id.0);
        let (mut tag_text, mut call_id) = (Vec::with_capacity(16), Vec::with_capacity(48));
        lex::push_hex(&mut tag_text, tag);
        lex::push_hex(&mut call_id, self.hidden(b'c', id.0));
        lex::push_hex(&mut call_id, id.0);
        let dialog = Dialog::outgoing(&call_id, (&from, &tag_text), &to, &uri);
        let mut leg = Leg::new(id, false, settings.outbound, dialog, tag);
        leg.began_unix_ms = turn.now.unix_ms;
        leg.party = called;
        leg.session.origin = (self.hidden(b'o', id.0) >> 16, 0);
        // Our edge keeps it from phones and from whom a transfer points to; another proxy may not: neither is trusted with what is private (RFC 3325
        // section 7).
        let is_told =
            !dial.is_private || !settings.is_ours(&leg.party.host) && dial.referral.uri.is_empty();
        let is_trusted = settings.trusted.contains(&settings.outbound.remote.ip()) && is_told;
        identity::write_identity(
            &dial.caller,
            dial.is_private,
            settings,
            is_trusted,
            &mut leg.invite_extra,
        );
        identity::write_diversions(&dial.diversions, &uri, settings, &mut leg.invite_extra);
        let referral = &dial.referral;
        if !referral.referred_by.is_empty() {
            push_header(
                &mut leg.invite_extra,
                "Referred-By",
                referral.referred_by.as_bytes(),
            );
        }
        if !referral.replaces.is_empty() {
            push_header(
                &mut leg.invite_extra,
                "Replaces",
                referral.replaces.as_bytes(),
            );
            leg.invite_extra.extend_from_slice(b"Require: replaces\r\n");
        }
        if dial.auto_answer {
            let value = format!("<sip:{}>;answer-after=0", settings.domain());
            push_header(&mut leg.invite_extra, "Call-Info", value.as_bytes());
            leg.invite_extra.extend_from_slice(b"Answer-Mode: Auto\r\n");
        }
        leg
    }

    /// Sends the first INVITE.
    fn send_invite(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        self.push_request_headers(turn, leg);
        self.extra.extend_from_slice(&leg.invite_extra);
        self.push_credentials(turn.settings, leg, "INVITE");
        let cseq = leg.dialog.next_cseq();
        let purpose = Purpose::Invite {
            leg: leg.id,
            cseq,
            flow: leg.flow,
            acks: Vec::new(),
            orphan: None,
        };
        self.max_forwards = leg.max_forwards;
        let client = self.request(
            turn,
            (&leg.dialog, leg.flow),
            ("INVITE", cseq),
            purpose,
            Some((SDP, &leg.session.local)),
        );
        self.max_forwards = 70;
        leg.calling = Some(Calling {
            client,
            cseq,
            why: Why::Call,
        });
    }

    /// Calls once more what was refused for a reason that can be met; `own`: the media thread speaks.
    pub(crate) fn call_again(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, own: bool) {
        // An UPDATE has put our answer in the place of our offer.
        let own = own || leg.forks.iter().any(|fork| fork.is_updated);
        leg.forks.clear();
        leg.calling = None;
        if own {
            leg.session.has_remote = false;
            if !self.open_end(turn, leg) {
                return self.ended(
                    turn,
                    leg,
                    Cause {
                        status: 503,
                        q850: 41,
                        text: "no media port".to_owned(),
                    },
                );
            }
            self.write_own(turn, leg, None, sdp::Direction::SendRecv);
            leg.session.offered = Path::Own;
        }
        self.send_invite(turn, leg);
    }
}
