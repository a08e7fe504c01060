//! The command line.

mod agent;
mod bans;
mod books;
mod certs;
mod check;
mod cluster;
mod demo;
mod dialplan;
mod domain;
mod lab;
mod load;
mod run;
mod show;
mod status;
mod target;
mod user;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use admin::Refusal;
use clap::{Args, Parser, Subcommand};

use crate::client::{Client, ClientError};
use crate::config::{Config, ConfigError};
use crate::lifecycle::StartError;
use books::Books;

/// Where a configuration is looked for when `--config` names none.
pub const CONFIG_PLACES: [&str; 2] = ["holdline.toml", "/etc/holdline/holdline.toml"];
/// Where a node is looked for when there is no configuration.
pub const ADMIN_DEFAULT: &str = "http://127.0.0.1:8060";
/// The variable of the environment that holds the admin token.
pub const TOKEN_VARIABLE: &str = "HOLDLINE_TOKEN";

/// Exit status when a command could not do what it was asked to.
pub const EXIT_FAILED: u8 = 1;
/// Exit status when the command line is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit status when the configuration is bad (EX_CONFIG of sysexits), so that
/// a supervisor need not try again.
pub const EXIT_CONFIG: u8 = 78;

/// A SIP registrar and proxy: the edge of a telephony platform.
#[derive(Debug, Parser)]
#[command(name = "holdline", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run one node
    Run(run::Run),
    /// Judge a configuration file and say all that is wrong with it
    Check(check::Check),
    /// The whole platform on this machine, calls that go through it, and what they feel when a part of it dies
    Demo(demo::Demo),
    /// A running node in short
    Status(status::Status),
    /// The phones that are registered
    Registrations(show::Registrations),
    /// The calls in progress
    Calls(show::Calls),
    /// List, drain and take out media servers of pools
    Target(target::Target),
    /// The sources whose messages are dropped since they scan, guess or flood
    Bans(bans::Bans),
    /// End the ban of a source
    Unban(bans::Unban),
    /// Add, delete and list users, and change passwords
    User(user::User),
    /// Add, delete and list domains
    Domain(domain::Domain),
    /// Put a dialplan into the store, print it, take it out
    Dialplan(dialplan::Dialplan),
    /// End a running node once the calls being set up have ended
    Drain(show::Drain),
    /// Let a running node read its configuration again
    Reload(show::Reload),
    /// Report the load of a media server's host, this one, to the edges
    Agent(agent::Agent),
    /// Hand a service of the cluster over to another node
    Switchover(cluster::Switchover),
    /// Leave the cluster's services to other nodes, until `join`
    Leave(cluster::Part),
    /// Take part in the cluster again
    Join(cluster::Part),
    /// Make and renew the certificates of a cluster's nodes
    Certs(certs::Certs),
    /// Make SIP calls and registrations, with sound, and count what becomes of them
    Load(Box<load::Load>),
    /// Kill, freeze and cut off nodes on hosts of their own, and see what phones notice
    Lab(lab::Lab),
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

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    file: ConfigFile,
    /// The node's admin API, as in http://127.0.0.1:8060 [default: that of the configuration]
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

