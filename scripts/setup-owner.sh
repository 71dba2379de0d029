#!/usr/bin/env bash
# Makes the virtual environment $1 with LNbits $2 alone, as on an owner's server: no core
# of ours, no tools. For the tests that install what is released. Called by make.
set -euo pipefail

venv=$1
lnbits=$2

uv venv --quiet --clear --python "$VIRTUAL_ENV/bin/python" "$venv"
VIRTUAL_ENV=$venv uv pip install --quiet --requirements "requirements/lnbits-$lnbits.in" \
    --constraints "requirements/lnbits-$lnbits.txt"
