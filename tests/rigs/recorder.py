"""Records what passes a switch, and sends it again: as it was, or from an address of its own."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event, Thread

from tests.rigs.hosts import Bridge, Host
from tests.rigs.waiting import pause

_ETH_P_ALL = 3
_ETH_P_IP = 0x0800
_UDP = 17
_BURST = 50


@dataclass(frozen=True)
class Recorded:
    """One datagram between nodes: the whole Ethernet frame, the port of the switch it has to leave through, and the
    datagram with its destination."""

    frame: bytes
    port: str
    payload: bytes
    target: tuple[str, int]


class Recorder:
    """Listens on every port of a switch for UDP datagrams to or from `number`."""

    def __init__(self, bridge: Bridge, ports: Iterable[str], number: int = 2121) -> None:
        self._ports = list(ports)
        self._number = number
        self._ended = Event()
        self.frames: list[Recorded] = []
        with bridge.hub.inside():
            self._sockets = {port: self._listen(port) for port in self._ports}
        self._threads = [Thread(target=self._record, args=(port,), daemon=True) for port in self._ports]
        for thread in self._threads:
            thread.start()

    def _listen(self, port: str) -> socket.socket:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        listener.bind((port, _ETH_P_ALL))
        listener.settimeout(0.2)
        return listener

    def _record(self, port: str) -> None:
        """Note what leaves the switch through `port`: it is on its way to whoever is plugged in there."""
        while not self._ended.is_set():
            try:
                frame, sender = self._sockets[port].recvfrom(65535)
            except TimeoutError:
                continue
            if sender[2] == socket.PACKET_OUTGOING:
                self.frames += self._read(frame, port)

    def _read(self, frame: bytes, port: str) -> list[Recorded]:
        """The datagrams in one frame: on a virtual cable several travel as one, without their checksums."""
        if len(frame) < 42 or struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP or frame[23] != _UDP:
            return []
        start = 14 + (frame[14] & 15) * 4
        source, target, length = struct.unpack_from("!HHH", frame, start)
        if self._number not in (source, target):
            return []
        address = socket.inet_ntoa(frame[30:34])
        payloads = _link_frames(frame[start + 8 : start + length])
        return [Recorded(_rebuilt(frame, payload), port, payload, (address, target)) for payload in payloads]

    def stop(self) -> list[Recorded]:
        """Record no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join(2)
        return self.frames

    def replay(self, records: Iterable[Recorded], rate: float = 2000.0) -> None:
        """Send frames again as they were, addresses and all, so many a second."""
        for number, record in enumerate(records, 1):
            self._sockets[record.port].send(record.frame)
            if number % _BURST == 0:
                pause(_BURST / rate)

    def close(self) -> None:
        for listener in self._sockets.values():
            listener.close()


def _link_frames(data: bytes) -> list[bytes]:
    """Cut what was sent at once into the frames of links (spec 01 section 3.4)."""
    frames = []
    while len(data) >= 4:
        size = struct.unpack_from("<H", data, 2)[0] + (32 if data[0] == 0 else 4)
        frames.append(data[:size])
        data = data[size:]
    return frames


def _rebuilt(frame: bytes, payload: bytes) -> bytes:
    """The Ethernet frame with `payload` instead of what it carried; without options, and a UDP checksum."""
    header = bytearray(frame[14:34])
    header[0] = 0x45
    struct.pack_into("!HHH", header, 2, 28 + len(payload), 0, 0)
    struct.pack_into("!H", header, 10, 0)
    total = sum(struct.unpack("!10H", header))
    struct.pack_into("!H", header, 10, ~(total % 0xFFFF) & 0xFFFF)
    start = 14 + (frame[14] & 15) * 4
    return frame[:14] + bytes(header) + frame[start : start + 4] + struct.pack("!HH", 8 + len(payload), 0) + payload


def replay_from(host: Host, records: Iterable[Recorded], rate: float = 2000.0) -> None:
    """Send datagrams again, from an address of `host`."""
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number, record in enumerate(records, 1):
            sender.sendto(record.payload, record.target)
            if number % _BURST == 0:
                pause(_BURST / rate)
