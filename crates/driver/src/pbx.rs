//! A node's PBX: one thread with sockets for SIP and the core, media threads beside it, and what answers its
//! questions on tokio.
//!
//! Rooms, queues and parked calls need one owner, so all calls of a PBX are decided on by one thread; sound is
//! the media threads' affair (`voice`).

mod around;
mod cdr;
mod crew;
mod hand_over;
mod inbox;
mod inspect;
mod left;
mod lines;
mod news;
mod office;
mod outside;
mod sounds;
mod thread;
mod underway;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audio::tone::Country;
use net::poll::Poller;
use net::udp::{UdpOptions, UdpSocket};
use pbx::Pbx;
use pbx::plan::Plan;
use store::{Objects, Store};

pub use cdr::CdrPlaces;
pub use hand_over::{HandOverOptions, Handed, HandingOver, NotHanded, Notify};
pub use inspect::PbxSnapshot;
pub use news::{PbxEvent, PbxKept, PbxListener};

use crate::clock::Clock;
use crate::cluster::{Desk, Roster, ServiceSettings};
use crate::voice::{VoiceError, VoiceSink, Voices};
use crate::worker::Port;
use around::Around;
use crew::PbxCrew;
use hand_over::HandOver;
use inbox::{Inbox, Item};
use news::News;
use office::Office;
use outside::Outside;
use sounds::Sounds;
use thread::{Files, PbxThread, Shown, Switchboard};

/// How long whoever looks at a PBX waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long records of calls may take to be written at the end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Prompts, tones and music in memory.
#[derive(Clone)]
pub struct Prompts(Arc<Sounds>);

impl Prompts {
    /// The operator's own in `folder` and ours, with the tones of `country`. They are decoded here, so that no call waits for that: call it where
    /// waiting is allowed.
    pub fn load(folder: Option<PathBuf>, country: Country) -> Prompts {
        let sounds = Arc::new(Sounds::new(folder, country));
        sounds.load();
        Prompts(sounds)
    }
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompts").finish_non_exhaustive()
    }
}

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
    /// What is played from memory: the same for all PBXs of a process.
    pub prompts: Prompts,
    /// Where records of calls go.
    pub cdrs: CdrPlaces,
    /// Where records of calls are written to, beside the file.
    pub store: Option<Store>,
    /// Who is told of new voice messages.
    pub hand_over: Option<HandOverOptions>,
    /// Who is told what an operator should know.
    pub listener: Option<PbxListener>,
    /// Who has to be asked whether it may act.
    pub office: PbxOffice,
}

/// Who says whether a PBX may act, and in which term.
#[derive(Debug)]
pub enum PbxOffice {
    /// Nobody. A file counts its starts, so that no two give out the same numbers.
    Own(PathBuf),
    /// The cluster.
    Service {
        /// Of which it is a member.
        service: Box<ServiceSettings>,
        /// The service's secret: all members know a request by it.
        secret: (u64, u64),
        /// Where it enters itself.
        roster: Roster,
    },
}

