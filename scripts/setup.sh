#!/usr/bin/env bash
# Makes the virtual environment $1 with LNbits $2 and the tools. Called by make.
set -euo pipefail

venv=$1
lnbits=$2

# First of all: its own Python is on the path, and must not be found below.
rm -rf "$venv"

fail() {
    echo "$*" >&2
    exit 1
}

# The Python to use: $PYTHON, else the first one on the path that LNbits runs on.
suits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
        2>/dev/null
}

python=
for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
    if suits "$candidate"; then
        python=$(command -v "$candidate")
        break
    fi
done
[ -n "$python" ] || fail "LNbits needs Python 3.10, 3.11 or 3.12, and none was found." \
    "Install one, or name it: make PYTHON=/path/to/python3"

# uv, private to this folder. Debian's Python takes no packages outside of an
# environment, and has no environments without python3-venv.
if ! command -v uv >/dev/null; then
    rm -rf .uv
    "$python" -m venv .uv 2>/dev/null ||
        fail "uv is not installed, and cannot be, because this Python makes no virtual" \
            "environments. On Debian: apt-get install python3-venv"
    .uv/bin/python -m pip --disable-pip-version-check install --quiet \
        --require-hashes -r requirements/uv.txt
fi

uv venv --quiet --python "$python" "$venv"

pinned=requirements/lnbits-$lnbits.txt
if [ -f "$pinned" ]; then
    uv pip sync --quiet --require-hashes "$pinned"
else
    echo "LNbits $lnbits is not pinned here: taking what fits."
    # bitstring 5 breaks the start of LNbits.
    uv pip install --quiet "lnbits==$lnbits" "bitstring<5" -r requirements/dev.in
fi
echo "LNbits $lnbits is in $venv ($("$venv/bin/python" --version))."
