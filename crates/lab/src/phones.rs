//! Phones: one thread that holds calls in all phases, sends and hears their sound, and asks the service whether it is there.
//!
//! They do what phones do that know nothing of clusters: they resend as RFC 3261 says (section 17), on one address, and go on.

mod call;
mod dialog;
mod probe;
mod story;
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
pub use story::Story;
use stream::Stream;

/// How long the thread rests when there is nothing to do; times are not known better than this.
const TICK: Duration = Duration::from_millis(1);
/// Time between two packets of a stream.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// How often each line keeps its way through a translator of addresses open.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
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

/// When something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// So many milliseconds after the fault, or before it.
    Fault(i64),
    /// When it is said.
    Told,
}

/// A call that is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which test it is for.
    pub test: u8,
    /// In which phase the fault is to find it.
    pub phase: Phase,
    /// The lines of the caller and of the phone that is called.
    pub lines: [usize; 2],
    /// Who is called.
    pub to: String,
    /// Nothing is between the phones that has a name of its own for the call.
    pub is_direct: bool,
    /// No phone is called, but something that answers by itself.
    pub is_to_machine: bool,
    /// When the caller dials.
    pub dial: When,
    /// When it is answered.
    pub answer: When,
}

/// Where a line of phones is, and who is there.
#[derive(Debug)]
pub struct Seat<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Whose line it is, who makes calls.
    pub user: &'a str,
    /// Who else is called there.
    pub others: Vec<String>,
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
    /// Of further addresses that were asked: the longest time between two answers, and whether they answered at the end.
    pub others: Vec<(Duration, bool)>,
}

/// What the calls came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many there were.
    pub calls: usize,
    /// Why those were lost that were: the phase, and what happened.
    pub lost: Vec<String>,
    /// What there is to be told of each.
    pub stories: Vec<Story>,
}

/// What the thread works on.
#[derive(Debug)]
struct Desk {
    lines: Vec<Line>,
    prober: Prober,
    /// They ask other addresses.
    others: Vec<Prober>,
    calls: Vec<Call>,
    next_packets: Instant,
    next_keep_alive: Instant,
}

/// The phones of a laboratory.
#[derive(Debug)]
pub struct Phones {
    desk: Arc<Mutex<Desk>>,
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
    placed: u64,
}

impl Phones {
    /// Registers two phones on one host and begins.
    ///
    /// # Errors
    /// No socket can be opened, or the service does not take the registration.
    pub fn start(host: &Host, address: Ipv4Addr, service: SocketAddr) -> Result<Phones, Error> {
        let seats = USERS.map(|user| Seat {
            host,
            address,
            user,
            others: Vec::new(),
        });
        Phones::seated(&seats, service, &[])
    }

    /// Registers a line of phones at each seat, and begins; from the first seat further addresses are asked whether they are there.
    ///
    /// # Errors
    /// No socket can be opened, or the service does not take a registration.
    pub fn seated(
        seats: &[Seat<'_>],
        service: SocketAddr,
        asked: &[SocketAddr],
    ) -> Result<Phones, Error> {
        let mut lines = Vec::new();
        for seat in seats {
            let opened = seat.host.within(|| socket(seat.address))?;
            let mut line = Line::new(opened, seat.address, service, Account::of(seat.user));
            line.register()?;
            for user in &seat.others {
                line.register_as(&Account::of(user))?;
            }
            lines.push(line);
        }
        let first = &seats[0];
        let prober = |to: SocketAddr| -> Result<Prober, Error> {
            let opened = first.host.within(|| socket(first.address))?;
            Ok(Prober::new(opened, to))
        };
        let desk = Desk {
            lines,
            prober: prober(service)?,
            others: asked
                .iter()
                .map(|to| prober(*to))
                .collect::<Result<_, _>>()?,
            calls: Vec::new(),
            next_packets: Instant::now(),
            next_keep_alive: Instant::now(),
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
        let order = Order {
            test: 0,
            phase,
            lines: [0, 1],
            to: USERS[1].to_owned(),
            is_direct: true,
            is_to_machine: false,
            dial: When::Told,
            answer: When::Told,
        };
        self.order(&order, [host, host])?;
        if let Some(call) = self.desk().calls.last_mut() {
            (call.dial_at, call.answer_at) = (Some(at), answer_at);
        }
        Ok(())
    }

    /// Has a call made between two lines, whose hosts these are.
    ///
    /// # Errors
    /// No socket can be opened for its sound.
    pub fn order(&mut self, order: &Order, hosts: [&Host; 2]) -> Result<(), Error> {
        self.placed += 1;
        let addresses = order.lines.map(|line| self.desk().lines[line].address);
        let open = |end: usize| -> Result<Stream, Error> {
            let opened = hosts[end].within(|| socket(addresses[end]))?;
            Ok(Stream::new(opened)?)
        };
        let streams = [open(0)?, open(1)?];
        let call = Call::new(self.placed, order, Instant::now(), streams);
        self.desk().calls.push(call);
        Ok(())
    }

    /// When the fault comes: all that hangs on it is done accordingly.
    pub fn fault_at(&self, fault_at: Instant) {
        let mut desk = self.desk();
        desk.calls
            .iter_mut()
            .for_each(|call| call.fault_at(fault_at));
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
                Phase::Dialling => call.dial_at = Some(at()),
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
        desk.others.iter_mut().for_each(|other| other.begin(now));
        desk.calls.iter_mut().for_each(|call| call.begin_watch(now));
    }

    /// Whether the service answers while it is measured.
    pub fn is_answered(&self) -> bool {
        self.desk().prober.is_answered(Instant::now())
    }

    /// Ends the measurement.
    pub fn unwatch(&self) -> Noticed {
        let (mut desk, now) = (self.desk(), Instant::now());
        let (service_gap, since, is_back) = desk.prober.end(now);
        let others = desk.others.iter_mut().map(|other| {
            let (gap, _, is_back) = other.end(now);
            (gap, is_back)
        });
        let others = others.collect();
        desk.calls.iter_mut().for_each(|call| call.end_watch(now));
        let established = desk
            .calls
            .iter()
            .filter(|call| call.phase == Phase::Established);
        Noticed {
            service_gap,
            since,
            is_back,
            media_gaps: established.flat_map(|call| call.story().gaps).collect(),
            others,
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
            call.hang_up(number % 2);
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
            stories: calls.iter().map(Call::story).collect(),
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
        for other in &mut self.others {
            other.turn(now);
        }
        if now >= self.next_keep_alive {
            self.next_keep_alive = now + KEEP_ALIVE;
            self.lines.iter().for_each(Line::keep_alive);
        }
        for line in 0..self.lines.len() {
            for _ in 0..BURST_MAX {
                let Some(message) = self.lines[line].receive() else {
                    break;
                };
                self.take(line, &message, now);
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

    fn take(&mut self, line: usize, message: &Message, now: Instant) {
        for call in &mut self.calls {
            if let Some(end) = call.end_of(line, message) {
                call.take(end, message, &mut self.lines, now);
                return;
            }
            if call.is_of_other(line, message, &self.lines[line]) {
                return;
            }
        }
        let Some(user) = message.invited() else {
            return;
        };
        if let Some(call) = self.calls.iter_mut().find(|call| call.awaits(line, user)) {
            call.invited(message, &self.lines[line]);
        }
    }
}
