"""`meshctl bugreport`: what developers need to know of a node, with nothing secret in it."""

from __future__ import annotations

import argparse
import io
import json
import platform
import re
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshnode import __version__

from ..client import Client, ToolError
from ..options import Words, client, emit
from .journal import line_text

QUERIES = (
    "show_status", "show_peers", "show_known_peers", "show_links", "show_connections", "show_transports", "show_tree",
    "show_sessions", "show_bloom", "show_mmp", "show_cache", "show_routing", "show_identity_cache", "show_metrics",
    "show_acl", "show_stats_list", "show_stats_peers", "show_stats_all_history", "show_native_flows",
    "show_listening_sockets",
)  # fmt: skip
PACKAGES = (
    "twisted", "cryptography", "PyNaCl", "coincurve", "pyroute2", "zeroconf", "txtorcon", "bleak", "dbus-fast",
)  # fmt: skip
REMOVED = "(removed)"
_SECRET_KEY = re.compile(r"nsec|secret|token|password|passphrase|private|cookie", re.IGNORECASE)
_PATTERNS = (
    (re.compile(r"nsec1[02-9ac-hj-np-z]+"), "nsec1" + REMOVED),
    (re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])"), "hex" + REMOVED),
)
_ADDRESS_V4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_ADDRESS_V6 = re.compile(r"\[?(?<![0-9a-fA-F:])(?!fd)(?:[0-9a-fA-F]{1,4}:){2,7}[0-9a-fA-F:]*[0-9a-fA-F]\]?")


def add_to(words: Words) -> None:
    report = words.add(
        "bugreport", "write a file that tells developers about this node", _report,
        details="Secret keys, tokens and whatever looks like one are left out, and so are IP addresses outside the "
        "mesh unless --addresses is given. Look into the file before you send it: it names the nodes you talk with.",
    )  # fmt: skip
    report.add_argument("file", nargs="?", metavar="FILE", help="a .tar.gz; without it, one named after the time")
    report.add_argument("--addresses", action="store_true", help="leave IP addresses in")


def _report(options: argparse.Namespace) -> None:
    file = Path(options.file or time.strftime("meshnode-report-%Y%m%d-%H%M%S.tar.gz"))
    node = client(options)
    parts = dict(_parts(node, keep_addresses=options.addresses))
    try:
        with tarfile.open(file, "x:gz") as archive:
            for name, text in parts.items():
                _add(archive, f"{file.name.removesuffix('.tar.gz')}/{name}", text)
    except OSError as error:
        raise ToolError(f"cannot write {file}: {error.strerror or error}") from None
    lines = [f"written to {file}: {', '.join(sorted(parts))}", "look into it before you send it to anybody"]
    emit({"file": str(file), "parts": sorted(parts)}, options, lambda: lines)


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "replace")
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(data))


def _parts(node: Client, *, keep_addresses: bool) -> Iterator[tuple[str, str]]:
    """Name and text of each file of the bundle, redacted."""

    def clean(text: str) -> str:
        return redacted(text, keep_addresses=keep_addresses)

    yield "versions.txt", clean("\n".join(_versions()) + "\n")
    for command in QUERIES:
        try:
            answer = without_secrets(node.ask(command))
        except ToolError as error:
            answer = {"error": str(error)}
        yield f"{command}.json", clean(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
    yield "log.txt", clean(_log(node))
    for number, text in enumerate(_configurations(node)):
        yield f"config-{number}.yaml", clean(text)


def _versions() -> Iterator[str]:
    yield f"meshnode {__version__}"
    yield f"python {sys.version}"
    yield f"system {platform.platform()}"
    from importlib.metadata import PackageNotFoundError, version

    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} not there"


def _log(node: Client) -> str:
    try:
        lines = node.ask("show_log")["lines"]
    except ToolError as error:
        return f"{error}\n"
    return "".join(f"{line_text(line)}\n" for line in lines)


def _configurations(node: Client) -> Iterator[str]:
    """The configuration files of the node, secrets left out by the key they stand under."""
    try:
        files = node.ask("show_status").get("config_files", [])
    except ToolError:
        return
    for file in files:
        try:
            text = Path(file).read_text(errors="replace")
        except OSError as error:
            text = f"# {file}: {error.strerror}\n"
        yield "\n".join(_without_secret_value(line) for line in text.splitlines()) + "\n"


def _without_secret_value(line: str) -> str:
    """A line of YAML, its value taken away when any key in it sounds secret."""
    key = re.search(
        r"([\w-]*(?:nsec|secret|token|password|passphrase|private|cookie)[\w-]*)\s*[:=]", line, re.IGNORECASE
    )
    return line if key is None else f"{line[: key.end()]} {REMOVED}"


def without_secrets(value: Any) -> Any:
    """An answer without the values of keys that sound secret."""
    if isinstance(value, dict):
        return {
            k: REMOVED if _SECRET_KEY.search(k) and isinstance(v, str) else without_secrets(v) for k, v in value.items()
        }
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def redacted(text: str, *, keep_addresses: bool) -> str:
    """Text without secret keys, and without addresses outside the mesh unless they are to stay.

    The same address becomes the same word everywhere, so that it can still be followed.
    """
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    if keep_addresses:
        return text
    return _ADDRESS_V6.sub(_pseudonym, _ADDRESS_V4.sub(_pseudonym, text))


def _pseudonym(found: re.Match[str]) -> str:
    address = found[0].strip("[]")
    if address in ("0.0.0.0", "127.0.0.1", "::1"):
        return found[0]
    from hashlib import sha256

    return f"address-{sha256(f'{_SALT}{address}'.encode()).hexdigest()[:6]}"


_SALT = time.time_ns()
