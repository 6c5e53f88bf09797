#!/usr/bin/env bash
# make run: the collector, aw-stdout and aw-sqlite, on a ring of their own that goes when they end.
# PCAP=FILE: a capture file instead of a network. INTERFACE=NAME: that one instead of the default.
# aw-sqlite keeps what is heard: in DATABASE=FILE, or in a file that goes with the ring.
set -euo pipefail

# Waits for a process to end, whatever signals come meanwhile; its exit status is then in `status`.
await() {
  until status=0; wait "$1" || status=$?; [[ ! -d /proc/$1 ]]; do :; done
}

remove_ring() {
  [[ ! -e /dev/shm$ring ]] || "$programs/collector" --remove -m "$ring"
}

# The part that may be root: the collector, until standard input ends. That happens however the other part ends, even
# by kill -9, and needs no signal, which an ordinary user could not send to sudo.
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
  await "$collector" 2>/dev/null # bash would tell of a kill in its own words
  ended=$status
  [[ ! -d /proc/$watch ]] || kill -USR1 "$main"
  await "$watch"
  remove_ring
  exit "$ended"
fi

cd "$(dirname "$0")/.."
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/release
ring=/make-run.$$
stopped='' ended='' child='' told=''
trap 'stopped=1; tell_child' INT TERM HUP
trap 'ended=1' USR1 # from the part above: the collector has ended

# Ends it, once: at a second signal it would not even finish its last line.
tell_child() {
  if [[ $child && ! $told ]]; then
    told=1
    kill "$child" 2>/dev/null || true
  fi
}

fail() {
  echo "make run: $*" >&2
  exit 1
}

# In a process group of its own, so that Ctrl-C reaches it through us alone, once; and it never outlives us.
start() {
  set -m
  setpriv --pdeathsig TERM "$@" <&0 &
  set +m
  child=$!
}

# aw-sqlite: what it keeps beside the database goes with us, and so does the database if none was named.
state=$(mktemp -d) rows='' as_us=()
((EUID != 0)) || as_us=(--user root) # who owns that directory, and most likely that of DATABASE
trap 'rm -rf -- "$state"' EXIT
keep_rows() {
  set -m
  setpriv --pdeathsig TERM "$programs/aw-sqlite" -m "$ring" --state-dir "$state" \
    --database "${DATABASE:-$state/addrwatch.db}" "${as_us[@]}" "$@" </dev/null &
  set +m
  rows=$!
}
end_rows() {
  [[ $rows ]] || return 0
  kill "$rows" 2>/dev/null || true
  await "$rows"
  rows=''
}

if [[ ${PCAP-} ]]; then
  trap 'remove_ring; rm -rf -- "$state"' EXIT
  # An event takes at least 58 bytes of a capture file; half a million events are the most to be held.
  slots=65536
  [[ ! -f $PCAP ]] || slots=$(($(stat -Lc %s -- "$PCAP") / 58))
  slots=$((slots < 1024 ? 1024 : slots > 524288 ? 524288 : slots))
  start "$programs/collector" -q --read="$PCAP" -m "$ring" -L "$slots"
  await "$child"
  replayed=$status
  status=0
  if [[ ! $stopped && -e /dev/shm$ring ]]; then # a truncated file too, up to where it ends
    keep_rows --once
    await "$rows"
    replayed=$((replayed | status))
    start "$programs/aw-stdout" --once -m "$ring"
    await "$child"
  fi
  [[ ! $stopped ]] || exit 0
  exit $((replayed | status))
fi

as_root=()
if ((EUID != 0)); then
  advice="run this as root, or show a capture file: make run PCAP=FILE"
  command -v sudo >/dev/null || fail "to listen needs root, and there is no sudo ($advice)"
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; } || fail "to listen needs root, and sudo refuses ($advice)"
  as_root=(sudo -n)
fi

read -ra interfaces <<<"${INTERFACE-}"
coproc KEEPER {
  exec "${as_root[@]}" "$PWD/contrib/run.sh" --keep $$ "$programs" "$ring" --group "$(id -g)" "${interfaces[@]}" >&2
}
keeper=$! hold=${KEEPER[1]-} # bash forgets KEEPER as soon as it has ended
until [[ $stopped || $ended || -e /dev/shm$ring || ! -d /proc/$keeper ]]; do sleep 0.05; done
code=0
if [[ ! $stopped && ! $ended && -e /dev/shm$ring ]]; then
  keep_rows
  start "$programs/aw-stdout" --replay -m "$ring"
  [[ $stopped || $ended ]] || wait -n "$keeper" "$child" || code=$?
  tell_child
fi
end_rows
[[ ! $hold ]] || exec {hold}>&-
[[ ! $child ]] || await "$child"
await "$keeper"
[[ ! $stopped ]] || exit 0
if [[ $ended ]]; then code=$status; fi
((code <= 1)) || fail "$([[ $ended ]] && echo "the collector" || echo aw-stdout) was killed"
exit "$code"
