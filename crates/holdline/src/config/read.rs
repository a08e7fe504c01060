//! From the document to a [`Config`], section by section.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::address::{
    ADVERTISED_WANTED, DOMAIN_WANTED, Domain, LISTENER_WANTED, Listener, advertised,
};
use super::cluster::cluster;
use super::media::media;
use super::mistake::{Fault, Mistake};
use super::pbx::pbx;
use super::pool::farm;
use super::reader::{Findings, KnownKey, Placed, Section};
use super::{
    Admin, Auth, Config, DigestAlgorithm, Dns, Edge, Fork, Limits, Log, LogFormat, Node, Private,
    Registrar, Service, Sources, Store, Timers, Token,
};

/// What the design has and this version has not, and what to do about it.
const LATER: &[(&str, &str)] = &[
    (
        "edge.nat",
        "remove the section: contacts behind NAT are reached where they came from",
    ),
    ("edge.tls", "remove the section: listeners are udp or tcp"),
    ("pbx", "remove the section: there is no media server yet"),
    (
        "agent",
        "remove the section: `holdline agent` is told everything on its command line",
    ),
];

/// The shortest admin token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// Judges a document; the keys it could have named come along.
pub(super) fn document(text: &str, folder: &Path) -> (Result<Config, Vec<Mistake>>, Vec<KnownKey>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // A text that is not TOML cannot be judged further: keys after a
        // broken section header would be blamed on the wrong section.
        let mut mistakes: Vec<Mistake> = errors.iter().map(syntax).collect();
        mistakes.sort_by_key(|mistake| mistake.span.start);
        return (Err(mistakes), Vec::new());
    }
    let findings = Findings::default();
    let mut root = Section::root(&document, &findings);
    let node = node(root.section("node"), folder);
    let edge_is_there = root.has("edge") || !root.has("pbx");
    let cluster = cluster(&mut root, (&node.name, &node.data), folder);
    let services: &[Service] = cluster.as_ref().map_or(&[], |cluster| &cluster.services);
    let edge = edge(root.section("edge"), edge_is_there, services);
    let places = (text, &*node.data, folder);
    let beside = edge_is_there.then_some(&edge);
    let pbx = pbx(&mut root, (&edge, beside), (&node.name, services), places);
    let store = store(root.section("store"), &node.data, folder);
    let admin = admin(root.section("admin"));
    let log = log(root.section("log"));
    let dns = dns(root.section("dns"));
    root.finish();
    let (mistakes, known) = findings.finish(LATER);
    let config = Config {
        node,
        edge,
        pbx,
        cluster,
        store,
        admin,
        log,
        dns,
    };
    (
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(mistakes)
        },
        known,
    )
}

fn syntax(error: &toml::de::Error) -> Mistake {
    let message = error.message().trim().replace('\n', ", ");
    Mistake {
        span: error.span().unwrap_or(0..0),
        fault: Fault::Syntax { message },
    }
}

fn node(mut section: Section<'_>, folder: &Path) -> Node {
    let name = section.text("name", "holdline", NAME_WANTED, name);
    let data = section.text(
        "data",
        "/var/lib/holdline",
        "a folder",
        some_text("a folder"),
    );
    let drain_timeout_s = section.integer("drain_timeout_s", 30, 0..=3600).value;
    section.finish();
    Node {
        name: name.map_or_else(String::new, |name| name.value),
        data: folder.join(data.map_or_else(PathBuf::new, |data| PathBuf::from(data.value))),
        drain_timeout_s,
    }
}

pub(super) const NAME_WANTED: &str = "1 to 63 letters, digits, dots and dashes";

pub(super) fn name(text: &str) -> Result<String, String> {
    let ok = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok {
        Ok(text.to_owned())
    } else {
        Err(NAME_WANTED.to_owned())
    }
}

fn some_text(wanted: &'static str) -> impl Fn(&str) -> Result<String, String> {
    move |text| {
        if text.is_empty() {
            Err(wanted.to_owned())
        } else {
            Ok(text.to_owned())
        }
    }
}

