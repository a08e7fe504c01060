//! Asks the service every few milliseconds whether it is there, by OPTIONS (RFC 3261 section 11).

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::world::DOMAIN;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(5);
/// Most questions of one watch.
const QUESTIONS_MAX: usize = 100_000;

/// Asks, and notes what is answered.
#[derive(Debug)]
pub(super) struct Prober {
    socket: UdpSocket,
    service: SocketAddr,
    /// Counts the watches, so that a late answer is not taken for one of the next.
    watch: u64,
    next: Option<Instant>,
    /// Questions of this watch.
    asked: usize,
    /// When the last answer came, and the longest time without any: it and its beginning.
    last: Instant,
    longest: (Duration, Instant),
}

impl Prober {
    pub(super) fn new(socket: UdpSocket, service: SocketAddr) -> Prober {
        Prober {
            socket,
            service,
            watch: 0,
            next: None,
            asked: 0,
            last: Instant::now(),
            longest: (Duration::ZERO, Instant::now()),
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.watch += 1;
        self.asked = 0;
        self.next = Some(now);
        self.last = now;
        self.longest = (Duration::ZERO, now);
    }

    /// The longest time between two answers with its beginning, and whether it answered at the end. What is answered late
    /// was not answered meanwhile.
    pub(super) fn end(&mut self, now: Instant) -> (Duration, Instant, bool) {
        self.next = None;
        let is_back = self.is_answered(now);
        if !is_back {
            self.heard(now);
        }
        (self.longest.0, self.longest.1, is_back)
    }

    /// Whether the last answer came just now: what is on its way is not missing.
    pub(super) fn is_answered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < Duration::from_millis(100)
    }

    fn heard(&mut self, now: Instant) {
        if now - self.last > self.longest.0 {
            self.longest = (now - self.last, self.last);
        }
        self.last = now;
    }

    pub(super) fn turn(&mut self, now: Instant) {
        let mut bytes = [0; 2_048];
        while let Ok(size) = self.socket.recv(&mut bytes) {
            let message = Message::new(&bytes[..size]);
            let id = message.header("Call-ID");
            if self.next.is_some() && id.starts_with(&format!("probe-{}-", self.watch)) {
                self.heard(now);
            }
        }
        let Some(next) = self.next else {
            return;
        };
        if now < next || self.asked >= QUESTIONS_MAX {
            return;
        }
        self.next = Some((next + INTERVAL).max(now));
        self.ask();
    }

    fn ask(&mut self) {
        let (watch, number) = (self.watch, self.asked);
        let Ok(local) = self.socket.local_addr() else {
            return;
        };
        let text = format!(
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKp{watch}x{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@{DOMAIN}>;tag=p{number}\r\nTo: <sip:{DOMAIN}>\r\n\
             Call-ID: probe-{watch}-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.asked += 1;
        // Nobody may have the address at the moment.
        let _ = self.socket.send_to(text.as_bytes(), self.service);
    }
}
