#!/usr/bin/env bash
# Builds all tests, then runs several test programs at the same time: most of them wait most of the time. Those that need
# the machine for themselves run alone afterwards. Prints the output of a test program that fails, then a summary.
# Usage: tests/run.sh [NAME...]: all, or those with these names (the NAME of `cargo test --test NAME`, or a crate's).
# AW_TEST_JOBS: how many at the same time (default: 3); AW_TEST_LOGS: where their output goes (default: target/tests).
set -euo pipefail
cd "$(dirname "$0")/.."

# These need much of the machine (rlimits, a boot, kills at random, rates): none of the others may run beside them.
alone='booted|package|chaos|exhaustion|exhaustion_outputs|exhaustion_routeros|flood|processes'
# The longest first, so that the last one does not run alone for long.
first='routeros_faults|health|mysql|spool|alert|sqlite_faults|mqtt|sqlite|routeros_service|syslog|tracker_faults'

jobs=${AW_TEST_JOBS:-3}
export AW_TEST_JUST_BUILT=1 # an edit while the tests run does not make these programs too old (tests/src/rig.rs)
export LOGS=${AW_TEST_LOGS:-${CARGO_TARGET_DIR:-$PWD/target}/tests}
mkdir -p "$LOGS"
rm -f "$LOGS"/*

echo "tests: building"
"${CARGO:-cargo}" build --workspace --bins --examples
artifacts=$LOGS/artifacts.json
"${CARGO:-cargo}" test --workspace --no-run --message-format=json-render-diagnostics >"$artifacts"
# A line for each test program: name, executable, directory of its package.
list=$(sed -nE 's|^\{"reason":"compiler-artifact".*"manifest_path":"([^"]*)/Cargo.toml","target":\{[^}]*"name":"([^"]*)".*"test":true\},"features".*"executable":"([^"]+)".*|\2 \3 \1|p' "$artifacts" | sort)
[[ -n $list ]] || { echo "tests: cargo named no test program" >&2; exit 1; }
if (($#)); then
  list=$(grep -E "^($(IFS='|'; echo "$*")) " <<<"$list") || { echo "tests: no test program is named $*" >&2; exit 1; }
fi

# One test program: its directory is its package's, as under cargo test; its result is the last line of its log.
one() {
  read -r name executable package <<<"$1"
  local log=$LOGS/$name-${executable##*-} start=$SECONDS status=0 words
  (cd "$package" && CARGO_MANIFEST_DIR=$package "$executable" --color never) </dev/null >"$log" 2>&1 || status=$?
  words=$(sed -n 's/^test result: [a-zA-Z]*\. \(.* failed\);.*/\1/p' "$log")
  if ((status == 0)); then
    [[ $words == "0 passed"* ]] || echo "$name: $words, $((SECONDS - start)) s"
    grep -E '^(SKIPPED|NOT BOOTED)' "$log" || true
  else
    # In one piece: others write as well.
    printf '%s\n' "$(echo "$name: FAILED (${words:-exit status $status}), $((SECONDS - start)) s"; sed 's/^/  | /' "$log")"
  fi
  echo "$name $status $((SECONDS - start)) ${words:-0 passed}" >>"$LOGS/results"
}
export -f one
# shellcheck disable=SC2016 # expanded by the shell that xargs starts
run() { [[ -z $2 ]] || xargs -d '\n' -P "$1" -I '{}' bash -c 'one "$1"' one '{}' <<<"$2"; }

echo "tests: running ($jobs at the same time; output in $LOGS)"
run "$jobs" "$(grep -E "^($first) " <<<"$list"; grep -vE "^($first|$alone) " <<<"$list" || true)"
run 1 "$(grep -E "^($alone) " <<<"$list" || true)"

failed=$(awk '$2 != 0 { printf " %s", $1 }' "$LOGS/results")
if ! (($#)); then
  echo "tests: examples in documentation"
  "${CARGO:-cargo}" test --workspace --doc --quiet >"$LOGS/doc" 2>&1 || { failed+=" doc"; cat "$LOGS/doc"; }
fi
awk '{ passed += $4 } END { printf "tests: %d passed in %d test programs, %d s\n", passed, NR, '"$SECONDS"' }' "$LOGS/results"
[[ -z $failed ]] || { echo "tests: FAILED:$failed" >&2; exit 1; }
