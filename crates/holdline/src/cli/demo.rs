//! `holdline demo`: the whole platform on this machine, with calls that go through it, to lose a part of it and see what they feel.
//!
//! The problem: that calls survive their servers is easily said; who hears it wants to kill one.
//!
//! The approach: two edges and two PBXs as processes of their own, joined by a cluster whose coordinator is a file, and a few dozen calls with
//! sound that is checked. What is known is one [`snapshot`], which the [`view`] shows and the [`story`] goes by; both are pure.
//!
//! Not attempted: several machines, other movers than `none`, root. With mover `none` an owner opens its sockets when it takes office.

mod alone;
mod calls;
mod layout;
mod nodes;
mod probe;
mod screen;
mod snapshot;
mod stage;
mod story;
mod view;
mod watch;

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::load::span_ms;
use super::{EXIT_FAILED, Failure, Output};
use crate::lifecycle::StartError;
use layout::{Layout, NODES};
use screen::{Key, Screen};
use snapshot::{Felt, Snapshot, clock};
use stage::Stage;
use story::{Story, Turn, Verb};

/// How many ports after the one asked for are tried.
const PORTS_TRIED: u16 = 200;
/// Random bytes of a generated password.
const SECRET_BYTES: usize = 8;
/// The users that are for people.
const USERS: [&str; 2] = ["alice", "bob"];
/// How often the view is drawn, and the story looks.
const LOOK: Duration = Duration::from_millis(150);

/// Arguments of `holdline demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "In a terminal it shows the platform, and keys kill, freeze, drain and heal the selected node. Elsewhere, or with --story, it does \
                  so by itself in about a minute and says what the calls felt; it ends with 1 if one was lost."
)]
pub(crate) struct Demo {
    /// The address to listen on; one of this machine's that phones reach
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// The first port to try, UDP and TCP
    #[arg(long, value_name = "PORT", default_value_t = 5060)]
    port: u16,
    /// The password of both users [default: one made for each]
    #[arg(long, value_name = "TEXT")]
    password: Option<String>,
    /// A folder to keep the data in [default: one that is deleted at the end]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many calls go on at one time
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u32).range(1..=60))]
    calls: u32,
    /// After how long without a word an owner counts as gone
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = span_ms)]
    lease: u64,
    /// Play the story in a terminal, too
    #[arg(long)]
    story: bool,
    /// How long each step of the story lasts at least
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = span_ms)]
    pace: u64,
    /// One node instead, without calls of its own; each thing that happens is a line
    #[arg(long, conflicts_with_all = ["calls", "lease", "story", "pace"])]
    alone: bool,
    #[command(flatten)]
    output: Output,
}

/// The folder of a demo; a temporary one goes with it.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

