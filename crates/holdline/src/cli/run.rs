//! `holdline run`: one node, until it is told to end.

use std::process::ExitCode;

use clap::Args;
use nix::sys::signal::Signal;

use super::{ConfigFile, EXIT_FAILED, Failure};
use crate::config::Config;
use crate::lifecycle::{End, Running, StartError, block_on};
use crate::logging::Logging;
use crate::supervisor;

/// Arguments of `holdline run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// This process is watched by the one that started it, which has given it a socket as standard input
    #[arg(long, hide = true)]
    supervised: bool,
    /// This process is not to outlive the one that started it
    #[arg(long, hide = true)]
    ends_with_parent: bool,
}

impl Run {
    /// Runs the node. SIGTERM and SIGINT drain it, a second one ends it at
    /// once, SIGHUP reads the file again.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        if self.ends_with_parent {
            let asked = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            asked.map_err(|error| StartError::Process {
                error: error.into(),
            })?;
        }
        let (path, config) = self.file.load()?;
        if self.supervised {
            supervisor::attach().map_err(|error| StartError::Process { error })?;
        }
        let logging = Logging::start(&config.log);
        if !self.supervised && config.cluster.is_some() {
            return supervised(&config);
        }
        let source = Some(super::absolute(&path));
        let end = block_on(async {
            let running = Running::start(config, source, logging).await?;
            Ok::<End, Failure>(running.until_end().await)
        })??;
        Ok(match end {
            End::Drained => ExitCode::SUCCESS,
            End::TimedOut | End::Forced => ExitCode::from(EXIT_FAILED),
        })
    }
}

/// Runs the node in a process of its own and watches it.
fn supervised(config: &Config) -> Result<ExitCode, Failure> {
    // One thread, that goes first: what it does for a node that has died is what callers wait for.
    let _ = net::priority::urgent();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Process { error })?;
    let status = runtime.block_on(async {
        let Some(supervision) = crate::cluster::supervision(config).await? else {
            return Ok(EXIT_FAILED);
        };
        let watched = supervisor::supervise(supervision).await;
        watched.map_err(|error| {
            let error = std::io::Error::other(error.to_string());
            Failure::Start(StartError::Process { error })
        })
    })?;
    Ok(ExitCode::from(status))
}
