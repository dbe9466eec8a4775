"""Host names as destinations: looked up aside, remembered for a minute, frames held meanwhile within bounds."""

from __future__ import annotations

from meshnode.transports.resolver import HELD_FRAMES, MAX_NAMES
from tests.unit.udp_rig import Rig, log_lines

NAME = "mesh.example.org:2121"


def destinations(rig: Rig) -> list[str]:
    return [str(batch.address[0]) for batch in rig.socket.sent]


def test_frames_wait_for_the_answer_and_leave_in_order_without_another_flush() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.emit(NAME, [b"two", b"three"])
    assert rig.socket.sent == []
    assert rig.reactor.nameResolver.asked == ["mesh.example.org"]
    rig.reactor.nameResolver.answer("192.0.2.50", "192.0.2.51")
    assert rig.sent_frames == [b"one", b"two", b"three"]
    assert set(destinations(rig)) == {"192.0.2.50"}


def test_an_answer_serves_for_a_minute() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.reactor.advance(59.9)
    rig.emit(NAME, [b"two"])
    assert len(rig.reactor.nameResolver.asked) == 1
    rig.reactor.advance(0.2)
    rig.emit(NAME, [b"three"])
    assert len(rig.reactor.nameResolver.asked) == 2


def test_an_old_answer_serves_on_until_the_new_one_is_there() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.reactor.advance(61)
    rig.emit(NAME, [b"two"])
    rig.reactor.nameResolver.answer("192.0.2.60")
    rig.emit(NAME, [b"three"])
    assert destinations(rig) == ["192.0.2.50", "192.0.2.50", "192.0.2.60"]


def test_a_new_dial_waits_for_a_new_answer() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.transport.look_up_again(NAME)
    rig.emit(NAME, [b"two"])
    assert destinations(rig) == ["192.0.2.50"]
    rig.reactor.nameResolver.answer("192.0.2.60")
    assert destinations(rig) == ["192.0.2.50", "192.0.2.60"]


def test_a_new_dial_falls_back_on_the_last_answer() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.transport.look_up_again(NAME)
    rig.emit(NAME, [b"two"])
    rig.reactor.nameResolver.answer()
    assert rig.sent_frames == [b"one", b"two"]


def test_looking_up_again_what_is_no_name_is_no_matter() -> None:
    rig = Rig()
    for address in ("192.0.2.7:2121", "never.asked:1", "not an address"):
        rig.transport.look_up_again(address)
    assert rig.reactor.nameResolver.asked == []


def test_a_failed_refresh_keeps_the_link_on_its_old_address() -> None:
    rig = Rig()
    rig.emit(NAME, [b"one"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.reactor.advance(61)
    rig.emit(NAME, [b"two"])
    rig.reactor.nameResolver.answer()
    rig.emit(NAME, [b"three"])
    assert destinations(rig) == ["192.0.2.50"] * 3
    assert rig.counter("send_errors") == 0


def test_the_queue_of_a_name_is_bounded_and_the_rest_counted() -> None:
    rig = Rig()
    rig.emit(NAME, [b"%d" % number for number in range(10)])
    rig.emit(NAME, [b"%d" % number for number in range(10, 30)])
    rig.emit(NAME, [b"late"])
    assert rig.counter("send_errors") == 31 - HELD_FRAMES
    rig.reactor.nameResolver.answer("192.0.2.50")
    assert rig.sent_frames == [b"%d" % number for number in range(HELD_FRAMES)]


def test_a_name_without_an_answer_is_told_counted_and_asked_again_only_later() -> None:
    rig = Rig()
    with log_lines() as lines:
        rig.emit(NAME, [b"one", b"two"])
        rig.reactor.nameResolver.answer()
    assert rig.counter("send_errors") == 2
    assert len(lines) == 1
    assert NAME in lines[0]
    rig.emit(NAME, [b"three"])
    assert rig.counter("send_errors") == 3
    assert len(rig.reactor.nameResolver.asked) == 1
    rig.reactor.advance(6)
    rig.emit(NAME, [b"four"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    assert rig.sent_frames == [b"four"]


def test_names_under_way_are_bounded() -> None:
    rig = Rig()
    for number in range(MAX_NAMES + 10):
        rig.emit(f"host{number}.example:1", [b"frame"])
    assert len(rig.reactor.nameResolver.asked) == MAX_NAMES
    assert rig.counter("send_errors") == 10


def test_a_finished_name_makes_room_for_a_new_one() -> None:
    rig = Rig()
    for number in range(MAX_NAMES):
        rig.emit(f"host{number}.example:1", [b"frame"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    rig.emit("new.example:1", [b"frame"])
    assert rig.reactor.nameResolver.asked[-1] == "new.example"


def test_the_first_answer_of_the_sockets_family_is_taken() -> None:
    four, six = Rig(), Rig("[2001:db8::1]:2121")
    for rig in (four, six):
        rig.emit(NAME, [b"frame"])
        rig.reactor.nameResolver.answer("2001:db8::5", "192.0.2.50", "2001:db8::6")
    assert destinations(four) == ["192.0.2.50"]
    assert destinations(six) == ["2001:db8::5"]


def test_a_dual_stack_socket_reaches_a_name_that_has_only_ipv4() -> None:
    rig = Rig("[::]:2121")
    rig.emit(NAME, [b"frame"])
    rig.reactor.nameResolver.answer("192.0.2.50")
    assert rig.socket.sent[0].address == ("::ffff:192.0.2.50", 2121, 0, 0)


def test_a_name_of_the_other_family_only_is_told_and_counted() -> None:
    rig = Rig("[2001:db8::1]:2121")
    with log_lines() as lines:
        rig.emit(NAME, [b"frame"])
        rig.reactor.nameResolver.answer("192.0.2.50")
    assert rig.counter("send_errors") == 1
    assert "no usable address" in lines[0]


def test_an_answer_after_the_stop_changes_nothing() -> None:
    rig = Rig()
    rig.emit(NAME, [b"frame"])
    socket = rig.socket
    rig.transport.stop()
    rig.reactor.nameResolver.answer("192.0.2.50")
    assert socket.sent == []
