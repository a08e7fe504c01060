//! `[pbx]`: calls with a voice. Its dialplan is read by `pbx::plan`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use pbx::plan::{Plan, Source};

use super::address::Domain;
use super::media;
use super::reader::{Placed, Section};
use super::trunk::{self, Trunk};
use super::{Edge, PortRange, Role, Service, Token, Transport};

/// The tables and keys of `[pbx]` that are the dialplan's.
const DIALPLAN: &[&str] = &[
    "class",
    "extension",
    "features",
    "hours",
    "mailbox",
    "menu",
    "music",
    "parking",
    "pin",
    "queue",
    "recording_max_s",
    "room",
    "route",
    "zone",
];

const ADDRESS_WANTED: &str = "an address of this machine and a port: \"192.0.2.1:5070\"";
const EDGE_WANTED: &str = "the edge's address and port: \"192.0.2.1:5060\"";
/// Where the edge of a cluster takes SIP unless it is said.
const EDGE_PORT: u16 = 5_060;
const CODECS: &[(&str, Codec)] = &[
    ("PCMA", Codec::Pcma),
    ("PCMU", Codec::Pcmu),
    ("G722", Codec::G722),
    ("opus", Codec::Opus),
];
const CODEC_WANTED: &str = "\"PCMA\", \"PCMU\", \"G722\" or \"opus\"";
const COUNTRY_WANTED: &str = "one of au, br, de, es, fr, gb, it, jp, us";
const STORE_WANTED: &str =
    "a folder (\"/var/lib/holdline/media\") or a bucket (\"s3://bucket/prefix\")";
const URL_WANTED: &str = "\"http://host/path\"";
const MAIL_WANTED: &str = "\"smtp://host:port\" or \"smtps://host:port\"";
const ADDRESS_OF_MAIL_WANTED: &str = "an address of e-mail: \"pbx@example.org\"";

/// How sound is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722.
    G722,
    /// Opus.
    Opus,
}

/// Where recordings and messages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaStore {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What all names begin with.
        prefix: String,
    },
}

/// `[pbx.s3]`: how a bucket is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct S3 {
    /// Where it is, if not at the region's own address.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The key's name; without it that of the environment or of the machine's role.
    pub access_key: Option<String>,
    /// The key.
    pub secret_key: Option<Token>,
}

/// `[pbx.mail]`: the server that letters with voice messages are given to.
#[derive(Debug, Clone, PartialEq)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS from the first byte (`smtps`); else STARTTLS where the server has it, and always where there is a password.
    pub is_tls: bool,
    /// Who sends.
    pub from: lettre::Address,
    /// The account, where it asks for one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Token>,
}

/// `[pbx]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pbx {
    /// Where it listens for SIP over UDP: as a member of services, for the first of them.
    pub listen: SocketAddr,
    /// The edge that its calls go through.
    pub edge: SocketAddr,
    /// What messages and descriptions name in place of `listen`'s address.
    pub advertise: Option<IpAddr>,
    /// Domains whose users are called by a bare name.
    pub domains: Vec<Domain>,
    /// Who may assert a caller's identity, beside the edge.
    pub trusted: Vec<IpAddr>,
    /// The ports for sound.
    pub rtp_ports: PortRange,
    /// Media threads.
    pub media_threads: usize,
    /// Codecs, the preferred one first.
    pub codecs: Vec<Codec>,
    /// Whose tones are played.
    pub country: audio::tone::Country,
    /// Most calls at one time.
    pub calls_max: usize,
    /// How long sessions last without a refresh; 0: no session timers.
    pub session_expires_s: u32,
    /// Whether sound leaves the PBX where nothing is to be heard.
    pub media_by_need: bool,
    /// Where recordings and messages are kept.
    pub media_store: MediaStore,
    /// `[pbx.s3]`
    pub s3: S3,
    /// The operator's own prompts and music.
    pub prompts: Option<PathBuf>,
    /// Records of calls as JSON lines.
    pub cdr_file: Option<PathBuf>,
    /// A URL that is told of new voice messages.
    pub message_webhook: Option<String>,
    /// A program that new voice messages are mailed by.
    pub message_command: Option<Vec<String>>,
    /// How long handing a voice message over is tried.
    pub message_give_up_s: u64,
    /// `[pbx.mail]`
    pub mail: Option<MailServer>,
    /// `[[pbx.trunk]]`
    pub trunks: Vec<Trunk>,
    /// The dialplan of this name in the store is read beside the file's.
    pub stored_dialplan: Option<String>,
    /// The text of the file, which the dialplan is read from.
    pub text: String,
}

