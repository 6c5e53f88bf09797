#!/usr/bin/env bash
# Builds all that a release offers for this machine's architecture, and tries the package: on Debian 12, whose libraries later
# systems have, too. Usage, as root: release.sh OUT. BUILT= takes programs that are built; BASE= see contrib/oci/build.sh.
# With TAG=, it must be the tag of the version in Cargo.toml.
set -euo pipefail
(($# == 1)) || { echo "usage: release.sh OUT" >&2; exit 2; }
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH DEBIAN_FRONTEND=noninteractive BUILDAH_ISOLATION=chroot
# In a container the checkout belongs to another user.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
[[ ${TAG:-v$version} == "v$version" ]] || { echo "release.sh: the tag is $TAG, but Cargo.toml has version $version: its tag is v$version" >&2; exit 1; }
targets=(${BUILT:+"BUILT=$BUILT"} deb rpm tar oci)
rm -rf target/{debian/*.deb,rpm,tar,oci}
make "${targets[@]}"
mkdir -p "$out"
cp target/debian/*.deb target/rpm/*.rpm target/tar/*.tar.gz target/oci/{*.tar,compose.yaml} "$out"
dpkg-deb --fsys-tarfile target/debian/*.deb | tar -xO ./usr/share/doc/addrwatch-rs/sbom.cdx.json >"$out/sbom-$(uname -m).cdx.json"

# Each from its file: the sample becomes events, a history and an answer.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
try() { # a directory of programs
  local bin=$1 state=$work/state
  mkdir "$state"
  "$bin/collector" --quiet --read tests/data/sample.pcap --ring "/release-$$"
  "$bin/aw-sqlite" --ring "/release-$$" --once --state-dir "$state" --database "$state/lan.db"
  "$bin/collector" --remove --ring "/release-$$"
  "$bin/aw-query" --database "$state/lan.db" devices | grep -c . >/dev/null
  rm -r "$state"
}
mkdir "$work"/{deb,rpm,tar,lib}
dpkg-deb -x target/debian/*.deb "$work/deb"
try "$work/deb/usr/bin"
tar -C "$work/tar" --strip-components=1 -xf target/tar/*.tar.gz
try "$work/tar/bin"
(cd "$work/rpm" && rpm2archive -n - <"$OLDPWD"/target/rpm/*.rpm | tar -x)
# Debian has libpcap by another name.
ln -s "$(ldconfig -p | sed -n 's|.*libpcap\.so\.0\.8 .* => ||p' | head -n 1)" "$work/lib/libpcap.so.1"
LD_LIBRARY_PATH=$work/lib try "$work/rpm/usr/bin"
(cd "$out" && sha256sum -- *.deb *.rpm *.tar.gz *.tar *.json compose.yaml >"SHA256SUMS-$(uname -m)")
ls -l "$out"
