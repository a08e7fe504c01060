//! One dialog: tags, numbers, routes, and the requests in it.

use std::net::SocketAddr;

use records::tlv::{self, Fields};
use sip::{HeaderName, Message, NameAddr, Uri, lex};

use crate::error::Error;

/// Who sends a request, for its Via.
#[derive(Debug, Clone, Copy)]
pub struct Hop {
    /// `UDP` or `TCP`.
    pub transport: &'static [u8],
    /// The sent-by: where responses are to come.
    pub sent_by: SocketAddr,
    /// The number in the branch.
    pub branch: u64,
    /// Max-Forwards (RFC 3261 section 8.1.1.6): 70, or what is left of that of a call that is passed on.
    pub max_forwards: u32,
}

impl Hop {
    /// Appends the Via line. It asks for `rport` (RFC 3581), as section 4 of it wants of every client.
    pub fn write_via(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Via: SIP/2.0/");
        out.extend_from_slice(self.transport);
        out.push(b' ');
        lex::push_host_port(out, self.sent_by);
        out.extend_from_slice(b";branch=z9hG4bK");
        lex::push_hex(out, self.branch);
        out.extend_from_slice(b";rport\r\n");
    }

    /// The number in a branch that [`Hop::write_via`] wrote.
    pub fn read_branch(branch: &[u8]) -> Option<u64> {
        lex::hex(branch.strip_prefix(sip::header::MAGIC_COOKIE)?)
    }
}

/// One end's view of a dialog (RFC 3261 section 12). Before the peer has given a tag it is what the first request was sent
/// with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<[u8]>,
    /// Our From or To without its tag.
    pub local: Box<[u8]>,
    /// Our tag.
    pub local_tag: Box<[u8]>,
    /// The peer's From or To without its tag.
    pub remote: Box<[u8]>,
    /// The peer's tag; empty before it has given one, or where it has none (RFC 2543).
    pub remote_tag: Box<[u8]>,
    /// The number of the last request that we sent.
    pub local_cseq: u32,
    /// The number of the last request that came; 0 before one came.
    pub remote_cseq: u32,
    /// The peer's Contact: the Request-URI of what we send.
    pub target: Box<[u8]>,
    /// Route values in the order in which they are sent.
    pub routes: Vec<Box<[u8]>>,
}

impl Dialog {
    /// Most Record-Route values that are taken.
    pub const ROUTES_MAX: usize = 16;

    /// The dialog that a request begins which we send (section 8.1.1); [`Dialog::establish`] completes it.
    pub fn outgoing(
        call_id: &[u8],
        (local, local_tag): (&[u8], &[u8]),
        remote: &[u8],
        target: &[u8],
    ) -> Dialog {
        Dialog {
            call_id: call_id.into(),
            local: local.into(),
            local_tag: local_tag.into(),
            remote: remote.into(),
            remote_tag: Box::default(),
            local_cseq: 0,
            remote_cseq: 0,
            target: target.into(),
            routes: Vec::new(),
        }
    }

    /// The dialog that a request begins which came (section 12.1.1).
    ///
    /// # Errors
    /// The peer's fault: no Contact or From that can be read, or too many routes.
    pub fn incoming(request: &Message<'_>, local_tag: &[u8]) -> Result<Dialog, Error> {
        let from = request
            .from()
            .map_err(|_| Error::Malformed(HeaderName::From))?;
        let call_id = request
            .call_id()
            .map_err(|_| Error::Malformed(HeaderName::CallId))?;
        let cseq = request
            .cseq()
            .map_err(|_| Error::Malformed(HeaderName::CSeq))?;
        let to = request.header(HeaderName::To).unwrap_or_default();
        let mut routes = Vec::new();
        read_routes(request, &mut routes)?;
        Ok(Dialog {
            call_id: call_id.into(),
            local: without_tag(to),
            local_tag: local_tag.into(),
            remote: without_tag(request.header(HeaderName::From).unwrap_or_default()),
            remote_tag: from.tag().unwrap_or_default().into(),
            local_cseq: 0,
            remote_cseq: cseq.number,
            target: contact(request)
                .ok_or(Error::Malformed(HeaderName::Contact))?
                .into(),
            routes,
        })
    }

    /// What a response that gives a tag makes of a dialog that we began (section 12.1.2). `self` stays as it is, for
    /// there may be several (section 13.2.2.4).
    ///
    /// # Errors
    /// The peer's fault: no tag, a Contact that cannot be read, or too many routes.
    pub fn establish(&self, response: &Message<'_>) -> Result<Dialog, Error> {
        let to = response
            .to()
            .map_err(|_| Error::Malformed(HeaderName::To))?;
        let mut routes = Vec::new();
        read_routes(response, &mut routes)?;
        routes.reverse();
        let target = match contact(response) {
            Some(target) => target.into(),
            // A provisional response may lack it (section 13.3.1.1); what it is needed for waits for the 2xx.
            None if response.status() < 200 => self.target.clone(),
            None => return Err(Error::Malformed(HeaderName::Contact)),
        };
        Ok(Dialog {
            remote_tag: to.tag().unwrap_or_default().into(),
            target,
            routes,
            ..self.clone()
        })
    }

    /// Takes the number of a request that came in the dialog (section 12.2.2).
    ///
    /// # Errors
    /// [`Error::OldCSeq`]: it is to be answered with 500.
    pub fn take_cseq(&mut self, number: u32) -> Result<(), Error> {
        if number <= self.remote_cseq && self.remote_cseq != 0 {
            return Err(Error::OldCSeq {
                last: self.remote_cseq,
                number,
            });
        }
        self.remote_cseq = number;
        Ok(())
    }

