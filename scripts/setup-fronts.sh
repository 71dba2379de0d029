#!/usr/bin/env bash
# nginx and Caddy, for the tests that put them before LNbits: the machine's, else Debian's. Called
# by make.
set -euo pipefail

missing=()
# Debian has nginx where not every user looks for programs. As in tests/support/front_end.py.
PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=(nginx-light)
command -v caddy >/dev/null || missing+=(caddy)
if [ ${#missing[@]} -eq 0 ]; then
    exit
fi

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "Programs are missing. Install them; on Debian, as root:" \
        "apt-get install ${missing[*]}" >&2
    exit 1
fi

# Only the programs: no server is wanted that runs on this machine from now on.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
if command -v systemctl >/dev/null; then
    for package in "${missing[@]}"; do
        systemctl disable "${package%-light}" >/dev/null 2>&1 || true
    done
fi
