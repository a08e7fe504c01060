//! Phones: one thread that holds calls in all phases, sends and hears their sound, and asks the service whether it is there.
//!
//! They do what phones do that know nothing of clusters: they resend as RFC 3261 says (section 17), on one address, and go on.

mod call;
mod dialog;
mod probe;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::world::USERS;
use crate::{Error, Host};
use call::Call;
use dialog::{Account, Line};
use probe::Prober;
use stream::Stream;

/// How long the thread rests when there is nothing to do; times are not known better than this.
const TICK: Duration = Duration::from_millis(1);
/// Time between two packets of a stream.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// Datagrams that are taken from a socket before the next one's turn.
const BURST_MAX: usize = 64;

/// In which phase the fault finds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Both talk, and hear each other.
    Established,
    /// It rings, and is answered when all is over.
    Ringing,
    /// It rings, and is answered within some milliseconds of the fault.
    Answering,
    /// The caller dials within some milliseconds of the fault.
    Dialling,
}

/// What was noticed while it was watched.
#[derive(Debug)]
pub struct Noticed {
    /// The longest time between two answers.
    pub service_gap: Duration,
    /// When that began.
    pub since: Instant,
    /// Whether it answered at the end.
    pub is_back: bool,
    /// The longest time between two packets, of each direction of each established call.
    pub media_gaps: Vec<Duration>,
}

/// What the calls came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many there were.
    pub calls: usize,
    /// Why those were lost that were: the phase, and what happened.
    pub lost: Vec<String>,
}

/// What the thread works on.
#[derive(Debug)]
struct Desk {
    lines: [Line; 2],
    prober: Prober,
    calls: Vec<Call>,
    next_packets: Instant,
}

/// The phones of a laboratory.
#[derive(Debug)]
pub struct Phones {
    desk: Arc<Mutex<Desk>>,
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
    address: Ipv4Addr,
    placed: u64,
}

impl Phones {
    /// Registers the phones and begins.
    ///
    /// # Errors
    /// No socket can be opened, or the service does not take the registration.
    pub fn start(host: &Host, address: Ipv4Addr, service: SocketAddr) -> Result<Phones, Error> {
        let open = || host.within(|| socket(address));
        let line = |user: &str| -> Result<Line, Error> {
            Ok(Line::new(open()?, address, service, Account::of(user)))
        };
        let mut lines = [line(USERS[0])?, line(USERS[1])?];
        for line in &mut lines {
            line.register()?;
        }
        let desk = Desk {
            lines,
            prober: Prober::new(open()?, service),
            calls: Vec::new(),
            next_packets: Instant::now(),
        };
        let desk = Arc::new(Mutex::new(desk));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&desk), Arc::clone(&is_over));
        let worker = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                shared
                    .lock()
                    .expect("nobody panics with it")
                    .turn(Instant::now());
                thread::sleep(TICK);
            }
        });
        Ok(Phones {
            desk,
            is_over,
            worker: Some(worker),
            address,
            placed: 0,
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nobody panics with it")
    }

    /// Has the first phone call the second one at some time, who answers at some time or when told.
    ///
    /// # Errors
    /// No socket can be opened for its sound.
    pub fn place(
        &mut self,
        host: &Host,
        phase: Phase,
        at: Instant,
        answer_at: Option<Instant>,
    ) -> Result<(), Error> {
        self.placed += 1;
        let open =
            || -> Result<Stream, Error> { Ok(Stream::new(host.within(|| socket(self.address))?)?) };
        let call = Call::new(self.placed, phase, at, answer_at, [open()?, open()?]);
        self.desk().calls.push(call);
        Ok(())
    }

    /// When those are answered that are to be answered near a fault: its time is known only now.
    pub fn schedule(&self, fault_at: Instant, apart: Duration) {
        let mut number = 0;
        for call in &mut self.desk().calls {
            // The first two before it.
            let at = || {
                (fault_at + apart * number)
                    .checked_sub(apart * 2)
                    .unwrap_or(fault_at)
            };
            match call.phase {
                Phase::Answering => call.answer_at = Some(at()),
                Phase::Dialling => call.dial_at = at(),
                Phase::Established | Phase::Ringing => continue,
            }
            number += 1;
        }
    }

    /// Whether all calls are where the fault is to find them.
    pub fn are_ready(&self) -> bool {
        self.desk().calls.iter().all(Call::is_ready)
    }

    /// Begins to measure.
    pub fn watch(&self) {
        let (mut desk, now) = (self.desk(), Instant::now());
        desk.prober.begin(now);
        desk.calls.iter_mut().for_each(|call| call.begin_watch(now));
    }

    /// Ends the measurement.
    pub fn unwatch(&self) -> Noticed {
        let (mut desk, now) = (self.desk(), Instant::now());
        let (service_gap, since, is_back) = desk.prober.end(now);
        let established = desk
            .calls
            .iter()
            .filter(|call| call.phase == Phase::Established);
        Noticed {
            service_gap,
            since,
            is_back,
            media_gaps: established.flat_map(|call| call.gaps(now)).collect(),
        }
    }

    /// Has all calls answered that ring.
    pub fn answer_all(&self) {
        let mut desk = self.desk();
        for call in &mut desk.calls {
            call.answer_at.get_or_insert_with(Instant::now);
        }
    }

    /// Whether all talk, or never will.
    pub fn have_all_answered(&self) -> bool {
        self.desk().calls.iter().all(Call::is_answered)
    }

    /// Hangs all up, by turns the caller and the one called.
    pub fn hang_up_all(&self) {
        let mut desk = self.desk();
        for (number, call) in desk.calls.iter_mut().enumerate() {
            call.hang_up_by = Some(number % 2);
        }
    }

    /// Whether all have ended.
    pub fn have_all_ended(&self) -> bool {
        self.desk().calls.iter().all(Call::is_over)
    }

    /// What the calls came to, which are forgotten.
    pub fn outcome(&self) -> Outcome {
        let calls = std::mem::take(&mut self.desk().calls);
        Outcome {
            calls: calls.len(),
            lost: calls.iter().filter_map(Call::loss).collect(),
        }
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

fn socket(address: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((IpAddr::V4(address), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Desk {
    fn turn(&mut self, now: Instant) {
        self.prober.turn(now);
        for side in 0..self.lines.len() {
            for _ in 0..BURST_MAX {
                let Some(message) = self.lines[side].receive() else {
                    break;
                };
                self.take(side, &message, now);
            }
        }
        let is_packet_due = now >= self.next_packets;
        if is_packet_due {
            // Never two at once for what was missed while the machine was busy.
            self.next_packets = (self.next_packets + PACKET_INTERVAL).max(now);
        }
        for call in &mut self.calls {
            call.turn(&mut self.lines, now);
            call.hear(now);
            if is_packet_due {
                call.speak();
            }
        }
    }

    fn take(&mut self, side: usize, message: &Message, now: Instant) {
        let call_id = message.header("Call-ID");
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == call_id) {
            call.take(side, message, &mut self.lines, now);
        }
    }
}
