#!/bin/sh
# Installs what lies beside it below /usr/local, as root, with users, directories and units. At an upgrade it restarts what runs.
# Usage: ./install.sh            installs, or upgrades: files in /etc that exist are kept
#        ./install.sh --remove   stops and disables the services, and removes what was installed; /etc/addrwatch,
#                                /etc/logrotate.d/addrwatch, /var/lib/addrwatch and /var/log/addrwatch remain
set -e
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo "install.sh: run it as root; without root, run bin/collector here (bin/collector --help)" >&2; exit 1; }
# Another user may have unpacked this, with another umask: owner and mode are root's, and not those of the files here.
umask 022
to=/usr/local list=/usr/local/lib/addrwatch-rs/installed
files() { find bin lib share ! -type d; }
is_booted() { [ -d /run/systemd/system ]; }
reload() { ! is_booted || systemctl daemon-reload; }
# Enabled ones, and those that run.
collectors() {
	find /etc/systemd/system -name 'addrwatch-collector@?*.service' 2>/dev/null | sed 's|.*/||'
	! is_booted || systemctl list-units --all --plain --no-legend 'addrwatch-collector@*.service' | cut -d ' ' -f 1
}
outputs() { sed -n 's|^lib/systemd/system/\(aw-.*\.service\)$|\1|p' "$list"; }
stop_and_disable() {
	if [ $# -gt 0 ] && command -v systemctl >/dev/null; then
		! is_booted || systemctl stop "$@" || true # one that is not loaded is stopped
		systemctl --quiet disable "$@" || true # it says what it could not do
	fi
}
delete() { # names on standard input
	while read -r file; do
		rm -f "$to/$file"
		# And directories that are empty now; bin, lib, share and share/man are the system's.
		while file=${file%/*}; case $file in share/man) false ;; */*) ;; *) false ;; esac; do rmdir "$to/$file" 2>/dev/null || break; done
	done
}

if [ "$1" = --remove ]; then
	[ -e $list ] || { echo "install.sh: nothing to remove: $list is missing" >&2; exit 1; }
	# shellcheck disable=SC2046 # one word for each unit
	stop_and_disable addrwatch.target $(collectors | sort -u) $(outputs)
	printf '%s\n' "$(cat $list)" "${list#"$to/"}" | delete
	reload
	exit
fi
[ $# = 0 ] || { echo "usage: install.sh [--remove]" >&2; exit 2; }

# With the loader's words: no libpcap, a C library that is too old or musl, another processor, a directory without "exec".
why=$(bin/collector --version 2>&1) || {
	echo "install.sh: bin/collector does not start: $why" >&2
	echo "install.sh: it needs a $(basename "$PWD" | sed 's/.*-linux-//') system with glibc 2.34 or newer, and libpcap" >&2
	exit 1
}
was=
[ ! -e $list ] || was=upgraded
files | while read -r file; do
	mkdir -p "$to/$(dirname "$file")"
	# Beside the old one, which may run, then in its place.
	rm -f "$to/$file.new"
	cp -d "$file" "$to/$file.new"
	[ -L "$file" ] || chmod u=rwX,go=rX "$to/$file.new"
	mv -fT "$to/$file.new" "$to/$file"
done
find etc -type f | while read -r file; do
	mkdir -p "/$(dirname "$file")"
	[ ! -e "/$file" ] || continue
	cp "$file" "/$file"
	case $file in */mysql.cnf) chmod 640 "/$file" ;; *) chmod 644 "/$file" ;; esac
done
mkdir -p "${list%/*}"
files | sort >$list.new
if [ -n "$was" ]; then
	# What this version no longer has.
	dropped=$(sort $list $list.new $list.new | uniq -u)
	# shellcheck disable=SC2046 # one word for each unit
	stop_and_disable $(echo "$dropped" | sed -n 's|^lib/systemd/system/\(.*[^@]\.[a-z]*\)$|\1|p')
	[ -z "$dropped" ] || echo "$dropped" | delete
fi
mv $list.new $list

start='systemctl enable --now addrwatch.target addrwatch-collector@eth0 aw-sqlite'
if command -v systemd-sysusers >/dev/null && command -v systemd-tmpfiles >/dev/null; then
	systemd-sysusers /usr/local/lib/sysusers.d/addrwatch.conf
	systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/addrwatch.conf
	reload
else
	echo 'install.sh: no systemd here. The users, as root:' >&2
	echo '  groupadd --system addrwatch' >&2
	sed -n 's|^u \([a-z-]*\) .*|  useradd --system --gid addrwatch --home-dir / --shell /usr/sbin/nologin \1|p' lib/sysusers.d/addrwatch.conf >&2
	echo '  and their directories:' >&2
	sed -n 's|^d \([^ ]*\) \([0-7]*\) \([a-z-]*\) \([a-z]*\).*|  install -d -m \2 -o \3 -g \4 \1|p' lib/tmpfiles.d/addrwatch.conf >&2
	start='see /usr/local/share/doc/addrwatch-rs/examples: openrc, supervisor, procd'
fi
if [ -z "$was" ]; then
	cat <<END
addrwatch-rs is installed, and nothing runs yet. Next, as root, with your interface in place of eth0:
1. start it, now and at each boot: $start
2. after a minute: aw-query devices; the manual: /usr/local/share/doc/addrwatch-rs/README.md
END
elif is_booted; then
	# shellcheck disable=SC2046 # one word for each unit
	systemctl try-restart $(collectors | sort -u) $(outputs)
	echo "addrwatch-rs is upgraded; the services that ran run the new programs"
else
	echo "addrwatch-rs is upgraded; what runs still runs the old programs: restart it"
fi
