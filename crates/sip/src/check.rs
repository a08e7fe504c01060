//! What a message must have before anybody acts on it.

use crate::error::Defect;
use crate::header::{CSeq, NameAddr, Via};
use crate::message::Message;
use crate::name::{HeaderName, Method};
use crate::uri::Uri;

/// How much of a message is to be in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// What a proxy needs (RFC 3261 section 16.3 step 1): nothing it has no use for is looked at.
    Proxy,
    /// What the last element needs (section 8.2): headers that it acts on are read as well.
    Element,
}

/// The fields that every element needs of every message, read once.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// To.
    pub to: NameAddr<'a>,
    /// The tag of From.
    pub from_tag: Option<&'a [u8]>,
    /// The tag of To.
    pub to_tag: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    /// Reads the mandatory headers (section 8.1.1). What a request is routed by (Request-URI, Route,
    /// Max-Forwards) is left to who routes it; [`check`] reads that too.
    ///
    /// # Errors
    /// The first thing that is wrong with the message, what its index found included.
    pub fn read(message: &Message<'a>) -> Result<Envelope<'a>, Defect> {
        if let Some(defect) = message.defect() {
            return Err(defect);
        }
        let via = message.via()?;
        let call_id = message.call_id()?;
        let cseq = message.cseq()?;
        let from = message.from()?;
        let to = message.to()?;
        if message.is_request() && cseq.method_bytes != message.method_bytes() {
            return Err(Defect::CSeqMethod);
        }
        let (from_tag, to_tag) = (from.tag(), to.tag());
        Ok(Envelope {
            via,
            call_id,
            cseq,
            from,
            to,
            from_tag,
            to_tag,
        })
    }
}

/// What takes a response to its transaction (section 17.1.3): the topmost Via and CSeq. What else is in
/// it is for the one who asked.
///
/// # Errors
/// The first thing that is wrong with these fields, what the index found included.
pub fn response_route<'a>(response: &Message<'a>) -> Result<(Via<'a>, CSeq<'a>), Defect> {
    match response.defect() {
        Some(defect) => Err(defect),
        None => Ok((response.via()?, response.cseq()?)),
    }
}

/// Checks a message: what the index found, the mandatory headers (section 8.1.1) and the fields that
/// routing depends on.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(message: &Message<'_>, requirement: Requirement) -> Result<(), Defect> {
    let envelope = Envelope::read(message)?;
    if !message.is_request() {
        return Ok(());
    }
    request_uri(message.request_uri())?;
    routes(message)?;
    message.number(HeaderName::MaxForwards, 255)?;
    if requirement == Requirement::Element {
        let readable = |party: NameAddr<'_>, name| {
            party
                .parse_uri()
                .map(drop)
                .map_err(|_| Defect::Malformed(name))
        };
        readable(envelope.from, HeaderName::From)?;
        readable(envelope.to, HeaderName::To)?;
        if message.method() == Some(Method::Invite) {
            contact(message)?;
        }
    }
    Ok(())
}

/// Reads a Request-URI. Headers have no meaning there (section 19.1.1) and could hide some from a reader
/// that finds any, so they are refused.
///
/// # Errors
/// [`Defect::RequestUri`].
pub fn request_uri(bytes: &[u8]) -> Result<Uri<'_>, Defect> {
    Uri::parse(bytes)
        .ok()
        .filter(|uri| uri.headers.is_none())
        .ok_or(Defect::RequestUri)
}

/// Each Route is a name-addr with a URI that can be read (section 20.34).
fn routes(message: &Message<'_>) -> Result<(), Defect> {
    let malformed = Defect::Malformed(HeaderName::Route);
    for value in message.values(HeaderName::Route) {
        let route = NameAddr::parse(value.bytes).filter(|_| value.bytes.contains(&b'<'));
        route
            .and_then(|route| route.parse_uri().ok())
            .ok_or(malformed)?;
    }
    Ok(())
}

/// An INVITE names exactly one Contact (section 8.1.1.8).
fn contact(message: &Message<'_>) -> Result<(), Defect> {
    let mut contacts = message.values(HeaderName::Contact);
    let Some(contact) = contacts.next() else {
        return Ok(());
    };
    if contacts.next().is_some() {
        return Err(Defect::Repeated(HeaderName::Contact));
    }
    let contact = NameAddr::parse(contact.bytes).ok_or(Defect::Malformed(HeaderName::Contact))?;
    contact
        .parse_uri()
        .map_err(|_| Defect::Malformed(HeaderName::Contact))?;
    Ok(())
}

#[cfg(test)]
mod tests;
