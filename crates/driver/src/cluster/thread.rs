//! The thread that keeps the heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::checkpoint::Limits;
use cluster::checkpoint::PART_BYTES;
use cluster::rule::Rules;
use cluster::wire::Frame;
use cluster::{Identity, Incarnation, NodeId, Options, Service, ServiceId, Time};
use net::address::keeper::Keeper;
use net::address::lease::Lease;
use net::address::{ExecMover, Mover, NetlinkMover};
use net::clock::Boottime;
use net::peer::{Credentials, News, PeerError, PeerOptions, Peers, Place};
use net::poll::Poller;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use super::address::Address;
use super::coordination::{Fence, Joined, Requests, places, preference};
use super::inbox::{ClusterInbox, Order};
use super::memory::Memory;
use super::post::{self, Post, name_of};
use super::roster::Crewed;
use super::seat::{Parts, Seat, time};
use super::settings::{ClusterSettings, MoverSettings, ServiceSettings};
use super::view::{ClusterView, LinkView};
use crate::event::Event;

/// Where the tokens of links begin.
const LINK_TOKENS: u64 = 1_000;
/// Longest sleep.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes of batches that wait for members of a service.
const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// From so many days before a certificate ends on it is said.
const EXPIRY_DAYS: u64 = 30;
/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// How often that is looked at.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(DAY_S);
/// How often in a lease the process that watches this one is told that it goes on.
const BEATS_PER_LEASE: u64 = 8;
/// Between attempts to get what the machine does not give.
const ACQUIRE_RETRY: Duration = Duration::from_secs(1);
/// How often it is looked meanwhile whether the node ends.
const STOP_LOOK: Duration = Duration::from_millis(20);
/// Least time between two lines about why there is no link to one and the same.
const REASON_INTERVAL: Duration = Duration::from_secs(2);
/// Whom an event about certificates is about.
const CERTIFICATES: &str = "certificates";
/// Buckets of lateness: powers of two of microseconds.
const LATE_BUCKETS: usize = 32;

/// What the thread is made of.
pub(crate) struct ClusterThread {
    pub(crate) settings: ClusterSettings,
    pub(crate) poller: Poller,
    pub(crate) inbox: Arc<ClusterInbox>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) runtime: Handle,
    pub(crate) crews: Vec<Crewed>,
    pub(crate) random: [u64; 4],
}

/// What the machine gives: a port, and the addresses of services in the order of the crews.
struct Acquired {
    peers: Peers,
    addresses: Vec<Address>,
}

/// Why there is no link.
struct Reason {
    /// To which node, or to a stranger's address.
    who: String,
    /// As of now.
    now: String,
    /// As it was told, and when.
    told: String,
    told_at: Boottime,
}

/// What it has while it runs.
struct State {
    poller: Poller,
    peers: Peers,
    news: Vec<News>,
    requests: Requests,
    events: broadcast::Sender<Event>,
    places: Vec<Place>,
    seats: Vec<Seat>,
    settings: ClusterSettings,
    own: NodeId,
    reasons: Vec<Reason>,
    /// Who sent a frame that cannot be read.
    unread: Option<NodeId>,
    late: [u64; LATE_BUCKETS],
    late_us_max: u64,
    looked: Boottime,
    /// How often the process that watches this one is told of it, and when it was.
    beat_every: Duration,
    beaten: Boottime,
    memory: Memory,
    /// It leaves its services to others until it joins again.
    has_left: bool,
    is_over: bool,
}

