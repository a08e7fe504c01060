//! What an experiment was made on, and with.

use std::fs;

use crate::Host;
use crate::world::Plan;

/// Names and values, for a report.
pub(crate) fn describe(plan: &Plan) -> Vec<(String, String)> {
    let words = |program: &str, arguments: &[&str]| {
        let output = Host::own().run(program, arguments, "");
        let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        output.map_or_else(|_| "not known".to_owned(), first)
    };
    let holdline = words(&plan.program.display().to_string(), &["--version"]);
    let build = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let place = match plan.is_loopback {
        true => "loopback, without hosts of their own and without a judge",
        false => "network namespaces on one bridge, three etcds, some phones behind a NAT",
    };
    let all = [
        ("date", words("date", &["-u", "+%F %H:%M UTC"])),
        ("holdline", format!("{holdline}, {build} build")),
        ("place", place.to_owned()),
        (
            "processor",
            format!("{processors} x {}", field(&cpu, "model name")),
        ),
        ("memory", field(&memory, "MemTotal")),
        ("kernel", words("uname", &["-sr"])),
        ("etcd", words("etcd", &["--version"])),
        ("load at the start", load.trim().to_owned()),
        ("lease", format!("{} ms", plan.lease_ms)),
        (
            "taken away",
            plan.lack.map_or_else(
                || "nothing".to_owned(),
                |lack| format!("{lack:?}").to_lowercase(),
            ),
        ),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What stands behind the colon of the first line of this name.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "not known".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_what_stands_behind_its_colon() {
        assert_eq!(field("a : 1\nmodel name\t: X 2\n", "model name"), "X 2");
        assert_eq!(field("", "model name"), "not known");
    }
}
