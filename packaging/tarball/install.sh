#!/bin/sh
# Install meshnode on a Linux machine with systemd, from this directory and without a network.
#
#   ./install.sh [--prefix DIR] [--root DIR]
#
# --prefix  where programs and libraries go (/usr/local)
# --root    the machine's file system is mounted there; nothing is started or enabled (/)
set -eu

prefix=/usr/local root='' here=$(cd "$(dirname "$0")" && pwd)
die() { echo "install.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || die "--prefix wants a directory"; prefix=$2; shift 2 ;;
    --root) [ $# -ge 2 ] || die "--root wants a directory"; root=${2%/}; shift 2 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
case $prefix in /*) ;; *) die "--prefix wants an absolute path" ;; esac
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || die "this changes the system; start it with sudo"

# The libraries are compiled for some Pythons; the first that is there is taken.
pythons='PYTHONS' python=
for name in $pythons; do
  if command -v "python$name" > /dev/null; then
    python=$(command -v "python$name")
    break
  fi
done
[ -n "$python" ] || die "none of the Pythons $pythons is installed; $(python3 --version 2>&1 || true)"
[ "$(uname -m)" = MACHINE ] || [ -n "$root" ] || die "this archive is for MACHINE, the machine is $(uname -m)"

library=$prefix/lib/meshnode
new=$root$library.new
rm -rf "$new"
mkdir -p "$new" "$root$prefix/bin"
pip=$(ls "$here"/wheels/pip-*.whl)
"$python" "$pip/pip" --isolated --disable-pip-version-check --quiet install --no-index --find-links "$here/wheels" \
  --no-deps --no-compile --no-warn-script-location --require-hashes --target "$new" -r "$here/pins.txt"
"$python" -m zipfile -e "$here"/wheels/meshnode-*.whl "$new"
rm -rf "${new:?}/bin" "${new:?}/share" "$new"/*.data "$new"/pip "$new"/pip-*
"$python" -m compileall -q -s "$root" "$new" || true
rm -rf "$root$library"
mv "$new" "$root$library"
for program in "$here"/bin/*; do
  sed -e "1s|.*|#!$python -I|" -e "s|/usr/local/lib/meshnode|$library|" "$program" > "$root$prefix/bin/${program##*/}"
  chmod 0755 "$root$prefix/bin/${program##*/}"
done
mkdir -p "$root/etc/systemd/system" "$root/etc/tmpfiles.d" "$root$prefix/share/man" "$root$prefix/share/meshnode"
for unit in "$here"/units/*; do
  sed "s|/usr/local/bin|$prefix/bin|" "$unit" > "$root/etc/systemd/system/${unit##*/}"
done
cp "$here/tmpfiles.conf" "$root/etc/tmpfiles.d/meshnode.conf"
cp -R "$here"/man/* "$root$prefix/share/man/"
cp "$here/fips.yaml.example" "$here/sysctl.conf" "$here/uninstall.sh" "$here/sbom.cdx.json" "$root$prefix/share/meshnode/"

mkdir -p "$root/etc/meshnode/fips.d"
if [ -e "$root/etc/meshnode/fips.yaml" ]; then
  echo "kept /etc/meshnode/fips.yaml"
elif [ -e "$root/etc/fips/fips.yaml" ]; then
  echo "/etc/fips belongs to a fips daemon. To take it over: $prefix/bin/meshctl migrate --dry-run"
else
  # Nobody else may read it: a key may stand in it.
  (umask 077 && cp "$here/fips.yaml.example" "$root/etc/meshnode/fips.yaml")
fi
if [ -z "$root" ]; then
  getent group fips > /dev/null || groupadd --system fips
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemd-tmpfiles --create meshnode.conf
  fi
fi
echo "installed; to start it now and at every boot: systemctl enable --now meshnode"
echo "to remove it: sh $prefix/share/meshnode/uninstall.sh"
