"""`meshctl capture`: the frames of all links as they pass, on the screen or in a file."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from meshnode.ranges import whole

from ..client import ToolError
from ..options import Words, client
from ..pcapng import LINKTYPE_FRAMES, LINKTYPE_IPV6, CaptureFile
from ..tables import printable

_FRAMES, _INSIDE = 0, 1
_FLUSH_SECS = 0.5


def add_to(words: Words) -> None:
    capture = words.add(
        "capture",
        "show the frames of all links as they pass, until interrupted",
        _capture,
        details="A node that is too busy for the capture leaves frames out and says how many.",
    )
    capture.add_argument("--pcap", metavar="FILE", help="write pcapng, a comment on every frame; - for standard output")
    capture.add_argument("--count", type=whole(1), metavar="NUMBER", help="stop after this many frames")
    capture.add_argument(
        "--decrypt",
        action="store_true",
        help="open frames of this node's own links and sessions; needs `meshnode: {capture: {decrypt: true}}`",
    )


def _capture(options: argparse.Namespace) -> None:
    rows = client(options).stream("capture", {"decrypt": options.decrypt})
    counts = _Counts()
    with _interruptible():
        if options.pcap is None:
            _show(_limited(rows, options.count, counts))
        else:
            with _output(options.pcap) as file:
                _write(_limited(rows, options.count, counts), file, options.decrypt)
    lost = f", {counts.lost} more were lost: the node had too much to do" if counts.lost else ""
    print(f"{counts.frames} frames{lost}", file=sys.stderr)


@dataclass(slots=True)
class _Counts:
    frames: int = 0
    lost: int = 0


def _limited(rows: Iterator[dict[str, Any]], most: int | None, counts: _Counts) -> Iterator[dict[str, Any]]:
    """The frames among `rows`, counted, with their bytes as bytes."""
    if most == 0:
        return
    for row in rows:
        if "lost" in row:
            counts.lost += int(row["lost"])
            continue
        counts.frames += 1
        for name in ("frame", "plaintext", "inner"):
            row[name] = b64decode(row[name]) if name in row else None
        yield row
        if counts.frames == most:
            return


def _show(rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        moment = time.strftime("%H:%M:%S", time.localtime(row["time_us"] / 1_000_000))
        print(f"{moment}.{row['time_us'] % 1_000_000:06d} {_line(row)}", flush=True)


def _write(rows: Iterator[dict[str, Any]], file: BinaryIO, decrypt: bool) -> None:
    from ..frames import ipv6_packet

    # tcpdump refuses files with interfaces of two kinds, so there is the second one only where it is used.
    interfaces = [("link frames", LINKTYPE_FRAMES)] + [("inside", LINKTYPE_IPV6)] * decrypt
    capture = CaptureFile(file, "meshctl capture", interfaces)
    capture.flush()
    flushed = time.monotonic()
    for row in rows:
        outgoing = row["direction"] == "out"
        capture.packet(_FRAMES, row["time_us"], row["frame"], outgoing, _line(row))
        packet = ipv6_packet(row["plaintext"], row["inner"])
        if packet is not None:
            where = f"{row['direction']} {printable(row['address'])}"
            capture.packet(_INSIDE, row["time_us"], packet, outgoing, f"inside the frame before ({where})")
        if time.monotonic() - flushed >= _FLUSH_SECS:
            capture.flush()
            flushed = time.monotonic()


def _line(row: dict[str, Any]) -> str:
    # Late, because reading frames takes the codecs, and with them cryptography that no other command needs.
    from ..frames import describe

    where = f"{row['direction']:<3} {printable(row['transport'])}:{row['transport_id']} {printable(row['address'])}"
    return f"{where} | {describe(row['frame'], row['plaintext'], row['inner'])}"


@contextlib.contextmanager
def _output(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from None
    with file:
        yield file


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM are how a capture ends, so the file is complete and the status is that of success."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
