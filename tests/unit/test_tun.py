"""The TUN descriptor on a driver in memory."""

from __future__ import annotations

import errno

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from meshnode.ipv6.coalesce import NO_OFFLOAD
from meshnode.ipv6.testing import FakeTunSystem
from meshnode.ipv6.tun import TunDevice, TunError

PACKET = b"\x60" + bytes(47)


class Host:
    """Remembers what the device did, in order."""

    def __init__(self) -> None:
        self.events: list[object] = []

    @property
    def bursts(self) -> list[int]:
        return [len(event) for event in self.events if isinstance(event, list)]

    def packets_read(self, packets: list[bytes]) -> None:
        self.events.append(packets)

    def burst_ended(self) -> None:
        self.events.append("burst ended")

    def tun_lost(self, reason: str) -> None:
        self.events.append(f"lost: {reason}")


class Setup:
    def __init__(self, offload: bool = True, name: str = "fips0", datagrams: bool = True) -> None:
        self.system = FakeTunSystem(offload, datagrams)
        self.reactor = MemoryReactorClock()
        self.host = Host()
        self.device = TunDevice(self.reactor, name, 1280, self.host, self.system)

    @property
    def reading(self) -> bool:
        return self.device in self.reactor.getReaders()


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def up(request: pytest.FixtureRequest) -> Setup:
    """A device that is open and reading."""
    setup = Setup(request.param)
    setup.device.open()
    setup.device.start()
    return setup


class TestOpening:
    def test_a_device_with_virtio_header_takes_frames(self) -> None:
        setup = Setup()
        setup.device.open()
        assert setup.device.takes_frames
        assert setup.system.interfaces == {"fips0": True}

    def test_a_kernel_without_virtio_header_gets_plain_packets(self) -> None:
        setup = Setup(offload=False)
        setup.device.open()
        assert not setup.device.takes_frames
        assert not setup.device.takes_datagram_runs

    def test_a_kernel_that_cuts_datagrams_is_not_asked_to_send_merged_ones(self) -> None:
        setup = Setup()
        setup.device.open()
        assert setup.device.takes_datagram_runs
        assert setup.system.asked_for == 0

    def test_a_kernel_that_does_not_cut_datagrams_gets_single_ones(self) -> None:
        setup = Setup(datagrams=False)
        setup.device.open()
        assert setup.device.takes_frames
        assert not setup.device.takes_datagram_runs

    def test_nothing_is_read_before_the_start(self) -> None:
        setup = Setup()
        setup.device.open()
        assert not setup.reading
        setup.device.start()
        assert setup.reading

    def test_a_tun_that_outlived_its_process_is_replaced(self) -> None:
        setup = Setup()
        setup.system.interfaces["fips0"] = True
        setup.device.open()
        assert setup.system.discarded == ["fips0"]
        assert len(setup.system.open_descriptors) == 1

    def test_an_interface_of_another_kind_is_left_alone(self) -> None:
        setup = Setup()
        setup.system.interfaces["fips0"] = False
        with pytest.raises(TunError, match="is no TUN: set another"):
            setup.device.open()
        assert setup.system.discarded == []

    @pytest.mark.parametrize(
        ("code", "remedy"),
        [
            (errno.EPERM, "CAP_NET_ADMIN is missing: run as root"),
            (errno.EBUSY, "in use by another process"),
            (errno.ENOMEM, "Cannot allocate memory"),
        ],
    )
    def test_a_refusal_is_one_line_with_a_remedy(self, code: int, remedy: str) -> None:
        setup = Setup()
        setup.system.refusals.append(code)
        with pytest.raises(TunError, match=remedy) as caught:
            setup.device.open()
        assert str(caught.value).startswith("cannot create TUN interface fips0: ")
        assert "\n" not in str(caught.value)
        assert setup.system.open_descriptors == set()

    @pytest.mark.parametrize("name", ["", "a-name-of-sixteen", "with space", "with/slash", "tun%d", ".", "ü" * 8])
    def test_impossible_names_are_refused(self, name: str) -> None:
        with pytest.raises(TunError, match=r"tun\.name"):
            Setup(name=name).device.open()


