"""One edge of a mesh per carrier: each joins two nodes by a medium of its own, which can be cut and mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, ClassVar

from tests.rigs.ble import Air, address
from tests.rigs.hosts import Bridge, cable, wire
from tests.rigs.labs import Lab
from tests.rigs.nodes import Node, Program, merged
from tests.rigs.serial import SerialCable
from tests.rigs.tor import TorNetwork
from tests.rigs.waiting import wait_until


class Carrier:
    """A medium between two nodes; the left one dials unless the carrier finds the other by itself.

    `kind` is the type of transport whose link it makes.
    """

    kind: ClassVar[str] = ""

    def __init__(self, lab: Lab, left: Node, right: Node) -> None:
        self.lab = lab
        self.left, self.right = left, right

    def lay(self) -> None:
        """Lay the medium and tell the nodes, which do not run yet."""
        raise NotImplementedError

    def wait_ready(self) -> None:
        """Return once the medium itself works."""

    def cut(self) -> None:
        """Let nothing through, without a word if the medium has none."""
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the laboratory does not."""

    @property
    def name(self) -> str:
        return type(self).__name__.removesuffix("Carrier").lower()

    def is_up(self, since: float = 0.0) -> bool:
        """Whether either node has heard the other over this carrier since a moment (Unix time)."""
        rows = (near.peers().get(far.npub) for near, far in ((self.left, self.right), (self.right, self.left)))
        return all(
            row is not None and row["transport_type"] == self.kind and row["last_seen_ms"] > since * 1000
            for row in rows
        )

    def _give(self, node: Node, section: Mapping[str, Any], peers: Sequence[Mapping[str, Any]] = ()) -> None:
        node.settings = merged(node.settings, {"transports": {self.kind: section}})
        node.settings["peers"].extend(peers)

    def _peer(self, where: str) -> dict[str, Any]:
        """The right node as a static peer of the left one."""
        endpoint = {"transport": self.kind, "addr": where}
        return {"npub": self.right.npub, "alias": self.right.name, "addresses": [endpoint]}


class UdpCarrier(Carrier):
    """A cable with IPv4 addresses and datagrams on it."""

    kind = "udp"
    port: ClassVar[int] = 2121
    section: ClassVar[dict[str, Any]] = {"bind_addr": "0.0.0.0:2121", "mtu": 1472}

    def lay(self) -> None:
        self.interface = f"{self.name}-left"
        subnet = f"10.96.{len(self.lab.hosts)}{self.left.name[-1]}"
        _, far = cable(self.left.host, self.right.host, subnet, self.interface, f"{self.name}-right")
        self._give(self.left, self.section, [self._peer(f"{far}:{self.port}")])
        self._give(self.right, self.section)

    def cut(self) -> None:
        self.right.host.ip(f"link set {self.name}-right down")

    def mend(self) -> None:
        self.right.host.ip(f"link set {self.name}-right up")


class TcpCarrier(UdpCarrier):
    """The same with connections."""

    kind = "tcp"
    port = 8443
    section: ClassVar[dict[str, Any]] = {"bind_addr": "0.0.0.0:8443"}


class WireCarrier(Carrier):
    """A cable without any IP address; beacons find the other."""

    kind = "ethernet"
    openly: ClassVar[dict[str, Any]] = {"announce": True, "auto_connect": True, "accept_connections": True}

    def lay(self) -> None:
        wire(self.left.host, self.right.host, "wire0", "wire0")
        for node in (self.left, self.right):
            self._give(node, {"interface": "wire0", **self.openly})

    def cut(self) -> None:
        self.right.host.ip("link set wire0 down")

    def mend(self) -> None:
        self.right.host.ip("link set wire0 up")


class EthernetCarrier(Carrier):
    """A switch without any IP address; beacons find the other."""

    kind = "ethernet"

    def lay(self) -> None:
        self.switch = Bridge(self.lab.host(f"{self.name}-switch"), "unused")
        for node in (self.left, self.right):
            self.port = self.switch.plug(node.host, f"{self.name}0")
            self._give(node, {"interface": f"{self.name}0", **WireCarrier.openly})

    def cut(self) -> None:
        self.switch.hub.ip(f"link set {self.port} nomaster")

    def mend(self) -> None:
        self.switch.hub.ip(f"link set {self.port} master br0")