/// Reads `[pbx]`, if there is one. `beside` is the edge if it is in the same process, `services` are those of the cluster. `data` is
/// the node's folder, `folder` that of the file.
pub(super) fn pbx(
    root: &mut Section<'_>,
    (edge, beside): (&Edge, Option<&Edge>),
    (node, services): (&str, &[Service]),
    (text, data, folder): (&str, &Path, &Path),
) -> Option<Pbx> {
    let is_there = root.has("pbx");
    let mut section = root.section("pbx");
    section.pass_over(DIALPLAN);
    let listen = section.text("listen", "", ADDRESS_WANTED, socket);
    let is_ours = |service: &&Service| service.members.iter().any(|member| member == node);
    let ours = |role| {
        services
            .iter()
            .filter(is_ours)
            .find(move |one| one.role == role)
    };
    let service = ours(Role::Pbx);
    let beside = match beside {
        Some(edge) => edge_beside(edge, ours(Role::Edge)),
        None => {
            let edge = services.iter().find(|service| service.role == Role::Edge);
            edge.map(|edge| SocketAddr::new(edge.address, EDGE_PORT))
        }
    };
    let through = section.text("edge", "", EDGE_WANTED, socket);
    let advertise = section.text("advertise", "", "an address", address);
    let domains = section.list("domains", &[], "domains", Domain::parse);
    let trusted = section.list("trusted", &[], "addresses", address);
    let ports = media::ports(&mut section);
    let threads = section.integer("media_threads", 0, 0..=64).value;
    let codecs = section.list(
        "codecs",
        &["PCMA", "PCMU", "G722", "opus"],
        CODEC_WANTED,
        codec,
    );
    let country = section.text("country", "us", COUNTRY_WANTED, country);
    let calls_max = section.integer("calls_max", 10_000, 1..=1_000_000).value;
    let session = section.integer("session_expires_s", 1_800, 0..=86_400);
    if (1..90).contains(&session.value) {
        let want = "write 0 for none, or at least 90 (RFC 4028 section 4)";
        section.contradiction("session_expires_s", session.span, "too short", want);
    }
    let media_by_need = section.flag("media_by_need", true);
    let place = |text: &str| media_store(text, folder);
    let store = section.text("media_store", "", STORE_WANTED, place);
    let s3 = s3(section.section("s3"));
    let path = |text: &str| plain(text).map(|text| folder.join(text));
    let prompts = section.text("prompts", "", "a folder", path);
    let cdr_file = section.text("cdr_file", "", "a file", path);
    let takers = takers(&mut section);
    let stored_dialplan = section.text("stored_dialplan", "", "a name", plain);
    let trunks = trunk::trunks(&mut section);
    if is_there {
        requires(&section, beside.is_some(), service.is_some());
        if service.is_some() {
            belongs_to_service(&section);
        }
        dialplan(
            &section,
            text,
            prompts.as_ref().map(|placed| &*placed.value),
        );
    }
    section.finish();
    if !is_there {
        return None;
    }
    let own_store = || MediaStore::Folder(data.join("media"));
    Some(Pbx {
        listen: match service {
            Some(service) => SocketAddr::new(service.address, service.port),
            None => listen?.value,
        },
        edge: through.map(|placed| placed.value).or(beside)?,
        advertise: advertise.map(|placed| placed.value),
        domains: domains_or(domains, edge),
        trusted: trusted.into_iter().map(|placed| placed.value).collect(),
        rtp_ports: ports?.value,
        media_threads: media_threads(threads),
        codecs: codecs.into_iter().map(|placed| placed.value).collect(),
        country: country.map_or(audio::tone::Country::Us, |placed| placed.value),
        calls_max: calls_max as usize,
        session_expires_s: session.value as u32,
        media_by_need,
        media_store: store.map_or_else(own_store, |placed| placed.value),
        s3,
        prompts: prompts.map(|placed| placed.value),
        cdr_file: cdr_file.map(|placed| placed.value),
        message_webhook: takers.webhook,
        message_command: takers.command,
        message_give_up_s: takers.give_up_s,
        mail: takers.mail,
        trunks,
        stored_dialplan: stored_dialplan.map(|placed| placed.value),
        text: text.to_owned(),
    })
}

