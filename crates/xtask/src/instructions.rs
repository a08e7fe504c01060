//! `cargo xtask instructions`: counts of instructions per unit of hot work, held to ceilings that may
//! only fall. The rows are in `ceilings.toml` beside this crate's manifest.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The work is done this often; the difference of both counts is of as many units as theirs.
const TIMES_FEW: u64 = 1_000;
const TIMES_MANY: u64 = 3_000;

/// Where the ceilings are, below the workspace's folder.
const CEILINGS: &str = "crates/xtask/ceilings.toml";

/// What to do with counts below their ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Say so.
    Check,
    /// Write them down as the new ceilings.
    Lower,
}

/// Why nothing could be counted.
#[derive(Debug)]
enum Error {
    /// The file of ceilings cannot be read or written.
    File(std::io::Error),
    /// It does not have the form that its head describes.
    Form(String),
    /// A program could not be started.
    Start(&'static str, std::io::Error),
    /// A program ended with an error; what it said.
    Failed(&'static str, String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::File(error) => write!(f, "{CEILINGS}: {error}"),
            Error::Form(what) => write!(f, "{CEILINGS}: {what}"),
            Error::Start(program, error) => {
                write!(f, "{program} cannot be started ({error}); is it installed?")
            }
            Error::Failed(program, said) => write!(f, "{program} failed: {said}"),
        }
    }
}

/// One row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: String,
    package: String,
    example: String,
    work: String,
    instructions: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Ceilings {
    tolerance_percent: u64,
    rows: Vec<Row>,
}

impl Ceilings {
    fn parse(text: &str) -> Result<Ceilings, Error> {
        let table: toml::Table = text
            .parse()
            .map_err(|error| Error::Form(format!("{error}")))?;
        let number = |value: Option<&toml::Value>, key: &str| {
            let number = value.and_then(toml::Value::as_integer);
            let number = number.and_then(|number| u64::try_from(number).ok());
            number.ok_or_else(|| Error::Form(format!("`{key}` is no count")))
        };
        let rows = table.get("row").and_then(toml::Value::as_array);
        let rows = rows.ok_or_else(|| Error::Form("there is no [[row]]".to_owned()))?;
        let row = |row: &toml::Value| {
            let text = |key: &str| {
                let text = row.get(key).and_then(toml::Value::as_str);
                let text = text.ok_or_else(|| Error::Form(format!("a row lacks `{key}`")));
                text.map(str::to_owned)
            };
            Ok(Row {
                name: text("name")?,
                package: text("package")?,
                example: text("example")?,
                work: text("work")?,
                instructions: number(row.get("instructions"), "instructions")?,
            })
        };
        Ok(Ceilings {
            tolerance_percent: number(table.get("tolerance_percent"), "tolerance_percent")?,
            rows: rows.iter().map(row).collect::<Result<_, _>>()?,
        })
    }
}

/// What a count is to its ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Above,
    Within,
    Below,
}

fn judge(counted: u64, ceiling: u64, tolerance_percent: u64) -> Outcome {
    let slack = ceiling * tolerance_percent / 100;
    if counted > ceiling + slack {
        Outcome::Above
    } else if counted < ceiling.saturating_sub(slack) {
        Outcome::Below
    } else {
        Outcome::Within
    }
}

