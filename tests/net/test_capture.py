"""A capture of real daemons, read back by scapy: the echo that was sent stands in the file, opened and closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rigs import processes, traffic
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import environment
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net


def capture(pair: Pair, file: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "meshnode.cli", "-s", str(pair.left.control_socket), "capture"]
    started = pair.left.host.start(
        [*command, "--pcap", str(file), *options],
        output=(file.parent / "said").open("w"),
        environment=environment(),
    )
    wait_until(lambda: "captures frames" in pair.left.log() or started.poll() is not None, 10, "the capture runs")
    return started


def packets(file: Path) -> list[Any]:
    from scapy.utils import rdpcap

    import meshnode.scapy  # noqa: F401  (registers the link type)

    return list(rdpcap(str(file)))


def test_an_echo_is_seen_from_outside_and_from_inside() -> None:
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6

    with Lab() as lab:
        pair = Pair(lab, settings={"meshnode": {"capture": {"decrypt": True}}}).left_dials().start()
        file = lab.directory / "mesh.pcapng"
        running = capture(pair, file, "--decrypt")
        assert len(traffic.ping(pair.left.host, pair.right.address, count=3)) == 3
        # The file is written now and then, with each frame that passes, at the latest with the next report of the link.
        wait_until(lambda: file.read_bytes().count(b"inside the frame before (in ") >= 3, 20, "the answers are written")
        assert processes.end(running) == 0
        seen = packets(file)
        inside = [packet[IPv6] for packet in seen if IPv6 in packet]
        asked = [packet for packet in inside if ICMPv6EchoRequest in packet]
        told = [packet for packet in inside if ICMPv6EchoReply in packet]
        assert [len(asked), len(told)] == [3, 3]
        assert (asked[0].src, asked[0].dst) == (pair.left.address, pair.right.address)
        comments = [packet.comment.decode() for packet in seen]
        assert sum("DataPacket port 256 -> 256" in comment for comment in comments) >= 6
        assert (file.parent / "said").read_text().endswith(" frames\n")


def test_without_permission_nothing_is_opened() -> None:
    with Lab() as lab:
        pair = Pair(lab).left_dials().start()
        file = lab.directory / "mesh.pcapng"
        running = capture(pair, file, "--decrypt")
        assert running.wait(10) == 1
        assert "this node does not allow it" in (file.parent / "said").read_text()
        running = capture(pair, file)
        traffic.ping(pair.left.host, pair.right.address, count=2)
        assert processes.end(running) == 0
        names = {type(packet).__name__ for packet in packets(file)}
        assert names <= {"FmpFrame", "FmpMsg1", "FmpMsg2"}
        assert "FmpFrame" in names
