#!/bin/sh
# Remove what install.sh installed.
#
#   uninstall.sh [--prefix DIR] [--root DIR] [--purge]
#
# --purge  the configuration and the keys in /etc/meshnode, too
set -eu

prefix=/usr/local root='' purge=
die() { echo "uninstall.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || die "--prefix wants a directory"; prefix=$2; shift 2 ;;
    --root) [ $# -ge 2 ] || die "--root wants a directory"; root=${2%/}; shift 2 ;;
    --purge) purge=yes; shift ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
case $prefix in /*) ;; *) die "--prefix wants an absolute path" ;; esac
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || die "this changes the system; start it with sudo"

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl disable --now meshnode-gateway meshnode || true
fi
programs='PROGRAMS'
for program in $programs; do
  rm -f "$root$prefix/bin/$program" "$root$prefix"/share/man/man?/"$program".?.gz
done
rm -rf "$root$prefix/lib/meshnode" "$root$prefix/share/meshnode"
rm -f "$root/etc/systemd/system/meshnode.service" "$root/etc/systemd/system/meshnode-gateway.service" \
  "$root/etc/tmpfiles.d/meshnode.conf"
if [ -n "$purge" ]; then
  rm -rf "$root/etc/meshnode" "$root/etc/systemd/system/meshnode.service.d" \
    "$root/etc/systemd/system/meshnode-gateway.service.d"
  echo "removed, with the keys"
else
  echo "removed; /etc/meshnode holds configuration and key and stays"
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
