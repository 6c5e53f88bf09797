#!/usr/bin/env bash
# make run: runs the collector, aw-stdout and aw-sqlite on a ring of their own, which is removed at the end.
# PCAP=FILE: reads a capture file instead of a network. INTERFACE=NAME: listens on NAME instead of the default.
# aw-sqlite stores the events in DATABASE=FILE, or in a temporary file.
set -euo pipefail

# Waits for a process to end, whatever signals come meanwhile; its exit status is then in `status`.
await() {
  until status=0; wait "$1" || status=$?; [[ ! -d /proc/$1 ]]; do :; done
}

remove_ring() {
  [[ ! -e /dev/shm$ring ]] || "$programs/collector" --remove -m "$ring"
}

# The part that can run as root: the collector, until standard input ends. Standard input ends when the other part ends,
# even by kill -9, without a signal, which an ordinary user could not send to sudo.
if [[ ${1-} == --keep ]]; then
  main=$2 programs=$3 ring=$4
  shift 4
  trap '' INT HUP
  trap 'kill "$collector"' TERM
  exec 3<&0
  set -m # in a process group of its own: one signal ends it cleanly, a second one at once
  "$programs/collector" -q -m "$ring" "$@" </dev/null 3<&- &
  set +m
  collector=$!
  { read -r _ <&3 || [[ ! -d /proc/$collector ]] || kill "$collector"; } &
  watch=$!
  await "$collector" 2>/dev/null # bash would print its own message about a killed process
  ended=$status
  [[ ! -d /proc/$watch ]] || kill -USR1 "$main"
  await "$watch"
  remove_ring
  exit "$ended"
fi

cd "$(dirname "$0")/.."
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/quick
ring=/make-run.$$
stopped='' ended='' child='' signalled=''
trap 'stopped=1; stop_child' INT TERM HUP
trap 'ended=1' USR1 # sent by the part above: the collector has ended

# Stops it with one signal: a second one would cut its last line.
stop_child() {
  if [[ $child && ! $signalled ]]; then
    signalled=1
    kill "$child" 2>/dev/null || true
  fi
}

fail() {
  echo "make run: $*" >&2
  exit 1
}

# In its own process group, so that Ctrl-C reaches it only through this script, and only once; it ends when this script ends.
start() {
  set -m
  setpriv --pdeathsig TERM "$@" <&0 &
  set +m
  child=$!
}

# aw-sqlite: its state directory is removed at the end, and so is the database unless DATABASE names one.
state=$(mktemp -d) sqlite='' as_us=()
((EUID != 0)) || as_us=(--user root) # the owner of that directory, and probably of DATABASE's
trap 'rm -rf -- "$state"' EXIT
start_sqlite() {
  set -m
  setpriv --pdeathsig TERM "$programs/aw-sqlite" -m "$ring" --state-dir "$state" \
    --database "${DATABASE:-$state/addrwatch.db}" "${as_us[@]}" "$@" </dev/null &
  set +m
  sqlite=$!
}
stop_sqlite() {
  [[ $sqlite ]] || return 0
  kill "$sqlite" 2>/dev/null || true
  await "$sqlite"
  sqlite=''
}

if [[ ${PCAP-} ]]; then
  trap 'remove_ring; rm -rf -- "$state"' EXIT
  # An event takes at least 58 bytes of a capture file; the ring holds half a million events at most.
  slots=65536
  [[ ! -f $PCAP ]] || slots=$(($(stat -Lc %s -- "$PCAP") / 58))
  slots=$((slots < 1024 ? 1024 : slots > 524288 ? 524288 : slots))
  start "$programs/collector" -q --read="$PCAP" -m "$ring" -L "$slots"
  await "$child"
  replayed=$status
  status=0
  if [[ ! $stopped && -e /dev/shm$ring ]]; then # also of a truncated file, up to its end
    start_sqlite --once
    await "$sqlite"
    replayed=$((replayed | status))
    start "$programs/aw-stdout" --once -m "$ring"
    await "$child"
  fi
  [[ ! $stopped ]] || exit 0
  exit $((replayed | status))
fi

as_root=()
if ((EUID != 0)); then
  advice="run this as root, or read a capture file: make run PCAP=FILE"
  command -v sudo >/dev/null || fail "capture packets: this needs root, and sudo is not installed ($advice)"
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; } || fail "capture packets: this needs root, and sudo refuses ($advice)"
  as_root=(sudo -n)
fi

read -ra interfaces <<<"${INTERFACE-}"
coproc KEEPER {
  exec "${as_root[@]}" "$PWD/contrib/run.sh" --keep $$ "$programs" "$ring" --group "$(id -g)" "${interfaces[@]}" >&2
}
keeper=$! hold=${KEEPER[1]-} # bash unsets KEEPER as soon as it ends
until [[ $stopped || $ended || -e /dev/shm$ring || ! -d /proc/$keeper ]]; do sleep 0.05; done
code=0
if [[ ! $stopped && ! $ended && -e /dev/shm$ring ]]; then
  start_sqlite
  start "$programs/aw-stdout" --replay -m "$ring"
  [[ $stopped || $ended ]] || wait -n "$keeper" "$child" || code=$?
  stop_child
fi
stop_sqlite
[[ ! $hold ]] || exec {hold}>&-
[[ ! $child ]] || await "$child"
await "$keeper"
[[ ! $stopped ]] || exit 0
if [[ $ended ]]; then code=$status; fi
((code <= 1)) || fail "$([[ $ended ]] && echo "the collector" || echo aw-stdout) was killed"
exit "$code"
