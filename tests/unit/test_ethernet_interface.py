"""What an Ethernet transport does when its interface comes, changes and goes, and when it shows itself."""

from __future__ import annotations

import errno

import pytest

from meshnode.transports.beacons import ANSWER_SECS, BEACONS_PER_SEC, MOST_NEIGHBOURS, BeaconSchedule, Neighbours
from meshnode.transports.ethernet import RETRY_SECS
from meshnode.transports.ethernet_testing import FakeWire
from meshnode.transports.mac_addresses import BROADCAST
from meshnode.wire import Beacon
from tests.unit.ethernet_rig import KEYS, OTHER, PEER, PEER_TEXT, US_TEXT, EthernetRig
from tests.unit.udp_rig import log_lines

# -- the interface ----------------------------------------------------------------------------------------------------


def test_a_missing_interface_is_waited_for() -> None:
    rig = EthernetRig(plugged=False, start=False)
    with log_lines() as lines:
        rig.transport.start()
    assert rig.transport.state == "starting"
    assert lines == ["ethernet eth0: there is no such interface; waiting for it"]
    assert rig.host.events == []
    rig.wire.plug("eth1")
    rig.news()
    assert rig.transport.state == "starting"
    rig.wire.plug("eth0")
    rig.news()
    assert rig.transport.state == "up"
    assert rig.host.events == [("mtu", None), ("state", "up", "interface eth0 is there")]


@pytest.mark.parametrize(("attributes", "reason"), [({"is_up": False}, "is down"), ({"type": 65534}, "no Ethernet")])
def test_an_interface_that_cannot_be_used_is_waited_for(attributes: dict[str, int], reason: str) -> None:
    rig = EthernetRig(plugged=False, start=False)
    rig.wire.plug("eth0", **attributes)  # type: ignore[arg-type]
    with log_lines() as lines:
        rig.transport.start()
    assert reason in lines[0]
    assert rig.transport.state == "starting"


def test_an_interface_that_goes_takes_the_transport_down_and_brings_it_back() -> None:
    rig = EthernetRig()
    port = rig.port
    rig.wire.unplug("eth0")
    rig.news()
    assert port.closed
    assert rig.host.events == [("state", "down", "eth0: there is no such interface")]
    rig.emit(PEER_TEXT, [b"lost"])
    assert rig.counter("send_errors") == 1
    rig.wire.plug("eth0")
    rig.news()
    assert rig.transport.state == "up"
    rig.arrive(b"heard again")
    assert rig.host.frames == [b"heard again"]


def test_an_interface_made_anew_between_two_looks_is_reopened_without_a_word() -> None:
    """The reference sends on and never hears again."""
    rig = EthernetRig()
    port = rig.port
    rig.wire.unplug("eth0")
    rig.wire.plug("eth0", mac="02:00:00:00:00:01")
    rig.news()
    assert port.closed
    assert rig.transport.state == "up"
    assert rig.host.events == []
    rig.arrive(b"heard")
    rig.emit(PEER_TEXT, [b"said"])
    assert rig.host.frames == [b"heard"]
    assert rig.data == [(PEER, b"said")]


def test_an_interface_that_is_turned_off_and_on_is_followed() -> None:
    rig = EthernetRig()
    rig.wire.change("eth0", is_up=False, carrier=False)
    rig.news()
    assert rig.host.events == [("state", "down", "eth0: the interface is down")]
    rig.wire.change("eth0", is_up=True, carrier=True)
    rig.news()
    assert rig.transport.state == "up"


def test_another_mtu_is_followed_and_told() -> None:
    rig = EthernetRig()
    rig.wire.change("eth0", mtu=1300)
    rig.news()
    assert rig.transport.mtu == 1297
    assert rig.host.events == [("mtu", None)]
    rig.wire.change("eth0", mtu=9000)
    rig.news()
    rig.emit(PEER_TEXT, [b"x" * 8997])
    assert len(rig.data) == 1


