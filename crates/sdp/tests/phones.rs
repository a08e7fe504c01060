//! Descriptions as phones, gateways and browsers write them: what is read in each, and what a relay changes.
//!
//! `phones/NAME.sdp` is the description, `changes/NAME` what is to come of it: a line for each m-line, then
//! the lines that go and come.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sdp::{Description, Edits, Index, Limits, Media, Ports, Rewrite, rewrite};

const RELAY: &str = "192.0.2.1";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Name and bytes of each description.
fn phones() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder("phones")).expect("the folder is there");
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("it has a name");
        let name = name.to_string_lossy().into_owned();
        (name, fs::read(&path).expect("it can be read"))
    };
    let mut phones: Vec<_> = entries
        .map(|entry| read(entry.expect("it can be listed").path()))
        .collect();
    phones.sort();
    phones
}

/// Ports from 20000 on for every m-line that needs them.
fn ports(description: &Description<'_>) -> Vec<Option<Ports>> {
    let ports = |media: Media<'_>| {
        let rtp = 20_000 + 2 * media.number() as u16;
        media.needs_ports().then(|| Ports { rtp, rtcp: rtp + 1 })
    };
    description.media().map(ports).collect()
}

fn relayed(description: &Description<'_>) -> Vec<u8> {
    let ports = ports(description);
    let change = Rewrite {
        address: RELAY.parse().expect("an address"),
        ports: &ports,
    };
    let mut edits = Edits::new();
    rewrite(description, &change, &mut edits);
    let mut out = Vec::new();
    edits.write(description.body(), &mut out);
    assert_eq!(out.len(), edits.size_after(description.body().len()));
    out
}

fn facts(media: &Media<'_>) -> String {
    let place = |address: Option<std::net::SocketAddr>| {
        address.map_or("nowhere".to_owned(), |address| address.to_string())
    };
    let mut text = format!(
        "{:?} {:?} rtp {} rtcp {}{} {:?}{}:",
        media.kind(),
        media.protocol(),
        place(media.rtp()),
        place(media.rtcp()),
        if media.has_rtcp_mux() { " mux" } else { "" },
        media.direction(),
        media
            .ptime_ms()
            .map_or(String::new(), |ms| format!(" {ms} ms")),
    );
    for format in media.formats() {
        let encoding = String::from_utf8_lossy(format.encoding);
        let rate = format
            .clock_rate_hz
            .map_or("?".to_owned(), |rate| rate.to_string());
        write!(text, " {}={encoding}/{rate}", format.payload_type).expect("a String takes all");
    }
    text + "\n"
}

/// The lines that go, with a minus, and those that come, with a plus.
fn changes(before: &[u8], after: &[u8]) -> String {
    fn lines(text: &[u8]) -> Vec<&[u8]> {
        text.split_inclusive(|&byte| byte == b'\n').collect()
    }
    let (before, after) = (lines(before), lines(after));
    // The longest common subsequence from each pair of places on.
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] = match before[i] == after[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let mut text = String::new();
    let (mut i, mut j) = (0, 0);
    let mut note = |sign: char, line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        writeln!(text, "{sign}{}", line.trim_end()).expect("a String takes all");
    };
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[i + 1][j] >= common[i][j + 1] {
            note('-', before[i]);
            i += 1;
        } else {
            note('+', after[j]);
            j += 1;
        }
    }
    text
}

#[test]
fn each_description_is_read_and_changed_as_written_down() {
    let mut index = Index::new();
    for (name, body) in phones() {
        let description = index
            .parse(&body, &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let facts: String = description.media().map(|media| facts(&media)).collect();
        let seen = facts + &changes(&body, &relayed(&description));
        let expected = fs::read_to_string(folder("changes").join(&name)).unwrap_or_default();
        assert_eq!(seen, expected, "{name}:\n{seen}");
    }
}

#[test]
fn what_was_relayed_is_relayed_again_without_a_change() {
    let mut index = Index::new();
    for (name, body) in phones() {
        let description = index
            .parse(&body, &Limits::default())
            .expect("it is read above");
        let once = relayed(&description);
        let mut second = Index::new();
        let description = second
            .parse(&once, &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(relayed(&description), once, "{name}");
    }
}