impl Target {
    /// The configuration, where one is named or found.
    fn config(&self) -> Result<Option<Config>, Failure> {
        match self.file.load() {
            Ok((_, config)) => Ok(Some(config)),
            Err(Failure::NoConfig) => Ok(None),
            // A file nobody named need not be readable to this user.
            Err(Failure::Config(ConfigError::Unreadable { .. })) if self.file.config.is_none() => {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The node's API; nobody has answered yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(self.reach()?.0)
    }

    fn reach(&self) -> Result<(Client, Option<Config>), Failure> {
        let variable = std::env::var(TOKEN_VARIABLE).ok();
        if let Some(url) = &self.admin {
            if !url.starts_with("http://") {
                return Err(Failure::AdminUrl { url: url.clone() });
            }
            let named = self.file.config.is_some();
            let config = if named { self.config()? } else { None };
            let token = variable.or_else(|| token_of(config.as_ref()));
            return Ok((Client::new(url, token), None));
        }
        let config = self.config()?;
        let base = config.as_ref().map_or(ADMIN_DEFAULT.to_owned(), |config| {
            format!("http://{}", reachable(config.admin.listen))
        });
        let token = variable.or_else(|| token_of(config.as_ref()));
        Ok((Client::new(&base, token), config))
    }

    /// The users and domains: those of the node if it runs, else those of
    /// the configuration's store.
    pub(crate) fn books(&self) -> Result<Books, Failure> {
        let (client, config) = self.reach()?;
        match (client.probe(), config) {
            (Ok(()), _) => Ok(Books::Node(client)),
            (Err(_), Some(config)) => Books::open(&config),
            (Err(error), None) => Err(error.into()),
        }
    }
}

fn token_of(config: Option<&Config>) -> Option<String> {
    config?
        .admin
        .token
        .as_ref()
        .map(|token| token.reveal().to_owned())
}

/// Where a node that listens on all addresses is reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// No configuration file was named and none is at the usual places.
    NoConfig,
    /// The configuration is bad.
    Config(ConfigError),
    /// The node did not start.
    Start(StartError),
    /// The node did not answer as asked.
    Client(ClientError),
    /// The store's users or domains are not as the command needs them.
    Refused(Refusal),
    /// The agent cannot begin.
    Agent(::agent::Error),
    /// No traffic can be made.
    Load(::load::Error),
    /// An experiment cannot be made.
    Lab(::lab::Error),
    /// The admin URL is none.
    AdminUrl {
        /// As given.
        url: String,
    },
    /// No password was given and nobody can be asked.
    NoPassword,
    /// The password was typed in two ways.
    PasswordsDiffer,
    /// A file cannot be read.
    File {
        /// As given.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Certificates cannot be made or read.
    Certificates(net::peer::PeerError),
    /// All ports are taken.
    NoPort {
        /// Where.
        address: IpAddr,
        /// The first tried.
        first: u16,
        /// The last tried.
        last: u16,
        /// What the system said last.
        what: String,
    },
    /// A node of a demo does not come up.
    NotUp {
        /// Its name.
        node: &'static str,
        /// What it logged last.
        log: Vec<String>,
    },
    /// The terminal or a pipe cannot be read.
    Input(std::io::Error),
    /// Standard output is gone.
    Output(std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::NoConfig | Failure::Config(_) => EXIT_CONFIG,
            Failure::Agent(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        })
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NoConfig => write!(
                f,
                "no configuration: neither {} exists; name one with --config FILE",
                CONFIG_PLACES.join(" nor ")
            ),
            Failure::Config(error) => write!(f, "{error}"),
            Failure::Start(error) => write!(f, "{error}"),
            Failure::Client(error) => write!(f, "{error}"),
            Failure::Refused(refusal) => write!(f, "{refusal}"),
            Failure::Agent(error) => write!(f, "{error}"),
            Failure::Lab(error) => write!(f, "{error}"),
            Failure::Load(error) => write!(f, "{error}"),
            Failure::AdminUrl { url } => {
                write!(
                    f,
                    "--admin {url}: not an admin API; write http://ADDRESS:PORT"
                )
            }
            Failure::NoPassword => write!(
                f,
                "no password, and no terminal to ask on; give it with --password-stdin"
            ),
            Failure::PasswordsDiffer => write!(f, "the two passwords differ; nothing was changed"),
            Failure::File { path, error } => write!(f, "{}: {error}", path.display()),
            Failure::NoPort {
                address,
                first,
                last,
                what,
            } => write!(
                f,
                "no port from {first} to {last} is free on {address}{what}; name another with --port or --address"
            ),
            Failure::Certificates(error) => write!(f, "{error}"),
            Failure::NotUp { node, log } => {
                write!(f, "the demo's node {node} does not come up; it said:")?;
                log.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Failure::Input(error) => write!(f, "cannot read the input: {error}"),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Output(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Failure::Start(error)
    }
}

impl From<::load::Error> for Failure {
    fn from(error: ::load::Error) -> Self {
        Failure::Load(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Client(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

/// Prints rows in columns, the head above them where there is one.
pub(crate) fn table(
    out: &mut impl Write,
    head: &[&str],
    rows: Vec<Vec<String>>,
) -> std::io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head
        .iter()
        .map(|cell| (*cell).to_owned())
        .collect::<Vec<String>>();
    for row in [head].iter().filter(|head| !head.is_empty()).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The columns of a terminal that everything for people is made for.
pub(crate) const COLUMNS: usize = 80;

/// Words in lines of at most [`COLUMNS`], those after the first begun with `indent` blanks. A word that is longer stays whole.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for (at, word) in text.split(' ').enumerate() {
        let length = line.chars().count() + 1 + word.chars().count();
        if length > COLUMNS && !line.trim().is_empty() {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(indent);
        } else if at > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &line
}

/// Reads the command line, does what it says, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let command = Command::parse();
    // Not locked: while a node runs, other threads may print too.
    let mut out = std::io::stdout();
    let done = perform(&command.verb, &mut out);
    let is_read = crate::logging::flush();
    match done {
        Ok(code) => code,
        // The reader of a pipe has gone: nobody to tell.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if is_read {
                let text = failure.to_string();
                let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            }
            failure.exit_code()
        }
    }
}

fn perform(verb: &Verb, out: &mut impl Write) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Run(run) => run.run(),
        Verb::Check(check) => check.run(out),
        Verb::Demo(demo) => demo.run(out),
        Verb::Status(status) => status.run(out),
        Verb::Registrations(registrations) => registrations.run(out),
        Verb::Calls(calls) => calls.run(out),
        Verb::Target(target) => target.run(out),
        Verb::Bans(bans) => bans.run(out),
        Verb::Unban(unban) => unban.run(out),
        Verb::User(user) => user.run(out),
        Verb::Domain(domain) => domain.run(out),
        Verb::Dialplan(dialplan) => dialplan.run(out),
        Verb::Drain(drain) => drain.run(out),
        Verb::Reload(reload) => reload.run(out),
        Verb::Agent(agent) => agent.run(),
        Verb::Switchover(switchover) => switchover.run(out),
        Verb::Leave(part) => part.run(true, out),
        Verb::Join(part) => part.run(false, out),
        Verb::Certs(certs) => certs.run(out),
        Verb::Load(load) => load.run(out),
        Verb::Lab(lab) => lab.run(out),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Command::command().debug_assert();
    }

    #[test]
    fn no_help_is_broken_by_a_sign_that_clap_reads_as_the_end_of_a_line() {
        let whole = Command::command();
        let mut all: Vec<&clap::Command> = vec![&whole];
        while let Some(command) = all.pop() {
            all.extend(command.get_subcommands());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string);
                let is_broken =
                    help.is_some_and(|help| help.contains("{n}") || help.contains('\n'));
                assert!(!is_broken, "{} {argument}", command.get_name());
            }
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_no_wider() {
        let mut out = Vec::new();
        let rows = vec![
            vec!["alice".to_owned(), "x".to_owned()],
            vec!["bö".to_owned(), String::new()],
        ];
        table(&mut out, &["USER", "Y"], rows).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "USER   Y\nalice  x\nbö\n"
        );
    }

    #[test]
    fn long_lines_go_on_in_the_next_one_below_their_text() {
        let words = ["word"; 40].join(" ");
        let text = wrapped(&format!("  key  {words}"), 7);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  key  word word"));
        assert!(
            lines[1..]
                .iter()
                .all(|line| line.starts_with("       word"))
        );
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
        let count = text.split_whitespace().filter(|word| *word == "word");
        assert_eq!(count.count(), 40);
        assert_eq!(wrapped(&"x".repeat(100), 2), "x".repeat(100));
    }

    #[test]
    fn a_node_on_all_addresses_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), reached);
        }
    }
}
