//! Responses to what we sent.

use dialog::reliable::has_option;
use dialog::{Dialog, Hop, offer, reliable, session};
use sip::{HeaderName, Message, NameAddr, check};
use transaction::{ClientId, Flow};

use crate::call::Calls;
use crate::call::arrive::abilities;
use crate::call::calls::{Owner, cause_of, q850_of};
use crate::call::identity;
use crate::call::leg::{FORKS_MAX, Fork, Leg, Path, Timer, Why};
use crate::call::send::push_header;
use crate::call::state::{Event, State};
use crate::control::{Cause, Happening, LegId};
use crate::output;
use crate::pbx::Turn;

/// What a client transaction is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// An INVITE, first or not.
    Invite {
        leg: LegId,
        cseq: u32,
        flow: Flow,
        /// What acknowledged its 2xx, sent again with each copy of it, by the tag of who answered.
        acks: Vec<(Box<[u8]>, Vec<u8>)>,
        /// The dialog of a leg that is gone: a 2xx is acknowledged and ended.
        orphan: Option<Box<Dialog>>,
    },
    /// An UPDATE.
    Update { leg: LegId },
    /// A PRACK.
    Prack { leg: LegId },
    /// A NOTIFY of a subscription, by its tag.
    Notify { tag: u64 },
    /// A NOTIFY that tells how a transfer goes.
    Told { leg: LegId },
    /// Nobody waits for the answer.
    Nothing,
}

/// Contacts of a 3xx that are told.
const CONTACTS_MAX: usize = 8;

impl Calls {
    /// Takes a response.
    pub(crate) fn replied(&mut self, turn: &mut Turn<'_>, response: &Message<'_>) {
        self.read_for_response(turn, response);
        let found = check::response_route(response)
            .ok()
            .and_then(|(via, cseq)| {
                let branch = via.branch().and_then(Hop::read_branch)?;
                self.layer.find_client(branch, cseq.method)
            });
        let Some((client, user)) = found else {
            if !self.acknowledged_again(turn, response) {
                self.counts.stray += 1;
            }
            return;
        };
        if self
            .layer
            .receive_response(turn.now.time, client, response, &mut turn.output.outbox)
        {
            self.outcome(turn, user, Some(response), response.status());
        }
    }

    /// Reads the leg that a response is for, by its branch or by our tag in it.
    fn read_for_response(&mut self, turn: &mut Turn<'_>, response: &Message<'_>) {
        if self.resting.next.is_none() {
            return;
        }
        let branch = response.via().ok().and_then(|via| via.branch());
        let tag = response.from().ok().and_then(|from| from.tag());
        let marks = [
            branch.and_then(Hop::read_branch),
            tag.and_then(sip::lex::hex),
        ];
        for mark in marks.into_iter().flatten() {
            self.read_marked(turn, mark);
        }
    }

    /// A 2xx whose transaction was another node's: every copy is acknowledged (RFC 3261 section 13.2.2.4). Whether it belongs to a leg.
    fn acknowledged_again(&mut self, turn: &mut Turn<'_>, response: &Message<'_>) -> bool {
        let (Ok(cseq), Ok(from), Ok(to)) = (response.cseq(), response.from(), response.to()) else {
            return false;
        };
        let is_success =
            matches!(response.status(), 200..300) && cseq.method == sip::Method::Invite;
        let owner = from.tag().and_then(sip::lex::hex);
        let Some(Owner::Leg(id)) = owner.and_then(|tag| self.by_tag.get(&tag)).copied() else {
            return false;
        };
        let Some(leg) = self.legs.get(&id).filter(|_| is_success) else {
            return false;
        };
        let tag = to.tag().unwrap_or_default();
        let is_its = response.header(HeaderName::CallId) == Some(&leg.dialog.call_id[..])
            && *leg.dialog.remote_tag == *tag
            && cseq.number <= leg.dialog.local_cseq
            && leg
                .calling
                .is_none_or(|calling| calling.cseq != cseq.number);
        if is_its {
            let (dialog, flow) = (leg.dialog.clone(), leg.flow);
            self.extra.clear();
            self.ack(turn, (&dialog, flow), cseq.number, None);
        }
        is_its
    }

