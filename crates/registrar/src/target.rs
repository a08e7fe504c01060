//! Where a request for a user may go.

use sip::Uri;
use transaction::Flow;

use crate::location::Location;
use crate::record::BindingView;

/// A contact that a request may be sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BindingTarget<'a> {
    /// The store's number of the binding.
    pub id: u64,
    /// The Request-URI: the contact without what may not stand there (RFC 3261 section 19.1.1).
    pub uri: &'a [u8],
    /// Values for Route, joined with `, `; empty if none (RFC 3327).
    pub path: &'a [u8],
    /// Where to send when the URI does not decide.
    pub flow: Option<Flow>,
    /// Preference in thousandths, the highest first; 1000 where none was sent.
    pub q: u16,
    /// Another way to the instance of a target that is not an alternate: to be tried only when that
    /// one's flow has failed (RFC 5626 section 5.3).
    pub alternate: bool,
}

impl std::fmt::Debug for BindingTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindingTarget")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Shows the contacts of `aor` that are in force and that SIP can reach, the oldest first; the order
/// by q is left to the caller (RFC 3261 section 16.6). Contacts of other schemes are passed over.
pub fn targets<'a>(
    location: &'a Location,
    aor: &[u8],
    now_unix_s: u64,
    visit: impl FnMut(BindingTarget<'a>),
) {
    targets_over(location, aor, now_unix_s, |_| true, visit);
}

/// As [`targets`], for who knows which flows are open: one that is not gives way to another flow of
/// the same instance (RFC 5626 section 5.3).
pub fn targets_over<'a>(
    location: &'a Location,
    aor: &[u8],
    now_unix_s: u64,
    is_open: impl Fn(&Flow) -> bool,
    mut visit: impl FnMut(BindingTarget<'a>),
) {
    let live = location.lookup(aor, now_unix_s);
    for binding in live.clone() {
        let contact = binding.contact();
        let Ok(uri) = Uri::parse(contact) else {
            continue;
        };
        if !uri.is_sip() {
            continue;
        }
        let headers = uri.headers.map_or(0, |headers| headers.len() + 1);
        visit(BindingTarget {
            id: binding.id(),
            uri: &contact[..contact.len() - headers],
            path: binding.path(),
            flow: binding.use_flow().then(|| binding.flow()),
            q: binding.q_thousandths().unwrap_or(1000),
            alternate: live
                .clone()
                .any(|other| is_preferred(&other, &binding, &is_open)),
        });
    }
}

/// Whether `one` is an open or a fresher flow to the instance of `other`. After a restart, when it may not be
/// known which was refreshed last, it is the one that ends last.
fn is_preferred(
    one: &BindingView<'_>,
    other: &BindingView<'_>,
    is_open: impl Fn(&Flow) -> bool,
) -> bool {
    let freshness = |binding: &BindingView<'_>| {
        (
            is_open(&binding.flow()),
            binding.refreshed_at_unix_s(),
            binding.expires_at_unix_s(),
            binding.id(),
        )
    };
    one.reg_id().is_some()
        && other.reg_id().is_some()
        && one.instance() == other.instance()
        && freshness(one) > freshness(other)
}
