//! What is due.

use dialog::session;
use sip::HeaderName;
use transaction::{Fired, Time};

use crate::call::Calls;
use crate::call::calls::cause_of;
use crate::call::leg::{Calling, Leg, Repeating, TIMERS, Timer, Why};
use crate::call::reply::Purpose;
use crate::call::state::{Event, State};
use crate::control::{Figures, LegId, Now};
use crate::pbx::Turn;

/// How often a caller is told that its call is still on its way, in milliseconds: proxies give up after three minutes without a word.
const SIGN_OF_LIFE_MS: u64 = 60_000;

/// How long to wait before a refresh that was refused is tried again, in milliseconds; and one that met another change.
const REFRESH_AGAIN_MS: u64 = 10_000;
const REFRESH_GLARE_MS: u64 = 2_100;

/// The roles in the order of their numbers.
const ROLES: [Timer; TIMERS] = [
    Timer::Again,
    Timer::GiveUp,
    Timer::Ring,
    Timer::Session,
    Timer::Retry,
    Timer::Report,
];

impl Calls {
    /// Starts a timer of a leg, or sets it anew.
    pub(crate) fn set_timer(&mut self, now: Time, leg: &mut Leg, timer: Timer, ms: u64) {
        leg.deadlines[timer as usize] = now.plus_ms(ms);
        self.arm(leg);
    }

    pub(crate) fn stop_timer(&mut self, leg: &mut Leg, timer: Timer) {
        leg.deadlines[timer as usize] = Time::MAX;
    }

    /// Lets the wheel know the earliest deadline of a leg, unless it knows an earlier one.
    fn arm(&mut self, leg: &mut Leg) {
        let earliest = leg.deadlines.iter().copied().min().unwrap_or(Time::MAX);
        if earliest < leg.armed && self.wheel.insert(earliest, leg.id.0).is_ok() {
            leg.armed = earliest;
        }
    }

    /// Sends something again until it is acknowledged (RFC 3261 section 13.3.1.4).
    pub(crate) fn repeat(&mut self, now: Time, leg: &mut Leg, bytes: Vec<u8>, cseq: u32) {
        let t1_ms = transaction::timer::T1_MS;
        leg.repeating = Some(Repeating {
            bytes,
            attempt: 0,
            cseq,
        });
        self.set_timer(now, leg, Timer::Again, t1_ms);
        self.set_timer(now, leg, Timer::GiveUp, 64 * t1_ms);
    }

    /// Waits for the time to refresh the session, or to give it up.
    pub(crate) fn arm_session(&mut self, now: Time, leg: &mut Leg) {
        match leg.timer {
            Some(session) => {
                self.set_timer(now, leg, Timer::Session, session.deadline.ms_since(now))
            }
            None => self.stop_timer(leg, Timer::Session),
        }
    }

    /// Does what is due.
    pub(crate) fn due(&mut self, turn: &mut Turn<'_>) {
        self.read_slice(turn);
        while let Some(fired) = self.layer.poll(turn.now.time, &mut turn.output.outbox) {
            match fired {
                Fired::ClientTimeout { user, .. } => self.outcome(turn, user, None, 408),
                Fired::TimerC { client, user } => {
                    self.layer
                        .cancel_client(turn.now.time, client, b"", &mut turn.output.outbox);
                    self.outcome(turn, user, None, 408);
                }
                Fired::ClientGone { user, .. } => {
                    self.purposes.remove(transaction::ClientId::from_bits(user));
                }
                Fired::ServerGone { .. } => {}
            }
        }
        while let Some((deadline, number)) = self.wheel.pop(turn.now.time) {
            let id = LegId(number);
            if self.legs.get(&id).is_some_and(|leg| leg.armed == deadline) {
                self.with(id, |calls, leg| calls.leg_due(turn, leg));
            }
        }
        self.watch_due(turn);
    }

    fn leg_due(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        leg.armed = Time::MAX;
        let now = turn.now.time;
        for timer in ROLES {
            if leg.deadlines[timer as usize] > now {
                continue;
            }
            leg.deadlines[timer as usize] = Time::MAX;
            match timer {
                Timer::Again => self.send_again(turn, leg),
                Timer::GiveUp => self.never_acknowledged(turn, leg),
                Timer::Ring => self.never_answered(turn, leg),
                Timer::Session => self.session_due(turn, leg),
                // Being touched is enough: what is wanted is tried again.
                Timer::Retry => {}
                Timer::Report => {
                    self.tell_quality(leg, "", Figures::default());
                    self.tell_end(turn, leg);
                }
            }
        }
        self.arm(leg);
    }

    fn send_again(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let t1_ms = transaction::timer::T1_MS;
        if let Some(repeating) = &mut leg.repeating {
            repeating.attempt = (repeating.attempt + 1).min(8);
            let wait_ms = (t1_ms << repeating.attempt).min(transaction::timer::T2_MS);
            turn.output
                .outbox
                .send(leg.flow, |out| out.extend_from_slice(&repeating.bytes));
            self.set_timer(turn.now.time, leg, Timer::Again, wait_ms);
        } else if let Some((bytes, wait_ms)) =
            leg.reliable.as_mut().and_then(|sender| sender.again(t1_ms))
        {
            turn.output
                .outbox
                .send(leg.flow, |out| out.extend_from_slice(bytes));
            self.set_timer(turn.now.time, leg, Timer::Again, wait_ms);
        }
    }

