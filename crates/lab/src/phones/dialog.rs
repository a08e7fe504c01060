//! A phone's line: its socket, its account, and requests of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sip::digest::{Algorithm, Ha1, ResponseInput};

use crate::Error;
use crate::message::{Message, parameter};
use crate::world::{DOMAIN, PASSWORD, USERS};

/// How long a registration may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// T1 of RFC 3261 section 17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// T2 of it.
const T2: Duration = Duration::from_secs(4);

/// A user's account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: String,
    password: String,
}

impl Account {
    /// Of one of the laboratory's own users, or of one whose password is the name.
    pub(super) fn of(user: &str) -> Account {
        let password = match USERS.contains(&user) {
            true => PASSWORD,
            false => user,
        };
        Account {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    /// The line that answers a challenge (RFC 3261 section 22.4).
    fn credentials(&self, challenge: &Message, method: &str, uri: &str) -> Option<String> {
        let (asks, answers) = match challenge.status()? {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let is_md5 = |line: &&str| parameter(line, "algorithm").unwrap_or("MD5") == "MD5";
        let line = challenge.all(asks).into_iter().find(is_md5)?;
        let (realm, nonce) = (parameter(line, "realm")?, parameter(line, "nonce")?);
        let (count, own) = ("00000001", "1ab");
        let input = ResponseInput {
            method: method.as_bytes(),
            uri: uri.as_bytes(),
            nonce: nonce.as_bytes(),
            protection: Some((count.as_bytes(), own.as_bytes(), b"auth")),
        };
        let user = &self.user;
        let ha1 = Ha1::compute(
            Algorithm::Md5,
            user.as_bytes(),
            realm.as_bytes(),
            self.password.as_bytes(),
        );
        let response = input.response(&ha1).to_hex();
        Some(format!(
            "{answers}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{}\", algorithm=MD5, qop=auth, nc={count}, cnonce=\"{own}\"\r\n",
            response.as_str()
        ))
    }
}

/// What is sent again until it is answered.
#[derive(Debug)]
pub(super) struct Resend {
    pub(super) text: String,
    next: Instant,
    interval: Duration,
    interval_max: Duration,
}

impl Resend {
    /// Timer A of an INVITE goes on doubling, timer E and that of a 2xx do up to T2.
    pub(super) fn new(text: String, is_invite: bool, now: Instant) -> Resend {
        Resend {
            text,
            next: now + T1,
            interval: T1,
            interval_max: if is_invite { T1 * 64 } else { T2 },
        }
    }

    /// Sends it again if that is due.
    pub(super) fn turn(&mut self, line: &Line, now: Instant) {
        if now >= self.next {
            line.send(&self.text);
            self.interval = (self.interval * 2).min(self.interval_max);
            self.next = now + self.interval;
        }
    }
}

/// What requests within a dialog need (RFC 3261 section 12.2.1.1).
#[derive(Debug, Clone, Default)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    /// The whole From and To of what this side sends.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
}

/// A phone's line.
#[derive(Debug)]
pub(super) struct Line {
    socket: UdpSocket,
    pub(super) address: Ipv4Addr,
    local: SocketAddr,
    service: SocketAddr,
    pub(super) account: Account,
    branches: u64,
}

impl Line {
    pub(super) fn new(
        socket: UdpSocket,
        address: Ipv4Addr,
        service: SocketAddr,
        account: Account,
    ) -> Line {
        let local = socket.local_addr().unwrap_or((address, 0).into());
        Line {
            socket,
            address,
            local,
            service,
            account,
            branches: 0,
        }
    }

    pub(super) fn send(&self, text: &str) {
        // Nobody may have the address at the moment.
        let _ = self.socket.send_to(text.as_bytes(), self.service);
    }

    /// Two ends of lines (RFC 5626 section 3.5.1).
    pub(super) fn keep_alive(&self) {
        self.send("\r\n\r\n");
    }

    pub(super) fn receive(&self) -> Option<Message> {
        let mut bytes = [0; 8_192];
        let size = self.socket.recv(&mut bytes).ok()?;
        Some(Message::new(&bytes[..size]))
    }

    /// The user's address of record.
    pub(super) fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.account.user)
    }

    pub(super) fn contact(&self) -> String {
        format!("Contact: <sip:{}@{}>\r\n", self.account.user, self.local)
    }

    /// A request with a branch of its own; `more` is whole lines.
    pub(super) fn request(
        &mut self,
        dialog: &Dialog,
        method: &str,
        more: &str,
        body: &str,
    ) -> String {
        self.branches += 1;
        let routes: String = dialog
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=z9hG4bK{}x{}\r\nMax-Forwards: 70\r\n{routes}\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            dialog.target,
            self.local,
            self.local.port(),
            self.branches,
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.cseq,
            body.len()
        )
    }

    /// The line that answers a challenge to a request of this phone.
    pub(super) fn credentials(
        &self,
        challenge: &Message,
        method: &str,
        uri: &str,
    ) -> Option<String> {
        self.account.credentials(challenge, method, uri)
    }

    /// Registers its user, with the patience of a phone.
    pub(super) fn register(&mut self) -> Result<(), Error> {
        let account = Account::of(&self.account.user);
        self.register_as(&account)
    }

    /// Registers somebody at this line.
    pub(super) fn register_as(&mut self, account: &Account) -> Result<(), Error> {
        let (user, local) = (&account.user, self.local);
        let aor = format!("sip:{user}@{DOMAIN}");
        let mut dialog = Dialog {
            call_id: format!("register-{user}-{}", local.port()),
            local: format!("<{aor}>;tag=r1"),
            remote: format!("<{aor}>"),
            target: format!("sip:{DOMAIN}"),
            routes: Vec::new(),
            cseq: 1,
        };
        let begun = Instant::now();
        let lines = format!("Contact: <sip:{user}@{local}>\r\nExpires: 3600\r\n");
        let mut resend = Resend::new(self.request(&dialog, "REGISTER", &lines, ""), false, begun);
        self.send(&resend.text);
        while begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
            resend.turn(self, Instant::now());
            let Some(answer) = self.receive() else {
                continue;
            };
            if answer.header("Call-ID") != dialog.call_id {
                continue;
            }
            match answer.status() {
                Some(200) => return Ok(()),
                Some(401) if dialog.cseq == 1 => {
                    dialog.cseq += 1;
                    let proof = account.credentials(&answer, "REGISTER", &dialog.target);
                    let lines = format!("{lines}{}", proof.unwrap_or_default());
                    let text = self.request(&dialog, "REGISTER", &lines, "");
                    resend = Resend::new(text, false, Instant::now());
                    self.send(&resend.text);
                }
                _ => {}
            }
        }
        let command = format!("REGISTER of {user}");
        let what = "the service did not take it".to_owned();
        Err(Error::Program { command, what })
    }
}