def test_what_is_configured_stays_the_limit_and_is_not_told_again() -> None:
    rig = EthernetRig(mtu=1200)
    rig.wire.change("eth0", mtu=1400)
    rig.news()
    assert rig.transport.mtu == 1200
    assert rig.host.events == []


def test_an_interface_that_is_renamed_away_is_gone() -> None:
    rig = EthernetRig()
    rig.wire.change("eth0", name="lan0")
    rig.news()
    assert rig.transport.state == "down"
    rig.wire.change("lan0", name="eth0")
    rig.news()
    assert rig.transport.state == "up"


def test_another_mac_address_is_ours_from_now_on() -> None:
    rig = EthernetRig()
    rig.wire.change("eth0", mac=OTHER)
    rig.news()
    assert rig.transport.local_address == "eth0/02:00:00:00:00:07"
    assert rig.transport.can_dial(US_TEXT)


def test_other_interfaces_are_no_business_of_ours() -> None:
    rig = EthernetRig()
    port = rig.port
    rig.wire.plug("eth1")
    rig.wire.unplug("eth1")
    rig.news()
    assert rig.port is port
    assert rig.host.events == []


def test_news_that_were_lost_are_asked_for() -> None:
    rig = EthernetRig()
    rig.feed.failures.append(errno.ENOBUFS)
    rig.wire.unplug("eth0")
    rig.news()
    assert rig.transport.state == "down"


def test_an_interface_that_cannot_be_reopened_is_tried_again() -> None:
    rig = EthernetRig()
    rig.wire.refusal = errno.ENOMEM
    rig.wire.unplug("eth0")
    rig.wire.plug("eth0")
    with log_lines() as lines:
        rig.news()
    assert lines == ["cannot open eth0: ethernet eth0: Cannot allocate memory"]
    assert rig.host.events == [("state", "down", "eth0: Cannot allocate memory")]
    rig.wire.refusal = 0
    rig.reactor.advance(RETRY_SECS)
    assert rig.transport.state == "up"


def test_several_instances_share_a_wire() -> None:
    wire = FakeWire()
    rigs = [EthernetRig(wire=wire, interface=name) for name in ("eth0", "eth1")]
    address = rigs[1].transport.local_address
    assert address is not None
    rigs[0].emit(address.replace("eth1", "eth0"), [b"across"])
    rigs[1].transport.doRead()
    assert rigs[1].host.runs == [("eth1/02:00:00:00:00:01", [b"across"])]


# -- beacons ----------------------------------------------------------------------------------------------------------


def moments(rig: EthernetRig, seconds: int) -> list[int]:
    """Return in which seconds from now beacons leave."""
    found, before = [0] * rig.beacons, rig.beacons
    for second in range(1, seconds + 1):
        rig.reactor.advance(1)
        found += [second] * (rig.beacons - before)
        before = rig.beacons
    return found


def test_a_few_early_beacons_then_one_each_interval() -> None:
    rig = EthernetRig(announce=True)
    assert moments(rig, 75) == [0, 1, 3, 10, 40, 70]
    assert rig.port.sent[0] == (BROADCAST, Beacon(KEYS["us"]).encode())
    assert rig.counter("beacons_sent") == 6
    assert rig.counter("frames_sent") == 0


def test_the_interval_is_at_least_ten_seconds() -> None:
    assert moments(EthernetRig(announce=True, beacon_interval_secs=5), 35) == [0, 1, 3, 10, 20, 30]


def test_who_does_not_announce_is_silent() -> None:
    rig = EthernetRig()
    rig.hear("peer")
    assert moments(rig, 60) == []


def test_a_wire_that_changed_gets_early_beacons_again() -> None:
    rig = EthernetRig(announce=True)
    moments(rig, 20)
    before = rig.beacons
    rig.wire.change("eth0", carrier=False)
    rig.news()
    assert rig.beacons == before
    rig.wire.change("eth0", carrier=True)
    rig.news()
    moments(rig, 4)
    assert rig.beacons == before + 3


