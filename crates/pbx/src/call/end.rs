//! Legs come to their end.

use crate::call::Calls;
use crate::call::calls::cause_of;
use crate::call::identity::reason_value;
use crate::call::leg::{Leg, Path, Timer};
use crate::call::reply::Purpose;
use crate::call::send::push_header;
use crate::call::state::{Event, State};
use crate::control::{Cause, Figures, Happening};
use crate::output;
use crate::pbx::Turn;

/// How long the figures of media are waited for, in milliseconds: they come with the media thread's next round.
const REPORT_MS: u64 = 1_000;

impl Calls {
    /// We end a leg, in the way that its state asks for (RFC 3261 sections 9, 15).
    pub(crate) fn hang_up(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        cause: Cause,
        retry_after_s: Option<u32>,
    ) {
        let before = leg.state;
        if !leg.step(Event::Hangup) {
            return;
        }
        let reason = reason_value(&cause);
        match before {
            State::Invited => {
                let code = if (300..700).contains(&cause.status) {
                    cause.status
                } else {
                    480
                };
                self.extra.clear();
                push_header(&mut self.extra, "Reason", &reason);
                if let Some(seconds) = retry_after_s {
                    push_header(
                        &mut self.extra,
                        "Retry-After",
                        seconds.to_string().as_bytes(),
                    );
                }
                self.fail_serving(turn, leg, code);
            }
            State::Calling | State::Ringing => self.give_up_calling(turn, leg, &reason),
            // Its BYE waits for the ACK, or for the end of the waiting.
            State::Answered => self.fail_serving(turn, leg, 487),
            _ => {
                self.fail_serving(turn, leg, 487);
                self.cancel_offer(turn, leg);
                self.say_bye(turn, leg, &reason);
            }
        }
        self.close(turn, leg, cause);
    }

    pub(crate) fn say_bye(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, reason: &[u8]) {
        let flow = leg.flow;
        self.end_transfer(turn, leg, 487);
        self.extra.clear();
        self.push_credentials(turn.settings, leg, "BYE");
        let credentials = std::mem::take(&mut self.extra);
        self.bye_with(turn, (&mut leg.dialog, flow), reason, &credentials);
        self.extra = credentials;
        self.extra.clear();
    }

    /// Takes back an INVITE without an answer. Should it be answered all the same, that is acknowledged and ended.
    pub(crate) fn give_up_calling(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, reason: &[u8]) {
        let Some(calling) = leg.calling.take() else {
            return;
        };
        let user = self.layer.client_user(calling.client);
        if let Some(Purpose::Invite { orphan, .. }) = user.and_then(|user| {
            self.purposes
                .get_mut(transaction::ClientId::from_bits(user))
        }) {
            *orphan = Some(Box::new(leg.dialog.clone()));
        }
        self.layer.cancel_client(
            turn.now.time,
            calling.client,
            reason,
            &mut turn.output.outbox,
        );
    }

    /// A re-INVITE that is on its way when its dialog ends.
    fn cancel_offer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if let Some(calling) = leg.calling.take() {
            let user = self.layer.client_user(calling.client);
            let user = user.map(transaction::ClientId::from_bits);
            if let Some(Purpose::Invite { orphan, .. }) =
                user.and_then(|user| self.purposes.get_mut(user))
            {
                *orphan = Some(Box::new(leg.dialog.clone()));
            }
            self.layer
                .cancel_client(turn.now.time, calling.client, b"", &mut turn.output.outbox);
        }
    }

    /// The other side ended a leg, or it came to nothing.
    pub(crate) fn ended(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, cause: Cause) {
        let was_leaving = leg.state == State::Leaving;
        if !leg.step(Event::End) {
            return;
        }
        self.cancel_offer(turn, leg);
        self.fail_serving(turn, leg, 487);
        if was_leaving {
            leg.repeating = None;
            return;
        }
        leg.has_failed = !leg.is_incoming && !leg.was_answered;
        self.close(turn, leg, cause);
    }

    /// Ends a leg's media and what hangs on them; the end is told when their figures are there.
    fn close(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, cause: Cause) {
        if let Some(other) = leg.peer.take() {
            let id = leg.id;
            if let Some(other) = self
                .legs
                .get_mut(&other)
                .filter(|other| other.peer == Some(id))
            {
                if leg.session.path == Path::Direct {
                    leg.spoke = leg.session.peer.codec_with(&other.session.peer);
                    other.spoke = leg.spoke;
                }
                other.peer = None;
                other.is_changed = true;
                self.touched.push(other.id);
            }
        }
        let waits = leg.state == State::Leaving;
        if !waits {
            leg.deadlines = [transaction::Time::MAX; crate::call::leg::TIMERS];
            leg.reliable = None;
            leg.repeating = None;
        }
        leg.serving = None;
        leg.cause.get_or_insert(cause);
        let has_report = self.close_end(turn, leg);
        if has_report {
            self.set_timer(turn.now.time, leg, Timer::Report, REPORT_MS);
        } else {
            let codec = leg.spoke.map_or("", |codec| codec.name());
            self.tell_quality(leg, codec, Figures::default());
            self.tell_end(turn, leg);
        }
    }

    /// The figures of a leg's media, told once, before its end.
    pub(crate) fn tell_quality(&mut self, leg: &Leg, codec: &str, figures: Figures) {
        let call_id = String::from_utf8_lossy(&leg.dialog.call_id).into_owned();
        self.tell(Happening::Quality {
            leg: leg.id,
            call_id,
            codec: codec.to_owned(),
            figures,
        });
    }

    /// Tells that a leg is over. It is forgotten when nothing of it is awaited.
    pub(crate) fn tell_end(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let Some(cause) = leg.cause.clone() else {
            return;
        };
        if turn.output.is_watched {
            turn.output.events.push(output::Event::Ended {
                leg: leg.id,
                cause: cause.clone(),
            });
        }
        let happening = match leg.has_failed {
            true => Happening::Failed {
                leg: leg.id,
                cause,
                contacts: std::mem::take(&mut leg.contacts),
            },
            false => Happening::Ended { leg: leg.id, cause },
        };
        self.tell(happening);
        // From now on only the ACK of its 200 can concern it.
        leg.cause = None;
    }

    /// A leg whose dialog the peer knows no more (RFC 3261 section 12.2.1.2).
    pub(crate) fn vanished(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, status: u16) {
        let flow = leg.flow;
        if leg.state == State::Confirmed {
            self.bye(turn, (&mut leg.dialog, flow), b"");
        }
        self.ended(turn, leg, cause_of(status, ""));
    }
}
