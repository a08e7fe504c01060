//! One REGISTER applied to the location table (RFC 3261 section 10.3).

use sip::{HeaderName, Message, lex};
use transaction::Flow;

use crate::contact::{Asked, Request, Wanted, names};
use crate::location::{AOR_BYTES_MAX, Location};
use crate::policy::Policy;
use crate::record::{self, BindingFields, BindingView};
use crate::refusal::Refusal;
use crate::reply::{Change, EventKind, Reply};

/// How long the end that the store holds must still be ahead for a refresh to be answered before it
/// is durable, in seconds.
pub const DURABLE_MARGIN_S: u64 = 10;

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'static str,
    /// Whether the answer waits until the changes are committed. If not, they may be written later.
    pub durable: bool,
    /// Why the request was refused, if it was; nothing has changed then.
    pub refusal: Option<Refusal>,
}

/// The option tags that are understood in Require.
const EXTENSIONS: [&[u8]; 2] = [b"path", b"outbound"];

/// Applies a REGISTER for `aor`, which came on `flow` at `now_unix_s` (seconds since the Unix epoch),
/// to `location`: RFC 3261 section 10.3 steps 2, 6, 7 and 8, RFC 3327 section 5.3, RFC 5626 section 6.
/// Either all of its contacts are bound or removed, or nothing changes. `ids` gives a number to each
/// new binding. The rest of the answer and what the store has to be told are left in `out`.
///
/// The caller has authenticated the request and checked that it may register `aor`, which is as
/// [`sip::Uri::push_aor`] writes it. Once the store has committed the changes it tells
/// [`Location::committed`]; until then every refresh is durable.
///
/// A repetition of the request that made a binding (same Call-ID, CSeq and contents) is answered
/// again and changes nothing.
#[expect(
    clippy::too_many_arguments,
    reason = "all of them are what one decision depends on"
)]
pub fn register(
    location: &mut Location,
    request: &Message<'_>,
    aor: &[u8],
    flow: &Flow,
    now_unix_s: u64,
    policy: &Policy,
    ids: &mut dyn FnMut() -> u64,
    out: &mut Reply,
) -> Outcome {
    out.clear();
    match attempt(location, request, aor, flow, now_unix_s, policy, ids, out) {
        Ok(durable) => Outcome {
            status: 200,
            reason: "OK",
            durable,
            refusal: None,
        },
        Err(refusal) => {
            out.clear();
            push_refusal_headers(refusal, request, &mut out.headers);
            let (status, reason) = refusal.status();
            Outcome {
                status,
                reason,
                durable: false,
                refusal: Some(refusal),
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "see `register`")]
fn attempt(
    location: &mut Location,
    message: &Message<'_>,
    aor: &[u8],
    flow: &Flow,
    now_unix_s: u64,
    policy: &Policy,
    ids: &mut dyn FnMut() -> u64,
    out: &mut Reply,
) -> Result<bool, Refusal> {
    if unknown_extensions(message).next().is_some() {
        return Err(Refusal::Extension);
    }
    if aor.len() > AOR_BYTES_MAX {
        let (header, size_bytes_max) = (HeaderName::To, AOR_BYTES_MAX);
        return Err(Refusal::TooLong {
            header,
            size_bytes_max,
        });
    }
    let request = Request::read(message, flow)?;
    request.read_path(policy, &mut out.path)?;
    let asked = request.read_contacts(policy, &mut out.wanted)?;
    let step = Step {
        request,
        aor,
        now_unix_s,
    };
    let old = location.record(aor);
    let durable = match asked {
        Asked::List => {
            push_list(record::bindings(old), now_unix_s, &mut out.headers);
            push_support(&step.request, out);
            return Ok(false);
        }
        Asked::RemoveAll => {
            step.check_remove_all(old)?;
            record::begin(aor, &mut out.record);
            step.remove_all(old, out)
        }
        Asked::Update => {
            step.match_all(old, out)?;
            step.check_count(old, policy, out)?;
            record::begin(aor, &mut out.record);
            step.update(old, ids, out)
        }
    };
    location.replace(&out.record);
    push_list(record::bindings(&out.record), now_unix_s, &mut out.headers);
    push_support(&step.request, out);
    Ok(durable)
}

/// One request at one time for one address.
struct Step<'a> {
    request: Request<'a>,
    aor: &'a [u8],
    now_unix_s: u64,
}

impl Step<'_> {
    /// Section 10.3 step 6: a binding of the same Call-ID goes only by a higher CSeq.
    fn check_remove_all(&self, old: &[u8]) -> Result<(), Refusal> {
        let is_stale = |binding: BindingView<'_>| {
            binding.is_live(self.now_unix_s)
                && binding.call_id() == self.request.call_id
                && binding.cseq() >= self.request.cseq
        };
        if record::bindings(old).any(is_stale) {
            Err(Refusal::OutOfOrder)
        } else {
            Ok(())
        }
    }

    fn remove_all(&self, old: &[u8], out: &mut Reply) -> bool {
        let mut durable = false;
        for binding in record::bindings(old) {
            durable |= self.remove(&binding, out);
        }
        durable
    }

    /// Notes that a binding goes. Returns whether that has to be durable: not if it had expired.
    fn remove(&self, binding: &BindingView<'_>, out: &mut Reply) -> bool {
        let is_live = binding.is_live(self.now_unix_s);
        let kind = if is_live {
            EventKind::Unregistered
        } else {
            EventKind::Expired
        };
        out.changes.push(Change::Delete { id: binding.id() });
        out.event(kind, binding.id(), binding.contact());
        is_live
    }

    /// Finds for each contact the binding that it is about, and checks their order (section 10.3
    /// step 7).
    fn match_all(&self, old: &[u8], out: &mut Reply) -> Result<(), Refusal> {
        let message = self.request.message;
        for at in 0..out.wanted.len() {
            let wanted = out.wanted[at];
            let free = |place: usize| {
                let place = Some(place as u16);
                !out.wanted[..at]
                    .iter()
                    .any(|earlier| earlier.matched == place)
            };
            let find = |same: &dyn Fn(&BindingView<'_>) -> bool| {
                record::bindings(old).enumerate().find(|(place, binding)| {
                    binding.is_live(self.now_unix_s) && same(binding) && free(*place)
                })
            };
            let found = find(&|binding| wanted.is_flow_of(binding, message))
                .or_else(|| {
                    find(&|binding| {
                        binding.reg_id().is_none() && wanted.is_uri_of(binding, message)
                    })
                })
                .or_else(|| {
                    find(&|binding| wanted.reg_id.is_none() && wanted.is_uri_of(binding, message))
                });
            let Some((place, binding)) = found else {
                continue;
            };
            let is_late =
                binding.call_id() == self.request.call_id && binding.cseq() >= self.request.cseq;
            if is_late && !self.is_repetition(&wanted, &binding) {
                return Err(Refusal::OutOfOrder);
            }
            out.wanted[at].matched = Some(place as u16);
        }
        Ok(())
    }

    /// Whether the request that made `binding` is here again: nothing in it is new, and it would not
    /// shorten anything. When it was made does not count, so that a repetition is known after a
    /// restart too, when it is the one whose answer was lost.
    fn is_repetition(&self, wanted: &Wanted, binding: &BindingView<'_>) -> bool {
        let message = self.request.message;
        binding.call_id() == self.request.call_id
            && binding.cseq() == self.request.cseq
            && wanted.granted_s > 0
            && binding.expires_at_unix_s() <= self.now_unix_s + u64::from(wanted.granted_s)
            && wanted.uri(message) == binding.contact()
            && wanted.instance(message) == binding.instance()
            && wanted.reg_id == binding.reg_id()
            && wanted.q_thousandths == binding.q_thousandths()
    }

    /// Only a request that adds bindings can be one too many.
    fn check_count(&self, old: &[u8], policy: &Policy, out: &Reply) -> Result<(), Refusal> {
        let count = |is_counted: fn(&Wanted) -> bool| {
            out.wanted
                .iter()
                .filter(|wanted| is_counted(wanted))
                .count()
        };
        let live = record::bindings(old)
            .filter(|binding| binding.is_live(self.now_unix_s))
            .count();
        let added = count(|wanted| wanted.matched.is_none() && wanted.granted_s > 0);
        let removed = count(|wanted| wanted.matched.is_some() && wanted.granted_s == 0);
        let bindings_max = policy.bindings_per_aor_max;
        if added > 0 && live + added - removed > usize::from(bindings_max) {
            return Err(Refusal::TooManyBindings { bindings_max });
        }
        Ok(())
    }

    /// Writes the new record and notes what changes. Returns whether any of it has to be durable.
    fn update(&self, old: &[u8], ids: &mut dyn FnMut() -> u64, out: &mut Reply) -> bool {
        let mut durable = false;
        for (place, binding) in record::bindings(old).enumerate() {
            let matched = Some(place as u16);
            let wanted = out
                .wanted
                .iter()
                .copied()
                .find(|wanted| wanted.matched == matched);
            durable |= match wanted {
                _ if !binding.is_live(self.now_unix_s) => self.remove(&binding, out),
                None => {
                    out.record.extend_from_slice(binding.as_bytes());
                    false
                }
                Some(wanted) if wanted.granted_s == 0 => self.remove(&binding, out),
                Some(wanted) => self.renew(&binding, &wanted, out),
            };
        }
        for at in 0..out.wanted.len() {
            let wanted = out.wanted[at];
            if wanted.matched.is_some() || wanted.granted_s == 0 {
                continue;
            }
            let path = std::mem::take(&mut out.path);
            let fields = self.fields(ids(), &wanted, &path);
            record::push(&fields, &mut out.record);
            out.put(self.aor, &fields);
            out.event(EventKind::Registered, fields.id, fields.contact);
            out.path = path;
            durable = true;
        }
        durable
    }

    fn fields<'b>(&'b self, id: u64, wanted: &Wanted, path: &'b [u8]) -> BindingFields<'b> {
        let request = &self.request;
        BindingFields {
            id,
            contact: wanted.uri(request.message),
            q_thousandths: wanted.q_thousandths,
            expires_at_unix_s: self.now_unix_s + u64::from(wanted.granted_s),
            durable_expires_at_unix_s: 0,
            refreshed_at_unix_s: self.now_unix_s,
            flow: request.flow,
            behind_nat: wanted.behind_nat,
            use_flow: wanted.use_flow,
            path,
            instance: wanted.instance(request.message),
            reg_id: wanted.reg_id,
            call_id: request.call_id,
            cseq: request.cseq,
            user_agent: request.user_agent,
        }
    }

    /// Renews a binding. Where only its end and the request's numbers are new the row is refreshed,
    /// which waits for the store if that might forget the binding too early or too late.
    fn renew(&self, binding: &BindingView<'_>, wanted: &Wanted, out: &mut Reply) -> bool {
        let before = binding.fields();
        let durable_unix_s = before.durable_expires_at_unix_s;
        if durable_unix_s > 0 && self.is_repetition(wanted, binding) {
            out.record.extend_from_slice(binding.as_bytes());
            return false;
        }
        let path = std::mem::take(&mut out.path);
        let mut after = self.fields(before.id, wanted, &path);
        let is_refresh = durable_unix_s > 0 && same_but_for_time(&before, &after);
        let durable = if is_refresh {
            after.durable_expires_at_unix_s = durable_unix_s;
            out.changes.push(Change::Refresh {
                id: after.id,
                expires_at_unix_s: after.expires_at_unix_s,
                call_id: (before.call_id != after.call_id).then(|| after.call_id.into()),
                cseq: after.cseq,
            });
            durable_unix_s < self.now_unix_s + DURABLE_MARGIN_S
                || after.expires_at_unix_s < durable_unix_s
        } else {
            out.put(self.aor, &after);
            true
        };
        record::push(&after, &mut out.record);
        out.event(EventKind::Refreshed, after.id, after.contact);
        out.path = path;
        durable
    }
}

