//! A run: its threads from start to end.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Error;
use crate::media::{Bound, MediaThread, start_sound};
use crate::settings::Settings;
use crate::station::{Begin, Event, Now, Station};
use crate::tally::Tally;
use crate::worker::{Shared, Ways, Worker};

/// How often it is looked whether the run is over.
const LOOK: Duration = Duration::from_millis(20);

/// A run that goes on.
#[derive(Debug)]
pub struct Run {
    settings: Arc<Settings>,
    clock: Clock,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Tally, Error>>>,
    shown: Vec<Arc<Mutex<Tally>>>,
    locals: Vec<SocketAddr>,
    /// Holds the port that descriptions name where there are no media.
    _silent: UdpSocket,
    _runtime: Option<tokio::runtime::Runtime>,
}

/// A look at a run.
#[derive(Debug)]
pub struct Progress {
    /// Since the start, in milliseconds.
    pub at_ms: u64,
    /// What was counted until now, at most half a second ago.
    pub tally: Tally,
}

impl Run {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    /// Addresses that cannot be used, settings that contradict each other.
    pub fn start(settings: Settings) -> Result<Run, Error> {
        check(&settings)?;
        // A stream has a socket; what cannot be had is told when they are opened.
        let _ = net::descriptors::raise_limit();
        let settings = Arc::new(settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let clock = Clock::start();
        let shared = Arc::new(Shared {
            unregistered: AtomicUsize::new(settings.threads),
            ..Shared::default()
        });
        let first = settings.sources[0].ip();
        let silent = UdpSocket::bind((first, 0)).map_err(|error| Error::Bind {
            address: SocketAddr::new(first, 0),
            error,
        })?;
        let silent_port = silent.local_addr().map_or(9, |address| address.port());
        let salt = random()?;
        let mut workers = Vec::new();
        for thread in 0..settings.threads {
            let sources = sources_of(&settings, thread);
            let ways = Ways::open(&settings, &sources, runtime.handle())?;
            let (media, ports) = media(&settings, &sources, (thread, salt), clock, &shared)?;
            let locals = ways.locals();
            let begin = Begin {
                thread,
                run: random()?,
                locals,
                ports,
                silent_port,
            };
            let station = Station::new(settings.clone(), begin, Now { us: clock.us() });
            workers.push(Worker {
                settings: settings.clone(),
                station,
                ways,
                clock,
                media,
                shared: shared.clone(),
                shown: Arc::default(),
            });
        }
        let locals = workers
            .iter()
            .flat_map(|worker| worker.ways.locals())
            .collect();
        let shown = workers.iter().map(|worker| worker.shown.clone()).collect();
        let mut threads = Vec::new();
        for (number, worker) in workers.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            threads.push(thread.spawn(move || worker.run()).map_err(Error::Thread)?);
        }
        Ok(Run {
            settings,
            clock,
            shared,
            threads,
            shown,
            locals,
            _silent: silent,
            _runtime: Some(runtime),
        })
    }

    /// Where it is: our own addresses, ports included.
    #[must_use]
    pub fn locals(&self) -> &[SocketAddr] {
        &self.locals
    }

