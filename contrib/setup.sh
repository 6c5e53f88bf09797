#!/usr/bin/env bash
# Installs missing packages on Debian, or prints what to install. Usage: setup.sh build [test] [deb] [rpm] [tar] [oci] [bench] [fuzz] [lint]
# Does nothing if nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

sudo='sudo '
((EUID != 0)) || sudo=
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# How to get a Rust toolchain here: rustup is a package since Debian 13 and Ubuntu 24.04; before, and elsewhere, it is rustup.rs.
install_rust() {
  local from="install Rust $wanted or newer with rustup, from https://rustup.rs: curl https://sh.rustup.rs -sSf | sh"
  if [[ -n $(apt-cache show rustup 2>/dev/null) ]]; then from="run: ${sudo}apt install rustup && rustup default stable"; fi
  echo "$from; then run this again in a new shell"
}
if ! command -v cargo >/dev/null; then
  fail "no Rust toolchain: $(install_rust)"
fi
found=$(cargo --version | cut -d ' ' -f 2) || fail "cargo does not start (run: rustup default stable)"
found=${found%%-*}
if [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) != "$wanted" ]]; then
  cargo=$(command -v cargo)
  if rustup=$(command -v rustup); then
    # rustup's cargo is rustup itself by another name.
    [[ $cargo -ef $rustup ]] && fail "cargo is version $found, but $wanted or newer is needed: run rustup update"
    fail "$cargo is version $found, but $wanted or newer is needed: remove it, or put ${rustup%/*} before ${cargo%/*} in PATH"
  fi
  # The cargo of apt, and no rustup that could update it.
  fail "$cargo is version $found, but $wanted or newer is needed: $(install_rust)"
fi

