//! The corpora beside this file: RFC 4475 and RFC 5118 in `torture/`, messages of our own in `hostile/`.
//!
//! Each folder has a `manifest.toml` that says, in a fixed vocabulary, what every message is and what each role does with it.
//! The tests here hold the manifests to their folders and to themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a datagram can carry: 65,535 octets less the headers of IPv4 and UDP.
const DATAGRAM_BYTES_MAX: usize = 65_507;

const CORPORA: [&str; 2] = ["torture", "hostile"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    message: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    rfc: u32,
    section: String,
    title: String,
    wellformed: bool,
    parse: Parse,
    defect: Option<String>,
    #[serde(default)]
    defects: Vec<String>,
    proxy: String,
    registrar: Option<String>,
    element: String,
    stream: Stream,
    transport: Option<String>,
    why: String,
    size_bytes: usize,
    facts: Option<Facts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Parse {
    Ok,
    Defect,
    Error,
    OkOrError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stream {
    Message,
    Incomplete,
    Close,
    MessageOrClose,
    IncompleteOrClose,
}

/// What a reader must find; an absent fact is not asserted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(
    dead_code,
    reason = "the facts of one message kind are read by the tests of that kind"
)]
struct Facts {
    kind: String,
    method: Option<String>,
    request_uri: Option<String>,
    request_uri_parts: Option<UriParts>,
    request_uri_address: Option<String>,
    status: Option<u16>,
    reason: Option<String>,
    header_fields: Option<usize>,
    header_lines: BTreeMap<String, usize>,
    header_value: BTreeMap<String, String>,
    unknown: BTreeMap<String, String>,
    call_id: Option<String>,
    cseq: Option<u32>,
    cseq_method: Option<String>,
    max_forwards: Option<u8>,
    expires: Option<u32>,
    content_type: Option<String>,
    content_length: Option<u64>,
    from: Option<Address>,
    to: Option<Address>,
    from_user_decoded: Option<String>,
    to_user_decoded: Option<String>,
    via: Vec<Via>,
    received_address: Option<String>,
    contact: Vec<Contact>,
    contact_user_decoded: Option<String>,
    contact_uri_params_decoded: BTreeMap<String, toml::Value>,
    distinct_contacts: Option<usize>,
    bound_uri: Option<String>,
    route: Vec<String>,
    record_route: Vec<String>,
    unsupported_by_proxy: Vec<String>,
    unsupported_by_uas: Vec<String>,
    body_parts: Option<usize>,
    body_part_types: Vec<String>,
    binary_part_bytes: Option<usize>,
    header_bytes: Option<usize>,
    body_bytes: Option<usize>,
    leftover_bytes: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by the tests of the parser")]
struct UriParts {
    scheme: String,
    user: Option<String>,
    user_decoded: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    params: Option<usize>,
    headers: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by the tests of the parser")]
struct Address {
    display: Option<String>,
    uri: String,
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by the tests of the parser")]
struct Via {
    protocol: String,
    transport: String,
    host: String,
    port: Option<u16>,
    branch: Option<String>,
    received: Option<String>,
    maddr: Option<String>,
    #[serde(default)]
    rport: bool,
    ttl: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by the tests of the parser")]
struct Contact {
    #[serde(default)]
    star: bool,
    display: Option<String>,
    uri: Option<String>,
    q: Option<String>,
    expires: Option<u32>,
    params: Option<usize>,
}

/// What a role may do with a message: any of `deeds`, and to respond with any of `statuses`.
#[derive(Debug)]
struct Verdict {
    deeds: BTreeSet<String>,
    statuses: Vec<u16>,
}

impl Verdict {
    const DEEDS: [&str; 7] = [
        "accept",
        "drop",
        "forward",
        "forward_repaired",
        "ignore",
        "register",
        "respond",
    ];

