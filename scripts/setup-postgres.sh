#!/usr/bin/env bash
# PostgreSQL's programs, for the tests that start a server of their own: the machine's,
# else Debian's. Called by make.
set -euo pipefail

if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    command -v initdb >/dev/null; then
    exit
fi

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "PostgreSQL is missing. Install it; on Debian, as root:" \
        "apt-get install postgresql" >&2
    exit 1
fi

# Only the programs: no server is wanted that runs on this machine from now on.
no_server=/etc/postgresql-common/createcluster.d/no-server.conf
trap 'rm -f "$no_server"' EXIT
mkdir -p "$(dirname "$no_server")"
echo "create_main_cluster = false" >"$no_server"

apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql
