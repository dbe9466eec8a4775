# ruff: noqa: F811  (fixtures come from a neighbour)
"""`meshctl capture`: lines on the screen, packets in a file, and how it ends."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli_main import Daemon, daemon, run  # noqa: F401
from tests.unit.vectors import load

Run = Callable[..., tuple[int, str, str]]

EVENTS = load("live")["scenarios"][0]["events"]


def recorded(what: str, layer: str = "fmp") -> dict[str, Any]:
    return next(event for event in EVENTS if event["what"] == what and event["layer"] == layer)


def row(frame: str, direction: str = "in", **more: bytes) -> dict[str, Any]:
    base = {"time_us": 1_700_000_000_000_123, "direction": direction, "transport": "udp", "transport_id": 1}
    opened = {name: b64encode(value).decode() for name, value in more.items()}
    return {**base, "address": "192.0.2.7:2121", "frame": b64encode(bytes.fromhex(frame)).decode(), **opened}


@pytest.fixture
def frames(daemon: Daemon) -> list[dict[str, Any]]:
    """A node that sends a handshake and an opened announcement, says that it lost some, and hangs up."""
    tree = recorded("TreeAnnounce")
    rows = [
        row(recorded("msg1")["frame"]),
        row(tree["frame"], "out", plaintext=bytes.fromhex(tree["plaintext"])),
    ]
    lines = [{"status": "ok", "data": {"decrypt": True}}, rows[0], {"lost": 3}, rows[1]]
    daemon.answers["capture"] = "".join(json.dumps(line) + "\n\n" for line in lines).encode()
    return rows


def test_frames_are_shown_as_lines(run: Run, daemon: Daemon, frames: list[dict[str, Any]]) -> None:
    status, out, err = run("capture", "--decrypt")
    first, second = out.splitlines()
    assert status == 0
    assert first[8:].startswith(".000123 in  udp:1 192.0.2.7:2121 | Handshake 1 from index 43e6ed99")
    assert " | Frame to index 43e6ed99 counter 0 of 168 bytes | TreeAnnounce root 44c64efa parent 44c64efa" in second
    assert err == "2 frames, 3 more were lost: the node had too much to do\n"
    assert daemon.requests[-1] == {"command": "capture", "params": {"decrypt": True}}


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        yield kind, data[8 : size - 4]
        data = data[size:]


@pytest.mark.parametrize(("options", "kinds"), [([], [147]), (["--decrypt"], [147, 229])])
def test_a_file_holds_the_frames_with_comments(
    run: Run, frames: list[dict[str, Any]], tmp_path: Path, options: list[str], kinds: list[int]
) -> None:
    file = tmp_path / "mesh.pcapng"
    status, out, _err = run("capture", "--pcap", str(file), *options)
    assert (status, out) == (0, "")
    (section, *interfaces, first, second) = blocks(file.read_bytes())
    assert section[0] == 0x0A0D0D0A
    assert [(kind, struct.unpack_from("<H", body)[0]) for kind, body in interfaces] == [(1, kind) for kind in kinds]
    for (kind, body), event in ((first, recorded("msg1")), (second, recorded("TreeAnnounce"))):
        interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
        frame = bytes.fromhex(event["frame"])
        assert (kind, interface, high << 32 | low) == (6, 0, 1_700_000_000_000_123)
        assert captured == original == len(frame)
        assert body[20 : 20 + captured] == frame
    assert b"TreeAnnounce root 44c64efa" in second[1]


def test_a_capture_can_be_bounded(run: Run, frames: list[dict[str, Any]]) -> None:
    _status, out, err = run("capture", "--count", "1")
    assert len(out.splitlines()) == 1
    assert err == "1 frames\n"


def test_a_file_that_cannot_be_written_is_named(run: Run, frames: list[dict[str, Any]], tmp_path: Path) -> None:
    status, _out, err = run("capture", "--pcap", str(tmp_path))
    assert status == 1
    assert err == f"error: cannot write {tmp_path}: Is a directory\n"


def test_a_refusal_is_shown_in_the_nodes_words(run: Run, daemon: Daemon) -> None:
    daemon.answers["capture"] = {"status": "error", "message": "this node does not allow it"}
    assert run("capture", "--decrypt")[::2] == (1, "error: this node does not allow it\n")
