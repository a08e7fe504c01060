//! Responses to what we sent to change a session.

use dialog::session::SessionExpires;
use dialog::{offer, session};
use sip::{HeaderName, Message};

use crate::call::Calls;
use crate::call::leg::{Leg, Timer, Why};
use crate::call::within::Described;
use crate::pbx::Turn;

/// How long to wait after a 5xx to a change, in milliseconds: what was on its way meanwhile is over then (RFC 3261 section 14.2 has up
/// to ten seconds).
fn wait_ms(response: Option<&Message<'_>>, code: u16) -> Option<u64> {
    let asked_s = response.and_then(|response| {
        let value = response.header(HeaderName::RetryAfter)?;
        let end = value.iter().position(|byte| !byte.is_ascii_digit());
        sip::lex::number(&value[..end.unwrap_or(value.len())], u32::MAX)
    });
    matches!(code, 500 | 503).then(|| u64::from(asked_s.unwrap_or(2).min(10)) * 1_000 + 10)
}

impl Calls {
    /// What became of a re-INVITE or UPDATE. What acknowledged its 2xx is returned.
    pub(crate) fn change_outcome(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        response: Option<&Message<'_>>,
        code: u16,
    ) -> Option<Vec<u8>> {
        let calling = leg.calling.take()?;
        let is_ours = leg.session.offers == offer::State::Sent;
        if let Some(response) = response.filter(|_| (200..300).contains(&code)) {
            leg.dialog.refresh_target(response);
            leg.challenges = 0;
            let is_invite = response
                .cseq()
                .is_ok_and(|cseq| cseq.method == sip::Method::Invite);
            let ack =
                is_invite.then(|| self.ack(turn, (&leg.dialog, leg.flow), calling.cseq, None));
            if SessionExpires::of(response).is_some() || leg.timer.is_some() {
                leg.timer =
                    session::answered(turn.now.time, response, turn.settings.session_expires_s);
                self.arm_session(turn.now.time, leg);
            }
            let described = self.read_description(turn, response);
            if is_ours {
                self.change_answered(turn, leg, calling.why, described);
            }
            return ack;
        }
        if is_ours {
            leg.offer_step(offer::Event::Refuse);
        }
        if calling.why == Why::Refresh && !matches!(code, 408 | 481) {
            self.refresh_refused(turn, leg, response, code);
            return None;
        }
        match code {
            // RFC 3261 section 12.2.1.2: the dialog is gone.
            408 | 481 => self.vanished(turn, leg, code),
            491 => {
                // Section 14.1: who began the call waits longer.
                let random = self.hidden(b'g', leg.dialog.local_cseq as u64 ^ leg.id.0);
                let wait_ms = match leg.is_incoming {
                    true => random % 200 * 10,
                    false => 2_100 + random % 190 * 10,
                };
                self.set_timer(turn.now.time, leg, Timer::Retry, wait_ms.max(10));
            }
            401 | 407 if self.challenged(turn.settings, leg, response) => {
                self.set_timer(turn.now.time, leg, Timer::Retry, 10);
                // Whoever waits for this is asked to come again, as after glare.
                self.change_refused(turn, leg, calling.why, 491);
                return None;
            }
            _ => {
                leg.session.refusals = leg.session.refusals.saturating_add(1);
                if let Some(wait_ms) = wait_ms(response, code) {
                    self.set_timer(turn.now.time, leg, Timer::Retry, wait_ms);
                }
            }
        }
        self.change_refused(turn, leg, calling.why, code);
        None
    }

    fn change_answered(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        why: Why,
        described: Described,
    ) {
        let is_taken = match described {
            Ok(Some((description, peer))) => self.take_answer(turn, leg, description, peer),
            _ => {
                leg.offer_step(offer::Event::Refuse);
                false
            }
        };
        if !is_taken {
            leg.session.refusals = leg.session.refusals.saturating_add(1);
            return self.change_refused(turn, leg, why, 488);
        }
        self.note_hold(turn, leg);
        let (id, remote, peer) = (leg.id, &leg.session.remote, leg.session.peer);
        match why {
            Why::PassOn { other } => {
                let remote = remote.clone();
                self.with(other, |calls, other| {
                    calls.pass_answer(turn, other, (&remote, &peer))
                });
            }
            Why::Direct { other, back: false } => {
                let remote = remote.clone();
                self.with(other, |calls, other| {
                    if other.is_quiet() && other.peer == Some(id) {
                        calls.offer_direct(
                            turn,
                            other,
                            (&remote, &peer),
                            Why::Direct {
                                other: id,
                                back: true,
                            },
                        );
                    }
                });
            }
            Why::Direct { other, back: true } => self.check_direct(turn, leg, other),
            Why::Call | Why::Own | Why::Refresh => {}
        }
    }

    fn change_refused(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, why: Why, code: u16) {
        match why {
            Why::PassOn { other } => {
                let code = if (400..700).contains(&code) && code != 408 && code != 481 {
                    code
                } else {
                    488
                };
                self.with(other, |calls, other| {
                    other.offer_step(offer::Event::Refuse);
                    calls.fail_serving(turn, other, code);
                });
            }
            Why::Direct { other, .. } if code != 491 => {
                leg.session.no_direct = true;
                if let Some(other) = self.legs.get_mut(&other) {
                    other.session.no_direct = true;
                    self.touched.push(other.id);
                }
            }
            _ => {}
        }
    }
}
