#!/usr/bin/env bash
# Makes an image of built programs with buildah: their Debian package on a small Debian. Usage: build.sh BUILT OUT PROGRAM...
# Writes an archive that `podman load` and `docker load` read, and the compose.yaml of this version, which names the same image.
# The version is the workspace's, or VERSION=. BASE= names another Debian; IMAGE= another name.
set -euo pipefail
(($# > 2)) || { echo "usage: build.sh BUILT OUT PROGRAM..." >&2; exit 2; }
cd "$(dirname "$0")/../.."

named=ghcr.io/addrwatch-rs/addrwatch-rs # in contrib/oci/compose.yaml
image=${IMAGE:-$named}
out=$(realpath -m "$2")
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mv "$(COMPRESSION=none contrib/deb/build.sh "$1" "$context" "${@:3}")" "$context/addrwatch-rs.deb"
cp contrib/oci/sysusers.conf "$context"
mkdir -p "$context/root/dev/shm"
chmod 1777 "$context/root/dev/shm"
tar -C "$context/root" --owner=0 --group=0 -cf "$context/shm.tar" dev/shm
# All files have one time. The image still differs from day to day, as the packages of Debian do.
buildah build --build-arg "BASE=${BASE:-docker.io/library/debian:13-slim}" --timestamp "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}" \
  --tag "$image:$version" --file contrib/oci/Containerfile "$context" >"$context/log" 2>&1 \
  || { tail -n 20 "$context/log" >&2; exit 1; }
mkdir -p "$out"
archive=$out/addrwatch-rs-$version-oci-$(uname -m).tar
rm -f "$archive"
buildah push --quiet "$image:$version" "docker-archive:$archive:$image:$version" >/dev/null
sed "s|$named:latest|$image:$version|" contrib/oci/compose.yaml >"$out/compose.yaml"
echo "$archive"
