//! `holdline registrations`, `calls`, `drain`, `reload`: what a running node knows, and what it is told.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use admin::{Binding, Call, MediaLeg, Page, Party, Reloaded};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Failure, Output, Target, table, wrapped};
use crate::client::{Client, escaped};

/// How many items are asked for at once.
const PAGE_ITEMS: usize = 500;

/// `3 foreign, 1 short`
pub(super) fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter();
    let each = each.map(|(reason, count)| format!("{count} {reason}"));
    each.collect::<Vec<_>>().join(", ")
}

/// What one party of a call sent, over all streams, in words; empty where nothing is relayed.
fn sent(call: &Call, party: Party) -> String {
    legs(call, party).map(leg).collect::<Vec<_>>().join("; ")
}

/// `1500 packets, 0.2 % lost, 3 ms, MOS 4.3`
fn leg(leg: &MediaLeg) -> String {
    let mut text = format!(
        "{} packets, {:.1} % lost, {:.0} ms",
        leg.packets, leg.loss_percent, leg.jitter_ms
    );
    if let Some(mos) = leg.mos {
        text.push_str(&format!(", MOS {mos:.1}"));
    }
    if let Some(source) = &leg.source {
        text.push_str(&format!(", from {source}"));
    }
    if leg.sources_learned > 1 {
        text.push_str(&format!(" (learned {} times)", leg.sources_learned));
    }
    if !leg.dropped.is_empty() {
        text.push_str(&format!(", dropped {}", counts(&leg.dropped)));
    }
    text
}

/// Arguments of `holdline registrations`.
#[derive(Debug, Args)]
pub(crate) struct Registrations {
    /// Only those of USER@DOMAIN
    aor: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Registrations {
    /// Prints the bindings in force.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        let only = self
            .aor
            .as_ref()
            .map_or(String::new(), |aor| format!("&aor={}", escaped(aor)));
        let path = format!("/api/registrations?limit={PAGE_ITEMS}{only}");
        let head = ["USER", "CONTACT", "EXPIRES", "OVER", "FROM", "PHONE"];
        let row = |binding: &Binding| {
            vec![
                binding.aor.clone(),
                binding.contact.clone(),
                span(binding.expires_in_s),
                binding.transport.clone(),
                binding.source.clone(),
                binding.user_agent.clone().unwrap_or_default(),
            ]
        };
        let list = List {
            path: &path,
            as_json: self.output.json,
            none: "nobody is registered",
        };
        list.print(out, &client, |bindings, out| {
            table(out, &head, bindings.iter().map(row).collect())
        })
    }
}

/// Arguments of `holdline calls`.
#[derive(Debug, Args)]
pub(crate) struct Calls {
    /// All that is known of each
    #[arg(long, conflicts_with = "json")]
    long: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Calls {
    /// Prints the calls in progress.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        let list = List {
            path: &format!("/api/calls?limit={PAGE_ITEMS}"),
            as_json: self.output.json,
            none: "no calls",
        };
        let head = ["FROM", "TO", "STATE", "FOR", "SOUND"];
        list.print(out, &client, |calls: &[Call], out| match self.long {
            true => calls
                .iter()
                .try_for_each(|call| writeln!(out, "{}", long(call))),
            false => table(out, &head, calls.iter().map(short).collect()),
        })
    }
}

/// A URI without its scheme.
fn bare(uri: &str) -> &str {
    uri.strip_prefix("sip:").unwrap_or(uri)
}

/// The legs of a party that count: those that were selected.
fn legs(call: &Call, party: Party) -> impl Iterator<Item = &MediaLeg> {
    let legs = call.media.iter();
    legs.filter(move |leg| leg.party == party && (leg.selected || party == Party::Caller))
}

/// A call in a row: who, and how it sounds: the MOS of what caller and callee send, and the larger loss.
fn short(call: &Call) -> Vec<String> {
    let worst = |party| {
        let mos = legs(call, party).filter_map(|leg| leg.mos).reduce(f64::min);
        mos.map_or_else(|| "-".to_owned(), |mos| format!("{mos:.1}"))
    };
    let lost = call
        .media
        .iter()
        .map(|leg| leg.loss_percent)
        .reduce(f64::max);
    let sound = lost.map_or_else(String::new, |lost| {
        let (caller, callee) = (worst(Party::Caller), worst(Party::Callee));
        format!("MOS {caller}/{callee}, {lost:.1} % lost")
    });
    vec![
        bare(&call.from).to_owned(),
        bare(&call.to).to_owned(),
        call.state.to_string(),
        span(call.answered_s.unwrap_or(call.age_s)),
        sound,
    ]
}

