"""A history that outlives its node: what is in the file, and how it is read again."""

from __future__ import annotations

import json
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from meshnode.files import open_regular, write_whole

from .history import History, PeerRecord, Record
from .rings import FAST_PER_SLOW, Ring

VERSION = 1
MODE = 0o600
LARGEST_FILE = 1 << 28
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class HistoryFileError(Exception):
    """The file cannot be read or written; the text is one line for the operator."""


def pieces(history: History, now: Callable[[], float], wall: Callable[[], float]) -> Iterator[bytes]:
    """The content of the file, a record at a time, each as it is when it is asked for.

    `now` tells the time of the node's clock, `wall` Unix time, in seconds.
    """
    head = {"version": VERSION, "samples_taken": history.samples_taken, "saved_at": wall()}
    yield f'{_json(head)[:-1]},"node":{_json(_series(history.node))},"peers":['.encode()
    for number, record in enumerate(list(history.peers.values())):
        yield f"{',' if number else ''}{_json(_peer(record, now(), wall()))}".encode()
    yield b"]}"


def save(history: History, path: Path, now: Callable[[], float], wall: Callable[[], float]) -> None:
    """Write everything down at once. Raises `HistoryFileError`."""
    try:
        write_whole(path, b"".join(pieces(history, now, wall)).decode("ascii"), MODE)
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> HistoryFileError:
    return HistoryFileError(f"the history cannot be kept in {path}: {error.strerror or error}")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _series(record: Record) -> dict[str, list[str]]:
    return {one.metric.name: [_packed(one.fast), _packed(one.slow)] for one in record.series}


def _peer(record: PeerRecord, now: float, wall: float) -> dict[str, Any]:
    return {
        "saved_at": wall,
        "node_addr": record.node_addr.hex(),
        "first_seen_ago": now - record.first_seen,
        "last_contact_ago": now - record.last_contact,
        "series": _series(record),
    }


def _packed(ring: Ring) -> str:
    values = ring.samples()
    if sys.byteorder == "big":
        values.byteswap()
    return b64encode(values.tobytes()).decode("ascii")


def load(path: Path, now: float, wall: float) -> History:
    """The history in the file, with a gap for the time between; an empty one where there is none.

    Raises `HistoryFileError` for a file that holds none.
    """
    try:
        with open_regular(path) as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise ValueError("it is too large")
        document = json.loads(text)
        return _restored(document, now, wall)
    except FileNotFoundError:
        return History()
    except OSError as error:
        raise HistoryFileError(f"the history in {path} cannot be read: {error.strerror or error}") from None
    except _FAULTS as error:
        raise HistoryFileError(f"the history in {path} is begun anew: {error}") from None


def _restored(document: Mapping[str, Any], now: float, wall: float) -> History:
    if document["version"] != VERSION:
        raise ValueError(f"it is of version {document['version']}")
    history = History()
    away = max(0.0, wall - float(document["saved_at"]))
    _fill(history.node, document["node"], int(away))
    history.samples_taken = int(document["samples_taken"]) + int(away)
    for row in document["peers"]:
        away = max(0.0, wall - float(row.get("saved_at", document["saved_at"])))
        record = PeerRecord(bytes.fromhex(row["node_addr"]), now)
        record.first_seen = now - float(row["first_seen_ago"]) - away
        record.last_contact = now - float(row["last_contact_ago"]) - away
        record.is_active = False
        _fill(record, row["series"], int(away))
        history.peers[record.node_addr] = record
    return history


def _fill(record: Record, series: Mapping[str, list[str]], away: int) -> None:
    """Put the old samples in, then as many missing ones as the node was away."""
    for one in record.series:
        fast, slow = series.get(one.metric.name, ["", ""])
        _unpack(one.fast, fast, away)
        _unpack(one.slow, slow, away // FAST_PER_SLOW)


def _unpack(ring: Ring, text: str, missing: int) -> None:
    values = array("d")
    values.frombytes(b64decode(text, validate=True))
    if sys.byteorder == "big":
        values.byteswap()
    for value in values:
        ring.push(value)
    for _ in range(min(missing, ring.capacity)):
        ring.push(math.nan)
