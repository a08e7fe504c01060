//! All links of a node.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::credentials::Credentials;
use super::error::PeerError;
use super::greeting::{Greeting, PEERS_MAX};
use super::handshake;
use super::link::{Lane, Link};
use crate::clock::Boottime;
use crate::poll::{Interest, Poller, Ready, Token, Waker};

/// Connections from elsewhere whose handshakes go on at one time; more are closed at once.
const HANDSHAKES_MAX: usize = 16;
/// How often a node that is not linked is tried again.
const DIAL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a node that refuses us, or that we refuse, is left alone.
const REFUSED_INTERVAL: Duration = Duration::from_secs(2);
/// How often something is sent on each link, so that one that leads nowhere is noticed.
const ALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a link may bring nothing.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Who this node is.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name, as in its certificate.
    pub name: String,
    /// Its number, below [`PEERS_MAX`].
    pub number: u8,
    /// Lines, `subject = value`, that both ends of a link have to agree on where both have them.
    pub agreement: String,
}

/// Where another node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// Its address for links.
    pub address: SocketAddr,
}

/// What became of links.
#[derive(Debug)]
pub enum News {
    /// There is one to this node.
    Up {
        /// The node.
        node: u8,
    },
    /// It ended; nothing of it comes any more.
    Down {
        /// The node.
        node: u8,
        /// Why.
        error: PeerError,
    },
    /// One was not made.
    Refused {
        /// The node's name, or a stranger's address.
        who: String,
        /// Why.
        error: PeerError,
    },
}

/// What the threads share.
struct Hub {
    options: PeerOptions,
    credentials: RwLock<Arc<Credentials>>,
    places: Mutex<Vec<Place>>,
    arrivals: Mutex<Vec<Arrival>>,
    handshakes: AtomicUsize,
    /// Nodes that are linked, or being dialed, as bits.
    busy: AtomicU64,
    is_over: AtomicBool,
    waker: Waker,
}

enum Arrival {
    Linked(u8, Box<Link>),
    Refused(String, PeerError),
}

struct Held {
    link: Box<Link>,
    heard: Boottime,
    said: Boottime,
}

