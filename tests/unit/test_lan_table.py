"""Which adverts of the local network are believed, and what is made of them (spec 04b sections 1.2 to 1.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.discovery.interfaces import Whereabouts
from meshnode.discovery.lan_interfaces import lan_interfaces, reachable, unusable_addresses
from meshnode.discovery.lan_service import Service
from meshnode.discovery.lan_table import (
    MOST_ADDRESSES,
    MOST_INSTANCES,
    MOST_REMEMBERED,
    PRIORITY,
    Advert,
    LanTable,
)
from meshnode.identity import Identity
from meshnode.transports.netlink import Interface
from tests.unit.vectors import load

US, PEER, OTHER = (Identity(bytes([number]) * 32).peer for number in (1, 2, 3))
SCOPE = "fips-overlay-v1"


def advert(
    who: str | None = PEER.npub,
    *,
    instance: str = "fips-peer",
    interface: str = "eth0",
    scope: str | None = SCOPE,
    port: int = 2121,
    addresses: tuple[str, ...] = ("192.0.2.9",),
    heard: float = 0.0,
) -> Advert:
    return Advert(interface, instance, who, scope, port, addresses, heard)


def table(scope: str | None = SCOPE) -> LanTable:
    return LanTable(US, scope)


def places(known: LanTable) -> list[str]:
    return [place.address for place in known.whereabouts(PEER)]


def test_the_service_is_named_after_the_first_letters_of_the_npub() -> None:
    service = Service.of(US, "_fips._udp.local.", SCOPE)
    assert service.name == "fips-npub1rwzv24nmzfj._fips._udp.local."
    assert dict(service.properties) == {"npub": US.npub, "scope": SCOPE, "v": "1"}
    assert "scope" not in dict(Service.of(US, "_fips._udp.local.", None).properties)


def test_a_recorded_announcement_of_the_reference_says_what_ours_says() -> None:
    announcement = bytes.fromhex(load("transports")["mdns"]["messages"][-1]["hex"])
    own = Service.of(US, "_fips._udp.local.", SCOPE)
    for text in (own.instance, *(f"{key}={value}" for key, value in own.properties)):
        assert bytes([len(text)]) + text.encode() in announcement


def test_an_advert_gives_its_addresses_in_the_form_of_the_udp_transport() -> None:
    known = table()
    addresses = ("192.0.2.9", "2001:db8::9", "fe80::9%eth0")
    assert known.seen(advert(addresses=addresses)) == [PEER]
    assert known.whereabouts(PEER)[0] == Whereabouts("udp", "192.0.2.9:2121", PRIORITY)
    assert places(known) == ["192.0.2.9:2121", "[2001:db8::9]:2121", "[fe80::9%eth0]:2121"]
    assert known.knows(PEER)


@pytest.mark.parametrize(
    ("ours", "theirs", "passes"),
    [
        (SCOPE, SCOPE, True),
        (SCOPE, None, False),
        (SCOPE, "Fips-overlay-v1", False),
        (SCOPE, "other", False),
        (None, None, True),
        (None, "other", True),
    ],
)
def test_only_adverts_of_our_scope_pass_and_without_one_all_do(
    ours: str | None, theirs: str | None, passes: bool
) -> None:
    known = table(ours)
    assert bool(known.seen(advert(scope=theirs))) is passes
    assert known.refused == ({} if passes else {"scope": 1})


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ({"who": US.npub}, "own"),
        ({"who": None}, "npub"),
        ({"who": "npub1nonsense"}, "npub"),
        ({"port": 0}, "address"),
        ({"port": 65536}, "address"),
        ({"addresses": ()}, "address"),
        ({"addresses": ("127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "fe80::9", "not an address")}, "address"),
        ({"addresses": (PEER.ipv6_text,)}, "address"),
    ],
)
def test_what_is_not_for_us_or_cannot_be_is_counted_by_cause(broken: dict[str, object], cause: str) -> None:
    known = table()
    assert known.seen(advert(**broken)) == []  # type: ignore[arg-type]
    assert known.refused == {cause: 1}
    assert not known.knows(PEER)


def test_a_newer_advert_of_an_instance_takes_the_place_of_the_older() -> None:
    known = table()
    known.seen(advert())
    assert known.seen(advert(addresses=("192.0.2.10",), port=4000)) == [PEER]
    assert places(known) == ["192.0.2.10:4000"]
    assert known.seen(advert(OTHER.npub)) == [PEER, OTHER]
    assert places(known) == []


def test_a_peer_on_two_interfaces_is_found_on_both_until_it_leaves_one() -> None:
    known = table()
    known.seen(advert())
    known.seen(advert(interface="wlan0", addresses=("198.51.100.9", "192.0.2.9")))
    assert places(known) == ["192.0.2.9:2121", "198.51.100.9:2121"]
    assert known.gone("eth0", "fips-peer") == [PEER]
    assert known.left("wlan0") == [PEER]
    assert places(known) == []
    assert known.gone("eth0", "fips-peer") == []
    assert known.left("wlan0") == []


def test_instances_and_addresses_are_bounded() -> None:
    known = table()
    for number in range(MOST_INSTANCES + 10):
        known.seen(advert(instance=str(number), addresses=(f"192.0.2.{number % 200 + 1}",)))
    assert known.refused == {"full": 10}
    assert len(places(known)) == MOST_ADDRESSES
    assert known.seen(advert(instance="0", addresses=("192.0.2.250",))) == [PEER]


# -- interfaces -------------------------------------------------------------------------------------------------------


def interface(name: str, kind: int = 1, *, is_up: bool = True, carrier: bool = True) -> Interface:
    return Interface(name, len(name), kind, 1500, bytes(6), is_up, carrier)


def test_interfaces_that_may_have_neighbours_are_used() -> None:
    there = {
        "eth0": interface("eth0"),
        "wlan0": interface("wlan0"),
        "lo": interface("lo", 772),
        "fips0": interface("fips0", 65534),
        "off": interface("off", is_up=False),
        "unplugged": interface("unplugged", carrier=False),
        "bare": interface("bare"),
    }
    adapters = [(name, () if name == "bare" else ("192.0.2.1",)) for name in [*there, "gone"]]
    assert [found.name for found in lan_interfaces((), adapters, there.get)] == ["eth0", "wlan0"]
    assert [found.name for found in lan_interfaces(("lo", "off", "eth0"), adapters, there.get)] == ["eth0", "lo"]


@pytest.mark.parametrize(
    ("bound", "heard"),
    [
        (("0.0.0.0", 2121), ("192.0.2.1", "198.51.100.1")),
        (("::", 2121, 0, 0), ("192.0.2.1", "2001:db8::1", "fe80::1", "198.51.100.1")),
        (("192.0.2.1", 2121), ("192.0.2.1",)),
        (("2001:db8:0::1", 2121, 0, 0), ("2001:db8::1",)),
        (("203.0.113.1", 2121), ()),
    ],
)
def test_only_addresses_that_the_socket_hears_are_advertised(bound: tuple[str, int], heard: tuple[str, ...]) -> None:
    assert reachable(("192.0.2.1", "2001:db8::1", "fe80::1", "198.51.100.1"), bound) == heard


def test_addresses_that_are_not_in_use_yet_or_are_somebody_elses_are_not_announced(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "fe8000000000000000fc00fffe000001 04 40 20 c0     eth0\n"
        "fe8000000000000000fc00fffe000002 04 40 20 88     eth0\n"
        "fe8000000000000000fc00fffe000003 04 40 20 80     eth0\n"
    )
    assert unusable_addresses(table) == {"fe80::fc:ff:fe00:1", "fe80::fc:ff:fe00:2"}
    assert unusable_addresses(tmp_path / "missing") == set()


def test_made_up_instances_are_forgotten_in_turn() -> None:
    known = table()
    assert known.is_news(advert(instance="first", heard=1.0))
    assert not known.is_news(advert(instance="first", heard=1.0))
    for number in range(MOST_REMEMBERED):
        known.is_news(advert(instance=f"fips-{number}", heard=1.0))
    assert known.is_news(advert(instance="first", heard=1.0))
