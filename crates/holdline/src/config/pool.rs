//! `[[edge.pool]]`, `[[edge.route]]` and `[edge.failover]`: pools of media servers.

use std::ops::{Range, RangeInclusive};

use balancer::{HashBy, HealthSettings, LoadFormula, Policy, PoolSettings, Source, TargetSettings};
use driver::{FarmSettings, RouteSettings};
use sip::Method;
use toml::de::DeValue;

use super::address::{DOMAIN_WANTED, Domain};
use super::media::POLICIES as POLICIES_OF_MEDIA;
use super::read::{NAME_WANTED, name, word};
use super::reader::{Placed, Section};
use super::{MediaPolicy, Role, Service};

const POLICIES: &[(&str, Policy)] = &[
    ("least-calls", Policy::LeastCalls),
    ("round-robin", Policy::RoundRobin),
    ("weighted", Policy::Weighted),
    ("priority", Policy::Priority),
    ("hash-source", Policy::Hash(HashBy::Source)),
    ("hash-call-id", Policy::Hash(HashBy::CallId)),
    ("hash-user", Policy::Hash(HashBy::User)),
    ("load", Policy::Load(LOAD)),
];

/// Stands for the load of the section `load`.
const LOAD: LoadFormula = LoadFormula {
    cpu: 0,
    memory: 0,
    disk: 0,
    calls: 1,
    call_rate: 0,
    calls_full: 1,
    call_rate_full: 1,
    fresh_ms: 0,
    stale_ms: 1,
};

/// Probes that a service misses before it counts as dead: with the usual time for an answer three seconds, in which its calls go on
/// elsewhere.
const MISSES_OF_SERVICES: u64 = 20;

/// How long an INVITE to a service waits for a word: its new owner answers what is sent again after half a second, and another one
/// asked at that moment would ring the same phone.
const REPLY_TIMEOUT_OF_SERVICES_MS: u64 = 2_000;

const TARGETS_WANTED: &str = "a list of { uri = \"sip:10.0.0.30:5060\" }, { service = \"pbx1\" } or { srv = \"sip:pbx.example.org\" }";

const URI_WANTED: &str =
    "where it listens: \"sip:10.0.0.30:5060\", \"sip:pbx1.example.org;transport=tcp\"";

const SRV_WANTED: &str = "a name with SRV records, without a port: \"sip:pbx.example.org\", with \";transport=tcp\" for those of TCP";

const USER_WANTED: &str = "a user part, with * for any characters and ? for one: \"8*\"";

const MOVE_ON_WANTED: &str = "statuses from 400 to 699 and ranges of them: [500, \"502-504\"]";

/// The methods that a route may be for, besides those of dialogs, which follow their INVITE.
const METHODS: &[(&str, Method)] = &[
    ("INVITE", Method::Invite),
    ("MESSAGE", Method::Message),
    ("SUBSCRIBE", Method::Subscribe),
    ("PUBLISH", Method::Publish),
    ("OPTIONS", Method::Options),
    ("REFER", Method::Refer),
    ("NOTIFY", Method::Notify),
];

const METHODS_WANTED: &str =
    "\"INVITE\", \"MESSAGE\", \"SUBSCRIBE\", \"PUBLISH\", \"OPTIONS\", \"REFER\" or \"NOTIFY\"";

/// A pool and where it stands in the file.
struct Read {
    settings: PoolSettings,
    /// The policy of its calls' media, and where that stands.
    media: Option<(MediaPolicy, Range<usize>)>,
    /// A target is a service of the cluster.
    moves: bool,
    span: Range<usize>,
    fallback: Range<usize>,
}

