//! `holdline load`: traffic, as thousands of phones or as one.

mod phone;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::load::{Answering, Calling, Registering, Run, Settings, Tally, User, numbered};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use transaction::{Timers, Transport};

use super::{EXIT_FAILED, Failure, Output};

/// Make SIP calls and registrations, with sound, and count what becomes of them
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
    holdline load --target 10.0.0.1 --domain example.org --users 100 --register --calls-per-s 20 --for 1m --media\n  \
    holdline load --target 10.0.0.1 --domain example.org --users 10000 --register --rate 1000 --for 1m\n  \
    holdline load --answer --from 10.0.0.2:5060\n\nEnds with 1 when more than --fail-max failed."
)]
pub(crate) struct Load {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Be one phone: register, call or take a call, say and record sound, press keys
    Phone(phone::Phone),
}

#[derive(Debug, Args)]
struct Traffic {
    /// Where messages go, as in 10.0.0.1:5060
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5060", value_parser = address)]
    target: SocketAddr,
    /// Use TCP
    #[arg(long)]
    tcp: bool,
    /// Our own addresses, ports optional, as in 127.0.0.2,127.0.0.3:5070 [default: the one that leads to the target]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = source)]
    from: Vec<SocketAddr>,
    /// Threads [default: one for two processors]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The users' domain [default: the target's address]
    #[arg(long)]
    domain: Option<String>,
    /// How many users there are
    #[arg(long, value_name = "N", default_value_t = 2)]
    users: u64,
    /// The number of the first user
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u64,
    /// Their names, with the number as in the default or, with zeros to five digits, {n:5}
    #[arg(long, value_name = "PATTERN", default_value = "user{n}")]
    user: String,
    /// Their passwords, with the number as in --user, or the name: {user}
    #[arg(long, value_name = "PATTERN", default_value = "{user}")]
    password: String,
    /// Register the users first; alone and with --for, go round them until then
    #[arg(long)]
    register: bool,
    /// Registrations begun a second
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    rate: f64,
    /// What registrations ask for
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span_ms)]
    expires: u64,
    /// Calls begun a second
    #[arg(long, value_name = "N")]
    calls_per_s: Option<f64>,
    /// Most calls at one time
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    active_max: u32,
    /// From a call's answer to its end, or the shortest and the longest, as in 5s..7s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = spans_ms)]
    call_duration: (u64, u64),
    /// How long a call may ring
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span_ms)]
    answer_timeout: u64,
    /// How many calls
    #[arg(long, value_name = "N")]
    total: Option<u64>,
    /// How long new calls and registrations are begun
    #[arg(long = "for", value_name = "TIME", value_parser = span_ms)]
    span: Option<u64>,
    /// How long to wait for calls that are not over by then
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = span_ms)]
    grace: u64,
    /// Whom to call, as in sip:echo@example.org, with the call's number as the users have theirs [default: the user half the population on]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    /// The share of calls that are cancelled while they ring, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cancel_share: f64,
    /// How long these ring first
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = span_ms)]
    cancel_after: u64,
    /// The share of answered calls in which the caller sends an INVITE within the call, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reinvite_share: f64,
    /// How long after the answer [default: half of --call-duration]
    #[arg(long, value_name = "TIME", value_parser = span_ms)]
    reinvite_after: Option<u64>,
    /// Only take calls, until --for or an interrupt
    #[arg(long)]
    answer: bool,
    /// How long calls that come ring
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span_ms)]
    ring: u64,
    /// What calls that come are answered with
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..700))]
    answer_with: u16,
    /// The share of calls that come that --answer-with refuses, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    refuse_share: f64,
    /// The share of calls that come that are passed over in silence, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    ignore_share: f64,
    /// The share of calls that who was called ends; who calls has to be told it, too, if he is another run
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    hang_up_share: f64,
    /// How long after the ACK [default: half of --call-duration]
    #[arg(long, value_name = "TIME", value_parser = span_ms)]
    hang_up_after: Option<u64>,
    /// Calls carry sound both ways, which is checked
    #[arg(long)]
    media: bool,
    /// Most streams at one time [default: three for each active call]
    #[arg(long, value_name = "N")]
    streams_max: Option<u32>,
    /// T1, the estimated round-trip time
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = span_ms)]
    t1: u64,
    /// How many calls, registrations and, with --media, streams may fail before the run counts as failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_max: u64,
    /// No line each second
    #[arg(long)]
    quiet: bool,
}

