#!/usr/bin/env bash
# Builds all tests, then runs several test programs at the same time, because they wait most of the time. Those that measure
# run alone afterwards. Prints the output of a test program that fails, the longest ones, and a summary at the end.
# One to three programs that fail run once more, alone: those that pass then are named as unsteady, and do not fail the run.
# Usage: tests/run.sh [NAME...]: all, or these test programs (the NAME of `cargo test --test NAME`, or a crate's name).
# AW_TEST_JOBS: how many at the same time (default: two for each processor). Their output: target/tests.
set -euo pipefail
cd "$(dirname "$0")/.."

# These measure, or use the processor on purpose: no other test program runs beside them.
alone='chaos|flood|processes'
# The longest first, so that none of them runs alone at the end.
longest=(query_clickhouse names_mysql booted oci distributions routeros_faults rogues_live web_access units routeros_sshd spans supply
  health mysql tracker_page exhaustion_outputs package spool thc_ipv6 web alert sqlite_faults mqtt sqlite syslog routeros_outages routeros_exports routeros_shared)

# shellcheck disable=SC2317 # at_once calls it
# One test program, in the directory of its package, as under cargo test.
one() {
  read -r name executable package <<<"$1"
  local log=$LOGS/$name-${executable##*-} start=$SECONDS status=0 counts
  (cd "$package" && CARGO_MANIFEST_DIR=$package "$executable" --color never) </dev/null >"$log" 2>&1 || status=$?
  counts=$(sed -n 's/^test result: [a-zA-Z]*\. \(.* failed\);.*/\1/p' "$log")
  if ((status == 0)); then
    [[ $counts == "0 passed"* ]] || echo "$name: $counts, $((SECONDS - start)) s"
    grep -E '^(SKIPPED|NOT BOOTED|NOT IN CONTAINERS)' "$log" || true
  else
    cp "$log" "$log.failed"
    # In one write, since others print at the same time.
    printf '%s\n' "$(echo "$name: FAILED (${counts:-exit status $status}), $((SECONDS - start)) s"; sed 's/^/  | /' "$log")"
  fi
  echo "$name $status $((SECONDS - start)) ${counts:-0 passed}" >>"$LOGS/results"
}
export -f one
# shellcheck disable=SC2016 # expanded by the shell that xargs starts
at_once() { [[ -z $2 ]] || xargs -d '\n' -P "$1" -I '{}' bash -c 'one "$1"' one '{}' <<<"$2"; }

main() {
  local jobs=${AW_TEST_JOBS:-$(($(nproc) * 2))} list names failed again unsteady=
  export LOGS=${CARGO_TARGET_DIR:-$PWD/target}/tests
  mkdir -p "$LOGS"
  rm -f "$LOGS"/*

  echo "tests: building"
  "${CARGO:-cargo}" build --workspace --bins --examples
  "${CARGO:-cargo}" test --workspace --no-run --message-format=json-render-diagnostics >"$LOGS/artifacts"
  # A line for each test program: name, executable, directory of its package.
  list=$(sed -nE 's|^\{"reason":"compiler-artifact".*"manifest_path":"([^"]*)/Cargo.toml","target":\{[^}]*"name":"([^"]*)".*"test":true\},"features".*"executable":"([^"]+)".*|\2 \3 \1|p' "$LOGS/artifacts" | sort)
  [[ -n $list ]] || { echo "tests: cargo named no test program" >&2; exit 1; }
  AW_TEST_BUILT=$(date +%s) # sources that change after this time do not make the programs too old (tests/src/rig.rs)
  export AW_TEST_BUILT
  if (($#)); then
    names=$(IFS='|'; echo "$*")
    list=$(grep -E "^($names) " <<<"$list") || { echo "tests: no test program is named $*" >&2; exit 1; }
  fi

  echo "tests: running $jobs at the same time; their output is in $LOGS"
  names=$(IFS='|'; echo "${longest[*]}")
  at_once "$jobs" "$(for name in "${longest[@]}"; do grep "^$name " <<<"$list"; done; grep -vE "^($names|$alone) " <<<"$list")"
  at_once 1 "$(grep -E "^($alone) " <<<"$list")"

  failed=$(awk '$2 != 0 { printf " %s", $1 }' "$LOGS/results")
  # A test that fails beside others and passes alone depends on time: that is a fault of the test, and seldom of the change
  # that is tested. More than three are no coincidence.
  again=$(awk 'NR == FNR { if ($2 != 0) failed[$1]; next } $1 in failed' "$LOGS/results" - <<<"$list")
  if [[ -n $again ]] && (($(wc -l <<<"$again") <= 3)); then
    echo "tests: once more, alone:$failed"
    mv "$LOGS/results" "$LOGS/first"
    awk 'NR == FNR { again[$1]; next } !($1 in again)' - "$LOGS/first" <<<"$again" >"$LOGS/results"
    at_once 1 "$again"
    failed=$(awk '$2 != 0 { printf " %s", $1 }' "$LOGS/results")
    unsteady=$(awk 'NR == FNR { if ($2 != 0) failed[$1]; next } $1 in failed && $2 == 0 { printf " %s", $1 }' "$LOGS/first" "$LOGS/results")
  fi
  if ! (($#)); then
    echo "tests: examples in documentation"
    "${CARGO:-cargo}" test --workspace --doc --quiet >"$LOGS/doc" 2>&1 || { failed+=" doc"; cat "$LOGS/doc"; }
  fi
  echo "tests: longest:$(sort -k3,3nr "$LOGS/results" | awk 'NR <= 12 { printf "%s %s %s s", sep, $1, $3; sep = "," }')"
  awk '{ passed += $4 } END { printf "tests: %d passed in %d test programs, ", passed, NR }' "$LOGS/results"
  echo "$SECONDS s"
  [[ -z $unsteady ]] || echo "tests: UNSTEADY, mend these tests:$unsteady (first output: $LOGS/*.failed)"
  [[ -z $failed ]] || { echo "tests: FAILED:$failed" >&2; exit 1; }
}

main "$@"
exit
