//! One node with two users on this machine, and what happens on it: `holdline demo --alone`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use admin::{Event, NewUser, Platform, Stamped};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Demo, Folder, free_port, host};
use crate::cli::Failure;
use crate::cli::books::password;
use crate::config::Config;
use crate::lifecycle::{Running, block_on};
use crate::logging::Logging;

/// What the demo's PBX does, with the numbers of the README's tour.
const DIALPLAN: &str = include_str!("dialplan.toml");
/// How many of the ports for media are the edge's; the others are the PBX's.
const EDGE_PORTS: u16 = MEDIA_PORTS / 2;

/// What a demo came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    registered: u64,
    calls: u64,
    answered: u64,
    cancelled: u64,
    refused: u64,
    failed: u64,
    talked_ms: u64,
}

/// Runs until Ctrl-C.
pub(super) fn run(demo: &Demo, out: &mut impl Write) -> Result<ExitCode, Failure> {
    demo.run_alone(out)
}

impl Demo {
    fn run_alone(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let folder = self.folder()?;
        let port = free_port(self.address, self.port, true)?;
        let admin_port = free_port(IpAddr::from([127, 0, 0, 1]), 8060, false)?;
        let config = self.config_alone(&folder.path, port, admin_port)?;
        let logging = Logging::start(&config.log);
        let secrets = self.users()?;
        block_on(async {
            let running = Running::start(config, None, logging).await?;
            let host = host(self.address);
            for (name, secret) in &secrets {
                set_user(&running, &format!("{name}@{host}"), secret).await?;
            }
            let mut events = running.wired.events();
            self.introduce_alone(out, &running, &folder, port, &secrets)?;
            let started = Instant::now();
            let mut summary = Summary::default();
            let mut end = std::pin::pin!(running.until_end());
            let ended = loop {
                tokio::select! {
                    ended = &mut end => break ended,
                    event = events.recv() => match event {
                        Ok(stamped) => self.tell_alone(out, &stamped, started, &mut summary)?,
                        Err(RecvError::Lagged(count)) => {
                            let stamped = Stamped { at_ms: 0, event: Event::Missed { count } };
                            self.tell_alone(out, &stamped, started, &mut summary)?;
                        }
                        Err(RecvError::Closed) => break (&mut end).await,
                    }
                }
            };
            self.tell_rest(out, &mut events, started, &mut summary)?;
            tracing::debug!(?ended, "demo ended");
            summary.conclude(self.output.json, out)
        })??;
        Ok(ExitCode::SUCCESS)
    }

    fn config_alone(&self, data: &Path, port: u16, admin_port: u16) -> Result<Config, Failure> {
        let (host, data) = (host(self.address), json!(data));
        let media = media_ports(self.address, port);
        let pbx = free_port(self.address, port.saturating_add(10), true)?;
        let sound = media + EDGE_PORTS;
        let text = format!(
            "[node]\nname = \"demo\"\ndata = {data}\ndrain_timeout_s = 2\n\
             [edge]\ndomains = [\"{host}\", \"localhost\"]\n\
             listen = [\"udp:{host}:{port}\", \"tcp:{host}:{port}\"]\nworkers = 1\n\
             rtp_ports = [{media}, {}]\n[edge.media]\npolicy = \"always\"\n\
             [[edge.pool]]\nname = \"pbx\"\ntargets = [{{ uri = \"sip:{host}:{pbx}\" }}]\n\
             [[edge.route]]\nuser = \"1??\"\npool = \"pbx\"\nmethods = [\"INVITE\", \"SUBSCRIBE\"]\n\
             [[edge.route]]\nuser = \"6*\"\npool = \"pbx\"\n\
             [[edge.route]]\nuser = \"?97\"\npool = \"pbx\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin_port}\"\n[log]\nlevel = \"warn\"\n\
             [pbx]\nlisten = \"{host}:{pbx}\"\nrtp_ports = [{sound}, {}]\n{DIALPLAN}",
            sound - 1,
            media + MEDIA_PORTS - 1
        );
        Config::parse(&text, Path::new("")).map_err(|mistakes| {
            Failure::Config(crate::config::ConfigError::Mistakes {
                file: "the demo's configuration".to_owned(),
                text,
                mistakes,
            })
        })
    }

