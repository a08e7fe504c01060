#!/usr/bin/env bash
# Fuzzes each target (or the ones named) for SECONDS, starting from its seed corpus.
# Usage: scripts/fuzz.sh SECONDS [TARGET...]
# A finding is kept under crates/fuzz/artifacts/TARGET/ and makes this fail.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f crates/fuzz/Cargo.toml ] || { echo "fuzz: no targets yet"; exit 0; }
