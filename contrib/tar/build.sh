#!/usr/bin/env bash
# Makes a tar of built programs for Linux distributions without a package. Usage: build.sh BUILT OUT PROGRAM...
# The version is the workspace's, or VERSION=; COMPRESSION=none is faster.
set -euo pipefail
umask 022
(($# > 2)) || { echo "usage: build.sh BUILT OUT PROGRAM..." >&2; exit 2; }
built=$(realpath -e "$1") out=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/../.."

version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
name=addrwatch-rs-$version-linux-$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

contrib/stage.sh "$built" "$work/package" /usr/local "$@"
mv "$work/package/usr/local" "$work/$name"
mv "$work/package/etc" "$work/$name/etc"
install -m 755 contrib/tar/install.sh "$work/$name/install.sh"
# One library with two names: what Debian calls libpcap.so.0.8 is libpcap.so.1 on all other distributions. There the link
# leads nowhere, and the loader takes the system's.
libpcap=$(ldd "$work/$name/bin/collector" | sed -n 's|^\tlibpcap\.so\.0\.8 => \(/[^ ]*\) .*|\1|p')
if [[ -n $libpcap ]]; then
  mkdir "$work/$name/lib/addrwatch-rs"
  ln -s "$libpcap" "$work/$name/lib/addrwatch-rs/libpcap.so.1"
  patchelf --replace-needed libpcap.so.0.8 libpcap.so.1 "$work/$name/bin/collector"
  # shellcheck disable=SC2016 # the loader expands it
  patchelf --set-rpath '$ORIGIN/../lib/addrwatch-rs' "$work/$name/bin/collector" # patchelf 0.14 does one thing at a time
fi
mkdir -p "$out"
level=-9
[[ ${COMPRESSION:-} != none ]] || level=-1
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -n $level >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
