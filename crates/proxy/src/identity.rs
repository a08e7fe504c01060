//! Identities that trusted parties assert of others (RFC 3325): whose word counts, and who hears of them.

use sip::{HeaderName, Message, Splices, lex};
use transaction::Flow;

use crate::proxy::{Network, Surroundings};

/// What only a trusted peer may say (section 5), and what others would have us say of them (section 6).
const IDENTITIES: [HeaderName; 2] = [
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
];

/// Words of Privacy by which a user keeps the identity from who is not trusted: `id` (section 7), and those that ask for
/// more (RFC 3323 section 4.2).
const PRIVATE: [&[u8]; 3] = [b"id", b"header", b"user"];

/// Takes out the identities that a message brings.
pub fn remove_identities(message: &Message<'_>, splices: &mut Splices) {
    for name in IDENTITIES {
        for field in message.fields(name) {
            splices.remove(field.line);
        }
    }
}

/// Whether a message brings an identity at all: most do not, and need no further look.
fn has_identity(message: &Message<'_>) -> bool {
    IDENTITIES.into_iter().any(|name| message.has(name))
}

/// Whether a message asks to keep who sent it from who is not trusted.
fn is_private(message: &Message<'_>) -> bool {
    message
        .fields(HeaderName::Privacy)
        .flat_map(|field| field.value.split(|&byte| byte == b';'))
        .map(lex::trim)
        .any(|word| PRIVATE.iter().any(|it| word.eq_ignore_ascii_case(it)))
}

impl<N: Network> Surroundings<'_, N> {
    /// Whether who is reached by a flow is of the trust domain: the operator says so, or it is a media server of ours.
    fn is_trusted(&mut self, flow: &Flow) -> bool {
        let address = flow.remote.ip();
        self.trusted.iter().any(|net| net.contains(&address)) || self.network.is_target(flow)
    }

    /// Takes the identity out of a request to `to` that keeps it from who is not trusted. Whether its sender is believed was judged
    /// when it came. Without Privacy it goes to everybody: phones show it (section 7 recommends that).
    pub(crate) fn keep_identity(
        &mut self,
        request: &Message<'_>,
        to: &Flow,
        splices: &mut Splices,
    ) {
        if has_identity(request) && is_private(request) && !self.is_trusted(to) {
            remove_identities(request, splices);
        }
    }

    /// The same for a response, and takes out what it says if nobody trusted answers. An end that is not known any more is none.
    pub(crate) fn judge_identity(
        &mut self,
        response: &Message<'_>,
        (from, to): (Option<Flow>, Option<Flow>),
        splices: &mut Splices,
    ) {
        if !has_identity(response) {
            return;
        }
        let mut is_trusted = |flow: Option<Flow>| flow.is_some_and(|flow| self.is_trusted(&flow));
        if !is_trusted(from) || is_private(response) && !is_trusted(to) {
            remove_identities(response, splices);
        }
    }
}
