//! `holdline agent`: the load of this host, told to the edges.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent::{CallsSource, Notice, Options};
use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, TOKEN_VARIABLE};
use crate::config::{Log, LogFormat, Private};
use crate::lifecycle::StartError;
use crate::logging::Logging;
use crate::supervisor::{Told, tell};

/// What follows the options in the help.
const AFTER_HELP: &str = "The token of the edges ([admin] agent_token, or token) is read from the variable \
HOLDLINE_TOKEN. SIGTERM and SIGINT end it.\n\nExamples:\n  \
holdline agent --edge http://10.0.0.1:8060 --edge http://10.0.0.2:8060 --target sip:10.0.0.30:5060\n  \
holdline agent ... --calls-command 'asterisk -rx \"core show channels count\"' --calls-line 'active calls'\n  \
holdline agent ... --calls-command 'fs_cli -x \"show calls count\"' --calls-line total";

/// Arguments of `holdline agent`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Agent {
    /// This host's media server as the edges' pools name it: its URI
    #[arg(long, value_name = "NAME")]
    target: String,
    /// The admin API of an edge, as in http://10.0.0.1:8060; once for each edge, the standby too
    #[arg(long = "edge", value_name = "URL", required = true)]
    edges: Vec<String>,
    /// Milliseconds between two reports
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    interval_ms: u64,
    /// A command that prints the number of active calls; without it and --calls-url the edges count
    #[arg(long, value_name = "COMMAND", group = "calls")]
    calls_command: Option<String>,
    /// A URL that tells it: a JSON array to be counted, or a text with the number
    #[arg(long, value_name = "URL", group = "calls")]
    calls_url: Option<String>,
    /// Look for the number only in lines with this text
    #[arg(long, value_name = "TEXT", requires = "calls")]
    calls_line: Option<String>,
    /// Log in JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Agent {
    /// Reports until a signal ends it.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let options = self.options();
        options.check().map_err(Failure::Agent)?;
        let _ = Logging::start(&Log {
            level: "info".to_owned(),
            format: match self.json {
                true => LogFormat::Json,
                false => LogFormat::Text,
            },
            private: Private::Hide,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let signals = end_by_signal(stop.clone());
        signals.map_err(|error| Failure::Start(StartError::Process { error }))?;
        tracing::info!(
            media_server = options.target,
            edges = options.edges.join(", "),
            interval_ms = self.interval_ms,
            "reporting this host's load"
        );
        tell(Told::Ready);
        agent::run(&options, &stop, &log).map_err(Failure::Agent)?;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> Options {
        let line = self.calls_line.clone();
        let calls = match (&self.calls_command, &self.calls_url) {
            (Some(command), _) => CallsSource::Command {
                command: command.clone(),
                line,
            },
            (None, Some(url)) => CallsSource::Query {
                url: url.clone(),
                line,
            },
            (None, None) => CallsSource::Edges,
        };
        Options {
            target: self.target.clone(),
            edges: self.edges.clone(),
            token: std::env::var(TOKEN_VARIABLE).ok(),
            interval: Duration::from_millis(self.interval_ms),
            calls,
        }
    }
}

/// Sets `stop` at SIGTERM or SIGINT. Both are caught when this returns.
fn end_by_signal(stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::Builder::new()
        .name("holdline-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            tell(Told::Stopping);
            stop.store(true, Ordering::Relaxed);
        })?;
    Ok(())
}

fn log(notice: Notice) {
    match notice {
        Notice::Taken { edge } => tracing::info!(edge, "the edge takes reports"),
        Notice::Unreachable { edge, what } => {
            tracing::warn!(edge, what, "the edge is not reached; trying on");
        }
        Notice::Refused {
            edge,
            status,
            message,
        } => {
            let message = reason(&message);
            tracing::warn!(edge, status, message, "the edge refuses reports; trying on");
        }
        Notice::Missing(trouble) => {
            tracing::warn!(%trouble, "a figure is not known; the others are reported");
        }
        Notice::Complete => tracing::info!("all figures are known again"),
    }
}

/// The reason in an answer of the admin API; the answer itself where it is none.
fn reason(answer: &str) -> String {
    let value: Option<Value> = serde_json::from_str(answer).ok();
    let message = value.as_ref().and_then(|value| value["message"].as_str());
    message.unwrap_or(answer.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        agent: Agent,
    }

    fn options(line: &str) -> Result<Options, String> {
        let words = format!("agent --target pbx1 --edge http://192.0.2.1:8060 {line}");
        let line = Line::try_parse_from(words.split(' ').filter(|word| !word.is_empty()));
        let options = line.map_err(|error| error.to_string())?.agent.options();
        let judged = options.check().map(|()| options);
        judged.map_err(|error| error.to_string())
    }

    fn refusal(line: &str) -> String {
        options(line).err().expect("refused")
    }

    #[test]
    fn the_calls_are_from_a_command_a_url_or_nowhere() {
        let calls = |line: &str| {
            let calls = options(line).map(|options| options.calls);
            calls.expect("good")
        };
        assert_eq!(calls(""), CallsSource::Edges);
        assert_eq!(
            calls("--calls-command count --calls-line total"),
            CallsSource::Command {
                command: "count".to_owned(),
                line: Some("total".to_owned()),
            }
        );
        assert_eq!(
            calls("--calls-url http://127.0.0.1:8088/"),
            CallsSource::Query {
                url: "http://127.0.0.1:8088/".to_owned(),
                line: None,
            }
        );
        let both = refusal("--calls-command count --calls-url http://127.0.0.1:8088/");
        assert!(both.contains("cannot be used with"), "{both}");
        let nowhere = refusal("--calls-line total");
        assert!(nowhere.contains("--calls-command"), "{nowhere}");
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_begins() {
        let edge = refusal("--edge 192.0.2.2:8060");
        assert!(edge.contains("http://HOST:PORT"), "{edge}");
        let often = refusal("--interval-ms 10");
        assert!(often.contains("100 ms"), "{often}");
        let usual = options("").map(|options| options.interval);
        assert_eq!(usual, Ok(Duration::from_secs(1)));
    }

    #[test]
    fn a_refusal_is_told_in_the_edges_words() {
        let answer = r#"{"error":"not_found","message":"no target pbx9"}"#;
        assert_eq!(reason(answer), "no target pbx9");
        assert_eq!(reason("<html>\n"), "<html>");
    }
}
