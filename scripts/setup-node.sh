#!/usr/bin/env bash
# Node, for the tools and tests that need it: the machine's, else PyPI's. Called by make.
set -euo pipefail

major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
if [ "${major:-0}" -lt 20 ] || ! command -v npm >/dev/null; then
    uv pip install --quiet --require-hashes -r requirements/node.txt
fi
