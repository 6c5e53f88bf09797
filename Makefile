# make run, make test: the whole set-up. make help lists the rest.

# For a shell that does not know them yet: rustup's programs, and those that only root has in its path.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

export PCAP INTERFACE DATABASE

# What is installed, in this order.
PROGRAMS = collector aw-stdout aw-sqlite aw-query aw-tracker aw-mysql aw-syslog aw-mqtt aw-alert aw-metrics aw-routeros

.PHONY: help run test chaos bench fuzz lint build install deb

help:
	@echo 'make run                  listen on the default interface and show what is heard; Ctrl-C ends it'
	@echo 'make run INTERFACE=eth0   the same on eth0'
	@echo 'make run PCAP=lan.pcap    show what is in a capture file; needs no privileges'
	@echo 'make run DATABASE=lan.db  the same, and keep it in lan.db, for aw-query'
	@echo 'make test                 build, then run all tests; as root those with network namespaces too'
	@echo 'make chaos                kill everything at random for ten minutes; SECONDS=60 SEED=7 for others'
	@echo 'make bench                measure the speed'
	@echo 'make fuzz                 look for frames, datagrams and segments that do harm, SECONDS=240 for each target'
	@echo 'make lint                 formatting, clippy, wording, licences and dependencies; warnings are errors'
	@echo 'make build                optimised programs, in target/release'
	@echo 'make install              them, with manuals, completions and units, in PREFIX=/usr/local DESTDIR='
	@echo 'make deb                  the same as a Debian package, in target/debian'

build:
	@contrib/setup.sh build
	cargo build --release $(PROGRAMS:%=--bin %)

PREFIX ?= /usr/local
DESTDIR ?=
BUILT ?= target/release

# As root there may be no toolchain: what is built already is installed.
install:
	@for program in $(PROGRAMS); do [ -x "$(BUILT)/$$program" ] || { $(MAKE) build; break; }; done
	contrib/install.sh '$(BUILT)' '$(DESTDIR)' '$(PREFIX)' $(PROGRAMS)

deb: build
	@contrib/setup.sh deb
	contrib/deb/build.sh '$(BUILT)' target/debian $(PROGRAMS)

run: build
	@contrib/run.sh

test:
	@contrib/setup.sh build test
	cargo build --workspace --bins --examples
	cargo test --workspace --no-fail-fast
	tests/loom.sh

chaos: SECONDS = 600
chaos:
	@contrib/setup.sh build test
	cargo build --workspace --bins --examples
	AW_CHAOS_SECONDS=$(SECONDS) AW_CHAOS_SEED=$(SEED) cargo test --package aw-tests --test chaos -- --nocapture

bench:
	@contrib/setup.sh build bench
	cargo build --release --workspace --bins
	cargo run --release --package aw-tests --bin bench
	cargo run --release --package aw-tests --bin latency
	cargo run --release --package aw-tests --bin bench-history

# What it finds that is new goes to target/, not to the seeds.
SECONDS ?= 240

fuzz:
	@contrib/setup.sh build fuzz
	for target in frame macupd segment; do \
	  mkdir -p "target/fuzz-$$target" && \
	  cargo +nightly fuzz run "$$target" "target/fuzz-$$target" "fuzz/corpus/$$target" -- \
	    -max_total_time=$(SECONDS) -print_final_stats=1 || exit 1; \
	done

lint:
	@contrib/setup.sh build lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	contrib/lint-words.py
	contrib/licences.py --check
	cargo deny check licenses bans sources
