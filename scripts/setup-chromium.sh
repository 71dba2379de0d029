#!/usr/bin/env bash
# Chromium, for the tests that look at the admin page: the machine's, else Debian's. Called
# by make.
set -euo pipefail

# The same as in tests/support/browser.py.
for program in chromium chromium-browser google-chrome; do
    if command -v "$program" >/dev/null; then
        exit
    fi
done

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "Chromium is missing. Install it; on Debian, as root:" \
        "apt-get install chromium" >&2
    exit 1
fi

apt-get update
package=chromium
if ! apt-cache show "$package" >/dev/null 2>&1; then
    package=chromium-browser # Ubuntu's name
fi
# With the fonts that LNbits' pages count on: a sans-serif, and the flags of languages.
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    "$package" fonts-liberation fonts-noto-color-emoji