def test_no_beacon_leaves_while_the_interface_is_gone() -> None:
    rig = EthernetRig(announce=True)
    rig.wire.unplug("eth0")
    rig.news()
    before = rig.beacons
    moments(rig, 60)
    assert rig.beacons == before
    assert rig.counter("send_errors") == 0


def test_a_beacon_that_cannot_leave_is_counted_and_the_next_one_comes() -> None:
    rig = EthernetRig(announce=True)
    rig.port.failures.append(errno.ENETDOWN)
    with log_lines() as lines:
        rig.reactor.advance(1)
        rig.reactor.advance(2)
    assert rig.counter("send_errors") == 1
    assert rig.counter("beacons_sent") == 2
    assert lines == ["ethernet cannot send to everybody: Network is down"]


def test_somebody_new_is_answered_with_a_beacon_but_not_at_any_rate() -> None:
    rig = EthernetRig(announce=True)
    moments(rig, 20)
    before = rig.beacons
    for number in range(20):
        rig.hear("peer", mac=bytes((2, 1, 0, 0, 0, number)))
    rig.reactor.advance(0)
    assert rig.beacons == before + 1
    rig.reactor.advance(ANSWER_SECS)
    rig.hear("peer", mac=PEER)
    rig.hear("peer", mac=PEER)
    rig.reactor.advance(0)
    assert rig.beacons == before + 2
    assert moments(rig, 40).count(0) == before + 2


def test_a_neighbour_is_told_to_the_node_when_we_connect_by_ourselves() -> None:
    rig = EthernetRig(auto_connect=True)
    rig.hear("peer")
    rig.hear("peer")
    assert rig.host.events == [("neighbour", PEER_TEXT, KEYS["peer"])] * 2
    assert rig.counter("beacons_recv") == 2


@pytest.mark.parametrize("settings", [{"auto_connect": False}, {"auto_connect": True, "listen": False}])
def test_otherwise_it_is_only_counted(settings: dict[str, bool]) -> None:
    rig = EthernetRig(**settings)
    rig.hear("peer")
    assert rig.host.events == []
    assert rig.counter("beacons_recv") == 1


def test_our_own_echo_and_broken_beacons_are_only_counted() -> None:
    rig = EthernetRig(auto_connect=True, announce=True)
    rig.hear("us")
    for payload in (b"\x01\x02" + KEYS["peer"], b"\x01\x01" + KEYS["peer"][:-1], b"\x01\x01" + KEYS["peer"][:2]):
        rig.port.arrive(payload, PEER, is_broadcast=True)
    rig.transport.doRead()
    assert rig.host.events == []
    assert rig.counter("beacons_recv") == 4
    assert rig.host.frames == []


def test_beacons_and_data_arrive_together() -> None:
    rig = EthernetRig(auto_connect=True)
    rig.port.arrive(Beacon(KEYS["peer"]).encode(), PEER)
    rig.arrive(b"frame")
    assert rig.host.events == [("neighbour", PEER_TEXT, KEYS["peer"])]
    assert rig.host.frames == [b"frame"]


def test_a_flood_of_beacons_is_not_looked_at() -> None:
    rig = EthernetRig(auto_connect=True)
    for number in range(1000):
        rig.port.arrive(Beacon(KEYS["peer"]).encode(), b"\x02\x02" + number.to_bytes(4, "big"), is_broadcast=True)
    for _ in range(10):
        rig.transport.doRead()
    assert rig.counter("beacons_recv") == 1000
    assert len(rig.host.events) == BEACONS_PER_SEC


def test_neighbours_are_bounded_the_longest_silent_go_first() -> None:
    neighbours = Neighbours()
    macs = [number.to_bytes(6, "big") for number in range(MOST_NEIGHBOURS + 1)]
    assert all(neighbours.heard(mac, b"key") for mac in macs)
    assert neighbours.heard(macs[0], b"key")
    assert not neighbours.heard(macs[-1], b"key")
    assert neighbours.heard(macs[-1], b"another")


def test_a_schedule_that_was_stopped_answers_nobody() -> None:
    schedule = BeaconSchedule(30)
    schedule.answer(5.0)
    assert schedule.due == float("inf")