impl ClusterThread {
    /// Waits for the coordinator, then runs on a thread of its own until told to stop.
    pub(crate) async fn join_and_run(self) {
        let incarnation = Incarnation(self.random[0]);
        let joined = super::coordination::join(&self.settings, incarnation, self.random[1]).await;
        let own = joined.own.index();
        tracing::info!(
            cluster = self.settings.name,
            number = own,
            "this node is in the cluster"
        );
        let services: Vec<_> = self
            .crews
            .iter()
            .map(|(service, _, _)| service.clone())
            .collect();
        let (coordinator, inbox) = (self.settings.coordinator.clone(), self.inbox.clone());
        let started = std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || {
                if let Some(acquired) = self.acquire_in_time(&joined) {
                    self.prepare(acquired, &joined, incarnation).run();
                }
            });
        if let Err(error) = started {
            tracing::error!(%error, "there is no thread for the cluster");
            return;
        }
        super::attend(coordinator, services, inbox).await;
    }

    /// Acquires what the machine has to give; tries until it does, and says why it does not. Nothing, if the end comes first.
    fn acquire_in_time(&self, joined: &Joined) -> Option<Acquired> {
        let mut told = String::new();
        loop {
            match self.acquire(joined) {
                Ok(acquired) => return Some(acquired),
                Err(error) => {
                    let words = error.to_string();
                    if words != told {
                        tracing::error!("this node takes no part in the cluster yet: {words}");
                        told = words;
                    }
                    let again_at = Instant::now() + ACQUIRE_RETRY;
                    while Instant::now() < again_at {
                        if self.inbox.is_over() {
                            return None;
                        }
                        std::thread::sleep(STOP_LOOK);
                    }
                }
            }
        }
    }

    fn acquire(&self, joined: &Joined) -> Result<Acquired, PeerError> {
        let settings = &self.settings;
        let credentials = Credentials::load(&settings.certificates, &settings.node)?;
        let options = PeerOptions {
            cluster: settings.name.clone(),
            name: settings.node.clone(),
            number: joined.own.index() as u8,
            agreement: self.agreement(),
        };
        let mut addresses = Vec::new();
        for (service, _, _) in &self.crews {
            // Dumb first, then away.
            let lease = lease(service)?;
            let mut mover = mover(service)?;
            // What an earlier life of the process may have left.
            if let Err(error) = mover.remove(Boottime::now()) {
                tracing::warn!(service = service.name, %error, "its address may be here still");
            }
            addresses.push(Address::new(service, mover, lease));
        }
        let (listen, waker) = (settings.peer_listen, self.poller.waker());
        let peers = Peers::start(options, listen, credentials, waker, LINK_TOKENS)?;
        Ok(Acquired { peers, addresses })
    }

    /// What the members of a service have to have the same.
    fn agreement(&self) -> String {
        let mut agreement = String::new();
        if let Some((service, _, _)) = self.crews.first() {
            let spans = &service.spans;
            agreement = format!(
                "lease_us = {}\nmargin_us = {}\n",
                spans.lease_us, spans.margin_us
            );
        }
        for (service, _, _) in &self.crews {
            if let Some(address) = service.address {
                agreement.push_str(&format!("service {} address = {address}\n", service.name));
            }
        }
        for (_, _, crew) in &self.crews {
            for line in crew.agreement() {
                agreement.push_str(&line);
                agreement.push('\n');
            }
        }
        agreement
    }

    fn prepare(self, acquired: Acquired, joined: &Joined, incarnation: Incarnation) -> State {
        let settings = self.settings;
        let lease_us = self
            .crews
            .first()
            .map_or(0, |(service, _, _)| service.spans.lease_us);
        let peers = acquired.peers;
        let places = places(&joined.members);
        peers.set_places(places.clone());
        let requests = Requests {
            runtime: self.runtime,
            coordinator: settings.coordinator.clone(),
            inbox: self.inbox.clone(),
            within: Duration::from_micros(lease_us.max(100_000)),
            fences: settings
                .fences
                .iter()
                .cloned()
                .map(Fence::new)
                .map(Arc::new)
                .collect(),
            events: self.events.clone(),
            answers: Arc::new(AtomicBool::new(true)),
        };
        let identity = Identity {
            node: joined.own,
            incarnation,
        };
        if let Some(pulse) = settings.pulse {
            (pulse.introduce)(identity);
        }
        let memory = Memory::open(&settings.data, joined.id.to_string(), &requests.runtime);
        let mut seats = Vec::new();
        let crews = self.crews.into_iter().zip(acquired.addresses);
        for (number, ((service, desk, crew), address)) in crews.enumerate() {
            let id = ServiceId(number_of(&service.name));
            let options = Options {
                service: id,
                identity,
                preference: preference(&service, &joined.members),
                settings: service.spans,
                seed: (self.random[2], self.random[3]),
                records_max: service.records_max,
                limits: Limits {
                    backlog_bytes_max: BACKLOG_BYTES_MAX,
                    part_bytes: PART_BYTES,
                },
                rules: Rules::default(),
            };
            requests.watch(number, &service.name);
            let mut machine = Service::new(time(), options);
            if let Some((epoch, owner)) = memory.of(&service.name) {
                machine.remember(epoch, owner);
            }
            let parts = Parts {
                service: machine,
                address,
                own: joined.own,
                settings: service,
                crew,
                desk,
            };
            seats.push(Seat::new(number, id, parts));
        }
        State {
            poller: self.poller,
            peers,
            news: Vec::new(),
            requests,
            events: self.events,
            places,
            seats,
            settings,
            own: joined.own,
            reasons: Vec::new(),
            unread: None,
            late: [0; LATE_BUCKETS],
            late_us_max: 0,
            looked: Boottime::now(),
            beat_every: Duration::from_micros(lease_us / BEATS_PER_LEASE),
            beaten: Boottime::START,
            memory,
            has_left: false,
            is_over: false,
        }
    }
}