/// Reads all three; `has_relay` says whether media can be relayed, `services` are those of the cluster.
pub(super) fn farm(edge: &mut Section<'_>, has_relay: bool, services: &[Service]) -> FarmSettings {
    let pools = edge.tables("pool").into_iter();
    let pools: Vec<Read> = pools.filter_map(|one| pool(one, services)).collect();
    let routes = edge.tables("route");
    let names: Vec<&str> = pools
        .iter()
        .map(|pool| pool.settings.name.as_str())
        .collect();
    let routes = routes
        .into_iter()
        .filter_map(|section| route(section, &names))
        .collect();
    let moves = pools.iter().any(|pool| pool.moves);
    let failover = failover(edge.section("failover"), moves);
    agree(edge, &pools);
    let relayed = |media: &&(MediaPolicy, Range<usize>)| media.0 != MediaPolicy::Never;
    let mut media = pools.iter().filter_map(|pool| pool.media.as_ref());
    if let Some((_, span)) = media.find(relayed).filter(|_| !has_relay) {
        let what = "without rtp_ports there is no relay";
        let want = "add `rtp_ports = [20000, 29999]` to [edge], or write \"never\"";
        edge.contradiction("pool.media", span.clone(), what, want);
    }
    let policy = |policy: MediaPolicy| match policy {
        _ if !has_relay => proxy::media::Policy::Never,
        MediaPolicy::Always => proxy::media::Policy::Always,
        MediaPolicy::Nat => proxy::media::Policy::Nat,
        MediaPolicy::Never => proxy::media::Policy::Never,
    };
    let media = pools.iter().filter_map(|pool| {
        let (own, _) = pool.media.as_ref()?;
        Some((pool.settings.name.clone(), policy(*own)))
    });
    FarmSettings {
        media: media.collect(),
        pools: pools.into_iter().map(|pool| pool.settings).collect(),
        routes,
        failover,
        words: Vec::new(),
    }
}

/// Says what the pools contradict each other in.
fn agree(edge: &Section<'_>, pools: &[Read]) {
    let settings = balancer::Settings {
        pools: pools.iter().map(|pool| pool.settings.clone()).collect(),
        hash_key: [0; 2],
    };
    let Err(error) = settings.check() else { return };
    use balancer::Error;
    let at = |name: &str| pools.iter().rev().find(|pool| pool.settings.name == name);
    let (pool, want) = match &error {
        Error::PoolTwice { pool } => (at(pool), "give each a name of its own".to_owned()),
        Error::TargetTwice { pool, .. } => (at(pool), "name each target of a pool once".to_owned()),
        Error::NoSuchFallback { pool, .. } | Error::FallbacksTooDeep { pool } => {
            let names = pools
                .iter()
                .map(|one| one.settings.name.as_str())
                .filter(|name| name != pool);
            let names: Vec<&str> = names.collect();
            let want = match names.as_slice() {
                [] => "remove it: there is no other pool".to_owned(),
                names => format!("name another pool ({}), without a circle", names.join(", ")),
            };
            (at(pool), want)
        }
        _ => (pools.first(), "see docs/configuration.md".to_owned()),
    };
    let is_fallback = matches!(
        error,
        Error::NoSuchFallback { .. } | Error::FallbacksTooDeep { .. }
    );
    let (key, span) = match pool {
        Some(pool) if is_fallback => ("pool.fallback", pool.fallback.clone()),
        Some(pool) => ("pool", pool.span.clone()),
        None => ("pool", edge.span()),
    };
    edge.contradiction(key, span, error.to_string(), want);
}

fn pool(mut section: Section<'_>, services: &[Service]) -> Option<Read> {
    let own = required(&mut section, "name", NAME_WANTED, name);
    let policy = word(&mut section, "policy", POLICIES);
    let targets = targets(&mut section, services);
    let moves = targets.as_ref().is_some_and(|(_, moves)| *moves);
    let fallback = section.text("fallback", "", "the name of another pool", name);
    let last_resort = section.flag("last_resort", false);
    let slow_start_s = section.integer("slow_start_s", 10, 0..=3_600).value;
    let retry_after_s = section.integer("retry_after_s", 2, 1..=3_600).value;
    let health = health(&mut section, moves);
    let media = word(&mut section, "media", POLICIES_OF_MEDIA);
    let formula = load(section.section("load"));
    let mut policy = policy.map_or(Policy::LeastCalls, |placed| placed.value);
    match (&mut policy, formula) {
        (Policy::Load(own), formula) => *own = formula.value,
        (_, formula) if formula.written => {
            let what = "the policy does not look at load";
            let want = "write policy = \"load\", or remove the section";
            section.contradiction("load", formula.span, what, want);
        }
        _ => {}
    }
    let span = section.span();
    section.finish();
    Some(Read {
        settings: PoolSettings {
            name: own?,
            policy,
            targets: targets?.0,
            last_resort,
            health,
            slow_start_ms: slow_start_s * 1_000,
            retry_after_s: retry_after_s as u32,
            fallback: fallback.as_ref().map(|placed| placed.value.clone()),
        },
        media: media
            .filter(|placed| placed.written)
            .map(|placed| (placed.value, placed.span)),
        moves,
        fallback: fallback.map_or_else(|| span.clone(), |placed| placed.span),
        span,
    })
}

