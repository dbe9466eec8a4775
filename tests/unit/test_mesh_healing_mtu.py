"""Paths that swallow long frames without a word: TCP goes on, in both directions, whoever is on the other side."""

from __future__ import annotations

import pytest

from meshnode.node.ipv6 import MAX_LONG
from meshnode.transports.memory import LinkQuality

from .healing_rig import Edge, HealingNet, Transfer

CHAIN = [("a", "b"), ("b", "c")]
FULL = 1472 - 77


def started(quality: LinkQuality | None = None) -> HealingNet:
    net = HealingNet(CHAIN, ["a"], quality=quality)
    net.start()
    net.run(3)
    return net


def limits(net: HealingNet) -> set[str]:
    return {text for host in net.hosts for _, text in host.log if "carries frames" in text}


@pytest.mark.parametrize("edge", CHAIN, ids=str)
@pytest.mark.parametrize("mtu", [1360, 1400, 1460])
def test_a_transfer_survives_a_path_that_gets_narrow(edge: Edge, mtu: int) -> None:
    net = started()
    transfer = Transfer(net, "a", "c", FULL)
    transfer.run(50, within=5)
    net.narrow(edge, mtu)
    assert transfer.run(50, within=15) < 12
    net.run(6)
    sender, receiver = edge
    link = net.link(sender, receiver)
    assert link is not None
    assert mtu - 16 < link.mtu_limit <= mtu
    assert transfer.run(50, within=3) < 2


def test_a_path_that_was_narrow_from_the_beginning_is_known_before_it_is_used() -> None:
    net = HealingNet(CHAIN, ["a"])
    net.narrow(("b", "c"), 1420)
    net.start()
    net.run(8)
    transfer = Transfer(net, "a", "c", FULL)
    assert transfer.run(50, within=4) < 3


def test_a_sender_that_waits_is_told_at_once_and_once() -> None:
    """A stalled TCP would send the next long packet, and hear of the limit, only after many seconds."""
    net = started()
    a, c = net["a"], net["c"]
    a.send(c, b"." * (FULL - 40))
    net.run(1)
    assert a.icmp() == []
    for _ in range(2):
        a.node.path_mtus.clamp(c.identity.node_addr, 1400)
    assert a.icmp() == [(2, 0)]
    a.node.path_mtus.clamp(c.identity.node_addr, 1360)
    assert a.icmp() == [(2, 0)]


def test_every_stalled_transfer_over_a_path_that_got_narrow_is_told() -> None:
    """All at the same moment, and all packets come from the one address of this host."""
    net = started()
    a, others = net["a"], [net["b"], net["c"]]
    for other in others:
        a.send(other, b"." * (FULL - 40))
    net.run(1)
    assert a.icmp() == []
    for other in others:
        a.node.path_mtus.clamp(other.identity.node_addr, 1400)
    assert [(error[40], error[8:24]) for error in a.stack.packets] == [(2, other.identity.ipv6) for other in others]


def test_what_is_remembered_of_long_packets_is_bounded() -> None:
    net = started()
    service = net["a"].node.ipv6
    for number in range(2 * MAX_LONG):
        service.send_ipv6(b"\xfd" + number.to_bytes(15, "big"), [bytes(1400)])
    net["a"].send(net["c"], b"." * (FULL - 40))
    assert len(service._long) <= MAX_LONG


def test_the_other_side_learns_the_limit_even_if_it_never_probes() -> None:
    """A v0.4.1 node believes its configuration, and our notification of what arrives."""
    net = HealingNet(CHAIN, ["a"])
    reference = net["c"].node
    reference.links.expect_mtu = lambda peer, mtu, now, sure=False: None  # type: ignore[method-assign]
    net.narrow(("b", "c"), 1400)
    net.start()
    net.run(3)
    net.talk(("a", "c"), ("c", "a"))
    net.run(15)
    session = reference.sessions.sessions[net["a"].identity.node_addr]
    assert session.path_mtu.current <= 1400
    net.flows = []
    assert Transfer(net, "c", "a", FULL).run(50, within=4) < 3


def test_a_limit_is_lifted_when_the_path_is_wide_again() -> None:
    net = started()
    net.narrow(("b", "c"), 1400)
    Transfer(net, "a", "c", FULL).run(30, within=15)
    net.run(5)
    net.medium.limits.clear()
    net.run(310)
    link = net.link("b", "c")
    assert link is not None
    assert link.mtu_limit == 65535
    assert net["b"].node.transports.link_mtu(link.path) == 1472


@pytest.mark.parametrize("loss", [0.02, 0.2, 0.3])
def test_losses_are_not_taken_for_a_narrow_path(loss: float) -> None:
    net = started(LinkQuality(loss=loss, delay=(0.001, 0.004)))
    net.talk(("a", "c"), ("c", "a"))
    net.run(300, step=0.5)
    assert limits(net) == set()


def test_losses_in_bursts_are_not_taken_for_a_narrow_path() -> None:
    """A full queue drops long and short frames alike."""
    net = started()
    transfer = Transfer(net, "a", "c", FULL)
    for _ in range(8):
        net.cut(("b", "c"))
        net.run(0.3)
        net.mend(("b", "c"))
        transfer.run(100, within=10)
    assert limits(net) == set()


def test_a_limit_belongs_to_the_path_and_not_to_the_peer() -> None:
    net = started()
    net.narrow(("b", "c"), 1400)
    Transfer(net, "a", "c", FULL).run(30, within=15)
    net.run(5)
    net["c"].transport.move("c-elsewhere")
    net["c"].send(net["b"], b"here I am")
    net.run(6)
    link = net.link("b", "c")
    assert link is not None
    assert link.path[1] == "c-elsewhere"
    assert net["b"].node.transports.link_mtu(link.path) == 1472


def test_finding_out_costs_little_on_a_path_that_is_as_wide_as_promised() -> None:
    net = started()
    net.run(1)
    link = net.link("b", "c")
    assert link is not None
    before = link.bytes_sent
    net.run(200)
    idle = (link.bytes_sent - before) / 200
    assert idle < 300
