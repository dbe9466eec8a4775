"""A meshnode transport over a serial line: one link frame per SLIP packet (RFC 1055).

The line has two ends, so there is one address, the path of our own end.
"""

from twisted.internet.protocol import Protocol
from twisted.internet.serialport import SerialPort
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshnode.transports.interfaces import ITransport, ITransportFactory, TransportError

END, ESC = b"\xc0", b"\xdb"
RETRY_SECS = 1.0
log = Logger()


def pack(frame):
    return END + frame.replace(ESC, ESC + b"\xdd").replace(END, ESC + b"\xdc") + END


def unpack(packet):
    return packet.replace(ESC + b"\xdc", END).replace(ESC + b"\xdd", ESC)


class Line(Protocol):
    """The open device. Twisted pauses its producer, which is this, while 64 KiB wait to be written."""

    def __init__(self, frames_arrived, lost, longest):
        self.frames_arrived, self.lost, self.longest = frames_arrived, lost, longest
        self.rest, self.is_full = b"", False

    def connectionMade(self):
        self.transport.registerProducer(self, True)

    def pauseProducing(self):
        self.is_full = True

    def resumeProducing(self):
        self.is_full = False

    def stopProducing(self):
        """The line is going down, which `connectionLost` tells."""

    def dataReceived(self, data):
        *packets, self.rest = (self.rest + data).split(END)
        self.rest = self.rest[-self.longest :]  # noise without an end is not kept for ever
        self.frames_arrived([unpack(packet) for packet in packets if packet])

    def connectionLost(self, reason):
        self.lost(reason.getErrorMessage())


@implementer(ITransport)
class SerialTransport:
    kind, accepts_connections = "serial", True

    def __init__(self, transport_id, name, section, host, reactor):
        self.transport_id, self.name, self.host, self.reactor = transport_id, name, host, reactor
        self.device, self.speed = section.get("device"), section.get("speed", 115200)
        if not isinstance(self.device, str) or not isinstance(self.speed, int):
            raise TransportError("serial: write device: /dev/ttyUSB0 or the like, and a usual speed such as 115200")
        self.mtu, self.state, self.local_address = section.get("mtu", 1280), "configured", None
        self.line = self.retry = None
        self.counters = dict.fromkeys(("packets_sent", "bytes_sent", "packets_recv", "bytes_recv", "send_errors"), 0)

    def start(self):
        self.state = "starting"
        self._open()

    def _open(self):
        line = Line(self._frames_arrived, self._lost, longest=4 * self.mtu)
        try:
            SerialPort(line, self.device, self.reactor, baudrate=self.speed)
        except (OSError, ValueError) as error:
            if self.retry is None:
                log.warn("serial: {error}; waiting for it", error=error)
            self.retry = self.reactor.callLater(RETRY_SECS, self._retry)
        else:
            self.line, self.state, self.local_address = line, "up", self.device

    def _retry(self):
        self._open()
        if self.line:
            self.host.state_changed(self, f"{self.device} is there")

    def _lost(self, cause):
        self.line = self.local_address = None
        if self.state == "up":
            self.state = "starting"
            self.retry = self.reactor.callLater(RETRY_SECS, self._retry)
            self.host.state_changed(self, f"{self.device}: {cause}")

    def stop(self):
        self.state = "down"
        if self.retry and self.retry.active():
            self.retry.cancel()
        if self.line:
            self.line.transport.loseConnection()

    def send(self, address, frames):
        if self.line is None or self.line.is_full:
            self.counters["send_errors"] += len(frames)
        else:
            self._count("sent", frames)
            self.line.transport.write(b"".join(map(pack, frames)))

    def flush(self):
        """Everything is with the line already."""

    def _frames_arrived(self, frames):
        if frames:
            self._count("recv", frames)
            self.host.frames_received(self, self.device, frames)
            self.host.burst_ended()

    def _count(self, way, frames):
        self.counters[f"packets_{way}"] += len(frames)
        self.counters[f"bytes_{way}"] += sum(map(len, frames))

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
