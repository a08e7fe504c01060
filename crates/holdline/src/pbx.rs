//! From the configuration to a PBX.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin::{Event, MetricFamily, MetricKind, PbxStatus};
use driver::pbx::{
    CdrPlaces, HandOverOptions, PbxEvent, PbxListener, PbxNode, PbxOffice, PbxOptions, Prompts,
};
use driver::voice::{VoiceSettings, VoiceView};
use pbx::plan::{Plan, Source};
use store::{Objects, Store};
use transaction::{Flow, Transport};
use voice::{Codec, LATE_BOUNDS_US, Totals};

use crate::cluster::Place;
use crate::config::{self, Config, MediaStore};
use crate::hand_over::Hand;

/// How long one operation of the media store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long whoever looks waits for the media threads.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

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
    /// Voice messages cannot be handed over; why, in words.
    HandOver(String),
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
            Self::HandOver(reason) => {
                write!(f, "{reason}; see pbx.message_webhook and pbx.mail")
            }
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
pub(crate) fn settings(config: &config::Pbx, listen: SocketAddr) -> pbx::Settings {
    let flow = Flow {
        transport: Transport::Udp,
        remote: config.edge,
        local: listen,
    };
    let domains: Vec<String> = config.domains.iter().map(ToString::to_string).collect();
    let domain = domains.first().map_or("localhost", String::as_str);
    let mut trusted = config.trusted.clone();
    trusted.push(config.edge.ip());
    pbx::Settings {
        domains: domains.clone(),
        advertised: config.advertise.unwrap_or(listen.ip()),
        trusted,
        codecs: config.codecs.iter().map(codec).collect(),
        calls_max: config.calls_max,
        session_expires_s: config.session_expires_s,
        media_by_need: config.media_by_need,
        accounts: config.trunks.iter().map(account).collect(),
        ..pbx::Settings::new(domain, flow)
    }
}