class LanCarrier(EthernetCarrier):
    """A switch with IP addresses, and no configuration of peers."""

    kind = "udp"

    def lay(self) -> None:
        self.switch = Bridge(self.lab.host(f"{self.name}-switch"), "10.95.1")
        for node in (self.left, self.right):
            self.switch.join(node.host, f"{self.name}0")
            self._give(node, UdpCarrier.section)
            extras = (
                {} if node.program.name == "reference" else {"meshnode": {"lan": {"interfaces": [f"{self.name}0"]}}}
            )
            node.settings = merged(node.settings, {"node": {"discovery": {"lan": {"enabled": True}}}, **extras})
        self.port = "port1"


class PluginCarrier(Carrier):
    """A serial line, and the transport of the example package."""

    kind = "serial"

    def lay(self) -> None:
        self.line = SerialCable()
        for node, device in ((self.left, self.line.left), (self.right, self.line.right)):
            self._give(node, {"device": device})
        self.left.settings["peers"].append(self._peer(self.line.left))

    def cut(self) -> None:
        self.line.cut()

    def mend(self) -> None:
        self.line.mend()

    def close(self) -> None:
        self.line.close()


class BleCarrier(Carrier):
    """Two Bluetooth devices within reach of each other."""

    kind = "ble"

    def lay(self) -> None:
        self.air = Air(self.lab.directory)
        self._give(self.left, self.air.settings(1), [self._peer(address(2))])
        self._give(self.right, self.air.settings(2))

    def cut(self) -> None:
        self.air.cut(1, 2)

    def mend(self) -> None:
        self.air.mend(1, 2)

    def close(self) -> None:
        self.air.close()


class TorCarrier(Carrier):
    """A private Tor network on a host of its own, and a Tor beside either node; the right one is an onion service.

    To cut it, the Tor of the left node is killed.
    """

    kind = "tor"
    port: ClassVar[int] = 8443

    def lay(self) -> None:
        hub = self.lab.host("tor-hub")
        bridge = Bridge(hub, "10.98.0")
        hub.ip("addr add 10.98.0.1/24 dev br0")
        for node in (self.left, self.right):
            bridge.join(node.host, "tor0")
        self.network = TorNetwork(self.lab.directory / "tor", hub, "10.98.0.1")
        self.caller = self.network.client(self.left.host)
        self.service = self.network.client(self.right.host, self.port, f"127.0.0.1:{self.port}")
        files = {"hostname_file": str(self.service.hostname_file), "bind_addr": f"127.0.0.1:{self.port}"}
        wait_until(self.service.hostname_file.exists, 20, "the onion service has its name")
        self._give(self.left, {}, [self._peer(f"{self.service.hostname}:{self.port}")])
        self._give(self.right, {"mode": "directory", "directory_service": files, "advertised_port": self.port})

    def wait_ready(self) -> None:
        self.network.wait_ready()
        onion = self.service.hostname
        wait_until(lambda: self.caller.reaches(onion, self.port), 60, "the onion service is found", interval=1.0)

    def cut(self) -> None:
        self.caller.stop()

    def mend(self) -> None:
        self.caller.start()


class Ring:
    """Nodes n0, n1, ... in a ring, each with the next over another carrier."""

    def __init__(self, lab: Lab, carriers: Sequence[type[Carrier]], programs: Sequence[Program]) -> None:
        self.nodes = [
            lab.node(f"n{number}", lab.host(f"host-n{number}"), programs[number % len(programs)])
            for number in range(len(carriers))
        ]
        self._stack = ExitStack()
        self.carriers = []
        for node in self.nodes:
            node.carries()
        for kind, (left, right) in zip(carriers, pairwise([*self.nodes, self.nodes[0]]), strict=True):
            carrier = kind(lab, left, right)
            carrier.lay()
            self._stack.callback(carrier.close)
            self.carriers.append(carrier)

    def start(self) -> None:
        for carrier in self.carriers:
            carrier.wait_ready()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(30)

    def close(self) -> None:
        self._stack.close()
