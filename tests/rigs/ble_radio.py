"""A radio on the virtual air of tests/rigs/ble_air.py, for a node with `adapter: air:SOCKET#DEVICE`."""

from __future__ import annotations

import json
import socket
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.radio import IRadio, IRadioFactory, IRadioUser, RadioError, RadioSettings, RadioStatus

_PACKET = 65536


@implementer(IPlugin, IRadioFactory)
class AirRadioFactory:
    """Makes radios for the scheme `air`."""

    scheme = "air"

    def create(self, settings: RadioSettings, reactor: Any) -> IRadio:
        """Make one radio; opens nothing yet."""
        return AirRadio(settings, reactor)


@implementer(IRadio, IReadDescriptor)
class AirRadio:
    """One device on the air."""

    def __init__(self, settings: RadioSettings, reactor: Any) -> None:
        self._settings = settings
        self._path, _, self._device = settings.adapter.partition(":")[2].partition("#")
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._user: IRadioUser | None = None
        self._opening: Deferred[RadioStatus] | None = None
        self._dials: dict[int, tuple[str, Deferred[Channel]]] = {}
        self._numbers = count(1)

    def open(self, user: IRadioUser) -> Deferred[RadioStatus]:
        self._disconnect()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            return fail(RadioError(f"no virtual air at {self._path}: {error.strerror}"))
        sock.setblocking(False)
        self._socket, self._user, self._opening = sock, user, Deferred()
        self._reactor.addReader(self)
        settings = self._settings
        self._say(
            op="attach",
            device=self._device,
            psm=settings.psm,
            mtu=settings.mtu,
            advertise=settings.advertise,
            scan=settings.scan,
            listen=settings.listen,
        )
        return self._opening

    def dial(self, device: str) -> Deferred[Channel]:
        if self._socket is None:
            return fail(RadioError("the virtual air is gone"))
        number = next(self._numbers)
        attempt: Deferred[Channel] = Deferred(lambda _: self._dials.pop(number, None))
        self._dials[number] = (device, attempt)
        self._say(op="dial", id=number, device=device)
        return attempt

    def close(self) -> Deferred[None]:
        self._disconnect()
        return succeed(None)

    def _say(self, **order: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(order).encode())

    def _disconnect(self) -> None:
        self._user = self._opening = None
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    # -- as a descriptor

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "virtual air"

    def connectionLost(self, reason: Failure) -> None:
        self._lost("the virtual air is gone")

    def doRead(self) -> None:
        while self._socket is not None:
            try:
                packet, descriptors, _flags, _address = socket.recv_fds(self._socket, _PACKET, 1)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                self._lost("the virtual air is gone")
                return
            self._take(json.loads(packet), [socket.socket(fileno=descriptor) for descriptor in descriptors])

    def _take(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        user, opening = self._user, self._opening
        match message["event"]:
            case "open" if opening is not None:
                self._opening = None
                opening.callback(RadioStatus(message["device"], self._settings.advertise))
            case "trouble" if opening is not None:
                self._disconnect()
                opening.errback(RadioError(message["cause"]))
            case "found" if user is not None:
                user.device_found(message["device"])
            case "accepted" if user is not None:
                channel = self._channel(message, message["device"], sockets[0])
                channel.inbound = True
                user.channel_accepted(channel)
            case "dialled" | "refused":
                self._answered(message, sockets)
            case "lost":
                self._lost(message["cause"])

    def _answered(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        device, attempt = self._dials.pop(message["id"], (None, None))
        if attempt is None or device is None:
            for sock in sockets:
                sock.close()
        elif message["event"] == "dialled":
            attempt.callback(self._channel(message, device, sockets[0]))
        else:
            attempt.errback(RadioError(message["cause"]))

    def _channel(self, message: dict[str, Any], device: str, sock: socket.socket) -> Channel:
        sock.setblocking(False)
        return Channel(self._reactor, sock, device, message["mtu"], message["receive_mtu"])

    def _lost(self, cause: str) -> None:
        user, opening = self._user, self._opening
        self._disconnect()
        if opening is not None:
            opening.errback(RadioError(cause))
        elif user is not None:
            user.radio_lost(cause)
