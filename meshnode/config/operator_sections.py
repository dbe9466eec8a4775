"""Where operators look in from besides the control socket: metrics and the web page."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, NamedTuple

from meshnode.config.keys import BOOL, TEXT, Kind, Many, Section, key
from meshnode.config.yaml12 import Cursor, clip, to_text

UNIX: Final = "unix:"
MESH: Final = "mesh"
_MOST_DIGITS: Final = 5


class Endpoint(NamedTuple):
    """Where a server listens: the path of a Unix socket, or a host and port; `host` may be `mesh`."""

    path: str | None
    host: str
    port: int

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _endpoint(text: str) -> Endpoint | None:
    """Read `unix:/path`, `host:port` or `[host]:port`; None for anything else."""
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        return Endpoint(path, "", 0) if path.startswith("/") else None
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and len(port) <= _MOST_DIGITS and int(port) < 65536):
        return None
    return Endpoint(None, host.removeprefix("[").removesuffix("]"), int(port))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _local(at: Cursor, reader: object) -> Endpoint:
    """An endpoint only this machine reaches."""
    text = to_text(at)
    endpoint = _endpoint(text)
    if endpoint is None or (endpoint.path is None and not _is_loopback(endpoint.host)):
        at.refuse(
            "invalid value",
            f"`{clip(text)}` is not an address of this machine alone; write 127.0.0.1:PORT, [::1]:PORT or unix:/PATH",
        )
    return endpoint


def _local_or_mesh(at: Cursor, reader: object) -> Endpoint:
    """An endpoint only this machine reaches, or the node's own mesh address."""
    text = to_text(at)
    endpoint = _endpoint(text)
    is_mesh = endpoint is not None and endpoint.path is None and endpoint.host == MESH
    if endpoint is None or not (is_mesh or endpoint.path is not None or _is_loopback(endpoint.host)):
        at.refuse(
            "invalid value",
            f"`{clip(text)}` is neither an address of this machine alone nor of the mesh; write 127.0.0.1:PORT, "
            "[::1]:PORT, unix:/PATH or mesh:PORT",
        )
    return endpoint


class MetricsSection(Section):
    """Figures for Prometheus, as text over HTTP at `/metrics`."""

    TITLE = "the metrics section"

    enabled: bool = key(BOOL, False, "Serve them; needs `pip install meshnode[metrics]`.")
    listen: Endpoint = key(
        Kind("`host:port`", _local),
        Endpoint(None, "127.0.0.1", 9717),
        "Where: `127.0.0.1:PORT`, `[::1]:PORT` or `unix:/PATH`; nothing but this machine can be served.",
    )


class WebSection(Section):
    """A page to look at the node with a browser."""

    TITLE = "the web section"

    enabled: bool = key(BOOL, False, "Serve it.")
    listen: Endpoint = key(
        Kind("`host:port`", _local_or_mesh),
        Endpoint(None, "127.0.0.1", 9718),
        "Where: `127.0.0.1:PORT`, `[::1]:PORT`, `unix:/PATH`, or `mesh:PORT` for this node's mesh address, which needs "
        "`allow`.",
    )
    allow: list[str] = key(Many(TEXT), [], "Who may see it over the mesh, by npub; on this machine everybody may.")
    token_file: str = key(
        TEXT,
        "",
        "File with the token that connecting and disconnecting peers needs; made, with mode 0600, where there is none. "
        "Without this key the page only shows.",
    )