/// Whether a binding differs only in when it ends and which request said so.
fn same_but_for_time(before: &BindingFields<'_>, after: &BindingFields<'_>) -> bool {
    let timeless = |fields: &BindingFields<'_>| {
        (
            fields.q_thousandths,
            // Where it came from matters where requests go that way.
            fields.use_flow.then_some(fields.flow),
            fields.use_flow,
            fields.behind_nat,
            fields.reg_id,
        )
    };
    timeless(before) == timeless(after)
        && before.contact == after.contact
        && before.path == after.path
        && before.instance == after.instance
        && before.user_agent == after.user_agent
}

fn unknown_extensions<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a [u8]> {
    message
        .values(HeaderName::Require)
        .map(|value| value.bytes)
        .filter(|tag| {
            !tag.is_empty()
                && !EXTENSIONS
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(tag))
        })
}

fn push_refusal_headers(refusal: Refusal, message: &Message<'_>, out: &mut Vec<u8>) {
    match refusal {
        Refusal::IntervalTooBrief { expires_min_s } => {
            out.extend_from_slice(b"Min-Expires: ");
            lex::push_number(out, u64::from(expires_min_s));
            out.extend_from_slice(b"\r\n");
        }
        // Tags that are no tokens are not sent back.
        Refusal::Extension => {
            for tag in unknown_extensions(message).filter(|tag| lex::is_token_all(tag)) {
                out.extend_from_slice(b"Unsupported: ");
                out.extend_from_slice(tag);
                out.extend_from_slice(b"\r\n");
            }
        }
        // RFC 3327 section 5.3: the client has to support it; there is nothing it could drop.
        Refusal::PathUnsupported => out.extend_from_slice(b"Unsupported: path\r\n"),
        _ => {}
    }
}

