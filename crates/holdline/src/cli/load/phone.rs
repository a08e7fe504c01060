//! `holdline load phone`: one phone that does as it is told, for scripts.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use ::load::{Answering, Calling, Event, Registering, Run, Settings, Sound, User};
use audio::SampleRate;
use audio::dtmf::Digit;
use audio::resample::convert;
use audio::tone::{Player, Tone};
use audio::wav::Wav;
use clap::Args;
use serde_json::{Value, json};
use transaction::{Timers, Transport};

use super::super::{EXIT_FAILED, Failure};

/// How long a phone waits for the response to its BYE, in milliseconds.
const GRACE_MS: u64 = 5_000;
/// Between two looks at what happened, in milliseconds.
const LOOK_MS: u64 = 20;

/// Be one phone: register, call or take a call, say and record sound, press keys
#[derive(Debug, Args)]
#[command(after_help = "Each step is a line of JSON.\n\nExamples:\n  \
    holdline load phone --target 10.0.0.1 --domain example.org --register alice --password secret --call bob --for 5s\n  \
    holdline load phone --target 10.0.0.1 --register bob --password secret --answer --play tone --record heard.wav")]
pub(crate) struct Phone {
    /// Where messages go, as in 10.0.0.1:5060
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5060", value_parser = super::address)]
    target: SocketAddr,
    /// Use TCP
    #[arg(long)]
    tcp: bool,
    /// Its own address, port optional [default: the one that leads to the target]
    #[arg(long, value_name = "ADDRESS", value_parser = super::source)]
    from: Option<SocketAddr>,
    /// The domain [default: the target's address]
    #[arg(long)]
    domain: Option<String>,
    /// Register as this user, and call as this user
    #[arg(long, value_name = "USER")]
    register: Option<String>,
    /// Call as this user, without a registration
    #[arg(long, value_name = "USER", conflicts_with = "register")]
    user: Option<String>,
    /// What challenges are answered with
    #[arg(long, default_value = "")]
    password: String,
    /// Call this user, or this URI
    #[arg(long, value_name = "USER")]
    call: Option<String>,
    /// Take a call, and end after it
    #[arg(long, conflicts_with = "call")]
    answer: bool,
    /// How long it rings first
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = super::span_ms)]
    ring: u64,
    /// What the call is answered with: 200, or a refusal
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..700), requires = "answer")]
    answer_with: u16,
    /// Hang up on who called, so long after the answer
    #[arg(long, value_name = "TIME", value_parser = super::span_ms, requires = "answer")]
    hang_up_after: Option<u64>,
    /// Send an INVITE within the call, so long after the answer
    #[arg(long, value_name = "TIME", value_parser = super::span_ms, requires = "call")]
    reinvite_after: Option<u64>,
    /// Say this WAV file again and again, or a tone
    #[arg(long, value_name = "FILE|tone")]
    play: Option<String>,
    /// Write what is heard to this WAV file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Keys to press once the call is answered, half a second apart
    #[arg(long, value_name = "KEYS")]
    dtmf: Option<String>,
    /// How long the call goes on; how long to wait for one and through it with --answer
    #[arg(long = "for", value_name = "TIME", value_parser = super::span_ms)]
    span: Option<u64>,
    /// The final status of the call, or of the registration without one, that counts as success
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    expect_status: u16,
}

