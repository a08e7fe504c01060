//! Calls through Holdline: the bench is caller and callee, with as much SIP (RFC 3261) as that
//! takes. One call after the other, on loopback, in blocking turns.

use super::super::error::Error;
use super::super::server::DOMAIN;
use super::session;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// T1, after which a request is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a message may take.
const LIMIT: Duration = Duration::from_secs(8);
const MESSAGE_BYTES_MAX: usize = 65_535;

/// Both phones.
#[derive(Debug)]
pub(crate) struct Phones {
    caller: UdpSocket,
    callee: UdpSocket,
    server: SocketAddr,
}

/// A request of the caller but for what is the same in all of them.
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    routes: &'a [String],
    number: usize,
    to: &'a str,
    more: &'a str,
    body: &'a str,
}

impl Phones {
    /// The callee's phone is at `callee`, where the server knows it to be.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn open(server: SocketAddr, callee: SocketAddr) -> Result<Self, Error> {
        let doing = Error::io("opening a phone's socket");
        let open = |address: SocketAddr| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(AGAIN_AFTER))?;
            Ok(socket)
        };
        Ok(Self {
            caller: open(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(&doing)?,
            callee: open(callee).map_err(&doing)?,
            server,
        })
    }

    /// Sets up a call with its media at `ends`, the caller's and the callee's. Returns the relay's
    /// addresses: the one the caller, the one the callee sends to.
    ///
    /// # Errors
    /// What was said instead of what should have been.
    pub(crate) fn call(
        &self,
        number: usize,
        ends: [SocketAddrV4; 2],
    ) -> Result<[SocketAddrV4; 2], Error> {
        let mark = format!("Call-ID: {}\r\n", call_id(number));
        let callee = format!("sip:callee@{DOMAIN}");
        let contact = local(&self.caller)?;
        let invite = self.request(&Request {
            method: "INVITE",
            target: &callee,
            routes: &[],
            number,
            to: &format!("<{callee}>"),
            more: &format!("Contact: <sip:caller@{contact}>\r\nContent-Type: application/sdp\r\n"),
            body: &session::description(ends[0]),
        })?;
        let (offered, source) = self.exchange(&invite, |text| {
            text.starts_with("INVITE ") && text.contains(&mark)
        })?;
        self.accept(&offered, source, number, &session::description(ends[1]))?;
        let answered = hear(&self.caller, LIMIT, |text| {
            is_final(text) && text.contains(&mark)
        });
        let answered = answered.map(|heard| heard.0).unwrap_or_default();
        if !answered.starts_with("SIP/2.0 200") {
            return Err(unexpected(&answered));
        }
        let mut routes: Vec<String> = headers(&answered, "Record-Route")
            .flat_map(|value| value.split(',').map(|one| one.trim().to_owned()))
            .collect();
        routes.reverse();
        let target = headers(&answered, "Contact").next().and_then(in_brackets);
        let ack = self.request(&Request {
            method: "ACK",
            target: target.ok_or_else(|| unexpected(&answered))?,
            routes: &routes,
            number,
            to: headers(&answered, "To").next().unwrap_or_default(),
            more: "",
            body: "",
        })?;
        self.exchange(&ack, |text| {
            text.starts_with("ACK ") && text.contains(&mark)
        })?;
        let part = |text: &str| session::address(text).ok_or_else(|| unexpected(text));
        Ok([part(&answered)?, part(&offered)?])
    }

    /// Sends a request of the caller until the callee hears it.
    fn exchange(
        &self,
        request: &str,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<(String, SocketAddr), Error> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            self.caller
                .send_to(request.as_bytes(), self.server)
                .map_err(Error::io("sending a request"))?;
            if let Some(heard) = hear(&self.callee, AGAIN_AFTER, &is_it) {
                return Ok(heard);
            }
        }
        let answer = hear(&self.caller, AGAIN_AFTER, is_final);
        Err(unexpected(&answer.map(|heard| heard.0).unwrap_or_default()))
    }

    /// The callee's 200.
    fn accept(
        &self,
        request: &str,
        source: SocketAddr,
        number: usize,
        body: &str,
    ) -> Result<(), Error> {
        let mut text = String::from("SIP/2.0 200 OK\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in headers(request, name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        let to = headers(request, "To").next().unwrap_or_default();
        text += &format!(
            "To: {to};tag=b{number}\r\nContact: <sip:callee@{}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            local(&self.callee)?,
            body.len()
        );
        self.callee
            .send_to(text.as_bytes(), source)
            .map_err(Error::io("sending a response"))?;
        Ok(())
    }

    fn request(&self, request: &Request<'_>) -> Result<String, Error> {
        let routes: String = request
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        Ok(format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{method}-{id}\r\n\
             Max-Forwards: 70\r\n{routes}\
             From: <sip:caller@{DOMAIN}>;tag=a{number}\r\nTo: {to}\r\n\
             Call-ID: {id}\r\nCSeq: 1 {method}\r\n{more}\
             Content-Length: {length}\r\n\r\n{body}",
            method = request.method,
            target = request.target,
            number = request.number,
            to = request.to,
            more = request.more,
            body = request.body,
            local = local(&self.caller)?,
            id = call_id(request.number),
            length = request.body.len(),
        ))
    }
}

fn call_id(number: usize) -> String {
    format!("{}-{number}", std::process::id())
}

fn local(socket: &UdpSocket) -> Result<SocketAddr, Error> {
    socket.local_addr().map_err(Error::io("asking a socket"))
}

fn is_final(text: &str) -> bool {
    text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1")
}

/// The first message that is wanted; others are passed over.
fn hear(
    socket: &UdpSocket,
    limit: Duration,
    is_it: impl Fn(&str) -> bool,
) -> Option<(String, SocketAddr)> {
    let deadline = Instant::now() + limit;
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    while Instant::now() < deadline {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        if is_it(&text) {
            return Some((text.into_owned(), source));
        }
    }
    None
}

/// The values of a header, each line one.
fn headers<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().skip(1).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn in_brackets(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once('<')?;
    rest.split_once('>').map(|(uri, _)| uri)
}

fn unexpected(said: &str) -> Error {
    Error::Program {
        name: "a call through holdline".to_owned(),
        said: if said.is_empty() {
            "nothing was heard".to_owned()
        } else {
            said.to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_their_case() {
        let text =
            "SIP/2.0 200 OK\r\nRecord-Route: <sip:a;lr>\r\nrecord-route:<sip:b;lr>\r\n\r\nVia: x";
        let found: Vec<&str> = headers(text, "Record-Route").collect();
        assert_eq!(found, ["<sip:a;lr>", "<sip:b;lr>"]);
        assert_eq!(headers(text, "Via").count(), 0);
        assert_eq!(in_brackets(found[0]), Some("sip:a;lr"));
    }
}