/// Reads `[edge]`; a node that is a PBX only has none and listens for nothing there.
fn edge(mut section: Section<'_>, is_there: bool, services: &[Service]) -> Edge {
    let domains = values(section.list("domains", &[], DOMAIN_WANTED, Domain::parse));
    let mut listen = listeners(&mut section);
    if !is_there {
        listen.clear();
    }
    let advertise = section.text("advertise", "", ADVERTISED_WANTED, advertised);
    let trusted = values(section.list("trusted", &[], PREFIX_WANTED, prefix));
    // 0 stands for "by the machine": half the cores.
    let workers = match section.integer("workers", 0, 0..=256).value {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        workers => workers as usize,
    };
    let record_route = section.flag("record_route", true);
    let (rtp_ports, media) = media(&mut section, &listen);
    let registrar = registrar(section.section("registrar"));
    let auth = auth(section.section("auth"));
    let limits = limits(section.section("limits"));
    let sources = sources(section.section("sources"));
    let timers = timers(section.section("timers"));
    let fork = fork(section.section("fork"));
    let farm = farm(&mut section, rtp_ports.is_some(), services);
    section.finish();
    Edge {
        domains,
        listen,
        advertise: advertise.map(|placed| placed.value),
        trusted,
        workers,
        record_route,
        rtp_ports,
        media,
        registrar,
        auth,
        limits,
        sources,
        timers,
        fork,
        farm,
    }
}

fn values<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

const LISTEN_DEFAULT: &[&str] = &["udp:5060", "tcp:5060"];

/// `listen`: texts, or `{ address = "udp:5060", advertise = "..." }`.
fn listeners(section: &mut Section<'_>) -> Vec<Listener> {
    let allowed = format!("{LISTENER_WANTED}; or {{ address = ..., advertise = ... }}");
    let Some(items) = section.values("listen", LISTEN_DEFAULT, &allowed) else {
        return LISTEN_DEFAULT
            .iter()
            .filter_map(|text| Listener::parse(text).ok())
            .collect();
    };
    let path = section.path_of("listen");
    let mut listeners: Vec<Listener> = Vec::new();
    if items.is_empty() {
        section.contradiction(
            "listen",
            section.span(),
            "no listener",
            "name at least one, as in [\"udp:5060\"]",
        );
    }
    for item in items {
        let listener = match item.get_ref() {
            DeValue::Table(table) => {
                let mut inline = section.inline("listen", table, item.span());
                let address = inline.text("address", "", LISTENER_WANTED, Listener::parse);
                let advertise = inline.text("advertise", "", ADVERTISED_WANTED, advertised);
                let span = inline.span();
                if address.is_none() && !table.contains_key("address") {
                    inline.contradiction(
                        "address",
                        span,
                        "missing",
                        format!("write {LISTENER_WANTED}"),
                    );
                }
                inline.finish();
                address.map(|placed| Listener {
                    advertise: advertise.map(|placed| placed.value),
                    ..placed.value
                })
            }
            _ => section
                .parse_text(item, &path, LISTENER_WANTED, &Listener::parse)
                .map(|placed| placed.value),
        };
        let Some(listener) = listener else { continue };
        if let Some(other) = listeners.iter().find(|other| other.collides(&listener)) {
            let what = format!("{listener} and {other} are the same socket");
            section.contradiction(
                "listen",
                item.span(),
                what,
                "remove one, or give them different ports",
            );
        }
        listeners.push(listener);
    }
    listeners
}

const PREFIX_WANTED: &str =
    "an address or a network: \"192.0.2.1\", \"10.0.0.0/8\", \"2001:db8::/32\"";

fn prefix(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| PREFIX_WANTED.to_owned())?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!(
            "\"{}\" for that network, or \"{}\" for that address",
            net.trunc(),
            net.addr()
        ))
    }
}

fn registrar(mut section: Section<'_>) -> Registrar {
    let min = section.integer("min_expires_s", 60, 1..=86_400);
    let default = section.integer("default_expires_s", 3600, 1..=604_800);
    let max = section.integer("max_expires_s", 7200, 1..=604_800);
    let contacts_max = section.integer("contacts_max", 10, 1..=1000).value;
    if default.value < min.value || default.value > max.value {
        let what = format!(
            "{} is not between min_expires_s ({}) and max_expires_s ({})",
            default.value, min.value, max.value
        );
        let place = [&default, &max, &min]
            .into_iter()
            .find(|placed| placed.written);
        let span = place.unwrap_or(&default).span.clone();
        section.contradiction("default_expires_s", span, what, "let min <= default <= max");
    }
    section.finish();
    Registrar {
        min_expires_s: min.value,
        default_expires_s: default.value,
        max_expires_s: max.value,
        contacts_max,
    }
}

