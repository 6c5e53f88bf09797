#!/usr/bin/env bash
# Puts the files that all packages have (.deb, .rpm, tar, image) below ROOT: what install.sh installs, stripped and compressed,
# with /etc, licences and bill of materials. Usage: stage.sh BUILT ROOT PREFIX PROGRAM...
set -euo pipefail
(($# > 3)) || { echo "usage: stage.sh BUILT ROOT PREFIX PROGRAM..." >&2; exit 2; }
built=$(realpath -e "$1") root=$2 prefix=$3
shift 3
cd "$(dirname "$0")/.."
umask 022

contrib/install.sh "$built" "$root" "$prefix" "$@" >/dev/null
strip --strip-unneeded "$root$prefix"/bin/*
install -D -m 640 contrib/mysql.cnf "$root/etc/addrwatch/mysql.cnf"
for name in alert.toml routeros.toml macupd_tracker.conf; do
  install -D -m 644 "contrib/deb/$name" "$root/etc/addrwatch/$name"
done
install -D -m 644 contrib/logrotate/addrwatch "$root/etc/logrotate.d/addrwatch"
find "$root$prefix/share/man" -type f -exec gzip -9n {} +
install -m 644 contrib/deb/copyright "$root$prefix/share/doc/addrwatch-rs/copyright" # contrib/licences.py writes it, from Cargo.lock
contrib/sbom.py "$@" >"$root$prefix/share/doc/addrwatch-rs/sbom.cdx.json"
