"""Which rights a node that was started as root keeps when it becomes another user (`twistd --uid`).

Everything is opened as root, but some things have to be done later: the interface is made again when somebody removed
it, the firewall and the routing rule are taken back at the end. So the right to configure the network goes along, and
the right to raw sockets where there is a carrier that needs them, while every other right of root is given up. Programs
that the node starts for this purpose inherit them (ambient capabilities, capabilities(7)).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from typing import Final

NET_ADMIN: Final = 12
NET_RAW: Final = 13

_SET_DUMPABLE: Final = 4
_SET_KEEPCAPS: Final = 8
_AMBIENT, _AMBIENT_RAISE = 47, 2
_VERSION: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class Rights:
    """The capabilities of this process, by number. Call `prepare` as root and `settle` when the user has changed."""

    def __init__(self) -> None:
        self._is_prepared = False

    def prepare(self) -> None:
        """Let what root may survive a change of the user, until `settle`; without root there is nothing to keep."""
        if sys.platform == "linux" and os.geteuid() == 0:
            _prctl(_SET_KEEPCAPS, 1)
            self._is_prepared = True

    def settle(self, wanted: Iterable[int]) -> None:
        """Keep those of `wanted` that there are and give up all others, if the user is another one by now.

        Raises OSError when the system does not allow that; rights of root must not stay.
        """
        if not self._is_prepared:
            return
        _prctl(_SET_KEEPCAPS, 0)
        self._is_prepared = False
        if os.geteuid() == 0:
            return
        kept = [number for number in wanted if _permitted() >> number & 1]
        _prctl(_SET_DUMPABLE, 1)  # as a process that never was root; else it may not look at its own open files
        _set(sum(1 << number for number in kept))
        for number in kept:
            _prctl(_AMBIENT, _AMBIENT_RAISE, number)


def _permitted() -> int:
    data = (_Data * 2)()
    _call("capget", ctypes.byref(_Header(_VERSION, 0)), data)
    return int(data[0].permitted) | int(data[1].permitted) << 32


def _set(mask: int) -> None:
    words = [_Data(*[mask >> shift & 0xFFFFFFFF] * 3) for shift in (0, 32)]
    _call("capset", ctypes.byref(_Header(_VERSION, 0)), (_Data * 2)(*words))


def _prctl(option: int, *arguments: int) -> None:
    _call("prctl", option, *(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0)[:4]))


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
