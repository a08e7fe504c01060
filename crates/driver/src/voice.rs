//! The media of the PBX: its threads, their ports, and sounds in memory.
//!
//! Each thread owns its sockets and one [`voice::Voice`]. Commands come through its inbox ([`Voices::push`]); what it has to tell goes to a
//! [`VoiceSink`], once a turn. Ports are taken from a table in memory ([`Voices::take`]) and come back by themselves when an end is closed.

mod inbox;
mod library;
mod open;
mod ports;
mod thread;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use voice::{Command, EndId, Event, PortId, Report, Time, Totals};

pub use library::{LoadError, SoundLibrary};
pub use open::{OpenedVoices, VoiceError, open};

use crate::clock::Clock;
use crate::cluster::Desk;
use inbox::{Ask, VoiceInbox};
use ports::Ports;

/// Most addresses that the PBX has its media ports on.
pub const VOICE_ADDRESSES_MAX: usize = 16;

/// What the media threads are started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceSettings {
    /// The first port of the range, which is even.
    pub first_port: u16,
    /// The last one, which is odd.
    pub last_port: u16,
    /// Where the ports are.
    pub addresses: Vec<IpAddr>,
    /// The addresses need not be on this machine yet.
    pub freebind: bool,
    /// What descriptions name instead of the address of its family.
    pub advertised: Option<IpAddr>,
    /// Threads, at least one.
    pub threads: usize,
    /// The engine's own.
    pub voice: voice::Settings,
}

impl VoiceSettings {
    /// Pairs of ports in the range, on each address.
    pub fn pairs(&self) -> usize {
        (usize::from(self.last_port) + 1).saturating_sub(usize::from(self.first_port)) / 2
    }
}

/// As many media threads as suit a machine: one up to four cores, else a quarter of them.
pub fn threads_for(cores: usize) -> usize {
    (cores / 4).max(1)
}

/// Who is told what the media threads have to tell.
pub trait VoiceSink: Send + Sync + 'static {
    /// Takes events of one thread, in order, and empties them. It is called on that thread, whose packets wait meanwhile: it may lock a queue for
    /// a moment, and no more.
    fn heard(&self, thread: u16, events: &mut Vec<Event>);
}

/// A pair of sockets for one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VoicePort {
    /// The thread that has them.
    pub thread: u16,
    /// Its number there.
    pub port: PortId,
    /// What the peer is told: address and port of RTP; RTCP is on the next port.
    pub address: SocketAddr,
}

/// What one thread counts besides its engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VoiceCounters {
    /// Packets that came.
    pub received: u64,
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets that were too long.
    pub huge: u64,
    /// Packets lost because the kernel took no more.
    pub congested: u64,
    /// Packets that could not be sent for another reason.
    pub unsent: u64,
    /// Packets that the kernel dropped before we took them.
    pub kernel_drops: u64,
    /// Rounds of the loop.
    pub turns: u64,
    /// Commands refused since too many waited.
    pub commands_dropped: u64,
}

/// What one media thread is doing.
#[derive(Debug, Clone, Default)]
pub struct ThreadView {
    /// Ends at present.
    pub ends: usize,
    /// What its engine counts.
    pub totals: Totals,
    /// What it counts besides.
    pub counters: VoiceCounters,
    /// How the ends are that were asked for and are there.
    pub reports: Vec<Report>,
}

/// What the media threads are doing.
#[derive(Debug, Clone, Default)]
pub struct VoiceView {
    /// Threads that answered.
    pub threads: Vec<ThreadView>,
    /// Threads that did not in time.
    pub silent_threads: usize,
    /// Pairs of ports that belong to ends.
    pub ports_in_use: usize,
    /// Pairs of ports that are free.
    pub ports_free: usize,
    /// Times that a pair was asked for and there was none.
    pub ports_exhausted: u64,
}

/// One thread as others see it.
struct Share {
    inbox: VoiceInbox,
    /// The address that each of its sockets is bound to, by index.
    sockets: Box<[SocketAddr]>,
}

