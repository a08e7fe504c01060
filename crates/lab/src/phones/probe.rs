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
    /// When each question left, and whether it was answered.
    asked: Vec<(Instant, bool)>,
}

impl Prober {
    pub(super) fn new(socket: UdpSocket, service: SocketAddr) -> Prober {
        Prober {
            socket,
            service,
            watch: 0,
            next: None,
            asked: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.watch += 1;
        self.asked.clear();
        self.next = Some(now);
    }

    /// The longest time between two answered questions with its beginning, and whether one of the last was answered.
    pub(super) fn end(&mut self, now: Instant) -> (Duration, Instant, bool) {
        self.next = None;
        let begun = self.asked.first().map_or(now, |(at, _)| *at);
        let (mut last, mut longest, mut since) = (begun, Duration::ZERO, begun);
        for (at, _) in self.asked.iter().filter(|(_, is_answered)| *is_answered) {
            if *at - last > longest {
                (longest, since) = (*at - last, last);
            }
            last = *at;
        }
        let open = now - last;
        // What is on its way is not missing.
        let is_back = open < Duration::from_millis(100);
        match is_back || open < longest {
            true => (longest, since, is_back),
            false => (open, last, is_back),
        }
    }

    pub(super) fn turn(&mut self, now: Instant) {
        let mut bytes = [0; 2_048];
        while let Ok(size) = self.socket.recv(&mut bytes) {
            let message = Message::new(&bytes[..size]);
            let id = message.header("Call-ID");
            let number = id.strip_prefix(&format!("probe-{}-", self.watch));
            let number = number.and_then(|number| number.parse::<usize>().ok());
            if let Some(asked) = number.and_then(|number| self.asked.get_mut(number)) {
                asked.1 = true;
            }
        }
        let Some(next) = self.next else {
            return;
        };
        if now < next || self.asked.len() >= QUESTIONS_MAX {
            return;
        }
        self.next = Some((next + INTERVAL).max(now));
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        let (watch, number) = (self.watch, self.asked.len());
        let Ok(local) = self.socket.local_addr() else {
            return;
        };
        let text = format!(
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKp{watch}x{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@{DOMAIN}>;tag=p{number}\r\nTo: <sip:{DOMAIN}>\r\n\
             Call-ID: probe-{watch}-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.asked.push((now, false));
        // Nobody may have the address at the moment.
        let _ = self.socket.send_to(text.as_bytes(), self.service);
    }
}
