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

/// The parser of this crate against the manifests.
mod parser {
    use std::net::IpAddr;

    use sip::check::check;
    use sip::header::{NameAddr, Via as SipVia};
    use sip::{Defect, HeaderName, Index, Limits, Message, Requirement, Scheme, Uri, lex, uri};

    use super::{Address, Contact, Entry, Facts, Parse, UriParts, Verdict, Via, all};

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// A value with each fold as one space.
    fn unfolded(value: &[u8]) -> String {
        let mut out = Vec::new();
        let mut rest = value;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            out.extend_from_slice(lex::trim_end(&rest[..at]));
            out.push(b' ');
            rest = lex::trim_start(&rest[at..]);
        }
        out.extend_from_slice(rest);
        text(&out)
    }

    /// A display name without quotes and escapes.
    fn display(written: &[u8]) -> Option<String> {
        let inner = match written.strip_prefix(b"\"") {
            None if written.is_empty() => return None,
            None => return Some(unfolded(written)),
            Some(rest) => rest.strip_suffix(b"\"").unwrap_or(rest),
        };
        let mut out = Vec::new();
        let mut bytes = inner.iter();
        while let Some(&byte) = bytes.next() {
            out.push(if byte == b'\\' {
                *bytes.next().unwrap_or(&byte)
            } else {
                byte
            });
        }
        Some(unfolded(&out))
    }

    fn decoded(bytes: &[u8]) -> String {
        text(&uri::unescaped(bytes).collect::<Vec<u8>>())
    }

    /// What a role's check says beside what it may do. `wrong` collects what differs.
    fn verdict(
        what: &str,
        allowed: &Verdict,
        found: Result<(), Defect>,
        is_defect: bool,
        wrong: &mut Vec<String>,
    ) {
        let goes_on = ["accept", "forward", "register"]
            .iter()
            .any(|deed| allowed.deeds.contains(*deed));
        match found {
            Ok(()) if is_defect && !goes_on => wrong.push(format!("{what}: not refused")),
            Err(defect) if goes_on && allowed.statuses.is_empty() => {
                wrong.push(format!("{what}: refused by {defect:?}"));
            }
            Err(defect)
                if !allowed.statuses.is_empty()
                    && !allowed.statuses.contains(&defect.status().0) =>
            {
                wrong.push(format!(
                    "{what}: {defect:?} is not in {:?}",
                    allowed.statuses
                ));
            }
            _ => {}
        }
    }

    #[test]
    fn every_message_is_taken_or_refused_as_its_manifest_says() {
        let mut wrong = Vec::new();
        for (entry, octets) in all() {
            let mut index = Index::new();
            let limits = Limits::default();
            let mut here = Vec::new();
            let parsed = index.parse(&octets, &limits);
            let roles = [
                ("proxy", Requirement::Proxy, &entry.proxy),
                ("element", Requirement::Element, &entry.element),
            ];
            for (what, requirement, allowed) in roles {
                let allowed = Verdict::parse(allowed).expect("held to the vocabulary above");
                match (&parsed, entry.parse) {
                    (Ok(message), Parse::Ok | Parse::Defect) => {
                        let found = check(message, requirement);
                        verdict(
                            what,
                            &allowed,
                            found,
                            entry.parse == Parse::Defect,
                            &mut here,
                        );
                    }
                    (Ok(message), Parse::Error) => {
                        if check(message, requirement).is_ok() {
                            here.push(format!("{what}: taken"));
                        }
                    }
                    (Err(error), Parse::Ok | Parse::Defect) => {
                        if !allowed.deeds.contains("drop") {
                            here.push(format!("{what}: {error:?}"));
                        }
                    }
                    (_, Parse::OkOrError) | (Err(_), Parse::Error) => {}
                }
            }
            wrong.extend(here.iter().map(|line| format!("{} {line}", entry.file)));
        }
        assert!(
            wrong.is_empty(),
            "{} differ:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    /// Collects facts that differ.
    struct Findings<'a> {
        file: &'a str,
        wrong: Vec<String>,
    }

    impl Findings<'_> {
        fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: T, found: T) {
            if expected != found {
                let line = format!(
                    "{} {what}: expected {expected:?}, found {found:?}",
                    self.file
                );
                self.wrong.push(line);
            }
        }

        fn given<T: PartialEq + std::fmt::Debug>(
            &mut self,
            what: &str,
            expected: Option<T>,
            found: Option<T>,
        ) {
            if expected.is_some() {
                self.same(what, expected, found);
            }
        }
    }

    #[test]
    fn every_fact_is_found() {
        let mut wrong = Vec::new();
        let mut asserted = 0;
        for (entry, octets) in all() {
            let Some(facts) = &entry.facts else { continue };
            let limits = Limits {
                size_bytes_max: u32::MAX,
                headers_max: u16::MAX - 1,
            };
            let mut index = Index::new();
            let Ok(message) = index.parse(&octets, &limits) else {
                continue;
            };
            asserted += 1;
            let mut findings = Findings {
                file: &entry.file,
                wrong: Vec::new(),
            };
            start_line(&mut findings, facts, &message);
            lines(&mut findings, facts, &message);
            fields(&mut findings, facts, &message);
            lists(&mut findings, facts, &message);
            extent(&mut findings, &entry, facts, &message);
            wrong.extend(findings.wrong);
        }
        assert!(asserted > 150, "{asserted} messages were read");
        assert!(
            wrong.is_empty(),
            "{} differ:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    fn start_line(findings: &mut Findings<'_>, facts: &Facts, message: &Message<'_>) {
        findings.same("request", facts.kind == "request", message.is_request());
        findings.given(
            "method",
            facts.method.clone(),
            Some(text(message.method_bytes())),
        );
        findings.given(
            "uri",
            facts.request_uri.clone(),
            Some(text(message.request_uri())),
        );
        findings.given("status", facts.status, Some(message.status()));
        findings.given("reason", facts.reason.clone(), Some(text(message.reason())));
        let uri = Uri::parse(message.request_uri());
        if let Some(parts) = &facts.request_uri_parts {
            match uri {
                Ok(uri) => uri_parts(findings, parts, &uri),
                Err(error) => findings
                    .wrong
                    .push(format!("{} uri: {error:?}", findings.file)),
            }
        }
        if let Some(address) = &facts.request_uri_address {
            let expected: IpAddr = address.parse().expect("a fact is an address");
            findings.same(
                "address",
                Some(expected),
                uri.ok().and_then(|uri| uri.host.address),
            );
        }
    }

    fn uri_parts(findings: &mut Findings<'_>, parts: &UriParts, uri: &Uri<'_>) {
        let scheme = match parts.scheme.to_ascii_lowercase().as_str() {
            "sip" => Scheme::Sip,
            "sips" => Scheme::Sips,
            "tel" => Scheme::Tel,
            _ => Scheme::Other,
        };
        findings.same("scheme", scheme, uri.scheme);
        if uri.is_sip() {
            findings.same("user", parts.user.clone(), uri.user.map(text));
            findings.same("password", parts.password.clone(), uri.password.map(text));
            findings.same("port", parts.port, uri.port);
        }
        findings.given(
            "decoded user",
            parts.user_decoded.clone(),
            uri.user.map(decoded),
        );
        findings.given("host", parts.host.clone(), Some(text(uri.host.bytes)));
        findings.given("params", parts.params, Some(uri.params.iter().count()));
        findings.given("headers", parts.headers.clone(), uri.headers.map(text));
    }

    fn lines(findings: &mut Findings<'_>, facts: &Facts, message: &Message<'_>) {
        // The index stops at what it cannot go beyond; what it has then is not all there is.
        let stopped = matches!(
            message.defect(),
            Some(Defect::Unterminated | Defect::TooManyHeaders)
        );
        if stopped {
            return;
        }
        findings.given("headers", facts.header_fields, Some(message.header_count()));
        for (name, count) in &facts.header_lines {
            let is = |bytes: &[u8]| bytes.eq_ignore_ascii_case(name.as_bytes());
            let found = message
                .all_fields()
                .filter(|field| match field.name {
                    HeaderName::Other => is(field.name_bytes),
                    known => is(known.as_str().as_bytes()),
                })
                .count();
            findings.same(name, *count, found);
        }
        for (name, value) in facts.header_value.iter().chain(&facts.unknown) {
            let known = HeaderName::parse(name.as_bytes());
            let mut fields = message.all_fields();
            let field = fields.find(|field| {
                field.name == known
                    && (known != HeaderName::Other
                        || field.name_bytes.eq_ignore_ascii_case(name.as_bytes()))
            });
            let found = field.map(|field| unfolded(field.value));
            findings.same(name, Some(value.clone()), found);
        }
    }

    fn fields(findings: &mut Findings<'_>, facts: &Facts, message: &Message<'_>) {
        let single = |name| message.single(name).ok();
        let number = |name| message.number(name, u32::MAX).ok().flatten();
        findings.given(
            "call-id",
            facts.call_id.clone(),
            single(HeaderName::CallId).map(text),
        );
        let cseq = message.cseq().ok();
        findings.given("cseq", facts.cseq, cseq.map(|cseq| cseq.number));
        let method = cseq.map(|cseq| text(cseq.method_bytes));
        findings.given("cseq method", facts.cseq_method.clone(), method);
        let hops = facts.max_forwards.map(u32::from);
        findings.given("max-forwards", hops, number(HeaderName::MaxForwards));
        findings.given("expires", facts.expires, number(HeaderName::Expires));
        let content_type = single(HeaderName::ContentType).map(|value| {
            text(lex::trim_end(
                value.split(|&byte| byte == b';').next().unwrap_or(value),
            ))
        });
        let expected = facts.content_type.as_deref();
        let expected = expected.map(|value| value.split(';').next().unwrap_or(value).to_owned());
        findings.given("content-type", expected, content_type);
        let addresses = [
            (
                "from",
                &facts.from,
                message.from(),
                &facts.from_user_decoded,
            ),
            ("to", &facts.to, message.to(), &facts.to_user_decoded),
        ];
        for (what, expected, found, user) in addresses {
            let Some(expected) = expected else { continue };
            match found {
                Ok(found) => address(findings, what, expected, &found),
                Err(defect) => findings
                    .wrong
                    .push(format!("{} {what}: {defect:?}", findings.file)),
            }
            let found = found
                .ok()
                .and_then(|found| found.parse_uri().ok()?.user.map(decoded));
            findings.given(what, user.clone(), found);
        }
    }

    fn address(findings: &mut Findings<'_>, what: &str, expected: &Address, found: &NameAddr<'_>) {
        let name = expected.display.clone().filter(|name| !name.is_empty());
        findings.same(
            what,
            name,
            display(found.display).filter(|name| !name.is_empty()),
        );
        findings.same(what, expected.uri.clone(), text(found.uri));
        findings.same(what, expected.tag.clone(), found.tag().map(text));
    }

    fn lists(findings: &mut Findings<'_>, facts: &Facts, message: &Message<'_>) {
        let vias: Vec<_> = message.values(HeaderName::Via).collect();
        if !facts.via.is_empty() {
            findings.same("vias", facts.via.len(), vias.len());
        }
        for (expected, value) in facts.via.iter().zip(&vias) {
            match SipVia::parse(value.bytes) {
                Some(found) => {
                    let bare: Vec<u8> = value
                        .bytes
                        .iter()
                        .copied()
                        .filter(|&byte| !lex::is_lws(byte))
                        .collect();
                    let starts = bare.starts_with(expected.protocol.as_bytes());
                    findings.same("via protocol", true, starts);
                    via(findings, expected, &found);
                }
                None => findings
                    .wrong
                    .push(format!("{} via unreadable", findings.file)),
            }
        }
        if let Some(received) = &facts.received_address {
            let expected: IpAddr = received.parse().expect("a fact is an address");
            let found = message.via().ok().and_then(|via| via.received());
            findings.same("received", Some(expected), found);
        }
        let contacts: Vec<_> = message.values(HeaderName::Contact).collect();
        if !facts.contact.is_empty() {
            findings.same("contacts", facts.contact.len(), contacts.len());
        }
        for (expected, value) in facts.contact.iter().zip(&contacts) {
            contact(findings, expected, value.bytes);
        }
        let first = contacts
            .first()
            .and_then(|value| NameAddr::parse(value.bytes));
        let user = first.and_then(|contact| contact.parse_uri().ok()?.user.map(decoded));
        findings.given("contact user", facts.contact_user_decoded.clone(), user);
        for (name, expected) in [
            (HeaderName::Route, &facts.route),
            (HeaderName::RecordRoute, &facts.record_route),
        ] {
            let uri = |bytes| NameAddr::parse(bytes).map(|route| text(route.uri));
            let found: Option<Vec<String>> =
                message.values(name).map(|value| uri(value.bytes)).collect();
            if !expected.is_empty() {
                findings.same(name.as_str(), Some(expected.clone()), found);
            }
        }
    }

    fn via(findings: &mut Findings<'_>, expected: &Via, found: &SipVia<'_>) {
        findings.same(
            "via transport",
            expected.transport.clone(),
            text(found.transport),
        );
        findings.same("via host", expected.host.clone(), text(found.host.bytes));
        findings.same("via port", expected.port, found.port);
        findings.same("branch", expected.branch.clone(), found.branch().map(text));
        let value = |name: &[u8]| found.params.value(name).map(text);
        findings.same("received", expected.received.clone(), value(b"received"));
        findings.same("maddr", expected.maddr.clone(), value(b"maddr"));
        findings.same("rport", expected.rport, found.rport().is_some());
        findings.same(
            "ttl",
            expected.ttl.map(|ttl| ttl.to_string()),
            value(b"ttl"),
        );
    }

    fn contact(findings: &mut Findings<'_>, expected: &Contact, value: &[u8]) {
        findings.same("star", expected.star, value == b"*");
        let (Some(uri), Some(found)) = (&expected.uri, NameAddr::parse(value)) else {
            findings.same(
                "contact",
                expected.uri.is_some(),
                NameAddr::parse(value).is_some(),
            );
            return;
        };
        findings.same("contact", uri.clone(), text(found.uri));
        let name = expected.display.clone().filter(|name| !name.is_empty());
        findings.same(
            "contact",
            name,
            display(found.display).filter(|name| !name.is_empty()),
        );
        findings.given("q", expected.q.clone(), found.params.value(b"q").map(text));
        let expires = found
            .params
            .value(b"expires")
            .and_then(|value| lex::number(value, u32::MAX));
        findings.given("expires", expected.expires, expires);
        let others = found
            .params
            .iter()
            .filter(|param| !param.is(b"q") && !param.is(b"expires"));
        findings.given("params", expected.params, Some(others.count()));
    }

    fn extent(findings: &mut Findings<'_>, entry: &Entry, facts: &Facts, message: &Message<'_>) {
        if entry.parse == Parse::Defect && message.defect().is_some() {
            return;
        }
        let body = message.body_span();
        findings.given(
            "header bytes",
            facts.header_bytes,
            Some(body.start as usize),
        );
        findings.given(
            "body bytes",
            facts.body_bytes,
            Some((body.end - body.start) as usize),
        );
        let leftover = message.buffer().len() - body.end as usize;
        findings.given("leftover bytes", facts.leftover_bytes, Some(leftover));
    }
}