fn auth(mut section: Section<'_>) -> Auth {
    const WANTED: &str = "\"SHA-256\", \"MD5\" or \"SHA-512-256\"";
    let named = section.list("algorithms", &["MD5"], WANTED, |text| {
        [
            DigestAlgorithm::Sha256,
            DigestAlgorithm::Md5,
            DigestAlgorithm::Sha512_256,
        ]
        .into_iter()
        .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| WANTED.to_owned())
    });
    let mut algorithms: Vec<DigestAlgorithm> = Vec::new();
    for Placed { value, span, .. } in named {
        if algorithms.contains(&value) {
            section.contradiction(
                "algorithms",
                span,
                format!("{} twice", value.name()),
                "name each once",
            );
        } else {
            algorithms.push(value);
        }
    }
    let nonce_lifetime_s = section.integer("nonce_lifetime_s", 300, 10..=86_400).value;
    let accept_without_qop = section.flag("accept_without_qop", false);
    section.finish();
    Auth {
        algorithms,
        nonce_lifetime_s,
        accept_without_qop,
    }
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        message_bytes_max: section
            .integer("message_bytes_max", 65_535, 1024..=65_535)
            .value,
        headers_max: section.integer("headers_max", 256, 32..=1024).value,
        tcp_connections_max: section
            .integer("tcp_connections_max", 100_000, 1..=1_000_000)
            .value,
        tcp_connections_per_source_max: section
            .integer("tcp_connections_per_source_max", 10_000, 1..=1_000_000)
            .value,
        tcp_idle_s: section.integer("tcp_idle_s", 7300, 10..=604_800).value,
        lag_ms: section.integer("lag_ms", 50, 0..=10_000).value,
        calls_max: section.integer("calls_max", 0, 0..=1_000_000).value,
        calls_per_s: section.integer("calls_per_s", 0, 0..=1_000_000).value,
        registrations_per_s: section
            .integer("registrations_per_s", 0, 0..=1_000_000)
            .value,
    };
    section.finish();
    limits
}

fn sources(mut section: Section<'_>) -> Sources {
    let bans = section.flag("bans", true);
    let requests_per_s = section.integer("requests_per_s", 200, 0..=1_000_000).value;
    let requests_burst = section
        .integer("requests_burst", 1_000, 1..=1_000_000)
        .value;
    let ban_points = section.integer("ban_points", 100, 10..=1_000_000).value;
    let ban = section.integer("ban_s", 60, 1..=86_400);
    let longest = section.integer("ban_max_s", 3_600, 1..=604_800);
    let allow = values(section.list("allow", &[], PREFIX_WANTED, prefix));
    if longest.value < ban.value {
        let span = if longest.written {
            longest.span
        } else {
            ban.span
        };
        let what = format!("{} is less than ban_s ({})", longest.value, ban.value);
        section.contradiction(
            "ban_max_s",
            span,
            what,
            "the first ban is the shortest: let ban_s <= ban_max_s",
        );
    }
    section.finish();
    Sources {
        bans,
        requests_per_s,
        requests_burst,
        ban_points,
        ban_s: ban.value,
        ban_max_s: longest.value,
        allow,
    }
}

fn timers(mut section: Section<'_>) -> Timers {
    let t1 = section.integer("t1_ms", 500, 10..=5000);
    let t2 = section.integer("t2_ms", 4000, 10..=60_000);
    let t4 = section.integer("t4_ms", 5000, 10..=60_000);
    // RFC 3261 section 16.6 step 11: larger than three minutes.
    let timer_c_s = section.integer("timer_c_s", 185, 181..=3600).value;
    if t2.value < t1.value {
        let span = if t2.written { t2.span } else { t1.span };
        let what = format!("{} is less than t1_ms ({})", t2.value, t1.value);
        section.contradiction(
            "t2_ms",
            span,
            what,
            "T2 is the longest interval: let t1_ms <= t2_ms",
        );
    }
    section.finish();
    Timers {
        t1_ms: t1.value,
        t2_ms: t2.value,
        t4_ms: t4.value,
        timer_c_s,
    }
}

fn fork(mut section: Section<'_>) -> Fork {
    let branches_max = section.integer("branches_max", 60, 1..=60).value;
    let group_timeout_s = section.integer("group_timeout_s", 20, 1..=180).value;
    section.finish();
    Fork {
        branches_max,
        group_timeout_s,
    }
}

/// One of some words; the first is the default.
fn choice<T: Copy>(section: &mut Section<'_>, key: &'static str, words: &[(&str, T)]) -> T {
    word(section, key, words).map_or(words[0].1, |placed| placed.value)
}

/// As [`choice`], with its place.
pub(super) fn word<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
) -> Option<Placed<T>> {
    let quoted: Vec<String> = words
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    let allowed = quoted.join(" or ");
    section.text(key, words[0].0, &allowed, |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| allowed.clone())
    })
}

fn store(mut section: Section<'_>, data: &Path, folder: &Path) -> Store {
    let url = section.text("url", "", STORE_WANTED, store_url);
    section.finish();
    let url = match url.map(|placed| placed.value) {
        None => format!("sqlite:{}", data.join("holdline.db").display()),
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                format!("sqlite:{}", folder.join(path).display())
            }
            None => url,
        },
    };
    Store { url }
}

