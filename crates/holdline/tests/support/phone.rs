//! A phone that does exactly what a test says, over UDP or TCP.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sip::digest::{Algorithm, Ha1, ResponseInput};

use super::message::{Message, parameter};
use super::node::{DOMAIN, Node, password_of};

/// How long a phone waits for a message that has to come.
const WAIT: Duration = Duration::from_secs(8);

/// A short description of a session.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
                                t=0 0\r\nm=audio 40000 RTP/AVP 8\r\n";

/// A word that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{}x{number}", std::process::id())
}

#[derive(Debug)]
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

/// A phone of a user.
#[derive(Debug)]
pub(crate) struct Phone {
    link: Link,
    /// Its own address.
    pub(crate) local: SocketAddr,
    node: SocketAddr,
    /// Whose it is.
    pub(crate) user: String,
    pub(crate) password: String,
    /// The digest algorithm that it answers with.
    pub(crate) algorithm: Algorithm,
    /// The Call-ID and the last CSeq of its registrations.
    pub(crate) registration: (String, u32),
    /// What its Contact says, if that is not where it is.
    pub(crate) contact: String,
    /// What it offers and answers with.
    pub(crate) description: String,
    seen: HashSet<String>,
}

impl Phone {
    pub(crate) fn udp(node: &Node, user: &str) -> Phone {
        Phone::udp_to(node.address(), user)
    }

    pub(crate) fn udp_to(node: SocketAddr, user: &str) -> Phone {
        let socket = UdpSocket::bind((node.ip(), 0)).expect("a free port");
        let local = socket.local_addr().expect("bound");
        Phone::new(Link::Udp(socket), local, node, user, "")
    }

    /// One on a socket that is there already, such as that of a media server.
    pub(crate) fn on(socket: UdpSocket, node: SocketAddr, user: &str) -> Phone {
        let local = socket.local_addr().expect("bound");
        Phone::new(Link::Udp(socket), local, node, user, "")
    }

    pub(crate) fn tcp(node: &Node, user: &str) -> Phone {
        let stream = TcpStream::connect(node.address()).expect("the node listens");
        stream.set_nodelay(true).expect("an option");
        let local = stream.local_addr().expect("connected");
        let link = Link::Tcp(stream, Vec::new());
        Phone::new(link, local, node.address(), user, ";transport=tcp")
    }

    fn new(link: Link, local: SocketAddr, node: SocketAddr, user: &str, transport: &str) -> Phone {
        Phone {
            link,
            local,
            node,
            user: user.to_owned(),
            password: password_of(user),
            algorithm: Algorithm::Md5,
            registration: (unique("reg"), 0),
            contact: format!("sip:{user}@{local}{transport}"),
            description: OFFER.to_owned(),
            seen: HashSet::new(),
        }
    }

    /// The user's address.
    pub(crate) fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    fn via(&self) -> String {
        let token = match self.link {
            Link::Udp(_) => "UDP",
            Link::Tcp(..) => "TCP",
        };
        let branch = unique("z9hG4bK");
        format!("SIP/2.0/{token} {};rport;branch={branch}", self.local)
    }

    pub(crate) fn send(&mut self, message: &str) {
        self.send_bytes(message.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.link {
            // A port nobody listens on any more is no fault of the phone.
            Link::Udp(socket) => drop(socket.send_to(bytes, self.node)),
            Link::Tcp(stream, _) => drop(stream.write_all(bytes)),
        }
    }

    /// Sends a keep-alive on its connection and waits for the answer (RFC 5626 section 4.4.1).
    pub(crate) fn pings(&mut self) {
        let Link::Tcp(stream, _) = &mut self.link else {
            panic!("a connection is wanted");
        };
        stream.set_read_timeout(Some(WAIT)).expect("an option");
        stream.write_all(b"\r\n\r\n").expect("open");
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).expect("an answer");
        assert_eq!(&pong, b"\r\n");
    }

