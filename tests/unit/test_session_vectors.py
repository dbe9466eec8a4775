"""The rows of spec 02 section 21 that the session layer can produce, byte for byte."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.identity import Identity
from meshnode.mesh.session import Queued, SessionEstablished, SessionLayer
from meshnode.mesh.settings import MeshSettings

from .session_rig import A_SECRET, B_SECRET, FakeRouter
from .vectors import unhex

A = Identity(A_SECRET)
B = Identity(B_SECRET)
A_COORDS = [A.node_addr, b"\x11" * 16, bytes(16)]
B_COORDS = [B.node_addr, bytes(16)]

MSG1 = "028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7"
MSG2 = """0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c
          58d3ae85f53d36c515a984c911e5919305fe16ffcab528be"""
MSG3 = """58746ffff52cad339c47e98763f4a5a395bc3ab1f3d8c621e4560b546a2d60a258dfbbf56c7c35f8094f34f901768ed84c
          b83b98a2d69f625353736370f31e942a3758bdece010d830"""
A_LIST = "0300 69e08d65cc3a6b9c2c2ac4bd405e4b0e 11111111111111111111111111111111 00000000000000000000000000000000"
B_LIST = "0200 ec3925bdbd24aa1cfd002f9ccf52f2bc 00000000000000000000000000000000"
SHIM = unhex("00602abcde11409c4013880012ae1e68656c6c6f2066697073")


def layer_of(identity: Identity, epoch: str, ephemeral: int, coordinates: list[bytes]) -> SessionLayer:
    router = FakeRouter(identity.node_addr)
    router.own_coordinates = coordinates
    router.cache = {A.node_addr: A_COORDS, B.node_addr: B_COORDS}
    settings = MeshSettings()
    settings.session_mmp.mode = "minimal"
    return SessionLayer(
        identity, bytes.fromhex(epoch), settings, lambda size: bytes([ephemeral]) * size, Random(1), router
    )


def sent(layer: SessionLayer) -> bytes:
    (message,) = layer.outbound
    layer.outbound = []
    return message.payload


@pytest.fixture
def pair() -> tuple[SessionLayer, SessionLayer]:
    """A and B; both have a payload waiting, so that nothing but the handshake is sent by itself."""
    a = layer_of(A, "a1b2c3d411223344", 0x21, A_COORDS)
    b = layer_of(B, "d4c3b2a144332211", 0x42, B_COORDS)
    a.queue(B.node_addr, Queued(256, 256, SHIM), 0.0)
    b.queue(A.node_addr, Queued(256, 256, SHIM), 0.0)
    return a, b


def complete(a: SessionLayer, b: SessionLayer) -> list[bytes]:
    a.open(B.peer, 0.0)
    setup = sent(a)
    b.receive(A.node_addr, A.node_addr, [setup], 0, 1280, False, 0.0)
    ack = sent(b)
    a.receive(B.node_addr, B.node_addr, [ack], 0, 1280, False, 0.0)
    message3 = sent(a)
    b.receive(A.node_addr, A.node_addr, [message3], 0, 1280, False, 0.0)
    return [setup, ack, message3]


def test_the_handshake_has_the_bytes_of_the_specification(pair: tuple[SessionLayer, SessionLayer]) -> None:
    setup, ack, message3 = complete(*pair)
    assert setup == unhex(f"0100780000 {A_LIST} {B_LIST} 2100 {MSG1}")
    assert ack == unhex(f"0200900000 {B_LIST} {A_LIST} 3900 {MSG2}")
    assert message3 == unhex(f"03004c0000 4900 {MSG3}")


def test_what_waited_comes_back_when_the_session_is_there(pair: tuple[SessionLayer, SessionLayer]) -> None:
    a, b = pair
    complete(a, b)
    waiting = [Queued(256, 256, SHIM)]
    assert a.events == [SessionEstablished(B.peer, True, waiting)]
    assert b.events == [SessionEstablished(A.peer, False, waiting)]
    assert not a.outbound
    assert not b.outbound


def test_data_with_and_without_coordinates(pair: tuple[SessionLayer, SessionLayer]) -> None:
    a, b = pair
    complete(a, b)
    (with_coordinates,) = a.seal(B.node_addr, 256, 256, [SHIM], 1.234)
    assert with_coordinates == unhex(
        f"""000123000000000000000000 {A_LIST} {B_LIST}
        4423d4fc86c32da36dbf2eaff01cd77b038748d17c1bc5aabd412becc4c681806abb0d64088b628fcbac24a29ada1ceae1d5d0"""
    )
    a.sessions[B.node_addr].warmup_remaining = 0
    (plain,) = a.seal(B.node_addr, 256, 256, [SHIM], 1.234)
    assert plain == unhex(
        """000023000100000000000000
        d1b0feb4bb580014863841046b7d1c72691d4e0a78eb8ad5b3afd8268aabba3944130000abcad2f6d9cff5860a1567157442b1"""
    )
    (delivery,) = b.receive(A.node_addr, A.node_addr, [with_coordinates, plain], 0, 1280, False, 1.0)
    assert [buffer[delivery.offset :] for buffer in delivery.buffers] == [SHIM, SHIM]
    assert (delivery.source, delivery.source_port, delivery.destination_port) == (A.node_addr, 256, 256)


def test_a_standalone_warmup(pair: tuple[SessionLayer, SessionLayer]) -> None:
    a, b = pair
    complete(a, b)
    a.seal(B.node_addr, 256, 256, [SHIM, SHIM], 1.234)
    a.coordinates_changed(2.0)
    assert sent(a) == unhex(f"000106000200000000000000 {A_LIST} {B_LIST} 1e353acb246f2e1156554aac98304033f1188dd81bb4")


def test_a_path_mtu_notification(pair: tuple[SessionLayer, SessionLayer]) -> None:
    a, b = pair
    complete(a, b)
    b.receive(A.node_addr, A.node_addr, a.seal(B.node_addr, 256, 256, [SHIM], 0.1), 0, 1280, False, 0.1)
    b.tick(0.5)
    assert sent(b) == unhex("000008000000000000000000 f372751be96f9e94b5e31e6069bdc0242ebb579a76e579be")


def test_error_signals_are_told_apart(pair: tuple[SessionLayer, SessionLayer]) -> None:
    a, b = pair
    complete(a, b)
    reporter = b"\x22" * 16
    for signal in (
        "00042200 2000 ec3925bdbd24aa1cfd002f9ccf52f2bc 22222222222222222222222222222222",
        "00042400 2100 ec3925bdbd24aa1cfd002f9ccf52f2bc 22222222222222222222222222222222 0000",
        f"00044400 2100 ec3925bdbd24aa1cfd002f9ccf52f2bc 22222222222222222222222222222222 {B_LIST}",
        "00042400 2200 ec3925bdbd24aa1cfd002f9ccf52f2bc 22222222222222222222222222222222 0005",
    ):
        a.receive(reporter, reporter, [unhex(signal)], 0, 65535, False, 1.0)
    assert (a.errors.coords_required, a.errors.path_broken, a.errors.mtu_exceeded) == (1, 2, 1)
    assert a.sessions[B.node_addr].path_mtu.current == 1280
    assert a.counters.unknown_session == 0
