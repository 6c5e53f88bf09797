#!/usr/bin/env bash
# Makes an RPM package of built programs: the files and the scripts of the Debian package. Usage: build.sh BUILT OUT PROGRAM...
# The version is the workspace's, or VERSION=; COMPRESSION=none is faster.
set -euo pipefail
(($# > 2)) || { echo "usage: build.sh BUILT OUT PROGRAM..." >&2; exit 2; }
built=$(realpath -e "$1") out=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/../.."

version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/package
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

contrib/stage.sh "$built" "$package" /usr "$@"
# One library with two names: what Debian calls libpcap.so.0.8 is libpcap.so.1 on all other distributions.
patchelf --replace-needed libpcap.so.0.8 libpcap.so.1 "$package/usr/bin/collector"

mapfile -t units < <(cd "$package/usr/lib/systemd/system" && printf '%s\n' aw-*.service)
# The script of the Debian package, called as dpkg would call it. $1 is the number of versions that will be installed.
# shellcheck disable=SC2016 # rpm's shell expands it
script() { # section, arguments at the first installation or at the removal, arguments at an upgrade, script
  printf '%s\nif [ "$1" -gt %s ]; then set -- %s; else set -- %s; fi\n' "$1" "$([[ $1 == %post ]] && echo 1 || echo 0)" "$3" "$2"
  sed -e 1d -e "s/@UNITS@/${units[*]}/" -e 's/%/%%/g' "contrib/deb/$4"
}
{
  cat <<END
Name: addrwatch-rs
Version: $version
Release: 1
$(sed -n 's/^Description: /Summary: /p' contrib/deb/control)
License: MIT OR Apache-2.0
URL: https://github.com/addrwatch-rs/addrwatch-rs
Requires(post): /usr/bin/systemd-sysusers /usr/bin/systemd-tmpfiles
%global debug_package %{nil}
%global _build_id_links none
%global __os_install_post %{nil}
%description
$(sed -n '/^Description: /,$p' contrib/deb/control | sed -e 1d -e 's/^ \.$//' -e 's/^ //')
%install
cp -a '$package/.' '%{buildroot}'
END
  script %post configure 'configure earlier' postinst
  script %preun remove upgrade prerm
  # rpm has no purge: links of enabled units would remain for ever. disable knows no patterns.
  cat <<END
if [ "\$1" = remove ]; then
  systemctl --quiet disable addrwatch.target ${units[*]} \$(find /etc/systemd/system -name 'addrwatch-collector@?*.service' | sed 's|.*/||' | sort -u) || true
fi
END
  script %postun remove upgrade postrm
  printf '%%files\n%%defattr(-,root,root)\n'
  # Directories of its own, and all files.
  find "$package" -type d \( -path '*/addrwatch' -o -path '*/addrwatch-rs*' \) -printf '%%%%dir "/%P"\n'
  find "$package" ! -type d -path "$package/etc/*" -printf '%%%%config(noreplace) "/%P"\n'
  find "$package" ! -type d ! -path "$package/etc/*" -printf '"/%P"\n'
} >"$work/addrwatch-rs.spec"
mkdir -p "$out"
payload=w19.zstdio
[[ ${COMPRESSION:-} != none ]] || payload=w1.gzdio
rpmbuild -bb --quiet --define "_topdir $work/rpm" --define "_rpmdir $out" --define '_rpmfilename %{name}-%{version}-%{release}.%{arch}.rpm' \
  --define "_binary_payload $payload" \
  --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' --define '_buildhost addrwatch-rs' \
  "$work/addrwatch-rs.spec" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
echo "$out/addrwatch-rs-$version-1.$(uname -m).rpm"
