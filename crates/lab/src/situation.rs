//! The published transactional situations: a media server that is no member of the cluster dies, and another one of the pool has to take the call.
//!
//! Situation 1: the INVITE goes to one that has just died. Situation 2: it dies after its 100 Trying, before it rings. The media servers are ours, and
//! do what any would: one that is frozen has a socket that nobody reads, one that is killed has none, which the system tells.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::phones::{Order, Phase, Phones, Seat, When};
use crate::report::{Published, Row};
use crate::world::{Farm, Plan, USERS};
use crate::{Error, Host, World};

/// Where the media servers are on their host.
const PORTS: [u16; 2] = [5_080, 5_081];
/// How long a socket that is asked for nothing rests.
const REST: Duration = Duration::from_millis(2);
/// How long a caller has before the call counts as lost; the published worst is 63 s.
const LOST_AFTER: Duration = Duration::from_secs(70);

/// When a media server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// Before the INVITE.
    One,
    /// After its 100 Trying.
    Two,
}

impl Situation {
    /// Both.
    pub const ALL: [Situation; 2] = [Situation::One, Situation::Two];

    /// The name of its row.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Situation::One => "failover-situation-1",
            Situation::Two => "failover-situation-2",
        }
    }

    /// The row, without any run.
    #[must_use]
    pub fn row(self) -> Row {
        let (title, user_ms) = match self {
            Situation::One => (
                "A call to a media server that has just died; half of them frozen, half killed.",
                4_170.0,
            ),
            Situation::Two => (
                "A media server dies after its 100 Trying; half of them frozen, half killed.",
                63_000.0,
            ),
        };
        let mut row = Row::new(self.id().to_owned(), title.to_owned());
        row.published = Some(Published {
            user_ms: Some(user_ms),
            service_ms: None,
            user_action: None,
        });
        row
    }
}

/// How a media server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It answers.
    Well,
    /// It says 100 Trying to an INVITE, and nothing more.
    Slow,
    /// It reads nothing.
    Frozen,
    /// It has no socket.
    Killed,
}

