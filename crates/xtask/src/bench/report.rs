//! Figures, the table and `bench.json`.

use super::error::Error;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the rest of the machine may use while figures are taken that are worth quoting.
const OTHERS_PERCENT_MAX: f64 = 5.0;
/// How late packets of a load may leave that is the load it says, in microseconds.
const LATE_US_MAX: f64 = 5_000.0;

/// One repetition at one server.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// In the row's unit.
    pub(crate) value: f64,
    pub(crate) failed: u64,
    pub(crate) retransmissions: u64,
    pub(crate) out_of_order: u64,
    notes: BTreeMap<&'static str, f64>,
}

impl Sample {
    /// A repetition without faults, for now.
    pub(crate) fn new(value: f64) -> Self {
        Self {
            value,
            failed: 0,
            retransmissions: 0,
            out_of_order: 0,
            notes: BTreeMap::new(),
        }
    }

    /// A further figure, of which the row shows the median.
    pub(crate) fn note(&mut self, name: &'static str, value: f64) {
        self.notes.insert(name, value);
    }

    /// One line as the run goes on.
    pub(crate) fn say(&self, who: &str, unit: &str) {
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|(name, value)| format!("{name} {value:.0}"))
            .collect();
        println!(
            "  {who}: {:.1} {unit}; failed {}, retransmissions {}, out of order {}; {}",
            self.value,
            self.failed,
            self.retransmissions,
            self.out_of_order,
            notes.join(", ")
        );
    }

    /// All of it.
    pub(crate) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("value".to_owned(), rounded(self.value));
        fields.insert("failed".to_owned(), json!(self.failed));
        fields.insert("retransmissions".to_owned(), json!(self.retransmissions));
        fields.insert("out_of_order".to_owned(), json!(self.out_of_order));
        for (name, value) in &self.notes {
            fields.insert((*name).to_owned(), rounded(*value));
        }
        Value::Object(fields)
    }
}

/// One side's repetitions together.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    median: f64,
    min: f64,
    max: f64,
    /// Sums over the repetitions.
    failed: u64,
    retransmissions: u64,
    out_of_order: u64,
    /// Medians.
    notes: BTreeMap<&'static str, f64>,
}

