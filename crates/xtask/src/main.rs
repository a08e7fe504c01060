//! Checks and chores of the workspace: `cargo xtask tidy`, `cargo xtask bench`, `cargo xtask instructions`.

mod bench;
mod instructions;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  instructions [--lower]  instructions per unit of hot work, which may only fall
  tidy                 tiers, purity, lengths, words, names, documents
  bench [--rows A,B]   Holdline beside its peers under the same load";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .split_first()
        .map(|(command, rest)| (command.as_str(), rest))
    {
        Some(("tidy", [])) => match tidy::run(&root()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("tidy: the workspace cannot be read: {error}");
                ExitCode::FAILURE
            }
        },
        Some(("instructions", [])) => instructions::run(&root(), instructions::Mode::Check),
        Some(("instructions", [option])) if option == "--lower" => {
            instructions::run(&root(), instructions::Mode::Lower)
        }
        Some(("media-server", [address, rest @ ..])) => {
            bench::media_server(address, rest.first().map(String::as_str))
        }
        Some(("relay-load", [plan, result])) => bench::relay_load(plan, result),
        Some(("bench", rest)) => bench::run(&root(), rest),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The workspace's folder: this crate is two below it.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("crates/xtask is two folders deep")
        .to_owned()
}
