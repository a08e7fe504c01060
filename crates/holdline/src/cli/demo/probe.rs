//! Asks a service again and again while something is done to it, as an impatient phone would.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From question to question.
const APART: Duration = Duration::from_millis(5);
/// How long it is asked at least, and at most.
const SPAN_MIN: Duration = Duration::from_millis(1_500);
const SPAN_MAX: Duration = Duration::from_secs(20);
/// An answer within this time means that it is there.
const FRESH: Duration = Duration::from_millis(50);

/// What was found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The longest time without an answer, in milliseconds.
    pub(super) away_ms: u64,
    /// It answers, and has done so for a moment.
    pub(super) is_back: bool,
}

/// Somebody who asks.
#[derive(Debug)]
pub(super) struct Probe {
    found: Arc<Mutex<Found>>,
}

impl Probe {
    /// Begins to ask.
    ///
    /// # Errors
    /// There is no socket or thread.
    pub(super) fn start(service: SocketAddr) -> io::Result<Probe> {
        let socket = UdpSocket::bind((service.ip(), 0))?;
        socket.set_read_timeout(Some(APART))?;
        let found = Arc::new(Mutex::new(Found::default()));
        let shown = found.clone();
        std::thread::Builder::new()
            .name("demo-probe".to_owned())
            .spawn(move || ask(&socket, service, &shown))?;
        Ok(Probe { found })
    }

    /// What was found so far.
    pub(super) fn found(&self) -> Found {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask(socket: &UdpSocket, service: SocketAddr, shown: &Mutex<Found>) {
    let begun = Instant::now();
    let (mut answered, mut asked) = (begun, None::<Instant>);
    let (mut longest, mut number) = (Duration::ZERO, 0_u32);
    let own = socket.local_addr().unwrap_or(service);
    let mut room = [0; 2_048];
    loop {
        let now = Instant::now();
        if asked.is_none_or(|asked| now - asked >= APART) {
            asked = Some(now);
            number += 1;
            // One that is refused is without an answer.
            let _ = socket.send_to(question(service, own, number).as_bytes(), service);
        }
        let has_answer = matches!(socket.recv_from(&mut room), Ok((1.., _)));
        let now = Instant::now();
        longest = longest.max(now - answered);
        if has_answer {
            answered = now;
        }
        let passed = now - begun;
        let is_there = now - answered < FRESH;
        let is_over = passed >= SPAN_MAX || passed >= SPAN_MIN && is_there;
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = Found {
            away_ms: longest.as_millis() as u64,
            is_back: is_there && (is_over || passed >= SPAN_MIN / 3),
        };
        if is_over {
            return;
        }
    }
}

/// OPTIONS, which asks for nothing (RFC 3261 section 11).
fn question(service: SocketAddr, own: SocketAddr, number: u32) -> String {
    let port = own.port();
    format!(
        "OPTIONS sip:{service} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKdemo{port}-{number};rport\r\n\
         Max-Forwards: 1\r\nFrom: <sip:demo@{own}>;tag=d{port}\r\nTo: <sip:{service}>\r\n\
         Call-ID: demo-{port}-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_without_an_answer_is_found() {
        let service = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = service.local_addr().expect("bound");
        let probe = Probe::start(address).expect("it asks");
        let begun = Instant::now();
        let mut room = [0; 2_048];
        while !probe.found().is_back {
            let (length, from) = service.recv_from(&mut room).expect("a question");
            if begun.elapsed() > Duration::from_millis(200) {
                service.send_to(&room[..length], from).expect("answered");
            }
            assert!(begun.elapsed() < SPAN_MAX);
        }
        let away_ms = probe.found().away_ms;
        assert!((195..1_500).contains(&away_ms), "{away_ms}");
    }
}