/// A text that has to be there.
fn required<T>(
    section: &mut Section<'_>,
    key: &'static str,
    wanted: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let is_there = section.has(key);
    let found = section.text(key, "", wanted, parse);
    if !is_there {
        section.contradiction(key, section.span(), "missing", format!("write {wanted}"));
    }
    found.map(|placed| placed.value)
}

/// The targets, and whether one of them is a service.
fn targets(section: &mut Section<'_>, services: &[Service]) -> Option<(Vec<TargetSettings>, bool)> {
    let is_there = section.has("targets");
    let Some((items, span)) = section.bare_values("targets", TARGETS_WANTED) else {
        if !is_there {
            let want = format!("write targets = {TARGETS_WANTED}");
            section.contradiction("targets", section.span(), "missing", want);
        }
        return None;
    };
    if items.is_empty() {
        let want = format!("write {TARGETS_WANTED}");
        section.contradiction("targets", span, "no target", want);
    }
    let (mut targets, mut moves) = (Vec::new(), false);
    for item in items {
        let DeValue::Table(table) = item.get_ref() else {
            let what = "a target is a table in braces";
            let want = format!("write {TARGETS_WANTED}");
            section.contradiction("targets", item.span(), what, want);
            continue;
        };
        moves |= table.contains_key("service");
        targets.extend(target(
            section.inline("targets", table, item.span()),
            services,
        ));
    }
    Some((targets, moves))
}

fn target(mut section: Section<'_>, services: &[Service]) -> Option<TargetSettings> {
    let named = ["uri", "srv", "service"].map(|key| section.has(key));
    let uri = section.text("uri", "", URI_WANTED, uri);
    let srv = section.text("srv", "", SRV_WANTED, srv);
    let service = section.text("service", "", NAME_WANTED, name);
    let weight = section.integer("weight", 1, 1..=65_535).value;
    let priority = section.integer("priority", 0, 0..=65_535);
    let limit = section.integer("limit", 0, 0..=1_000_000).value;
    let span = section.span();
    let pbx = service.as_ref().and_then(|service| {
        let of_name = |one: &&Service| one.role == Role::Pbx && one.name == service.value;
        services.iter().find(of_name)
    });
    if let (Some(service), None) = (&service, pbx) {
        let what = format!(
            "there is no [[service]] {} with role = \"pbx\"",
            service.value
        );
        let want =
            "add it as its members have it, or name a media server: uri = \"sip:10.0.0.30:5060\"";
        section.contradiction("service", service.span.clone(), what, want);
    } else if named.iter().filter(|named| **named).count() != 1 {
        let what = "a target is one of uri, srv and service";
        section.contradiction("uri", span, what, format!("write {TARGETS_WANTED}"));
    }
    section.finish();
    let source = match (uri, srv, pbx) {
        (Some(uri), None, None) => Source::Uri(uri.value),
        (None, Some(srv), None) => Source::Srv(srv.value),
        // Whoever owns it is found there.
        (None, None, Some(pbx)) => Source::Uri(pbx.uri()),
        _ => return None,
    };
    Some(TargetSettings {
        source,
        weight: weight as u32,
        priority: priority.written.then_some(priority.value as u16),
        limit: (limit > 0).then_some(limit as u32),
    })
}

