#!/usr/bin/env bash
# Installs what a make target needs and this machine lacks, and says what it installs.
# Usage: scripts/install.sh NEED...    NEED: build test fuzz bench lab
# What is there is left alone; with nothing missing it prints nothing and takes milliseconds.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

say() { printf 'install: %s\n' "$*" >&2; }
die() { printf 'install: error: %s\n' "$*" >&2; exit 1; }

# "what shows that it is there=Debian package": a command, or a path pattern when it begins with /.
debian_build="cc=build-essential c++=build-essential cmake=cmake make=make git=git"
debian_test="sipp=sip-tester baresip=baresip-core sipsak=sipsak svwar=sipvicious ip=iproute2 nft=nftables
    conntrack=conntrack valgrind=valgrind
    /usr/lib/postgresql/*/bin/postgres=postgresql mariadbd=mariadb-server etcd=etcd-server"
debian_fuzz=""
debian_lab="ip=iproute2 nft=nftables etcd=etcd-server"
debian_bench="sipp=sip-tester kamailio=kamailio rtpengine=rtpengine-daemon $debian_lab"

# "cargo subcommand=crate"
cargo_build=""
cargo_test="nextest=cargo-nextest deny=cargo-deny"
cargo_fuzz="fuzz=cargo-fuzz"
cargo_bench=""
cargo_lab=""

there() {
    case $1 in
        /*) compgen -G "$1" >/dev/null ;;
        # Debian keeps daemons in sbin, which a plain user's PATH leaves out.
        *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_debian() {
    command -v apt-get >/dev/null ||
        die "these are missing and this is no Debian: $*. Install them, then run make again"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "these Debian packages are missing: $*. As root: apt-get install $*"
    say "Debian packages: $*"
    # The servers are for tests that start their own: installing one must not start it.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        trap "as_root rm -f $policy" EXIT
    fi
    local apt="env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0"
    # Lists may be stale or absent, and a stale one names packages that are gone.
    if ! as_root $apt install --no-install-recommends "$@" </dev/null >&2; then
        say "package lists look stale: updating them once"
        as_root $apt update </dev/null >&2
        as_root $apt install --no-install-recommends "$@" </dev/null >&2
    fi
    if [ -d /run/systemd/system ]; then
        for unit in etcd kamailio mariadb postgresql rtpengine-daemon; do
            case " $* " in *" $unit"*) as_root systemctl disable "$unit" >&2 || true ;; esac
        done
    fi
}

check_rust() {
    command -v cargo >/dev/null || die "Rust is missing.
    https://rustup.rs says how to install it (one command, no root); then open a new shell
    and run make again. Debian 12's own rustc is too old."
    local need have
    need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml crates/*/Cargo.toml | sort -V | tail -n1)
    have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n1)" = "$need" ] ||
        die "Rust $need or newer is needed, this is $have: run 'rustup update stable'"
}

debian_missing=() cargo_missing=()
for group in "$@"; do
    debian=debian_$group cargo=cargo_$group
    [ -n "${!debian+set}" ] || die "unknown need '$group'"
    for pair in ${!debian}; do
        there "${pair%=*}" || debian_missing+=("${pair##*=}")
    done
    for pair in ${!cargo}; do
        there "cargo-${pair%=*}" || cargo_missing+=("${pair#*=}")
    done
done

if [ ${#debian_missing[@]} -gt 0 ]; then
    mapfile -t debian_missing < <(printf '%s\n' "${debian_missing[@]}" | sort -u)
    install_debian "${debian_missing[@]}"
fi
check_rust
for component in fmt clippy; do
    there "cargo-$component" || { say "rustup component $component"; rustup component add "${component/fmt/rustfmt}"; }
done
# They run for seconds: the time is in building them.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
unset CARGO_TARGET_DIR
for crate in "${cargo_missing[@]}"; do
    say "$crate, built from its source: this takes some minutes, once"
    cargo install --locked --quiet "$crate" </dev/null >&2
done