    /// What became of a request of ours: a response, or `None` with the status that stands for its absence (section 8.1.3.1).
    pub(crate) fn outcome(
        &mut self,
        turn: &mut Turn<'_>,
        user: u64,
        response: Option<&Message<'_>>,
        code: u16,
    ) {
        let id = ClientId::from_bits(user);
        let Some(purpose) = self.purposes.get(id) else {
            return;
        };
        match *purpose {
            Purpose::Invite { leg, .. } => self.invite_outcome(turn, id, leg, response, code),
            Purpose::Update { leg } if code >= 200 => {
                self.with(leg, |calls, leg| {
                    calls.change_outcome(turn, leg, response, code)
                });
            }
            Purpose::Prack { leg } if matches!(code, 408 | 481) => {
                self.with(leg, |calls, leg| {
                    calls.give_up_calling(turn, leg, b"");
                    calls.ended(turn, leg, cause_of(code, ""));
                });
            }
            Purpose::Notify { tag } if code >= 200 => self.notified(turn, tag, code),
            // It wants to hear no more of it (RFC 6665 section 4.2.2); the call is another usage of the dialog (RFC 5057 section 5.1).
            Purpose::Told { leg } if matches!(code, 405 | 408 | 481 | 489 | 501) => {
                self.with(leg, |_, leg| {
                    if let Some(transfer) = &mut leg.transfer {
                        transfer.is_told = false;
                    }
                });
            }
            _ => {}
        }
    }

    fn invite_outcome(
        &mut self,
        turn: &mut Turn<'_>,
        id: ClientId,
        leg: LegId,
        response: Option<&Message<'_>>,
        code: u16,
    ) {
        let Some(Purpose::Invite {
            cseq,
            flow,
            acks,
            orphan,
            ..
        }) = self.purposes.get_mut(id)
        else {
            return;
        };
        let (cseq, flow) = (*cseq, *flow);
        if (200..300).contains(&code) {
            let Some(response) = response else { return };
            let tag = response
                .to()
                .ok()
                .and_then(|to| to.tag())
                .unwrap_or_default();
            if let Some((_, ack)) = acks.iter().find(|(known, _)| **known == *tag) {
                return turn
                    .output
                    .outbox
                    .send(flow, |out| out.extend_from_slice(ack));
            }
            if let Some(base) = orphan {
                let base = base.clone();
                return self.end_late(turn, id, (&base, flow), cseq, response);
            }
        }
        let is_current = self
            .legs
            .get(&leg)
            .and_then(|leg| leg.calling)
            .is_some_and(|calling| calling.cseq == cseq);
        if !is_current {
            if let (200..300, Some(response), Some(leg)) = (code, response, self.legs.get(&leg)) {
                // Another branch of the same call answered too (section 13.2.2.4).
                let base = leg.dialog.clone();
                self.end_late(turn, id, (&base, flow), cseq, response);
            }
            return;
        }
        let ack = self.with(leg, |calls, leg| {
            let is_first = leg.calling.is_some_and(|calling| calling.why == Why::Call);
            match (is_first, code) {
                (true, 100..200) => calls.call_progressed(turn, leg, response, code),
                (true, 200..300) => return calls.call_answered(turn, leg, response, cseq),
                (true, _) => calls.call_failed(turn, leg, response, code),
                (false, 100..200) => {}
                (false, _) => return calls.change_outcome(turn, leg, response, code),
            }
            None
        });
        if let (Some(Some(ack)), Some(Purpose::Invite { acks, .. })) =
            (ack, self.purposes.get_mut(id))
        {
            let tag = response
                .and_then(|response| response.to().ok()?.tag())
                .unwrap_or_default();
            acks.push((tag.into(), ack));
        }
    }

    /// A 2xx that nobody wants any more is acknowledged, and its dialog ended if it began one.
    fn end_late(
        &mut self,
        turn: &mut Turn<'_>,
        id: ClientId,
        (base, flow): (&Dialog, Flow),
        cseq: u32,
        response: &Message<'_>,
    ) {
        let tag = response.to().ok().and_then(|to| to.tag());
        let is_known = !base.remote_tag.is_empty() && tag == Some(&base.remote_tag[..]);
        let dialog = match is_known {
            true => Ok(base.clone()),
            false => base.establish(response),
        };
        let Ok(mut dialog) = dialog else { return };
        dialog.local_cseq = dialog.local_cseq.max(cseq);
        let ack = self.ack(turn, (&dialog, flow), cseq, None);
        if !is_known {
            self.bye(turn, (&mut dialog, flow), b"");
        }
        if let Some(Purpose::Invite { acks, .. }) = self.purposes.get_mut(id)
            && acks.len() < FORKS_MAX
        {
            acks.push((dialog.remote_tag.clone(), ack));
        }
    }

