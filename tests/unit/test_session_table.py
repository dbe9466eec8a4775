"""Every state against every event: the table of spec 02 section 6.2 with its hardened rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from meshnode.mesh.session import SessionState

from .session_rig import ACK, MSG3, SETUP, Net, Node, pair

NONE, INITIATING, AWAITING, ESTABLISHED = "none", "initiating", "awaiting_msg3", "established"


class Bench:
    """`us` is brought into a state; `them` is a node whose answers are intercepted and handed over by the test."""

    def __init__(self, smaller: bool) -> None:
        self.net, a, b = pair()
        self.us, self.them = (a, b) if smaller else (b, a)
        self.net.lose = lambda source, message: True

    def state(self) -> str:
        session = self.us.layer.sessions.get(self.them.address)
        return NONE if session is None else session.state.value

    def bring_to(self, state: str) -> None:
        us, them = self.us, self.them
        if state == INITIATING:
            us.open(them)
        elif state == AWAITING:
            us.receive(them.address, self.setup())
        elif state == ESTABLISHED:
            us.receive(them.address, self.setup())
            them.receive(us.address, us.sent[-1][1])
            us.receive(them.address, self.sent_by(them, MSG3))
            us.layer.counters.__init__()  # type: ignore[misc]
        us.sent.clear()

    def setup(self) -> bytes:
        self.them.layer.sessions.pop(self.us.address, None)
        self.them.open(self.us)
        return self.them.sent[-1][1]

    def sent_by(self, node: Node, phase: int) -> bytes:
        return next(message for _to, message in reversed(node.sent) if message[0] & 15 == phase)

    def counted(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self.us.layer.counters).items() if value}


def setup(bench: Bench) -> bytes:
    return bench.setup()


def stray_ack(bench: Bench) -> bytes:
    """An Ack for somebody else's handshake."""
    other = Bench(bench.us.address < bench.them.address)
    other.them.receive(other.us.address, other_setup(other))
    return other.them.sent[-1][1]


def other_setup(bench: Bench) -> bytes:
    bench.us.random.seed(99)
    bench.us.open(bench.them)
    return bench.us.sent[-1][1]


def stray_message3(bench: Bench) -> bytes:
    return bytes.fromhex("03004c00004900") + bytes(range(73))


def stray_data(bench: Bench) -> bytes:
    return bytes.fromhex("000010000700000000000000") + bytes(32)


def coordinates_required(bench: Bench) -> bytes:
    return bytes.fromhex("000422002000") + bench.them.address + bytes([0x22]) * 16


Event = Callable[[Bench], bytes]
ROWS: list[tuple[str, Event, bool, str, list[int], dict[str, int]]] = [
    # state, event, ours is the smaller address, next state, phases sent, counted
    (NONE, setup, True, AWAITING, [ACK], {}),
    (NONE, stray_ack, True, NONE, [], {"unknown_session": 1}),
    (NONE, stray_message3, True, NONE, [], {"unknown_session": 1}),
    (NONE, stray_data, True, NONE, [], {"unknown_session": 1}),
    (NONE, coordinates_required, True, NONE, [], {"unknown_session": 1}),
    (INITIATING, setup, True, INITIATING, [], {}),
    (INITIATING, setup, False, AWAITING, [ACK], {}),
    (INITIATING, stray_ack, True, INITIATING, [], {"ack_handshake_failed": 1}),
    (INITIATING, stray_message3, True, INITIATING, [], {"bad_state": 1}),
    (INITIATING, stray_data, True, INITIATING, [], {"bad_state": 1}),
    (INITIATING, coordinates_required, True, INITIATING, [], {}),
    (AWAITING, setup, True, AWAITING, [ACK], {}),
    (AWAITING, setup, False, AWAITING, [ACK], {}),
    (AWAITING, stray_ack, True, AWAITING, [], {"bad_state": 1}),
    (AWAITING, stray_message3, True, AWAITING, [], {}),
    (AWAITING, stray_data, True, AWAITING, [], {}),
    (AWAITING, coordinates_required, True, AWAITING, [], {"unknown_session": 1}),
    (ESTABLISHED, setup, True, ESTABLISHED, [ACK], {"rekey_armed": 1}),
    (ESTABLISHED, setup, False, ESTABLISHED, [ACK], {"rekey_armed": 1}),
    (ESTABLISHED, stray_ack, True, ESTABLISHED, [], {"bad_state": 1}),
    (ESTABLISHED, stray_message3, True, ESTABLISHED, [], {"bad_state": 1}),
    (ESTABLISHED, stray_data, True, ESTABLISHED, [], {"undecryptable": 1}),
    (ESTABLISHED, coordinates_required, True, ESTABLISHED, [0], {}),
]


@pytest.mark.parametrize(
    ("state", "event", "smaller", "after", "phases", "counted"),
    ROWS,
    ids=[f"{row[0]}-{row[1].__name__}-{'smaller' if row[2] else 'larger'}" for row in ROWS],
)
def test_a_message_does_what_the_table_says(
    state: str, event: Event, smaller: bool, after: str, phases: list[int], counted: dict[str, int]
) -> None:
    bench = Bench(smaller)
    bench.bring_to(state)
    assert bench.state() == state
    message = event(bench)
    source = b"\x22" * 16 if event is coordinates_required else bench.them.address
    bench.us.receive(source, message)
    assert bench.state() == after
    assert bench.us.phases() == phases
    assert bench.counted() == counted


def established_by(state: str, net: Net, us: Node, them: Node) -> None:
    """Bring `us` to `state` with every message of `them` lost on the way."""
    if state == INITIATING:
        us.open(them)
    elif state == AWAITING:
        net.lose = lambda source, message: source is us
        them.open(us)
        net.run(0.1)
    net.lose = lambda source, message: True


@pytest.mark.parametrize("state", [NONE, INITIATING, AWAITING])
def test_local_data_waits_and_opens_only_where_there_is_no_entry(state: str) -> None:
    net, us, them = pair()
    established_by(state, net, us, them)
    before = len(us.sent)
    us.send(them, b"data")
    assert us.phases()[before:] == ([SETUP] if state == NONE else [])
    assert us.layer.take(them.address)


@pytest.mark.parametrize("state", [INITIATING, AWAITING])
def test_time_ends_an_unfinished_entry_and_drops_what_waited(state: str) -> None:
    net, us, them = pair()
    established_by(state, net, us, them)
    net.run(29)
    us.send(them, b"data")
    net.run(2)
    assert us.layer.sessions == {}
    assert us.layer.take(them.address) == []


@pytest.mark.parametrize("state", list(SessionState))
def test_the_states_have_the_names_operators_know(state: SessionState) -> None:
    assert state.value in {INITIATING, AWAITING, ESTABLISHED}
