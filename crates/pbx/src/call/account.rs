//! Credentials for hosts that ask for some: trunks (RFC 3261 section 22).

use dialog::challenge::{Challenge, Who};
use sip::Message;

use crate::call::Calls;
use crate::call::leg::Leg;
use crate::settings::Settings;

/// Who we are to a host. A call without a number goes where a transfer pointed to (RFC 5589 section 7): its URI is a phone's word, and may lead
/// elsewhere than its host says (`maddr`).
fn account<'s>(settings: &'s Settings, leg: &Leg) -> Option<&'s crate::settings::Account> {
    let party = &leg.party;
    let is_dialled = !leg.is_incoming && !party.user.is_empty();
    settings
        .accounts
        .iter()
        .find(|account| is_dialled && account.host.eq_ignore_ascii_case(&party.host))
}

impl Calls {
    /// Takes a challenge; whether the request is to be sent again with credentials. The same challenge a second time says that ours are not
    /// taken (section 22.1).
    pub(crate) fn challenged(
        &mut self,
        settings: &Settings,
        leg: &mut Leg,
        response: Option<&Message<'_>>,
    ) -> bool {
        let Some(challenge) = response.and_then(Challenge::of) else {
            return false;
        };
        let before = leg.challenge.as_ref();
        if account(settings, leg).is_none() || before.is_some_and(|one| one.is_like(&challenge)) {
            return false;
        }
        leg.challenges = leg.challenges.saturating_add(1);
        leg.challenge = Some(challenge);
        leg.challenges <= CHALLENGES_MAX
    }

    /// Adds the credentials of a request, if its host asks for some.
    pub(crate) fn push_credentials(&mut self, settings: &Settings, leg: &mut Leg, method: &str) {
        let Some(account) = account(settings, leg) else {
            return;
        };
        let number = u64::from(leg.dialog.local_cseq);
        let unique = self.hidden(b'n', leg.id.0 ^ number << 32);
        let who = Who {
            user: account.user.as_bytes(),
            password: account.password.as_bytes(),
            unique,
        };
        let uri = leg.dialog.target.clone();
        if let Some(challenge) = leg.challenge.as_mut() {
            challenge.write(who, method.as_bytes(), &uri, &mut self.extra);
        }
    }
}

/// How often in a row other credentials are asked for before a host is believed to take none.
const CHALLENGES_MAX: u8 = 3;