    /// Takes the Contact of a request or response that refreshes the target (section 12.2.1.2), if there is one.
    pub fn refresh_target(&mut self, message: &Message<'_>) {
        if let Some(target) = contact(message)
            && *target != *self.target
        {
            self.target = target.into();
        }
    }

    /// The number for a new request.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = if self.local_cseq >= i32::MAX as u32 {
            1
        } else {
            self.local_cseq + 1
        };
        self.local_cseq
    }

    /// Appends the beginning of a request in the dialog (section 12.2.1.1): all headers that every request has. A first route without
    /// `lr` is one of a strict router and becomes the Request-URI.
    pub fn write_request(&self, method: &str, cseq: u32, hop: &Hop, out: &mut Vec<u8>) {
        let strict = self.routes.first().and_then(|first| {
            let route = NameAddr::parse(first)?;
            let uri = route.parse_uri().ok()?;
            (!uri.params.has(b"lr")).then_some(route.uri)
        });
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(strict.unwrap_or(&self.target));
        out.extend_from_slice(b" SIP/2.0\r\n");
        hop.write_via(out);
        out.extend_from_slice(b"Max-Forwards: ");
        lex::push_number(out, u64::from(hop.max_forwards));
        out.extend_from_slice(b"\r\n");
        let skipped = usize::from(strict.is_some());
        for route in self.routes.iter().skip(skipped) {
            push_line(out, b"Route: ", &[route]);
        }
        if strict.is_some() {
            push_line(out, b"Route: <", &[&self.target, b">"]);
        }
        self.write_parties(out);
        out.extend_from_slice(b"CSeq: ");
        lex::push_number(out, u64::from(cseq));
        push_line(out, b" ", &[method.as_bytes()]);
    }

    fn write_parties(&self, out: &mut Vec<u8>) {
        push_line(out, b"From: ", &[&self.local, b";tag=", &self.local_tag]);
        match self.remote_tag.is_empty() {
            true => push_line(out, b"To: ", &[&self.remote]),
            false => push_line(out, b"To: ", &[&self.remote, b";tag=", &self.remote_tag]),
        }
        push_line(out, b"Call-ID: ", &[&self.call_id]);
    }

    /// Appends the dialog as fields of a record.
    pub fn write_record(&self, out: &mut Vec<u8>) {
        tlv::write_bytes(1, &self.call_id, out);
        tlv::write_bytes(2, &self.local, out);
        tlv::write_bytes(3, &self.local_tag, out);
        tlv::write_bytes(4, &self.remote, out);
        tlv::write_bytes(5, &self.remote_tag, out);
        tlv::write_number(6, u64::from(self.local_cseq), out);
        tlv::write_number(7, u64::from(self.remote_cseq), out);
        tlv::write_bytes(8, &self.target, out);
        for route in &self.routes {
            tlv::write_bytes(9, route, out);
        }
    }

    /// A dialog as [`Dialog::write_record`] wrote it.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn read_record(bytes: &[u8]) -> Result<Dialog, Error> {
        let mut dialog = Dialog::outgoing(b"", (b"", b""), b"", b"");
        let mut fields = Fields::new(bytes);
        while let Some((tag, value)) = fields.field()? {
            let number = || Ok::<u32, Error>(tlv::number(value)?.min(i32::MAX as u64) as u32);
            match tag {
                1 => dialog.call_id = value.into(),
                2 => dialog.local = value.into(),
                3 => dialog.local_tag = value.into(),
                4 => dialog.remote = value.into(),
                5 => dialog.remote_tag = value.into(),
                6 => dialog.local_cseq = number()?,
                7 => dialog.remote_cseq = number()?,
                8 => dialog.target = value.into(),
                9 if dialog.routes.len() < Dialog::ROUTES_MAX => dialog.routes.push(value.into()),
                _ => {}
            }
        }
        match dialog.call_id.is_empty() || dialog.local_tag.is_empty() {
            true => Err(Error::Record(records::Error::Missing { tag: 1 })),
            false => Ok(dialog),
        }
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], parts: &[&[u8]]) {
    out.extend_from_slice(name);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn read_routes(message: &Message<'_>, routes: &mut Vec<Box<[u8]>>) -> Result<(), Error> {
    for value in message.values(HeaderName::RecordRoute) {
        let is_good = NameAddr::parse(value.bytes).is_some_and(|route| route.parse_uri().is_ok());
        if !is_good {
            return Err(Error::Malformed(HeaderName::RecordRoute));
        }
        if routes.len() == Dialog::ROUTES_MAX {
            return Err(Error::TooManyRoutes);
        }
        routes.push(unfolded(value.bytes));
    }
    Ok(())
}

/// The URI of the Contact of a message, if it has one that can be read and is SIP.
fn contact<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let value = message.values(HeaderName::Contact).next()?;
    let contact = NameAddr::parse(value.bytes)?;
    let uri = contact.parse_uri().ok().filter(Uri::is_sip)?;
    uri.headers.is_none().then_some(contact.uri)
}

/// From or To without its tag; its other parameters stay.
fn without_tag(value: &[u8]) -> Box<[u8]> {
    let Some(party) = NameAddr::parse(value) else {
        return unfolded(value);
    };
    let mut out = Vec::with_capacity(value.len());
    if !party.display.is_empty() {
        out.extend_from_slice(&unfolded(party.display));
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(party.uri);
    out.push(b'>');
    for param in party.params.iter().filter(|param| !param.is(b"tag")) {
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            out.extend_from_slice(&unfolded(value));
        }
    }
    out.into()
}

/// `value` on one line: what folds it becomes spaces.
fn unfolded(value: &[u8]) -> Box<[u8]> {
    let plain = |&byte: &u8| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    };
    value.iter().map(plain).collect()
}

#[cfg(test)]
mod tests;
