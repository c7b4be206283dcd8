#!/usr/bin/env bash
# Installs what the tests need beyond Go, make and a C compiler: a Chromium and
# an OpenSSH server from the distribution. Says the command where this user may
# not run it.
set -euo pipefail

has() { # any of these programs, also where only root has them on the PATH
  for program in "$@"; do
    if PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

want=()
has chromium chromium-browser google-chrome google-chrome-stable || want+=(browser)
if [ "$(uname -s)" = Linux ] && ! has sshd; then
  # The package starts a server where an init runs: that is for the machine's owner to decide.
  if [ "$(id -u)" -eq 0 ] && [ ! -d /run/systemd/system ]; then
    want+=(sshd)
  else
    echo "there is no sshd (package openssh-server): the tests over SSH will be SKIPPED" >&2
  fi
fi
if [ ${#want[@]} -eq 0 ]; then exit 0; fi

packages() { # for browser, for sshd
  local p=
  for w in "${want[@]}"; do
    case $w in browser) p+=" $1" ;; sshd) p+=" $2" ;; esac
  done
  echo "${p# }"
}
if has apt-get; then
  install="apt-get update && apt-get install -y --no-install-recommends $(packages "chromium fonts-dejavu-core" "openssh-server openssh-client")"
elif has dnf; then
  install="dnf install -y $(packages "chromium dejavu-sans-fonts" "openssh-server openssh-clients")"
elif has apk; then
  install="apk add $(packages "chromium font-dejavu" "openssh-server openssh-sftp-server openssh-keygen")"
elif has pacman; then
  install="pacman -Sy --noconfirm $(packages "chromium ttf-dejavu" openssh)"
else
  echo "make test needs ${want[*]}; install with your package manager" >&2
  exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
  echo "make test needs a browser for the browser tests. Install it once with:" >&2
  echo "  sudo sh -c '$install'" >&2
  exit 1
fi
echo "installing for the tests: ${want[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! sh -c "$install" >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "installing ${want[*]}: the command above did not work: $install" >&2
  exit 1
fi
rm -f "$log"
