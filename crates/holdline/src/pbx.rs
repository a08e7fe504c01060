//! From the configuration to a PBX.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use admin::{MetricFamily, MetricKind, PbxStatus};
use base64::Engine;
use driver::pbx::{CdrPlaces, Notify, PbxNode, PbxOptions};
use driver::voice::VoiceSettings;
use pbx::plan::{Plan, Source};
use store::{Message, Objects, Place, Store};
use transaction::{Flow, Transport};
use voice::{Codec, Totals};

use crate::config::{self, Config, MediaStore};

/// How long one operation of the media store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long whoever looks waits for the media threads.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the webhook or the mail program may take.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Characters of a line in base64 (RFC 2045 section 6.8).
const LINE_CHARS: usize = 76;

/// A mistake in a dialplan, with where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMistake {
    /// The file, or where in the store.
    pub source: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for PlanMistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.message)
    }
}

/// Why a PBX did not start.
#[derive(Debug)]
pub enum PbxStartError {
    /// The dialplan has mistakes.
    Dialplan(Vec<PlanMistake>),
    /// The dialplan in the store cannot be read.
    Store(store::StoreError),
    /// The media store cannot be used.
    Objects(store::ObjectError),
    /// What the PBX itself needs.
    Node(driver::pbx::PbxError),
    /// It ended while it started; the log says why.
    Panicked,
}

impl std::fmt::Display for PbxStartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dialplan(mistakes) => {
                let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Store(error) => write!(f, "the dialplan cannot be read from the store: {error}"),
            Self::Objects(error) => write!(f, "{error}; see pbx.media_store"),
            Self::Node(error) => write!(f, "{error}"),
            Self::Panicked => f.write_str("the PBX ended while it started; the log says why"),
        }
    }
}

impl std::error::Error for PbxStartError {}

/// Reads and checks the dialplan: that of the file's text, and `stored`, the one in the store.
///
/// # Errors
/// Every mistake there is.
pub(crate) fn plan(
    config: &config::Pbx,
    name: &str,
    stored: Option<&str>,
) -> Result<Arc<Plan>, Vec<PlanMistake>> {
    let stored_name = config.stored_dialplan.as_deref().unwrap_or("default");
    let stored_name = format!("dialplan {stored_name} in the store");
    let mut sources = vec![Source {
        name,
        text: &config.text,
        is_shared: true,
    }];
    if let Some(text) = stored {
        sources.push(Source {
            name: &stored_name,
            text,
            is_shared: false,
        });
    }
    let has = |name: &str| has_prompt(config.prompts.as_deref(), name);
    let built = Plan::build(&sources, &has);
    built.map(Arc::new).map_err(|mistakes| {
        let placed = mistakes.iter().map(|mistake| {
            let source = &sources[mistake.source];
            PlanMistake {
                source: source.name.to_owned(),
                line: mistake.line(source.text),
                message: mistake.fault.to_string(),
            }
        });
        placed.collect()
    })
}

/// Whether there is a prompt, ours or in the operator's folder.
pub(crate) fn has_prompt(folder: Option<&Path>, name: &str) -> bool {
    let own = folder.map(|folder| folder.join(name));
    let is_file = |path: &Path| {
        let (Some(parent), Some(stem)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let mut entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().file_stem() == Some(stem))
    };
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    let is_own = name.split('/').all(is_plain) && own.is_some_and(|path| is_file(&path));
    is_own || pbx::prompts::find(name).is_some()
}

/// What calls are set to.
pub(crate) fn settings(config: &config::Pbx) -> pbx::Settings {
    let flow = Flow {
        transport: Transport::Udp,
        remote: config.edge,
        local: config.listen,
    };
    let domains: Vec<String> = config.domains.iter().map(ToString::to_string).collect();
    let domain = domains.first().map_or("localhost", String::as_str);
    let mut trusted = config.trusted.clone();
    trusted.push(config.edge.ip());
    pbx::Settings {
        domains: domains.clone(),
        advertised: config.advertise.unwrap_or(config.listen.ip()),
        trusted,
        codecs: config.codecs.iter().map(codec).collect(),
        calls_max: config.calls_max,
        session_expires_s: config.session_expires_s,
        media_by_need: config.media_by_need,
        ..pbx::Settings::new(domain, flow)
    }
}

