#!/bin/sh
# Installs what lies beside it below /usr/local, as root, with users, directories and units; starts nothing.
# Usage: ./install.sh            installs, or upgrades: files in /etc/addrwatch that exist are kept
#        ./install.sh --remove   removes these files; /etc/addrwatch, /var/lib/addrwatch and /var/log/addrwatch remain
set -e
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo "install.sh: run it as root; without root, run bin/collector here (bin/collector --help)" >&2; exit 1; }
files() { find bin lib share ! -type d; }
reload() { [ ! -d /run/systemd/system ] || systemctl daemon-reload; }

if [ "$1" = --remove ]; then
	if [ -d /run/systemd/system ]; then
		# shellcheck disable=SC2046 # one word for each unit
		systemctl disable --now addrwatch.target 'addrwatch-collector@*.service' $(cd lib/systemd/system && echo aw-*.service) || true
	fi
	files | while read -r file; do rm -f "/usr/local/$file"; done
	find bin lib share -depth -type d ! -name bin ! -name lib ! -name share | while read -r directory; do
		rmdir "/usr/local/$directory" 2>/dev/null || true
	done
	reload
	exit
fi
[ $# = 0 ] || { echo "usage: install.sh [--remove]" >&2; exit 2; }

bin/collector --version >/dev/null || { echo "install.sh: bin/collector does not start: install libpcap with your system's package manager" >&2; exit 1; }
files | while read -r file; do
	mkdir -p "/usr/local/$(dirname "$file")"
	# Beside the old one, which may run, then in its place.
	cp -dp "$file" "/usr/local/$file.new"
	mv -fT "/usr/local/$file.new" "/usr/local/$file"
done
find etc -type f | while read -r file; do
	mkdir -p "/$(dirname "$file")"
	[ -e "/$file" ] || cp -p "$file" "/$file"
done
if command -v systemd-sysusers >/dev/null && command -v systemd-tmpfiles >/dev/null; then
	systemd-sysusers /usr/local/lib/sysusers.d/addrwatch.conf
	systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/addrwatch.conf
	reload
	start='systemctl enable --now addrwatch.target addrwatch-collector@eth0 aw-sqlite'
else
	echo 'install.sh: no systemd here: create the users and directories of /usr/local/lib/sysusers.d/addrwatch.conf and tmpfiles.d/addrwatch.conf' >&2
	start='see /usr/local/share/doc/addrwatch-rs/examples: openrc, supervisor, procd'
fi
cat <<END
addrwatch-rs is installed, and nothing runs yet. Next, as root, with your interface in place of eth0:
1. start it, now and at each boot: $start
2. after a minute: aw-query devices; the manual: /usr/local/share/doc/addrwatch-rs/README.md
END
