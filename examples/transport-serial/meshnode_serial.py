"""A meshnode transport over a serial line: one link frame per SLIP packet (RFC 1055).

The line has two ends, so there is one address, the path of our own end. In the configuration:

    transports:
      serial: {device: /dev/ttyUSB0, speed: 115200}
    peers:
      - npub: npub1...
        addresses: [{transport: serial, addr: /dev/ttyUSB0}]
"""

import os
import termios
import tty

from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportFactory, TransportError

END, ESC = b"\xc0", b"\xdb"
MOST_WAITING = 64 * 1024  # bytes that may wait for a slow line; frames beyond are dropped and counted
RETRY_SECS = 1.0
log = Logger()


def pack(frame: bytes) -> bytes:
    return END + frame.replace(ESC, ESC + b"\xdd").replace(END, ESC + b"\xdc") + END


def unpack(packet: bytes) -> bytes:
    return packet.replace(ESC + b"\xdc", END).replace(ESC + b"\xdd", ESC)


class Line(FileDescriptor):
    """The open device; Twisted's base class keeps what waits to be written."""

    def __init__(self, path, speed, reactor, received, lost):
        super().__init__(reactor)
        self.received, self.lost, self.waiting = received, lost, 0
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        attributes = termios.tcgetattr(self.fd)
        attributes[4] = attributes[5] = getattr(termios, f"B{speed}")
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        self.connected = True
        self.startReading()

    def fileno(self):
        return self.fd

    def doRead(self):
        return fdesc.readFromFD(self.fd, self.received)

    def write(self, data):
        self.waiting += len(data)
        super().write(data)

    def writeSomeData(self, data):
        written = fdesc.writeToFD(self.fd, data)
        self.waiting -= max(written, 0)
        return written

    def connectionLost(self, reason):
        super().connectionLost(reason)
        os.close(self.fd)
        self.lost(reason.getErrorMessage())


@implementer(ITransport)
class SerialTransport:
    kind, accepts_connections = "serial", True

    def __init__(self, transport_id, name, section, host, reactor):
        self.transport_id, self.name, self.host, self.reactor = transport_id, name, host, reactor
        self.device, self.speed = section.get("device"), section.get("speed", 115200)
        if not isinstance(self.device, str) or not hasattr(termios, f"B{self.speed}"):
            raise TransportError("serial: write device: /dev/ttyUSB0 or the like, and a usual speed such as 115200")
        self.mtu = section.get("mtu", 1280)
        self.state, self.local_address = "configured", None
        self.line, self.rest, self.retry = None, b"", None
        self.counters = dict.fromkeys(("packets_sent", "bytes_sent", "packets_recv", "bytes_recv", "send_errors"), 0)

    def start(self):
        self.state = "starting"
        self._open()
        if self.line is None:
            log.warn("serial {device} is not there; waiting for it", device=self.device)

    def _open(self):
        self.retry = None
        try:
            self.line = Line(self.device, self.speed, self.reactor, self._received, self._lost)
        except (OSError, termios.error):
            self.retry = self.reactor.callLater(RETRY_SECS, self._reopen)
            return
        self.state, self.local_address, self.rest = "up", self.device, b""

    def _reopen(self):
        self._open()
        if self.line is not None:
            self.host.state_changed(self, f"{self.device} is there")

    def _lost(self, cause):
        self.line = self.local_address = None
        if self.state == "up":
            self.state = "starting"
            self.host.state_changed(self, f"{self.device}: {cause}")
            self.retry = self.reactor.callLater(RETRY_SECS, self._reopen)

    def stop(self):
        self.state = "down"
        if self.retry is not None:
            self.retry.cancel()
        if self.line is not None:
            self.line.loseConnection()

    def send(self, address, frames):
        fitting = [frame for frame in frames if len(frame) <= self.mtu]
        if self.line is None or self.line.waiting > MOST_WAITING:
            fitting = []
        self._count("sent", fitting)
        self.counters["send_errors"] += len(frames) - len(fitting)
        if fitting:
            self.line.write(b"".join(map(pack, fitting)))

    def _count(self, way, frames):
        self.counters[f"packets_{way}"] += len(frames)
        self.counters[f"bytes_{way}"] += sum(map(len, frames))

    def flush(self):
        """Everything is with the line already."""

    def _received(self, data):
        *packets, self.rest = (self.rest + data).split(END)
        self.rest = self.rest[-4 * self.mtu :]  # noise without an end is not kept for ever
        frames = [unpack(packet) for packet in packets if packet]
        if frames:
            self._count("recv", frames)
            self.host.frames_received(self, self.device, frames)
            self.host.burst_ended()

    def link_mtu(self, address):
        return self.mtu

    def can_dial(self, address):
        return self.line is not None and address == self.device

    def stats(self):
        return dict(self.counters)


@implementer(IPlugin, ITransportFactory)
class SerialTransportFactory:
    kind = "serial"

    def create(self, transport_id, name, section, host, reactor):
        return SerialTransport(transport_id, name, section, host, reactor)
