#!/usr/bin/env bash
# Installs built programs with their manuals, completions and units. Usage: install.sh BUILT DESTDIR PREFIX PROGRAM...
# Creates no users and starts nothing. Units and examples are adapted to PREFIX.
set -euo pipefail
(($# > 3)) || { echo "usage: install.sh BUILT DESTDIR PREFIX PROGRAM..." >&2; exit 2; }
built=$(realpath -e "$1") root=$2$3 destdir=$2 prefix=$3
shift 3
cd "$(dirname "$0")/.."

file() { install -D -m 644 "$1" "$2"; }
# The directory that zsh searches by default.
functions=site-functions
[[ $prefix != /usr ]] || functions=vendor-completions
made=$(mktemp)
trap 'rm -f "$made"' EXIT

for program; do
  install -D -m 755 "$built/$program" "$root/bin/$program"
  "$built/$program" --generate man >"$made"
  section=$(sed -n 's/^\.TH [^ ]* \([0-9]\).*/\1/p' "$made")
  [[ ! -e contrib/man/$program.roff ]] || cat "contrib/man/$program.roff" >>"$made"
  file "$made" "$root/share/man/man$section/$program.$section"
  for shell in bash:bash-completion/completions/"$program" zsh:zsh/"$functions"/_"$program" fish:fish/vendor_completions.d/"$program".fish; do
    "$built/$program" --generate "${shell%%:*}" >"$made"
    file "$made" "$root/share/${shell#*:}"
  done
  if [[ -e contrib/systemd/$program.service ]]; then
    sed "s|=\([-+]*\)/usr/bin/|=\1$prefix/bin/|" "contrib/systemd/$program.service" >"$made"
    file "$made" "$root/lib/systemd/system/$program.service"
  fi
done
sed "s|=\([-+]*\)/usr/bin/|=\1$prefix/bin/|" contrib/systemd/addrwatch-collector@.service >"$made"
file "$made" "$root/lib/systemd/system/addrwatch-collector@.service"
file contrib/systemd/addrwatch.target "$root/lib/systemd/system/addrwatch.target"
file contrib/sysusers.d/addrwatch.conf "$root/lib/sysusers.d/addrwatch.conf"
file contrib/tmpfiles.d/addrwatch.conf "$root/lib/tmpfiles.d/addrwatch.conf"
for page in contrib/man/*.[57]; do
  file "$page" "$root/share/man/man${page##*.}/${page##*/}"
done
for example in contrib/oci/compose.yaml contrib/{alert,routeros,grafana,prometheus,openrc,procd,supervisor,logrotate}/* contrib/*.sql contrib/macupd_tracker.conf contrib/mysql.cnf contrib/nats.conf; do
  sed "s#\(command[= ]\"\{0,1\}\)/usr/bin/#\1$prefix/bin/#" "$example" >"$made"
  file "$made" "$root/share/doc/addrwatch-rs/examples/${example#contrib/}"
done
# Side by side as here, so that links between them, to pictures and to the examples lead somewhere.
shopt -s globstar
for text in *.md LICENSE-* docs/**/*.md docs/pictures/*; do
  file "$text" "$root/share/doc/addrwatch-rs/$text"
done
ln -sfn examples "$root/share/doc/addrwatch-rs/contrib"
echo "installed in $root${destdir:+ (for $prefix)}"
