//! `holdline dialplan`: the dialplan in the store.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use store::{Store, StoreError};

use super::{ConfigFile, Failure};
use crate::config::{Config, ConfigError};
use crate::lifecycle::{StartError, block_on, open_store};
use crate::pbx::PbxStartError;

/// Arguments of `holdline dialplan`.
#[derive(Debug, Args)]
pub(crate) struct Dialplan {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a dialplan together with the configuration's, and put it into the store
    Set(Set),
    /// Print the dialplan in the store
    Show(Named),
    /// Take the dialplan out of the store
    Clear(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// Its name, where it is not that of pbx.stored_dialplan
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct Set {
    /// The file with the dialplan
    plan: PathBuf,
    #[command(flatten)]
    named: Named,
}

impl Dialplan {
    /// Does what was asked. A node takes it with `holdline reload`.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let named = match &self.verb {
            Verb::Set(set) => &set.named,
            Verb::Show(named) | Verb::Clear(named) => named,
        };
        let (_, config) = named.file.load()?;
        let name = named.name(&config);
        match &self.verb {
            Verb::Set(set) => {
                let text = fs::read_to_string(&set.plan).map_err(|error| Failure::File {
                    path: set.plan.clone(),
                    error,
                })?;
                checked(&config, &text)?;
                with_store(&config, async |store| {
                    store.set_dialplan(&name, Some(&text)).await
                })?;
                writeln!(out, "{name}: stored; `holdline reload` lets a node take it")?;
            }
            Verb::Show(_) => {
                match with_store(&config, async |store| store.dialplan(&name).await)? {
                    Some((text, _)) => write!(out, "{text}")?,
                    None => {
                        writeln!(out, "{name}: there is none")?;
                        return Ok(ExitCode::from(super::EXIT_FAILED));
                    }
                }
            }
            Verb::Clear(_) => {
                with_store(&config, async |store| store.set_dialplan(&name, None).await)?;
                writeln!(out, "{name}: removed; `holdline reload` lets a node know")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Named {
    fn name(&self, config: &Config) -> String {
        let configured = config
            .pbx
            .as_ref()
            .and_then(|pbx| pbx.stored_dialplan.clone());
        let named = self.name.clone().or(configured);
        named.unwrap_or_else(|| "default".to_owned())
    }
}

/// Nothing is stored that a node would refuse.
fn checked(config: &Config, text: &str) -> Result<(), Failure> {
    let refused = |error| Failure::Start(StartError::Pbx(error));
    let Some(pbx) = &config.pbx else {
        let error = std::io::Error::other("the configuration has no [pbx] to check it with");
        return Err(Failure::Config(ConfigError::Unreadable {
            file: "configuration".to_owned(),
            error,
        }));
    };
    let plan = crate::pbx::plan(pbx, "the configuration", Some(text));
    plan.map(drop)
        .map_err(|mistakes| refused(PbxStartError::Dialplan(mistakes)))
}

fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(Store) -> Result<T, StoreError>,
) -> Result<T, Failure> {
    let done = block_on(async {
        let store = open_store(config).await?;
        let worked = work(store).await;
        worked.map_err(|error| StartError::Pbx(PbxStartError::Store(error)))
    });
    Ok(done??)
}
