#!/usr/bin/env bash
# What `make run` does: serves ./data on loopback with the sample log in it,
# answers three questions, and goes on serving until Ctrl-C. A second run loads
# nothing twice. Run it after `make build`.
set -euo pipefail
umask 077
cd "$(dirname "$0")/.."

ktrail=bin/ktrail
data=${KTRAIL_RUN_DATA:-./data}
listen=${KTRAIL_RUN_LISTEN:-127.0.0.1:7433}
sample=testdata/audit-sample.log.gz

if [ ! -x "$ktrail" ]; then
  echo "run.sh: $ktrail is not built; use make run" >&2
  exit 1
fi

# The server's log goes to a file, so that what follows can be read.
mkdir -p "$data"
chmod 700 "$data"
log=$data/serve.log
started=$(mktemp)
"$ktrail" serve --data "$data" --listen "$listen" >"$started" 2>>"$log" &
server=$!
stop() {
  trap - EXIT INT TERM
  kill -TERM "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -f "$started"
}
trap stop EXIT
trap 'exit 0' INT TERM

# It prints one line when it answers, and ends at once when it cannot.
until [ -s "$started" ]; do
  if ! kill -0 "$server" 2>/dev/null; then
    echo "ktrail serve did not start:" >&2
    tail -n 1 "$log" >&2
    echo "(another address: KTRAIL_RUN_LISTEN=127.0.0.1:7434 make run)" >&2
    exit 1
  fi
  sleep 0.1
done
address=$(sed -E 's#.*(http://[^ ]*)/ with .*#\1#' "$started")
export KTRAIL_SERVER=$address

"$ktrail" import --cluster sample "$sample"
printf '\nThe page is at %s/\n' "$address"

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
ask() {
  printf '\n%s%s%s\n$ ktrail' "$bold" "$1" "$plain"
  shift
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./,=:@-]*) printf " '%s'" "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$ktrail" "$@" || true # an answer may be empty
}

ask "Who tries what they may not?" top --by as_user,verb,resource --code 403 --limit 5
ask "What happened to deployment web in payments?" history deploy/web -n payments --limit 3
ask "Who removes things, newest first?" search --verb 'delete*' --not 'user=system:*' --limit 5

printf '\nServing %s/ until Ctrl-C. The log is %s.\n' "$address" "$log"
wait "$server"
