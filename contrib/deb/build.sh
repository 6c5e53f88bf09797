#!/usr/bin/env bash
# Makes a Debian package of built programs. Usage: build.sh BUILT OUT PROGRAM...
# The version is the workspace's, or VERSION=; COMPRESSION=gzip is faster than xz.
set -euo pipefail
(($# > 2)) || { echo "usage: build.sh BUILT OUT PROGRAM..." >&2; exit 2; }
built=$(realpath -e "$1") out=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/../.."

version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
package=$root/package
umask 022

contrib/stage.sh "$built" "$package" /usr "$@"
doc=$package/usr/share/doc/addrwatch-rs
install -D -m 644 contrib/deb/overrides "$package/usr/share/lintian/overrides/addrwatch-rs"
who=$(sed -n 's/^Maintainer: //p' contrib/deb/control)
when=$(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
printf 'addrwatch-rs (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$version" "$who" "$when" \
  | gzip -9n >"$doc/changelog.gz"
gzip -9nc contrib/deb/NEWS >"$doc/NEWS.Debian.gz" # which apt-listchanges shows before an upgrade
# To what a library offers, and so to its version, the programs are bound by what they were linked with.
mkdir -p "$root/debian" && touch "$root/debian/control"
libraries=$(cd "$root" && dpkg-shlibdeps -O "$package"/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
mkdir "$package/DEBIAN"
(cd "$package" && find etc -type f -printf '/%p\n' | sort) >"$package/DEBIAN/conffiles"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$(dpkg --print-architecture)/" -e "s/@LIBRARIES@/$libraries/" \
  -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$package" | cut -f 1)/" contrib/deb/control >"$package/DEBIAN/control"
mapfile -t units < <(cd "$package/usr/lib/systemd/system" && printf '%s\n' aw-*.service)
for script in postinst prerm postrm; do
  sed "s/@UNITS@/${units[*]}/" "contrib/deb/$script" >"$package/DEBIAN/$script"
  chmod 755 "$package/DEBIAN/$script"
done
(cd "$package" && find usr -type f -printf '%P\n' | sort | sed 's|^|usr/|' | xargs md5sum) >"$package/DEBIAN/md5sums"
mkdir -p "$out"
deb=$out/addrwatch-rs_${version}_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$package" "$deb" >/dev/null
echo "$deb"
