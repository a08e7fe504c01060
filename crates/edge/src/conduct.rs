//! What requests tell of their sources (see [`crate::sources`]), and whether there is room for them
//! (see [`crate::overload`]).

use std::net::IpAddr;

use sip::Method;
use sip::digest::{Credentials, NonceSource, NonceState};
use transaction::Flow;

use crate::auth::{self, Cause};
use crate::directory::Directory;
use crate::edge::{Edge, Input};
use crate::output::{BANS_MAX, Now, Output};
use crate::overload::Stage;
use crate::settings::Settings;
use crate::sources::{Ban, Charge, Offence};

/// Bits of a nonce's number that say to which address it was given.
const MARK_BITS: u32 = 24;

/// The number of a nonce for an address: that of the directory in the upper bits, a keyed mark of the address in
/// the lower ones.
pub(crate) fn nonce_number(nonces: &NonceSource, unique: u64, address: IpAddr) -> u64 {
    unique << MARK_BITS | mark(nonces, address)
}

/// Whether a nonce is good and was given to this address: who uses it receives what is sent there.
pub(crate) fn is_nonce_of(
    nonces: &NonceSource,
    now_ms: u64,
    nonce: &[u8],
    address: IpAddr,
) -> bool {
    match nonces.check(now_ms, nonce) {
        NonceState::Fresh(nonce) => {
            nonce.unique() & ((1 << MARK_BITS) - 1) == mark(nonces, address)
        }
        NonceState::Stale | NonceState::Forged => false,
    }
}

fn mark(nonces: &NonceSource, address: IpAddr) -> u64 {
    let address = match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    nonces.mark(&address.octets()) >> (64 - MARK_BITS)
}

impl Edge {
    /// Whether a request outside dialogs is within the rate of its source; if not, it has been answered.
    pub(crate) fn is_within_rate<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        directory: &mut D,
        output: &mut Output,
    ) -> bool {
        if is_spared(input.settings, &input.flow, directory) {
            return true;
        }
        let limits = &input.settings.sources;
        let charge = directory.sources(input.flow.remote.ip(), |sources| {
            sources.charge(limits, input.now.time, &input.flow)
        });
        let Some(Charge::Over(ban)) = charge else {
            return true;
        };
        self.counted.add("rate");
        self.note_ban(ban, output);
        self.refuse_for_now(input, output);
        false
    }

    /// Whether the edge can take on what a request begins; if not, it has been answered. Nobody has been asked for
    /// credentials yet. What a target of a pool begins is mostly the other half of a call that was let in: to turn that away would waste
    /// all that was done for it, and the target tells its caller that nobody can be reached.
    pub(crate) fn has_room<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        directory: &mut D,
        output: &mut Output,
    ) -> bool {
        let limits = &input.settings.overload;
        let is_call = input.request.method() == Some(Method::Invite);
        let is_too_much = self.throttle.is_refusing_at(input.now.time)
            && !directory.is_target(&input.flow)
            && !self.throttle.admits(stage_of(input));
        if is_too_much {
            self.counted.add("overload");
        } else if is_call
            && limits.calls_max > 0
            && self.calls_at_once(directory) >= limits.calls_max
        {
            self.counted.add("calls-max");
        } else {
            return true;
        }
        self.refuse_for_now(input, output);
        false
    }

    /// Whether a call or a registration that would be let in is within what the operator allows a second; if not,
    /// it has been answered.
    pub(crate) fn may_begin<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        directory: &mut D,
        output: &mut Output,
    ) -> bool {
        let (limits, time) = (&input.settings.overload, input.now.time);
        let (is_in, reason) = match input.request.method() {
            Some(Method::Invite) if limits.calls_per_s > 0 => {
                let is_in = directory.gate(|gate| gate.admits_call(limits, time));
                (is_in, "calls-per-s")
            }
            Some(Method::Register) if limits.registrations_per_s > 0 => {
                let is_in = directory.gate(|gate| gate.admits_registration(limits, time));
                (is_in, "registrations-per-s")
            }
            _ => return true,
        };
        if is_in.unwrap_or(true) {
            return true;
        }
        self.counted.add(reason);
        self.refuse_for_now(input, output);
        false
    }

    /// Calls on the node: those of this thread now, those of others when they said so last.
    fn calls_at_once<D: Directory>(&self, directory: &mut D) -> u32 {
        let (thread, calls) = (directory.thread(), self.proxy.calls.len() as u32);
        let all = directory.gate(|gate| gate.note_calls(thread, calls));
        all.unwrap_or(calls)
    }

    /// Tells other threads how many calls this one has, where that is limited.
    pub fn share_calls<D: Directory>(&self, settings: &Settings, directory: &mut D) {
        if settings.overload.calls_max > 0 {
            self.calls_at_once(directory);
        }
    }

    /// Notes an offence against who sent a request.
    pub(crate) fn offended<D: Directory>(
        &mut self,
        (settings, now, flow): (&Settings, Now, &Flow),
        (offence, is_proved): (Offence, bool),
        directory: &mut D,
        output: &mut Output,
    ) {
        if is_spared(settings, flow, directory) {
            return;
        }
        let ban = directory.sources(flow.remote.ip(), |sources| {
            sources.offended(&settings.sources, now.time, flow, offence, is_proved)
        });
        self.note_ban(ban.flatten(), output);
    }

    /// As [`Edge::offended`], for what anybody could have sent.
    pub(crate) fn annoyed<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        offence: Offence,
        directory: &mut D,
        output: &mut Output,
    ) {
        let at = (input.settings, input.now, &input.flow);
        self.offended(at, (offence, false), directory, output);
    }

    /// Notes why credentials were wanted.
    pub(crate) fn blame_challenged<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        cause: Cause,
        directory: &mut D,
        output: &mut Output,
    ) {
        let blame = match cause {
            Cause::Stale => return,
            Cause::Absent => (Offence::Challenged, false),
            Cause::Wrong { is_proved: true } => (Offence::Password, true),
            Cause::Wrong { is_proved: false } => (Offence::Credentials, false),
        };
        let at = (input.settings, input.now, &input.flow);
        self.offended(at, blame, directory, output);
    }

    /// Notes that the credentials of a request were right.
    pub(crate) fn trusts<D: Directory>(&mut self, input: &Input<'_, '_>, directory: &mut D) {
        directory.sources(input.flow.remote.ip(), |sources| {
            sources.authenticated(input.now.time, &input.flow);
        });
    }

    fn note_ban(&mut self, ban: Option<Ban>, output: &mut Output) {
        let Some(ban) = ban else { return };
        if output.bans.len() < BANS_MAX {
            output.bans.push(ban);
        }
    }
}

/// Whether a request answers a challenge that we gave to its source.
fn stage_of(input: &Input<'_, '_>) -> Stage {
    let (settings, address) = (input.settings, input.flow.remote.ip());
    let answers = [auth::PROXY, auth::REGISTRAR].iter().any(|place| {
        let mut fields = input.request.fields(place.credentials);
        fields.any(|field| {
            Credentials::parse(field.value).is_ok_and(|credentials| {
                let nonce = credentials.nonce().as_sent();
                is_nonce_of(&settings.auth.nonces, input.now.unix_ms, nonce, address)
            })
        })
    });
    match answers {
        true => Stage::Challenged,
        false => Stage::Fresh,
    }
}

fn is_spared<D: Directory>(settings: &Settings, flow: &Flow, directory: &mut D) -> bool {
    settings.is_spared(flow.remote.ip()) || directory.is_target(flow)
}
