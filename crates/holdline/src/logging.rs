//! Log lines: `tracing` to standard error, levels changeable while running.

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::Arc;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat, Private};
use crate::private::show_private;

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
        let form: Box<dyn Layer<_> + Send + Sync> = match log.format {
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr)
                .boxed(),
            LogFormat::Text => fmt::layer()
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr)
                .boxed(),
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

/// The configuration has judged the text; `info` is for a form of it that
/// the two understand differently.
fn targets(log: &Log) -> Targets {
    Targets::from_str(&log.level)
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}
