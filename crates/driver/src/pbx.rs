//! A node's PBX: one thread with sockets for SIP and the core, media threads beside it, and what answers its
//! questions on tokio.
//!
//! Rooms, queues and parked calls need one owner, so all calls of a PBX are decided on by one thread; sound is
//! the media threads' affair (`voice`).

mod around;
mod cdr;
mod inbox;
mod inspect;
mod left;
mod outside;
mod sounds;
mod thread;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audio::tone::Country;
use net::poll::Poller;
use net::udp::{UdpOptions, UdpSocket};
use pbx::Pbx;
use pbx::plan::Plan;
use store::{Objects, Store};

pub use cdr::CdrPlaces;
pub use inspect::PbxSnapshot;
pub use outside::Notify;

use crate::clock::Clock;
use crate::voice::{OpenedVoices, VoiceError, VoiceSink, Voices};
use crate::worker::Port;
use around::Around;
use inbox::{Inbox, Item};
use outside::Outside;
use sounds::Sounds;
use thread::{Desk, Files, PbxThread};

/// How long whoever looks at a PBX waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long records of calls may take to be written at the end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What a PBX is started with.
pub struct PbxOptions {
    /// Where it listens for SIP over UDP.
    pub listen: SocketAddr,
    /// What an operator may set for calls.
    pub settings: pbx::Settings,
    /// The dialplan.
    pub plan: Arc<Plan>,
    /// Ports for sound.
    pub voice: crate::voice::VoiceSettings,
    /// Where recordings and messages are kept.
    pub objects: Option<Objects>,
    /// Whose tones are played.
    pub country: Country,
    /// The operator's own prompts.
    pub prompts: Option<PathBuf>,
    /// Where records of calls go.
    pub cdrs: CdrPlaces,
    /// Where records of calls are written to, beside the file.
    pub store: Option<Store>,
    /// Who is told of new voice messages.
    pub notify: Option<Arc<dyn Notify>>,
    /// A file that counts the starts of the PBX, so that no two give out the same numbers.
    pub epoch_file: PathBuf,
}

/// Why a PBX did not start.
#[derive(Debug)]
pub enum PbxError {
    /// Its address cannot be used.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Its ports for sound cannot be used.
    Voice(VoiceError),
    /// A file in the data folder cannot be used.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system gives no thread, no descriptor or no random numbers.
    System(io::Error),
}

impl fmt::Display for PbxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PbxError::Listen { address, error } => write!(
                f,
                "the PBX cannot listen on {address}: {error}; name a free address of this machine in pbx.listen"
            ),
            PbxError::Voice(error) => write!(f, "{error}; see pbx.rtp_ports"),
            PbxError::File { path, error } => write!(f, "{}: {error}", path.display()),
            PbxError::System(error) => write!(f, "the PBX cannot start: {error}"),
        }
    }
}

impl std::error::Error for PbxError {}

/// A PBX that runs.
pub struct PbxNode {
    inbox: Arc<Inbox>,
    voices: Arc<Voices>,
    sounds: Arc<Sounds>,
    address: SocketAddr,
    runtime: tokio::runtime::Handle,
    ends: Mutex<Option<Ends>>,
}

