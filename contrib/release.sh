#!/usr/bin/env bash
# Builds all that a release offers for this machine's architecture, and tries the package: on Debian 12, whose libraries later
# systems have, too. Usage, as root: release.sh OUT. BUILT= takes programs that are built; BASE= see contrib/oci/build.sh.
set -euo pipefail
(($# == 1)) || { echo "usage: release.sh OUT" >&2; exit 2; }
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH DEBIAN_FRONTEND=noninteractive BUILDAH_ISOLATION=chroot
# In a container the checkout belongs to another user.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD

targets=(${BUILT:+"BUILT=$BUILT"} deb rpm tar oci)
rm -rf target/{debian/*.deb,rpm,tar,oci}
make "${targets[@]}"
mkdir -p "$out"
cp target/debian/*.deb target/rpm/*.rpm target/tar/*.tar.gz target/oci/*.tar "$out"
dpkg-deb --fsys-tarfile target/debian/*.deb | tar -xO ./usr/share/doc/addrwatch-rs/sbom.cdx.json >"$out/sbom-$(uname -m).cdx.json"

# The package from its file: the sample becomes events, a history and an answer.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
dpkg-deb -x target/debian/*.deb "$root"
"$root/usr/bin/collector" --quiet --read tests/data/sample.pcap --ring "/release-$$"
"$root/usr/bin/aw-sqlite" --ring "/release-$$" --once --state-dir "$root" --database "$root/lan.db"
"$root/usr/bin/collector" --remove --ring "/release-$$"
"$root/usr/bin/aw-query" --database "$root/lan.db" devices | grep -c . >/dev/null
(cd "$out" && sha256sum -- *.deb *.rpm *.tar.gz *.tar *.json >"SHA256SUMS-$(uname -m)")
ls -l "$out"
