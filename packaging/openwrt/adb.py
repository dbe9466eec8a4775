"""Writes packages for apk-tools 3: the format apk-v3(5), as far as one package without signature needs it.

Values are 32-bit words with a type in the upper four bits; what does not fit lies elsewhere in the block, and the word
holds its offset. Every file's content follows in a block of its own.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from struct import pack, pack_into

_INT, _INT32 = 0x1, 0x2
_BLOB8, _BLOB16, _BLOB32 = 0x8, 0x9, 0xA
_ARRAY, _OBJECT = 0xD, 0xE
_ADB_BLOCK, _DATA_BLOCK = 0, 2
_SCHEMA = b"pckg"
_UNIQUE_ID = 20

# Slots of the objects, counted from 1 (apk_adb.h of apk-tools).
_INFO = {
    "name": 1, "version": 2, "hashes": 3, "description": 4, "arch": 5, "license": 6, "origin": 7, "maintainer": 8,
    "build-time": 11, "installed-size": 12, "depends": 15,
}  # fmt: skip
_SCRIPTS = {"post-install": 3, "pre-deinstall": 4, "post-upgrade": 7}

Words = str | bytes | int | None


@dataclass(frozen=True, slots=True)
class File:
    """One regular file of the package; `path` is without a leading slash."""

    path: str
    content: bytes
    mode: int


class Block:
    """The block that describes a package; offsets count from its beginning."""

    def __init__(self) -> None:
        self.data = bytearray(8)

    def value(self, value: Words) -> int:
        """The word for a text, some bytes or a number."""
        if value is None or value in ("", b""):
            return 0
        if isinstance(value, int):
            return _INT << 28 | value if value < 1 << 28 else _INT32 << 28 | self._put(pack("<I", value), 4)
        content = value.encode() if isinstance(value, str) else value
        for kind, size, layout in ((_BLOB8, 1, "<B"), (_BLOB16, 2, "<H"), (_BLOB32, 4, "<I")):
            if len(content) < 1 << 8 * size:
                return kind << 28 | self._put(pack(layout, len(content)) + content, size)
        raise ValueError(f"{len(content)} bytes are too many for one value")

    def object(self, slots: Mapping[int, int]) -> int:
        """The word for an object out of words by slot."""
        last = max((slot for slot, word in slots.items() if word), default=0)
        return self._row(_OBJECT, [slots.get(slot, 0) for slot in range(1, last + 1)])

    def array(self, words: Sequence[int]) -> int:
        return self._row(_ARRAY, words)

    def _row(self, kind: int, words: Sequence[int]) -> int:
        if not words:
            return 0
        return kind << 28 | self._put(pack(f"<{len(words) + 1}I", len(words) + 1, *words), 4)

    def _put(self, content: bytes, alignment: int) -> int:
        self.data += bytes(-len(self.data) % alignment)
        offset = len(self.data)
        self.data += content
        return offset


def package(
    info: Mapping[str, str | int], depends: Iterable[str], scripts: Mapping[str, str], files: Iterable[File], epoch: int
) -> bytes:
    """The whole package, compressed. Everything belongs to root and was changed at `epoch`."""
    block, directories = Block(), _by_directory(files)
    described = {_INFO[key]: block.value(value) for key, value in info.items()}
    described[_INFO["depends"]] = block.array([block.object({1: block.value(one)}) for one in sorted(set(depends))])
    described[_INFO["build-time"]] = block.value(epoch)
    described[_INFO["installed-size"]] = block.value(sum(len(one.content) for group in directories for one in group[1]))
    described[_INFO["hashes"]] = identity = block.value(bytes(_UNIQUE_ID - 1) + b"\1")
    # The identity is the digest of the block with zeros in its place.
    place = (identity & 0xFFFFFFF) + 1
    block.data[place : place + _UNIQUE_ID] = bytes(_UNIQUE_ID)
    paths = block.array([_directory(block, name, group, epoch) for name, group in directories])
    run = block.object({_SCRIPTS[name]: block.value(text) for name, text in scripts.items()})
    pack_into("<I", block.data, 4, block.object({1: block.object(described), 2: paths, 3: run}))
    block.data[place : place + _UNIQUE_ID] = hashlib.sha256(block.data).digest()[:_UNIQUE_ID]
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(
        (
            b"ADBd",
            *(packed.compress(part) for part in (b"ADB.", _SCHEMA, _block(_ADB_BLOCK, bytes(block.data)))),
            *(packed.compress(part) for part in _contents(directories)),
            packed.flush(),
        )
    )


Directories = list[tuple[str, list[File]]]


def _by_directory(files: Iterable[File]) -> Directories:
    """Every directory with its files; the first releases of apk-tools 3 want those in between, too."""
    found: dict[str, list[File]] = {}
    for file in files:
        parents = ["" if str(parent) == "." else str(parent) for parent in PurePosixPath(file.path).parents]
        for parent in parents:
            found.setdefault(parent, [])
        found[parents[0]].append(file)
    return [
        (name, sorted(group, key=lambda file: PurePosixPath(file.path).name.encode()))
        for name, group in sorted(found.items(), key=lambda item: item[0].encode())
    ]


def _directory(block: Block, name: str, files: Sequence[File], epoch: int) -> int:
    rows = [_file(block, file, epoch) for file in files]
    return block.object({1: block.value(name), 2: _owned(block, 0o755), 3: block.array(rows)})


def _file(block: Block, file: File, epoch: int) -> int:
    return block.object(
        {
            1: block.value(PurePosixPath(file.path).name),
            2: _owned(block, file.mode),
            3: block.value(len(file.content)),
            4: block.value(epoch),
            5: block.value(hashlib.sha256(file.content).digest()),
        }
    )


def _owned(block: Block, mode: int) -> int:
    return block.object({1: block.value(mode), 2: block.value("root"), 3: block.value("root")})


def _contents(directories: Directories) -> Iterable[bytes]:
    for row, (_, files) in enumerate(directories, 1):
        for column, file in enumerate(files, 1):
            if file.content:
                yield _block(_DATA_BLOCK, pack("<II", row, column) + file.content)


def _block(kind: int, content: bytes) -> bytes:
    size = 4 + len(content)
    return pack("<I", kind << 30 | size) + content + bytes(-size % 8)
