//! What a message must have before anybody acts on it.

use crate::error::Defect;
use crate::header::NameAddr;
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

/// Checks a message: what the index found, the mandatory headers (section 8.1.1) and the fields that
/// routing depends on.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(message: &Message<'_>, requirement: Requirement) -> Result<(), Defect> {
    if let Some(defect) = message.defect() {
        return Err(defect);
    }
    message.via()?;
    message.call_id()?;
    let cseq = message.cseq()?;
    let from = message.from()?;
    let to = message.to()?;
    if !message.is_request() {
        return Ok(());
    }
    if cseq.method_bytes != message.method_bytes() {
        return Err(Defect::CSeqMethod);
    }
    let uri = Uri::parse(message.request_uri()).map_err(|_| Defect::RequestUri)?;
    if uri.headers.is_some() {
        // They have no meaning there (section 19.1.1) and could hide some from a reader that finds any.
        return Err(Defect::RequestUri);
    }
    routes(message)?;
    message.number(HeaderName::MaxForwards, 255)?;
    if requirement == Requirement::Element {
        from.parse_uri()
            .map_err(|_| Defect::Malformed(HeaderName::From))?;
        to.parse_uri()
            .map_err(|_| Defect::Malformed(HeaderName::To))?;
        if message.method() == Some(Method::Invite) {
            contact(message)?;
        }
    }
    Ok(())
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
