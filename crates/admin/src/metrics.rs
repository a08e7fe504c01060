//! Metrics as values, and their Prometheus text form
//! (text exposition format 0.0.4).

use std::borrow::Cow;
use std::fmt::Write;

/// The Content-Type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Cumulative buckets: samples with the suffixes `_bucket`, `_sum`,
    /// `_count`.
    Histogram,
}

/// One number of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What stands after the name; empty except in histograms.
    pub suffix: &'static str,
    /// Label names and values.
    pub labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The number.
    pub value: f64,
}

/// A metric with all its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// Its name, units last: `holdline_requests_total`.
    pub name: Cow<'static, str>,
    /// What it counts, in a sentence.
    pub help: Cow<'static, str>,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// At least one, or the metric is not shown.
    pub samples: Vec<Sample>,
}

impl MetricFamily {
    /// A metric of one number without labels.
    #[must_use]
    pub fn single(name: &'static str, help: &'static str, kind: MetricKind, value: f64) -> Self {
        let samples = vec![Sample {
            suffix: "",
            labels: Vec::new(),
            value,
        }];
        MetricFamily {
            name: name.into(),
            help: help.into(),
            kind,
            samples,
        }
    }
}

/// Writes metrics in the Prometheus text form.
#[must_use]
pub fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::with_capacity(families.len() * 128);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let name = &family.name;
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(&mut text, &family.help, false);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n# TYPE {name} {kind}");
        for sample in &family.samples {
            text.push_str(name);
            text.push_str(sample.suffix);
            for (index, (label, value)) in sample.labels.iter().enumerate() {
                text.push(if index == 0 { '{' } else { ',' });
                text.push_str(label);
                text.push_str("=\"");
                escape(&mut text, value, true);
                text.push('"');
            }
            if !sample.labels.is_empty() {
                text.push('}');
            }
            text.push(' ');
            number(&mut text, sample.value);
            text.push('\n');
        }
    }
    text
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

fn number(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(text, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_in_the_prometheus_text_form() {
        let families = [
            MetricFamily::single("h_calls", "Calls \\ now.\nAll.", MetricKind::Gauge, 3.0),
            MetricFamily {
                name: "h_seconds".into(),
                help: "Time.".into(),
                kind: MetricKind::Histogram,
                samples: vec![
                    Sample {
                        suffix: "_bucket",
                        labels: vec![
                            ("a".into(), "x\"y\\\n".into()),
                            ("le".into(), "+Inf".into()),
                        ],
                        value: 2.0,
                    },
                    Sample {
                        suffix: "_sum",
                        labels: vec![],
                        value: 0.25,
                    },
                    Sample {
                        suffix: "_count",
                        labels: vec![],
                        value: 1e15,
                    },
                ],
            },
            MetricFamily {
                name: "h_none".into(),
                help: "".into(),
                kind: MetricKind::Counter,
                samples: vec![],
            },
        ];
        assert_eq!(
            encode(&families),
            "# HELP h_calls Calls \\\\ now.\\nAll.\n# TYPE h_calls gauge\nh_calls 3\n\
             # HELP h_seconds Time.\n# TYPE h_seconds histogram\n\
             h_seconds_bucket{a=\"x\\\"y\\\\\\n\",le=\"+Inf\"} 2\n\
             h_seconds_sum 0.25\nh_seconds_count 1000000000000000\n"
        );
    }

    #[test]
    fn numbers_that_are_none_have_their_prometheus_names() {
        let mut text = String::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            number(&mut text, value);
        }
        assert_eq!(text, "NaN+Inf-Inf");
    }
}