missing=()
need() { # package, then a command that succeeds where it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
command_exists() { command -v "$1"; }
bill='import json, tomllib, uuid' # contrib/sbom.py; python3-minimal has no json
linker() { echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null "$@"; }

for purpose in "$@"; do
  case $purpose in
    build)
      need gcc command_exists cc
      need libc6-dev linker
      need libpcap-dev linker -lpcap
      ;;
    test)
      # By what it does, where another package has a command of this name: busybox, mandoc, a stub that asks for a snap.
      need age test -x /usr/bin/age -a -x /usr/bin/age-keygen
      need busybox command_exists busybox
      need chromium command_exists chromium
      need chromium-driver chromedriver --version
      if [[ -n $(apt-cache show clickhouse-server 2>/dev/null) ]]; then
        need clickhouse-server test -x /usr/sbin/clickhouse-server # of Debian 12; without it, its tests are skipped
      fi
      need debootstrap command_exists debootstrap
      need fail2ban command_exists fail2ban-regex # no service
      need avahi-daemon test -x /usr/sbin/avahi-daemon
      need dnsmasq-base command_exists dnsmasq # no service
      need dsniff test -x /usr/sbin/arpspoof
      need ettercap-text-only command_exists ettercap
      need fish command_exists fish
      need galera-4 test -e /usr/lib/galera/libgalera_smm.so
      need git command_exists git
      need haproxy test -x /usr/sbin/haproxy
      need arpwatch test -x /usr/sbin/arpwatch
      need faketime command_exists faketime
      need iproute2 ip netns list
      need isc-dhcp-client test -x /sbin/dhclient # no service
      need kea-dhcp4-server test -x /usr/sbin/kea-dhcp4
      need keepalived test -x /usr/sbin/keepalived
      need lintian command_exists lintian
      need nats-server test -x /usr/sbin/nats-server # no service starts: see below
      need lldpd test -x /usr/sbin/lldpd
      need logrotate test -x /usr/sbin/logrotate
      need logwatch test -x /usr/sbin/logwatch
      need man-db man --version
      need mandoc command_exists mandoc
      need mariadb-client-core command_exists mariadb
      need mariadb-server-core test -x /usr/sbin/mariadbd -a -x /usr/bin/mariadb-install-db # no service, no /etc
      need mosquitto test -x /usr/sbin/mosquitto # no service, no /etc
      need mosquitto-clients command_exists mosquitto_sub
      need mount mount --version
      need ndisc6 command_exists ndisc6
      need openrc test -x /sbin/openrc-run -a -x /sbin/supervise-daemon # beside systemd; nothing is started
      need openssl command_exists openssl
      need openssh-client command_exists ssh-agent
      need openssh-server test -x /usr/sbin/sshd
      need perl-base command_exists perl
      need procps command_exists sysctl
      need prometheus test -x /usr/bin/prometheus -a -x /usr/bin/promtool
      need radvd test -x /usr/sbin/radvd
      need python3-aiosmtpd /usr/bin/python3 -c 'import aiosmtpd'
      need python3-scapy /usr/bin/python3 -c 'import scapy'
      need python3-seccomp /usr/bin/python3 -c 'import seccomp'
      need rsyslog test -x /usr/sbin/rsyslogd
      need shellcheck command_exists shellcheck
      need strace command_exists strace
      need supervisor test -x /usr/bin/supervisord
      need systemd command_exists systemd-analyze
      need tcpdump command_exists tcpdump
      need thc-ipv6 command_exists atk6-dos-new-ip6
      need util-linux setpriv --version
      need zsh command_exists zsh
      need zstd command_exists zstd
      need binutils command_exists strip
      need dpkg-dev command_exists dpkg-shlibdeps
      need rpm command_exists rpmbuild
      need patchelf command_exists patchelf
      need buildah command_exists buildah
      need podman command_exists podman
      need runc test -x /usr/sbin/runc
      need python3-yaml /usr/bin/python3 -c 'import yaml'
      need python3-venv python3 -c 'import ensurepip, venv'
      ;;
    deb)
      need binutils command_exists strip
      need python3 python3 -c "$bill"
      need dpkg-dev command_exists dpkg-shlibdeps
      ;;
    rpm)
      need binutils command_exists strip
      need python3 python3 -c "$bill"
      need patchelf command_exists patchelf
      need rpm command_exists rpmbuild
      ;;
    tar)
      need binutils command_exists strip
      need python3 python3 -c "$bill"
      need patchelf command_exists patchelf
      ;;
    oci)
      need binutils command_exists strip
      need python3 python3 -c "$bill"
      need dpkg-dev command_exists dpkg-shlibdeps
      need buildah command_exists buildah
      ;;
    bench)
      need iproute2 command_exists ip
      need mariadb-client-core command_exists mariadb
      need mariadb-server-core test -x /usr/sbin/mariadbd -a -x /usr/bin/mariadb-install-db
      need python3-minimal test -x /usr/bin/python3
      need procps command_exists sysctl
      need tcpdump command_exists tcpdump
      need time test -x /usr/bin/time
      ;;
    fuzz) need g++ command_exists c++ ;;
    lint) need python3 python3 -c "$bill" ;;
    *) fail "unknown purpose: $purpose" ;;
  esac
done

