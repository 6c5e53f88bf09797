# make run, make test: the whole set-up. make help lists the rest.

# For a shell that does not know them yet: rustup's programs, before those of apt's cargo, and those that only root has in its path.
export PATH := $(if $(wildcard $(HOME)/.cargo/bin/cargo),$(HOME)/.cargo/bin:)$(PATH):/usr/local/sbin:/usr/sbin:/sbin

export PCAP INTERFACE DATABASE

# Those that need no SQLite: cargo gives all programs of one build the same features of a library, so that these would have
# the spool in them, and SQLite with it, if they were built with the others.
WITHOUT_SQLITE = collector aw-stdout aw-tracker aw-metrics aw-relay aw-routeros
# What is installed, in this order.
PROGRAMS = collector aw-stdout aw-sqlite aw-query aw-tracker aw-mysql aw-clickhouse aw-relay aw-syslog aw-mqtt aw-alert aw-metrics aw-web aw-routeros

.PHONY: help run test chaos bench fuzz lint build install deb rpm tar oci

help:
	@echo 'make run                  listen on the default interface and print what it receives; Ctrl-C ends it'
	@echo 'make run INTERFACE=eth0   listen on eth0 instead'
	@echo 'make run PCAP=lan.pcap    print what a capture file holds; needs no privileges'
	@echo 'make run DATABASE=lan.db  also store it in lan.db; then: target/quick/aw-query --database lan.db devices'
	@echo 'make deb                  build the Debian package, in target/debian'
	@echo 'make rpm, make tar        build the RPM package in target/rpm, a tar for other systems in target/tar'
	@echo 'make oci                  build a container image, in target/oci; see contrib/oci/compose.yaml'
	@echo 'make build                build optimized programs, in target/release'
	@echo 'make install              install them with manuals, completions and units, under PREFIX=/usr/local DESTDIR='
	@echo 'make test                 build everything and run all tests; as root also those with network namespaces'
	@echo 'make lint                 check formatting, clippy warnings, wording, licences, crates and their advisories'
	@echo 'make bench                measure the speed'
	@echo 'make chaos                end programs at random for ten minutes; SECONDS=60 SEED=7 choose another run'
	@echo 'make fuzz                 fuzz each reader of foreign bytes, SECONDS=240 each of some twenty; FUZZ=text: only this; UNTIL=3600: up to an hour in all'

build:
	@contrib/setup.sh build
	cargo build --release $(patsubst %,--package %,$(WITHOUT_SQLITE))
	cargo build --release $(patsubst %,--package %,$(filter-out $(WITHOUT_SQLITE),$(PROGRAMS)))
	@! (cd '$(BUILT)' && grep -l 'SQLite format 3' $(WITHOUT_SQLITE)) || { echo 'make build: these have SQLite in them, and should not' >&2; exit 1; }

PREFIX ?= /usr/local
DESTDIR ?=
BUILT ?= target/release

# As root there may be no toolchain: what is built already is installed.
install:
	@for program in $(PROGRAMS); do [ -x "$(BUILT)/$$program" ] || { $(MAKE) build; break; }; done
	contrib/install.sh '$(BUILT)' '$(DESTDIR)' '$(PREFIX)' $(PROGRAMS)

# All have the files of contrib/stage.sh. With BUILT= nothing is built.
PROGRAMS_BUILT = $(if $(filter target/release,$(BUILT)),build)
deb: $(PROGRAMS_BUILT)
rpm: $(PROGRAMS_BUILT)
tar: $(PROGRAMS_BUILT)
oci: $(PROGRAMS_BUILT)
deb rpm tar oci:
	@contrib/setup.sh $@
	contrib/$@/build.sh '$(BUILT)' target/$(@:deb=debian) $(PROGRAMS)

# Only what it runs, in a profile that compiles fast; aw-query only where there will be a history to ask.
RUN = collector aw-stdout aw-sqlite $(if $(DATABASE),aw-query)

run:
	@contrib/setup.sh build
	@echo 'make run: building $(RUN); the first time this takes one to three minutes'
	@cargo build --profile quick $(RUN:%=--bin %)
	@contrib/run.sh

test:
	@contrib/setup.sh build test
	tests/run.sh
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

# What it finds that is new goes to target/, not to the seeds. FUZZ='text time': only these targets. UNTIL=3600: only those that
# ran for less than an hour in all.
SECONDS ?= 240
FUZZ ?=

fuzz:
	@contrib/setup.sh build fuzz
	cargo +nightly fuzz build
	fuzz/run.sh $(SECONDS) $(FUZZ)

lint:
	@contrib/setup.sh build lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	contrib/lint-words.py
	contrib/licences.py --check
	cargo deny check licenses bans sources
	contrib/advisories.py
	contrib/collector-crates.py