/// The links of a node, as the thread that serves them sees them.
pub struct Peers {
    hub: Arc<Hub>,
    links: Vec<Option<Held>>,
    token_base: u64,
    local: SocketAddr,
    dialer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// Listens on `listen`. Links that come are told of through `waker`; they are watched under tokens
    /// `token_base..token_base + PEERS_MAX`.
    ///
    /// # Errors
    /// [`PeerError::Listen`], or no threads.
    pub fn start(
        options: PeerOptions,
        listen: SocketAddr,
        credentials: Credentials,
        waker: Waker,
        token_base: u64,
    ) -> Result<Peers, PeerError> {
        let listen_error = |error| PeerError::Listen {
            address: listen,
            error,
        };
        let listener = TcpListener::bind(listen).map_err(listen_error)?;
        let local = listener.local_addr().map_err(listen_error)?;
        let hub = Arc::new(Hub {
            options,
            credentials: RwLock::new(Arc::new(credentials)),
            places: Mutex::new(Vec::new()),
            arrivals: Mutex::new(Vec::new()),
            handshakes: AtomicUsize::new(0),
            busy: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            waker,
        });
        let (one, other) = (hub.clone(), hub.clone());
        spawn("peer-accept", move || accept(&one, &listener))?;
        let dialer = spawn("peer-dial", move || dial(&other))?;
        Ok(Peers {
            hub,
            links: (0..PEERS_MAX).map(|_| None).collect(),
            token_base,
            local,
            dialer: Some(dialer),
        })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Says where the other nodes are. Of two nodes the one with the lower number dials.
    pub fn set_places(&self, places: Vec<Place>) {
        let own = self.hub.options.number;
        let others = places.into_iter().filter(|place| place.number != own);
        *lock(&self.hub.places) = others.collect();
        self.wake_dialer();
    }

    /// A handle by which certificates are replaced while the node runs.
    pub fn renewal(&self) -> Renewal {
        Renewal(self.hub.clone())
    }

    /// Whether there is a link to a node.
    pub fn is_linked(&self, node: u8) -> bool {
        self.links
            .get(usize::from(node))
            .is_some_and(Option::is_some)
    }

    /// Bytes that wait for a node here.
    pub fn waiting_bytes(&self, node: u8) -> usize {
        let held = self.links.get(usize::from(node)).and_then(Option::as_ref);
        held.map_or(0, |held| held.link.waiting_bytes())
    }

    /// Whether what is ready is a link.
    pub fn is_link(&self, token: Token) -> bool {
        (self.token_base..self.token_base + PEERS_MAX as u64).contains(&token.0)
    }

    /// Takes the links that were made since the last time. The end of one that is replaced is told before the
    /// beginning of the next.
    pub fn settle(&mut self, now: Boottime, poller: &Poller, news: &mut Vec<News>) {
        let arrivals = std::mem::take(&mut *lock(&self.hub.arrivals));
        for arrival in arrivals {
            match arrival {
                Arrival::Refused(who, error) => news.push(News::Refused { who, error }),
                Arrival::Linked(node, link) => {
                    self.end(node, PeerError::Replaced, poller, news);
                    let token = Token(self.token_base + u64::from(node));
                    if let Err(error) = poller.add(&link.socket, token, Interest::Readable) {
                        let error = PeerError::Connection { error };
                        let who = self.name_of(node);
                        news.push(News::Refused { who, error });
                        continue;
                    }
                    self.hub.busy.fetch_or(1 << node, Ordering::AcqRel);
                    self.links[usize::from(node)] = Some(Held {
                        link,
                        heard: now,
                        said: now,
                    });
                    news.push(News::Up { node });
                }
            }
        }
    }

    fn name_of(&self, node: u8) -> String {
        let places = lock(&self.hub.places);
        let place = places.iter().find(|place| place.number == node);
        place.map_or_else(|| format!("node {node}"), |place| place.name.clone())
    }

    /// Takes what a link has brought, after the poller has said that it is ready. `each` gets the node and a whole
    /// frame.
    pub fn receive(
        &mut self,
        now: Boottime,
        ready: &Ready,
        poller: &Poller,
        mut each: impl FnMut(u8, &[u8]),
        news: &mut Vec<News>,
    ) {
        let node = ready.token.0.wrapping_sub(self.token_base);
        let (Ok(node), Some(Some(held))) = (u8::try_from(node), self.links.get_mut(node as usize))
        else {
            return;
        };
        if ready.readable || ready.error {
            match held.link.receive(|frame| each(node, frame)) {
                Ok(true) => held.heard = now,
                Ok(false) => {}
                Err(error) => self.end(node, error, poller, news),
            }
        }
    }

    /// Takes what came together with the greeting, before the poller says anything.
    pub fn receive_first(
        &mut self,
        node: u8,
        poller: &Poller,
        mut each: impl FnMut(u8, &[u8]),
        news: &mut Vec<News>,
    ) {
        if let Some(Some(held)) = self.links.get_mut(usize::from(node))
            && let Err(error) = held.link.receive(|frame| each(node, frame))
        {
            self.end(node, error, poller, news);
        }
    }

    /// Queues a frame for a node; what has no link is dropped. A queue that is full ends the link.
    pub fn send(
        &mut self,
        to: u8,
        lane: Lane,
        frame: &[u8],
        poller: &Poller,
        news: &mut Vec<News>,
    ) {
        if let Some(Some(held)) = self.links.get_mut(usize::from(to))
            && let Err(error) = held.link.send(lane, frame)
        {
            self.end(to, error, poller, news);
        }
    }

    /// Sends what is queued, and ends links on which nothing comes.
    pub fn flush(&mut self, now: Boottime, poller: &Poller, news: &mut Vec<News>) {
        for node in 0..PEERS_MAX as u8 {
            let Some(held) = &mut self.links[usize::from(node)] else {
                continue;
            };
            if now.since(held.said) >= ALIVE_INTERVAL {
                held.said = now;
                // A full queue is heard of when it is used.
                let _ = held.link.send(Lane::Urgent, &[0; 4]);
            }
            let result = if now.since(held.heard) > SILENCE_MAX {
                Err(PeerError::Silent)
            } else {
                held.link.flush()
            };
            match result {
                Ok(wants) if wants == held.link.wants_write => {}
                Ok(wants) => {
                    held.link.wants_write = wants;
                    let interest = match wants {
                        true => Interest::ReadableAndWritable,
                        false => Interest::Readable,
                    };
                    let token = Token(self.token_base + u64::from(node));
                    if let Err(error) = poller.modify(&held.link.socket, token, interest) {
                        self.end(node, PeerError::Connection { error }, poller, news);
                    }
                }
                Err(error) => self.end(node, error, poller, news),
            }
        }
    }

    /// How long the thread may sleep as far as links are concerned, while there are any.
    pub fn pause_max(&self) -> Option<Duration> {
        let any = self.links.iter().any(Option::is_some);
        any.then_some(ALIVE_INTERVAL)
    }

    fn end(&mut self, node: u8, error: PeerError, poller: &Poller, news: &mut Vec<News>) {
        if let Some(held) = self.links[usize::from(node)].take() {
            // Closing it does the same.
            let _ = poller.remove(&held.link.socket);
            self.hub.busy.fetch_and(!(1 << node), Ordering::AcqRel);
            self.wake_dialer();
            news.push(News::Down { node, error });
        }
    }

    fn wake_dialer(&self) {
        if let Some(dialer) = &self.dialer {
            dialer.thread().unpark();
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.hub.is_over.store(true, Ordering::Release);
        self.wake_dialer();
        // Ends the wait in accept.
        let _ = TcpStream::connect_timeout(&self.local, Duration::from_millis(100));
    }
}

/// Replaces the certificates that links are made with from then on.
#[derive(Clone)]
pub struct Renewal(Arc<Hub>);

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewal")
    }
}

