"""When the local network is asked, and what the node is told, with a network that only remembers."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshnode.discovery.interfaces import DiscoveryError, IDiscovery, IDiscoveryHost, Whereabouts
from meshnode.discovery.lan import (
    ASK_SECS,
    LEAST_ASK_SECS,
    LIFETIME_SECS,
    REVIEW_SECS,
    SETTLE_SECS,
    LanDiscovery,
    LanSettings,
)
from meshnode.discovery.lan_interfaces import LanInterface
from meshnode.discovery.lan_service import LanListener, Presence, Service
from meshnode.identity import PeerIdentity
from tests.unit.test_lan_table import OTHER, PEER, US, advert
from tests.unit.udp_rig import StillReactor, log_lines

ETH0 = LanInterface("eth0", 2, ("192.0.2.1", "fe80::1"))
WLAN0 = LanInterface("wlan0", 3, ("2001:db8::1",))


@implementer(IDiscoveryHost)
class Host:
    """Remembers what it is told."""

    public_key = US.xonly

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.news: list[bool] = []

    def candidates_found(
        self, source: str, identity: PeerIdentity, whereabouts: list[Whereabouts], lifetime: float, heard: bool
    ) -> None:
        self.told.append((source, identity, [place.address for place in whereabouts], lifetime))
        self.news.append(heard)

    def candidates_gone(self, source: str, identity: PeerIdentity) -> None:
        self.told.append((source, identity))


class Ether:
    """A network that remembers what is asked of it."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self.listener: LanListener | None = None
        self.presences: list[list[Presence]] = []
        self.asked: list[float] = []
        self.closed = False

    def be_on(self, presences: list[Presence]) -> None:
        self.presences.append(presences)

    def browse_anew(self) -> None:
        self.asked.append(RIGS[-1].reactor.seconds())

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


RIGS: list[Rig] = []


class Rig:
    def __init__(self, *interfaces: LanInterface, bound: str | None = "0.0.0.0:2121") -> None:
        self.interfaces: list[LanInterface] = list(interfaces)
        self.refusal: OSError | None = None
        self.host, self.reactor, self.ether = Host(), StillReactor(), Ether()
        self.bound = bound
        self.discovery = LanDiscovery(
            self.host, self.reactor, LanSettings(), lambda: self.bound, self._network, self._interfaces
        )
        RIGS.append(self)

    def _network(self, reactor: Any, service: Service, listener: LanListener) -> Ether:
        self.ether.service, self.ether.listener = service, listener
        return self.ether

    def _interfaces(self, chosen: tuple[str, ...]) -> list[LanInterface]:
        if self.refusal is not None:
            raise self.refusal
        return self.interfaces


def started(*interfaces: LanInterface, bound: str = "0.0.0.0:2121") -> Rig:
    rig = Rig(*(interfaces or (ETH0,)), bound=bound)
    rig.discovery.start()
    return rig


def test_it_is_a_discovery_service() -> None:
    verifyObject(IDiscovery, started().discovery)


def test_it_is_present_on_each_interface_with_what_can_be_reached_there() -> None:
    rig = started(ETH0, WLAN0)
    assert rig.ether.presences == [[Presence(ETH0, 2121, ("192.0.2.1",))]]
    assert rig.ether.service is not None
    assert rig.ether.service.instance == "fips-npub1rwzv24nmzfj"
    both = started(ETH0, WLAN0, bound="[::]:4000")
    assert [(at.port, at.addresses) for at in both.ether.presences[0]] == [
        (4000, ("192.0.2.1", "fe80::1")),
        (4000, ("2001:db8::1",)),
    ]


def test_without_a_udp_transport_it_does_not_start() -> None:
    with pytest.raises(DiscoveryError, match="needs a udp transport"):
        Rig(ETH0, bound=None).discovery.start()


def test_without_zeroconf_it_says_what_to_install() -> None:
    def missing(*_: object) -> Ether:
        raise ModuleNotFoundError("No module named 'zeroconf'", name="zeroconf")

    with pytest.raises(DiscoveryError, match=r"needs zeroconf: pip install meshnode\[lan\]"):
        LanDiscovery(Host(), StillReactor(), LanSettings(), lambda: "0.0.0.0:1", missing)