class TestReading:
    def test_what_is_there_is_one_burst(self, up: Setup) -> None:
        packets = [PACKET, PACKET + b"x"]
        up.system.incoming.extend(packets)
        up.device.doRead()
        assert up.host.events == [packets, "burst ended"]
        assert (up.device.counters.packets_read, up.device.counters.bytes_read) == (2, 97)

    def test_a_wake_up_for_nothing_is_no_burst(self, up: Setup) -> None:
        up.device.doRead()
        assert up.host.events == []

    def test_a_burst_is_bounded(self, up: Setup) -> None:
        up.system.incoming.extend([PACKET] * 600)
        up.device.doRead()
        assert up.host.bursts == [256]
        up.reactor.advance(0)
        assert up.host.bursts == [256, 256, 88]
        assert up.device.counters.packets_read == 600
        assert not up.reactor.getDelayedCalls()

    def test_a_newcomer_overtakes_what_waits(self, up: Setup) -> None:
        newcomer = PACKET[:30] + b"somebody else"
        up.system.incoming.extend([PACKET] * 600)
        up.device.doRead()
        up.system.incoming.append(newcomer)
        up.device.doRead()
        assert up.host.events[2][0] == newcomer  # type: ignore[index]

    def test_what_waits_is_forgotten_with_the_device(self, up: Setup) -> None:
        up.system.incoming.extend([PACKET] * 600)
        up.device.doRead()
        up.device.close()
        up.reactor.advance(1)
        assert up.host.bursts == [256]
        assert up.device.backlog.waiting == 0

    def test_packets_longer_than_the_mtu_are_read_whole(self, up: Setup) -> None:
        up.system.incoming.append(bytes(1380))
        up.device.doRead()
        assert up.host.events[0] == [bytes(1380)]

    @pytest.mark.parametrize("code", [errno.EFAULT, errno.EBADFD, errno.ENODEV, errno.EIO])
    def test_losing_the_interface_is_told_once_after_the_last_packets(self, up: Setup, code: int) -> None:
        up.system.incoming.extend([PACKET, code])
        up.device.doRead()
        assert up.host.events[:2] == [[PACKET], "burst ended"]
        assert str(up.host.events[2]).startswith("lost: TUN interface fips0 is gone: ")
        assert not up.reading
        up.device.close()
        up.device.write([PACKET])
        assert len(up.host.events) == 3
        assert up.device.counters.write_dropped == 1

    def test_an_interruption_is_no_loss(self, up: Setup) -> None:
        up.system.incoming.extend([PACKET, errno.EINTR])
        up.device.doRead()
        assert up.host.events == [[PACKET], "burst ended"]

    def test_the_reactor_may_find_the_loss(self, up: Setup) -> None:
        up.device.connectionLost(Failure(ConnectionLost()))
        assert len(up.host.events) == 1
        assert up.system.open_descriptors == set()

    def test_a_host_may_close_the_device_while_it_is_read(self, up: Setup) -> None:
        up.host.packets_read = lambda packets: up.device.close()  # type: ignore[method-assign]
        up.system.incoming.extend([PACKET, errno.EBADFD])
        up.device.doRead()
        assert up.host.events == ["burst ended"]


class TestWriting:
    def test_packets_reach_the_host_in_order(self, up: Setup) -> None:
        up.device.write([PACKET, PACKET + b"x"])
        assert up.system.packets() == [PACKET, PACKET + b"x"]
        assert (up.device.counters.packets_written, up.device.counters.bytes_written) == (2, 97)

    def test_frames_are_written_as_they_are(self) -> None:
        setup = Setup()
        setup.device.open()
        setup.device.write_frames([NO_OFFLOAD + PACKET])
        assert setup.system.frames == [NO_OFFLOAD + PACKET]
        assert setup.device.counters.bytes_written == len(PACKET)

    @pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
    def test_a_full_queue_drops_the_rest_of_the_burst(self, up: Setup, code: int) -> None:
        up.system.write_refusals.extend([None, code])
        up.device.write([PACKET] * 5)
        assert len(up.system.frames) == 1
        assert (up.device.counters.packets_written, up.device.counters.write_dropped) == (1, 4)
        up.device.write([PACKET])
        assert len(up.system.frames) == 2

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
    def test_a_refused_packet_does_not_stop_the_others(self, up: Setup, code: int) -> None:
        up.system.write_refusals.extend([None, code])
        up.device.write([PACKET] * 5)
        assert (up.device.counters.packets_written, up.device.counters.write_errors) == (4, 1)

    @pytest.mark.parametrize("code", [errno.EFAULT, errno.EBADFD, errno.ENODEV])
    def test_losing_the_interface_is_told_once(self, up: Setup, code: int) -> None:
        up.system.write_refusals.extend([code])
        up.device.write([PACKET] * 5)
        up.device.write([PACKET])
        assert [str(event)[:4] for event in up.host.events] == ["lost"]
        assert up.device.counters.write_dropped == 6


class TestClosing:
    def test_the_descriptor_is_given_back_and_nothing_is_told(self, up: Setup) -> None:
        up.device.close()
        up.device.close()
        assert up.system.open_descriptors == set()
        assert not up.reading
        assert up.host.events == []

    def test_a_closed_device_can_be_opened_again(self, up: Setup) -> None:
        up.device.close()
        up.system.interfaces.clear()
        up.device.open()
        up.device.start()
        assert up.reading
