"""L2CAP channels of the Linux kernel: listening and dialling as reactor descriptors (spec 04 section 9.4)."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.ble import sockaddr
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.radio import RadioError

SOL_BLUETOOTH = 274
BT_POWER = 9
BT_SNDMTU = 12
BT_RCVMTU = 13
BACKLOG = 8
SEND_BUFFER = 32 * 1024
"""Bytes the kernel may hold for one channel: its default is more than a second of radio, all of it added delay."""
_NATIVE_U16 = 2
_ORDER = sys.byteorder

_log = Logger()


class L2capSystem(Protocol):
    """The socket calls used here; tests put others in their place."""

    def open(self) -> socket.socket: ...
    def bind(self, sock: socket.socket, device: str, psm: int) -> None: ...
    def connect(self, sock: socket.socket, device: str, psm: int, random: bool) -> None: ...
    def accept(self, sock: socket.socket) -> tuple[socket.socket, str]: ...
    def set_receive_mtu(self, sock: socket.socket, mtu: int) -> None: ...
    def mtus(self, sock: socket.socket) -> tuple[int, int]: ...
    def stay_awake(self, sock: socket.socket) -> None: ...


class KernelL2cap:
    """The real ones. All raise `OSError`."""

    def open(self) -> socket.socket:
        """Return a new socket that does not block."""
        sock = socket.socket(
            sockaddr.AF_BLUETOOTH, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK, sockaddr.BTPROTO_L2CAP
        )
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return sock

    def bind(self, sock: socket.socket, device: str, psm: int) -> None:
        sockaddr.bind(sock, sockaddr.l2cap_address(device, psm))

    def connect(self, sock: socket.socket, device: str, psm: int, random: bool) -> None:
        kind = sockaddr.LE_RANDOM if random else sockaddr.LE_PUBLIC
        sockaddr.connect(sock, sockaddr.l2cap_address(device, psm, kind))

    def accept(self, sock: socket.socket) -> tuple[socket.socket, str]:
        accepted, address = sockaddr.accept(sock)
        return accepted, sockaddr.device_of(address)

    def set_receive_mtu(self, sock: socket.socket, mtu: int) -> None:
        sock.setsockopt(SOL_BLUETOOTH, BT_RCVMTU, mtu.to_bytes(_NATIVE_U16, _ORDER))

    def mtus(self, sock: socket.socket) -> tuple[int, int]:
        """Return what the other side takes and what we take, in bytes."""
        send, receive = (sock.getsockopt(SOL_BLUETOOTH, name, _NATIVE_U16) for name in (BT_SNDMTU, BT_RCVMTU))
        return int.from_bytes(send, _ORDER), int.from_bytes(receive, _ORDER)

    def stay_awake(self, sock: socket.socket) -> None:
        sock.setsockopt(SOL_BLUETOOTH, BT_POWER, b"\x01")


def make_channel(reactor: Any, system: L2capSystem, sock: socket.socket, device: str) -> Channel:
    """Wrap a connected socket. Raises `OSError` when it broke already."""
    send, receive = system.mtus(sock)
    return Channel(reactor, sock, device, min(send, receive), receive)


@implementer(IReadDescriptor)
class Listener:
    """Accepts channels and hands them to `accepted`."""

    def __init__(self, reactor: Any, system: L2capSystem, accepted: Callable[[Channel], None]) -> None:
        self._reactor = reactor
        self._system = system
        self._accepted = accepted
        self._socket: socket.socket | None = None

    def listen(self, device: str, psm: int, mtu: int) -> None:
        """Begin to accept at our own `device`. Raises `RadioError`."""
        try:
            sock = self._system.open()
        except OSError as error:
            raise no_sockets(error) from None
        try:
            self._system.bind(sock, device, psm)
            self._system.set_receive_mtu(sock, mtu)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise _cannot_listen(error, device, psm) from None
        try:
            self._system.stay_awake(sock)
        except OSError as error:
            _log.debug("ble: the radio may doze between frames: {error}", error=error)
        self._socket = sock
        self._reactor.addReader(self)

    def close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return "ble listener"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        self.close()

    def doRead(self) -> None:  # noqa: N802
        """Accept what waits; one that failed meanwhile does not end the listening."""
        for _ in range(BACKLOG):
            if self._socket is None:
                return
            try:
                sock, device = self._system.accept(self._socket)
            except BlockingIOError:
                return
            except OSError as error:
                _log.debug("ble: a channel could not be accepted: {error}", error=error)
                return
            try:
                channel = make_channel(self._reactor, self._system, sock, device)
            except OSError:
                sock.close()
                continue
            channel.inbound = True
            self._accepted(channel)


@implementer(IWriteDescriptor)
class Dialler:
    """One channel being opened; `done` fires with it, or fails with `OSError` or `RadioError`."""

    def __init__(self, reactor: Any, system: L2capSystem, device: str) -> None:
        self._reactor = reactor
        self._system = system
        self._device = device
        self._socket: socket.socket | None = None
        self.done: Deferred[Channel] = Deferred(lambda _: self._end())

    def dial(self, psm: int, mtu: int, random: bool) -> Deferred[Channel]:
        """Begin; `random` tells the type of the device's address."""
        try:
            self._socket = sock = self._system.open()
        except OSError as error:
            self.done.errback(no_sockets(error))
            return self.done
        try:
            self._system.bind(sock, sockaddr.ANY_DEVICE, 0)
            self._system.set_receive_mtu(sock, mtu)
            self._system.connect(sock, self._device, psm, random)
        except BlockingIOError:
            self._reactor.addWriter(self)
        except OSError as error:
            self._fail(error)
        else:
            self._succeed()
        return self.done

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return f"ble dial of {self._device}"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        self._fail(OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))

    def doWrite(self) -> None:  # noqa: N802
        """The attempt has ended, one way or the other."""
        if self._socket is None:
            return
        self._reactor.removeWriter(self)
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(OSError(error, os.strerror(error)))
        else:
            self._succeed()

    def _succeed(self) -> None:
        sock, self._socket = self._socket, None
        assert sock is not None
        try:
            channel = make_channel(self._reactor, self._system, sock, self._device)
        except OSError as error:
            sock.close()
            self._fail(error)
            return
        self.done.callback(channel)

    def _fail(self, error: OSError) -> None:
        self._end()
        if not self.done.called:
            self.done.errback(error)

    def _end(self) -> None:
        if self._socket is not None:
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None


def no_sockets(error: OSError) -> RadioError:
    """Say why the kernel gives no Bluetooth socket."""
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return RadioError("this kernel has no Bluetooth sockets: modprobe bluetooth", permanent=True)
    return RadioError(f"no Bluetooth socket: {_words(error)}")


def _cannot_listen(error: OSError, device: str, psm: int) -> RadioError:
    if error.errno == errno.EADDRINUSE:
        return RadioError(f"L2CAP channel number {psm} is in use at {device}: another node or daemon runs; write psm")
    if error.errno in (errno.EACCES, errno.EPERM):
        return RadioError(f"not permitted to listen at L2CAP channel number {psm}: write psm: 133, or run as root")
    return RadioError(f"cannot listen at {device}, L2CAP channel number {psm}: {_words(error)}")


def _words(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
