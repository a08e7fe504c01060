//! Transfers: REFER and the NOTIFYs that tell how it goes (RFC 3515, 3891, 4488).

use sip::{HeaderName, NameAddr, status, uri};
use transaction::layer::ServerKey;

use crate::call::Calls;
use crate::call::arrive::Ask;
use crate::call::identity;
use crate::call::leg::{Leg, Transfer};
use crate::call::reply::Purpose;
use crate::call::send::{push_header, write_contact};
use crate::call::state::State;
use crate::control::{Happening, LegId, Referral};
use crate::pbx::Turn;

/// Longest Replaces that is read, in bytes.
const REPLACES_BYTES_MAX: usize = 512;

impl Calls {
    /// REFER within a leg's dialog.
    pub(crate) fn refer_came(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
        id: LegId,
    ) {
        let request = ask.request;
        let target = request
            .single(HeaderName::ReferTo)
            .ok()
            .and_then(NameAddr::parse);
        let uri = target.and_then(|target| target.parse_uri().ok());
        let is_busy = self
            .legs
            .get(&id)
            .is_none_or(|leg| leg.transfer.is_some() || leg.state != State::Confirmed);
        let Some(uri) = uri.filter(|uri| uri.is_sip() || uri.scheme == sip::Scheme::Tel) else {
            return self.answer(turn, ask, key, 400, None, None);
        };
        if is_busy {
            return self.answer(turn, ask, key, 491, None, None);
        }
        let method = uri.params.value(b"method").unwrap_or(b"INVITE");
        if method != b"INVITE" {
            return self.answer(turn, ask, key, 603, None, None);
        }
        let mut referral = Referral {
            referred_by: identity::referred_by(request),
            ..Referral::default()
        };
        let replaces = match replaces_in(uri.headers.unwrap_or_default()) {
            None => None,
            Some(value) => match self.find_replaced(turn, &value) {
                Some(other) if other == id => {
                    return self.answer(turn, ask, key, 481, None, None);
                }
                Some(other) => Some(other),
                None => {
                    // Another PBX has the call to be joined: it is asked, through the edge (RFC 5589 section 7).
                    let Some(value) = plain(value) else {
                        return self.answer(turn, ask, key, 400, None, None);
                    };
                    referral.replaces = value;
                    None
                }
            },
        };
        let party = identity::party_of_uri(uri.bytes);
        let is_ours = turn.settings.is_ours(&party.host)
            || party.host == turn.settings.advertised.to_string();
        let is_here = uri.host.address == Some(turn.settings.advertised)
            && uri.port.is_none_or(|port| port == ask.back.local.port());
        if !referral.replaces.is_empty() {
            if is_here {
                // No dialog of ours has these tags (RFC 3891 section 3).
                return self.answer(turn, ask, key, 481, None, None);
            }
            // The host is what is judged: another address behind it (RFC 3261 section 19.1.1) would be another host.
            if uri.params.has(b"maddr") {
                return self.answer(turn, ask, key, 403, None, None);
            }
            referral.uri = bare(uri.bytes);
            let address = uri.host.address;
            referral.is_near =
                address.is_some_and(|address| turn.settings.trusted.contains(&address));
        }
        let target = if is_ours && (referral.replaces.is_empty() || !party.user.is_empty()) {
            party.user
        } else {
            format!("{}@{}", party.user, party.host)
        };
        let is_told = !request.all_fields().any(|field| {
            field.name_bytes.eq_ignore_ascii_case(b"Refer-Sub")
                && field.value.eq_ignore_ascii_case(b"false")
        });
        if !is_told {
            self.extra.extend_from_slice(b"Refer-Sub: false\r\n");
        }
        write_contact(turn.settings, ask.back, &mut self.extra);
        self.answer(turn, ask, key, 202, None, None);
        let number = ask.envelope.cseq.number;
        self.with(id, |calls, leg| {
            leg.transfer = Some(Transfer {
                id: number,
                is_told,
            });
            calls.tell_transfer(turn, leg, 100);
        });
        self.tell(Happening::TransferTo {
            leg: id,
            target,
            replaces,
            referral,
        });
    }

    /// Tells who asked for a transfer how it goes; a final status is the last word.
    pub(crate) fn tell_transfer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, code: u16) {
        let Some(transfer) = leg.transfer.clone() else {
            return;
        };
        if code >= 200 {
            leg.transfer = None;
        }
        if !transfer.is_told || !matches!(leg.state, State::Confirmed) {
            return;
        }
        self.extra.clear();
        write_contact(turn.settings, leg.flow, &mut self.extra);
        push_header(
            &mut self.extra,
            "Event",
            format!("refer;id={}", transfer.id).as_bytes(),
        );
        let state: &[u8] = match code {
            100..200 => b"active;expires=180",
            _ => b"terminated;reason=noresource",
        };
        push_header(&mut self.extra, "Subscription-State", state);
        let body = format!("SIP/2.0 {code} {}\r\n", status::reason(code));
        let cseq = leg.dialog.next_cseq();
        let body = Some(("message/sipfrag;version=2.0", body.as_bytes()));
        self.request(
            turn,
            (&leg.dialog, leg.flow),
            ("NOTIFY", cseq),
            Purpose::Told { leg: leg.id },
            body,
        );
    }

    /// A leg ends while its transfer is under way.
    pub(crate) fn end_transfer(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, code: u16) {
        if leg.transfer.is_some() {
            self.tell_transfer(turn, leg, code);
        }
        leg.transfer = None;
    }
}

/// The Replaces among the headers of a URI, unescaped.
fn replaces_in(headers: &[u8]) -> Option<Vec<u8>> {
    headers.split(|&byte| byte == b'&').find_map(|header| {
        let at = header.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&header[..at], &header[at + 1..]);
        let is_it = name.eq_ignore_ascii_case(b"replaces") && value.len() <= REPLACES_BYTES_MAX;
        is_it.then(|| uri::unescaped(value).collect())
    })
}

/// A header's value as text, if it can be sent as one.
fn plain(value: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(value).ok()?;
    (!text.bytes().any(|byte| byte.is_ascii_control())).then_some(text)
}

/// A URI as a Request-URI: without headers (RFC 3261 section 19.1.5).
fn bare(uri: &[u8]) -> String {
    let end = uri.iter().position(|&byte| byte == b'?');
    String::from_utf8_lossy(&uri[..end.unwrap_or(uri.len())]).into_owned()
}