impl Renewal {
    /// Links that are there go on with what they began with.
    pub fn replace(&self, credentials: Credentials) {
        let mut held = self
            .0
            .credentials
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(credentials);
    }

    /// What is in force.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.0.credentials()
    }
}

impl Hub {
    fn credentials(&self) -> Arc<Credentials> {
        let held = self
            .credentials
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    fn greeting(&self) -> Greeting {
        Greeting {
            cluster: self.options.cluster.clone(),
            name: self.options.name.clone(),
            number: u64::from(self.options.number),
            agreement: self.options.agreement.clone(),
        }
    }

    fn arrive(&self, arrival: Arrival) {
        let mut arrivals = lock(&self.arrivals);
        // Each handshake leaves one, and there are few at a time; a thread that hangs is not buried in them.
        if arrivals.len() < PEERS_MAX + HANDSHAKES_MAX {
            arrivals.push(arrival);
        }
        drop(arrivals);
        self.waker.wake();
    }

    /// The number of a node that greeted, if it is the one that we know by this name.
    fn known(&self, greeting: &Greeting) -> Result<u8, PeerError> {
        let places = lock(&self.places);
        let place = places.iter().find(|place| {
            place.name == greeting.name && u64::from(place.number) == greeting.number
        });
        place
            .map(|place| place.number)
            .ok_or_else(|| PeerError::Unknown {
                name: greeting.name.clone(),
                number: greeting.number,
            })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, PeerError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| PeerError::Connection { error })
}

fn accept(hub: &Arc<Hub>, listener: &TcpListener) {
    for socket in listener.incoming() {
        if hub.is_over.load(Ordering::Acquire) {
            return;
        }
        let Ok(socket) = socket else {
            // No descriptors, say: what waits keeps waiting.
            thread::sleep(DIAL_INTERVAL);
            continue;
        };
        if hub.handshakes.fetch_add(1, Ordering::AcqRel) >= HANDSHAKES_MAX {
            hub.handshakes.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let then = hub.clone();
        let spawned = spawn("peer-greet", move || {
            take(&then, socket);
            then.handshakes.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            hub.handshakes.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn take(hub: &Hub, socket: TcpStream) {
    // Without the port, which each connection has another of: what one stranger does again and again is said once.
    let from = socket
        .peer_addr()
        .map_or_else(|_| String::new(), |peer| peer.ip().to_string());
    let made = handshake::accept(socket, &hub.credentials(), &hub.greeting());
    let made = made.and_then(|(greeting, link)| Ok((hub.known(&greeting)?, link)));
    hub.arrive(match made {
        Ok((node, link)) => Arrival::Linked(node, Box::new(link)),
        Err(error) => Arrival::Refused(from, error),
    });
}

/// Dials whoever has no link, each on a thread of its own.
fn dial(hub: &Arc<Hub>) {
    while !hub.is_over.load(Ordering::Acquire) {
        let own = hub.options.number;
        let is_free = |place: &&Place| hub.busy.load(Ordering::Acquire) & 1 << place.number == 0;
        let due: Vec<Place> = lock(&hub.places)
            .iter()
            .filter(|place| place.number > own)
            .filter(is_free)
            .cloned()
            .collect();
        for place in due {
            hub.busy.fetch_or(1 << place.number, Ordering::AcqRel);
            let (then, bit) = (hub.clone(), 1 << place.number);
            if spawn("peer-greet", move || reach(&then, &place)).is_err() {
                hub.busy.fetch_and(!bit, Ordering::AcqRel);
            }
        }
        thread::park_timeout(DIAL_INTERVAL);
    }
}

fn reach(hub: &Hub, place: &Place) {
    let (credentials, own) = (hub.credentials(), hub.greeting());
    let made = handshake::dial(place.address, &place.name, &credentials, &own);
    let made = made.and_then(|(greeting, link)| Ok((hub.known(&greeting)?, link)));
    match made {
        Ok((node, link)) if node == place.number => {
            hub.arrive(Arrival::Linked(node, Box::new(link)));
        }
        Ok((_, _)) => free(hub, place, PeerError::Garbage),
        Err(error) => free(hub, place, error),
    }
}

/// Notes that a node was not reached, and lets it be tried again after a while.
fn free(hub: &Hub, place: &Place, error: PeerError) {
    let is_away = matches!(error, PeerError::Connection { .. } | PeerError::Slow);
    hub.arrive(Arrival::Refused(place.name.clone(), error));
    thread::sleep(if is_away {
        DIAL_INTERVAL
    } else {
        REFUSED_INTERVAL
    });
    hub.busy.fetch_and(!(1 << place.number), Ordering::AcqRel);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
