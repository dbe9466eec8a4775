"""What the hosts send each other, and what becomes of every single packet."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random
from struct import Struct
from typing import Protocol

from meshnode.ipv6.fragment import Reassembler

from .clock import VirtualClock
from .machine import Machine
from .scenario import TrafficSpec

_TAG = Struct(">4sHIIH")
_MAGIC = b"MSIM"
_HEADER = 40
_NO_NEXT_HEADER = b"\x3b"
_ICMPV6 = 58
_TOO_BIG = 2
_LEAST_SIZE = _HEADER + _TAG.size

PENDING, DELIVERED, REFUSED, EXCUSED = range(4)
"""What became of a packet: nothing yet (at the end: lost), arrived, returned with an ICMPv6 error, or lost for a
reason that is nobody's fault: an end crashed, there was no path when it was sent, or it found the path MTU."""

Complain = Callable[[str, str], None]
"""`complain(invariant, detail)` notes a violation."""


class Wiring(Protocol):
    """What traffic asks about the mesh below it."""

    def connected(self, source: Machine, destination: Machine) -> bool:
        """Whether both run and working links lead from one to the other."""


class Flow:
    """Packets from one machine to another. Index i of each list is packet i."""

    __slots__ = ("arrived", "destination", "hops", "number", "sent", "size", "source", "state")

    def __init__(self, number: int, source: Machine, destination: Machine, size: int) -> None:
        self.number = number
        self.source = source
        self.destination = destination
        self.size = size
        self.sent = array("d")
        self.arrived = array("d")
        self.state = bytearray()
        self.hops = bytearray()


class Traffic:
    """One entry of a scenario's `traffic`, running."""

    def __init__(
        self,
        number: int,
        spec: TrafficSpec,
        machines: list[Machine],
        clock: VirtualClock,
        wiring: Wiring,
        random: Random,
    ) -> None:
        self.number = number
        self.spec = spec
        self.flows: list[Flow] = []
        self._clock = clock
        self._wiring = wiring
        self._random = random
        self._machines = machines
        self._by_pair: dict[tuple[str, str], Flow] = {}

    def start(self) -> None:
        """Set the first packets of all flows, each at a moment of its own within the first interval."""
        if self.spec.kind == "zipf":
            self._clock.at(self.spec.begin, self._draw, self._popularity())
            return
        for source, destination, interval, size in flows_of(self.spec, self._machines, self._random):
            flow = self.flow(source, destination, size)
            first = self.spec.begin + self._random.random() * min(interval, 1.0 if self.spec.once else interval)
            self._clock.at(first, self._send, (flow, interval))

    def flow(self, source: Machine, destination: Machine, size: int) -> Flow:
        """The flow between two machines, made when first asked for."""
        pair = (source.name, destination.name)
        flow = self._by_pair.get(pair)
        if flow is None:
            flow = self._by_pair[pair] = Flow(len(self.flows), source, destination, size)
            self.flows.append(flow)
        return flow

    def _send(self, job: tuple[Flow, float]) -> None:
        flow, interval = job
        self.emit(flow)
        again = self._clock.seconds() + interval
        if not self.spec.once and again < self.spec.end:
            self._clock.at(again, self._send, job)

    def _popularity(self) -> list[float]:
        """Cumulative weights of destinations: the k-th most popular has 1 / k**exponent."""
        total, weights = 0.0, []
        for rank in range(1, len(self._machines) + 1):
            total += rank**-self.spec.exponent
            weights.append(total)
        return weights

    def _draw(self, weights: list[float]) -> None:
        source = self._random.choice(self._machines)
        destination = self._random.choices(self._machines, cum_weights=weights)[0]
        if source is not destination:
            self.emit(self.flow(source, destination, self.spec.size))
        again = self._clock.seconds() + self.spec.interval
        if again < self.spec.end:
            self._clock.at(again, self._draw, weights)

    def emit(self, flow: Flow) -> None:
        """Let the source's host send the next packet of `flow`, if both ends run."""
        source, destination = flow.source, flow.destination
        if not (source.running and destination.running):
            return
        index = len(flow.sent)
        flow.sent.append(self._clock.seconds())
        flow.arrived.append(0.0)
        flow.hops.append(0)
        flow.state.append(PENDING if self._wiring.connected(source, destination) else EXCUSED)
        source.knows(destination)
        source.send(self._packet(flow, index))

    def _packet(self, flow: Flow, index: int) -> bytes:
        length = flow.size - _HEADER
        header = b"\x60\x00\x00\x00" + length.to_bytes(2, "big") + _NO_NEXT_HEADER + b"\x40"
        addresses = flow.source.identity.ipv6 + flow.destination.identity.ipv6
        return header + addresses + payload(self.number, flow.number, index, flow.size)

    def excuse_lost(self, gone: Machine, since: float) -> None:
        """Do not blame the mesh for what was under way to or from a machine that has just crashed."""
        for flow in self.flows:
            if flow.source is gone or flow.destination is gone:
                for index in range(len(flow.sent) - 1, -1, -1):
                    if flow.sent[index] < since:
                        break
                    if flow.state[index] == PENDING:
                        flow.state[index] = EXCUSED