    /// 64*T1 without an ACK: the dialog is ended (RFC 3261 section 13.3.1.4); without a PRACK: 5xx (RFC 3262 section 3).
    fn never_acknowledged(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        self.stop_timer(leg, Timer::Again);
        if leg.repeating.take().is_some() {
            leg.step(Event::Ack);
            self.say_bye(turn, leg, b"SIP;cause=408;text=\"No ACK\"");
            self.ended(turn, leg, cause_of(408, "no ACK"));
        } else if leg.state == State::Invited {
            self.hang_up(turn, leg, cause_of(504, "no PRACK"), None);
        }
    }

    /// Waits for the answer to a caller: to say once a minute that it is on its way (RFC 3261 section 13.3.1.1), and to refuse in the end.
    pub(crate) fn await_answer(&mut self, now: Now, leg: &mut Leg) {
        let left_ms = leg.until_unix_ms.saturating_sub(now.unix_ms);
        self.set_timer(now.time, leg, Timer::Ring, left_ms.min(SIGN_OF_LIFE_MS));
    }

    fn never_answered(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        if leg.state == State::Invited {
            if turn.now.unix_ms >= leg.until_unix_ms {
                let waited_ms = leg.until_unix_ms.saturating_sub(leg.began_unix_ms);
                let code = match waited_ms < turn.settings.setup_ms_max {
                    true => 487,
                    false => 480,
                };
                return self.hang_up(turn, leg, cause_of(code, "no answer"), None);
            }
            self.ring_again(turn, leg);
            self.await_answer(turn.now, leg);
        }
        if !leg.is_incoming && leg.state.is_early() {
            self.give_up_calling(turn, leg, b"SIP;cause=408;text=\"No answer\"");
            self.ended(turn, leg, cause_of(408, "no answer"));
        }
    }

    /// RFC 4028 section 10.
    fn session_due(&mut self, turn: &mut Turn<'_>, leg: &mut Leg) {
        let Some(session) = leg.timer.filter(|_| leg.state == State::Confirmed) else {
            return;
        };
        if !session.we_refresh {
            self.say_bye(turn, leg, b"SIP;cause=408;text=\"Session expired\"");
            return self.ended(turn, leg, cause_of(408, "session expired"));
        }
        if !leg.is_quiet() {
            return self.set_timer(turn.now.time, leg, Timer::Session, 2_000);
        }
        if leg.abilities.update {
            self.push_request_headers(turn, leg);
            self.push_credentials(turn.settings, leg, "UPDATE");
            let cseq = leg.dialog.next_cseq();
            let purpose = Purpose::Update { leg: leg.id };
            let client = self.request(
                turn,
                (&leg.dialog, leg.flow),
                ("UPDATE", cseq),
                purpose,
                None,
            );
            leg.calling = Some(Calling {
                client,
                cseq,
                why: Why::Refresh,
            });
        } else {
            leg.session.offered = leg.session.path;
            self.send_offer(turn, leg, Why::Refresh);
        }
    }

    /// A refresh was refused: it is tried again in time, in another way where that may help (RFC 4028 sections 7.3, 10).
    pub(crate) fn refresh_refused(
        &mut self,
        turn: &Turn<'_>,
        leg: &mut Leg,
        response: Option<&sip::Message<'_>>,
        code: u16,
    ) {
        let now = turn.now.time;
        let wait_ms = match code {
            401 | 407 if self.challenged(turn.settings, leg, response) => 10,
            422 => {
                let least_s = response.and_then(|response| {
                    let least = response.number(HeaderName::MinSe, session::EXPIRES_S_MAX);
                    least.ok().flatten()
                });
                match (least_s, leg.timer.as_mut()) {
                    (Some(least_s), Some(timer)) if least_s > timer.expires_s => {
                        timer.expires_s = least_s;
                        leg.min_se_s = leg.min_se_s.max(least_s);
                        10
                    }
                    _ => REFRESH_AGAIN_MS,
                }
            }
            491 => REFRESH_GLARE_MS,
            // It said that it knows UPDATE, and does not.
            405 | 420 | 501 if leg.abilities.update => {
                leg.abilities.update = false;
                10
            }
            _ => REFRESH_AGAIN_MS,
        };
        let Some(timer) = leg.timer else { return };
        // The deadline was half of the session ago at most; the other half is left for this.
        let last = timer.deadline.plus_ms(u64::from(timer.expires_s) * 500);
        match now.plus_ms(wait_ms) < last {
            true => self.set_timer(now, leg, Timer::Session, wait_ms),
            false => {
                leg.timer = Some(session::Session {
                    we_refresh: false,
                    ..timer
                });
                self.set_timer(now, leg, Timer::Session, last.ms_since(now));
            }
        }
    }

    /// Headers of a request that begins, changes or refreshes a session.
    pub(crate) fn push_request_headers(&mut self, turn: &Turn<'_>, leg: &Leg) {
        self.extra.clear();
        crate::call::send::write_contact(turn.settings, leg.flow, &mut self.extra);
        self.extra.extend_from_slice(crate::call::send::ALLOW);
        self.extra.extend_from_slice(crate::call::send::SUPPORTED);
        if let Some(session) = leg.timer {
            session.write(true, &mut self.extra);
        } else if leg.calling.is_none() && turn.settings.session_expires_s > 0 {
            let seconds = turn.settings.session_expires_s.max(leg.min_se_s);
            let expires = format!(
                "{seconds}\r\nMin-SE: {}",
                leg.min_se_s.max(turn.settings.min_se_s)
            );
            crate::call::send::push_header(&mut self.extra, "Session-Expires", expires.as_bytes());
        }
    }
}
