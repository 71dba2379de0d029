#!/usr/bin/env bash
# Builds the core's wheel for the Rust target $2 (without: this machine's) into folder $1.
# Called by make and by the release workflow, in the virtual environment.
#
# Linux wheels are linked by zig against an old C library, whatever this machine has: they
# run on manylinux_2_17, which is glibc 2.17 of 2012, and musllinux_1_2.
set -euo pipefail

out=$1
target=${2:-$(rustc -vV | sed -n 's/^host: //p')}
# uv installs and maturin looks where this points; and not into the folder we are in.
requirements=$(dirname "$0")/../requirements

options=()
case $target in
*-linux-gnu) options+=(--zig --compatibility manylinux_2_17) ;;
*-linux-musl) options+=(--zig --compatibility musllinux_1_2) ;;
aarch64-apple-darwin) export MACOSX_DEPLOYMENT_TARGET=11.0 ;;
x86_64-apple-darwin) export MACOSX_DEPLOYMENT_TARGET=10.13 ;;
*)
    echo "No wheel is made for $target here." \
        "On that machine itself, \`maturin build --release\` makes one." >&2
    exit 1
    ;;
esac
if [ ${#options[@]} -gt 0 ]; then
    uv pip install --quiet --require-hashes -r "$requirements/zig.txt"
fi

# Panics name the file they came from. Where this machine keeps the sources of other
# crates is nobody's business, and the same sources give the same library everywhere.
cargo fetch --quiet --locked --target "$target"
flags=()
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    flags+=("--remap-path-prefix=${sources%/}=crates")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

maturin build --quiet --release --locked --target "$target" --out "$out" \
    ${options[@]+"${options[@]}"}
