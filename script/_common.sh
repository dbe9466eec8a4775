# Shared by script/run and script/test: where things are, which Python, virtual environments, missing programs.
# To be sourced.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # used by those who source this
venv=$root/.venv
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
warn() { printf '!!! %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }

# need_packages PACKAGE...: install Debian packages when we may, else say what to type.
need_packages() {
  if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
    say "installing: $*"
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
    "${quiet[@]}" install -y --no-install-recommends "$@" > /dev/null 2>&1 && return
    "${quiet[@]}" update > /dev/null && "${quiet[@]}" install -y --no-install-recommends "$@" > /dev/null && return
    die "apt-get could not install: $*"
  fi
  die "please install first: sudo apt-get install $*"
}

# need_programs PROGRAM=PACKAGE...: the same, for programs that are missing.
need_programs() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" > /dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || need_packages "${missing[@]}"
}

is_recent_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }

# Prints the name of a Python that is new enough.
find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" > /dev/null && is_recent_python "$name"; then
      say "$name"
      return
    fi
  done
  die "meshnode needs Python 3.11 or newer; found: $(python3 --version 2>&1 || true)"
}

# make_venv DIRECTORY
make_venv() {
  local python
  [ -x "$1/bin/python" ] && is_recent_python "$1/bin/python" && return
  [ ! -e "$1" ] || [ -w "$1" ] || die "$1 belongs to somebody else; start as that user, or remove it"
  command -v python3 > /dev/null || need_packages python3 python3-venv
  python=$(find_python) || exit 1
  "$python" -c 'import ensurepip' 2> /dev/null || need_packages python3-venv
  say "making a virtual environment in $1"
  "$python" -m venv --clear "$1" || die "cannot make a virtual environment in $1"
}

# pip_install VENV ARGUMENT...
pip_install() {
  local python=$1/bin/python
  shift
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --quiet "$@"
}

# What an installed copy is made of, and a fingerprint of it.
sources=(meshnode twisted pyproject.toml setup.cfg README.md LICENSE)
fingerprint() {
  (cd "$root" && find "${sources[@]}" -type f ! -name '*.pyc' ! -name dropin.cache -print0 | sort -z |
    xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

# install_meshnode VENV [EXTRAS]: as a user would, from a copy, so that the checkout stays clean; then write Twisted's
# plugin cache. EXTRAS like [tor,lan].
install_meshnode() {
  local copy
  copy=$(mktemp -d) || return 1
  (cd "$root" && tar -c --exclude=__pycache__ --exclude=dropin.cache "${sources[@]}") | tar -x -C "$copy" &&
    pip_install "$1" "$copy${2-}" &&
    (cd / && "$1/bin/python" -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))')
  local status=$?
  rm -rf "$copy"
  return $status
}