/// Counts every row, prints a table, and gives whether all are within their ceilings.
pub(crate) fn run(root: &Path, mode: Mode) -> ExitCode {
    match count_all(root, mode) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("instructions: a count is above its ceiling; counts may only fall");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count_all(root: &Path, mode: Mode) -> Result<bool, Error> {
    let path = root.join(CEILINGS);
    let mut text = std::fs::read_to_string(&path).map_err(Error::File)?;
    let ceilings = Ceilings::parse(&text)?;
    let mut is_kept = true;
    println!("{:<20} {:>12} {:>12}", "row", "instructions", "ceiling");
    for row in &ceilings.rows {
        let program = build(root, row)?;
        let counted = (count(&program, &row.work, TIMES_MANY)?)
            .saturating_sub(count(&program, &row.work, TIMES_FEW)?)
            / (TIMES_MANY - TIMES_FEW);
        let outcome = judge(counted, row.instructions, ceilings.tolerance_percent);
        let note = match outcome {
            Outcome::Above => "ABOVE",
            Outcome::Within => "",
            Outcome::Below => "lower: cargo xtask instructions --lower",
        };
        println!(
            "{:<20} {counted:>12} {:>12} {note}",
            row.name, row.instructions
        );
        is_kept &= outcome != Outcome::Above;
        if counted < row.instructions {
            text = lowered(&text, &row.name, counted);
        }
    }
    if mode == Mode::Lower {
        std::fs::write(&path, text).map_err(Error::File)?;
    }
    Ok(is_kept)
}

/// The file with one row's ceiling replaced; everything else stays as it was written.
fn lowered(text: &str, name: &str, instructions: u64) -> String {
    let mut is_row = false;
    let line = |line: &str| {
        if let Some(written) = line.strip_prefix("name = ") {
            is_row = written.trim().trim_matches('"') == name;
        }
        match is_row && line.starts_with("instructions = ") {
            true => format!("instructions = {instructions}\n"),
            false => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

/// Builds a row's example and gives the path of the program.
fn build(root: &Path, row: &Row) -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--message-format=json",
        ])
        .args(["--package", &row.package, "--example", &row.example])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::Start("cargo", error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let program = said.lines().filter_map(executable).next_back();
    match program {
        Some(program) if output.status.success() => Ok(PathBuf::from(program)),
        _ => Err(Error::Failed(
            "cargo",
            format!("no program came of {}", row.example),
        )),
    }
}

/// The program that a line of cargo's JSON names, if it does.
fn executable(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

/// Instructions that the program takes from its start to its end.
fn count(program: &Path, work: &str, times: u64) -> Result<u64, Error> {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(program)
        .args([work, &times.to_string()])
        .output()
        .map_err(|error| Error::Start("valgrind", error))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let counted = said.lines().find_map(instructions);
    match counted {
        Some(counted) if output.status.success() => Ok(counted),
        _ => Err(Error::Failed("valgrind", said)),
    }
}

/// The count in a line `==1== I refs: 1,234`; older versions write `I   refs:`.
fn instructions(line: &str) -> Option<u64> {
    let (before, count) = line.split_once("refs:")?;
    if !before.trim_end().ends_with('I') {
        return None;
    }
    count.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "tolerance_percent = 2\n\n[[row]]\nname = \"a\"\npackage = \"p\"\nexample = \"e\"\n\
        work = \"w\"\ninstructions = 100\n\n[[row]]\nname = \"b\"\npackage = \"p\"\nexample = \"e\"\n\
        work = \"x\"\ninstructions = 200\n";

    #[test]
    fn the_committed_file_is_read() {
        let ceilings = Ceilings::parse(include_str!("../ceilings.toml")).expect("it has the form");
        assert!(
            ceilings
                .rows
                .iter()
                .any(|row| row.name == "message-indexed")
        );
    }

    #[test]
    fn one_row_is_lowered_and_the_rest_stays() {
        let text = lowered(FILE, "b", 150);
        assert_eq!(text, FILE.replace("200", "150"));
        let ceilings = Ceilings::parse(&text).expect("it has the form");
        assert_eq!(ceilings.tolerance_percent, 2);
        let counts: Vec<u64> = ceilings.rows.iter().map(|row| row.instructions).collect();
        assert_eq!(counts, [100, 150]);
    }

    #[test]
    fn a_file_without_counts_is_refused() {
        assert!(Ceilings::parse("tolerance_percent = 2").is_err());
        assert!(Ceilings::parse(&FILE.replace("200", "-1")).is_err());
        assert!(Ceilings::parse(&FILE.replace("name = \"b\"\n", "")).is_err());
    }

    #[test]
    fn a_count_may_exceed_its_ceiling_by_the_tolerance() {
        assert_eq!(judge(102, 100, 2), Outcome::Within);
        assert_eq!(judge(103, 100, 2), Outcome::Above);
        assert_eq!(judge(98, 100, 2), Outcome::Within);
        assert_eq!(judge(97, 100, 2), Outcome::Below);
    }

    #[test]
    fn what_the_programs_print_is_read() {
        assert_eq!(
            instructions("==7== I refs:        1,234,567"),
            Some(1_234_567)
        );
        assert_eq!(instructions("==7== I   refs:      12"), Some(12));
        assert_eq!(instructions("==7== D refs: 3"), None);
        let line = "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/e\",\"fresh\":true}";
        assert_eq!(executable(line), Some("/t/e"));
        assert_eq!(executable("{\"executable\":null}"), None);
    }
}