const STORE_WANTED: &str =
    "\"sqlite:PATH\", \"postgres://USER:PASSWORD@HOST/DATABASE\" or \"mysql://...\"";

fn store_url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text
        .split_once(':')
        .ok_or_else(|| STORE_WANTED.to_owned())?;
    let known = match scheme {
        // A database in memory would forget what was acknowledged.
        "sqlite" => !rest.trim_start_matches('/').is_empty() && !rest.starts_with(':'),
        "postgres" | "postgresql" | "mysql" | "mariadb" => rest.len() > 2 && rest.starts_with("//"),
        _ => false,
    };
    if known {
        Ok(text.to_owned())
    } else {
        Err(STORE_WANTED.to_owned())
    }
}

fn admin(mut section: Section<'_>) -> Admin {
    const WANTED: &str = "an address of this machine with a port: \"127.0.0.1:8060\"";
    let default = SocketAddr::from(([127, 0, 0, 1], 8060));
    let listen = section.text("listen", "127.0.0.1:8060", WANTED, |text| {
        text.parse::<SocketAddr>().map_err(|_| WANTED.to_owned())
    });
    let own = section.text("token", "", TOKEN_WANTED, token);
    let agents = section.text("agent_token", "", TOKEN_WANTED, token);
    let hosts = values(section.list("hosts", &[], DOMAIN_WANTED, Domain::parse));
    let open = listen
        .as_ref()
        .filter(|listen| !listen.value.ip().is_loopback());
    if let (Some(listen), None) = (open, &own) {
        let what = format!(
            "{} can be reached from other machines without a password",
            listen.value
        );
        let want = "add `token = \"...\"` to [admin], or listen on 127.0.0.1";
        section.contradiction("listen", listen.span.clone(), what, want);
    }
    match (&own, &agents) {
        (None, Some(agents)) => {
            let what = "without `token` anybody may report, and do everything else";
            let want = "add `token = \"...\"` to [admin], or remove it";
            section.contradiction("agent_token", agents.span.clone(), what, want);
        }
        (Some(own), Some(agents)) if own.value == agents.value => {
            let what = "the same as `token`: agents could do everything";
            section.contradiction("agent_token", agents.span.clone(), what, "write another");
        }
        _ => {}
    }
    section.finish();
    Admin {
        listen: listen.map_or(default, |placed| placed.value),
        token: own.map(|placed| placed.value),
        agent_token: agents.map(|placed| placed.value),
        hosts,
    }
}

const TOKEN_WANTED: &str = "16 or more visible characters without blanks";

fn token(text: &str) -> Result<Token, String> {
    let ok = text.len() >= TOKEN_BYTES_MIN && text.bytes().all(|b| b.is_ascii_graphic());
    if ok {
        Ok(Token(text.to_owned()))
    } else {
        Err(TOKEN_WANTED.to_owned())
    }
}

fn log(mut section: Section<'_>) -> Log {
    let level = section.text("level", "info", LEVEL_WANTED, level);
    let format = choice(
        &mut section,
        "format",
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let private = choice(
        &mut section,
        "private",
        &[("hide", Private::Hide), ("show", Private::Show)],
    );
    section.finish();
    Log {
        level: level.map_or_else(String::new, |placed| placed.value),
        format,
        private,
    }
}

const LEVEL_WANTED: &str =
    "error, warn, info, debug, trace or off, or levels by target: \"info,net=debug\"";

fn level(text: &str) -> Result<String, String> {
    let word = |level: &str| matches!(level, "error" | "warn" | "info" | "debug" | "trace" | "off");
    let part = |part: &str| match part.split_once('=') {
        None => word(part),
        Some((target, level)) => {
            let target_ok = !target.is_empty()
                && target
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            target_ok && word(level)
        }
    };
    if text.split(',').all(part) {
        Ok(text.to_owned())
    } else {
        Err(LEVEL_WANTED.to_owned())
    }
}

fn dns(mut section: Section<'_>) -> Dns {
    const WANTED: &str =
        "an address with or without a port: \"192.0.2.53\", \"[2001:db8::53]:5353\"";
    let nameservers = section.list("nameservers", &[], WANTED, |text| {
        let with_port = text.parse::<SocketAddr>().ok();
        let bare = || {
            text.parse::<IpAddr>()
                .ok()
                .map(|address| SocketAddr::new(address, 53))
        };
        let bracketed = || {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            Some(SocketAddr::new(inner.parse::<Ipv6Addr>().ok()?.into(), 53))
        };
        with_port
            .or_else(bare)
            .or_else(bracketed)
            .ok_or_else(|| WANTED.to_owned())
    });
    section.finish();
    Dns {
        nameservers: values(nameservers),
    }
}
