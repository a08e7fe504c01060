#!/usr/bin/env bash
# Fuzzes each target (or the ones named) for SECONDS, from the committed seeds and what earlier runs
# here found. Usage: scripts/fuzz.sh SECONDS [TARGET...]
# A finding fails this and stays under crates/fuzz/artifacts/TARGET/: put it into seeds/TARGET/ with
# the fix. Without a sanitizer, because that works on a stable compiler and the decoders have no
# `unsafe`: panics, overflows, failed assertions, hangs and excess memory are found all the same.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
[ -f crates/fuzz/Cargo.toml ] || { echo "fuzz: no targets yet"; exit 0; }

seconds=$1
shift
fuzz=crates/fuzz
# A target dir set for the workspace would be shared with builds of other flags.
unset CARGO_TARGET_DIR
[ $# -gt 0 ] || set -- $(cargo fuzz list --fuzz-dir $fuzz)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

echo "fuzz: building $*"
cargo fuzz build --fuzz-dir $fuzz --sanitizer none >"$logs/build" 2>&1 || { cat "$logs/build"; exit 1; }

run() { # run TARGET
    local target=$1 corpora=("$fuzz/corpus/$1")
    mkdir -p "${corpora[0]}"
    [ ! -d "$fuzz/seeds/$target" ] || corpora+=("$fuzz/seeds/$target")
    # Whole messages are seeds to whatever reads messages, descriptions to what reads those.
    case $target in
        message | frame | body) corpora+=(crates/sip/tests/torture) ;;
        sdp) corpora+=(crates/sdp/tests/phones) ;;
    esac
    if cargo fuzz run --fuzz-dir $fuzz --sanitizer none "$target" "${corpora[@]}" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 >"$logs/$target" 2>&1; then
        printf 'fuzz: %-12s %s\n' "$target" "$(grep -E '^Done [0-9]+ runs' "$logs/$target" || echo done)"
    else
        printf 'fuzz: %-12s FAILED\n' "$target"
        grep -vE '^#[0-9]+|^INFO:|^NEW_FUNC' "$logs/$target" | head -n 60
        return 1
    fi
}

# One target a core.
cores=$(nproc) failed=0 running=0
for target in "$@"; do
    if [ "$running" -ge "$cores" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    run "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