/// What a demo came to, beside its calls.
struct Outcome {
    felt: Vec<Felt>,
    /// Why the story did not come to its end.
    failed: Option<String>,
    /// What the machine has to do with it, where that was measured.
    excuse: Option<String>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Demo {
    /// Runs until the end of the story, `q` or Ctrl-C.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        if self.alone {
            return alone::run(self, out);
        }
        let folder = self.folder()?;
        let layout = Layout::find(self.address, self.port, &folder.path, self.lease)?;
        let users = self.users()?;
        let has_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let mut stage = Stage::open(layout, users, self.calls)?;
        let failed = match has_terminal && !self.story && !self.output.json {
            true => self.show(&mut stage)?,
            false => self.tell(&mut stage, out)?,
        };
        let (snapshot, felt) = stage.close()?;
        let is_well = snapshot.calls.lost == 0 && failed.is_none();
        let excuse = story::excuse(&snapshot, self.lease).filter(|_| !is_well);
        let outcome = Outcome {
            felt,
            failed,
            excuse,
        };
        self.conclude(out, &snapshot, &outcome)?;
        Ok(match is_well {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_FAILED),
        })
    }

    /// Shows the platform in the terminal, until `q`.
    fn show(&self, stage: &mut Stage) -> Result<Option<String>, Failure> {
        let interrupted = super::load::interrupted()?;
        let mut screen = Screen::open()?;
        let mut selected = 0;
        loop {
            let snapshot = stage.look()?;
            screen.draw(&view::frame(&snapshot, selected, screen.size()))?;
            let key = screen.key(LOOK)?;
            if interrupted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let verb = match key {
                None | Some(Key::Resized) => continue,
                Some(Key::Interrupt | Key::Letter('q')) => return Ok(None),
                Some(Key::Up) => {
                    selected = (selected + NODES.len() - 1) % NODES.len();
                    continue;
                }
                Some(Key::Down) => {
                    selected = (selected + 1) % NODES.len();
                    continue;
                }
                Some(Key::Letter(letter)) => match letter {
                    'k' => Verb::Kill,
                    'p' => Verb::Cut,
                    'f' => Verb::Freeze,
                    't' => Verb::Thaw,
                    'd' => Verb::Drain,
                    'h' => Verb::Heal,
                    '1'..='4' => {
                        selected = letter as usize - '1' as usize;
                        continue;
                    }
                    _ => continue,
                },
            };
            stage.act(verb, selected)?;
            stage.note(format!("{} {}", NODES[selected], verb.done()));
        }
    }

    /// Plays the story, a line for each thing. Gives why it did not come to its end, if it did not.
    fn tell(&self, stage: &mut Stage, out: &mut impl Write) -> Result<Option<String>, Failure> {
        let interrupted = super::load::interrupted()?;
        let mut story = Story::new(self.pace);
        let (mut is_told, mut told) = (false, 0);
        loop {
            let snapshot = stage.look()?;
            if !is_told && stage.is_open() {
                is_told = true;
                self.introduce(out, stage)?;
            }
            for (at_ms, text) in snapshot.events.iter().skip(told.min(snapshot.events.len())) {
                self.line(out, "event", *at_ms, text)?;
            }
            told = snapshot.events.len();
            if interrupted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match story.turn(&snapshot) {
                Turn::Wait => {}
                Turn::Begin(text, act) => {
                    self.line(out, "step", snapshot.at_ms, &text)?;
                    if let Some((verb, whom)) = act
                        && let Some(node) = NODES.iter().position(|name| *name == whom)
                    {
                        stage.act(verb, node)?;
                    }
                }
                Turn::End => return Ok(None),
                Turn::Fail(why) => return Ok(Some(why)),
            }
            std::thread::sleep(LOOK);
        }
    }

    fn line(
        &self,
        out: &mut impl Write,
        kind: &str,
        at_ms: u64,
        text: &str,
    ) -> Result<(), Failure> {
        if self.output.json {
            writeln!(
                out,
                "{}",
                json!({ "event": kind, "at_ms": at_ms, "text": text })
            )?;
        } else {
            writeln!(out, "{:>6}  {text}", clock(at_ms))?;
        }
        Ok(out.flush()?)
    }

    fn introduce(&self, out: &mut impl Write, stage: &Stage) -> Result<(), Failure> {
        let (layout, join) = (stage.layout(), stage.join());
        if self.output.json {
            let host = host(layout.address);
            let users = join.users.iter().map(
                |(name, secret)| json!({ "aor": format!("{name}@{host}"), "password": secret }),
            );
            let nodes = NODES.iter().enumerate();
            let nodes: serde_json::Map<_, _> = nodes
                .map(|(node, name)| ((*name).to_owned(), json!(layout.admin(node))))
                .collect();
            let ready = json!({
                "event": "ready", "address": layout.address, "port": layout.sip, "admin": nodes,
                "users": users.collect::<Vec<_>>(),
            });
            writeln!(out, "{ready}")?;
        } else {
            let at = &join.at;
            writeln!(out, "Phones may join at {at}, UDP and TCP:")?;
            for (name, secret) in &join.users {
                writeln!(out, "  {name}@{}   password {secret}", host(layout.address))?;
            }
        }
        Ok(out.flush()?)
    }

    /// What it came to.
    fn conclude(
        &self,
        out: &mut impl Write,
        snapshot: &Snapshot,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let Outcome {
            felt,
            failed,
            excuse,
        } = outcome;
        if self.output.json {
            let calls = &snapshot.calls;
            let felt = felt.iter().map(|felt| {
                json!({
                    "at_ms": felt.at_ms, "what": felt.what, "away_ms": felt.away_ms, "back": felt.is_back,
                    "gap_ms": felt.gap_us.div_ceil(1_000), "lost": felt.lost, "calls": felt.of,
                })
            });
            let summary = json!({
                "event": "summary", "calls": calls.begun, "completed": calls.completed, "lost": calls.lost,
                "failures": calls.failures,
                "set_up_ms": { "p50": calls.set_up_us.0 as f64 / 1e3, "p99": calls.set_up_us.1 as f64 / 1e3 },
                "felt": felt.collect::<Vec<_>>(), "failed": failed, "too_busy": excuse,
            });
            writeln!(out, "{summary}")?;
        } else {
            writeln!(out, "\nWhat the calls felt:")?;
            for line in story::result(snapshot, felt) {
                writeln!(out, "{line}")?;
            }
            if let Some(why) = failed {
                writeln!(out, "The story did not come to its end: {why}")?;
            }
            if let Some(excuse) = excuse {
                writeln!(out, "{}", super::wrapped(excuse, 0))?;
            }
        }
        Ok(out.flush()?)
    }

    fn users(&self) -> Result<Vec<(String, String)>, Failure> {
        let user = |name: &str| Ok((name.to_owned(), self.secret()?));
        let users: std::io::Result<_> = USERS.iter().map(|name| user(name)).collect();
        users.map_err(Failure::Input)
    }

    fn secret(&self) -> std::io::Result<String> {
        self.password.clone().map_or_else(random_text, Ok)
    }

    fn folder(&self) -> Result<Folder, Failure> {
        if let Some(path) = &self.data {
            return Ok(Folder {
                path: super::absolute(path),
                temporary: false,
            });
        }
        // Not recursive: a folder that somebody else put there is an error.
        let name = format!("holdline-demo-{}", random_text().map_err(Failure::Input)?);
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| StartError::Data {
            path: path.clone(),
            error,
        })?;
        Ok(Folder {
            path,
            temporary: true,
        })
    }
}

/// An address as it stands in a URI.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The first port from `first` on that nobody listens on.
fn free_port(address: IpAddr, first: u16, udp_too: bool) -> Result<u16, Failure> {
    let mut error = None;
    for port in first..=first.saturating_add(PORTS_TRIED) {
        let place = SocketAddr::new(address, port);
        let tried = TcpListener::bind(place).and_then(|listener| {
            let port = listener.local_addr()?.port();
            if udp_too {
                UdpSocket::bind(SocketAddr::new(address, port))?;
            }
            Ok(port)
        });
        match tried {
            Ok(port) => return Ok(port),
            Err(found) => error = Some(found),
        }
    }
    let what = error.map_or(String::new(), |error| format!(": {error}"));
    Err(Failure::NoPort {
        address,
        first,
        last: first.saturating_add(PORTS_TRIED),
        what,
    })
}

/// Letters and digits that nobody guesses, from the system.
fn random_text() -> std::io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // Letters and digits that are not mistaken for one another.
    const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    Ok(bytes
        .iter()
        .map(|byte| char::from(SIGNS[usize::from(byte % 32)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let free = free_port(IpAddr::from([127, 0, 0, 1]), port, true).expect("one of many");
        assert!(free > port);
    }
}