def payload(traffic: int, flow: int, index: int, size: int) -> bytes:
    """The bytes after the IPv6 header of a packet of `size` bytes: a tag, and filler that follows from it."""
    tag = _TAG.pack(_MAGIC, traffic, flow, index, size)
    length = size - _HEADER - len(tag)
    seed = bytes((index * 7 + k * 31 + flow) & 0xFF for k in range(16))
    return tag + (seed * (length // 16 + 1))[:length]


class Receiver:
    """Takes what machines hand to their hosts, and checks it byte for byte."""

    def __init__(self, traffics: list[Traffic], clock: VirtualClock, complain: Complain) -> None:
        self.errors = 0
        self._traffics = traffics
        self._clock = clock
        self._complain = complain
        self._reassembler = Reassembler()

    def receive(self, machine: Machine, fragment: bytes) -> None:
        """A host got a packet or the fragment of one: a delivery, or an ICMPv6 error about a packet of its own."""
        packet = self._reassembler.add(fragment)
        if packet is None:
            return
        if packet[6] == _ICMPV6:
            self._error(packet)
            return
        found = self._find(packet[_HEADER:])
        if found is None:
            self._complain("payload intact", f"{machine.name} received {len(packet)} bytes that nobody sent")
            return
        traffic, flow, index, size = found
        what = f"packet {index} of {traffic.spec.name} from {flow.source.name} to {flow.destination.name}"
        if machine is not flow.destination or packet[24:40] != machine.identity.ipv6:
            self._complain("right node", f"{what} was delivered to {machine.name}")
        elif packet[8:24] != flow.source.identity.ipv6 or not _intact(packet, traffic, flow, index, size):
            self._complain("payload intact", f"{what} was altered on the way")
        elif flow.state[index] == DELIVERED or flow.arrived[index]:
            self._complain("delivered once", f"{what} was delivered twice")
        else:
            self._deliver(machine, flow, index)

    def _deliver(self, machine: Machine, flow: Flow, index: int) -> None:
        flow.arrived[index] = self._clock.seconds()
        if flow.state[index] != EXCUSED:
            flow.state[index] = DELIVERED
        if machine.node is not None:
            flow.hops[index] = min(machine.node.last_hops.get(flow.source.address, 0), 255)

    def _find(self, body: bytes) -> tuple[Traffic, Flow, int, int] | None:
        if len(body) < _TAG.size:
            return None
        magic, number, flow_number, index, size = _TAG.unpack_from(body)
        if magic != _MAGIC or number >= len(self._traffics):
            return None
        traffic = self._traffics[number]
        if flow_number >= len(traffic.flows) or index >= len(traffic.flows[flow_number].sent):
            return None
        return traffic, traffic.flows[flow_number], index, size

    def _error(self, packet: bytes) -> None:
        """A host learns that a packet of its own did not get through, and why."""
        self.errors += 1
        found = self._find(packet[_HEADER + 8 + _HEADER :])
        if found is None:
            return
        _, flow, index, _ = found
        too_big = packet[_HEADER] == _TOO_BIG
        if too_big:
            limit = int.from_bytes(packet[_HEADER + 4 : _HEADER + 8], "big")
            flow.size = max(min(flow.size, limit), _LEAST_SIZE)
        if flow.state[index] == PENDING:
            flow.state[index] = EXCUSED if too_big else REFUSED


def _intact(packet: bytes, traffic: Traffic, flow: Flow, index: int, size: int) -> bool:
    return len(packet) == size and packet[_HEADER:] == payload(traffic.number, flow.number, index, size)


def flows_of(spec: TrafficSpec, machines: list[Machine], random: Random) -> list[tuple[Machine, Machine, float, int]]:
    """Source, destination, interval and size of each flow; destinations of `zipf` are drawn as it goes."""
    if spec.kind == "elephants_and_mice":
        return _elephants_and_mice(spec, machines, random)
    return [(a, b, spec.interval, spec.size) for a, b in _pairs(spec, machines, random)]


def _pairs(spec: TrafficSpec, machines: list[Machine], random: Random) -> list[tuple[Machine, Machine]]:
    by_name = {machine.name: machine for machine in machines}
    if spec.kind == "pairs":
        return [(by_name[a], by_name[b]) for a, b in spec.named_pairs]
    if spec.kind == "uniform":
        return random_pairs(machines, spec.pairs, random)
    if spec.kind == "permutation":
        order = random.sample(machines, len(machines))
        return list(zip(order, order[1:] + order[:1], strict=True)) if len(order) > 1 else []
    if spec.kind == "all_to_all":
        return [(a, b) for a in machines for b in machines if a is not b]
    centre = by_name[spec.node] if spec.node else random.choice(machines)
    others = [machine for machine in machines if machine is not centre]
    if spec.others:
        others = random.sample(others, min(spec.others, len(others)))
    return [(centre, other) if spec.kind == "fan_out" else (other, centre) for other in others]


def random_pairs(machines: list[Machine], count: int, random: Random) -> list[tuple[Machine, Machine]]:
    """`count` different ordered pairs, or all of them if there are fewer."""
    size = len(machines)
    count = min(count, size * (size - 1))
    chosen: dict[tuple[int, int], None] = {}
    while len(chosen) < count:
        a, b = random.randrange(size), random.randrange(size)
        if a != b:
            chosen[a, b] = None
    return [(machines[a], machines[b]) for a, b in chosen]


def _elephants_and_mice(
    spec: TrafficSpec, machines: list[Machine], random: Random
) -> list[tuple[Machine, Machine, float, int]]:
    """A few flows of `size` at the full rate, and `others` flows of small packets at a twentieth of it."""
    elephants = [(a, b, spec.interval, spec.size) for a, b in random_pairs(machines, spec.pairs, random)]
    mice = random_pairs(machines, spec.others or 10 * spec.pairs, random)
    taken = {(a.name, b.name) for a, b, _, _ in elephants}
    return elephants + [(a, b, spec.interval * 20, 100) for a, b in mice if (a.name, b.name) not in taken]