fn account(trunk: &config::Trunk) -> pbx::Account {
    pbx::Account {
        host: trunk.host.clone(),
        user: trunk.user.clone(),
        password: trunk.password.reveal().to_owned(),
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
        MediaStore::Folder(path) => store::Place::Folder(path.clone()),
        MediaStore::S3 { bucket, prefix } => store::Place::S3 {
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

/// The PBXs of a node: where each listens, and what it is called; one for each service that it is a member of, or its own.
fn pbxs(config: &Config, pbx: &config::Pbx, place: Option<&Place>) -> Vec<Seat> {
    let services = config
        .cluster
        .iter()
        .flat_map(|one| one.pbxs_of(&config.node.name));
    let settings = place.iter().flat_map(|place| {
        let secrets = place.pbx_secrets.iter().copied();
        let pbxs = place.settings.pbxs.iter().cloned().zip(secrets);
        pbxs.map(|(service, secret)| (service, secret, place.settings.roster.clone()))
    });
    let seat = |(own, (service, secret, roster)): (&config::Service, _)| Seat {
        listen: SocketAddr::new(own.address, own.port),
        name: own.name.clone(),
        pending: format!("cdr-pending-{}.jsonl", own.name),
        office: PbxOffice::Service {
            service: Box::new(service),
            secret,
            roster,
        },
    };
    let seats: Vec<Seat> = services.zip(settings).map(seat).collect();
    if !seats.is_empty() {
        return seats;
    }
    vec![Seat {
        listen: pbx.listen,
        name: config.node.name.clone(),
        pending: "cdr-pending.jsonl".to_owned(),
        office: PbxOffice::Own(config.node.data.join("pbx-epoch")),
    }]
}

/// What distinguishes the PBXs of a node.
struct Seat {
    listen: SocketAddr,
    name: String,
    /// The file of records of calls that are not in the store yet.
    pending: String,
    office: PbxOffice,
}

/// What the PBXs of a node have in common.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) objects: Objects,
    pub(crate) store: Store,
    pub(crate) prompts: Prompts,
    /// Who voice messages are handed over to.
    pub(crate) hand: Option<Arc<Hand>>,
    /// Who is told what an operator should know.
    pub(crate) listener: PbxListener,
}

/// All that the PBXs of a node are started with.
pub(crate) fn options(
    config: &Config,
    pbx: &config::Pbx,
    place: Option<&Place>,
    shared: &Shared,
) -> Vec<PbxOptions> {
    let seats = pbxs(config, pbx, place).into_iter();
    seats
        .map(|seat| option(config, pbx, seat, shared))
        .collect()
}

fn option(config: &Config, pbx: &config::Pbx, seat: Seat, shared: &Shared) -> PbxOptions {
    let data: &Path = &config.node.data;
    let folder = data.join("hand-over").join(&seat.name);
    PbxOptions {
        listen: seat.listen,
        settings: settings(pbx, seat.listen),
        plan: shared.plan.clone(),
        voice: VoiceSettings {
            first_port: pbx.rtp_ports.first,
            last_port: pbx.rtp_ports.last,
            addresses: vec![seat.listen.ip()],
            freebind: false,
            advertised: pbx.advertise,
            threads: pbx.media_threads,
            voice: voice::Settings::default(),
        },
        objects: Some(shared.objects.clone()),
        prompts: shared.prompts.clone(),
        cdrs: CdrPlaces {
            prefix: seat.name,
            pending: data.join(seat.pending),
            lines: pbx.cdr_file.clone(),
        },
        store: Some(shared.store.clone()),
        hand_over: shared.hand.clone().map(|notify| HandOverOptions {
            notify,
            folder,
            give_up_after: Duration::from_secs(pbx.message_give_up_s),
        }),
        listener: Some(shared.listener.clone()),
        office: seat.office,
    }
}

/// How the PBXs of a node are doing; without those that do not answer in time. It waits for threads.
pub(crate) fn statuses(pbxs: &[Arc<PbxNode>], config: &Config) -> Vec<PbxStatus> {
    let statuses = pbxs.iter().filter_map(|pbx| status_of(pbx, config));
    statuses.collect()
}

/// All `count` of them together; `None` if one is missing, so that no counter goes back.
pub(crate) fn sum(pbxs: &[PbxStatus], count: usize) -> Option<PbxStatus> {
    let all = pbxs.iter().filter(|_| pbxs.len() == count);
    all.cloned().reduce(|mut sum, other| {
        sum.name = format!("{}, {}", sum.name, other.name);
        sum.listener = format!("{}, {}", sum.listener, other.listener);
        sum.legs += other.legs;
        sum.incoming += other.incoming;
        sum.outgoing += other.outgoing;
        sum.refused += other.refused;
        sum.subscriptions += other.subscriptions;
        sum.ports_in_use += other.ports_in_use;
        sum.ports_free += other.ports_free;
        sum.packets_received += other.packets_received;
        sum.packets_sent += other.packets_sent;
        sum.packets_late += other.packets_late;
        sum.packets_late_p99_us = sum.packets_late_p99_us.max(other.packets_late_p99_us);
        sum.turn_longest_us = sum.turn_longest_us.max(other.turn_longest_us);
        sum.recordings += other.recordings;
        sum.recordings_lost += other.recordings_lost;
        sum.cdrs_lost += other.cdrs_lost;
        sum.messages_handed_over += other.messages_handed_over;
        sum.hand_overs_waiting += other.hand_overs_waiting;
        sum.hand_overs_given_up += other.hand_overs_given_up;
        sum.prompts_left_out = sum.prompts_left_out.max(other.prompts_left_out);
        sum
    })
}

fn status_of(pbx: &PbxNode, config: &Config) -> Option<PbxStatus> {
    let cluster = config.cluster.as_ref();
    let service = cluster.and_then(|cluster| cluster.pbx_at(pbx.address()));
    let snapshot = pbx.snapshot()?;
    let kept = pbx.kept();
    // A member has no ports where all members are on one machine.
    let voices = pbx.voices();
    let voices = voices.map_or_else(VoiceView::default, |voices| voices.look(&[], LOOK_TIMEOUT));
    let sum = |of: &dyn Fn(&Totals) -> u64| -> u64 {
        voices.threads.iter().map(|thread| of(&thread.totals)).sum()
    };
    Some(PbxStatus {
        name: service
            .map_or(&config.node.name, |service| &service.name)
            .clone(),
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
        packets_late_p99_us: late_p99_us(voices.threads.iter().map(|thread| &thread.totals)),
        turn_longest_us: u64::try_from(snapshot.longest_turn.as_micros()).unwrap_or(u64::MAX),
        recordings: kept.recordings,
        recordings_lost: kept.recordings_lost,
        cdrs_lost: kept.cdrs_lost,
        messages_handed_over: kept.handed_over,
        hand_overs_waiting: kept.hand_overs_waiting,
        hand_overs_given_up: kept.hand_overs_given_up,
        prompts_left_out: pbx.prompts_left_out() as u64,
    })
}

/// What an operator hears of.
pub(crate) fn told(event: PbxEvent) -> Event {
    match event {
        PbxEvent::NotHandedOver {
            mailbox,
            path,
            way,
            reason,
        } => Event::MessageNotHandedOver {
            mailbox,
            path,
            way,
            reason,
        },
        PbxEvent::NotSaved { path, reason } => Event::RecordingNotSaved { path, reason },
    }
}

/// The bound below which 99 of 100 packets left.
fn late_p99_us<'a>(threads: impl Iterator<Item = &'a Totals>) -> u64 {
    let mut counts = [0_u64; LATE_BOUNDS_US.len()];
    let mut all = 0;
    for totals in threads {
        all += totals.lateness.packets();
        for (sum, count) in counts.iter_mut().zip(totals.lateness.counts) {
            *sum += count;
        }
    }
    let mut within = 0;
    let reaches = |count: &u64| {
        within += count;
        within * 100 >= all * 99
    };
    match counts.iter().position(reaches) {
        Some(_) if all == 0 => 0,
        Some(at) => u64::from(LATE_BOUNDS_US[at]),
        None => u64::MAX,
    }
}

/// What it counts of what it keeps and hands over.
fn kept(pbx: &PbxStatus) -> [(&'static str, &'static str, MetricKind, u64); 7] {
    [
        (
            "holdline_pbx_recordings_total",
            "Recordings and voice messages that are safe in the media store.",
            MetricKind::Counter,
            pbx.recordings,
        ),
        (
            "holdline_pbx_recordings_lost_total",
            "Those of which the media store did not take all.",
            MetricKind::Counter,
            pbx.recordings_lost,
        ),
        (
            "holdline_pbx_cdrs_lost_total",
            "Records of calls that there was no room for before they could be written.",
            MetricKind::Counter,
            pbx.cdrs_lost,
        ),
        (
            "holdline_pbx_messages_handed_over_total",
            "Voice messages that a webhook, a mail program or a mail server took.",
            MetricKind::Counter,
            pbx.messages_handed_over,
        ),
        (
            "holdline_pbx_hand_overs_waiting",
            "Voice messages that are still to be taken by one of them.",
            MetricKind::Gauge,
            pbx.hand_overs_waiting,
        ),
        (
            "holdline_pbx_hand_overs_given_up_total",
            "Voice messages that none of them took in time.",
            MetricKind::Counter,
            pbx.hand_overs_given_up,
        ),
        (
            "holdline_pbx_prompts_left_out",
            "Files of the operator's prompts that could not be used when they were read last.",
            MetricKind::Gauge,
            pbx.prompts_left_out,
        ),
    ]
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
    let rows = rows.into_iter().chain(kept(pbx));
    let rows = rows.map(|(name, help, kind, value)| (name, help, kind, value as f64));
    let seconds = [
        (
            "holdline_pbx_packets_late_p99_seconds",
            "99 of 100 packets of sound left at most so late.",
            MetricKind::Gauge,
            pbx.packets_late_p99_us as f64 / 1e6,
        ),
        (
            "holdline_pbx_turn_longest_seconds",
            "The longest that the PBX's thread was busy at a time, in the last minute or two.",
            MetricKind::Gauge,
            pbx.turn_longest_us as f64 / 1e6,
        ),
    ];
    let rows = rows.chain(seconds);
    rows.map(|(name, help, kind, value)| MetricFamily::single(name, help, kind, value))
        .collect()
}
