#!/usr/bin/env bash
# Node, for the tools and tests that need it: the machine's, else PyPI's. Called by make.
set -euo pipefail

enough=v20.19 # for eslint
found=$(node --version 2>/dev/null || true)
older=$(printf '%s\n' "$enough" "$found" | sort --version-sort | head -n 1)
if [ "$older" != "$enough" ] || ! command -v npm >/dev/null; then
    uv pip install --quiet --require-hashes -r requirements/node.txt
fi