    /// 18x to the first INVITE.
    fn call_progressed(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        response: Option<&Message<'_>>,
        code: u16,
    ) {
        let Some(response) = response.filter(|_| code > 100) else {
            return;
        };
        let had_media = leg.session.has_remote;
        let was = leg.state;
        let fork = self.fork_of(leg, response);
        let mut is_reliable = false;
        if let Some(fork) = fork
            && has_option(response, HeaderName::Require, b"100rel")
        {
            let fork_of = &mut leg.forks[fork];
            match fork_of.received.take(response) {
                Some(rseq) => {
                    is_reliable = true;
                    self.send_prack(turn, leg, fork, rseq, true);
                }
                None => {
                    // The PRACK was another node's, and may have been lost with it.
                    let again = fork_of.received.is_again(response);
                    if let Some(rseq) = again.filter(|_| !fork_of.is_acknowledged) {
                        self.send_prack(turn, leg, fork, rseq, false);
                    }
                    return;
                }
            }
        }
        let fork = fork.and_then(|at| leg.forks.get_mut(at));
        let is_updated = fork.as_ref().is_some_and(|fork| fork.is_updated);
        if leg.session.offers == offer::State::FirstSent
            && !is_updated
            && let Ok(Some((description, peer))) = self.read_description(turn, response)
        {
            if let Some(fork) = fork {
                fork.is_answered |= is_reliable;
            }
            leg.session.remote = description;
            leg.session.peer = peer;
            leg.session.has_remote = true;
            if leg.session.offered == Path::Own {
                leg.session.path = Path::Own;
                self.describe(turn, leg, true);
            }
        }
        let has_media = leg.session.has_remote;
        if code >= 180
            && leg.step(Event::Provisional)
            && (was != State::Ringing || has_media != had_media)
        {
            self.tell(Happening::Ringing {
                leg: leg.id,
                has_media,
            });
        }
    }

    /// The early dialog of a provisional response, if it has a tag.
    fn fork_of(&mut self, leg: &mut Leg, response: &Message<'_>) -> Option<usize> {
        let tag = response.to().ok()?.tag()?;
        if let Some(at) = leg.fork_at(tag) {
            leg.forks[at].dialog.refresh_target(response);
            return Some(at);
        }
        if leg.forks.len() >= FORKS_MAX {
            return None;
        }
        let dialog = leg.dialog.establish(response).ok()?;
        leg.forks.push(Fork {
            dialog,
            received: reliable::Receiver::default(),
            is_acknowledged: false,
            is_answered: false,
            is_updated: false,
        });
        Some(leg.forks.len() - 1)
    }

    /// PRACK (RFC 3262 section 4). It never has to answer an offer: our INVITE always makes one.
    /// Its failure ends the call if it `is_first`: of one that is sent once more the peer may know nothing any more.
    fn send_prack(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        fork: usize,
        rseq: u32,
        is_first: bool,
    ) {
        let invite_cseq = leg
            .calling
            .map_or(leg.dialog.local_cseq, |calling| calling.cseq);
        leg.forks[fork].is_acknowledged = true;
        let dialog = &mut leg.forks[fork].dialog;
        let cseq = dialog.next_cseq();
        self.extra.clear();
        push_header(
            &mut self.extra,
            "RAck",
            format!("{rseq} {invite_cseq} INVITE").as_bytes(),
        );
        let purpose = match is_first {
            true => Purpose::Prack { leg: leg.id },
            false => Purpose::Nothing,
        };
        self.request(
            turn,
            (&leg.forks[fork].dialog, leg.flow),
            ("PRACK", cseq),
            purpose,
            None,
        );
    }

