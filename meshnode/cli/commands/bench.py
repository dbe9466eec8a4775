"""`meshctl bench`: how much and how fast, through the mesh, to a peer that takes part.

The other side runs `meshctl bench --serve`. What is measured is what programs get: TCP and UDP over IPv6, so both sides
need a network interface.
"""

from __future__ import annotations

import argparse
import ipaddress
from typing import Any

from meshnode.ranges import port, seconds

from .. import speed
from ..client import ToolError
from ..names import resolve
from ..options import Words, client, emit
from ..tables import size


def add_to(words: Words) -> None:
    bench = words.add(
        "bench", "measure throughput and latency to a node that runs `meshctl bench --serve`", _bench,
        details="Both sides need a network interface. A server answers one client after the other until it is stopped, "
        "and only clients inside the mesh.",
    )  # fmt: skip
    bench.add_argument("peer", metavar="PEER", nargs="?", help="npub or name")
    bench.add_argument("--serve", action="store_true", help="be the other side, until Ctrl-C")
    bench.add_argument(
        "--seconds", type=seconds, default=3.0, metavar="S", help="how long to measure each direction (%(default)s)"
    )
    bench.add_argument("--port", type=port, default=speed.PORT, metavar="N", help="port of the server (%(default)s)")


def _bench(options: argparse.Namespace) -> None:
    if options.serve == (options.peer is not None):
        raise ToolError("name a peer, or be one with --serve")
    node = client(options)
    if options.serve:
        _serve(node.ask("show_status"), options.port)
        return
    npub = resolve(options.peer, node)
    try:
        result = speed.measure(_address(npub), options.port, options.seconds)
    except OSError as error:
        raise ToolError(
            f"no bench server at {npub}: {error.strerror or error}; run `meshctl bench --serve` there"
        ) from None
    emit({"npub": npub, **result}, options, lambda: _lines(options.peer, result))


def _serve(status: dict[str, Any], port: int) -> None:
    address = status["ipv6_addr"]
    try:
        listener = speed.listen(address, port)
    except OSError as error:
        raise ToolError(
            f"cannot listen at [{address}]:{port}: {error.strerror or error}; it needs the node's network interface"
        ) from None
    with listener:
        print(f"waiting at [{address}]:{port}; on the other side: meshctl bench {status['npub']}", flush=True)
        speed.serve(listener)


def _address(npub: str) -> str:
    from meshnode.identity import IdentityError, PeerIdentity

    try:
        return str(ipaddress.IPv6Address(PeerIdentity.from_npub(npub).ipv6))
    except IdentityError as error:
        raise ToolError(f"{npub!r} is not a public key: {error}") from None


def _lines(name: str, result: dict[str, Any]) -> list[str]:
    echo = result["round_trip_ms"]
    return [
        f"bench {name}",
        f"to it       {size(result['sent_bytes_per_second'])}/s ({_megabits(result['sent_bytes_per_second'])})",
        f"from it     {size(result['received_bytes_per_second'])}/s ({_megabits(result['received_bytes_per_second'])})",
        f"round trip  {echo['least']:.2f}/{echo['median']:.2f}/{echo['most']:.2f} ms least/median/most when idle",
    ]


def _megabits(rate: float) -> str:
    return f"{rate * 8 / 1e6:.1f} Mbit/s"
