#!/usr/bin/env bash
# Pins the newest versions that fit, with hashes and without addresses. Called by make.
set -euo pipefail
cd "$(dirname "$0")/../requirements"

pin() {
    local target=$1
    shift
    uv pip compile --quiet --upgrade --universal --python-version 3.10 \
        --generate-hashes --no-emit-index-url --no-header --output-file "$target" "$@"
}

for lnbits in lnbits-*.in; do
    pin "${lnbits%.in}.txt" "$lnbits" dev.in
done
pin relays.txt relays.in
pin uv.txt uv.in
pin node.txt node.in
pin zig.txt zig.in