    /// 2xx to the first INVITE. What acknowledged it is returned.
    fn call_answered(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        response: Option<&Message<'_>>,
        cseq: u32,
    ) -> Option<Vec<u8>> {
        let response = response?;
        let tag = response
            .to()
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default();
        let fork = leg.fork_at(tag).map(|at| &leg.forks[at]);
        let fork_cseq = fork.map_or(0, |fork| fork.dialog.local_cseq);
        let is_updated = fork.is_some_and(|fork| fork.is_updated);
        // Another branch was told of the media thread: this one goes by our first offer.
        let is_unsure = !is_updated && leg.forks.iter().any(|fork| fork.is_updated);
        let Ok(mut dialog) = leg.dialog.establish(response) else {
            self.give_up_calling(turn, leg, b"");
            self.ended(turn, leg, cause_of(502, "no dialog"));
            return None;
        };
        dialog.local_cseq = dialog.local_cseq.max(fork_cseq).max(cseq);
        leg.dialog = dialog;
        leg.forks.clear();
        leg.calling = None;
        leg.was_answered = true;
        leg.challenges = 0;
        leg.step(Event::Success);
        self.stop_timer(leg, Timer::Ring);
        leg.abilities = abilities(response);
        leg.timer = session::answered(turn.now.time, response, turn.settings.session_expires_s);
        self.arm_session(turn.now.time, leg);
        let ack = self.ack(turn, (&leg.dialog, leg.flow), cseq, None);
        let described = self.read_description(turn, response);
        let is_answered = match described {
            // An UPDATE came after the answer: what the 2xx may repeat is older (RFC 6337 section 3.1).
            _ if is_updated => leg.offer_step(offer::Event::ReceiveAnswer),
            Ok(Some((description, peer))) => self.take_answer(turn, leg, description, peer),
            // The answer came by a reliable provisional (RFC 3262 section 5).
            Ok(None) if leg.session.has_remote => {
                let (description, peer) =
                    (std::mem::take(&mut leg.session.remote), leg.session.peer);
                self.take_answer(turn, leg, description, peer)
            }
            _ => false,
        };
        if !is_answered {
            let flow = leg.flow;
            self.bye(
                turn,
                (&mut leg.dialog, flow),
                b"SIP;cause=488;text=\"No answer to our offer\"",
            );
            leg.was_answered = false;
            self.ended(turn, leg, cause_of(488, ""));
            return Some(ack);
        }
        leg.session.is_unsure |= is_unsure;
        self.tell(Happening::Answered { leg: leg.id });
        if turn.output.is_watched {
            turn.output
                .events
                .push(output::Event::Answered { leg: leg.id });
        }
        Some(ack)
    }

    /// The answer to our open offer came. False if it is none.
    pub(crate) fn take_answer(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        description: Vec<u8>,
        peer: crate::session::Peer,
    ) -> bool {
        let agrees = leg.session.offered == Path::Direct
            || crate::session::agree(&peer, &turn.settings.codecs, true).is_some();
        if !agrees || !leg.offer_step(offer::Event::ReceiveAnswer) {
            leg.offer_step(offer::Event::Refuse);
            return false;
        }
        leg.session.remote = description;
        leg.session.peer = peer;
        leg.session.has_remote = true;
        leg.session.refusals = 0;
        leg.session.path = leg.session.offered;
        // Its port may not have come along.
        leg.session.is_unsure = leg.session.path == Path::Own && leg.ears.end.is_none();
        match leg.session.path {
            Path::Own => self.describe(turn, leg, true),
            _ => {
                self.close_end(turn, leg);
            }
        }
        true
    }

    /// A final failure of the first INVITE, or none in time.
    fn call_failed(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        response: Option<&Message<'_>>,
        code: u16,
    ) {
        if let Some(response) = response
            && code == 422
            && let Ok(Some(min_se_s)) = response.number(HeaderName::MinSe, session::EXPIRES_S_MAX)
            && min_se_s > leg.min_se_s
        {
            // RFC 4028 section 7.3.
            leg.min_se_s = min_se_s;
            return self.call_again(turn, leg, false);
        }
        if self.challenged(turn.settings, leg, response) {
            return self.call_again(turn, leg, false);
        }
        let was_direct = leg.session.offered == Path::Direct;
        if matches!(code, 488 | 606 | 415) && was_direct {
            // Its phone knows none of the caller's codecs: we speak with both.
            return self.call_again(turn, leg, true);
        }
        let mut cause = Cause {
            status: code,
            q850: q850_of(code),
            text: String::new(),
        };
        if let Some(response) = response {
            cause.q850 = identity::q850_in(response).unwrap_or(cause.q850);
            cause.text = String::from_utf8_lossy(response.reason()).into_owned();
            if (300..400).contains(&code) {
                let contacts = response
                    .values(HeaderName::Contact)
                    .filter_map(|value| NameAddr::parse(value.bytes));
                let of = |contact: NameAddr<'_>| {
                    let party = identity::party_of_uri(contact.uri);
                    if party.host.is_empty() {
                        party.user
                    } else {
                        format!("{}@{}", party.user, party.host)
                    }
                };
                leg.contacts = contacts.map(of).take(CONTACTS_MAX).collect();
            }
        }
        leg.calling = None;
        self.ended(turn, leg, cause);
    }
}