    /// The next message that is no repetition, if one comes in time.
    pub(crate) fn receive_within(&mut self, wait: Duration) -> Option<Message> {
        let deadline = Instant::now() + wait;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            let message = Message::new(&self.link.receive(rest)?);
            if self.seen.insert(message.to_string()) {
                return Some(message);
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Message {
        self.receive_within(WAIT)
            .unwrap_or_else(|| panic!("nothing came to {}", self.user))
    }

    /// The next request, which must have this method.
    pub(crate) fn request(&mut self, method: &str) -> Message {
        let message = self.receive();
        assert_eq!(message.method(), method, "{}: {message:?}", self.user);
        message
    }

    /// The next response but for 100, which must have this status.
    pub(crate) fn response(&mut self, status: u16) -> Message {
        loop {
            let message = self.receive();
            if message.status() != 100 {
                assert_eq!(message.status(), status, "{}: {message:?}", self.user);
                return message;
            }
        }
    }

    /// Asserts that nothing comes.
    pub(crate) fn hears_nothing(&mut self, wait_ms: u64) {
        if let Some(message) = self.receive_within(Duration::from_millis(wait_ms)) {
            panic!("{} did not wait for {message:?}", self.user);
        }
    }

    /// A REGISTER with these header lines.
    pub(crate) fn register_text(&mut self, lines: &str) -> String {
        self.registration.1 += 1;
        let (call_id, cseq) = &self.registration;
        let aor = self.aor();
        format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n\
             From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n",
            self.via()
        )
    }

    /// Registers with these header lines and answers a challenge; gives the final response.
    pub(crate) fn registers_with(&mut self, lines: &str) -> Message {
        let request = self.register_text(lines);
        self.send(&request);
        let answer = self.receive();
        if answer.status() != 401 {
            return answer;
        }
        let credentials = self.credentials(&answer, "REGISTER", &format!("sip:{DOMAIN}"), 1);
        let request = self.register_text(&format!("{credentials}{lines}"));
        self.send(&request);
        self.receive()
    }

    /// Registers its contact.
    pub(crate) fn registers(&mut self, expires_s: u32) -> Message {
        let lines = format!("Contact: <{}>\r\nExpires: {expires_s}\r\n", self.contact);
        self.registers_with(&lines)
    }

    /// Registers another contact than its own, such as where a SIPp listens.
    pub(crate) fn registers_at(&mut self, contact: &str) {
        let answer = self.registers_with(&format!("Contact: {contact}\r\nExpires: 600\r\n"));
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// The header line that answers a challenge.
    pub(crate) fn credentials(
        &self,
        challenge: &Message,
        method: &str,
        uri: &str,
        count: u32,
    ) -> String {
        let (asks, answers) = match challenge.status() {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let name = self.algorithm.name();
        let lines = challenge.all(asks);
        let line = lines
            .iter()
            .find(|line| parameter(line, "algorithm").unwrap_or("MD5") == name)
            .unwrap_or_else(|| panic!("no challenge for {name}: {challenge:?}"));
        let (realm, nonce) = (parameter(line, "realm"), parameter(line, "nonce"));
        let (realm, nonce) = (realm.expect("a realm"), nonce.expect("a nonce"));
        let (count, own) = (format!("{count:08x}"), unique("c"));
        let input = ResponseInput {
            method: method.as_bytes(),
            uri: uri.as_bytes(),
            nonce: nonce.as_bytes(),
            protection: Some((count.as_bytes(), own.as_bytes(), b"auth")),
        };
        let (user, password) = (&self.user, self.password.as_bytes());
        let ha1 = Ha1::compute(self.algorithm, user.as_bytes(), realm.as_bytes(), password);
        let response = input.response(&ha1).to_hex();
        format!(
            "{answers}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", response=\"{}\", algorithm={name}, qop=auth, nc={count}, \
             cnonce=\"{own}\"\r\n",
            response.as_str()
        )
    }

    /// Begins a call to a user of the node and answers the challenge.
    pub(crate) fn calls(&mut self, user: &str) -> Dialog {
        self.calls_with(user, "")
    }

    /// As [`Phone::calls`], with more header lines.
    pub(crate) fn calls_with(&mut self, user: &str, lines: &str) -> Dialog {
        let to = format!("sip:{user}@{DOMAIN}");
        let mut dialog = Dialog::out(self, &to);
        let challenge = self.invites(&mut dialog, lines, 407);
        let credentials = self.credentials(&challenge, "INVITE", &to, 1);
        let invite = self.within(
            &mut dialog,
            "INVITE",
            &format!("{lines}{credentials}"),
            &self.description,
        );
        dialog.invite.clone_from(&invite);
        self.send(&invite);
        dialog
    }

    /// Sends an INVITE, asserts the status of its refusal and acknowledges that.
    pub(crate) fn invites(&mut self, dialog: &mut Dialog, lines: &str, status: u16) -> Message {
        let invite = self.within(dialog, "INVITE", lines, &self.description);
        dialog.invite.clone_from(&invite);
        self.send(&invite);
        self.refused(dialog, status)
    }

    /// Waits for the refusal of the last INVITE and acknowledges it.
    pub(crate) fn refused(&mut self, dialog: &Dialog, status: u16) -> Message {
        let answer = self.response(status);
        self.acknowledges_refusal(dialog, &answer);
        answer
    }

    /// Acknowledges a refusal of the last INVITE.
    pub(crate) fn acknowledges_refusal(&mut self, dialog: &Dialog, refusal: &Message) {
        let ack = hop_by_hop(&dialog.invite, "ACK", refusal.header("To"));
        self.send(&ack);
    }

    /// Waits for the 200, acknowledges it, and knows the other side from then on.
    pub(crate) fn answered(&mut self, dialog: &mut Dialog) -> Message {
        let answer = self.response(200);
        dialog.learn(&answer);
        self.acknowledges(dialog);
        answer
    }

    /// Waits for the 200, whatever rings before it, acknowledges it, and knows the other side from then on.
    pub(crate) fn is_connected(&mut self, dialog: &mut Dialog) -> Message {
        loop {
            let answer = self.receive();
            match answer.status() {
                100..200 => {}
                200 => {
                    dialog.learn(&answer);
                    self.acknowledges(dialog);
                    return answer;
                }
                _ => panic!("{}: {answer:?}", self.user),
            }
        }
    }

    /// Ends a call whose other side is no phone of the test's.
    pub(crate) fn hangs_up(&mut self, dialog: &mut Dialog) {
        let bye = self.within(dialog, "BYE", "", "");
        self.send(&bye);
        self.response(200);
    }

    /// Sends the ACK of a 2xx.
    pub(crate) fn acknowledges(&mut self, dialog: &mut Dialog) {
        let ack = self.within(dialog, "ACK", "", "");
        self.send(&ack);
    }

    /// Cancels the last INVITE.
    pub(crate) fn cancels(&mut self, dialog: &Dialog) {
        let to = format!("<{}>", dialog.remote);
        let cancel = hop_by_hop(&dialog.invite, "CANCEL", &to);
        self.send(&cancel);
    }

    /// Waits for a BYE and answers it.
    pub(crate) fn is_hung_up(&mut self) -> Message {
        let bye = self.request("BYE");
        self.responds(&bye, "200 OK", "");
        bye
    }

    /// A request within a dialog, or the one that is to begin it.
    pub(crate) fn within(
        &self,
        dialog: &mut Dialog,
        method: &str,
        lines: &str,
        body: &str,
    ) -> String {
        if !matches!(method, "ACK" | "CANCEL") {
            dialog.cseq += 1;
        }
        let Dialog {
            call_id,
            local,
            local_tag,
            remote,
            remote_tag,
            target,
            routes,
            cseq,
            ..
        } = dialog;
        let mut head = format!("{method} {target} SIP/2.0\r\nVia: {}\r\n", self.via());
        for route in routes {
            write!(head, "Route: {route}\r\n").expect("memory");
        }
        let to_tag = match remote_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        if !body.is_empty() && !lines.contains("Content-Type") {
            head.push_str("Content-Type: application/sdp\r\n");
        }
        format!(
            "{head}Max-Forwards: 70\r\nFrom: <{local}>;tag={local_tag}\r\n\
             To: <{remote}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <{}>\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            self.contact,
            body.len()
        )
    }

    /// Answers a request; the To tag is the phone's own.
    pub(crate) fn responds(&mut self, request: &Message, status: &str, lines: &str) {
        let mut head = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.all(name) {
                write!(head, "{name}: {value}\r\n").expect("memory");
            }
        }
        let to = request.header("To");
        let tag = if to.contains("tag=") {
            String::new()
        } else {
            format!(";tag={}", self.tag())
        };
        let (from, call_id) = (request.header("From"), request.header("Call-ID"));
        let wants_answer = match request.method() {
            "INVITE" => true,
            "UPDATE" => !request.body().is_empty(),
            _ => false,
        };
        let body = if wants_answer && status.starts_with('2') {
            &self.description
        } else {
            ""
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let response = format!(
            "{head}From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {}\r\n\
             Contact: <{}>\r\n{kind}{lines}Content-Length: {}\r\n\r\n{body}",
            request.header("CSeq"),
            self.contact,
            body.len()
        );
        self.send(&response);
    }

    /// The tag of its answers.
    fn tag(&self) -> String {
        format!("p{}", self.local.port())
    }

    /// Waits for an INVITE and rings.
    pub(crate) fn rings(&mut self) -> Message {
        let invite = self.request("INVITE");
        self.responds(&invite, "180 Ringing", "");
        invite
    }

    /// Answers an INVITE.
    pub(crate) fn answers(&mut self, invite: &Message) {
        self.responds(invite, "200 OK", "");
    }

    /// Waits for the ACK of its answer, and knows the dialog from then on.
    pub(crate) fn is_acknowledged(&mut self, invite: &Message) -> Dialog {
        let ack = self.request("ACK");
        assert_eq!(ack.header("Call-ID"), invite.header("Call-ID"));
        assert_eq!(ack.cseq().0, invite.cseq().0);
        Dialog::incoming(self, invite)
    }
}

/// A whole call up to the ACK: what each side knows of it then.
pub(crate) fn connect(caller: &mut Phone, callee: &mut Phone) -> (Dialog, Dialog) {
    let mut call = caller.calls(&callee.user);
    let invite = callee.rings();
    caller.response(180);
    callee.answers(&invite);
    caller.answered(&mut call);
    (call, callee.is_acknowledged(&invite))
}

/// The end of a call, by whoever comes first.
pub(crate) fn end((one, call): (&mut Phone, &mut Dialog), other: &mut Phone) {
    let bye = one.within(call, "BYE", "", "");
    one.send(&bye);
    other.is_hung_up();
    one.response(200);
}

impl Link {
    fn receive(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + wait;
        let is_late = |kind: ErrorKind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        match self {
            Link::Udp(socket) => loop {
                let rest = deadline.saturating_duration_since(Instant::now());
                socket
                    .set_read_timeout(Some(rest.max(Duration::from_millis(1))))
                    .expect("an option");
                let mut bytes = vec![0; 65_536];
                match socket.recv(&mut bytes) {
                    Ok(size) => return Some(bytes[..size].to_vec()),
                    Err(error) if is_late(error.kind()) => return None,
                    // The other side was away for a moment.
                    Err(_) if Instant::now() < deadline => {}
                    Err(_) => return None,
                }
            },
            Link::Tcp(stream, buffer) => loop {
                if let Some(message) = framed(buffer) {
                    return Some(message);
                }
                let rest = deadline.saturating_duration_since(Instant::now());
                stream
                    .set_read_timeout(Some(rest.max(Duration::from_millis(1))))
                    .expect("an option");
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes) {
                    Ok(0) | Err(_) => return None,
                    Ok(size) => buffer.extend_from_slice(&bytes[..size]),
                }
            },
        }
    }
}

/// Takes the first whole message out of a stream.
pub(crate) fn framed(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let blank = buffer
        .iter()
        .take_while(|byte| b"\r\n".contains(byte))
        .count();
    buffer.drain(..blank);
    let head = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let message = Message::new(&buffer[..head]);
    let body: usize = message
        .header("Content-Length")
        .parse()
        .expect("Content-Length");
    (buffer.len() >= head + body).then(|| buffer.drain(..head + body).collect())
}

/// The ACK of a refusal, or the CANCEL, of an INVITE: same branch, same Request-URI.
fn hop_by_hop(invite: &str, method: &str, to: &str) -> String {
    let invite = Message::new(invite.as_bytes());
    let mut lines = format!(
        "{method} {} SIP/2.0\r\nVia: {}\r\n",
        invite.uri(),
        invite.header("Via")
    );
    for route in invite.all("Route") {
        write!(lines, "Route: {route}\r\n").expect("memory");
    }
    format!(
        "{lines}Max-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
         Content-Length: 0\r\n\r\n",
        invite.header("From"),
        invite.header("Call-ID"),
        invite.cseq().0
    )
}

/// What a phone knows of a call.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) local: String,
    pub(crate) local_tag: String,
    pub(crate) remote: String,
    pub(crate) remote_tag: String,
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    pub(crate) cseq: u32,
    /// The last INVITE sent, for its ACK and CANCEL.
    pub(crate) invite: String,
}

impl Dialog {
    /// One that is to begin.
    pub(crate) fn out(phone: &Phone, to: &str) -> Dialog {
        Dialog {
            call_id: unique("call"),
            local: phone.aor(),
            local_tag: unique("t"),
            remote: to.to_owned(),
            remote_tag: String::new(),
            target: to.to_owned(),
            routes: Vec::new(),
            cseq: 0,
            invite: String::new(),
        }
    }