if ((${#missing[@]})); then
  hint="install ${missing[*]} (as root: apt-get install ${missing[*]})"
  command -v apt-get >/dev/null || fail "this system has no apt-get: $hint"
  as_root=(env DEBIAN_FRONTEND=noninteractive)
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "installing packages needs root, and sudo is not installed: $hint"
    echo "setup: installing ${missing[*]} with sudo"
    sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; } || fail "sudo refused: $hint"
    as_root=(sudo "${as_root[@]}")
  fi
  log=$(mktemp)
  # The tests start their own servers: nothing is started because its package was installed (invoke-rc.d(8)).
  policy=/usr/sbin/policy-rc.d
  if [[ -e $policy ]]; then policy=; else printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy; fi
  trap 'rm -f "$log"; [[ -z $policy ]] || "${as_root[@]}" rm -f "$policy"' EXIT
  apt() { echo "setup: apt-get $*"; "${as_root[@]}" apt-get -y "$@" </dev/null >"$log" 2>&1; }
  # Nothing is removed for them: not a MySQL server, which MariaDB would replace.
  # The package lists are fetched where there are none, or where they are so old that a package has gone.
  apt install --no-install-recommends --no-remove "${missing[@]}" \
    || { apt update && apt install --no-install-recommends --no-remove "${missing[@]}"; } \
    || { tail -n 5 "$log" >&2; fail "apt-get failed: $hint"; }
  # Nor do those start with the machine that would take part in its network.
  for service in haproxy kea-dhcp4-server keepalived; do
    [[ " ${missing[*]} " != *" $service "* ]] || "${as_root[@]}" systemctl --quiet disable "$service" >/dev/null 2>&1 || :
  done
fi

if [[ " $* " == *" fuzz "* ]]; then
  cargo +nightly --version >/dev/null 2>&1 \
    || fail "no nightly toolchain, which cargo-fuzz needs: rustup toolchain install nightly"
  cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz \
    || fail "cargo-fuzz could not be installed: cargo install --locked cargo-fuzz"
fi

if [[ " $* " == *" lint "* ]]; then
  for component in fmt:rustfmt clippy:clippy; do
    cargo "${component%:*}" --version >/dev/null 2>&1 \
      || rustup component add "${component#*:}" \
      || fail "cargo ${component%:*} is missing: rustup component add ${component#*:}"
  done
fi

# What checks the pages of aw-web for people who use a keyboard or a screen reader: a file of npm, checked by its hash. Without a
# registry nothing fails: the test then reports that this part was not checked.
if [[ " $* " == *" test "* ]]; then
  axe=4.14.1 hash=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
  file=target/axe-core/axe-$axe.min.js archive=axe-core-$axe.tgz
  fetch_axe() {
    if command -v npm; then timeout 120 npm pack --silent "axe-core@$axe"; else
      curl -fsS --max-time 120 -o "$archive" "https://registry.npmjs.org/axe-core/-/$archive"
    fi
  }
  if [[ ! -e $file ]]; then
    directory=$(mktemp -d)
    if (cd "$directory" && fetch_axe && sha512sum -c <<<"$hash  $archive" && tar -xzf "$archive" package/axe.min.js) >/dev/null 2>&1; then
      mkdir -p "${file%/*}"
      mv "$directory/package/axe.min.js" "$file"
    else
      echo "setup: axe-core $axe could not be fetched from npm: the pages of aw-web are not checked with it"
    fi
    rm -rf "$directory"
  fi
fi

# What holds openapi.json of aw-web against the server: packages of PyPI, checked by their hashes. Without a registry nothing fails, as
# for axe-core. What does not run, as after an upgrade of Python, is re-created.
if [[ " $* " == *" test "* ]]; then
  packages=contrib/schemathesis.txt venv=target/schemathesis
  if ! { cmp "$packages" "$venv/installed.txt" && "$venv/bin/schemathesis" --version; } >/dev/null 2>&1; then
    rm -rf "$venv"
    if (python3 -m venv "$venv" && timeout 300 "$venv/bin/pip" install --no-input --only-binary :all: --require-hashes -r "$packages") >/dev/null 2>&1; then
      cp "$packages" "$venv/installed.txt"
    else
      rm -rf "$venv"
      echo "setup: schemathesis could not be installed from PyPI: openapi.json is not checked with it"
    fi
  fi
fi

if [[ " $* " == *" lint "* || " $* " == *" test "* ]]; then
  # Without optimisation, which saves more time than it costs: 84 s on two cores.
  deny=(cargo install --locked --debug --version 0.20.2 cargo-deny)
  cargo deny --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=false "${deny[@]}" \
    || fail "cargo-deny could not be installed: ${deny[*]}"
fi
