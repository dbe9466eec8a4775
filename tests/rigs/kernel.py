"""The two system calls that Python 3.11 does not offer: setns and prctl(PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x0002_0000
CLONE_NEWNET = 0x4000_0000
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def set_namespace(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace of `descriptor`; raises OSError."""
    _check(_LIBC.setns(descriptor, kind), "setns")


@contextmanager
def network_namespace(descriptor: int) -> Iterator[None]:
    """Be in another network namespace for a moment. A socket made meanwhile belongs to it for good."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_namespace(descriptor, CLONE_NEWNET)
        try:
            yield
        finally:
            set_namespace(home, CLONE_NEWNET)
    finally:
        os.close(home)


def entering(network: int, mounts: int, directory: str) -> Callable[[], None]:
    """Return what a new child runs before exec: join both namespaces, go to `directory`, die with the parent."""
    parent = os.getpid()

    def enter() -> None:
        set_namespace(network, CLONE_NEWNET)
        set_namespace(mounts, CLONE_NEWNS)
        os.chdir(directory)
        die_with_parent(parent)

    return enter


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone, however that came about."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