    /// The callee's view, after its answer.
    pub(crate) fn incoming(phone: &Phone, invite: &Message) -> Dialog {
        let tag = invite.header("From").split(";tag=").nth(1).expect("a tag");
        Dialog {
            call_id: invite.header("Call-ID").to_owned(),
            local: phone.aor(),
            local_tag: phone.tag(),
            remote: inside(invite.header("From")),
            remote_tag: tag.to_owned(),
            target: invite.contact().to_owned(),
            routes: owned(invite.all("Record-Route")),
            cseq: 0,
            invite: String::new(),
        }
    }

    /// Takes the other side's tag, target and route from its answer (RFC 3261 section 12.1.2).
    pub(crate) fn learn(&mut self, answer: &Message) {
        let tag = answer.header("To").split(";tag=").nth(1).expect("a tag");
        tag.clone_into(&mut self.remote_tag);
        answer.contact().clone_into(&mut self.target);
        self.routes = owned(answer.all("Record-Route"));
        self.routes.reverse();
    }
}

fn owned(values: Vec<&str>) -> Vec<String> {
    values.into_iter().map(str::to_owned).collect()
}

fn inside(value: &str) -> String {
    let (_, rest) = value.split_once('<').expect("brackets");
    rest.split('>').next().unwrap_or_default().to_owned()
}
