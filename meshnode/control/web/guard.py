"""Who may see the page, and who may change something through it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from meshnode.config.operator_sections import MESH, Endpoint
from meshnode.files import open_regular
from meshnode.identity import PeerIdentity

_TOKEN_BYTES = 24
_LONGEST_FILE = 4096
_LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


class TokenError(Exception):
    """The token cannot be read or made; the text is one line for the operator."""


def read_token(path: Path) -> str:
    """The token in the file, made with mode 0600 where there is none. Raises `TokenError`."""
    try:
        return _existing(path) or _made(path)
    except OSError as error:
        raise TokenError(f"the token of the web page cannot be kept in {path}: {error.strerror or error}") from None


def _existing(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            return file.read(_LONGEST_FILE).decode().strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise TokenError(f"the token of the web page in {path} is no text; remove the file for a new one") from None


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    path.unlink(missing_ok=True)  # an empty one, whose mode may let others read
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(f"{token}\n")
    return token


class Guard:
    """Judges requests. Over the mesh an address is as good as a key: nobody can use another's."""

    def __init__(self, endpoint: Endpoint, own: PeerIdentity, allowed: Iterable[str], token: str | None) -> None:
        self._is_mesh = endpoint.host == MESH
        self._is_local = endpoint.path is not None
        self._token = token
        self._own_names = {own.ipv6_text, f"{own.npub}.fips"} if self._is_mesh else _LOCAL_NAMES
        self._allowed = {_address_of(npub) for npub in allowed}

    @property
    def can_change(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def refusal(self, request: Any) -> str | None:
        """Why this request is not answered; None when it is."""
        if self._is_mesh and not self._is_known(request.getClientAddress().host):
            return "this node does not show its page to you"
        # A page of somebody else's must not reach us under a name it makes point here.
        if not self._is_local and _host(request) not in self._own_names:
            return "this is not the address of this page"
        return None

    def may_change(self, request: Any) -> str | None:
        """Why this request must not change anything; None when it may."""
        if self._token is None:
            return "nothing can be changed here: meshnode.web.token_file is not set"
        given = _header(request, "authorization").removeprefix("Bearer ")
        if not compare_digest(given.encode(), self._token.encode()):
            return "the token is wrong"
        # Forms of other sites cannot send this type without asking us first, and we never say yes.
        if _header(request, "content-type").partition(";")[0] != "application/json":
            return "the request has to be JSON"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return isinstance(address, IPv6Address) and address in self._allowed


def _address_of(npub: str) -> IPv6Address:
    return IPv6Address(PeerIdentity.from_npub(npub).ipv6_text)


def _header(request: Any, name: str) -> str:
    value = request.getHeader(name.encode())
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _host(request: Any) -> str:
    """The name in the Host header, without port and brackets."""
    host = _header(request, "host")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
