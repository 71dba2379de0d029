#!/usr/bin/env bash
# A SOCKS5 server, and what gives it a hosts file of its own, for the tests that reach relays
# through a proxy: the machine's, else Debian's. Called by make.
set -euo pipefail

# What cannot be loaded, the loader complains about. The same as in tests/support/socks_proxy.py.
if command -v microsocks >/dev/null &&
    [ -z "$(LD_PRELOAD=libnss_wrapper.so /bin/true 2>&1)" ]; then
    exit
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo --non-interactive)
fi
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true; then
    echo "microsocks and nss_wrapper are missing. Install them; on Debian, as root:" \
        "apt-get install microsocks libnss-wrapper" >&2
    exit 1
fi

"${as_root[@]}" apt-get update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends microsocks libnss-wrapper
