//! What a REGISTER asks for: its contacts, intervals and path, read and checked.

use sip::{Defect, HeaderName, Message, NameAddr, Span, Uri, lex};
use transaction::Flow;

use crate::policy::Policy;
use crate::record::{BindingView, CALL_ID_BYTES_MAX, USER_AGENT_BYTES_MAX};
use crate::refusal::Refusal;

/// Most contacts of one request that are looked at.
pub const CONTACTS_IN_REQUEST_MAX: usize = 64;
/// Longest contact URI, in bytes.
pub const CONTACT_BYTES_MAX: usize = 1_024;
/// Longest path of a binding, in bytes.
pub const PATH_BYTES_MAX: usize = 2_048;
/// Longest `+sip.instance`, in bytes.
pub const INSTANCE_BYTES_MAX: usize = 255;
/// What an interval that cannot be read stands for, in seconds (RFC 3261 section 10.2.1.1).
pub const MALFORMED_EXPIRES_S: u32 = 3_600;

/// From this interval on nothing is too brief, in seconds (section 10.3 step 7).
const BRIEF_BELOW_S: u32 = 3_600;

/// One contact of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    uri: Span,
    instance: Span,
    /// `reg-id`, where outbound processing applies to it (RFC 5626 section 6).
    pub(crate) reg_id: Option<u32>,
    pub(crate) q_thousandths: Option<u16>,
    /// The interval granted, in seconds; 0 removes.
    pub(crate) granted_s: u32,
    pub(crate) behind_nat: bool,
    pub(crate) use_flow: bool,
    /// Which binding of the record it is for, by position.
    pub(crate) matched: Option<u16>,
}

/// What the contacts of a REGISTER amount to (section 10.3 step 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// No contact: a list of the bindings.
    List,
    /// `*`: everything is to go.
    RemoveAll,
    /// The contacts in [`crate::Reply`].
    Update,
}

/// A REGISTER with what is asked of it again and again.
pub(crate) struct Request<'a> {
    pub(crate) message: &'a Message<'a>,
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    pub(crate) flow: Flow,
    pub(crate) user_agent: &'a [u8],
    /// Whether the client supports outbound (RFC 5626).
    pub(crate) supports_outbound: bool,
    /// Whether nobody stands between the client and us that says so in Via.
    first_hop: bool,
    /// Whether the request has a path.
    has_path: bool,
    /// Whether flows to the client last (RFC 5626 section 6).
    outbound_applies: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn read(message: &'a Message<'a>, flow: &Flow) -> Result<Request<'a>, Refusal> {
        let call_id = message.call_id()?;
        if call_id.len() > CALL_ID_BYTES_MAX {
            let size_bytes_max = CALL_ID_BYTES_MAX;
            return Err(Refusal::TooLong {
                header: HeaderName::CallId,
                size_bytes_max,
            });
        }
        let user_agent = message.header(HeaderName::UserAgent).unwrap_or_default();
        let first_hop = message.values(HeaderName::Via).nth(1).is_none();
        let has_path = message.has(HeaderName::Path);
        Ok(Request {
            message,
            call_id,
            cseq: message.cseq()?.number,
            flow: crate::record::plain(flow),
            user_agent: &user_agent[..user_agent.len().min(USER_AGENT_BYTES_MAX)],
            supports_outbound: names(message, HeaderName::Supported, b"outbound"),
            first_hop,
            has_path,
            outbound_applies: first_hop || edge_proxy_keeps_flows(message),
        })
    }

    /// Reads the path into `out` (RFC 3327 section 5.3).
    pub(crate) fn read_path(&self, policy: &Policy, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if !self.has_path {
            return Ok(());
        }
        if policy.path_needs_support && !names(self.message, HeaderName::Supported, b"path") {
            return Err(Refusal::PathUnsupported);
        }
        for value in self.message.values(HeaderName::Path) {
            let is_sip = NameAddr::parse(value.bytes)
                .and_then(|path| path.parse_uri().ok())
                .is_some_and(|uri| uri.is_sip());
            if !is_sip {
                return Err(Defect::Malformed(HeaderName::Path).into());
            }
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            // A fold would end the line in which the path is sent back.
            out.extend(
                value
                    .bytes
                    .iter()
                    .map(|&byte| if lex::is_lws(byte) { b' ' } else { byte }),
            );
            if out.len() > PATH_BYTES_MAX {
                let size_bytes_max = PATH_BYTES_MAX;
                return Err(Refusal::TooLong {
                    header: HeaderName::Path,
                    size_bytes_max,
                });
            }
        }
        Ok(())
    }

    /// Reads the contacts into `out`; of two that mean the same binding the later one counts.
    pub(crate) fn read_contacts(
        &self,
        policy: &Policy,
        out: &mut Vec<Wanted>,
    ) -> Result<Asked, Refusal> {
        let message = self.message;
        if !message.has(HeaderName::Contact) {
            return Ok(Asked::List);
        }
        let expires = match message.single(HeaderName::Expires) {
            Ok(value) => Some(interval(value)),
            Err(Defect::Missing(_)) => None,
            Err(defect) => return Err(defect.into()),
        };
        if message
            .values(HeaderName::Contact)
            .any(|value| value.bytes == b"*")
        {
            let is_alone = message.values(HeaderName::Contact).nth(1).is_none();
            // A time that cannot be read is no zero.
            let is_zero = expires == Some(0);
            return if is_alone && is_zero {
                Ok(Asked::RemoveAll)
            } else {
                Err(Refusal::Wildcard)
            };
        }
        for (count, value) in message.values(HeaderName::Contact).enumerate() {
            if count == CONTACTS_IN_REQUEST_MAX {
                let contacts_max = CONTACTS_IN_REQUEST_MAX;
                return Err(Refusal::TooManyContacts { contacts_max });
            }
            let wanted = self.contact(value.bytes, expires, policy)?;
            match out
                .iter()
                .position(|earlier| earlier.same_as(&wanted, message))
            {
                Some(at) => out[at] = wanted,
                None => out.push(wanted),
            }
        }
        let bound = out.iter().filter(|wanted| wanted.granted_s > 0);
        if bound.clone().count() > 1 && bound.clone().any(|wanted| wanted.reg_id.is_some()) {
            return Err(Refusal::SeveralFlows);
        }
        Ok(Asked::Update)
    }

    fn contact(
        &self,
        bytes: &'a [u8],
        expires: Option<u32>,
        policy: &Policy,
    ) -> Result<Wanted, Refusal> {
        let malformed = Defect::Malformed(HeaderName::Contact);
        let contact = NameAddr::parse(bytes).ok_or(malformed)?;
        let uri = contact.parse_uri().map_err(|_| malformed)?;
        let instance = match contact.params.value(b"+sip.instance") {
            Some(value) if !is_plain_quoted(value) => return Err(malformed.into()),
            Some(value) => value,
            None => &[],
        };
        if uri.bytes.len() > CONTACT_BYTES_MAX || instance.len() > INSTANCE_BYTES_MAX {
            let size_bytes_max = CONTACT_BYTES_MAX;
            return Err(Refusal::TooLong {
                header: HeaderName::Contact,
                size_bytes_max,
            });
        }
        let q = contact.q().ok_or(malformed)?;
        let behind_nat = self.comes_from_elsewhere(&uri);
        let buffer = self.message.buffer();
        Ok(Wanted {
            uri: Span::within(buffer, uri.bytes),
            instance: if instance.is_empty() {
                Span::default()
            } else {
                Span::within(buffer, instance)
            },
            reg_id: self.reg_id(&contact)?.filter(|_| !instance.is_empty()),
            q_thousandths: contact.params.has(b"q").then_some(q),
            granted_s: granted(&contact, expires, policy)?,
            behind_nat,
            // With a path the next hop is its first value; behind another proxy without a path, the
            // flow is that proxy's and the contact is all there is.
            use_flow: self.first_hop
                && !self.has_path
                && uri.is_sip()
                && (behind_nat || self.flow.transport.is_reliable()),
            matched: None,
        })
    }

    /// The `reg-id` of a contact, if outbound processing applies (RFC 5626 section 6).
    fn reg_id(&self, contact: &NameAddr<'_>) -> Result<Option<u32>, Refusal> {
        let Some(value) = contact.params.find(b"reg-id") else {
            return Ok(None);
        };
        if !self.outbound_applies {
            if self.supports_outbound {
                return Err(Refusal::FirstHopLacksOutbound);
            }
            return Ok(None);
        }
        // Section 9: 1 to 2**31 - 1.
        match value.and_then(|value| lex::number(value, i32::MAX as u32)) {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(Defect::Malformed(HeaderName::Contact).into()),
        }
    }

    /// Whether a contact names another address than the request came from. Another port of the same host
    /// is believed when the sender knows its own port, as the Via shows: a phone may receive elsewhere
    /// than it sends from. One whose Via names another port than the request came from is behind a NAT
    /// that changes ports.
    fn comes_from_elsewhere(&self, uri: &Uri<'_>) -> bool {
        let source = self.flow.remote;
        let same_host = uri
            .host
            .address
            .is_some_and(|ip| ip.to_canonical() == source.ip().to_canonical());
        let knows_its_port = || {
            let via = self.message.via().ok();
            via.is_some_and(|via| {
                via.port.unwrap_or(5060) == source.port()
                    && via.host.address.map(|ip| ip.to_canonical())
                        == Some(source.ip().to_canonical())
            })
        };
        // The port of a stream is that of the connection, not one to connect to.
        let same_port = self.flow.transport.is_reliable()
            || uri.port_or_default() == source.port()
            || knows_its_port();
        self.first_hop && uri.is_sip() && !(same_host && same_port)
    }
}

