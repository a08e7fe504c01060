//! Benchmarks side by side with peers, Debian's Kamailio and rtpengine: they and Holdline in turn
//! under the same load on loopback, from SIPp and a generator of RTP. Ratios are the result; seconds of one machine are not.
//!
//! Rows are printed as a table and written to `target/bench.json`. How to read them:
//! `bench/README.md`.

mod error;
mod failover;
mod floor;
mod install;
mod machine;
mod pbx;
mod process;
mod prompts;
mod relay;
mod report;
mod rows;
mod server;
mod sipp;
mod takeover;

use error::Error;
use report::Row;
use server::Side;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask bench [--rows A,B] [--quick] [--side ours|theirs]
                         [--repeats N] [--runs N] [--population N] [--program FILE]

  --rows        udp-floor, proxy-call, register-digest, register-memory, relay-floor,
                relay-100, relay-500, relay-1000, failover-situation-1, failover-situation-2,
                pbx-call, pbx-prompts, replication-call, replication-register,
                takeover-killed, -node, -frozen, -cut-peers, -cut-coordinator, -cut-both
                (default: all)
  --quick       one short repetition a row: to see that it works, not to quote
  --side        one side only, the other's figures left out
  --repeats     repetitions of each side (default 3)
  --runs        deaths in each failover row, half by SIGSTOP and half by SIGKILL (default 200),
                and faults in each takeover row (default 20, of three seconds each)
  --population  registrations of our side in register-memory (default 200000)
  --program     a holdline that is built already, instead of building this tree's";

const ROWS: &[&str] = &[
    "udp-floor",
    "proxy-call",
    "register-digest",
    "register-memory",
    "relay-floor",
    "relay-100",
    "relay-500",
    "relay-1000",
    "failover-situation-1",
    "failover-situation-2",
    "pbx-call",
    "pbx-prompts",
    "replication-call",
    "replication-register",
    "takeover-killed",
    "takeover-node",
    "takeover-frozen",
    "takeover-cut-peers",
    "takeover-cut-coordinator",
    "takeover-cut-both",
];

/// What is to be run, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    rows: Vec<String>,
    sides: Vec<Side>,
    is_quick: bool,
    repeats: usize,
    /// Deaths in each failover row and each takeover row, if somebody says so.
    runs: Option<usize>,
    population: u64,
    program: Option<PathBuf>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self, Error> {
        let mut plan = Self {
            rows: ROWS.iter().map(|&row| row.to_owned()).collect(),
            sides: vec![Side::Theirs, Side::Ours],
            is_quick: false,
            repeats: 3,
            runs: None,
            population: 200_000,
            program: None,
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            if option == "--help" {
                return Err(Error::Help);
            }
            if option == "--quick" {
                plan.is_quick = true;
                plan.repeats = 1;
                plan.population = 20_000;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| Error::Usage(format!("{option} is unknown or lacks its value")))?;
            let number = || {
                let number: Option<u64> = value.parse().ok().filter(|&number| number > 0);
                number
                    .ok_or_else(|| Error::Usage(format!("{option} {value}: not a number above 0")))
            };
            match option.as_str() {
                "--rows" => plan.rows = value.split(',').map(str::to_owned).collect(),
                "--side" if value == "ours" => plan.sides = vec![Side::Ours],
                "--side" if value == "theirs" => plan.sides = vec![Side::Theirs],
                "--repeats" => plan.repeats = usize::try_from(number()?).unwrap_or(usize::MAX),
                "--runs" => plan.runs = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
                "--population" => plan.population = number()?,
                "--program" => plan.program = Some(PathBuf::from(value)),
                _ => return Err(Error::Usage(format!("{option} {value}: unknown"))),
            }
        }
        match plan.rows.iter().find(|row| !ROWS.contains(&row.as_str())) {
            Some(row) => Err(Error::Usage(format!("{row}: no such row"))),
            None => Ok(plan),
        }
    }
}

impl Plan {
    /// Repetitions of each side.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats
    }

    /// Whether it is only to be seen that it works.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// Deaths in each failover row.
    pub(crate) fn runs(&self) -> usize {
        self.runs.unwrap_or(200)
    }

    /// Runs of each takeover row: some seconds each.
    pub(crate) fn takeover_runs(&self) -> usize {
        self.runs.unwrap_or(20)
    }
}

/// Runs the rows named in `arguments`, or all of them.
pub(crate) fn run(root: &Path, arguments: &[String]) -> ExitCode {
    match Plan::parse(arguments).and_then(|plan| run_plan(root, &plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(Error::Usage(what)) => {
            eprintln!("bench: {what}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_plan(root: &Path, plan: &Plan) -> Result<(), Error> {
    let target = target_folder(root);
    // The takeover rows bring all that they need but the program, and have no peers.
    let is_floor = |row: &String| row.ends_with("-floor");
    let has_peers = |row: &String| {
        let own = ["failover-", "takeover-", "replication-"];
        !is_floor(row) && !own.iter().any(|name| row.starts_with(name))
    };
    let needs_load = plan.rows.iter().any(|row| !is_floor(row));
    let mut holdline = Err("not asked for".to_owned());
    if needs_load {
        // The failover rows bring their own peers.
        if plan.rows.iter().any(has_peers) {
            install::missing(plan.sides.contains(&Side::Theirs))?;
        } else if plan.rows.iter().any(|row| row.starts_with("replication-")) {
            install::missing(false)?;
        }
        if plan.sides.contains(&Side::Ours) {
            holdline = match &plan.program {
                Some(program) => Ok(program.clone()),
                None => install::holdline(root, &target),
            };
        }
    }
    let relays = plan.rows.iter().any(|row| row.starts_with("relay-"));
    let generator = relays.then(|| install::generator(root, &target));
    let generator = generator.transpose()?;
    let versions = machine::versions(holdline.as_deref().ok());
    report::say_machine(&versions);
    let folder = target
        .join("bench")
        .join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(Error::io("making the folder for the run"))?;
    let mut keeper = process::Keeper::start(&folder)?;
    let scene = rows::Scene {
        plan,
        root,
        folder: &folder,
        holdline: &holdline,
        generator: generator.as_deref(),
    };

    let mut done: Vec<Row> = Vec::new();
    for id in &plan.rows {
        println!("\n{id}");
        done.push(scene.row(id, &mut keeper)?);
        // Written after each row, so that a long run that is cut short leaves something.
        report::write(&target.join("bench.json"), &done, &versions)?;
    }
    report::print(&done);
    Ok(())
}

/// The load generator of the relay rows, for [`run`] only: it reads a plan and writes a result.
pub(crate) fn relay_load(plan: &str, result: &str) -> ExitCode {
    match relay::load::run(Path::new(plan), Path::new(result)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The media server of the failover rows, for [`run`] only.
pub(crate) fn media_server(address: &str, report_to: Option<&str>) -> ExitCode {
    match failover::media_server::run(address, report_to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("media-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where cargo builds: the machine's choice, or `target`.
fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, Error> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Plan::parse(&arguments)
    }

    #[test]
    fn without_arguments_all_rows_run_on_both_sides() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.rows, ROWS);
        assert_eq!(plan.sides.len(), 2);
    }

    #[test]
    fn a_row_that_does_not_exist_is_refused() {
        assert!(matches!(
            plan(&["--rows", "proxy-call,tea"]),
            Err(Error::Usage(_))
        ));
    }

    #[test]
    fn an_option_without_its_value_is_refused() {
        assert!(matches!(plan(&["--rows"]), Err(Error::Usage(_))));
        assert!(matches!(plan(&["--repeats", "0"]), Err(Error::Usage(_))));
    }
}
