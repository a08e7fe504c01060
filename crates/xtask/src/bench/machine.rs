//! The machine and the versions, as the rows name them.

use super::install::path_of;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What was measured, on what: `kamailio`, `rtpengine`, `holdline`, `sipp`, `kernel`, `cpu`, `cpus`.
pub(crate) fn versions(holdline: Option<&Path>) -> BTreeMap<&'static str, String> {
    let mut versions = BTreeMap::new();
    let kamailio = path_of("kamailio").map(|path| said(&path, "-v"));
    versions.insert(
        "kamailio",
        kamailio.map_or_else(unknown, |text| after(&text, "version: kamailio ")),
    );
    let rtpengine = path_of("rtpengine").map(|path| said(&path, "--version"));
    versions.insert(
        "rtpengine",
        rtpengine.map_or_else(unknown, |text| after(&text, "Version: ")),
    );
    let sipp = path_of("sipp").map(|path| said(&path, "-v"));
    versions.insert(
        "sipp",
        sipp.map_or_else(unknown, |text| after(&text, "SIPp ")),
    );
    let holdline = holdline.map(|path| said(path, "--version"));
    versions.insert(
        "holdline",
        holdline.map_or_else(unknown, |text| after(&text, "holdline ")),
    );
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    versions.insert("kernel", kernel.trim().to_owned());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    versions.insert("cpu", cpu_model(&cpuinfo));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    versions.insert("cpus", cpus.to_string());
    versions
}

fn unknown() -> String {
    "none".to_owned()
}

/// What a program prints, on either stream.
fn said(program: &Path, option: &str) -> String {
    match Command::new(program).arg(option).output() {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            text
        }
        Err(_) => String::new(),
    }
}

/// The word after `mark`, without a full stop or a leading `v`.
fn after(text: &str, mark: &str) -> String {
    let word = text
        .split_once(mark)
        .and_then(|(_, rest)| rest.split_whitespace().next());
    word.map_or_else(unknown, |word| {
        word.trim_end_matches('.')
            .trim_start_matches('v')
            .to_owned()
    })
}

/// The model's name where the kernel tells one, else its vendor and numbers.
fn cpu_model(cpuinfo: &str) -> String {
    let field = |name: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    field("model name").unwrap_or_else(|| {
        let part = |name| field(name).unwrap_or_default();
        format!(
            "{} family {} model {}",
            part("vendor_id"),
            part("cpu family"),
            part("model")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_word_after_its_mark() {
        assert_eq!(
            after(
                "version: kamailio 5.6.3 (x86_64/linux)",
                "version: kamailio "
            ),
            "5.6.3"
        );
        assert_eq!(after("\n SIPp v3.6.1-SCTP.\n", "SIPp "), "3.6.1-SCTP");
        assert_eq!(after("", "SIPp "), "none");
    }

    #[test]
    fn a_processor_without_a_name_is_told_by_its_numbers() {
        let cpuinfo = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\n";
        assert_eq!(cpu_model(cpuinfo), "GenuineIntel family 6 model 106");
        assert_eq!(cpu_model("model name\t: Xeon\n"), "Xeon");
    }
}
