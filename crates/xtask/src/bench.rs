//! Benchmarks side by side with peers. Not there yet.

use std::path::Path;
use std::process::ExitCode;

/// Runs the benchmark's rows named in `arguments`, or all of them.
pub(crate) fn run(_root: &Path, _arguments: &[String]) -> ExitCode {
    eprintln!("bench: not there yet");
    ExitCode::FAILURE
}
