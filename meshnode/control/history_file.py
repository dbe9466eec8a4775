"""A history that outlives its node: written when the node stops, read when it starts again."""

from __future__ import annotations

import json
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshnode.files import write_whole

from .history import History, PeerRecord, Record
from .rings import FAST_PER_SLOW, Ring

VERSION = 1
LARGEST_FILE = 1 << 28
_FAULTS = (ValueError, KeyError, TypeError, AttributeError)


class HistoryFileError(Exception):
    """The file cannot be read or written; the text is one line for the operator."""


def save(history: History, path: Path, now: float, wall: float) -> None:
    """Write everything down. `now` is the node's clock, `wall` Unix time, in seconds. Raises `HistoryFileError`."""
    document = {
        "version": VERSION,
        "saved_at": wall,
        "samples_taken": history.samples_taken,
        "node": _series(history.node),
        "peers": [_peer(record, now) for record in history.peers.values()],
    }
    try:
        write_whole(path, json.dumps(document, separators=(",", ":")), 0o600)
    except OSError as error:
        raise HistoryFileError(f"the history cannot be kept in {path}: {error.strerror or error}") from None


def _series(record: Record) -> dict[str, list[str]]:
    return {one.metric.name: [_packed(one.fast), _packed(one.slow)] for one in record.series}


def _peer(record: PeerRecord, now: float) -> dict[str, Any]:
    return {
        "node_addr": record.node_addr.hex(),
        "first_seen_ago": now - record.first_seen,
        "last_contact_ago": now - record.last_contact,
        "series": _series(record),
    }


def _packed(ring: Ring) -> str:
    values = array("d", ring.samples())
    if sys.byteorder == "big":
        values.byteswap()
    return b64encode(values.tobytes()).decode("ascii")


def load(path: Path, now: float, wall: float) -> History:
    """The history in the file, with a gap for the time between; an empty one where there is none.

    Raises `HistoryFileError` for a file that holds none.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("it is too large")
        document = json.loads(path.read_text())
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
    for row in document["peers"]:
        record = PeerRecord(bytes.fromhex(row["node_addr"]), now)
        record.first_seen = now - float(row["first_seen_ago"]) - away
        record.last_contact = now - float(row["last_contact_ago"]) - away
        record.is_active = False
        _fill(record, row["series"], int(away))
        history.peers[record.node_addr] = record
    history.samples_taken = int(document["samples_taken"]) + int(away)
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