    fn introduce_alone(
        &self,
        out: &mut impl Write,
        running: &Running,
        folder: &Folder,
        port: u16,
        users: &[(String, String)],
    ) -> Result<(), Failure> {
        let host = host(self.address);
        if self.output.json {
            let users = users.iter().map(
                |(name, secret)| json!({ "aor": format!("{name}@{host}"), "password": secret }),
            );
            let ready = json!({
                "event": "ready", "address": self.address, "port": port,
                "admin": running.admin, "users": users.collect::<Vec<_>>(),
            });
            writeln!(out, "{ready}")?;
            out.flush()?;
            return Ok(());
        }
        let taken = if port == self.port || self.port == 0 {
            String::new()
        } else {
            format!(" ({} is taken)", self.port)
        };
        let kept = if folder.temporary {
            "deleted at the end"
        } else {
            "kept"
        };
        writeln!(
            out,
            "Holdline listens on {host}:{port}, UDP and TCP{taken}.\n\
             Data: {} ({kept}). Health, metrics and verbs: http://{}\n\n\
             Two users:",
            folder.path.display(),
            running.admin
        )?;
        for (name, secret) in users {
            writeln!(out, "  {name}@{host}   password {secret}")?;
        }
        let port_part = if port == 5060 {
            String::new()
        } else {
            format!(":{port}")
        };
        writeln!(out, "\nWith baresip, each in a terminal of its own:")?;
        for (name, secret) in users {
            writeln!(
                out,
                "  baresip -f ~/.holdline-demo-{name} -e '/uanew <sip:{name}@{host}{port_part};transport=udp>;auth_pass={secret}'"
            )?;
        }
        writeln!(
            out,
            "  (transport=tcp for TCP), then in alice's terminal: /dial sip:bob@{host}{port_part}\n\
             With Linphone: Use a SIP account: username alice or bob, domain {host}{port_part},\n  \
             the password above, transport UDP or TCP.\n\n\
             To dial: bob (or 102), alice (101); 600 echo, 601 a menu, 602 music, 603 a conference, 604 a queue,\n  \
             *97 your voicemail (left by who calls 101 or 102 and is not answered; PIN 1234).\n\n\
             Ctrl-C ends the demo. What happens:"
        )?;
        out.flush()?;
        Ok(())
    }

    fn tell_alone(
        &self,
        out: &mut impl Write,
        stamped: &Stamped,
        started: Instant,
        summary: &mut Summary,
    ) -> Result<(), Failure> {
        summary.count(&stamped.event);
        if self.output.json {
            writeln!(out, "{}", json!(stamped))?;
        } else if let Some(text) = told(&stamped.event) {
            let elapsed_s = started.elapsed().as_secs();
            writeln!(out, "{:3}:{:02}  {text}", elapsed_s / 60, elapsed_s % 60)?;
        }
        out.flush()?;
        Ok(())
    }

    /// What came in between the last look and the end.
    fn tell_rest(
        &self,
        out: &mut impl Write,
        events: &mut Receiver<Stamped>,
        started: Instant,
        summary: &mut Summary,
    ) -> Result<(), Failure> {
        while let Ok(stamped) = events.try_recv() {
            self.tell_alone(out, &stamped, started, summary)?;
        }
        Ok(())
    }
}

impl Summary {
    fn conclude(&self, is_json: bool, out: &mut impl Write) -> Result<(), Failure> {
        if is_json {
            let answer = json!({
                "event": "summary", "registered": self.registered, "calls": self.calls,
                "answered": self.answered, "cancelled": self.cancelled,
                "refused": self.refused, "failed": self.failed,
                "talked_ms": self.talked_ms,
            });
            writeln!(out, "{answer}")?;
        } else {
            writeln!(
                out,
                "\n{} registrations, {} calls: {} answered ({} of talk), {} cancelled, {} refused, {} failed",
                self.registered,
                self.calls,
                self.answered,
                seconds(self.talked_ms),
                self.cancelled,
                self.refused,
                self.failed
            )?;
        }
        Ok(())
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Registered { .. } => self.registered += 1,
            Event::CallStarted { .. } => self.calls += 1,
            Event::CallAnswered { .. } => self.answered += 1,
            Event::CallEnded { duration_ms, .. } => self.talked_ms += duration_ms,
            Event::CallFailed { status, .. } => match status {
                487 => self.cancelled += 1,
                // Busy Here, Busy Everywhere, Decline.
                486 | 600 | 603 => self.refused += 1,
                _ => self.failed += 1,
            },
            _ => {}
        }
    }
}