/// Says what has to be written and is not.
fn requires(section: &Section<'_>, has_edge_beside: bool, is_service: bool) {
    let required = [
        ("listen", is_service, ADDRESS_WANTED),
        ("edge", has_edge_beside, EDGE_WANTED),
        ("rtp_ports", false, "[30000, 39999]"),
    ];
    for (key, is_known, wanted) in required {
        if !is_known && !section.has(key) {
            let want = format!("write `{key} = ` with {wanted}");
            section.contradiction(key, section.span(), "missing", want);
        }
    }
}

/// Says what a PBX does not say that is a service.
fn belongs_to_service(section: &Section<'_>) {
    for key in ["listen", "advertise"] {
        if section.has(key) {
            let what = "this node is a member of a service with role = \"pbx\"";
            let want = "remove it: the service's address and port are where it listens";
            section.contradiction(key, section.span(), what, want);
        }
    }
}

/// Checks the dialplan in the file.
fn dialplan(section: &Section<'_>, text: &str, prompts: Option<&Path>) {
    let source = Source {
        name: "",
        text,
        is_shared: true,
    };
    let has = |name: &str| crate::pbx::has_prompt(prompts, name);
    for mistake in Plan::build(&[source], &has).err().into_iter().flatten() {
        section.dialplan(mistake.span, mistake.fault.to_string());
    }
}

fn s3(mut section: Section<'_>) -> S3 {
    let endpoint = section.text("endpoint", "", URL_WANTED, url);
    let region = section.text("region", "us-east-1", "a region", plain);
    let access_key = section.text("access_key", "", "the key's name", plain);
    let secret_key = section.text("secret_key", "", "the key", |text| {
        plain(text).map(|text| Token::of(&text))
    });
    section.finish();
    S3 {
        endpoint: endpoint.map(|placed| placed.value),
        region: region.map_or_else(|| "us-east-1".to_owned(), |placed| placed.value),
        access_key: access_key.map(|placed| placed.value),
        secret_key: secret_key.map(|placed| placed.value),
    }
}

/// As many as are written, or by the machine's processors.
fn media_threads(threads: u64) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1)),
        threads => threads as usize,
    }
}

fn domains_or(domains: Vec<Placed<Domain>>, edge: &Edge) -> Vec<Domain> {
    match domains.is_empty() {
        true => edge.domains.clone(),
        false => domains.into_iter().map(|placed| placed.value).collect(),
    }
}

/// Who takes new voice messages.
struct Takers {
    webhook: Option<String>,
    command: Option<Vec<String>>,
    give_up_s: u64,
    mail: Option<MailServer>,
}

fn takers(section: &mut Section<'_>) -> Takers {
    let webhook = section.text("message_webhook", "", URL_WANTED, url);
    let command = section.list("message_command", &[], "a program and its arguments", plain);
    let give_up = section.integer("message_give_up_s", 86_400, 0..=2_592_000);
    let command: Vec<_> = command.into_iter().map(|placed| placed.value).collect();
    Takers {
        webhook: webhook.map(|placed| placed.value),
        command: (!command.is_empty()).then_some(command),
        give_up_s: give_up.value,
        mail: mail(section.section("mail")),
    }
}

