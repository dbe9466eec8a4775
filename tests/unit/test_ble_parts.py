"""The parts of the BLE transport: addresses, the hello, the prober, socket addresses, listening and dialling."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.failure import Failure

from meshnode.identity import Identity
from meshnode.transports.ble import sockaddr
from meshnode.transports.ble.addresses import format_address, parse_device
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.hello import HelloError, encode_hello, own_channel_wins, parse_hello
from meshnode.transports.ble.l2cap import Dialler, KernelL2cap, Listener, no_sockets
from meshnode.transports.ble.prober import TRIES, Prober
from meshnode.transports.ble.radio import RadioError
from meshnode.transports.interfaces import TransportError
from tests.unit.ble_rig import LARGE, SMALL, HandReactor
from tests.unit.vectors import load

DEVICE = "AA:BB:CC:DD:EE:FF"


# -- addresses


@pytest.mark.parametrize("text", ["hci0/AA:BB:CC:DD:EE:FF", "hci1/aa:bb:cc:dd:ee:ff", "AA:BB:CC:DD:EE:FF"])
def test_a_device_is_found_in_its_text_whatever_the_adapter(text: str) -> None:
    assert parse_device(text) == DEVICE


@given(st.text(max_size=40))
def test_any_text_is_a_device_or_refused(text: str) -> None:
    try:
        device = parse_device(text)
    except TransportError:
        return
    assert parse_device(format_address("hci0", device)) == device


# -- the hello


def test_the_hello_is_that_of_the_vectors() -> None:
    vector, keys = load("transports")["ble"], load("transports")["keys"]
    for name in "AB":
        peer = Identity(bytes.fromhex(keys[name]["secret"])).peer
        assert encode_hello(peer).hex() == vector[f"hello_{name}"]
        assert parse_hello(encode_hello(peer)) == peer


def test_the_smaller_node_address_keeps_its_own_channel() -> None:
    assert own_channel_wins(SMALL.peer, LARGE.peer)
    assert not own_channel_wins(LARGE.peer, SMALL.peer)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_hello_or_refused(message: bytes) -> None:
    try:
        peer = parse_hello(message)
    except HelloError:
        return
    assert encode_hello(peer) == message


# -- the prober


def test_a_device_is_due_when_heard_and_again_after_the_cooldown() -> None:
    prober = Prober(30.0)
    prober.found(DEVICE, 100.0)
    assert prober.next_deadline() == 100.0
    assert prober.next(100.0) == DEVICE
    prober.found(DEVICE, 101.0)
    assert prober.next(129.0) is None
    assert prober.next_deadline() == 130.0
    assert prober.next(130.0) == DEVICE


def test_the_device_that_waits_longest_comes_first() -> None:
    prober = Prober(30.0)
    prober.found("B", 1.0)
    prober.found("A", 2.0)
    assert [prober.next(3.0), prober.next(3.0), prober.next(3.0)] == ["B", "A", None]


def test_a_connected_device_is_left_alone_and_a_lost_one_waits_for_the_cooldown() -> None:
    prober = Prober(30.0)
    prober.found(DEVICE, 0.0)
    prober.connected(DEVICE)
    assert prober.next_deadline() is None
    prober.lost(DEVICE, 50.0)
    assert prober.next(79.0) is None
    assert prober.next(80.0) == DEVICE


def test_a_device_that_never_answers_is_forgotten_until_it_is_heard_again() -> None:
    prober = Prober(1.0)
    prober.found(DEVICE, 0.0)
    assert [prober.next(float(second)) for second in range(TRIES + 3)].count(DEVICE) == TRIES
    prober.found(DEVICE, 100.0)
    assert prober.next(100.0) == DEVICE


def test_a_crowd_of_devices_does_not_fill_the_memory() -> None:
    prober = Prober(1.0)
    for number in range(10_000):
        prober.found(str(number), 0.0)
    due = 0
    while prober.next(0.0) is not None:
        due += 1
    assert due == 64


# -- socket addresses


def test_the_socket_address_is_that_of_the_specification() -> None:
    assert sockaddr.l2cap_address(DEVICE, 0x85).hex() == "1f008500ffeeddccbbaa0000" + "0100"
    assert sockaddr.l2cap_address(DEVICE, 0x85, sockaddr.LE_RANDOM)[12] == 2
    assert sockaddr.device_of(sockaddr.l2cap_address(DEVICE, 0x85)) == DEVICE


def unix_address(path: Path) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + os.fsencode(path) + b"\x00"


def test_calls_with_plain_addresses_reach_the_system(tmp_path: Path) -> None:
    """The same calls with an address family that every kernel has."""
    address = unix_address(tmp_path / "socket")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dialling,
    ):
        listening.setblocking(False)
        sockaddr.bind(listening, address)
        listening.listen(1)
        with pytest.raises(BlockingIOError):
            sockaddr.accept(listening)
        sockaddr.connect(dialling, address)
        accepted, peer = sockaddr.accept(listening)
        with accepted:
            assert peer[:2] == struct.pack("=H", socket.AF_UNIX)
            assert not accepted.getblocking()
            dialling.send(b"one message")
            assert accepted.recv(100) == b"one message"


def test_a_call_that_fails_says_why(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock, pytest.raises(FileNotFoundError):
        sockaddr.connect(sock, unix_address(tmp_path / "nobody"))


# -- listening and dialling


class UnixL2cap(KernelL2cap):
    """Devices are sockets in a directory; everything else is the system's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.send_mtu, self.receive_mtu = 512, 0
        self.refusal: OSError | None = None

    def open(self) -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)

    def bind(self, sock: socket.socket, device: str, psm: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        if psm:
            place = self.directory / device.replace(":", "")
            place.unlink(missing_ok=True)
            sockaddr.bind(sock, unix_address(place))

    def connect(self, sock: socket.socket, device: str, psm: int, random: bool) -> None:
        sockaddr.connect(sock, unix_address(self.directory / device.replace(":", "")))

    def accept(self, sock: socket.socket) -> tuple[socket.socket, str]:
        return sockaddr.accept(sock)[0], "11:22:33:44:55:66"

    def set_receive_mtu(self, sock: socket.socket, mtu: int) -> None:
        self.receive_mtu = mtu

    def mtus(self, sock: socket.socket) -> tuple[int, int]:
        return self.send_mtu, self.receive_mtu

    def stay_awake(self, sock: socket.socket) -> None:
        raise OSError(errno.ENOPROTOOPT, "no such option")


def test_a_dialled_channel_is_accepted_and_carries_the_smaller_of_both_sizes(tmp_path: Path) -> None:
    reactor, system, accepted = HandReactor(), UnixL2cap(tmp_path), list[Channel]()
    listener = Listener(reactor, system, accepted.append)
    listener.listen(DEVICE, 0x85, 2048)
    dialled: list[Any] = []
    Dialler(reactor, system, DEVICE).dial(0x85, 2048, False).addBoth(dialled.append)
    reactor.settle()
    assert [channel.mtu for channel in (*accepted, *dialled)] == [512, 512]
    assert (accepted[0].inbound, dialled[0].inbound) == (True, False)
    assert (accepted[0].peer, dialled[0].peer) == ("11:22:33:44:55:66", DEVICE)
    listener.close()
    for channel in (*accepted, *dialled):
        channel.close()
    assert not reactor.readers


class AbortedL2cap(UnixL2cap):
    """The first channel fails while it waits to be accepted."""

    aborted = False

    def accept(self, sock: socket.socket) -> tuple[socket.socket, str]:
        connected, device = super().accept(sock)
        if not self.aborted:
            self.aborted = True
            connected.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "software caused connection abort")
        return connected, device


