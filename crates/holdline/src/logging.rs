//! Log lines: `tracing` to standard error, levels changeable while running. Whoever logs never waits.

mod lines;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat, Private};
use crate::private::show_private;
use lines::{LINES_MAX, Lines};

/// How long the end of the program waits for somebody to read what it logged.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a thread that panicked waits for that to be written: the process may end with it.
const PANIC_TIMEOUT: Duration = Duration::from_millis(100);

/// The log of this process.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub struct Logging {
    levels: Arc<reload::Handle<Targets, Registry>>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logging")
    }
}

impl Logging {
    /// Starts logging to standard error. Once a process; a second start
    /// changes nothing but the new handle.
    #[must_use]
    pub fn start(log: &Log) -> Logging {
        let (levels, handle) = reload::Layer::new(targets(log));
        let is_terminal = std::io::stderr().is_terminal();
        let form: Box<dyn Layer<_> + Send + Sync> = match (log.format, lines()) {
            (LogFormat::Json, Some(lines)) => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(lines)
                .boxed(),
            (LogFormat::Text, Some(lines)) => fmt::layer()
                .with_ansi(is_terminal)
                .with_writer(lines)
                .boxed(),
            // No thread, and soon nothing else.
            (_, None) => fmt::layer().with_writer(std::io::stderr).boxed(),
        };
        // Fails only when a subscriber is set already, as in tests.
        let _ = tracing_subscriber::registry()
            .with(levels)
            .with(form)
            .try_init();
        let logging = Logging {
            levels: Arc::new(handle),
        };
        logging.apply(log);
        logging
    }

    /// Puts new levels and the new guard of users' data in force.
    pub fn apply(&self, log: &Log) {
        show_private(log.private == Private::Show);
        // Fails only when the subscriber is gone, and so is the log.
        let _ = self.levels.reload(targets(log));
    }
}

/// Lines of the log that were lost since the start, because nobody read standard error in time.
#[must_use]
pub fn lines_lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// Waits until what was logged is written, and says whether it is: standard error may have nobody who reads it.
pub(crate) fn flush() -> bool {
    LINES.get().is_none_or(|lines| lines.flush(END_TIMEOUT))
}

/// The way to standard error, which is begun once.
fn lines() -> Option<Lines> {
    if let Some(lines) = LINES.get() {
        return Some(lines.clone());
    }
    let out = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
    let begun = Lines::start(File::from(out), LINES_MAX).ok()?;
    let lines = LINES.get_or_init(|| begun).clone();
    std::panic::set_hook(Box::new(|panic| {
        // By the same way, which a reader that has stopped does not hold up.
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(thread, "{panic}\n{trace}");
        // Written or not, the thread ends.
        let _ = LINES.get().map(|lines| lines.flush(PANIC_TIMEOUT));
    }));
    Some(lines)
}

/// The configuration has judged the text; `info` is for a form of it that
/// the two understand differently.
fn targets(log: &Log) -> Targets {
    Targets::from_str(&log.level)
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}