fn mail(mut section: Section<'_>) -> Option<MailServer> {
    let server = section.text("server", "", MAIL_WANTED, mail_server);
    let from = section.text("from", "", ADDRESS_OF_MAIL_WANTED, |text| {
        let address = text.parse::<lettre::Address>();
        address.map_err(|_| ADDRESS_OF_MAIL_WANTED.to_owned())
    });
    let user = section.text("user", "", "the account's name", plain);
    let password = section.text("password", "", "its password", |text| {
        plain(text).map(|text| Token::of(&text))
    });
    let pairs = [
        ("from", section.has("server"), section.has("from")),
        ("server", section.has("from"), section.has("server")),
        ("user", section.has("password"), section.has("user")),
        ("password", section.has("user"), section.has("password")),
    ];
    for (key, is_needed, is_there) in pairs {
        if is_needed && !is_there {
            let want = format!("write `{key} = ` too");
            section.contradiction(key, section.span(), "missing", want);
        }
    }
    section.finish();
    let (host, port, is_tls) = server?.value;
    Some(MailServer {
        host,
        port,
        is_tls,
        from: from?.value,
        user: user.map(|placed| placed.value),
        password: password.map(|placed| placed.value),
    })
}

/// `smtp://host`, `smtps://host:port`, with an IPv6 address in brackets.
fn mail_server(text: &str) -> Result<(String, u16, bool), String> {
    let wanted = || MAIL_WANTED.to_owned();
    let (rest, is_tls) = match (text.strip_prefix("smtp://"), text.strip_prefix("smtps://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => return Err(wanted()),
    };
    let default = if is_tls { 465 } else { 25 };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port: u16 = port.parse().map_err(|_| wanted())?;
            (host, port)
        }
        _ => (rest, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    match !host.is_empty() && host.chars().all(fits) && port > 0 {
        true => Ok((host.to_owned(), port, is_tls)),
        false => Err(wanted()),
    }
}

/// The edge in the same process: its first listener over UDP. One on all addresses is reached over loopback, one of a service at the
/// service's.
fn edge_beside(edge: &Edge, service: Option<&Service>) -> Option<SocketAddr> {
    let udp = |listener: &&super::Listener| listener.transport == Transport::Udp;
    let listener = edge.listen.iter().find(udp)?;
    let ip = match listener.address {
        Some(ip) if !ip.is_unspecified() => ip,
        other => match (other, service) {
            (None, Some(service)) => service.address,
            _ => IpAddr::from([127, 0, 0, 1]),
        },
    };
    Some(SocketAddr::new(ip, listener.port))
}

fn plain(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("text".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("udp:").unwrap_or(text);
    match text.parse::<SocketAddr>() {
        Ok(socket) if !socket.ip().is_unspecified() && socket.port() > 0 => Ok(socket),
        _ => Err("an address and a port: \"192.0.2.1:5070\", \"[2001:db8::1]:5070\"".to_owned()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "an address".to_owned())
}

fn codec(text: &str) -> Result<Codec, String> {
    let found = CODECS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    found
        .map(|(_, codec)| *codec)
        .ok_or_else(|| CODEC_WANTED.to_owned())
}

fn country(text: &str) -> Result<audio::tone::Country, String> {
    audio::tone::Country::of_code(text).ok_or_else(|| COUNTRY_WANTED.to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    match is_url {
        true => Ok(text.to_owned()),
        false => Err(URL_WANTED.to_owned()),
    }
}

fn media_store(text: &str, folder: &Path) -> Result<MediaStore, String> {
    match text.strip_prefix("s3://") {
        Some(rest) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            match bucket.is_empty() {
                true => Err(STORE_WANTED.to_owned()),
                false => Ok(MediaStore::S3 {
                    bucket: bucket.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                }),
            }
        }
        None if text.is_empty() || text.contains("://") => Err(STORE_WANTED.to_owned()),
        None => Ok(MediaStore::Folder(folder.join(text))),
    }
}
