//! The command line.

mod check;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// Where a configuration is looked for when `--config` names none.
pub const CONFIG_PLACES: [&str; 2] = ["holdline.toml", "/etc/holdline/holdline.toml"];

/// Exit status when a command could not do what it was asked to.
pub const EXIT_FAILED: u8 = 1;
/// Exit status when the configuration is bad (EX_CONFIG of sysexits), so that
/// a supervisor need not try again.
pub const EXIT_CONFIG: u8 = 78;

/// A telephony platform that keeps calls up while its servers fail.
#[derive(Debug, Parser)]
#[command(name = "holdline", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Judge a configuration file and say all that is wrong with it
    Check(check::Check),
}

/// What every verb that prints facts takes.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file [default: ./holdline.toml, then /etc/holdline/holdline.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file named, or the first of [`CONFIG_PLACES`] that exists.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => CONFIG_PLACES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
                .ok_or(Failure::NoConfig),
        }
    }

    /// The configuration of that file.
    pub(crate) fn load(&self) -> Result<(PathBuf, Config), Failure> {
        let path = self.path()?;
        let config = Config::load(absolute(&path).as_path())
            .map_err(|error| Failure::Config(renamed(error, &path)))?;
        Ok((path, config))
    }
}

/// Relative paths in a configuration must not change with the working folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Mistakes name the file as the operator named it.
fn renamed(error: ConfigError, path: &Path) -> ConfigError {
    let given = path.display().to_string();
    match error {
        ConfigError::Unreadable { error, .. } => ConfigError::Unreadable { file: given, error },
        ConfigError::TooLarge { size_bytes, .. } => ConfigError::TooLarge {
            file: given,
            size_bytes,
        },
        ConfigError::Mistakes { text, mistakes, .. } => ConfigError::Mistakes {
            file: given,
            text,
            mistakes,
        },
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// No configuration file was named and none is at the usual places.
    NoConfig,
    /// The configuration is bad.
    Config(ConfigError),
    /// Standard output is gone.
    Output(std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::NoConfig | Failure::Config(_) => EXIT_CONFIG,
            Failure::Output(_) => EXIT_FAILED,
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NoConfig => write!(
                f,
                "no configuration: neither {} exists; name one with --config FILE",
                CONFIG_PLACES.join(" nor ")
            ),
            Failure::Config(error) => write!(f, "{error}"),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Output(error)
    }
}

/// Reads the command line, does what it says, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let command = Command::parse();
    let mut out = std::io::stdout().lock();
    let done = match command.verb {
        Verb::Check(check) => check.run(&mut out),
    };
    match done {
        Ok(code) => code,
        // The reader of a pipe has gone: nobody to tell.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let text = failure.to_string();
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            failure.exit_code()
        }
    }
}