fn codec(codec: &config::Codec) -> Codec {
    match codec {
        config::Codec::Pcma => Codec::Pcma,
        config::Codec::Pcmu => Codec::Pcmu,
        config::Codec::G722 => Codec::G722,
        config::Codec::Opus => Codec::Opus,
    }
}

/// Opens the media store.
///
/// # Errors
/// What is wrong with its place.
pub(crate) fn objects(config: &config::Pbx) -> Result<Objects, store::ObjectError> {
    let place = match &config.media_store {
        MediaStore::Folder(path) => Place::Folder(path.clone()),
        MediaStore::S3 { bucket, prefix } => Place::S3 {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            endpoint: config.s3.endpoint.clone(),
            region: config.s3.region.clone(),
            credentials: config.s3.access_key.clone().zip(
                config
                    .s3
                    .secret_key
                    .as_ref()
                    .map(|key| key.reveal().to_owned()),
            ),
        },
    };
    Objects::open(&place, STORE_TIMEOUT)
}

/// All that a PBX is started with.
pub(crate) fn options(
    config: &Config,
    pbx: &config::Pbx,
    plan: Arc<Plan>,
    objects: Objects,
    store: Store,
) -> PbxOptions {
    let data: &Path = &config.node.data;
    PbxOptions {
        listen: pbx.listen,
        settings: settings(pbx),
        plan,
        voice: VoiceSettings {
            first_port: pbx.rtp_ports.first,
            last_port: pbx.rtp_ports.last,
            addresses: vec![pbx.listen.ip()],
            freebind: false,
            advertised: pbx.advertise,
            threads: pbx.media_threads,
            voice: voice::Settings::default(),
        },
        objects: Some(objects),
        country: pbx.country,
        prompts: pbx.prompts.clone(),
        cdrs: CdrPlaces {
            prefix: config.node.name.clone(),
            pending: data.join("cdr-pending.jsonl"),
            lines: pbx.cdr_file.clone(),
        },
        store: Some(store),
        notify: Hand::of(pbx).map(|hand| Arc::new(hand) as Arc<dyn Notify>),
        epoch_file: data.join("pbx-epoch"),
    }
}

/// How a PBX is doing; `None` if it does not answer in time. It waits for threads.
pub(crate) fn status(pbx: &PbxNode) -> Option<PbxStatus> {
    let snapshot = pbx.snapshot()?;
    let voices = pbx.voices().look(&[], LOOK_TIMEOUT);
    let sum = |of: &dyn Fn(&Totals) -> u64| -> u64 {
        voices.threads.iter().map(|thread| of(&thread.totals)).sum()
    };
    Some(PbxStatus {
        listener: format!("udp:{}", pbx.address()),
        legs: snapshot.tables.legs as u64,
        incoming: snapshot.counts.incoming,
        outgoing: snapshot.counts.outgoing,
        refused: snapshot.counts.refused_full,
        subscriptions: snapshot.tables.subscriptions as u64,
        ports_in_use: voices.ports_in_use as u64,
        ports_free: voices.ports_free as u64,
        packets_received: sum(&|totals| totals.packets_received),
        packets_sent: sum(&|totals| totals.packets_sent),
        packets_late: sum(&|totals| totals.lateness.over_a_frame()),
    })
}

/// What a PBX counts, as Prometheus metrics.
pub(crate) fn metrics(pbx: &PbxStatus) -> Vec<MetricFamily> {
    let rows = [
        (
            "holdline_pbx_legs",
            "Legs in progress.",
            MetricKind::Gauge,
            pbx.legs,
        ),
        (
            "holdline_pbx_calls_in_total",
            "Calls that came in.",
            MetricKind::Counter,
            pbx.incoming,
        ),
        (
            "holdline_pbx_calls_out_total",
            "Calls that the PBX made.",
            MetricKind::Counter,
            pbx.outgoing,
        ),
        (
            "holdline_pbx_calls_refused_total",
            "Calls refused because there were as many as may be.",
            MetricKind::Counter,
            pbx.refused,
        ),
        (
            "holdline_pbx_subscriptions",
            "Subscriptions in force.",
            MetricKind::Gauge,
            pbx.subscriptions,
        ),
        (
            "holdline_pbx_ports_in_use",
            "Pairs of ports for sound that are in use.",
            MetricKind::Gauge,
            pbx.ports_in_use,
        ),
        (
            "holdline_pbx_packets_received_total",
            "Packets of sound that came in.",
            MetricKind::Counter,
            pbx.packets_received,
        ),
        (
            "holdline_pbx_packets_sent_total",
            "Packets of sound that left.",
            MetricKind::Counter,
            pbx.packets_sent,
        ),
        (
            "holdline_pbx_packets_late_total",
            "Packets of sound that left more than a frame late.",
            MetricKind::Counter,
            pbx.packets_late,
        ),
    ];
    rows.map(|(name, help, kind, value)| MetricFamily::single(name, help, kind, value as f64))
        .into()
}