def test_a_channel_that_cannot_be_accepted_ends_no_listening(tmp_path: Path) -> None:
    """Spec 04, section 9.4: after one such error the reference accepts nobody any more."""
    reactor, system, accepted = HandReactor(), AbortedL2cap(tmp_path), list[Channel]()
    listener = Listener(reactor, system, accepted.append)
    listener.listen(DEVICE, 0x85, 2048)
    dialled: list[Any] = []
    for _ in range(2):
        Dialler(reactor, system, DEVICE).dial(0x85, 2048, False).addBoth(dialled.append)
        reactor.settle()
    assert system.aborted
    assert len(accepted) == 1
    for channel in (*accepted, *dialled):
        channel.close()
    listener.close()


def test_a_dial_to_nobody_fails_with_the_systems_words(tmp_path: Path) -> None:
    outcome: list[Any] = []
    Dialler(HandReactor(), UnixL2cap(tmp_path), DEVICE).dial(0x85, 2048, False).addBoth(outcome.append)
    assert isinstance(outcome[0], Failure)
    assert outcome[0].check(FileNotFoundError)


class SlowL2cap(UnixL2cap):
    """Dials are under way until the socket is writable, and then have failed or not."""

    def connect(self, sock: socket.socket, device: str, psm: int, random: bool) -> None:
        raise BlockingIOError(errno.EINPROGRESS, "in progress")


def test_a_dial_under_way_ends_when_the_socket_is_writable(tmp_path: Path) -> None:
    reactor, outcome = HandReactor(), list[Any]()
    Dialler(reactor, SlowL2cap(tmp_path), DEVICE).dial(0x85, 2048, False).addBoth(outcome.append)
    (dialler,) = reactor.writers
    dialler.doWrite()
    assert outcome[0].mtu == 512
    assert not reactor.writers
    outcome[0].close()


def test_a_dial_given_up_leaves_nothing(tmp_path: Path) -> None:
    reactor, outcome = HandReactor(), list[Any]()
    attempt = Dialler(reactor, SlowL2cap(tmp_path), DEVICE).dial(0x85, 2048, False).addBoth(outcome.append)
    attempt.cancel()
    assert not reactor.writers
    assert isinstance(outcome[0], Failure)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EADDRINUSE, "is in use at AA:BB:CC:DD:EE:FF: another node or daemon runs"),
        (errno.EACCES, "not permitted to listen at L2CAP channel number 5: write psm: 133, or run as root"),
        (errno.ENODEV, "cannot listen at AA:BB:CC:DD:EE:FF, L2CAP channel number 5: "),
    ],
)
def test_listening_that_fails_says_what_to_do(tmp_path: Path, number: int, says: str) -> None:
    system = UnixL2cap(tmp_path)
    system.refusal = OSError(number, os.strerror(number))
    with pytest.raises(RadioError) as caught:
        Listener(HandReactor(), system, lambda channel: None).listen(DEVICE, 5, 2048)
    assert says in str(caught.value)
    assert not caught.value.permanent


def test_a_kernel_without_bluetooth_is_named() -> None:
    error = no_sockets(OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)))
    assert str(error) == "this kernel has no Bluetooth sockets: modprobe bluetooth"
    assert error.permanent
