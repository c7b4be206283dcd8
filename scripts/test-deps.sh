#!/usr/bin/env bash
# Installs what the tests need beyond Go, make and a C compiler: a Chromium from
# the distribution. Says the command where this user may not run it.
set -euo pipefail

for browser in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$browser" >/dev/null 2>&1; then exit 0; fi
done

if command -v apt-get >/dev/null 2>&1; then
  install="apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
elif command -v dnf >/dev/null 2>&1; then
  install="dnf install -y chromium dejavu-sans-fonts"
elif command -v apk >/dev/null 2>&1; then
  install="apk add chromium font-dejavu"
elif command -v pacman >/dev/null 2>&1; then
  install="pacman -Sy --noconfirm chromium ttf-dejavu"
else
  echo "make test needs Chromium on the PATH for the browser tests; install it with your package manager" >&2
  exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
  echo "make test needs Chromium on the PATH for the browser tests. Install it once with:" >&2
  echo "  sudo sh -c '$install'" >&2
  exit 1
fi
echo "installing Chromium for the browser tests"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! sh -c "$install" >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "installing Chromium: the command above did not work: $install" >&2
  exit 1
fi
rm -f "$log"
