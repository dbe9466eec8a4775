"""An address that changes under traffic is followed within a second, and connections through the mesh go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.hosts import Host, cable
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Node
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_LIMIT = 1.0
_SIDES = ["the dialling side", "the listening side"]


@contextmanager
def _traffic(left: Node, right: Node, measured: Callable[[str], None]) -> Iterator[None]:
    """Streams and echoes in both directions; what they must show at the end."""
    up = traffic.Streaming(left.host, right.host, right.address)
    down = traffic.Streaming(right.host, left.host, left.address)
    with (
        traffic.pinging(left.host, right.address, 0.02) as there,
        traffic.pinging(right.host, left.address, 0.02) as back,
    ):
        there.first(5)
        back.first(5)
        pause(1)
        yield
        pause(2)
        gaps = [traffic.longest_gap(ping) for ping in (there, back)]
    streams = [up.finish(), down.finish()]
    pauses = [stream.longest_pause for stream in streams]
    measured(f"longest gap of echoes {max(gaps):.2f} s, of TCP {max(pauses):.2f} s")
    assert all(stream.intact for stream in streams)
    assert max(gaps) < _LIMIT
    assert max(pauses) < 2 * _LIMIT, "TCP waits twice as long as the outage before it tries again"


def _move(host: Host, old: str, new: str, interface: str = "eth0") -> None:
    host.ip(f"addr del {old}/24 dev {interface}")
    host.ip(f"addr add {new}/24 dev {interface}")


def _links(*nodes: Node) -> list[tuple[object, object]]:
    return [(row["link_id"], row["authenticated_at_ms"]) for node in nodes for row in node.peers().values()]


@pytest.mark.parametrize("mover", _SIDES)
def test_a_changed_address_is_followed(lab: Lab, mover: str, measured: Callable[[str], None]) -> None:
    pair = Pair(lab).left_dials().start()
    before = _links(pair.left, pair.right)
    with _traffic(pair.left, pair.right, measured):
        if mover == "the dialling side":
            _move(pair.left.host, "10.99.0.1", "10.99.0.7")
        else:
            _move(pair.right.host, "10.99.0.2", "10.99.0.8")
    assert _links(pair.left, pair.right) == before, "the link is still the same one"


def test_a_new_mapping_of_an_address_translator_is_followed(lab: Lab, measured: Callable[[str], None]) -> None:
    router, outside = _behind_a_router(lab)
    left, right = lab.nodes
    before = _links(left, right)
    with _traffic(left, right, measured):
        _move(router, "10.98.0.1", "10.98.0.9", outside)
    assert _links(left, right) == before


def _behind_a_router(lab: Lab) -> tuple[Host, str]:
    """Two linked nodes, the dialling one behind a router that hides it; the router and its outer interface."""
    left, right = lab.node("left", lab.host("host-left")), lab.node("right", lab.host("host-right"))
    router = lab.host("router")
    cable(left.host, router, "10.97.0", right_name="in")
    _, address = cable(router, right.host, "10.98.0", left_name="out")
    left.host.ip("route add default via 10.97.0.2")
    rules = "table ip nat { chain out { type nat hook postrouting priority 100; masquerade; }; }"
    assert router.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).returncode == 0
    assert router.run(["nft", rules]).returncode == 0
    left.dials(right, address)
    for node in (right, left):
        node.start()
        node.wait_ready()
    left.wait_connected(right)
    right.wait_connected(left)
    return router, "out"


def test_another_default_route_is_followed(lab: Lab, measured: Callable[[str], None]) -> None:
    """Two ways out, as with wire and wireless: the one in use goes down, the other one leads to another address."""
    left, right = lab.node("left", lab.host("host-left")), lab.node("right", lab.host("host-right"))
    cable(left.host, right.host, "10.96.0", "wire", "one")
    cable(left.host, right.host, "10.95.0", "air", "two")
    right.host.ip("addr add 10.94.0.1/32 dev lo")
    left.host.ip("route add default via 10.96.0.2 metric 10")
    left.host.ip("route add default via 10.95.0.2 metric 20")
    left.dials(right, "10.94.0.1")
    for node in (right, left):
        node.start()
        node.wait_ready()
    left.wait_connected(right)
    right.wait_connected(left)
    with _traffic(left, right, measured):
        left.host.ip("link set wire down")


@pytest.mark.interop
@pytest.mark.parametrize("role", ["we dial", "they dial"])
def test_the_reference_follows_us(lab: Lab, role: str, measured: Callable[[str], None]) -> None:
    """It cannot move itself: its socket stays tied to the old address (docs/design/hazards.md)."""
    pair = Pair(lab, right=reference.program())
    (pair.left_dials if role == "we dial" else pair.right_dials)().start()
    with _traffic(pair.left, pair.right, measured):
        _move(pair.left.host, "10.99.0.1", "10.99.0.7")


# -- interfaces and processes that stop for a while


def test_an_interface_that_was_down_is_used_as_soon_as_it_is_up(lab: Lab, measured: Callable[[str], None]) -> None:
    pair = Pair(lab).left_dials().start()
    with traffic.pinging(pair.left.host, pair.right.address, 0.05) as echoes:
        echoes.first(5)
        pair.left.host.ip("link set eth0 down")
        pause(6)
        pair.left.host.ip("link set eth0 up")
        up = time.time()
        seconds = echoes.reply_after(up, 10).at - up
    measured(f"echo {seconds:.2f} s after the interface came back")
    assert seconds < 3, "the neighbour must be found first"
    assert "removed" not in pair.left.log() + pair.right.log()


def test_a_peer_that_never_was_there_is_dialled_when_the_interface_comes_up(
    lab: Lab, is_long: bool, measured: Callable[[str], None]
) -> None:
    if not is_long:
        pytest.skip("takes most of a minute: set MESHNODE_LONG=1")
    pair = Pair(lab).left_dials()
    pair.left.host.ip("link set eth0 down")
    for node in (pair.left, pair.right):
        node.start()
        node.wait_ready()
    pause(35)  # the first attempt is over, the next one due in 7 to 10 s
    begin = time.monotonic()
    pair.left.host.ip("link set eth0 up")
    pair.wait_connected(deadline=10)
    seconds = time.monotonic() - begin
    measured(f"connected {seconds:.2f} s after the interface came up")
    assert seconds < 4


@pytest.mark.parametrize("seconds", [8, 40])
def test_a_node_that_was_stopped_goes_on(
    lab: Lab, seconds: int, is_long: bool, measured: Callable[[str], None]
) -> None:
    """As when a laptop is closed: for less, and for more than a link lasts without a sign of life."""
    if seconds > 30 and not is_long:
        pytest.skip("takes most of a minute: set MESHNODE_LONG=1")
    pair = Pair(lab).left_dials().start()
    traffic.ping(pair.left.host, pair.right.address, count=3)
    with traffic.pinging(pair.right.host, pair.left.address, 0.05) as echoes:
        echoes.first(5)
        pair.left.suspend()
        pause(seconds)
        pair.left.resume()
        woken = time.time()
        waited = echoes.reply_after(woken, 10).at - woken
    measured(f"echo {waited:.2f} s after it went on")
    assert waited < 3
    assert f"stood still for {seconds}" in pair.left.log() or f"stood still for {seconds - 1}" in pair.left.log()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("link del fips0", "TUN interface fips0 is gone"),
        ("link set fips0 down", "somebody set TUN interface fips0 down"),
        ("addr flush dev fips0", "TUN interface fips0 has lost its address"),
        ("link set fips0 down; link set fips0 name mesh", "no TUN interface"),
        ("route del fd00::/8", "packets for the mesh are led into TUN interface fips0 no more"),
    ],
)
def test_an_interface_of_ours_that_somebody_spoilt_is_made_again(
    lab: Lab, measured: Callable[[str], None], change: str, told: str
) -> None:
    pair = Pair(lab).left_dials().start()
    with traffic.pinging(pair.right.host, pair.left.address, 0.05) as echoes:
        echoes.first(5)
        batch = pair.left.host.directory / "batch"
        batch.write_text(change.replace("; ", "\n"))
        pair.left.host.ip(f"-6 -batch {batch}")  # in one go: the node begins to mend after the first change
        gone = time.time()
        wait_until(lambda: told in pair.left.log(), 5, "the log tells")
        seconds = echoes.reply_after(gone + 0.5, 15).at - gone
    measured(f"echo {seconds:.2f} s after ip {change}")
    assert traffic.ping(pair.left.host, pair.right.address, count=2)
    assert pair.left.status()["tun_state"] == "active"
