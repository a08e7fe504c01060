#!/usr/bin/env bash
# Everything a commit must pass, cheap checks first. Called by `make test` and by CI.
# Runs every section even when one fails, says at the end which failed, and closes with the
# line "N passed, N failed", where a failed section that is no test run counts as one failure.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
# A fresh build gains nothing from incremental files.
[ "${CI:-}" = true ] && export CARGO_INCREMENTAL=0
export FUZZ_SECONDS="${FUZZ_SECONDS:-6}"

log=$(mktemp -d) || exit 1
trap 'rm -rf "$log"' EXIT
passed=0 failed=0 skipped=0 failed_sections=() table=()

section() { # section NAME COMMAND...: run under a heading, keep the time and the result
    local name=$1 began=$SECONDS result=ok
    shift
    printf '\n==== %s ====\n' "$name"
    if ! "$@"; then
        result=FAILED
        failed_sections+=("$name")
    fi
    table+=("$(printf '%-28s %5d s  %s' "$name" $((SECONDS - began)) $result)")
}

format() {
    local files
    files=$({ cargo fmt --all --check -- -l && cargo fmt --manifest-path crates/fuzz/Cargo.toml --check -- -l; } 2>&1) &&
        return 0
    printf '%s\n' "$files" "format: 'make fmt' formats these"
    return 1
}

advisories() {
    timeout 120 cargo deny --locked check advisories >"$log/advisories" 2>&1 </dev/null && { cat "$log/advisories"; return 0; }
    if grep -q 'failed to fetch advisory database' "$log/advisories"; then
        echo "######## ADVISORIES NOT CHECKED: the advisory database cannot be fetched from here. ########"
        echo "######## Run 'cargo deny check advisories' on a machine with network before a release.  ########"
        return 0
    fi
    cat "$log/advisories"
    return 1
}

nextest() {
    cargo nextest run --workspace --locked --profile ci 2>&1 | tee "$log/nextest"
    local status=${PIPESTATUS[0]} summary run ok
    summary=$(sed 's/\x1b\[[0-9;]*m//g' "$log/nextest" | grep -E '^ *Summary \[' | tail -n1)
    # "Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 timed out, 3 skipped"; "11/12 tests run" when cut short
    run=$(sed -nE 's/.*\] +([0-9]+\/)?([0-9]+) tests? run:.*/\2/p' <<<"$summary")
    ok=$(sed -nE 's/.* ([0-9]+) passed.*/\1/p' <<<"$summary")
    passed=$((passed + ${ok:-0}))
    failed=$((failed + ${run:-0} - ${ok:-0}))
    skipped=$((skipped + $(sed -nE 's/.* ([0-9]+) skipped.*/\1/p' <<<"$summary" | grep . || echo 0)))
    # It did not even build.
    [ "$status" = 0 ] || [ -n "$summary" ] || failed=$((failed + 1))
    return "$status"
}

doc_tests() {
    cargo test --doc --workspace --locked 2>&1 | tee "$log/doc" | grep -vE '^(running 0 tests|test result: ok\. 0 passed.*|\s*)$'
    local status=${PIPESTATUS[0]} ok bad
    ok=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$log/doc" | paste -sd+ | bc_sum)
    bad=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p' "$log/doc" | paste -sd+ | bc_sum)
    passed=$((passed + ok))
    failed=$((failed + bad))
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || failed=$((failed + 1))
    return "$status"
}
bc_sum() { local sum; read -r sum || true; echo $((${sum:-0})); }

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet --keep-going
}

count_failure() { # a check that is no test run: one failure when it fails
    "$@" || { failed=$((failed + 1)); return 1; }
}

printf '==== installing what is missing ====\n'
began=$SECONDS
scripts/install.sh build test fuzz || { echo "0 passed, 1 failed"; exit 1; }
table+=("$(printf '%-28s %5d s  %s' install $((SECONDS - began)) ok)")

section "format" count_failure format
section "tidy" count_failure cargo xtask tidy
section "licences, bans, sources" count_failure cargo deny --locked check licenses bans sources
section "advisories" count_failure advisories
section "clippy" count_failure cargo clippy --workspace --all-targets --locked --quiet --keep-going -- -D warnings
section "tests" nextest
section "doc tests" doc_tests
section "fuzzing" count_failure scripts/fuzz.sh "$FUZZ_SECONDS"
section "instructions" count_failure cargo xtask instructions
section "docs" count_failure docs

printf '\n==== summary ====\n'
printf '%s\n' "${table[@]}"
if [ ${#failed_sections[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed_sections[*]}"
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ] && [ ${#failed_sections[@]} = 0 ]
