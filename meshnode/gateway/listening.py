"""Whether this machine can listen where it is asked to, found out by doing so for a moment."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass

from meshnode.ipv6.dns_socket import bind_advice

from .plan import GatewayError

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True, slots=True)
class Listening:
    """An address (IP literal, port) that `what` listens at, and the key of the configuration that says so."""

    what: str
    address: tuple[str, int]
    key: str
    kinds: tuple[socket.SocketKind, ...] = (TCP,)

    def error(self, error: OSError) -> GatewayError:
        """What to tell the operator when it could not be bound."""
        host, port = self.address
        return GatewayError(
            f"no {self.what} on port {port} of {host}: {bind_advice(error, self.key, f'port in {self.key}')}"
        )


def check(wanted: Collection[Listening], held: Collection[Listening]) -> None:
    """Raises `GatewayError` when one of `wanted` cannot be had, apart from those that we hold ourselves.

    Of a port that we hold at any address only the new address is tried: `0.0.0.0` would be in the way of all others.
    """
    held_addresses, held_ports = {one.address for one in held}, {one.address[1] for one in held}
    for one in wanted:
        host, port = one.address
        if one.address in held_addresses:
            continue
        for kind in one.kinds:
            try:
                _bind(host, 0 if port in held_ports else port, kind)
            except OSError as error:
                raise one.error(error) from None


def _bind(host: str, port: int, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        if kind == TCP:  # as for what is to listen in the end: connections of an earlier run are not in the way
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