/// All that is known of a call, in lines.
fn long(call: &Call) -> String {
    let (from, to) = (bare(&call.from), bare(&call.to));
    let time = span(call.answered_s.unwrap_or(call.age_s));
    let mut text = format!(
        "{from} -> {to}: {} for {time}\n  Call-ID {}",
        call.state, call.call_id
    );
    for (who, party) in [("caller", Party::Caller), ("callee", Party::Callee)] {
        let sent = sent(call, party);
        if !sent.is_empty() {
            let line = wrapped(&format!("  {who} sends {sent}"), 4);
            text.push_str(&format!("\n{line}"));
        }
    }
    text
}

/// Arguments of `holdline drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    /// Tells the node to end; it answers before it has.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        self.target
            .client()?
            .post::<serde_json::Value>("/api/drain", &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(
                out,
                "draining; the node ends when what it accepted has ended"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `holdline reload`.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Reload {
    /// Tells the node to read its configuration again.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let done: Reloaded = self.target.client()?.post("/api/reload", &json!({}))?;
        if self.output.json {
            writeln!(
                out,
                "{}",
                json!({ "ok": true, "needs_restart": done.needs_restart })
            )?;
        } else if done.needs_restart.is_empty() {
            writeln!(out, "reloaded")?;
        } else {
            let keys = done.needs_restart.join(", ");
            writeln!(
                out,
                "reloaded; these changes hold from the next start: {keys}"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A list that a node gives page by page.
struct List<'t> {
    path: &'t str,
    as_json: bool,
    /// What is said of an empty one.
    none: &'t str,
}

impl List<'_> {
    /// Prints it: one JSON object with `items`, or each page as `show` does.
    fn print<T: Serialize + DeserializeOwned, W: Write>(
        &self,
        out: &mut W,
        client: &Client,
        show: impl Fn(&[T], &mut W) -> std::io::Result<()>,
    ) -> Result<ExitCode, Failure> {
        let mut after = String::new();
        let mut count = 0;
        if self.as_json {
            write!(out, "{{\"items\":[")?;
        }
        loop {
            let page: Page<T> = client.get(&format!("{}{after}", self.path))?;
            if self.as_json {
                for (at, item) in page.items.iter().enumerate() {
                    let comma = if count + at == 0 { "" } else { "," };
                    write!(out, "{comma}{}", json!(item))?;
                }
            } else if !page.items.is_empty() {
                show(&page.items, out)?;
            }
            count += page.items.len();
            match page.next {
                Some(next) => after = format!("&after={}", escaped(&next)),
                None => break,
            }
        }
        if self.as_json {
            writeln!(out, "]}}")?;
        } else if count == 0 {
            writeln!(out, "{}", self.none)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Seconds as people read them.
pub(crate) fn span(seconds: u64) -> String {
    let (hours, minutes, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{s}s"),
        (0, _) => format!("{minutes}m {s:02}s"),
        (1..48, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_party_sent_is_told_of_the_one_that_was_selected() {
        let leg = |party, side, selected| MediaLeg {
            party,
            side,
            stream: 0,
            selected,
            packets: 1_500,
            bytes: 258_000,
            lost: 3,
            loss_percent: 0.2,
            jitter_ms: 2.6,
            mos: (side > 1).then_some(4.31),
            round_trip_ms: None,
            payload_type: Some(8),
            source: Some("1~abcd".to_owned()),
            sources_learned: u32::from(side),
            dropped: BTreeMap::new(),
        };
        let mut call = Call {
            call_id: String::new(),
            from: String::new(),
            to: String::new(),
            state: admin::CallState::Answered,
            age_s: 1,
            answered_s: None,
            media: vec![
                leg(Party::Caller, 0, true),
                leg(Party::Callee, 1, false),
                leg(Party::Callee, 2, true),
            ],
        };
        assert_eq!(
            sent(&call, Party::Caller),
            "1500 packets, 0.2 % lost, 3 ms, from 1~abcd"
        );
        assert_eq!(
            sent(&call, Party::Callee),
            "1500 packets, 0.2 % lost, 3 ms, MOS 4.3, from 1~abcd (learned 2 times)"
        );
        let text = long(&call);
        assert!(text.contains("\n  callee sends 1500 packets, "), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(short(&call)[4], "MOS -/4.3, 0.2 % lost");
        call.media[2].dropped.insert("foreign".to_owned(), 7);
        assert!(sent(&call, Party::Callee).ends_with(", dropped 7 foreign"));
        call.media.clear();
        assert_eq!(sent(&call, Party::Caller), "");
    }

    #[test]
    fn a_span_is_shown_in_its_two_largest_units() {
        let shown = [59, 61, 3600, 172_800 + 7200].map(span);
        assert_eq!(shown, ["59s", "1m 01s", "1h 00m", "2d 2h"]);
    }
}