/// A media server of somebody else's.
#[derive(Debug)]
struct Server {
    health: Arc<Mutex<Health>>,
    /// What its thread has seen of that, and done.
    seen: Arc<Mutex<Option<Health>>>,
    invited: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Server {
    fn start(host: &Host, at: SocketAddr) -> Result<Server, Error> {
        let bind = move || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(at)?;
            socket.set_read_timeout(Some(REST))?;
            Ok(socket)
        };
        let first = host.within(bind)?;
        let health = Arc::new(Mutex::new(Health::Well));
        let seen = Arc::new(Mutex::new(None));
        let (invited, is_over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (state, count, stop) = (health.clone(), invited.clone(), is_over.clone());
        let done = seen.clone();
        // Its thread stays at the host, so that it can open its socket again.
        let worker = host.within(|| {
            std::thread::spawn(move || {
                let mut socket = Some(first);
                while !stop.load(Ordering::Relaxed) {
                    let health = *state.lock().expect("nobody panics with it");
                    match health {
                        Health::Killed => socket = None,
                        Health::Well | Health::Slow if socket.is_none() => socket = bind().ok(),
                        _ => {}
                    }
                    *done.lock().expect("nobody panics with it") = Some(health);
                    match health {
                        Health::Killed | Health::Frozen => {}
                        Health::Well | Health::Slow => {
                            if let Some(socket) = &socket {
                                serve(socket, health, &count);
                                continue;
                            }
                        }
                    }
                    std::thread::sleep(REST);
                }
            })
        });
        Ok(Server {
            health,
            seen,
            invited,
            is_over,
            worker: Some(worker),
        })
    }

    fn becomes(&self, health: Health) {
        *self.health.lock().expect("nobody panics with it") = health;
        // Until then it goes on as it was.
        wait(Duration::from_secs(5), || {
            *self.seen.lock().expect("nobody panics with it") == Some(health)
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

/// Answers one message, if one comes.
fn serve(socket: &UdpSocket, health: Health, invited: &AtomicU64) {
    let mut bytes = [0; 8_192];
    let Ok((size, from)) = socket.recv_from(&mut bytes) else {
        return;
    };
    let (message, at) = (Message::new(&bytes[..size]), socket.local_addr());
    let Ok(at) = at else { return };
    for answer in answers(&message, at, health) {
        // Whoever asked may be gone.
        let _ = socket.send_to(answer.as_bytes(), from);
    }
    if message.invited().is_some() {
        invited.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a media server says to a message.
fn answers(message: &Message, at: SocketAddr, health: Health) -> Vec<String> {
    let contact = format!("Contact: <sip:ivr@{at}>\r\n");
    let description = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n",
        at.ip()
    );
    let typed = format!("{contact}Content-Type: application/sdp\r\n");
    match (message.status(), message.cseq_method()) {
        (Some(_), _) | (None, "ACK" | "") => Vec::new(),
        (None, "INVITE") if health == Health::Slow => {
            vec![message.answer("100 Trying", "m", "", "")]
        }
        (None, "INVITE") => vec![
            message.answer("100 Trying", "m", "", ""),
            message.answer("180 Ringing", "m", &contact, ""),
            message.answer("200 OK", "m", &typed, &description),
        ],
        (None, _) => vec![message.answer("200 OK", "m", &contact, "")],
    }
}

/// A laboratory for both situations.
#[derive(Debug)]
pub struct Situations {
    phones: Phones,
    /// The first one is asked first, and dies.
    servers: [Server; 2],
    world: World,
}

impl Situations {
    /// Builds it.
    ///
    /// # Errors
    /// No rights, no etcd, or something does not come up.
    pub fn build(mut plan: Plan) -> Result<Situations, Error> {
        let address = match plan.is_loopback {
            true => std::net::Ipv4Addr::LOCALHOST,
            false => World::FARM,
        };
        let at = PORTS.map(|port| match plan.is_loopback {
            // Some other laboratory may have those.
            true => UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr()),
            false => Ok(SocketAddr::from((address, port))),
        });
        let [first, second] = at;
        let at = [first?, second?];
        plan.farm = Farm::Others(at.to_vec());
        let mut world = World::begun(plan)?;
        let servers = [
            Server::start(world.farm(), at[0])?,
            Server::start(world.farm(), at[1])?,
        ];
        world.complete()?;
        let (host, address) = world.phones();
        let seat = Seat {
            host,
            address,
            user: USERS[0],
            others: Vec::new(),
        };
        let phones = Phones::seated(&[seat], world.service(), &[])?;
        Ok(Situations {
            phones,
            servers,
            world,
        })
    }

    /// Makes one run with a server that is killed, or else frozen; gives a line that tells of it.
    ///
    /// # Errors
    /// The pool does not come to rest: the laboratory is of no more use then.
    pub fn run(
        &mut self,
        situation: Situation,
        number: usize,
        row: &mut Row,
    ) -> Result<String, Error> {
        let death = match number.is_multiple_of(2) {
            true => Health::Frozen,
            false => Health::Killed,
        };
        let first = &self.servers[0];
        first.becomes(match situation {
            Situation::One => Health::Well,
            Situation::Two => Health::Slow,
        });
        self.world.settled()?;
        // Deaths fall anywhere between two probes.
        std::thread::sleep(Duration::from_millis((number as u64 * 37) % 250));
        let order = Order {
            test: situation as u8 + 1,
            phase: Phase::Dialling,
            lines: [0, 0],
            to: "800".to_owned(),
            is_direct: false,
            is_to_machine: true,
            dial: When::Now,
            answer: When::Told,
        };
        let (host, _) = self.world.phones();
        let died = match situation {
            Situation::One => {
                first.becomes(death);
                let died = Instant::now();
                self.phones.order(&order, [host, host])?;
                died
            }
            Situation::Two => {
                let before = first.invited.load(Ordering::Relaxed);
                self.phones.order(&order, [host, host])?;
                wait(Duration::from_secs(5), || {
                    first.invited.load(Ordering::Relaxed) > before
                });
                // For the edge to have read the 100.
                std::thread::sleep(Duration::from_millis(10));
                let died = Instant::now();
                first.becomes(death);
                died
            }
        };
        wait(LOST_AFTER, || self.phones.have_all_answered());
        self.phones.hang_up_all();
        wait(Duration::from_secs(16), || self.phones.have_all_ended());
        let outcome = self.phones.outcome();
        row.runs += 1;
        let mut line = format!("{death:?}");
        for story in outcome.stories {
            row.calls += 1;
            if let Some(loss) = story.loss {
                row.user_actions += 1;
                line += &format!(", lost: {loss}");
                row.lost.push(loss);
            } else if let Some(alive_at) = story.alive_at {
                let waited = alive_at.saturating_duration_since(died);
                line += &format!(", {} ms", waited.as_millis());
                row.user.add(waited);
            }
        }
        Ok(line)
    }
}

fn wait(patience: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() && Instant::now() < deadline {
        std::thread::sleep(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_to_die_says_100_and_nothing_more() {
        let invite = Message::new(
            b"INVITE sip:800@a SIP/2.0\r\nVia: v\r\nTo: <sip:800@a>\r\nCSeq: 1 INVITE\r\n\r\n",
        );
        let at = SocketAddr::from(([10, 0, 0, 1], 5_080));
        let said = answers(&invite, at, Health::Slow);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("SIP/2.0 100 Trying\r\nVia: v\r\n"));
        assert_eq!(answers(&invite, at, Health::Well).len(), 3);
        let ack = Message::new(b"ACK sip:800@a SIP/2.0\r\nCSeq: 1 ACK\r\n\r\n");
        assert!(answers(&ack, at, Health::Well).is_empty());
    }

    #[test]
    fn the_rows_have_the_published_figures() {
        let [one, two] = Situation::ALL.map(Situation::row);
        assert_eq!(
            one.json(&crate::report::Limits::of(1.0))["paper"]["user_ms"],
            4_170.0
        );
        assert_eq!(two.id, "failover-situation-2");
    }
}
