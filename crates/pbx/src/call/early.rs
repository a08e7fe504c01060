//! UPDATE in a dialog that is not confirmed yet (RFC 3311 section 5.2, RFC 6337 section 4).
//!
//! An offer in it is answered by the media thread: what passed the PBX by so far comes back to it, and leaves again when the call is
//! answered.

use dialog::offer;
use transaction::layer::ServerKey;

use crate::call::Calls;
use crate::call::arrive::{Ask, abilities};
use crate::call::leg::{Leg, Path};
use crate::call::send::{SDP, push_header};
use crate::call::within::Described;
use crate::control::LegId;
use crate::pbx::Turn;
use crate::session::Peer;

/// How long who offers while the peer's offer is open has to wait, in seconds: from 0 to 10 (RFC 3311 section 5.2).
const RETRY_AFTER_S: &[u8] = b"2";

impl Calls {
    /// UPDATE of a caller who waits, or of a phone that rings.
    pub(crate) fn early_update_came(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
        id: LegId,
    ) {
        let described = self.read_description(turn, ask.request);
        let tag = ask.envelope.from_tag.unwrap_or_default();
        let can = abilities(ask.request);
        let outcome = self.with(id, |calls, leg| {
            leg.abilities.update |= can.update;
            match leg.fork_at(tag) {
                Some(at) => leg.forks[at].dialog.refresh_target(ask.request),
                None if leg.is_incoming => leg.dialog.refresh_target(ask.request),
                None => {}
            }
            let answered = calls.answer_early(turn, leg, tag, described)?;
            calls.push_dialog_headers(turn, leg, false);
            Ok(answered.then(|| leg.session.local.clone()))
        });
        match outcome.unwrap_or(Err(481)) {
            Ok(body) => {
                let body = body.as_deref().map(|body| (SDP, body));
                self.answer(turn, ask, key, 200, None, body);
            }
            Err(code) => {
                self.extra.clear();
                match code {
                    500 => push_header(&mut self.extra, "Retry-After", RETRY_AFTER_S),
                    415 => self.extra.extend_from_slice(b"Accept: application/sdp\r\n"),
                    _ => {}
                }
                self.answer(turn, ask, key, code, None, None);
            }
        }
    }

    /// Answers an offer that comes before the call is answered; whether there was one, or the status that refuses it.
    fn answer_early(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        tag: &[u8],
        described: Described,
    ) -> Result<bool, u16> {
        if matches!(described, Ok(None)) {
            return Ok(false);
        }
        if let Some(code) = refusal(leg, tag) {
            return Err(code);
        }
        let Some((description, peer)) = described? else {
            return Ok(false);
        };
        let before = self.take_early(leg, (description, peer));
        if self.answer_own(turn, leg) {
            leg.session.has_remote = true;
            if let Some(at) = leg.fork_at(tag) {
                leg.session.offered = Path::Own;
                leg.forks[at].is_updated = true;
            }
            return Ok(true);
        }
        // What was agreed holds on (section 5.2).
        leg.offer_step(offer::Event::Refuse);
        (leg.session.remote, leg.session.peer) = before;
        Err(488)
    }

    /// Puts an offer in the place of what the peer said before. To a phone our own first offer stays open until its 2xx.
    fn take_early(&mut self, leg: &mut Leg, offer: (Vec<u8>, Peer)) -> (Vec<u8>, Peer) {
        if leg.is_incoming {
            leg.offer_step(offer::Event::ReceiveOffer);
        }
        let before = (std::mem::take(&mut leg.session.remote), leg.session.peer);
        (leg.session.remote, leg.session.peer) = offer;
        before
    }
}

impl Leg {
    /// The early dialog of a call of ours that a peer's tag names.
    pub(crate) fn fork_at(&self, tag: &[u8]) -> Option<usize> {
        let mut forks = self.forks.iter();
        forks.position(|fork| *fork.dialog.remote_tag == *tag)
    }
}

/// Why an offer may not come now: the first exchange is not complete before its answer went out reliably (RFC 6337 section 2.2).
fn refusal(leg: &Leg, tag: &[u8]) -> Option<u16> {
    if leg.is_incoming {
        return match leg.session.offers {
            offer::State::Stable => None,
            offer::State::FirstReceived | offer::State::Received => Some(500),
            offer::State::None | offer::State::FirstSent | offer::State::Sent => Some(491),
        };
    }
    let fork = leg.fork_at(tag).map(|at| &leg.forks[at]);
    match fork.is_some_and(|fork| fork.is_answered) {
        true => None,
        false => Some(491),
    }
}