impl Figure {
    /// Nothing, if nothing was measured.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let first = samples.first()?;
        let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        let sum = |part: fn(&Sample) -> u64| samples.iter().map(part).sum();
        let note = |&name: &&'static str| {
            let all: Vec<f64> = samples
                .iter()
                .filter_map(|sample| sample.notes.get(name).copied())
                .collect();
            (name, median(&all))
        };
        Some(Self {
            median: median(&values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            failed: sum(|sample| sample.failed),
            retransmissions: sum(|sample| sample.retransmissions),
            out_of_order: sum(|sample| sample.out_of_order),
            notes: first.notes.keys().map(note).collect(),
        })
    }

    /// The fields of one side; ours have no prefix where the row's own names are.
    fn fields(&self, side: &str, counts: &str, fields: &mut Map<String, Value>) {
        fields.insert(side.to_owned(), rounded(self.median));
        fields.insert(format!("{side}_min"), rounded(self.min));
        fields.insert(format!("{side}_max"), rounded(self.max));
        fields.insert(format!("{counts}failed"), json!(self.failed));
        fields.insert(
            format!("{counts}retransmissions"),
            json!(self.retransmissions),
        );
        fields.insert(format!("{counts}out_of_order"), json!(self.out_of_order));
        for (name, value) in &self.notes {
            fields.insert(format!("{side}_{name}"), rounded(*value));
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Three decimals are more than a run can tell, but for a small part of a whole.
fn rounded(value: f64) -> Value {
    let factor = if value.abs() < 1.0 { 1e7 } else { 1e3 };
    json!((value * factor).round() / factor)
}

/// One row of the result.
#[derive(Debug)]
pub(crate) struct Row {
    id: String,
    /// What was done, in a sentence.
    pub(crate) work: String,
    pub(crate) unit: &'static str,
    /// With whom it compares.
    pub(crate) peer: &'static str,
    pub(crate) ours: Option<Figure>,
    pub(crate) theirs: Option<Figure>,
    notes: Map<String, Value>,
}

impl Row {
    /// A row with nothing in it yet.
    pub(crate) fn new(id: &str, unit: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            work: String::new(),
            unit,
            peer: "-",
            ours: None,
            theirs: None,
            notes: Map::new(),
        }
    }

    /// A further field.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.notes.insert(name.to_owned(), value.into());
    }

    /// Ours as a part of theirs: below 1, ours costs less.
    fn ratio(&self) -> Option<f64> {
        Some(self.ours.as_ref()?.median / self.theirs.as_ref()?.median)
    }

    fn to_json(&self, versions: &BTreeMap<&'static str, String>) -> Value {
        let mut fields = self.notes.clone();
        for absent in [
            "ours",
            "theirs",
            "failed",
            "out_of_order",
            "retransmissions",
        ] {
            fields.insert(absent.to_owned(), Value::Null);
        }
        if let Some(ours) = &self.ours {
            ours.fields("ours", "", &mut fields);
            for (name, value) in &ours.notes {
                fields.insert((*name).to_owned(), rounded(*value));
            }
        }
        if let Some(theirs) = &self.theirs {
            theirs.fields("theirs", "theirs_", &mut fields);
        }
        fields.insert("id".to_owned(), json!(self.id));
        fields.insert("work".to_owned(), json!(self.work));
        fields.insert("unit".to_owned(), json!(self.unit));
        fields.insert(
            "ratio".to_owned(),
            self.ratio().map_or(Value::Null, rounded),
        );
        fields.insert("versions".to_owned(), json!(versions));
        Value::Object(fields)
    }
}

/// Writes the rows.
///
/// # Errors
/// The machine's.
pub(crate) fn write(
    file: &Path,
    rows: &[Row],
    versions: &BTreeMap<&'static str, String>,
) -> Result<(), Error> {
    let rows: Vec<Value> = rows.iter().map(|row| row.to_json(versions)).collect();
    let text = format!("{:#}\n", Value::Array(rows));
    fs::write(file, text).map_err(Error::io("writing bench.json"))
}

/// One line about the machine.
pub(crate) fn say_machine(versions: &BTreeMap<&'static str, String>) {
    let parts: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    println!("bench: {}", parts.join(", "));
}

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    println!();
    println!(
        "{:<16} {:<24} {:>24} {:>24} {:>6} {:>13} {:>13} {:>15} {:>13}",
        "row",
        "unit",
        "holdline (min-max)",
        "peer (min-max)",
        "ratio",
        "failed",
        "out of order",
        "retransmissions",
        "MiB"
    );
    for row in rows {
        let (ours, theirs) = (row.ours.as_ref(), row.theirs.as_ref());
        let pair = |part: fn(&Figure) -> String| {
            let of = |figure: Option<&Figure>| figure.map_or_else(|| "-".to_owned(), part);
            format!("{} / {}", of(ours), of(theirs))
        };
        println!(
            "{:<16} {:<24} {:>24} {:>24} {:>6} {:>13} {:>13} {:>15} {:>13}",
            row.id,
            row.unit,
            span(ours),
            span(theirs),
            row.ratio()
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            pair(|figure| figure.failed.to_string()),
            pair(|figure| figure.out_of_order.to_string()),
            pair(|figure| figure.retransmissions.to_string()),
            pair(|figure| {
                let bytes = figure.notes.get("memory_bytes").copied().unwrap_or(0.0);
                format!("{:.0}", bytes / f64::from(1 << 20))
            }),
        );
    }
    println!(
        "\nholdline / peer in the columns with a stroke; ratio: holdline's part of the peer's; peer: \
         kamailio, in the relay rows rtpengine"
    );
    print_relays(rows);
    let largest = |name: &str| {
        rows.iter()
            .flat_map(|row| [row.ours.as_ref(), row.theirs.as_ref()])
            .flatten()
            .filter_map(|figure| figure.notes.get(name).copied())
            .fold(0.0, f64::max)
    };
    let others = largest("others_percent");
    if others > OTHERS_PERCENT_MAX {
        println!("NOT TO BE QUOTED: other processes used up to {others:.0} % of the machine");
    }
    let late_us = largest("late_p99_us");
    if late_us > LATE_US_MAX {
        println!("NOT TO BE QUOTED: one packet of 100 left {late_us:.0} µs late or more");
    }
}

