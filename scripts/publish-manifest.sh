#!/usr/bin/env bash
# Adds the release zip $1 of the repository at $2 (its address on the web) to the manifest
# that LNbits servers read, and pushes it. Called by the release workflow when the zip can
# be downloaded.
#
# The manifest is the one file of the branch `manifest`: LNbits follows no redirects, which
# the files of a GitHub release are behind. Versions that are in it stay in it.
set -euo pipefail

zip=$(realpath "$1")
repository=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

others=()
parent=()
if git ls-remote --exit-code --heads origin manifest >/dev/null; then
    git fetch --quiet --depth 1 origin manifest
    git show FETCH_HEAD:manifest.json >"$folder/others.json"
    others=(--others "$folder/others.json")
    parent=(-p FETCH_HEAD)
fi

PYTHONPATH=$(dirname "$0")/.. python3 -m scripts.manifest "$zip" \
    --repository "$repository" ${others[@]+"${others[@]}"} --out "$folder/manifest.json"

blob=$(git hash-object -w "$folder/manifest.json")
tree=$(printf '100644 blob %s\tmanifest.json\n' "$blob" | git mktree)
commit=$(git commit-tree "$tree" ${parent[@]+"${parent[@]}"} -m "$(basename "$zip" .zip)")
git push --quiet origin "$commit:refs/heads/manifest"
