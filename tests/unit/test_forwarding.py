"""Datagrams through a node: what is delivered, relayed, dropped and answered (spec 03 sections 9 and 10)."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.mesh.settings import EcnSettings, MeshSettings
from meshnode.node.forwarding import Forwarding
from meshnode.wire.link import FLAG_CE
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken, parse_signal
from tests.unit.mesh_rig import VECTORS, path
from tests.unit.router_rig import ADDRESSES, Node

ME, PARENT, CHILD, FAR, SOURCE = 3, 1, 5, 6, 7
STEPS = VECTORS["signals_and_datagrams"]["forward_step"]
DATA = bytes((0, 0, 2, 0)) + b"hi"
SIGNAL = bytes((0, 4, 2, 0)) + b"hi"
TIMESTAMP = bytes(4)


class Links:
    """Peers, and a seal that notes what it was given instead of encrypting it."""

    def __init__(self, *peers: int) -> None:
        self.peers = {ADDRESSES[n]: peer(n) for n in peers}

    def seal(self, to: Any, head: bytes, payloads: list[bytes], offset: int, flags: int, now: float) -> list[Any]:
        return [(head + payload[offset:], flags) for payload in payloads]


class Transports:
    """Links of a given MTU, and what was sent over them."""

    def __init__(self) -> None:
        self.mtus: dict[int, int] = {}
        self.sent: list[tuple[int, bytes, int]] = []
        self.kernel_drops = 0

    def __iter__(self) -> Any:
        return iter([SimpleNamespace(stats=lambda: {"kernel_drops": self.kernel_drops})])

    def link_mtu(self, path: tuple[int, str]) -> int:
        return self.mtus.get(path[0], 1472)

    def send(self, path: tuple[int, str], frames: list[Any]) -> None:
        self.sent += [(path[0], message, flags) for message, flags in frames]


def peer(number: int) -> Any:
    measurement = SimpleNamespace(loss=0.0, etx=1.0)
    return SimpleNamespace(
        node_addr=ADDRESSES[number], path=(number, "there"), mtu_limit=65535, measurement=measurement
    )


class Relay:
    """Node 3, child of node 1 (whose parent is the root 0) and parent of node 5; node 6 hangs below node 5."""

    def __init__(self, ecn: EcnSettings | None = None) -> None:
        node = self.node = Node(ME, [PARENT, CHILD])
        node.hear(PARENT, 0)
        node.hear(CHILD, ME, PARENT, 0)
        node.hear_filter(PARENT, [0, 1, 2, SOURCE])
        node.hear_filter(CHILD, [CHILD, FAR])
        self.learn(FAR, CHILD, ME, PARENT, 0)
        self.learn(SOURCE, PARENT, 0)
        self.links = Links(PARENT, CHILD)
        self.transports = Transports()
        self.delivered: list[tuple[Any, ...]] = []
        self.forwarding = Forwarding(
            ADDRESSES[ME],
            self.links,  # type: ignore[arg-type]
            node.router,
            self.transports,  # type: ignore[arg-type]
            MeshSettings(ecn=ecn or EcnSettings()),
            lambda *delivery: self.delivered.append(delivery),
        )

    def learn(self, *places: int) -> None:
        router = self.node.router
        router.coordinate_cache.insert(ADDRESSES[places[0]], [ADDRESSES[n] for n in places], self.node.now)

    def measured(self, number: int, loss: float, etx: float) -> None:
        self.links.peers[ADDRESSES[number]].measurement = SimpleNamespace(loss=loss, etx=etx)

    def take(self, *payloads: bytes, ce: bool = False, came_from: int = PARENT, **envelope: int) -> None:
        """Let datagrams with one envelope arrive."""
        head = datagram(**{"destination": FAR, **envelope})
        plaintexts = [TIMESTAMP + head + payload for payload in payloads or (DATA,)]
        self.forwarding.receive(self.links.peers[ADDRESSES[came_from]], plaintexts, ce, self.node.now)

    def sent(self) -> list[tuple[int, int, int, int, int]]:
        """Drained: (link, ttl, path MTU, source, destination) of what left."""
        return [
            (link, m[1], int.from_bytes(m[2:4], "little"), ADDRESSES.index(m[4:20]), ADDRESSES.index(m[20:36]))
            for link, m, _ in self._drain()
        ]

    def signals(self) -> list[Any]:
        return [parse_signal(message[40:]) for _, message, _ in self._drain()]

    def flags(self) -> list[int]:
        return [flags for _, _, flags in self._drain()]

    def _drain(self) -> list[tuple[int, bytes, int]]:
        sent, self.transports.sent = self.transports.sent, []
        return sent

    def counted(self) -> dict[str, int]:
        """Every counter that is not 0."""
        counters = self.forwarding.counters
        return {f.name: value for f in fields(counters) if (value := getattr(counters, f.name))}


def datagram(destination: int, ttl: int = 64, path_mtu: int = 65535, source: int = SOURCE) -> bytes:
    return bytes((0, ttl)) + path_mtu.to_bytes(2, "little") + ADDRESSES[source] + ADDRESSES[destination]


# Section 9.2: the steps


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_each_hop_decrements_and_folds_as_the_reference_does(step: dict[str, Any]) -> None:
    """Section 9.2 steps 4, 5 and 8: never transmit 0, no signal for it, and what is for us is not gated."""
    relay = Relay()
    relay.transports.mtus[CHILD] = step.get("link_mtu", 1472)
    destination = ME if step.get("dest") == "self" else FAR
    relay.take(ttl=step["in_ttl"], path_mtu=step.get("in_path_mtu", 65535), destination=destination)
    if "drop" in step:
        assert relay.counted() == {
            "received_packets": 1,
            "received_bytes": 41,
            "ttl_exhausted_packets": 1,
            "ttl_exhausted_bytes": 41,
        }
    expected = [(CHILD, step["out_ttl"], step["out_path_mtu"], SOURCE, FAR)] if "out_ttl" in step else []
    assert relay.sent() == expected
    assert len(relay.delivered) == ("deliver" in step)


def test_everything_else_travels_unchanged() -> None:
    """Section 9.2 step 8."""
    relay = Relay()
    relay.take(DATA, DATA + b" again")
    assert [message[36:] for _, message, _ in relay.transports.sent] == [DATA, DATA + b" again"]


def test_what_is_for_us_goes_to_the_session_layer_with_all_it_has_to_know() -> None:
    """Section 9.2 step 4, and the counters of that row."""
    relay = Relay()
    relay.take(DATA, DATA, destination=ME, path_mtu=1300, ce=True)
    ((source, came_from, plaintexts, offset, path_mtu, ce, now),) = relay.delivered
    assert (source, came_from.node_addr) == (ADDRESSES[SOURCE], ADDRESSES[PARENT])
    assert [plaintext[offset:] for plaintext in plaintexts] == [DATA, DATA]
    assert (path_mtu, ce, now) == (1300, True, relay.node.now)
    assert relay.counted() == {
        "received_packets": 2,
        "received_bytes": 82,
        "delivered_packets": 2,
        "delivered_bytes": 82,
    }


def test_a_header_that_is_cut_is_counted_and_dropped() -> None:
    """Section 9.2 step 2."""
    relay = Relay()
    relay.forwarding.receive(relay.links.peers[ADDRESSES[PARENT]], [TIMESTAMP + bytes(35)], False, 0.0)
    assert relay.counted()["decode_error_packets"] == 1
    assert relay.sent() == []


def test_forwarded_bytes_include_the_type_and_received_ones_do_not() -> None:
    """Section 9.2 steps 1 and 10a."""
    relay = Relay()
    relay.take(DATA)
    assert relay.counted() == {
        "received_packets": 1,
        "received_bytes": 41,
        "forwarded_packets": 1,
        "forwarded_bytes": 42,
        "route_tree_down": 1,
    }


def test_coordinates_are_learned_even_from_what_goes_no_further() -> None:
    """Section 6.3: warming comes before the hop limit is judged."""
    relay = Relay()
    own, theirs = path([9, 8, 0]), [ADDRESSES[2], ADDRESSES[0]]
    blocks = b"".join(len(p).to_bytes(2, "little") + b"".join(p) for p in ([ADDRESSES[SOURCE], *own], theirs))
    claim = bytes((0, 1, 16, 0)) + bytes(8) + blocks + bytes(16)
    relay.take(claim, ttl=1, destination=2)
    assert relay.node.router.coordinates_for(ADDRESSES[2], relay.node.now) == theirs
    assert relay.counted()["ttl_exhausted_packets"] == 1


def test_an_originator_starts_with_the_whole_hop_limit_and_its_own_link() -> None:
    """Section 9.1; `originated` counts what we make ourselves."""
    relay = Relay()
    relay.transports.mtus[CHILD] = 1400
    assert relay.forwarding.originate(ADDRESSES[FAR], [DATA], relay.node.now) == 1400
    assert relay.sent() == [(CHILD, 64, 1400, ME, FAR)]
    assert relay.counted() == {"originated_packets": 1, "originated_bytes": 42}
    assert relay.forwarding.originate(ADDRESSES[4], [DATA], relay.node.now) is None


# Section 9.3: classes


@pytest.mark.parametrize(
    ("destination", "counter"),
    [(CHILD, "route_direct_peer"), (FAR, "route_tree_down"), (2, "route_tree_up")],
)
def test_every_datagram_that_left_has_one_class(destination: int, counter: str) -> None:
    """Section 9.3: the classes partition what was forwarded."""
    relay = Relay()
    relay.learn(2, 0)
    relay.take(DATA, DATA, destination=destination, came_from=CHILD if destination == 2 else PARENT)
    counted = relay.counted()
    assert counted[counter] == counted["forwarded_packets"] == 2
    assert sum(value for name, value in counted.items() if name.startswith("route_")) == 2


# Section 9.4: congestion


@pytest.mark.parametrize(
    ("loss", "etx", "ce", "marked"),
    [
        (0.0, 1.0, False, False),
        (0.0, 1.0, True, True),
        (0.05, 1.0, False, True),
        (0.049, 2.99, False, False),
        (0.0, 3.0, False, True),
    ],
)
def test_the_mark_is_passed_on_and_set_on_the_way_to_a_congested_hop(
    loss: float, etx: float, ce: bool, marked: bool
) -> None:
    """Section 9.4."""
    relay = Relay()
    relay.measured(CHILD, loss, etx)
    relay.forwarding.tick()
    relay.take(DATA, ce=ce)
    assert relay.flags() == [FLAG_CE if marked else 0]
    assert relay.forwarding.congestion.ce_forwarded == marked
    assert relay.forwarding.congestion.congestion_detected == (marked and not ce)


def test_only_the_congested_hop_is_marked_and_never_what_we_originate() -> None:
    relay = Relay()
    relay.measured(CHILD, 0.5, 1.0)
    relay.forwarding.tick()
    relay.take(DATA, destination=PARENT, came_from=CHILD)
    relay.forwarding.originate(ADDRESSES[FAR], [DATA], relay.node.now)
    assert relay.flags() == [0, 0]


def test_drops_in_the_kernel_mark_everything_until_they_end() -> None:
    relay = Relay()
    for drops, marked, events in ((3, True, 1), (5, True, 1), (5, False, 1), (6, True, 2)):
        relay.transports.kernel_drops = drops
        relay.forwarding.tick()
        relay.take(DATA)
        assert relay.flags() == [FLAG_CE if marked else 0]
        assert relay.forwarding.congestion.kernel_drop_events == events


def test_nothing_is_detected_when_it_is_turned_off() -> None:
    relay = Relay(EcnSettings(enabled=False))
    relay.measured(CHILD, 0.5, 9.0)
    relay.transports.kernel_drops = 3
    relay.forwarding.tick()
    relay.take(DATA)
    relay.take(DATA, ce=True)
    assert relay.flags() == [0, FLAG_CE]


# Section 10: signals


def test_without_coordinates_the_source_is_asked_for_them() -> None:
    """Section 10.2: the enclosing datagram has the whole hop limit, and its path MTU is not folded by the sender."""
    relay = Relay()
    relay.take(DATA, destination=4)
    (sent,) = relay.transports.sent
    assert (sent[0], sent[1][1], sent[1][2:4], sent[2]) == (PARENT, 64, b"\xff\xff", 0)
    assert relay.signals() == [CoordinatesRequired(ADDRESSES[4], ADDRESSES[ME])]
    assert relay.counted()["drop_no_route_packets"] == 1


def test_with_coordinates_that_lead_nowhere_the_path_is_broken() -> None:
    """Section 10.2."""
    relay = Relay()
    relay.learn(4, 2)
    relay.take(DATA, destination=4)
    assert relay.signals() == [PathBroken(ADDRESSES[4], ADDRESSES[ME], [ADDRESSES[4], ADDRESSES[2]])]


def test_what_is_too_long_for_the_next_link_is_refused_and_the_rest_goes_on() -> None:
    """Sections 9.2 step 10b and 10.2: the limit is that of a whole frame, 36 bytes more than the message."""
    relay = Relay()
    fitting = DATA.ljust(600 - 36 - 36, b".")
    relay.transports.mtus[CHILD] = 600
    relay.take(fitting, fitting + b".", fitting)
    assert [link for link, *_ in relay.sent()] == [PARENT, CHILD, CHILD]
    counted = relay.counted()
    assert (counted["drop_mtu_exceeded_packets"], counted["forwarded_packets"]) == (1, 2)
    assert counted["drop_mtu_exceeded_bytes"] == len(fitting) + 1 + 35
    relay.node.now += 1
    relay.take(fitting + b".")
    assert relay.signals() == [MtuExceeded(ADDRESSES[FAR], ADDRESSES[ME], 600)]


def test_one_signal_per_destination_and_tenth_of_a_second() -> None:
    """Section 10.2: one limiter for all three."""
    relay = Relay()
    relay.transports.mtus[CHILD] = 50
    for _ in range(3):
        relay.take(DATA, destination=4)
        relay.take(DATA)
    assert len(relay.signals()) == 2
    relay.node.now += 0.101
    relay.take(DATA)
    assert len(relay.signals()) == 1


def test_signals_are_relayed_and_never_answered() -> None:
    """Sections 10.1 and 10.2."""
    relay = Relay()
    relay.take(SIGNAL)
    assert relay.sent() == [(CHILD, 63, 1472, SOURCE, FAR)]
    relay.take(SIGNAL, destination=4)
    assert relay.sent() == []


def test_a_signal_nobody_can_be_sent_is_dropped() -> None:
    """Section 10.2: no route back."""
    relay = Relay()
    relay.take(DATA, destination=4, source=2)
    assert relay.sent() == []


def test_a_path_we_know_to_be_narrow_is_told_to_the_destination() -> None:
    """Section 11.9: what we found out about a link counts for what arrived over it as well."""
    relay = Relay()
    relay.links.peers[ADDRESSES[PARENT]].mtu_limit = 1000
    relay.take(DATA, destination=ME)
    assert relay.delivered[0][4] == 1000
    relay.take(DATA)
    assert relay.sent() == [(CHILD, 63, 1000, SOURCE, FAR)]


def test_nothing_goes_back_to_where_it_came_from() -> None:
    """Section 8 leaves the previous hop to us: back and forth until the hops are used up helps nobody."""
    relay = Relay()
    relay.take(DATA, came_from=CHILD)
    (signal,) = relay.signals()
    assert signal == CoordinatesRequired(ADDRESSES[FAR], ADDRESSES[ME])
    assert relay.counted()["drop_no_route_packets"] == 1


# Ours: who wants to know whether we relay gets its own datagram back


def test_a_datagram_from_a_neighbour_to_itself_goes_back_to_it_and_to_nobody_else() -> None:
    relay = Relay()
    relay.take(source=PARENT, destination=PARENT)
    assert relay.sent() == [(PARENT, 63, 1472, PARENT, PARENT)]
    relay.take(source=CHILD, destination=PARENT, came_from=PARENT)
    assert relay.counted()["drop_no_route_packets"] == 1


def test_what_comes_back_is_no_delivery_to_a_session_and_all_of_it_is_told_to_who_asked_for_it() -> None:
    relay = Relay()
    told: list[bytes] = []
    relay.node.router.black_holes = SimpleNamespace(returned=lambda proofs, now: told.extend(proofs))  # type: ignore[assignment]
    relay.take(DATA, DATA + b" too", source=ME, destination=ME, came_from=CHILD)
    assert relay.delivered == []
    assert told == [DATA[4:], DATA[4:] + b" too"]
