#!/usr/bin/env bash
# Proves the ring with loom, then proves the proof: without any one guard the model must fail.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r Cargo.toml Cargo.lock shm-layout "$work"
sed -i 's/^members = .*/members = ["shm-layout"]/' "$work/Cargo.toml"
ring=$work/shm-layout/src/ring.rs
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/loom" RUSTFLAGS="--cfg loom"

assertions='torn event|stays on a lost event|never published|stay readable'

model() { (cd "$work" && cargo test --quiet --release --package shm-layout --lib model >"$work/log" 2>&1); }

# name, what stands in ring.rs, what takes its place
without() {
  local name=$1 text=$2 instead=$3
  cp shm-layout/src/ring.rs "$ring"
  text="$text" instead="$instead" perl -0pi -e 's/\Q$ENV{text}\E/$ENV{instead}/ or die' "$ring" \
    || { echo "loom: guard $name is not where tests/loom.sh expects it"; exit 1; }
  if model; then echo "loom: the model passes without $name: FAILED"; exit 1; fi
  grep -qE "$assertions" "$work/log" || { cat "$work/log"; echo "loom: without $name it fails for another reason"; exit 1; }
  echo "loom: fails without $name, as it must: $(grep -om1 -E "$assertions" "$work/log")"
}

model || { cat "$work/log"; exit 1; }
echo "loom: $(grep -om1 'test result: ok.*passed' "$work/log")"
without "W1, the mark before the first word" 'slot.sequence.store(writing(n), Relaxed);' ''
without "W2, the fence after the mark" 'fence(Release);' ''
without "W3, the release of the finished event" 'store(complete(n), Release)' 'store(complete(n), Relaxed)'
without "R1, the fence before the words" 'fence(Acquire); // R1' '// R1'
without "R2, the fence after the words" 'fence(Acquire); // R2' '// R2'
without "R3, the re-check" 'if slot.sequence.load(Relaxed) != before' 'if false'
without "W4, the release of the head" 'self.head.store(n + 1, Release)' 'self.head.store(n + 1, Relaxed)'
without "R4, the step past a lost event" '.max(n + 1)' ''
without "R5, the fence after the head" 'fence(Acquire); // R5' '// R5'