/// All media threads as others see them.
pub struct Voices {
    clock: Clock,
    advertised: Option<IpAddr>,
    /// Whether they may speak, where that is a cluster's affair.
    desk: Option<Arc<Desk>>,
    ports: Mutex<Ports>,
    shares: Vec<Share>,
    /// Thread and socket of each address that is bound, or that descriptions name instead.
    by_address: HashMap<SocketAddr, (usize, PortId)>,
    /// Pairs that were asked for and not there.
    exhausted: AtomicU64,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Voices {
    /// Those with these sockets, before they run.
    fn new(advertised: Option<IpAddr>, ports: Ports, shares: Vec<Share>) -> Voices {
        let mut voices = Voices {
            clock: Clock::start(),
            advertised,
            desk: None,
            ports: Mutex::new(ports),
            shares,
            by_address: HashMap::new(),
            exhausted: AtomicU64::new(0),
            handles: Mutex::default(),
        };
        let mut by_address = HashMap::new();
        for (thread, share) in voices.shares.iter().enumerate() {
            for (index, bound) in share.sockets.iter().enumerate() {
                let told = SocketAddr::new(voices.told(bound.ip()), bound.port());
                for address in [*bound, told] {
                    let place = (thread, PortId(index as u32));
                    by_address.entry(address).or_insert(place);
                }
            }
        }
        voices.by_address = by_address;
        voices
    }

    /// Threads.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether there is none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Now, by the clock that streams are begun with ([`voice::Stream::started_at`]).
    pub fn now(&self) -> Time {
        self.clock.voice_now()
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a pair of sockets for a peer that is reached from `local`: of the same address, or else of the first one of its family; on
    /// `thread`, where one is named, else where most are free. None: all are taken.
    pub fn take(&self, local: IpAddr, thread: Option<u16>) -> Option<VoicePort> {
        let is_open = |thread: usize| {
            let share = self.shares.get(thread);
            share.is_some_and(|share| !share.inbox.is_nearly_full())
        };
        let taken = self.ports().take(local.to_canonical(), thread, is_open);
        let Some((thread, port)) = taken else {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(self.port(thread, port))
    }

    /// Takes the pair that has this address: a call that another node had goes on with it. None: there is none, or it is taken.
    pub fn take_at(&self, address: SocketAddr) -> Option<VoicePort> {
        let (thread, port) = *self.by_address.get(&address)?;
        let is_taken = self.ports().take_this(thread, port);
        is_taken.then(|| self.port(thread, port))
    }

    /// Gives a pair back that was never opened.
    pub fn give_back(&self, port: VoicePort) {
        self.free(usize::from(port.thread), port.port);
    }

    /// A port is free again.
    fn free(&self, thread: usize, port: PortId) {
        let was_taken = self.ports().give_back(thread, port);
        debug_assert!(was_taken, "a port is given back once");
    }

    fn port(&self, thread: usize, port: PortId) -> VoicePort {
        let bound = self.shares[thread].sockets[port.0 as usize];
        VoicePort {
            thread: thread as u16,
            port,
            address: SocketAddr::new(self.told(bound.ip()), bound.port()),
        }
    }

    /// The address that a description names for one of ours.
    fn told(&self, own: IpAddr) -> IpAddr {
        let is_for =
            |advertised: &IpAddr| advertised.is_ipv4() == own.is_ipv4() && !own.is_loopback();
        self.advertised.filter(is_for).unwrap_or(own)
    }

    /// Leaves commands with a thread, in order, and empties them.
    pub fn push(&self, thread: u16, commands: &mut Vec<Command>) {
        match self.shares.get(usize::from(thread)) {
            Some(share) => share.inbox.push(commands),
            None => commands.clear(),
        }
    }

    /// Asks the threads what they are doing, and how these ends are.
    pub fn look(&self, ends: &[EndId], timeout: Duration) -> VoiceView {
        let (answer, answers) = sync_channel(self.shares.len());
        for share in &self.shares {
            share.inbox.ask(Ask {
                ends: ends.to_vec(),
                answer: answer.clone(),
            });
        }
        drop(answer);
        let deadline = Instant::now() + timeout;
        let mut view = VoiceView::default();
        for _ in &self.shares {
            let left = deadline.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(thread) => view.threads.push(thread),
                Err(_) => view.silent_threads += 1,
            }
        }
        let ports = self.ports();
        (view.ports_in_use, view.ports_free) = (ports.in_use(), ports.free());
        view.ports_exhausted = self.exhausted.load(Ordering::Relaxed);
        view
    }

    /// Ends the threads and waits for them.
    pub fn stop(&self) {
        for share in &self.shares {
            share.inbox.stop();
        }
        let handles = self.handles.lock();
        for handle in handles.unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that panicked has told so.
            let _ = handle.join();
        }
    }
}

impl std::fmt::Debug for Voices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voices")
            .field("threads", &self.shares.len())
            .finish_non_exhaustive()
    }
}

impl OpenedVoices {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, sink: Arc<dyn VoiceSink>) -> Result<Arc<Voices>, VoiceError> {
        self.start_for(sink, None)
    }

    /// The same; nothing leaves while `desk`, if there is one, does not let it.
    pub(crate) fn start_for(
        self,
        sink: Arc<dyn VoiceSink>,
        desk: Option<Arc<Desk>>,
    ) -> Result<Arc<Voices>, VoiceError> {
        if let Some((pairs, address, error)) = self.lacking {
            tracing::warn!(
                pairs,
                "pairs of ports for the PBX's media are left out, since others have them or the address is not there; the last one is {address}: {error}"
            );
        }
        let voices = Arc::new(Voices {
            desk,
            ..self.voices
        });
        for thread in self.threads {
            let (shared, sink) = (voices.clone(), sink.clone());
            let builder = std::thread::Builder::new().name(format!("voice-{}", thread.number()));
            let spawned = builder.spawn(move || thread.run(&shared, sink.as_ref()));
            match spawned {
                Ok(handle) => {
                    let handles = voices.handles.lock();
                    handles.unwrap_or_else(PoisonError::into_inner).push(handle);
                }
                Err(error) => {
                    voices.stop();
                    return Err(VoiceError::System(error));
                }
            }
        }
        Ok(voices)
    }
}

#[cfg(test)]
mod tests;