/// What only relays have: a second table.
fn print_relays(rows: &[Row]) {
    let relays: Vec<&Row> = rows.iter().filter(|row| row.peer == "rtpengine").collect();
    if relays.is_empty() {
        return;
    }
    println!(
        "\n{:<16} {:>19} {:>21} {:>21} {:>21} {:>15}",
        "row", "loss %", "delay p50 µs", "delay p99 µs", "delay max µs", "bytes a call"
    );
    for row in relays {
        let pair = |name: &str, digits: usize, factor: f64| {
            let of = |figure: Option<&Figure>| {
                let value = figure.and_then(|figure| figure.notes.get(name));
                value.map_or_else(
                    || "-".to_owned(),
                    |value| format!("{:.digits$}", value * factor),
                )
            };
            format!("{} / {}", of(row.ours.as_ref()), of(row.theirs.as_ref()))
        };
        println!(
            "{:<16} {:>19} {:>21} {:>21} {:>21} {:>15}",
            row.id,
            pair("loss", 4, 100.0),
            pair("delay_p50_us", 0, 1.0),
            pair("delay_p99_us", 0, 1.0),
            pair("delay_max_us", 0, 1.0),
            pair("memory_per_call_bytes", 0, 1.0),
        );
    }
}

fn span(figure: Option<&Figure>) -> String {
    figure.map_or_else(
        || "-".to_owned(),
        |figure| format!("{:.1} ({:.1}-{:.1})", figure.median, figure.min, figure.max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_the_sum_of_the_faults() {
        let mut samples = [Sample::new(3.0), Sample::new(1.0), Sample::new(2.0)];
        samples[0].failed = 2;
        samples[2].failed = 1;
        let figure = Figure::of(&samples).unwrap();
        assert_eq!(
            (figure.median, figure.min, figure.max, figure.failed),
            (2.0, 1.0, 3.0, 3)
        );
        assert!(Figure::of(&[]).is_none());
    }

    #[test]
    fn a_row_without_our_side_has_nulls_and_no_ratio() {
        let mut row = Row::new("proxy-call", "µs CPU per call");
        row.theirs = Figure::of(&[Sample::new(256.0)]);
        let json = row.to_json(&BTreeMap::new());
        assert_eq!(json["ours"], Value::Null);
        assert_eq!(json["ratio"], Value::Null);
        assert_eq!(json["theirs"], json!(256.0));
        assert_eq!(json["theirs_failed"], json!(0));
    }

    #[test]
    fn our_further_figures_have_plain_names_too() {
        let mut sample = Sample::new(3.0);
        sample.note("loss", 0.25);
        let mut row = Row::new("relay-100", "µs CPU per packet");
        row.ours = Figure::of(&[sample.clone()]);
        row.theirs = Figure::of(&[sample]);
        let json = row.to_json(&BTreeMap::new());
        for name in ["loss", "ours_loss", "theirs_loss"] {
            assert_eq!(json[name], json!(0.25), "{name}");
        }
    }

    #[test]
    fn the_ratio_is_our_part_of_theirs() {
        let mut row = Row::new("proxy-call", "µs CPU per call");
        row.ours = Figure::of(&[Sample::new(50.0)]);
        row.theirs = Figure::of(&[Sample::new(200.0)]);
        assert_eq!(row.to_json(&BTreeMap::new())["ratio"], json!(0.25));
    }
}