fn mover(service: &ServiceSettings) -> Result<Mover, PeerError> {
    let failed = |error: net::address::AddressError| PeerError::Connection {
        error: std::io::Error::other(error.to_string()),
    };
    match (&service.mover, service.address) {
        (
            MoverSettings::Netlink {
                interface,
                prefix_bits,
                ..
            },
            Some(address),
        ) => NetlinkMover::new(address, *prefix_bits, interface)
            .map(Mover::Netlink)
            .map_err(failed),
        (
            MoverSettings::Exec {
                program,
                interface,
                timeout,
            },
            Some(address),
        ) => {
            let program = program.clone();
            let mover = ExecMover::new(program, Vec::new(), address, interface, *timeout);
            Ok(Mover::Exec(mover))
        }
        _ => Ok(Mover::None),
    }
}

/// Makes the address of a service dumb until this node owns it.
fn lease(service: &ServiceSettings) -> Result<Option<Keeper>, PeerError> {
    let (
        MoverSettings::Netlink {
            interface,
            kernel_lease: true,
            ..
        },
        Some(address),
    ) = (&service.mover, service.address)
    else {
        return Ok(None);
    };
    let lease = Lease::install(address, interface).map_err(|error| PeerError::Connection {
        error: std::io::Error::other(error.to_string()),
    })?;
    let (service, strength) = (&service.name, lease.strength());
    tracing::info!(service, %strength, "the kernel keeps the lease of its address");
    for shortfall in lease.shortfalls() {
        tracing::warn!(
            service,
            "the kernel keeps the lease less well than it could: {shortfall}"
        );
    }
    let keeper = Keeper::start(lease, &format!("lease-{service}"));
    let keeper = keeper.map_err(|error| PeerError::Connection { error })?;
    Ok(Some(keeper))
}

/// The number that stands for a service between nodes: FNV-1a of its name.
pub(super) fn number_of(name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step)
}

/// What a seat reaches everything else through, beside the seats.
macro_rules! post {
    ($state:ident) => {
        Post {
            poller: &$state.poller,
            peers: &mut $state.peers,
            news: &mut $state.news,
            requests: &$state.requests,
            events: &$state.events,
            places: &$state.places,
        }
    };
}

impl State {
    fn run(&mut self) {
        if let Err(error) = net::priority::urgent() {
            tracing::warn!(%error, "the thread of the heartbeats has no priority: a busy machine makes it late");
        }
        self.warn_of_expiry();
        let inbox = self.requests.inbox.clone();
        let (mut orders, mut ready) = (Vec::new(), Vec::new());
        while !self.is_over {
            self.wait(&mut ready);
            for event in &ready {
                if self.peers.is_link(event.token) {
                    let (seats, poller, unread) = (&mut self.seats, &self.poller, &mut self.unread);
                    let each = |from, frame: &[u8]| deliver(seats, from, frame, unread);
                    self.peers
                        .receive(Boottime::now(), event, poller, each, &mut self.news);
                }
            }
            self.beat();
            self.settle();
            inbox.take(&mut orders);
            for order in orders.drain(..) {
                self.order(order);
            }
            self.turn();
        }
    }

    /// Tells the process that watches this one.
    fn beat(&mut self) {
        let now = Boottime::now();
        if let Some(pulse) = self.settings.pulse
            && now.since(self.beaten) >= self.beat_every
        {
            self.beaten = now;
            (pulse.beat)();
        }
    }