/// Section 10.3 step 8: all bindings in force, each with what is left of its time.
fn push_list<'a>(
    bindings: impl Iterator<Item = BindingView<'a>>,
    now_unix_s: u64,
    out: &mut Vec<u8>,
) {
    for binding in bindings.filter(|binding| binding.is_live(now_unix_s)) {
        out.extend_from_slice(b"Contact: <");
        out.extend_from_slice(binding.contact());
        out.extend_from_slice(b">;expires=");
        lex::push_number(out, binding.expires_at_unix_s() - now_unix_s);
        if let Some(q) = binding.q_thousandths() {
            push_q(q, out);
        }
        if !binding.instance().is_empty() {
            out.extend_from_slice(b";+sip.instance=");
            out.extend_from_slice(binding.instance());
        }
        if let Some(reg_id) = binding.reg_id() {
            out.extend_from_slice(b";reg-id=");
            lex::push_number(out, u64::from(reg_id));
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn push_q(q_thousandths: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b";q=");
    lex::push_number(out, u64::from(q_thousandths / 1000));
    let mut rest = q_thousandths % 1000;
    if rest > 0 {
        out.push(b'.');
    }
    let mut unit = 100;
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

/// The path as it was taken (RFC 3327 section 5.3), what is supported, and that outbound was used
/// (RFC 5626 section 6).
fn push_support(request: &Request<'_>, out: &mut Reply) {
    if !out.path.is_empty() {
        out.headers.extend_from_slice(b"Path: ");
        out.headers.extend_from_slice(&out.path);
        out.headers.extend_from_slice(b"\r\n");
    }
    let uses_outbound = out.wanted.iter().any(|wanted| wanted.reg_id.is_some());
    if uses_outbound && request.supports_outbound {
        out.headers.extend_from_slice(b"Require: outbound\r\n");
    }
    if names(request.message, HeaderName::Require, b"outbound")
        || request.supports_outbound
        || !out.path.is_empty()
    {
        out.headers
            .extend_from_slice(b"Supported: path, outbound\r\n");
    }
}
