//! `edge.rtp_ports` and `[edge.media]`: the relay of media.

use std::net::IpAddr;
use std::ops::Range;

use toml::de::DeValue;

use super::address::Domain;
use super::read::word;
use super::reader::{Placed, Section};
use super::{Learn, Listener, Media, MediaPolicy, PortRange, Transport};

/// The smallest port of media: those below belong to services.
const RTP_PORT_MIN: u16 = 1024;

const PORTS_WANTED: &str = "two numbers, the first even, the last odd: [20000, 29999]";

pub(super) const POLICIES: &[(&str, MediaPolicy)] = &[
    ("nat", MediaPolicy::Nat),
    ("always", MediaPolicy::Always),
    ("never", MediaPolicy::Never),
];

const POLICY_WANTED: &str = "\"always\", \"nat\" or \"never\"";

const ADDRESS_WANTED: &str = "an address of this machine: \"192.0.2.1\", \"2001:db8::1\"";

const LEARN: &[(&str, Learn)] = &[("strict", Learn::Strict), ("open", Learn::Open)];

/// Relay threads of a machine: one up to four cores, else a quarter of them.
fn threads_by_machine() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1))
}

/// Reads both; `listeners` may have none of the ports.
pub(super) fn media(edge: &mut Section<'_>, listeners: &[Listener]) -> (Option<PortRange>, Media) {
    let ports = ports(edge);
    let mut section = edge.section("media");
    let policy = word(&mut section, "policy", POLICIES);
    let domains = section.entries("domains", POLICY_WANTED, |name, text| {
        let domain = Domain::parse(name)?;
        let found = POLICIES.iter().find(|(word, _)| *word == text);
        let policy = found.map(|(_, policy)| *policy);
        Ok((domain, policy.ok_or_else(|| POLICY_WANTED.to_owned())?))
    });
    let addresses = addresses(&mut section);
    let advertised = section.text("advertised", "", ADDRESS_WANTED, specified);
    let silence = section.integer("silence_timeout_s", 60, 5..=86_400);
    let hold = section.integer("hold_timeout_s", 3600, 5..=604_800);
    if hold.value < silence.value {
        let what = format!(
            "{} is less than silence_timeout_s ({})",
            hold.value, silence.value
        );
        let span = if hold.written {
            hold.span
        } else {
            silence.span
        };
        let want = "who is on hold is silent for longer: let silence_timeout_s <= hold_timeout_s";
        section.contradiction("hold_timeout_s", span, what, want);
    }
    let learn = word(&mut section, "learn", LEARN);
    // 0 stands for "by the machine".
    let relay_threads = match section.integer("relay_threads", 0, 0..=64).value {
        0 => threads_by_machine(),
        threads => threads as usize,
    };
    if ports.is_none() {
        has_no_ports(&section, policy.as_ref(), &domains);
    }
    let media = Media {
        policy: policy.map_or(MediaPolicy::Nat, |placed| placed.value),
        domains: domains.into_iter().map(|placed| placed.value).collect(),
        addresses,
        advertised: advertised.map(|placed| placed.value),
        silence_timeout_s: silence.value,
        hold_timeout_s: hold.value,
        learn: learn.map_or(Learn::Strict, |placed| placed.value),
        relay_threads,
    };
    section.finish();
    if let Some(ports) = &ports {
        overlaps(edge, ports, &media.addresses, listeners);
    }
    (ports.map(|placed| placed.value), media)
}

/// Says so where a relay is wanted that has no ports.
fn has_no_ports(
    section: &Section<'_>,
    policy: Option<&Placed<MediaPolicy>>,
    domains: &[Placed<(Domain, MediaPolicy)>],
) {
    let wants =
        |placed: &&Placed<MediaPolicy>| placed.written && placed.value != MediaPolicy::Never;
    let by_domain = domains
        .iter()
        .find(|placed| placed.value.1 != MediaPolicy::Never);
    let place: Option<(&str, Range<usize>)> = policy
        .filter(wants)
        .map(|placed| ("policy", placed.span.clone()))
        .or_else(|| by_domain.map(|placed| ("domains", placed.span.clone())));
    if let Some((key, span)) = place {
        let what = "without rtp_ports there is no relay";
        let want = "add `rtp_ports = [20000, 29999]` to [edge], or write \"never\"";
        section.contradiction(key, span, what, want);
    }
}

/// `rtp_ports = [first, last]`: whole pairs of an even port and the next one (RFC 3550 section 11).
pub(super) fn ports(edge: &mut Section<'_>) -> Option<Placed<PortRange>> {
    let (items, span) = edge.bare_values("rtp_ports", PORTS_WANTED)?;
    let mut numbers = Vec::new();
    for item in items {
        let number = match item.get_ref() {
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(-1)
            }
            _ => -1,
        };
        match u16::try_from(number) {
            Ok(port) if port >= RTP_PORT_MIN => numbers.push(port),
            _ => {
                let want = format!("numbers from {RTP_PORT_MIN} to 65535, as in [20000, 29999]");
                edge.contradiction("rtp_ports", item.span(), "no port for media", want);
                return None;
            }
        }
    }
    let &[first, last] = numbers.as_slice() else {
        let what = format!("{} numbers", numbers.len());
        edge.contradiction("rtp_ports", span, what, format!("write {PORTS_WANTED}"));
        return None;
    };
    let (even, odd) = (first & !1, last | 1);
    let want = if first > last {
        format!("write the lower one first: [{}, {}]", last & !1, first | 1)
    } else {
        format!("write [{even}, {odd}]: pairs of an even port and the odd one after it")
    };
    if (first, last) != (even, odd) || first > last {
        let what = format!("{first} to {last} are no whole pairs of ports");
        edge.contradiction("rtp_ports", span, what, want);
        return None;
    }
    Some(Placed {
        value: PortRange { first, last },
        span,
        written: true,
    })
}

fn addresses(section: &mut Section<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for placed in section.list("addresses", &[], ADDRESS_WANTED, specified) {
        if addresses.contains(&placed.value) {
            let what = format!("{} twice", placed.value);
            section.contradiction("addresses", placed.span, what, "name each once");
        } else {
            addresses.push(placed.value);
        }
    }
    addresses
}

/// An address that packets can be sent to.
fn specified(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => Err(ADDRESS_WANTED.to_owned()),
        Ok(address) if address.is_unspecified() => Err(format!(
            "{ADDRESS_WANTED}; or nothing, for all that are listened on"
        )),
        Ok(address) => Ok(address),
        Err(_) => Err(ADDRESS_WANTED.to_owned()),
    }
}

/// Says so where a port of the range is listened on.
fn overlaps(
    edge: &Section<'_>,
    ports: &Placed<PortRange>,
    addresses: &[IpAddr],
    listeners: &[Listener],
) {
    let PortRange { first, last } = ports.value;
    let collides = |listener: &&Listener| {
        let is_shared = match listener.address {
            Some(address) if !address.is_unspecified() => {
                addresses.is_empty() || addresses.contains(&address)
            }
            _ => true,
        };
        listener.transport == Transport::Udp && (first..=last).contains(&listener.port) && is_shared
    };
    if let Some(listener) = listeners.iter().find(collides) {
        let what = format!("{listener} is one of {first} to {last}");
        let want = "take a range without the ports of `listen`, such as [20000, 29999]";
        edge.contradiction("rtp_ports", ports.span.clone(), what, want);
    }
}