    /// How it goes.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut tally = Tally::default();
        for shown in &self.shown {
            tally.merge(&shown.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Progress {
            at_ms: self.clock.us() / 1_000,
            tally,
        }
    }

    /// What was told since the last call ([`Settings::is_told`]), with the time since the start in microseconds.
    #[must_use]
    pub fn events(&self) -> Vec<(u64, Event)> {
        std::mem::take(
            &mut self
                .shared
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// As [`events`](Run::events), for when the run is over.
    pub fn events_later(&self) -> impl FnOnce() -> Vec<(u64, Event)> + use<> {
        let shared = self.shared.clone();
        move || std::mem::take(&mut shared.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing new begins from now on; calls that are under way go on to their end.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
    }

    /// Ends all calls.
    pub fn hang_up(&self) {
        self.shared.hangs_up.store(true, Ordering::Release);
    }

    /// Waits until all is done, or the run's time and the grace after it are over, and calls `look` every so many milliseconds meanwhile, which says whether to
    /// go on.
    ///
    /// # Errors
    /// A thread has failed.
    pub fn wait(self, every_ms: u64, mut look: impl FnMut(&Run) -> bool) -> Result<Tally, Error> {
        let mut next_ms = every_ms;
        let mut end_ms = None;
        loop {
            std::thread::sleep(LOOK);
            let now_ms = self.clock.us() / 1_000;
            if now_ms >= next_ms {
                next_ms += every_ms.max(1);
                if !look(&self) && end_ms.is_none() {
                    self.stop();
                    end_ms = Some(now_ms + self.settings.grace_ms);
                }
            }
            if end_ms.is_none()
                && self
                    .settings
                    .span_ms
                    .is_some_and(|span_ms| now_ms >= span_ms)
            {
                self.stop();
                end_ms = Some(now_ms + self.settings.grace_ms);
            }
            let are_done = self.shared.done.load(Ordering::Acquire) >= self.threads.len();
            // Who only answers is done at any moment, and stays as long as asked to.
            let is_done = are_done && (self.has_an_end() || end_ms.is_some());
            let is_late = end_ms.is_some_and(|end_ms| now_ms >= end_ms);
            if is_done || is_late || self.threads.iter().any(JoinHandle::is_finished) {
                break;
            }
        }
        self.shared.is_over.store(true, Ordering::Release);
        let mut tally = Tally::default();
        for thread in self.threads {
            let ended = thread.join();
            let counted = ended.unwrap_or_else(|_| {
                Err(Error::Thread(std::io::Error::other(
                    "a thread has panicked",
                )))
            })?;
            tally.merge(&counted);
        }
        Ok(tally)
    }

    /// Whether there comes a time when all is done, without being stopped.
    fn has_an_end(&self) -> bool {
        let settings = &self.settings;
        !settings.stays && (settings.calling.is_some() || settings.registering.is_some())
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
    let fixed = settings
        .sources
        .iter()
        .filter(|source| source.port() != 0)
        .count();
    let threads = settings.threads;
    if settings.sources.is_empty() || threads == 0 {
        return Err(Error::NoSources);
    }
    if fixed > 0 && settings.sources.len() < threads {
        return Err(Error::FixedPorts {
            sources: settings.sources.len(),
            threads,
        });
    }
    if settings.users.is_empty() && (settings.calling.is_some() || settings.registering.is_some()) {
        return Err(Error::NoUsers);
    }
    Ok(())
}

/// The addresses of one thread: each has its own where there are enough.
fn sources_of(settings: &Settings, thread: usize) -> Vec<SocketAddr> {
    let all = &settings.sources;
    if all.len() < settings.threads {
        return vec![all[thread % all.len()]];
    }
    all.iter()
        .skip(thread)
        .step_by(settings.threads)
        .copied()
        .collect()
}

fn media(
    settings: &Settings,
    sources: &[SocketAddr],
    (thread, salt): (usize, u32),
    clock: Clock,
    shared: &Arc<Shared>,
) -> Result<(Option<MediaThread>, Vec<crate::station::Port>), Error> {
    if !settings.has_media {
        return Ok((None, Vec::new()));
    }
    let streams = settings.streams_max.div_ceil(settings.threads as u32);
    let addresses: Vec<IpAddr> = sources.iter().map(SocketAddr::ip).collect();
    let mut bound =
        Bound::open(&addresses, streams).map_err(|error| Error::Streams { streams, error })?;
    let ports = std::mem::take(&mut bound.ports);
    let media = match &settings.sound {
        Some(sound) => start_sound(bound, sound.clone(), clock, salt, shared.clone()),
        None => MediaThread::start(bound, ports.len(), clock, salt, thread as u64),
    };
    Ok((Some(media.map_err(Error::Thread)?), ports))
}

fn random() -> Result<u32, Error> {
    getrandom::u32().map_err(|_| Error::Random)
}