impl PbxOffice {
    /// A desk at the cluster, and whether sockets are the owner's alone.
    fn seat(&self) -> Option<(Arc<Desk>, bool)> {
        match self {
            PbxOffice::Own(_) => None,
            PbxOffice::Service {
                service, roster, ..
            } => Some((roster.desk(), service.opens_late())),
        }
    }
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

impl PbxError {
    fn file(path: &Path, error: io::Error) -> PbxError {
        PbxError::File {
            path: path.to_owned(),
            error,
        }
    }
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
    voices: Shown,
    sounds: Arc<Sounds>,
    hand_over: Option<HandOver>,
    news: Arc<News>,
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
        let seat = options.office.seat();
        let ports_for_sound = [options.voice.first_port, options.voice.last_port];
        let opens_late = seat.as_ref().is_some_and(|(_, opens_late)| *opens_late);
        let freebind = seat.is_some();
        let poller = Poller::new().map_err(PbxError::System)?;
        let inbox = Arc::new(Inbox::new(poller.waker()));
        let (ports, address) = match opens_late {
            true => (Vec::new(), options.listen),
            false => {
                let port = listen(options.listen, freebind)?;
                let address = port.socket.local_address();
                (vec![port], address)
            }
        };
        let clock = Clock::start();
        let core = core_of(&options, clock)?;
        let pending = options.cdrs.pending.clone();
        let prefix = options.cdrs.prefix.clone();
        let told = seat.is_some().then(|| inbox.clone());
        let (cdrs, cdr_task) = cdr::start(runtime, options.cdrs, options.store, told)
            .map_err(|error| PbxError::file(&pending, error))?;
        let ear: Arc<dyn VoiceSink> = Arc::new(Ear(inbox.clone()));
        let desk = seat.as_ref().map(|(desk, _)| desk.clone());
        let mut voice = options.voice;
        voice.freebind = freebind && !opens_late;
        let open = || crate::voice::open(&voice)?.start_for(ear.clone(), desk.clone());
        let voices = (!opens_late).then(open).transpose();
        let voices = voices.map_err(PbxError::Voice)?;
        let sounds = options.prompts.0;
        let news = Arc::new(News::new(options.listener));
        let rest = (options.plan.clone(), news.clone());
        let hand_over = options.hand_over.zip(options.objects.clone());
        let hand_over = hand_over.map(|how| HandOver::start(how, runtime, rest));
        let outside = Outside {
            runtime: runtime.clone(),
            objects: options.objects,
            inbox: inbox.clone(),
            hand_over: hand_over.clone(),
            news: news.clone(),
        };
        let shown: Shown = Arc::new(Mutex::new(voices.clone()));
        let thread = PbxThread {
            clock,
            poller,
            ports,
            inbox: inbox.clone(),
            core,
            plan: options.plan,
            settings: options.settings,
            around: Around {
                voices,
                sounds: sounds.clone(),
            },
            outside: outside.clone(),
            cdrs,
            row: Box::new(move |cdr| cdr::row(&prefix, cdr)),
            office: seat.map(|(desk, opens_late)| Office::new(desk, opens_late)),
            listen: options.listen,
            voice,
            ear,
            shown: shown.clone(),
            files: Files::default(),
        };
        let thread = std::thread::Builder::new()
            .name("pbx".to_owned())
            .spawn(move || thread.run())
            .map_err(PbxError::System)?;
        if let (
            PbxOffice::Service {
                service, roster, ..
            },
            Some(desk),
        ) = (options.office, desk.clone())
        {
            let crew = PbxCrew::new(inbox.clone(), &service.name, ports_for_sound);
            roster.enter(*service, desk, Box::new(crew));
        }
        let may_act = move || desk.as_ref().is_none_or(|desk| desk.may_act());
        Ok(PbxNode {
            inbox,
            voices: shown,
            sounds,
            hand_over,
            news,
            address,
            runtime: runtime.clone(),
            ends: Mutex::new(Some(Ends {
                thread,
                left: runtime.spawn(left::keep(outside, may_act)),
                cdrs: cdr_task,
            })),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The media threads; none while another node has their sockets.
    pub fn voices(&self) -> Option<Arc<Voices>> {
        let voices = self.voices.lock().unwrap_or_else(PoisonError::into_inner);
        voices.clone()
    }

    /// Takes another dialplan for new calls, other settings, or both; prompts are read again.
    pub fn reload(&self, plan: Option<Arc<Plan>>, settings: Option<pbx::Settings>) {
        // Ours do not change.
        if self.sounds.has_folder()
            && let Err(error) = load(self.sounds.clone())
        {
            tracing::error!(%error, "prompts are not read again");
        }
        if let Some((hand_over, plan)) = self.hand_over.as_ref().zip(plan.as_ref()) {
            hand_over.reload(plan.clone());
        }
        self.inbox.push(Item::Reload(plan, settings.map(Box::new)));
    }

    /// Refuses new calls from now on.
    pub fn drain(&self) {
        self.inbox.push(Item::Drain);
    }

    /// How many files of the operator's prompts could not be used when they were read last.
    pub fn prompts_left_out(&self) -> usize {
        self.sounds.left_out()
    }

    /// What was kept and handed over since the start.
    pub fn kept(&self) -> PbxKept {
        self.news.kept()
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

/// The core before anything came.
fn core_of(options: &PbxOptions, clock: Clock) -> Result<Pbx<Switchboard>, PbxError> {
    // Of a service it has none before it takes office.
    let epoch = match &options.office {
        PbxOffice::Own(file) => {
            thread::epoch_of(file).map_err(|error| PbxError::file(file, error))?
        }
        PbxOffice::Service { .. } => 0,
    };
    let now = clock.now();
    let now = pbx::Now {
        time: now.time,
        unix_ms: now.unix_ms,
    };
    let seed = seed().map_err(PbxError::System)?;
    let switchboard = Switchboard::new(options.plan.clone());
    let mut core = Pbx::new(now, seed, epoch, &options.settings, switchboard);
    if let PbxOffice::Service { secret, .. } = &options.office {
        core.share_secret(*secret);
    }
    Ok(core)
}

fn listen(address: SocketAddr, freebind: bool) -> Result<Port, PbxError> {
    let options = UdpOptions {
        freebind,
        ..UdpOptions::default()
    };
    let socket = UdpSocket::bind(address, &options);
    socket
        .map(Port::new)
        .map_err(|error| PbxError::Listen { address, error })
}

/// Reads prompts anew on a thread of its own; until it is done calls hear those from before.
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