/// A SIP URI without a user, over UDP or TCP.
fn hop<'t>(text: &'t str, wanted: &str) -> Result<sip::Uri<'t>, String> {
    let uri = sip::Uri::parse(text.as_bytes()).map_err(|_| wanted.to_owned())?;
    if uri.scheme == sip::Scheme::Sips {
        return Err(format!("{wanted}; TLS is not in this version"));
    }
    if uri.scheme != sip::Scheme::Sip || uri.user.is_some() || uri.headers.is_some() {
        return Err(wanted.to_owned());
    }
    let transport = uri.params.value(b"transport");
    let is_known =
        |text: &[u8]| text.eq_ignore_ascii_case(b"udp") || text.eq_ignore_ascii_case(b"tcp");
    match transport {
        Some(text) if !is_known(text) => Err(format!("{wanted}; the transport is udp or tcp")),
        _ if uri.port == Some(0) => Err(wanted.to_owned()),
        _ => Ok(uri),
    }
}

fn uri(text: &str) -> Result<String, String> {
    hop(text, URI_WANTED).map(|_| text.to_owned())
}

fn srv(text: &str) -> Result<String, String> {
    let text = match text.contains(':') {
        true => text.to_owned(),
        false => format!("sip:{text}"),
    };
    let uri = hop(&text, SRV_WANTED)?;
    let is_bare = uri.host.address.is_none() && uri.port.is_none();
    match is_bare && !uri.host.bytes.starts_with(b"_") {
        true => Ok(text.clone()),
        false => Err(SRV_WANTED.to_owned()),
    }
}

/// `moves`: a target is a service, which goes on at another node a moment after its node died.
fn health(section: &mut Section<'_>, moves: bool) -> HealthSettings {
    let mut probe = section.section("probe");
    let misses = match probe.integer("misses", 3, 1..=100) {
        misses if moves && !misses.written => MISSES_OF_SERVICES,
        misses => misses.value,
    };
    let mut health = HealthSettings {
        probe_interval_ms: probe.integer("interval_ms", 250, 0..=60_000).value,
        probe_timeout_ms: probe.integer("timeout_ms", 150, 10..=10_000).value,
        misses_out: misses as u32,
        answers_back: probe.integer("answers", 2, 1..=100).value as u32,
        ..HealthSettings::default()
    };
    probe.finish();
    let mut calls = section.section("calls");
    health.failures_out = calls.integer("failures", 5, 0..=10_000).value as u32;
    health.failures_permille = calls.integer("failures_percent", 50, 1..=100).value as u32 * 10;
    health.window_ms = calls.integer("window_s", 10, 1..=600).value * 1_000;
    health.exile_ms = calls.integer("out_s", 2, 1..=3_600).value * 1_000;
    health.exile_max_ms = calls.integer("out_max_s", 120, 1..=86_400).value * 1_000;
    calls.finish();
    health
}

fn load(mut section: Section<'_>) -> Placed<LoadFormula> {
    let usual = LoadFormula::default();
    let mut written = false;
    let mut number = |key, default: u64, range: RangeInclusive<u64>| {
        let placed = section.integer(key, default, range);
        written |= placed.written;
        placed.value
    };
    let mut part = |key, default: u32| number(key, u64::from(default), 0..=100) as u32;
    let (cpu, memory, disk) = (
        part("cpu", usual.cpu),
        part("memory", usual.memory),
        part("disk", usual.disk),
    );
    let (calls, call_rate) = (
        part("calls", usual.calls),
        part("call_rate", usual.call_rate),
    );
    let value = LoadFormula {
        cpu,
        memory,
        disk,
        calls,
        call_rate,
        calls_full: number("calls_full", usual.calls_full.into(), 1..=1_000_000) as u32,
        call_rate_full: number("call_rate_full", usual.call_rate_full.into(), 1..=100_000) as u32,
        fresh_ms: number("fresh_s", usual.fresh_ms / 1_000, 1..=3_600) * 1_000,
        stale_ms: number("stale_s", usual.stale_ms / 1_000, 1..=3_600) * 1_000,
    };
    let span = section.span();
    if value.stale_ms <= value.fresh_ms {
        let what = "figures would be old before they are no longer new";
        section.contradiction("stale_s", span.clone(), what, "let fresh_s < stale_s");
    }
    section.finish();
    Placed {
        value,
        span,
        written,
    }
}