    /// `deed[_or_deed][:status[|status]]`; `None` when a word is outside the vocabulary.
    fn parse(text: &str) -> Option<Self> {
        let (deeds, statuses) = text
            .split_once(':')
            .map_or((text, None), |(deeds, statuses)| (deeds, Some(statuses)));
        let deeds: BTreeSet<String> = deeds.split("_or_").map(str::to_owned).collect();
        let statuses = match statuses {
            None => Vec::new(),
            Some(list) => list
                .split('|')
                .map(|status| status.parse().ok())
                .collect::<Option<Vec<u16>>>()?,
        };
        let known = deeds
            .iter()
            .all(|deed| Self::DEEDS.contains(&deed.as_str()));
        let final_statuses = statuses.iter().all(|status| (300..700).contains(status));
        let responds = deeds.contains("respond");
        (known && final_statuses && responds != statuses.is_empty())
            .then_some(Self { deeds, statuses })
    }
}

fn folder(corpus: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(corpus)
}

/// The entries of a corpus, each with its octets.
fn corpus(name: &str) -> Vec<(Entry, Vec<u8>)> {
    let text = std::fs::read_to_string(folder(name).join("manifest.toml"))
        .expect("the manifest can be read");
    let manifest: Manifest =
        toml::from_str(&text).expect("the manifest has the form described at its head");
    let read = |entry: Entry| {
        let octets = std::fs::read(folder(name).join(&entry.file))
            .unwrap_or_else(|error| unreachable!("{}: {error}", entry.file));
        (entry, octets)
    };
    manifest.message.into_iter().map(read).collect()
}

fn all() -> impl Iterator<Item = (Entry, Vec<u8>)> {
    CORPORA.into_iter().flat_map(corpus)
}

#[test]
fn every_message_listed_is_there_and_every_message_there_is_listed_once() {
    for name in CORPORA {
        let listed: Vec<String> = corpus(name)
            .into_iter()
            .map(|(entry, _)| entry.file)
            .collect();
        let unique: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(listed.len(), unique.len(), "{name} lists a file twice");
        let present: BTreeSet<String> = std::fs::read_dir(folder(name))
            .expect("the corpus folder can be read")
            .filter_map(|item| item.ok()?.file_name().into_string().ok())
            .filter(|file| {
                Path::new(file)
                    .extension()
                    .is_some_and(|extension| extension == "dat")
            })
            .collect();
        assert_eq!(present, unique, "{name}: folder and manifest differ");
    }
}

#[test]
fn both_rfcs_are_there_in_full() {
    let of = |rfc| {
        corpus("torture")
            .into_iter()
            .filter(move |(entry, _)| entry.rfc == rfc)
    };
    let sections = |rfc| {
        of(rfc)
            .map(|(entry, _)| entry.section)
            .collect::<BTreeSet<_>>()
            .len()
    };
    assert_eq!(sections(4475), 49);
    assert_eq!(sections(5118), 10);
}

#[test]
fn sizes_are_as_listed_and_fit_the_transport() {
    for (entry, octets) in all() {
        assert_eq!(octets.len(), entry.size_bytes, "{}", entry.file);
        let stream_only = entry.transport.as_deref() == Some("tcp");
        assert_eq!(
            octets.len() > DATAGRAM_BYTES_MAX,
            stream_only,
            "{}",
            entry.file
        );
    }
}

#[test]
fn verdicts_keep_to_the_vocabulary() {
    for (entry, _) in all() {
        let file = &entry.file;
        for text in [
            Some(&entry.proxy),
            Some(&entry.element),
            entry.registrar.as_ref(),
        ]
        .into_iter()
        .flatten()
        {
            assert!(Verdict::parse(text).is_some(), "{file}: {text}");
        }
        let proxy = Verdict::parse(&entry.proxy).expect("checked above");
        if entry.parse == Parse::Error {
            assert!(
                !proxy.deeds.contains("forward"),
                "{file}: what is no message is not forwarded"
            );
        }
        if entry.parse == Parse::Defect {
            assert!(entry.defect.is_some(), "{file}: a defect has a place");
            assert!(
                !entry.element.eq("accept"),
                "{file}: a defect is not simply accepted"
            );
        }
        if let Some(first) = entry.defects.first() {
            assert_eq!(entry.defect.as_ref(), Some(first), "{file}");
        }
        assert!(
            !entry.title.is_empty()
                && entry
                    .why
                    .ends_with(|last: char| last == ')' || last.is_ascii_digit()),
            "{file}"
        );
        assert!(
            proxy.statuses.iter().all(|status| *status >= 400),
            "{file}: a proxy refuses by 4xx or 5xx"
        );
    }
}

#[test]
fn what_is_well_formed_is_a_message_and_what_is_not_has_a_defect() {
    for (entry, octets) in all() {
        let limited = entry.defect.as_deref() == Some("limit");
        if entry.wellformed {
            assert!(
                entry.parse == Parse::Ok && entry.defect.is_none() || limited,
                "{}",
                entry.file
            );
        } else {
            let keep_alive = octets.iter().all(|octet| b"\r\n".contains(octet));
            assert!(entry.defect.is_some() || keep_alive, "{}", entry.file);
        }
    }
}

#[test]
fn a_registrar_has_a_verdict_for_every_register_and_nothing_else() {
    for (entry, _) in all() {
        let method = entry
            .facts
            .as_ref()
            .and_then(|facts| facts.method.as_deref());
        match method {
            Some("REGISTER") => assert!(entry.registrar.is_some(), "{}", entry.file),
            Some(_) => assert!(entry.registrar.is_none(), "{}", entry.file),
            None => {}
        }
    }
}

#[test]
fn lengths_add_up() {
    for (entry, octets) in all() {
        let Some(facts) = &entry.facts else { continue };
        let file = &entry.file;
        let header_bytes = octets
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4);
        assert_eq!(facts.header_bytes, header_bytes, "{file}");
        assert_eq!(
            facts.header_fields,
            Some(facts.header_lines.values().sum()),
            "{file}"
        );
        if let (Some(header), Some(body), Some(leftover)) =
            (header_bytes, facts.body_bytes, facts.leftover_bytes)
        {
            assert_eq!(header + body + leftover, octets.len(), "{file}");
            assert_ne!(
                entry.stream,
                Stream::Incomplete,
                "{file}: the body is there"
            );
        }
        if let (Some(length), Some(body)) = (facts.content_length, facts.body_bytes) {
            assert_eq!(length, body as u64, "{file}");
        }
        if !facts.via.is_empty() {
            assert!(
                facts.via.len() >= facts.header_lines.get("Via").copied().unwrap_or(0),
                "{file}"
            );
        }
        let response = octets
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        assert_eq!(
            facts.kind,
            if response { "response" } else { "request" },
            "{file}"
        );
    }
}
