#!/usr/bin/env bash
# Makes the virtual environment $1 with relays that others wrote, for tests/zoo. Called by make.
set -euo pipefail

venv=$1

uv venv --quiet --clear --python "$VIRTUAL_ENV/bin/python" "$venv"
VIRTUAL_ENV=$venv uv pip install --quiet --require-hashes --requirements requirements/relays.txt