def test_the_node_hears_of_whom_adverts_tell_and_of_those_that_leave() -> None:
    rig = started()
    rig.discovery.seen(advert())
    rig.discovery.seen(advert(US.npub, instance="fips-us"))
    rig.discovery.seen(advert(OTHER.npub, interface="wlan0"))
    rig.discovery.gone("eth0", "fips-peer")
    rig.discovery.left("wlan0")
    assert rig.host.told == [
        ("lan", PEER, ["192.0.2.9:2121"], LIFETIME_SECS),
        ("lan", OTHER, ["192.0.2.9:2121"], LIFETIME_SECS),
        ("lan", PEER),
        ("lan", OTHER),
    ]


def test_an_advert_is_news_when_it_was_heard_since_and_not_when_it_is_remembered() -> None:
    rig = started()
    rig.discovery.seen(advert(heard=1.0))
    rig.discovery.seen(advert(heard=1.0))
    rig.discovery.seen(advert(heard=2.0))
    rig.discovery.gone("eth0", "fips-peer")
    rig.discovery.seen(advert(heard=2.0))
    rig.discovery.seen(advert(heard=2.0, interface="eth1"))
    rig.discovery.gone("eth1", "fips-peer")
    rig.discovery.seen(advert(heard=3.0))
    assert rig.host.told[-2][2:] == rig.host.told[0][2:]
    assert rig.host.news == [True, False, True, False, True, False, True]


def test_the_network_is_asked_again_now_and_then_long_before_an_advert_is_forgotten() -> None:
    rig = started()
    for _ in range(60):
        rig.reactor.advance(ASK_SECS / 10)
    assert len(rig.ether.asked) == 6
    assert ASK_SECS < LIFETIME_SECS / 3


def test_the_loss_of_somebody_found_here_asks_at_once_but_not_at_any_rate() -> None:
    rig = started()
    rig.discovery.seen(advert())
    rig.reactor.advance(100)
    rig.discovery.peer_lost(OTHER)
    rig.reactor.advance(0)
    assert rig.ether.asked == []
    for _ in range(20):
        rig.discovery.peer_lost(PEER)
        rig.reactor.advance(0)
        rig.reactor.advance(1)
    assert rig.ether.asked == [100, 100 + LEAST_ASK_SECS]


def test_changed_interfaces_are_followed_soon_and_told_once() -> None:
    rig = started()
    rig.interfaces.append(LanInterface("wlan0", 3, ("198.51.100.1",)))
    with log_lines() as lines:
        for _ in range(5):
            rig.discovery.network_changed()
            rig.reactor.advance(SETTLE_SECS / 10)
        rig.reactor.advance(SETTLE_SECS)
        rig.reactor.advance(REVIEW_SECS)
    assert [len(presences) for presences in rig.ether.presences] == [1, 2, 2]
    assert lines == ["LAN discovery on eth0, wlan0"]


def test_a_udp_transport_that_goes_takes_the_advert_along() -> None:
    rig = started()
    rig.bound = None
    with log_lines() as lines:
        rig.reactor.advance(REVIEW_SECS)
    assert rig.ether.presences[-1] == []
    assert lines == ["LAN discovery on no interface"]


def test_trouble_with_an_interface_is_told_once_and_tried_again() -> None:
    rig = started()
    with log_lines() as lines:
        rig.discovery.trouble("eth0", "address in use")
        rig.discovery.trouble("eth0", "address in use")
        rig.reactor.advance(REVIEW_SECS)
    assert lines == ["LAN discovery does not work on eth0: address in use"]
    assert len(rig.ether.presences) == 2


def test_a_system_that_does_not_list_its_interfaces_leaves_all_as_it_is() -> None:
    rig = started()
    rig.refusal = OSError(13, "Permission denied")
    with log_lines() as lines:
        rig.reactor.advance(REVIEW_SECS)
    assert lines == ["cannot list the interfaces for LAN discovery: Permission denied"]
    assert len(rig.ether.presences) == 1


def test_stopped_it_says_goodbye_and_is_silent() -> None:
    rig = started()
    assert rig.discovery.stop().called
    assert rig.ether.closed
    rig.discovery.seen(advert())
    rig.discovery.network_changed()
    rig.discovery.peer_lost(PEER)
    assert rig.host.told == []
    assert rig.reactor.getDelayedCalls() == []