    /// Sleeps until there is something to do; notes how late it woke.
    fn wait(&mut self, ready: &mut Vec<net::poll::Ready>) {
        ready.clear();
        let now = time();
        let next = self.seats.iter().map(|seat| seat.next(now)).min();
        let next = next.unwrap_or(Time::NEVER);
        let pause = self.peers.pause_max().unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        let pause = match self.settings.pulse {
            Some(_) => pause.min(self.beat_every),
            None => pause,
        };
        let timeout = pause.min(Duration::from_micros(next.since(now)));
        let slept = timeout < pause;
        match self.poller.wait(Some(timeout)) {
            Ok(events) => ready.extend_from_slice(events),
            Err(error) => {
                tracing::error!(%error, "waiting for links failed");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if slept {
            let late_us = time().since(next);
            self.late_us_max = self.late_us_max.max(late_us);
            let bucket = (u64::BITS - late_us.leading_zeros()) as usize;
            self.late[bucket.min(LATE_BUCKETS - 1)] += 1;
        }
    }

    /// Takes in links that began and ended.
    fn settle(&mut self) {
        let (seats, poller, unread) = (&mut self.seats, &self.poller, &mut self.unread);
        self.peers.settle(Boottime::now(), poller, &mut self.news);
        let mut at = 0;
        while at < self.news.len() {
            if let News::Up { node } = self.news[at] {
                let each = |from, frame: &[u8]| deliver(seats, from, frame, unread);
                self.peers.receive_first(node, poller, each, &mut self.news);
            }
            at += 1;
        }
        self.tell_news();
        if let Some(node) = self.unread.take() {
            let name = name_of(&self.places, node);
            let what = "it sends what cannot be read: is its version next to this one's?";
            if self.reason(name.clone(), what.to_owned()) {
                tracing::warn!(node = name, "{what}");
            }
        }
    }

    fn tell_news(&mut self) {
        for news in std::mem::take(&mut self.news) {
            match news {
                News::Up { node } => {
                    let Some(node) = NodeId::new(node) else {
                        continue;
                    };
                    let name = name_of(&self.places, node);
                    tracing::info!(node = name, "linked");
                    self.reasons.retain(|known| known.who != name);
                }
                News::Down { node, error } => {
                    let Some(node) = NodeId::new(node) else {
                        continue;
                    };
                    let name = name_of(&self.places, node);
                    tracing::warn!(node = name, %error, "the link ended");
                    for seat in &mut self.seats {
                        seat.disconnected(node);
                    }
                    self.reason(name, error.to_string());
                }
                News::Refused { who, error } => {
                    let reason = error.to_string();
                    if self.reason(who.clone(), reason.clone()) {
                        tracing::warn!(who, "no link: {reason}");
                    }
                }
            }
        }
    }

    /// Remembers why there is no link; whether that is to be told. A stranger may have another reason with each connection.
    fn reason(&mut self, who: String, reason: String) -> bool {
        let now = Boottime::now();
        if let Some(known) = self.reasons.iter_mut().find(|known| known.who == who) {
            known.now.clone_from(&reason);
            let is_told = known.told == reason || now.since(known.told_at) < REASON_INTERVAL;
            if !is_told {
                (known.told, known.told_at) = (reason, now);
            }
            return !is_told;
        }
        self.reasons.truncate(net::peer::PEERS_MAX);
        let (told, told_at) = (reason.clone(), now);
        self.reasons.insert(
            0,
            Reason {
                who,
                now: reason,
                told,
                told_at,
            },
        );
        true
    }

    fn turn(&mut self) {
        for at in 0..self.seats.len() {
            let mut post = post!(self);
            let seat = &mut self.seats[at];
            seat.turn(&mut post);
            self.memory.note(seat.name(), seat.known());
        }
        let now = Boottime::now();
        self.peers.flush(now, &self.poller, &mut self.news);
        self.tell_news();
        if now.since(self.looked) >= EXPIRY_INTERVAL {
            self.looked = now;
            self.warn_of_expiry();
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Answered {
                seat,
                request,
                outcome,
            } => self.seats[seat].answered(request, outcome),
            Order::Observed {
                seat,
                revision,
                record,
            } => self.seats[seat].observed(revision, record),
            Order::Fenced {
                seat,
                attempt,
                succeeded,
            } => self.seats[seat].fenced(attempt, succeeded),
            Order::Neighbours { seat, used } => {
                let post = post!(self);
                self.seats[seat].neighbours(used, &post);
            }
            Order::Members {
                places,
                preferences,
            } => {
                self.peers.set_places(places.clone());
                self.places = places;
                for (seat, preference) in self.seats.iter_mut().zip(preferences) {
                    seat.configure(&preference);
                }
            }
            Order::Switchover {
                service,
                to,
                answer,
            } => {
                let done = self.switchover(&service, to.as_deref());
                // Who asked may have stopped waiting.
                let _ = answer.try_send(done);
            }
            Order::Leave(leaving) => {
                self.has_left = leaving;
                for seat in &mut self.seats {
                    seat.set_leaving(leaving);
                }
            }
            Order::Renew => self.renew(),
            Order::Inspect(answer) => {
                let _ = answer.try_send(self.view());
            }
            Order::Stop => self.is_over = true,
        }
    }

    /// Takes the certificates that are in the folder now; links that are there go on.
    fn renew(&mut self) {
        let (folder, node) = (&self.settings.certificates, &self.settings.node);
        let read = Credentials::load(folder, node).and_then(|read| {
            read.check(unix_s())?;
            Ok(read)
        });
        match read {
            Ok(credentials) => {
                self.peers.renewal().replace(credentials);
                self.warn_of_expiry();
            }
            Err(error) => post::warn(
                &self.events,
                CERTIFICATES,
                format!("those in force stay: {error}"),
            ),
        }
    }

    /// Says so when a certificate has ended, or ends before long.
    fn warn_of_expiry(&self) {
        let (credentials, now) = (self.peers.renewal().credentials(), unix_s());
        if let Err(error) = credentials.check(now) {
            let what = format!("no link is made until this is put right: {error}");
            post::warn(&self.events, CERTIFICATES, what);
            return;
        }
        let left_days = |until: u64| until.saturating_sub(now) / DAY_S;
        let node = &self.settings.node;
        let days = left_days(credentials.expires_at_unix_s);
        if days < EXPIRY_DAYS {
            let what = format!(
                "this node's certificate ends in {days} days: run `holdline certs renew {node} --ca FOLDER` where the authority is, copy the \
                 files here, and `holdline reload`"
            );
            post::warn(&self.events, CERTIFICATES, what);
        }
        let days = left_days(credentials.authority_expires_at_unix_s);
        if days < EXPIRY_DAYS {
            let what = format!(
                "the authority's certificate ends in {days} days: make another authority by `holdline certs init`, and the files of all nodes anew"
            );
            post::warn(&self.events, CERTIFICATES, what);
        }
    }

    fn switchover(&mut self, service: &str, to: Option<&str>) -> Result<(), String> {
        let to = match to {
            None => None,
            Some(name) => {
                let found = self.places.iter().find(|place| place.name == name);
                let node = found.and_then(|place| NodeId::new(place.number));
                Some(node.ok_or_else(|| format!("no node {name} has registered"))?)
            }
        };
        let seat = self.seats.iter_mut().find(|seat| seat.name() == service);
        let seat = seat.ok_or_else(|| format!("this node is no member of a service {service}"))?;
        let done = seat.switchover(to);
        done.map_err(|error| match error {
            cluster::Error::NotOwner => {
                format!(
                    "this node does not own {service}; {}",
                    seat.whom_to_ask(&self.places)
                )
            }
            cluster::Error::NoSuccessor => match to {
                Some(_) => format!("that node is not in sync for {service}, or is this one"),
                None => format!("no other member of {service} is in sync"),
            },
            other => other.to_string(),
        })
    }

    fn view(&self) -> ClusterView {
        let is_other = |place: &&Place| usize::from(place.number) != self.own.index();
        let link = |place: &Place| LinkView {
            node: place.name.clone(),
            address: place.address.to_string(),
            is_up: self.peers.is_linked(place.number),
            reason: self
                .reasons
                .iter()
                .find(|known| known.who == place.name)
                .map(|known| known.now.clone()),
        };
        let credentials = self.peers.renewal().credentials();
        ClusterView {
            name: self.settings.name.clone(),
            node: self.settings.node.clone(),
            links: self.places.iter().filter(is_other).map(link).collect(),
            services: self
                .seats
                .iter()
                .map(|seat| seat.view(&self.places))
                .collect(),
            has_left: self.has_left,
            coordinator_answers: self.requests.answers.load(Ordering::Relaxed),
            late_us_max: self.late_us_max,
            late_us_p99: self.late_us_p99(),
            certificate_ends_unix_s: credentials.expires_at_unix_s,
            authority_ends_unix_s: credentials.authority_expires_at_unix_s,
        }
    }

    fn late_us_p99(&self) -> u64 {
        let total: u64 = self.late.iter().sum();
        let mut seen = 0;
        for (bucket, count) in self.late.iter().enumerate() {
            seen += count;
            if seen * 100 >= total * 99 {
                return 1 << bucket;
            }
        }
        0
    }
}

fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Gives a frame to the service that it is about; notes who sent one that cannot be read.
fn deliver(seats: &mut [Seat], from: u8, bytes: &[u8], unread: &mut Option<NodeId>) {
    let Some(from) = NodeId::new(from) else {
        return;
    };
    // Read again by the service; the fields before what a frame carries are few.
    let Ok(frame) = Frame::read(bytes) else {
        tracing::debug!(?from, "a frame cannot be read");
        *unread = Some(from);
        return;
    };
    if let Some(seat) = seats.iter_mut().find(|seat| seat.id() == frame.service) {
        seat.receive(from, bytes);
    }
}