/// An event in words.
pub(super) fn told(event: &Event) -> Option<String> {
    let way = |from: &str, to: &str| format!("{} -> {}", short(from), short(to));
    Some(match event {
        Event::Registered {
            aor,
            contact,
            transport,
            source,
            expires_s,
        } => format!(
            "{aor} registered over {transport} from {source} for {expires_s} s, reached at {contact}"
        ),
        Event::Unregistered { aor, contact } => format!("{aor} unregistered {contact}"),
        Event::Expired { aor, contact } => format!("{aor} was not heard of again at {contact}"),
        Event::CallStarted { from, to, .. } => format!("{} calls {}", short(from), short(to)),
        Event::CallRinging { from, to, .. } => format!("{}: ringing", way(from, to)),
        Event::TargetChanged {
            target,
            service,
            to,
            reason,
            ..
        } => {
            let name = service.as_ref().unwrap_or(target);
            format!("media server {name}: {to} ({reason})")
        }
        Event::SourceBanned {
            source,
            reason,
            duration_s,
            ..
        } => format!("{source} is banned for {duration_s} s ({reason})"),
        Event::Overload { refusing: true, .. } => {
            "too much to do: new calls are refused".to_owned()
        }
        Event::MessageNotHandedOver {
            mailbox,
            way,
            reason,
            ..
        } => {
            format!("a message in mailbox {mailbox} is not handed over by {way}: {reason}")
        }
        Event::RecordingNotSaved { path, reason } => format!("{path} is not saved: {reason}"),
        Event::ServiceChanged { service, what } => format!("the service {service} {what}"),
        Event::Overload { .. } => "no longer too much to do".to_owned(),
        Event::CallMoved { from, to, .. } => format!("{}: tries the next target", way(from, to)),
        Event::CallAnswered { from, to, .. } => format!("{}: answered", way(from, to)),
        Event::CallFailed {
            from, to, status, ..
        } => {
            let why = match status {
                487 => "cancelled".to_owned(),
                486 | 600 => "refused: busy".to_owned(),
                603 => "refused".to_owned(),
                480 => "failed: not registered (480)".to_owned(),
                404 => "failed: no such user (404)".to_owned(),
                408 => "failed: no answer (408)".to_owned(),
                status => format!("failed ({status})"),
            };
            format!("{}: {why}", way(from, to))
        }
        Event::CallEnded {
            from,
            to,
            duration_ms,
            media,
            silent,
            ..
        } => {
            let mos: Vec<f64> = media.iter().filter_map(|leg| leg.mos).collect();
            let sounded = match mos.iter().copied().reduce(f64::min) {
                Some(worst) => format!(", sounded {worst:.1} of 4.5 or better"),
                None => String::new(),
            };
            let why = if *silent {
                ": nobody was heard any more"
            } else {
                ""
            };
            format!(
                "{}: ended after {}{why}{sounded}",
                way(from, to),
                seconds(*duration_ms)
            )
        }

        Event::Missed { count } => format!("({count} events were too fast to show)"),
        _ => return None,
    })
}

/// A URI as people say it: `user@domain`.
fn short(uri: &str) -> &str {
    let bare = uri.strip_prefix("sip:").unwrap_or(uri);
    bare.split([';', '?']).next().unwrap_or(bare)
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

async fn set_user(running: &Running, aor: &str, secret: &str) -> Result<(), Failure> {
    let credential = password(secret.to_owned());
    let directory = running.wired.directory();
    let user = NewUser {
        aor: aor.to_owned(),
        credential,
        later: false,
    };
    match directory.add_user(&user).await {
        Err(admin::Refusal::Exists { .. }) => {
            directory.set_credential(aor, &user.credential).await?;
        }
        added => added?,
    }
    Ok(running.wired.refresh().await?)
}

/// Ports for media: a hundred pairs, below those that the system gives to clients.
const MEDIA_PORTS: u16 = 200;
const MEDIA_RANGES: std::ops::Range<u16> = 30_000..32_600;

/// The first port of a range for media, which another demo has not taken.
fn media_ports(address: IpAddr, sip: u16) -> u16 {
    let mut firsts = MEDIA_RANGES.step_by(usize::from(MEDIA_PORTS));
    let is_free = |first: &u16| {
        !(*first..first + MEDIA_PORTS).contains(&sip)
            && UdpSocket::bind(SocketAddr::new(address, *first)).is_ok()
    };
    // If all are taken, the node says what it misses.
    firsts.find(is_free).unwrap_or(MEDIA_RANGES.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: u16) -> Event {
        Event::CallFailed {
            call_id: "x".into(),
            from: "sip:alice@a;transport=udp".into(),
            to: "sip:bob@a".into(),
            status,
        }
    }

    #[test]
    fn a_call_is_counted_by_how_it_ended() {
        let mut summary = Summary::default();
        for status in [487, 486, 603, 480] {
            summary.count(&failed(status));
        }
        assert_eq!(
            (summary.cancelled, summary.refused, summary.failed),
            (1, 2, 1)
        );
        assert_eq!(
            told(&failed(487)).as_deref(),
            Some("alice@a -> bob@a: cancelled")
        );
    }

    #[test]
    fn the_demos_configuration_is_valid_for_both_families() {
        for address in ["127.0.0.1", "::1"] {
            #[derive(clap::Parser)]
            struct Line {
                #[command(flatten)]
                demo: Demo,
            }
            let line = <Line as clap::Parser>::parse_from(["demo", "--address", address]);
            let config = line
                .demo
                .config_alone(Path::new("/tmp/a \"b"), 5061, 8061)
                .expect("valid");
            assert_eq!(config.edge.listen[0].port, 5061);
        }
    }
}