impl Wanted {
    pub(crate) fn uri<'a>(&self, message: &Message<'a>) -> &'a [u8] {
        self.uri.of(message.buffer())
    }

    pub(crate) fn instance<'a>(&self, message: &Message<'a>) -> &'a [u8] {
        self.instance.of(message.buffer())
    }

    /// Whether two contacts of one request mean the same binding.
    fn same_as(&self, other: &Wanted, message: &Message<'_>) -> bool {
        if self.reg_id.is_some() || other.reg_id.is_some() {
            return self.reg_id == other.reg_id
                && self.instance(message) == other.instance(message);
        }
        same_uri(self.uri(message), other.uri(message))
    }

    /// Whether this contact is of the flow that a binding has (RFC 5626 section 6).
    pub(crate) fn is_flow_of(&self, binding: &BindingView<'_>, message: &Message<'_>) -> bool {
        self.reg_id.is_some()
            && self.reg_id == binding.reg_id()
            && self.instance(message) == binding.instance()
    }

    /// Whether this contact has the URI of a binding (RFC 3261 section 10.3 step 7).
    pub(crate) fn is_uri_of(&self, binding: &BindingView<'_>, message: &Message<'_>) -> bool {
        same_uri(self.uri(message), binding.contact())
    }
}

fn same_uri(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => one.equivalent(&other),
        _ => false,
    }
}

/// Whether a list header of option tags names `tag`.
pub(crate) fn names(message: &Message<'_>, header: HeaderName, tag: &[u8]) -> bool {
    message
        .values(header)
        .any(|value| value.bytes.eq_ignore_ascii_case(tag))
}

/// Whether the proxy nearest to the client, whose Path value is the last, keeps flows: its URI has
/// `ob` (RFC 5626 section 6; "first" there is the first that was put in).
fn edge_proxy_keeps_flows(message: &Message<'_>) -> bool {
    message
        .values(HeaderName::Path)
        .last()
        .and_then(|value| NameAddr::parse(value.bytes))
        .and_then(|path| path.parse_uri().ok())
        .is_some_and(|uri| uri.params.has(b"ob"))
}

/// Whether `value` is a quoted string that can be sent back on one line.
fn is_plain_quoted(value: &[u8]) -> bool {
    value.starts_with(b"\"")
        && lex::quoted_end(value, 0) == Some(value.len())
        && !value.iter().any(u8::is_ascii_control)
}

/// An interval as written, in seconds: beyond 32 bits the longest, unreadable an hour.
fn interval(value: &[u8]) -> u32 {
    match lex::number(value, u32::MAX) {
        Some(seconds) => seconds,
        None if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => u32::MAX,
        None => MALFORMED_EXPIRES_S,
    }
}

/// The interval that a contact gets: its own, else that of Expires, else the default; 0 is a removal
/// and never too brief.
fn granted(contact: &NameAddr<'_>, expires: Option<u32>, policy: &Policy) -> Result<u32, Refusal> {
    let own = contact
        .params
        .find(b"expires")
        .map(|value| interval(value.unwrap_or_default()));
    let Some(asked_s) = own.or(expires) else {
        return Ok(policy.expires_default_s.min(policy.expires_max_s));
    };
    if asked_s > 0 && asked_s < policy.expires_min_s && asked_s < BRIEF_BELOW_S {
        return Err(Refusal::IntervalTooBrief {
            expires_min_s: policy.expires_min_s,
        });
    }
    Ok(asked_s.min(policy.expires_max_s))
}
