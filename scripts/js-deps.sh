#!/usr/bin/env bash
# Installs what checks the page's JavaScript: Node.js from the distribution where
# there is none, and the packages that tools/js/package-lock.json pins.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }

if ! has node || ! has npm; then
  if has apt-get; then
    install="apt-get update && apt-get install -y --no-install-recommends nodejs npm"
  elif has dnf; then
    install="dnf install -y nodejs npm"
  elif has apk; then
    install="apk add nodejs npm"
  elif has pacman; then
    install="pacman -Sy --noconfirm nodejs npm"
  else
    echo "checking the page needs Node.js 18.18 or newer, and npm; install them with your package manager" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "checking the page needs Node.js and npm. Install them once with:" >&2
    echo "  sudo sh -c '$install'" >&2
    exit 1
  fi
  echo "installing Node.js"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! sh -c "$install" >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "installing Node.js: the command above did not work: $install" >&2
    exit 1
  fi
  rm -f "$log"
fi

cd tools/js
have=node_modules/.package-lock.ktrail.json # the lock file that node_modules was made from
if cmp -s package-lock.json "$have"; then exit 0; fi
log=$(mktemp)
if ! npm ci --no-audit --no-fund --ignore-scripts >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "npm ci in tools/js did not work: are the packages of the npm registry reached from here?" >&2
  exit 1
fi
rm -f "$log"
cp package-lock.json "$have"