impl Load {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        if let Some(Verb::Phone(phone)) = &self.verb {
            return phone.run(out);
        }
        let settings = self.traffic.settings();
        let (target, threads) = (settings.target, settings.threads);
        let is_answering = settings.calling.is_none() && settings.registering.is_none();
        let run = Run::start(settings)?;
        if is_answering {
            let locals: Vec<String> = run.locals().iter().map(SocketAddr::to_string).collect();
            writeln!(std::io::stderr(), "taking calls at {}", locals.join(", "))?;
        }
        let interrupted = interrupted()?;
        let mut before = Tally::default();
        let is_quiet = self.traffic.quiet;
        let tally = run.wait(1_000, |run| {
            let progress = run.progress();
            if !is_quiet {
                // A reader that has gone does not stop the run.
                let _ = writeln!(
                    std::io::stderr(),
                    "{}",
                    line(progress.at_ms, &before, &progress.tally)
                );
            }
            before = progress.tally;
            !interrupted.load(Ordering::Relaxed)
        })?;
        let failed = tally.failed();
        if self.output.json {
            let mut report = tally.to_json();
            report["failed"] = json!(failed);
            report["unheard"] = json!(tally.unheard());
            report["target"] = json!(target.to_string());
            report["threads"] = json!(threads);
            report["version"] = json!(env!("CARGO_PKG_VERSION"));
            writeln!(out, "{report:#}")?;
        } else {
            print(&tally, out)?;
        }
        let is_failed = failed + tally.unheard() > self.traffic.fail_max;
        Ok(if is_failed {
            ExitCode::from(EXIT_FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }
}

impl Traffic {
    fn settings(&self) -> Settings {
        let users = (self.first..self.first.saturating_add(self.users)).map(|number| {
            let name = numbered(&self.user, number, "");
            let password = numbered(&self.password, number, &name);
            User {
                name: name.into(),
                password: password.into(),
            }
        });
        let sources = match self.from.as_slice() {
            [] => vec![SocketAddr::new(way_to(self.target), 0)],
            sources => sources.to_vec(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fixed = sources.iter().any(|source| source.port() != 0);
        let threads = self
            .threads
            .unwrap_or(if fixed { 1 } else { processors.div_ceil(2) });
        let calls_per_s = match (self.calls_per_s, self.answer || self.register) {
            (None, false) => Some(1.0),
            (given, _) => given.filter(|_| !self.answer),
        };
        let registering = self.register.then(|| Registering {
            per_s: self.rate,
            expires_s: u32::try_from(self.expires / 1_000).unwrap_or(u32::MAX),
            is_cycling: calls_per_s.is_none() && !self.answer && self.span.is_some(),
        });
        let calling = calls_per_s.map(|per_s| Calling {
            per_s,
            active_max: self.active_max,
            // One call, if nobody says how many.
            total: self
                .total
                .or((self.span.is_none() && self.calls_per_s.is_none()).then_some(1)),
            duration_ms: self.call_duration.0,
            duration_spread_ms: self.call_duration.1.saturating_sub(self.call_duration.0),
            to: self.to.clone(),
            answer_timeout_ms: self.answer_timeout,
            cancel_per_mille: per_mille(self.cancel_share),
            cancel_after_ms: self.cancel_after,
            reinvite_per_mille: per_mille(self.reinvite_share),
            reinvite_after_ms: self.reinvite_after.unwrap_or(self.call_duration.0 / 2),
        });
        Settings {
            target: self.target,
            transport: if self.tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            domain: self
                .domain
                .clone()
                .unwrap_or_else(|| self.target.ip().to_string()),
            sources,
            threads,
            users: users.collect(),
            registering,
            calling,
            answering: Answering {
                ring_ms: self.ring,
                status: self.answer_with,
                refuse_per_mille: per_mille(self.refuse_share),
                ignore_per_mille: per_mille(self.ignore_share),
                hang_up_per_mille: per_mille(self.hang_up_share),
                hang_up_after_ms: self.hang_up_after.unwrap_or(self.call_duration.0 / 2),
            },
            has_media: self.media,
            streams_max: self
                .streams_max
                .unwrap_or(self.active_max.saturating_mul(3)),
            sound: None,
            stays: self.answer,
            span_ms: self.span,
            grace_ms: self.grace,
            timers: Timers::new(
                self.t1.clamp(1, 60_000),
                (self.t1 * 8).clamp(1, 60_000),
                5_000,
            )
            .unwrap_or_default(),
            is_told: false,
        }
    }
}

/// A share from 0 to 1 in thousandths.
fn per_mille(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u32
}

/// The address from which messages to `target` leave.
fn way_to(target: SocketAddr) -> IpAddr {
    let any = IpAddr::from([0, 0, 0, 0]);
    let any = if target.is_ipv6() {
        IpAddr::from([0u16; 8])
    } else {
        any
    };
    let found = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    found.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Set at SIGINT or SIGTERM, and at SIGHUP unless that is ignored (`nohup`): nothing new begins then, and the report is made.
pub(super) fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Failure::Input)?;
    let (mut terminate, mut interrupt, mut hang_up) = {
        let _inside = runtime.enter();
        let caught = |kind| signal(kind).map_err(Failure::Input);
        (
            caught(SignalKind::terminate())?,
            caught(SignalKind::interrupt())?,
            match is_hang_up_ignored() {
                true => None,
                false => Some(caught(SignalKind::hangup())?),
            },
        )
    };
    let told = stop.clone();
    let thread = std::thread::Builder::new().name("load-signals".to_owned());
    let waits = thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = async {
                    match &mut hang_up {
                        Some(hang_up) => hang_up.recv().await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    waits.map_err(Failure::Input)?;
    Ok(stop)
}

/// Whether who started this wants it to outlive its terminal.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first signal is SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// What happened in the last second, and how it stands.
fn line(at_ms: u64, before: &Tally, now: &Tally) -> String {
    let mut line = format!("{:>5} s", at_ms / 1_000);
    if now.calls.attempted > 0 {
        line += &format!(
            "  calls {}/s, {} active, {} answered, {} failed, set-up p99 {:.0} ms",
            now.calls.attempted - before.calls.attempted,
            now.calls.active,
            now.calls.answered,
            now.call_failures.total(),
            now.set_up.at_us(990) as f64 / 1_000.0,
        );
    }
    if now.answers.invited > 0 {
        line += &format!(
            "  taken {}, {} active",
            now.answers.answered, now.answers.active
        );
    }
    if now.registrations.attempted > 0 {
        line += &format!(
            "  registrations {}/s, {} done, {} failed",
            now.registrations.succeeded - before.registrations.succeeded,
            now.registrations.succeeded,
            now.registration_failures.total(),
        );
    }
    if now.packets.streams > 0 {
        line += &format!(
            "  packets {}/s",
            now.packets.received - before.packets.received
        );
    }
    line += &format!("  sent again {}", now.messages.retransmissions_sent);
    let behind_ms = now.behind.at_us(990) / 1_000;
    if behind_ms >= 100 {
        line += &format!("  BEHIND by {behind_ms} ms: the generator is the limit");
    }
    line
}

/// The report for people.
fn print(tally: &Tally, out: &mut impl Write) -> Result<(), Failure> {
    let report = tally.to_json();
    for part in ["calls", "answers", "registrations", "messages", "media"] {
        let Some(fields) = report[part].as_object() else {
            continue;
        };
        let is_nothing = fields.values().all(|value| match value {
            serde_json::Value::Number(number) => number.as_u64() == Some(0),
            serde_json::Value::Object(inner) => inner.get("count").is_none_or(|count| count == 0),
            _ => true,
        });
        if is_nothing {
            continue;
        }
        writeln!(out, "{part}")?;
        for (name, value) in fields {
            match value {
                serde_json::Value::Object(inner) if inner.contains_key("p99") => {
                    if inner["count"] == 0 {
                        continue;
                    }
                    let at = |name: &str| inner[name].as_f64().unwrap_or(0.0);
                    writeln!(
                        out,
                        "  {name:<26} p50 {:.2}  p99 {:.2}  max {:.2}",
                        at("p50"),
                        at("p99"),
                        at("max")
                    )?;
                }
                serde_json::Value::Object(inner) => {
                    for (reason, count) in inner {
                        writeln!(out, "    {reason:<24} {count}")?;
                    }
                }
                value if *value != 0 => writeln!(out, "  {name:<26} {value}")?,
                _ => {}
            }
        }
    }
    let late_ms = report["behind_ms"]["p99"].as_f64().unwrap_or(0.0);
    writeln!(out, "begun late by               p99 {late_ms:.2} ms")?;
    Ok(())
}

/// An address with a port, 5060 if none is given.
fn address(text: &str) -> Result<SocketAddr, String> {
    with_port(text, 5060)
}

fn source(text: &str) -> Result<SocketAddr, String> {
    with_port(text, 0)
}

fn with_port(text: &str, port: u16) -> Result<SocketAddr, String> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    alone
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| "not an address; write 10.0.0.1 or 10.0.0.1:5060".to_owned())
}

/// A time as in 500ms, 5s, 2m, 1h; without a unit, seconds. Milliseconds.
pub(crate) fn span_ms(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms = match unit {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err("not a time; write 500ms, 5s, 2m or 1h".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "not a time; write 500ms, 5s, 2m or 1h".to_owned())?;
    if !(0.0..=1e9).contains(&number) {
        return Err("not between 0 and 10^9".to_owned());
    }
    Ok((number * unit_ms) as u64)
}

/// One length of time, or two with dots between.
fn spans_ms(text: &str) -> Result<(u64, u64), String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let both = (span_ms(shortest)?, span_ms(longest)?);
    match both.0 <= both.1 {
        true => Ok(both),
        false => Err("the longer one comes last, as in 5s..7s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_one_length_or_lengths_between_two() {
        assert_eq!(spans_ms("5s"), Ok((5_000, 5_000)));
        assert_eq!(spans_ms("500ms..7s"), Ok((500, 7_000)));
        assert!(spans_ms("7s..5s").is_err() && spans_ms("..").is_err());
    }

    #[test]
    fn times_are_read_with_their_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(span_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "5x", "-1s", "ms"] {
            assert!(span_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_may_be_left_out() {
        assert_eq!(address("127.0.0.1").expect("one").port(), 5060);
        assert_eq!(source("127.0.0.1").expect("one").port(), 0);
        assert_eq!(source("[::1]:5070").expect("one").port(), 5070);
        assert!(address("example.org").is_err());
    }
}