/// Hands new voice messages over: to a webhook, to a program that sends mail.
struct Hand {
    webhook: Option<String>,
    command: Option<Vec<String>>,
}

impl Hand {
    fn of(config: &config::Pbx) -> Option<Hand> {
        let hand = Hand {
            webhook: config.message_webhook.clone(),
            command: config.message_command.clone(),
        };
        (hand.webhook.is_some() || hand.command.is_some()).then_some(hand)
    }

    fn post(&self, url: &str, mailbox: &str, message: &Message) {
        let body = serde_json::json!({
            "mailbox": mailbox,
            "message": message.name,
            "path": message.path,
            "caller": {
                "user": message.caller_user,
                "host": message.caller_host,
                "display": message.caller_display,
            },
            "left_unix_ms": message.left_unix_ms,
            "length_ms": message.length_ms,
        });
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(NOTIFY_TIMEOUT))
            .build()
            .new_agent();
        let posted = agent
            .post(url)
            .header("Content-Type", "application/json")
            .send(body.to_string());
        if let Err(error) = posted {
            tracing::error!(%error, url, mailbox, "the webhook was not told of a voice message");
        }
    }

    fn mail(&self, command: &[String], mailbox: &str, message: &Message, sound: &[u8]) {
        let Some((program, arguments)) = command.split_first() else {
            return;
        };
        let spawned = Command::new(program)
            .args(arguments)
            .env("HOLDLINE_MAILBOX", mailbox)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let ended = spawned.and_then(|mut child| {
            if let Some(mut input) = child.stdin.take() {
                input.write_all(&letter(mailbox, message, sound))?;
            }
            child.wait()
        });
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => {
                tracing::error!(program, %status, mailbox, "a voice message was not mailed");
            }
            Err(error) => {
                tracing::error!(program, %error, mailbox, "a voice message was not mailed");
            }
        }
    }
}

impl Notify for Hand {
    fn message(&self, mailbox: &str, message: &Message, sound: &[u8]) {
        if let Some(url) = &self.webhook {
            self.post(url, mailbox, message);
        }
        if let Some(command) = &self.command {
            self.mail(command, mailbox, message, sound);
        }
    }
}

/// An e-mail with the sound attached (RFC 5322, RFC 2045).
fn letter(mailbox: &str, message: &Message, sound: &[u8]) -> Vec<u8> {
    // A name that a caller chose does not end a header.
    let clean = |text: &str| -> String {
        let fits =
            |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>') || c == ' ';
        text.chars()
            .map(|c| if fits(c) { c } else { '?' })
            .take(128)
            .collect()
    };
    let caller = match message.caller_display.is_empty() {
        true => clean(&message.caller_user),
        false => format!(
            "{} ({})",
            clean(&message.caller_display),
            clean(&message.caller_user)
        ),
    };
    let boundary = "holdline-voice-message";
    let mut out = format!(
        "To: {to}\r\nSubject: Voice message from {caller}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         {caller} left a message of {seconds} seconds in mailbox {to}.\r\n\r\n\
         --{boundary}\r\nContent-Type: audio/wav\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}.wav\"\r\n\r\n",
        to = clean(mailbox),
        seconds = message.length_ms.div_ceil(1_000),
        name = clean(&message.name),
    )
    .into_bytes();
    let encoded = base64::engine::general_purpose::STANDARD.encode(sound);
    for line in encoded.as_bytes().chunks(LINE_CHARS) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}
