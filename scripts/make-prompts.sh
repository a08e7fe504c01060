#!/bin/sh
# Speaks the prompts of crates/pbx/prompts/texts.txt and makes the music on hold. Needs flite, opus-tools and python3:
#   apt-get install flite opus-tools python3
# The results are committed; nothing here is needed to build.
set -eu
cd "$(dirname "$0")/.."
folder=crates/pbx/prompts
list=crates/pbx/src/prompts/list.rs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

encode() { # FROM.wav NAME
    mkdir -p "$folder/$(dirname "$2")"
    # A serial number of its own keeps the file the same when it is made again.
    opusenc --quiet --bitrate 24 --serial 1 --discard-comments --discard-pictures --padding 0 "$1" "$folder/$2.opus"
    echo "    (\"$2\", include_bytes!(\"../../prompts/$2.opus\"))," >> "$work/list"
}

grep -v '^#' "$folder/texts.txt" | while IFS='=' read -r name text; do
    name=$(echo $name)
    flite -voice slt -t "$text" -o "$work/one.wav"
    encode "$work/one.wav" "$name"
done
python3 scripts/make-music.py "$work/music.wav"
encode "$work/music.wav" music/default

mkdir -p "$(dirname "$list")"
{
    echo '//! The sounds that ship with the program. Written by `scripts/make-prompts.sh`.'
    echo
    echo '/// Names and Opus in Ogg.'
    echo 'pub(super) const SOUNDS: &[(&str, &[u8])] = &['
    LC_ALL=C sort "$work/list"
    echo '];'
} > "$list"
rustfmt --edition 2024 "$list" || true
du -ch "$folder"/*.opus "$folder"/*/*.opus | tail -1
