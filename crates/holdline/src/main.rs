//! The `holdline` program. Everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdline::cli::main()
}