impl Phone {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let run = Run::start(self.settings()?)?;
        let interrupted = super::interrupted()?;
        let (mut status, mut taken, mut ended) = (None, false, false);
        let mut told = Ok(());
        let mut tell = |events: Vec<(u64, Event)>, told: &mut std::io::Result<()>| {
            for (at_us, event) in events {
                match &event {
                    Event::Registered { status: found } if self.call.is_none() => {
                        status = Some(*found);
                    }
                    Event::Answered { status: found, .. } | Event::Failed { status: found } => {
                        status = Some(*found);
                    }
                    Event::Taken => taken = true,
                    Event::Ended { .. } => ended = true,
                    _ => {}
                }
                let written = writeln!(out, "{}", line(at_us, &event)).and_then(|()| out.flush());
                if told.is_ok() {
                    *told = written;
                }
            }
            (status, taken, ended)
        };
        let heard_later = run.events_later();
        run.wait(LOOK_MS, |run| {
            let (_, taken, ended) = tell(run.events(), &mut told);
            let is_over = self.answer && ended && (taken || self.answer_with >= 300);
            if interrupted.load(Ordering::Relaxed) {
                run.hang_up();
            }
            !is_over && !interrupted.load(Ordering::Relaxed) && told_ok(&told)
        })?;
        let (status, taken, ended) = tell(heard_later(), &mut told);
        told?;
        let is_good = match self.answer {
            true => taken || self.answer_with >= 300 && ended,
            false => status == Some(self.expect_status),
        };
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_FAILED)
        })
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let name = self.register.as_ref().or(self.user.as_ref());
        let name = name.map_or("phone", String::as_str);
        let domain = self
            .domain
            .clone()
            .unwrap_or_else(|| self.target.ip().to_string());
        let calling = self.call.as_ref().map(|callee| Calling {
            per_s: 1_000.0,
            active_max: 1,
            total: Some(1),
            duration_ms: self.span.unwrap_or(5_000),
            duration_spread_ms: 0,
            to: Some(match callee.contains(':') {
                true => callee.clone(),
                false => format!("sip:{callee}@{domain}"),
            }),
            answer_timeout_ms: 60_000,
            cancel_per_mille: 0,
            cancel_after_ms: 0,
            reinvite_per_mille: if self.reinvite_after.is_some() {
                1_000
            } else {
                0
            },
            reinvite_after_ms: self.reinvite_after.unwrap_or(0),
        });
        let keys = self.dtmf.iter().flat_map(|keys| keys.chars());
        Ok(Settings {
            target: self.target,
            transport: if self.tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            domain,
            sources: vec![
                self.from
                    .unwrap_or_else(|| SocketAddr::new(super::way_to(self.target), 0)),
            ],
            threads: 1,
            users: vec![User {
                name: name.into(),
                password: self.password.as_str().into(),
            }],
            registering: self.register.as_ref().map(|_| Registering {
                per_s: 1_000.0,
                expires_s: 600,
                is_cycling: false,
            }),
            span_ms: self.span.filter(|_| self.call.is_none()),
            calling,
            answering: Answering {
                ring_ms: self.ring,
                status: self.answer_with,
                hang_up_per_mille: if self.hang_up_after.is_some() {
                    1_000
                } else {
                    0
                },
                hang_up_after_ms: self.hang_up_after.unwrap_or(0),
                ..Answering::default()
            },
            has_media: true,
            streams_max: 1,
            sound: Some(Sound {
                says: self.says()?,
                keys: keys.filter_map(Digit::of_sign).collect(),
                record: self.record.clone(),
            }),
            stays: self.answer,
            grace_ms: GRACE_MS,
            timers: Timers::default(),
            is_told: true,
        })
    }

    fn says(&self) -> Result<Vec<i16>, Failure> {
        let rate = SampleRate::Hz8000;
        match self.play.as_deref() {
            None => Ok(Vec::new()),
            Some("tone") => {
                // A second of it, of whole waves nearly.
                let mut sound = vec![0; rate.samples(1_000)];
                Player::new(Tone::MILLIWATT, rate, Player::LEVEL_DB).play(&mut sound);
                Ok(sound)
            }
            Some(path) => {
                let failed = |error| Failure::File {
                    path: path.into(),
                    error,
                };
                let file = fs::read(path).map_err(failed)?;
                let no_wave = |_| failed(std::io::Error::other("no WAV file that can be played"));
                let wav = Wav::parse(&file).map_err(no_wave)?;
                let mut sound = vec![0; wav.len()];
                wav.read(0, &mut sound);
                Ok(convert(&sound, wav.hz, rate))
            }
        }
    }
}

fn told_ok(told: &std::io::Result<()>) -> bool {
    told.is_ok()
}

/// An event as a line of JSON.
fn line(at_us: u64, event: &Event) -> Value {
    let mut line = match event {
        Event::Registered { status } => json!({"event": "registered", "status": status}),
        Event::Ringing { status } => json!({"event": "ringing", "status": status}),
        Event::Answered { status, after_us } => {
            json!({"event": "answered", "status": status, "after_ms": after_us / 1_000})
        }
        Event::Failed { status } => json!({"event": "failed", "status": status}),
        Event::Invited { from } => json!({"event": "invited", "from": from}),
        Event::Taken => json!({"event": "taken"}),
        Event::Heard {
            packets,
            lost,
            gap_us_max,
            keys,
            loudness,
            file_error,
        } => json!({
            "event": "heard",
            "packets": packets,
            "lost": lost,
            "gap_ms": gap_us_max / 1_000,
            "keys": keys,
            "loudness": loudness,
            "error": file_error,
        }),
        Event::Ended { by_peer } => json!({"event": "ended", "by_peer": by_peer}),
    };
    line["at_ms"] = json!(at_us / 1_000);
    line
}
