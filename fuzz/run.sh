#!/usr/bin/env bash
# Runs fuzz targets one after another, for SECONDS each, and adds a line for each run to target/fuzz.tsv: so hours are reached
# in several runs, on any machine. A target that finds something does not keep the others from running; the script then fails.
# Usage: fuzz/run.sh SECONDS [TARGET...]   all targets, or these; the one that has run least is first
#        fuzz/run.sh --sum                 the sums of all runs, as the table of docs/dev/testing.md
# UNTIL=3600: targets that ran for so many seconds in all are left out, and none runs longer than that.
set -euo pipefail
cd "$(dirname "$0")/.."
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
runs=$target_dir/fuzz.tsv   # end, target, seconds, executions, edges, features, inputs, exit status, commit

sum() {
  awk -F '\t' '
    { seconds[$2] += $3; executions[$2] += $4; inputs[$2] = $7; findings[$2] += $8 != 0 }
    $5 > edges[$2] { edges[$2] = $5 }
    { first = first ? first : $1 " (" $9 ")"; last = $1 " (" $9 ")" }
    function row(name, s, e, rest) { return sprintf("| %s | %.2f | %.1f million | %s |", name, s / 3600, e / 1e6, rest) }
    END {
      print "| target | hours | executions | edges covered | inputs kept | findings |\n|---|---|---|---|---|---|"
      for (name in seconds) {
        print row("`" name "`", seconds[name], executions[name], edges[name] + 0 " | " inputs[name] " | " findings[name]) | "sort"
        all += seconds[name]; runs += executions[name]; found += findings[name]
      }
      close("sort")
      print row("all", all, runs, " | | " found)
      print "\nFrom " first " to " last "."
    }' "$runs"
}

ran() { awk -F '\t' -v target="$1" '$2 == target { all += $3 } END { print all + 0 }' "$runs"; }

# Runs a target, and adds its line. Returns its exit status.
one() {
  local target=$1 seconds=$2 status=0 begin=$EPOCHSECONDS
  local log=$target_dir/fuzz-$target.log executions edges features inputs
  mkdir -p "$target_dir/fuzz-$target"
  # In a process group of its own: a signal ends the wait, then all of the group, and the line is added.
  set -m
  cargo +nightly fuzz run "$target" "$target_dir/fuzz-$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 >"$log" 2>&1 &
  set +m
  wait $! || status=$?
  if [[ $interrupted ]]; then
    kill -- -$! 2>/dev/null || true
    wait $! || true
    status=0
  fi
  executions=$(sed -n 's/^stat::number_of_executed_units: //p' "$log" | tail -n 1)
  [[ $executions ]] || executions=$(sed -nE 's/^#([0-9]+)\s.*/\1/p' "$log" | tail -n 1)
  read -r edges features inputs \
    < <(sed -nE 's/^#[0-9]+\s.* cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+)\/.*/\1 \2 \3/p' "$log" | tail -n 1) || true
  printf '%s\t' "$(date +%FT%T)" "$target" $((EPOCHSECONDS - begin)) "${executions:-0}" "${edges:-0}" "${features:-0}" \
    "${inputs:-0}" "$status" >>"$runs"
  git rev-parse --short HEAD 2>/dev/null >>"$runs" || echo unknown >>"$runs"
  echo "fuzz: $target: $((EPOCHSECONDS - begin)) s, ${executions:-0} executions, ${edges:-0} edges, ${inputs:-0} inputs"
  return "$status"
}

mkdir -p "$target_dir"
touch "$runs"
if [[ ${1:-} == --sum ]]; then
  sum
  exit
fi
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "Usage: fuzz/run.sh SECONDS [TARGET...], or fuzz/run.sh --sum" >&2; exit 2; }
seconds=$1 until=${UNTIL:-0} found=() interrupted=
shift
trap 'interrupted=1' INT TERM
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)
mapfile -t targets < <(for target in "${targets[@]}"; do echo "$(ran "$target") $target"; done | sort -s -n | cut -d ' ' -f 2)
for target in "${targets[@]}"; do
  time=$seconds
  if ((until)); then
    left=$((until - $(ran "$target")))
    ((left > 0)) || continue
    ((time = left < time ? left : time))
  fi
  if ! one "$target" "$time"; then
    found+=("$target")
    # What it found: the cause, the file, and how to repeat it.
    tail -n 60 "$target_dir/fuzz-$target.log"
  fi
  [[ ! $interrupted ]] || break
done
echo
sum
if ((${#found[@]})); then
  echo "fuzz: FAILED: ${found[*]} (the failing inputs are in fuzz/artifacts/, the output in $target_dir/fuzz-TARGET.log)" >&2
  exit 1
fi
