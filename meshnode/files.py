"""Small text files of the operator and of other programs: read with a bound, watched, written whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

LARGEST_FILE = 1 << 20


class IrregularFileError(OSError):
    """What is there is a directory, a pipe, a device or the like."""

    def __init__(self) -> None:
        super().__init__("it is not a regular file")


class FileProblem(ValueError):
    """A file that cannot be read as a whole; the text says why."""


class _Signature(NamedTuple):
    """What changes when a file does."""

    modified: int
    changed: int
    inode: int
    size: int


class WatchedFile:
    """A file that is read again whenever it changed, appeared or vanished.

    `changed` compares what the file system says about it, and is cheap enough to be asked every second.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._signature: _Signature | str | None = None

    def changed(self) -> bool:
        """Whether the file is another one than at the last call; the first call asks whether there is one."""
        signature = _signature(self.path)
        if signature == self._signature:
            return False
        self._signature = signature
        return True

    def read(self) -> str | None:
        """The text of the file, None when there is none. Raises `FileProblem`."""
        if isinstance(self._signature, str):
            raise FileProblem(self._signature)
        if self._signature is None:
            return None
        try:
            with open_regular(self.path) as file:
                content = file.read(LARGEST_FILE + 1)
            if len(content) > LARGEST_FILE:
                raise FileProblem(f"it is larger than {LARGEST_FILE} bytes")
            return content.decode("utf-8-sig")  # some editors begin a file with a mark that is no text
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileProblem(_reason(error)) from None
        except UnicodeDecodeError as error:
            raise FileProblem(f"it is not UTF-8 text (byte {error.start})") from None


def _signature(path: Path) -> _Signature | str | None:
    """Return the file's marks, None when there is none, or a text that says why it cannot be used."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _reason(error)
    if not stat.S_ISREG(status.st_mode):
        return str(IrregularFileError())
    return _Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def open_regular(path: Path, opener: Callable[[str, int], int] = os.open) -> BinaryIO:
    """Open a file to read bytes; `opener` is shaped like `os.open`.

    Raises OSError, `IrregularFileError` for what is no file: a pipe would have us wait for whoever writes into it.
    """
    file = open(path, "rb", opener=lambda name, flags: opener(name, flags | os.O_NONBLOCK))  # noqa: SIM115 - returned
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise IrregularFileError


def read_text(path: Path) -> str | None:
    """Return the text of a file, undecodable bytes preserved; None when there is no such file. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read(LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None


class Replacement:
    """What is to take the place of the file `path` in one step, written piece by piece beside it.

    Permissions and owner of a file that exists are kept, a new one gets `mode`; the directory is made when it is
    missing. Devices, pipes and the like are left alone. Every method raises OSError.
    """

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._temporary.unlink(missing_ok=True)  # of a process of the same number that was killed
        descriptor = os.open(
            self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        self._file = os.fdopen(descriptor, "wb")
        try:
            _take_over(path, self._file.fileno(), mode)
        except OSError:
            self.abandon()
            raise

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        """Have it be the file. One that is a mount point of its own is written in place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        try:
            os.replace(self._temporary, self._path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _write_in_place(self._path, self._temporary.read_bytes())
            self._temporary.unlink()

    def abandon(self) -> None:
        """Leave the file as it is."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file in one step, as a `Replacement` does. Raises OSError.

    Where the directory is read-only and the file is not, as a service's unit may have it, the file is written in place.
    """
    data = text.encode("utf-8", "surrogateescape")
    try:
        replacement = Replacement(path, mode)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        _write_in_place(path, data)
        return
    try:
        replacement.write(data)
        replacement.commit()
    except OSError:
        replacement.abandon()
        raise


def _write_in_place(path: Path, data: bytes) -> None:
    """Write into a file that exists. It says what it said before when there is no room. Raises OSError."""
    with open(path, "r+b", buffering=0) as file:
        before = file.readall()
        try:
            _overwrite(file, data)
        except OSError:
            _overwrite(file, before)  # whose room has not been given away
            raise


def _overwrite(file: FileIO, data: bytes) -> None:
    file.seek(0)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    file.truncate()
    os.fsync(file.fileno())


def _take_over(path: Path, descriptor: int, mode: int) -> None:
    """Give a new file the owner and permissions of the one it is to replace."""
    try:
        status = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode)
        return
    if not stat.S_ISREG(status.st_mode):  # /dev/null, say, which a renamed file would take the place of for everybody
        raise IrregularFileError
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o777)
