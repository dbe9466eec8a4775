"""The TUN device as a reactor descriptor: bursts of packets in, bursts of packets or frames out (data-plane rule 3)."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import socket
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.ipv6.backlog import Backlog
from meshnode.ipv6.coalesce import NO_OFFLOAD
from meshnode.ipv6.counters import TunCounters

_delivering = Logger().failureHandler("packets from the host upset the node")

_CLONE_DEVICE: Final = "/dev/net/tun"
_LONGEST_NAME: Final = 15
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_IFREQ = Struct("16sH22x")

# The direction bits of an ioctl number differ between architectures.
_WRITE_DIRECTION: Final = (
    0x80000000 if platform.machine().startswith(("mips", "parisc", "ppc", "sparc")) else 0x40000000
)
_TUNSETIFF: Final = _WRITE_DIRECTION | 0x000454CA
_TUNSETPERSIST: Final = _WRITE_DIRECTION | 0x000454CB
SET_OFFLOAD: Final = _WRITE_DIRECTION | 0x000454D0
"""The ioctl TUNSETOFFLOAD."""
_CSUM_AND_USO: Final = 0x01 | 0x20 | 0x40
"""TUN_F_CSUM, TUN_F_USO4, TUN_F_USO6."""

_BURST: Final = 256
"""Most packets handed on in one reactor turn: some 3 ms of work further up, which is what a newcomer waits.

