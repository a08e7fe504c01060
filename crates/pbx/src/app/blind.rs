//! Blind transfers: one is sent on without a word, and comes back if nobody takes it.

use crate::control::{Action, DiversionReason, LegId, Party, Referral};
use crate::plan::{Outcome, Step};

use super::call::{Call, Ringing, Sending, State, Talking, Target};
use super::end::cause;
use super::steps::{DIVERSIONS_MAX, Flow};
use super::{Round, Switchboard};

/// How long a phone is rung whose call another PBX of the farm has, in milliseconds.
const ELSEWHERE_MS: u32 = 60_000;

impl Switchboard {
    /// A blind transfer: `held` goes on to `number`. Who asked for it by REFER stays until that has come to something
    /// (RFC 3515 section 2.4.5); who did so by a code is gone at once.
    pub(crate) fn send_on(
        &mut self,
        call: &mut Call,
        held: LegId,
        sending: Sending,
        rights: Vec<String>,
        round: &mut Round<'_>,
    ) {
        let number = sending.number.clone();
        self.begin_sending(call, held, sending, round);
        call.rights = rights;
        self.dialled(call, &number, round);
    }

    /// An attended transfer to a dialog that another PBX has: `held` calls there and asks to take its place (RFC 5589 section 7).
    pub(crate) fn send_elsewhere(
        &mut self,
        call: &mut Call,
        held: LegId,
        sending: Sending,
        round: &mut Round<'_>,
    ) {
        let target = Target {
            user: String::new(),
            dial: sending.number.clone(),
        };
        self.begin_sending(call, held, sending, round);
        call.program.clear();
        call.note(format!("ring {}", target.dial));
        let ringing = Ringing {
            for_ms: ELSEWHERE_MS,
            ..Ringing::default()
        };
        if self.begin_ringing(call, vec![target], ringing, round) == Flow::Next {
            self.run(call, round);
        }
    }

    fn begin_sending(
        &mut self,
        call: &mut Call,
        held: LegId,
        sending: Sending,
        round: &mut Round<'_>,
    ) {
        let (by, user) = (sending.by, sending.by_user.clone());
        call.note(format!("transfer to {} by {user}", sending.number));
        call.enter(State::Running);
        if !sending.is_told {
            self.hang_up(call, by, cause(200), round);
        }
        self.hush(call, by, round);
        self.hush(call, held, round);
        call.main = held;
        call.outcome = None;
        // Who is transferred is who calls now.
        if let Some(leg) = call.leg(held) {
            (call.caller, call.is_private) = (leg.party.clone(), leg.is_private);
        }
        call.sending = Some(sending);
    }

    /// A phone rings for who was sent on: who asked for it is told, once.
    pub(crate) fn sending_rings(&mut self, call: &mut Call, round: &mut Round<'_>) {
        if let Some(sending) = call
            .sending
            .as_mut()
            .filter(|it| it.is_told && !it.has_rung)
        {
            sending.has_rung = true;
            round.act(Action::TransferResult {
                leg: sending.by,
                status: 180,
            });
        }
    }

    /// A phone that was rung for who was sent on said why it cannot.
    pub(crate) fn sending_refused(&mut self, call: &mut Call, status: u16) {
        if let Some(sending) = &mut call.sending {
            sending.status = status;
        }
    }

    /// Somebody, or something, has taken the call that was sent on: who asked for it is told, and let go.
    pub(crate) fn sending_done(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let Some(sending) = call.sending.take() else {
            return;
        };
        if sending.is_told && call.is_live(sending.by) {
            round.act(Action::TransferResult {
                leg: sending.by,
                status: 200,
            });
        }
        self.hang_up(call, sending.by, cause(200), round);
    }

    /// Nobody takes the call that was sent on: it goes back to who sent it, or rings there. Whether it does.
    pub(crate) fn sending_failed(
        &mut self,
        call: &mut Call,
        status: u16,
        round: &mut Round<'_>,
    ) -> bool {
        let Some(sending) = call.sending.take() else {
            return false;
        };
        // "Unavailable" is what is left when no phone took it; the phone may have said more.
        let status = match (status, sending.status) {
            (480 | 486, said @ 400..) => said,
            (status, _) => status,
        };
        let main = call.main;
        call.note(format!("transfer to {}: {status}", sending.number));
        if call.is_live(sending.by) {
            round.act(Action::TransferResult {
                leg: sending.by,
                status,
            });
            let by = sending.by;
            self.listen_no_more(call, round);
            call.program.clear();
            call.enter(State::Talking(Talking {
                peer: by,
                ..Talking::default()
            }));
            self.bridge(call, main, by, round);
            for (holder, other) in [(main, by), (by, main)] {
                if call.leg(holder).is_some_and(|leg| leg.is_holding) {
                    self.music(call, other, "default", round);
                }
            }
            return true;
        }
        let recall_s = self.plan.features.recall_s;
        let ring = Step::parse(&format!("ring {} for {recall_s}s", sending.by_user));
        let Ok(ring) = ring.map_err(drop).and_then(|step| match recall_s > 0 {
            true if !sending.by_user.is_empty() && call.is_live(main) => Ok(step),
            _ => Err(()),
        }) else {
            return false;
        };
        self.send_back(call, &sending, status, ring, round);
        true
    }

    /// Who sent a call on has hung up: the phone is rung, and then what its extension does with calls that nobody takes.
    fn send_back(
        &mut self,
        call: &mut Call,
        sending: &Sending,
        status: u16,
        ring: Step,
        round: &mut Round<'_>,
    ) {
        let outcome = call.outcome.unwrap_or(super::ring::outcome(status));
        let reason = match outcome {
            Outcome::Busy => DiversionReason::Busy,
            Outcome::NoAnswer => DiversionReason::NoAnswer,
            Outcome::Unreachable => DiversionReason::Unavailable,
        };
        let from = Party {
            user: sending.number.clone(),
            host: call.called.host.clone(),
            display: String::new(),
        };
        if !sending.number.contains('@') {
            call.diversions.insert(0, (from, reason));
            call.diversions.truncate(DIVERSIONS_MAX);
        }
        call.referral = Referral::default();
        call.rights = self.plan.rights(&sending.by_user, true);
        call.number.clone_from(&sending.by_user);
        call.program = vec![ring];
        if let Some(extension) = self.plan.extension(&sending.by_user) {
            call.program.push(Step::Forwards(extension.number.clone()));
        }
        call.outcome = None;
        self.hush(call, call.main, round);
        self.run(call, round);
    }
}