fn route(mut section: Section<'_>, pools: &[&str]) -> Option<RouteSettings> {
    let user = section.text("user", "*", USER_WANTED, user);
    let domain = section.text("domain", "", DOMAIN_WANTED, Domain::parse);
    let methods = section.list("methods", &["INVITE"], METHODS_WANTED, |text| {
        let found = METHODS.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, method)| *method)
            .ok_or_else(|| METHODS_WANTED.to_owned())
    });
    let pool = required(&mut section, "pool", "the name of a pool", |text| {
        if pools.contains(&text) {
            return Ok(text.to_owned());
        }
        Err(match pools {
            [] => "the name of a pool, and the pool: a section [[edge.pool]]".to_owned(),
            pools => format!("the name of a pool: {}", pools.join(", ")),
        })
    });
    section.finish();
    Some(RouteSettings {
        user: user?.value,
        domain: domain.map(|placed| placed.value.as_str().to_owned()),
        methods: methods.into_iter().map(|placed| placed.value).collect(),
        pool: pool?,
    })
}

fn user(text: &str) -> Result<String, String> {
    if let Some((user, domain)) = text.split_once('@') {
        return Err(format!("user = \"{user}\" and domain = \"{domain}\""));
    }
    let ok = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    match ok {
        true => Ok(text.to_owned()),
        false => Err(USER_WANTED.to_owned()),
    }
}

/// `moves`: a target is a service.
fn failover(mut section: Section<'_>, moves: bool) -> proxy::pool::Settings {
    let reply_timeout_ms = match section.integer("reply_timeout_ms", 500, 50..=30_000) {
        timeout if moves && !timeout.written => REPLY_TIMEOUT_OF_SERVICES_MS,
        timeout => timeout.value,
    };
    let ring_timeout_s = section.integer("ring_timeout_s", 60, 0..=180).value;
    let move_on = move_on(&mut section);
    let moves_ringing = section.flag("move_ringing", true);
    let targets_max = section.integer("targets_max", 8, 1..=64).value;
    section.finish();
    proxy::pool::Settings {
        reply_timeout_ms,
        ring_timeout_ms: ring_timeout_s * 1_000,
        move_on: move_on.unwrap_or_else(|| proxy::pool::Settings::default().move_on),
        moves_ringing,
        tries_max: targets_max as usize,
    }
}

fn move_on(section: &mut Section<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let (items, _) = section.bare_values("move_on", MOVE_ON_WANTED)?;
    let mut ranges = Vec::new();
    for item in items {
        let range = match item.get_ref() {
            DeValue::Integer(number) => {
                let status = u16::from_str_radix(number.as_str(), number.radix()).ok();
                status.map(|status| status..=status)
            }
            DeValue::String(text) => {
                let bounds = text.split_once('-').unwrap_or((text, text));
                let status = |text: &str| text.trim().parse::<u16>().ok();
                status(bounds.0)
                    .zip(status(bounds.1))
                    .map(|(first, last)| first..=last)
            }
            _ => None,
        };
        let all = 400..=699;
        match range {
            Some(range)
                if all.contains(range.start())
                    && all.contains(range.end())
                    && range.start() <= range.end() =>
            {
                // Those speak of the caller, whoever is asked.
                if let Some(status) = [401, 407, 487].iter().find(|one| range.contains(one)) {
                    let what = format!("{status} is for the caller");
                    section.contradiction("move_on", item.span(), what, "leave it out");
                }
                ranges.push(range);
            }
            _ => {
                let want = format!("write {MOVE_ON_WANTED}");
                section.contradiction("move_on", item.span(), "no status of a failure", want);
            }
        }
    }
    Some(ranges)
}

#[cfg(test)]
mod tests;