Half of that costs a TCP stream a tenth more processor: the far node then merges less.
"""
_MOST_READ: Final = 1000
"""Most packets read in one reactor turn: as many as the kernel keeps, and about a millisecond of reading."""
_READ_SLACK: Final = 100
_SMALLEST_MTU: Final = 1280

_NOTHING_NOW: Final = (errno.EAGAIN, errno.EINTR)
_GONE: Final = (errno.EFAULT, errno.EBADFD, errno.EBADF, errno.ENODEV)
_NO_ROOM: Final = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)

_REMEDIES: Final = {
    errno.ENOENT: "/dev/net/tun is missing: load the module (modprobe tun), or pass the device into the container",
    errno.ENXIO: "the kernel has no TUN driver: load the module (modprobe tun)",
    errno.ENODEV: "the kernel has no TUN driver: load the module (modprobe tun)",
    errno.EACCES: "not permitted to open /dev/net/tun: run as root, or let this user open it and have CAP_NET_ADMIN",
    errno.EPERM: "CAP_NET_ADMIN is missing: run as root, or under systemd with AmbientCapabilities=CAP_NET_ADMIN, or "
    "with a Python interpreter of its own that has it (setcap cap_net_admin+ep)",
    errno.EBUSY: "the interface is in use by another process: stop that process, or set another tun.name",
}


class TunError(Exception):
    """The TUN device cannot be had; the text is one line with cause and remedy."""


class TunSystem(Protocol):
    """The system calls a TUN device needs; each raises OSError as the functions of `os` do."""

    def open(self) -> int:
        """A new non-blocking, close-on-exec descriptor of the clone device."""

    def ioctl(self, fd: int, request: int, argument: Any) -> Any:
        """As `fcntl.ioctl`."""

    def exists(self, name: str) -> bool:
        """Whether there is a network interface called `name`."""

    def read(self, fd: int, size: int, /) -> bytes:
        """As `os.read`."""

    def write(self, fd: int, data: bytes, /) -> int:
        """As `os.write`."""

    def close(self, fd: int) -> None:
        """As `os.close`."""


class KernelTun:
    """The Linux kernel as a `TunSystem`."""

    read = staticmethod(os.read)
    write = staticmethod(os.write)

    def open(self) -> int:
        return os.open(_CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def ioctl(self, fd: int, request: int, argument: Any) -> Any:
        return fcntl.ioctl(fd, request, argument)

    def exists(self, name: str) -> bool:
        try:
            socket.if_nametoindex(name)
        except OSError:
            return False
        return True

    def close(self, fd: int) -> None:
        os.close(fd)


class TunReactor(Protocol):
    """The part of a reactor that a TUN device uses."""

    def addReader(self, reader: Any, /) -> None: ...  # noqa: N802
    def removeReader(self, reader: Any, /) -> None: ...  # noqa: N802
    def callLater(self, delay: float, call: Callable[[], None], /) -> Any: ...  # noqa: N802


class TunHost(Protocol):
    """What gets the packets of a `TunDevice`."""

    def packets_read(self, packets: list[bytes]) -> None:
        """Take IPv6 packets from the host, in order; never an empty list."""

    def burst_ended(self) -> None:
        """Everything read in this reactor turn has been handed over."""

    def tun_lost(self, reason: str) -> None:
        """The device is gone, and not by `TunDevice.close`; another one may be made in its place. Called once."""


@implementer(IReadDescriptor)
class TunDevice:
    """One TUN interface, from `open` to `close`. It is a packet sink of the IPv6 adapter.

    When somebody removes the interface the descriptor is kept until `close`, and `open` makes the interface again with
    it: a process that has given up root may not be allowed to open the clone device a second time.

    Segmentation offload is used towards the kernel where there is a virtio header, and never asked for from it: packets
    read are at most one MTU long. `mtu` is the interface's, in bytes; setting it, and everything else about the
    interface than its existence, is `meshnode.ipv6.netsetup`'s work.
    """

    read_directly = True
    """For `meshnode.packet_reactor`: `doRead` raises nothing that the reactor has to deal with."""

    def __init__(
        self,
        reactor: TunReactor,
        name: str,
        mtu: int,
        host: TunHost,
        system: TunSystem | None = None,
        counters: TunCounters | None = None,
    ) -> None:
        self.name = name
        self.counters = TunCounters() if counters is None else counters
        self.backlog = Backlog(self.counters)
        self.takes_frames = False
        self.takes_datagram_runs = False
        self._reactor = reactor
        self._host = host
        self._system = system if system is not None else KernelTun()
        self._fd = -1
        self._lost = False
        self._going_on: Any = None
        self._header_size = 0
        self._largest = max(mtu, _SMALLEST_MTU) + _READ_SLACK + len(NO_OFFLOAD)

    # Life

    def open(self) -> None:
        """Make the interface, anew where it was lost. Nothing is read before `start`. Raises TunError."""
        _check_name(self.name)
        existed = self._system.exists(self.name)
        try:
            self._attach()
            if existed:
                self._discard_stale()
        except OSError as error:
            if not self._lost:
                self._close_descriptor()
            raise TunError(f"cannot create TUN interface {self.name}: {self._remedy(error, existed)}") from error
        self._lost = False

    def _attach(self) -> None:
        """Tie a descriptor to the interface, with a virtio header if the kernel has that."""
        if self._fd < 0:
            self._fd = self._system.open()
        for flag, header_size in ((_IFF_VNET_HDR, len(NO_OFFLOAD)), (0, 0)):
            request = _IFREQ.pack(self.name.encode(), _IFF_TUN | _IFF_NO_PI | flag)
            try:
                self._system.ioctl(self._fd, _TUNSETIFF, request)
            except OSError as error:
                if error.errno != errno.EINVAL or not flag:
                    raise
                continue
            self._header_size = header_size
            self.takes_frames = header_size > 0
            self.takes_datagram_runs = self.takes_frames and self._cuts_datagrams()
            return

    def _cuts_datagrams(self) -> bool:
        """Whether the kernel cuts up merged UDP (Linux 6.2): it knows the flag then that asks it to send us such."""
        try:
            self._system.ioctl(self._fd, SET_OFFLOAD, _CSUM_AND_USO)
        except OSError:
            return False
        self._system.ioctl(self._fd, SET_OFFLOAD, 0)
        return True

    def _discard_stale(self) -> None:
        """Replace an interface that outlived its process; its addresses and routes are not ours."""
        self._system.ioctl(self._fd, _TUNSETPERSIST, 0)
        self._close_descriptor()
        self._attach()

    def _remedy(self, error: OSError, existed: bool) -> str:
        if error.errno == errno.EINVAL and existed:
            return "an interface of that name exists and is no TUN: set another tun.name"
        return _REMEDIES.get(error.errno or 0, os.strerror(error.errno or 0))

    def start(self) -> None:
        """Begin to read. The interface should be up and addressed by now."""
        self._reactor.addReader(self)

    def close(self) -> None:
        """Stop and remove the interface. Harmless when already closed or lost."""
        self._stop()
        self._close_descriptor()

    def let_go(self) -> None:
        """The same, until `open`: the descriptor is kept where the interface is gone already."""
        self._stop()
        if self._fd < 0 or self._system.exists(self.name):
            self._close_descriptor()  # the interface is tied to it still, or somebody else's
        else:
            self._lost = True

    def _stop(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            self.backlog = Backlog(self.counters)
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None

    def _close_descriptor(self) -> None:
        self._lost = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._system.close(fd)

    def _lose(self, reason: str) -> None:
        if self._fd >= 0 and not self._lost:
            self.let_go()
            self._host.tun_lost(f"TUN interface {self.name} is gone: {reason}")

    # Descriptor

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:  # noqa: N802
        return f"tun {self.name}"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor found the descriptor unusable."""
        self._lose("somebody removed it")

    def doRead(self) -> None:  # noqa: N802
        """Hand one burst of packets to the host; what is too much for it waits in the backlog."""
        packets, failure = self._read_all()
        counters, backlog = self.counters, self.backlog
        counters.packets_read += len(packets)
        counters.bytes_read += sum(map(len, packets))
        if backlog.waiting or len(packets) > _BURST:
            backlog.add(packets)
            packets = backlog.take(_BURST)
            if backlog.waiting and self._going_on is None:
                self._going_on = self._reactor.callLater(0, self._go_on)
        if packets:
            with _delivering:
                self._host.packets_read(packets)
                self._host.burst_ended()
        if failure is not None:
            self._lose(os.strerror(failure.errno or 0))

    def _go_on(self) -> None:
        """Serve the backlog, whether or not there is anything new."""
        self._going_on = None
        self.doRead()

    def _read_all(self) -> tuple[list[bytes], OSError | None]:
        """Packets that are there now, up to the bound, and the error that ended the device, if one did."""
        read, fd, largest, skip = self._system.read, self._fd, self._largest, self._header_size
        packets: list[bytes] = []
        try:
            for _ in range(_MOST_READ):
                packets.append(read(fd, largest)[skip:])
        except OSError as error:
            if error.errno not in _NOTHING_NOW:
                return packets, error
        return packets, None

    # Sink

    def write(self, packets: list[bytes]) -> None:
        """Deliver complete IPv6 packets to the host."""
        self._write_all([NO_OFFLOAD + packet for packet in packets] if self.takes_frames else packets)

    def write_frames(self, frames: list[bytes]) -> None:
        """Deliver frames of `meshnode.ipv6.coalesce` to the host; only when `takes_frames`."""
        self._write_all(frames)

    def _write_all(self, frames: list[bytes]) -> None:
        write, fd, counters = self._system.write, self._fd, self.counters
        written = size = 0
        for index, frame in enumerate(frames):
            try:
                size += write(fd, frame)
                written += 1
            except OSError as error:
                if self._write_failed(error, len(frames) - index):
                    break
        counters.packets_written += written
        counters.bytes_written += size - written * self._header_size

    def _write_failed(self, error: OSError, left: int) -> bool:
        """Account for a packet the kernel refused, the first of `left`; whether the others need not be tried."""
        counters = self.counters
        if error.errno in _GONE:
            counters.write_dropped += left
            self._lose(os.strerror(error.errno))
            return True
        if error.errno in _NO_ROOM:
            counters.write_dropped += left
            return True
        counters.write_errors += 1
        return False


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > _LONGEST_NAME:
        raise TunError(f"tun.name {name!r} must have 1 to {_LONGEST_NAME} characters")
    if name in {".", ".."} or any(character in "/:%" or character.isspace() for character in name):
        raise TunError(f"tun.name {name!r} must have no space, '/', ':' or '%', and not be '.' or '..'")