/// What is waited for at the end.
struct Ends {
    thread: std::thread::JoinHandle<()>,
    left: tokio::task::JoinHandle<()>,
    cdrs: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for PbxNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PbxNode")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl PbxNode {
    /// Starts a PBX on `runtime`.
    ///
    /// # Errors
    /// [`PbxError`]; nothing runs then.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        options: PbxOptions,
    ) -> Result<PbxNode, PbxError> {
        let listen = |error| PbxError::Listen {
            address: options.listen,
            error,
        };
        let socket = UdpSocket::bind(options.listen, &UdpOptions::default()).map_err(listen)?;
        let address = socket.local_address();
        let poller = Poller::new().map_err(PbxError::System)?;
        let inbox = Arc::new(Inbox::new(poller.waker()));
        let file = |path: &PathBuf, error| PbxError::File {
            path: path.clone(),
            error,
        };
        let epoch = thread::epoch_of(&options.epoch_file)
            .map_err(|error| file(&options.epoch_file, error))?;
        let pending = options.cdrs.pending.clone();
        let (cdrs, cdr_task) = cdr::start(runtime, options.cdrs, options.store)
            .map_err(|error| file(&pending, error))?;
        let opened: OpenedVoices = crate::voice::open(&options.voice).map_err(PbxError::Voice)?;
        let voices = opened
            .start(Arc::new(Ear(inbox.clone())))
            .map_err(PbxError::Voice)?;
        let sounds = Arc::new(Sounds::new(options.prompts, options.country));
        load(sounds.clone()).map_err(PbxError::System)?;
        let clock = Clock::start();
        let now = clock.now();
        let now = pbx::Now {
            time: now.time,
            unix_ms: now.unix_ms,
        };
        let seed = seed().map_err(PbxError::System)?;
        let desk = Desk::new(options.plan);
        let outside = Outside {
            runtime: runtime.clone(),
            objects: options.objects,
            inbox: inbox.clone(),
            notify: options.notify,
        };
        let thread = PbxThread {
            clock,
            poller,
            ports: vec![Port::new(socket)],
            inbox: inbox.clone(),
            core: Pbx::new(now, seed, epoch, &options.settings, desk),
            settings: options.settings,
            around: Around {
                voices: voices.clone(),
                sounds: sounds.clone(),
            },
            outside: outside.clone(),
            cdrs,
            files: Files::default(),
        };
        let thread = std::thread::Builder::new()
            .name("pbx".to_owned())
            .spawn(move || thread.run())
            .map_err(PbxError::System)?;
        Ok(PbxNode {
            inbox,
            voices,
            sounds,
            address,
            runtime: runtime.clone(),
            ends: Mutex::new(Some(Ends {
                thread,
                left: runtime.spawn(left::keep(outside)),
                cdrs: cdr_task,
            })),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The media threads.
    pub fn voices(&self) -> &Voices {
        &self.voices
    }

    /// Takes another dialplan for new calls, other settings, or both; prompts are read again.
    pub fn reload(&self, plan: Option<Arc<Plan>>, settings: Option<pbx::Settings>) {
        // Ours do not change.
        if self.sounds.has_folder()
            && let Err(error) = load(self.sounds.clone())
        {
            tracing::error!(%error, "prompts are not read again");
        }
        self.inbox.push(Item::Reload(plan, settings.map(Box::new)));
    }

    /// Refuses new calls from now on.
    pub fn drain(&self) {
        self.inbox.push(Item::Drain);
    }

    /// How it is doing; `None` if it does not answer in time.
    pub fn snapshot(&self) -> Option<PbxSnapshot> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.inbox.push(Item::Inspect(answer));
        answered.recv_timeout(LOOK_TIMEOUT).ok()
    }

    /// Ends it: calls are left as they are, records of calls are written.
    pub fn stop(&self) {
        self.inbox.push(Item::Stop);
        let ends = self
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(ends) = ends else {
            return;
        };
        if ends.thread.join().is_err() {
            tracing::error!("the PBX's thread ended by a panic");
        }
        ends.left.abort();
        self.voices.stop();
        let written = async { tokio::time::timeout(END_TIMEOUT, ends.cdrs).await };
        let (done, is_done) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let _ = done.send(written.await.is_ok());
        });
        if !is_done.recv().unwrap_or(false) {
            tracing::warn!("records of calls are not all written; the rest is at the next start");
        }
    }
}

/// Reads prompts on a thread of its own; calls that want one before have it decoded for them.
fn load(sounds: Arc<Sounds>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("prompts".to_owned());
    thread.spawn(move || sounds.load()).map(drop)
}

/// Takes what media threads hear to the pbx thread.
struct Ear(Arc<Inbox>);

impl VoiceSink for Ear {
    fn heard(&self, thread: u16, events: &mut Vec<voice::Event>) {
        self.0.push(Item::Heard(thread, std::mem::take(events)));
    }
}

fn seed() -> io::Result<(u64, u64)> {
    let word = || getrandom::u64().map_err(|error| io::Error::other(error.to_string()));
    Ok((word()?, word()?))
}
