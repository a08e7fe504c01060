//! Who calls: one call at a time, whose first sign of life is timed.

use super::super::error::Error;
use super::super::server::DOMAIN;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take once somebody rings.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A phone without credentials that the node trusts.
pub(super) struct Caller {
    socket: UdpSocket,
    node: SocketAddr,
    number: u64,
    /// The last response but for 100.
    response: String,
}

impl Caller {
    pub(super) fn new(node: SocketAddr) -> Result<Self, Error> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(Error::io("binding a port"))?;
        Ok(Self {
            socket,
            node,
            number: 0,
            response: String::new(),
        })
    }

    fn send(&self, text: &str) -> Result<(), Error> {
        let sent = self.socket.send_to(text.as_bytes(), self.node);
        sent.map(drop).map_err(Error::io("sending a request"))
    }

    /// A request of the call: `to_tag` and `routes` once there is a dialog.
    fn request(
        &self,
        (method, cseq): (&str, u32),
        uri: &str,
        (to_tag, routes): (&str, &str),
        body: &str,
    ) -> Result<String, Error> {
        let local = self.socket.local_addr();
        let local = local.map_err(Error::io("asking a socket"))?;
        let (number, pid) = (self.number, std::process::id());
        let kind = match body {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        Ok(format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{pid}-{number}-{method}-{cseq}\r\n{routes}\
             Max-Forwards: 70\r\nFrom: <sip:caller@{DOMAIN}>;tag=c{number}\r\n\
             To: <sip:8000@{DOMAIN}>{to_tag}\r\nCall-ID: failover-{pid}-{number}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:caller@{local}>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Begins the next call.
    pub(super) fn invite(&mut self) -> Result<(), Error> {
        self.number += 1;
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 40000 RTP/AVP 8\r\n";
        let uri = format!("sip:8000@{DOMAIN}");
        let invite = self.request(("INVITE", 1), &uri, ("", ""), offer)?;
        self.send(&invite)
    }

    /// Takes the next response of this call that is no 100; nothing when `deadline` came first.
    fn receive(&mut self, deadline: Instant) -> Result<Option<u16>, Error> {
        let mut room = [0; 4_096];
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(None);
            }
            self.socket
                .set_read_timeout(Some(rest))
                .map_err(Error::io("setting a timeout"))?;
            let Ok(size) = self.socket.recv(&mut room) else {
                continue;
            };
            let text = String::from_utf8_lossy(&room[..size]).into_owned();
            let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
            let own = format!(
                "Call-ID: failover-{}-{}\r\n",
                std::process::id(),
                self.number
            );
            match status {
                Some(status) if status > 100 && text.contains(&own) => {
                    self.response = text;
                    return Ok(Some(status));
                }
                _ => {}
            }
        }
    }

    /// When the first 180 or 200 came; nothing when none came in time, or a refusal.
    pub(super) fn sign_of_life(&mut self, deadline: Instant) -> Result<Option<Instant>, Error> {
        let status = self.receive(deadline)?;
        let now = Instant::now();
        Ok(status.filter(|status| *status < 300).map(|_| now))
    }

    /// Waits for the 200, acknowledges it, hangs up; gives whether that went well.
    pub(super) fn talks_and_hangs_up(&mut self) -> Result<bool, Error> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        while !self.response.starts_with("SIP/2.0 200") {
            match self.receive(deadline)? {
                Some(status) if status < 300 => {}
                _ => return Ok(false),
            }
        }
        let lines = |name: &str| -> Vec<String> {
            let lines = self.response.lines();
            lines
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .collect()
        };
        let to = lines("To").concat();
        let to_tag = to.split_once(";tag=");
        let to_tag = to_tag.map_or(String::new(), |(_, tag)| format!(";tag={tag}"));
        let contact = lines("Contact").concat();
        let uri = contact.trim_matches(['<', '>']).to_owned();
        let routes: String = lines("Record-Route")
            .iter()
            .rev()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let ack = self.request(("ACK", 1), &uri, (&to_tag, &routes), "")?;
        self.send(&ack)?;
        let bye = self.request(("BYE", 2), &uri, (&to_tag, &routes), "")?;
        self.send(&bye)?;
        loop {
            match self.receive(deadline)? {
                Some(200) if self.response.contains("CSeq: 2 BYE") => return Ok(true),
                // The 200 of the INVITE may have been repeated.
                Some(200) => {}
                _ => return Ok(false),
            }
        }
    }
}
