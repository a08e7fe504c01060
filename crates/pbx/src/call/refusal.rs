//! Records of calls that were refused before anybody looked at the dialplan.

use std::collections::VecDeque;

use crate::call::Calls;
use crate::call::arrive::Ask;
use crate::call::calls::cause_of;
use crate::call::identity;
use crate::control::{Cdr, LegRecord};
use crate::pbx::Turn;

/// Callers that are remembered: what they send again is the same call.
const CALLERS_MAX: usize = 256;

/// Records of refused calls in a second; a flood is counted ([`crate::Counts::refused_full`]), not written down.
pub(crate) const RECORDS_PER_S_MAX: u32 = 100;

/// Which refusals have records.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    callers: VecDeque<u64>,
    second: u64,
    in_second: u32,
}

impl Refusals {
    /// Whether a refusal is to have a record.
    fn take(&mut self, unix_ms: u64, caller_key: u64) -> bool {
        if self.callers.contains(&caller_key) {
            return false;
        }
        if self.second != unix_ms / 1_000 {
            (self.second, self.in_second) = (unix_ms / 1_000, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        if self.in_second > RECORDS_PER_S_MAX {
            return false;
        }
        if self.callers.len() == CALLERS_MAX {
            self.callers.pop_front();
        }
        self.callers.push_back(caller_key);
        true
    }
}

impl Calls {
    /// Refuses a call, and writes it down.
    pub(crate) fn refuse_call(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        caller_key: u64,
        code: u16,
    ) {
        self.note_refusal(turn, ask, caller_key, code);
        self.refuse(turn, ask.request, ask.back, code);
    }

    /// Writes down that a call is refused.
    pub(crate) fn note_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        caller_key: u64,
        code: u16,
    ) {
        let unix_ms = turn.now.unix_ms;
        if !self.refusals.take(unix_ms, caller_key) {
            return;
        }
        let is_trusted = turn.settings.trusted.contains(&ask.flow.remote.ip());
        let (caller, _) = identity::caller(ask.request, is_trusted);
        let cause = cause_of(code, "");
        let leg = LegRecord {
            call_id: String::from_utf8_lossy(ask.envelope.call_id).into_owned(),
            party: caller.clone(),
            cause: cause.clone(),
            ..LegRecord::default()
        };
        turn.output.cdrs.push(Cdr {
            id: self.ids.issue(),
            caller,
            called: identity::party_of_uri(ask.request.request_uri()),
            began_unix_ms: unix_ms,
            ended_unix_ms: unix_ms,
            cause,
            legs: vec![leg],
            ..Cdr::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_noted_once_and_a_flood_is_not() {
        let mut refusals = Refusals::default();
        assert!(refusals.take(5_000, 1));
        assert!(!refusals.take(5_500, 1));
        let noted = (2..1_000u64).filter(|key| refusals.take(5_900, *key));
        assert_eq!(noted.count() as u32, RECORDS_PER_S_MAX - 1);
        assert!(refusals.take(6_000, 2_000));
        assert!(refusals.callers.len() <= CALLERS_MAX);
    }
}
