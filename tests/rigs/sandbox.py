"""Run a program under the restrictions of a systemd unit, as far as a machine without systemd can.

    python sandbox.py UNIT[,DROPIN...] USER_ID WRITABLE_DIRECTORY COMMAND...

Applied from the unit: CapabilityBoundingSet, AmbientCapabilities, NoNewPrivileges, ProtectSystem=strict with the given
directory writable instead of ReadWritePaths, ProtectKernelTunables, MemoryDenyWriteExecute, SystemCallFilter,
RestrictAddressFamilies, UMask, LimitCORE. Not applied: what would hide the checkout under test (ProtectHome,
PrivateTmp), and device and cgroup rules. Needs root, libseccomp and systemd-analyze.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 0x1000, 0x4000, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 0x1
_PR_SET_MDWE, _PR_SET_NO_NEW_PRIVS = 65, 38
_ALLOW, _NE = 0x7FFF0000, 1
_EPERM_ACTION = 0x00050000 | 1
_STAGE = "--last-stage"

_libc = ctypes.CDLL(None, use_errno=True)


def settings(paths: list[str]) -> dict[str, list[str]]:
    """The assignments of unit files in order; an empty one takes back what stood before."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for key, value in re.findall(r"^(\w+)=(.*)$", Path(path).read_text(), re.M):
            found[key] = [*found.get(key, []), value] if value else []
    return found


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, None), f"mount {target}")


def _set_read_only(path: str, read_only: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_RDONLY if read_only else 0, 0 if read_only else _RDONLY, 0, 0)
    flags = _AT_RECURSIVE
    result = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), 32)
    _check(result, f"mount_setattr {path}")


def protect_system(writable: str) -> None:
    """ProtectSystem=strict and ProtectKernelTunables=yes, in a mount namespace of this process."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    for path in (writable, "/proc/sys"):
        _mount(path, path, _MS_BIND | _MS_REC)
    _set_read_only("/", True)
    for path in ("/dev", "/proc", "/sys", writable):
        _set_read_only(path, False)
    _set_read_only("/proc/sys", True)
    os.chdir(os.getcwd())  # into what is mounted there now
    _mount("tmpfs", "/dev/net", 0, "tmpfs")
    os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
    os.chmod("/dev/net/tun", 0o666)  # as udev leaves it


def _calls(sets: list[str]) -> set[str]:
    """The system calls that a SystemCallFilter allows."""
    allowed: set[str] = set()
    for line in sets:
        names = set().union(*(_expand(name) for name in line.removeprefix("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _expand(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(_expand(word) for word in words))


class _Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def filter_calls(names: set[str], families: set[int]) -> None:
    """Answer every other system call, and `socket` for other families, with EPERM, now and in all children."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_EPERM_ACTION)))
    for name in names - {"socket"}:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0)
    number = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        only = (_Comparison * 1)(_Comparison(0, 4, family, 0))  # 4: equal
        seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, 1, only)
    if seccomp.seccomp_load(context) != 0:
        raise OSError("the system call filter cannot be loaded")


def main(arguments: list[str]) -> None:
    """Apply what needs root, change the user, then apply the rest and become the command."""
    units, user, writable, *command = arguments
    unit = settings(units.split(","))
    if command[0] != _STAGE:
        protect_system(writable)
        me = [sys.executable, os.path.abspath(__file__), units, user, writable, _STAGE, *command]
        bounding = _capabilities(unit, "CapabilityBoundingSet")
        identity = ["--reuid", user, "--regid", user, "--clear-groups"] if user != "0" else []
        # What may be read is a matter of where the checkout lies, which a service's program does not share.
        ambient = [*_capabilities(unit, "AmbientCapabilities"), "+dac_read_search"] if user != "0" else []
        bounding += [] if "+dac_read_search" in bounding else ["+dac_read_search"]
        given = ["--inh-caps", ",".join(ambient), "--ambient-caps", ",".join(ambient)] if ambient else []
        os.execvp("setpriv", ["setpriv", *identity, *given, "--bounding-set", ",".join(["-all", *bounding]), *me])
    calls = _calls(unit["SystemCallFilter"])
    families = {int(getattr(socket, name, 31)) for name in " ".join(unit["RestrictAddressFamilies"]).split()}
    os.umask(int(unit["UMask"][-1], 8))
    limit = int(unit["LimitCORE"][-1])
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if unit["MemoryDenyWriteExecute"][-1] == "yes":
        _libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0)  # older kernels cannot
    filter_calls(calls | {"execve"}, families)
    os.execvp(command[1], command[1:])


def _capabilities(unit: dict[str, list[str]], key: str) -> list[str]:
    return [f"+{name.removeprefix('CAP_').lower()}" for line in unit.get(key, []) for name in line.split()]


if __name__ == "__main__":
    main(sys.argv[1:])
