//! What is sent: one JSON object.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// The longest report that is taken.
pub const REPORT_BYTES_MAX: usize = 4_096;

/// A host's load now. A figure that is not known is left out; a reader skips what it does not know.
///
/// ```json
/// {"target":"sip:10.0.0.30:5060","cpu_permille":420,"memory_permille":310,"calls":12}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The target as the edges' pools name it: by its URI or service name.
    pub target: String,
    /// CPU in use, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_permille: Option<u16>,
    /// Memory in use, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_permille: Option<u16>,
    /// Time the busiest disk was busy, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_permille: Option<u16>,
    /// Active calls as the media server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// It is too long, no JSON object of this form, or a figure is above 1000.
    pub fn parse(text: &[u8]) -> Result<Report, Error> {
        if text.len() > REPORT_BYTES_MAX {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let report: Report = serde_json::from_slice(text).map_err(Error::Form)?;
        let figures = [
            ("cpu_permille", report.cpu_permille),
            ("memory_permille", report.memory_permille),
            ("disk_permille", report.disk_permille),
        ];
        for (figure, permille) in figures {
            if let Some(permille) = permille.filter(|permille| *permille > 1_000) {
                return Err(Error::OutOfRange { figure, permille });
            }
        }
        Ok(report)
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and a string is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::{REPORT_BYTES_MAX, Report};
    use crate::error::Error;

    #[test]
    fn what_is_written_is_read() {
        let report = Report {
            target: "sip:10.0.0.30:5060".to_owned(),
            cpu_permille: Some(420),
            calls: Some(12),
            ..Report::default()
        };
        let text = report.to_json();
        assert_eq!(
            text,
            r#"{"target":"sip:10.0.0.30:5060","cpu_permille":420,"calls":12}"#
        );
        assert_eq!(Report::parse(text.as_bytes()).expect("a report"), report);
    }

    #[test]
    fn a_newer_agents_figures_are_skipped() {
        let text = br#"{"target":"pbx1","temperature":40,"disk_permille":5}"#;
        let report = Report::parse(text).expect("a report");
        assert_eq!((report.disk_permille, report.cpu_permille), (Some(5), None));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"target":1}"#,
            r#"{"target":"a","calls":-1}"#,
        ] {
            assert!(
                matches!(Report::parse(text.as_bytes()), Err(Error::Form(_))),
                "{text}"
            );
        }
        let much = br#"{"target":"a","memory_permille":1001}"#;
        assert!(matches!(
            Report::parse(much),
            Err(Error::OutOfRange {
                figure: "memory_permille",
                permille: 1_001
            })
        ));
        let long = vec![b' '; REPORT_BYTES_MAX + 1];
        assert!(matches!(Report::parse(&long), Err(Error::TooLong { .. })));
    }
}
