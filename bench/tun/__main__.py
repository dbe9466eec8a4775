"""What a packet costs between the TUN and the session layer. Prints one JSON object, nanoseconds per packet.

Run as root to have the device itself measured too, in a network namespace of its own: `python -m bench.tun`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from timeit import repeat

from twisted.internet.testing import MemoryReactor

from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.ipv6.checksum import TCP, transport_checksum, word_sum
from meshnode.ipv6.coalesce import Coalescer
from meshnode.ipv6.shim import expand_payloads, mark_congestion, shim_payloads
from meshnode.ipv6.tun import TunDevice

OWN = b"\xfd" + bytes(14) + b"\x01"
PEER = b"\xfd" + bytes(14) + b"\x02"
BATCH = 64
PAYLOAD = 1168
"""With a TCP header of 32 bytes this fills a packet of 1240 bytes."""
OFFSET = 10
IN_NAMESPACE = "--in-namespace"


def tcp_stream(source: bytes, destination: bytes, flows: int = 1) -> list[bytes]:
    """A batch of full segments; with more than one flow they take turns."""
    packets = []
    for index in range(BATCH):
        head = (5000 + index % flows).to_bytes(2, "big") + b"\x1f\x90" + (index // flows * PAYLOAD).to_bytes(4, "big")
        head += bytes(4) + b"\x80\x10\x01\x00"
        tail = bytes(14) + os.urandom(PAYLOAD)
        checksum = transport_checksum(source + destination, TCP, head + b"\0\0" + tail).to_bytes(2, "big")
        length = len(head + tail) + 2
        packets.append(
            b"\x60\0\0\0" + length.to_bytes(2, "big") + b"\x06\x40" + source + destination + head + checksum + tail
        )
    return packets


def per_packet(action: Callable[[], object], packets: int = BATCH) -> float:
    """Nanoseconds of the best of several rounds."""
    rounds = max(1, 20000 // packets)
    return round(min(repeat(action, number=rounds, repeat=5)) / rounds / packets * 1e9, 1)


class Nobody:
    """Node, host and sink that do nothing."""

    takes_frames = True

    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        """Nothing."""

    def write(self, packets: list[bytes]) -> None:
        """Nothing."""

    def write_frames(self, frames: list[bytes]) -> None:
        """Nothing."""

    def packets_read(self, packets: list[bytes]) -> None:
        """Nothing."""

    def burst_ended(self) -> None:
        """Nothing."""

    def tun_lost(self, reason: str) -> None:
        raise RuntimeError(reason)


def coalescing(packets: list[bytes]) -> Callable[[], list[bytes]]:
    buffers = [bytes(OFFSET) + payload for payload in shim_payloads(packets)]
    coalescer = Coalescer(OWN, lambda packet: packet)

    def action() -> list[bytes]:
        coalescer.add(PEER, buffers, OFFSET)
        return coalescer.drain()

    return action


def in_memory() -> dict[str, float]:
    """Everything that needs no device."""
    outgoing, incoming = tcp_stream(OWN, PEER), tcp_stream(PEER, OWN)
    bare = [packet[:4] + b"\0\x20" + packet[6:72] for packet in incoming]
    buffers = [bytes(OFFSET) + payload for payload in shim_payloads(incoming)]
    adapter = Ipv6Adapter(OWN, Nobody(), Nobody(), 1472, lambda: 0.0)
    packet = incoming[0]
    return {
        "packets_read": per_packet(lambda: adapter.packets_read(outgoing)),
        "shim_payloads": per_packet(lambda: shim_payloads(outgoing)),
        "expand_payloads": per_packet(lambda: expand_payloads(buffers, OFFSET, PEER + OWN)),
        "coalesce_one_flow": per_packet(coalescing(incoming)),
        "coalesce_four_flows": per_packet(coalescing(tcp_stream(PEER, OWN, 4))),
        "coalesce_bare_acknowledgements": per_packet(coalescing(bare)),
        "mark_congestion": per_packet(lambda: [mark_congestion(buffer, OFFSET) for buffer in buffers]),
        "checksum_1240": per_packet(lambda: word_sum(packet), 1),
        "verify_segment_checksum": per_packet(lambda: transport_checksum(packet[8:40], TCP, packet[40:]), 1),
    }


def on_a_device() -> dict[str, float]:
    """Reading and writing a real TUN."""
    device = TunDevice(MemoryReactor(), "bench0", 1280, Nobody())  # type: ignore[no-untyped-call]
    device.open()
    for command in ("link set lo up", "link set bench0 up mtu 1280", "-6 addr add fd00::1/128 dev bench0"):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "-6", "route", "add", "fd00::/8", "dev", "bench0"], check=True)
    packets = tcp_stream(PEER, OWN)
    merged = coalescing(packets)
    figures = {
        "tun_write_alone": per_packet(lambda: device.write(packets)),
        "tun_write_merged": per_packet(lambda: device.write_frames(merged())),
    }
    return figures | {"tun_read": read_cost(device)}


def read_cost(device: TunDevice) -> float:
    """Nanoseconds per packet of a burst that the kernel has queued as datagrams of ours to a neighbour."""
    import socket
    from time import perf_counter

    best = float("inf")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for _ in range(50):
            device.doRead()
            before = device.counters.packets_read
            for _ in range(200):
                sender.sendto(bytes(1192), ("fd00::2", 9))
            start = perf_counter()
            device.doRead()
            elapsed = perf_counter() - start
            best = min(best, elapsed / (device.counters.packets_read - before) * 1e9)
    return round(best, 1)


def main() -> None:
    """Measure, in a namespace where that is possible."""
    if os.geteuid() == 0 and IN_NAMESPACE not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "bench.tun", IN_NAMESPACE])
    figures = in_memory()
    if IN_NAMESPACE in sys.argv:
        figures |= on_a_device()
    print(json.dumps({"unit": "ns per packet", "packet": 72 + PAYLOAD, "batch": BATCH, **figures}, indent=1))


if __name__ == "__main__":
    main()
