"""`meshctl probe`: can I reach this transport address, and who answers there?"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from .. import names
from ..client import ToolError
from ..options import FAILURE, SUCCESS, Words, client, emit

if TYPE_CHECKING:
    from ..knocking import Knock

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


def add_to(words: Words) -> None:
    probe = words.add(
        "probe", "can I reach this transport address, and who answers there", _probe,
        details="The handshake is made with a key of the moment, past the node of this machine. Exit status 0 "
        "when the named node answers (or, without one, when a tcp connection opens), else 1.",
    )  # fmt: skip
    probe.add_argument("address", metavar="ADDRESS", help="host:port or [ipv6]:port")
    probe.add_argument("peer", metavar="PEER", nargs="?", help="who should be there: npub or name")
    probe.add_argument("--transport", choices=("udp", "tcp"), default="udp", help="the carrier (default: udp)")


def _probe(options: argparse.Namespace) -> int:
    # Late, because a handshake takes cryptography that no other command needs.
    from meshnode.identity import IdentityError, PeerIdentity

    from ..knocking import knock

    found = _ADDRESS.fullmatch(options.address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ToolError(f"{options.address!r} is no address: write host:port, or [ipv6]:port")
    peer = None
    if options.peer is not None:
        try:
            peer = PeerIdentity.from_npub(_npub(options))
        except IdentityError as error:
            raise ToolError(f"{options.peer}: {error}") from None
    result = knock(options.transport, found["six"] or found["host"], int(found["port"]), peer)
    reached = result.trouble is None
    shown = {"reached": reached, "transport": options.transport, "address": options.address, **asdict(result)}
    emit(shown, options, lambda: _lines(result, options.transport, options.peer))
    return SUCCESS if reached else FAILURE


def _npub(options: argparse.Namespace) -> str:
    """The npub that is meant; only for a name is the node of this machine asked."""
    return names.resolve(options.peer, client(options))


def _lines(result: Knock, carrier: str, peer: str | None) -> list[str]:
    lines = []
    if result.numeric is not None:
        lines.append(f"address    {result.numeric}")
    if result.connected_ms is not None:
        lines.append(f"connected  {carrier}, in {result.connected_ms:g} ms")
    if result.answered_ms is not None:
        lines.append(f"answer     {peer} speaks link protocol version 0, handshake in {result.answered_ms:g} ms")
    if result.trouble is not None:
        lines += [f"trouble    {result.trouble}", f"           {result.hint}"]
    return lines
